"""The fast engine's loop: what it counts, when it ends, and what it says when servers misbehave."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from kvbench.calibrate import null_server
from kvbench.load.engine import FastEngine
from kvbench.load.plan import Operation, Phase, Values
from kvbench.load.protocol import EngineError
from kvbench.load.shares import dealt
from kvbench.ops.errors import ErrorCode
from kvbench.ops.kinds import Kind
from kvbench.ops.results import RESPONSE, SERVICE, WAIT, PhaseResult
from kvbench.stats import histograms, percentiles
from tests.load.engine_runs import errors_by_code, plan, run, run_plan
from tests.naive import http2

pytestmark = pytest.mark.slow


def total(result: PhaseResult, which: int) -> int:
    """Values in all histograms of one time."""
    rows = result.histograms
    return int(rows["count"][rows["time"] == which].sum())


def check_complete(result: PhaseResult, count: int) -> None:
    """Every request was offered, sent and completed once, and has its three times."""
    assert result.offered.sum() == count
    assert result.sent.sum() == count
    assert result.completed.sum() == count
    assert errors_by_code(result) == {}
    assert [total(result, which) for which in (WAIT, SERVICE, RESPONSE)] == [count] * 3


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("kind", ["etcd", "zookeeper"])
def test_closed_loop_ends_at_its_count(kind: str, threads: int, null_etcd: str, null_zookeeper: str) -> None:
    address = null_etcd if kind == "etcd" else null_zookeeper
    (result,) = run_plan(plan(threads=threads), kind, [address], Phase("measure", count=5003))
    check_complete(result, 5003)
    assert result.end_reason == "count"
    assert 0 < result.in_flight_max <= 8
    assert len(result.threads) == threads
    assert result.bytes_sent > 5003 * 96


def test_closed_loop_ends_at_its_duration(null_etcd: str) -> None:
    (result,) = run_plan(plan(), "etcd", [null_etcd], Phase("measure", duration_s=0.3))
    check_complete(result, int(result.offered.sum()))
    assert result.end_reason == "duration"


def test_phases_follow_each_other_on_the_same_connections(null_etcd: str) -> None:
    phases = [Phase("a", count=100), Phase("b", count=200), Phase("c", duration_s=0.2, arrival="constant",
                                                                   rates_ops_s=(500.0,))]  # fmt: skip
    results = run_plan(plan(), "etcd", [null_etcd], *phases)
    assert [int(each.completed.sum()) for each in results] == [100, 200, 100]
    assert all(each.reconnects == 0 for each in results)


def test_watchers_are_dealt_to_connections_of_their_own() -> None:
    for own, expected in ((0, 4 + 4), (7, 4 + 7), (50, 4 + 30)):
        engine = FastEngine(plan(watchers=30, watch_connections=own), "raft", ["127.0.0.1:1"])
        assert len(engine.shares[0].net.connections) == expected
    with pytest.raises(EngineError, match=r"watch\.connections to 7 or more"):
        FastEngine(plan(watchers=6001, watch_connections=6), "etcd", ["127.0.0.1:1"])


@pytest.mark.parametrize("threads", [1, 2])
def test_open_loop_sends_what_the_schedule_says(null_etcd: str, threads: int) -> None:
    phase = Phase("measure", duration_s=1.0, arrival="constant", rates_ops_s=(1000.0,))
    (result,) = run_plan(plan(threads=threads), "etcd", [null_etcd], phase)
    check_complete(result, 1000)
    assert result.offered[0].sum() == 1000
    assert result.cap_reached == 0


@pytest.mark.parametrize("kind", ["etcd", "zookeeper"])
def test_an_answer_that_is_read_later_was_received_when_it_came(
    kind: str, null_etcd: str, null_zookeeper: str
) -> None:
    phase = Phase("measure", duration_s=1.0, arrival="constant", rates_ops_s=(2000.0,))
    address = null_etcd if kind == "etcd" else null_zookeeper
    engine = FastEngine(plan(Kind.INSERT, phases=(phase,)), kind, [address])
    engine.open()
    result = run(engine, phase)
    deferred = int(engine.shares[0].loop.phase[0]["deferred"])
    engine.close()
    check_complete(result, 2000)
    assert deferred > 100
    # Were the times those of reading, more than half would be longer than from one request to the next.
    buckets, counts = histograms.of(result.histograms, SERVICE)
    assert percentiles.value_at(buckets, counts, 500_000) < 500_000


@pytest.mark.parametrize("changes", [{"watchers": 1}, {"values": Values(sizes_bytes=(6000,))}, {"kind": Kind.CAS}])
def test_answers_that_need_attention_are_read_at_once(null_etcd: str, changes: dict[str, Any]) -> None:
    phase = Phase("measure", duration_s=0.2, arrival="constant", rates_ops_s=(2000.0,))
    engine = FastEngine(plan(phases=(phase,), **changes), "etcd", [null_etcd])
    engine.open()
    run(engine, phase)
    deferred = int(engine.shares[0].loop.phase[0]["deferred"])
    engine.close()
    assert deferred == 0


def test_poisson_offers_the_same_requests_whatever_the_threads(null_etcd: str) -> None:
    phase = Phase("measure", duration_s=0.5, arrival="poisson", rates_ops_s=(2000.0,))
    counts = {
        int(run_plan(plan(threads=threads), "etcd", [null_etcd], phase)[0].offered.sum()) for threads in (1, 2, 3)
    }
    assert len(counts) == 1


def test_think_time_keeps_clients_from_sending(null_etcd: str) -> None:
    (result,) = run_plan(plan(think_time_s=0.1), "etcd", [null_etcd], Phase("measure", duration_s=0.55))
    assert 8 <= result.completed.sum() <= 8 * 6


def test_mix_follows_the_weights(null_etcd: str) -> None:
    operations = (Operation(Kind.PUT, 3.0), Operation(Kind.GET, 1.0))
    (result,) = run_plan(plan(operations=operations), "etcd", [null_etcd], Phase("measure", count=8000))
    put, get = result.completed.sum(axis=0)
    assert put + get == 8000
    assert 5700 < put < 6300
    assert result.operations == ("put", "get")


def test_keys_touched_counts_distinct_keys(null_etcd: str) -> None:
    (result,) = run_plan(plan(), "etcd", [null_etcd], Phase("measure", count=200))
    assert 100 < result.keys_touched <= 200


@pytest.mark.parametrize("kind", ["etcd", "zookeeper"])
def test_large_values_are_written_and_read(kind: str) -> None:
    operations = (Operation(Kind.PUT, 1.0), Operation(Kind.GET, 1.0))
    what = plan(operations=operations, values=Values(sizes_bytes=(300_000,)))
    with null_server(kind, None, ("--value-bytes", "300000", "--connections", "8")) as address:
        (result,) = run_plan(what, kind, [address], Phase("measure", count=200))
    check_complete(result, 200)
    puts, gets = (int(count) for count in result.completed.sum(axis=0))
    assert puts * 300_000 < result.bytes_sent < puts * 305_000 + gets * 1000
    assert gets * 300_000 < result.bytes_received < gets * 305_000 + puts * 1000


def test_requests_that_no_store_takes_are_refused_by_name() -> None:
    with pytest.raises(EngineError, match="smaller values"):
        FastEngine(plan(Kind.TXN, values=Values(sizes_bytes=(64 << 20,))), "etcd", ["127.0.0.1:1"])


def until(true: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Wait for something to come true."""
    give_up = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < give_up
        time.sleep(0.01)


