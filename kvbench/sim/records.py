"""Records of the simulated world, and the options that a seed chooses."""

from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kvbench.node.records import DISK_COMMAND, MEMBERS_MAX, QUEUES
from kvbench.ops.history import HISTORY, SPAN, WATCHED
from kvbench.wire.protobuf import new_fields

SECTOR_BYTES = 512
"""What a disk writes whole or not at all."""
SLOT_BYTES = 1 << 19
"""Room for a file of a simulated disk."""
SLOTS = 32
"""Files on a member's disk."""
QUEUE_DEPTH = 64
"""Commands that may wait in one queue of a member's disk."""
PACKET_BYTES = 1 << 14
PACKETS = 2048
CLIENTS_MAX = 8
KEYS_MAX = 8
WATCHERS_MAX = 4
WATCHED_MAX = 1 << 16
"""Events that watching clients may see in a run."""
SPANS_MAX = 512
ANSWERS_KEPT = 64
"""READ_INDEX_ANSWERs to each member of which the network keeps a copy."""
ANSWER_BYTES = 512
EVENTS_MAX = 1 << 13
INDEXES_MAX = 1 << 14
"""Log indexes of which the world remembers what was committed there."""


class Happening(IntEnum):
    """Kinds of events."""

    TICK = 1
    """A member looks at its clock."""
    PACKET = 2
    """a: the packet; it arrives at ``member``."""
    DISK = 3
    """a: the queue of the member's disk whose first command is done."""
    CLIENT = 4
    """a: the client that begins an operation."""
    FAULT = 5
    """The next adversity."""
    ROOM = 6
    """There is room on ``member``'s disk again."""
    RESTART = 7
    """``member`` starts, at first or after a crash."""
    LINK = 8
    """a: another member, b: 1 when ``member`` is connected to it, 0 when it learns that it is not."""
    TIMEOUT = 9
    """a: a client, b: its operation: it waits no longer."""
    STRIKE_DOWN = 11
    """``member``, which gave its vote a moment ago, crashes and starts again at once."""
    ISOLATE = 10
    """``member``, which was elected a moment ago, is cut off from all others."""
    LOOK_AWAY = 12
    """Whether ``member``, which is kept away, has missed enough."""
    STRIKE_INSTALL = 13
    """``member`` was seen to begin to receive a snapshot: something happens in the middle of it."""
    WATCH = 14
    """a: the watching client that does something."""


class Met(IntEnum):
    """What a run met, counted: faults that the world made, and mechanisms of the store that had to deal with them."""

    LOSS = 0
    DELAY = 1
    """A message that took more than ten times the usual."""
    REORDER = 2
    """A message that arrived before one sent earlier on the same link."""
    DUPLICATE = 3
    PARTITION = 4
    ONE_WAY_PARTITION = 5
    PAUSE = 6
    CRASH = 7
    UNSYNCED_LOSS = 8
    """A crash that lost bytes which were written and not synced."""
    TORN_TAIL = 9
    """A recovery that cut an incomplete record off."""
    BIT_FLIP = 10
    """A bit of a crashed member's log was flipped."""
    REFUSED = 11
    """A recovery that refused a damaged log."""
    FULL_DISK = 12
    CLOCK_STEP = 13
    ELECTION = 14
    TRUNCATION = 15
    """Entries of a log that were replaced by another leader's."""
    SNAPSHOT = 16
    SNAPSHOT_INSTALL = 17
    COMPACTION = 18
    LEASE_EXPIRY = 19
    READ_ACROSS_LEADERS = 20
    """A linearizable read that was answered in a later term than it was asked in."""
    FORWARD = 21
    """A write that a follower passed on."""
    UNKNOWN_OUTCOME = 22
    RESTART = 23
    KEPT_AWAY = 24
    """A member that was kept away until its leader had compacted what it lacks."""
    INSTALL_CRASH = 25
    """A crash of a member that was receiving a snapshot, or loading it."""
    INSTALL_LEADER_CHANGE = 26
    """A member that was receiving a snapshot found itself with another leader."""
    INSTALL_FULL_DISK = 27
    """A piece of a snapshot that found no room."""
    OLD_READ_ANSWER = 28
    """A READ_INDEX_ANSWER to an earlier life of a member that came when it had asked with the same number again."""
    READ_ANSWER_ACROSS_LEADERS = 29
    """A READ_INDEX_ANSWER that came when another leader had been elected since."""
    WATCH_EVENT = 30
    WATCH_RESUMED = 31
    """A watch that went on at another member, or at one that had started anew."""
    WATCH_ACROSS_INSTALL = 32
    """A watch on a member whose state was replaced by a snapshot."""
    WATCH_COMPACTED = 33
    """A watch that was cancelled, because what it should have had was compacted."""
    WATCH_PROGRESS = 34


