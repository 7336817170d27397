"""kvbench beside etcd's own load tool, on fresh servers of the same etcd, in interleaved rounds.

Machines change speed within minutes, so only the ratio within a round means something, and only its median over
several rounds is reported.
"""

import json
import os
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from kvbench.targets.launch import start
from kvbench.targets.running import TargetError
from kvbench.targets.servers import find_server, install_remedy
from kvbench.targets.spec import TargetSpec

TOOL = "etcd-benchmark"
RUN_TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Side:
    """What one of the two reached in one round."""

    throughput_ops_s: float
    cpu_ns_per_request: float
    p50_ns: float
    p99_ns: float


@dataclass(frozen=True)
class Round:
    """One round: both tools, each against a fresh etcd, in random order."""

    number: int
    first: str
    kvbench: Side
    tool: Side

    @property
    def throughput_ratio(self) -> float:
        """kvbench's throughput over the tool's."""
        return self.kvbench.throughput_ops_s / self.tool.throughput_ops_s

    @property
    def cpu_ratio(self) -> float:
        """The tool's CPU per request over kvbench's."""
        return self.tool.cpu_ns_per_request / self.kvbench.cpu_ns_per_request


@dataclass(frozen=True)
class Comparison:
    """All rounds and their medians."""

    etcd_version: str
    tool_version: str
    rounds: list[Round]

    def medians(self) -> dict[str, float]:
        """Medians over the rounds, of the ratios too."""
        return {
            "kvbench_throughput_ops_s": median(r.kvbench.throughput_ops_s for r in self.rounds),
            "tool_throughput_ops_s": median(r.tool.throughput_ops_s for r in self.rounds),
            "kvbench_cpu_ns_per_request": median(r.kvbench.cpu_ns_per_request for r in self.rounds),
            "tool_cpu_ns_per_request": median(r.tool.cpu_ns_per_request for r in self.rounds),
            "throughput_ratio": median(r.throughput_ratio for r in self.rounds),
            "cpu_ratio": median(r.cpu_ratio for r in self.rounds),
        }

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        rounds = [{**asdict(r), "throughput_ratio": r.throughput_ratio, "cpu_ratio": r.cpu_ratio} for r in self.rounds]
        return {
            "etcd": self.etcd_version,
            "tool": self.tool_version,
            "rounds": rounds,
            "medians": self.medians(),
        }


def parse_tool(text: str, cpu_s: float, total: int) -> Side:
    """The figures from the tool's printed summary. Raises TargetError when they are not there."""
    rate = re.search(r"Requests/sec:\s+([0-9.]+)", text)
    p50 = re.search(r"50% in ([0-9.]+) secs", text)
    p99 = re.search(r"99% in ([0-9.]+) secs", text)
    if rate is None or p50 is None or p99 is None:
        raise TargetError(f"{TOOL} printed no summary", "its last lines: " + text.strip()[-300:])
    return Side(float(rate[1]), cpu_s * 1e9 / total, float(p50[1]) * 1e9, float(p99[1]) * 1e9)


def run_tool(version: str, total: int, folder: Path) -> Side:
    """``total`` puts by etcd's tool: 256 B keys drawn from 1,000,000, 256 B values, 100 connections, 1,000 clients."""
    program = find_server(TOOL).path
    target = start(TargetSpec(kind="etcd", version=version), folder)
    try:
        command = [
            str(program), "--endpoints", target.members[0].address, "--conns", "100", "--clients", "1000", "put",
            "--key-size", "256", "--val-size", "256", "--key-space-size", "1000000", "--total", str(total),
        ]  # fmt: skip
        before = os.times()
        done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_TIMEOUT_S, stdin=subprocess.DEVNULL)
        after = os.times()
    finally:
        target.stop()
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return parse_tool(done.stdout + done.stderr, cpu_s, total)


def run_kvbench(version: str, settings: list[str], folder: Path) -> Side:
    """The workload ``put`` by kvbench, as a user would run it."""
    command = [sys.executable, "-m", "kvbench", "run", "put", "--target", f"etcd?version={version}", "--json"]
    for setting in settings:
        command += ["--set", setting]
    command += ["--out", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_TIMEOUT_S, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise TargetError(f"kvbench run ended with {done.returncode}", done.stderr.strip()[-400:])
    run = json.loads(done.stdout)["runs"][0]
    put = run["operations"]["put"]
    times = put["response_time_ns"]
    return Side(put["throughput_ops_s"], run["client"]["cpu_ns_per_request"], times["p50"], times["p99"])


def compare(
    rounds: int, total: int, version: str, settings: list[str], progress: Callable[[str], None], seed: int = 1
) -> Comparison:
    """Run ``rounds`` rounds. ``total`` is the tool's number of puts; kvbench runs its workload ``put``.

    Raises TargetError when etcd or its tool is not there, or fails.
    """
    try:
        tool = find_server(TOOL)
    except TargetError as error:
        raise TargetError(f"{TOOL} is not on this machine", install_remedy(TOOL)) from error
    server = find_server("etcd", version)
    order = random.Random(seed)
    done: list[Round] = []
    for number in range(1, rounds + 1):
        first = order.choice(["kvbench", TOOL])
        sides: dict[str, Side] = {}
        for name in (first, TOOL if first == "kvbench" else "kvbench"):
            progress(f"round {number} of {rounds}: {name}")
            with tempfile.TemporaryDirectory(prefix="kvbench-yardstick-") as folder:
                if name == TOOL:
                    sides[name] = run_tool(server.version, total, Path(folder))
                else:
                    sides[name] = run_kvbench(server.version, settings, Path(folder) / "run")
        done.append(Round(number, first, sides["kvbench"], sides[TOOL]))
    return Comparison(server.version, tool.version, done)
