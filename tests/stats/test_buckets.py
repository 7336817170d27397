"""Bucket numbers: against a walk through all buckets, rt.histogram, and the hdrhistogram package."""

import numpy as np
from hdrh.histogram import HdrHistogram
from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench.rt import histogram as rt_histogram
from kvbench.stats import buckets
from tests.naive import histogram_sums

values = st.integers(0, buckets.HIGHEST_NS) | st.integers(0, 42).map(lambda n: min(1 << n, buckets.HIGHEST_NS))


def test_the_numbering_is_that_of_the_kernels() -> None:
    assert buckets.BUCKETS == rt_histogram.BUCKETS
    assert buckets.HIGHEST_NS == rt_histogram.HIGHEST_NS
    assert buckets.SIGNIFICANT_DIGITS == rt_histogram.SIGNIFICANT_DIGITS
    numbers = np.arange(0, buckets.BUCKETS, 7)
    assert buckets.lowest_of(numbers).tolist() == [rt_histogram.lowest_of(int(n)) for n in numbers]
    assert buckets.highest_of(numbers).tolist() == [rt_histogram.highest_of(int(n)) for n in numbers]
    middles = buckets.middle_of(numbers)
    assert [rt_histogram.bucket_of(int(value)) for value in middles] == numbers.tolist()


def test_every_bucket_has_the_bounds_of_the_walk_and_joins_the_next() -> None:
    numbers = np.arange(buckets.BUCKETS)
    lowest, highest = buckets.lowest_of(numbers), buckets.highest_of(numbers)
    np.testing.assert_array_equal(lowest[1:], highest[:-1] + 1)
    for number in (0, 1, 2047, 2048, 3071, 3072, 20_000, buckets.BUCKETS - 1):
        assert histogram_sums.bounds_of(number) == (lowest[number], highest[number])
    assert highest[-1] >= buckets.HIGHEST_NS


@settings(deadline=None)
@given(values)
def test_a_value_lies_in_its_bucket_as_in_hdrhistogram(value: int) -> None:
    reference = HdrHistogram(1, buckets.HIGHEST_NS, 3)
    number = int(buckets.bucket_of(value))
    assert number == reference._counts_index_for(value)
    assert buckets.lowest_of(number) <= value <= buckets.highest_of(number)
    assert buckets.highest_of(number) == reference.get_highest_equivalent_value(value)


def test_values_beyond_the_range_count_as_its_ends() -> None:
    assert buckets.bucket_of([-5, 0]).tolist() == [0, 0]
    beyond = buckets.bucket_of([buckets.HIGHEST_NS, buckets.HIGHEST_NS + 1, 2**62])
    assert len(set(beyond.tolist())) == 1
