"""Each rule of what watching clients see, kept and broken; and against runs of a store with watchers cut at random."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench.check.watches import check_watches
from kvbench.ops.history import (
    ABSENT,
    DELETE,
    EVERYTHING,
    HISTORY,
    NEVER,
    OK,
    ONE_KEY,
    OTHER_KEYS,
    READ,
    REGISTERS,
    SPAN,
    UNKNOWN,
    WATCHED,
    WRITE,
)
from kvbench.ops.history import FAILED as REFUSED_WRITE

Rows = Sequence[tuple[int, ...]]


def row(act: int, key: int, value: int, revision: int, found: int = 0, seen: int = OK) -> tuple[int, ...]:
    """An operation of a history."""
    return (0, NEVER if seen == UNKNOWN else 1, key, value, 0, revision, found, act, seen, 0, 0)


def violations(history: Rows, spans: Rows, watched: Rows) -> list[str]:
    found = check_watches(np.array(history, HISTORY), np.array(spans, SPAN), np.array(watched, WATCHED))
    return [violation.what for violation in found]


HISTORY_ROWS = [row(WRITE, 0, 1, 2), row(WRITE, 1, 2, 3), row(DELETE, 0, 0, 4), row(READ, 1, 2, 4, 3)]
EVENTS = [(0, 2, 0, 1), (0, 3, 1, 2), (0, 4, 0, ABSENT)]
ALL = [(REGISTERS, 0, 2, 4)]


def test_what_was_written_and_seen_is_accepted() -> None:
    assert violations(HISTORY_ROWS, ALL, EVENTS) == []
    assert violations(HISTORY_ROWS, [(ONE_KEY, 0, 1, 9)], [EVENTS[0], EVENTS[2]]) == []
    assert violations(HISTORY_ROWS, [(ONE_KEY, 0, 3, 3)], []) == []
    assert violations([], [], []) == []


@pytest.mark.parametrize(
    "seen",
    [
        EVENTS[:1] + EVENTS[2:],
        EVENTS[:2],
        EVENTS[1:],
        [EVENTS[1], EVENTS[0], EVENTS[2]],
        [*EVENTS[:2], EVENTS[1], EVENTS[2]],
        [*EVENTS, (0, 5, 0, 0)],
    ],
    ids=["gap", "end missing", "beginning missing", "order", "twice", "more than there was"],
)
def test_a_watch_that_does_not_see_each_event_once_and_in_order(seen: Rows) -> None:
    assert violations(HISTORY_ROWS, ALL, seen) != []


def test_a_gap_is_named() -> None:
    found = violations(HISTORY_ROWS, ALL, EVENTS[:1] + EVENTS[2:])
    assert found == ["watch 0: event 1 should be (revision, key, value) (3, 1, 2), and it is (4, 0, 0)"]


def test_an_event_of_another_value_than_was_written() -> None:
    found = violations(HISTORY_ROWS, ALL, [EVENTS[0], (0, 3, 1, 7), EVENTS[2]])
    assert "revision 3 wrote value 2 to key 1, and it wrote 7" in found


def test_one_watch_sees_what_another_does_not() -> None:
    """Keys with leases are in no history: watches are each other's witnesses."""
    other = (0, 5, OTHER_KEYS + 1, 9)
    spans = [(EVERYTHING, 0, 2, 5), (EVERYTHING, 0, 4, 5), (REGISTERS, 0, 4, 5)]
    seen = [*EVENTS, other, (1, 4, 0, ABSENT), (1, 5, OTHER_KEYS + 1, 9), (2, 4, 0, ABSENT)]
    assert violations(HISTORY_ROWS, spans, seen) == []
    assert len(violations(HISTORY_ROWS, spans, [one for one in seen if one[:2] != (1, 5)])) == 1


def test_an_event_needs_a_write_that_asked_for_it() -> None:
    seen = [(0, 5, 1, 8)]
    span = [(ONE_KEY, 1, 5, 5)]
    assert violations([row(WRITE, 1, 8, 0, seen=UNKNOWN)], span, seen) == []
    for history in ([], [row(WRITE, 1, 8, 0, seen=REFUSED_WRITE)], [row(DELETE, 1, 0, 0, seen=UNKNOWN)]):
        found = violations(history, span, seen)
        assert found == ["an event of revision 5 has value 8 of key 1, which no write accounts for"]
    assert violations([row(DELETE, 1, 0, 0, seen=UNKNOWN)], span, [(0, 5, 1, ABSENT)]) == []


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=12), st.data())
def test_any_event_left_out_doubled_or_moved_is_found(keys: list[int], data: st.DataObject) -> None:
    history = [row(WRITE, key, 10 + at, at + 2) for at, key in enumerate(keys)]
    begin = data.draw(st.integers(1, len(keys) + 1))
    seen = [(0, at + 2, key, 10 + at) for at, key in enumerate(keys) if at + 2 >= begin]
    span = [(REGISTERS, 0, begin, len(keys) + 1)]
    assert violations(history, span, seen) == []
    at = data.draw(st.integers(0, len(seen) - 1))
    to = data.draw(st.integers(0, len(seen) - 1))
    assert violations(history, span, [*seen[:at], *seen[at + 1 :]]) != []
    assert violations(history, span, [*seen[:to], seen[at], *seen[to:]]) != []
    if at != to:
        moved = [*seen[:at], *seen[at + 1 :]]
        moved.insert(to, seen[at])
        assert violations(history, span, moved) != []