PINGS = 400_000
"""Their answers are more bytes than sockets on loopback take in (about 3 MB) while nobody reads."""


def ping_without_reading(
    listener: socket.socket, released: threading.Event, answers: list[bytes], over: threading.Event
) -> None:
    """An HTTP/2 server that sends more pings than the client can answer while nobody reads, then reads all answers."""
    connection, _ = listener.accept()
    with connection:
        connection.sendall(http2.settings())
        received = b""
        while len(received) < len(http2.PREFACE):
            received += connection.recv(len(http2.PREFACE) - len(received))
        sending = threading.Thread(
            target=connection.sendall,
            args=(b"".join(http2.frame(http2.PING, 0, 0, b"%08d" % number) for number in range(PINGS)),),
        )
        sending.start()
        released.wait()
        received = b""
        while len(answers) < PINGS and (chunk := connection.recv(1 << 16)):
            received += chunk
            whole = 0
            while len(received) - whole >= 9 + (size := int.from_bytes(received[whole : whole + 3], "big")):
                if received[whole + 3] == http2.PING:
                    answers.append(received[whole + 9 : whole + 17])
                whole += 9 + size
            received = received[whole:]
        sending.join()
        over.wait()


def test_a_server_that_does_not_read_is_not_given_up() -> None:
    released, over, answers = threading.Event(), threading.Event(), list[bytes]()
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        server = threading.Thread(target=ping_without_reading, args=(listener, released, answers, over), daemon=True)
        server.start()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        engine = FastEngine(plan(clients=1, connections=1, timeout_s=60.0), "etcd", [address])
        try:
            engine.open()
            engine.start_phase(Phase("measure", count=1))
            net = engine.shares[0].net
            until(lambda: net.connections["wants_write"][0] == 2)
            released.set()
            until(lambda: len(answers) == PINGS)
            engine.stop_phase()
            engine.stop_phase()
            result = engine.finish_phase()
        finally:
            engine.close()
            over.set()
        server.join()
    assert answers == [b"%08d" % number for number in range(PINGS)]
    assert result.reconnects == 0


