"""The null ZooKeeper server: kazoo and our own client take it for a server; what is no request ends a connection."""

import socket
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import ConnectionLoss

from kvbench.client import zookeeper
from kvbench.net import table
from kvbench.ops.kinds import Kind
from kvbench.rt import atomics
from kvbench.server import null_net, null_zookeeper
from kvbench.wire.jute import JuteError
from tests.client.driver import Driver, operation
from tests.naive import jute

VALUE_BYTES = 100
GREETING = {"protocol_version": 0, "last_zxid": 0, "timeout_ms": 9000, "session_id": 0, "password": bytes(16),
            "read_only": False}  # fmt: skip


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A null server on a thread of its own."""
    listener, bound = null_net.listen("127.0.0.1", 0)
    stop = np.zeros(1, np.int64)
    ended: list[int] = []
    thread = threading.Thread(
        target=lambda: ended.append(null_zookeeper.serve_zookeeper(listener, 64, stop, VALUE_BYTES))
    )
    thread.start()
    with socket.create_connection(("127.0.0.1", bound), 120) as peer:
        # Answered once the kernels are compiled.
        peer.sendall(jute.frame(jute.encode(jute.CONNECT, GREETING)))
        assert len(peer.recv(41)) == 41
    yield bound
    atomics.store(stop, 0, 1)
    thread.join()
    socket.close(listener)
    assert ended == [0]


@pytest.fixture
def kazoo(port: int) -> Iterator[Any]:
    client = KazooClient(f"127.0.0.1:{port}")
    client.start(10)
    yield client
    client.stop()
    client.close()


def test_kazoo_takes_it_for_a_server(kazoo: Any) -> None:
    assert kazoo.create("/some/path", b"value") == "/some/path"
    value, stat = kazoo.get("/some/path")
    assert (value, stat.dataLength) == (bytes(VALUE_BYTES), VALUE_BYTES)
    assert kazoo.set("/some/path", b"other").version == 0
    assert kazoo.exists("/some/path").version == 0
    assert kazoo.delete("/some/path") is True
    assert kazoo.sync("/some/path") == "/some/path"
    assert kazoo.get_children("/") == []
    children, stat = kazoo.get_children("/", include_data=True)
    assert (children, stat.version) == ([], 0)
    path, stat = kazoo.create("/x", include_data=True)
    assert (path, stat.version) == ("/x", 0)
    with pytest.raises(ConnectionLoss):
        kazoo.get_acls("/x")


def test_transactions(kazoo: Any) -> None:
    transaction = kazoo.transaction()
    transaction.create("/a", b"1")
    transaction.set_data("/b", b"2")
    transaction.delete("/c")
    transaction.check("/d", 3)
    path, stat, deleted, checked = transaction.commit()
    assert (path, stat.version, deleted, checked) == ("/a", 0, True, True)


def test_zxids_count_writes(kazoo: Any) -> None:
    kazoo.create("/first")
    first = kazoo.last_zxid
    kazoo.create("/second")
    kazoo.get("/second")
    assert kazoo.last_zxid == first + 1


def test_our_client_over_many_connections(port: int) -> None:
    client = zookeeper.new_client(40, 64, np.zeros(100, np.uint8))
    with Driver(zookeeper, client, [("127.0.0.1", port)], connections=40) as driver:
        driver.connect()
        sessions = client.sessions["session_id"].tolist()
        assert len(set(sessions)) == 40
        for slot in range(400):
            kind = (Kind.PUT, Kind.GET, Kind.DELETE, Kind.RANGE)[slot % 4]
            assert driver.submit(*operation(kind, b"key", bytes(50), key_index=slot % 100), slot, slot % 40) == 1
        driver.pump_until(lambda: len(driver.outcomes) == 400)
        assert all(outcome["code"] == 0 for outcome in driver.outcomes)
        assert sorted(int(outcome["slot"]) for outcome in driver.outcomes) == list(range(400))


def test_a_closed_session_ends_its_connection(port: int) -> None:
    client = zookeeper.new_client(1, 4, np.zeros(1, np.uint8), lease_sessions=True)
    with Driver(zookeeper, client, [("127.0.0.1", port)]) as driver:
        driver.connect()
        granted = driver.call(*operation(Kind.LEASE_GRANT, b"lease", ttl_s=5))
        lease_id = int(granted["lease_id"])
        assert lease_id == client.sessions["session_id"][0] != 0
        assert driver.call(*operation(Kind.LEASE_KEEP_ALIVE, lease_id=lease_id))["code"] == 0
        assert driver.call(*operation(Kind.LEASE_REVOKE, lease_id=lease_id))["code"] == 0
        driver.pump_until(lambda: driver.net.connections["state"][0] == 0)
        assert driver.outcomes[-1]["kind"] == Kind.LEASE_REVOKE


@pytest.mark.parametrize(
    "bad",
    [
        b"\xff\xff\xff\xff",
        b"GET / HTTP/1.1\r\n\r\n",
        jute.frame(bytes(10)),
    ],
)
def test_what_is_no_greeting_ends_the_connection(port: int, bad: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), 10) as peer:
        peer.sendall(bad)
        assert peer.recv(100) == b""


def serve(frame: bytes, tx_bytes: int = 1 << 16) -> tuple[int, bytes, Any]:
    """serve_connection in memory, the session greeted: its code, the answer, and the connection's record."""
    null = null_zookeeper.new_null_zookeeper(1, VALUE_BYTES)
    null.sessions["session_id"] = 1
    net = table.new_net(1, [], 1 << 14, tx_bytes)
    net.connections["state"] = 2
    net.rx[: len(frame)] = list(frame)
    net.connections["rx_end"] = len(frame)
    code = null_zookeeper.serve_connection(null, net, 0)
    return int(code), bytes(net.tx[: int(net.connections["tx_end"][0])]), net.connections[0]


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (jute.frame(bytes(7)), JuteError.TRUNCATED),
        (jute.request(1, 4, path=b"/a", watch=False) + b"\x80\0\0\0", JuteError.NEGATIVE_FRAME),
        (jute.frame((1).to_bytes(4, "big") + (77).to_bytes(4, "big"), b"\0\0\0\x02/a"), JuteError.UNKNOWN_TYPE),
        (jute.frame(jute.request(1, 9, path=b"/a")[4:] + b"!"), JuteError.TRAILING_BYTES),
        (jute.frame((1).to_bytes(4, "big") + (77).to_bytes(4, "big")), JuteError.TRUNCATED),
    ],
)
def test_what_is_no_request_has_a_code(frame: bytes, code: int) -> None:
    assert serve(frame)[0] == code


def test_a_full_buffer_stops_it_until_there_is_room() -> None:
    request = jute.request(1, 4, path=b"/a", watch=False)
    code, answer, record = serve(request * 50, tx_bytes=2000)
    assert (code, record["more"]) == (0, 1)
    per_answer = 4 + 16 + 4 + VALUE_BYTES + 68
    assert len(answer) % per_answer == 0
    assert 0 < len(answer) < 2000
    assert int(record["rx_start"]) == len(answer) // per_answer * len(request)
