"""Sums, differences and selections of sparse histograms (ops.results.HISTOGRAM_COUNT). Exact: counts are integers."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from kvbench.ops.results import HISTOGRAM_COUNT

Histograms = npt.NDArray[np.void]
Int64s = npt.NDArray[np.int64]

KEYS = ("second", "operation", "time", "bucket")


def empty() -> Histograms:
    """HISTOGRAM_COUNT[0]."""
    return np.zeros(0, dtype=HISTOGRAM_COUNT)


def starts_of_runs(rows: Histograms, names: Iterable[str]) -> npt.NDArray[np.intp]:
    """intp[groups]: where a new combination of the fields ``names`` begins, in rows sorted by them."""
    if len(rows) == 0:
        return np.zeros(0, dtype=np.intp)
    changed = np.zeros(len(rows), dtype=bool)
    changed[0] = True
    for name in names:
        column = rows[name]
        changed[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(changed)


def grouped(rows: Histograms) -> Histograms:
    """The same histograms sorted by (second, operation, time, bucket), equal keys summed, empty buckets left out."""
    if len(rows) == 0:
        return empty()
    ordered = rows[np.lexsort(tuple(rows[name] for name in reversed(KEYS)))]
    starts = starts_of_runs(ordered, KEYS)
    summed = ordered[starts].copy()
    summed["count"] = np.add.reduceat(ordered["count"], starts)
    filled: Histograms = summed[summed["count"] != 0]
    return filled


def added(parts: Iterable[Histograms]) -> Histograms:
    """The sum of any number of sparse histograms."""
    present = [part for part in parts if len(part)]
    return grouped(np.concatenate(present)) if present else empty()


def subtracted(whole: Histograms, part: Histograms) -> Histograms:
    """``whole`` - ``part``. Raises ValueError where the part counts more than the whole."""
    negative = part.copy()
    negative["count"] = -part["count"]
    rest = added((whole, negative))
    if len(rest) and int(rest["count"].min()) < 0:
        worst = rest[np.argmin(rest["count"])]
        raise ValueError(
            f"a part's histogram exceeds the whole's by {-int(worst['count'])} in second {int(worst['second'])}, "
            f"operation {int(worst['operation'])}, bucket {int(worst['bucket'])}"
        )
    return rest


def of(rows: Histograms, time: int, operation: int | None = None) -> tuple[Int64s, Int64s]:
    """One time's histogram over all seconds, of one operation or of all.

    Returns (buckets int64[n] ascending and distinct, counts int64[n]).
    """
    chosen = rows["time"] == time
    if operation is not None:
        chosen &= rows["operation"] == operation
    buckets, inverse = np.unique(rows["bucket"][chosen], return_inverse=True)
    counts = np.zeros(len(buckets), dtype=np.int64)
    np.add.at(counts, inverse, rows["count"][chosen])
    return buckets.astype(np.int64), counts
