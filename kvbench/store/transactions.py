"""Transactions laid flat: TXN_OP records in the order of a walk through the nested request.

Each transaction comes before its comparisons, these before its success branch, that before its failure branch. So one
pass forward decides every comparison before what hangs on it, and the operations of a list stand in order.
"""

from typing import Any

from kvbench.jit import kernel
from kvbench.ops.status import StoreError
from kvbench.store.records import NONE, TXN_DEPTH_MAX
from kvbench.wire.etcd_requests import FAILURE, OP_RANGE, OP_TXN
from kvbench.wire.protobuf import BYTES, next_field

BAD_REQUEST = int(StoreError.BAD_REQUEST)
TOO_MANY_OPERATIONS = int(StoreError.TOO_MANY_OPERATIONS)

COMPARE = 1
"""Field number of comparisons in a TxnRequest; the branches' are SUCCESS and FAILURE."""
OP_COMPARE = 5
"""Kind of a comparison; the other kinds are field numbers of RequestOp."""
FRAME = 3
"""Numbers in the stack for each open transaction: its record, how far it is read, which of its fields is read."""


@kernel
def flatten(store: Any, buf: Any, at: int, end: int) -> int:
    """Lay the TxnRequest ``buf[at:end]`` flat in ``ops``. Returns the number of records or a StoreError."""
    ops, stack = store.ops, store.state[0]["stack"]
    _begin(ops[0], OP_TXN, at, end, NONE, 0, 0)
    count = 1
    depth = 0
    stack[0] = 0
    stack[1] = at
    stack[2] = COMPARE
    while depth >= 0:
        base = depth * FRAME
        parent, position, field = stack[base], stack[base + 1], stack[base + 2]
        if position >= ops[parent]["end"]:
            stack[base + 1] = ops[parent]["at"]
            stack[base + 2] = field + 1
            if field == FAILURE:
                depth -= 1
            continue
        tag, value, position = next_field(buf, position, int(ops[parent]["end"]))
        if tag < 0:
            return BAD_REQUEST
        stack[base + 1] = position
        if tag != field << 3 | BYTES:
            continue
        if count == len(ops) or depth + 1 == TXN_DEPTH_MAX:
            return TOO_MANY_OPERATIONS
        ops[parent]["numbers"][field] += 1
        if field == COMPARE:
            _begin(ops[count], OP_COMPARE, value, position, parent, field, depth + 1)
        else:
            kind, start, stop = _operation(buf, value, position)
            if kind < 0:
                return BAD_REQUEST
            _begin(ops[count], kind, start, stop, parent, field, depth + 1)
            if kind == OP_TXN:
                depth += 1
                base += FRAME
                stack[base] = count
                stack[base + 1] = start
                stack[base + 2] = COMPARE
        count += 1
    return count


@kernel
def _begin(op: Any, kind: int, at: int, end: int, parent: int, branch: int, depth: int) -> None:
    op["kind"] = kind
    op["at"] = at
    op["end"] = end
    op["parent"] = parent
    op["branch"] = branch
    op["depth"] = depth
    for field in range(4):
        op["numbers"][field] = 0


@kernel
def _operation(buf: Any, at: int, end: int) -> tuple[int, int, int]:
    """(kind, beginning, end) of the request in a RequestOp, the last one if there are several; kind 0: none."""
    kind, start, stop = 0, at, at
    while at < end:
        tag, value, at = next_field(buf, at, end)
        if tag < 0:
            return BAD_REQUEST, 0, 0
        if tag & 7 == BYTES and OP_RANGE <= tag >> 3 <= OP_TXN:
            kind, start, stop = tag >> 3, value, at
    return kind, start, stop
