"""What a node calls: messages and ticks in; messages, a commit index and confirmed reads out.

The core does no IO and knows no time but ticks: the same state and the same calls give the same result. A node

- calls ``setup.restore`` and ``setup.recovered`` once, then, for whatever comes in, the functions here, one at a time;
- calls ``send_due`` once per turn, after all that came in;
- takes ``outbox[:state["messages"]]`` and ``reads[:state["read_count"]]`` and sets the counts to 0;
- applies entries up to ``state["commit"]`` in order, and tells by ``applied``.

What it must guarantee, because safety rests on it:

1. **Term and vote.** ``state["hard_state"]`` numbers the pair (term, vote). When it has grown, the node makes the pair
   durable. A message leaves only when a pair with a number of at least its ``hard_state`` is durable; those with 0 may
   leave at once. Messages that are held may be dropped instead. Nothing else waits for the pair: entries may be
   written and applied meanwhile.
2. **Entries.** After ``step`` returned ENTRIES, before any other call, the log forgets its entries from ``accept_from``
   on (if ``truncated``) and stores the message's entries accept_from .. accept_to (none when accept_to is smaller).
   After ``propose`` or ``noop`` returned an index, the log stores that entry before anything is sent.
3. **persisted(index, term)** is called only when every entry up to ``index`` would be found again after a power loss,
   with no other entry at any of these indexes. In a log file that only grows, where a later record replaces those from
   its index on: the *newest* record of ``index`` and all records before it in the file are synced. An index that was
   truncated and written again in between does not count by its first record.
4. **Snapshots.** ``compacted(index)`` and ``install(index, term)`` are called when a state as of that index (or a later
   one) is durable.
5. **boot** is greater at each start than at all earlier starts of this member.

Messages may be lost, delayed, repeated and reordered.
"""

from typing import Any

from kvbench.jit import kernel
from kvbench.raft.answers import (
    best_transferee,
    cut,
    note_boot,
    on_append_answer,
    on_heartbeat_answer,
    on_snapshot_answer,
    report_snapshot,
    unreachable,
)
from kvbench.raft.appends import install, on_append, on_heartbeat, on_snapshot, refuse_snapshot
from kvbench.raft.outbox import acknowledge_to_leader, emit
from kvbench.raft.progress import note_match
from kvbench.raft.reading import on_read_index, on_read_index_answer, read
from kvbench.raft.records import (
    APPEND,
    APPEND_ANSWER,
    BAD_INDEX,
    BAD_MESSAGE,
    DONE,
    FOLLOWER,
    FORCED,
    HEARTBEAT,
    HEARTBEAT_ANSWER,
    IGNORED,
    LEADER,
    NO_SUCH_MEMBER,
    NONE,
    NOT_LEADER,
    PRE_VOTE,
    PRE_VOTE_ANSWER,
    READ_INDEX,
    READ_INDEX_ANSWER,
    RUNS_IN_MESSAGE,
    SNAPSHOT,
    SNAPSHOT_ANSWER,
    TIMEOUT_NOW,
    TOO_MUCH_UNCOMMITTED,
    TRANSFERRING,
    VOTE,
    VOTE_ANSWER,
)
from kvbench.raft.roles import ask_for_votes, campaign, follow, stand
from kvbench.raft.sending import send_due
from kvbench.raft.terms import append_run, let_go, set_size, size_between, term_of
from kvbench.raft.votes import on_pre_vote, on_pre_vote_answer, on_vote, on_vote_answer

__all__ = [
    "applied",
    "best_transferee",
    "campaign",
    "compacted",
    "cut",
    "entry_bytes",
    "install",
    "noop",
    "persisted",
    "propose",
    "read",
    "refuse_snapshot",
    "report_snapshot",
    "send_due",
    "step",
    "term_of",
    "tick",
    "transfer",
    "unreachable",
]


@kernel
def has_sound_runs(message: Any) -> bool:
    """Whether an APPEND's runs cover exactly its entries, with terms that rise."""
    first, last, count = int(message["first"]), int(message["last"]), int(message["run_count"])
    if first != message["index"] + 1 or last < first - 1 or count < 0 or count > RUNS_IN_MESSAGE:
        return False
    if (last < first) != (count == 0):
        return False
    index, term = first - 1, int(message["log_term"])
    for place in range(count):
        run = message["runs"][place]
        if run["index"] <= index or run["index"] > last or run["term"] < term or (place > 0 and run["term"] == term):
            return False
        index, term = int(run["index"]), int(run["term"])
    return count == 0 or bool(message["runs"][0]["index"] == first and term <= message["term"])


@kernel
def is_sound(raft: Any, message: Any) -> bool:
    """Whether a message could come from a member and is for this one."""
    state = raft.state[0]
    sender = int(message["sender"])
    if sender < 0 or sender >= state["members"] or sender == state["member"] or message["to"] != state["member"]:
        return False
    if message["term"] < 0 or message["index"] < 0 or message["log_term"] < 0 or message["commit"] < 0:
        return False
    if message["hint_index"] < 0 or message["hint_term"] < 0:
        return False
    return message["kind"] != APPEND or has_sound_runs(message)


