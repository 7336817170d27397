"""The fast engine against real etcd and ZooKeeper: what it counts is what they counted."""

import os
import signal
import urllib.request
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from kvbench.load.admin import connect
from kvbench.load.credentials import Credentials
from kvbench.load.engine import FastEngine
from kvbench.load.plan import Keys, Operation, Phase, Plan, Values
from kvbench.ops.errors import ErrorCode
from kvbench.ops.kinds import Kind
from kvbench.ops.results import PhaseResult
from kvbench.targets.running import RunningTarget
from tests.load.engine_runs import errors_by_code, plan, run, run_plan

pytestmark = pytest.mark.slow

ALL_KINDS = [
    Kind.PUT, Kind.GET, Kind.GET_SERIALIZABLE, Kind.RANGE, Kind.DELETE, Kind.TXN, Kind.READ_MODIFY_WRITE, Kind.CAS,
]  # fmt: skip


def address_of(target: RunningTarget) -> str:
    return target.members[0].address


def revision(target: RunningTarget) -> int:
    """The store's revision, from its own metrics."""
    return int(target.counters(target.members[0])["etcd_debugging_mvcc_current_revision"])


def handled_puts(target: RunningTarget) -> int:
    """Put calls that etcd says it answered with OK."""
    with urllib.request.urlopen(f"http://{address_of(target)}/metrics", timeout=5) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith("grpc_server_handled_total") and 'grpc_method="Put"' in line and '"OK"' in line:
                return int(float(line.rsplit(" ", 1)[1]))
    return 0


def prefixed(name: str, **changes: object) -> Keys:
    return Keys(**{"count": 200, "size_bytes": 48, "prefix": f"{name}/", **changes})  # type: ignore[arg-type]


