"""The instrument's own ceiling: how fast and how cheaply it can go when the server costs nothing.

For each protocol a null server (which parses every frame and answers every request, but stores nothing) runs in a
process of its own; the load engine drives it with everything on as in a real run. Beside it the bare loop moves the
same number of bytes without looking at them: what remains between the two is what the instrument costs.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

import numpy as np

from kvbench.client.dispatch import PROTOCOLS
from kvbench.load import bare
from kvbench.load.engine import FastEngine, split_address
from kvbench.load.plan import Keys, Operation, Phase, Plan, Values
from kvbench.load.protocol import EngineError, LoadEngine
from kvbench.load.records import SHARED_SLOTS, SHARED_STOP, STOP_NOW
from kvbench.measure.threads import own_tid, schedstat
from kvbench.net import table
from kvbench.ops.kinds import Kind
from kvbench.ops.results import RESPONSE, SERVICE, TIME_NAMES, WAIT, PhaseResult
from kvbench.stats import histograms, percentiles
from kvbench.targets.guard import guard

START_TIMEOUT_S = 120.0
"""A null server compiles its kernels first, when nobody has before."""


@dataclass(frozen=True)
class Setting:
    """How to load the null server."""

    seconds: float = 10.0
    clients: int = 1000
    connections: int = 100
    key_bytes: int = 256
    value_bytes: int = 256
    rate_ops_s: float = 0.0
    """0: closed loop, as fast as it goes; else a constant rate."""
    pin: bool = True
    """Pin the load thread and the server to cores of their own, where the machine has two."""


@dataclass
class Ceiling:
    """What one engine reached against one protocol's null server."""

    protocol: str
    engine: str
    operation: str
    throughput_ops_s: float
    cpu_ns_per_request: float
    load_thread_cpu_ns_per_request: float
    load_thread_cpu_share: float
    errors: int
    times_ns: dict[str, dict[str, int]]
    """wait, service and response: p50, p90, p99, p999"""
    request_bytes: int
    response_bytes: int
    bare_throughput_ops_s: float = 0.0
    bare_cpu_ns_per_request: float = 0.0

    @property
    def share_of_bare(self) -> float:
        """Throughput over that of the bare loop; 0 where that was not measured."""
        return self.throughput_ops_s / self.bare_throughput_ops_s if self.bare_throughput_ops_s else 0.0

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {**asdict(self), "share_of_bare": self.share_of_bare}


def cores(pin: bool) -> tuple[int | None, int | None]:
    """Cores for the load thread and the server; None: not pinned, because there is only one or it is not wanted."""
    available = sorted(os.sched_getaffinity(0))
    if not pin or len(available) < 2:
        return None, None
    return available[0], available[-1]


@contextmanager
def null_server(protocol: str, cpu: int | None, arguments: tuple[str, ...] = ()) -> Iterator[str]:
    """A null server in a process of its own; yields its host:port. It ends with the block, or with this process.

    The watchdog sees to the latter, as it does for targets: a server that is still starting does not notice by itself.
    """
    command = [sys.executable, "-m", "kvbench.server.null", "--protocol", protocol, *arguments]
    if cpu is not None:
        command += ["--cpu", str(cpu)]
    watchdog = guard()
    watchdog.start()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
        start_new_session=True, env={**os.environ, **watchdog.environment},
    )  # fmt: skip
    try:
        watchdog.watch_process(process.pid)
        yield read_address(process, protocol)
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        watchdog.forget_process(process.pid)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def read_address(process: "subprocess.Popen[str]", protocol: str) -> str:
    """The address from the server's first line. Raises EngineError with what it said when it did not start."""
    timer = threading.Timer(START_TIMEOUT_S, process.kill)
    timer.start()
    try:
        line = process.stdout.readline() if process.stdout else ""
    finally:
        timer.cancel()
    if not line.startswith("listening "):
        said = process.stderr.read() if process.stderr else ""
        raise EngineError(f"the null server for {protocol} did not start: {(line + said).strip()[-400:]}")
    return line.split()[1]


def calibration_plan(protocol: str, setting: Setting, cpu: int | None) -> Plan:
    """Puts (etcd) or creates (ZooKeeper) of fresh values, as ``workloads/put.toml`` sends them."""
    kind = Kind.INSERT if protocol == "zookeeper" else Kind.PUT
    arrival = "constant" if setting.rate_ops_s else "closed"
    rates = (setting.rate_ops_s,) if setting.rate_ops_s else ()
    return Plan(
        operations=(Operation(kind, 1.0),),
        phases=(
            Phase("warm-up", duration_s=min(2.0, setting.seconds), arrival=arrival, rates_ops_s=rates, measured=False),
            Phase("measure", duration_s=setting.seconds, arrival=arrival, rates_ops_s=rates),
        ),
        keys=Keys(size_bytes=setting.key_bytes),
        values=Values(sizes_bytes=(setting.value_bytes,)),
        clients=setting.clients,
        connections=setting.connections,
        cpus=() if cpu is None else (cpu,),
    )


