"""A worker of the grpcio engine: the process's inside (``grpcio_process`` is its entry).

It does what it is told through a socket, one pickled tuple a message, and ends when the socket closes, however its
parent ended. To it: ("open", plan, credentials, addresses, share, shares), ("start", phase, start_ns, inserted),
("stop", now), ("close",). From it: ("opened",), ("failed", text), ("progress", counters), ("part", PhaseResult),
("finished", Finished), ("closed",).
"""

import asyncio
import os
import queue
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from typing import Any

import numpy as np
import numpy.typing as npt

from kvbench.load.credentials import Credentials
from kvbench.load.plan import Phase, Plan
from kvbench.load.protocol import EngineError, Progress
from kvbench.measure.threads import own_tid, schedstat
from kvbench.ops.results import PhaseResult, ThreadUse

REPORT_S = 0.1


@dataclass(frozen=True)
class Finished:
    """What belongs to a worker's phase as a whole."""

    use: ThreadUse
    cpu_ns: int
    last_ns: int
    end_reason: int
    slots: int
    in_flight_max: int
    cap_reached: int
    second_tries: int
    missing: int
    reconnects: int
    inserted: int
    touched_bits: npt.NDArray[np.uint8]
    error_text: str


class Reporter:
    """Sends messages from a thread of its own, so that a parent that is slow to read delays no request."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._messages: queue.SimpleQueue[tuple[Any, ...] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._send, name="reporter", daemon=True)
        self._thread.start()

    def tell(self, *message: Any) -> None:
        """Send later."""
        self._messages.put(message)

    def _send(self) -> None:
        while True:
            message = self._messages.get()
            if message is None:
                return
            try:
                self._pipe.send(message)
            except OSError:
                os._exit(0)

    def end(self) -> None:
        """Send what is left, then no more."""
        self._messages.put(None)
        self._thread.join()


class Worker:
    """Carries messages out in an asyncio loop."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._orders: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._share: Any = None
        self._session: Any = None
        self._timer: Any = None
        self._run: Any = None
        self._stop: bool | None = None

    def order(self, message: tuple[Any, ...]) -> None:
        """Take a message in, from the thread that reads the socket."""
        self._loop.call_soon_threadsafe(self._accept, message)

    def _accept(self, message: tuple[Any, ...]) -> None:
        if message[0] == "stop":
            # It may come before the phase that it is for has begun here.
            self._stop = message[1]
            if self._run is not None:
                self._run.stop(self._stop)
            return
        if message[0] == "start":
            self._stop = None
        self._orders.put_nowait(message)

    async def work(self) -> None:
        """Until told to close."""
        try:
            while True:
                message = await self._orders.get()
                if message[0] == "open":
                    await self._open(*message[1:])
                elif message[0] == "start":
                    await self._start(*message[1:])
                elif message[0] == "close":
                    return
        finally:
            await self._close()

    async def _open(self, plan: Plan, credentials: Credentials, addresses: list[str], number: int, shares: int) -> None:
        from kvbench.load.grpcio_session import Session
        from kvbench.load.grpcio_share import Share
        from kvbench.load.grpcio_timer import Timer
        from kvbench.load.shares import watch_connections

        if plan.cpus:
            os.sched_setaffinity(0, {plan.cpus[number % len(plan.cpus)]})
        self._share = Share(plan, number, shares)
        self._share.compile()
        self._timer = Timer()
        connections = self._share.connections
        self._session = Session(plan, credentials, addresses, number * connections)
        watched = max(plan.watched_keys, 1)
        keys = [self._share.key_of((each * shares + number) % watched) for each in range(self._share.watchers)]
        await self._session.open(connections, watch_connections(plan, number, shares), keys)
        self._reporter.tell("progress", Progress(connected=self._session.connected))
        self._reporter.tell("opened")

    async def _close(self) -> None:
        if self._session is not None:
            await self._session.close()
        if self._timer is not None:
            self._timer.close()

    async def _start(self, phase: Phase, start_ns: int, inserted: int) -> None:
        from kvbench.load.grpcio_phase import PhaseRun

        share, session = self._share, self._session
        share.begin(phase, start_ns, inserted)
        reconnects = session.reconnects
        self._run = PhaseRun(phase, share, session, self._timer)
        if self._stop is not None:
            self._run.stop(self._stop)
        reporting = threading.Event()
        reports = threading.Thread(target=self._report, args=(reporting,), name="reports", daemon=True)
        cpu_ns, used, wall_ns = time.process_time_ns(), schedstat(own_tid()), time.monotonic_ns()
        reports.start()
        try:
            await self._run.run()
        finally:
            cpu, delay = (after - before for before, after in zip(used, schedstat(own_tid()), strict=True))
            use = ThreadUse(time.monotonic_ns() - wall_ns, cpu, delay, self._run.send_lag_ns_max)
            cpu_ns = time.process_time_ns() - cpu_ns
            reporting.set()
            reports.join()
        self._tell_part()
        self._tell_progress()
        row = share.loop.phase[0]
        finished = Finished(
            use=use,
            cpu_ns=cpu_ns,
            last_ns=int(row["last_ns"]),
            end_reason=int(row["end_reason"]),
            slots=share.slots,
            in_flight_max=int(row["in_flight_max"]),
            cap_reached=int(row["cap_reached"]),
            second_tries=self._run.second_tries,
            missing=self._run.missing,
            reconnects=session.reconnects - reconnects,
            inserted=int(row["inserted"]),
            touched_bits=share.touched_bits(),
            error_text=self._run.error_text,
        )
        self._run = None
        self._reporter.tell("finished", finished)

    def _report(self, ended: threading.Event) -> None:
        """Tell of what became final and how far it is, ten times a second."""
        while not ended.wait(REPORT_S):
            self._tell_part()
            self._tell_progress()

    def _tell_part(self) -> None:
        part: PhaseResult | None = self._share.drain.take()
        if part is not None:
            self._reporter.tell("part", part)

    def _tell_progress(self) -> None:
        from kvbench.load import recorder

        row = self._share.loop.phase[0]
        completed, failed = int(row["completed"]), int(self._share.record.state[recorder.FAILED])
        in_flight = int(row["in_flight"])
        counters = Progress(
            offered=completed + failed + in_flight,
            completed=completed,
            errors=failed,
            in_flight=in_flight,
            connected=self._session.connected,
        )
        self._reporter.tell("progress", counters)


def read_orders(pipe: Pipe, worker: Worker) -> None:
    """Hand on what the parent says; end the process when the parent is gone."""
    while True:
        try:
            worker.order(pipe.recv())
        except (EOFError, OSError):
            os._exit(0)


async def work_for(pipe: Pipe) -> None:
    """Work for the parent at the other end of ``pipe``."""
    reporter = Reporter(pipe)
    worker = Worker(reporter)
    threading.Thread(target=read_orders, args=(pipe, worker), name="orders", daemon=True).start()
    try:
        await worker.work()
        reporter.tell("closed")
    except (EngineError, ValueError, OSError) as error:
        reporter.tell("failed", str(error))
    except Exception as error:
        reporter.tell("failed", f"{type(error).__name__}: {error}")
    reporter.end()
