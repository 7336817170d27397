"""Requests in flight on a connection to ZooKeeper, in the order of their answers; outcomes; error codes."""

from typing import Any

import numpy as np

from kvbench.client.outcomes import append
from kvbench.client.zookeeper_records import DONE, PING, XID_MISMATCH
from kvbench.jit import kernel
from kvbench.net import table
from kvbench.ops.errors import ErrorCode
from kvbench.wire import jute

_ZK_OTHER = int(ErrorCode.ZK_OTHER)
_ZERRS = np.array(
    [
        [jute.ZERR_CONNECTION_LOSS, ErrorCode.ZK_CONNECTION_LOSS],
        [jute.ZERR_MARSHALLING, ErrorCode.ZK_MARSHALLING],
        [jute.ZERR_UNIMPLEMENTED, ErrorCode.ZK_UNIMPLEMENTED],
        [jute.ZERR_OPERATION_TIMEOUT, ErrorCode.ZK_OPERATION_TIMEOUT],
        [jute.ZERR_BAD_ARGUMENTS, ErrorCode.ZK_BAD_ARGUMENTS],
        [jute.ZERR_NO_NODE, ErrorCode.ZK_NO_NODE],
        [jute.ZERR_NO_AUTH, ErrorCode.ZK_NO_AUTH],
        [jute.ZERR_BAD_VERSION, ErrorCode.ZK_BAD_VERSION],
        [jute.ZERR_NO_CHILDREN_FOR_EPHEMERALS, ErrorCode.ZK_NO_CHILDREN_FOR_EPHEMERALS],
        [jute.ZERR_NODE_EXISTS, ErrorCode.ZK_NODE_EXISTS],
        [jute.ZERR_NOT_EMPTY, ErrorCode.ZK_NOT_EMPTY],
        [jute.ZERR_SESSION_EXPIRED, ErrorCode.ZK_SESSION_EXPIRED],
        [jute.ZERR_INVALID_ACL, ErrorCode.ZK_INVALID_ACL],
        [jute.ZERR_AUTH_FAILED, ErrorCode.ZK_AUTH_FAILED],
        [jute.ZERR_THROTTLED, ErrorCode.ZK_THROTTLED],
    ],
    np.int64,
)


@kernel
def error_code(error: int) -> int:
    """The ErrorCode of a ZERR_*; ZK_OTHER for one without a name."""
    if error == 0:
        return 0
    for i in range(len(_ZERRS)):
        if _ZERRS[i, 0] == error:
            return int(_ZERRS[i, 1])
    return _ZK_OTHER


@kernel
def write_position(net: Any, state: Any, ring_size: int, connection: int, need: int, requests: int) -> int:
    """Where in ``net.tx`` a frame of at most ``need`` bytes can be written, -1: no room for it or for the requests.

    ``state`` is the connection's SESSION. One byte more than ``need`` may be written.
    """
    if state["tail"] - state["head"] + requests > ring_size:
        return -1
    if table.room(net, connection) <= need:
        return -1
    return int(connection * net.tx_bytes + net.connections[connection]["tx_end"])


@kernel
def written(net: Any, connection: int, end: int) -> None:
    """A frame was written that ends at ``end`` in ``net.tx``."""
    net.connections[connection]["tx_end"] = end - connection * net.tx_bytes
    table.mark_dirty(net, connection)


@kernel
def next_xid(state: Any) -> int:
    """The xid of the next request: 1 to 2**31 - 1, then 1 again."""
    xid = int(state["next_xid"])
    state["next_xid"] = xid + 1 if xid < 0x7FFFFFFF else 1
    return xid


@kernel
def push(ring: Any, base: int, mask: int, state: Any, action: int, slot: int, kind: int, step: int, index: int) -> None:
    """Append to the requests in flight, ``ring[base : base + mask + 1]``; ``write_position`` has seen to the room."""
    tail = int(state["tail"])
    entry = ring[base + (tail & mask)]
    entry["action"] = action
    entry["slot"] = slot
    entry["kind"] = kind
    entry["step"] = step
    entry["key_index"] = index
    entry["error"] = 0
    state["tail"] = tail + 1


@kernel
def answered(ring: Any, base: int, mask: int, state: Any, xid: int) -> int:
    """The position in ``ring`` of the request that the answer ``xid`` belongs to, or XID_MISMATCH."""
    position = int(state["head"])
    if xid == jute.XID_PING:
        while position < state["tail"] and ring[base + (position & mask)]["action"] != PING:
            position += 1
    else:
        if xid != state["answer_xid"]:
            return XID_MISMATCH
        while position < state["tail"]:
            action = int(ring[base + (position & mask)]["action"])
            if action != PING and action != DONE:
                break
            position += 1
        state["answer_xid"] = xid + 1 if xid < 0x7FFFFFFF else 1
    if position == state["tail"]:
        return XID_MISMATCH
    return base + (position & mask)


@kernel
def finish(ring: Any, base: int, mask: int, state: Any, position: int) -> None:
    """Take the request at ``ring[position]`` out: it keeps its place until those before it are answered."""
    ring[position]["action"] = DONE
    head, tail = int(state["head"]), int(state["tail"])
    while head < tail and ring[base + (head & mask)]["action"] == DONE:
        head += 1
    if head == tail:
        # A short queue that starts over stays in the processor's cache.
        head = 0
        state["tail"] = 0
    state["head"] = head


@kernel
def put_outcome(
    outcomes: Any, count: int, slot: int, kind: int, code: int, revision: int, found: int, next_step: int
) -> int:
    """Append an OUTCOME. Returns the new count. A ``slot`` of -1 (nobody's request any more) appends nothing."""
    if slot < 0:
        return count
    return append(outcomes, count, slot, kind, code, revision, found, next_step)
