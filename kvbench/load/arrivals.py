"""When requests are due in an open loop: pure functions of seed, index and the previous due time.

A schedule is a rate over time, r(t), made of stretches in each of which it is constant or changes linearly. Request i
is due when the integral of the rate has come to i: at inf {t : R(t) > i} with R(t) = integral of r from 0 to t. So no
error adds up, a window's number of requests is the rate's integral over it, and a rate of 0 is a pause. After its last
stretch a schedule goes on at the last stretch's final rate (at 0: never); a phase ends it by count
or duration.

Poisson arrivals are the exception: their gaps are exponential, so each due time is the previous one plus a gap that
depends on seed and index alone.

A share i of n sends the requests whose index is i modulo n. All shares compute the same due times: where these depend
on the index alone a share skips the others' indexes, and for Poisson it walks through them (``share_due_ns`` does
either).
"""

import math
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from kvbench.jit import kernel
from kvbench.load import streams
from kvbench.load.plan import Phase
from kvbench.load.records import NEVER_NS
from kvbench.rt import rng


class Arrival(IntEnum):
    """How due times follow from a schedule's stretches."""

    CLOSED = 0
    """Not scheduled here: a request is due when its client is free."""
    SCHEDULE = 1
    """Due when the integral of the rate comes to the index: constant, ramp, steps."""
    POISSON = 2


CLOSED, SCHEDULE, POISSON = int(Arrival.CLOSED), int(Arrival.SCHEDULE), int(Arrival.POISSON)

ARRIVAL = np.dtype(
    [
        ("kind", np.int64),  # Arrival, the same in every stretch
        ("key", np.int64),  # key of the random stream, the same in every stretch
        ("start_ns", np.float64),  # when the stretch begins, since the phase's start
        ("length_ns", np.float64),  # infinite for the last one
        ("index", np.float64),  # integral of the rate up to the stretch's beginning
        ("rate_ops_s", np.float64),  # at its beginning
        ("slope", np.float64),  # change of the rate, requests/s per s
    ],
    align=True,
)
"""One stretch of a schedule. A schedule is an ARRIVAL[n], n >= 1, in order of time."""


def new_arrival(phase: Phase, seed: int) -> npt.NDArray[np.void]:
    """The schedule of ``phase`` as ARRIVAL[n]: one stretch for constant and Poisson, one more than a ramp or the steps.

    Raises ValueError for an unknown kind, a wrong number of rates, a rate that is negative or 0 where it may not be,
    and for a ramp or steps without duration.
    """
    rates = phase.rates_ops_s
    _check(phase)
    if phase.arrival == "closed":
        return _stretches(CLOSED, seed, [(math.inf, 0.0, 0.0)])
    if phase.arrival == "constant":
        return _stretches(SCHEDULE, seed, [(math.inf, rates[0], rates[0])])
    if phase.arrival == "poisson":
        return _stretches(POISSON, seed, [(math.inf, rates[0], rates[0])])
    if phase.arrival == "ramp":
        return _stretches(SCHEDULE, seed, [(phase.duration_s, rates[0], rates[1]), (math.inf, rates[1], rates[1])])
    each_s = phase.duration_s / len(rates)
    steps = [(each_s, rate, rate) for rate in rates]
    return _stretches(SCHEDULE, seed, [*steps, (math.inf, rates[-1], rates[-1])])


def _check(phase: Phase) -> None:
    wanted = {"closed": None, "constant": 1, "poisson": 1, "ramp": 2, "steps": None}
    name, rates = phase.arrival, phase.rates_ops_s
    if name not in wanted:
        raise ValueError(f"phase {phase.name!r}: unknown arrival {name!r}; use one of {', '.join(wanted)}")
    if wanted[name] is not None and len(rates) != wanted[name]:
        raise ValueError(f"phase {phase.name!r}: arrival {name!r} takes {wanted[name]} rates, not {len(rates)}")
    if name == "steps" and not rates:
        raise ValueError(f"phase {phase.name!r}: arrival 'steps' takes at least one rate")
    if any(not (0 <= rate < 1e9) for rate in rates):
        raise ValueError(f"phase {phase.name!r}: a rate is at least 0 and below 1e9 requests/s, not {list(rates)}")
    if (name in ("constant", "poisson") and rates[0] == 0) or (name == "ramp" and max(rates) == 0):
        raise ValueError(f"phase {phase.name!r}: a rate of 0 never sends anything; give a rate above 0")
    if name in ("ramp", "steps") and phase.duration_s <= 0:
        raise ValueError(f"phase {phase.name!r}: arrival {name!r} needs a duration to spread its rates over")


