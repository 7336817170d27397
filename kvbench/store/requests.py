"""What can be said of a request by its bytes alone: whether etcd would refuse it, whether it writes, whether it adds.

etcd's checks, and their order, are those of its api/v3rpc/key.go.
"""

from typing import Any

from kvbench.jit import kernel
from kvbench.ops.status import StoreError
from kvbench.rt.buffer import compare, equal
from kvbench.rt.hash import hash_bytes
from kvbench.store.records import NONE
from kvbench.store.transactions import OP_COMPARE, flatten
from kvbench.wire import etcd_methods
from kvbench.wire.etcd_requests import (
    COMPARE_BYTES,
    COMPARE_NUMBERS,
    DELETE_BYTES,
    DELETE_NUMBERS,
    FAILURE,
    LEASE_NUMBERS,
    OP_DELETE_RANGE,
    OP_PUT,
    OP_RANGE,
    OP_TXN,
    PUT_BYTES,
    PUT_NUMBERS,
    RANGE_BYTES,
    RANGE_NUMBERS,
)
from kvbench.wire.protobuf import ENDS, STARTS, read_message

BAD_REQUEST = int(StoreError.BAD_REQUEST)
EMPTY_KEY = int(StoreError.EMPTY_KEY)
KEY_NOT_FOUND = int(StoreError.KEY_NOT_FOUND)
VALUE_PROVIDED = int(StoreError.VALUE_PROVIDED)
LEASE_PROVIDED = int(StoreError.LEASE_PROVIDED)
INVALID_SORT_OPTION = int(StoreError.INVALID_SORT_OPTION)
TOO_MANY_OPERATIONS = int(StoreError.TOO_MANY_OPERATIONS)
DUPLICATE_KEY = int(StoreError.DUPLICATE_KEY)

WRITE, READ, SERIALIZABLE = 0, 1, 2
"""Kinds of request: to be proposed; to be read when this member is up to date; to be read as things are here."""
OPERATIONS_MAX = 128
"""etcd's --max-txn-ops."""
PAIRS_MAX = 1 << 22
"""A transaction with more pairs of a put and a delete counts as one of too many operations."""
COMPACT_NUMBERS = 1 << 1 | 1 << 2
TIME_TO_LIVE_NUMBERS = 1 << 1 | 1 << 2


@kernel
def check(store: Any, method: int, buf: Any, at: int, end: int) -> int:
    """0, or the StoreError with which etcd refuses the request ``buf[at:end]`` before it looks at any data."""
    fields = store.state[0]["fields"]
    if method == etcd_methods.PUT:
        return _check_put(fields, buf, at, end)
    if method == etcd_methods.RANGE:
        return _check_range(fields, buf, at, end)
    if method == etcd_methods.DELETE_RANGE:
        return _check_delete(fields, buf, at, end)
    if method == etcd_methods.TXN:
        count = flatten(store, buf, at, end)
        code = count if count < 0 else _check_operations(store, buf, count)
        return code if code < 0 else _check_duplicates(store, buf, count)
    numbers = LEASE_NUMBERS
    if method == etcd_methods.COMPACT:
        numbers = COMPACT_NUMBERS
    return BAD_REQUEST if read_message(buf, at, end, numbers, 0, fields) < 0 else 0


@kernel
def _check_put(fields: Any, buf: Any, at: int, end: int) -> int:
    if read_message(buf, at, end, PUT_NUMBERS, PUT_BYTES, fields) < 0:
        return BAD_REQUEST
    if fields[STARTS + 1] == fields[ENDS + 1]:
        return EMPTY_KEY
    if fields[5] != 0 and fields[STARTS + 2] != fields[ENDS + 2]:
        return VALUE_PROVIDED
    return LEASE_PROVIDED if fields[6] != 0 and fields[3] != 0 else 0


