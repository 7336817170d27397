"""One phase of load on one worker process: an asyncio loop that sends what is due and records what comes back."""

import asyncio
import time
from typing import Any

from kvbench.load import grpcio_share, recorder, sending
from kvbench.load.grpcio_calls import Connection, Outcome, StaleTokenError, prepare
from kvbench.load.grpcio_session import Session
from kvbench.load.grpcio_share import Share
from kvbench.load.grpcio_timer import Timer
from kvbench.load.plan import Phase
from kvbench.load.protocol import EngineError
from kvbench.load.records import END_COUNT, END_DURATION, END_STOPPED
from kvbench.ops.errors import ErrorCode
from kvbench.ops.kinds import Kind


class PhaseRun:
    """A phase under way. ``share`` must have begun it."""

    def __init__(self, phase: Phase, share: Share, session: Session, timer: Timer) -> None:
        self._phase = phase
        self._share = share
        self._session = session
        self._timer = timer
        self._loop = share.loop
        self._row = share.loop.phase[0]
        self._timeout_s = share.plan.timeout_s
        self._end_ns = int(self._row["end_ns"])
        self._count = int(self._row["count"])
        self._stopping = asyncio.Event()
        self._slot_free = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._next_connection = 0
        self.error_text = ""
        """ErrorCode and message of the last request that failed with a message."""
        self.second_tries = 0
        self.missing = 0

    async def run(self) -> None:
        """Work until everything scheduled has been sent and answered."""
        self._session.on_event = self._observe
        try:
            if self._phase.arrival == "closed":
                await self._closed_loop()
            else:
                await self._open_loop()
        finally:
            self._session.on_event = None
            await self._cancel_all()
        if self._row["end_reason"] == END_COUNT and self._row["index"] < self._count:
            self._row["end_reason"] = END_DURATION
        recorder.finish(self._share.record, time.monotonic_ns())

    def stop(self, now: bool) -> None:
        """Send nothing new; with ``now``, await nothing either."""
        if self._row["end_reason"] == END_COUNT:
            self._row["end_reason"] = END_STOPPED
        self._stopping.set()
        self._slot_free.set()
        self._timer.wake_all()
        if now:
            for task in self._tasks:
                task.cancel()

    @property
    def send_lag_ns_max(self) -> int:
        """The most that a request was sent after it was due."""
        return int(self._row["send_lag_ns_max"])

    def _observe(self, sent_ns: int, now_ns: int) -> None:
        grpcio_share.observe_event(self._loop, self._share.record, sent_ns, now_ns)

    def _over(self) -> bool:
        return self._stopping.is_set() or int(self._row["index"]) >= self._count

    def _start_task(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _cancel_all(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- closed loop ----------------------------------------------------------------------------------------------

    async def _closed_loop(self) -> None:
        plan = self._share.plan
        await self._sleep_until(int(self._row["start_ns"]))
        for slot in range(self._share.clients):
            self._start_task(self._client(slot, round(plan.think_time_s * 1e9)))
        await self._all_tasks()

    async def _client(self, slot: int, think_ns: int) -> None:
        connection = self._session.connections[slot % len(self._session.connections)]
        due_ns = int(self._row["start_ns"])
        while due_ns < self._end_ns:
            if think_ns:
                await self._sleep_until(due_ns)
            if self._over() or time.monotonic_ns() >= self._end_ns:
                return
            self._issue(slot, due_ns)
            await self._carry_out(slot, connection)
            due_ns = time.monotonic_ns() + think_ns

    async def _all_tasks(self) -> None:
        """Wait until every task has ended; the first failure of the engine itself is raised."""
        while self._tasks:
            done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                if not task.cancelled() and task.exception() is not None:
                    raise task.exception()  # type: ignore[misc]

    async def _sleep_until(self, due_ns: int) -> None:
        """Sleep until ``due_ns``, the phase's end or a stop, whichever comes first."""
        if not self._stopping.is_set():
            await self._timer.sleep_until(min(due_ns, self._end_ns))

    # -- open loop ------------------------------------------------------------------------------------------------

    async def _open_loop(self) -> None:
        self._free = list(range(self._share.slots - 1, -1, -1))
        cap_hit_ns = -1
        due_ns = grpcio_share.advance_due(self._loop, self._share.choices)
        while not self._over() and due_ns < self._end_ns:
            await self._sleep_until(due_ns)
            now_ns = time.monotonic_ns()
            if self._stopping.is_set():
                break
            if not self._free:
                cap_hit_ns = now_ns
                if not await self._wait_for_slot():
                    break
                continue
            if due_ns <= cap_hit_ns:
                self._row["cap_reached"] += 1
            slot = self._free.pop()
            self._issue(slot, due_ns)
            self._start_task(self._open_request(slot))
            due_ns = grpcio_share.advance_due(self._loop, self._share.choices)
        self._abandon(due_ns)
        await self._all_tasks()

    async def _wait_for_slot(self) -> bool:
        """Wait for a request to end. False: a stop, or the schedule has been over for as long as the time-out."""
        left_s = (self._end_ns - time.monotonic_ns()) / 1e9 + self._timeout_s
        self._slot_free.clear()
        try:
            async with asyncio.timeout(left_s if left_s < 1e6 else None):
                await self._slot_free.wait()
        except TimeoutError:
            return False
        return not self._stopping.is_set()

    async def _open_request(self, slot: int) -> None:
        try:
            await self._carry_out(slot, self._pick_connection())
        finally:
            self._free.append(slot)
            self._slot_free.set()

    def _pick_connection(self) -> Connection:
        """The next connection in turn that is up; the next in turn when none is."""
        connections = self._session.connections
        first = self._next_connection
        self._next_connection = (first + 1) % len(connections)
        for step in range(len(connections)):
            candidate = connections[(first + step) % len(connections)]
            if candidate.is_ready:
                return candidate
        return connections[first]

    def _abandon(self, due_ns: int) -> None:
        """Count what was due but never had a slot as offered and failed (NOT_SENT)."""
        now_ns = time.monotonic_ns()
        until_ns = min(now_ns, self._end_ns - 1)
        while int(self._row["index"]) < self._count and due_ns <= until_ns:
            due_ns = grpcio_share.give_up(self._loop, self._share.choices, self._share.record, now_ns)

    # -- one request ----------------------------------------------------------------------------------------------

    def _issue(self, slot: int, due_ns: int) -> None:
        """Choose the next request; at once, because the next due time depends on its index."""
        sending.issue(self._loop, self._share.choices, self._share.record, slot, due_ns)

    async def _carry_out(self, slot: int, connection: Connection) -> None:
        """Send, await and record one request, all its steps."""
        try:
            outcome = await self._steps(slot, connection)
        except asyncio.CancelledError:
            self._finish(slot, Outcome(ErrorCode.CANCELLED))
            raise
        self._finish(slot, outcome)

    def _finish(self, slot: int, outcome: Outcome) -> None:
        now_ns = time.monotonic_ns()
        if outcome.code != ErrorCode.OK:
            grpcio_share.fail(self._loop, self._share.record, slot, int(outcome.code), now_ns)
            if outcome.text:
                printable = "".join(letter if letter.isprintable() else " " for letter in outcome.text)
                self.error_text = f"{ErrorCode(outcome.code).name}: {printable}"
            return
        self.missing += outcome.keys == 0
        grpcio_share.complete(self._loop, self._share.record, slot, now_ns)

    async def _steps(self, slot: int, connection: Connection) -> Outcome:
        share, loop = self._share, self._loop
        request = loop.requests[slot]
        while True:
            now_ns = time.monotonic_ns()
            count = grpcio_share.encode(loop, share.choices, share.record, slot, now_ns)
            prepared = prepare(loop.operations, count, loop.payload)
            kind = prepared[0]
            try:
                outcome = await connection.step(prepared, self._timeout_s)
            except StaleTokenError:
                outcome = await self._again(connection, prepared)
            self._note_lease(request, kind, outcome)
            if not outcome.next_step or outcome.code != ErrorCode.OK:
                return outcome
            request["step"] = outcome.next_step
            request["expected"] = outcome.revision

    async def _again(self, connection: Connection, prepared: Any) -> Outcome:
        """The same step with a new token, counted as a second try; a token refused twice is the outcome."""
        self.second_tries += 1
        stale = connection.metadata[0][1] if connection.metadata else ""
        try:
            await self._session.log_in(stale)
            return await connection.step(prepared, self._timeout_s)
        except (StaleTokenError, EngineError):
            return Outcome(ErrorCode.UNAUTHENTICATED)

    def _note_lease(self, request: Any, kind: Kind, outcome: Outcome) -> None:
        """Remember the lease that a client holds, or that it holds none."""
        if kind is Kind.LEASE_GRANT and outcome.code == ErrorCode.OK:
            request["lease_id"] = outcome.lease_id
        elif kind is Kind.LEASE_REVOKE or (kind is Kind.LEASE_KEEP_ALIVE and outcome.code == ErrorCode.LEASE_EXPIRED):
            request["lease_id"] = 0
