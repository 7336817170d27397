"""The state as bytes, made piece by piece while entries go on being applied.

What is dumped is the state at ``snapshot_begin``: versions and history up to then stay, since compaction frees nothing
meanwhile; leases and alarms, which have no versions, are copied at once.

A dump is a head, then records, each a byte (what it is, and flags) and numbers as varints:

- LEASE: id, ttl. ALARM: member, kind.
- BASE, in order of keys: the version that a key had at the compacted revision, if no change at or above it is in
  history, or a later one: lengths of key and value, mod revision, if COUNTED create revision and version number, if
  LEASED the lease's id; then key and value.
- CHANGE, in order of history, from the compacted revision on: the same. DELETION: length of the key, mod revision; key.
- END: how many records there were. PADDING says nothing.

Keys and values may be cut anywhere between two pieces, the rest of a record may not.
"""

from typing import Any

from kvbench.jit import kernel
from kvbench.rt.buffer import copy, store_le64
from kvbench.store import history, tree
from kvbench.store.layout import (
    COUNTED,
    LEASED,
    create_of,
    flags_of,
    is_tombstone,
    key_at,
    key_bytes,
    key_of,
    lease_of,
    mod_of,
    newest_of,
    number_of,
    previous_of,
    value_at,
    value_bytes,
)
from kvbench.store.records import ALARMS_MAX, NO_ROOM
from kvbench.wire.protobuf import write_varint

MAGIC = 0x31454746534B564B
"""In the first 8 bytes of a dump; its last digit is the format's number."""
HEAD_BYTES = 48
RECORD_HEAD_BYTES_MAX = 64
PADDING, LEASE, ALARM, BASE, CHANGE, DELETION, END = 0, 1, 2, 3, 4, 5, 6
"""Kinds of record, in the low 4 bits of its first byte."""
HAS_COUNTS, HAS_LEASE = 16, 32
"""Flags of BASE and CHANGE."""
IDLE, HEAD, ALARMS, LEASES, KEYS, CHANGES, LAST, FINISHED = 0, 1, 2, 3, 4, 5, 6, 7
"""Phases of a snapshot."""
STEPS_MAX = 4096
"""Keys and versions that one call looks at without writing anything."""


@kernel
def snapshot_begin(store: Any) -> None:
    """Take the state as it is now. ``snapshot_end`` must follow some time."""
    state = store.state[0]
    if state["snapshot_phase"] != IDLE:
        snapshot_end(store)
    floor = int(state["compacted"])
    state["pins"] += 1
    state["snapshot_phase"] = HEAD
    state["snapshot_index"] = state["applied_index"]
    state["snapshot_revision"] = state["revision"]
    state["snapshot_floor"] = floor
    state["snapshot_key"] = 0
    state["snapshot_version"] = 0
    state["snapshot_next"] = 0
    state["snapshot_start"] = history.find_revision(store, floor)
    state["snapshot_end"] = state["end"]
    state["snapshot_count"] = 0
    state["snapshot_left"] = 0
    count = 0
    for slot in range(state["lease_top"]):
        if store.leases[slot]["id"] != 0:
            store.lease_copy[2 * count] = store.leases[slot]["id"]
            store.lease_copy[2 * count + 1] = store.leases[slot]["ttl_s"]
            count += 1
    state["snapshot_leases"] = count
    for place in range(ALARMS_MAX):
        store.alarm_copy[place] = store.alarms[place]


@kernel
def snapshot_end(store: Any) -> None:
    """The snapshot is finished or given up: compaction goes on."""
    state = store.state[0]
    if state["snapshot_phase"] != IDLE:
        state["snapshot_phase"] = IDLE
        state["pins"] -= 1


@kernel
def snapshot_some(store: Any, out: Any, to: int, limit: int) -> int:
    """Write the next piece of the dump to ``out[to:limit]``. Returns its bytes, 0: all is written; or NO_ROOM.

    A piece must have room for RECORD_HEAD_BYTES_MAX.
    """
    state = store.state[0]
    if limit - to < RECORD_HEAD_BYTES_MAX:
        return NO_ROOM
    start = to
    while state["snapshot_phase"] != FINISHED:
        to = _write_rest(store, out, to, limit)
        if limit - to < RECORD_HEAD_BYTES_MAX:
            break
        phase = int(state["snapshot_phase"])
        if phase == KEYS:
            to = _write_keys(store, out, to, limit)
            if state["snapshot_phase"] == KEYS:
                break
        elif phase == CHANGES:
            to = _write_change(store, out, to)
        else:
            to = _write_small(store, out, to)
    return to - start


@kernel
def _write_small(store: Any, out: Any, to: int) -> int:
    """Write the head, an alarm, a lease or the end, whatever comes next."""
    state = store.state[0]
    phase, number = int(state["snapshot_phase"]), int(state["snapshot_next"])
    state["snapshot_next"] = number + 1
    if phase == HEAD:
        store_le64(out, to, MAGIC)
        store_le64(out, to + 8, int(state["snapshot_revision"]))
        store_le64(out, to + 16, int(state["snapshot_floor"]))
        store_le64(out, to + 24, int(state["snapshot_index"]))
        store_le64(out, to + 32, int(state["snapshot_leases"]))
        store_le64(out, to + 40, int(state["snapshot_end"]) - int(state["snapshot_start"]))
        _next_phase(state, ALARMS)
        return to + HEAD_BYTES
    if phase == ALARMS:
        if number == ALARMS_MAX:
            _next_phase(state, LEASES)
        elif store.alarm_copy[number]["kind"] != 0:
            to = _begin_record(state, out, to, ALARM)
            to = write_varint(out, to, int(store.alarm_copy[number]["member"]))
            to = write_varint(out, to, int(store.alarm_copy[number]["kind"]))
        return to
    if phase == LEASES:
        if number == state["snapshot_leases"]:
            _next_phase(state, KEYS if state["snapshot_floor"] > 0 else CHANGES)
            return to
        to = _begin_record(state, out, to, LEASE)
        to = write_varint(out, to, int(store.lease_copy[2 * number]))
        return write_varint(out, to, int(store.lease_copy[2 * number + 1]))
    out[to] = END
    _next_phase(state, FINISHED)
    return write_varint(out, to + 1, int(state["snapshot_count"]))


