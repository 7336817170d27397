import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from kvbench.load import merge
from kvbench.load.admin_etcd import EtcdAdmin
from kvbench.load.credentials import Credentials
from kvbench.load.grpcio_engine import GrpcioEngine
from kvbench.load.plan import Keys, Operation, Phase, Plan, Values
from kvbench.load.protocol import EngineError, LoadEngine
from kvbench.ops.errors import ErrorCode
from kvbench.ops.kinds import Kind
from kvbench.ops.results import ERROR, RESPONSE, SERVICE, WAIT, PhaseResult
from kvbench.rt.histogram import lowest_of
from tests.load.grpcio_servers import (
    NOBODY,
    enable_auth,
    make_certificates,
    restarted,
    running_etcd,
    tls_flags,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_etcd(tmp_path_factory.mktemp("etcd") / "m1", "--unsafe-no-fsync") as (where, _):
        yield where


def plan_of(*kinds: Kind, phase: Phase, prefix: str, **changes: object) -> Plan:
    plan = Plan(
        operations=tuple(Operation(kind, 1.0, limit=10, keys=3) for kind in kinds),
        phases=(phase,),
        keys=Keys(count=100, size_bytes=32, prefix=prefix, distribution="sequential"),
        values=Values(sizes_bytes=(64,)),
        clients=8,
        connections=4,
        timeout_s=5.0,
    )
    return replace(plan, **changes)  # type: ignore[arg-type]


def carry_out(address: str, plan: Plan, processes: int = 1, credentials: Credentials = NOBODY) -> list[PhaseResult]:
    engine = GrpcioEngine(plan, credentials, [address], processes)
    engine.open()
    try:
        results = []
        for phase in plan.phases:
            engine.start_phase(phase)
            results.append(engine.finish_phase())
        return results
    finally:
        engine.close()
        engine.close()


def count_keys(address: str, prefix: str, credentials: Credentials = NOBODY) -> int:
    admin = EtcdAdmin([address], credentials, 10.0)
    try:
        return admin.count_keys(prefix)
    finally:
        admin.close()


def errors_of(result: PhaseResult) -> dict[int, int]:
    counts = result.errors.sum(axis=(0, 1))
    return {int(code): int(counts[code]) for code in np.flatnonzero(counts)}


def recorded(result: PhaseResult, time_of: int) -> int:
    return int(result.histograms["count"][result.histograms["time"] == time_of].sum())


def largest_ns(result: PhaseResult, time_of: int) -> int:
    return int(lowest_of(int(result.histograms["bucket"][result.histograms["time"] == time_of].max())))


def handled_puts(address: str) -> float:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith("grpc_server_handled_total") and '"Put"' in line and '"OK"' in line:
                return float(line.rsplit(" ", 1)[1])
    return 0.0


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "nothing happened for 60 s"
        time.sleep(0.01)


@pytest.mark.parametrize("processes", [1, 2])
def test_puts_are_counted_as_etcd_counts_them(address: str, processes: int) -> None:
    phase = Phase("measure", count=400)
    prefix = f"puts{processes}/"
    before = handled_puts(address)
    (result,) = carry_out(address, plan_of(Kind.PUT, phase=phase, prefix=prefix), processes)
    assert handled_puts(address) - before == 400
    assert count_keys(address, prefix) == 100
    assert result.operations == ("put",)
    assert result.offered.sum() == result.sent.sum() == result.completed.sum() == 400
    assert errors_of(result) == {}
    assert [recorded(result, time_of) for time_of in (WAIT, SERVICE, RESPONSE, ERROR)] == [400, 400, 400, 0]
    assert result.keys_touched == 100
    assert result.end_reason == "count"
    assert len(result.threads) == processes
    assert result.in_flight_cap == 8
    assert 1 <= result.in_flight_max <= 8
    assert result.duration_ns > 0
    assert result.cpu_ns > sum(use.cpu_ns for use in result.threads)


def test_every_operation_of_etcd(address: str) -> None:
    insert = Operation(Kind.INSERT, 1.0)
    kinds = (
        *(Kind.PUT, Kind.GET, Kind.GET_SERIALIZABLE, Kind.RANGE, Kind.DELETE, Kind.TXN, Kind.READ_MODIFY_WRITE),
        *(Kind.LEASE_GRANT, Kind.LEASE_KEEP_ALIVE, Kind.LEASE_REVOKE),
    )
    phases = (Phase("preload", count=100, operations=(insert,), measured=False), Phase("measure", count=1000))
    plan = replace(plan_of(*kinds, phase=phases[1], prefix="every/"), phases=phases)
    preload, result = carry_out(address, plan)
    assert preload.operations == ("insert",)
    assert preload.completed.sum() == preload.keys_touched == 100
    completed = dict(zip(result.operations, result.completed.sum(axis=0).tolist(), strict=True))
    assert errors_of(result) == {}
    assert sum(completed.values()) == 1000
    assert all(count > 0 for count in completed.values()), completed
    assert result.missing > 0


def test_what_a_server_says_of_a_refusal_is_kept(address: str) -> None:
    phase = Phase("measure", count=20)
    plan = plan_of(Kind.PUT, phase=phase, prefix="large/", values=Values(sizes_bytes=(1_600_000,)))
    (result,) = carry_out(address, plan, processes=2)
    assert errors_of(result) == {ErrorCode.INVALID_ARGUMENT: 20}
    assert result.error_text == "INVALID_ARGUMENT: etcdserver: request is too large"


def test_compare_and_swap_finds_out_who_was_first(address: str) -> None:
    phase = Phase("measure", count=200)
    contended = Keys(count=1, size_bytes=32, prefix="cas1/")
    (alone,) = carry_out(address, plan_of(Kind.CAS, phase=phase, prefix="cas0/", clients=1, connections=1))
    (result,) = carry_out(address, plan_of(Kind.CAS, phase=phase, prefix="", keys=contended))
    assert errors_of(alone) == {}
    assert set(errors_of(result)) == {ErrorCode.COMPARE_FAILED}
    assert result.completed.sum() + result.errors.sum() == 200
    assert 0 < result.completed.sum() < 200
    assert recorded(result, ERROR) == result.errors.sum()


def test_leases(address: str) -> None:
    phase = Phase("measure", count=100)
    (granted,) = carry_out(address, plan_of(Kind.LEASE_GRANT, phase=phase, prefix="lease/"))
    assert granted.completed.sum() == 100
    mixed = plan_of(Kind.LEASE_GRANT, Kind.LEASE_KEEP_ALIVE, Kind.LEASE_REVOKE, phase=phase, prefix="lease/")
    (result,) = carry_out(address, mixed, processes=2)
    assert errors_of(result) == {}
    assert result.completed.sum(axis=0).min() > 0


def test_a_watch_reports_every_put_once(address: str) -> None:
    phase = Phase("measure", duration_s=2.0, count=150, arrival="constant", rates_ops_s=(200.0,))
    keys = Keys(count=5, size_bytes=32, prefix="watched/", distribution="sequential")
    plan = plan_of(Kind.PUT, phase=phase, prefix="", keys=keys, watchers=10, watched_keys=5)
    (result,) = carry_out(address, plan)
    assert result.operations == ("put", "watch")
    puts, events = result.completed.sum(axis=0)
    assert puts == 150
    # Each key has two watchers; events of the last puts may come after the phase.
    assert 280 <= events <= 300
    rows = result.histograms[(result.histograms["operation"] == 1) & (result.histograms["time"] == SERVICE)]
    assert rows["count"].sum() == events
    assert 0 < lowest_of(int(rows["bucket"].min())) < 5_000_000_000


@pytest.mark.parametrize("arrival", ["constant", "poisson", "ramp", "steps"])
def test_open_loops_offer_what_they_are_told(address: str, arrival: str) -> None:
    rates = {"constant": (200.0,), "poisson": (200.0,), "ramp": (100.0, 300.0), "steps": (100.0, 300.0)}[arrival]
    phase = Phase("measure", duration_s=2.0, arrival=arrival, rates_ops_s=rates)
    (one,) = carry_out(address, plan_of(Kind.PUT, Kind.GET, phase=phase, prefix=f"{arrival}/"))
    (two,) = carry_out(address, plan_of(Kind.PUT, Kind.GET, phase=phase, prefix=f"{arrival}/"), processes=2)
    expected = {"constant": [200, 200], "ramp": [150, 250], "steps": [100, 300]}.get(arrival)
    if expected is not None:
        assert one.offered.sum(axis=1).tolist()[:2] == expected
    else:
        assert 300 < one.offered.sum() < 500
    assert one.end_reason == "duration"
    assert errors_of(one) == errors_of(two) == {}
    # Due times and choices depend on seed and index alone, not on who sends them.
    assert one.offered[:2].tolist() == two.offered[:2].tolist()
    assert one.completed.sum(axis=0).tolist() == two.completed.sum(axis=0).tolist()
    assert one.duration_ns >= 2_000_000_000


def test_parts_add_up_to_the_result(address: str) -> None:
    phase = Phase("measure", duration_s=2.2, arrival="constant", rates_ops_s=(100.0,))
    engine: LoadEngine = GrpcioEngine(plan_of(Kind.PUT, phase=phase, prefix="parts/"), NOBODY, [address], 2)
    engine.open()
    engine.start_phase(phase)
    parts: list[PhaseResult] = []
    seen = []
    while engine.running():
        progress, part = engine.poll()
        seen.append((progress.completed, progress.connected, progress.elapsed_s))
        if part is not None:
            parts.append(part)
        time.sleep(0.02)
    progress, last = engine.poll()
    parts += [last] if last is not None else []
    result = engine.finish_phase()
    engine.close()
    total = parts[0]
    for part in parts[1:]:
        total = merge.add(total, part)
    assert len(parts) > 1
    for name in ("offered", "sent", "completed", "errors", "histograms"):
        assert np.array_equal(getattr(total, name), getattr(result, name)), name
    assert [row[0] for row in seen] == sorted(row[0] for row in seen)
    assert (progress.offered, progress.completed, progress.errors, progress.in_flight) == (220, 220, 0, 0)
    assert {row[1] for row in seen[1:]} == {4}


def test_the_cap_on_requests_in_flight_is_said(tmp_path: Path) -> None:
    with running_etcd(tmp_path / "m1") as (address, pid):
        phase = Phase("measure", duration_s=2.0, arrival="constant", rates_ops_s=(100.0,))
        engine = GrpcioEngine(plan_of(Kind.PUT, phase=phase, prefix="cap/", in_flight_max=4), NOBODY, [address])
        engine.open()
        engine.start_phase(phase)
        wait_until(lambda: engine.poll()[0].completed >= 20)
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.6)
        os.kill(pid, signal.SIGCONT)
        result = engine.finish_phase()
        engine.close()
    assert result.offered.sum() == result.completed.sum() == 200
    assert result.in_flight_cap == result.in_flight_max == 4
    assert result.cap_reached >= 40
    # Who had to wait for a slot was scheduled all the same: the stall is in the response time of many, and in the
    # service time of the four that were under way.
    assert largest_ns(result, WAIT) >= 400_000_000
    assert recorded_above(result, RESPONSE, 200_000_000) > 10 * recorded_above(result, SERVICE, 200_000_000) / 4
    assert recorded_above(result, SERVICE, 200_000_000) <= 4


