"""Entries: a leader's proposals, and what other members forward to it."""

from typing import Any

import numpy as np

from kvbench.jit import kernel
from kvbench.log import append as log_append
from kvbench.node.codes import BUSY
from kvbench.node.outbox import room, sent
from kvbench.node.pending import NO_REQUEST
from kvbench.node.records import NO_MEMBER
from kvbench.ops.entries import ALARM, LEASE_GRANT, NO_ORIGIN, NOOP, PREFIX_BYTES, PUT, EntryKind
from kvbench.ops.status import StoreError
from kvbench.raft import core
from kvbench.raft.records import LEADER, TRANSFERRING
from kvbench.raft.terms import size_between
from kvbench.rt import rng
from kvbench.store import leases
from kvbench.store.requests import needs_space
from kvbench.wire import etcd_methods, peer
from kvbench.wire.etcd_methods import Method
from kvbench.wire.protobuf import write_varint_field

NO_SPACE, TOO_MANY_REQUESTS = int(StoreError.NO_SPACE), int(StoreError.TOO_MANY_REQUESTS)
LEADER_CHANGED, REQUEST_TOO_LARGE = int(StoreError.LEADER_CHANGED), int(StoreError.REQUEST_TOO_LARGE)
_METHOD = np.array([-1, *(int(Method[kind.name]) for kind in list(EntryKind)[1:])], np.int64)
"""int64[EntryKind]: the method whose request it is."""
ALARM_EVERY_NS = 1_000_000_000
ACTIVATE, DEACTIVATE, NOSPACE = 1, 2, 1
"""Actions of an AlarmRequest, and the kind of alarm."""


@kernel
def choose_lease(node: Any) -> int:
    """The id of a lease that does not exist."""
    state = node.state[0]
    while True:
        state["lease_count"] += 1
        lease_id = rng.integer(int(state["lease_seed"]), int(state["lease_count"]))
        if lease_id != 0 and leases.find(node.store, lease_id) < 0:
            return lease_id


@kernel
def propose(node: Any, now: int, kind: int, origin: int, boot: int, request: int, buf: Any, at: int, size: int) -> int:
    """A leader appends an entry. Returns its index, 0 when there is no room for it, or a negative code of ``raft``."""
    if not log_append.has_room(node.log, PREFIX_BYTES + size):
        return 0
    lease_id = 0
    if kind == LEASE_GRANT and leases.lease_id_of(node.store, etcd_methods.LEASE_GRANT, buf, at, at + size) == 0:
        lease_id = choose_lease(node)
    index = core.propose(node.raft, PREFIX_BYTES + size)
    if index < 0:
        return index
    term = int(node.raft.state[0]["term"])
    log_append.append_request(node.log, index, term, kind, origin, boot, request, now, lease_id, buf, at, size)
    node.statistics[0]["proposals"] += 1
    return index


@kernel
def begin_term(node: Any, now: int) -> None:
    """A new leader's first entry, as soon as there is room for it."""
    if not log_append.has_room(node.log, PREFIX_BYTES):
        return
    index = core.noop(node.raft, PREFIX_BYTES)
    if index > 0:
        term = int(node.raft.state[0]["term"])
        log_append.append_request(node.log, index, term, NOOP, NO_ORIGIN, 0, NO_REQUEST, now, 0, node.scratch, 0, 0)


@kernel
def submit(node: Any, now: int, kind: int, slot: int, buf: Any, at: int, size: int) -> int:
    """Have an entry made of a request of this member: the one at ``slot`` of ``pending``, or one that nobody awaits.

    Returns 0, or BUSY: nothing was done.
    """
    state = node.state[0]
    raft = node.raft.state[0]
    boot, request = int(state["boot"]), NO_REQUEST
    if slot >= 0:
        request = int(node.pending[slot]["request"])
    if raft["role"] == LEADER:
        tail = size_between(node.raft, int(raft["commit"]), int(raft["last_index"]))
        if slot >= 0 and tail > 0 and tail + size > state["own_bytes_max"]:
            return BUSY
        index = propose(node, now, kind, int(state["member"]), boot, request, buf, at, size)
        if index <= 0:
            return BUSY
        if slot >= 0:
            node.pending[slot]["index"] = index
        return 0
    leader = int(raft["leader"])
    if leader == NO_MEMBER or leader == state["member"]:
        return BUSY
    link = node.links[leader]
    if link["forwarded_bytes"] > 0 and link["forwarded_bytes"] + size > state["forward_bytes_max"]:
        return BUSY
    to = room(node, leader, size + peer.FRAME_BYTES_MIN)
    if to < 0:
        return BUSY
    term = int(raft["term"])
    end = peer.write_forward(node.outbox, to, int(state["member"]), kind, boot, request, term, buf, at, size)
    sent(node, leader, end)
    if slot >= 0:
        node.pending[slot]["forwarded"] = leader
        node.pending[slot]["bytes"] = size
        link["forwarded_bytes"] += size
    node.statistics[0]["forwarded"] += 1
    return 0


