"""HdrHistogram's bucket numbering for nanoseconds: 3 significant digits, 1 ns to an hour.

A value's bucket is its position in HdrHistogram's counts array, so counts can be written to HdrHistogram's formats
as they are (hdrhistogram.org; "counts array index" with lowestDiscernibleValue 1).
"""

from typing import Any

from kvbench.jit import kernel
from kvbench.rt.bits import bit_length

SIGNIFICANT_DIGITS = 3
HIGHEST_NS = 3_600_000_000_000
"""The largest value that is recorded as itself; larger ones are clipped to it and counted as clipped."""
SUB_BUCKET_BITS = 11
HALF = 1024
BUCKETS = 33 * HALF
"""Length of a counts array: 32 doublings of 2,048 sub-buckets, the lower half of each but the first shared."""


@kernel
def bucket_of(value: int) -> int:
    """The bucket of a value in 0 .. HIGHEST_NS (the caller clips)."""
    shift = bit_length(value | 2047) - SUB_BUCKET_BITS
    return (shift << 10) + (value >> shift)


@kernel
def lowest_of(bucket: int) -> int:
    """The smallest value that falls into a bucket."""
    shift = max((bucket >> 10) - 1, 0)
    return (bucket - (shift << 10)) << shift


@kernel
def highest_of(bucket: int) -> int:
    """The largest value that falls into a bucket."""
    shift = max((bucket >> 10) - 1, 0)
    return ((bucket - (shift << 10) + 1) << shift) - 1


@kernel
def record(counts: Any, base: int, value: int) -> int:
    """Count ``value`` in ``counts[base : base + BUCKETS]``. Returns 1 if it was clipped to HIGHEST_NS, else 0.

    A value below 0 counts as 0.
    """
    counts[base + bucket_of(min(max(value, 0), HIGHEST_NS))] += 1
    return 1 if value > HIGHEST_NS else 0
