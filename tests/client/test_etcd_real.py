"""etcd's client against real etcd servers, with grpcio as the witness of what was written."""

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import grpc
import pytest

from kvbench.client import etcd
from kvbench.ops.errors import ErrorCode
from kvbench.ops.kinds import Kind
from kvbench.targets import found, servers
from kvbench.targets.launch import start
from kvbench.targets.spec import TargetSpec
from kvbench.wire.proto import methods
from tests.client.driver import Broken, Driver, operation, operations

pytestmark = pytest.mark.slow


def versions() -> list[str]:
    """One of each minor version that this machine has; when it has none, the one that pip can fetch."""
    here = {".".join(one.version.split(".")[:2]): one.version for one in reversed(found.find_all("etcd"))}
    return sorted(here.values()) or ["3.5.1"]


@pytest.fixture(scope="module", params=versions())
def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    if not found.find_all("etcd"):
        servers.install(f"etcd@{request.param}")
    target = start(TargetSpec(kind="etcd", version=request.param), tmp_path_factory.mktemp("etcd"))
    host, _, port = target.members[0].address.rpartition(":")
    yield host, int(port)
    target.stop()


@pytest.fixture(scope="module")
def witness(address: tuple[str, int]) -> Iterator[Any]:
    """Calls a method of the same server through grpcio."""
    channel = grpc.insecure_channel("{}:{}".format(*address))

    def call(method: Any, **fields: Any) -> Any:
        unary = channel.unary_unary(
            method.path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=method.response.FromString,
        )
        return unary(method.request(**fields), timeout=10)

    yield call
    channel.close()


@pytest.fixture
def driver(address: tuple[str, int]) -> Iterator[Driver]:
    with Driver(etcd, etcd.new_client(2, 512, 2 << 20), [address], connections=2, ticks=True) as one:
        yield one.connect()


def told(outcome: Any) -> tuple[int, int, int]:
    """(code, revision, count)"""
    return int(outcome["code"]), int(outcome["revision"]), int(outcome["count"])


def test_every_operation(driver: Driver, witness: Any) -> None:
    put = driver.call(*operation(Kind.PUT, b"a/key", b"one"))
    revision = int(put["revision"])
    (kv,) = witness(methods.RANGE, key=b"a/key").kvs
    assert (told(put), kv.value, kv.mod_revision) == ((0, revision, 1), b"one", revision)
    for kind in (Kind.GET, Kind.GET_SERIALIZABLE):
        assert told(driver.call(*operation(kind, b"a/key"))) == (0, revision, 1)
        assert told(driver.call(*operation(kind, b"a/none"))) == (0, 0, 0)
    assert told(driver.call(*operation(Kind.CAS, b"a/key", b"two")))[:2] == (0, revision + 1)
    (kv,) = witness(methods.RANGE, key=b"a/key").kvs
    assert (kv.value, kv.version) == (b"two", 2)
    assert told(driver.call(*operation(Kind.CAS, b"a/fresh", b"new")))[:2] == (0, revision + 2)
    driver.call(*operation(Kind.READ_MODIFY_WRITE, b"a/key", b"three"))
    driver.call(
        *operations((Kind.TXN, b"", b"", b""), (Kind.PUT, b"a/t1", b"x", b""), (Kind.PUT, b"a/t2", b"y", b""))
    )
    kvs = witness(methods.RANGE, key=b"a/", range_end=b"a0").kvs
    assert {kv.key: kv.value for kv in kvs} == {
        b"a/fresh": b"new",
        b"a/key": b"three",
        b"a/t1": b"x",
        b"a/t2": b"y",
    }
    assert kvs[2].mod_revision == kvs[3].mod_revision
    assert told(driver.call(*operation(Kind.RANGE, b"a/", end=b"a0", limit=3))) == (0, revision + 4, 3)
    assert told(driver.call(*operation(Kind.DELETE, b"a/t1"))) == (0, revision + 5, 1)
    assert told(driver.call(*operation(Kind.DELETE, b"a/t1"))) == (0, revision + 5, 0)
    assert witness(methods.RANGE, key=b"a/t1").count == 0


def test_a_compare_that_fails(driver: Driver, witness: Any) -> None:
    driver.call(*operation(Kind.PUT, b"b/key", b"one"))
    what = operation(Kind.CAS, b"b/key", b"two", step=1, expected=1)
    assert driver.call(*what)["code"] == ErrorCode.COMPARE_FAILED
    assert witness(methods.RANGE, key=b"b/key").kvs[0].value == b"one"


def test_leases(driver: Driver) -> None:
    granted = driver.call(*operation(Kind.LEASE_GRANT, ttl_s=60))
    lease_id = int(granted["lease_id"])
    assert (int(granted["code"]), lease_id != 0) == (0, True)
    for _ in range(3):
        kept = driver.call(*operation(Kind.LEASE_KEEP_ALIVE, lease_id=lease_id))
        assert (int(kept["code"]), int(kept["lease_id"])) == (0, lease_id)
    assert driver.call(*operation(Kind.LEASE_REVOKE, lease_id=lease_id))["code"] == 0
    assert driver.call(*operation(Kind.LEASE_KEEP_ALIVE, lease_id=lease_id))["code"] == ErrorCode.LEASE_EXPIRED
    assert driver.call(*operation(Kind.LEASE_REVOKE, lease_id=lease_id))["code"] == ErrorCode.NOT_FOUND
    assert etcd.last_error(driver.state) == (5, "etcdserver: requested lease not found")


