"""A state from its dump (its form: ``snapshot``), piece by piece as the bytes come."""

from typing import Any

from kvbench.jit import kernel
from kvbench.rt.buffer import copy, load_le64
from kvbench.store import changes, table, tree, watchers
from kvbench.store.alarms import raise_alarm
from kvbench.store.arena import allocate, release
from kvbench.store.attachments import find_lease
from kvbench.store.layout import (
    COUNTED,
    LEASED,
    PREVIOUS,
    TOMBSTONE,
    key_at,
    key_record_bytes,
    newest_of,
    value_at,
    version_bytes,
    write_key_head,
    write_version_head,
)
from kvbench.store.leases import add_lease
from kvbench.store.records import DAMAGED, NONE, OUT_OF_MEMORY, RECORD_BYTES_MAX, reset
from kvbench.store.snapshot import (
    ALARM,
    BASE,
    CHANGE,
    DELETION,
    END,
    HAS_COUNTS,
    HAS_LEASE,
    HEAD_BYTES,
    LEASE,
    MAGIC,
    PADDING,
)
from kvbench.wire.protobuf import TRUNCATED, read_varint

WANTS_HEAD, WANTS_RECORD, WANTS_KEY, WANTS_VALUE, COMPLETE = 0, 1, 2, 3, 4
"""Phases of loading."""


@kernel
def load_begin(store: Any) -> None:
    """Forget all data. Streams and watchers stay, and go on from where they are once the dump is loaded."""
    state = store.state[0]
    if state["loading"] == 0:
        watchers.note_progress(store)
    reset(store)
    state["loading"] = 1
    state["loaded"] = 0
    state["load_phase"] = WANTS_HEAD
    state["load_count"] = 0


@kernel
def load_some(store: Any, buf: Any, at: int, end: int) -> int:
    """Take in the next piece of a dump. Returns the bytes taken; the rest (fewer than RECORD_HEAD_BYTES_MAX) is to
    come again, with what follows it. Negative: DAMAGED, OUT_OF_MEMORY."""
    state = store.state[0]
    start = at
    while state["load_phase"] != COMPLETE:
        phase = int(state["load_phase"])
        if phase == WANTS_HEAD:
            taken = _take_head(store, buf, at, end)
        elif phase == WANTS_RECORD:
            taken = _take_record(store, buf, at, end)
        else:
            taken = _take_content(store, buf, at, end)
        if taken < 0:
            return taken
        if taken == 0 and (phase == state["load_phase"] or at == end):
            break
        at += taken
    return at - start


@kernel
def _take_head(store: Any, buf: Any, at: int, end: int) -> int:
    """Read the dump's head. Returns its bytes, 0 when they are not all there, or DAMAGED."""
    state = store.state[0]
    if end - at < HEAD_BYTES:
        return 0
    revision, floor = load_le64(buf, at + 8), load_le64(buf, at + 16)
    if load_le64(buf, at) != MAGIC or revision < 1 or floor > revision:
        return DAMAGED
    state["compacted"] = floor
    state["applied_index"] = load_le64(buf, at + 24)
    state["load_revision"] = revision
    state["revision"] = 0
    state["dropped_revision"] = max(floor - 1, 0)
    state["load_phase"] = WANTS_RECORD
    return HEAD_BYTES


@kernel
def _take_record(store: Any, buf: Any, at: int, end: int) -> int:
    """Read a record but for its key and value. Returns its bytes, 0 when they are not all there, or a code."""
    state = store.state[0]
    if at == end:
        return 0
    start = at
    kind, flags = int(buf[at]) & 15, int(buf[at]) & 240
    at += 1
    if kind == PADDING and flags == 0:
        return 1
    numbers = state["load_numbers"]
    count = 2
    if kind == BASE or kind == CHANGE:
        count = 3 + (2 if flags & HAS_COUNTS else 0) + (1 if flags & HAS_LEASE else 0)
    elif kind == END:
        count = 1
    if kind > END or flags & ~(HAS_COUNTS | HAS_LEASE) or (flags != 0 and count <= 3):
        return DAMAGED
    for i in range(count):
        numbers[i], at = read_varint(buf, at, end)
        if at < 0:
            return 0 if at == TRUNCATED else DAMAGED
    state["load_count"] += 0 if kind == END else 1
    code = _begin_record(store, kind, flags)
    return code if code < 0 else at - start


@kernel
def _begin_record(store: Any, kind: int, flags: int) -> int:
    """The record's numbers are read: do what a small one says, or get ready for key and value. 0 or a code."""
    state = store.state[0]
    numbers = state["load_numbers"]
    if kind == END:
        if numbers[0] != state["load_count"]:
            return DAMAGED
        return _finish(store)
    if kind == LEASE:
        if numbers[0] == 0 or find_lease(store, numbers[0]) != NONE:
            return DAMAGED
        return OUT_OF_MEMORY if add_lease(store, numbers[0], numbers[1]) == NONE else 0
    if kind == ALARM:
        if numbers[1] != 1 and numbers[1] != 2:
            return DAMAGED
        raise_alarm(store, numbers[0], numbers[1])
        return 0
    state["load_kind"] = kind
    state["load_key_bytes"] = numbers[0]
    state["load_mod"] = numbers[1]
    state["load_value_bytes"] = numbers[2] if kind != DELETION else 0
    state["load_create"] = numbers[3] if flags & HAS_COUNTS else numbers[1]
    state["load_number"] = numbers[4] if flags & HAS_COUNTS else 1
    state["load_lease"] = numbers[5 if flags & HAS_COUNTS else 3] if flags & HAS_LEASE else 0
    return _begin_key(store)


