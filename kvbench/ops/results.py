"""What one phase of load leaves behind, as plain arrays keyed by seconds since the common start.

Both engines fill it; merging two shares, threads or machines is addition. ``load`` produces it, ``artifact`` stores
it, and neither knows the other.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

WAIT, SERVICE, RESPONSE, ERROR = 0, 1, 2, 3
"""Which time a histogram is of. ERROR is the response time of operations that failed."""
TIME_NAMES = ("wait", "service", "response", "error")

HISTOGRAM_COUNT = np.dtype(
    [
        ("second", np.int32),  # of completion, since the phase's start
        ("operation", np.int16),  # position in ``operations``
        ("time", np.int16),  # WAIT, SERVICE, RESPONSE or ERROR
        ("bucket", np.int32),  # rt.histogram's bucket number
        ("count", np.int64),
    ],
    align=True,
)
"""One non-empty bucket of one second's histogram of one time of one operation."""


@dataclass(frozen=True)
class ThreadUse:
    """What one load thread did with its wall time during a phase, from /proc/self/task/TID/schedstat."""

    wall_ns: int
    cpu_ns: int
    run_delay_ns: int
    """Ready to run, but waiting for a core."""
    send_lag_ns_max: int = 0

    @property
    def blocked_ns(self) -> int:
        """Time spent waiting for events: wall - CPU - run delay."""
        return max(0, self.wall_ns - self.cpu_ns - self.run_delay_ns)


@dataclass
class PhaseResult:
    """Counts and histograms of one phase. Axis 0 is the second since ``start_ns``, axis 1 the operation."""

    phase: str
    operations: tuple[str, ...]
    start_ns: int
    """CLOCK_MONOTONIC at the first due time."""
    duration_ns: int
    """From ``start_ns`` to the last answer (or the end of the schedule, if later)."""
    offered: npt.NDArray[np.int64]
    """int64[seconds, operations]: requests by the second they were scheduled in."""
    sent: npt.NDArray[np.int64]
    """int64[seconds, operations]: by the second they were first sent in."""
    completed: npt.NDArray[np.int64]
    """int64[seconds, operations]: successes, by the second their answer came in."""
    errors: npt.NDArray[np.int64]
    """int64[seconds, operations, ERROR_CODES]: failures, by second of failing and ops.errors.ErrorCode."""
    histograms: npt.NDArray[np.void]
    """HISTOGRAM_COUNT[...], sorted by (second, operation, time, bucket)."""
    threads: list[ThreadUse] = field(default_factory=list)
    in_flight_cap: int = 0
    """The most requests that could be in flight at once."""
    in_flight_max: int = 0
    """The most that were."""
    cap_reached: int = 0
    """How many requests were due but had to wait because the cap was reached."""
    clipped: int = 0
    """Values beyond the histograms' range (an hour), recorded as the range's end."""
    seconds_merged: int = 0
    """Seconds whose histograms stand in the rows of an earlier second, because nobody fetched that one's in time."""
    second_tries: int = 0
    """Operations that took more than one request (ZooKeeper: put fell back from create to setData or back)."""
    missing: int = 0
    """Reads and deletes that found no key; they count as completed."""
    reconnects: int = 0
    keys_touched: int = 0
    """Distinct keys written, where the engine counts them; else 0."""
    cpu_ns: int = 0
    """User + system of the whole kvbench process over the phase."""
    bytes_sent: int = 0
    bytes_received: int = 0
    end_reason: str = "count"
    """"count", "duration", "interrupted" or "failed"."""
    error_text: str = ""
    """The last status and message with which a server refused a request; empty: none did, or the engine keeps none."""
