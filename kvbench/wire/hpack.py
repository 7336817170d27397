"""HPACK: header blocks to fields, with the peer's dynamic table, and the pieces of an encoder (RFC 7541).

The decoder keeps one dynamic table per connection. Its strings lie in a buffer of twice the table's largest size and
are never split: an entry that does not fit behind the newest one goes to the buffer's front, where all that could lie
there was evicted before. A connection's state is one DECODER record, what a block says goes into a HEADER_LIST record
that many connections share.
"""

from enum import IntEnum
from typing import Any

import numpy as np

from kvbench.jit import kernel
from kvbench.rt.buffer import copy
from kvbench.wire.hpack_tables import (
    EOS,
    HUFFMAN_CODES,
    HUFFMAN_COUNT,
    HUFFMAN_FIRST,
    HUFFMAN_LENGTHS,
    HUFFMAN_POSITION,
    HUFFMAN_SYMBOLS,
    LONGEST_CODE,
    STATIC_AT,
    STATIC_COUNT,
    STATIC_NAME_BYTES,
    STATIC_TEXT,
    STATIC_VALUE_BYTES,
)


class HpackError(IntEnum):
    """Why a header block cannot be decoded. Each is a COMPRESSION_ERROR of the connection, but for the last."""

    TRUNCATED = -300
    """The block ends within a field."""
    INTEGER_TOO_LARGE = -301
    """An integer of more than five continuation bytes or above 2**31 - 1."""
    BAD_INDEX = -302
    """Index 0, or one beyond both tables."""
    BAD_HUFFMAN = -303
    """EOS inside a string, or padding that is longer than 7 bits or not all ones."""
    BAD_TABLE_SIZE = -304
    """A size update beyond what the settings allow, or one that does not stand at the block's beginning."""
    LIST_TOO_LARGE = -305
    """Fields of more than LIST_BYTES_DECODED: a block of a few bytes that means megabytes."""


TRUNCATED = int(HpackError.TRUNCATED)
INTEGER_TOO_LARGE = int(HpackError.INTEGER_TOO_LARGE)
BAD_INDEX = int(HpackError.BAD_INDEX)
BAD_HUFFMAN = int(HpackError.BAD_HUFFMAN)
BAD_TABLE_SIZE = int(HpackError.BAD_TABLE_SIZE)
LIST_TOO_LARGE = int(HpackError.LIST_TOO_LARGE)

TABLE_BYTES = 4096
"""Largest dynamic table of a decoder, the protocol's default."""
STORE_BYTES = 2 * TABLE_BYTES
ENTRY_OVERHEAD = 32
TABLE_ENTRIES = TABLE_BYTES // ENTRY_OVERHEAD
LIST_BYTES = 32768
"""Most bytes of a decoded header list, 32 a field included; SETTINGS_MAX_HEADER_LIST_SIZE says so to peers."""
LIST_FIELDS = LIST_BYTES // ENTRY_OVERHEAD
LIST_BYTES_DECODED = 8 * LIST_BYTES
"""Most bytes of a header list that is decoded at all. What lies between is decoded and left out."""
OVERFLOW_BYTES = STORE_BYTES
"""Room behind the list for one field that the list has no place for but the dynamic table may want."""

STATIC_ONLY, TABLE_READ, TABLE_CHANGED = 0, 1, 2
"""What a block had to do with the dynamic table."""

FIELD = np.dtype(
    [("at", np.int32), ("name_bytes", np.int32), ("value_bytes", np.int32), ("reserved", np.int32)], align=True
)
"""A name and, right behind it, a value."""

