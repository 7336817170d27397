"""etcd's requests: writing them (a client), and the fields to read of them (a server).

Every writer has a ``..._bytes`` twin that gives the length beforehand. Keys and values are copied from ``source``.
To read a request: ``protobuf.read_message(buf, at, end, X_NUMBERS, X_BYTES, fields)``, then ``fields[NUMBER]`` and so
on by field number. Field numbers are those of etcd's rpc.proto (see kvbench/wire/proto/etcd.proto).
"""

from typing import Any

from kvbench.jit import kernel
from kvbench.rt.buffer import copy
from kvbench.wire.protobuf import (
    bytes_field_bytes,
    message_field_bytes,
    varint_bytes,
    varint_field_bytes,
    write_bytes_field,
    write_length,
    write_varint,
    write_varint_field,
)


def _mask(*numbers: int) -> int:
    return sum(1 << number for number in numbers)


PUT_NUMBERS, PUT_BYTES = _mask(3, 4, 5, 6), _mask(1, 2)
"""lease 3, prev_kv 4, ignore_value 5, ignore_lease 6; key 1, value 2"""
RANGE_NUMBERS, RANGE_BYTES = _mask(3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13), _mask(1, 2)
"""limit 3, revision 4, sort_order 5, sort_target 6, serializable 7, keys_only 8, count_only 9, min_mod_revision 10,
max_mod_revision 11, min_create_revision 12, max_create_revision 13; key 1, range_end 2"""
DELETE_NUMBERS, DELETE_BYTES = _mask(3), _mask(1, 2)
"""prev_kv 3; key 1, range_end 2"""
TXN_NUMBERS, TXN_BYTES = 0, _mask(1, 2, 3)
"""compare 1, success 2, failure 3: repeated, so walked with next_field"""
COMPARE_NUMBERS, COMPARE_BYTES = _mask(1, 2, 4, 5, 6, 8), _mask(3, 7)
"""result 1, target 2, version 4, create_revision 5, mod_revision 6, lease 8; key 3, value 7 (range_end is 64)"""
OPERATION_BYTES = _mask(1, 2, 3, 4)
"""RequestOp and ResponseOp: range 1, put 2, delete_range 3, txn 4"""
WATCH_BYTES = _mask(1, 2, 3)
"""create_request 1, cancel_request 2, progress_request 3"""
WATCH_CREATE_NUMBERS, WATCH_CREATE_BYTES = _mask(3, 4, 6, 7, 8), _mask(1, 2)
"""start_revision 3, progress_notify 4, prev_kv 6, watch_id 7, fragment 8; key 1, range_end 2"""
WATCH_CANCEL_NUMBERS = _mask(1)
"""watch_id 1"""
LEASE_NUMBERS = _mask(1, 2)
"""LeaseGrant: TTL 1, ID 2; LeaseRevoke and LeaseKeepAlive: ID 1"""

EQUAL, GREATER, LESS, NOT_EQUAL = 0, 1, 2, 3
"""Results of a comparison."""
VERSION, CREATE, MOD, VALUE, LEASE = 0, 1, 2, 3, 4
"""Targets of a comparison; the field that holds the operand is the target + 4."""

SUCCESS, FAILURE = 2, 3
"""Branches of a transaction, by field number."""
OP_RANGE, OP_PUT, OP_DELETE_RANGE, OP_TXN = 1, 2, 3, 4
"""Kinds of a branch's requests and responses, by field number."""


@kernel
def put_bytes(key_bytes: int, value_bytes: int, lease_id: int) -> int:
    """Length of a PutRequest."""
    return bytes_field_bytes(key_bytes) + bytes_field_bytes(value_bytes) + varint_field_bytes(lease_id)


@kernel
def write_put(
    buf: Any, at: int, source: Any, key_at: int, key_bytes: int, value_at: int, value_bytes: int, lease_id: int
) -> int:
    """A PutRequest."""
    at = write_bytes_field(buf, at, 1, source, key_at, key_bytes)
    at = write_bytes_field(buf, at, 2, source, value_at, value_bytes)
    return write_varint_field(buf, at, 3, lease_id)


@kernel
def range_bytes(key_bytes: int, end_bytes: int, limit: int, revision: int, serializable: int) -> int:
    """Length of a RangeRequest."""
    numbers = varint_field_bytes(limit) + varint_field_bytes(revision) + varint_field_bytes(serializable)
    return bytes_field_bytes(key_bytes) + bytes_field_bytes(end_bytes) + numbers


@kernel
def write_range(
    buf: Any,
    at: int,
    source: Any,
    key_at: int,
    key_bytes: int,
    end_at: int,
    end_bytes: int,
    limit: int,
    revision: int,
    serializable: int,
) -> int:
    """A RangeRequest of a key, or with ``end_bytes`` of the keys from it up to that end; limit 0: all."""
    at = write_bytes_field(buf, at, 1, source, key_at, key_bytes)
    at = write_bytes_field(buf, at, 2, source, end_at, end_bytes)
    at = write_varint_field(buf, at, 3, limit)
    at = write_varint_field(buf, at, 4, revision)
    return write_varint_field(buf, at, 7, serializable)


