"""The manifest: all that is needed to say what was run, where, and to run it again."""

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from kvbench import __version__
from kvbench.config import effective
from kvbench.load.plan import Phase
from kvbench.measure import machine
from kvbench.run.request import RunRequest, Target

PACKAGES = ("numba", "numpy", "grpcio", "protobuf", "psutil", "pandas", "pyarrow")


@cache
def git_commit() -> str:
    """The checkout's commit, with "+changes" where files differ from it; empty outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""
    try:
        commit = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return ""
    return commit + ("+changes" if changed else "")


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()


def package_versions() -> dict[str, str]:
    """Versions of the packages that a result depends on."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def describe_run(
    request: RunRequest, target: Target, described: Mapping[str, Any], repeat: int, order: tuple[str, ...],
    phases: tuple[Phase, ...], folder: Path,
) -> dict[str, Any]:  # fmt: skip
    """The manifest's content as far as it is known before the load begins.

    ``described``: RunningTarget.describe(). ``phases``: those carried out, preparation included. ``order``: labels of
    all targets in this repeat's order.
    """
    workload = request.workload
    plan = replace(workload.plan, phases=phases, seed=workload.plan.seed + repeat - 1)
    content = effective(replace(workload, plan=plan))
    facts = machine.describe(folder)
    return {
        "kvbench": __version__,
        "commit": git_commit(),
        "command": list(request.command),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "workload": {key: value for key, value in content.items() if key != "plan"},
        "plan": content["plan"],
        "target": {"text": target.text, "label": target.label, **described},
        "repeat": repeat,
        "repeats": request.repeat,
        "order": list(order),
        "seeds": {"order": request.seed, "load": plan.seed},
        "engine": {"name": request.engine, "processes": request.processes if request.engine == "grpcio" else 1},
        "sample_period_s": request.sample_period_s,
        "machine": {**facts, "cpus": len(os.sched_getaffinity(0))},
        "file_systems": {
            "results": machine.file_system(folder)._asdict(),
            "data": machine.file_system(folder)._asdict() if target.spec.is_local else None,
        },
        "python": platform.python_version(),
        "packages": package_versions(),
        "warnings": [],
    }
