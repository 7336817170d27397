"""How far a leader is with each peer, and what follows from it: the commit index."""

from typing import Any

from kvbench.jit import kernel
from kvbench.raft.records import BAD_MESSAGE, DONE, INFLIGHT_MAX, PROBING, REPLICATING, SNAPSHOTTING
from kvbench.raft.terms import size_between, term_of


@kernel
def enter(peer: Any, progress: int, next_index: int) -> None:
    """Begin to send to a peer in another way, from ``next_index`` on. What is in flight is forgotten."""
    peer["progress"] = progress
    peer["next"] = next_index
    peer["paused"] = 0
    peer["ping"] = 0
    peer["sent_commit"] = 0
    peer["snapshot_index"] = 0
    peer["inflight_first"] = 0
    peer["inflight_count"] = 0


@kernel
def probe(raft: Any, place: int, next_index: int) -> None:
    """Find out where the logs agree, beginning before ``next_index``."""
    enter(raft.peers[place], PROBING, max(next_index, int(raft.peers[place]["match"]) + 1))


@kernel
def add_inflight(peer: Any, last: int) -> None:
    """An APPEND up to ``last`` is on its way (there is room: the caller has asked ``window_is_open``)."""
    place = (int(peer["inflight_first"]) + int(peer["inflight_count"])) % INFLIGHT_MAX
    peer["inflight"][place] = last
    peer["inflight_count"] += 1


@kernel
def free_inflight(peer: Any, index: int) -> None:
    """The peer has answered for all up to ``index``."""
    while peer["inflight_count"] > 0 and peer["inflight"][int(peer["inflight_first"])] <= index:
        peer["inflight_first"] = (int(peer["inflight_first"]) + 1) % INFLIGHT_MAX
        peer["inflight_count"] -= 1


@kernel
def window_is_open(raft: Any, peer: Any) -> bool:
    """Whether a replicating peer may be sent more: entries of unknown size go one message at a time."""
    state = raft.state[0]
    before = int(peer["next"]) - 1
    if peer["inflight_count"] == 0:
        return True
    if peer["inflight_count"] >= state["window_messages"] or peer["match"] < state["sized_from"]:
        return False
    return size_between(raft, int(peer["match"]), before) < int(state["window_bytes"])


@kernel
def note_match(raft: Any, place: int, index: int) -> int:
    """A peer has durably all of this leader's entries up to ``index``. Returns DONE, or BAD_MESSAGE."""
    state = raft.state[0]
    peer = raft.peers[place]
    if index > state["last_index"] or index < 0:
        return BAD_MESSAGE
    grows = index > peer["match"]
    if grows:
        peer["match"] = index
    free_inflight(peer, index)
    agreed = peer["progress"] == PROBING and index >= peer["match"]
    caught_up = peer["progress"] == SNAPSHOTTING and peer["match"] >= state["base_index"]
    if agreed or caught_up:
        enter(peer, REPLICATING, int(peer["match"]) + 1)
    peer["next"] = max(int(peer["next"]), int(peer["match"]) + 1)
    if grows:
        advance_commit(raft)
    return DONE


@kernel
def majority_match(raft: Any) -> int:
    """The highest index that a majority has durably."""
    state = raft.state[0]
    best = 0
    for candidate in range(int(state["members"])):
        index = int(raft.peers[candidate]["match"])
        holders = 0
        for place in range(int(state["members"])):
            if raft.peers[place]["match"] >= index:
                holders += 1
        if holders >= state["quorum"]:
            best = max(best, index)
    return best


@kernel
def advance_commit(raft: Any) -> None:
    """Commit what a majority has, if its last entry is of this leader's term (paper, section 5.4.2)."""
    state = raft.state[0]
    index = majority_match(raft)
    if index > state["commit"] and term_of(raft, index) == state["term"]:
        state["commit"] = index