def _stretches(kind: int, seed: int, parts: list[tuple[float, float, float]]) -> npt.NDArray[np.void]:
    """ARRIVAL records from (length in s, first rate, last rate) of each stretch."""
    arrival = np.zeros(len(parts), ARRIVAL)
    arrival["kind"] = kind
    arrival["key"] = rng.derive(seed, streams.ARRIVALS)
    start_s = index = 0.0
    for record, (length_s, first, last) in zip(arrival, parts, strict=True):
        record["start_ns"], record["length_ns"], record["index"] = start_s * 1e9, length_s * 1e9, index
        record["rate_ops_s"] = first
        if math.isfinite(length_s):
            record["slope"] = (last - first) / length_s
            index += (first + last) / 2 * length_s
            start_s += length_s
    return arrival


@kernel
def scheduled_offset_ns(arrival: Any, index: int) -> int:
    """When request ``index`` of a schedule is due, in ns after the phase's start; NEVER_NS when it is not."""
    stretch = 0
    while stretch + 1 < len(arrival) and index >= arrival[stretch + 1]["index"]:
        stretch += 1
    record = arrival[stretch]
    wanted = index - float(record["index"])
    rate = float(record["rate_ops_s"])
    slope = float(record["slope"])
    if wanted > 0.0:
        # rate * t + slope / 2 * t**2 = wanted, in the form of the root that does not cancel
        root = rate if slope == 0.0 else math.sqrt(max(rate * rate + 2.0 * slope * wanted, 0.0))
        if rate + root <= 0.0:
            return NEVER_NS
        after = 2e9 * wanted / (rate + root)
    elif rate == 0.0 and slope == 0.0:
        return NEVER_NS
    else:
        after = 0.0
    due = float(record["start_ns"]) + min(after, float(record["length_ns"]))
    return int(due) if due < NEVER_NS else NEVER_NS


@kernel
def poisson_gap_ns(key: int, index: int, rate_ops_s: float) -> int:
    """The gap before request ``index``: exponential with mean 1 / rate, rounded to whole ns."""
    return int(-math.log(1.0 - rng.unit(key, index)) * 1e9 / rate_ops_s + 0.5)


@kernel
def next_due_ns(arrival: Any, index: int, previous_due_ns: int, start_ns: int) -> int:
    """CLOCK_MONOTONIC at which request ``index`` is due, never before that of ``index - 1``.

    ``arrival`` is ARRIVAL[n]; ``start_ns`` the phase's start; ``previous_due_ns`` the due time of ``index - 1``, or
    ``start_ns`` for index 0. Only Poisson arrivals use it.
    """
    kind = int(arrival[0]["kind"])
    if kind == SCHEDULE:
        offset = scheduled_offset_ns(arrival, index)
        return start_ns + offset if offset < NEVER_NS else NEVER_NS
    if kind == POISSON:
        return previous_due_ns + poisson_gap_ns(int(arrival[0]["key"]), index, float(arrival[0]["rate_ops_s"]))
    return previous_due_ns


@kernel
def share_due_ns(arrival: Any, previous_index: int, index: int, previous_due_ns: int, start_ns: int) -> int:
    """As ``next_due_ns``, for a caller whose last request was ``previous_index`` (-1 and ``start_ns`` at first)."""
    if int(arrival[0]["kind"]) != POISSON:
        return next_due_ns(arrival, index, previous_due_ns, start_ns)
    due = previous_due_ns
    for i in range(previous_index + 1, index + 1):
        due = next_due_ns(arrival, i, due, start_ns)
    return due
