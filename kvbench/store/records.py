"""Records of the state machine, and its capacities. Sizes and positions are int64; revisions are below 2**47.

Keys, versions, tree nodes and history blocks lie in one arena of bytes. A *reference* is a place there in units of 4
bytes; 0 is none. What a reference of each kind points to is described in ``layout``.
"""

import mmap
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kvbench.jit import kernel
from kvbench.rt.buffer import fill
from kvbench.rt.rng import mix
from kvbench.wire import protobuf
from kvbench.wire.protobuf import write_varint


class StoreCode(IntEnum):
    """What kernels of this package return beside StoreErrors; all in rt.codes.STORE."""

    NO_ROOM = -1100
    """A response does not fit into what the caller offers; nothing has happened."""
    OUT_OF_MEMORY = -1101
    """The arena is full. The state may be half changed: the member must stop, and its log stays good."""
    TABLE_FULL = -1102
    """No more leases, watchers or streams than the table holds."""
    DAMAGED = -1103
    """Bytes that are no dump of a state."""


NO_ROOM, OUT_OF_MEMORY, TABLE_FULL, DAMAGED = (int(code) for code in StoreCode)

NONE = -1
UNIT_BYTES = 4
SMALL_UNITS = 256
"""Records of up to so many units have a class of their own size; larger ones share classes, 8 to each doubling."""
CLASSES = 416
"""Enough for records of 2**28 bytes."""
RECORD_BYTES_MAX = 1 << 27
HEADER_BYTES_MAX = 64
"""Room that any response's header needs."""
PATH_LEVELS = 16
"""More than the levels of a tree of 2**32 keys."""
VISITS_MAX = 256
"""More than the levels of a treap of as many ranges as there can be watchers (about 50)."""
CHAIN_EVENTS = 64
"""Events of one key that a watcher collects at a time from the key's versions."""
TXN_DEPTH_MAX = 130
"""etcd's limit of 128 operations, nested ones counted against what is left, allows no deeper nesting."""
HISTORY_BLOCK_ENTRIES = 1024
BUCKETS_MIN = 64
LEAF_UNITS = 64
ROOT_AT, ROOT_UNITS = 16, LEAF_UNITS
"""Where the leaf of an empty tree is."""
FIELDS = 4 * protobuf.FIELDS

SPACE = np.dtype(
    [
        ("units", np.int64),  # capacity
        ("soft_units", np.int64),  # beyond this, free records are split before more is touched
        ("top", np.int64),  # first unit never used
        ("used_units", np.int64),
        ("free_units", np.int64),  # in the lists below
        ("free", np.int64, (CLASSES,)),  # first free record of each class
    ],
    align=True,
)
"""What is used and free of an array of bytes."""

LEASE = np.dtype(
    [
        ("id", np.int64),  # 0: this slot is free
        ("ttl_s", np.int64),  # as granted
        ("keys", np.int64),  # attached now
        ("first", np.int64),  # reference of the first ATTACHMENT
        ("next", np.int64),  # slot: next in its bucket, or next free one
        ("bucket", np.int64),  # 1 + slot: first of this bucket (which has nothing to do with this lease), 0: none
    ],
    align=True,
)

QUERY = np.dtype(
    [
        ("key_at", np.int64),
        ("key_bytes", np.int64),
        ("end_at", np.int64),
        ("end_bytes", np.int64),
        ("extent", np.int64),  # layout.ONE_KEY, UP_TO or FROM
        ("limit", np.int64),
        ("revision", np.int64),
        ("sort_order", np.int64),
        ("sort_target", np.int64),
        ("serializable", np.int64),
        ("keys_only", np.int64),
        ("count_only", np.int64),
        ("min_mod", np.int64),
        ("max_mod", np.int64),
        ("min_create", np.int64),
        ("max_create", np.int64),
        ("found", np.int64),  # references in ``found``
        ("count", np.int64),  # keys in the range
        ("more", np.int64),
    ],
    align=True,
)
"""A range request, and what was found."""

