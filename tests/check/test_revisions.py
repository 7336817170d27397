"""Each rule of the store's order, kept and broken."""

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench.check.revisions import check_revisions
from kvbench.ops.history import ABSENT, DELETE, HISTORY, NEVER, OK, READ, UNKNOWN, WRITE


def row(
    invoked: int, act: int, value: int, revision: int, found: int = 0, key: int = 0, seen: int = OK
) -> tuple[int, ...]:
    """An operation of two instants."""
    returned = NEVER if seen == UNKNOWN else invoked + 1
    return (invoked, returned, key, value, 0, revision, found, act, seen, 0, 0)


def violations(*rows: tuple[int, ...]) -> list[str]:
    return [violation.what for violation in check_revisions(np.array(list(rows), HISTORY))]


def test_what_a_store_in_order_says_is_accepted() -> None:
    first = row(0, WRITE, 1, 2), row(2, READ, 1, 2, 2), row(4, DELETE, 0, 3), row(6, READ, ABSENT, 3)
    assert violations(*first, row(8, WRITE, 2, 4, key=1)) == []


def test_two_writes_of_one_revision() -> None:
    assert violations(row(0, WRITE, 1, 2), row(0, WRITE, 2, 2, key=1)) == ["two writes were answered with revision 2"]


def test_a_read_of_an_older_value_than_its_revision_has() -> None:
    found = violations(row(0, WRITE, 1, 2), row(2, WRITE, 2, 3), row(4, READ, 1, 3, 2))
    assert found == ["a read at revision 3 found value 1 of revision 2, after revision 3 wrote value 2"]


def test_a_read_behind_what_was_answered_before_it_began() -> None:
    found = violations(row(0, WRITE, 1, 2), row(2, WRITE, 2, 3), row(4, READ, 1, 2, 2))
    assert found == ["an operation of revision 2 began after revision 3 was answered"]


def test_a_write_that_was_answered_and_lost() -> None:
    found = violations(row(0, WRITE, 1, 2), row(2, READ, ABSENT, 2))
    assert found == ["a read at revision 2 found nothing of what revision 2 wrote"]


def test_an_unknown_write_counts_from_the_read_that_found_it() -> None:
    lost = row(0, WRITE, 1, 0, seen=UNKNOWN)
    assert violations(lost, row(2, READ, 1, 2, 2), row(4, READ, 1, 2, 2)) == []
    assert violations(lost, row(2, READ, 1, 2, 2), row(4, READ, ABSENT, 2)) == [
        "a read at revision 2 found nothing of what revision 2 wrote"
    ]


def test_an_unknown_delete_explains_an_absence() -> None:
    assert violations(row(0, WRITE, 1, 2), row(2, DELETE, 0, 0, seen=UNKNOWN), row(4, READ, ABSENT, 3)) == []


def test_an_unknown_write_placed_before_it_began() -> None:
    found = violations(row(0, WRITE, 5, 9, key=1), row(4, WRITE, 1, 0, seen=UNKNOWN), row(8, READ, 1, 9, 3))
    assert found == ["an operation of revision 3 began after revision 9 was answered"]


def atomic_run(steps: list[tuple[int, int, int]]) -> npt.NDArray[np.void]:
    """What clients of an atomic store see: (act, key, delay) one after another."""
    contents: dict[int, tuple[int, int]] = {}
    revision, time, rows = 1, 0, []
    for number, (act, key, delay) in enumerate(steps):
        time += delay
        value, found = number + 1, 0
        if act == READ:
            value, found = contents.get(key, (ABSENT, 0))
        elif act == DELETE and key not in contents:
            continue
        else:
            revision += 1
            value = 0 if act == DELETE else value
            contents[key] = (value, revision)
            if act == DELETE:
                del contents[key]
        rows.append(row(time, act, value, revision, found, key))
    return np.array(rows, HISTORY)


STEPS = st.lists(st.tuples(st.sampled_from([READ, WRITE, DELETE]), st.integers(0, 2), st.integers(0, 3)), min_size=1)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(STEPS)
def test_an_atomic_store_has_no_violations(steps: list[tuple[int, int, int]]) -> None:
    assert check_revisions(atomic_run(steps)) == []


@settings(max_examples=100, deadline=None, derandomize=True)
@given(STEPS, st.data())
def test_a_read_of_what_was_never_written_is_found(steps: list[tuple[int, int, int]], data: st.DataObject) -> None:
    history = atomic_run(steps)
    reads = np.flatnonzero(history["act"] == READ)
    if len(reads) == 0:
        return
    read = data.draw(st.sampled_from(list(reads)))
    history[read]["value"] = 1000
    history[read]["found_revision"] = max(history[read]["found_revision"], 2)
    assert check_revisions(history) != []
