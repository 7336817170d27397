"""What both load engines look like to ``run``: open, phases one after another, close."""

from typing import Protocol

from kvbench.load.plan import Phase
from kvbench.ops.results import PhaseResult


class Progress(Protocol):
    """Counters of a phase under way, cheap to read at any moment."""

    elapsed_s: float
    offered: int
    completed: int
    errors: int
    in_flight: int
    connected: int


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