TXN_OP = np.dtype(
    [
        ("kind", np.int64),  # OP_RANGE, ..., OP_TXN, OP_COMPARE, or 0 for an operation that is none
        ("at", np.int64),  # its message
        ("end", np.int64),
        ("parent", np.int64),  # the transaction that it is in, NONE for the outermost one
        ("branch", np.int64),  # SUCCESS or FAILURE of its parent
        ("depth", np.int64),
        ("outcome", np.int64),  # of a transaction: 1 as long as all comparisons hold
        ("active", np.int64),  # whether it is to be done
        ("left", np.int64),  # of a transaction: operations that each one nested in it may have
        ("numbers", np.int64, (4,)),  # of a transaction: how many comparisons (1), operations (2, 3: SUCCESS, FAILURE)
        ("key_at", np.int64),
        ("key_bytes", np.int64),
        ("end_at", np.int64),
        ("end_bytes", np.int64),
        ("opened_at", np.int64),  # of a transaction: where its response began
    ],
    align=True,
)
"""A transaction flattened: each transaction before its comparisons, those before its operations, in order."""

WATCHER = np.dtype(
    [
        ("stream", np.int64),  # NONE: this place is free
        ("watch_id", np.int64),
        ("state", np.int64),  # ASLEEP, LATE or TAKEN
        ("subject", np.int64),  # the SUBJECT that it watches
        ("next_revision", np.int64),  # no event before it is still to be sent
        ("position", np.int64),  # the change in history to look at next, NONE: the first of ``next_revision``
        ("skip", np.int64),  # without position: changes of ``next_revision`` that it has had
        ("least_revision", np.int64),  # events before it are of no interest (a watch that begins in the future)
        ("doomed", np.int64),  # 1: it began below the compacted revision
        ("synced", np.int64),  # 1: it has once had everything, so that its events are new
        ("progress", np.int64),  # 1: wants progress notifications
        ("quiet", np.int64),  # 1: no event was sent since the last notification was due
        ("prev_kv", np.int64),
        ("fragment", np.int64),
        ("filters", np.int64),  # bit 0: no puts, bit 1: no deletes
        ("owes_progress", np.int64),  # 1: its stream's progress answer waits for it
        ("before", np.int64),  # watcher: in the list of sleepers or of late ones, NONE at its ends
        ("next", np.int64),
        ("stream_before", np.int64),  # watcher: in its stream's list
        ("stream_next", np.int64),
        ("id_next", np.int64),  # watcher: next in its bucket by stream and watch id
        ("bucket", np.int64),  # 1 + watcher: first of this bucket, 0: none
    ],
    align=True,
)

STREAM = np.dtype(
    [
        ("used", np.int64),
        ("handle", np.int64),  # the server's name of the call
        ("first", np.int64),  # watcher, NONE: none
        ("next_id", np.int64),
        ("waiting", np.int64),  # watchers that a progress answer waits for
        ("progress_revision", np.int64),  # what that answer will say
        ("next_free", np.int64),
    ],
    align=True,
)
"""One Watch call with its watchers."""

SUBJECT = np.dtype(
    [
        ("hash", np.int64),  # of one key: as in the table of keys
        ("extent", np.int64),  # layout.ONE_KEY, UP_TO or FROM
        ("key", np.int64),  # reference in ``names`` of the key, or of the range's first one; and of its end
        ("key_bytes", np.int64),
        ("range_end", np.int64),
        ("end_bytes", np.int64),
        ("watchers", np.int64),
        ("last_revision", np.int64),  # no event is newer
        ("burst_revision", np.int64),  # of the first event since all sleepers had everything
        ("queued", np.int64),
        ("queue_next", np.int64),
        ("first", np.int64),  # watcher: sleepers, in order of the revision up to which they have everything
        ("last", np.int64),
        ("next", np.int64),  # subject: next in its bucket, or next free one
        ("bucket", np.int64),  # 1 + subject: first of this bucket, 0: none
        ("left", np.int64),  # subject: of a range, in the tree of ranges; NONE: none
        ("right", np.int64),
        ("parent", np.int64),
        ("reach", np.int64),  # that subject at or below it whose range ends last
    ],
    align=True,
)
"""A key, or a range of keys, that watchers watch."""

