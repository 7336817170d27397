"""Records of a member: what it asks its runner to do, what it tells clients, and what it keeps meanwhile.

Positions, sizes and times are int64; times are in ns of the clock that the runner passes in, which never steps.
"""

from enum import IntEnum

import numpy as np

MEMBERS_MAX = 5
NO_MEMBER = -1
ASK = -2


class DiskKind(IntEnum):
    """What a DISK_COMMAND asks for."""

    WRITE = 1
    """Write ``bytes`` bytes of ``buffer`` from ``at`` on to ``offset`` of the file; then as SYNC if ``sync`` is 1."""
    SYNC = 2
    """fdatasync the file, when ``sync`` is 1; with 0 (fsync=off) it is answered without doing anything."""
    CREATE = 3
    """Make the file with ``bytes`` bytes of zeros, allocated and (``sync``) synced, and sync its folder."""
    RENAME = 4
    """Give the file the name of ``(to_file, to_number)``, replacing what is there, and (``sync``) sync the folder."""
    DELETE = 5
    """Remove the file; one that is not there is no error."""
    READ = 6
    """Read up to ``bytes`` bytes at ``offset`` of the file into ``buffer`` at ``at``; the result is how many came."""


class File(IntEnum):
    """Kinds of files in a member's folder. ``number`` tells those of one kind apart."""

    SEGMENT = 1
    """``log/<number>.log``"""
    MARK = 2
    """``mark``"""
    SNAPSHOT = 3
    """``snapshot/<number>.snap``, the number being the snapshot's index"""
    OWN_SNAPSHOT = 4
    """``snapshot/own.part``: being written by this member"""
    FOREIGN_SNAPSHOT = 5
    """``snapshot/foreign.part``: being received"""


class Buffer(IntEnum):
    """Which array of the member ``at`` and ``bytes`` of a DISK_COMMAND are in."""

    NOTHING = 0
    RING = 1
    """``node.log.ring``"""
    MARK = 2
    """``node.mark``"""
    PIECES = 3
    """``node.pieces``: a snapshot's bytes on their way to the disk"""
    READING = 4
    """``node.reading``: what was read"""


class Queue(IntEnum):
    """Commands of one queue are carried out one after the other, in order; queues do not wait for each other."""

    LOG = 0
    """Writing segments and the mark."""
    FILES = 1
    """Making and removing segments, and reads."""
    SNAPSHOT = 2
    """Writing snapshots."""


QUEUES = len(Queue)

DISK_COMMAND = np.dtype(
    [
        ("sequence", np.int64),  # given back to ``written``
        ("kind", np.int64),  # DiskKind
        ("queue", np.int64),  # Queue
        ("file", np.int64),  # File
        ("number", np.int64),
        ("offset", np.int64),  # in the file
        ("buffer", np.int64),  # Buffer; its bytes stay as they are until the command is answered
        ("at", np.int64),
        ("bytes", np.int64),
        ("sync", np.int64),
        ("to_file", np.int64),  # RENAME
        ("to_number", np.int64),
    ],
    align=True,
)
"""Something that a member's disk must do. It is answered by one call of ``written``."""

REPLY = np.dtype(
    [
        ("handle", np.int64),  # as given to ``offer`` or ``command``
        ("code", np.int64),  # 0, or a StoreError
        ("at", np.int64),  # the response message: ``node.reply_bytes[at : at + bytes]``
        ("bytes", np.int64),
        ("method", np.int64),  # wire.etcd_methods, or -CommandKind
        ("values", np.int64, (4,)),  # of commands: see CommandKind
    ],
    align=True,
)
"""An answer to a client."""


class CommandKind(IntEnum):
    """Rare calls, and what their REPLY's ``values`` hold."""

    TRANSFER = 1
    """Hand leadership to member position ``a``. Answered when it is done or given up."""
    HASH_KV = 2
    """Hash of all keys as of revision ``a`` (0: now): hash, compacted revision, revision hashed, current revision."""
    SNAPSHOT = 3
    """Write a snapshot of the state as it is when this is taken: its index, bytes of its file, revision."""
    STOP = 4
    """Take no more writes, note what was acknowledged, hand leadership over: answered when the member may end."""


