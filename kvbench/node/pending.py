"""Requests that wait for their entry, and the answers that clients get."""

from typing import Any

from kvbench.jit import kernel
from kvbench.node.records import NO_MEMBER
from kvbench.ops.status import StoreError

LEADER_CHANGED, TIMEOUT = int(StoreError.LEADER_CHANGED), int(StoreError.TIMEOUT)
FREE = -1
NO_REQUEST = -2
"""A request that nobody waits for."""
SWEEPS = 64
"""In so many ticks every request's deadline is looked at once."""


@kernel
def reply(node: Any, handle: int, method: int, code: int, size: int) -> None:
    """Answer a client: with a refusal (code < 0), or with the ``size`` bytes at the end of ``reply_bytes``."""
    state = node.state[0]
    place = int(state["replies"])
    answer = node.replies[place]
    answer["handle"] = handle
    answer["method"] = method
    answer["code"] = code
    answer["at"] = state["reply_end"]
    answer["bytes"] = size
    state["replies"] = place + 1
    state["reply_end"] += size


@kernel
def owed(node: Any) -> int:
    """Answers that clients are still to get."""
    state = node.state[0]
    return len(node.pending) - int(state["pending_free"]) + int(state["read_tail"]) - int(state["read_head"])


@kernel
def may_owe_more(node: Any) -> bool:
    """Whether, when everyone who waits were answered now, there were still room for another answer."""
    return int(node.state[0]["replies"]) + owed(node) + len(node.commands) < len(node.replies)


@kernel
def await_entry(node: Any, now: int, handle: int, method: int) -> int:
    """A new request of a client. Returns its place in ``pending`` (its number is in there), or FREE when it is full."""
    state = node.state[0]
    count = int(state["pending_free"])
    if count == 0:
        return FREE
    slot = int(node.free[count - 1])
    state["pending_free"] = count - 1
    state["request_count"] += 1
    entry = node.pending[slot]
    entry["request"] = int(state["request_count"]) * len(node.pending) + slot
    entry["handle"] = handle
    entry["method"] = method
    entry["forwarded"] = NO_MEMBER
    entry["index"] = 0
    entry["lease_id"] = 0
    entry["keys"] = 0
    entry["bytes"] = 0
    entry["deadline_ns"] = now + int(state["request_timeout_ns"])
    return slot


@kernel
def waiting(node: Any, boot: int, request: int) -> int:
    """The place of the request of this member with that number, or FREE: nobody waits for it (any more)."""
    if boot != node.state[0]["boot"] or request < 0:
        return FREE
    slot = request % len(node.pending)
    return slot if node.pending[slot]["request"] == request else FREE


@kernel
def let_go(node: Any, slot: int) -> None:
    """The request has been answered."""
    state = node.state[0]
    entry = node.pending[slot]
    if entry["forwarded"] != NO_MEMBER:
        node.links[int(entry["forwarded"])]["forwarded_bytes"] -= entry["bytes"]
    entry["request"] = FREE
    node.free[int(state["pending_free"])] = slot
    state["pending_free"] += 1


@kernel
def give_back(node: Any, slot: int) -> None:
    """The request that was just given this place is not taken after all."""
    node.pending[slot]["forwarded"] = NO_MEMBER
    let_go(node, slot)


@kernel
def give_up(node: Any, slot: int, code: int) -> None:
    """Answer a request with a refusal."""
    entry = node.pending[slot]
    reply(node, int(entry["handle"]), int(entry["method"]), code, 0)
    node.statistics[0]["proposals_failed"] += 1
    let_go(node, slot)


@kernel
def give_up_forwarded(node: Any, peer: int) -> None:
    """What was forwarded to ``peer`` (NO_MEMBER: to anyone) may or may not be done: say so. Nobody sends it again."""
    if owed(node) == 0:
        return
    for slot in range(len(node.pending)):
        entry = node.pending[slot]
        if entry["request"] < 0 or entry["forwarded"] == NO_MEMBER:
            continue
        if peer == NO_MEMBER or entry["forwarded"] == peer:
            give_up(node, slot, LEADER_CHANGED)


@kernel
def give_up_replaced(node: Any, index: int) -> None:
    """Entries from ``index`` on were replaced by a new leader's: those of clients of this member are lost."""
    if owed(node) == 0:
        return
    for slot in range(len(node.pending)):
        entry = node.pending[slot]
        if entry["request"] >= 0 and entry["forwarded"] == NO_MEMBER and entry["index"] >= index:
            give_up(node, slot, LEADER_CHANGED)


@kernel
def give_up_late(node: Any, now: int) -> None:
    """A tick: refuse requests that waited too long, a part of the table at a time."""
    state = node.state[0]
    total = len(node.pending)
    swept = int(state["pending_swept"])
    for _ in range((total + SWEEPS - 1) // SWEEPS):
        entry = node.pending[swept]
        if entry["request"] >= 0 and now >= entry["deadline_ns"]:
            give_up(node, swept, TIMEOUT)
        swept = swept + 1 if swept + 1 < total else 0
    state["pending_swept"] = swept