@kernel
def _begin_key(store: Any) -> int:
    """Make room for a record's key. Returns 0 or a code."""
    state = store.state[0]
    size, value_size, mod = int(state["load_key_bytes"]), int(state["load_value_bytes"]), int(state["load_mod"])
    if not 0 < size <= RECORD_BYTES_MAX or not 0 <= value_size <= RECORD_BYTES_MAX:
        return DAMAGED
    if mod > state["load_revision"] or mod < (1 if state["load_kind"] == BASE else max(state["compacted"], 1)):
        return DAMAGED
    if state["load_kind"] != BASE and mod < state["revision"]:
        return DAMAGED
    if not changes.has_room(store, size + value_size):
        return OUT_OF_MEMORY
    key = allocate(store.spaces[0], store.arena, key_record_bytes(size))
    write_key_head(store.arena, key, size)
    state["load_key"] = key
    state["load_done"] = 0
    state["load_phase"] = WANTS_KEY
    return 0


@kernel
def _take_content(store: Any, buf: Any, at: int, end: int) -> int:
    """Copy what is there of a record's key or value. Returns the bytes taken or a code."""
    state, arena = store.state[0], store.arena
    is_key = state["load_phase"] == WANTS_KEY
    size = int(state["load_key_bytes"] if is_key else state["load_value_bytes"])
    done = int(state["load_done"])
    piece = min(size - done, end - at)
    to = key_at(arena, int(state["load_key"])) if is_key else value_at(arena, int(state["load_version"]))
    copy(arena, to + done, buf, at, piece)
    state["load_done"] = done + piece
    if done + piece < size:
        return piece
    code = _end_key(store) if is_key else _end_version(store)
    return code if code < 0 else piece


@kernel
def _end_key(store: Any) -> int:
    """A record's key is there: find the key, or enter it; make the version. Returns 0 or a code."""
    state, arena, space = store.state[0], store.arena, store.spaces[0]
    own, size = int(state["load_key"]), int(state["load_key_bytes"])
    code = table.hash_key(store, arena, key_at(arena, own), size)
    key = table.find(store, code, arena, key_at(arena, own), size)
    if key != 0:
        release(space, arena, own, key_record_bytes(size))
        if state["load_kind"] == BASE:
            return DAMAGED
    else:
        key = own
        if state["entries"] >= len(store.found) >> 1:
            return OUT_OF_MEMORY
        if tree.insert(store, key) < 0:
            return OUT_OF_MEMORY
        table.insert(store, code, key)
    flags = 0
    if state["load_kind"] == DELETION:
        flags = TOMBSTONE | PREVIOUS
    else:
        if newest_of(arena, key) != 0:
            flags |= PREVIOUS
        if state["load_create"] != state["load_mod"] or state["load_number"] != 1:
            flags |= COUNTED
        if state["load_lease"] != 0:
            flags |= LEASED
    value_size = int(state["load_value_bytes"])
    version = allocate(space, arena, version_bytes(flags, value_size))
    if version == 0:
        return OUT_OF_MEMORY
    create, number, lease_id = int(state["load_create"]), int(state["load_number"]), int(state["load_lease"])
    mod, previous = int(state["load_mod"]), newest_of(arena, key)
    write_version_head(arena, version, key, mod, flags, previous, create, number, lease_id, value_size)
    state["load_key"] = key
    state["load_version"] = version
    state["load_done"] = 0
    state["load_phase"] = WANTS_VALUE
    return 0


@kernel
def _end_version(store: Any) -> int:
    """A version is complete: it becomes its key's newest, and a change in history unless it is a BASE. 0 or a code."""
    state = store.state[0]
    key, version = int(state["load_key"]), int(state["load_version"])
    slot = NONE if state["load_lease"] == 0 else find_lease(store, int(state["load_lease"]))
    state["load_phase"] = WANTS_RECORD
    if state["load_kind"] != BASE:
        state["revision"] = state["load_mod"]
    return changes.publish(store, key, version, slot, state["load_kind"] != BASE)


@kernel
def bump_revision(store: Any, by: int, compact: int) -> int:
    """Count revisions on by so many, so that nobody who saw later ones of another copy of this state sees them go back.

    With ``compact`` 1 all before counts as compacted: watches that begin there are cancelled. Returns the new revision.
    """
    state = store.state[0]
    state["revision"] += by
    state["now"] = state["revision"]
    if compact == 1:
        state["compacted"] = state["revision"]
        state["cut_next"] = state["first"]
    return int(state["revision"])


@kernel
def _finish(store: Any) -> int:
    """The dump is complete."""
    state = store.state[0]
    state["revision"] = state["load_revision"]
    state["changes"] = 0
    state["cut_next"] = state["first"]
    state["loaded"] = 1
    state["loading"] = 0
    watchers.look_again(store)
    state["load_phase"] = COMPLETE
    changes.end_entry(store)
    return 0
