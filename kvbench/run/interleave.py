"""All runs of one ``kvbench run``: every repeat visits the targets in a new random order, each started fresh."""

import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from kvbench.artifact.errors import ArtifactError
from kvbench.run.checks import check_all
from kvbench.run.engines import compile_ahead
from kvbench.run.interrupt import Interruption
from kvbench.run.request import Display, ExitCode, RunFailure, RunRequest, Target
from kvbench.run.single import SingleRun


@dataclass(frozen=True)
class RunOutcome:
    """What came of it."""

    summary: dict[str, Any] | None
    """summary.json's content; None when no artifact could be written."""
    failure: RunFailure | None

    @property
    def exit_code(self) -> ExitCode:
        return self.failure.code if self.failure is not None else ExitCode.OK


def orders(targets: tuple[Target, ...], repeats: int, seed: int) -> Iterator[tuple[Target, ...]]:
    """The targets' order in each repeat: a pure function of the seed."""
    source = random.Random(seed)
    for _ in range(repeats):
        yield tuple(source.sample(targets, len(targets)))


def run_all(request: RunRequest, display: Display) -> RunOutcome:
    """Check everything, then run everything; the first run that fails is the last one.

    Raises ConfigError, TargetError or RunFailure for what is refused before anything is started. SIGINT and SIGTERM
    end it cleanly while this runs.
    """
    is_new = not request.out.exists()
    for warning in check_all(request):
        display.say(f"warning: {warning}")
    with Interruption() as interruption:
        try:
            compile_ahead(request.engine, display)
            failure = _run_in_turn(request, display, interruption)
        except KeyboardInterrupt:
            failure = RunFailure(ExitCode.INTERRUPTED, "interrupted")
        with interruption.shielded():
            if is_new:
                # Nothing is in it when no server was ever started.
                with suppress(OSError):
                    request.out.rmdir()
            return RunOutcome(_summary(request), failure)


def _run_in_turn(request: RunRequest, display: Display, interruption: Interruption) -> RunFailure | None:
    for repeat, order in enumerate(orders(request.targets, request.repeat, request.seed), 1):
        for target in order:
            failure = _run_one(request, target, repeat, order, display, interruption)
            if failure is not None:
                return failure
    return None


def _run_one(
    request: RunRequest,
    target: Target,
    repeat: int,
    order: tuple[Target, ...],
    display: Display,
    interruption: Interruption,
) -> RunFailure | None:
    if request.repeat > 1 or len(order) > 1:
        display.say(f"repeat {repeat} of {request.repeat}: {target.text}")
    folder = request.out / f"r{repeat:02d}-{target.label}"
    labels = tuple(each.label for each in order)
    return SingleRun(request, target, repeat, labels, folder, display, interruption).carry_out()


def _summary(request: RunRequest) -> dict[str, Any] | None:
    """What came out, written down if there is room for it; None when nothing did."""
    from kvbench.artifact.summary import recompute, write_result

    try:
        return write_result(request.out)
    except ArtifactError:
        with suppress(ArtifactError):
            return recompute(request.out)
        return None
