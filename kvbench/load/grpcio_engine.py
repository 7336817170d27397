"""The plain engine for etcd: worker processes that speak through grpcio. Slower than the fast engine, and it can more.

It does TLS, users and passwords. Requests are chosen and counted by the fast engine's own kernels, so both do the same
for the same plan; what differs is the cost of a request, some 150 µs of client CPU against a few.

Each process runs one asyncio loop over grpc.aio: measured with 256-byte keys and values on two cores, a put cost 131
to 163 µs of client CPU over grpc.aio, 194 to 387 µs over blocking threads, 246 to 348 µs over futures with callbacks.
"""

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

import kvbench
from kvbench.load import merge
from kvbench.load.admin import AdminError
from kvbench.load.admin_etcd import EtcdAdmin
from kvbench.load.credentials import Credentials
from kvbench.load.grpcio_worker import Finished
from kvbench.load.plan import Phase, Plan
from kvbench.load.protocol import EngineError, Progress
from kvbench.load.records import END_REASONS
from kvbench.load.shares import dealt, unused_shares
from kvbench.ops.kinds import KIND_NAMES, Kind
from kvbench.ops.results import PhaseResult

START_LEAD_NS = 50_000_000
"""How far ahead a phase's start is set, so that every process hears of it before."""
STARTUP_S = 120.0
"""How long a process may take to start, its first compilation included."""
CLOSE_S = 5.0
UNSUPPORTED = (Kind.MAKE_PARENT,)


class WorkerProcess:
    """One worker process, and what it told."""

    def __init__(self, number: int, changed: threading.Condition) -> None:
        """``changed`` is notified of every message, of whichever process."""
        self.number = number
        self.counters = Progress()
        self.finished: Finished | None = None
        self.opened = False
        self.failure = ""
        self.parts: list[PhaseResult] = []
        self.changed = changed
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "kvbench.load.grpcio_process", str(theirs.fileno()), str(os.getpid())]
            self.process = subprocess.Popen(
                command,
                pass_fds=(theirs.fileno(),),
                env=worker_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                # A terminal's Ctrl-C is for the parent, which ends the phase in good order.
                start_new_session=True,
            )
        self._pipe = Pipe(ours.detach())
        self._reader = threading.Thread(target=self._read, name=f"grpcio-{number}", daemon=True)
        self._reader.start()

    def tell(self, *message: Any) -> None:
        """Send an order; to a process that has ended it goes nowhere."""
        try:
            self._pipe.send(message)
        except OSError:
            return

    def _read(self) -> None:
        while True:
            try:
                kind, *rest = self._pipe.recv()
            except (EOFError, OSError):
                kind, rest = "ended", []
            with self.changed:
                self._note(kind, rest)
                self.changed.notify_all()
            if kind == "ended":
                return

    def _note(self, kind: str, rest: list[Any]) -> None:
        if kind == "part":
            self.parts.append(rest[0])
        elif kind == "progress":
            self.counters = rest[0]
        elif kind == "opened":
            self.opened = True
        elif kind == "finished":
            self.finished = rest[0]
        elif kind == "failed":
            self.failure = rest[0]
        elif kind == "ended" and not self.failure:
            self.failure = f"worker process {self.number} ended{self._last_words()}"

    def _last_words(self) -> str:
        """The last line that the process wrote to its standard error."""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return f": {lines[-1]}" if lines else ""

    def take_parts(self) -> list[PhaseResult]:
        """Parts that came since the last call."""
        with self.changed:
            parts, self.parts = self.parts, []
        return parts

    def end(self, deadline: float) -> None:
        """Wait for the process, with SIGKILL at ``deadline``."""
        try:
            self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        self._pipe.close()
        self._errors.close()


def worker_environment() -> dict[str, str]:
    """This process's environment, with the folder that this kvbench was imported from first on the path."""
    folder = str(Path(kvbench.__file__).resolve().parent.parent)
    paths = [folder, os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}


