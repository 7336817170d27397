"""Txn: comparisons on the state before it, checks of what would be done, then the operations and their responses.

A response's length stands before it but is known only behind it: each is written GAP_BYTES further on, and moved back
when its length is known.
"""

from typing import Any

from kvbench.jit import kernel
from kvbench.ops.status import StoreError
from kvbench.rt.buffer import compare, copy
from kvbench.store import queries, writes
from kvbench.store.key_values import write_header
from kvbench.store.layout import create_of, lease_of, mod_of, number_of, reference_at, value_at, value_bytes
from kvbench.store.records import HEADER_BYTES_MAX, NO_ROOM
from kvbench.store.transactions import OP_COMPARE, flatten
from kvbench.wire.etcd_requests import (
    COMPARE_BYTES,
    COMPARE_NUMBERS,
    EQUAL,
    FAILURE,
    GREATER,
    LESS,
    NOT_EQUAL,
    OP_DELETE_RANGE,
    OP_PUT,
    OP_RANGE,
    OP_TXN,
    SUCCESS,
)
from kvbench.wire.etcd_requests import CREATE as BY_CREATE
from kvbench.wire.etcd_requests import LEASE as BY_LEASE
from kvbench.wire.etcd_requests import MOD as BY_MOD
from kvbench.wire.etcd_requests import VALUE as BY_VALUE
from kvbench.wire.etcd_requests import VERSION as BY_VERSION
from kvbench.wire.protobuf import (
    BYTES,
    ENDS,
    STARTS,
    message_field_bytes,
    next_field,
    read_message,
    write_length,
    write_varint_field,
)

BAD_REQUEST = int(StoreError.BAD_REQUEST)
FUTURE_REVISION = int(StoreError.FUTURE_REVISION)
COMPACTED = int(StoreError.COMPACTED)

GAP_BYTES = 12
"""Two tags and two lengths of up to 2**35: ResponseOp's and that of the response in it."""
SUCCEEDED, RESPONSES = 2, 3
"""Fields of TxnResponse."""
RANGE_END = 64
"""Compare's field number of the end of a range, too large for ``read_message``."""


@kernel
def execute(store: Any, buf: Any, at: int, end: int, out: Any, to: int, limit: int, only_read: bool) -> int:
    """Do the TxnRequest ``buf[at:end]``. Returns its response's end, a StoreError, NO_ROOM or OUT_OF_MEMORY.

    With NO_ROOM all writes are done. ``only_read``: it is nothing but ranges, so nothing is done without room.
    """
    count = flatten(store, buf, at, end)
    if count < 0:
        return count
    _decide(store, buf, count)
    code = _check(store, buf, count)
    if code < 0:
        return code
    start = to + HEADER_BYTES_MAX
    body = _perform(store, buf, count, out, start, limit, only_read)
    if body < 0:
        return body
    to = write_header(store, out, to, int(store.state[0]["now"]))
    to = write_varint_field(out, to, SUCCEEDED, int(store.ops[0]["outcome"]))
    copy(out, to, out, start, body - start)
    return to + body - start


@kernel
def _decide(store: Any, buf: Any, count: int) -> None:
    """Evaluate the comparisons that matter, and mark the operations to be done."""
    ops = store.ops
    ops[0]["active"] = 1
    ops[0]["outcome"] = 1
    for position in range(1, count):
        op = ops[position]
        parent = ops[op["parent"]]
        if op["kind"] == OP_COMPARE:
            op["active"] = 0
            undecided = parent["active"] == 1 and parent["outcome"] == 1
            if undecided and not _holds(store, buf, int(op["at"]), int(op["end"])):
                parent["outcome"] = 0
        else:
            chosen = SUCCESS if parent["outcome"] == 1 else FAILURE
            op["active"] = 1 if parent["active"] == 1 and op["branch"] == chosen else 0
            op["outcome"] = 1


@kernel
def _holds(store: Any, buf: Any, at: int, end: int) -> bool:
    """Whether the Compare ``buf[at:end]`` is true: of its key, or of every key in its range."""
    state, fields, query = store.state[0], store.state[0]["fields"], store.query[0]
    if read_message(buf, at, end, COMPARE_NUMBERS, COMPARE_BYTES, fields) < 0:
        return False
    end_at, end_end = 0, 0
    union, value_from, value_end = 0, 0, 0
    while at < end:
        tag, value, at = next_field(buf, at, end)
        number = tag >> 3
        if tag == RANGE_END << 3 | BYTES:
            end_at, end_end = value, at
        elif 4 <= number <= 8:
            union = number
            if number == 7:
                value_from, value_end = value, at
    result, target = fields[1], fields[2]
    operand = fields[union] if union == target + 4 and union != 7 else 0
    if union != 7:
        value_from, value_end = 0, 0
    queries.set_extent(query, buf, fields[STARTS + 3], fields[ENDS + 3], end_at, end_end)
    queries.collect(store, buf, int(state["now"]), len(store.found) >> 1)
    if query["found"] == 0:
        return target != BY_VALUE and _satisfies(result, _compare_numbers(0, operand))
    for position in range(query["found"]):
        order = _order(store.arena, reference_at(store.found, position), target, operand, buf, value_from, value_end)
        if not _satisfies(result, order):
            return False
    return True


