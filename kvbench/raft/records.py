"""Records, arrays and codes of the consensus core.

Ongaro, Ousterhout: "In Search of an Understandable Consensus Algorithm" (2014, "the paper"); Ongaro: "Consensus:
Bridging Theory and Practice" (2014, "the thesis"). Members are positions 0 .. members - 1. Indexes count from 1;
index 0 with term 0 stands before every log.
"""

from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

MEMBERS_MAX = 5
NONE = -1
"""No member."""
RUNS_IN_MESSAGE = 8
"""Most runs of equal terms among the entries of one APPEND."""
INFLIGHT_MAX = 256
"""Most APPEND messages on their way to one peer."""
QUIET = 1
"""``context`` of an APPEND that only carries a commit index: it is answered only when it is rejected."""
FORCED = 1
"""``context`` of a VOTE that a leader asked for (leadership transfer): a live leader is no reason to ignore it."""


class Role(IntEnum):
    """What a member is (paper, section 5.1; PRE_CANDIDATE: thesis, section 9.6)."""

    FOLLOWER = 0
    PRE_CANDIDATE = 1
    CANDIDATE = 2
    LEADER = 3


FOLLOWER, PRE_CANDIDATE, CANDIDATE, LEADER = (int(role) for role in Role)


class Kind(IntEnum):
    """What a message is."""

    APPEND = 1
    APPEND_ANSWER = 2
    HEARTBEAT = 3
    HEARTBEAT_ANSWER = 4
    VOTE = 5
    VOTE_ANSWER = 6
    PRE_VOTE = 7
    PRE_VOTE_ANSWER = 8
    SNAPSHOT = 9
    SNAPSHOT_ANSWER = 10
    READ_INDEX = 11
    READ_INDEX_ANSWER = 12
    TIMEOUT_NOW = 13


APPEND, APPEND_ANSWER, HEARTBEAT, HEARTBEAT_ANSWER, VOTE, VOTE_ANSWER, PRE_VOTE = (int(kind) for kind in list(Kind)[:7])
PRE_VOTE_ANSWER, SNAPSHOT, SNAPSHOT_ANSWER, READ_INDEX, READ_INDEX_ANSWER, TIMEOUT_NOW = (
    int(kind) for kind in list(Kind)[7:]
)


class Progress(IntEnum):
    """How a leader sends to a peer."""

    PROBE = 0
    """Where the logs agree is not known: one APPEND, then wait for its answer (or a heartbeat's)."""
    REPLICATE = 1
    """APPENDs follow one another without waiting, as far as the windows allow."""
    SNAPSHOT = 2
    """What the peer needs is compacted: nothing is sent until the snapshot's fate is known."""


PROBING, REPLICATING, SNAPSHOTTING = (int(progress) for progress in Progress)


class Stepped(IntEnum):
    """What ``core.step`` made of a message."""

    DONE = 0
    """Nothing for the caller to do but to take the messages in ``outbox``."""
    ENTRIES = 1
    """An APPEND has entries to be stored: see ``accept_from``."""
    SNAPSHOT_WANTED = 2
    """A SNAPSHOT was announced that this member needs: receive it, then call ``core.install``."""
    IGNORED = 3
    """Old, late, or not for this role."""


DONE, ENTRIES, SNAPSHOT_WANTED, IGNORED = (int(stepped) for stepped in Stepped)


class RaftError(IntEnum):
    """Why the core refused."""

    NOT_LEADER = -2000
    """Only a leader can do this."""
    NO_LEADER = -2001
    """There is no leader to ask."""
    TRANSFERRING = -2002
    """Leadership is being handed over: no proposals meanwhile."""
    TOO_MUCH_UNCOMMITTED = -2003
    """The tail of entries that are not committed has reached its limit."""
    TOO_MANY_READS = -2004
    """As many reads wait as there are places for."""
    TOO_MANY_TERMS = -2005
    """The uncommitted log has more changes of term than there are places for."""
    COMPACTED = -2006
    """The index lies before what the log still knows."""
    UNAVAILABLE = -2007
    """The index lies behind the log's end."""
    NO_SUCH_MEMBER = -2008
    """Not the position of another member."""
    BAD_INDEX = -2009
    """The caller named an index that cannot be."""
    BAD_MESSAGE = -2010
    """Fields that no member would write. Nothing changed."""
    DIVERGED = -2011
    """A leader's log contradicts what is committed here: some disk has lost what was acknowledged. Stop this member."""
    TWO_LEADERS = -2012
    """Another member leads in this leader's own term: some disk has lost a vote. Stop this member."""


