"""A member's step: everything that its runner calls.

The runner hands over what came (``offer``, ``deliver``, ``written``, ``tick``, ``command``), then calls ``advance``
until it returns 0, and after each call takes what there is to do: disk commands, frames for other members, replies.
``now`` is a clock in ns that never goes back. The same calls in the same order give the same results.
"""

from enum import IntEnum
from typing import Any

from kvbench.jit import entry, kernel
from kvbench.node import commands, pending, reads
from kvbench.node.applying import apply_some
from kvbench.node.changes import observe
from kvbench.node.completing import complete
from kvbench.node.leases import expire
from kvbench.node.outgoing import give_up_sending
from kvbench.node.proposing import ACTIVATE, DEACTIVATE, NOSPACE, raise_alarm
from kvbench.node.reading import PEER, begin_read, send_read_entries
from kvbench.node.receiving import receive
from kvbench.node.records import NO_MEMBER
from kvbench.node.requests import offer as offer_request
from kvbench.node.sending import send_all
from kvbench.node.snapshots import keep_snapshots, tick_snapshots
from kvbench.node.writing import make_segment, write_log, write_mark
from kvbench.raft import core
from kvbench.store import alarms
from kvbench.wire import peer as frames

ALARM_REST_NS = 10_000_000_000
"""How long an alarm must not have been seen before it is forgotten whose it was."""


@kernel
def offer(node: Any, now: int, handle: int, method: int, buf: Any, at: int, end: int) -> int:
    """A client's request, a message of a method of ``wire.etcd_methods``.

    Returns 0: taken, a REPLY with this handle will come, perhaps at once; 1: not now, nothing was taken; or a
    StoreError: refused, and certainly not done.
    """
    code = offer_request(node, now, handle, method, buf, at, end)
    counts = node.statistics[0]
    if code == 0:
        counts["offered"] += 1
    elif code > 0:
        counts["busy"] += 1
    else:
        counts["refused"] += 1
    return code


@kernel
def deliver(node: Any, now: int, sender: int, buf: Any, at: int, end: int) -> int:
    """A whole frame, not a HELLO, from a member. Returns 0, or a PeerError: break that connection."""
    if node.state[0]["failed"] != 0:
        return 0
    code = receive(node, now, sender, buf, at, end)
    observe(node, now)
    return code


@kernel
def greet(node: Any, buf: Any, at: int, end: int) -> int:
    """The position of the member whose HELLO this is, or a PeerError."""
    state = node.state[0]
    return frames.read_hello(buf, at, end, int(state["member"]), int(state["cluster_id"]), int(state["members"]))


@kernel
def disconnected(node: Any, now: int, peer: int) -> None:
    """What was on its way to a member is lost, and whether its requests came through is not known."""
    link = node.links[peer]
    link["connected"] = 0
    link["start"] = 0
    link["end"] = 0
    link["count"] = 0
    core.unreachable(node.raft, peer)
    give_up_sending(node, peer)
    pending.give_up_forwarded(node, peer)


@kernel
def connected(node: Any, now: int, peer: int) -> None:
    """Frames for a member can leave from now on; its outbox is empty."""
    if node.links[peer]["connected"] != 0:
        disconnected(node, now, peer)
    node.links[peer]["connected"] = 1


@kernel
def written(node: Any, now: int, sequence: int, result: int) -> None:
    """A DISK_COMMAND is done: ``result`` is the number of bytes read (READ) or 0, or -errno."""
    if node.state[0]["failed"] == 0:
        complete(node, now, sequence, result)


@kernel
def command(node: Any, now: int, kind: int, a: int, handle: int) -> int:
    """A rare call, a CommandKind with its argument. Returns 0: a REPLY will come; 1: not now; or a StoreError."""
    code = commands.command(node, now, kind, a, handle)
    observe(node, now)
    return code


