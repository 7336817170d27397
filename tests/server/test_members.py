"""Real members: saved and restored, left behind and caught up, stopped and killed under load."""

import shlex
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from kvbench.cli import snapshots
from kvbench.targets import found
from kvbench.targets.ports import free_ports
from kvbench.wire.proto import messages, methods
from tests.like_etcd.sides import Side
from tests.server.members import Members, Writer, closing, wait_until

pytestmark = pytest.mark.slow

PREFIX, PREFIX_END = b"w/", b"w0"
LARGE_BYTES = 200_000
LARGE_COUNT = 1200
"""More than two segments of the log and what is kept of it: who missed them needs a snapshot."""


def start_command(said: str) -> list[str]:
    """The command that starts what was restored."""
    return shlex.split(said.split("\n", 1)[1])


def everything(side: Side) -> Any:
    return side.raw(methods.RANGE, messages.RangeRequest(key=b"\0", range_end=b"\0")).kvs


def test_saved_and_restored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "backup.db"
    with closing(Members(tmp_path / "old", 1)) as members:
        side = members.sides[0]
        for number in range(20):
            revision = members.put(0, b"%d" % (number % 7), bytes(3000))
        side.raw(methods.COMPACT, messages.CompactionRequest(revision=revision - 9))
        before = everything(side)
        hashed = side.raw(methods.HASH_KV, messages.HashKVRequest()).hash
        snapshots.save_command(file, side.address)
        by_etcdctl = tmp_path / "etcdctl.db"
        tools = found.find_all("etcdctl")
        if tools:
            command = [str(tools[0].path), f"--endpoints={side.address}", "snapshot", "save", str(by_etcdctl)]
            subprocess.run(command, check=True, capture_output=True, timeout=30)
            assert by_etcdctl.read_bytes() == file.read_bytes()
    assert not list(tmp_path.glob("*.part"))
    assert f"saved revision {revision}" in capsys.readouterr().out
    snapshots.status_command(file, False)
    assert f"{hashed:08x}" in capsys.readouterr().out
    port = free_ports(1)[0]
    root = tmp_path / "new"
    snapshots.restore_command(file, root, f"127.0.0.1:{port}", 1, 0, "", "", 500, True)
    command = start_command(capsys.readouterr().out)
    token = command[command.index("--cluster-token") + 1]
    with closing(Members(tmp_path, 1, [root], [port], token=token)) as members:
        side = members.sides[0]
        assert everything(side) == before
        watch = side.watch()
        watch.create(b"5", start_revision=revision)
        watch.create(b"5", start_revision=revision + 501)
        assert members.put(0, b"5", b"again") == revision + 501
        responses = watch.wait_for(lambda came: len([one for one in came if one.canceled or one.events]) == 2)
        cancelled = [one for one in responses if one.canceled]
        assert [one.compact_revision for one in cancelled] == [revision + 500]
        assert [event.kv.mod_revision for one in responses for event in one.events] == [revision + 501]
        assert members.stop(0) == 0
        members.start(0)
        assert [one.value for one in everything(side) if one.key == b"5"] == [b"again"]


class Watched:
    """A Watch call for the keys under PREFIX."""

    def __init__(self, side: Side, start_revision: int) -> None:
        self.stream = side.watch()
        self.stream.create(PREFIX, range_end=PREFIX_END, start_revision=start_revision)

    def events(self, responses: list[Any]) -> list[int]:
        """Revisions in order."""
        return [event.kv.mod_revision for one in responses for event in one.events]

    def expect(self, revisions: list[int]) -> None:
        """Every event once and in order."""
        assert self.events(self.stream.wait_for(lambda so_far: len(self.events(so_far)) >= len(revisions))) == revisions


