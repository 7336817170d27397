"""The fast engine: numba load threads, one set of arrays each, started and watched by Python."""

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from kvbench import jit
from kvbench.client import etcd, zookeeper
from kvbench.client.dispatch import ETCD, PROTOCOLS, ZOOKEEPER
from kvbench.load import arrivals, keys, merge, mix, recorder, sizing, values
from kvbench.load.loop import run_phase
from kvbench.load.plan import Operation, Phase, Plan
from kvbench.load.protocol import EngineError, Progress
from kvbench.load.records import (
    END_REASONS,
    FREE,
    LINE,
    NEVER_NS,
    PHASE,
    REQUEST,
    SHARED_COMPLETED,
    SHARED_CONNECTED,
    SHARED_ERRORS,
    SHARED_IN_FLIGHT,
    SHARED_OFFERED,
    SHARED_SLOTS,
    SHARED_STOP,
    STOP_DRAIN,
    STOP_NOW,
    Choices,
    Clients,
    Loop,
)
from kvbench.load.shares import dealt, operation_names, unused_shares, watch_connections
from kvbench.measure.threads import own_tid, schedstat
from kvbench.net import table
from kvbench.net.records import Net
from kvbench.ops.errors import ErrorCode
from kvbench.ops.kinds import Kind
from kvbench.ops.records import OPERATION, OUTCOME
from kvbench.ops.results import PhaseResult, ThreadUse

REQUEST_BYTES_MAX = 64 << 20
"""What no store takes in one request, whatever its settings; a limit to the buffers that a plan can ask for."""
CLOSE_TIMEOUT_S = 2.0
"""Patience with servers that are to end sessions and do not answer."""
LOADING, OPENING, CLOSING = "loading", "opening", "closing"
"""What the load threads are set going for."""
OUTCOMES = 4096
IN_FLIGHT_MIN = 1024
"""Requests that one connection has room for, if there are as many slots: some may get more than their share."""
ONE_ANSWER_KINDS = {
    ETCD: {Kind.PUT, Kind.INSERT, Kind.GET, Kind.GET_SERIALIZABLE, Kind.DELETE, Kind.TXN},
    ZOOKEEPER: {Kind.INSERT, Kind.GET, Kind.GET_SERIALIZABLE, Kind.DELETE},
}
"""Operations that are done with their first answer, which is small if the plan's keys and values are."""
WATCHERS_MAX = 1000
"""etcd: of one connection, each on a stream of its own; a few more would find a place in its ring of streams."""
LEASE_KINDS = (Kind.LEASE_GRANT, Kind.LEASE_KEEP_ALIVE, Kind.LEASE_REVOKE)


@dataclass
class Share:
    """One load thread: its arrays, and the thread while a phase runs."""

    number: int
    loop: Loop
    clients: Clients
    net: Net
    choices: Choices | None = None
    record: Any = None
    drain: recorder.Drain | None = None
    thread: threading.Thread | None = None
    use: ThreadUse | None = None
    end_ns: int = 0
    failure: BaseException | None = None


