"""What a key costs in memory: bytes that were touched, counted, and the growth of this process."""

import gc
from typing import Any

import numpy as np
import psutil
import pytest

from kvbench.jit import BOUNDSCHECK, JIT_ENABLED
from kvbench.ops import entries
from kvbench.rt import rng
from kvbench.store import apply
from kvbench.store.records import Store, new_store, set_identity
from kvbench.wire.proto import messages

KEYS = 200_000 if JIT_ENABLED else 1_000
LEAST_BYTES = 264
LIMIT_BYTES = 305
"""A key of 8 bytes with a value of 256, or the other way around, written once."""


def numbers(count: int, mixed: bool) -> Any:
    """uint8[count, 8]: numbers in their order, or in one that has nothing to do with it."""
    found = [rng.mix(3, number) for number in range(count)] if mixed else range(count)
    return np.array(found, ">i8").view(np.uint8).reshape(count, 8)


def put_all(store: Store, key_bytes: int, value_bytes: int, ends: Any) -> None:
    """A put of each key, which ends in the 8 bytes given."""
    data = messages.PutRequest(key=b"k" * key_bytes, value=b"v" * value_bytes).SerializeToString()
    buf, out = np.zeros(512, np.uint8), np.zeros(256, np.uint8)
    at = entries.write_prefix(buf, 0, entries.PUT, 0, 0, 0, 0, 0)
    end = at + len(data)
    buf[at:end] = np.frombuffer(data, np.uint8)
    place = at + data.index(b"k") + key_bytes - 8
    for index in range(len(ends)):
        buf[place : place + 8] = ends[index]
        assert apply.apply(store, index + 1, buf, 0, end, out, 0, 256) > 0


def touched_bytes(store: Store) -> int:
    """Of all arrays that grow with the number of keys."""
    state: Any = store.state[0]
    blocks = int(state["end"]) // 1024 + 1
    return int(state["extent_bytes"]) + 4 * int(state["level_buckets"] + state["split"]) + 4 * blocks


@pytest.mark.parametrize(("key_bytes", "value_bytes"), [(8, 256), (256, 8)])
@pytest.mark.parametrize("mixed", [False, True])
def test_bytes_per_key(key_bytes: int, value_bytes: int, mixed: bool) -> None:
    store, other = new_store(), new_store(arena_bytes=1 << 20, keys_max=1 << 10)
    set_identity(store, 1, 2)
    ends = numbers(KEYS, mixed)
    put_all(other, key_bytes, value_bytes, ends[:10])
    gc.collect()
    before = psutil.Process().memory_info().rss
    put_all(store, key_bytes, value_bytes, ends)
    gc.collect()
    grown = psutil.Process().memory_info().rss - before
    # Interpreted, there are too few keys for the blocks and buckets that exist anyway not to count.
    assert LEAST_BYTES < touched_bytes(store) / KEYS < (LIMIT_BYTES if JIT_ENABLED else 2 * LIMIT_BYTES)
    if JIT_ENABLED and not BOUNDSCHECK:
        assert grown / KEYS < LIMIT_BYTES + 2 * (1 << 20) / KEYS


def test_a_store_of_any_capacity_takes_next_to_nothing_while_it_is_empty() -> None:
    gc.collect()
    before = psutil.Process().memory_info().rss
    stores = [new_store() for _ in range(3)]
    assert psutil.Process().memory_info().rss - before < 3 << 20
    assert len(stores[0].arena) == 1 << 34
