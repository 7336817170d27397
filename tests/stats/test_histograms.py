"""Sums and differences of sparse histograms against dicts."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings

from kvbench.ops.results import HISTOGRAM_COUNT, RESPONSE
from kvbench.stats import histograms
from tests.naive import histogram_sums
from tests.stats import phase_results


@settings(deadline=None)
@given(phase_results.histogram_rows(), phase_results.histogram_rows())
def test_subtracting_a_part_leaves_the_rest(a: np.ndarray, b: np.ndarray) -> None:
    whole = histograms.added((a, b))
    np.testing.assert_array_equal(histograms.subtracted(whole, a), b)
    np.testing.assert_array_equal(histograms.subtracted(whole, whole), histograms.empty())


@settings(deadline=None)
@given(phase_results.histogram_rows())
def test_grouping_ignores_order_and_sums_equal_keys(rows: np.ndarray) -> None:
    doubled = np.concatenate((rows[::-1], rows))
    expected = {key: 2 * count for key, count in histogram_sums.as_dict(rows).items()}
    assert histogram_sums.as_dict(histograms.grouped(doubled)) == expected


def test_a_part_larger_than_the_whole_is_refused() -> None:
    rows = np.array([(2, 1, RESPONSE, 77, 3)], dtype=HISTOGRAM_COUNT)
    larger = rows.copy()
    larger["count"] = 4
    with pytest.raises(ValueError, match="by 1 in second 2, operation 1, bucket 77"):
        histograms.subtracted(rows, larger)


@settings(deadline=None)
@given(phase_results.histogram_rows())
def test_selection_sums_over_seconds(rows: np.ndarray) -> None:
    for operation in (0, 1, None):
        wanted: Counter[int] = Counter()
        for (_, op, time, bucket), count in histogram_sums.as_dict(rows).items():
            if time == RESPONSE and operation in (op, None):
                wanted[bucket] += count
        buckets, counts = histograms.of(rows, RESPONSE, operation)
        assert list(zip(buckets.tolist(), counts.tolist(), strict=True)) == sorted(wanted.items())
