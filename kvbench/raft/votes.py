"""Requests for votes and their answers (paper, sections 5.2 and 5.4.1; pre-vote: thesis, section 9.6)."""

from typing import Any

from kvbench.jit import kernel
from kvbench.raft.outbox import emit
from kvbench.raft.records import (
    CANDIDATE,
    DONE,
    IGNORED,
    NONE,
    PRE_CANDIDATE,
    PRE_VOTE_ANSWER,
    VOTE_ANSWER,
)
from kvbench.raft.roles import follow, lead, set_hard_state, stand
from kvbench.raft.terms import last_term


@kernel
def is_trusted(raft: Any, message: Any) -> bool:
    """Whether this member may vote at all in the message's term, after what its disk may have lost."""
    state = raft.state[0]
    return bool(state["last_index"] >= state["behind_until"] and message["term"] > state["term_floor"])


@kernel
def is_up_to_date(raft: Any, message: Any) -> bool:
    """Whether the candidate's log is at least as up to date as this one: last term first, then length."""
    own = last_term(raft)
    if message["log_term"] != own:
        return bool(message["log_term"] > own)
    return bool(message["index"] >= raft.state[0]["last_index"])


@kernel
def on_vote(raft: Any, message: Any) -> int:
    """VOTE in this member's term: one vote a term, for a candidate whose log is not behind."""
    state = raft.state[0]
    sender = int(message["sender"])
    is_free = state["vote"] == sender or (state["vote"] == NONE and state["leader"] == NONE)
    granted = is_free and is_trusted(raft, message) and is_up_to_date(raft, message)
    if granted:
        state["election_elapsed"] = 0
        if state["vote"] == NONE:
            set_hard_state(raft, int(state["term"]), sender)
    raft.outbox[emit(raft, VOTE_ANSWER, sender)]["reject"] = int(not granted)
    return DONE


@kernel
def on_pre_vote(raft: Any, message: Any) -> int:
    """PRE_VOTE for the present term or a later one: would this member vote so? Nothing of it is kept."""
    state = raft.state[0]
    sender = int(message["sender"])
    is_free = (
        message["term"] > state["term"]
        or state["vote"] == sender
        or (state["vote"] == NONE and state["leader"] == NONE)
    )
    granted = is_free and is_trusted(raft, message) and is_up_to_date(raft, message)
    answer = raft.outbox[emit(raft, PRE_VOTE_ANSWER, sender)]
    answer["reject"] = int(not granted)
    if granted:
        answer["term"] = message["term"]
    return DONE


@kernel
def count(raft: Any, message: Any) -> int:
    """Count an answer. Returns 1 when a majority grants, -1 when a majority refuses, else 0."""
    state = raft.state[0]
    raft.peers[int(message["sender"])]["vote"] = -1 if message["reject"] else 1
    granted, refused = 0, 0
    for place in range(int(state["members"])):
        if raft.peers[place]["vote"] > 0:
            granted += 1
        elif raft.peers[place]["vote"] < 0:
            refused += 1
    if granted >= state["quorum"]:
        return 1
    return -1 if refused >= state["quorum"] else 0


@kernel
def on_vote_answer(raft: Any, message: Any) -> int:
    """VOTE_ANSWER: a majority makes a candidate the leader, or a follower again."""
    state = raft.state[0]
    if state["role"] != CANDIDATE:
        return IGNORED
    result = count(raft, message)
    if result > 0:
        lead(raft)
    elif result < 0:
        follow(raft, int(state["term"]), NONE)
    return DONE


@kernel
def on_pre_vote_answer(raft: Any, message: Any) -> int:
    """PRE_VOTE_ANSWER: with a majority's consent the member stands for election.

    A consent carries the term that was asked about, a refusal the term of the one that refuses.
    """
    state = raft.state[0]
    asked = int(state["term"]) + (0 if message["reject"] else 1)
    if state["role"] != PRE_CANDIDATE or message["term"] != asked:
        return IGNORED
    result = count(raft, message)
    if result > 0:
        stand(raft, 0)
    elif result < 0:
        follow(raft, int(state["term"]), NONE)
    return DONE
