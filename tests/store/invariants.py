"""What holds of a store's memory between entries, checked by walking through all of it."""

from typing import Any

from kvbench.rt.buffer import load_le32
from kvbench.store import arena, history, layout, tree
from kvbench.store.records import BUCKETS_MIN, HISTORY_BLOCK_ENTRIES, LEAF_UNITS, Store


def units(size: int) -> int:
    """What a record of ``size`` bytes takes."""
    return int(arena.class_units(arena.class_of((size + 3) >> 2)))


class Walk:
    """Everything reachable in a store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.state: Any = store.state[0]
        self.units = 0
        self.seen: set[int] = set()

    def take(self, reference: int, size: int) -> None:
        """Count a record that must not have been met before."""
        assert reference > 0
        places = range(reference, reference + units(size))
        assert not self.seen.intersection(places), "two records overlap"
        self.seen.update(places)
        self.units += len(places)

    def key_text(self, key: int) -> bytes:
        at, size = layout.key_at(self.store.arena, key), layout.key_bytes(self.store.arena, key)
        return bytes(self.store.arena[at : at + size])

    def tree_keys(self, node: int, level: int) -> list[int]:
        """Keys below a node; what inner nodes name is their first ones, and no node but the root is empty."""
        area = self.store.arena
        count = int(tree.word(area, node, 0))
        if level == 0:
            self.take(node, LEAF_UNITS * 4)
            assert count <= tree.LEAF_KEYS
            self.leaves.append(node)
            return [int(tree.word(area, node, tree.HEAD + i)) for i in range(count)]
        self.take(node, tree.INNER_UNITS * 4)
        assert 1 <= count <= tree.INNER_CHILDREN
        keys: list[int] = []
        for i in range(count):
            below = self.tree_keys(int(tree.word(area, node, tree.HEAD + i)), level - 1)
            assert below
            assert i == 0 or int(tree.word(area, node, tree.SEPARATORS + i)) == below[0]
            keys += below
        return keys

    def check_tree(self) -> list[int]:
        self.leaves: list[int] = []
        keys = self.tree_keys(int(self.state["root"]), int(self.state["height"]))
        texts = [self.key_text(key) for key in keys]
        assert texts == sorted(set(texts))
        following = [int(tree.word(self.store.arena, leaf, 1)) for leaf in self.leaves]
        assert following == [*self.leaves[1:], 0]
        return keys

    def check_table(self, keys: list[int]) -> None:
        buckets = int(self.state["level_buckets"] + self.state["split"])
        assert buckets >= BUCKETS_MIN
        found = []
        for bucket in range(buckets):
            key = int(self.store.buckets[bucket])
            while key:
                found.append(key)
                key = int(load_le32(self.store.arena, key * 4 + 4))
        assert sorted(found) == sorted(keys)
        assert int(self.state["entries"]) == len(keys)

    def check_versions(self, keys: list[int]) -> set[int]:
        area, versions, live = self.store.arena, set(), 0
        for key in keys:
            self.take(key, layout.key_record_bytes(layout.key_bytes(area, key)))
            version = int(layout.newest_of(area, key))
            assert layout.is_deleted(area, key) == layout.is_tombstone(area, version)
            live += not layout.is_deleted(area, key)
            newest, newer = version, None
            while version:
                versions.add(version)
                self.take(version, layout.record_bytes(area, version))
                assert layout.key_of(area, version) == key
                mod = layout.mod_of(area, version)
                assert newer is None or mod <= newer
                attachment = int(layout.attachment_of(area, version))
                assert (attachment != 0) == (version == newest and layout.lease_of(area, version) != 0)
                if attachment:
                    self.take(attachment, layout.ATTACHMENT_BYTES)
                newer, version = mod, int(layout.previous_of(area, version))
        assert live == int(self.state["keys"])
        return versions

    def check_history(self, versions: set[int]) -> None:
        first, end = int(self.state["first"]), int(self.state["end"])
        changes = [int(history.change_at(self.store, number)) for number in range(first, end)]
        mods = [int(layout.mod_of(self.store.arena, version)) for version in changes]
        assert mods == sorted(mods)
        assert set(changes) <= versions
        for block in sorted({number // HISTORY_BLOCK_ENTRIES for number in range(first, end)}):
            reference = int(self.store.history[block & (len(self.store.history) - 1)])
            self.take(reference, HISTORY_BLOCK_ENTRIES * 4)

    def check_space(self) -> None:
        space: Any = self.store.spaces[0]
        assert self.units == int(space["used_units"])
        free = 0
        for kind in range(len(space["free"])):
            reference = int(space["free"][kind])
            while reference:
                size = int(arena.class_units(kind))
                assert not self.seen.intersection(range(reference, reference + size)), "a free record is in use"
                free += size
                reference = int(load_le32(self.store.arena, reference * 4))
        assert free == int(space["free_units"])
        assert self.units + free <= int(space["top"]) <= int(space["units"])


def check_invariants(store: Store) -> None:
    """Raises AssertionError when a store's memory is not what it should be."""
    walk = Walk(store)
    keys = walk.check_tree()
    walk.check_table(keys)
    walk.check_history(walk.check_versions(keys))
    walk.check_space()
