"""What both load engines look like to ``run``: open, phases one after another, close."""

from dataclasses import dataclass
from typing import Protocol

from kvbench.load.plan import Phase
from kvbench.ops.results import PhaseResult


@dataclass(frozen=True)
class Progress:
    """Counters of a phase under way, of all threads or processes, cheap to read at any moment."""

    elapsed_s: float = 0.0
    offered: int = 0
    completed: int = 0
    errors: int = 0
    in_flight: int = 0
    connected: int = 0


class LoadEngine(Protocol):
    """Carries out a Plan against addresses."""

    def open(self) -> None:
        """Connect everything and set watches. Raises EngineError when a member never answers."""

    def start_phase(self, phase: Phase) -> None:
        """Begin a phase on threads of its own and return at once."""

    def poll(self) -> tuple[Progress, PhaseResult | None]:
        """Counters now, and what became final since the last poll (whole seconds only), or None.

        The parts, added up by ``load.merge.add``, are the phase's result; a part's arrays cover only its own
        seconds, beginning with the row of second 0.
        """

    def running(self) -> bool:
        """Whether the phase's threads still work."""

    def stop_phase(self) -> None:
        """Ask the phase to end early: nothing new is sent, what is in flight is awaited up to its time-out."""

    def finish_phase(self) -> PhaseResult:
        """Wait for the threads and return the whole phase's result."""

    def close(self) -> None:
        """Close every connection; safe to call twice."""


class EngineError(Exception):
    """The engine cannot work: names target, phase and operation."""
