"""Tuples of arrays passed by address: what kernels see of them is what Python sees, whatever is in them."""

from typing import Any, NamedTuple

import numba
import numpy as np
import pytest

from kvbench import jit, jit_tuples

ROW = np.dtype([("number", np.int64), ("small", np.uint8)], align=True)


class Inner(NamedTuple):
    """A tuple in a tuple."""

    rows: Any
    bytes: Any


class Pair(NamedTuple):
    """Of two tuples of one type: to numba another kind of tuple."""

    first: Any
    second: Any


class Outer(NamedTuple):
    """Of everything that a subsystem has."""

    numbers: Any
    inner: Any
    grid: Any
    every_other: Any
    pair: Any


class Plain(NamedTuple):
    """Of no arrays."""

    a: int
    b: float


@jit.kernel
def sum_of_plain(held: Any) -> float:
    """Of its fields."""
    return float(held.a + held.b)


def inner(first: int) -> Inner:
    rows = np.zeros(3, ROW)
    rows["number"] = np.arange(3) + first
    rows["small"] = 200
    return Inner(rows, np.arange(5, dtype=np.uint8))


def outer() -> Outer:
    grid = np.arange(6, dtype=np.int64).reshape(2, 3)
    return Outer(np.arange(4), inner(10), grid, np.arange(10)[::2], Pair(inner(20), inner(30)))


@jit.kernel
def sum_of_rows(held: Any) -> int:
    """Of an inner tuple."""
    total = 0
    for i in range(len(held.rows)):
        total += int(held.rows[i]["number"]) + int(held.rows[i]["small"])
    return total + len(held.bytes)


@jit.kernel
def seen(held: Any) -> int:
    """Something of every field."""
    total = sum_of_rows(held.inner) + sum_of_rows(held.pair.first) + sum_of_rows(held.pair.second)
    for i in range(len(held.numbers)):
        total += held.numbers[i]
    for i in range(held.grid.shape[0]):
        for j in range(held.grid.shape[1]):
            total += held.grid[i, j]
    for i in range(len(held.every_other)):
        total += held.every_other[i]
    return int(total)


@jit.kernel
def changed(held: Any, rounds: int) -> int:
    """Reads again what it wrote; a block does not change, what its arrays hold does."""
    total = 0
    for i in range(rounds):
        held.numbers[0] += 1
        held.inner.rows[i % 3]["number"] = held.numbers[0]
        held.inner.bytes[0] += 1
        total += int(held.inner.rows[i % 3]["number"]) + int(held.inner.bytes[0])
    return total


@jit.kernel
def chosen(one: Any, other: Any, first: bool) -> int:
    """Of two tuples."""
    held = one
    if not first:
        held = other
    return sum_of_rows(held.inner)


def test_kernels_see_every_field() -> None:
    rows = 3 * 200 + 5
    total = (33 + rows) + (63 + rows) + (93 + rows) + 6 + 15 + 20
    assert seen(outer()) == total


def test_what_is_written_is_read() -> None:
    held = outer()
    assert changed(held, 3) == 2 * (1 + 2 + 3)
    assert held.numbers[0] == 3
    assert list(held.inner.rows["number"]) == [1, 2, 3]
    assert held.inner.bytes[0] == 3


def test_one_of_two_may_be_chosen() -> None:
    other = outer()._replace(inner=inner(100))
    assert chosen(outer(), other, True) == 33 + 605
    assert chosen(outer(), other, False) == 303 + 605


@pytest.mark.skipif(not jit.JIT_ENABLED, reason="there is no machine code")
def test_a_tuple_is_one_argument() -> None:
    seen(outer())
    kind = numba.typeof(outer())
    assert jit_tuples.is_block(kind)
    context = seen.targetctx  # type: ignore[attr-defined]
    assert str(context.get_argument_type(kind)).endswith("*")


@pytest.mark.skipif(not jit.JIT_ENABLED, reason="there is no machine code")
def test_plain_tuples_stay_as_numba_has_them() -> None:
    assert sum_of_plain(Plain(1, 2.5)) == 3.5


def test_what_is_not_such_a_tuple_is_refused() -> None:
    if jit.JIT_ENABLED:
        with pytest.raises((TypeError, numba.core.errors.TypingError)):
            seen(outer()._replace(numbers=["no array"]))
