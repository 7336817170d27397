"""Changes of role, term and vote (paper, section 5.2; pre-vote: thesis, section 9.6)."""

from typing import Any

from kvbench.jit import kernel
from kvbench.raft.outbox import emit
from kvbench.raft.progress import probe
from kvbench.raft.records import CANDIDATE, DONE, FOLLOWER, IGNORED, LEADER, NONE, PRE_CANDIDATE, PRE_VOTE, VOTE
from kvbench.raft.terms import last_term
from kvbench.rt import rng


@kernel
def restart_clock(raft: Any) -> None:
    """Begin a new election time-out, drawn from election_ticks .. 2 * election_ticks."""
    state = raft.state[0]
    election, counter = int(state["election_ticks"]), int(state["rng_counter"])
    state["timeout_ticks"] = election + rng.below(int(state["rng_key"]), counter, election + 1)
    state["rng_counter"] = counter + 1
    state["election_elapsed"] = 0


@kernel
def set_hard_state(raft: Any, term: int, vote: int) -> None:
    """Change term and vote, which must become durable before anything that builds on them leaves."""
    state = raft.state[0]
    if term != state["term"]:
        state["verified_index"] = 0
        state["answered_index"] = 0
        state["receiving"] = 0
    state["term"] = term
    state["vote"] = vote
    state["hard_state"] += 1


@kernel
def forget_duties(raft: Any) -> None:
    """Drop what only a leader has to do: reads asked, a transfer, a first entry."""
    state = raft.state[0]
    state["transferee"] = NONE
    state["pending_count"] = 0
    state["wants_noop"] = 0
    state["heartbeat_due"] = 0


@kernel
def follow(raft: Any, term: int, leader: int) -> None:
    """Become a follower in ``term`` (not lower than the present one), of ``leader`` or of nobody known."""
    state = raft.state[0]
    if term != state["term"]:
        set_hard_state(raft, term, NONE)
    state["role"] = FOLLOWER
    state["leader"] = leader
    forget_duties(raft)
    restart_clock(raft)


@kernel
def ask_for_votes(raft: Any) -> None:
    """Ask each member that has not answered yet for its vote, or whether it would give it."""
    state = raft.state[0]
    pre = state["role"] == PRE_CANDIDATE
    kind = PRE_VOTE if pre else VOTE
    for to in range(int(state["members"])):
        if to != state["member"] and raft.peers[to]["vote"] == 0:
            message = raft.outbox[emit(raft, kind, to)]
            message["term"] = int(state["term"]) + int(pre)
            message["index"] = state["last_index"]
            message["log_term"] = last_term(raft)
            message["context"] = state["forced"]


@kernel
def open_poll(raft: Any, role: int, forced: int) -> None:
    """Take a candidate's role, with no votes but one's own."""
    state = raft.state[0]
    state["role"] = role
    state["forced"] = forced
    state["leader"] = NONE
    for place in range(int(state["members"])):
        raft.peers[place]["vote"] = 0
    raft.peers[int(state["member"])]["vote"] = 1
    restart_clock(raft)


@kernel
def stand(raft: Any, forced: int) -> None:
    """Become a candidate in the next term; alone, the leader at once."""
    state = raft.state[0]
    set_hard_state(raft, int(state["term"]) + 1, int(state["member"]))
    open_poll(raft, CANDIDATE, forced)
    if state["quorum"] == 1:
        lead(raft)
    else:
        ask_for_votes(raft)


@kernel
def campaign(raft: Any) -> int:
    """See whether a majority would vote for this member, and stand for election if so. Alone, it leads at once.

    IGNORED for a leader, and for a member whose log lacks what it has acknowledged (``behind_until``).
    """
    state = raft.state[0]
    if state["role"] == LEADER or state["last_index"] < state["behind_until"]:
        return IGNORED
    if state["quorum"] == 1:
        stand(raft, 0)
    else:
        open_poll(raft, PRE_CANDIDATE, 0)
        ask_for_votes(raft)
    return DONE


@kernel
def lead(raft: Any) -> None:
    """Become the leader of the present term. What peers have is not known (paper, section 5.3)."""
    state = raft.state[0]
    state["role"] = LEADER
    state["leader"] = state["member"]
    forget_duties(raft)
    state["wants_noop"] = 1
    state["heartbeat_due"] = 1
    state["heartbeat_elapsed"] = 0
    state["election_elapsed"] = 0
    state["round_confirmed"] = state["round_sent"]
    for place in range(int(state["members"])):
        peer = raft.peers[place]
        peer["match"] = 0
        peer["active"] = 0
        peer["round"] = 0
        probe(raft, place, int(state["last_index"]) + 1)
    raft.peers[int(state["member"])]["match"] = state["durable_index"]
