"""Jute's frames and primitives, and that no cut or damage of a frame goes unnoticed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench.rt.codes import JUTE
from kvbench.wire import jute
from kvbench.wire.jute import JuteError
from tests.naive import jute as naive


def as_array(data: bytes, before: int = 0, behind: int = 0) -> "np.ndarray[tuple[int], np.dtype[np.uint8]]":
    return np.frombuffer(b"\xaa" * before + data + b"\xbb" * behind, np.uint8).copy()


def test_codes_stay_in_their_range() -> None:
    assert all(code in JUTE for code in JuteError)


def test_frame_size_asks_for_more_until_the_length_is_there() -> None:
    frame = as_array(naive.request(1, 11))
    for end in range(4):
        assert jute.frame_size(frame, 0, end, 100) == 0
    for end in range(4, len(frame) + 1):
        assert jute.frame_size(frame, 0, end, 100) == len(frame)


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (0, 4),
        (96, 100),
        (97, JuteError.FRAME_TOO_LARGE),
        (0x7FFFFFFF, JuteError.FRAME_TOO_LARGE),
        (-1, JuteError.NEGATIVE_FRAME),
        (-0x80000000, JuteError.NEGATIVE_FRAME),
    ],
)
def test_frame_lengths_have_limits(length: int, expected: int) -> None:
    assert jute.frame_size(as_array(length.to_bytes(4, "big", signed=True)), 0, 4, 100) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\xff\xff\xff\xff", -1),
        (b"\0\0\0\0", 0),
        (b"\0\0\0\x02ab", 2),
        (b"\0\0\0\x03ab", JuteError.TRUNCATED),
        (b"\x7f\xff\xff\xffab", JuteError.TRUNCATED),
        (b"\0\0\0", JuteError.TRUNCATED),
        (b"", JuteError.TRUNCATED),
        (b"\xff\xff\xff\xfe", JuteError.NEGATIVE_LENGTH),
        (b"\x80\0\0\0", JuteError.NEGATIVE_LENGTH),
    ],
)
def test_read_length(data: bytes, expected: int) -> None:
    buffer = as_array(data, 3, 5)
    assert jute.read_length(buffer, 3, 3 + len(data)) == expected


@settings(deadline=None)
@given(st.integers(-(2**31), 2**31 - 1))
def test_load_i32(value: int) -> None:
    assert jute.load_i32(as_array(value.to_bytes(4, "big", signed=True), 1), 1) == value


@settings(deadline=None)
@given(st.one_of(st.none(), st.binary(max_size=40)))
def test_put_bytes(value: bytes | None) -> None:
    out = np.full(60, 7, np.uint8)
    source = as_array(value or b"", 2)
    end = jute.put_bytes(out, 3, source, 2, -1 if value is None else len(value))
    expected = naive.encode((("v", "b"),), {"v": value})
    assert bytes(out[3:end]) == expected
    assert set(out[:3].tolist() + out[end:].tolist()) == {7}


def test_put_open_acl() -> None:
    out = np.zeros(40, np.uint8)
    end = jute.put_open_acl(out, 1)
    assert bytes(out[1:end]) == naive.encode((("acl", "a"),), {"acl": naive.OPEN_ACL})
    assert end == 1 + jute.OPEN_ACL_BYTES


texts = st.one_of(st.none(), st.binary(max_size=9))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 31), texts, texts), max_size=4), st.integers(0, 3))
def test_skip_acl(acls: list[tuple[int, bytes | None, bytes | None]], behind: int) -> None:
    data = naive.encode((("acl", "a"),), {"acl": acls})
    buffer = as_array(data, 2, behind)
    assert jute.skip_acl(buffer, 2, len(buffer)) == len(data)
    for end in range(2, 2 + len(data)):
        assert jute.skip_acl(buffer, 2, end) == JuteError.TRUNCATED


@settings(deadline=None)
@given(st.lists(texts, max_size=5))
def test_skip_strings(strings: list[bytes | None]) -> None:
    data = naive.encode((("v", "s"),), {"v": strings})
    buffer = as_array(data, 1, 3)
    assert jute.skip_strings(buffer, 1, len(buffer)) == len(data)
    for end in range(1, 1 + len(data)):
        assert jute.skip_strings(buffer, 1, end) == JuteError.TRUNCATED


@pytest.mark.parametrize("count", [-2, -0x80000000])
def test_a_vector_cannot_have_less_than_no_elements(count: int) -> None:
    data = as_array(count.to_bytes(4, "big", signed=True))
    assert jute.skip_strings(data, 0, 4) == JuteError.NEGATIVE_LENGTH
    assert jute.skip_acl(data, 0, 4) == JuteError.NEGATIVE_LENGTH


def test_a_null_vector_is_empty() -> None:
    data = as_array(b"\xff\xff\xff\xff")
    assert jute.skip_strings(data, 0, 4) == 4
    assert jute.skip_acl(data, 0, 4) == 4
