"""Medians, and ratios of pairs."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench.stats import comparison

rounds = st.lists(st.tuples(st.floats(1, 1e6), st.floats(1, 1e6)), min_size=3, max_size=8)


def test_median_of_rounds() -> None:
    assert comparison.median_of_rounds([3.0, 1.0, 2.0, 10.0]) == comparison.Rounds(2.5, 1.0, 10.0, 4)
    with pytest.raises(ValueError, match="at least one"):
        comparison.median_of_rounds([])


@settings(deadline=None)
@given(rounds)
def test_ratio_is_the_geometric_mean_within_its_interval(pairs: list[tuple[float, float]]) -> None:
    a, b = zip(*pairs, strict=True)
    found = comparison.paired_ratio(a, b)
    expected = math.prod((y / x) ** (1 / len(pairs)) for x, y in pairs)
    assert found.ratio == pytest.approx(expected, rel=1e-9)
    assert found.low is not None and found.high is not None
    ratios = [y / x for x, y in pairs]
    assert min(ratios) * (1 - 1e-9) <= found.low <= found.high <= max(ratios) * (1 + 1e-9)
    swapped = comparison.paired_ratio(b, a)
    assert swapped.ratio == pytest.approx(1 / found.ratio, rel=1e-9)


def test_a_steady_difference_is_clear_and_a_drifting_machine_cancels() -> None:
    speed = np.array([1.0, 2.0, 0.5, 1.5, 0.7])
    found = comparison.paired_ratio((speed * 100).tolist(), (speed * 130).tolist())
    assert found.is_clear
    assert found.low == pytest.approx(1.3) and found.high == pytest.approx(1.3)
    assert not comparison.paired_ratio([100, 110, 90], [105, 95, 101]).is_clear


def test_two_pairs_have_no_interval() -> None:
    found = comparison.paired_ratio([1.0, 2.0], [2.0, 4.0])
    assert found.ratio == pytest.approx(2.0)
    assert (found.low, found.high, found.pairs) == (None, None, 2)
    assert not found.is_clear


@pytest.mark.parametrize(("a", "b"), [([1.0], []), ([], []), ([1.0, 2.0], [1.0])])
def test_pairs_need_both_sides(a: list[float], b: list[float]) -> None:
    with pytest.raises(ValueError, match="both sides"):
        comparison.paired_ratio(a, b)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_ratios_need_positive_values(value: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        comparison.paired_ratio([1.0, value], [1.0, 1.0])
