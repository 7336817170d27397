"""ZooKeeper started here: every version on this machine, driven by kazoo."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from kazoo.client import KazooClient

from kvbench.targets import found, launch, zookeeper
from kvbench.targets.asking import four_letter_word
from kvbench.targets.running import Member, TargetError
from kvbench.targets.spec import parse_target
from tests.targets.starting import Start
from tests.targets.waiting import eventually, is_gone, is_stopped

VERSIONS = list(dict.fromkeys(server.version for server in found.find_all("zookeeper"))) or ["3.8.0"]
pytestmark = pytest.mark.slow


def create_znodes(address: str, count: int) -> None:
    client = KazooClient(address, timeout=10.0)
    client.start(timeout=20.0)
    try:
        for index in range(count):
            client.create(f"/node{index}", b"x")
    finally:
        client.stop()
        client.close()


def snapshots_of(member: Member) -> list[Path]:
    assert member.data_folder is not None
    return sorted((member.data_folder / "data").rglob("snapshot.*"))


@pytest.mark.parametrize("version", VERSIONS)
def test_one_member_of_each_version(start: Start, version: str) -> None:
    target = start(f"zookeeper?version={version},snapshots=20,heap=200m")
    (member,) = target.members
    assert target.version == version
    assert member.pid is not None and member.data_folder is not None and member.log_path is not None
    with open(f"/proc/{member.pid}/cmdline", "rb") as file:
        assert tuple(file.read().decode().split("\0")[:-1]) == member.command
    create_znodes(member.address, 60)
    assert eventually(lambda: len(snapshots_of(member)) > 1)
    assert target.counters(member)["zk_znode_count"] >= 60
    assert "maxClientCnxns=0" in (four_letter_word(member.address, "conf") or "")
    assert "os.memory.max=200MB" in (four_letter_word(member.address, "envi") or "")
    described = json.loads(json.dumps(target.describe()))
    assert described["heap_bytes"] == 200 << 20
    assert described["settings"]["snapshots"]["flags"] == ["-Dzookeeper.snapCount=20"]
    assert "maxClientCnxns=0" in described["configuration"]["m1"]
    assert "DEBUG" not in member.log_path.read_text() and " INFO " not in member.log_path.read_text()
    target.stop()
    assert is_gone(member.pid) and not member.data_folder.exists() and member.log_path.is_file()


def test_snapshots_off_takes_none_beyond_the_first(start: Start) -> None:
    target = start("zookeeper?snapshots=off,fsync=off")
    (member,) = target.members
    assert "-Dzookeeper.forceSync=no" in member.command
    before = snapshots_of(member)
    create_znodes(member.address, 60)
    assert snapshots_of(member) == before


def test_three_members_their_leader_and_a_death(start: Start) -> None:
    target = start("zookeeper?members=3,endpoints=followers")
    followers = target.addresses_for_load()
    assert len(followers) == 2
    states = sorted(zookeeper.server_state(member.address) for member in target.members)
    assert states == ["follower", "follower", "leader"]
    lost = target.members[0]
    assert lost.pid is not None
    os.kill(lost.pid, signal.SIGKILL)
    assert eventually(lambda: [member.name for member in target.dead_members()] == [lost.name])
    assert target.counters(lost) == {}
    target.stop()
    assert all(is_gone(member.pid) for member in target.members if member.pid is not None)


def test_the_default_heap_leaves_room_for_others() -> None:
    memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < zookeeper.default_heap_bytes() <= min(zookeeper.HEAP_BYTES_MAX, memory_bytes // 4)


def test_a_stopped_server_is_stopped_all_the_same(start: Start) -> None:
    target = start("zookeeper?heap=200m")
    pid = target.members[0].pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    assert eventually(lambda: is_stopped(pid))
    assert target.counters(target.members[0]) == {}
    target.stop()
    assert is_gone(pid)


def test_no_java(
    script: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, newest_zookeeper: object
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(TargetError, match="needs Java") as caught:
        launch.start(parse_target("zookeeper"), tmp_path / "run")
    assert "default-jre" in caught.value.remedy