def recorded_above(result: PhaseResult, time_of: int, least_ns: int) -> int:
    rows = result.histograms[result.histograms["time"] == time_of]
    return sum(int(row["count"]) for row in rows if lowest_of(int(row["bucket"])) >= least_ns)


def test_timeouts_have_an_unknown_outcome(tmp_path: Path) -> None:
    with running_etcd(tmp_path / "m1") as (address, pid):
        phase = Phase("measure", duration_s=1.5)
        plan = plan_of(Kind.PUT, Kind.LEASE_KEEP_ALIVE, phase=phase, prefix="t/", timeout_s=1.0, clients=4)
        plan = replace(plan, operations=(Operation(Kind.LEASE_GRANT, 1), Operation(Kind.LEASE_KEEP_ALIVE, 1)))
        engine = GrpcioEngine(plan, NOBODY, [address])
        engine.open()
        engine.start_phase(phase)
        wait_until(lambda: engine.poll()[0].completed >= 8)
        os.kill(pid, signal.SIGSTOP)
        result = engine.finish_phase()
        os.kill(pid, signal.SIGCONT)
        engine.close()
    assert set(errors_of(result)) == {ErrorCode.TIMEOUT}
    assert result.errors.sum() >= 4
    assert result.offered.sum() == result.completed.sum() + result.errors.sum()
    rows = result.histograms[result.histograms["time"] == ERROR]
    assert lowest_of(int(rows["bucket"].min())) >= 990_000_000


