import socket
from collections.abc import Iterator
from typing import Any

import pytest
from kazoo.client import KazooClient
from kazoo.security import make_digest_acl

from kvbench.load import admin
from kvbench.load.admin import AdminError
from kvbench.load.admin_zookeeper import ZooKeeperAdmin, parse_members, parse_srvr, split_prefix
from kvbench.load.credentials import Credentials
from kvbench.targets.running import RunningTarget

pytestmark = pytest.mark.slow


@pytest.fixture
def address(zookeeper: RunningTarget) -> str:
    return zookeeper.members[0].address


@pytest.fixture
def asked(address: str) -> Iterator[ZooKeeperAdmin]:
    found = admin.connect("zookeeper", [address], timeout_s=10.0)
    assert isinstance(found, ZooKeeperAdmin)
    yield found
    found.close()
    found.close()


@pytest.fixture
def client(address: str) -> Iterator[Any]:
    other = KazooClient(hosts=address)
    other.start(timeout=30)
    yield other
    other.stop()
    other.close()


def fill(client: Any, parent: str, names: list[str]) -> None:
    client.ensure_path(parent)
    for name in names:
        client.create(f"{parent}/{name}", b"x", makepath=True)


def test_znodes_are_counted_and_deleted_under_the_prefix_only(client: Any, asked: ZooKeeperAdmin) -> None:
    fill(client, "/under", ["a", "b", "dir/c", "dir/deep/d"])
    fill(client, "/understudy", ["a"])
    assert asked.count_keys("under/") == 6
    assert asked.count_keys("nothing/") == 0
    assert asked.count_keys("under/d") == 4
    assert asked.count_keys("under") == 9
    seen: list[tuple[int, int]] = []
    assert asked.delete_prefix("under/", lambda deleted, total: seen.append((deleted, total))) == 6
    assert seen[-1] == (6, 6)
    assert client.exists("/under")
    assert client.get_children("/under") == []
    assert client.exists("/understudy/a")
    assert asked.delete_prefix("under/") == 0
    client.delete("/understudy", recursive=True)


def test_a_prefix_may_end_within_a_name(client: Any, asked: ZooKeeperAdmin) -> None:
    fill(client, "/part", ["mine-1", "mine-2/x", "yours-1"])
    assert asked.delete_prefix("part/mine-") == 3
    assert client.get_children("/part") == ["yours-1"]


def test_deleting_goes_in_batches(client: Any, asked: ZooKeeperAdmin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kvbench.load.admin_zookeeper.DELETE_BATCH_BYTES", 300)
    fill(client, "/batches", [f"{number:03}" for number in range(100)])
    seen: list[tuple[int, int]] = []
    assert asked.delete_prefix("batches/", lambda deleted, total: seen.append((deleted, total))) == 100
    assert len(seen) > 10
    assert seen[-1] == (100, 100)
    assert asked.count_keys("batches/") == 0


def test_what_was_created_is_taken_away_again(client: Any, asked: ZooKeeperAdmin) -> None:
    client.ensure_path("/theirs")
    assert asked.prepare_prefix("theirs/kvbench/run/") == ("/theirs/kvbench", "/theirs/kvbench/run")
    assert asked.prepare_prefix("theirs/kvbench/run/") == ()
    assert asked.prepare_prefix("flat-") == ()
    fill(client, "/theirs/kvbench/run", ["a", "b"])
    created: tuple[str, ...] = ("/theirs/kvbench", "/theirs/kvbench/run")
    assert asked.delete_prefix("theirs/kvbench/run/", created=created) == 2
    assert client.get_children("/theirs") == []
    created = asked.prepare_prefix("theirs/kvbench/run/")
    client.create("/theirs/kvbench/somebody else's", b"")
    asked.delete_prefix("theirs/kvbench/run/", created=created)
    assert client.get_children("/theirs/kvbench") == ["somebody else's"]


def test_an_empty_prefix_is_never_deleted(asked: ZooKeeperAdmin) -> None:
    for prefix in ("", "/"):
        with pytest.raises(ValueError, match="everything"):
            asked.delete_prefix(prefix)


def test_status_leader_members_and_revision(client: Any, asked: ZooKeeperAdmin, address: str) -> None:
    before = asked.revision()
    client.create("/one more", b"")
    assert asked.revision() > before
    (status,) = asked.status()
    assert status.address == address
    assert status.is_leader
    assert status.version.startswith("3.")
    assert status.keys > 0
    assert asked.leader_address() == address
    assert asked.members() == [address]
    assert asked.alarms() == []


def test_users(client: Any, address: str) -> None:
    client.create("/guarded", b"", acl=[make_digest_acl("alice", "secret", all=True)])
    allowed = admin.connect("zookeeper", [address], Credentials(user="alice", password="secret"), 10.0)
    assert allowed.prepare_prefix("guarded/run/") == ("/guarded/run",)
    assert allowed.delete_prefix("guarded/run/", created=("/guarded/run",)) == 0
    allowed.close()
    other = admin.connect("zookeeper", [address], Credentials(user="alice", password="wrong"), 10.0)
    with pytest.raises(AdminError, match="not allowed") as caught:
        other.prepare_prefix("guarded/run/")
    assert "ACL" in caught.value.remedy
    other.close()


def test_nobody_answers(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        where = f"127.0.0.1:{silent.getsockname()[1]}"
        asked = admin.connect("zookeeper", [where], timeout_s=0.3)
        with pytest.raises(AdminError, match=f"no ZooKeeper answers at {where} within 0.3 s"):
            asked.count_keys("kvbench/")
        with pytest.raises(AdminError, match=f"no ZooKeeper at {where} says its status"):
            asked.leader_address()
        asked.close()
    assert capfd.readouterr() == ("", "")


def test_tls_is_refused_by_name() -> None:
    with pytest.raises(AdminError, match="does not speak TLS to ZooKeeper"):
        admin.connect("zookeeper", ["127.0.0.1:1"], Credentials(tls=True))


def test_split_prefix() -> None:
    assert split_prefix("kvbench/") == ("/kvbench", "")
    assert split_prefix("a/b/c-") == ("/a/b", "c-")
    assert split_prefix("/a/b") == ("/a", "b")
    assert split_prefix("key") == ("/", "key")


def test_members_of_a_dynamic_configuration() -> None:
    text = (
        "server.1=10.0.0.1:2888:3888:participant;0.0.0.0:2181\n"
        "server.2=10.0.0.2:2888:3888:participant;10.0.0.9:2182\n"
        "server.3=10.0.0.3:2888:3888:participant;2183\n"
        "server.4=10.0.0.4:2888:3888:participant\nversion=0"
    )
    assert parse_members(text) == ["10.0.0.1:2181", "10.0.0.9:2182", "10.0.0.3:2183"]
    assert parse_members("") == []


def test_answers_to_srvr() -> None:
    text = (
        "Zookeeper version: 3.9.5-abc, built on 2025\nLatency min/avg/max: 0/0.0/0\nZxid: 0x1f\n"
        "Mode: follower\nNode count: 5\n"
    )
    status = parse_srvr("h:1", text)
    assert status is not None
    assert (status.version, status.is_leader, status.revision, status.keys) == ("3.9.5", False, 31, 5)
    assert parse_srvr("h:1", "This ZooKeeper instance is not currently serving requests\n") is None