COMMAND = np.dtype(
    [
        ("kind", np.int64),  # CommandKind, 0: free
        ("handle", np.int64),
        ("a", np.int64),
        ("stage", np.int64),  # STOP: how far it is
        ("begun", np.int64),  # HASH_KV: 1: it is this one's turn
        ("index", np.int64),  # SNAPSHOT: what it must hold
        ("failures", np.int64),  # SNAPSHOT: those that had failed before
        ("deadline_ns", np.int64),
    ],
    align=True,
)
"""A rare call under way."""

PENDING = np.dtype(
    [
        ("request", np.int64),  # -1: free; else count * slots + slot
        ("handle", np.int64),
        ("method", np.int64),
        ("forwarded", np.int64),  # the leader that it went to, NO_MEMBER: this member proposed it
        ("index", np.int64),  # its entry, when this member proposed it
        ("lease_id", np.int64),
        ("keys", np.int64),
        ("bytes", np.int64),
        ("deadline_ns", np.int64),
    ],
    align=True,
)
"""A client's request that waits for its entry to be applied, or for the leader to answer about a lease."""

WAITING_READ = np.dtype(
    [
        ("handle", np.int64),
        ("method", np.int64),
        ("at", np.int64),  # the request's bytes in ``node.read_bytes``
        ("bytes", np.int64),
        ("bytes_end", np.int64),  # position behind them
        ("index", np.int64),  # must be applied before
        ("asker", np.int64),  # a lease's keep-alive or question of another member: its position; NO_MEMBER
        ("boot", np.int64),  # which start of the asker, and which of its requests
        ("request", np.int64),
        ("lease_id", np.int64),
        ("ttl_s", np.int64),  # remaining time to live as the leader said; ASK: to be found here, where the leader is
        ("keys", np.int64),  # LEASE_TIME_TO_LIVE: 1: its keys are wanted too
        ("deadline_ns", np.int64),
    ],
    align=True,
)
"""A read that waits for a read index; they leave in the order in which they came."""

LINK = np.dtype(
    [
        ("connected", np.int64),
        ("start", np.int64),  # bytes to send: ``node.outbox[peer * outbox_bytes + start : ... + end]``
        ("end", np.int64),
        ("head", np.int64),  # APPENDs that wait for room or for the disk: a ring in ``node.queued``
        ("count", np.int64),
        ("forwarded_bytes", np.int64),  # of this member's requests that the peer has and that are not applied yet
        ("heard_term", np.int64),  # the last FORWARD that came from there: which term, start and request
        ("heard_boot", np.int64),
        ("heard_request", np.int64),
        ("snapshot_announced", np.int64),  # index that ``raft`` announced, 0: none
        ("snapshot_index", np.int64),  # of the snapshot that is sent instead, the newest there was
        ("snapshot_term", np.int64),
        ("snapshot_bytes", np.int64),  # of its file
        ("snapshot_offset", np.int64),  # what the peer asked for; -1: nothing now
        ("snapshot_waits", np.int64),  # ticks since it asked last
    ],
    align=True,
)
"""The way to another member."""

ISSUED = np.dtype(
    [
        ("sequence", np.int64),
        ("purpose", np.int64),  # Purpose
        ("a", np.int64),  # see Purpose
        ("file", np.int64),
        ("number", np.int64),
    ],
    align=True,
)
"""A disk command that is not answered yet."""


class Purpose(IntEnum):
    """Why a disk command was given."""

    NOTHING = 0
    LOG_WRITE = 1
    LOG_SYNC = 2
    """The last of a group. a: the log's position up to which it makes all durable"""
    SEGMENT = 3
    MARK = 4
    """a: which copy"""
    READ = 5
    OWN = 6
    """Of the snapshot that this member writes. a: which half of ``pieces``, or RENAMED, or REMOVED"""
    FOREIGN = 7
    """Of the snapshot that it receives. a: 0 a piece, or SYNCED, RENAMED, REMOVED"""
    DELETE = 8


RENAMED, SYNCED, REMOVED = 2, 3, 4


class OwnStage(IntEnum):
    """How far this member's snapshot is."""

    IDLE = 0
    DUMPING = 1
    ENDING = 2
    """All is given out; the last piece is synced with all before."""
    RENAMING = 3
    FAILED = 4
    """It is given up as soon as nothing of it is being written any more."""