@kernel
def delete_bytes(key_bytes: int, end_bytes: int) -> int:
    """Length of a DeleteRangeRequest."""
    return bytes_field_bytes(key_bytes) + bytes_field_bytes(end_bytes)


@kernel
def write_delete(buf: Any, at: int, source: Any, key_at: int, key_bytes: int, end_at: int, end_bytes: int) -> int:
    """A DeleteRangeRequest."""
    at = write_bytes_field(buf, at, 1, source, key_at, key_bytes)
    return write_bytes_field(buf, at, 2, source, end_at, end_bytes)


@kernel
def compare_bytes(target: int, result: int, key_bytes: int, operand: int) -> int:
    """Length of a Compare; ``operand`` is the number, or for VALUE the length of the value."""
    size = varint_field_bytes(result) + varint_field_bytes(target) + bytes_field_bytes(key_bytes)
    if target == VALUE:
        return size + message_field_bytes(operand)
    return size + 1 + varint_bytes(operand)


@kernel
def write_compare(
    buf: Any,
    at: int,
    target: int,
    result: int,
    source: Any,
    key_at: int,
    key_bytes: int,
    operand: int,
    value_at: int,
) -> int:
    """A Compare; the operand is written even when it is 0, because its field says what is compared."""
    at = write_varint_field(buf, at, 1, result)
    at = write_varint_field(buf, at, 2, target)
    at = write_bytes_field(buf, at, 3, source, key_at, key_bytes)
    if target == VALUE:
        at = write_length(buf, at, 7, operand)
        copy(buf, at, source, value_at, operand)
        return at + operand
    buf[at] = (target + 4) << 3
    return write_varint(buf, at + 1, operand)


@kernel
def operation_bytes(size: int) -> int:
    """Length in a TxnRequest of a branch's request of ``size`` bytes, or in a TxnResponse of a response."""
    return message_field_bytes(message_field_bytes(size))


@kernel
def write_operation(buf: Any, at: int, branch: int, kind: int, size: int) -> int:
    """What comes before a request of ``size`` bytes and of ``kind`` (OP_PUT, ...) in a transaction's branch."""
    at = write_length(buf, at, branch, message_field_bytes(size))
    return write_length(buf, at, kind, size)


@kernel
def watch_create_bytes(key_bytes: int, end_bytes: int, start_revision: int, progress_notify: int) -> int:
    """Length of a WatchRequest that creates a watch."""
    size = bytes_field_bytes(key_bytes) + bytes_field_bytes(end_bytes)
    size += varint_field_bytes(start_revision) + varint_field_bytes(progress_notify)
    return message_field_bytes(size)


@kernel
def write_watch_create(
    buf: Any,
    at: int,
    source: Any,
    key_at: int,
    key_bytes: int,
    end_at: int,
    end_bytes: int,
    start_revision: int,
    progress_notify: int,
) -> int:
    """A WatchRequest that creates a watch; start revision 0: from now on."""
    size = bytes_field_bytes(key_bytes) + bytes_field_bytes(end_bytes)
    size += varint_field_bytes(start_revision) + varint_field_bytes(progress_notify)
    at = write_length(buf, at, 1, size)
    at = write_bytes_field(buf, at, 1, source, key_at, key_bytes)
    at = write_bytes_field(buf, at, 2, source, end_at, end_bytes)
    at = write_varint_field(buf, at, 3, start_revision)
    return write_varint_field(buf, at, 4, progress_notify)


@kernel
def write_watch_cancel(buf: Any, at: int, watch_id: int) -> int:
    """A WatchRequest that cancels a watch (at most 13 bytes)."""
    at = write_length(buf, at, 2, varint_field_bytes(watch_id))
    return write_varint_field(buf, at, 1, watch_id)


@kernel
def write_watch_progress(buf: Any, at: int) -> int:
    """A WatchRequest that asks for a progress notification (2 bytes)."""
    return write_length(buf, at, 3, 0)


@kernel
def lease_grant_bytes(ttl_s: int, lease_id: int) -> int:
    """Length of a LeaseGrantRequest."""
    return varint_field_bytes(ttl_s) + varint_field_bytes(lease_id)


@kernel
def write_lease_grant(buf: Any, at: int, ttl_s: int, lease_id: int) -> int:
    """A LeaseGrantRequest; lease id 0: the server chooses."""
    at = write_varint_field(buf, at, 1, ttl_s)
    return write_varint_field(buf, at, 2, lease_id)


@kernel
def lease_bytes(lease_id: int) -> int:
    """Length of a LeaseRevokeRequest or LeaseKeepAliveRequest."""
    return varint_field_bytes(lease_id)


@kernel
def write_lease(buf: Any, at: int, lease_id: int) -> int:
    """A LeaseRevokeRequest or LeaseKeepAliveRequest."""
    return write_varint_field(buf, at, 1, lease_id)
