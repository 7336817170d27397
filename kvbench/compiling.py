"""Every group of kernels, compiled ahead of use: ``python -m kvbench.compiling [--fresh]`` (make kernels).

Fills the cache, and says what each group took. With ``--fresh`` it does so in an empty folder which it then removes:
that is what a new machine spends, and it may be BUDGET_S in all. Each group has a process of its own, as in use.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import numpy as np

from kvbench import jit

BUDGET_S = 120.0
"""CPU time of all groups together, from nothing."""
PROCESSES = 2


@dataclass(frozen=True)
class Compilation:
    """What one group took; next to nothing when it came from the cache."""

    group: str
    wall_s: float
    cpu_s: float


def compile_load() -> None:
    """The fast engine's loop."""
    from kvbench.load.engine import FastEngine
    from kvbench.load.plan import Operation, Plan
    from kvbench.ops.kinds import Kind

    FastEngine(Plan((Operation(Kind.PUT, 1.0),), (), clients=1, connections=1), "etcd", ["127.0.0.1:1"]).prepare()


def compile_grpcio() -> None:
    """What a worker of the grpcio engine calls."""
    from kvbench.load.grpcio_share import Share
    from kvbench.load.plan import Operation, Plan
    from kvbench.ops.kinds import Kind

    Share(Plan((Operation(Kind.PUT, 1.0),), (), clients=1, connections=1), 0, 1).compile()


def compile_bare() -> None:
    """The bare loop."""
    from kvbench.load import bare
    from kvbench.load.records import SHARED_SLOTS
    from kvbench.net import table

    net = table.new_net(1, [("127.0.0.1", 1)], 1 << 16, 1 << 16)
    jit.compile_for(bare.run_bare, (net, np.zeros(SHARED_SLOTS, np.int64), 1, 1, 1, 0), "bare")


def compile_check() -> None:
    """The search for linearizability."""
    from kvbench.check.linearizable import check_register, new_search
    from kvbench.ops.history import HISTORY

    jit.compile_for(check_register, (np.zeros(1, HISTORY), 1, 0, new_search(1)), "check")


def compile_node() -> None:
    """The built-in store's member, which its server and the simulator call."""
    from kvbench.node import step
    from kvbench.node.state import NodeConfig, new_node

    node = new_node(NodeConfig(member=0, members=1, cluster_id=1, member_ids=(1,), seed=0))
    jit.compile_for(step.call, (node, 0, 0, 0, 0, node.scratch, 0, 0), "node")


def compile_server() -> None:
    """The built-in store's server, and what Python calls when it starts."""
    from kvbench.server.member import rehearse

    rehearse()


def compile_sim() -> None:
    """The simulator, and what Python calls around it: a short run."""
    from kvbench.sim.running import Simulator

    Simulator().run(0)


def compile_null(protocol: str) -> None:
    """A null server: told to stop before it starts, it compiles and returns."""
    from kvbench.server import null, null_net

    listener, _ = null_net.listen(null.HOST, 0)
    null.server_of(null.parse(["--protocol", protocol]))(listener, 1, np.ones(1, np.int64))


GROUPS: dict[str, Callable[[], None]] = {
    "node": compile_node,
    "load": compile_load,
    "null-etcd": lambda: compile_null("etcd"),
    "server": compile_server,
    "sim": compile_sim,
    "null-zookeeper": lambda: compile_null("zookeeper"),
    "grpcio": compile_grpcio,
    "check": compile_check,
    "bare": compile_bare,
    "null-bare": lambda: compile_null("bare"),
}
"""The largest first, so that the others fit beside them; ``server`` and ``sim`` once what they call is there."""


def compile_group(group: str) -> Compilation:
    """Compile a group, or load it, in this process."""
    wall, cpu = time.monotonic(), time.process_time()
    GROUPS[group]()
    return Compilation(group, time.monotonic() - wall, time.process_time() - cpu)


def in_process(group: str, environment: dict[str, str]) -> Compilation:
    """``compile_group`` in a process of its own. Raises RuntimeError with what it said when it failed."""
    command = [sys.executable, "-m", "kvbench.compiling", "--group", group]
    ended = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if ended.returncode:
        raise RuntimeError(f"compiling {group} failed: {ended.stderr.strip()[-2000:]}")
    return Compilation(**json.loads(ended.stdout))


def compile_all(environment: dict[str, str]) -> list[Compilation]:
    """All groups, PROCESSES at a time; each is said on standard output as it is done."""

    def compile_and_say(group: str) -> Compilation:
        done = in_process(group, environment)
        print(line(done), flush=True)
        return done

    with ThreadPoolExecutor(PROCESSES) as pool:
        return list(pool.map(compile_and_say, GROUPS))


def line(done: Compilation) -> str:
    """One line of the table."""
    return f"{done.group:<16} {done.wall_s:6.1f} s, {done.cpu_s:6.1f} s of CPU"


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 1 when the groups compiled from nothing take more than BUDGET_S."""
    parser = argparse.ArgumentParser(prog="python -m kvbench.compiling", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--fresh", action="store_true", help="compile from nothing, in a folder that is then removed")
    parser.add_argument("--group", choices=GROUPS, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.group:
        print(json.dumps(asdict(compile_group(options.group))))
        return 0
    start = time.monotonic()
    if options.fresh:
        with tempfile.TemporaryDirectory(prefix="kvbench-kernels-") as folder:
            done = compile_all({**os.environ, "KVBENCH_CACHE": folder})
    else:
        done = compile_all(dict(os.environ))
    total = Compilation("in all", time.monotonic() - start, sum(each.cpu_s for each in done))
    print(line(total) + (f"; at most {BUDGET_S:.0f}" if options.fresh else ""))
    return int(options.fresh and total.cpu_s > BUDGET_S)


if __name__ == "__main__":
    sys.exit(main())
