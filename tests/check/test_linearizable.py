"""The search against trying every order, known histories, and its limit."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench.check.linearizable import Verdict, check_history, check_register, new_search
from kvbench.ops.history import (
    ABSENT,
    CAS,
    DELETE,
    FAILED,
    HISTORY,
    NEVER,
    OK,
    READ,
    REFUSED,
    UNKNOWN,
    WRITE,
)
from tests.naive import linearizable as naive


def row(
    invoked: int, returned: int, act: int, value: int = 0, expected: int = 0, seen: int = OK, key: int = 0
) -> tuple[int, ...]:
    """A record in the order of HISTORY's fields."""
    return (invoked, NEVER if seen == UNKNOWN else returned, key, value, expected, 0, 0, act, seen, 0, 0)


def history(*rows: tuple[int, ...]) -> npt.NDArray[np.void]:
    """HISTORY[n]."""
    return np.array(list(rows), HISTORY)


@st.composite
def histories(draw: st.DrawFn) -> npt.NDArray[np.void]:
    """Up to 5 operations of one key, in few instants and with few values."""
    rows = []
    for _ in range(draw(st.integers(1, 5))):
        invoked = draw(st.integers(0, 8))
        act = draw(st.sampled_from([READ, READ, WRITE, WRITE, DELETE, CAS]))
        endings = {READ: [OK], CAS: [OK, UNKNOWN, REFUSED]}.get(act, [OK, OK, UNKNOWN])
        rows.append(
            row(
                invoked,
                invoked + draw(st.integers(0, 4)),
                act,
                draw(st.integers(0 if act == READ else 1, 3)) if act != DELETE else 0,
                draw(st.integers(0, 3)),
                draw(st.sampled_from(endings)),
            )
        )
    return history(*rows)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(histories(), st.integers(0, 2))
def test_search_agrees_with_trying_every_order(operations: npt.NDArray[np.void], initial: int) -> None:
    verdict = check_register(operations, len(operations), initial, new_search(len(operations), 1 << 10))
    assert (verdict == Verdict.LINEARIZABLE) == naive.linearizable(operations, initial)


def verdicts(*rows: tuple[int, ...]) -> list[Verdict]:
    return [one.verdict for one in check_history(history(*rows))]


def test_a_read_of_what_was_overwritten_before_it_began_is_illegal() -> None:
    stale = row(10, 11, READ, 1)
    assert verdicts(row(0, 1, WRITE, 1), row(2, 3, WRITE, 2), stale) == [Verdict.ILLEGAL]


def test_operations_that_share_an_instant_may_be_in_either_order() -> None:
    assert verdicts(row(0, 5, WRITE, 1), row(5, 9, READ, ABSENT)) == [Verdict.LINEARIZABLE]


def test_a_write_of_unknown_outcome_may_take_effect_late_or_never() -> None:
    lost = row(0, 0, WRITE, 1, seen=UNKNOWN)
    assert verdicts(lost, row(5, 6, READ, ABSENT), row(7, 8, READ, 1)) == [Verdict.LINEARIZABLE]
    assert verdicts(lost, row(5, 6, READ, 1), row(7, 8, READ, ABSENT)) == [Verdict.ILLEGAL]


def test_a_write_that_failed_must_not_be_seen() -> None:
    assert verdicts(row(0, 1, WRITE, 1, seen=FAILED), row(2, 3, READ, 1)) == [Verdict.ILLEGAL]


def test_a_refused_comparison_says_what_the_key_is_not() -> None:
    wrote = row(0, 1, WRITE, 1)
    assert verdicts(wrote, row(2, 3, CAS, 2, expected=1, seen=REFUSED)) == [Verdict.ILLEGAL]
    assert verdicts(wrote, row(2, 3, CAS, 2, expected=9, seen=REFUSED)) == [Verdict.LINEARIZABLE]


def test_each_key_has_its_own_verdict() -> None:
    found = check_history(
        history(
            row(0, 1, WRITE, 1, key=7),
            row(2, 3, READ, 1, key=7),
            row(0, 1, WRITE, 2, key=3),
            row(2, 3, READ, ABSENT, key=3),
        )
    )
    assert [(one.key, one.verdict, one.operations) for one in found] == [
        (3, Verdict.ILLEGAL, 2),
        (7, Verdict.LINEARIZABLE, 2),
    ]


def test_a_search_that_runs_out_of_room_is_undecided() -> None:
    rows = [row(0, 100, WRITE, value) for value in range(1, 12)]
    late = [row(200, 201, READ, ABSENT)]
    operations = history(*rows, *late)
    assert check_register(operations, len(operations), 0, new_search(len(operations), 16)) == Verdict.UNDECIDED
    assert check_register(operations, len(operations), 0, new_search(len(operations), 1 << 16)) == Verdict.ILLEGAL


def test_what_is_no_act_is_refused() -> None:
    with pytest.raises(ValueError, match="acts are"):
        check_history(history(row(0, 1, 99)))
    with pytest.raises(ValueError, match="ends as"):
        check_history(history(row(0, 1, WRITE, 1, seen=9)))


def test_a_long_history_of_one_key() -> None:
    """Many clients on one key, overlapping by three; the order of their values is the order of time."""
    rows = [row(10 * i, 10 * i + 25, WRITE, i + 1) for i in range(2000)]
    rows += [row(10 * i + 30, 10 * i + 31, READ, i + 2) for i in range(0, 1990, 7)]
    assert verdicts(*rows) == [Verdict.LINEARIZABLE]