@kernel
def meet_newer_term(raft: Any, message: Any) -> int:
    """A message of a later term: follow it there, or not. Returns DONE to have the message handled, or IGNORED.

    While a leader lives, whoever could not hear it is not helped to depose it (thesis, section 4.2.3). One that asks
    for votes itself does not lead any more.
    """
    state = raft.state[0]
    kind = message["kind"]
    if kind == VOTE or kind == PRE_VOTE:
        leads_another = state["leader"] != NONE and state["leader"] != message["sender"]
        if leads_another and state["election_elapsed"] < state["election_ticks"] and message["context"] != FORCED:
            return IGNORED
    if kind == PRE_VOTE or (kind == PRE_VOTE_ANSWER and not message["reject"]):
        return DONE
    is_leader = kind == APPEND or kind == HEARTBEAT or kind == SNAPSHOT
    follow(raft, int(message["term"]), int(message["sender"]) if is_leader else NONE)
    return DONE


@kernel
def meet_older_term(raft: Any, message: Any) -> int:
    """A message of an earlier term. A leader is told the present one, so that a member that is ahead comes back in."""
    kind = message["kind"]
    sender = int(message["sender"])
    if kind == APPEND or kind == HEARTBEAT or kind == SNAPSHOT:
        emit(raft, APPEND_ANSWER, sender)
    elif kind == PRE_VOTE:
        raft.outbox[emit(raft, PRE_VOTE_ANSWER, sender)]["reject"] = 1
    return IGNORED


@kernel
def on_timeout_now(raft: Any, message: Any) -> int:
    """TIMEOUT_NOW: the leader hands over: stand for election without asking whether one would be voted for."""
    state = raft.state[0]
    if state["role"] != FOLLOWER or message["sender"] != state["leader"] or state["last_index"] < state["behind_until"]:
        return IGNORED
    stand(raft, FORCED)
    return DONE


@kernel
def dispatch(raft: Any, message: Any) -> int:
    """Have a message handled. The common kinds first."""
    kind = message["kind"]
    if kind == APPEND:
        return on_append(raft, message)
    if kind == APPEND_ANSWER:
        return on_append_answer(raft, message)
    if kind == HEARTBEAT:
        return on_heartbeat(raft, message)
    if kind == HEARTBEAT_ANSWER:
        return on_heartbeat_answer(raft, message)
    if kind == READ_INDEX:
        return on_read_index(raft, message)
    if kind == READ_INDEX_ANSWER:
        return on_read_index_answer(raft, message)
    if kind == VOTE:
        return on_vote(raft, message)
    if kind == VOTE_ANSWER:
        return on_vote_answer(raft, message)
    if kind == PRE_VOTE:
        return on_pre_vote(raft, message)
    if kind == PRE_VOTE_ANSWER:
        return on_pre_vote_answer(raft, message)
    if kind == SNAPSHOT:
        return on_snapshot(raft, message)
    if kind == SNAPSHOT_ANSWER:
        return on_snapshot_answer(raft, message)
    return on_timeout_now(raft, message) if kind == TIMEOUT_NOW else BAD_MESSAGE


@kernel
def step(raft: Any, message: Any) -> int:
    """Take in a message (a MESSAGE record). Returns a Stepped.

    Negative: BAD_MESSAGE: nothing was changed by it. DIVERGED, TWO_LEADERS: Raft's promises are broken, which no loss
    of messages can do: stop this member and say so.
    """
    state = raft.state[0]
    state["accept_from"] = 0
    state["accept_to"] = -1
    state["truncated"] = 0
    if not is_sound(raft, message):
        return BAD_MESSAGE
    if note_boot(raft, int(message["sender"]), int(message["boot"])) == IGNORED:
        return IGNORED
    if message["term"] < state["term"]:
        return meet_older_term(raft, message)
    if message["term"] > state["term"] and meet_newer_term(raft, message) == IGNORED:
        return IGNORED
    if state["role"] == LEADER:
        raft.peers[int(message["sender"])]["active"] = 1
    return dispatch(raft, message)


@kernel
def check_quorum(raft: Any) -> None:
    """A leader that has not heard of a majority for an election time-out steps down (thesis, section 6.2)."""
    state = raft.state[0]
    active = 1
    for place in range(int(state["members"])):
        if place != state["member"] and raft.peers[place]["active"]:
            active += 1
        raft.peers[place]["active"] = 0
    if active < state["quorum"]:
        follow(raft, int(state["term"]), NONE)


@kernel
def tick_leader(raft: Any) -> None:
    """A tick of a leader's clocks: heartbeat, check of the quorum, end of a transfer that does not come about."""
    state = raft.state[0]
    state["heartbeat_elapsed"] += 1
    if state["heartbeat_elapsed"] >= state["heartbeat_ticks"]:
        state["heartbeat_elapsed"] = 0
        state["heartbeat_due"] = 1
    if state["transferee"] != NONE:
        state["transfer_elapsed"] += 1
        if state["transfer_elapsed"] >= state["election_ticks"]:
            state["transferee"] = NONE
    state["election_elapsed"] += 1
    if state["election_elapsed"] >= state["election_ticks"]:
        state["election_elapsed"] = 0
        check_quorum(raft)


