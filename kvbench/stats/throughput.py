"""Seconds without progress, and whether throughput, response time and clients fit together."""

import numpy as np
import numpy.typing as npt

SECOND_NS = 1_000_000_000


def whole_seconds(duration_ns: int) -> int:
    """Seconds that the phase lasted in full; 1 for a phase shorter than a second, so that it has one to look at."""
    return max(1, duration_ns // SECOND_NS)


def zero_seconds(completed: npt.NDArray[np.int64], duration_ns: int) -> tuple[int, int]:
    """(seconds without a success, the longest row of such seconds) among the phase's whole seconds.

    ``completed`` is int64[seconds], successes by second; seconds after its end count as 0. The last, partial second is
    left out: it would turn every phase that ends early in a second into a stall.
    """
    seconds = whole_seconds(duration_ns)
    progress = np.zeros(seconds, dtype=bool)
    known = min(seconds, len(completed))
    progress[:known] = completed[:known] > 0
    edges = np.flatnonzero(np.concatenate(([True], progress, [True])))
    return int(seconds - progress.sum()), int(np.diff(edges).max() - 1)


def in_flight_mean(response_time_sum_ns: float, duration_ns: int) -> float:
    """The mean number of requests in the system, from their response times (Little's law, L = lambda W)."""
    return response_time_sum_ns / duration_ns if duration_ns > 0 else 0.0


def littles_law_ratio(in_flight: float, throughput_ops_s: float, think_time_s: float, clients: int) -> float | None:
    """Closed loop: throughput x (mean response time + think time) / clients.

    Near 1 when every client always waits for an answer or thinks, as it should; clearly less means that clients sat
    idle unseen, more that times were counted twice. None without clients.
    """
    if clients <= 0:
        return None
    return (in_flight + throughput_ops_s * think_time_s) / clients
