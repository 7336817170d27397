"""Protocol Buffers' wire format: varints, tags and fields, both directions (protobuf.dev, "Encoding").

Positions are absolute in a flat uint8 array. Writers return the position behind what they wrote and check no room:
callers know the size first. Readers never look at or beyond ``end`` and answer damage with a ``ProtobufError``.
64-bit unsigned values come out as int64 of the same bits.
"""

from enum import IntEnum
from typing import Any

import numpy as np

from kvbench.jit import kernel
from kvbench.rt.buffer import copy


class ProtobufError(IntEnum):
    """Why bytes are not a message."""

    TRUNCATED = -500
    """A field goes beyond the end of its message."""
    VARINT_TOO_LONG = -501
    """A varint of more than 10 bytes, or of more than 64 bits."""
    BAD_TAG = -502
    """Field number 0, a number beyond 2**29 - 1, or a wire type that does not exist (groups count as such)."""
    WRONG_TYPE = -503
    """A field that the schema knows came with another wire type."""


TRUNCATED = int(ProtobufError.TRUNCATED)
VARINT_TOO_LONG = int(ProtobufError.VARINT_TOO_LONG)
BAD_TAG = int(ProtobufError.BAD_TAG)
WRONG_TYPE = int(ProtobufError.WRONG_TYPE)

SIGN_BIT = -(1 << 63)
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types."""


@kernel
def varint_bytes(value: int) -> int:
    """Length of a varint: 1 to 10; negative values take 10."""
    if value < 0:
        return 10
    size = 1
    while value >= 128:
        value >>= 7
        size += 1
    return size


@kernel
def write_varint(buf: Any, at: int, value: int) -> int:
    """Write an int64 as a varint (negative: as its 64 bits)."""
    if value < 0:
        for i in range(9):
            buf[at + i] = (value >> (7 * i)) & 127 | 128
        buf[at + 9] = 1
        return at + 10
    while value >= 128:
        buf[at] = value & 127 | 128
        value >>= 7
        at += 1
    buf[at] = value
    return at + 1


@kernel
def write_varint_field(buf: Any, at: int, number: int, value: int) -> int:
    """Write field ``number`` (below 16) as a varint, or nothing if it is 0, the default."""
    if value == 0:
        return at
    buf[at] = number << 3
    return write_varint(buf, at + 1, value)


@kernel
def varint_field_bytes(value: int) -> int:
    """Length of what ``write_varint_field`` writes."""
    return 0 if value == 0 else 1 + varint_bytes(value)


@kernel
def write_length(buf: Any, at: int, number: int, size: int) -> int:
    """Write the tag and length of field ``number`` (below 16) whose ``size`` bytes follow."""
    buf[at] = number << 3 | BYTES
    return write_varint(buf, at + 1, size)


@kernel
def write_bytes_field(buf: Any, at: int, number: int, source: Any, start: int, size: int) -> int:
    """Write ``size`` bytes of ``source`` as field ``number`` (below 16), or nothing if there are none."""
    if size == 0:
        return at
    at = write_length(buf, at, number, size)
    copy(buf, at, source, start, size)
    return at + size


@kernel
def bytes_field_bytes(size: int) -> int:
    """Length of what ``write_bytes_field`` writes."""
    return 0 if size == 0 else 1 + varint_bytes(size) + size


@kernel
def message_field_bytes(size: int) -> int:
    """Length of a nested message of ``size`` bytes with its tag (below 16) and length; empty ones are written too."""
    return 1 + varint_bytes(size) + size


@kernel
def read_varint(buf: Any, at: int, end: int) -> tuple[int, int]:
    """(value, position behind it), or (error, error)."""
    if at < end:
        byte = int(buf[at])
        if byte < 128:
            return byte, at + 1
    value = 0
    shift = 0
    while at < end:
        byte = int(buf[at])
        at += 1
        if shift == 63:
            return (value + byte * SIGN_BIT, at) if byte <= 1 else (VARINT_TOO_LONG, VARINT_TOO_LONG)
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    return TRUNCATED, TRUNCATED


@kernel
def next_field(buf: Any, at: int, end: int) -> tuple[int, int, int]:
    """The field at ``at`` of a message that ends at ``end`` (at < end): (tag, value, position behind the field).

    The tag is number << 3 | wire type. For VARINT the value is the number; for BYTES it is where the content begins
    (its length: the position behind minus the value); for FIXED64 and FIXED32 it is where the bytes begin.
    Damage gives (error, error, error).
    """
    tag, at = read_varint(buf, at, end)
    if at < 0:
        return at, at, at
    if tag < 8 or tag >= 1 << 32:
        return BAD_TAG, BAD_TAG, BAD_TAG
    kind = tag & 7
    if kind == VARINT:
        value, at = read_varint(buf, at, end)
        if at < 0:
            return at, at, at
        return tag, value, at
    if kind == BYTES:
        size, at = read_varint(buf, at, end)
        if at < 0:
            return at, at, at
    elif kind == FIXED64:
        size = 8
    elif kind == FIXED32:
        size = 4
    else:
        return BAD_TAG, BAD_TAG, BAD_TAG
    if size < 0 or size > end - at:
        return TRUNCATED, TRUNCATED, TRUNCATED
    return tag, at, at + size


FIELDS = 14
"""Field numbers below this are what ``read_message`` keeps."""
STARTS, ENDS, COUNTS = FIELDS, 2 * FIELDS, 3 * FIELDS
"""Where in the result the beginnings and ends of BYTES fields and the numbers of occurrences are."""


def new_fields() -> Any:
    """int64[4 * FIELDS] for ``read_message``."""
    return np.zeros(4 * FIELDS, np.int64)


@kernel
def read_message(buf: Any, at: int, end: int, varints: int, contents: int, fields: Any) -> int:
    """Decode the top level of a message: its known fields by number. Returns 0 or a negative ProtobufError.

    ``varints`` and ``contents`` have bit n set when field n is a number or BYTES. Of field n, ``fields[n]`` is the
    number, ``fields[STARTS + n]`` and ``fields[ENDS + n]`` are where its bytes lie (the last occurrence's; 0 and 0
    when absent), ``fields[COUNTS + n]`` how often it occurred. Other fields are skipped.
    """
    for i in range(4 * FIELDS):
        fields[i] = 0
    while at < end:
        tag, value, at = next_field(buf, at, end)
        if at < 0:
            return at
        number = tag >> 3
        if number >= FIELDS:
            continue
        if varints >> number & 1:
            if tag & 7 != VARINT:
                return WRONG_TYPE
            fields[number] = value
        elif contents >> number & 1:
            if tag & 7 != BYTES:
                return WRONG_TYPE
            fields[STARTS + number] = value
            fields[ENDS + number] = at
            fields[COUNTS + number] += 1
    return 0