BATCH = np.dtype(
    [
        ("in_history", np.int64),  # whether candidates are changes in history, or versions of one key
        ("begin", np.int64),  # first candidate
        ("stop", np.int64),  # behind the last one
        ("end", np.int64),  # behind the last one that goes into the response
        ("events", np.int64),
        ("bytes", np.int64),  # of the events
        ("revision", np.int64),  # of the last event
        ("scanned", np.int64),  # candidates up to here were looked at
        ("partial", np.int64),  # 1: more events of the last revision follow
    ],
    align=True,
)
"""What goes into one response of a watcher."""

ALARM = np.dtype([("member", np.int64), ("kind", np.int64)], align=True)
"""An alarm raised; kind 0: none."""
ALARMS_MAX = 16


STORE = np.dtype(
    [
        # What clients and the node see.
        ("revision", np.int64),
        ("compacted", np.int64),  # the revision that etcd calls compacted, -1: none yet
        ("applied_index", np.int64),
        ("keys", np.int64),  # that exist now
        ("leases", np.int64),
        ("watchers", np.int64),
        ("streams", np.int64),
        ("alarms", np.int64),  # bit 0: some member has NOSPACE, bit 1: CORRUPT
        ("used_bytes", np.int64),  # of the arena, without what is free
        ("extent_bytes", np.int64),  # of the arena, touched so far
        ("wanted_bytes", np.int64),  # after NO_ROOM: the room that would do, 0: unknown
        ("lease_slot", np.int64),  # the lease that the entry applied last granted or revoked, NONE: none
        ("raft_term", np.int64),  # set by the node, for headers
        ("lease_ttl_min_s", np.int64),  # set by the node
        ("header_bytes", np.int64),  # length of ``header``
        # The entry being applied.
        ("now", np.int64),  # revision of what reads see: one more than ``revision`` once a transaction changed anything
        ("changes", np.int64),
        # Hash table.
        ("seed", np.int64),
        ("level_buckets", np.int64),  # a power of two: buckets at the beginning of this round of splits
        ("split", np.int64),  # next bucket to split
        ("entries", np.int64),  # key records, of deleted keys too
        # Tree of keys.
        ("root", np.int64),
        ("height", np.int64),  # levels of inner nodes
        # History: changes by number, in order of revision.
        ("first", np.int64),
        ("end", np.int64),
        ("cut_next", np.int64),  # the next change at the floor whose predecessor may be superfluous
        ("dropped_revision", np.int64),  # of the last change that history has lost
        ("pins", np.int64),  # cursors that need all versions to stay
        # Leases.
        ("lease_free", np.int64),
        ("lease_top", np.int64),
        # Watchers.
        ("watcher_free", np.int64),
        ("watcher_top", np.int64),
        ("stream_free", np.int64),
        ("stream_top", np.int64),
        ("subject_free", np.int64),
        ("subject_top", np.int64),
        ("exact", np.int64),  # watchers of one key
        ("subject_first", np.int64),  # subjects with events that a sleeping watcher has not had, a queue
        ("subject_last", np.int64),
        ("late_first", np.int64),  # watchers that are to be asked, a queue
        ("late_last", np.int64),
        ("turn", np.int64),  # which of these queues is asked first next time
        ("range_root", np.int64),  # subject: of the tree of ranges, NONE: there are none
        ("visits", np.int64),  # subjects still to be looked at by the search for ranges
        # The snapshot being written.
        ("snapshot_phase", np.int64),
        ("snapshot_index", np.int64),
        ("snapshot_revision", np.int64),
        ("snapshot_floor", np.int64),
        ("snapshot_key", np.int64),  # the key looked at last, 0: none yet
        ("snapshot_version", np.int64),  # where among its versions to go on, 0: with the next key
        ("snapshot_next", np.int64),
        ("snapshot_start", np.int64),  # its part of history
        ("snapshot_end", np.int64),
        ("snapshot_leases", np.int64),
        ("snapshot_count", np.int64),  # records written
        ("snapshot_source", np.int64),  # the version whose key and value are being written
        ("snapshot_left", np.int64),  # bytes of them still to write
        # The dump being loaded.
        ("loading", np.int64),  # 1: from the beginning of a load to its end
        ("loaded", np.int64),  # 1: it is complete
        ("load_revision", np.int64),
        ("load_numbers", np.int64, (8,)),  # of the record at hand
        ("load_phase", np.int64),
        ("load_count", np.int64),  # records read
        ("load_kind", np.int64),
        ("load_key_bytes", np.int64),
        ("load_value_bytes", np.int64),
        ("load_mod", np.int64),
        ("load_create", np.int64),
        ("load_number", np.int64),
        ("load_lease", np.int64),
        ("load_key", np.int64),
        ("load_version", np.int64),
        ("load_done", np.int64),  # bytes of the key or value read
        # The hash being computed.
        ("hash", np.int64),
        ("hash_revision", np.int64),
        ("hash_compacted", np.int64),
        ("hash_key", np.int64),  # the key looked at last, 0: none yet
        ("hash_version", np.int64),  # where among its versions to go on, 0: with the next key
        ("hash_floor_seen", np.int64),  # 1: a version of this key is of the compacted revision
        ("hash_running", np.int64),
        ("header", np.uint8, (32,)),  # fields cluster_id and member_id as they stand in every header
        ("fields", np.int64, (FIELDS,)),  # of the request's message
        ("inner", np.int64, (FIELDS,)),  # of a message in it
        ("path", np.int64, (2 * PATH_LEVELS,)),  # of the last descent: nodes, then positions in them
        ("visit", np.int64, (VISITS_MAX,)),
        ("chain", np.int64, (CHAIN_EVENTS,)),  # versions of one key, newest first
        ("batch", BATCH),
        ("stack", np.int64, (4 * TXN_DEPTH_MAX,)),
    ],
    align=True,
)
"""What there is one of."""


