"""Bytes in arrays: as Python's own bytes, compiled and interpreted, and never outside when that is checked."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core.errors import TypingError

from kvbench.jit import BOUNDSCHECK, JIT_ENABLED, kernel
from kvbench.rt import buffer
from tests.naive import buffer as naive

DATA = st.binary(min_size=24, max_size=40)
INT64 = st.integers(-(1 << 63), (1 << 63) - 1)


@kernel
def load_be16(array: Any, offset: int) -> int:
    return buffer.load_be16(array, offset)


@kernel
def load_be32(array: Any, offset: int) -> int:
    return buffer.load_be32(array, offset)


@kernel
def load_be64(array: Any, offset: int) -> int:
    return buffer.load_be64(array, offset)


@kernel
def load_le32(array: Any, offset: int) -> int:
    return buffer.load_le32(array, offset)


@kernel
def load_le64(array: Any, offset: int) -> int:
    return buffer.load_le64(array, offset)


@kernel
def store_be16(array: Any, offset: int, value: int) -> None:
    buffer.store_be16(array, offset, value)


@kernel
def store_be32(array: Any, offset: int, value: int) -> None:
    buffer.store_be32(array, offset, value)


@kernel
def store_be64(array: Any, offset: int, value: int) -> None:
    buffer.store_be64(array, offset, value)


@kernel
def store_le32(array: Any, offset: int, value: int) -> None:
    buffer.store_le32(array, offset, value)


@kernel
def store_le64(array: Any, offset: int, value: int) -> None:
    buffer.store_le64(array, offset, value)


@kernel
def copy(target: Any, at: int, source: Any, start: int, size: int) -> None:
    buffer.copy(target, at, source, start, size)


@kernel
def fill(target: Any, at: int, size: int, byte: int) -> None:
    buffer.fill(target, at, size, byte)


@kernel
def equal(left: Any, left_at: int, right: Any, right_at: int, size: int) -> bool:
    return buffer.equal(left, left_at, right, right_at, size)


@kernel
def compare(left: Any, left_at: int, left_size: int, right: Any, right_at: int, right_size: int) -> int:
    return buffer.compare(left, left_at, left_size, right, right_at, right_size)


LOADS = [(load_be16, 2, "be"), (load_be32, 4, "be"), (load_be64, 8, "be"), (load_le32, 4, "le"), (load_le64, 8, "le")]
STORES = [
    (store_be16, 2, "be"), (store_be32, 4, "be"), (store_be64, 8, "be"), (store_le32, 4, "le"), (store_le64, 8, "le"),
]  # fmt: skip


def array_of(data: bytes) -> Any:
    return np.frombuffer(data, np.uint8).copy()


@pytest.mark.parametrize(("function", "size", "order"), LOADS)
@settings(deadline=None)
@given(data=DATA, offset=st.integers(0, 16))
def test_loads(function: Callable[..., int], size: int, order: str, data: bytes, offset: int) -> None:
    assert function(array_of(data), offset) == naive.load(data, offset, size, order)


@pytest.mark.parametrize(("function", "size", "order"), STORES)
@settings(deadline=None)
@given(data=DATA, offset=st.integers(0, 16), value=INT64)
def test_stores(function: Callable[..., None], size: int, order: str, data: bytes, offset: int, value: int) -> None:
    array = array_of(data)
    function(array, offset, value)
    assert bytes(array) == naive.store(data, offset, size, order, value)


@settings(deadline=None)
@given(DATA, DATA, st.data())
def test_copy(target: bytes, source: bytes, data: st.DataObject) -> None:
    size = data.draw(st.integers(0, 24))
    at = data.draw(st.integers(0, len(target) - size))
    start = data.draw(st.integers(0, len(source) - size))
    array = array_of(target)
    copy(array, at, array_of(source), start, size)
    assert bytes(array) == target[:at] + source[start : start + size] + target[at + size :]


@settings(deadline=None)
@given(DATA, st.integers(0, 12), st.integers(0, 12), st.integers(0, 12))
def test_copy_within_one_array(data: bytes, at: int, start: int, size: int) -> None:
    array = array_of(data)
    copy(array, at, array, start, size)
    assert bytes(array) == data[:at] + data[start : start + size] + data[at + size :]


@settings(deadline=None)
@given(DATA, st.integers(0, 12), st.integers(0, 12), st.integers(0, 255))
def test_fill(data: bytes, at: int, size: int, byte: int) -> None:
    array = array_of(data)
    fill(array, at, size, byte)
    assert bytes(array) == data[:at] + bytes([byte]) * size + data[at + size :]


@settings(deadline=None)
@given(DATA, st.integers(0, 12), st.integers(0, 12), st.integers(0, 20), st.integers(0, 39))
def test_equal(data: bytes, left_at: int, right_at: int, size: int, changed: int) -> None:
    """Equal to a copy shifted by any amount, unless a byte within the size differs."""
    left, right = array_of(data + bytes(40)), np.zeros(80, np.uint8)
    right[right_at : right_at + size] = left[left_at : left_at + size]
    assert equal(left, left_at, right, right_at, size)
    right[right_at + changed] ^= 1
    assert equal(left, left_at, right, right_at, size) == (changed >= size)


@settings(deadline=None)
@given(st.binary(max_size=20), st.binary(max_size=6), st.binary(max_size=6), st.integers(0, 3), st.integers(0, 3))
def test_compare(common: bytes, left: bytes, right: bytes, left_at: int, right_at: int) -> None:
    here, there = common + left, common + right
    sides = array_of(bytes(left_at) + here + b"x"), array_of(bytes(right_at) + there + b"y")
    found = compare(sides[0], left_at, len(here), sides[1], right_at, len(there))
    assert found == (here > there) - (here < there)
    assert compare(sides[0], left_at, len(here), sides[0], left_at, len(here)) == 0


CHECKED = BOUNDSCHECK or not JIT_ENABLED
"""Compiled code without bounds checks goes where it is told, so there only the check itself can be tried."""


@pytest.mark.parametrize(("at", "size"), [(-1, 8), (9, 8), (0, 17), (16, 1), (0, -1)])
def test_access_outside_the_array_is_refused(at: int, size: int) -> None:
    array, other = np.zeros(16, np.uint8), np.zeros(64, np.uint8)
    calls: list[Callable[[], Any]] = [lambda: buffer.check(array, at, size)]
    if CHECKED:
        calls += [
            lambda: copy(array, at, other, 0, size),
            lambda: copy(other, 0, array, at, size),
            lambda: fill(array, at, size, 1),
            lambda: equal(array, at, other, 0, size),
            lambda: equal(other, 0, array, at, size),
            lambda: compare(array, at, size, other, 0, 1),
            lambda: compare(other, 0, 1, array, at, size),
        ]
    for call in calls:
        with pytest.raises(IndexError):
            call()


@pytest.mark.parametrize("at", [-1, 15, 16, 1 << 40])
def test_integers_outside_the_array_are_refused(at: int) -> None:
    array = np.zeros(16, np.uint8)
    with pytest.raises(IndexError):
        buffer.check(array, at, 2)
    if CHECKED:
        for load, _, _ in LOADS:
            with pytest.raises(IndexError):
                load(array, at)
        for store, _, _ in STORES:
            with pytest.raises(IndexError):
                store(array, at, 0)
    assert not array.any()


@pytest.mark.parametrize("array", [np.zeros(16, np.int64), np.zeros((4, 4), np.uint8), np.zeros(32, np.uint8)[::2]])
def test_compiling_for_another_kind_of_array_is_refused(array: Any) -> None:
    if JIT_ENABLED:
        with pytest.raises(TypingError, match="contiguous uint8 arrays"):
            load_le64(array, 0)
    else:
        assert load_le64(np.zeros(16, np.uint8), 0) == 0