@kernel
def _check_range(fields: Any, buf: Any, at: int, end: int) -> int:
    if read_message(buf, at, end, RANGE_NUMBERS, RANGE_BYTES, fields) < 0:
        return BAD_REQUEST
    if fields[STARTS + 1] == fields[ENDS + 1]:
        return EMPTY_KEY
    order, target = fields[5], fields[6]
    return INVALID_SORT_OPTION if order < 0 or order > 2 or target < 0 or target > 4 else 0


@kernel
def _check_delete(fields: Any, buf: Any, at: int, end: int) -> int:
    if read_message(buf, at, end, DELETE_NUMBERS, DELETE_BYTES, fields) < 0:
        return BAD_REQUEST
    return EMPTY_KEY if fields[STARTS + 1] == fields[ENDS + 1] else 0


@kernel
def _note_keys(op: Any, fields: Any) -> None:
    op["key_at"] = fields[STARTS + 1]
    op["key_bytes"] = fields[ENDS + 1] - fields[STARTS + 1]
    op["end_at"] = fields[STARTS + 2]
    op["end_bytes"] = fields[ENDS + 2] - fields[STARTS + 2]


@kernel
def _check_operations(store: Any, buf: Any, count: int) -> int:
    """Check each part of a flattened transaction by itself; note keys and ranges of its writes."""
    ops, fields = store.ops, store.state[0]["fields"]
    for position in range(count):
        op = ops[position]
        kind, at, end = int(op["kind"]), int(op["at"]), int(op["end"])
        code = 0
        if kind == OP_TXN:
            code = _check_number(ops, position)
        elif kind == OP_COMPARE:
            if read_message(buf, at, end, COMPARE_NUMBERS, COMPARE_BYTES, fields) < 0:
                code = BAD_REQUEST
            elif fields[STARTS + 3] == fields[ENDS + 3]:
                code = EMPTY_KEY
        elif kind == OP_RANGE:
            code = _check_range(fields, buf, at, end)
        elif kind == OP_PUT:
            code = _check_put(fields, buf, at, end)
            _note_keys(op, fields)
        elif kind == OP_DELETE_RANGE:
            code = _check_delete(fields, buf, at, end)
            _note_keys(op, fields)
        else:
            code = KEY_NOT_FOUND
        if code < 0:
            return code
    return 0


@kernel
def _check_number(ops: Any, position: int) -> int:
    """0 or TOO_MANY_OPERATIONS: the longest list of a transaction against what its parents leave of the limit."""
    op = ops[position]
    parent = int(op["parent"])
    left = OPERATIONS_MAX if parent == NONE else int(ops[parent]["left"])
    most = 0
    for branch in range(1, FAILURE + 1):
        most = max(most, int(op["numbers"][branch]))
    op["left"] = left - most
    return TOO_MANY_OPERATIONS if most > left else 0


@kernel
def _meet(ops: Any, one: int, other: int) -> tuple[int, int]:
    """The two operations' places in the transaction that both are in, directly or deeper."""
    while ops[one]["depth"] > ops[other]["depth"]:
        one = int(ops[one]["parent"])
    while ops[other]["depth"] > ops[one]["depth"]:
        other = int(ops[other]["parent"])
    while ops[one]["parent"] != ops[other]["parent"]:
        one, other = int(ops[one]["parent"]), int(ops[other]["parent"])
    return one, other


