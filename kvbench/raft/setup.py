"""A member's state before its first message: fresh, then as it was found on disk."""

from typing import Any

import numpy as np

from kvbench.jit import kernel
from kvbench.raft.records import BAD_INDEX, INFLIGHT_MAX, MEMBERS_MAX, MESSAGE, NONE, PEER, RAFT, READ, TERM_RUN, Raft
from kvbench.raft.terms import append_run, begin_at, set_size, truncate
from kvbench.rt import rng


def new_raft(
    member: int,
    members: int,
    seed: int,
    *,
    election_ticks: int = 100,
    heartbeat_ticks: int = 10,
    window_messages: int = 64,
    window_bytes: int = 4 << 20,
    message_bytes_max: int = 1 << 20,
    uncommitted_bytes_max: int = 64 << 20,
    outbox: int = 512,
    runs: int = 4096,
    sizes: int = 65536,
    reads: int = 1024,
) -> Raft:
    """The state of ``member`` (0 .. members - 1) with an empty log, in term 0. Raises ValueError for bad limits.

    seed: what the election time-outs are drawn from; members of a cluster may share it. An election time-out is
    election_ticks .. 2 * election_ticks. window_messages, window_bytes: APPENDs on their way to a peer.
    message_bytes_max: entries of one APPEND, unless a single one is larger. uncommitted_bytes_max: a leader's tail.
    outbox, runs, reads: places. sizes: of how many of the latest entries the sizes are known, a power of two.
    """
    if not 1 <= members <= MEMBERS_MAX or not 0 <= member < members:
        raise ValueError(f"there is no member {member} of {members}; 1 to {MEMBERS_MAX} are possible")
    if not 0 < heartbeat_ticks < election_ticks:
        raise ValueError(f"a heartbeat every {heartbeat_ticks} ticks cannot keep elections off for {election_ticks}")
    if not 1 <= window_messages <= INFLIGHT_MAX:
        raise ValueError(f"a window has 1 to {INFLIGHT_MAX} messages, not {window_messages}")
    if sizes < 2 or sizes & (sizes - 1):
        raise ValueError(f"sizes must be a power of two, not {sizes}")
    if min(window_bytes, message_bytes_max, uncommitted_bytes_max, outbox - members, runs - 1, reads) < 1:
        raise ValueError("windows, limits and places must be positive, and outbox larger than the cluster")
    state, peers = np.zeros(1, RAFT), np.zeros(MEMBERS_MAX, PEER)
    state["member"], state["members"], state["quorum"] = member, members, members // 2 + 1
    state["election_ticks"], state["heartbeat_ticks"] = election_ticks, heartbeat_ticks
    state["window_messages"], state["window_bytes"] = window_messages, window_bytes
    state["message_bytes_max"], state["uncommitted_bytes_max"] = message_bytes_max, uncommitted_bytes_max
    state["vote"] = state["leader"] = state["transferee"] = NONE
    state["rng_key"] = rng.derive(seed, member)
    state["hard_state"] = 1
    state["timeout_ticks"] = 2 * election_ticks
    peers["next"] = 1
    return Raft(
        state=state,
        peers=peers,
        outbox=np.zeros(outbox + 1, MESSAGE),
        runs=np.zeros(runs, TERM_RUN),
        sizes=np.zeros(sizes, np.int64),
        reads=np.zeros(reads, READ),
        pending=np.zeros(reads, READ),
    )


@kernel
def restore(
    raft: Any, term: int, vote: int, base_index: int, base_term: int, boot: int, behind_until: int, term_floor: int
) -> None:
    """Set a fresh state to what is durable: term and vote, and the snapshot that the log begins behind (or 0, 0).

    boot: this start's number, greater than at each earlier start of this member. behind_until: the highest index
    known to have been acknowledged: while the log ends before it, this member neither votes nor stands for election.
    term_floor: a term in which, or in one below it, a vote may have been forgotten: none is given there.
    """
    state = raft.state[0]
    begin_at(raft, base_index, base_term)
    state["term"] = max(term, base_term, term_floor)
    state["vote"] = vote if state["term"] == term else NONE
    state["commit"] = base_index
    state["applied"] = base_index
    state["boot"] = boot
    state["behind_until"] = behind_until
    state["term_floor"] = term_floor
    election, counter = int(state["election_ticks"]), int(state["rng_counter"])
    state["timeout_ticks"] = election + rng.below(int(state["rng_key"]), counter, election + 1)
    state["rng_counter"] = counter + 1


@kernel
def recovered(raft: Any, index: int, term: int, size: int) -> int:
    """Take in a durable entry of the log, in the file's order: one with a lower index replaces those from there on.

    Returns 0, BAD_INDEX when it leaves a gap or lies before the base, or TOO_MANY_TERMS: make the state with more
    ``runs`` then. Its payload has ``size`` bytes. An entry of a later term than the mark's raises the term: nothing
    was yet sent in that term.
    """
    state = raft.state[0]
    if index > state["last_index"] + 1 or index <= state["base_index"]:
        return BAD_INDEX
    if index <= state["last_index"]:
        truncate(raft, index)
    code = append_run(raft, index, term)
    if code < 0:
        return code
    set_size(raft, index, size)
    state["durable_index"] = index
    if term > state["term"]:
        state["term"] = term
        state["vote"] = NONE
    return 0


@kernel
def restore_commit(raft: Any, index: int) -> None:
    """The log up to ``index`` is durably known to be committed; what lies behind the log's end is not there yet."""
    state = raft.state[0]
    state["commit"] = max(int(state["commit"]), min(index, int(state["last_index"])))
