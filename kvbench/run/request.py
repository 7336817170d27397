"""What a run was asked for, how it ended, and what can end it."""

from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Protocol

from kvbench.config import Workload
from kvbench.targets.spec import TargetSpec


class ExitCode(IntEnum):
    """What the process returns; scripts rely on the numbers."""

    OK = 0
    BAD_CONFIGURATION = 2
    TARGET_FAILED = 3
    INVALID_RUN = 4
    INTERNAL = 70
    """A fault of kvbench's own (EX_SOFTWARE of sysexits.h)."""
    INTERRUPTED = 130


@dataclass(frozen=True)
class Target:
    """One ``--target``."""

    text: str
    """As typed, any password in it hidden."""
    spec: TargetSpec
    label: str
    """Unique within the run; names the folder."""


@dataclass(frozen=True)
class RunRequest:
    """One ``kvbench run``, parsed and validated."""

    workload: Workload
    targets: tuple[Target, ...]
    out: Path
    repeat: int = 1
    engine: str = "fast"
    """"fast" or "grpcio"."""
    processes: int = 1
    """grpcio engine: worker processes."""
    sample_period_s: float = 1.0
    seed: int = 1
    """Of the targets' order; the n-th repeat loads with the plan's seed + n - 1, the same for every target."""
    keep_data: bool = False
    command: tuple[str, ...] = ()
    """The command line, for the manifest."""


@dataclass
class RunFailure(Exception):
    """Why a run could not go on."""

    code: ExitCode
    what: str
    remedy: str = ""
    log_tail: str = field(default="", repr=False)

    def __str__(self) -> str:
        return self.what


class Display(Protocol):
    """Where people see what goes on; never standard output."""

    def say(self, line: str) -> None:
        """One line that stays."""

    def update(self, phase: "PhaseView") -> None:
        """How a phase is getting on; called several times a second."""

    def phase_done(self, phase: "PhaseView") -> None:
        """A phase is over."""


@dataclass
class PhaseView:
    """What is shown of a phase under way."""

    target: str
    phase: str
    duration_s: float
    count: int
    elapsed_s: float = 0.0
    rate_ops_s: float = 0.0
    """Successes per second: over the last second while the phase runs, over all of it at its end."""
    completed: int = 0
    errors: int = 0
    in_flight: int = 0
    p50_ns: int | None = None
    """Response time over the last whole second; None: nothing was answered in it."""
    p99_ns: int | None = None

    @property
    def share_done(self) -> float:
        """0 to 1: by time or by count, whichever is further."""
        by_time = self.elapsed_s / self.duration_s if self.duration_s else 0.0
        by_count = (self.completed + self.errors) / self.count if self.count else 0.0
        return min(1.0, max(by_time, by_count))

    @property
    def left_s(self) -> float | None:
        """The time left, by duration and by count at the present rate; None when it cannot be told."""
        guesses = []
        if self.duration_s:
            guesses.append(max(0.0, self.duration_s - self.elapsed_s))
        if self.count and self.rate_ops_s > 0:
            guesses.append(max(0.0, (self.count - self.completed - self.errors) / self.rate_ops_s))
        return min(guesses) if guesses else None
