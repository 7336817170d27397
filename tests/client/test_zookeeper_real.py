"""ZooKeeper's client against a real server, with kazoo as the witness of what was written."""

import socket
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError
from kazoo.security import make_digest_acl

from kvbench.client import zookeeper
from kvbench.client.zookeeper import ZooKeeperCode
from kvbench.net import table
from kvbench.ops.errors import ErrorCode
from kvbench.ops.kinds import Kind
from kvbench.targets import found, servers
from kvbench.targets.launch import start
from kvbench.targets.spec import TargetSpec
from tests.client.driver import Broken, Driver, operation, operations

pytestmark = pytest.mark.slow

KEYS = 64


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    if not found.find_all("zookeeper"):
        servers.install("zookeeper@3.8.0")
    target = start(TargetSpec(kind="zookeeper"), tmp_path_factory.mktemp("zookeeper"))
    host, _, port = target.members[0].address.rpartition(":")
    yield host, int(port)
    target.stop()


@pytest.fixture(scope="module")
def witness(address: tuple[str, int]) -> Iterator[Any]:
    client = KazooClient(f"{address[0]}:{address[1]}")
    client.start(30)
    yield client
    client.stop()
    client.close()


@pytest.fixture
def folder(witness: Any, request: pytest.FixtureRequest) -> bytes:
    """A directory of the test's own: its key."""
    name = f"{request.node.name}".replace("[", "-").replace("]", "")
    witness.create(f"/{name}")
    return name.encode()


def driver(address: tuple[str, int], connections: int = 1, rx_bytes: int = 65536, **options: Any) -> Driver:
    state = zookeeper.new_client(connections, 64, np.zeros(KEYS, np.uint8), **options)
    return Driver(zookeeper, state, [address], connections, rx_bytes=rx_bytes)


def text(key: bytes) -> str:
    return "/" + key.decode()


def test_every_operation(address: tuple[str, int], witness: Any, folder: bytes) -> None:
    key = folder + b"/key"
    with driver(address) as d:
        d.connect()
        put = d.call(*operation(Kind.PUT, key, b"one"))
        assert (put["code"], put["revision"], put["count"]) == (0, 1, 1)
        assert witness.get(text(key))[0] == b"one"
        assert d.call(*operation(Kind.PUT, key, b"two"))["revision"] == 2
        assert witness.get(text(key))[0] == b"two"
        for kind in (Kind.GET, Kind.GET_SERIALIZABLE):
            got = d.call(*operation(kind, key))
            assert (got["code"], got["revision"], got["count"]) == (0, 2, 1)
            missing = d.call(*operation(kind, folder + b"/nothing"))
            assert (missing["code"], missing["count"]) == (0, 0)
        swapped = d.call(*operation(Kind.CAS, key, b"three"))
        assert (swapped["code"], swapped["revision"]) == (0, 3)
        assert d.call(*operation(Kind.READ_MODIFY_WRITE, key, b"four"))["revision"] == 4
        assert witness.get(text(key))[0] == b"four"
        assert d.call(*operation(Kind.INSERT, key, b"x"))["code"] == ErrorCode.ZK_NODE_EXISTS
        assert d.call(*operation(Kind.RANGE, folder + b"/"))["count"] == 1
        deleted = d.call(*operation(Kind.DELETE, key))
        assert (deleted["code"], deleted["count"]) == (0, 1)
        assert witness.exists(text(key)) is None
        again = d.call(*operation(Kind.DELETE, key))
        assert (again["code"], again["count"]) == (0, 0)


def test_wrong_guesses_are_mended(address: tuple[str, int], witness: Any, folder: bytes) -> None:
    key = folder + b"/key"
    witness.create(text(key), b"theirs")
    with driver(address) as d:
        d.connect()
        steps = [int(o["next_step"]) for o in d.outcomes]
        assert d.call(*operation(Kind.PUT, key, b"ours"))["revision"] == 2
        witness.delete(text(key))
        assert d.call(*operation(Kind.PUT, key, b"ours again"))["revision"] == 1
        steps = [int(o["next_step"]) for o in d.outcomes]
        assert steps == [1, 0, 2, 0]
    assert witness.get(text(key))[0] == b"ours again"