def run_phases(engine: LoadEngine, plan: Plan, progress: Callable[[str], None]) -> PhaseResult:
    """Run the plan's phases; the last one's result. Ctrl-C closes the engine."""
    try:
        engine.open()
        for phase in plan.phases:
            progress(f"{phase.name}, {phase.duration_s:g} s")
            engine.start_phase(phase)
            while engine.running():
                time.sleep(0.1)
                engine.poll()
            result = engine.finish_phase()
        return result
    finally:
        engine.close()


def ceiling_of(protocol: str, engine: str, result: PhaseResult) -> Ceiling:
    """The figures of one measured phase."""
    completed = int(result.completed.sum())
    seconds = result.duration_ns / 1e9
    thread_cpu = sum(use.cpu_ns for use in result.threads)
    wall = max(sum(use.wall_ns for use in result.threads), 1)
    times = {
        TIME_NAMES[which]: percentiles.distribution(*histograms.of(result.histograms, which, 0)).percentiles
        for which in (WAIT, SERVICE, RESPONSE)
    }
    return Ceiling(
        protocol=protocol,
        engine=engine,
        operation=result.operations[0],
        throughput_ops_s=completed / seconds,
        cpu_ns_per_request=result.cpu_ns / max(completed, 1),
        load_thread_cpu_ns_per_request=thread_cpu / max(completed, 1),
        load_thread_cpu_share=thread_cpu / wall,
        errors=int(result.errors.sum()),
        times_ns=times,
        request_bytes=round(result.bytes_sent / max(completed, 1)),
        response_bytes=round(result.bytes_received / max(completed, 1)),
    )


def measure_bare(ceiling: Ceiling, setting: Setting, load_cpu: int | None, server_cpu: int | None) -> None:
    """Run the bare loop with the same bytes per request and add its figures to ``ceiling``."""
    request, response = max(ceiling.request_bytes, 1), max(ceiling.response_bytes, 1)
    sizes = ("--request-bytes", str(request), "--response-bytes", str(response))
    in_flight = max(setting.clients // setting.connections, 1)
    with null_server("bare", server_cpu, sizes) as address:
        found: dict[str, float] = {}
        shared = np.zeros(SHARED_SLOTS, np.int64)

        def drive() -> None:
            thread_id = own_tid()
            if load_cpu is not None:
                os.sched_setaffinity(thread_id, {load_cpu})
            net = table.new_net(setting.connections, [split_address(address)])
            bare.run_bare(net, shared, request, response, in_flight, 1_000_000)
            cpu, _ = schedstat(thread_id)
            start = time.monotonic_ns()
            found["count"] = bare.run_bare(net, shared, request, response, in_flight, int(setting.seconds * 1e9))
            found["wall_ns"] = time.monotonic_ns() - start
            found["cpu_ns"] = schedstat(thread_id)[0] - cpu

        thread = threading.Thread(target=drive, name="bare")
        try:
            thread.start()
            thread.join()
        finally:
            shared[SHARED_STOP] = STOP_NOW
            thread.join()
    count = found.get("count", 0.0)
    if count:
        ceiling.bare_throughput_ops_s = count / (found["wall_ns"] / 1e9)
        ceiling.bare_cpu_ns_per_request = found["cpu_ns"] / count


def calibrate(
    protocol: str, setting: Setting, engine: str = "fast", progress: Callable[[str], None] = lambda line: None
) -> Ceiling:
    """Measure one protocol's ceiling. ``engine`` is "fast" or "grpcio" (etcd only). Raises EngineError."""
    if protocol not in PROTOCOLS:
        raise EngineError(f"there is no protocol {protocol!r}; there are {', '.join(PROTOCOLS)}")
    load_cpu, server_cpu = cores(setting.pin)
    plan = calibration_plan(protocol, setting, load_cpu if engine == "fast" else None)
    progress(f"{protocol}, {engine} engine: starting the null server")
    with null_server(protocol, server_cpu) as address:
        driver: LoadEngine
        if engine == "grpcio":
            from kvbench.load.credentials import Credentials
            from kvbench.load.grpcio_engine import GrpcioEngine

            plan = replace(plan, clients=min(plan.clients, 100), connections=min(plan.connections, 10))
            driver = GrpcioEngine(plan, Credentials(), [address])
        else:
            driver = FastEngine(plan, protocol, [address])
        result = run_phases(driver, plan, lambda line: progress(f"{protocol}, {engine} engine: {line}"))
    ceiling = ceiling_of(protocol, engine, result)
    if engine == "fast" and not setting.rate_ops_s:
        progress(f"{protocol}: bare loop, {setting.seconds:g} s")
        measure_bare(ceiling, setting, load_cpu, server_cpu)
    return ceiling