def test_watches_of_one_key_by_many(driver: Driver) -> None:
    for slot in range(20):
        assert driver.submit(*operation(Kind.WATCH, b"w/key"), slot=100 + slot, connection=1) == 1
    driver.pump_until(lambda: len(driver.outcomes) == 20)
    assert {int(o["slot"]) for o in driver.outcomes} == set(range(100, 120))
    stamps = [time.monotonic_ns() + number for number in range(5)]
    for stamp in stamps:
        driver.call(*operation(Kind.PUT, b"w/key", stamp.to_bytes(8, "little") + b"x"))
    driver.pump_until(lambda: sum(o["slot"] == -1 for o in driver.outcomes) == 100)
    events = [int(o["sent_ns"]) for o in driver.outcomes if o["slot"] == -1]
    assert {stamp: events.count(stamp) for stamp in set(events)} == dict.fromkeys(stamps, 20)


def test_many_at_once(driver: Driver, witness: Any) -> None:
    for slot in range(400):
        what = operation(Kind.PUT, b"m/%03d" % slot, b"v" * 256)
        assert driver.submit(*what, slot=slot, connection=slot % 2) == 1
    driver.pump_until(lambda: len(driver.outcomes) == 400)
    assert {int(o["code"]) for o in driver.outcomes} == {0}
    assert {int(o["slot"]) for o in driver.outcomes} == set(range(400))
    assert witness(methods.RANGE, key=b"m/", range_end=b"m0", count_only=True).count == 400


@pytest.mark.parametrize("size", [17_000, 70_000, 1_000_000])
def test_large_values_there_and_back(driver: Driver, witness: Any, size: int) -> None:
    value = bytes(number * 7 & 255 for number in range(size))
    assert driver.call(*operation(Kind.PUT, b"l/key", value))["code"] == 0
    assert witness(methods.RANGE, key=b"l/key").kvs[0].value == value
    assert told(driver.call(*operation(Kind.GET, b"l/key")))[::2] == (0, 1)
    for slot in range(8):
        driver.submit(*operation(Kind.GET, b"l/key"), slot=50 + slot, connection=slot % 2)
    driver.pump_until(lambda: sum(o["slot"] >= 50 for o in driver.outcomes) == 8)
    assert {int(o["code"]) for o in driver.outcomes} == {0}
    assert int(driver.state.shared["pool"]["live"][0]) == 0


def test_a_request_too_large_for_etcd(driver: Driver) -> None:
    outcome = driver.call(*operation(Kind.PUT, b"x", b"v" * 2_000_000))
    assert outcome["code"] in (ErrorCode.INVALID_ARGUMENT, ErrorCode.RESOURCE_EXHAUSTED)
    assert "large" in etcd.last_error(driver.state)[1]
    assert driver.call(*operation(Kind.PUT, b"x", b"small"))["code"] == 0


def test_an_empty_key_is_refused(driver: Driver) -> None:
    assert driver.call(*operation(Kind.PUT, b"", b"v"))["code"] == ErrorCode.INVALID_ARGUMENT
    assert etcd.last_error(driver.state) == (3, "etcdserver: key is not provided")


def test_a_cancelled_request_leaves_the_connection_usable(driver: Driver) -> None:
    for slot in range(50):
        driver.submit(*operation(Kind.PUT, b"c/%d" % slot, b"v"), slot=slot)
    for slot in range(0, 50, 2):
        etcd.cancel(driver.state, driver.net, 0, slot, time.monotonic_ns())
    driver.pump_until(lambda: len(driver.outcomes) == 25)
    assert {int(o["slot"]) for o in driver.outcomes} == set(range(1, 50, 2))
    assert driver.call(*operation(Kind.PUT, b"c/last", b"v"), slot=60)["code"] == 0


def test_a_quota_that_is_used_up(tmp_path: Any) -> None:
    target = start(TargetSpec(kind="etcd", quota_bytes=16 << 20), tmp_path)
    try:
        host, _, port = target.members[0].address.rpartition(":")
        with Driver(etcd, etcd.new_client(1, 16, 1 << 20), [(host, int(port))]) as driver:
            driver.connect()
            codes: list[int] = []
            while not codes or codes[-1] == 0:
                codes.append(int(driver.call(*operation(Kind.PUT, b"q%d" % len(codes), b"v" * 1_000_000))["code"]))
                assert len(codes) < 100
            assert codes[-1] == ErrorCode.RESOURCE_EXHAUSTED
            assert etcd.last_error(driver.state) == (8, "etcdserver: mvcc: database space exceeded")
    finally:
        target.stop()


def test_a_server_that_stops(tmp_path: Any) -> None:
    target = start(TargetSpec(kind="etcd"), tmp_path)
    host, _, port = target.members[0].address.rpartition(":")
    with Driver(etcd, etcd.new_client(1, 16, 0), [(host, int(port))]) as driver:
        driver.connect()
        assert driver.submit(*operation(Kind.WATCH, b"k"), slot=3) == 1
        driver.pump_until(lambda: len(driver.outcomes) == 1)
        target.stop()
        with suppress(Broken):
            driver.pump_until(lambda: len(driver.outcomes) == 2)
        assert int(driver.outcomes[1]["slot"]) == 3
        assert driver.outcomes[1]["code"] in (ErrorCode.UNAVAILABLE, ErrorCode.CONNECTION_LOST, ErrorCode.CANCELLED)
