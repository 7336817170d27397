"""Raft's promises as checks: of one member at any time, and of a cluster over its whole life (paper, figure 3).

A simulation calls ``violation`` on a member after each of its steps, and ``witness`` with what all members share.
"""

from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kvbench.jit import kernel
from kvbench.raft.records import CANDIDATE, INFLIGHT_MAX, LEADER, NONE, REPLICATING
from kvbench.raft.terms import last_term, term_of


class Violation(IntEnum):
    """A broken promise."""

    NO_VIOLATION = 0
    LOG_ORDER = 1
    """Not base <= applied <= commit <= last, or durable or verified > last."""
    RUN_ORDER = 2
    """Runs of terms are not in order, or not within the log, or of a term that the member has not reached."""
    ROLE = 3
    """A leader or candidate that did not vote for itself, or a leader that follows."""
    WINDOW = 4
    """A peer's match, next and messages on their way contradict each other or the limits."""
    OVERFULL = 5
    """A count beyond its array."""
    ELECTION_SAFETY = 6
    """Two leaders in one term."""
    LEADER_COMPLETENESS = 7
    """A leader without an entry that is committed."""
    STATE_MACHINE_SAFETY = 8
    """Two members committed different entries at one index."""
    TERM_FELL = 9
    """A member's term or commit index went back without a restart."""


NO_VIOLATION = int(Violation.NO_VIOLATION)
LOG_ORDER, RUN_ORDER, ROLE, WINDOW, OVERFULL = 1, 2, 3, 4, 5
ELECTION_SAFETY, LEADER_COMPLETENESS, STATE_MACHINE_SAFETY, TERM_FELL = 6, 7, 8, 9

SEEN = np.dtype([("boot", np.int64), ("term", np.int64), ("commit", np.int64)], align=True)


class Witness(NamedTuple):
    """What is known of a cluster's past. Terms and indexes must stay below the arrays' lengths."""

    leaders: npt.NDArray[np.int64]
    """int64[terms]: who led in each term; NONE"""
    committed: npt.NDArray[np.int64]
    """int64[indexes]: the term of each committed entry; NONE"""
    seen: npt.NDArray[np.void]
    """SEEN[members]: each member as it was last seen"""


def new_witness(members: int, terms: int, indexes: int) -> Witness:
    """A witness that has seen nothing."""
    return Witness(np.full(terms, NONE, np.int64), np.full(indexes, NONE, np.int64), np.zeros(members, SEEN))


@kernel
def log_violation(raft: Any) -> int:
    """Whether indexes and runs are in order."""
    state = raft.state[0]
    if not state["base_index"] <= state["applied"] <= state["commit"] <= state["last_index"]:
        return LOG_ORDER
    if state["durable_index"] > state["last_index"] or state["verified_index"] > state["last_index"]:
        return LOG_ORDER
    if state["answered_index"] > state["verified_index"] or last_term(raft) > state["term"]:
        return LOG_ORDER
    index, term = int(state["base_index"]), int(state["base_term"])
    for place in range(int(state["run_count"])):
        run = raft.runs[place]
        gap = place == 0 and run["index"] != index + 1
        if gap or run["index"] <= index or run["term"] < term or (place > 0 and run["term"] == term):
            return RUN_ORDER
        index, term = int(run["index"]), int(run["term"])
    return RUN_ORDER if index > state["last_index"] or term > state["term"] else NO_VIOLATION


@kernel
def peer_violation(raft: Any, place: int) -> int:
    """Whether a leader's view of a peer is in order."""
    state = raft.state[0]
    peer = raft.peers[place]
    if peer["match"] > state["last_index"] or peer["next"] <= peer["match"] or peer["next"] > state["last_index"] + 1:
        return WINDOW
    if peer["inflight_count"] > state["window_messages"]:
        return WINDOW
    if peer["inflight_count"] > 0 and peer["progress"] != REPLICATING:
        return WINDOW
    last = int(peer["match"])
    for offset in range(int(peer["inflight_count"])):
        index = int(peer["inflight"][(int(peer["inflight_first"]) + offset) % INFLIGHT_MAX])
        if index <= last:
            return WINDOW
        last = index
    return WINDOW if last >= peer["next"] else NO_VIOLATION


@kernel
def role_violation(raft: Any) -> int:
    """Whether role, vote and leader go together."""
    state = raft.state[0]
    if state["role"] == LEADER or state["role"] == CANDIDATE:
        if state["vote"] != state["member"] or state["last_index"] < state["behind_until"]:
            return ROLE
        if state["term"] <= state["term_floor"]:
            return ROLE
    leads = state["role"] == LEADER
    if leads != (state["leader"] == state["member"]):
        return ROLE
    return ROLE if state["transferee"] != NONE and not leads else NO_VIOLATION


@kernel
def violation(raft: Any) -> int:
    """The first Violation that a member's state shows by itself, NO_VIOLATION if none."""
    state = raft.state[0]
    code = log_violation(raft)
    if code == NO_VIOLATION:
        code = role_violation(raft)
    if state["messages"] >= len(raft.outbox) or state["read_count"] > len(raft.reads):
        code = OVERFULL
    if state["pending_count"] > len(raft.pending) or state["run_count"] > len(raft.runs):
        code = OVERFULL
    if state["role"] != LEADER:
        return code
    for place in range(int(state["members"])):
        if place != state["member"] and code == NO_VIOLATION:
            code = peer_violation(raft, place)
    if raft.peers[int(state["member"])]["match"] != state["durable_index"]:
        code = WINDOW
    return code


@kernel
def remember_commits(raft: Any, seen: Any, committed: Any) -> int:
    """Compare what a member has newly committed with what others have."""
    state = raft.state[0]
    for index in range(max(int(seen["commit"]), int(state["base_index"])) + 1, int(state["commit"]) + 1):
        term = term_of(raft, index)
        if committed[index] == NONE:
            committed[index] = term
        elif committed[index] != term:
            return STATE_MACHINE_SAFETY
    seen["commit"] = state["commit"]
    return NO_VIOLATION


@kernel
def witness_leader(raft: Any, leaders: Any, committed: Any) -> int:
    """Compare a leader with the past; its log is looked at when it is first seen."""
    state = raft.state[0]
    term = int(state["term"])
    if leaders[term] == state["member"]:
        return NO_VIOLATION
    if leaders[term] != NONE:
        return ELECTION_SAFETY
    leaders[term] = state["member"]
    for index in range(int(state["base_index"]) + 1, len(committed)):
        if committed[index] != NONE and committed[index] != term_of(raft, index):
            return LEADER_COMPLETENESS
    return NO_VIOLATION


@kernel
def witness(raft: Any, past: Any) -> int:
    """Compare a member with a cluster's past and remember it. Returns a Violation, NO_VIOLATION if there is none.

    To be called after each step of each member, so that no leader and no commit index is missed.
    """
    state = raft.state[0]
    seen = past.seen[int(state["member"])]
    if seen["boot"] != state["boot"]:
        seen["boot"] = state["boot"]
        seen["term"] = 0
        seen["commit"] = 0
    if state["term"] < seen["term"] or state["commit"] < seen["commit"]:
        return TERM_FELL
    seen["term"] = state["term"]
    if state["role"] == LEADER:
        code = witness_leader(raft, past.leaders, past.committed)
        if code != NO_VIOLATION:
            return code
    return remember_commits(raft, seen, past.committed)
