"""Keep-alives of leases and questions about them, here and on their way to the leader and back."""

from typing import Any

from kvbench.jit import kernel
from kvbench.node.codes import BUSY
from kvbench.node.outbox import room, sent
from kvbench.node.pending import FREE, await_entry, give_up, let_go, reply, waiting
from kvbench.node.reads import ANSWER_BYTES_MIN, NO_LEASE, enqueue
from kvbench.node.records import NO_MEMBER
from kvbench.ops.status import StoreError
from kvbench.raft.records import LEADER
from kvbench.store import leases
from kvbench.wire import peer
from kvbench.wire.etcd_methods import LEASE_KEEP_ALIVE, LEASE_TIME_TO_LIVE
from kvbench.wire.protobuf import VARINT, next_field

LEADER_CHANGED, TOO_MANY_REQUESTS = int(StoreError.LEADER_CHANGED), int(StoreError.TOO_MANY_REQUESTS)
KEYS_TAG = 2 << 3 | VARINT


@kernel
def wants_keys(buf: Any, at: int, end: int) -> int:
    """Whether a LeaseTimeToLiveRequest asks for the lease's keys."""
    keys = 0
    while 0 <= at < end:
        tag, value, at = next_field(buf, at, end)
        if at >= 0 and tag == KEYS_TAG:
            keys = 1 if value != 0 else 0
    return keys


@kernel
def offer_lease(node: Any, now: int, handle: int, method: int, buf: Any, at: int, end: int) -> int:
    """A client's keep-alive of a lease, or question about it: for this member if it leads, else for the leader."""
    state = node.state[0]
    raft = node.raft.state[0]
    lease_id = leases.lease_id_of(node.store, method, buf, at, end)
    keys = wants_keys(buf, at, end) if method == LEASE_TIME_TO_LIVE else 0
    leader = int(raft["leader"])
    if raft["role"] == LEADER:
        if enqueue(node, now, handle, method, buf, at, 0) != 0:
            return BUSY
        read = node.reads[(int(state["read_tail"]) - 1) % len(node.reads)]
        read["lease_id"] = lease_id
        read["keys"] = keys
        return 0
    if leader == NO_MEMBER:
        return BUSY
    to = room(node, leader, peer.FRAME_BYTES_MIN)
    if to < 0:
        return BUSY
    slot = await_entry(node, now, handle, method)
    if slot == FREE:
        return BUSY
    entry = node.pending[slot]
    entry["forwarded"] = leader
    entry["lease_id"] = lease_id
    entry["keys"] = keys
    request, boot, term = int(entry["request"]), int(state["boot"]), int(raft["term"])
    sent(node, leader, peer.write_ask(node.outbox, to, int(state["member"]), method, boot, request, term, lease_id))
    return 0


@kernel
def on_lease_ask(node: Any, now: int, sender: int, buf: Any, at: int) -> int:
    """LEASE_ASK: a read for another member."""
    state = node.state[0]
    raft = node.raft.state[0]
    method = peer.number(buf, at, peer.ASK_METHOD)
    boot, request = peer.number(buf, at, peer.ASK_BOOT), peer.number(buf, at, peer.ASK_REQUEST)
    if method != LEASE_KEEP_ALIVE and method != LEASE_TIME_TO_LIVE:
        return peer.BODY_SIZE
    code = 0
    if raft["role"] != LEADER or raft["term"] != peer.number(buf, at, peer.ASK_TERM):
        code = LEADER_CHANGED
    elif enqueue(node, now, 0, method, buf, at, 0) != 0:
        code = TOO_MANY_REQUESTS
    if code != 0:
        to = room(node, sender, peer.FRAME_BYTES_MIN)
        if to >= 0:
            sent(node, sender, peer.write_answer(node.outbox, to, int(state["member"]), boot, request, code, 0, 0))
        return 0
    read = node.reads[(int(state["read_tail"]) - 1) % len(node.reads)]
    read["asker"] = sender
    read["boot"] = boot
    read["request"] = request
    read["lease_id"] = peer.number(buf, at, peer.ASK_LEASE)
    return 0


@kernel
def on_lease_answer(node: Any, now: int, buf: Any, at: int) -> int:
    """LEASE_ANSWER: what the leader says. The keys of a lease are this member's, once it is as far as the leader."""
    state = node.state[0]
    boot, request = peer.number(buf, at, peer.ANSWER_BOOT), peer.number(buf, at, peer.ANSWER_REQUEST)
    slot = waiting(node, boot, request)
    if slot == FREE:
        return 0
    entry = node.pending[slot]
    code, ttl_s = peer.number(buf, at, peer.ANSWER_CODE), peer.number(buf, at, peer.ANSWER_TTL_S)
    method, handle = int(entry["method"]), int(entry["handle"])
    if method != LEASE_KEEP_ALIVE and method != LEASE_TIME_TO_LIVE:
        return 0
    if code < 0:
        give_up(node, slot, code)
        return 0
    to = int(state["reply_end"])
    if method == LEASE_KEEP_ALIVE and to + ANSWER_BYTES_MIN <= len(node.reply_bytes):
        lease_id = int(entry["lease_id"])
        let_go(node, slot)
        size = leases.write_keep_alive(node.store, lease_id, max(ttl_s, 0), node.reply_bytes, to)
        reply(node, handle, method, 0, size)
        return 0
    if enqueue(node, now, handle, method, buf, at, 0) != 0:
        give_up(node, slot, TOO_MANY_REQUESTS)
        return 0
    read = node.reads[(int(state["read_tail"]) - 1) % len(node.reads)]
    read["lease_id"] = entry["lease_id"]
    read["keys"] = entry["keys"]
    read["ttl_s"] = max(ttl_s, NO_LEASE)
    read["index"] = peer.number(buf, at, peer.ANSWER_INDEX)
    let_go(node, slot)
    return 0