@kernel
def tick(raft: Any) -> None:
    """A tick has passed. A candidate asks again those that have not answered: their messages may be lost."""
    state = raft.state[0]
    if state["role"] == LEADER:
        tick_leader(raft)
        return
    state["election_elapsed"] += 1
    if state["election_elapsed"] >= state["timeout_ticks"]:
        state["election_elapsed"] = 0
        campaign(raft)
    elif state["role"] != FOLLOWER and state["election_elapsed"] % state["heartbeat_ticks"] == 0:
        ask_for_votes(raft)


@kernel
def append_own(raft: Any, size: int) -> int:
    """A leader's new entry of ``size`` bytes. Returns its index, or TOO_MANY_TERMS."""
    state = raft.state[0]
    index = int(state["last_index"]) + 1
    code = append_run(raft, index, int(state["term"]))
    if code < 0:
        return code
    set_size(raft, index, size)
    return index


@kernel
def noop(raft: Any, size: int) -> int:
    """The first entry of a new leader's term, without which it could commit nothing (paper, section 8).

    To be called as soon as ``wants_noop`` is 1. Returns the entry's index, NOT_LEADER, or TOO_MANY_TERMS.
    """
    state = raft.state[0]
    if state["role"] != LEADER:
        return NOT_LEADER
    index = append_own(raft, size)
    if index > 0:
        state["wants_noop"] = 0
    return index


@kernel
def propose(raft: Any, size: int) -> int:
    """A new entry whose payload has ``size`` bytes. Returns its index; its term is ``state["term"]``.

    NOT_LEADER, TRANSFERRING, TOO_MANY_TERMS; TOO_MUCH_UNCOMMITTED: the tail would grow beyond
    ``uncommitted_bytes_max`` (one entry is always let in), or beyond what sizes are kept of.
    """
    state = raft.state[0]
    if state["role"] != LEADER:
        return NOT_LEADER
    if state["transferee"] != NONE:
        return TRANSFERRING
    commit, last = int(state["commit"]), int(state["last_index"])
    tail = size_between(raft, commit, last)
    if (tail > 0 and tail + size > state["uncommitted_bytes_max"]) or last - commit >= len(raft.sizes) - 1:
        return TOO_MUCH_UNCOMMITTED
    return append_own(raft, size)


@kernel
def note_durable(raft: Any, index: int) -> None:
    """What is in the log up to ``index`` would be found again. A leader counts itself, a follower tells the leader."""
    state = raft.state[0]
    if index <= state["durable_index"]:
        return
    state["durable_index"] = index
    if state["role"] == LEADER:
        note_match(raft, int(state["member"]), index)
    elif min(int(state["verified_index"]), index) > state["answered_index"]:
        acknowledge_to_leader(raft, APPEND_ANSWER)


@kernel
def persisted(raft: Any, index: int, term: int) -> None:
    """The own log is durable up to ``index``, whose entry has ``term`` (see above). A late report is ignored.

    A leader counts itself only now: its disk and its peers work at the same time (thesis, section 10.2.1).
    """
    if term_of(raft, index) == term:
        note_durable(raft, index)


@kernel
def entry_bytes(raft: Any, index: int, size: int) -> None:
    """The size of the payload of an entry that came in an APPEND; in order, once it is stored."""
    set_size(raft, index, size)


@kernel
def applied(raft: Any, index: int) -> int:
    """Entries up to ``index`` are applied. Returns DONE, or BAD_INDEX beyond the commit index."""
    state = raft.state[0]
    if index > state["commit"]:
        return BAD_INDEX
    state["applied"] = max(int(state["applied"]), index)
    return DONE


@kernel
def compacted(raft: Any, index: int) -> int:
    """Entries up to ``index`` are gone from the log (see above). Returns DONE, or BAD_INDEX when not applied.

    They are durable by the snapshot, even if their records are not yet.
    """
    state = raft.state[0]
    if index > state["applied"]:
        return BAD_INDEX
    if index > state["base_index"]:
        let_go(raft, index)
        note_durable(raft, index)
    return DONE


@kernel
def transfer(raft: Any, to: int) -> int:
    """Hand leadership to a member as soon as it has all entries. Returns DONE, NOT_LEADER or NO_SUCH_MEMBER.

    Under way while ``transferee`` is that member: no proposals then. Given up after an election time-out.
    """
    state = raft.state[0]
    if state["role"] != LEADER:
        return NOT_LEADER
    if to < 0 or to >= state["members"] or to == state["member"]:
        return NO_SUCH_MEMBER
    if state["transferee"] != to:
        state["transferee"] = to
        state["transfer_elapsed"] = 0
        state["timeout_now_sent"] = 0
    return DONE