def test_a_server_that_dies_ends_nothing_but_its_requests(tmp_path: Path) -> None:
    with running_etcd(tmp_path / "m1") as (address, pid):
        phase = Phase("measure", duration_s=3.0, arrival="constant", rates_ops_s=(100.0,))
        engine = GrpcioEngine(plan_of(Kind.PUT, phase=phase, prefix="d/", timeout_s=0.5), NOBODY, [address])
        engine.open()
        engine.start_phase(phase)
        wait_until(lambda: engine.poll()[0].completed >= 20)
        os.kill(pid, signal.SIGKILL)
        result = engine.finish_phase()
        engine.close()
    assert result.offered.sum() == 300
    assert result.completed.sum() + result.errors.sum() == 300
    assert set(errors_of(result)) <= {ErrorCode.CONNECTION_LOST, ErrorCode.NOT_CONNECTED}
    assert errors_of(result)[ErrorCode.NOT_CONNECTED] > 100


def test_a_server_that_comes_back_is_used_again(tmp_path: Path) -> None:
    with running_etcd(tmp_path / "m1") as (address, pid):
        phase = Phase("measure", duration_s=30.0, arrival="constant", rates_ops_s=(50.0,))
        plan = plan_of(Kind.PUT, phase=phase, prefix="b/", watchers=4, watched_keys=4)
        engine = GrpcioEngine(plan, NOBODY, [address])
        engine.open()
        engine.start_phase(phase)
        wait_until(lambda: engine.poll()[0].completed >= 20)
        with restarted(tmp_path / "m1", address, pid):
            before = engine.poll()[0].completed
            wait_until(lambda: engine.poll()[0].completed >= before + 100)
            engine.stop_phase()
            result = engine.finish_phase()
        engine.close()
    assert result.reconnects >= 4
    assert result.end_reason == "interrupted"


