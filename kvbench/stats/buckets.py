"""The values behind histogram bucket numbers, for whole arrays at once.

The numbering is HdrHistogram's counts index for lowest = 1, highest = 3,600,000,000,000 (an hour in nanoseconds) and 3
significant digits, the same as ``rt.histogram``'s: values below 2,048 have a bucket each; above, every doubling of the
value is divided into 1,024 buckets. It is stated again here because ``rt.histogram`` brings the compiler with it, which
those who only read results need not load; a test holds the two together.
"""

import numpy as np
import numpy.typing as npt

SUB_BUCKET_HALF_BITS = 10
SUB_BUCKET_HALF = 1 << SUB_BUCKET_HALF_BITS
LOWEST_NS = 1
HIGHEST_NS = 3_600_000_000_000
SIGNIFICANT_DIGITS = 3
BUCKETS = 33 * SUB_BUCKET_HALF

Int64s = npt.NDArray[np.int64]


def bucket_of(values: npt.ArrayLike) -> Int64s:
    """int64[n]: the bucket of each value; values outside 0 .. HIGHEST_NS count as the nearest end."""
    clipped = np.clip(np.asarray(values, dtype=np.int64), 0, HIGHEST_NS)
    # frexp is exact here: HIGHEST_NS has 42 bits, a double's mantissa 53.
    bits = np.frexp(np.maximum(clipped, 2 * SUB_BUCKET_HALF - 1).astype(np.float64))[1].astype(np.int64)
    shift = bits - (SUB_BUCKET_HALF_BITS + 1)
    buckets: Int64s = shift * SUB_BUCKET_HALF + (clipped >> shift)
    return buckets


def _shift_of(buckets: Int64s) -> Int64s:
    shift: Int64s = np.maximum((buckets >> SUB_BUCKET_HALF_BITS) - 1, 0)
    return shift


def lowest_of(buckets: npt.ArrayLike) -> Int64s:
    """int64[n], ns: the lowest value of each bucket."""
    numbers = np.asarray(buckets, dtype=np.int64)
    shift = _shift_of(numbers)
    lowest: Int64s = (numbers - shift * SUB_BUCKET_HALF) << shift
    return lowest


def highest_of(buckets: npt.ArrayLike) -> Int64s:
    """int64[n], ns: the highest value of each bucket ("highest equivalent value")."""
    numbers = np.asarray(buckets, dtype=np.int64)
    return lowest_of(numbers) + (np.int64(1) << _shift_of(numbers)) - 1


def middle_of(buckets: npt.ArrayLike) -> Int64s:
    """int64[n], ns: the middle value of each bucket ("median equivalent value")."""
    numbers = np.asarray(buckets, dtype=np.int64)
    return lowest_of(numbers) + ((np.int64(1) << _shift_of(numbers)) >> 1)
