"""Reads: each waits for an index that the leader has confirmed, and until that is applied here.

They form one queue, [head, tail): those before ``confirmed`` know their index, those before ``asked`` wait for the
round that is out, the others for the next one. A keep-alive of a lease, or a question about one, is a read at the
leader: confirmed means that it still was the leader after the request came.
"""

from typing import Any

from kvbench.jit import kernel
from kvbench.node.codes import BUSY
from kvbench.node.leases import SECOND_NS, is_due, renew, revoke, sort_by_deadline
from kvbench.node.outbox import room, sent
from kvbench.node.pending import reply
from kvbench.node.records import ASK, NO_MEMBER
from kvbench.ops.status import StoreError
from kvbench.raft import core
from kvbench.raft.records import LEADER
from kvbench.rt.buffer import copy
from kvbench.store import leases, reads
from kvbench.store.records import NO_ROOM
from kvbench.wire import peer
from kvbench.wire.etcd_methods import LEASE_KEEP_ALIVE, LEASE_LEASES, LEASE_TIME_TO_LIVE
from kvbench.wire.protobuf import write_varint_field

LEADER_CHANGED, TIMEOUT = int(StoreError.LEADER_CHANGED), int(StoreError.TIMEOUT)
RESPONSE_TOO_LARGE = int(StoreError.RESPONSE_TOO_LARGE)
NO_LEASE = -1
DONE, FULL, WAIT = 0, 1, 2
"""What became of a read: answered, no room for its answer now, it must wait."""
ANSWER_BYTES_MIN = 1024
"""Room that any small answer has."""


@kernel
def enqueue(node: Any, now: int, handle: int, method: int, buf: Any, at: int, size: int) -> int:
    """A read whose request is the ``size`` bytes at ``buf[at]``. Returns 0, or BUSY."""
    state = node.state[0]
    tail, total = int(state["read_tail"]), len(node.read_bytes)
    if tail - int(state["read_head"]) == len(node.reads):
        return BUSY
    start = int(state["read_bytes_tail"])
    if tail == state["read_head"]:
        start = 0
        state["read_bytes_head"] = 0
    elif start % total + size > total:
        start += total - start % total
    if start + size - int(state["read_bytes_head"]) > total:
        return BUSY
    copy(node.read_bytes, start % total, buf, at, size)
    read = node.reads[tail % len(node.reads)]
    read["handle"] = handle
    read["method"] = method
    read["at"] = start % total
    read["bytes"] = size
    read["bytes_end"] = start + size
    read["index"] = 0
    read["asker"] = NO_MEMBER
    read["boot"] = 0
    read["request"] = 0
    read["lease_id"] = 0
    read["ttl_s"] = ASK
    read["keys"] = 0
    read["deadline_ns"] = now + int(state["request_timeout_ns"])
    state["read_bytes_tail"] = start + size
    state["read_tail"] = tail + 1
    return 0


@kernel
def leave(node: Any) -> None:
    """The oldest read is answered."""
    state = node.state[0]
    head = int(state["read_head"])
    state["read_bytes_head"] = node.reads[head % len(node.reads)]["bytes_end"]
    state["read_head"] = head + 1
    state["read_confirmed"] = max(int(state["read_confirmed"]), head + 1)
    state["read_asked"] = max(int(state["read_asked"]), head + 1)


@kernel
def ask(node: Any, now: int) -> None:
    """Ask for a read index for all that have come since the last round, unless one is out that may still come back."""
    state = node.state[0]
    tail = int(state["read_tail"])
    if state["read_asked"] > state["read_confirmed"]:
        if now - int(state["read_ns"]) < int(state["election_ns"]) // 2:
            return
        state["read_asked"] = state["read_confirmed"]
    if state["read_asked"] == tail:
        return
    context = int(state["read_context"]) + 1
    if core.read(node.raft, context) == 0:
        state["read_context"] = context
        state["read_asked"] = tail
        state["read_ns"] = now
        node.statistics[0]["read_rounds"] += 1


@kernel
def ask_again(node: Any) -> None:
    """Term or leader changed: the round that is out will not come back.

    Questions about leases may wait for an entry that will never be applied now; they are answered all the same.
    """
    state = node.state[0]
    state["read_asked"] = state["read_confirmed"]
    for k in range(int(state["read_head"]), int(state["read_confirmed"])):
        read = node.reads[k % len(node.reads)]
        if read["lease_id"] != 0 and read["ttl_s"] == ASK:
            read["index"] = 0


@kernel
def confirm(node: Any) -> None:
    """Take the read indexes that ``raft`` has found."""
    state = node.state[0]
    raft = node.raft.state[0]
    for place in range(int(raft["read_count"])):
        found = node.raft.reads[place]
        if found["context"] != state["read_context"]:
            continue
        index = int(found["index"])
        for k in range(int(state["read_confirmed"]), int(state["read_asked"])):
            read = node.reads[k % len(node.reads)]
            read["index"] = max(int(read["index"]), index)
        state["read_confirmed"] = state["read_asked"]
    raft["read_count"] = 0


@kernel
def remaining_s(node: Any, now: int, read: Any) -> int:
    """What the leader says of a lease: its time to live in seconds, renewed by a keep-alive; NO_LEASE; ASK: wait.

    A lease that is due is waited for until it is revoked, or this member no longer leads.
    """
    slot = leases.find(node.store, int(read["lease_id"]))
    if slot < 0:
        return NO_LEASE
    if is_due(node, now, slot):
        if revoke(node, now, slot) == 0:
            read["index"] = node.raft.state[0]["last_index"]
        return ASK
    if read["method"] == LEASE_KEEP_ALIVE:
        renew(node, now, slot)
        node.statistics[0]["lease_keep_alives"] += 1
        return int(node.store.leases[slot]["ttl_s"])
    return (int(node.deadlines[slot]) - now) // SECOND_NS