METS = len(Met)
LOADING = 8
"""``receiving`` of a member whose store is being filled from the snapshot that it received."""

OPTIONS = np.dtype(
    [
        ("members", np.int64),
        ("clients", np.int64),
        ("keys", np.int64),
        ("loss_per_mille", np.int64),
        ("duplicate_per_mille", np.int64),
        ("delay_ns", np.int64),  # usual delay of a message
        ("straggle_per_mille", np.int64),  # messages that take up to 50 times that
        ("disk_ns", np.int64),  # usual time of a disk command
        ("fault_gap_ns", np.int64),  # usual time between two adversities
        ("faults_end_ns", np.int64),  # when the world heals
        ("end_ns", np.int64),  # when the run is given up: no progress
        ("partitions", np.int64),  # weights of the adversities
        ("one_ways", np.int64),
        ("pauses", np.int64),
        ("crashes", np.int64),
        ("all_crashes", np.int64),  # every member at once
        ("full_disks", np.int64),
        ("clock_steps", np.int64),
        ("usurps", np.int64),  # 1: new leaders are often cut off soon
        ("flips", np.int64),  # 1: a bit of one crashed member's log may be flipped
        ("election_ticks", np.int64),
        ("message_bytes", np.int64),  # most bytes of entries in a message; the least lets one entry in
        ("snapshot_every", np.int64),
        ("leases", np.int64),
        ("compactions", np.int64),
        ("segment_bytes", np.int64),
        ("keep_bytes", np.int64),  # log behind a snapshot
        ("aways", np.int64),  # weight: a member is kept away until the others have compacted what it lacks
        ("old_answers", np.int64),  # 1: READ_INDEX_ANSWERs come again, or very late
        ("watchers", np.int64),  # clients that watch
    ],
    align=True,
)

WORLD = np.dtype(
    [
        ("seed", np.int64),
        ("draws", np.int64),
        ("trace", np.int64),
        ("order", np.int64),
        ("scheduled", np.int64),
        ("now_ns", np.int64),
        ("healed", np.int64),  # 1: no more adversities
        ("quiet_ns", np.int64),  # when the last client had all its answers, 0: not yet
        ("packets_free", np.int64),
        ("operations", np.int64),  # rows used of ``history``
        ("values", np.int64),  # values written, counted
        ("events", np.int64),
        ("failure", np.int64),  # a Failure
        ("failure_member", np.int64),
        ("failure_index", np.int64),
        ("damaged", np.int64),  # the member whose log was flipped, -1: none
        ("leader", np.int64),  # the member that was last seen to lead
        ("leader_term", np.int64),  # the highest in which one was
        ("away", np.int64),  # the member that is kept away, -1: none
        ("away_way", np.int64),  # faults.Way
        ("away_ns", np.int64),  # since when
        ("watched", np.int64),  # rows used of ``watched``
        ("spans", np.int64),  # and of ``spans``
        ("compacted", np.int64),  # the highest revision that a client asked to compact
        ("options", OPTIONS),
        ("met", np.int64, (METS,)),
        ("sent_order", np.int64, (MEMBERS_MAX * MEMBERS_MAX,)),  # of each link, of the last packet delivered
        ("cut", np.int64, (MEMBERS_MAX * MEMBERS_MAX,)),  # 1: the link loses everything
    ],
    align=True,
)

EVENT = np.dtype(
    [
        ("at_ns", np.int64),
        ("order", np.int64),
        ("kind", np.int64),  # Happening
        ("member", np.int64),
        ("a", np.int64),
        ("b", np.int64),
    ],
    align=True,
)