class ReceiveStage(IntEnum):
    """How far a snapshot from the leader is."""

    IDLE = 0
    RECEIVING = 1
    SYNCING = 2
    VERIFYING = 3
    """It is read back and its checksums are checked."""
    RENAMING = 4
    INSTALLING = 5
    """It is durable; what is being written of the log it replaces must end first."""


class Reader(IntEnum):
    """Who uses ``node.reading``."""

    NOBODY = 0
    APPLY = 1
    """Entries to be applied."""
    PEER = 2
    """Entries for a member that lags behind."""
    LOAD = 3
    """A snapshot that is to be loaded, or verified."""
    CHUNK = 4
    """A piece of a snapshot for another member."""
    STALE = 5
    """Nobody any more, but the read is not answered yet."""


NODE = np.dtype(
    [
        # what this member is
        ("member", np.int64),
        ("members", np.int64),
        ("cluster_id", np.int64),
        ("boot", np.int64),
        ("member_ids", np.int64, (MEMBERS_MAX,)),
        ("fsync", np.int64),
        # limits
        ("request_bytes_max", np.int64),
        ("frame_bytes_max", np.int64),  # that another member may send
        ("quota_bytes", np.int64),
        ("forward_bytes_max", np.int64),  # of requests that the leader has of this member
        ("own_bytes_max", np.int64),  # of a leader's uncommitted tail, when it takes its own clients' requests
        ("apply_bytes_max", np.int64),  # applied in one call of ``advance``
        ("outbox_bytes", np.int64),  # of each peer
        ("queued_max", np.int64),  # of each peer
        ("syncs_out_max", np.int64),
        ("request_timeout_ns", np.int64),
        ("election_ns", np.int64),
        ("tick_ns", np.int64),
        ("ttl_s_min", np.int64),
        ("snapshot_every", np.int64),  # 0: off; -1: by size; else entries
        ("snapshot_log_bytes", np.int64),
        ("piece_bytes", np.int64),
        ("keep_bytes", np.int64),  # of log behind a snapshot, for members that lag a little
        # outputs
        ("replies", np.int64),  # how many in ``node.replies``
        ("reply_end", np.int64),  # bytes used of ``node.reply_bytes``
        ("commands", np.int64),  # how many in ``node.disk``
        # the member's condition
        ("failed", np.int64),  # not 0: a NodeError, with which it stopped for good
        ("failed_file", np.int64),
        ("failed_number", np.int64),
        ("failed_offset", np.int64),
        ("failed_errno", np.int64),
        ("loading", np.int64),  # 1: the store is being filled from a snapshot and cannot be read
        ("stopping", np.int64),
        ("hashing", np.int64),
        ("term", np.int64),  # as of the last look: a change ends what was forwarded
        ("leader", np.int64),
        ("leads", np.int64),  # 1: this member
        ("applied", np.int64),
        ("sequence", np.int64),  # of the last disk command
        ("issued", np.int64),
        ("syncs_out", np.int64),
        ("deletes_out", np.int64),
        # the mark
        ("mark_hard_state", np.int64),  # number of the pair (term, vote) that is durable, 0: none of this start
        ("mark_acknowledged", np.int64),  # durable
        ("mark_out", np.int64),  # 1: being written
        ("mark_out_hard_state", np.int64),
        ("mark_out_acknowledged", np.int64),
        ("mark_alarm", np.int64),  # ``disk_alarm`` as it is durable
        ("mark_out_alarm", np.int64),
        ("mark_ns", np.int64),  # when the last one was given out
        # requests
        ("request_count", np.int64),
        ("pending_free", np.int64),  # free places, listed in ``node.free``
        ("pending_swept", np.int64),  # where the search for those too late goes on
        ("lease_count", np.int64),  # of ids chosen
        ("lease_swept", np.int64),
        ("lease_seed", np.int64),
        # reads
        ("read_head", np.int64),  # counts of WAITING_READs: head <= confirmed <= asked <= tail
        ("read_confirmed", np.int64),
        ("read_asked", np.int64),
        ("read_tail", np.int64),
        ("read_bytes_head", np.int64),  # positions; position p lies at p % len(read_bytes)
        ("read_bytes_tail", np.int64),
        ("read_context", np.int64),  # of the round that is out
        ("read_ns", np.int64),  # when it was asked for
        # the one read from disk
        ("reader", np.int64),  # Reader
        ("reader_peer", np.int64),
        ("reader_ready", np.int64),  # 1: the bytes are there
        ("reader_index", np.int64),  # entry looked for
        ("reader_number", np.int64),  # segment or snapshot
        ("reader_offset", np.int64),  # in the file, of the first byte in ``reading``
        ("reader_at", np.int64),
        ("reader_end", np.int64),
        ("reader_next", np.int64),  # whose turn is next
        ("reader_crc", np.int64),
        # snapshots
        ("snapshot_index", np.int64),  # the newest whole one, 0: none
        ("snapshot_term", np.int64),
        ("snapshot_bytes", np.int64),  # of its file
        ("snapshot_revision", np.int64),
        ("snapshot_log_at", np.int64),  # the log's end when it was taken
        ("own_stage", np.int64),  # OwnStage
        ("own_index", np.int64),  # of the one being written
        ("own_term", np.int64),
        ("own_head", np.int64),  # bytes of the file's header that go before the next frame
        ("own_offset", np.int64),
        ("own_log_at", np.int64),
        ("own_out", np.int64),  # bits of the halves of ``pieces`` that are being written
        ("own_wanted", np.int64),  # 1: a client asked for one
        ("own_retry_ns", np.int64),
        ("load_index", np.int64),  # of the one being loaded, or verified
        ("load_bytes", np.int64),
        ("load_offset", np.int64),  # what to read next
        ("load_left", np.int64),  # bytes of the last frame that the store has not taken, in ``scratch`` at LEFT_AT
        ("receive_stage", np.int64),  # ReceiveStage
        ("receive_index", np.int64),
        ("receive_term", np.int64),
        ("receive_from", np.int64),
        ("receive_offset", np.int64),
        ("receive_bytes", np.int64),  # of the file, 0: not known yet
        ("receive_out", np.int64),  # 1: a piece is being written
        ("receive_waits", np.int64),  # ticks since the last piece came
        # disk space
        ("disk_full", np.int64),
        ("disk_alarm", np.int64),  # 1: this member raised NOSPACE because its disk was full, and is to take it back
        ("alarm_rest", np.int64),  # ticks since that alarm was last seen
        ("create_retry_ns", np.int64),
        ("alarm_ns", np.int64),
    ],
    align=True,
)
"""Everything about a member that has one value."""