(
    NOT_LEADER,
    NO_LEADER,
    TRANSFERRING,
    TOO_MUCH_UNCOMMITTED,
    TOO_MANY_READS,
    TOO_MANY_TERMS,
    COMPACTED,
    UNAVAILABLE,
    NO_SUCH_MEMBER,
    BAD_INDEX,
    BAD_MESSAGE,
    DIVERGED,
    TWO_LEADERS,
) = (int(code) for code in RaftError)

TERM_RUN = np.dtype([("index", np.int64), ("term", np.int64)], align=True)
"""A run of entries of one term: the index of its first entry, and the term. It ends where the next run begins."""

MESSAGE = np.dtype(
    [
        ("kind", np.int64),  # Kind
        ("sender", np.int64),
        ("to", np.int64),
        ("term", np.int64),  # the sender's; PRE_VOTE and its grant: the term that the sender would campaign in
        ("boot", np.int64),  # which start of the sender this is
        ("hard_state", np.int64),  # see ``core``: may leave when this (term, vote) is durable; 0: at once
        ("index", np.int64),  # APPEND: the entry before the first; VOTE: last entry; SNAPSHOT, answers: see handlers
        ("log_term", np.int64),  # the term of the entry at ``index``
        ("commit", np.int64),
        ("reject", np.int64),  # 1: an answer that says no
        ("hint_index", np.int64),  # rejected APPEND: the highest index at which the logs may agree
        ("hint_term", np.int64),  # its term in the log of the one that rejects
        ("context", np.int64),  # HEARTBEAT: round; READ_INDEX: the asker's; APPEND: QUIET; VOTE: FORCED
        ("first", np.int64),  # APPEND: entries first .. last come with it; none: last = first - 1
        ("last", np.int64),
        ("bytes", np.int64),  # APPEND: of its entries as far as the sender knows them
        ("run_count", np.int64),
        ("runs", TERM_RUN, (RUNS_IN_MESSAGE,)),  # the terms of first .. last; runs[0].index = first
    ],
    align=True,
)
"""One message without its entries' bytes. Fields that a kind does not use are 0."""

READ = np.dtype(
    [
        ("context", np.int64),  # the asker's own number
        ("index", np.int64),  # confirmed: the read may be answered when this is applied
        ("asker", np.int64),  # waiting: the member that asked
        ("boot", np.int64),  # waiting: the start in which it asked
        ("round", np.int64),  # waiting: the round of heartbeats that confirms it
    ],
    align=True,
)

PEER = np.dtype(
    [
        ("match", np.int64),  # highest index known to be durable there and equal to the leader's log
        ("next", np.int64),  # the next entry to send; match < next <= last_index + 1
        ("progress", np.int64),  # Progress
        ("active", np.int64),  # 1: heard of since the last check of the quorum
        ("paused", np.int64),  # PROBE: 1 when an APPEND is out; SNAPSHOT: 1 when it is all sent
        ("ping", np.int64),  # 1: send an APPEND even if there is nothing new: earlier ones may be lost
        ("snapshot_index", np.int64),  # SNAPSHOT: the index that was announced
        ("sent_commit", np.int64),  # the commit index that it will know from APPENDs sent
        ("round", np.int64),  # the highest round of heartbeats that it answered
        ("vote", np.int64),  # this campaign: 0 no answer, 1 granted, -1 refused
        ("boot", np.int64),  # its latest start that a message came from
        ("inflight_first", np.int64),  # ring ``inflight``: place of the oldest
        ("inflight_count", np.int64),
        ("inflight", np.int64, (INFLIGHT_MAX,)),  # REPLICATE: last index of each APPEND that is not answered
    ],
    align=True,
)
"""A member as the others see it. A leader's own place: match is what is durable here."""

