"""Bucket numbers: HdrHistogram's own, for every value."""

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kvbench.jit import kernel
from kvbench.rt import histogram
from kvbench.rt.bits import bit_length
from tests.naive import histogram as naive

HDR = HdrHistogram(1, histogram.HIGHEST_NS, histogram.SIGNIFICANT_DIGITS)
VALUES = st.integers(0, 41).flatmap(lambda bits: st.integers(0, 2 << bits)).filter(lambda v: v <= histogram.HIGHEST_NS)


@kernel
def length(value: int) -> int:
    return bit_length(value)


@settings(deadline=None)
@given(st.integers(0, (1 << 63) - 1))
@example(0)
@example((1 << 63) - 1)
def test_bit_length(value: int) -> None:
    assert length(value) == value.bit_length()


def test_the_array_is_as_long_as_hdrhistograms() -> None:
    assert histogram.BUCKETS == HDR.counts_len == len(naive.LOWEST)


@settings(deadline=None, max_examples=500)
@given(VALUES)
@example(0)
@example(2047)
@example(2048)
@example(histogram.HIGHEST_NS)
def test_numbering(value: int) -> None:
    bucket = histogram.bucket_of(value)
    assert bucket == naive.bucket_of(value) == HDR._counts_index_for(value)
    assert histogram.lowest_of(bucket) == naive.LOWEST[bucket] == HDR.get_lowest_equivalent_value(value)
    assert histogram.highest_of(bucket) == HDR.get_highest_equivalent_value(value)
    assert histogram.highest_of(bucket) - histogram.lowest_of(bucket) <= value / 1000


def test_buckets_follow_one_another_without_gaps() -> None:
    highest = -1
    for bucket in range(histogram.BUCKETS):
        assert histogram.lowest_of(bucket) == highest + 1
        highest = histogram.highest_of(bucket)
        assert histogram.bucket_of(highest) == bucket
    assert highest >= histogram.HIGHEST_NS


@pytest.mark.parametrize(
    ("value", "counted_as", "clipped"),
    [(-5, 0, 0), (0, 0, 0), (1500, 1500, 0), (histogram.HIGHEST_NS, histogram.HIGHEST_NS, 0),
     (histogram.HIGHEST_NS + 1, histogram.HIGHEST_NS, 1), (1 << 62, histogram.HIGHEST_NS, 1)],
)  # fmt: skip
def test_clipping_is_counted(value: int, counted_as: int, clipped: int) -> None:
    counts = np.zeros(3 * histogram.BUCKETS, np.int32)
    assert histogram.record(counts, histogram.BUCKETS, value) == clipped
    assert counts[histogram.BUCKETS + naive.bucket_of(counted_as)] == 1
    assert counts.sum() == 1
