"""Adding up what shares of one phase left: threads of a process, machines, or the parts that became final in turn."""

import numpy as np
import numpy.typing as npt

from kvbench.load.records import END_REASONS
from kvbench.ops.results import PhaseResult
from kvbench.stats import histograms


def add(a: PhaseResult, b: PhaseResult) -> PhaseResult:
    """The result of two shares of one phase as if one had run it. Exact for every count and histogram.

    Associative, and commutative but for the order of ``threads``. Arrays are padded to the longer number of seconds;
    histograms are summed bucket by bucket; ``duration_ns`` is the longer. All counters and ``cpu_ns`` are sums.
    ``in_flight_cap`` is a sum too: shares have slots of their own; so is ``in_flight_max``, which makes it an upper
    bound (the shares' maxima need not have met). ``keys_touched`` is a sum: a share counts only keys that no other
    share counts, or nothing. A part of a share carries what happened since the last part, so what belongs to the whole
    (threads, caps, maxima, CPU) stands in one of them. A phase that failed in one share failed. Of two error texts one
    stays, the same one in either order.

    Raises ValueError when the two are not shares of the same phase.
    """
    for name in ("phase", "operations", "start_ns"):
        if getattr(a, name) != getattr(b, name):
            raise ValueError(
                f"cannot add results of different phases: {name} is {getattr(a, name)!r} in one and "
                f"{getattr(b, name)!r} in the other"
            )
    return PhaseResult(
        phase=a.phase,
        operations=a.operations,
        start_ns=a.start_ns,
        duration_ns=max(a.duration_ns, b.duration_ns),
        offered=_padded_sum(a.offered, b.offered),
        sent=_padded_sum(a.sent, b.sent),
        completed=_padded_sum(a.completed, b.completed),
        errors=_padded_sum(a.errors, b.errors),
        histograms=histograms.added((a.histograms, b.histograms)),
        threads=[*a.threads, *b.threads],
        in_flight_cap=a.in_flight_cap + b.in_flight_cap,
        in_flight_max=a.in_flight_max + b.in_flight_max,
        cap_reached=a.cap_reached + b.cap_reached,
        clipped=a.clipped + b.clipped,
        seconds_merged=a.seconds_merged + b.seconds_merged,
        second_tries=a.second_tries + b.second_tries,
        missing=a.missing + b.missing,
        reconnects=a.reconnects + b.reconnects,
        keys_touched=a.keys_touched + b.keys_touched,
        cpu_ns=a.cpu_ns + b.cpu_ns,
        bytes_sent=a.bytes_sent + b.bytes_sent,
        bytes_received=a.bytes_received + b.bytes_received,
        end_reason=max(a.end_reason, b.end_reason, key=END_REASONS.index),
        error_text=max(a.error_text, b.error_text),
    )


def _padded_sum(a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """a + b along axis 0, the shorter one followed by zeros."""
    longer, shorter = (a, b) if len(a) >= len(b) else (b, a)
    total = longer.astype(np.int64, copy=True)
    total[: len(shorter)] += shorter
    return total