class Store(NamedTuple):
    """The state machine."""

    state: npt.NDArray[np.void]
    """STORE[1]"""
    spaces: npt.NDArray[np.void]
    """SPACE[2]: of ``arena``, of ``names``"""
    arena: npt.NDArray[np.uint8]
    """Keys, versions, tree, history, attachments."""
    names: npt.NDArray[np.uint8]
    """Keys of watchers, which outlive the loading of another state."""
    buckets: npt.NDArray[np.uint32]
    """First key record of each bucket of the hash table."""
    history: npt.NDArray[np.uint32]
    """References of the blocks of history, a ring by block number."""
    leases: npt.NDArray[np.void]
    watchers: npt.NDArray[np.void]
    streams: npt.NDArray[np.void]
    subjects: npt.NDArray[np.void]
    alarms: npt.NDArray[np.void]
    """ALARM[ALARMS_MAX]"""
    lease_copy: npt.NDArray[np.int64]
    """Id and ttl of each lease when a snapshot began."""
    alarm_copy: npt.NDArray[np.void]
    """ALARM[ALARMS_MAX] when a snapshot began."""
    query: npt.NDArray[np.void]
    """QUERY[1]"""
    ops: npt.NDArray[np.void]
    """TXN_OP[n]: the transaction at hand."""
    found: npt.NDArray[np.uint32]
    """References of versions or keys: what a range found, what a lease is attached to; two halves, for sorting."""


def reserve(dtype: Any, count: int) -> np.ndarray:
    """An array of zeros of which only what is touched takes memory, not even counted as promised before that."""
    kind = np.dtype(dtype)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000
    area = mmap.mmap(-1, max(kind.itemsize * count, 1), flags=flags)
    return np.frombuffer(area, kind, count)


def _power_of_two(count: int) -> int:
    return 1 << max(count - 1, 1).bit_length()


