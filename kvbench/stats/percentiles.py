"""Percentiles, means and maxima of histograms, with HdrHistogram's meanings, and whether a percentile is supported.

A percentile is the highest value equivalent to the one at rank ceil(q * count): at least that share of the values is
not above it. Ranks are exact integers: a percentile is given in millionths, never as a float.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kvbench.stats import buckets as bucket_numbers
from kvbench.stats.histograms import Histograms, starts_of_runs

Int64s = npt.NDArray[np.int64]

MILLION = 1_000_000
PERCENTILES: dict[str, int] = {"p50": 500_000, "p90": 900_000, "p99": 990_000, "p999": 999_000}
"""Name in artifacts -> millionths."""

BEYOND_MIN = 20
"""A percentile with fewer values beyond it is an accident of the run, not a property of the system."""


@dataclass(frozen=True)
class Distribution:
    """What tables print of one histogram; times in ns. All 0 when ``count`` is 0."""

    count: int
    mean: float
    percentiles: dict[str, int]
    max: int
    insufficient: tuple[str, ...]
    """Names of the percentiles with fewer than BEYOND_MIN values beyond them."""


def rank_of(total: int, millionths: int) -> int:
    """ceil(q * total), at least 1: how many values are not above the percentile."""
    return max(1, -(-total * millionths // MILLION))


def beyond(total: int, millionths: int) -> int:
    """How many of ``total`` values rank above the percentile."""
    return max(0, total - rank_of(total, millionths))


def is_sufficient(total: int, millionths: int) -> bool:
    """Whether enough values lie beyond the percentile to print it as a fact."""
    return beyond(total, millionths) >= BEYOND_MIN


def value_at(buckets: Int64s, counts: Int64s, millionths: int) -> int:
    """The percentile's value in ns, 0 for an empty histogram. ``buckets`` int64[n] ascending, ``counts`` int64[n]."""
    running = np.cumsum(counts)
    if len(running) == 0 or running[-1] == 0:
        return 0
    position = int(np.searchsorted(running, rank_of(int(running[-1]), millionths), side="left"))
    return int(bucket_numbers.highest_of(buckets[position]))


def mean(buckets: Int64s, counts: Int64s) -> float:
    """The mean in ns from the buckets' middles, 0.0 for an empty histogram."""
    total = int(counts.sum())
    if total == 0:
        return 0.0
    # In doubles: a billion values of an hour would overflow int64's sum.
    return float(np.dot(bucket_numbers.middle_of(buckets).astype(np.float64), counts.astype(np.float64)) / total)


def distribution(buckets: Int64s, counts: Int64s) -> Distribution:
    """Count, mean, percentiles and maximum of one histogram (``buckets`` ascending)."""
    filled = counts > 0
    buckets, counts = buckets[filled], counts[filled]
    total = int(counts.sum())
    return Distribution(
        count=total,
        mean=mean(buckets, counts),
        percentiles={name: value_at(buckets, counts, millionths) for name, millionths in PERCENTILES.items()},
        max=int(bucket_numbers.highest_of(buckets[-1])) if total else 0,
        insufficient=tuple(name for name, millionths in PERCENTILES.items() if not is_sufficient(total, millionths)),
    )


@dataclass(frozen=True)
class GroupedPercentiles:
    """Percentiles of many histograms at once, one row per (second, operation, time) that has values; times in ns."""

    second: Int64s
    operation: Int64s
    time: Int64s
    count: Int64s
    percentiles: dict[str, Int64s]
    max: Int64s


def per_interval(rows: Histograms) -> GroupedPercentiles:
    """Percentiles per second, operation and time. ``rows`` are sorted and without empty buckets (histograms.grouped).

    One search over one running total serves all groups; a loop over a long run's seconds would take minutes.
    """
    starts = starts_of_runs(rows, ("second", "operation", "time"))
    running = np.cumsum(rows["count"], dtype=np.int64)
    ends = np.append(starts[1:], len(rows)) - 1 if len(starts) else starts
    before = running[starts] - rows["count"][starts]
    totals = running[ends] - before
    values: dict[str, Int64s] = {}
    for name, millionths in PERCENTILES.items():
        ranks = np.maximum(1, -(-totals * millionths // MILLION))
        values[name] = bucket_numbers.highest_of(rows["bucket"][np.searchsorted(running, before + ranks)])
    return GroupedPercentiles(
        second=rows["second"][starts].astype(np.int64),
        operation=rows["operation"][starts].astype(np.int64),
        time=rows["time"][starts].astype(np.int64),
        count=totals,
        percentiles=values,
        max=bucket_numbers.highest_of(rows["bucket"][ends]),
    )


def spectrum(buckets: Int64s, counts: Int64s) -> tuple[npt.NDArray[np.float64], Int64s]:
    """The whole percentile spectrum: (1 / (1 - q) float64[n], value in ns int64[n]), one point per filled bucket.

    q is the share of the values below the bucket's end; the last point stands at 1 / (1 - q) = count, the finest that
    the sample resolves.
    """
    filled = counts > 0
    buckets, counts = buckets[filled], counts[filled]
    running = np.cumsum(counts)
    if len(running) == 0:
        return np.zeros(0), np.zeros(0, dtype=np.int64)
    total = float(running[-1])
    left = np.maximum(total - running, 1.0)
    return total / left, bucket_numbers.highest_of(buckets)