@kernel
def refuse(node: Any, sender: int, boot: int, request: int, code: int) -> None:
    """Tell a member that its request was not proposed; when that does not go out, its client's deadline will pass."""
    to = room(node, sender, peer.FRAME_BYTES_MIN)
    if request < 0 or to < 0:
        return
    sent(node, sender, peer.write_refused(node.outbox, to, int(node.state[0]["member"]), boot, request, code))
    node.statistics[0]["forwards_refused"] += 1


@kernel
def is_repeated(node: Any, sender: int, boot: int, request: int) -> bool:
    """Whether a request came before, or others after it: members number theirs in the order in which they send them.

    It may have been proposed then, so it must not be again, nor be refused as if it had not.
    """
    term = int(node.raft.state[0]["term"])
    link = node.links[sender]
    is_known = link["heard_term"] == term and boot <= link["heard_boot"]
    if request < 0:
        return False
    if is_known and (boot < link["heard_boot"] or request <= link["heard_request"]):
        return True
    link["heard_term"] = term
    link["heard_boot"] = boot
    link["heard_request"] = request
    return False


@kernel
def on_forward(node: Any, now: int, sender: int, buf: Any, at: int, end: int) -> int:
    """FORWARD: propose it, if this is the leader of the term that the sender believes in."""
    state = node.state[0]
    raft = node.raft.state[0]
    kind = peer.number(buf, at, peer.FORWARD_KIND)
    boot = peer.number(buf, at, peer.FORWARD_BOOT)
    request = peer.number(buf, at, peer.FORWARD_REQUEST)
    start = peer.bytes_at(at, peer.FORWARD_NUMBERS)
    if kind < PUT or kind > ALARM or end - start > state["request_bytes_max"]:
        return peer.BODY_SIZE
    if raft["role"] != LEADER or peer.number(buf, at, peer.FORWARD_TERM) != raft["term"] or state["stopping"] != 0:
        refuse(node, sender, boot, request, LEADER_CHANGED)
        return 0
    if is_repeated(node, sender, boot, request):
        return 0
    if state["disk_full"] != 0 and needs_space(node.store, int(_METHOD[kind]), buf, start, end):
        refuse(node, sender, boot, request, NO_SPACE)
        return 0
    index = propose(node, now, kind, sender, boot, request, buf, start, end - start)
    if index <= 0:
        refuse(node, sender, boot, request, LEADER_CHANGED if index == TRANSFERRING else TOO_MANY_REQUESTS)
    return 0


@kernel
def write_alarm(node: Any, action: int) -> int:
    """An AlarmRequest about NOSPACE of this member, in ``scratch``. Returns its length."""
    state = node.state[0]
    end = write_varint_field(node.scratch, 0, 1, action)
    end = write_varint_field(node.scratch, end, 2, int(state["member_ids"][int(state["member"])]))
    return write_varint_field(node.scratch, end, 3, NOSPACE)


@kernel
def raise_alarm(node: Any, now: int, action: int) -> None:
    """Propose that NOSPACE holds, or no longer; not more often than once a second."""
    state = node.state[0]
    if now < state["alarm_ns"]:
        return
    state["alarm_ns"] = now + ALARM_EVERY_NS
    if submit(node, now, ALARM, -1, node.scratch, 0, write_alarm(node, action)) == 0:
        node.statistics[0]["alarms_raised"] += 1