def new_store(
    arena_bytes: int = 1 << 34,
    keys_max: int = 1 << 28,
    leases_max: int = 1 << 20,
    watchers_max: int = 1 << 18,
    streams_max: int = 1 << 16,
    operations_max: int = 1 << 19,
    seed: int = 0,
) -> Store:
    """An empty store. Raises ValueError when the arena is larger than references reach, or too small to be of use."""
    if not 1 << 16 <= arena_bytes <= 1 << 34:
        raise ValueError(f"an arena has 64 KiB to 16 GiB, not {arena_bytes} bytes")
    names_bytes = min(arena_bytes, 1 << 31)
    store = Store(
        state=np.zeros(1, STORE),
        spaces=np.zeros(2, SPACE),
        arena=reserve(np.uint8, arena_bytes),
        names=reserve(np.uint8, names_bytes),
        buckets=reserve(np.uint32, _power_of_two(keys_max)),
        history=reserve(np.uint32, _power_of_two(arena_bytes // UNIT_BYTES // HISTORY_BLOCK_ENTRIES)),
        leases=reserve(LEASE, _power_of_two(leases_max)),
        watchers=reserve(WATCHER, _power_of_two(watchers_max)),
        streams=reserve(STREAM, streams_max),
        subjects=reserve(SUBJECT, _power_of_two(watchers_max)),
        alarms=np.zeros(ALARMS_MAX, ALARM),
        lease_copy=reserve(np.int64, 2 * _power_of_two(leases_max)),
        alarm_copy=np.zeros(ALARMS_MAX, ALARM),
        query=np.zeros(1, QUERY),
        ops=reserve(TXN_OP, operations_max),
        found=reserve(np.uint32, 2 * keys_max),
    )
    state = store.state[0]
    state["seed"] = seed
    state["raft_term"] = 1
    for name in ("subject_first", "subject_last", "late_first", "late_last", "range_root"):
        state[name] = NONE
    for name in ("watcher_free", "stream_free", "subject_free"):
        state[name] = NONE
    for space, area in zip(store.spaces, (store.arena, store.names), strict=True):
        space["units"] = len(area) // UNIT_BYTES
        space["soft_units"] = space["units"] - min(space["units"] // 8, 1 << 20)
        space["top"] = ROOT_AT
    reset(store)
    return store


@kernel
def lease_bucket(store: Any, lease_id: int) -> int:
    """The bucket of a lease in the table of leases, whose size is a power of two."""
    return mix(lease_id, 0) & len(store.leases) - 1


@kernel
def reset(store: Any) -> None:
    """Forget all data: no keys, no history, no leases, no alarms. Streams and watchers stay."""
    state, space = store.state[0], store.spaces[0]
    state["revision"] = 1
    state["now"] = 1
    state["compacted"] = NONE
    state["applied_index"] = 0
    state["changes"] = 0
    state["keys"] = 0
    state["entries"] = 0
    state["level_buckets"] = BUCKETS_MIN
    state["split"] = 0
    for bucket in range(BUCKETS_MIN):
        store.buckets[bucket] = 0
    state["first"] = 0
    state["end"] = 0
    state["cut_next"] = 0
    state["dropped_revision"] = 0
    state["pins"] = 0
    state["snapshot_phase"] = 0
    state["hash_running"] = 0
    for slot in range(state["lease_top"]):
        if store.leases[slot]["id"] != 0:
            store.leases[lease_bucket(store, int(store.leases[slot]["id"]))]["bucket"] = 0
            store.leases[slot]["id"] = 0
    state["leases"] = 0
    state["lease_free"] = NONE
    state["lease_top"] = 0
    state["alarms"] = 0
    for position in range(ALARMS_MAX):
        store.alarms[position]["kind"] = 0
    space["used_units"] = ROOT_UNITS
    space["free_units"] = 0
    space["top"] = ROOT_AT + ROOT_UNITS
    for kind in range(CLASSES):
        space["free"][kind] = 0
    # An empty leaf: no keys, no leaf behind it.
    state["root"] = ROOT_AT
    state["height"] = 0
    fill(store.arena, ROOT_AT * UNIT_BYTES, 8, 0)


def set_identity(store: Store, cluster_id: int, member_id: int) -> None:
    """What every response's header says; ids are unsigned 64-bit numbers."""
    header, at = np.zeros(32, np.uint8), 0
    for number, identifier in ((1, cluster_id), (2, member_id)):
        if identifier != 0:
            header[at] = number << 3
            at = write_varint(header, at + 1, identifier - (1 << 64) if identifier >> 63 else identifier)
    store.state["header"][0] = header
    store.state["header_bytes"] = at
