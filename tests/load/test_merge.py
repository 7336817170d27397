"""Merging is addition: against dicts, in any order, in any grouping."""

from collections import Counter
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from kvbench.load import merge
from kvbench.ops.results import PhaseResult
from tests.naive import histogram_sums
from tests.stats import phase_results

SUMS = [f.name for f in fields(PhaseResult) if f.type is int and f.name not in ("start_ns", "duration_ns")]
ARRAYS = ("offered", "sent", "completed", "errors")


def counted(array: np.ndarray) -> Counter[tuple[int, ...]]:
    return Counter({index: int(value) for index, value in np.ndenumerate(array) if value})


def same(a: PhaseResult, b: PhaseResult, ordered_threads: bool = True) -> None:
    for field in fields(PhaseResult):
        left, right = getattr(a, field.name), getattr(b, field.name)
        if isinstance(left, np.ndarray):
            np.testing.assert_array_equal(left, right, err_msg=field.name)
        elif field.name == "threads" and not ordered_threads:
            assert Counter(left) == Counter(right)
        else:
            assert left == right, field.name


@settings(deadline=None)
@given(phase_results.phase_results(), phase_results.phase_results())
def test_add_agrees_with_dicts(a: PhaseResult, b: PhaseResult) -> None:
    total = merge.add(a, b)
    for name in ARRAYS:
        array = getattr(total, name)
        assert counted(array) == counted(getattr(a, name)) + counted(getattr(b, name))
        assert len(array) == max(len(getattr(a, name)), len(getattr(b, name)))
    left, right = histogram_sums.as_dict(a.histograms), histogram_sums.as_dict(b.histograms)
    assert histogram_sums.as_dict(total.histograms) == dict(Counter(left) + Counter(right))
    keys = [tuple(row)[:4] for row in total.histograms.tolist()]
    assert keys == sorted(set(keys))
    for name in SUMS:
        assert getattr(total, name) == getattr(a, name) + getattr(b, name)
    assert total.threads == a.threads + b.threads
    assert total.duration_ns == max(a.duration_ns, b.duration_ns)


@settings(deadline=None)
@given(phase_results.phase_results(), phase_results.phase_results(), phase_results.phase_results())
def test_add_is_associative_and_commutative(a: PhaseResult, b: PhaseResult, c: PhaseResult) -> None:
    same(merge.add(merge.add(a, b), c), merge.add(a, merge.add(b, c)))
    same(merge.add(a, b), merge.add(b, a), ordered_threads=False)


def test_add_leaves_its_arguments_alone() -> None:
    a, b = phase_results.make(1, seconds=2), phase_results.make(2, seconds=3)
    before = a.offered.copy(), a.histograms.copy(), list(a.threads)
    merge.add(a, b)
    np.testing.assert_array_equal(a.offered, before[0])
    np.testing.assert_array_equal(a.histograms, before[1])
    assert a.threads == before[2]


def test_parts_in_time_add_up_to_the_whole() -> None:
    whole = phase_results.make(seconds=5)
    same(merge.add(*phase_results.split(whole, 3)), whole)


@pytest.mark.parametrize(
    ("reasons", "expected"),
    [
        (("count", "duration"), "duration"),
        (("interrupted", "duration"), "interrupted"),
        (("interrupted", "failed"), "failed"),
        (("count", "count"), "count"),
    ],
)
def test_the_most_telling_end_reason_stays(reasons: tuple[str, str], expected: str) -> None:
    whole = phase_results.make()
    a, b = (replace(whole, end_reason=reason) for reason in reasons)
    assert merge.add(a, b).end_reason == merge.add(b, a).end_reason == expected


@pytest.mark.parametrize(
    "change", [{"phase": "warmup"}, {"operations": ("get", "put")}, {"start_ns": phase_results.START_NS + 1}]
)
def test_shares_of_different_phases_are_refused(change: dict[str, Any]) -> None:
    whole = phase_results.make()
    with pytest.raises(ValueError, match=next(iter(change))):
        merge.add(whole, replace(whole, **change))