class GrpcioEngine:
    """Carries out a plan against etcd at ``addresses`` (host:port) with worker processes.

    Implements load.protocol.LoadEngine. Open it from a thread that outlives it: when that thread ends, so do the
    processes. A put that a token's expiry made necessary twice counts in ``second_tries``.
    """

    def __init__(self, plan: Plan, credentials: Credentials, addresses: Sequence[str], processes: int = 1) -> None:
        """Raises EngineError when plan and processes do not fit, or an operation is not one of etcd's."""
        self.plan = plan
        self.credentials = credentials
        self.addresses = list(addresses)
        self.processes = processes
        self._check()
        self._workers: list[WorkerProcess] = []
        self._changed = threading.Condition()
        self._phase: Phase | None = None
        self._result: PhaseResult | None = None
        self._start_ns = 0
        self._cpu_ns = 0
        self._inserted = 0
        self._stops = 0

    def _check(self) -> None:
        plan = self.plan
        if not 1 <= self.processes <= plan.connections or plan.connections > max(plan.clients, 1):
            raise EngineError(
                f"{self.processes} processes, {plan.connections} connections and {plan.clients} clients do not fit: "
                "there must be a process, every process needs a connection and every connection a client"
            )
        if unused_shares(plan.in_flight_max, plan.phases, self.processes):
            raise EngineError(
                f"at most {plan.in_flight_max} requests in flight (load.max_in_flight) leave some of "
                f"{self.processes} processes with nothing to do: use fewer"
            )
        mixes = (plan.operations, *(phase.operations for phase in plan.phases))
        for kind in {operation.kind for operations in mixes for operation in operations} & set(UNSUPPORTED):
            raise EngineError(f"the grpcio engine has no {KIND_NAMES[kind]}: etcd's keys need no parents")

    def open(self) -> None:
        """Connect everything and set watches. Raises EngineError when a member never answers."""
        self._probe()
        try:
            self._workers = [WorkerProcess(number, self._changed) for number in range(self.processes)]
            for worker in self._workers:
                worker.tell("open", self.plan, self.credentials, self.addresses, worker.number, self.processes)
            startup_s = STARTUP_S + self.plan.timeout_s
            if not self._wait(lambda worker: worker.opened, startup_s):
                raise EngineError(f"the grpcio engine's processes did not start within {startup_s:g} s")
        except BaseException:
            self.close()
            raise

    def _wait(self, done: Callable[[WorkerProcess], bool], timeout_s: float | None = None) -> bool:
        """Wait until ``done`` holds for every process. Returns False after ``timeout_s``; raises EngineError."""

        def reached() -> bool:
            for worker in self._workers:
                if worker.failure:
                    raise EngineError(worker.failure)
            return all(done(worker) for worker in self._workers)

        with self._changed:
            return self._changed.wait_for(reached, timeout_s)

    def _probe(self) -> None:
        """Read under the prefix, so that what is wrong with address, TLS or user is said before anything starts."""
        try:
            admin = EtcdAdmin(self.addresses, self.credentials, self.plan.timeout_s)
            try:
                admin.count_keys(self.plan.keys.prefix)
            finally:
                admin.close()
        except AdminError as error:
            raise EngineError(f"{error.what}; {error.remedy}" if error.remedy else error.what) from error

    def start_phase(self, phase: Phase) -> None:
        """Begin a phase in the worker processes and return at once."""
        self._phase = phase
        self._result = None
        self._stops = 0
        self._cpu_ns = time.process_time_ns()
        self._start_ns = time.monotonic_ns() + START_LEAD_NS
        for worker in self._workers:
            worker.finished = None
            worker.counters = Progress(connected=worker.counters.connected)
            worker.tell("start", phase, self._start_ns, self._inserted)

    def poll(self) -> tuple[Progress, PhaseResult | None]:
        """Progress now, and the seconds that became final since the last poll."""
        part: PhaseResult | None = None
        for worker in self._workers:
            for each in worker.take_parts():
                part = each if part is None else merge.add(part, each)
        if part is not None:
            self._result = part if self._result is None else merge.add(self._result, part)
        counters = [worker.counters for worker in self._workers]
        progress = Progress(
            elapsed_s=max(0, time.monotonic_ns() - self._start_ns) / 1e9,
            offered=sum(each.offered for each in counters),
            completed=sum(each.completed for each in counters),
            errors=sum(each.errors for each in counters),
            in_flight=sum(each.in_flight for each in counters),
            connected=sum(each.connected for each in counters),
        )
        return progress, part

    def running(self) -> bool:
        """Whether any process still works at the phase; not once one of them has failed."""
        if any(worker.failure for worker in self._workers):
            return False
        return any(worker.finished is None for worker in self._workers)

    def stop_phase(self) -> None:
        """Send nothing new and await what is in flight; called a second time, do not wait either."""
        self._stops += 1
        for worker in self._workers:
            worker.tell("stop", self._stops > 1)

    def finish_phase(self) -> PhaseResult:
        """Wait for the processes and return the whole phase's result. Raises EngineError when one failed."""
        self._wait(lambda worker: worker.finished is not None)
        done = [worker.finished for worker in self._workers if worker.finished is not None]
        self.poll()
        phase, result = self._phase, self._result
        if phase is None or result is None:
            raise EngineError("no phase was started")
        self._inserted += sum(each.inserted for each in done)
        ended = max(each.end_reason for each in done)
        schedule_ns = round(phase.duration_s * 1e9) if phase.arrival != "closed" else 0
        last_ns = max(each.last_ns for each in done) - self._start_ns
        return replace(
            result,
            duration_ns=max(last_ns, schedule_ns if END_REASONS[ended] == "duration" else 0, 1),
            threads=[each.use for each in done],
            in_flight_cap=sum(each.slots for each in done),
            in_flight_max=sum(each.in_flight_max for each in done),
            cap_reached=sum(each.cap_reached for each in done),
            second_tries=sum(each.second_tries for each in done),
            missing=sum(each.missing for each in done),
            reconnects=sum(each.reconnects for each in done),
            keys_touched=keys_touched([each.touched_bits for each in done]),
            cpu_ns=sum(each.cpu_ns for each in done) + time.process_time_ns() - self._cpu_ns,
            end_reason=END_REASONS[ended],
            error_text=max(each.error_text for each in done),
        )

    def connections_per_address(self) -> dict[str, int]:
        """How many load connections go to each address."""
        counts = dict.fromkeys(self.addresses, 0)
        for number in range(self.processes):
            connections = dealt(self.plan.connections, number, self.processes)
            for each in range(connections):
                counts[self.addresses[(number * connections + each) % len(self.addresses)]] += 1
        return counts

    def worker_pids(self) -> list[int]:
        """Process ids of the workers."""
        return [worker.process.pid for worker in self._workers]

    def close(self) -> None:
        """Close every connection and end every process; safe to call twice."""
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.tell("stop", True)
            worker.tell("close")
        deadline = time.monotonic() + CLOSE_S
        for worker in workers:
            worker.end(deadline)


def keys_touched(shares: list[npt.NDArray[np.uint8]]) -> int:
    """Distinct keys that any share wrote, from bit arrays of equal length."""
    union = np.bitwise_or.reduce(np.stack(shares))
    return int(np.unpackbits(union).sum())
