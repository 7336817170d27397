"""etcd's responses: the fields to read of them (a client), and writing them (a server).

To read a response: ``protobuf.read_message(buf, at, end, X_NUMBERS, X_BYTES, fields)``; ``header_revision`` then
reads the header. Writers return the end of what they wrote and need at most RESPONSE_BYTES_MAX of room.
"""

from typing import Any

from kvbench.jit import kernel
from kvbench.rt.buffer import load_le64
from kvbench.wire.protobuf import (
    BYTES,
    ENDS,
    STARTS,
    VARINT,
    bytes_field_bytes,
    message_field_bytes,
    next_field,
    varint_field_bytes,
    write_bytes_field,
    write_length,
    write_varint_field,
)


def _mask(*numbers: int) -> int:
    return sum(1 << number for number in numbers)


HEADER = 1
"""Field number of the header in every response."""
ANY_NUMBERS, ANY_BYTES = _mask(3, 4), _mask(1, 2)
"""RangeResponse: kvs 2, more 3, count 4. PutResponse: prev_kv 2."""
COUNTED_NUMBERS, COUNTED_BYTES = _mask(2), _mask(1, 3)
"""DeleteRangeResponse: deleted 2, prev_kvs 3. TxnResponse: succeeded 2, responses 3."""
LEASE_NUMBERS, LEASE_BYTES = _mask(2, 3), _mask(1, 4)
"""LeaseGrantResponse: ID 2, TTL 3, error 4. LeaseKeepAliveResponse: ID 2, TTL 3."""
WATCH_NUMBERS, WATCH_BYTES = _mask(2, 3, 4, 5), _mask(1, 6, 11)
"""WatchResponse: watch_id 2, created 3, canceled 4, compact_revision 5; cancel_reason 6, events 11"""
KEY_VALUE_NUMBERS, KEY_VALUE_BYTES = _mask(2, 3, 4, 6), _mask(1, 5)
"""KeyValue: create_revision 2, mod_revision 3, version 4, lease 6; key 1, value 5"""
EVENT_NUMBERS, EVENT_BYTES = _mask(1), _mask(2, 3)
"""Event: type 1; kv 2, prev_kv 3"""
EVENTS = 11
EVENT_PUT, EVENT_DELETE = 0, 1

RESPONSE_BYTES_MAX = 128


@kernel
def number_in(buf: Any, at: int, end: int, number: int) -> int:
    """The number (VARINT >= 0) in field ``number`` of a message, 0 when absent, or a negative ProtobufError."""
    wanted = number << 3 | VARINT
    found = 0
    while at < end:
        tag, value, at = next_field(buf, at, end)
        if at < 0:
            return at
        if tag == wanted:
            found = value
    return found


@kernel
def header_revision(buf: Any, fields: Any) -> int:
    """The revision in the header of the response just read into ``fields``, or a negative ProtobufError."""
    return number_in(buf, fields[STARTS + HEADER], fields[ENDS + HEADER], 3)


@kernel
def mod_revision(buf: Any, at: int, end: int) -> int:
    """The mod revision of the KeyValue ``buf[at:end]``, or a negative ProtobufError."""
    return number_in(buf, at, end, 3)


@kernel
def sent_stamp(buf: Any, at: int, end: int) -> int:
    """The send time in the first 8 bytes of a KeyValue's value, 0 when the value is shorter; or a ProtobufError."""
    while at < end:
        tag, value, at = next_field(buf, at, end)
        if at < 0:
            return at
        if tag == (5 << 3 | BYTES):
            return load_le64(buf, value) if at - value >= 8 else 0
    return 0


@kernel
def write_header(buf: Any, at: int, revision: int) -> int:
    """A response's header, of cluster 1, member 1 and term 1."""
    at = write_length(buf, at, HEADER, 6 + varint_field_bytes(revision))
    at = write_varint_field(buf, at, 1, 1)
    at = write_varint_field(buf, at, 2, 1)
    at = write_varint_field(buf, at, 3, revision)
    return write_varint_field(buf, at, 4, 1)


@kernel
def key_value_bytes(key_bytes: int, value_bytes: int, revision: int) -> int:
    """Length of a KeyValue of version 1, created and changed at ``revision``."""
    return bytes_field_bytes(key_bytes) + bytes_field_bytes(value_bytes) + 2 * varint_field_bytes(revision) + 2


@kernel
def write_key_value(
    buf: Any, at: int, source: Any, key_at: int, key_bytes: int, value_at: int, value_bytes: int, revision: int
) -> int:
    """A KeyValue of version 1, created and changed at ``revision``."""
    at = write_bytes_field(buf, at, 1, source, key_at, key_bytes)
    at = write_varint_field(buf, at, 2, revision)
    at = write_varint_field(buf, at, 3, revision)
    at = write_varint_field(buf, at, 4, 1)
    return write_bytes_field(buf, at, 5, source, value_at, value_bytes)


@kernel
def write_event(buf: Any, at: int, kind: int, size: int) -> int:
    """In a WatchResponse: what comes before the KeyValue of ``size`` bytes of an event of ``kind``."""
    at = write_length(buf, at, EVENTS, message_field_bytes(size) + varint_field_bytes(kind))
    at = write_varint_field(buf, at, 1, kind)
    return write_length(buf, at, 2, size)
