"""Histograms as dicts, one value at a time."""

import math
from collections import Counter
from fractions import Fraction

import numpy as np
import numpy.typing as npt


def as_dict(rows: npt.NDArray[np.void]) -> dict[tuple[int, int, int, int], int]:
    counts: Counter[tuple[int, int, int, int]] = Counter()
    for row in rows:
        counts[int(row["second"]), int(row["operation"]), int(row["time"]), int(row["bucket"])] += int(row["count"])
    return {key: count for key, count in counts.items() if count}


def bounds_of(bucket: int) -> tuple[int, int]:
    """(lowest, highest) value of a bucket, by walking through all buckets before its doubling."""
    width, first_bucket, first_value = 1, 0, 0
    size = 2048
    while bucket >= first_bucket + size:
        first_bucket, first_value = first_bucket + size, first_value + size * width
        width, size = width * 2, 1024
    lowest = first_value + (bucket - first_bucket) * width
    return lowest, lowest + width - 1


def percentile(counts: dict[int, int], share: Fraction) -> int:
    """By writing every value down."""
    values = [bounds_of(bucket)[1] for bucket in sorted(counts) for _ in range(counts[bucket])]
    if not values:
        return 0
    return values[max(1, math.ceil(share * len(values))) - 1]
