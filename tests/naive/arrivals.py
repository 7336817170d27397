"""A schedule's rate and its integral in exact fractions of a request, and due times found by bisection."""

import math
from fractions import Fraction
from itertools import islice

from kvbench.load.plan import Phase
from tests.naive.rng import splitmix64

SECOND_NS = 1_000_000_000


def stretches(phase: Phase) -> list[tuple[Fraction, Fraction, Fraction]]:
    """(length in ns, rate at the beginning, rate at the end) of each stretch before the rate stays as it is."""
    rates = [Fraction(rate) / SECOND_NS for rate in phase.rates_ops_s]
    duration = Fraction(phase.duration_s) * SECOND_NS
    if phase.arrival == "ramp":
        return [(duration, rates[0], rates[1])]
    if phase.arrival == "steps":
        return [(duration / len(rates), rate, rate) for rate in rates]
    return []


def integral(phase: Phase, until_ns: int) -> Fraction:
    """Requests that the rate amounts to from 0 to ``until_ns``."""
    total, left = Fraction(0), Fraction(until_ns)
    for length, first, last in stretches(phase):
        part = min(left, length)
        total += part * (first + (first + (last - first) * part / length)) / 2
        left -= part
        if left == 0:
            return total
    return total + left * Fraction(phase.rates_ops_s[-1]) / SECOND_NS


def due_ns(phase: Phase, index: int, latest_ns: int) -> int:
    """The last whole nanosecond up to ``latest_ns`` at which the integral has not yet passed ``index``."""
    low, high = 0, latest_ns
    while low < high:
        middle = (low + high + 1) // 2
        if integral(phase, middle) <= index:
            low = middle
        else:
            high = middle - 1
    return low


def poisson_gap_ns(key: int, index: int, rate_ops_s: float) -> int:
    """An exponential gap, by inversion of the ``index``-th number of the stream ``key``."""
    number = next(islice(splitmix64(key), index, None)) >> 11
    return math.floor(-math.log(1 - number / (1 << 53)) * 1e9 / rate_ops_s + 0.5)
