"""Percentiles against lists of every value, and against the hdrhistogram package."""

from fractions import Fraction

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench.jit import JIT_ENABLED
from kvbench.stats import buckets, histograms, percentiles
from tests.naive import histogram_sums
from tests.stats import phase_results

filled = st.dictionaries(st.integers(0, buckets.BUCKETS - 1), st.integers(1, 40), min_size=1, max_size=20)
millionths = st.sampled_from([0, 1, 250_000, 500_000, 900_000, 990_000, 999_000, 999_999, 1_000_000])


def arrays(counts: dict[int, int]) -> tuple[np.ndarray, np.ndarray]:
    return np.array(sorted(counts), dtype=np.int64), np.array([counts[key] for key in sorted(counts)], dtype=np.int64)


@settings(deadline=None)
@given(filled, millionths)
def test_percentile_is_that_of_the_written_out_values(counts: dict[int, int], share: int) -> None:
    expected = histogram_sums.percentile(counts, Fraction(share, 1_000_000))
    assert percentiles.value_at(*arrays(counts), share) == expected


# The oracle goes through 30,000 buckets in Python for each example.
@settings(max_examples=100 if JIT_ENABLED else 20)
@given(st.lists(st.integers(0, buckets.HIGHEST_NS), min_size=1, max_size=50))
def test_distribution_agrees_with_hdrhistogram(values: list[int]) -> None:
    # 1,000 copies make every percentile's rank whole, where rounding up and to the nearest agree.
    reference = HdrHistogram(1, buckets.HIGHEST_NS, 3)
    for value in values:
        reference.record_value(value, 1000)
    numbers, counts = np.unique(buckets.bucket_of(values), return_counts=True)
    found = percentiles.distribution(numbers, counts * 1000)
    assert found.count == reference.get_total_count()
    assert found.mean == pytest.approx(reference.get_mean_value(), rel=1e-12)
    assert found.max == reference.get_highest_equivalent_value(reference.get_max_value())
    shares = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p999": 99.9}
    expected = reference.get_percentile_to_value_dict(list(shares.values()))
    for name, share in shares.items():
        assert found.percentiles[name] == expected[share]


def test_an_empty_histogram_has_zeros() -> None:
    none = np.zeros(0, dtype=np.int64)
    found = percentiles.distribution(none, none)
    assert (found.count, found.mean, found.max, set(found.percentiles.values())) == (0, 0.0, 0, {0})
    assert found.insufficient == ("p50", "p90", "p99", "p999")
    assert [len(axis) for axis in percentiles.spectrum(none, none)] == [0, 0]


@pytest.mark.parametrize(
    ("total", "insufficient"),
    [(39, ("p50", "p90", "p99", "p999")), (40, ("p90", "p99", "p999")), (200, ("p99", "p999")),
     (1999, ("p99", "p999")), (2000, ("p999",)), (19_999, ("p999",)), (20_000, ())],
)  # fmt: skip
def test_a_percentile_needs_twenty_values_beyond_it(total: int, insufficient: tuple[str, ...]) -> None:
    found = percentiles.distribution(np.array([5]), np.array([total]))
    assert found.insufficient == insufficient


@settings(deadline=None)
@given(phase_results.histogram_rows())
def test_grouped_percentiles_are_those_of_each_group(rows: np.ndarray) -> None:
    found = percentiles.per_interval(rows)
    groups = sorted({(int(r["second"]), int(r["operation"]), int(r["time"])) for r in rows})
    keys = zip(found.second.tolist(), found.operation.tolist(), found.time.tolist(), strict=True)
    assert list(keys) == groups
    for place, (second, operation, time) in enumerate(groups):
        chosen = rows[(rows["second"] == second) & (rows["operation"] == operation) & (rows["time"] == time)]
        alone = percentiles.distribution(chosen["bucket"].astype(np.int64), chosen["count"])
        assert found.count[place] == alone.count
        assert found.max[place] == alone.max
        assert {name: int(values[place]) for name, values in found.percentiles.items()} == alone.percentiles


def test_grouped_percentiles_of_nothing_are_empty() -> None:
    assert len(percentiles.per_interval(histograms.empty()).second) == 0


@settings(deadline=None)
@given(filled)
def test_spectrum_rises_and_ends_at_the_sample_size(counts: dict[int, int]) -> None:
    numbers, amounts = arrays(counts)
    odds, values = percentiles.spectrum(numbers, amounts)
    assert (np.diff(odds) >= 0).all() and (np.diff(values) > 0).all()
    assert odds[-1] == amounts.sum()
    assert values[-1] == buckets.highest_of(numbers[-1])
