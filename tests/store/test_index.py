"""The tree and the table of keys, and the arena below them: against a sorted list and a dict, with nothing lost."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench.jit import JIT_ENABLED
from kvbench.rt import rng
from kvbench.store import arena, changes, table, tree
from kvbench.store.layout import key_at, key_bytes, key_record_bytes
from kvbench.store.records import CLASSES, ROOT_UNITS, SPACE, Store, new_store
from tests.store.invariants import Walk

MANY = 6000 if JIT_ENABLED else 4000
"""Enough for two levels of inner nodes."""


def array_of(data: bytes) -> Any:
    return np.frombuffer(data + b"\xff" * 8, np.uint8).copy()


class Index:
    """Keys without versions, in a store's tree and table, and in a dict."""

    def __init__(self) -> None:
        self.store: Store = new_store(arena_bytes=1 << 23, keys_max=1 << 13, leases_max=4, watchers_max=4)
        self.keys: dict[bytes, int] = {}

    def add(self, text: bytes) -> None:
        key = int(changes.find_or_make_key(self.store, array_of(text), 0, len(text)))
        assert key > 0 and self.keys.get(text, key) == key
        self.keys[text] = key

    def remove(self, text: bytes) -> None:
        key = self.keys.pop(text)
        assert changes.find_key(self.store, array_of(text), 0, len(text)) == key
        tree.remove(self.store, key)
        table.remove(self.store, table.hash_key(self.store, array_of(text), 0, len(text)), key)
        arena.release(self.store.spaces[0], self.store.arena, key, key_record_bytes(len(text)))
        assert changes.find_key(self.store, array_of(text), 0, len(text)) == 0

    def check(self) -> Walk:
        walk = Walk(self.store)
        keys = walk.check_tree()
        walk.check_table(keys)
        assert [walk.key_text(key) for key in keys] == sorted(self.keys)
        for key in keys:
            walk.take(key, key_record_bytes(key_bytes(self.store.arena, key)))
        walk.check_space()
        return walk

    def seek(self, text: bytes) -> bytes | None:
        """The first key not below one."""
        leaf, place = tree.seek(self.store, array_of(text), 0, len(text))
        area = self.store.arena
        if place == tree.word(area, leaf, 0):
            return None
        key = int(tree.word(area, leaf, tree.HEAD + place))
        return bytes(area[key_at(area, key) : key_at(area, key) + key_bytes(area, key)])


texts = st.binary(min_size=1, max_size=3)


@settings(max_examples=60 if JIT_ENABLED else 8)
@given(st.lists(st.tuples(st.booleans(), texts), max_size=300), st.lists(texts, max_size=10))
def test_few_keys(steps: list[tuple[bool, bytes]], sought: list[bytes]) -> None:
    index = Index()
    for add, text in steps:
        if add:
            index.add(text)
        elif index.keys:
            index.remove(min(index.keys, key=lambda one: (one < text, one)))
    index.check()
    for text in sought:
        assert index.seek(text) == min((one for one in index.keys if one >= text), default=None)


def text_of(number: int) -> bytes:
    return b"/registry/%05d" % number


def shuffled(count: int, seed: int) -> list[int]:
    return sorted(range(count), key=lambda number: rng.mix(seed, number))


@pytest.mark.parametrize("order", ["up", "down", "mixed"])
def test_many_keys_come_and_go(order: str) -> None:
    index = Index()
    numbers = {"up": list(range(MANY)), "down": list(range(MANY))[::-1], "mixed": shuffled(MANY, 1)}[order]
    for number in numbers:
        index.add(text_of(number))
    walk = index.check()
    assert int(index.store.state["height"][0]) == 2 if order != "up" else len(walk.leaves) == -(-MANY // 62)
    for number in shuffled(MANY, 2)[: MANY * 9 // 10]:
        index.remove(text_of(number))
    walk = index.check()
    assert len(walk.leaves) < MANY // 10 // 7
    for text in sorted(index.keys)[: len(index.keys) // 2]:
        index.remove(text)
    index.check()
    for text in list(index.keys):
        index.remove(text)
    index.check()
    assert int(index.store.spaces["used_units"][0]) == ROOT_UNITS
    assert int(index.store.state["height"][0]) == 0


def test_every_size_has_the_smallest_class_that_holds_it() -> None:
    sizes = [int(arena.class_units(kind)) for kind in range(CLASSES)]
    assert sizes == sorted(set(sizes))
    for units in [*range(1, 3000), (1 << 24) - 1, 1 << 24, (1 << 24) + 1]:
        kind = int(arena.class_of(units))
        assert sizes[kind - 1] < units <= sizes[kind]
        assert sizes[kind] <= units + units // 8 + 1


@settings(max_examples=60 if JIT_ENABLED else 15)
@given(st.lists(st.one_of(st.integers(1, 3000), st.tuples(st.integers(0, 50))), max_size=150))
def test_records_never_overlap_and_space_is_used_to_its_end(steps: list[Any]) -> None:
    units = 1 << 13
    spaces, area = np.zeros(1, SPACE), np.zeros(units * 4, np.uint8)
    space: Any = spaces[0]
    space["units"], space["soft_units"], space["top"] = units, units // 2, 1
    records: dict[int, int] = {}
    for step in steps:
        if isinstance(step, tuple):
            if records:
                reference = sorted(records)[step[0] % len(records)]
                arena.release(space, area, reference, records.pop(reference))
            continue
        reference = int(arena.allocate(space, area, step))
        size = int(arena.class_units(arena.class_of((step + 3) // 4)))
        if reference == 0:
            assert arena.room_bytes(space) < size * 4
            continue
        for other, taken in records.items():
            end = other + int(arena.class_units(arena.class_of((taken + 3) // 4)))
            assert end <= reference or reference + size <= other
        assert reference > 0 and reference + size <= units
        records[reference] = step
        area[reference * 4 : (reference + size) * 4] = 0xAA
    used = sum(int(arena.class_units(arena.class_of((size + 3) // 4))) for size in records.values())
    assert used == int(space["used_units"])
    assert used + int(space["free_units"]) == int(space["top"]) - 1


def test_free_records_are_split_when_little_is_untouched() -> None:
    spaces, area = np.zeros(1, SPACE), np.zeros(1 << 16, np.uint8)
    space: Any = spaces[0]
    space["units"], space["soft_units"], space["top"] = 1 << 14, 1 << 13, 1
    large = [int(arena.allocate(space, area, 8000)) for _ in range(4)]
    for reference in large:
        arena.release(space, area, reference, 8000)
    top = int(space["top"])
    small = {int(arena.allocate(space, area, 100)) for _ in range(250)}
    assert len(small) == 250 and int(space["top"]) == top
