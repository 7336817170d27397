"""Compaction: the floor moves at once, what lies below it goes piece by piece.

History is gone through from its beginning. A version below the floor, or at it, makes the one before it superfluous;
a deletion below the floor that is still its key's newest version goes with the key. What happened at the floor itself
stays in history, as etcd keeps it (a watch may begin there).
"""

from typing import Any

from kvbench.jit import kernel
from kvbench.ops.status import StoreError
from kvbench.store import changes, history, watchers
from kvbench.store.arena import release
from kvbench.store.key_values import header_bytes, write_header
from kvbench.store.layout import (
    cut_previous,
    is_tombstone,
    key_of,
    mod_of,
    newest_of,
    previous_of,
    record_bytes,
)
from kvbench.store.records import NO_ROOM
from kvbench.store.requests import COMPACT_NUMBERS
from kvbench.wire.protobuf import read_message

BAD_REQUEST = int(StoreError.BAD_REQUEST)
COMPACTED = int(StoreError.COMPACTED)
FUTURE_REVISION = int(StoreError.FUTURE_REVISION)


@kernel
def compact(store: Any, buf: Any, at: int, end: int, out: Any, to: int, limit: int) -> int:
    """Do the CompactionRequest ``buf[at:end]``. Returns its response's end, NO_ROOM (it is done) or a StoreError."""
    state = store.state[0]
    if read_message(buf, at, end, COMPACT_NUMBERS, 0, state["fields"]) < 0:
        return BAD_REQUEST
    revision = state["fields"][1]
    if revision <= state["compacted"]:
        return COMPACTED
    if revision > state["revision"]:
        return FUTURE_REVISION
    state["compacted"] = revision
    state["cut_next"] = state["first"]
    now = int(state["now"])
    return write_header(store, out, to, now) if header_bytes(store, now) <= limit - to else NO_ROOM


@kernel
def is_waiting(store: Any) -> bool:
    """Whether somebody needs versions below the floor: a snapshot, a hash, a watcher that was not asked yet."""
    state = store.state[0]
    return bool(state["pins"] > 0) or watchers.is_any_waiting_for(store, int(state["compacted"]))


@kernel
def compact_some(store: Any, records: int) -> int:
    """Look at up to ``records`` changes below the floor and free what they made superfluous. 1: there is more to do."""
    state, arena = store.state[0], store.arena
    floor = int(state["compacted"])
    if floor <= 0 or is_waiting(store):
        return 0
    for _ in range(records):
        number = int(state["first"])
        if number < state["end"] and mod_of(arena, history.change_at(store, number)) < floor:
            version = history.change_at(store, number)
            state["dropped_revision"] = mod_of(arena, version)
            history.drop_first(store)
            _free_previous(store, version, floor)
            key = key_of(arena, version)
            if is_tombstone(arena, version) and newest_of(arena, key) == version:
                changes.forget_key(store, key)
            continue
        number = max(number, int(state["cut_next"]))
        if number == state["end"] or mod_of(arena, history.change_at(store, number)) > floor:
            changes.count_bytes(store)
            return 0
        _free_previous(store, history.change_at(store, number), floor)
        state["cut_next"] = number + 1
    changes.count_bytes(store)
    return 1


@kernel
def _free_previous(store: Any, version: int, floor: int) -> None:
    """Free the version before one, if it lies below the floor."""
    arena = store.arena
    previous = previous_of(arena, version)
    if previous != 0 and mod_of(arena, previous) < floor:
        cut_previous(arena, version)
        release(store.spaces[0], arena, previous, record_bytes(arena, previous))
