"""One change of one key: a new version of it, or its deletion, with all that hangs on it."""

from typing import Any

from kvbench.jit import kernel
from kvbench.rt.buffer import copy
from kvbench.store import history, subjects, table, tree
from kvbench.store.arena import allocate, release, room_bytes
from kvbench.store.attachments import attach, detach
from kvbench.store.layout import (
    COUNTED,
    LEASED,
    PREVIOUS,
    TOMBSTONE,
    create_of,
    flags_of,
    is_deleted,
    key_at,
    key_bytes,
    key_record_bytes,
    newest_of,
    number_of,
    set_newest,
    version_bytes,
    write_key_head,
    write_version_head,
)
from kvbench.store.records import NONE, OUT_OF_MEMORY, UNIT_BYTES

SPARE_BYTES = 1 << 14
"""More than a change takes beside its key and value: tree nodes on a whole path, a block of history, an attachment."""


@kernel
def find_key(store: Any, buf: Any, at: int, size: int) -> int:
    """The key ``buf[at : at + size]``, deleted or not; 0 when there is no record of it."""
    return table.find(store, table.hash_key(store, buf, at, size), buf, at, size)


@kernel
def find_or_make_key(store: Any, buf: Any, at: int, size: int) -> int:
    """The key ``buf[at : at + size]``, new if it has to be; 0 when there is no room for it."""
    code = table.hash_key(store, buf, at, size)
    key = table.find(store, code, buf, at, size)
    if key != 0:
        return key
    if store.state[0]["entries"] >= len(store.found) >> 1:
        return 0
    key = allocate(store.spaces[0], store.arena, key_record_bytes(size))
    if key == 0:
        return 0
    write_key_head(store.arena, key, size)
    copy(store.arena, key_at(store.arena, key), buf, at, size)
    if tree.insert(store, key) < 0:
        return 0
    table.insert(store, code, key)
    return key


@kernel
def has_room(store: Any, size: int) -> bool:
    """Whether changes of ``size`` bytes of keys and values in one are sure to find room."""
    return room_bytes(store.spaces[0]) >= size + (size >> 3) + SPARE_BYTES


@kernel
def put(store: Any, key: int, source: Any, value_at: int, value_bytes: int, slot: int) -> int:
    """Give a key a new value, of the lease in ``slot`` (NONE: no lease). Returns 0 or OUT_OF_MEMORY.

    The value may lie in the arena itself.
    """
    state, arena = store.state[0], store.arena
    mod = int(state["revision"]) + 1
    previous = newest_of(arena, key)
    flags, create, number = 0, mod, 1
    lease_id = 0
    lives = previous != 0 and not is_deleted(arena, key)
    if previous != 0:
        flags |= PREVIOUS
    if lives:
        flags |= COUNTED
        create = create_of(arena, previous)
        number = number_of(arena, previous) + 1
    if slot != NONE:
        flags |= LEASED
        lease_id = int(store.leases[slot]["id"])
    version = allocate(store.spaces[0], arena, version_bytes(flags, value_bytes))
    if version == 0:
        return OUT_OF_MEMORY
    to = write_version_head(arena, version, key, mod, flags, previous, create, number, lease_id, value_bytes)
    copy(arena, to, source, value_at, value_bytes)
    return publish(store, key, version, slot, True)


@kernel
def delete(store: Any, key: int) -> int:
    """Delete a key that exists. Returns 0 or OUT_OF_MEMORY."""
    state, arena = store.state[0], store.arena
    previous = newest_of(arena, key)
    flags = TOMBSTONE | PREVIOUS
    version = allocate(store.spaces[0], arena, version_bytes(flags, 0))
    if version == 0:
        return OUT_OF_MEMORY
    write_version_head(arena, version, key, int(state["revision"]) + 1, flags, previous, 0, 0, 0, 0)
    return publish(store, key, version, NONE, True)


@kernel
def publish(store: Any, key: int, version: int, slot: int, is_change: bool) -> int:
    """Make a version the newest of its key, attached to a lease, known to history. Returns 0 or OUT_OF_MEMORY."""
    state, arena = store.state[0], store.arena
    previous = newest_of(arena, key)
    deleted = flags_of(arena, version) & TOMBSTONE != 0
    if previous != 0 and not is_deleted(arena, key):
        state["keys"] -= 1
        if flags_of(arena, previous) & LEASED:
            detach(store, previous)
    if not deleted:
        state["keys"] += 1
    set_newest(arena, key, version, deleted)
    if slot != NONE and attach(store, slot, key, version) < 0:
        return OUT_OF_MEMORY
    if is_change:
        if history.append(store, version) < 0:
            return OUT_OF_MEMORY
        if state["watchers"] > 0:
            subjects.notify(store, key, int(state["revision"]) + 1)
        state["changes"] += 1
        state["now"] = int(state["revision"]) + 1
    return 0


@kernel
def forget_key(store: Any, key: int) -> None:
    """A deleted key of which no version is left but the deletion: no trace remains."""
    arena, space = store.arena, store.spaces[0]
    at, size = key_at(arena, key), key_bytes(arena, key)
    tree.remove(store, key)
    table.remove(store, table.hash_key(store, arena, at, size), key)
    release(space, arena, newest_of(arena, key), version_bytes(TOMBSTONE | PREVIOUS, 0))
    release(space, arena, key, key_record_bytes(size))


@kernel
def end_entry(store: Any) -> None:
    """All changes of an entry are made: they become the next revision."""
    state = store.state[0]
    if state["changes"] > 0:
        state["revision"] += 1
        state["changes"] = 0
    state["now"] = state["revision"]
    count_bytes(store)


@kernel
def count_bytes(store: Any) -> None:
    """Say how much of the arena is in use."""
    state = store.state[0]
    state["used_bytes"] = store.spaces[0]["used_units"] * UNIT_BYTES
    state["extent_bytes"] = store.spaces[0]["top"] * UNIT_BYTES