@kernel
def keep_alarm(node: Any, now: int) -> None:
    """A full disk is an alarm; when it has room again, the alarm that this member raised for it is taken back.

    The mark keeps that it is this member's, from before it is raised: it may start anew meanwhile. It stays so for a
    while after the alarm was last seen, because one that was proposed may come late.
    """
    state = node.state[0]
    raft = node.raft.state[0]
    member_id = int(state["member_ids"][int(state["member"])])
    is_raised = alarms.is_raised(node.store, member_id, NOSPACE)
    if state["disk_full"] != 0:
        state["disk_alarm"] = 1
        state["alarm_rest"] = 0
        if not is_raised and state["mark_alarm"] != 0:
            raise_alarm(node, now, ACTIVATE)
    elif state["disk_alarm"] != 0:
        if is_raised:
            state["alarm_rest"] = 0
            if node.store.state[0]["used_bytes"] <= state["quota_bytes"]:
                raise_alarm(node, now, DEACTIVATE)
        elif raft["leader"] != NO_MEMBER and state["applied"] == raft["commit"]:
            state["alarm_rest"] += 1
            if int(state["alarm_rest"]) * int(state["tick_ns"]) > ALARM_REST_NS:
                state["disk_alarm"] = 0


@kernel
def tick(node: Any, now: int) -> None:
    """``tick_ns`` have passed."""
    if node.state[0]["failed"] != 0:
        return
    node.statistics[0]["ticks"] += 1
    core.tick(node.raft)
    observe(node, now)
    pending.give_up_late(node, now)
    reads.give_up_late(node, now)
    expire(node, now)
    keep_alarm(node, now)
    tick_snapshots(node, now)


@kernel
def advance(node: Any, now: int) -> int:
    """Do what has become possible, a bounded part of it. Returns 1: there is more; 0: nothing until something comes."""
    state = node.state[0]
    if state["failed"] != 0:
        return 0
    observe(node, now)
    reads.ask(node, now)
    more = core.send_due(node.raft)
    send_all(node)
    write_mark(node, now)
    make_segment(node, now)
    write_log(node)
    more |= keep_snapshots(node, now)
    if state["loading"] == 0:
        more |= apply_some(node, now)
    if state["reader"] == PEER and state["reader_ready"] != 0:
        send_read_entries(node)
    more |= reads.serve(node, now)
    more |= commands.go_on(node, now)
    begin_read(node)
    return more


@kernel
def replies_taken(node: Any) -> None:
    """The runner has taken all replies and their bytes."""
    node.state[0]["replies"] = 0
    node.state[0]["reply_end"] = 0


class Call(IntEnum):
    """What ``call`` is to do."""

    OFFER = 0
    """a: handle, b: method; the request's bytes"""
    DELIVER = 1
    """a: sender; the frame's bytes"""
    WRITTEN = 2
    """a: sequence, b: result"""
    TICK = 3
    ADVANCE = 4
    CONNECTED = 5
    """a: peer"""
    DISCONNECTED = 6
    """a: peer"""
    REPLIES_TAKEN = 7
    GREET = 8
    """The frame's bytes"""
    COMMAND = 9
    """a: handle, b: CommandKind; its argument in place of ``at``"""


OFFER, DELIVER, WRITTEN, TICK, ADVANCE, CONNECTED, DISCONNECTED, REPLIES_TAKEN, GREET, COMMAND = (
    int(what) for what in Call
)


@entry
def call(node: Any, now: int, what: int, a: int, b: int, buf: Any, at: int, end: int) -> int:
    """All of the above behind one function, which is compiled once for all that call it: see ``node.calls``."""
    code = 0
    if what == OFFER:
        code = offer(node, now, a, b, buf, at, end)
    elif what == DELIVER:
        code = deliver(node, now, a, buf, at, end)
    elif what == WRITTEN:
        written(node, now, a, b)
    elif what == TICK:
        tick(node, now)
    elif what == ADVANCE:
        code = advance(node, now)
    elif what == CONNECTED:
        connected(node, now, a)
    elif what == DISCONNECTED:
        disconnected(node, now, a)
    elif what == REPLIES_TAKEN:
        replies_taken(node)
    elif what == GREET:
        code = greet(node, buf, at, end)
    elif what == COMMAND:
        code = command(node, now, b, at, a)
    return code
