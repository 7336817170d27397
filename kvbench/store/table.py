"""Keys by their bytes: a hash table that grows by one bucket at a time (linear hashing; Litwin, VLDB 1980).

A bucket is a list of keys through their records. With N buckets at the beginning of a round, bucket ``split`` of the N
is divided in two whenever there are more keys than buckets; after N splits the next round begins with 2 N.
"""

from typing import Any

from kvbench.jit import kernel
from kvbench.rt.buffer import load_le32, store_le32
from kvbench.rt.hash import hash_bytes
from kvbench.store.layout import is_key, key_at, key_bytes, reference_at
from kvbench.store.records import UNIT_BYTES

NEXT = 4
"""Offset in a key's record of the next key of its bucket."""
LOAD_KEYS, LOAD_BUCKETS = 3, 2
"""Keys to buckets, as many as there may be on average."""


@kernel
def hash_key(store: Any, buf: Any, at: int, size: int) -> int:
    """The hash of a key's bytes."""
    return hash_bytes(buf, at, size, int(store.state[0]["seed"]))


@kernel
def _bucket_of(state: Any, code: int) -> int:
    buckets = int(state["level_buckets"])
    bucket = code & buckets - 1
    return bucket if bucket >= state["split"] else code & 2 * buckets - 1


@kernel
def find(store: Any, code: int, buf: Any, at: int, size: int) -> int:
    """The key ``buf[at : at + size]`` whose hash is ``code``, 0 when there is none."""
    arena = store.arena
    key = reference_at(store.buckets, _bucket_of(store.state[0], code))
    while key != 0 and not is_key(arena, key, buf, at, size):
        key = load_le32(arena, key * UNIT_BYTES + NEXT)
    return key


@kernel
def insert(store: Any, code: int, key: int) -> None:
    """Add a key that is not there yet."""
    state, arena, buckets = store.state[0], store.arena, store.buckets
    bucket = _bucket_of(state, code)
    store_le32(arena, key * UNIT_BYTES + NEXT, reference_at(buckets, bucket))
    buckets[bucket] = key
    state["entries"] += 1
    used = int(state["level_buckets"]) + int(state["split"])
    if state["entries"] * LOAD_BUCKETS > used * LOAD_KEYS and used < len(buckets):
        _split(store)


@kernel
def _split(store: Any) -> None:
    """Divide the next bucket."""
    state, arena, buckets = store.state[0], store.arena, store.buckets
    low = int(state["split"])
    size = int(state["level_buckets"])
    key = reference_at(buckets, low)
    here = there = 0
    while key != 0:
        link = key * UNIT_BYTES + NEXT
        following = load_le32(arena, link)
        if hash_key(store, arena, key_at(arena, key), key_bytes(arena, key)) & size:
            store_le32(arena, link, there)
            there = key
        else:
            store_le32(arena, link, here)
            here = key
        key = following
    buckets[low] = here
    buckets[low + size] = there
    state["split"] = low + 1
    if low + 1 == size:
        state["level_buckets"] = 2 * size
        state["split"] = 0


@kernel
def remove(store: Any, code: int, key: int) -> None:
    """Take out a key that is there. Buckets are not joined again."""
    state, arena, buckets = store.state[0], store.arena, store.buckets
    bucket = _bucket_of(state, code)
    following = load_le32(arena, key * UNIT_BYTES + NEXT)
    at = reference_at(buckets, bucket)
    state["entries"] -= 1
    if at == key:
        buckets[bucket] = following
        return
    link = at * UNIT_BYTES + NEXT
    while load_le32(arena, link) != key:
        link = load_le32(arena, link) * UNIT_BYTES + NEXT
    store_le32(arena, link, following)