@kernel
def write_lease(node: Any, read: Any, ttl_s: int) -> int:
    """The response about a lease, at the end of ``reply_bytes``. Returns its bytes, or NO_ROOM."""
    to, limit = int(node.state[0]["reply_end"]), len(node.reply_bytes)
    lease_id = int(read["lease_id"])
    if read["method"] == LEASE_KEEP_ALIVE:
        return leases.write_keep_alive(node.store, lease_id, max(ttl_s, 0), node.reply_bytes, to)
    size = write_varint_field(node.scratch, 0, 1, lease_id)
    size = write_varint_field(node.scratch, size, 2, int(read["keys"]))
    return leases.time_to_live(node.store, node.scratch, 0, size, ttl_s, node.reply_bytes, to, limit)


@kernel
def answer_asker(node: Any, read: Any, code: int, ttl_s: int) -> None:
    """Tell another member about a lease."""
    asker = int(read["asker"])
    to = room(node, asker, peer.FRAME_BYTES_MIN)
    if to < 0:
        return
    member, boot, request = int(node.state[0]["member"]), int(read["boot"]), int(read["request"])
    index = int(node.state[0]["applied"])
    sent(node, asker, peer.write_answer(node.outbox, to, member, boot, request, code, ttl_s, index))


@kernel
def answer_lease(node: Any, now: int, read: Any) -> int:
    """Answer a keep-alive, or a question about a lease. Returns DONE, FULL or WAIT."""
    code = 0
    ttl_s = int(read["ttl_s"])
    if ttl_s == ASK:
        if node.raft.state[0]["role"] == LEADER:
            ttl_s = remaining_s(node, now, read)
            if ttl_s == ASK:
                return WAIT
        else:
            code = LEADER_CHANGED
    if read["asker"] != NO_MEMBER:
        answer_asker(node, read, code, ttl_s)
        return DONE
    size = code if code < 0 else write_lease(node, read, ttl_s)
    return finish(node, read, size)


@kernel
def finish(node: Any, read: Any, size: int) -> int:
    """Reply with the ``size`` bytes that are there, or a refusal (size < 0). Returns DONE, or FULL: not now."""
    if size == NO_ROOM:
        if node.state[0]["reply_end"] > 0:
            return FULL
        size = RESPONSE_TOO_LARGE
    reply(node, int(read["handle"]), int(read["method"]), min(size, 0), max(size, 0))
    node.statistics[0]["reads"] += 1
    return DONE


@kernel
def answer(node: Any, now: int, read: Any) -> int:
    """Answer a read whose index is applied. Returns DONE, FULL or WAIT."""
    method = int(read["method"])
    if method == LEASE_KEEP_ALIVE or method == LEASE_TIME_TO_LIVE:
        return answer_lease(node, now, read)
    to, limit = int(node.state[0]["reply_end"]), len(node.reply_bytes)
    if method == LEASE_LEASES:
        count = leases.list_slots(node.store)
        if node.raft.state[0]["role"] == LEADER:
            sort_by_deadline(node, count)
        size = leases.lease_list(node.store, count, node.reply_bytes, to, limit)
    else:
        at = int(read["at"])
        size = reads.read(node.store, method, node.read_bytes, at, at + int(read["bytes"]), node.reply_bytes, to, limit)
    return finish(node, read, size)


@kernel
def serve(node: Any, now: int) -> int:
    """Answer what can be answered, up to a limit. Returns 1 when there is more to do."""
    state = node.state[0]
    confirm(node)
    ask(node, now)
    begin = int(state["reply_end"])
    while state["read_head"] < state["read_confirmed"] and state["loading"] == 0:
        read = node.reads[int(state["read_head"]) % len(node.reads)]
        if read["index"] > state["applied"]:
            return 0
        used = int(state["reply_end"])
        if used - begin > state["apply_bytes_max"]:
            return 1
        if used + ANSWER_BYTES_MIN > len(node.reply_bytes):
            return 1
        done = answer(node, now, read)
        if done != DONE:
            return 1 if done == FULL else 0
        leave(node)
    return 0


@kernel
def read_now(node: Any, now: int, handle: int, method: int, buf: Any, at: int, end: int) -> int:
    """Answer a serializable read from what is here. Returns 0, or BUSY."""
    to, limit = int(node.state[0]["reply_end"]), len(node.reply_bytes)
    size = reads.read(node.store, method, buf, at, end, node.reply_bytes, to, limit)
    if size == NO_ROOM:
        if to > 0:
            return BUSY
        size = RESPONSE_TOO_LARGE
    reply(node, handle, method, min(size, 0), max(size, 0))
    node.statistics[0]["reads_serializable"] += 1
    return 0


@kernel
def give_up_late(node: Any, now: int) -> None:
    """A tick: refuse reads that waited too long. They came in order, so the oldest is the first to be late."""
    state = node.state[0]
    while state["read_head"] < state["read_tail"]:
        read = node.reads[int(state["read_head"]) % len(node.reads)]
        if now < read["deadline_ns"]:
            return
        if read["asker"] == NO_MEMBER:
            reply(node, int(read["handle"]), int(read["method"]), TIMEOUT, 0)
            node.statistics[0]["reads_failed"] += 1
        leave(node)
