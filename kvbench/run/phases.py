"""One phase of load: watched while it runs, ended early when something is wrong, written down second by second."""

import time
from collections import deque
from dataclasses import dataclass, replace

from kvbench.artifact.errors import ArtifactError
from kvbench.artifact.writer import Writer
from kvbench.load.plan import Phase
from kvbench.load.protocol import LoadEngine, Progress
from kvbench.measure.sampler import Sampler
from kvbench.ops.results import RESPONSE, PhaseResult
from kvbench.run.interrupt import Interruption
from kvbench.run.request import Display, ExitCode, PhaseView, RunFailure
from kvbench.stats import histograms, percentiles, verdict
from kvbench.targets.running import RunningTarget

POLL_S = 0.1
LOOK_AT_SERVERS_EVERY = 5
"""Polls between two looks at the servers' processes."""
STILL_S_MIN = 60.0
"""A phase without one success for so long (or three time-outs of its requests, if that is longer) has lost its server:
without an end of its own, as one that ends by count, it would go on for hours."""
DRAIN_S = 3.0
"""Patience with answers under way once a phase is ended because a server died: some will never come."""


@dataclass
class PhaseLoop:
    """Carries out phases of one run."""

    engine: LoadEngine
    writer: Writer
    sampler: Sampler
    target: RunningTarget
    label: str
    display: Display
    interruption: Interruption
    timeout_s: float
    """Of the plan's requests."""

    def carry_out(self, phase: Phase) -> PhaseResult:
        """Run one phase and write its result, whole or cut short. Raises RunFailure when it was cut short.

        Whatever ended it, what it had is in the artifact before this raises (unless the artifact's disk is full).
        """
        watch = _Watch(self, phase)
        view = PhaseView(self.label, phase.name, phase.duration_s, phase.count)
        recent: deque[tuple[float, int]] = deque(maxlen=round(1 / POLL_S) + 1)
        with self.interruption.shielded():
            self.writer.phase_started(phase.name, measured=phase.measured, arrival=phase.arrival)
            self.engine.start_phase(phase)
            while self.engine.running():
                time.sleep(POLL_S)
                progress, part = self.engine.poll()
                watch.keep(part)
                watch.look(progress)
                recent.append((progress.elapsed_s, progress.completed))
                _update(view, progress, part, recent)
                self.display.update(view)
            result = self.engine.finish_phase()
            if watch.failure is not None:
                ended = "interrupted" if watch.failure.code == ExitCode.INTERRUPTED else "failed"
                result = replace(result, end_reason=ended)
            watch.finish(result)
        _final(view, result)
        self.display.phase_done(view)
        if watch.failure is not None:
            raise watch.failure
        return result


class _Watch:
    """Looks for reasons to end a phase early, and ends it."""

    def __init__(self, loop: PhaseLoop, phase: Phase) -> None:
        self.loop = loop
        self.phase = phase
        self.failure: RunFailure | None = None
        self._polls = 0
        self._ended_at = 0.0
        self._hurried = False
        self._disk_full = False
        self._completed = 0
        self._alive_at = time.monotonic()

    def keep(self, part: PhaseResult | None) -> None:
        """Write what became final; a disk that is full ends the phase."""
        if part is None or self._disk_full:
            return
        try:
            self.loop.writer.interval(part)
        except ArtifactError as error:
            self._cannot_write(error)

    def finish(self, result: PhaseResult) -> None:
        """Write the phase's whole result."""
        if self._disk_full:
            return
        try:
            self.loop.writer.phase_finished(result)
        except ArtifactError as error:
            self._cannot_write(error)

    def _cannot_write(self, error: ArtifactError) -> None:
        self._disk_full = True
        self.end(RunFailure(ExitCode.INVALID_RUN, error.what, error.remedy))

    def look(self, progress: Progress) -> None:
        """Once per poll: interruptions, dead servers, a sampler that failed."""
        self._polls += 1
        if self.loop.interruption.count and self.failure is None:
            self.loop.display.say("interrupted: waiting for the answers under way (once more: do not wait)")
            self.end(RunFailure(ExitCode.INTERRUPTED, f"interrupted in phase {self.phase.name}"))
        if self._polls % LOOK_AT_SERVERS_EVERY == 0 and self.failure is None:
            self._look_at_servers(progress)
        if self.failure is None:
            self._look_for_successes(progress)
        failed = self.loop.sampler.failure
        if isinstance(failed, ArtifactError) and not self._disk_full:
            self._cannot_write(failed)
        self._hurry_if_due()

    def _look_at_servers(self, progress: Progress) -> None:
        dead = self.loop.target.dead_members()
        if not dead:
            return
        names = ", ".join(f"{member.name} ({self.loop.target.how_ended(member)})" for member in dead)
        self.loop.writer.event("member_died", members=[member.name for member in dead], phase=self.phase.name)
        self.end(
            RunFailure(
                ExitCode.TARGET_FAILED,
                f"{self.loop.label}: member {names} ended by itself after {progress.elapsed_s:.1f} s of phase"
                f" {self.phase.name}",
                "see its log below; the results so far are kept",
                self.loop.target.log_tail(members=dead),
            )
        )

    def _look_for_successes(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.completed > self._completed or not progress.in_flight:
            self._completed, self._alive_at = progress.completed, now
        still_s = now - self._alive_at
        if still_s > max(STILL_S_MIN, 3.0 * self.loop.timeout_s):
            self.end(
                RunFailure(
                    ExitCode.TARGET_FAILED,
                    f"{self.loop.label}: no request succeeded for {still_s:.0f} s of phase {self.phase.name}",
                    "see the errors; the results so far are kept",
                    self.loop.target.log_tail(),
                )
            )

    def end(self, failure: RunFailure) -> None:
        """Stop the phase; of several reasons the first one counts."""
        if self.failure is None:
            self.failure = failure
            self._ended_at = time.monotonic()
            self.loop.engine.stop_phase()

    def _hurry_if_due(self) -> None:
        if self.failure is None or self._hurried:
            return
        interrupted = self.failure.code == ExitCode.INTERRUPTED
        if (interrupted and self.loop.interruption.count > 1) or (
            not interrupted and time.monotonic() - self._ended_at > DRAIN_S
        ):
            self._hurried = True
            self.loop.engine.stop_phase()


def _update(view: PhaseView, progress: Progress, part: PhaseResult | None, recent: deque[tuple[float, int]]) -> None:
    view.elapsed_s, view.completed, view.errors = progress.elapsed_s, progress.completed, progress.errors
    view.in_flight = progress.in_flight
    (first_s, first), (last_s, last) = recent[0], recent[-1]
    if last_s > first_s:
        view.rate_ops_s = (last - first) / (last_s - first_s)
    if part is not None and len(part.histograms):
        newest = part.histograms[part.histograms["second"] == part.histograms["second"].max()]
        _set_percentiles(view, newest)


def _set_percentiles(view: PhaseView, rows: histograms.Histograms) -> None:
    buckets, counts = histograms.of(rows, RESPONSE)
    if len(buckets):
        view.p50_ns = percentiles.value_at(buckets, counts, 500_000)
        view.p99_ns = percentiles.value_at(buckets, counts, 990_000)


def _final(view: PhaseView, result: PhaseResult) -> None:
    view.elapsed_s = result.duration_ns / 1e9
    requests = verdict.request_columns(result.operations)
    view.completed, view.errors = int(result.completed[:, requests].sum()), int(result.errors.sum())
    view.rate_ops_s = view.completed / view.elapsed_s if view.elapsed_s else 0.0
    view.p50_ns = view.p99_ns = None
    _set_percentiles(view, result.histograms)
