"""A follower's part: entries, commit index and snapshots from the leader (paper, sections 5.3 and 7)."""

from typing import Any

from kvbench.jit import kernel
from kvbench.raft.outbox import acknowledge_to_leader, emit
from kvbench.raft.records import (
    APPEND_ANSWER,
    DIVERGED,
    DONE,
    ENTRIES,
    FOLLOWER,
    HEARTBEAT_ANSWER,
    LEADER,
    NONE,
    QUIET,
    SNAPSHOT_ANSWER,
    SNAPSHOT_WANTED,
    TWO_LEADERS,
)
from kvbench.raft.roles import follow
from kvbench.raft.terms import agreement, append_run, begin_at, run_end, run_of, term_of, truncate


@kernel
def heed(raft: Any, sender: int) -> int:
    """A message of the present term's leader: it lives. Returns 0, or TWO_LEADERS."""
    state = raft.state[0]
    if state["role"] == FOLLOWER and state["leader"] == sender:
        state["election_elapsed"] = 0
        return DONE
    if state["leader"] != NONE:
        return TWO_LEADERS
    follow(raft, int(state["term"]), sender)
    return DONE


@kernel
def learn_commit(raft: Any, index: int) -> None:
    """Entries up to ``index`` are committed, and this log agrees with the leader's so far."""
    state = raft.state[0]
    state["commit"] = max(int(state["commit"]), min(index, int(state["last_index"])))


@kernel
def first_new(raft: Any, message: Any, index: int) -> int:
    """The first entry from ``index`` to the message's last that this log lacks or has with another term; last + 1."""
    last = int(message["last"])
    count = int(message["run_count"])
    place = 0
    while index <= last and index <= raft.state[0]["last_index"]:
        while place + 1 < count and message["runs"][place + 1]["index"] <= index:
            place += 1
        own = run_of(raft, index)
        if raft.runs[own]["term"] != message["runs"][place]["term"]:
            return index
        end = run_end(raft, own)
        if place + 1 < count:
            end = min(end, int(message["runs"][place + 1]["index"]) - 1)
        index = end + 1
    return min(index, last + 1)


@kernel
def take(raft: Any, message: Any, index: int) -> int:
    """Let this log go on with the message's entries from ``index`` to its last; says so in ``accept_from`` and so on.

    Returns the log's new end: the last entry, or an earlier one when there is no place for another term.
    """
    state = raft.state[0]
    state["accept_from"] = index
    if index <= state["last_index"]:
        truncate(raft, index)
        state["truncated"] = 1
    count = int(message["run_count"])
    for place in range(count):
        end = int(message["last"])
        if place + 1 < count:
            end = int(message["runs"][place + 1]["index"]) - 1
        if end >= index and append_run(raft, end, int(message["runs"][place]["term"])) < 0:
            break
    state["accept_to"] = state["last_index"]
    return int(state["last_index"])


@kernel
def reject(raft: Any, message: Any) -> int:
    """The logs differ before the message's first entry: say where they may agree, skipping whole terms."""
    state = raft.state[0]
    index = int(message["index"])
    hint = agreement(raft, min(index, int(state["last_index"])), int(message["log_term"]))
    answer = raft.outbox[emit(raft, APPEND_ANSWER, int(message["sender"]))]
    answer["reject"] = 1
    answer["index"] = index
    answer["hint_index"] = hint
    answer["hint_term"] = term_of(raft, hint)
    return DONE


@kernel
def on_append(raft: Any, message: Any) -> int:
    """APPEND: entries first .. last behind ``index``, and the commit index. Entries that are here stay untouched.

    Returns ENTRIES with ``accept_from``, ``accept_to`` and ``truncated`` set when there is something to be stored;
    its acknowledgement then waits for ``core.persisted``.
    """
    state = raft.state[0]
    code = heed(raft, int(message["sender"]))
    if code < 0:
        return code
    before, commit = int(message["index"]), int(state["commit"])
    matches = before < state["base_index"] or term_of(raft, before) == message["log_term"]
    if not matches and before <= commit:
        return DIVERGED
    if not matches:
        return reject(raft, message)
    last = int(message["last"])
    index = first_new(raft, message, max(before, commit) + 1)
    found = index <= last
    if found:
        last = take(raft, message, index)
    state["verified_index"] = max(int(state["verified_index"]), last, commit)
    learn_commit(raft, min(int(message["commit"]), last))
    if not found and message["context"] != QUIET and state["verified_index"] <= state["durable_index"]:
        acknowledge_to_leader(raft, APPEND_ANSWER)
    return ENTRIES if found else DONE


@kernel
def on_heartbeat(raft: Any, message: Any) -> int:
    """HEARTBEAT: the leader lives; ``commit`` is at most what this member has acknowledged.

    The answer echoes the round (it confirms reads), and says in ``index`` how far this log is certainly the leader's
    and durable, and in ``hint_index`` which snapshot is being received.
    """
    state = raft.state[0]
    code = heed(raft, int(message["sender"]))
    if code < 0:
        return code
    learn_commit(raft, int(message["commit"]))
    answer = raft.outbox[emit(raft, HEARTBEAT_ANSWER, int(message["sender"]))]
    answer["context"] = message["context"]
    answer["index"] = min(int(state["commit"]), int(state["durable_index"]))
    answer["hint_index"] = state["receiving"]
    return DONE


@kernel
def contains(raft: Any, index: int, term: int) -> bool:
    """Whether a snapshot up to ``index`` brings nothing new: its last entry is here. If so it is committed."""
    state = raft.state[0]
    if index > state["commit"]:
        if term_of(raft, index) != term:
            return False
        state["commit"] = index
    state["verified_index"] = max(int(state["verified_index"]), int(state["commit"]))
    return True


@kernel
def on_snapshot(raft: Any, message: Any) -> int:
    """SNAPSHOT: the leader has compacted what this member needs, and is about to send a state as of ``index``.

    Returns SNAPSHOT_WANTED, or DONE after telling the leader that it is not needed.
    """
    state = raft.state[0]
    code = heed(raft, int(message["sender"]))
    if code < 0:
        return code
    if contains(raft, int(message["index"]), int(message["log_term"])):
        acknowledge_to_leader(raft, APPEND_ANSWER)
        return DONE
    state["receiving"] = message["index"]
    return SNAPSHOT_WANTED


@kernel
def install(raft: Any, index: int, term: int) -> int:
    """A complete, verified and durable snapshot of the state at (index, term) is here: let the log begin behind it.

    Returns 1: the node drops its log, which then begins behind ``index``, and loads the state, which is applied up to
    there. 0: the log has that entry, nothing is to be done with the snapshot. Either way the leader is answered.
    """
    state = raft.state[0]
    state["receiving"] = 0
    if state["role"] == LEADER:
        return 0
    replaced = not contains(raft, index, term)
    if replaced:
        begin_at(raft, index, term)
        state["commit"] = index
        state["applied"] = index
        state["verified_index"] = max(int(state["verified_index"]), index)
    acknowledge_to_leader(raft, SNAPSHOT_ANSWER)
    return int(replaced)


@kernel
def refuse_snapshot(raft: Any) -> None:
    """The snapshot that was wanted did not arrive whole: the leader may try again."""
    state = raft.state[0]
    state["receiving"] = 0
    if state["leader"] != NONE and state["leader"] != state["member"]:
        raft.outbox[emit(raft, SNAPSHOT_ANSWER, int(state["leader"]))]["reject"] = 1