class FastEngine:
    """Carries out a plan against ``addresses`` (host:port) with ``plan.threads`` load threads.

    ``kind`` is the target's kind ("etcd", "zookeeper" or "raft"). Implements load.protocol.LoadEngine.
    """

    def __init__(self, plan: Plan, kind: str, addresses: list[str]) -> None:
        self.plan = plan
        self.protocol = PROTOCOLS[kind]
        self.addresses = [split_address(address) for address in addresses]
        self.leases = any(operation.kind in LEASE_KINDS for operation in plan.operations)
        self._check()
        self.touched: npt.NDArray[np.uint8] = np.zeros(sizing.keys_reserved(plan), np.uint8)
        self.known: npt.NDArray[np.uint8] = np.zeros(len(self.touched), np.uint8)
        self.shares = [self._new_share(number) for number in range(plan.threads)]
        self.inserted = 0
        self.phase: Phase | None = None
        self.start_ns = 0
        self.cpu_start_ns = 0
        self.bytes_start = (0, 0)
        self.touched_before = 0
        self.result: PhaseResult | None = None

    # -- set-up ---------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        plan = self.plan
        if plan.threads > plan.connections or plan.connections > max(plan.clients, 1):
            raise EngineError(
                f"{plan.threads} load threads, {plan.connections} connections and {plan.clients} clients do not fit: "
                "every thread needs a connection and every connection a client"
            )
        if self.leases and self.protocol == ZOOKEEPER and plan.clients != plan.connections:
            raise EngineError(
                "on ZooKeeper a lease is a session, and a session is a connection: set load.connections "
                f"({plan.connections}) equal to load.clients ({plan.clients}) for lease operations"
            )
        if unused_shares(plan.in_flight_max, plan.phases, plan.threads):
            raise EngineError(
                f"at most {plan.in_flight_max} requests in flight (load.max_in_flight) leave some of {plan.threads} "
                "load threads with nothing to do: use fewer"
            )
        crowded = -(-plan.watchers // max(watch_connections(plan, 0, 1), 1))
        if self.protocol == ETCD and crowded > WATCHERS_MAX:
            raise EngineError(
                f"{crowded:,} watchers on one connection: each has a stream of its own, of which a connection carries "
                f"up to {WATCHERS_MAX:,}; set watch.connections to {-(-plan.watchers // WATCHERS_MAX):,} or more"
            )
        if sizing.request_bytes(plan) > REQUEST_BYTES_MAX:
            raise EngineError(
                f"requests may have {sizing.request_bytes(plan):,} bytes, which no store takes; the engine sends up "
                f"to {REQUEST_BYTES_MAX:,}: use smaller values, or fewer keys in a transaction"
            )

    def _new_share(self, number: int) -> Share:
        plan = self.plan
        connections = dealt(plan.connections, number, plan.threads)
        watchers = dealt(plan.watchers, number, plan.threads)
        watching = watch_connections(plan, number, plan.threads)
        every = connections + watching
        slots = sizing.slots(plan, number, plan.threads)
        payload_bytes = sizing.request_bytes(plan)
        rx_bytes, tx_bytes = sizing.buffer_bytes(plan, self.protocol)
        first = number * connections % len(self.addresses)
        net = table.new_net(every, self.addresses[first:] + self.addresses[:first], rx_bytes, tx_bytes)
        requests = np.zeros(slots + watchers, REQUEST)
        place_watchers(requests, slots, plan, connections, watching, number)
        lines = np.full(every, -1, LINE)
        lines["head"] = lines["tail"] = -1
        loop = Loop(
            phase=np.zeros(1, PHASE),
            shared=np.zeros(SHARED_SLOTS, np.int64),
            requests=requests,
            lines=lines,
            free=np.zeros(slots, np.int32),
            ready=np.zeros(slots, np.int32),
            operations=np.zeros(sizing.members(plan) + 1, OPERATION),
            payload=np.zeros(payload_bytes, np.uint8),
            outcomes=np.zeros(OUTCOMES + slots + watchers, OUTCOME),
            touched=self.touched,
            scratch=np.zeros(16, np.uint8),
        )
        return Share(number, loop, self._new_clients(every, slots + watchers, payload_bytes), net)

    def _new_clients(self, connections: int, slots: int, payload_bytes: int) -> Clients:
        """The state of the protocol in use, and the smallest one of the other."""
        plan = self.plan
        if self.protocol == ETCD:
            first = etcd.new_client(connections, slots, payload_bytes)
            return Clients(first, zookeeper.new_client(1, 1, self.known[:1]))
        even = -(-slots // connections)
        second = zookeeper.new_client(
            connections,
            2 * min(slots, max(4 * even, IN_FLIGHT_MIN)),
            self.known,
            session_timeout_ms=int(plan.session_timeout_s * 1000),
            user=plan.user,
            password=plan.password,
            lease_sessions=self.leases,
            watches=plan.watchers,
        )
        return Clients(etcd.new_client(1, 1, 1), second)

    # -- phases ---------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Connect everything and set watches. Raises EngineError when that takes longer than the time-out."""
        self._begin(Phase("open", count=1), OPENING)
        self._join()
        missing = [share for share in self.shares if not is_open(share)]
        if missing:
            connected = sum(int(share.loop.phase[0]["connected"]) for share in self.shares)
            every = sum(len(share.net.connections) for share in self.shares)
            self.close()
            raise EngineError(
                f"only {connected} of {every} connections to {', '.join(f'{h}:{p}' for h, p in self.addresses)} were "
                f"ready after {self.plan.timeout_s:g} s"
            )

    def start_phase(self, phase: Phase) -> None:
        """Begin a phase on threads of its own and return at once."""
        self._begin(phase)

    def _begin(self, phase: Phase, purpose: str = LOADING) -> None:
        operations = phase.operations or self.plan.operations
        self.phase = phase
        self.result = None
        self.touched_before = int(np.count_nonzero(self.touched))
        self._choose(phase, operations)
        self._compile()
        self.cpu_start_ns = time.process_time_ns()
        self.bytes_start = self._bytes()
        self.start_ns = time.monotonic_ns() + (1_000_000 if purpose == LOADING else 0)
        names = operation_names(operations, self.plan.watchers > 0)
        for share in self.shares:
            share.record = recorder.new_recorder(len(names), self.start_ns, self._longest_s(phase))
            share.drain = recorder.Drain(share.record, phase.name, names)
            self._set_phase(share, phase, purpose, operations)
            share.failure = None
            share.thread = threading.Thread(target=self._run, args=(share,), name=f"load-{share.number}")
            share.thread.start()

    def _choose(self, phase: Phase, operations: tuple[Operation, ...]) -> None:
        """What the phase's requests are chosen from."""
        for share in self.shares:
            share.choices = Choices(
                keyspace=keys.new_keyspace(self.plan.keys, self.plan.seed),
                values=values.new_values(self.plan.values, self.plan.seed),
                mix=mix.new_mix(operations, self.plan.seed),
                arrival=arrivals.new_arrival(phase, self.plan.seed),
            )

    def _longest_s(self, phase: Phase) -> float:
        return phase.duration_s + 2 * self.plan.timeout_s if phase.duration_s else 0.0

    def _set_phase(self, share: Share, phase: Phase, purpose: str, operations: tuple[Operation, ...]) -> None:
        """Fill the PHASE record and make every slot free. Connections and watches stay as they are."""
        plan = self.plan
        row = share.loop.phase[0]
        slots = len(share.loop.free)
        in_use = self._in_use(share, phase)
        closed = phase.arrival == "closed"
        kept = {name: int(row[name]) for name in ("connected", "standing")}
        share.loop.phase[:] = 0
        fields = {
            **kept,
            "start_ns": self.start_ns,
            "end_ns": self.start_ns + self._schedule_ns(phase, purpose),
            "count": phase.count or NEVER_NS,
            "index": share.number,
            "due_index": -1,
            "shares": plan.threads,
            "share": share.number,
            "timeout_ns": int(plan.timeout_s * 1e9),
            "think_ns": int(plan.think_time_s * 1e9),
            "insert_base": self.inserted,
            "closed_loop": int(closed),
            "opening": int(purpose == OPENING),
            "closing": int(purpose == CLOSING),
            "protocol": self.protocol,
            "all_connections": len(share.net.connections),
            "load_connections": dealt(plan.connections, share.number, plan.threads),
            "clients": slots,
            "watch_operation": len(operations),
            "defers": int(not closed and one_small_answer(plan, operations, self.protocol)),
            "lease_per_connection": int(self.leases and self.protocol == ZOOKEEPER),
            "free": 0 if closed else in_use,
            "ready_tail": in_use if closed and purpose == LOADING else 0,
            "cap_hit_ns": -1,
        }
        for name, value in fields.items():
            row[name] = value
        share.loop.shared[:] = 0
        share.loop.shared[SHARED_CONNECTED] = kept["connected"]
        requests = share.loop.requests[:slots]
        requests["state"] = FREE
        requests["scheduled_ns"] = self.start_ns
        requests["connection"] = np.arange(slots) % int(row["load_connections"])
        share.loop.free[:in_use] = np.arange(in_use)[::-1]
        share.loop.ready[:] = np.arange(slots)

    def _in_use(self, share: Share, phase: Phase) -> int:
        """Slots that a phase may use: all clients in a closed loop, in an open one no more than the cap."""
        most = sizing.slots_of_phase(self.plan, phase, share.number, self.plan.threads)
        return min(most, len(share.loop.free))

    def _schedule_ns(self, phase: Phase, purpose: str) -> int:
        if purpose == OPENING:
            return int(self.plan.timeout_s * 1e9)
        if purpose == CLOSING:
            return int(min(self.plan.timeout_s, CLOSE_TIMEOUT_S) * 1e9)
        return int(phase.duration_s * 1e9) if phase.duration_s else NEVER_NS

    def prepare(self, report: Callable[[float], None] | None = None) -> float:
        """Compile the loop, or load it from the cache, before any server is started. Returns seconds spent.

        ``report`` is called about once a second with the seconds spent so far. ``open`` does it too, in silence.
        """
        self._choose(Phase("prepare", count=1), self.plan.operations)
        return self._compile(report)

    def _compile(self, report: Callable[[float], None] | None = None) -> float:
        """Compile or load the loop for this plan's types before any thread starts."""
        share = self.shares[0]
        record = recorder.new_recorder(1, 0, 1.0)
        arguments = (share.loop, share.clients, share.choices, share.net, record)
        return jit.compile_for(run_phase, arguments, "load", report)

    def _run(self, share: Share) -> None:
        """A load thread: pin it, run the kernel, and note what the thread cost."""
        thread_id = own_tid()
        try:
            if self.plan.cpus:
                os.sched_setaffinity(thread_id, {self.plan.cpus[share.number % len(self.plan.cpus)]})
            cpu, delay = schedstat(thread_id)
            start = time.monotonic_ns()
            share.end_ns = run_phase(share.loop, share.clients, share.choices, share.net, share.record)
            wall = time.monotonic_ns() - start
            cpu_end, delay_end = schedstat(thread_id)
            lag = int(share.loop.phase[0]["send_lag_ns_max"])
            share.use = ThreadUse(wall, cpu_end - cpu, delay_end - delay, lag)
        except BaseException as error:
            share.failure = error

    def poll(self) -> tuple[Progress, PhaseResult | None]:
        """Counters now, and the seconds that became final since the last poll."""
        part: PhaseResult | None = None
        for share in self.shares:
            drained = share.drain.take() if share.drain is not None else None
            if drained is not None:
                part = drained if part is None else merge.add(part, drained)
        if part is not None:
            self.result = part if self.result is None else merge.add(self.result, part)
        return self._progress(), part

    def _progress(self) -> Progress:
        sums = np.sum([share.loop.shared for share in self.shares], axis=0)
        return Progress(
            elapsed_s=max(0, time.monotonic_ns() - self.start_ns) / 1e9,
            offered=int(sums[SHARED_OFFERED]),
            completed=int(sums[SHARED_COMPLETED]),
            errors=int(sums[SHARED_ERRORS]),
            in_flight=int(sums[SHARED_IN_FLIGHT]),
            connected=int(sums[SHARED_CONNECTED]),
        )

    def running(self) -> bool:
        """Whether any load thread still works."""
        return any(share.thread is not None and share.thread.is_alive() for share in self.shares)

    def stop_phase(self) -> None:
        """Send nothing new and await what is in flight; called a second time, do not wait either."""
        for share in self.shares:
            share.loop.shared[SHARED_STOP] = STOP_NOW if share.loop.shared[SHARED_STOP] else STOP_DRAIN

    def _join(self) -> None:
        for share in self.shares:
            if share.thread is not None:
                share.thread.join()
                share.thread = None
        for share in self.shares:
            if share.failure is not None:
                raise EngineError(f"load thread {share.number} failed: {share.failure}") from share.failure

    def finish_phase(self) -> PhaseResult:
        """Wait for the threads and return the whole phase's result."""
        self._join()
        self.poll()
        phases = [share.loop.phase[0] for share in self.shares]
        if self.result is None or self.phase is None:
            raise EngineError("no phase was started")
        self.inserted += sum(int(row["inserted"]) for row in phases)
        sent, received = self._bytes()
        schedule_ns = int(self.phase.duration_s * 1e9) if self.phase.arrival != "closed" else 0
        last_ns = max(int(row["last_ns"]) for row in phases) - self.start_ns
        ended = max(int(row["end_reason"]) for row in phases)
        return replace(
            self.result,
            duration_ns=max(last_ns, schedule_ns if END_REASONS[ended] == "duration" else 0, 1),
            threads=[share.use for share in self.shares if share.use is not None],
            in_flight_cap=sum(self._in_use(share, self.phase) for share in self.shares),
            in_flight_max=sum(int(row["in_flight_max"]) for row in phases),
            cap_reached=sum(int(row["cap_reached"]) for row in phases),
            second_tries=sum(int(row["second_tries"]) for row in phases),
            missing=sum(int(row["missing"]) for row in phases),
            reconnects=sum(int(row["reconnects"]) for row in phases),
            keys_touched=int(np.count_nonzero(self.touched)),
            cpu_ns=time.process_time_ns() - self.cpu_start_ns,
            bytes_sent=sent - self.bytes_start[0],
            bytes_received=received - self.bytes_start[1],
            end_reason=END_REASONS[ended],
            error_text=self._error_text(self.result),
        )

    def _error_text(self, result: PhaseResult) -> str:
        """Status and message of the last refusal that came with a message, if the phase has errors of that status."""
        for share in self.shares:
            status, text = etcd.last_error(share.clients.etcd)
            if text and result.errors[:, :, status].any():
                printable = "".join(letter if letter.isprintable() else " " for letter in text)
                return f"{ErrorCode(status).name}: {printable}"
        return ""

    def _bytes(self) -> tuple[int, int]:
        tables = [share.net.connections for share in self.shares]
        return sum(int(t["bytes_sent"].sum()) for t in tables), sum(int(t["bytes_received"].sum()) for t in tables)

    def connections_per_address(self) -> dict[str, int]:
        """How many load connections each address has now."""
        counts = dict.fromkeys((f"{host}:{port}" for host, port in self.addresses), 0)
        for share in self.shares:
            first = share.number * len(share.net.connections) % len(self.addresses)
            for row in share.net.connections:
                host, port = self.addresses[(first + int(row["endpoint"])) % len(self.addresses)]
                counts[f"{host}:{port}"] += 1
        return counts

    def close(self) -> None:
        """End the sessions that ZooKeeper would else keep until they expire; close every connection.

        Safe to call twice. A server that does not answer is waited for no longer than CLOSE_TIMEOUT_S.
        """
        for share in self.shares:
            if share.thread is not None and share.thread.is_alive():
                share.loop.shared[SHARED_STOP] = STOP_NOW
                share.thread.join()
        if self.protocol == ZOOKEEPER and any(share.net.connections["ready"].any() for share in self.shares):
            self._begin(Phase("close", count=1), CLOSING)
            for share in self.shares:
                if share.thread is not None:
                    share.thread.join()
        for share in self.shares:
            table.close_all(share.net)


def one_small_answer(plan: Plan, operations: tuple[Operation, ...], protocol: int) -> bool:
    """Whether all that a connection receives in an open loop is one small answer to each operation."""
    kinds = {operation.kind for operation in operations}
    small = sizing.request_bytes(plan) <= sizing.LARGE_BYTES
    return small and plan.watchers == 0 and kinds <= ONE_ANSWER_KINDS[protocol]


def split_address(address: str) -> tuple[str, int]:
    """host:port or [v6]:port. Raises EngineError."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise EngineError(f"{address!r} is not an address; write host:port")
    return host.strip("[]"), int(port)


def place_watchers(
    requests: npt.NDArray[np.void], slots: int, plan: Plan, connections: int, watching: int, share: int
) -> None:
    """Fill the watchers' slots: key and connection of each, dealt in turn."""
    rows = requests[slots:]
    number = np.arange(len(rows))
    rows["kind"] = Kind.WATCH
    rows["state"] = FREE
    rows["key_index"] = (number * plan.threads + share) % max(plan.watched_keys, 1)
    if len(rows):
        rows["connection"] = connections + number % watching


def is_open(share: Share) -> bool:
    """Whether every connection of a share is ready and every watch stands."""
    row = share.loop.phase[0]
    watchers = len(share.loop.requests) - len(share.loop.free)
    return bool(row["connected"] == len(share.net.connections) and row["standing"] == watchers)
