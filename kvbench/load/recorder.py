"""Counts and histograms of a phase, written by a load thread and read by Python while it runs, without locks.

Each second of completions has histograms of its own in a *slot*; whole-run totals are sums of seconds, so a request
costs three increments. The load thread fills one slot at a time. When a second is over it hands the slot to Python
(``PUBLISHED``) and goes on with a free one; Python turns it into rows, clears it and gives it back (``FREE``). As the
first free slot is taken, two of them alternate while Python keeps up, and their memory stays in the cache.

When Python is so late that no slot is free, the thread goes on with the slot that it has: nothing is lost and nobody
waits, but several seconds share one second's histograms, and the result says over how many seconds that happened
(``PhaseResult.seconds_merged``). Counters per second are plain arrays over the whole phase and stay exact. (A request
may be counted as offered in a second long gone: in an open loop by the second that it was scheduled in.)
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kvbench.jit import kernel
from kvbench.load.records import NEVER_NS
from kvbench.ops.errors import ERROR_CODES
from kvbench.ops.results import ERROR, HISTOGRAM_COUNT, RESPONSE, SERVICE, WAIT, PhaseResult
from kvbench.rt import atomics, histogram
from kvbench.rt.histogram import BUCKETS, HIGHEST_NS

TIMES = 4
"""Histograms of an operation: wait, service, response, error."""
SECOND_NS = 1_000_000_000
SECONDS_MAX = 86_400
"""Rows for a phase without a duration: a day. What comes later is counted in the last row."""
SLOTS_MAX = 16
SLOTS_BYTES_MAX = 96 << 20

FREE, OPEN, PUBLISHED = 0, 1, 2
"""What a slot is: Python gives (FREE), the load thread fills (OPEN) and hands over (PUBLISHED)."""

# Positions in Recorder.state
START_NS = 0
"""CLOCK_MONOTONIC at second 0."""
SECOND = 1
"""The current second: completions are counted in it."""
NEXT_NS = 2
"""When it is over."""
SLOT = 3
"""The slot that is open."""
FINAL = 4
"""Shared: seconds before this one are complete, with their histograms in published slots."""
CLIPPED = 5
"""Values beyond the histograms' range."""
LAST_NS = 6
"""When the last answer or failure came."""
FAILED = 7
"""Failures so far."""
STATE = 8


class Recorder(NamedTuple):
    """What kernels write. ``n`` operations, ``r`` slots."""

    state: npt.NDArray[np.int64]
    """int64[STATE]"""
    slots: npt.NDArray[np.int64]
    """int64[r]: FREE, OPEN or PUBLISHED (shared)"""
    firsts: npt.NDArray[np.int64]
    """int64[r]: first second in the slot"""
    lasts: npt.NDArray[np.int64]
    """int64[r]: last second in the slot, the same unless Python was late"""
    counts: npt.NDArray[np.int32]
    """int32[r * n * TIMES * BUCKETS]"""
    offered: npt.NDArray[np.int64]
    """int64[seconds, n]"""
    sent: npt.NDArray[np.int64]
    """int64[seconds, n]"""
    completed: npt.NDArray[np.int64]
    """int64[seconds, n]"""
    errors: npt.NDArray[np.int64]
    """int64[seconds, n * ERROR_CODES]"""


