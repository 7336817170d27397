"""A hash of all keys and versions up to a revision: equal on members whose data is, whatever compaction has freed yet.

Keys come in order, the versions of each from the newest to the oldest; of those at or below the compacted revision,
only what is to be kept counts. The number is this store's own, not etcd's.
"""

from typing import Any

from kvbench.jit import kernel
from kvbench.ops.status import StoreError
from kvbench.rt.hash import hash_bytes
from kvbench.rt.rng import mix
from kvbench.store import tree
from kvbench.store.layout import (
    create_of,
    is_tombstone,
    key_at,
    key_bytes,
    lease_of,
    mod_of,
    newest_of,
    number_of,
    previous_of,
    value_at,
    value_bytes,
)
from kvbench.store.snapshot import next_place

COMPACTED = int(StoreError.COMPACTED)
FUTURE_REVISION = int(StoreError.FUTURE_REVISION)


@kernel
def hash_begin(store: Any, revision: int) -> int:
    """Begin with what there is at a revision, 0 or less: now. Returns 0, COMPACTED or FUTURE_REVISION."""
    state = store.state[0]
    if revision > state["revision"]:
        return FUTURE_REVISION
    if 0 < revision < state["compacted"]:
        return COMPACTED
    if state["hash_running"] == 0:
        state["pins"] += 1
    state["hash_running"] = 1
    state["hash_revision"] = revision if revision > 0 else int(state["revision"])
    state["hash_compacted"] = state["compacted"]
    state["hash_key"] = 0
    state["hash_version"] = 0
    state["hash_floor_seen"] = 0
    state["hash"] = mix(int(state["hash_revision"]), int(state["hash_compacted"]))
    return 0


@kernel
def hash_some(store: Any, records: int) -> int:
    """Go on with up to ``records`` keys and versions. 1: there is more to do; 0: ``hash`` (32 bits) is complete."""
    state, arena = store.state[0], store.arena
    if state["hash_running"] == 0:
        return 0
    version = int(state["hash_version"])
    leaf, place = next_place(store, int(state["hash_key"]), version != 0)
    for _ in range(records):
        if place == tree.word(arena, leaf, 0):
            leaf, place = tree.word(arena, leaf, 1), 0
            if leaf == 0:
                state["hash_running"] = 0
                state["pins"] -= 1
                state["hash"] = mix(int(state["hash"]), 0) & 0xFFFFFFFF
                return 0
        else:
            key = tree.word(arena, leaf, tree.HEAD + place)
            if version == 0:
                version = newest_of(arena, key)
                state["hash_floor_seen"] = 0
            version = _add_version(state, arena, key, version)
            state["hash_key"] = key
            state["hash_version"] = version
            if version == 0:
                place += 1
    return 1


@kernel
def _add_version(state: Any, arena: Any, key: int, version: int) -> int:
    """Take in a version if it counts. Returns the version of this key to go on with, 0: no more of them count."""
    mod, floor = mod_of(arena, version), int(state["hash_compacted"])
    if mod > state["hash_revision"]:
        return previous_of(arena, version)
    deleted = is_tombstone(arena, version)
    if mod < floor and (deleted or state["hash_floor_seen"] == 1):
        return 0
    code = hash_bytes(arena, key_at(arena, key), key_bytes(arena, key), int(state["hash"]))
    code = mix(code, mod)
    if deleted:
        code = mix(code, -1)
    else:
        code = mix(mix(code, create_of(arena, version)), number_of(arena, version))
        code = mix(code, lease_of(arena, version))
        code = hash_bytes(arena, value_at(arena, version), value_bytes(arena, version), code)
    state["hash"] = code
    if mod == floor:
        state["hash_floor_seen"] = 1
    return 0 if mod < floor else previous_of(arena, version)