@kernel
def _compare_numbers(left: int, right: int) -> int:
    return 1 if left > right else -1 if left < right else 0


@kernel
def _order(arena: Any, version: int, target: int, operand: int, buf: Any, value_from: int, value_end: int) -> int:
    """-1, 0 or 1: a version's part named by ``target`` against the operand; an unknown target is equal to anything."""
    if target == BY_VALUE:
        size = value_bytes(arena, version)
        return compare(arena, value_at(arena, version), size, buf, value_from, value_end - value_from)
    if target == BY_VERSION:
        return _compare_numbers(number_of(arena, version), operand)
    if target == BY_CREATE:
        return _compare_numbers(create_of(arena, version), operand)
    if target == BY_MOD:
        return _compare_numbers(mod_of(arena, version), operand)
    if target == BY_LEASE:
        return _compare_numbers(lease_of(arena, version), operand)
    return 0


@kernel
def _satisfies(result: int, order: int) -> bool:
    """Whether ``order`` is what a comparison asks for; an unknown result is satisfied by all."""
    if result == EQUAL:
        return order == 0
    if result == GREATER:
        return order > 0
    if result == LESS:
        return order < 0
    return order != 0 if result == NOT_EQUAL else True


@kernel
def _check(store: Any, buf: Any, count: int) -> int:
    """0, or why one of the operations to be done cannot be, judged by the state before the transaction."""
    state, ops = store.state[0], store.ops
    for position in range(1, count):
        op = ops[position]
        if op["active"] == 0:
            continue
        code = 0
        if op["kind"] == OP_RANGE:
            code = queries.read_query(store, buf, int(op["at"]), int(op["end"]))
            revision = store.query[0]["revision"]
            if code == 0 and revision > state["revision"]:
                code = FUTURE_REVISION
            elif code == 0 and revision != 0 and revision < state["compacted"]:
                code = COMPACTED
        elif op["kind"] == OP_PUT:
            code = writes.check_put(store, buf, int(op["at"]), int(op["end"]))
        elif op["kind"] == OP_DELETE_RANGE:
            code = writes.read_delete(store, buf, int(op["at"]), int(op["end"]))
        if code < 0:
            return code
    return 0


@kernel
def _perform(store: Any, buf: Any, count: int, out: Any, to: int, limit: int, only_read: bool) -> int:
    """Do the operations marked, and write their responses to ``out[to:]``. Returns the end or a negative code."""
    ops = store.ops
    fits = to <= limit
    opened = 0
    for position in range(1, count):
        op = ops[position]
        if op["active"] == 0:
            continue
        while opened != op["parent"]:
            if fits:
                to = _close(out, int(ops[opened]["opened_at"]), to, OP_TXN)
            opened = int(ops[opened]["parent"])
        op["opened_at"] = to
        if op["kind"] == OP_TXN:
            opened = position
            if fits and to + GAP_BYTES + 4 > limit:
                fits = False
            if fits:
                to = write_length(out, to + GAP_BYTES, 1, 0)
                to = write_varint_field(out, to, SUCCEEDED, int(op["outcome"]))
            continue
        if only_read and not fits:
            return NO_ROOM
        start = to + GAP_BYTES
        stop = _perform_one(store, buf, op, out, start, limit if fits else start)
        if stop == NO_ROOM:
            fits = False
        elif stop < 0:
            return stop
        elif fits:
            to = _close(out, to, stop, int(op["kind"]))
    while fits and opened != 0:
        to = _close(out, int(ops[opened]["opened_at"]), to, OP_TXN)
        opened = int(ops[opened]["parent"])
    return to if fits else NO_ROOM


@kernel
def _perform_one(store: Any, buf: Any, op: Any, out: Any, to: int, limit: int) -> int:
    """Do one operation. Returns its response's end, NO_ROOM (it is done) or a negative code."""
    at, end = int(op["at"]), int(op["end"])
    if op["kind"] == OP_PUT:
        code = writes.read_put(store, buf, at, end)
        return code if code < 0 else writes.put(store, buf, out, to, limit, True)
    if op["kind"] == OP_DELETE_RANGE:
        code = writes.read_delete(store, buf, at, end)
        return code if code < 0 else writes.delete_range(store, buf, out, to, limit, True)
    if limit <= to:
        return NO_ROOM
    code = queries.read_query(store, buf, at, end)
    if code == 0:
        code = queries.run(store, buf)
    return code if code < 0 else queries.write_response(store, out, to, limit, True)


@kernel
def _close(out: Any, at: int, end: int, kind: int) -> int:
    """A response of ``kind`` lies at ``at`` + GAP_BYTES up to ``end``: put its tags and lengths before it."""
    start = at + GAP_BYTES
    size = end - start
    at = write_length(out, at, RESPONSES, message_field_bytes(size))
    at = write_length(out, at, kind, size)
    copy(out, at, out, start, size)
    return at + size