def write_much(members: Members, place: int, small: int) -> list[int]:
    """Write more than the log keeps, and ``small`` keys under PREFIX between. Returns the revisions of these."""
    revisions = []
    for number in range(LARGE_COUNT):
        members.put(place, b"large", bytes(LARGE_BYTES))
        if number % (LARGE_COUNT // small) == 0:
            revisions.append(members.put(place, PREFIX + b"%d" % number, b"x"))
    return revisions


def agree(members: Members) -> None:
    """All members have applied the same, and it hashes alike."""
    put = messages.PutRequest(key=b"last")
    last = members.sides[members.leader()].raw(methods.PUT, put).header.revision

    def has_all(side: Side) -> bool:
        return bool(side.raw(methods.STATUS, messages.StatusRequest()).header.revision >= last)

    wait_until(lambda: all(has_all(side) for side in members.sides), "all")
    assert len(set(members.hashes(last))) == 1


def test_a_member_left_behind_catches_up_by_a_snapshot(tmp_path: Path) -> None:
    with closing(Members(tmp_path, 3, snapshots=400)) as members:
        leader = members.leader()
        behind = (leader + 1) % 3
        revisions = [members.put(behind, PREFIX + b"%d" % number) for number in range(5)]
        first = revisions[0]
        members.kill(behind)
        revisions += write_much(members, leader, 10)
        members.start(behind)
        wait_until(lambda: members.metric(behind, "kvbench_snapshots_received_total") >= 1, "a snapshot")
        agree(members)
        watched = Watched(members.sides[behind], first)
        watched.expect(revisions)


def test_watchers_of_a_member_that_a_snapshot_overtakes_miss_nothing(tmp_path: Path) -> None:
    """It is silent while the others forget what it lacks; then a snapshot replaces the state under its watchers."""
    with closing(Members(tmp_path, 3, snapshots=400)) as members:
        leader = members.leader()
        behind = (leader + 1) % 3
        revisions = [members.put(behind, PREFIX + b"%d" % number) for number in range(5)]
        watched = Watched(members.sides[behind], revisions[0])
        watched.expect(revisions)
        members.pause(behind)
        revisions += write_much(members, leader, 10)
        members.resume(behind)
        wait_until(lambda: members.metric(behind, "kvbench_snapshots_received_total") >= 1, "a snapshot")
        agree(members)
        watched.expect(revisions)


def test_a_leader_that_is_told_to_stop_hands_over(tmp_path: Path) -> None:
    election_s = 3.0
    with closing(Members(tmp_path, 3, election_ms=int(election_s * 1000))) as members:
        leader = members.leader()
        writer = Writer(members, [place for place in range(3) if place != leader])
        writer.wait_for_more()
        told = time.monotonic()
        assert members.stop(leader) == 0
        writer.wait_for_more()
        gap_s = writer.longest_gap_s(told)
        writer.stop()
        assert gap_s < election_s, "an election time-out passed before somebody else led"
        members.start(leader)
        writer.check()


def kill_leaders(members: Members, times: int) -> list[float]:
    """Kill the leader under load so many times, and start it again. Returns how long no put was acknowledged then."""
    gaps_s = []
    writer = Writer(members, list(range(3)))
    for _ in range(times):
        writer.wait_for_more(50)
        leader = members.leader()
        killed = time.monotonic()
        members.kill(leader)
        writer.wait_for_more(20)
        gaps_s.append(writer.longest_gap_s(killed))
        members.start(leader)
    writer.stop()
    writer.check()
    assert len(writer.acknowledged) >= 70 * times
    agree(members)
    return gaps_s


def test_no_acknowledged_write_is_lost_when_leaders_are_killed(tmp_path: Path) -> None:
    with closing(Members(tmp_path, 3, election_ms=400, snapshots=100, fsync=True)) as members:
        kill_leaders(members, 3)


@pytest.mark.long
def test_no_acknowledged_write_is_lost_when_20_leaders_are_killed(tmp_path: Path) -> None:
    with closing(Members(tmp_path, 3, snapshots=1000, fsync=True)) as members:
        gaps_s = kill_leaders(members, 20)
    print("until puts were acknowledged again, s:", " ".join(f"{gap_s:.2f}" for gap_s in sorted(gaps_s)))