@kernel
def _next_phase(state: Any, phase: int) -> None:
    state["snapshot_phase"] = phase
    state["snapshot_next"] = state["snapshot_start"] if phase == CHANGES else 0


@kernel
def _begin_record(state: Any, out: Any, to: int, first: int) -> int:
    """Count a record, and write its first byte."""
    state["snapshot_count"] += 1
    out[to] = first
    return to + 1


@kernel
def base_version(store: Any, version: int, floor: int) -> int:
    """The newest version below ``floor``, of one and those before it, if a read at ``floor`` sees it; else 0.

    Looks at STEPS_MAX of them only; then it returns minus the one to go on with.
    """
    arena = store.arena
    for _ in range(STEPS_MAX):
        if version == 0 or mod_of(arena, version) == floor:
            return 0
        if mod_of(arena, version) < floor:
            return 0 if is_tombstone(arena, version) else version
        version = previous_of(arena, version)
    return -version


@kernel
def _write_keys(store: Any, out: Any, to: int, limit: int) -> int:
    """Write BASE records as far as there is room; a PADDING when none was found among many keys. Returns the end."""
    state, arena = store.state[0], store.arena
    floor = int(state["snapshot_floor"])
    key, start, steps = int(state["snapshot_key"]), to, 0
    leaf, place = next_place(store, key, int(state["snapshot_version"]) != 0)
    while limit - to >= RECORD_HEAD_BYTES_MAX and steps < STEPS_MAX and state["snapshot_left"] == 0:
        if place == tree.word(arena, leaf, 0):
            leaf, place = tree.word(arena, leaf, 1), 0
            if leaf == 0:
                _next_phase(state, CHANGES)
                return to
            continue
        key = tree.word(arena, leaf, tree.HEAD + place)
        begun = int(state["snapshot_version"])
        version = base_version(store, begun if begun != 0 else newest_of(arena, key), floor)
        state["snapshot_key"] = key
        state["snapshot_version"] = 0
        steps += 1
        if version < 0:
            state["snapshot_version"] = -version
            break
        if version > 0:
            to = _write_version(store, out, to, BASE, version)
            to = _write_rest(store, out, to, limit)
        place += 1
    if to == start:
        out[to] = PADDING
        to += 1
    return to


@kernel
def next_place(store: Any, key: int, itself: bool) -> tuple[int, int]:
    """Leaf and position of a key itself or of the one behind it; of the first one when ``key`` is 0."""
    if key == 0:
        return tree.first_leaf(store), 0
    leaf, place = tree.seek(store, store.arena, key_at(store.arena, key), key_bytes(store.arena, key))
    return leaf, place if itself else place + 1


@kernel
def _write_change(store: Any, out: Any, to: int) -> int:
    """Write the head of the next CHANGE or DELETION, if there is one left. Returns its end."""
    state = store.state[0]
    number = int(state["snapshot_next"])
    if number == state["snapshot_end"]:
        _next_phase(state, LAST)
        return to
    state["snapshot_next"] = number + 1
    version = history.change_at(store, number)
    return _write_version(store, out, to, DELETION if is_tombstone(store.arena, version) else CHANGE, version)


@kernel
def _write_version(store: Any, out: Any, to: int, kind: int, version: int) -> int:
    """Write the head of a version's record; ``_write_rest`` writes its key and value."""
    state, arena = store.state[0], store.arena
    flags = flags_of(arena, version)
    first = kind
    if flags & COUNTED:
        first |= HAS_COUNTS
    if flags & LEASED:
        first |= HAS_LEASE
    to = _begin_record(state, out, to, first)
    size = key_bytes(arena, key_of(arena, version))
    to = write_varint(out, to, size)
    to = write_varint(out, to, mod_of(arena, version))
    value_size = 0
    if kind != DELETION:
        value_size = value_bytes(arena, version)
        to = write_varint(out, to, value_size)
    if flags & COUNTED:
        to = write_varint(out, to, create_of(arena, version))
        to = write_varint(out, to, number_of(arena, version))
    if flags & LEASED:
        to = write_varint(out, to, lease_of(arena, version))
    state["snapshot_source"] = version
    state["snapshot_left"] = size + value_size
    return to


@kernel
def _write_rest(store: Any, out: Any, to: int, limit: int) -> int:
    """Write what is left of the record's key and value, as far as there is room. Returns the end."""
    state, arena = store.state[0], store.arena
    left = int(state["snapshot_left"])
    while left > 0 and to < limit:
        version = int(state["snapshot_source"])
        value_size = value_bytes(arena, version)
        if left > value_size:
            piece = min(left - value_size, limit - to)
            key = key_of(arena, version)
            copy(out, to, arena, key_at(arena, key) + key_bytes(arena, key) - (left - value_size), piece)
        else:
            piece = min(left, limit - to)
            copy(out, to, arena, value_at(arena, version) + value_size - left, piece)
        to += piece
        left -= piece
    state["snapshot_left"] = left
    return to
