"""Members that are told to end, killed, stopped, or given peers that do not fit."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import psutil
import pytest

from kvbench.server.member import Exit
from kvbench.targets.ports import free_ports
from tests.server.serving import Client, Serve, serving, three_ports, until
from tests.targets.waiting import is_gone

pytestmark = pytest.mark.slow


def children(server: Serve) -> list[int]:
    """Processes of the members."""
    return [child.pid for child in psutil.Process(server.process.pid).children()]


def put_unless_lost(client: Client, key: bytes, value: bytes) -> bool:
    """A put; False when its leader was lost on the way, which leaves the outcome open."""
    try:
        client.put(key, value)
    except grpc.RpcError as error:
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        return False
    return True


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[Serve, list[str]]]:
    """Three members under one parent."""
    server = Serve(*_local_cluster(tmp_path), log=tmp_path / "log")
    try:
        yield server, server.ready()
    finally:
        server.close()


def _local_cluster(folder: Path) -> list[str]:
    return [f"--data-dir={folder / 'data'}", "--members=3", f"--listen=127.0.0.1:{three_ports()}", "--fsync=off"]


def test_a_killed_parent_leaves_no_member_not_even_a_stopped_one(cluster: tuple[Serve, list[str]]) -> None:
    """And with one of three stopped, the others serve."""
    server, addresses = cluster
    members = children(server)
    assert len(members) == 3
    with Client(addresses[0]) as first, Client(addresses[1]) as second:
        first.put(b"key", b"before")
        os.kill(members[2], signal.SIGSTOP)
        until(lambda: put_unless_lost(second, b"key", b"while one is stopped"))
        assert first.get(b"key") == b"while one is stopped"
    assert server.end(signal.SIGKILL) == -signal.SIGKILL
    until(lambda: all(is_gone(pid) for pid in members))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, Exit.OK), (signal.SIGINT, Exit.INTERRUPTED)])
def test_a_whole_cluster_told_to_end(tmp_path: Path, number: int, code: int) -> None:
    options = _local_cluster(tmp_path)
    server = Serve(*options, log=tmp_path / "log")
    try:
        with Client(server.ready()[1]) as client:
            client.put(b"key", b"kept")
        members = children(server)
        assert server.end(number) == code, server.said()
        assert all(is_gone(pid) for pid in members)
    finally:
        server.close()
    if number == signal.SIGTERM:
        again = Serve(*options, log=tmp_path / "log")
        try:
            with Client(again.ready()[2]) as client:
                assert client.get(b"key") == b"kept"
        finally:
            again.close()


def test_a_leader_that_is_told_to_end_hands_over(tmp_path: Path) -> None:
    """The others have a leader without waiting for an election's time-out, and what it acknowledged."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(3)]
    with ExitStack() as stack:
        members = []
        for number, address in enumerate(addresses, 1):
            members.append(
                Serve(f"--data-dir={tmp_path / str(number)}", f"--listen={address}", f"--member={number}",
                      f"--peers={','.join(addresses)}", "--fsync=off", log=tmp_path / f"log{number}")
            )  # fmt: skip
            stack.callback(members[-1].close)
        clients = [stack.enter_context(Client(member.ready()[0])) for member in members]
        clients[0].put(b"key", b"kept")
        leads = [client.metrics()["etcd_server_is_leader"] for client in clients]
        leader = leads.index(1)
        other = clients[leader - 1]
        changes = other.metrics()["etcd_server_leader_changes_seen_total"]
        assert members[leader].end() == Exit.OK, members[leader].said()
        assert other.put(b"key", other.get(b"key") + b"!") > 0
        assert other.metrics()["etcd_server_leader_changes_seen_total"] == changes + 1


def test_peers_that_do_not_fit_are_told_why(tmp_path: Path) -> None:
    """Two members that were given different tokens never make a cluster, and say what is wrong."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(3)]
    with ExitStack() as stack:
        members = []
        for number in (1, 2):
            options = [f"--data-dir={tmp_path / str(number)}", f"--listen={addresses[number - 1]}"]
            options += [f"--member={number}", f"--peers={','.join(addresses)}", f"--cluster-token=token{number}"]
            members.append(Serve(*options, log=tmp_path / f"log{number}"))
            stack.callback(members[-1].close)
        why = "another member was refused: it belongs to another cluster"
        until(lambda: all(why in member.said() for member in members), 60)
        assert [member.end() for member in members] == [Exit.OK, Exit.OK]


def test_a_single_member_interrupted(tmp_path: Path) -> None:
    with serving(tmp_path, "--fsync=off") as (server, client):
        client.put(b"key", b"kept")
        began = time.monotonic()
        assert server.end(signal.SIGINT) == Exit.INTERRUPTED
        assert time.monotonic() - began < 10
    with serving(tmp_path, "--fsync=off") as (server, client):
        assert client.get(b"key") == b"kept"
