"""Varints and fields against a plain twin; damage is named, and nothing beyond a message's end is looked at."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench.wire import protobuf
from kvbench.wire.protobuf import ENDS, FIELDS, STARTS, ProtobufError
from tests.naive import protobuf as naive

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)


def array(data: bytes) -> Any:
    return np.frombuffer(data, np.uint8).copy()


@settings(deadline=None)
@given(INT64)
def test_a_varint_is_what_the_twin_writes_and_comes_back(value: int) -> None:
    buf = np.full(12, 0xEE, np.uint8)
    end = protobuf.write_varint(buf, 1, value)
    assert bytes(buf[1:end]) == naive.varint(value)
    assert protobuf.varint_bytes(value) == end - 1
    assert protobuf.read_varint(buf, 1, end) == (value, end)
    for cut in range(1, end):
        assert protobuf.read_varint(buf, 1, cut)[1] == ProtobufError.TRUNCATED


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\x80" * 9 + b"\x01", (-(1 << 63), 10)),
        (b"\xff" * 9 + b"\x01", (-1, 10)),
        (b"\x80\x80\x00", (0, 3)),
        (b"\x80" * 9 + b"\x02", (ProtobufError.VARINT_TOO_LONG, ProtobufError.VARINT_TOO_LONG)),
        (b"\x80" * 10 + b"\x01", (ProtobufError.VARINT_TOO_LONG, ProtobufError.VARINT_TOO_LONG)),
    ],
)
def test_varints_at_the_limit(data: bytes, expected: tuple[int, int]) -> None:
    assert protobuf.read_varint(array(data), 0, len(data)) == expected


def walk(data: bytes) -> list[tuple[int, int, int | bytes]] | None:
    """Fields by the kernel, in the twin's form; None when malformed."""
    buf, at, found = array(data), 0, []
    while at < len(data):
        tag, value, at = protobuf.next_field(buf, at, len(data))
        if at < 0:
            assert tag == value == at
            return None
        content: int | bytes = value if tag & 7 == 0 else data[value:at]
        found.append((tag >> 3, tag & 7, content))
    return found


def walk_twin(data: bytes) -> list[tuple[int, int, int | bytes]] | None:
    try:
        return naive.fields(data)
    except naive.Malformed:
        return None


FIELD = st.builds(naive.field, st.integers(1, 3000), st.one_of(INT64, st.binary(max_size=40)))


@settings(deadline=None)
@given(st.lists(FIELD, max_size=6).map(b"".join), st.integers(0, 60))
def test_fields_whole_and_cut(data: bytes, cut: int) -> None:
    assert walk(data) == walk_twin(data) is not None
    assert walk(data[:cut]) == walk_twin(data[:cut])


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=40))
def test_random_bytes_mean_the_same_to_both(data: bytes) -> None:
    assert walk(data) == walk_twin(data)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 15), st.one_of(INT64, st.binary(max_size=20))), max_size=8),
    st.integers(0, (1 << FIELDS) - 1),
    st.integers(0, (1 << FIELDS) - 1),
)
def test_a_message_by_field_numbers(parts: list[tuple[int, int | bytes]], numbers: int, contents: int) -> None:
    contents &= ~numbers
    data = b"".join(naive.field(*part) for part in parts)
    out = np.full(4 * FIELDS, 77, np.int64)
    result = protobuf.read_message(array(data + b"x"), 0, len(data), numbers, contents, out)
    known = [part for part in parts if part[0] < FIELDS]
    wrong = any(
        (numbers >> number & 1 and not isinstance(value, int)) or (contents >> number & 1 and isinstance(value, int))
        for number, value in known
    )
    assert result == (ProtobufError.WRONG_TYPE if wrong else 0)
    if wrong:
        return
    for number in range(FIELDS):
        values = [value for n, value in known if n == number]
        last = values[-1] if values else None
        assert out[number] == (last if isinstance(last, int) and numbers >> number & 1 else 0)
        content = data[out[STARTS + number] : out[ENDS + number]]
        taken = contents >> number & 1 and last is not None
        assert content == (last if taken else b"")
        assert out[protobuf.COUNTS + number] == (len(values) if taken else 0)


@settings(deadline=None)
@given(st.integers(1, 15), INT64, st.binary(max_size=300))
def test_writers_announce_their_length(number: int, value: int, content: bytes) -> None:
    buf = np.zeros(400, np.uint8)
    end = protobuf.write_varint_field(buf, 0, number, value)
    assert bytes(buf[:end]) == (naive.field(number, value) if value else b"")
    assert end == protobuf.varint_field_bytes(value)
    end = protobuf.write_bytes_field(buf, 0, number, array(b"ab" + content), 2, len(content))
    assert bytes(buf[:end]) == (naive.field(number, content) if content else b"")
    assert end == protobuf.bytes_field_bytes(len(content))
    head = protobuf.write_length(buf, 0, number, len(content))
    assert head + len(content) == protobuf.message_field_bytes(len(content))