def test_stopping_waits_for_what_is_in_flight_and_stopping_twice_does_not(tmp_path: Path) -> None:
    with running_etcd(tmp_path / "m1") as (address, pid):
        phase = Phase("measure", duration_s=3600.0)
        plan = plan_of(Kind.PUT, phase=phase, prefix="s/", timeout_s=600.0)
        engine = GrpcioEngine(plan, NOBODY, [address], 2)
        engine.open()
        engine.start_phase(phase)
        wait_until(lambda: engine.poll()[0].completed >= 20)
        engine.stop_phase()
        drained = engine.finish_phase()
        assert drained.end_reason == "interrupted"
        assert errors_of(drained) == {}
        os.kill(pid, signal.SIGSTOP)
        engine.start_phase(phase)
        wait_until(lambda: engine.poll()[0].in_flight == 8)
        engine.stop_phase()
        engine.stop_phase()
        cut = engine.finish_phase()
        os.kill(pid, signal.SIGCONT)
        engine.close()
    assert cut.end_reason == "interrupted"
    assert errors_of(cut) == {ErrorCode.CANCELLED: 8}


def test_what_is_due_but_never_sent_is_counted(tmp_path: Path) -> None:
    with running_etcd(tmp_path / "m1") as (address, pid):
        phase = Phase("measure", duration_s=1.0, arrival="constant", rates_ops_s=(100.0,))
        plan = plan_of(Kind.PUT, phase=phase, prefix="n/", timeout_s=600.0, in_flight_max=4)
        engine = GrpcioEngine(plan, NOBODY, [address])
        engine.open()
        os.kill(pid, signal.SIGSTOP)
        engine.start_phase(phase)
        wait_until(lambda: engine.poll()[0].elapsed_s > 1.1)
        engine.stop_phase()
        engine.stop_phase()
        result = engine.finish_phase()
        os.kill(pid, signal.SIGCONT)
        engine.close()
    assert result.offered.sum() == 100
    assert errors_of(result) == {ErrorCode.CANCELLED: 4, ErrorCode.NOT_SENT: 96}


def test_tls_and_users(tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path / "certificates")
    tls = Credentials(ca=certificates.ca, cert=certificates.client_cert, key=certificates.client_key)
    with running_etcd(tmp_path / "m1", *tls_flags(certificates), credentials=tls) as (address, _):
        enable_auth(address, tls)
        who = replace(tls, user="root", password="secret")
        phase = Phase("measure", count=100)
        plan = plan_of(Kind.PUT, Kind.LEASE_GRANT, Kind.LEASE_KEEP_ALIVE, phase=phase, prefix="secret/")
        (result,) = carry_out(address, replace(plan, watchers=4), credentials=who)
        assert errors_of(result) == {}
        assert result.completed[:, :3].sum() == 100
        assert count_keys(address, "secret/", who) > 0
        for wrong, words in (
            (tls, "may not do this"),
            (replace(who, password="wrong"), "password is wrong"),
            (replace(who, ca=certificates.client_cert), "not signed by the authority given"),
        ):
            with pytest.raises(EngineError, match=words):
                GrpcioEngine(plan, wrong, [address]).open()


def test_a_token_that_is_no_longer_good_is_got_anew(tmp_path: Path) -> None:
    with running_etcd(tmp_path / "m1", "--auth-token-ttl", "1") as (address, _):
        enable_auth(address, NOBODY)
        who = Credentials(user="root", password="secret")
        phase = Phase("measure", count=100)
        plan = plan_of(Kind.PUT, Kind.LEASE_GRANT, Kind.LEASE_KEEP_ALIVE, phase=phase, prefix="token/")
        with pytest.raises(EngineError, match="asks for a user"):
            GrpcioEngine(plan, NOBODY, [address]).open()
        engine = GrpcioEngine(plan, who, [address])
        engine.open()
        engine.start_phase(phase)
        first = engine.finish_phase()
        # etcd looks for tokens older than a second once a second.
        time.sleep(3.5)
        engine.start_phase(phase)
        second = engine.finish_phase()
        engine.close()
    assert (errors_of(first), errors_of(second)) == ({}, {})
    assert first.second_tries == 0
    assert 1 <= second.second_tries <= 8
    assert second.completed.sum() == 100