@contextmanager
def deaf_server() -> Iterator[str]:
    """A server that accepts nothing and answers nothing: connections wait in its backlog for ever."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("kind", ["etcd", "zookeeper"])
def test_a_server_that_never_answers_is_named(kind: str) -> None:
    with deaf_server() as address:
        engine = FastEngine(plan(timeout_s=0.3), kind, [address])
        with pytest.raises(EngineError, match=f"0 of 4 connections to {address}"):
            engine.open()


def test_a_server_that_is_not_there_is_named() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    engine = FastEngine(plan(timeout_s=0.3), "etcd", [address])
    with pytest.raises(EngineError, match="0 of 4 connections"):
        engine.open()


class Valve:
    """A proxy on loopback that can stop passing bytes, and cut its connections."""

    def __init__(self, address: str) -> None:
        host, port = address.split(":")
        self.target = (host, int(port))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.open = threading.Event()
        self.open.set()
        self.sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.create_connection(self.target)
            self.sockets += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                self.open.wait()
                sink.sendall(data)
        except OSError:
            return

    def cut(self) -> None:
        """Break every connection; new ones are accepted."""
        broken, self.sockets = self.sockets, []
        for each in broken:
            each.shutdown(socket.SHUT_RDWR) if each.fileno() >= 0 else None
            each.close()

    def close(self) -> None:
        self.open.set()
        self.listener.close()
        for each in self.sockets:
            each.close()


@pytest.fixture
def valve(null_etcd: str) -> Iterator[Valve]:
    made = Valve(null_etcd)
    yield made
    made.close()


def test_requests_without_an_answer_time_out_and_are_counted(valve: Valve) -> None:
    engine = FastEngine(plan(timeout_s=0.3), "etcd", [valve.address])
    engine.open()
    valve.open.clear()
    result = run(engine, Phase("measure", count=16))
    engine.close()
    assert errors_by_code(result) == {ErrorCode.TIMEOUT: 16}
    assert result.completed.sum() == 0
    assert result.offered.sum() == 16


def test_a_broken_connection_fails_what_was_on_it_and_is_made_anew(valve: Valve) -> None:
    engine = FastEngine(plan(timeout_s=2.0), "etcd", [valve.address])
    engine.open()
    engine.start_phase(Phase("measure", duration_s=1.0))
    threading.Timer(0.3, valve.cut).start()
    while engine.running():
        engine.poll()
    result = engine.finish_phase()
    engine.close()
    assert set(errors_by_code(result)) == {ErrorCode.CONNECTION_LOST}
    assert 1 <= errors_by_code(result)[ErrorCode.CONNECTION_LOST] <= 8
    assert result.reconnects == 4
    assert result.offered.sum() == result.completed.sum() + result.errors.sum()
    assert result.completed.sum() > 0


@pytest.mark.parametrize(("cap", "threads"), [(10, 1), (3, 1), (3, 2)])
def test_the_cap_on_requests_in_flight_is_reached_and_said(valve: Valve, cap: int, threads: int) -> None:
    phase = Phase("measure", duration_s=1.0, arrival="constant", rates_ops_s=(200.0,))
    what = plan(timeout_s=5.0, in_flight_max=cap, threads=threads, phases=(phase,))
    engine = FastEngine(what, "etcd", [valve.address])
    engine.open()
    valve.open.clear()
    threading.Timer(0.5, valve.open.set).start()
    result = run(engine, phase)
    closed = run(engine, Phase("preload", count=100))
    engine.close()
    assert result.in_flight_cap == result.in_flight_max == cap
    assert result.cap_reached > 0
    check_complete(result, 200)
    assert closed.in_flight_cap == 8
    check_complete(closed, 100)


def test_a_cap_that_leaves_threads_idle_is_refused() -> None:
    phase = Phase("measure", duration_s=1.0, arrival="constant", rates_ops_s=(200.0,))
    with pytest.raises(EngineError, match="at most 3 requests in flight"):
        FastEngine(plan(threads=4, in_flight_max=3, phases=(phase,)), "etcd", ["127.0.0.1:1"])


def test_stopping_awaits_what_is_in_flight_and_then_does_not(valve: Valve) -> None:
    engine = FastEngine(plan(timeout_s=20.0), "etcd", [valve.address])
    engine.open()
    valve.open.clear()
    engine.start_phase(Phase("measure", duration_s=60.0))
    engine.stop_phase()
    engine.stop_phase()
    result = engine.finish_phase()
    engine.close()
    assert result.end_reason == "interrupted"
    assert result.offered.sum() == result.errors.sum() == errors_by_code(result).get(ErrorCode.CANCELLED, 0)


def test_stopping_in_a_hurry_tells_what_was_never_sent_apart(valve: Valve) -> None:
    engine = FastEngine(plan(timeout_s=20.0), "etcd", [valve.address])
    engine.open()
    valve.open.clear()
    valve.cut()
    engine.start_phase(Phase("measure", duration_s=60.0))
    progress, _ = engine.poll()
    while progress.connected or progress.in_flight < 8:
        time.sleep(0.01)
        progress, _ = engine.poll()
    engine.stop_phase()
    engine.stop_phase()
    counted = errors_by_code(engine.finish_phase())
    engine.close()
    assert counted.pop(ErrorCode.NOT_SENT) == 8
    assert set(counted) <= {ErrorCode.CONNECTION_LOST}


def test_connections_are_dealt_evenly_over_the_addresses(null_etcd: str) -> None:
    engine = FastEngine(plan(threads=2), "etcd", [null_etcd, null_etcd.replace("127.0.0.1", "127.0.0.1")])
    assert sum(engine.connections_per_address().values()) == 4
    engine.close()


def test_leases_on_zookeeper_need_a_connection_each() -> None:
    with pytest.raises(EngineError, match=r"load\.connections \(4\) equal to load\.clients \(8\)"):
        FastEngine(plan(Kind.LEASE_GRANT), "zookeeper", ["127.0.0.1:1"])


def test_dealing_gives_every_share_its_part() -> None:
    for parts in range(1, 7):
        assert sum(dealt(20, share, parts) for share in range(parts)) == 20
    assert np.ptp([dealt(20, share, 6) for share in range(6)]) == 1