DECODER = np.dtype(
    [
        ("table_limit", np.int64),  # the most that the settings allow
        ("table_max", np.int64),  # the most that the peer's last size update allows
        ("table_bytes", np.int64),  # size of all entries, ENTRY_OVERHEAD each included
        ("held", np.int64),  # entries in the table
        ("inserted", np.int64),  # entries ever inserted; entry number n lies at place n % TABLE_ENTRIES
        ("version", np.int64),  # changes with everything that changes the table
        ("store_end", np.int64),  # where the newest entry's strings end
        ("touched", np.int64),  # of the last block: STATIC_ONLY, TABLE_READ or TABLE_CHANGED
        ("truncated", np.int64),  # of the last block: 1 when fields were left out because the list is too large
        ("list_bytes", np.int64),  # of the last block
        ("entries", FIELD, (TABLE_ENTRIES,)),  # at: in ``store``
        ("store", np.uint8, (STORE_BYTES,)),
    ],
    align=True,
)
"""The decoder of one connection."""

HEADER_LIST = np.dtype(
    [
        ("fields", FIELD, (LIST_FIELDS + 1,)),  # at: in ``text``
        ("text", np.uint8, (LIST_BYTES + OVERFLOW_BYTES,)),
    ],
    align=True,
)
"""The fields of the block decoded last."""


@kernel
def reset(decoder: Any) -> None:
    """Empty the dynamic table; both limits are the protocol's default."""
    decoder["table_limit"] = TABLE_BYTES
    decoder["table_max"] = TABLE_BYTES
    decoder["table_bytes"] = 0
    decoder["held"] = 0
    decoder["inserted"] = 0
    decoder["version"] = 0
    decoder["store_end"] = 0


@kernel
def set_table_limit(decoder: Any, limit: int) -> None:
    """The peer acknowledged our SETTINGS_HEADER_TABLE_SIZE (at most TABLE_BYTES)."""
    decoder["table_limit"] = limit
    if decoder["table_max"] > limit:
        decoder["table_max"] = limit
        decoder["version"] += 1
        evict(decoder, 0)


@kernel
def evict(decoder: Any, needed: int) -> None:
    """Drop the oldest entries until ``needed`` more bytes fit."""
    while decoder["held"] > 0 and decoder["table_bytes"] + needed > decoder["table_max"]:
        oldest = (decoder["inserted"] - decoder["held"]) % TABLE_ENTRIES
        entry = decoder["entries"][oldest]
        decoder["table_bytes"] -= int(entry["name_bytes"]) + int(entry["value_bytes"]) + ENTRY_OVERHEAD
        decoder["held"] -= 1


@kernel
def insert(decoder: Any, listed: Any, at: int, name_bytes: int, value_bytes: int) -> None:
    """Put the field at ``listed["text"][at:]`` into the dynamic table; one larger than the table empties it."""
    decoder["touched"] = TABLE_CHANGED
    decoder["version"] += 1
    size = name_bytes + value_bytes
    evict(decoder, size + ENTRY_OVERHEAD)
    if size + ENTRY_OVERHEAD > decoder["table_max"]:
        return
    start = int(decoder["store_end"])
    if start + size > STORE_BYTES:
        start = 0
    copy(decoder["store"], start, listed["text"], at, size)
    entry = decoder["entries"][decoder["inserted"] % TABLE_ENTRIES]
    entry["at"] = start
    entry["name_bytes"] = name_bytes
    entry["value_bytes"] = value_bytes
    decoder["store_end"] = start + size
    decoder["table_bytes"] += size + ENTRY_OVERHEAD
    decoder["held"] += 1
    decoder["inserted"] += 1


@kernel
def read_integer(buf: Any, at: int, end: int, mask: int) -> tuple[int, int]:
    """(integer with a prefix of ``mask`` (2**N - 1), position behind it), or (error, error). Section 5.1; at < end."""
    value = int(buf[at]) & mask
    at += 1
    if value < mask:
        return value, at
    shift = 0
    while at < end:
        byte = int(buf[at])
        at += 1
        if shift > 28:
            return INTEGER_TOO_LARGE, INTEGER_TOO_LARGE
        value += (byte & 127) << shift
        if value > 0x7FFFFFFF:
            return INTEGER_TOO_LARGE, INTEGER_TOO_LARGE
        if byte < 128:
            return value, at
        shift += 7
    return TRUNCATED, TRUNCATED