def test_open_says_what_is_wrong(tmp_path: Path) -> None:
    phase = Phase("measure", count=1)
    plan = plan_of(Kind.PUT, phase=phase, prefix="x/", timeout_s=1.0)
    with pytest.raises(EngineError, match=r"127\.0\.0\.1:1: nothing listens there; start the server"):
        GrpcioEngine(plan, NOBODY, ["127.0.0.1:1"]).open()
    with pytest.raises(EngineError, match="No such file"):
        GrpcioEngine(plan, Credentials(ca=str(tmp_path / "none.pem")), ["127.0.0.1:1"]).open()
    with pytest.raises(EngineError, match="do not fit"):
        GrpcioEngine(plan, NOBODY, ["127.0.0.1:1"], processes=5)
    with pytest.raises(EngineError, match="make_parent"):
        GrpcioEngine(plan_of(Kind.MAKE_PARENT, phase=phase, prefix="x/"), NOBODY, ["127.0.0.1:1"])


def test_one_of_two_members_is_down(address: str) -> None:
    plan = plan_of(Kind.PUT, phase=Phase("measure", count=1), prefix="x/", timeout_s=1.0)
    with pytest.raises(EngineError, match=r"only 2 of 4 connections were ready after 1 s; not all to 127\.0\.0\.1:1$"):
        GrpcioEngine(plan, NOBODY, [address, "127.0.0.1:1"]).open()


def test_connections_are_spread_over_all_members() -> None:
    plan = plan_of(Kind.PUT, phase=Phase("measure", count=1), prefix="x/", connections=8)
    engine = GrpcioEngine(plan, NOBODY, ["a:1", "b:1", "c:1"], processes=3)
    counts = engine.connections_per_address()
    assert sum(counts.values()) == 8
    assert max(counts.values()) - min(counts.values()) <= 1


def test_a_worker_that_is_killed_is_an_error(address: str) -> None:
    phase = Phase("measure", duration_s=3600.0)
    engine = GrpcioEngine(plan_of(Kind.PUT, phase=phase, prefix="k/"), NOBODY, [address], 2)
    engine.open()
    engine.start_phase(phase)
    os.kill(engine.worker_pids()[1], signal.SIGKILL)
    with pytest.raises(EngineError, match="worker process 1 ended"):
        engine.finish_phase()
    engine.close()


RUN_UNTIL_KILLED = """
import sys
from kvbench.load.credentials import Credentials
from kvbench.load.grpcio_engine import GrpcioEngine
from kvbench.load.plan import Operation, Phase, Plan
from kvbench.ops.kinds import Kind

phase = Phase("measure", duration_s=3600.0)
plan = Plan(operations=(Operation(Kind.PUT, 1.0),), phases=(phase,), clients=4, connections=2)
engine = GrpcioEngine(plan, Credentials(), [sys.argv[1]], 2)
engine.open()
engine.start_phase(phase)
try:
    print(*engine.worker_pids(), flush=True)
    engine.finish_phase()
except KeyboardInterrupt:
    engine.stop_phase()
    print(engine.finish_phase().end_reason, flush=True)
    engine.close()
"""


@pytest.fixture
def parent(address: str) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-c", RUN_UNTIL_KILLED, address],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("stopped", [False, True])
def test_no_worker_outlives_a_killed_parent(parent: "subprocess.Popen[str]", stopped: bool) -> None:
    assert parent.stdout is not None
    workers = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
    assert len(workers) == 2
    if stopped:
        workers[0].suspend()
    parent.kill()
    parent.wait()
    wait_until(lambda: not any(worker.is_running() and worker.status() != "zombie" for worker in workers))


def test_ctrl_c_ends_a_phase_without_a_word_from_the_workers(parent: "subprocess.Popen[str]") -> None:
    assert parent.stdout is not None
    workers = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
    os.killpg(parent.pid, signal.SIGINT)
    for worker in workers:
        worker.send_signal(signal.SIGINT)
    out, err = parent.communicate(timeout=60)
    assert (out, err, parent.returncode) == ("interrupted\n", "", 0)
    assert not any(worker.is_running() and worker.status() != "zombie" for worker in workers)


