"""What a leader sends, all in one place and once per turn of the caller's loop, so that it goes out in batches."""

from typing import Any

from kvbench.jit import kernel
from kvbench.raft.outbox import emit, has_room
from kvbench.raft.progress import add_inflight, enter, window_is_open
from kvbench.raft.reading import serve_reads
from kvbench.raft.records import (
    APPEND,
    HEARTBEAT,
    LEADER,
    PROBING,
    QUIET,
    REPLICATING,
    RUNS_IN_MESSAGE,
    SNAPSHOT,
    SNAPSHOTTING,
    TIMEOUT_NOW,
)
from kvbench.raft.terms import fit, run_end, run_of, size_between, term_of

NOTHING = -1
BLIND_ENTRIES = 64
"""Most entries in an APPEND when their sizes are not known."""


@kernel
def batch_end(raft: Any, first: int) -> int:
    """The last entry of an APPEND that begins with ``first``; first - 1 when there is no such entry."""
    state = raft.state[0]
    before, last = first - 1, int(state["last_index"])
    if before >= last:
        return before
    if before < state["sized_from"]:
        return min(before + BLIND_ENTRIES, int(state["sized_from"]), last)
    if before >= state["sized_to"]:
        return min(before + BLIND_ENTRIES, last)
    return fit(raft, before, min(last, int(state["sized_to"])), int(state["message_bytes_max"]))


@kernel
def next_append(raft: Any, to: int) -> int:
    """The last entry of the APPEND that is due to a peer (its next - 1: one without entries), or NOTHING."""
    state = raft.state[0]
    peer = raft.peers[to]
    before = int(peer["next"]) - 1
    if peer["progress"] == SNAPSHOTTING or (peer["progress"] == PROBING and peer["paused"]):
        return NOTHING
    if peer["progress"] == PROBING or (before < state["last_index"] and window_is_open(raft, peer)):
        return batch_end(raft, before + 1)
    if peer["ping"] or min(int(state["commit"]), before) > peer["sent_commit"]:
        return before
    return NOTHING


@kernel
def write_runs(raft: Any, message: Any) -> None:
    """Give the terms of entries first .. last, fewer entries if there are more runs than a message holds."""
    first, last = int(message["first"]), int(message["last"])
    if last < first:
        return
    place = run_of(raft, first)
    count = 0
    while first <= last and count < RUNS_IN_MESSAGE:
        message["runs"][count]["index"] = first
        message["runs"][count]["term"] = raft.runs[place]["term"]
        count += 1
        first = run_end(raft, place) + 1
        place += 1
    message["run_count"] = count
    message["last"] = min(last, first - 1)


@kernel
def announce_snapshot(raft: Any, to: int) -> None:
    """A peer needs what is compacted. One that has not been heard of lately has to show first that it lives."""
    state = raft.state[0]
    peer = raft.peers[to]
    if not peer["active"]:
        enter(peer, PROBING, int(peer["match"]) + 1)
        peer["paused"] = 1
        return
    enter(peer, SNAPSHOTTING, int(peer["match"]) + 1)
    peer["snapshot_index"] = state["base_index"]
    message = raft.outbox[emit(raft, SNAPSHOT, to)]
    message["index"] = state["base_index"]
    message["log_term"] = state["base_term"]


@kernel
def send_append(raft: Any, to: int, last: int) -> None:
    """Send a peer its next entries up to ``last``, and note what is now on its way."""
    state = raft.state[0]
    peer = raft.peers[to]
    first = int(peer["next"])
    log_term = term_of(raft, first - 1)
    if log_term < 0:
        announce_snapshot(raft, to)
        return
    message = raft.outbox[emit(raft, APPEND, to)]
    message["index"] = first - 1
    message["log_term"] = log_term
    message["commit"] = state["commit"]
    message["first"] = first
    message["last"] = last
    write_runs(raft, message)
    last = int(message["last"])
    message["bytes"] = size_between(raft, first - 1, last)
    if peer["progress"] == PROBING:
        peer["paused"] = 1
    elif last >= first:
        add_inflight(peer, last)
        peer["next"] = last + 1
    elif not peer["ping"]:
        message["context"] = QUIET
    peer["ping"] = 0
    peer["sent_commit"] = min(int(state["commit"]), last)


@kernel
def send_heartbeats(raft: Any) -> None:
    """Tell all peers that the leader lives, and the round of reads that their answers confirm."""
    state = raft.state[0]
    for to in range(int(state["members"])):
        if to != state["member"]:
            message = raft.outbox[emit(raft, HEARTBEAT, to)]
            message["context"] = state["round_sent"]
            message["commit"] = min(int(raft.peers[to]["match"]), int(state["commit"]))
    state["heartbeat_due"] = 0


@kernel
def hand_over(raft: Any, to: int) -> None:
    """Let the transferee stand for election once it has all entries (thesis, section 3.10)."""
    state = raft.state[0]
    if state["timeout_now_sent"] == 0 and raft.peers[to]["match"] == state["last_index"]:
        emit(raft, TIMEOUT_NOW, to)
        state["timeout_now_sent"] = 1


@kernel
def send_due(raft: Any) -> int:
    """Put all that a leader has to send into the outbox. Returns 1 when there was no room for all of it, else 0.

    To be called once per turn, after everything that came in; again after the outbox was emptied, if it says so.
    """
    state = raft.state[0]
    if state["role"] != LEADER:
        return 0
    serve_reads(raft)
    if state["heartbeat_due"]:
        send_heartbeats(raft)
    for to in range(int(state["members"])):
        if to == state["member"]:
            continue
        last = next_append(raft, to)
        while last != NOTHING and has_room(raft):
            send_append(raft, to, last)
            last = next_append(raft, to)
        if state["transferee"] == to and raft.peers[to]["progress"] == REPLICATING:
            hand_over(raft, to)
    return 0 if has_room(raft) else 1
