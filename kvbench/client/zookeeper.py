"""ZooKeeper's client: the six kernels of a protocol's client (ARCHITECTURE.md), and one to say goodbye.

What each operation is on the wire stands in ``client.table``; sessions and leases in ``client.zookeeper_session``,
watches in ``client.zookeeper_watch``.
"""

from typing import Any

from kvbench.client.zookeeper_answers import answer
from kvbench.client.zookeeper_queue import answered, finish, put_outcome
from kvbench.client.zookeeper_records import (
    ATTACHED,
    AUTHENTICATING,
    DETACHED,
    DONE,
    HANDSHAKE,
    HANDSHAKE_TIMEOUT,
    SERVER_SILENT,
    SYNC,
    UNEXPECTED_FRAME,
    WATCH_EXISTS,
    WATCH_READ,
    ZooKeeperClient,
    ZooKeeperCode,
    new_client,
)
from kvbench.client.zookeeper_requests import TXN, submit_multi, submit_operation
from kvbench.client.zookeeper_session import (
    LEASE_GRANT,
    LEASE_KEEP_ALIVE,
    LEASE_REVOKE,
    greet,
    leave,
    open_ordinary,
    ping,
    receive_greeting,
    submit_lease,
)
from kvbench.client.zookeeper_watch import WATCH, ask_due, hand_out, settle, submit_watch, watches_lost
from kvbench.jit import kernel
from kvbench.ops.errors import ErrorCode
from kvbench.wire import jute, jute_replies

__all__ = [
    "ZooKeeperClient",
    "ZooKeeperCode",
    "cancel",
    "close_session",
    "lost",
    "new_client",
    "opened",
    "receive",
    "submit",
    "tick",
]

_CONNECTION_LOST = int(ErrorCode.CONNECTION_LOST)
_RESPONSE_TOO_LARGE = int(ErrorCode.RESPONSE_TOO_LARGE)
_UNIMPLEMENTED = int(ErrorCode.UNIMPLEMENTED)
_LARGE_HEADER_BYTES = jute.FRAME_HEADER_BYTES + jute.REPLY_HEADER_BYTES
_NS_PER_MS = 1_000_000
_PLACES = 2
"""Free places among the outcomes that one frame may need."""


@kernel
def opened(client: Any, net: Any, connection: int, now: int) -> int:
    """TCP is up: ask for a session, the former one if there was one. With lease_sessions: ready as it is."""
    state = client.sessions[connection]
    state["next_xid"] = 1
    state["answer_xid"] = 1
    state["skip_bytes"] = 0
    state["phase"] = DETACHED
    state["leased"] = 0
    if client.lease_sessions == 1:
        net.connections[connection]["ready"] = 1
        return 0
    greet(client, net, connection, client.session_timeout_ms)
    return 0


@kernel
def submit(
    client: Any, net: Any, connection: int, slot: int, operations: Any, count: int, payload: Any, now: int
) -> int:
    """Encode ``operations[0:count]`` as the request of ``slot``: 1 accepted, 0 blocked, negative: -ErrorCode."""
    operation = operations[0]
    kind = int(operation["kind"])
    if kind == LEASE_GRANT or kind == LEASE_KEEP_ALIVE or kind == LEASE_REVOKE:
        if client.lease_sessions == 0:
            return -_UNIMPLEMENTED
        return submit_lease(client, net, connection, slot, operation, payload)
    if client.sessions[connection]["phase"] != ATTACHED:
        if client.lease_sessions == 1:
            open_ordinary(client, net, connection)
        return 0
    if kind == TXN:
        return submit_multi(client, net, connection, slot, operations, count, payload)
    if kind == WATCH:
        return submit_watch(client, net, connection, slot, operation, payload)
    return submit_operation(client, net, connection, slot, operation, payload)


@kernel
def receive(client: Any, net: Any, connection: int, now: int, outcomes: Any, count: int) -> int:
    """Decode what was read. Returns the new number of outcomes, or a negative code: the connection is to be broken."""
    state = client.sessions[connection]
    record = net.connections[connection]
    base = connection * net.rx_bytes
    start, end = base + int(record["rx_start"]), base + int(record["rx_end"])
    record["more"] = 0
    while True:
        if state["events_left"] > 0:
            count = hand_out(state, outcomes, count)
        if state["skip_bytes"] > 0:
            skipped = min(state["skip_bytes"], end - start)
            state["skip_bytes"] -= skipped
            start += skipped
        size = jute.frame_size(net.rx, start, end, client.frame_bytes_max)
        if size <= 0:
            if size < 0:
                return size
            break
        if size > end - start and (size <= net.rx_bytes or end - start < _LARGE_HEADER_BYTES):
            break
        if count + _PLACES > len(outcomes):
            record["more"] = 1
            break
        if size > end - start:
            count = receive_large(client, net, connection, start, size, outcomes, count)
        elif state["phase"] >= AUTHENTICATING:
            count = answer(client, net, connection, start, start + size, outcomes, count)
        elif state["phase"] == HANDSHAKE:
            count = receive_greeting(client, net, connection, start, start + size, outcomes, count)
        else:
            return UNEXPECTED_FRAME
        if count < 0:
            return count
        start += size if state["skip_bytes"] == 0 else 0
    record["rx_start"] = start - base
    if state["events_left"] > 0:
        record["more"] = 1
    if state["watches_due"] > 0 and state["phase"] == ATTACHED:
        ask_due(client, net, connection)
    return count