@kernel
def _check_duplicates(store: Any, buf: Any, count: int) -> int:
    """0 or DUPLICATE_KEY: no key is put twice, nor put and deleted, but in branches that exclude each other.

    As in etcd, a delete in a nested transaction counts against puts that come later, one beside a put (on any level)
    always, and one whose range goes to the end of all keys never (its end, one zero byte, is taken as it stands). Of
    several puts of a key it is enough to compare those next to each other: if any two are in one list, then so are two
    neighbours.
    """
    ops, table = store.ops, store.found
    puts = deletes = 0
    for position in range(count):
        if ops[position]["kind"] == OP_PUT:
            puts += 1
        elif ops[position]["kind"] == OP_DELETE_RANGE:
            deletes += 1
    if puts == 0 or puts + deletes == 1:
        return 0
    if puts * deletes > PAIRS_MAX or 2 * puts > len(table):
        return TOO_MANY_OPERATIONS
    size = 2
    while size < 2 * puts:
        size *= 2
    for slot in range(size):
        table[slot] = 0
    for position in range(count):
        if ops[position]["kind"] == OP_PUT:
            if _is_put_before(ops, table, size, buf, position):
                return DUPLICATE_KEY
            if deletes > 0 and _is_deleted_too(ops, buf, position, count):
                return DUPLICATE_KEY
    return 0


@kernel
def _is_put_before(ops: Any, table: Any, size: int, buf: Any, put: int) -> bool:
    """Whether the last put of the same key is in one list with this one; ``table`` finds it, and now this one."""
    at, length = int(ops[put]["key_at"]), int(ops[put]["key_bytes"])
    slot = hash_bytes(buf, at, length, 0) & size - 1
    while table[slot] != 0:
        other = int(table[slot]) - 1
        if ops[other]["key_bytes"] == length and equal(buf, int(ops[other]["key_at"]), buf, at, length):
            table[slot] = put + 1
            one, other = _meet(ops, other, put)
            return bool(ops[one]["branch"] == ops[other]["branch"])
        slot = (slot + 1) & size - 1
    table[slot] = put + 1
    return False


@kernel
def _is_deleted_too(ops: Any, buf: Any, put: int, count: int) -> bool:
    """Whether a delete that counts against this put covers its key."""
    at, length = int(ops[put]["key_at"]), int(ops[put]["key_bytes"])
    for position in range(count):
        op = ops[position]
        if op["kind"] != OP_DELETE_RANGE:
            continue
        key_at, key_bytes = int(op["key_at"]), int(op["key_bytes"])
        end_at, end_bytes = int(op["end_at"]), int(op["end_bytes"])
        order = compare(buf, at, length, buf, key_at, key_bytes)
        below_end = end_bytes > 0 and compare(buf, at, length, buf, end_at, end_bytes) < 0
        if (order >= 0 and below_end) or (order == 0 and end_bytes == 0):
            one, other = _meet(ops, position, put)
            if ops[one]["branch"] == ops[other]["branch"] and (one == position or other == put or one < other):
                return True
    return False


@kernel
def kind(store: Any, method: int, buf: Any, at: int, end: int) -> int:
    """WRITE, READ or SERIALIZABLE, of a request that ``check`` found well."""
    fields = store.state[0]["fields"]
    if method == etcd_methods.RANGE:
        return _range_kind(fields, buf, at, end)
    if method != etcd_methods.TXN:
        return WRITE
    found = SERIALIZABLE
    for position in range(1, flatten(store, buf, at, end)):
        op = store.ops[position]
        if op["kind"] == OP_COMPARE:
            continue
        if op["kind"] != OP_RANGE or op["depth"] > 1:
            return WRITE
        found = min(found, _range_kind(fields, buf, int(op["at"]), int(op["end"])))
    return found


@kernel
def _range_kind(fields: Any, buf: Any, at: int, end: int) -> int:
    if read_message(buf, at, end, RANGE_NUMBERS, RANGE_BYTES, fields) < 0:
        return READ
    return SERIALIZABLE if fields[7] != 0 else READ


@kernel
def needs_space(store: Any, method: int, buf: Any, at: int, end: int) -> bool:
    """Whether a request is refused while there is no space: it puts a key, if only in one branch, or grants a lease."""
    if method == etcd_methods.PUT or method == etcd_methods.LEASE_GRANT:
        return True
    if method == etcd_methods.TXN:
        for position in range(flatten(store, buf, at, end)):
            if store.ops[position]["kind"] == OP_PUT:
                return True
    return False
