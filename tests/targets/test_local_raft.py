"""The built-in store started here."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from kvbench import __version__
from kvbench.load.admin import connect
from kvbench.targets import raft
from kvbench.targets.found import FoundServer
from kvbench.targets.running import Member, TargetError
from kvbench.targets.spec import parse_target
from tests.targets.starting import Start
from tests.targets.waiting import eventually, is_gone


def test_a_member_that_compiles_is_said_to(tmp_path: Path) -> None:
    log = tmp_path / "m1.log"
    target = raft.LocalRaft(parse_target("raft"), raft.built_in(""), tmp_path)
    target.members.append(Member("m1", "127.0.0.1:1", log_path=log))
    assert target.not_ready_because() == "member m1 does not say that it is healthy"
    log.write_text("kvbench: something else\nkvbench: compiling the store's machine code, once: 12 s\n")
    assert target.not_ready_because() == "member m1 is compiling the store's machine code, once: 12 s"
    log.write_text("kvbench: compiling the store's machine code, once: 12 s\nsomething went wrong\n")
    assert target.not_ready_because() == "member m1 does not say that it is healthy"


def test_no_other_version_is_built_in() -> None:
    assert raft.built_in(__version__) == FoundServer("raft", __version__, raft.SOURCE, (Path(sys.executable),))
    with pytest.raises(TargetError, match=r"has no version 3\.7\.3"):
        raft.built_in("3.7.3")


@pytest.mark.slow
def test_three_members_their_leader_and_a_death(start: Start) -> None:
    target = start("raft?members=3,endpoints=leader,snapshots=1000,quota=1GiB")
    assert isinstance(target, raft.LocalRaft)
    (leader,) = target.addresses_for_load()
    assert leader == target.leader_address()
    assert len({member.address for member in target.members}) == 3
    described = json.loads(json.dumps(target.describe()))
    assert described["settings"]["snapshots"]["flags"] == ["--snapshots=1000"] and described["members"] == 3
    for member in target.members:
        assert target.counters(member)["etcd_server_quota_backend_bytes"] == 1 << 30
        assert target.counters(member)["etcd_server_is_leader"] == float(member.address == leader)
    lost = next(member for member in target.members if member.address == leader)
    assert lost.pid is not None
    os.kill(lost.pid, signal.SIGKILL)
    assert eventually(lambda: [member.name for member in target.dead_members()] == [lost.name])
    assert eventually(lambda: target.leader_address() not in (None, leader))
    left = [member.address for member in target.members if member != lost]
    admin = connect("raft", left)
    assert sum(status.is_leader for status in admin.status()) == 1
    admin.close()
    target.stop()
    assert all(is_gone(member.pid) for member in target.members if member.pid is not None)
    assert not any(member.data_folder.exists() for member in target.members if member.data_folder)
