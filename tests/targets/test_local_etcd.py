"""etcd started here: every version on this machine, with real requests."""

import base64
import json
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from kvbench.targets import cluster, found, launch, ports
from kvbench.targets.asking import http_get_json
from kvbench.targets.running import TargetError
from kvbench.targets.spec import parse_target
from tests.targets.starting import Start
from tests.targets.waiting import eventually, is_gone

VERSIONS = list(dict.fromkeys(server.version for server in found.find_all("etcd"))) or ["3.5.1"]
pytestmark = pytest.mark.slow


def put(address: str, key: str) -> bool:
    """Put one key through etcd's JSON gateway."""
    body = {"key": base64.b64encode(key.encode()).decode(), "value": "eA=="}
    return http_get_json(address, "/v3/kv/put", body=json.dumps(body).encode()) is not None


@pytest.mark.parametrize("version", VERSIONS)
def test_one_member_of_each_version(start: Start, version: str) -> None:
    target = start(f"etcd?version={version},snapshots=20,quota=3GiB")
    (member,) = target.members
    assert target.version == version
    assert member.pid is not None and member.data_folder is not None and member.log_path is not None
    with open(f"/proc/{member.pid}/cmdline", "rb") as file:
        assert tuple(file.read().decode().split("\0")[:-1]) == member.command
    assert all(put(member.address, f"key{index}") for index in range(60))
    assert eventually(lambda: any(member.data_folder.rglob("*.snap")))  # type: ignore[union-attr]
    counters = target.counters(member)
    assert counters["etcd_server_has_leader"] == 1.0
    assert counters["etcd_server_quota_backend_bytes"] == 3 << 30
    assert (
        counters[
            'grpc_server_handled_total{grpc_code="OK",grpc_method="Put",grpc_service="etcdserverpb.KV",'
            'grpc_type="unary"}'
        ]
        == 60.0
    )
    assert target.addresses_for_load() == [member.address]
    assert target.dead_members() == []
    described = json.loads(json.dumps(target.describe()))
    assert described["settings"]["snapshots"]["flags"] == ["--snapshot-count=20"]
    assert described["commands"]["m1"] == list(member.command)
    assert (described["kind"], described["version"], described["members"]) == ("etcd", version, 1)
    target.stop()
    target.stop()
    assert is_gone(member.pid) and not member.data_folder.exists() and member.log_path.is_file()


def test_snapshots_off_takes_none_and_fsync_off_is_passed_on(start: Start) -> None:
    target = start("etcd?snapshots=off,fsync=off")
    (member,) = target.members
    assert {"--snapshot-count=100000000", "--unsafe-no-fsync"} <= set(member.command)
    assert all(put(member.address, f"key{index}") for index in range(60))
    assert member.data_folder is not None and not any(member.data_folder.rglob("*.snap"))


def test_three_members_their_leader_and_a_death(start: Start) -> None:
    target = start("etcd?members=3,endpoints=leader")
    (leader,) = target.addresses_for_load()
    lost = next(member for member in target.members if member.address == leader)
    assert lost.pid is not None
    os.kill(lost.pid, signal.SIGKILL)
    assert eventually(lambda: [member.name for member in target.dead_members()] == [lost.name])
    assert [target.how_ended(member) for member in target.members if member != lost] == ["", ""]
    assert target.how_ended(lost) == "signal 9"
    tail = target.log_tail(members=[lost])
    assert f"{lost.name}.log" in tail and tail.count(".log") == 1 and target.log_tail().count(".log") == 3

    def another_leads() -> bool:
        try:
            return target.addresses_for_load() != [leader]
        except TargetError:
            return False

    assert eventually(another_leads)
    assert target.counters(lost) == {}
    target.stop()
    assert all(is_gone(member.pid) for member in target.members if member.pid is not None)


def test_followers_are_all_but_the_leader(start: Start) -> None:
    target = start("etcd?members=3,endpoints=followers")
    followers = target.addresses_for_load()
    assert len(followers) == 2
    assert set(followers) < {member.address for member in target.members}