def test_compare_and_swap_under_contention(address: tuple[str, int], witness: Any, folder: bytes) -> None:
    key = folder + b"/key"
    with driver(address) as d:
        d.connect()
        records, payload = operation(Kind.CAS, key, b"first")
        assert d.submit(records, payload) == 1
        d.pump_until(lambda: len(d.outcomes) == 1)
        assert (d.outcomes[0]["next_step"], d.outcomes[0]["revision"]) == (1, 0)
        witness.create(text(key), b"theirs")
        records["step"] = 1
        d.submit(records, payload)
        d.pump_until(lambda: len(d.outcomes) == 2)
        assert d.outcomes[1]["code"] == ErrorCode.COMPARE_FAILED
        assert d.call(*operation(Kind.CAS, key, b"second"))["code"] == 0
        records, payload = operation(Kind.CAS, key, b"third", step=1, expected=1)
        assert d.call(records, payload)["code"] == ErrorCode.COMPARE_FAILED
    assert witness.get(text(key))[0] == b"second"


def test_transactions_mend_their_guesses(address: tuple[str, int], witness: Any, folder: bytes) -> None:
    keys = [folder + b"/k%d" % i for i in range(4)]
    witness.create(text(keys[1]), b"theirs")
    witness.create(text(keys[3]), b"theirs")
    with driver(address) as d:
        d.connect()
        d.state.known[[0, 1]] = 1
        records, payload = operations((Kind.TXN, keys[0], b"", b""), *((Kind.PUT, key, b"ours", b"") for key in keys))
        records["key_index"][1:] = range(4)
        done = d.call(records, payload)
        assert (done["code"], done["count"]) == (0, 4)
        assert len(d.outcomes) == 3
    assert [witness.get(text(key))[0] for key in keys] == [b"ours"] * 4


def test_make_parent_at_every_level(address: tuple[str, int], witness: Any, folder: bytes) -> None:
    with driver(address) as d:
        d.connect()
        for _ in range(2):
            assert d.call(*operation(Kind.MAKE_PARENT, folder + b"/x/"))["code"] == 0
            assert d.call(*operation(Kind.MAKE_PARENT, folder + b"/x/y"))["code"] == 0
        assert d.call(*operation(Kind.MAKE_PARENT, folder + b"/p/q"))["code"] == ErrorCode.ZK_NO_NODE
    assert witness.get_children(text(folder) + "/x") == ["y"]


def test_requests_in_flight_are_answered_in_order(address: tuple[str, int], witness: Any, folder: bytes) -> None:
    with driver(address, connections=3) as d:
        d.connect()
        for slot in range(300):
            kind = (Kind.PUT, Kind.GET, Kind.PUT, Kind.RANGE)[slot % 4]
            key = folder if kind == Kind.RANGE else folder + b"/n%d" % (slot % KEYS)
            assert d.submit(*operation(kind, key, bytes(200), key_index=slot % KEYS), slot, slot % 3) == 1
        d.pump_until(lambda: len(d.outcomes) == 300)
        assert sorted(int(o["slot"]) for o in d.outcomes) == list(range(300))
        assert {int(o["code"]) for o in d.outcomes} == {0}
        for connection in range(3):
            mine = [int(o["slot"]) for o in d.outcomes if o["slot"] % 3 == connection]
            assert mine == sorted(mine)


def test_a_directory_larger_than_the_buffer(address: tuple[str, int], witness: Any, folder: bytes) -> None:
    transaction = witness.transaction()
    for i in range(400):
        transaction.create(f"{text(folder)}/{i:050}")
    transaction.commit()
    with driver(address, rx_bytes=4096) as d:
        d.connect()
        assert d.call(*operation(Kind.RANGE, folder))["code"] == ErrorCode.RESPONSE_TOO_LARGE
        assert d.call(*operation(Kind.GET, folder))["code"] == 0
    with driver(address) as d:
        d.connect()
        assert d.call(*operation(Kind.RANGE, folder))["count"] == 400


