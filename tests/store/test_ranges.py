"""The tree of ranges: every range that a key lies in is found, whatever came and went before."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench.jit import JIT_ENABLED
from kvbench.store import ranges, subjects
from kvbench.store.records import NONE, UNIT_BYTES, new_store
from tests.naive import store as naive

names = st.binary(min_size=1, max_size=3).map(lambda text: bytes(97 + byte % 3 for byte in text))
ends = st.one_of(names, st.just(b"\0"))


class Ranges:
    """The tree, and beside it a plain list."""

    def __init__(self) -> None:
        self.store = new_store(arena_bytes=1 << 20, keys_max=64, leases_max=64, watchers_max=256, operations_max=64)
        self.joined: list[tuple[bytes, bytes]] = []
        self.subject: dict[tuple[bytes, bytes], int] = {}

    def join(self, key: bytes, end: bytes) -> None:
        buf = np.frombuffer(key + end + b"\0" * 8, np.uint8).copy()
        subject = int(subjects.join(self.store, buf, 0, len(key), buf, len(key), len(end)))
        assert self.subject.setdefault((key, end), subject) == subject != NONE
        self.joined.append((key, end))

    def part(self, place: int) -> None:
        one = self.joined.pop(place)
        subjects.part(self.store, self.subject[one])
        if one not in self.joined:
            del self.subject[one]

    def find(self, key: bytes) -> list[int]:
        buf = np.frombuffer(key + b"\0" * 8, np.uint8).copy()
        found = []
        ranges.begin_search(self.store)
        while (subject := int(ranges.find_next(self.store, buf, 0, len(key)))) != NONE:
            found.append(subject)
        return found

    def text(self, subject: int, name: str, size: str) -> bytes:
        record = self.store.subjects[subject]
        at = int(record[name]) * UNIT_BYTES
        return bytes(self.store.names[at : at + int(record[size])])

    def check(self, subject: int, parent: int) -> list[int]:
        """The subjects of a branch in order. Asserts what every branch promises."""
        if subject == NONE:
            return []
        record = self.store.subjects[subject]
        assert record["parent"] == parent and (parent == NONE or not ranges.is_above(subject, parent))
        inside = [*self.check(int(record["left"]), subject), subject, *self.check(int(record["right"]), subject)]
        furthest = max(self.end(one) for one in inside)
        assert self.end(int(record["reach"])) == furthest and int(record["reach"]) in inside
        return inside

    def end(self, subject: int) -> tuple[bool, bytes]:
        end = self.text(subject, "range_end", "end_bytes")
        return end == b"\0", end

    def check_all(self) -> None:
        inside = self.check(int(self.store.state[0]["range_root"]), NONE)
        assert sorted(inside) == sorted(subject for (_, end), subject in self.subject.items() if end)
        begins = [self.text(subject, "key", "key_bytes") for subject in inside]
        assert begins == sorted(begins)


steps = st.one_of(st.tuples(names, ends), st.tuples(names, st.just(b"")), st.integers(0, 1000), names)


@settings(max_examples=150 if JIT_ENABLED else 25)
@given(st.lists(steps, min_size=10, max_size=80))
def test_every_range_that_holds_a_key_is_found(history: list[Any]) -> None:
    tree = Ranges()
    for step in history:
        if isinstance(step, tuple):
            key, end = step
            if not end or end == b"\0" or key < end:
                tree.join(key, end)
        elif isinstance(step, int):
            if tree.joined:
                tree.part(step % len(tree.joined))
        else:
            expected = [one for (key, end), one in tree.subject.items() if end and naive.covers(step, key, end)]
            assert sorted(tree.find(step)) == sorted(expected)
        tree.check_all()
    while tree.joined:
        tree.part(0)
    tree.check_all()
    assert int(tree.store.spaces[1]["used_units"]) == 0


def test_a_search_passes_over_what_does_not_hold_the_key() -> None:
    tree = Ranges()
    count = 200 if JIT_ENABLED else 60
    for number in range(count):
        tree.join(b"%03d/" % number, b"%03d0" % number)
    tree.join(b"000", b"\0")
    tree.join(b"010", b"040")
    tree.check_all()
    deep = 0
    buf = np.frombuffer(b"030/x" + b"\0" * 8, np.uint8).copy()
    ranges.begin_search(tree.store)
    found = set()
    while (subject := int(ranges.find_next(tree.store, buf, 0, 5))) != NONE:
        deep = max(deep, int(tree.store.state[0]["visits"]))
        found.add(tree.text(subject, "key", "key_bytes"))
    assert found == {b"000", b"010", b"030/"}
    assert deep < 40
