"""Real servers and real command lines for the tests of kvbench.run."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from kvbench.targets import launch
from kvbench.targets.running import RunningTarget
from kvbench.targets.spec import parse_target

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 120.0
"""Longer than a run with the first compilation takes; reached only when something hangs."""


@dataclass
class Command:
    """A kvbench under way in a process of its own, and what it has said so far."""

    process: "subprocess.Popen[str]"
    out: Path
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self.said.append(line)
                self._changed.notify_all()

    @property
    def text(self) -> str:
        return "".join(self.said)

    def wait_for(self, text: str) -> None:
        """Until standard error has ``text``."""
        with self._changed:
            assert self._changed.wait_for(lambda: text in self.text or self.process.poll() is not None, PATIENCE_S)
        assert text in self.text, self.text

    def wait_for_phase(self, name: str, requests: int = 1) -> None:
        """Until a phase has left a whole second's counts in the artifact."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and self.process.poll() is None:
            for stream in self.out.glob("*/intervals.partial.jsonl"):
                rows = [json.loads(line) for line in stream.read_text().splitlines()]
                if sum(row.get("completed", 0) for row in rows if row["phase"] == name) >= requests:
                    return
            time.sleep(0.05)
        raise AssertionError(f"phase {name} never had a whole second:\n{self.text}")

    def servers(self) -> list[psutil.Process]:
        """The servers that this kvbench started, by the data folder in their command line or working folder."""
        found = []
        for process in psutil.process_iter():
            try:
                place = process.cwd()
            except (psutil.AccessDenied, psutil.NoSuchProcess):
                continue
            if place.startswith(str(self.out)) and process.pid != self.process.pid:
                found.append(process)
        return found

    def finish(self) -> tuple[int, str]:
        """(exit code, standard output); nothing that it started is left."""
        assert self.process.stdout is not None
        output = self.process.stdout.read()
        code = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        assert "Traceback" not in self.text
        assert self.servers() == []
        return code, output


@pytest.fixture
def kvbench(tmp_path: Path) -> Iterator[Callable[..., Command]]:
    """Start ``kvbench ARGUMENTS --out ...``; whatever still runs at the end is killed."""
    started: list[Command] = []

    def start(*arguments: str) -> Command:
        out = tmp_path / f"out{len(started)}"
        process = subprocess.Popen(
            [sys.executable, "-m", "kvbench", *arguments, "--out", str(out)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        started.append(Command(process, out))
        return started[-1]

    yield start
    for command in started:
        if command.process.poll() is None:
            command.process.send_signal(signal.SIGKILL)
            command.process.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Callable[[str], RunningTarget]]:
    """Start servers that are not kvbench run's own; all are stopped when the test ends."""
    running: list[RunningTarget] = []

    def start(text: str) -> RunningTarget:
        running.append(launch.start(parse_target(text), tmp_path / f"cluster{len(running)}"))
        return running[-1]

    yield start
    for target in running:
        target.stop()


def summary_of(command: Command) -> dict[str, Any]:
    """summary.json of a finished run."""
    found: dict[str, Any] = json.loads((command.out / "summary.json").read_text())
    return found