def sent_at(number: int) -> bytes:
    return number.to_bytes(8, "little") + b"behind it"


def test_watches(address: tuple[str, int], witness: Any, folder: bytes) -> None:
    key = folder + b"/watched"
    with driver(address, connections=2, watches=4) as d:
        d.connect()
        stands = d.call(*operation(Kind.WATCH, key), slot=0)
        assert (stands["code"], stands["count"]) == (0, 0)
        d.call(*operation(Kind.WATCH, key), slot=1)
        d.call(*operation(Kind.WATCH, key), slot=2, connection=1)
        d.outcomes.clear()
        witness.create(text(key), sent_at(1))
        for number in range(2, 6):
            d.pump_until(lambda: len(d.outcomes) == 3)
            assert [(int(o["slot"]), int(o["sent_ns"]), int(o["count"])) for o in d.outcomes] == [
                (-1, number - 1, 1)
            ] * 3
            d.outcomes.clear()
            witness.set(text(key), sent_at(number))
        d.pump_until(lambda: len(d.outcomes) == 3)


def test_no_change_goes_missing_in_a_burst(address: tuple[str, int], witness: Any, folder: bytes) -> None:
    key = folder + b"/watched"
    witness.create(text(key), sent_at(1))
    with driver(address, watches=1) as d:
        d.connect()
        d.call(*operation(Kind.WATCH, key))
        d.outcomes.clear()
        pending = [witness.set_async(text(key), sent_at(number)) for number in range(2, 202)]
        for one in pending:
            one.get(10)
        d.pump_until(lambda: sum(int(o["count"]) for o in d.outcomes) >= 200)
        assert sum(int(o["count"]) for o in d.outcomes) == 200
        times = [int(o["sent_ns"]) for o in d.outcomes]
        assert times == sorted(set(times))
        assert times[-1] == 201


def reconnect(d: Driver, connection: int = 0) -> None:
    """Cut the connection as a network would, without a word to the client, and connect again."""
    d.lose(connection)
    d.connect()


def test_a_session_and_its_watches_survive_a_lost_connection(
    address: tuple[str, int], witness: Any, folder: bytes
) -> None:
    key = folder + b"/watched"
    witness.create(text(key), sent_at(1))
    with driver(address, watches=1) as d:
        d.connect()
        session_id = int(d.state.sessions["session_id"][0])
        d.call(*operation(Kind.WATCH, key))
        d.submit(*operation(Kind.GET, key), slot=7)
        d.outcomes.clear()
        d.lose(0)
        assert [(int(o["slot"]), int(o["code"])) for o in d.outcomes] == [(7, ErrorCode.CONNECTION_LOST)]
        d.outcomes.clear()
        witness.set(text(key), sent_at(2))
        d.connect()
        assert int(d.state.sessions["session_id"][0]) == session_id
        d.pump_until(lambda: len(d.outcomes) == 1)
        assert (int(d.outcomes[0]["slot"]), int(d.outcomes[0]["sent_ns"])) == (-1, 2)
        reconnect(d)
        witness.set(text(key), sent_at(3))
        d.pump_until(lambda: len(d.outcomes) == 2)
        assert int(d.outcomes[1]["sent_ns"]) == 3


def test_an_expired_session_is_replaced(address: tuple[str, int], witness: Any, folder: bytes) -> None:
    with driver(address, session_timeout_ms=1) as d:
        d.connect()
        first = int(d.state.sessions["session_id"][0])
        granted_ms = int(d.state.sessions["timeout_ms"][0])
        d.lose(0)
        time.sleep(2 * granted_ms / 1000 + 2)
        with pytest.raises(Broken) as broken:
            d.connect()
        assert broken.value.code == ZooKeeperCode.SESSION_EXPIRED
        d.connect()
        assert int(d.state.sessions["session_id"][0]) not in (0, first)
        assert d.call(*operation(Kind.PUT, folder + b"/key", b"v"))["code"] == 0