MEMBER = np.dtype(
    [
        ("up", np.int64),
        ("resumes_ns", np.int64),  # it does nothing before
        ("incarnation", np.int64),  # events of an earlier one are void
        ("doomed", np.int64),  # 1: it crashes when its disk next has something done
        ("clock_ns", np.int64),  # how far its clock is ahead of the world's
        ("full", np.int64),  # 1: its disk has no room for new files
        ("applied", np.int64),  # entries already compared with the world's
        ("voted_term", np.int64),  # the last in which it was seen to vote for another
        ("base_index", np.int64),  # what it has compacted, as of its last step
        ("last_index", np.int64),  # the end of its log
        ("receiving", np.int64),  # 0, or node.records.ReceiveStage, or LOADING
        ("receive_term", np.int64),  # the term in which it began to receive
        ("alarms", np.int64),  # that it knows of
        ("noted", np.int64, (METS,)),  # what the world's ``met`` has of this incarnation's statistics
        ("queue_head", np.int64, (QUEUES,)),
        ("queue_count", np.int64, (QUEUES,)),
    ],
    align=True,
)

FILE = np.dtype(
    [
        ("kind", np.int64),  # node.records.File, 0: the slot is free
        ("number", np.int64),
        ("bytes", np.int64),  # its length
        ("durable_bytes", np.int64),
    ],
    align=True,
)
"""A file of a simulated disk; its bytes lie in the slot of the same position."""

PACKET = np.dtype(
    [
        ("sender", np.int64),
        ("bytes", np.int64),
        ("order", np.int64),
        ("sent_ns", np.int64),
        ("answer_term", np.int64),  # READ_INDEX_ANSWER: the highest term with a leader when it was sent; else 0
    ],
    align=True,
)

ANSWER = np.dtype(
    [
        ("context", np.int64),  # 0: none
        ("incarnation", np.int64),  # of the member that it went to
        ("sender", np.int64),
        ("bytes", np.int64),
    ],
    align=True,
)
"""A copy of a READ_INDEX_ANSWER."""

WATCHING = np.dtype(
    [
        ("member", np.int64),  # where its stream is, -1: it has none
        ("incarnation", np.int64),
        ("stream", np.int64),
        ("taken", np.int64),  # the watcher that has something for it, -1: none
        ("slow", np.int64),  # 1: it does not read at the moment
        ("opened", np.int64),  # streams so far
        ("notify", np.int64),  # 1: it asked to be told of progress
        ("extent", np.int64),  # history.Extent
        ("key", np.int64),
        ("next", np.int64),  # the first revision that it has not had; 0: from now on
        ("span", np.int64),  # its row of ``spans``
    ],
    align=True,
)
"""A client that watches."""

CLIENT = np.dtype(
    [
        ("operation", np.int64),  # how many it began; the upper part of its handles
        ("wish", np.int64),  # clients.Wish of the operation under way, 0: none
        ("method", np.int64),
        ("member", np.int64),  # which was asked
        ("incarnation", np.int64),  # of that member, when it was asked
        ("term", np.int64),
        ("key", np.int64),
        ("row", np.int64),  # of ``history``; -1: not in it
        ("began_ns", np.int64),
        ("done", np.int64),  # operations answered since the world healed
        ("revision", np.int64),  # of the last answer
        ("seen_key", np.int64),  # the register that it read last, and what was in it
        ("seen_value", np.int64),
        ("seen_bytes", np.int64),
        ("found_value", np.int64),  # in the answer just read
        ("found_revision", np.int64),
        ("found_bytes", np.int64),
        ("lease_id", np.int64),
        ("lease_stage", np.int64),  # 0: no lease
        ("lease_ns", np.int64),  # it lives from here for its time to live at least
    ],
    align=True,
)


class Failure(IntEnum):
    """What a run proved wrong."""

    NONE = 0
    DIVERGED = 1
    """Two members applied different entries at the same index."""
    NO_PROGRESS = 2
    """The healed world did not answer its clients."""
    CONTENTS_DIFFER = 3
    """Members that applied the same entries hold different keys."""
    MEMBER_FAILED = 4
    """A member stopped itself although nothing was wrong with its disk."""
    RECOVERY_REFUSED = 5
    """A member refused a log that nobody damaged."""
    DAMAGE_ACCEPTED = 6
    """A member started from a log with a flipped bit and lost what it had acknowledged."""
    LEASE_LOST = 7
    """A key went before its lease could have expired."""
    LEASE_KEPT = 8
    """A key outlived its lease."""
    BAD_ANSWER = 9
    """An answer that cannot be decoded."""
    WORLD_FULL = 10
    """The simulation itself ran out of room."""
    WATCH_WRONG = 11
    """An answer to a watch that cannot be right."""