def new_recorder(operations: int, start_ns: int, longest_s: float = 0.0, slots: int = 0) -> Recorder:
    """A recorder of ``operations`` operations whose second 0 begins at ``start_ns`` (CLOCK_MONOTONIC).

    ``longest_s`` is how long the phase can last, time-outs included; 0: unknown, a day. ``slots`` is for how many
    seconds Python may be late (at least 1); 0: as many as fit into 96 MiB, at most 16. Memory that is never written
    is never taken.
    """
    slot_bytes = operations * TIMES * BUCKETS * 4
    slots = slots or max(2, min(SLOTS_MAX, SLOTS_BYTES_MAX // slot_bytes))
    seconds = int(longest_s) + 2 if longest_s > 0 else SECONDS_MAX
    recorder = Recorder(
        state=np.zeros(STATE, np.int64),
        slots=np.zeros(slots, np.int64),
        firsts=np.zeros(slots, np.int64),
        lasts=np.zeros(slots, np.int64),
        counts=np.zeros(slots * slot_bytes // 4, np.int32),
        offered=np.zeros((seconds, operations), np.int64),
        sent=np.zeros((seconds, operations), np.int64),
        completed=np.zeros((seconds, operations), np.int64),
        errors=np.zeros((seconds, operations * ERROR_CODES), np.int64),
    )
    begin(recorder, start_ns)
    return recorder


@kernel
def begin(recorder: Any, start_ns: int) -> None:
    """Set the start of second 0; only before anything is recorded."""
    state = recorder.state
    state[START_NS] = start_ns
    state[LAST_NS] = start_ns
    state[NEXT_NS] = start_ns + SECOND_NS
    recorder.slots[0] = OPEN


@kernel
def row_of(recorder: Any, at_ns: int) -> int:
    """The row of the second that a time is in: the first for times before the start, the last for those beyond."""
    return min(max(at_ns - int(recorder.state[START_NS]), 0) // SECOND_NS, len(recorder.offered) - 1)


@kernel
def roll(recorder: Any, now: int) -> None:
    """Tell the time: call it before the records of an iteration. Hands over the slot of a second that is over."""
    if now >= recorder.state[NEXT_NS]:
        next_second(recorder, (now - recorder.state[START_NS]) // SECOND_NS)


@kernel
def next_second(recorder: Any, second: int) -> None:
    """Make ``second`` the current one: hand over the open slot and take a free one, or keep it when none is free."""
    state = recorder.state
    if second >= len(recorder.completed):
        state[NEXT_NS] = NEVER_NS
        second = len(recorder.completed) - 1
        if second == state[SECOND]:
            return
    else:
        state[NEXT_NS] = state[START_NS] + (second + 1) * SECOND_NS
    state[SECOND] = second
    for slot in range(len(recorder.slots)):
        if atomics.load(recorder.slots, slot) == FREE:
            recorder.firsts[slot] = second
            recorder.lasts[slot] = second
            recorder.slots[slot] = OPEN
            atomics.store(recorder.slots, state[SLOT], PUBLISHED)
            state[SLOT] = slot
            atomics.store(state, FINAL, second)
            return
    recorder.lasts[state[SLOT]] = second


@kernel
def finish(recorder: Any, now: int) -> None:
    """The phase is over: hand over what is open. Nothing may be recorded afterwards."""
    roll(recorder, now)
    state = recorder.state
    slot = int(state[SLOT])
    atomics.store(recorder.slots, slot, PUBLISHED)
    atomics.store(state, FINAL, int(recorder.lasts[slot]) + 1)


@kernel
def offered(recorder: Any, operation: int, scheduled_ns: int) -> None:
    """A request was scheduled; counted in the second of ``scheduled_ns``, however long ago that is."""
    recorder.offered[row_of(recorder, scheduled_ns), operation] += 1


@kernel
def sent(recorder: Any, operation: int) -> None:
    """A request was sent for the first time, in the current second."""
    recorder.sent[recorder.state[SECOND], operation] += 1


@kernel
def record(recorder: Any, operation: int, scheduled_ns: int, sent_ns: int, received_ns: int) -> None:
    """An operation succeeded: counted in the current second, its three times in the second's histograms.

    The times are CLOCK_MONOTONIC with scheduled_ns <= sent_ns <= received_ns.
    """
    state = recorder.state
    operations = recorder.completed.shape[1]
    at = (state[SLOT] * operations + operation) * (TIMES * BUCKETS)
    wait, service, response = sent_ns - scheduled_ns, received_ns - sent_ns, received_ns - scheduled_ns
    if (wait | service) >= 0 and response <= HIGHEST_NS:
        recorder.counts[at + WAIT * BUCKETS + histogram.bucket_of(wait)] += 1
        recorder.counts[at + SERVICE * BUCKETS + histogram.bucket_of(service)] += 1
        recorder.counts[at + RESPONSE * BUCKETS + histogram.bucket_of(response)] += 1
    else:
        state[CLIPPED] += histogram.record(recorder.counts, at + WAIT * BUCKETS, wait)
        state[CLIPPED] += histogram.record(recorder.counts, at + SERVICE * BUCKETS, service)
        state[CLIPPED] += histogram.record(recorder.counts, at + RESPONSE * BUCKETS, response)
    recorder.completed[state[SECOND], operation] += 1
    state[LAST_NS] = received_ns


@kernel
def record_error(recorder: Any, operation: int, code: int, scheduled_ns: int, failed_ns: int) -> None:
    """An operation failed with an ErrorCode: counted in the current second, its response time in ERROR's histogram."""
    state = recorder.state
    operations = recorder.completed.shape[1]
    at = (state[SLOT] * operations + operation) * (TIMES * BUCKETS)
    state[CLIPPED] += histogram.record(recorder.counts, at + ERROR * BUCKETS, failed_ns - scheduled_ns)
    recorder.errors[state[SECOND], operation * ERROR_CODES + code] += 1
    state[FAILED] += 1
    state[LAST_NS] = failed_ns


@kernel
def collect(counts: Any, at: int, second: int, operation: int, time: int, rows: Any) -> int:
    """Turn the histogram at ``counts[at]`` into HISTOGRAM_COUNT rows and clear it. Returns how many rows."""
    found = 0
    for bucket in range(BUCKETS):
        value = counts[at + bucket]
        if value != 0:
            row = rows[found]
            row["second"] = second
            row["operation"] = operation
            row["time"] = time
            row["bucket"] = bucket
            row["count"] = value
            counts[at + bucket] = 0
            found += 1
    return found


class Drain:
    """Python's side of a recorder: takes what became final. One thread at a time may use it."""

    def __init__(self, recorder: Recorder, phase: str, operations: tuple[str, ...]) -> None:
        self._recorder = recorder
        self._phase = phase
        self._operations = operations
        self._offered = np.zeros_like(recorder.offered)
        self._final = 0
        self._clipped = 0
        self._rows = np.zeros(BUCKETS, HISTOGRAM_COUNT)

    def take(self) -> PhaseResult | None:
        """What became final since the last call (whole seconds only), or None. Slots taken are free again.

        The parts add up to the phase's result. A part has rows from second 0 on; those of seconds that an earlier
        part had are 0, unless requests were offered in them since.
        """
        recorder = self._recorder
        final = int(atomics.load(recorder.state, FINAL))
        published = [slot for slot in range(len(recorder.slots)) if atomics.load(recorder.slots, slot) == PUBLISHED]
        published = [slot for slot in published if recorder.firsts[slot] < final]
        if final == self._final and not published:
            return None
        part = self._counters(self._final, final)
        merged = 0
        histograms = []
        for slot in sorted(published, key=lambda each: int(recorder.firsts[each])):
            merged += int(recorder.lasts[slot] - recorder.firsts[slot])
            histograms += self._histograms(slot)
            atomics.store(recorder.slots, slot, FREE)
        if histograms:
            part.histograms = np.concatenate(histograms)
        part.seconds_merged = merged
        self._final = final
        return part

    def _counters(self, first: int, seconds: int) -> PhaseResult:
        """A part with the counters of seconds ``first`` to ``seconds`` and no histograms."""
        recorder, width = self._recorder, len(self._operations)
        offered_now = recorder.offered[:seconds].copy()
        errors = np.zeros((seconds, width, ERROR_CODES), np.int64)
        sent, completed = np.zeros_like(offered_now), np.zeros_like(offered_now)
        errors[first:] = recorder.errors[first:seconds].reshape(-1, width, ERROR_CODES)
        sent[first:] = recorder.sent[first:seconds]
        completed[first:] = recorder.completed[first:seconds]
        clipped = int(recorder.state[CLIPPED])
        part = PhaseResult(
            phase=self._phase,
            operations=self._operations,
            start_ns=int(recorder.state[START_NS]),
            duration_ns=int(recorder.state[LAST_NS] - recorder.state[START_NS]),
            offered=offered_now - self._offered[:seconds],
            sent=sent,
            completed=completed,
            errors=errors,
            histograms=np.zeros(0, HISTOGRAM_COUNT),
            clipped=clipped - self._clipped,
        )
        self._offered[:seconds] = offered_now
        self._clipped = clipped
        return part

    def _histograms(self, slot: int) -> list[npt.NDArray[np.void]]:
        """Rows of a published slot's histograms, which are cleared. Those that nothing was counted in are not read."""
        recorder = self._recorder
        first, last = int(recorder.firsts[slot]), int(recorder.lasts[slot])
        rows = slice(first, last + 1)
        parts = []
        for operation in range(len(self._operations)):
            codes = slice(operation * ERROR_CODES, (operation + 1) * ERROR_CODES)
            failed = bool(recorder.errors[rows, codes].any())
            succeeded = bool(recorder.completed[rows, operation].any())
            for time in range(TIMES):
                if failed if time == ERROR else succeeded:
                    at = ((slot * len(self._operations) + operation) * TIMES + time) * BUCKETS
                    found = collect(recorder.counts, at, first, operation, time, self._rows)
                    parts.append(self._rows[:found].copy())
        return parts