def test_pinning_reaches_the_server_and_leaves_this_thread_alone(start: Start) -> None:
    before = os.sched_getaffinity(0)
    core = max(before)
    target = start(f"etcd?cpus={core}")
    assert target.members[0].pid is not None
    assert os.sched_getaffinity(target.members[0].pid) == {core}
    assert os.sched_getaffinity(0) == before


def test_a_core_that_is_not_there(start: Start) -> None:
    with pytest.raises(TargetError, match="cannot pin servers to the cores 4000") as caught:
        start("etcd?cpus=4000")
    assert "may use the cores" in caught.value.remedy


def test_a_port_in_use(start: Start, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(TargetError, match=f"port {port} for etcd .* is in use"):
            start(f"etcd?port={port}")


def test_a_port_taken_in_between_is_replaced(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        choose = ports.free_ports
        answers = [[taken]]
        monkeypatch.setattr(cluster, "free_ports", lambda *given: answers.pop() if answers else choose(*given))
        target = start("etcd")
        assert not answers
        assert target.members[0].address != f"127.0.0.1:{taken}"


def test_a_data_folder_that_is_there_already_is_not_touched(tmp_path: Path, newest_etcd: object) -> None:
    (tmp_path / "m1").mkdir()
    (tmp_path / "m1" / "precious").touch()
    with pytest.raises(TargetError, match="is there already"):
        launch.start(parse_target("etcd"), tmp_path)
    assert (tmp_path / "m1" / "precious").exists()


def test_what_a_version_cannot_do_is_refused_before_the_start(script: Callable[[str, str], Path]) -> None:
    script("etcd", 'echo "etcd Version: 3.4.99"')
    with pytest.raises(TargetError, match=r"etcd 3\.4\.99 cannot do fsync=off") as caught:
        launch.check_startable(parse_target("etcd?version=3.4.99,fsync=off"))
    assert "version=3." in caught.value.remedy or "kvbench servers install etcd@" in caught.value.remedy


def test_a_server_that_never_answers(script: Callable[[str, str], Path], tmp_path: Path) -> None:
    note = tmp_path / "pid"
    answer = '[ "$1" = --version ] && echo "etcd Version: 99.0.0" && exit'
    script("etcd", f"{answer}; echo one last word; echo $$ > {note}; kill -STOP $$")
    with pytest.raises(TargetError, match=r"etcd 99\.0\.0 did not become ready within 1 s") as caught:
        launch.start(parse_target("etcd?version=99.0.0"), tmp_path / "run", timeout_s=1.0)
    assert "one last word" in caught.value.log_tail
    assert is_gone(int(note.read_text()))
    assert not (tmp_path / "run" / "m1").exists()


def test_waiting_for_a_server_is_said_and_javas_frames_are_left_out(
    script: Callable[[str, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "SAY_EVERY_S", 0.2)
    answer = '[ "$1" = --version ] && echo "etcd Version: 99.0.0" && exit'
    script("etcd", f"{answer}; printf 'it broke\\n\\tat java.base/x.y(Z:1)\\n'; exec sleep 600")
    said: list[str] = []
    with pytest.raises(TargetError) as caught:
        launch.start(parse_target("etcd?version=99.0.0"), tmp_path / "run", said.append, timeout_s=0.9)
    assert 2 <= sum("still waiting for etcd 99.0.0" in line for line in said) <= 4
    assert "it broke" in caught.value.log_tail and "java.base" not in caught.value.log_tail


def test_a_server_that_dies_at_once(script: Callable[[str, str], Path], tmp_path: Path) -> None:
    script("etcd", '[ "$1" = --version ] && echo "etcd Version: 99.0.0" && exit; echo out of cheese; exit 7')
    with pytest.raises(TargetError, match=r"member m1 ended while starting \(exit code 7\)") as caught:
        launch.start(parse_target("etcd?version=99.0.0"), tmp_path)
    assert "out of cheese" in caught.value.log_tail
    assert not (tmp_path / "m1").exists()