class World(NamedTuple):
    """Everything that is not a member."""

    state: npt.NDArray[np.void]
    """WORLD[1]"""
    events: npt.NDArray[np.void]
    """EVENT[n]"""
    heap: npt.NDArray[np.int32]
    """int32[n]: slots of scheduled events as a heap, then free ones"""
    members: npt.NDArray[np.void]
    """MEMBER[MEMBERS_MAX]"""
    files: npt.NDArray[np.void]
    """FILE[MEMBERS_MAX * SLOTS]"""
    current: npt.NDArray[np.uint8]
    """What a member reads back: uint8[MEMBERS_MAX * SLOTS * SLOT_BYTES]"""
    durable: npt.NDArray[np.uint8]
    """What a crash leaves"""
    dirty: npt.NDArray[np.uint8]
    """uint8[... / SECTOR_BYTES]: 1: the sector was written and not synced"""
    commands: npt.NDArray[np.void]
    """DISK_COMMAND[MEMBERS_MAX * QUEUES * QUEUE_DEPTH]"""
    packets: npt.NDArray[np.void]
    """PACKET[PACKETS]"""
    packet_bytes: npt.NDArray[np.uint8]
    """uint8[PACKETS * PACKET_BYTES]"""
    packets_free: npt.NDArray[np.int32]
    """int32[PACKETS]: free ones"""
    clients: npt.NDArray[np.void]
    """CLIENT[CLIENTS_MAX]"""
    history: npt.NDArray[np.void]
    """HISTORY[n]"""
    committed: npt.NDArray[np.int64]
    """int64[INDEXES_MAX]: checksum of the entry that was applied first at each index, plus 1; 0: none yet"""
    scratch: npt.NDArray[np.uint8]
    """uint8[n]: a request under construction"""
    fields: npt.NDArray[np.int64]
    """int64[4 * protobuf.FIELDS]: the fields of the message just read"""
    answers: npt.NDArray[np.void]
    """ANSWER[MEMBERS_MAX * ANSWERS_KEPT]: by the member that they went to, and their contexts"""
    answer_bytes: npt.NDArray[np.uint8]
    """uint8[MEMBERS_MAX * ANSWERS_KEPT * ANSWER_BYTES]"""
    watching: npt.NDArray[np.void]
    """WATCHING[WATCHERS_MAX]"""
    watched: npt.NDArray[np.void]
    """WATCHED[WATCHED_MAX]: what they saw"""
    spans: npt.NDArray[np.void]
    """SPAN[SPANS_MAX]"""
    response: npt.NDArray[np.uint8]
    """uint8[n]: a response to a watch"""


def new_world(operations: int = 1 << 12) -> World:
    """Room for runs of at most ``operations`` client operations; one world serves any number of runs."""
    slots = MEMBERS_MAX * SLOTS
    return World(
        state=np.zeros(1, WORLD),
        events=np.zeros(EVENTS_MAX, EVENT),
        heap=np.zeros(EVENTS_MAX, np.int32),
        members=np.zeros(MEMBERS_MAX, MEMBER),
        files=np.zeros(slots, FILE),
        current=np.zeros(slots * SLOT_BYTES, np.uint8),
        durable=np.zeros(slots * SLOT_BYTES, np.uint8),
        dirty=np.zeros(slots * SLOT_BYTES // SECTOR_BYTES, np.uint8),
        commands=np.zeros(MEMBERS_MAX * QUEUES * QUEUE_DEPTH, DISK_COMMAND),
        packets=np.zeros(PACKETS, PACKET),
        packet_bytes=np.zeros(PACKETS * PACKET_BYTES, np.uint8),
        packets_free=np.zeros(PACKETS, np.int32),
        clients=np.zeros(CLIENTS_MAX, CLIENT),
        history=np.zeros(operations, HISTORY),
        committed=np.zeros(INDEXES_MAX, np.int64),
        scratch=np.zeros(1 << 14, np.uint8),
        fields=new_fields(),
        answers=np.zeros(MEMBERS_MAX * ANSWERS_KEPT, ANSWER),
        answer_bytes=np.zeros(MEMBERS_MAX * ANSWERS_KEPT * ANSWER_BYTES, np.uint8),
        watching=np.zeros(WATCHERS_MAX, WATCHING),
        watched=np.zeros(WATCHED_MAX, WATCHED),
        spans=np.zeros(SPANS_MAX, SPAN),
        response=np.zeros(1 << 15, np.uint8),
    )
