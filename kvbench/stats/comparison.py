"""Medians of rounds, and the ratio of two targets measured in the same rounds with its bootstrap interval.

The replicate is a run with fresh servers, never a request; rounds are paired, so that a machine that drifts moves both
sides of a pair alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000
CONFIDENCE = 0.95
PAIRS_MIN = 3
"""Fewer pairs give no interval: a bootstrap of two values only repeats them."""


@dataclass(frozen=True)
class Rounds:
    """One figure over several rounds."""

    median: float
    least: float
    most: float
    count: int


@dataclass(frozen=True)
class Ratio:
    """B over A, from pairs: the geometric mean of the pairs' ratios."""

    ratio: float
    low: float | None
    high: float | None
    pairs: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval is known and excludes 1."""
        return self.low is not None and self.high is not None and (self.low > 1.0 or self.high < 1.0)


def median_of_rounds(values: Sequence[float]) -> Rounds:
    """The median and range of one value per round. Raises ValueError for no values."""
    if len(values) == 0:
        raise ValueError("a median needs at least one round")
    array = np.asarray(values, dtype=np.float64)
    return Rounds(float(np.median(array)), float(array.min()), float(array.max()), len(array))


def paired_ratio(a: Sequence[float], b: Sequence[float], seed: int = 1) -> Ratio:
    """How many times ``b`` is ``a``, the n-th of one paired with the n-th of the other.

    The interval is the percentile bootstrap over pairs (Efron and Tibshirani 1993, ch. 13) of the mean log ratio, 95 %,
    10,000 resamples, a pure function of the values and ``seed``; None with fewer than 3 pairs. Raises ValueError for
    unequal lengths, no pairs, or values that are not positive and finite.
    """
    if len(a) != len(b) or len(a) == 0:
        raise ValueError(f"pairs need as many values on both sides, not {len(a)} and {len(b)}")
    left, right = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if not (np.isfinite(left).all() and np.isfinite(right).all() and (left > 0).all() and (right > 0).all()):
        raise ValueError("ratios need positive, finite values")
    logs = np.log(right) - np.log(left)
    centre = float(np.exp(logs.mean()))
    if len(logs) < PAIRS_MIN:
        return Ratio(centre, None, None, len(logs))
    chosen = np.random.default_rng(seed).integers(0, len(logs), size=(RESAMPLES, len(logs)))
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.exp(np.quantile(logs[chosen].mean(axis=1), (tail, 1.0 - tail)))
    return Ratio(centre, float(low), float(high), len(logs))
