"""Snapshots: taken beside running writes, loaded at a start, sent to a member that needs one; and what goes wrong."""

from typing import Any

import pytest

from kvbench.node import step
from kvbench.node.codes import NodeError
from kvbench.node.records import CommandKind, File, Queue
from kvbench.ops.status import StoreError
from kvbench.wire.etcd_methods import Method
from kvbench.wire.proto import messages as pb
from tests.node.runner import Cluster, Member

SNAPSHOT = int(File.SNAPSHOT)


def write(cluster: Cluster, member: Member, count: int, first: int = 0, size: int = 300) -> None:
    for i in range(first, first + count):
        cluster.offer(member, Method.PUT, pb.PutRequest(key=b"%03d" % (i % 60), value=b"%d " % i + b"x" * size))
        if i % 10 == 9:
            cluster.settle()
    cluster.settle()


def contents(cluster: Cluster, member: Member) -> Any:
    request = pb.RangeRequest(key=b"\0", range_end=b"\0", serializable=True)
    return cluster.ask(member, Method.RANGE, request, pb.RangeResponse)


def snapshots(member: Member) -> list[int]:
    return sorted(number for file, number in member.disk.files if file == SNAPSHOT)


def same(cluster: Cluster) -> bool:
    found = [contents(cluster, member) for member in cluster.members]
    return all(each.kvs == found[0].kvs and each.header.revision == found[0].header.revision for each in found)


def test_every_so_many_entries_a_snapshot_replaces_the_log() -> None:
    cluster = Cluster(1, snapshots=100)
    member = cluster.leader()
    write(cluster, member, 450)
    node = member.alive
    assert node.statistics[0]["snapshots"] >= 3
    assert len(snapshots(member)) == 1
    assert node.log.state[0]["first_index"] > 100
    assert len([1 for file, _ in member.disk.files if file == File.SEGMENT]) < 4
    before = contents(cluster, member)
    member.crash()
    member.start()
    cluster.leader()
    assert member.alive.statistics[0]["snapshots_loaded"] == 1
    assert member.alive.statistics[0]["applied"] < 200
    assert contents(cluster, member).kvs == before.kvs
    assert cluster.put(member, b"more").header.revision == 452


def test_by_size_and_off() -> None:
    for policy, taken in ((-1, True), (0, False)):
        cluster = Cluster(1, snapshots=policy, snapshot_log_bytes=60_000)
        member = cluster.leader()
        write(cluster, member, 300)
        assert bool(snapshots(member)) is taken


def test_writes_go_on_while_a_snapshot_is_written_and_are_not_in_it() -> None:
    cluster = Cluster(1, snapshots=50)
    member = cluster.leader()
    member.holding.add(int(Queue.SNAPSHOT))
    write(cluster, member, 120)
    assert snapshots(member) == []
    before = contents(cluster, member)
    member.holding.clear()
    while not snapshots(member):
        member.call(step.ADVANCE)
        member.do_disk()
    assert 50 <= snapshots(member)[0] < 70
    member.crash()
    member.start()
    cluster.leader()
    assert contents(cluster, member).kvs == before.kvs


@pytest.mark.parametrize("away_ticks", [0, 20])
def test_a_member_that_needs_what_is_compacted_gets_the_snapshot(away_ticks: int) -> None:
    cluster = Cluster(3, snapshots=60)
    leader, away = cluster.leader(), cluster.follower()
    write(cluster, leader, 30)
    away.crash()
    write(cluster, leader, 500, 30)
    assert leader.alive.log.state[0]["first_index"] > 60
    cluster.tick(away_ticks)
    away.start()
    cluster.tick(60)
    assert away.alive.statistics[0]["snapshots_received"] == 1
    assert leader.alive.statistics[0]["snapshots_sent"] == 1
    assert same(cluster)
    write(cluster, away, 20, 530)
    cluster.tick(3)
    assert same(cluster)
    before = contents(cluster, away)
    away.crash()
    away.start()
    cluster.tick(30)
    assert contents(cluster, away).kvs == before.kvs
    assert same(cluster)


def test_a_member_that_dies_while_it_receives_or_loads_a_snapshot_gets_it_again() -> None:
    for frames in (5, 14, 23, 32, 50):
        cluster = Cluster(3, snapshots=60)
        leader, away = cluster.leader(), cluster.follower()
        away.crash()
        write(cluster, leader, 300)
        away.start()
        for _ in range(frames):
            step_once(cluster)
        away.crash()
        away.start()
        cluster.tick(80)
        assert same(cluster)


def step_once(cluster: Cluster) -> None:
    """A little of everything: one disk command a queue, one frame a pair, and a tick now and then."""
    for member in cluster.members:
        if member.node is not None:
            member.call(step.ADVANCE)
            member.do_disk()
    frames, cluster.in_flight = cluster.in_flight, []
    for sender, to, data in frames:
        if cluster[to].node is not None:
            cluster[to].call(step.DELIVER, sender, 0, data)
    cluster.now += 5_000_000
    for member in cluster.members:
        if member.node is not None:
            member.call(step.TICK)


