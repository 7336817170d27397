"""When leases end: the leader's business. The store knows which leases there are, not when.

A lease that is due is not kept alive any more, even while its revocation is still on its way. A new leader gives every
lease its whole time again.
"""

from typing import Any

from kvbench.jit import kernel
from kvbench.node.codes import BUSY
from kvbench.node.proposing import submit
from kvbench.ops.entries import LEASE_REVOKE
from kvbench.raft.records import LEADER
from kvbench.wire.protobuf import write_varint_field

SECOND_NS = 1_000_000_000
TTL_S_MAX = 4_000_000_000
"""A longer time, which etcd allows, never ends either."""
RETRY_NS = 3_000_000_000
"""After so long without effect a revocation is proposed again."""
SWEEPS = 50
"""In so many ticks every lease is looked at once."""
EXPIRIES_MAX = 16
"""Revocations proposed in one tick (etcd: 1,000 a second)."""


@kernel
def span_ns(node: Any, slot: int) -> int:
    """The time to live of the lease in a slot of the store."""
    return min(int(node.store.leases[slot]["ttl_s"]), TTL_S_MAX) * SECOND_NS


@kernel
def renew(node: Any, now: int, slot: int) -> None:
    """The lease has its whole time before it."""
    node.deadlines[slot] = now + span_ns(node, slot)


@kernel
def renew_all(node: Any, now: int) -> None:
    """This member leads from now on, and does not know when leases were kept alive last."""
    for slot in range(int(node.store.state[0]["lease_top"])):
        if node.store.leases[slot]["id"] != 0:
            node.deadlines[slot] = now + span_ns(node, slot) + int(node.state[0]["election_ns"])


@kernel
def is_due(node: Any, now: int, slot: int) -> bool:
    """Whether the lease has ended; its revocation may be under way."""
    return bool(node.deadlines[slot] <= now)


@kernel
def revoke(node: Any, now: int, slot: int) -> int:
    """Propose that a lease that is due ends. Returns 0 when that is under way, or BUSY."""
    deadline = int(node.deadlines[slot])
    if deadline < 0 and now < -deadline:
        return 0
    size = write_varint_field(node.scratch, 0, 1, int(node.store.leases[slot]["id"]))
    if submit(node, now, LEASE_REVOKE, -1, node.scratch, 0, size) != 0:
        return BUSY
    if deadline > 0:
        node.statistics[0]["leases_expired"] += 1
    node.deadlines[slot] = -(now + RETRY_NS)
    return 0


@kernel
def sort_by_deadline(node: Any, count: int) -> None:
    """Sort the ``count`` slots in the store's ``found``: which lease ends first comes first (a heap sort)."""
    found = node.store.found
    for root in range(count // 2 - 1, -1, -1):
        sift_down(node, root, count)
    for end in range(count - 1, 0, -1):
        last = int(found[end])
        found[end] = found[0]
        found[0] = last
        sift_down(node, 0, end)


@kernel
def sift_down(node: Any, root: int, count: int) -> None:
    """Restore the heap of the first ``count`` slots in ``found``, latest end first, below ``root``."""
    found, deadlines = node.store.found, node.deadlines
    slot = int(found[root])
    child = 2 * root + 1
    while child < count:
        if child + 1 < count and deadlines[int(found[child])] < deadlines[int(found[child + 1])]:
            child += 1
        if deadlines[int(found[child])] <= deadlines[slot]:
            break
        found[root] = found[child]
        root = child
        child = 2 * root + 1
    found[root] = slot


@kernel
def expire(node: Any, now: int) -> None:
    """A tick of the leader: end leases that are due, looking at a part of them at a time."""
    state = node.state[0]
    if node.raft.state[0]["role"] != LEADER or state["loading"] != 0:
        return
    total = int(node.store.state[0]["lease_top"])
    slot = int(state["lease_swept"])
    proposed = 0
    for _ in range((total + SWEEPS - 1) // SWEEPS):
        if slot >= total:
            slot = 0
        if node.store.leases[slot]["id"] != 0 and is_due(node, now, slot):
            if proposed == EXPIRIES_MAX or revoke(node, now, slot) != 0:
                break
            proposed += 1
        slot += 1
    state["lease_swept"] = slot
