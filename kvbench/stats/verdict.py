"""What limited a run: the load generator, the schedule, or the server."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kvbench.ops.errors import ErrorCode
from kvbench.ops.results import PhaseResult, ThreadUse

GENERATOR_BOUND = "generator-bound"
PACED = "paced"
SERVER_BOUND = "server-bound"
UNKNOWN = "unknown"

BLOCKED_SHARE_MIN = 0.10
"""A load thread that waits for events less than this share of its wall time had no time to spare."""
COMPLETED_SHARE_MIN = 0.999
"""Paced: this share of the due requests was sent, and answered as asked (a compare that failed is such an answer)."""
LATE_SHARE_MAX = 0.01
"""Paced: at most this share of the due requests was answered after the last second that had requests due ..."""
LATE_S_MAX = 0.1
"""... or what falls due in this time at the last rate, if that is more (short phases)."""


@dataclass(frozen=True)
class Verdict:
    """One of the names above, and the reason in a sentence's words."""

    name: str
    reason: str


def blocked_share(thread: ThreadUse) -> float:
    """Share of a load thread's wall time spent waiting for events; 1.0 for a thread that never ran."""
    return thread.blocked_ns / thread.wall_ns if thread.wall_ns > 0 else 1.0


def busiest(threads: Sequence[ThreadUse]) -> float | None:
    """The smallest share of wall time that any load thread waited; None when no thread was watched."""
    return min((blocked_share(thread) for thread in threads), default=None)


def of_phase(result: PhaseResult, open_loop: bool) -> Verdict:
    """The verdict of one phase.

    ``generator-bound``: a load thread waited for events less than 10 % of its wall time. ``paced``: open loop, the cap
    on requests in flight never reached, 99.9 % of the due requests sent and answered as asked, and at most 1 % of them
    answered after the schedule's end (0.1 s' worth if that is more): a backlog at the end means the rate was not held.
    A compare that failed is an answer: contention is what such a workload is about, not a server that lags. Else
    ``server-bound``. ``unknown``: no thread was watched, so the generator cannot be ruled out.
    """
    waited = busiest(result.threads)
    if waited is None:
        return Verdict(UNKNOWN, "no load thread's use of time was recorded, so the generator cannot be ruled out")
    if waited < BLOCKED_SHARE_MIN:
        return Verdict(GENERATOR_BOUND, f"a load thread waited for the server only {100 * waited:.1f} % of its time")
    if not open_loop:
        return Verdict(SERVER_BOUND, f"each load thread waited for the server {100 * waited:.0f} % of its time or more")
    lacking = _what_pace_lacks(result)
    if lacking:
        return Verdict(SERVER_BOUND, f"the server did not keep the offered rate: {lacking}")
    return Verdict(PACED, "all due requests were sent and completed at the offered rate")


def _what_pace_lacks(result: PhaseResult) -> str:
    """Why an open loop did not hold its rate; empty when it did."""
    requests = request_columns(result.operations)
    offered = _per_second(result.offered, requests)
    total = int(offered.sum())
    if total == 0:
        return "no request was due"
    if result.cap_reached:
        return f"{result.cap_reached:,} requests had to wait for the cap of {result.in_flight_cap:,} in flight"
    sent = int(_per_second(result.sent, requests).sum())
    if sent < COMPLETED_SHARE_MIN * total:
        return f"{total - sent:,} of {total:,} due requests were never sent"
    completed = _per_second(result.completed + result.errors[:, :, ErrorCode.COMPARE_FAILED], requests)
    if completed.sum() < COMPLETED_SHARE_MIN * total:
        return f"{total - int(completed.sum()):,} of {total:,} due requests did not succeed"
    last = int(np.flatnonzero(offered)[-1])
    late = int(completed[last + 1 :].sum())
    rate = int(offered[max(0, last - 1) : last + 1].max())
    if late > max(LATE_SHARE_MAX * total, LATE_S_MAX * rate):
        return f"{late:,} of {total:,} requests were answered only after the schedule's end"
    return ""


def request_columns(operations: Sequence[str]) -> npt.NDArray[np.intp]:
    """Positions of the operations that are requests; a watch's events are none: nobody waits to send the next one."""
    return np.array([i for i, name in enumerate(operations) if name != "watch"], dtype=np.intp)


def _per_second(counts: npt.NDArray[np.int64], columns: npt.NDArray[np.intp]) -> npt.NDArray[np.int64]:
    summed: npt.NDArray[np.int64] = counts[:, columns].sum(axis=1)
    return summed