@kernel
def receive_large(client: Any, net: Any, connection: int, at: int, size: int, outcomes: Any, count: int) -> int:
    """The beginning of an answer that the read buffer cannot hold: its request ends, the rest will be skipped."""
    state = client.sessions[connection]
    if state["phase"] != ATTACHED:
        return UNEXPECTED_FRAME
    reply = client.reply[0]
    jute_replies.decode_reply_header(net.rx, at, at + _LARGE_HEADER_BYTES, reply)
    state["skip_bytes"] = size
    if reply["zxid"] > state["last_zxid"]:
        state["last_zxid"] = reply["zxid"]
    if reply["xid"] == jute.XID_NOTIFICATION:
        return UNEXPECTED_FRAME
    base, mask = connection * client.ring_size, client.ring_size - 1
    position = answered(client.ring, base, mask, state, int(reply["xid"]))
    if position < 0:
        return position
    entry = client.ring[position]
    if entry["action"] == WATCH_READ or entry["action"] == WATCH_EXISTS:
        count = settle(client, net, connection, entry["key_index"], outcomes, count, _RESPONSE_TOO_LARGE)
    else:
        slot, kind = int(entry["slot"]), int(entry["kind"])
        count = put_outcome(outcomes, count, slot, kind, _RESPONSE_TOO_LARGE, 0, 0, 0)
    finish(client.ring, base, mask, state, position)
    return count


@kernel
def cancel(client: Any, net: Any, connection: int, slot: int, now: int) -> int:
    """The request timed out: it keeps its place, so that answers still match, and its answer is dropped."""
    state = client.sessions[connection]
    base, mask = connection * client.ring_size, client.ring_size - 1
    for position in range(state["head"], state["tail"]):
        entry = client.ring[base + (position & mask)]
        if entry["slot"] == slot:
            entry["slot"] = -1
    if state["lease_slot"] == slot:
        state["lease_slot"] = -1
    watch = int(state["watch_first"])
    while watch >= 0:
        if client.watches[watch]["slot"] == slot:
            client.watches[watch]["slot"] = -1
        watch = int(client.watches[watch]["next"])
    return 0


@kernel
def tick(client: Any, net: Any, connection: int, now: int) -> int:
    """Ping when nothing was sent for a third of the session's time-out. Leases live by LEASE_KEEP_ALIVE alone."""
    state = client.sessions[connection]
    record = net.connections[connection]
    phase = int(state["phase"])
    if phase == HANDSHAKE or phase == AUTHENTICATING:
        waited = now - record["opened_ns"]
        if client.lease_sessions == 0 and waited > client.session_timeout_ms * _NS_PER_MS:
            return HANDSHAKE_TIMEOUT
        return 0
    if phase != ATTACHED:
        return 0
    timeout_ns = int(state["timeout_ms"]) * _NS_PER_MS
    if state["head"] != state["tail"] and now - record["last_received_ns"] > timeout_ns:
        return SERVER_SILENT
    if state["watches_due"] > 0:
        ask_due(client, net, connection)
    idle = record["tx_start"] == record["tx_end"] and (now - record["last_sent_ns"]) * 3 >= timeout_ns
    if idle and state["leased"] == 0:
        ping(client, net, connection, -1)
    return 0


@kernel
def lost(client: Any, net: Any, connection: int, outcomes: Any, count: int) -> int:
    """The connection is gone: CONNECTION_LOST for each request on it, the session kept for the next connection.

    Returns the new number of outcomes. When they are full, ``more`` is set: empty them and call again.
    """
    state = client.sessions[connection]
    record = net.connections[connection]
    base, mask = connection * client.ring_size, client.ring_size - 1
    record["more"] = 0
    count = hand_out(state, outcomes, count)
    while state["head"] < state["tail"] and count < len(outcomes):
        entry = client.ring[base + (state["head"] & mask)]
        if entry["action"] != DONE and entry["action"] != SYNC:
            slot, kind = int(entry["slot"]), int(entry["kind"])
            count = put_outcome(outcomes, count, slot, kind, _CONNECTION_LOST, 0, 0, 0)
        state["head"] += 1
    watch = int(state["watch_first"])
    while watch >= 0 and count < len(outcomes):
        slot = int(client.watches[watch]["slot"])
        client.watches[watch]["slot"] = -1
        count = put_outcome(outcomes, count, slot, WATCH, _CONNECTION_LOST, 0, 0, 0)
        watch = int(client.watches[watch]["next"])
    if state["lease_slot"] >= 0 and count < len(outcomes):
        slot = int(state["lease_slot"])
        state["lease_slot"] = -1
        count = put_outcome(outcomes, count, slot, LEASE_GRANT, _CONNECTION_LOST, 0, 0, 0)
    if state["head"] < state["tail"] or watch >= 0 or state["lease_slot"] >= 0 or state["events_left"] > 0:
        record["more"] = 1
        return count
    state["head"] = 0
    state["tail"] = 0
    state["phase"] = DETACHED
    state["skip_bytes"] = 0
    watches_lost(client.watches, state)
    return count


@kernel
def close_session(client: Any, net: Any, connection: int, now: int) -> int:
    """Before the connection is closed for good: tell the server, which else keeps the session until it expires.

    Returns 1: flush and wait for the peer to close; 0: there is no session to close, or no room to say so.
    """
    if client.sessions[connection]["phase"] != ATTACHED:
        return 0
    return leave(client, net, connection, -1)