@kernel
def huffman_decode(buf: Any, at: int, end: int, target: Any, to: int, limit: int) -> int:
    """Decode ``buf[at:end]`` to ``target[to:limit]``. Returns the decoded length, or BAD_HUFFMAN.

    What lies beyond ``limit`` is counted, not written.
    """
    code, length, size = 0, 0, 0
    for position in range(at, end):
        byte = int(buf[position])
        for bit in range(7, -1, -1):
            code = code << 1 | byte >> bit & 1
            length += 1
            if length > LONGEST_CODE:
                return BAD_HUFFMAN
            rank = code - HUFFMAN_FIRST[length]
            if rank < HUFFMAN_COUNT[length] and rank >= 0:
                symbol = HUFFMAN_SYMBOLS[HUFFMAN_POSITION[length] + rank]
                if symbol == EOS:
                    return BAD_HUFFMAN
                if to + size < limit:
                    target[to + size] = symbol
                size += 1
                code = 0
                length = 0
    if length > 7 or code != (1 << length) - 1:
        return BAD_HUFFMAN
    return size


@kernel
def read_string(buf: Any, at: int, end: int, target: Any, to: int) -> tuple[int, int]:
    """(length of the string now at ``target[to:]``, position behind it), or (error, error). Section 5.2.

    Of a string that does not fit into ``target`` only the length is right.
    """
    if at >= end:
        return TRUNCATED, TRUNCATED
    coded = int(buf[at]) & 128
    size, at = read_integer(buf, at, end, 127)
    if at < 0:
        return at, at
    if size > end - at:
        return TRUNCATED, TRUNCATED
    if coded:
        length = huffman_decode(buf, at, at + size, target, to, len(target))
        if length < 0:
            return length, length
        return length, at + size
    copy(target, to, buf, at, max(min(size, len(target) - to), 0))
    return size, at + size


@kernel
def fetch(decoder: Any, listed: Any, index: int, to: int, with_value: bool) -> tuple[int, int]:
    """Copy the field of a table index to ``text[to:]``. (length of the name, of the value), or (BAD_INDEX, BAD_INDEX).

    ``to`` leaves room for TABLE_BYTES.
    """
    if index <= 0:
        return BAD_INDEX, BAD_INDEX
    if index <= STATIC_COUNT:
        name, value = STATIC_NAME_BYTES[index], STATIC_VALUE_BYTES[index]
        copy(listed["text"], to, STATIC_TEXT, STATIC_AT[index], name + (value if with_value else 0))
        return name, value
    back = index - STATIC_COUNT
    if back > decoder["held"]:
        return BAD_INDEX, BAD_INDEX
    if decoder["touched"] == STATIC_ONLY:
        decoder["touched"] = TABLE_READ
    entry = decoder["entries"][(decoder["inserted"] - back) % TABLE_ENTRIES]
    name, value = int(entry["name_bytes"]), int(entry["value_bytes"])
    size = name + (value if with_value else 0)
    copy(listed["text"], to, decoder["store"], int(entry["at"]), size)
    return name, value


@kernel
def update_table_size(decoder: Any, size: int) -> int:
    """The peer's encoder changes its table's size. Returns 0, or BAD_TABLE_SIZE."""
    if size > decoder["table_limit"]:
        return BAD_TABLE_SIZE
    decoder["table_max"] = size
    decoder["touched"] = TABLE_CHANGED
    decoder["version"] += 1
    evict(decoder, 0)
    return 0