STATISTICS = np.dtype(
    [
        ("ticks", np.int64),
        ("offered", np.int64),
        ("refused", np.int64),
        ("busy", np.int64),
        ("proposals", np.int64),
        ("proposals_failed", np.int64),  # answered UNAVAILABLE
        ("forwarded", np.int64),
        ("forwards_refused", np.int64),
        ("appended", np.int64),
        ("applied", np.int64),
        ("applied_silently", np.int64),  # this member was the origin, and nobody waited any more
        ("reads", np.int64),
        ("reads_serializable", np.int64),
        ("read_rounds", np.int64),
        ("reads_failed", np.int64),
        ("log_writes", np.int64),
        ("log_bytes", np.int64),
        ("log_syncs", np.int64),
        ("marks", np.int64),
        ("leader_changes", np.int64),
        ("elections_won", np.int64),
        ("truncations", np.int64),
        ("messages_sent", np.int64),
        ("messages_received", np.int64),
        ("messages_dropped", np.int64),
        ("peer_bytes_sent", np.int64),
        ("peer_bytes_received", np.int64),
        ("entries_read", np.int64),
        ("snapshots", np.int64),
        ("snapshots_failed", np.int64),
        ("snapshot_bytes", np.int64),
        ("snapshots_sent", np.int64),
        ("snapshots_received", np.int64),
        ("snapshots_loaded", np.int64),
        ("leases_expired", np.int64),
        ("lease_keep_alives", np.int64),
        ("alarms_raised", np.int64),
        ("segments_created", np.int64),
        ("segments_deleted", np.int64),
        ("disk_full", np.int64),
    ],
    align=True,
)
"""Counters since the start, for /metrics and Status."""