def test_a_snapshot_that_arrives_damaged_is_not_taken() -> None:
    cluster = Cluster(3, snapshots=60)
    leader, away = cluster.leader(), cluster.follower()
    away.crash()
    write(cluster, leader, 300)
    index = snapshots(leader)[0]
    good = bytes(leader.disk.files[SNAPSHOT, index])
    leader.disk.files[SNAPSHOT, index][len(good) // 2] ^= 4
    away.start()
    cluster.tick(8)
    assert away.alive.statistics[0]["snapshots_received"] == 0
    assert away.alive.state[0]["failed"] == 0
    leader.disk.files[SNAPSHOT, index][:] = good
    cluster.tick(60)
    assert away.alive.statistics[0]["snapshots_received"] == 1
    assert same(cluster)


def test_a_damaged_snapshot_of_its_own_is_no_state_to_start_from() -> None:
    cluster = Cluster(1, snapshots=60)
    member = cluster.leader()
    write(cluster, member, 150)
    member.crash()
    index = snapshots(member)[0]
    content = member.disk.files[SNAPSHOT, index]
    content[len(content) // 2] ^= 4
    member.start()
    cluster.tick(3)
    state = member.alive.state[0]
    assert (state["failed"], state["failed_file"], state["failed_number"]) == (
        NodeError.SNAPSHOT_DAMAGED,
        SNAPSHOT,
        index,
    )


def test_without_space_a_snapshot_is_given_up_and_tried_again() -> None:
    cluster = Cluster(1, snapshots=60)
    member = cluster.leader()
    write(cluster, member, 50)
    member.disk.full = True
    write(cluster, member, 30, 50)
    assert member.alive.statistics[0]["snapshots_failed"] >= 1
    assert member.alive.state[0]["failed"] == 0
    assert snapshots(member) == []
    member.disk.full = False
    cluster.tick(1100)
    write(cluster, member, 10, 80)
    assert len(snapshots(member)) == 1


def command(cluster: Cluster, member: Member, kind: CommandKind, a: int = 0) -> Any:
    cluster.handles += 1
    code = member.call(step.COMMAND, cluster.handles, int(kind), argument=a)
    if code < 0:
        return code
    assert code == 0
    cluster.settle()
    return cluster.values.get(cluster.handles)


def test_a_snapshot_on_demand_holds_what_was_applied() -> None:
    cluster = Cluster(3)
    member = cluster.follower()
    write(cluster, member, 40)
    applied = int(member.alive.state[0]["applied"])
    code, index, size, revision = command(cluster, member, CommandKind.SNAPSHOT)[:4]
    assert (code, index, revision) == (0, applied, 41)
    assert len(member.disk.files[SNAPSHOT, index]) == size


def test_members_have_the_same_hash() -> None:
    cluster = Cluster(3, snapshots=60)
    leader, away = cluster.leader(), cluster.follower()
    away.crash()
    write(cluster, leader, 300)
    away.start()
    cluster.tick(60)
    found = {tuple(command(cluster, member, CommandKind.HASH_KV, 0)) for member in cluster.members}
    assert len(found) == 1
    assert next(iter(found))[3:] == (301, 301)
    assert command(cluster, leader, CommandKind.HASH_KV, 999)[0] < 0


def test_leadership_is_handed_over() -> None:
    cluster = Cluster(3)
    leader, other = cluster.leader(), cluster.follower()
    assert command(cluster, other, CommandKind.TRANSFER, leader.position) < 0
    assert command(cluster, leader, CommandKind.TRANSFER, 7) < 0
    cluster.put(leader, b"a")
    assert command(cluster, leader, CommandKind.TRANSFER, other.position)[0] == 0
    assert cluster.leader() is other
    assert cluster.put(leader, b"b").header.revision == 3


def test_leadership_that_is_not_taken_over_is_said_to_have_taken_too_long() -> None:
    cluster = Cluster(3)
    leader, other = cluster.leader(), cluster.follower()
    cluster.put(leader, b"a")
    cut = {(leader.position, other.position), (other.position, leader.position)}
    cluster.blocked.update(cut)
    assert command(cluster, leader, CommandKind.TRANSFER, other.position) is None
    cluster.tick(12)
    assert cluster.values[cluster.handles][0] == StoreError.TIMEOUT_LEADER_TRANSFER
    assert cluster.leader() is leader


def test_leadership_that_a_third_member_gets_is_not_waited_for_for_ever() -> None:
    cluster = Cluster(3)
    leader, other = cluster.leader(), cluster.follower()
    cluster.put(leader, b"a")
    for peer in range(3):
        if peer != leader.position:
            cluster.blocked.update({(leader.position, peer), (peer, leader.position)})
        cluster.blocked.add((peer, other.position))
    assert command(cluster, leader, CommandKind.TRANSFER, other.position) is None
    cluster.tick(700)
    assert leader.alive.raft.state[0]["role"] != 3
    assert cluster.values[cluster.handles][0] == StoreError.TIMEOUT_LEADER_TRANSFER


def test_a_log_with_many_terms_gets_a_snapshot_before_it_is_too_many_for_a_start() -> None:
    """A member that starts again and again, each time in a new term."""
    cluster = Cluster(1, snapshots=-1, raft_runs=16, snapshot_log_bytes=1 << 30)
    member = cluster[0]
    for _ in range(40):
        member.crash()
        member.start()
        cluster.leader()
        cluster.tick()
    assert member.alive.state[0]["snapshot_index"] > 0 and member.alive.raft.state[0]["run_count"] <= 9
    assert cluster.put(member, b"a").header.revision == 2


@pytest.mark.parametrize("size", [1, 3])
def test_a_member_that_is_to_stop_hands_over_and_notes_what_was_acknowledged(size: int) -> None:
    cluster = Cluster(size)
    leader = cluster.leader()
    write(cluster, leader, 20)
    assert command(cluster, leader, CommandKind.STOP)[0] == 0
    node = leader.alive
    assert node.state[0]["mark_acknowledged"] >= node.raft.state[0]["commit"]
    assert size == 1 or node.raft.state[0]["role"] != 3
    assert leader.call(step.OFFER, 7, int(Method.PUT), pb.PutRequest(key=b"b").SerializeToString()) < 0
    leader.crash()
    leader.start()
    assert cluster.put(cluster.leader(), b"b").header.revision == 22