RAFT = np.dtype(
    [
        # Who I am; limits.
        ("member", np.int64),
        ("members", np.int64),
        ("quorum", np.int64),
        ("boot", np.int64),
        ("election_ticks", np.int64),
        ("heartbeat_ticks", np.int64),
        ("window_messages", np.int64),
        ("window_bytes", np.int64),
        ("message_bytes_max", np.int64),
        ("uncommitted_bytes_max", np.int64),
        # What is durable or must become so (see ``core``).
        ("term", np.int64),
        ("vote", np.int64),  # NONE, or the member voted for in ``term``
        ("hard_state", np.int64),  # counts changes of (term, vote), from 1
        ("behind_until", np.int64),  # no vote and no campaign while last_index < behind_until
        ("term_floor", np.int64),  # no vote in a term <= term_floor
        # Role.
        ("role", np.int64),
        ("leader", np.int64),  # NONE, or the leader of ``term``
        ("forced", np.int64),  # candidate: FORCED when a leader asked for this campaign
        ("transferee", np.int64),  # NONE, or the member that leadership is being handed to
        ("transfer_elapsed", np.int64),
        ("timeout_now_sent", np.int64),
        # Log: base_index <= applied <= commit <= last_index; durable_index <= last_index.
        ("base_index", np.int64),  # entries up to here are compacted
        ("base_term", np.int64),
        ("last_index", np.int64),
        ("durable_index", np.int64),
        ("commit", np.int64),
        ("applied", np.int64),
        ("run_count", np.int64),
        ("sized_from", np.int64),  # sizes of entries sized_from + 1 .. sized_to are known
        ("sized_to", np.int64),
        ("verified_index", np.int64),  # follower: the log up to here is that of the leader of ``term``
        ("answered_index", np.int64),  # follower: the highest index acknowledged in ``term``
        ("receiving", np.int64),  # index of the snapshot that is being received; 0: none
        # What the last ``step`` found in an APPEND.
        ("accept_from", np.int64),  # entries of the message to be stored: accept_from .. accept_to
        ("accept_to", np.int64),
        ("truncated", np.int64),  # 1: own entries from accept_from on are replaced
        # What waits for the caller.
        ("messages", np.int64),  # outbox[:messages]; the caller sets it to 0 when it has taken them
        ("read_count", np.int64),  # reads[:read_count] are confirmed; likewise
        ("wants_noop", np.int64),  # 1: a new leader needs a first entry of its term: call ``core.noop``
        ("dropped", np.int64),  # messages that the outbox had no room for
        # Clocks, in ticks.
        ("timeout_ticks", np.int64),  # drawn from election_ticks .. 2 * election_ticks
        ("election_elapsed", np.int64),
        ("heartbeat_elapsed", np.int64),
        ("heartbeat_due", np.int64),
        ("rng_key", np.int64),
        ("rng_counter", np.int64),
        # Reads.
        ("pending_count", np.int64),  # pending[:pending_count] wait
        ("round_sent", np.int64),
        ("round_confirmed", np.int64),
        ("round_index", np.int64),  # the commit index when the latest round began
    ],
    align=True,
)


class Raft(NamedTuple):
    """A member's consensus state. Made by ``setup.new_raft``."""

    state: npt.NDArray[np.void]
    """RAFT[1]"""
    peers: npt.NDArray[np.void]
    """PEER[MEMBERS_MAX]"""
    outbox: npt.NDArray[np.void]
    """MESSAGE[n + 1]: what to send; the last place takes what finds no room, and is never sent"""
    runs: npt.NDArray[np.void]
    """TERM_RUN[n]: the terms of entries base_index + 1 .. last_index"""
    sizes: npt.NDArray[np.int64]
    """int64[n], n a power of two: bytes of all entries up to an index, at index modulo n"""
    reads: npt.NDArray[np.void]
    """READ[n]: confirmed"""
    pending: npt.NDArray[np.void]
    """READ[n]: waiting (leader)"""