def test_pings_keep_an_idle_session(address: tuple[str, int]) -> None:
    with driver(address, session_timeout_ms=1) as d:
        d.connect()
        granted_ms = int(d.state.sessions["timeout_ms"][0])
        end = time.monotonic() + 3 * granted_ms / 1000
        while time.monotonic() < end:
            assert zookeeper.tick(d.state, d.net, 0, time.monotonic_ns()) == 0
            d.step(50_000_000)
        assert d.net.connections["state"][0] == 2
        assert d.call(*operation(Kind.GET, b"zookeeper"))["count"] == 1


def test_credentials(address: tuple[str, int], witness: Any, folder: bytes) -> None:
    key = folder + b"/secret"
    witness.create(text(key), b"for ann", acl=[make_digest_acl("ann", "pass", all=True)])
    with driver(address, user="ann", password="pass") as d:
        d.connect()
        assert d.call(*operation(Kind.GET, key))["code"] == 0
        d.state.known[0] = 1
        assert d.call(*operation(Kind.PUT, key, b"by ann"))["code"] == 0
    with driver(address) as d:
        d.connect()
        assert d.call(*operation(Kind.GET, key))["code"] == ErrorCode.ZK_NO_AUTH
        d.state.known[0] = 1
        assert d.call(*operation(Kind.PUT, key, b"by nobody"))["code"] == ErrorCode.ZK_NO_AUTH


def test_leases(address: tuple[str, int], witness: Any, folder: bytes) -> None:
    with driver(address, connections=2, lease_sessions=True) as d:
        d.connect()
        leases = []
        for connection in range(2):
            granted = d.call(*operation(Kind.LEASE_GRANT, folder + b"/lease", ttl_s=30), connection, connection)
            assert (granted["code"], granted["count"]) == (0, 1)
            leases.append(int(granted["lease_id"]))
        names = witness.get_children(text(folder))
        assert sorted(names) == sorted(f"lease-{lease & (2**64 - 1):016x}" for lease in leases)
        owner = witness.get(f"{text(folder)}/{names[0]}")[1].ephemeralOwner
        assert owner in leases
        kept = d.call(*operation(Kind.LEASE_KEEP_ALIVE, lease_id=leases[1]), 1, 1)
        assert (kept["code"], kept["count"]) == (0, 1)
        revoked = d.call(*operation(Kind.LEASE_REVOKE, lease_id=leases[0]), 0, 0)
        assert revoked["code"] == 0
        d.pump_until(lambda: d.net.connections["state"][0] == 0)
        assert all(o["code"] == 0 for o in d.outcomes)
        with pytest.raises(NoNodeError):
            witness.get(f"{text(folder)}/lease-{leases[0] & (2**64 - 1):016x}")
        d.connect()
        assert d.call(*operation(Kind.LEASE_GRANT, folder + b"/lease", ttl_s=30))["code"] == 0


def test_closing_the_session_says_goodbye(address: tuple[str, int], witness: Any) -> None:
    with driver(address) as d:
        d.connect()
        session_id = int(d.state.sessions["session_id"][0])
        assert f"0x{session_id:x}" in witness.command(b"cons")
        assert zookeeper.close_session(d.state, d.net, 0, time.monotonic_ns()) == 1
        d.pump_until(lambda: d.net.connections["state"][0] == 0)
        assert f"0x{session_id:x}" not in witness.command(b"dump")
        assert d.outcomes == []


def test_another_protocols_server_is_no_zookeeper() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, driver(listener.getsockname()) as d:
        table.start_connect(d.net, 0, time.monotonic_ns())
        peer, _ = listener.accept()
        with peer:
            peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            with pytest.raises(Broken) as broken:
                d.connect()
    assert broken.value.code < 0
