"""Linearizable reads without log entries: ReadIndex (thesis, section 6.4).

Reads that wait share a round of heartbeats: when a majority has answered it, this leader led when the round began, so
the commit index of that moment covers every write that was acknowledged before.
"""

from typing import Any

from kvbench.jit import kernel
from kvbench.raft.outbox import emit, has_room
from kvbench.raft.records import DONE, IGNORED, LEADER, NO_LEADER, NONE, READ_INDEX, READ_INDEX_ANSWER, TOO_MANY_READS
from kvbench.raft.terms import term_of


@kernel
def enqueue(raft: Any, asker: int, boot: int, context: int) -> int:
    """Let a read wait for the next round. Returns DONE, or TOO_MANY_READS."""
    state = raft.state[0]
    count = int(state["pending_count"])
    if count + int(state["read_count"]) >= len(raft.pending):
        return TOO_MANY_READS
    waiting = raft.pending[count]
    waiting["context"] = context
    waiting["asker"] = asker
    waiting["boot"] = boot
    waiting["round"] = state["round_sent"] + 1
    state["pending_count"] = count + 1
    return DONE


@kernel
def read(raft: Any, context: int) -> int:
    """Ask for an index to read at. Returns DONE, NO_LEADER or TOO_MANY_READS.

    It comes in ``reads`` with this context. A change of leader or term forgets it, and a message may be lost: then ask
    again with another context.
    """
    state = raft.state[0]
    if state["role"] == LEADER:
        return enqueue(raft, int(state["member"]), int(state["boot"]), context)
    if state["leader"] == NONE:
        return NO_LEADER
    if not has_room(raft):
        return TOO_MANY_READS
    raft.outbox[emit(raft, READ_INDEX, int(state["leader"]))]["context"] = context
    return DONE


@kernel
def on_read_index(raft: Any, message: Any) -> int:
    """READ_INDEX: a follower asks for its reads."""
    if raft.state[0]["role"] != LEADER:
        return IGNORED
    code = enqueue(raft, int(message["sender"]), int(message["boot"]), int(message["context"]))
    return DONE if code == DONE else IGNORED


@kernel
def confirm(raft: Any, context: int, index: int) -> None:
    """Hand a confirmed read to the caller."""
    state = raft.state[0]
    place = int(state["read_count"])
    if place < len(raft.reads):
        raft.reads[place]["context"] = context
        raft.reads[place]["index"] = index
        state["read_count"] = place + 1


@kernel
def on_read_index_answer(raft: Any, message: Any) -> int:
    """READ_INDEX_ANSWER: the leader confirms what was asked with ``context`` in the start ``hint_index``.

    A member that started anew may count its contexts from the beginning: an answer to its earlier life would be taken
    for one to a later read.
    """
    if message["hint_index"] != raft.state[0]["boot"]:
        return IGNORED
    confirm(raft, int(message["context"]), int(message["index"]))
    return DONE


@kernel
def begin_round(raft: Any) -> None:
    """Begin a round for the reads that wait, unless one is out or nothing of this term is committed yet.

    Before that a new leader does not know what its predecessors have committed (thesis, section 6.4, step 1).
    """
    state = raft.state[0]
    is_out = state["round_confirmed"] < state["round_sent"]
    if is_out or term_of(raft, int(state["commit"])) != state["term"]:
        return
    state["round_sent"] += 1
    state["round_index"] = state["commit"]
    if state["quorum"] == 1:
        state["round_confirmed"] = state["round_sent"]
    else:
        state["heartbeat_due"] = 1
        state["heartbeat_elapsed"] = 0


@kernel
def release(raft: Any) -> None:
    """Answer the reads of confirmed rounds, as long as there is room for it."""
    state = raft.state[0]
    count, done = int(state["pending_count"]), 0
    while done < count and raft.pending[done]["round"] <= state["round_confirmed"] and has_room(raft):
        waiting = raft.pending[done]
        if waiting["asker"] == state["member"]:
            confirm(raft, int(waiting["context"]), int(state["round_index"]))
        else:
            answer = raft.outbox[emit(raft, READ_INDEX_ANSWER, int(waiting["asker"]))]
            answer["context"] = waiting["context"]
            answer["hint_index"] = waiting["boot"]
            answer["index"] = state["round_index"]
        done += 1
    for place in range(done, count):
        raft.pending[place - done]["context"] = raft.pending[place]["context"]
        raft.pending[place - done]["asker"] = raft.pending[place]["asker"]
        raft.pending[place - done]["boot"] = raft.pending[place]["boot"]
        raft.pending[place - done]["round"] = raft.pending[place]["round"]
    state["pending_count"] = count - done


@kernel
def serve_reads(raft: Any) -> None:
    """Release what is confirmed; when nothing confirmed is left, begin the next round; alone, that confirms it."""
    state = raft.state[0]
    release(raft)
    if state["pending_count"] > 0 and raft.pending[0]["round"] > state["round_confirmed"]:
        begin_round(raft)
        if state["quorum"] == 1:
            release(raft)
