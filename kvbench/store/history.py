"""All changes in order: a list of versions by number, cut off at the front by compaction.

It lies in blocks of HISTORY_BLOCK_ENTRIES references in the arena; a ring holds the blocks' places.
"""

from typing import Any

from kvbench.jit import kernel
from kvbench.rt.buffer import load_le32, store_le32
from kvbench.store.arena import allocate, release
from kvbench.store.layout import mod_of, reference_at
from kvbench.store.records import HISTORY_BLOCK_ENTRIES, OUT_OF_MEMORY, UNIT_BYTES

BLOCK_BYTES = HISTORY_BLOCK_ENTRIES * UNIT_BYTES
BLOCK_BITS = 10
WITHIN = HISTORY_BLOCK_ENTRIES - 1


@kernel
def append(store: Any, version: int) -> int:
    """Add the newest change. Returns 0 or OUT_OF_MEMORY."""
    state = store.state[0]
    number = int(state["end"])
    place = (number >> BLOCK_BITS) & len(store.history) - 1
    if number & WITHIN == 0 or number == state["first"]:
        block = allocate(store.spaces[0], store.arena, BLOCK_BYTES)
        if block == 0:
            return OUT_OF_MEMORY
        store.history[place] = block
    store_le32(store.arena, (reference_at(store.history, place) + (number & WITHIN)) * UNIT_BYTES, version)
    state["end"] = number + 1
    return 0


@kernel
def change_at(store: Any, number: int) -> int:
    """The version that change ``number`` (first <= number < end) made."""
    block = reference_at(store.history, (number >> BLOCK_BITS) & len(store.history) - 1)
    return load_le32(store.arena, (block + (number & WITHIN)) * UNIT_BYTES)


@kernel
def drop_first(store: Any) -> None:
    """Forget the oldest change."""
    state = store.state[0]
    number = int(state["first"]) + 1
    state["first"] = number
    if number & WITHIN == 0 or number == state["end"]:
        place = (number - 1 >> BLOCK_BITS) & len(store.history) - 1
        release(store.spaces[0], store.arena, reference_at(store.history, place), BLOCK_BYTES)


@kernel
def find_revision(store: Any, revision: int) -> int:
    """Number of the first change of ``revision`` or later; ``end`` when there is none."""
    low, high = int(store.state[0]["first"]), int(store.state[0]["end"])
    while low < high:
        middle = (low + high) >> 1
        if mod_of(store.arena, change_at(store, middle)) < revision:
            low = middle + 1
        else:
            high = middle
    return low