@kernel
def decode_field(decoder: Any, listed: Any, buf: Any, at: int, end: int, to: int) -> tuple[int, int, int]:
    """Decode one field to ``text[to:]``: (position behind it, length of name, of value), or the error three times."""
    byte = int(buf[at])
    if byte >= 128:
        index, at = read_integer(buf, at, end, 127)
        if at < 0:
            return at, at, at
        name, value = fetch(decoder, listed, index, to, True)
        if name < 0:
            return name, name, name
        return at, name, value
    indexed = byte >= 64
    index, at = read_integer(buf, at, end, 63 if indexed else 15)
    if at < 0:
        return at, at, at
    if index > 0:
        name, value = fetch(decoder, listed, index, to, False)
    else:
        name, at = read_string(buf, at, end, listed["text"], to)
    if name < 0:
        return name, name, name
    value, at = read_string(buf, at, end, listed["text"], min(to + name, len(listed["text"])))
    if at < 0:
        return at, at, at
    if indexed:
        insert(decoder, listed, to, name, value)
    return at, name, value


@kernel
def decode(decoder: Any, listed: Any, buf: Any, at: int, end: int) -> int:
    """Decode the complete header block ``buf[at:end]``. Returns the number of fields kept, or a negative HpackError.

    The fields are in ``listed``; the decoder's ``touched`` and ``truncated`` tell of the
    block. A list larger than LIST_BYTES is decoded to its end (the table must stay in step) but not kept whole; one
    larger than LIST_BYTES_DECODED is an error.
    """
    decoder["touched"] = STATIC_ONLY
    decoder["truncated"] = 0
    decoder["list_bytes"] = 0
    count, used = 0, 0
    may_resize = True
    while at < end:
        if int(buf[at]) >> 5 == 1:
            size, at = read_integer(buf, at, end, 31)
            if at < 0:
                return at
            if not may_resize or update_table_size(decoder, size) < 0:
                return BAD_TABLE_SIZE
            continue
        may_resize = False
        at, name, value = decode_field(decoder, listed, buf, at, end, used)
        if at < 0:
            return at
        decoder["list_bytes"] += name + value + ENTRY_OVERHEAD
        if decoder["list_bytes"] > LIST_BYTES:
            if decoder["list_bytes"] > LIST_BYTES_DECODED:
                return LIST_TOO_LARGE
            decoder["truncated"] = 1
            continue
        field = listed["fields"][count]
        field["at"] = used
        field["name_bytes"] = name
        field["value_bytes"] = value
        count += 1
        used += name + value
    return count


@kernel
def write_integer(buf: Any, at: int, first: int, mask: int, value: int) -> int:
    """Write an integer with a prefix of ``mask`` (2**N - 1) under the pattern ``first``. Returns the end."""
    if value < mask:
        buf[at] = first | value
        return at + 1
    buf[at] = first | mask
    value -= mask
    at += 1
    while value >= 128:
        buf[at] = value & 127 | 128
        value >>= 7
        at += 1
    buf[at] = value
    return at + 1


@kernel
def write_string(buf: Any, at: int, source: Any, start: int, size: int) -> int:
    """Write a string as it is, not Huffman-coded. Returns the end."""
    at = write_integer(buf, at, 0, 127, size)
    copy(buf, at, source, start, size)
    return at + size


def huffman_encode(text: bytes) -> bytes:
    """Huffman-code a string, padded with ones."""
    bits = length = 0
    for byte in text:
        bits = bits << HUFFMAN_LENGTHS[byte] | HUFFMAN_CODES[byte]
        length += HUFFMAN_LENGTHS[byte]
    padding = -length % 8
    return (bits << padding | (1 << padding) - 1).to_bytes((length + padding) // 8, "big")


def _integer(first: int, mask: int, value: int) -> bytes:
    """``write_integer`` in plain Python, for blocks that are built when a module is imported."""
    if value < mask:
        return bytes([first | value])
    out = [first | mask]
    value -= mask
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def literal(name: bytes, value: bytes, indexed: bool, name_index: int = 0, huffman: bool = False) -> bytes:
    """A literal field: with incremental indexing, or without; the name from the static table if ``name_index``."""

    def string(text: bytes) -> bytes:
        coded = huffman_encode(text) if huffman else text
        return _integer(128 if huffman else 0, 127, len(coded)) + coded

    start = _integer(64, 63, name_index) if indexed else _integer(0, 15, name_index)
    return start + (b"" if name_index else string(name)) + string(value)