def prepared(target: RunningTarget, what: Plan, *phases: Phase) -> list[PhaseResult]:
    """Make directories and write every key, then run the phases."""
    directories = -(-what.keys.count // what.keys.fanout) if what.keys.fanout else 1
    before = [
        Phase("parents", count=directories, operations=(Operation(Kind.MAKE_PARENT, 1.0),)),
        Phase("preload", count=what.preload, operations=(Operation(Kind.INSERT, 1.0),)),
    ]
    with closing(connect(target.spec.kind, [address_of(target)], Credentials())) as rare_calls:
        rare_calls.prepare_prefix(what.keys.prefix)
    engine = FastEngine(replace(what, phases=phases), target.spec.kind, [address_of(target)])
    try:
        engine.open()
        results = [run(engine, phase) for phase in before if phase.count]
        for result in results:
            assert errors_by_code(result) == {}
        return [run(engine, phase) for phase in phases]
    finally:
        engine.close()


def test_completed_puts_agree_with_etcds_own_counters(etcd: RunningTarget) -> None:
    before, handled = revision(etcd), handled_puts(etcd)
    phases = [Phase("warm-up", duration_s=0.5), Phase("measure", count=3000)]
    results = run_plan(plan(keys=prefixed("count"), threads=2), "etcd", [address_of(etcd)], *phases)
    completed = sum(int(result.completed.sum()) for result in results)
    assert results[1].completed.sum() == 3000
    assert handled_puts(etcd) - handled == completed
    assert revision(etcd) - before == completed


@pytest.mark.parametrize("kind", ALL_KINDS, ids=lambda kind: kind.name.lower())
@pytest.mark.parametrize("fixture", ["etcd", "zookeeper"])
def test_every_operation_succeeds(fixture: str, kind: Kind, request: pytest.FixtureRequest) -> None:
    target: RunningTarget = request.getfixturevalue(fixture)
    name = f"all-{kind.name.lower()}"
    what = plan(
        operations=(Operation(kind, 1.0, limit=20, keys=3),),
        keys=prefixed(name, fanout=20, distribution="sequential" if kind == Kind.DELETE else "uniform"),
        clients=1 if kind == Kind.CAS else 8,
        connections=1 if kind == Kind.CAS else 4,
        preload=200,
    )
    (result,) = prepared(target, what, Phase("measure", count=200))
    assert errors_by_code(result) == {}
    assert result.completed.sum() == 200
    assert result.missing == 0


@pytest.mark.parametrize("fixture", ["etcd", "zookeeper"])
def test_reads_of_absent_keys_are_missing_not_errors(fixture: str, request: pytest.FixtureRequest) -> None:
    target: RunningTarget = request.getfixturevalue(fixture)
    (result,) = prepared(target, plan(Kind.GET, keys=prefixed("absent")), Phase("measure", count=50))
    assert errors_by_code(result) == {}
    assert result.missing == 50


@pytest.mark.parametrize("fixture", ["etcd", "zookeeper"])
def test_contended_compare_and_swap_fails_some_and_loses_none(fixture: str, request: pytest.FixtureRequest) -> None:
    target: RunningTarget = request.getfixturevalue(fixture)
    what = plan(Kind.CAS, keys=prefixed("cas", count=1), preload=1, clients=8)
    (result,) = prepared(target, what, Phase("measure", count=400))
    errors = errors_by_code(result)
    assert set(errors) <= {ErrorCode.COMPARE_FAILED}
    assert errors[ErrorCode.COMPARE_FAILED] > 0
    assert result.completed.sum() + errors[ErrorCode.COMPARE_FAILED] == 400
    assert result.completed.sum() > 0


@pytest.mark.parametrize("fixture", ["etcd", "zookeeper"])
def test_watchers_see_the_puts(fixture: str, request: pytest.FixtureRequest) -> None:
    target: RunningTarget = request.getfixturevalue(fixture)
    keys = prefixed("watch", count=1)
    what = plan(keys=keys, preload=1, watchers=5, watched_keys=1, clients=1, connections=1)
    (result,) = prepared(target, what, Phase("measure", duration_s=1.0, arrival="constant", rates_ops_s=(20.0,)))
    assert result.operations == ("put", "watch")
    puts, events = (int(count) for count in result.completed.sum(axis=0))
    assert puts == 20
    assert 5 * 19 <= events <= 5 * 20 if fixture == "etcd" else 5 <= events <= 5 * 20


def test_watchers_on_connections_of_their_own(etcd: RunningTarget) -> None:
    keys = prefixed("own", count=3)
    what = plan(keys=keys, preload=3, watchers=30, watched_keys=3, watch_connections=7, clients=2, connections=2)
    (result,) = prepared(etcd, what, Phase("measure", duration_s=1.0, arrival="constant", rates_ops_s=(20.0,)))
    puts, events = (int(count) for count in result.completed.sum(axis=0))
    assert puts == 20 and 10 * 19 <= events <= 10 * 20


@pytest.mark.parametrize("fixture", ["etcd", "zookeeper"])
def test_leases_are_granted_kept_and_revoked(fixture: str, request: pytest.FixtureRequest) -> None:
    target: RunningTarget = request.getfixturevalue(fixture)
    operations = (
        Operation(Kind.LEASE_GRANT, 1.0, ttl_s=30),
        Operation(Kind.LEASE_KEEP_ALIVE, 6.0),
        Operation(Kind.LEASE_REVOKE, 1.0),
    )
    what = plan(operations=operations, keys=prefixed("lease"), clients=4, connections=4)
    (result,) = prepared(target, what, Phase("measure", count=400))
    assert errors_by_code(result) == {}
    granted, kept, revoked = (int(count) for count in result.completed.sum(axis=0))
    assert granted + kept + revoked == 400
    assert 0 <= granted - revoked <= 4
    assert kept > granted > 4


def sessions(target: RunningTarget) -> int:
    """Sessions that a ZooKeeper keeps, from its own counters."""
    return int(target.counters(target.members[0])["zk_global_sessions"])


@pytest.mark.parametrize("kind", [Kind.PUT, Kind.LEASE_GRANT])
def test_no_session_is_left_at_the_end(zookeeper: RunningTarget, kind: Kind) -> None:
    leases = kind == Kind.LEASE_GRANT
    what = plan(kind, keys=prefixed(f"leave-{leases}"), clients=4, watchers=0 if leases else 3, threads=2)
    with closing(connect("zookeeper", [address_of(zookeeper)], Credentials())) as rare_calls:
        rare_calls.prepare_prefix(what.keys.prefix)
    before = sessions(zookeeper)
    engine = FastEngine(what, "zookeeper", [address_of(zookeeper)])
    engine.open()
    result = run(engine, Phase("measure", count=4))
    assert errors_by_code(result) == {}
    assert sessions(zookeeper) == before + (4 if leases else 7)
    engine.close()
    engine.close()
    assert sessions(zookeeper) == before


def test_a_server_that_stands_still_is_not_waited_for(zookeeper: RunningTarget) -> None:
    engine = FastEngine(plan(timeout_s=0.3), "zookeeper", [address_of(zookeeper)])
    engine.open()
    pid = zookeeper.members[0].pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        engine.close()
    finally:
        os.kill(pid, signal.SIGCONT)
    assert (engine.shares[0].net.connections["fd"] == -1).all()


@pytest.mark.parametrize("fixture", ["etcd", "zookeeper"])
def test_large_values_are_written_and_read(fixture: str, request: pytest.FixtureRequest) -> None:
    target: RunningTarget = request.getfixturevalue(fixture)
    operations = (Operation(Kind.PUT, 1.0), Operation(Kind.GET, 1.0))
    what = plan(
        operations=operations, keys=prefixed("large", count=20), values=Values(sizes_bytes=(300_000,)), preload=20
    )
    (result,) = prepared(target, what, Phase("measure", count=200))
    assert errors_by_code(result) == {}
    puts, gets = (int(count) for count in result.completed.sum(axis=0))
    assert puts + gets == 200
    assert result.missing == 0
    assert puts * 300_000 < result.bytes_sent < puts * 305_000 + gets * 1000
    assert gets * 300_000 < result.bytes_received < gets * 305_000 + puts * 1000


LIMITS = [
    ("etcd", 1_600_000, ErrorCode.INVALID_ARGUMENT),  # --max-request-bytes: 1.5 MiB
    ("etcd", 4_000_000, ErrorCode.RESOURCE_EXHAUSTED),  # the server's gRPC layer: 512 KiB more
    ("zookeeper", 1_040_000, 0),
    ("zookeeper", 1_100_000, ErrorCode.REQUEST_TOO_LARGE),  # jute.maxbuffer: 1 MiB; it would break the connection
]


@pytest.mark.parametrize(("fixture", "size", "code"), LIMITS)
def test_values_beyond_a_stores_limit_are_errors_by_code(
    fixture: str, size: int, code: int, request: pytest.FixtureRequest
) -> None:
    target: RunningTarget = request.getfixturevalue(fixture)
    values = Values(sizes_bytes=(256, size), distribution="weighted", weights=(0.5, 0.5))
    (result,) = prepared(target, plan(keys=prefixed(f"limit-{size}"), values=values), Phase("measure", count=60))
    errors = errors_by_code(result)
    assert set(errors) == ({code} if code else set())
    assert result.completed.sum() + sum(errors.values()) == 60
    assert 10 < result.completed.sum() <= 60
    assert result.reconnects == 0


def test_a_member_that_dies_costs_errors_not_the_run(tmp_path_factory: pytest.TempPathFactory) -> None:
    import threading

    from kvbench.targets.launch import start
    from kvbench.targets.spec import TargetSpec

    target = start(TargetSpec(kind="etcd", members=3), tmp_path_factory.mktemp("three"))
    try:
        addresses = target.addresses_for_load()
        assert len(addresses) == 3
        engine = FastEngine(plan(keys=prefixed("die"), connections=6, clients=12, timeout_s=3.0), "etcd", addresses)
        engine.open()
        assert set(engine.connections_per_address().values()) == {2}
        engine.start_phase(Phase("measure", duration_s=4.0))
        # Without its leader the cluster would stand still for as long as an election and the time-outs take.
        with closing(connect("etcd", addresses, Credentials())) as rare_calls:
            leader = rare_calls.leader_address()
        pid = next(member.pid for member in target.members if member.address != leader)
        assert pid is not None
        threading.Timer(1.0, os.kill, (pid, signal.SIGKILL)).start()
        while engine.running():
            engine.poll()
        result = engine.finish_phase()
        engine.close()
    finally:
        target.stop()
    assert result.offered.sum() == result.completed.sum() + result.errors.sum()
    assert result.reconnects >= 2
    assert np.count_nonzero(result.completed.sum(axis=1)) >= 3
