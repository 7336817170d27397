"""``kvbench run``: from options to a request, and from the outcome to tables, JSON and exit code."""

import json
import secrets
import sys
from datetime import datetime
from pathlib import Path

import click

from kvbench.cli import consoles
from kvbench.cli.failures import tell
from kvbench.config import ConfigError, Workload, load_workload, with_load
from kvbench.run.checks import check_cpus, hide_password, parse_targets
from kvbench.run.display import make_display
from kvbench.run.interleave import RunOutcome, run_all
from kvbench.run.request import RunRequest


def run_command(
    *, workload: str, targets: tuple[str, ...], settings: tuple[str, ...], out: Path | None, as_json: bool,
    engine: str, load_threads: int | None, load_cpus: str | None, seed: int | None, yes: bool, **rest: object,
) -> int:  # fmt: skip
    """Carry out one ``kvbench run``. Returns the exit code."""
    drawn = secrets.randbelow(2**31) if seed is None else seed
    if engine == "grpcio" and (load_threads is not None or load_cpus is not None):
        raise ConfigError("--load-threads and --load-cpus are for the fast engine; the engine grpcio has --processes")
    loaded = with_load(load_workload(workload, settings), threads=load_threads, cpus=parse_cpus(load_cpus), seed=drawn)
    request = make_request(loaded, targets, out, engine, drawn, rest)
    if not yes:
        confirm(request)
    outcome = run_all(request, make_display())
    show(request, outcome, as_json)
    return int(outcome.exit_code)


def make_request(
    workload: Workload, targets: tuple[str, ...], out: Path | None, engine: str, seed: int, rest: dict[str, object]
) -> RunRequest:
    """The request that options mean. Raises ConfigError."""
    return RunRequest(
        workload=workload,
        targets=parse_targets(targets),
        out=out if out is not None else default_folder(workload.name),
        repeat=int(str(rest["repeat"])),
        engine=engine,
        processes=int(str(rest["processes"])),
        sample_period_s=float(str(rest["sample_period"])),
        seed=seed,
        keep_data=bool(rest["keep_data"]),
        command=("kvbench", *(hide_password(argument) for argument in click.get_current_context().obj)),
    )


def default_folder(workload: str) -> Path:
    """results/WORKLOAD/DATE-TIME below the current folder, with a number behind it where that is taken."""
    parent = Path("results") / workload
    name = f"{datetime.now():%Y-%m-%d-%H%M%S}"
    folder = parent / name
    number = 2
    while folder.exists():
        folder = parent / f"{name}-{number}"
        number += 1
    return folder


def parse_cpus(text: str | None) -> tuple[int, ...]:
    """ "0,1" as core numbers that this process may use. Raises ConfigError."""
    if text is None:
        return ()
    parts = text.split(",")
    if not all(part.strip().isdigit() for part in parts):
        raise ConfigError(f'--load-cpus "{text}": write core numbers with commas between them, such as 0,1')
    cpus = tuple(int(part) for part in parts)
    check_cpus("--load-cpus", cpus)
    return cpus


def confirm(request: RunRequest) -> None:
    """Ask, on a terminal, before an existing cluster is loaded."""
    existing = [target.text for target in request.targets if not target.spec.is_local]
    if not existing or not sys.stdin.isatty():
        return
    prefix = request.workload.plan.keys.prefix
    click.confirm(
        f'This loads {", ".join(existing)} as hard as the workload says, under the prefix "{prefix}". Go on?',
        abort=True,
        err=True,
    )


def show(request: RunRequest, outcome: RunOutcome, as_json: bool) -> None:
    """Tables or JSON on standard output, problems and where things are on standard error."""
    if outcome.summary is not None:
        if as_json:
            print(json.dumps(outcome.summary, indent=2, ensure_ascii=False))
        elif outcome.summary["runs"]:
            from kvbench.run import results

            results.show(outcome.summary, consoles.stdout())
        print(f"results: {request.out}   (kvbench report {request.out})", file=sys.stderr)
    if outcome.failure is not None:
        tell(outcome.failure.what, outcome.failure.remedy, outcome.failure.log_tail)
