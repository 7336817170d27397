"""What is acknowledged, and when; what is left of it after a power loss; what a failing disk does."""

from typing import Any

import numpy as np
import pytest

from kvbench.log.damage import Damage
from kvbench.node import step
from kvbench.node.codes import NodeError
from kvbench.node.records import File, Queue
from kvbench.ops.status import StoreError
from kvbench.rt.codes import NODE
from kvbench.wire.etcd_methods import Method
from kvbench.wire.proto import messages as pb
from tests.node.runner import MARK, Cluster, Member

LOG = int(Queue.LOG)


def offer_put(cluster: Cluster, member: Member, key: bytes) -> int:
    return cluster.offer(member, Method.PUT, pb.PutRequest(key=key, value=b"v"))


def test_codes_stay_in_their_range() -> None:
    assert all(code in NODE for code in NodeError)


def test_a_write_is_acknowledged_after_its_sync_and_not_before() -> None:
    cluster = Cluster(1)
    member = cluster.leader()
    member.holding.add(LOG)
    handle = offer_put(cluster, member, b"a")
    cluster.settle()
    assert cluster.answer(handle, pb.PutResponse) is None
    assert cluster.get(member, b"a", serializable=True) == b""
    member.holding.clear()
    cluster.settle()
    assert cluster.answer(handle, pb.PutResponse).header.revision == 2
    assert cluster.get(member, b"a", serializable=True) == b"v"


def test_writes_that_come_during_a_sync_share_the_next_one() -> None:
    cluster = Cluster(1)
    member = cluster.leader()
    before = member.disk.syncs
    member.holding.add(LOG)
    handles = []
    for i in range(20):
        handles.append(offer_put(cluster, member, b"%d" % i))
        cluster.settle()
    assert len(member.queues[LOG]) == 1
    member.holding.clear()
    cluster.settle()
    assert member.disk.syncs - before == 2
    revisions = [cluster.answer(handle, pb.PutResponse).header.revision for handle in handles]
    assert revisions == list(range(2, 22))


@pytest.mark.parametrize("held", [0, 1, 2])
def test_a_power_loss_takes_nothing_that_was_acknowledged(held: int) -> None:
    cluster = Cluster(1)
    member = cluster.leader()
    for i in range(5):
        assert cluster.put(member, b"kept%d" % i).header.revision == 2 + i
    if held:
        member.holding.add(LOG)
    lost = [offer_put(cluster, member, b"lost%d" % i) for i in range(held)]
    cluster.settle()
    member.crash()
    member.holding.clear()
    member.start()
    cluster.leader()
    assert [cluster.get(member, b"kept%d" % i) for i in range(5)] == [b"v"] * 5
    assert [cluster.answer(handle, pb.PutResponse) for handle in lost] == [None] * held
    assert [cluster.get(member, b"lost%d" % i) for i in range(held)] == [b""] * held
    assert cluster.put(member, b"more").header.revision == 7


def test_three_members_acknowledge_once_two_of_them_are_durable() -> None:
    cluster = Cluster(3)
    leader = cluster.leader()
    others = [member for member in cluster.members if member is not leader]
    for member in cluster.members:
        member.holding.add(LOG)
    handle = offer_put(cluster, leader, b"a")
    cluster.settle()
    assert cluster.answer(handle, pb.PutResponse) is None
    others[0].holding.clear()
    cluster.settle()
    assert cluster.answer(handle, pb.PutResponse) is None
    others[1].holding.clear()
    cluster.settle()
    assert cluster.answer(handle, pb.PutResponse).header.revision == 2  # the leader's own disk still waits
    for member in others:
        member.crash()
        member.start()
    leader.crash()
    leader.holding.clear()
    leader.start()
    assert cluster.get(cluster.leader(), b"a") == b"v"


def test_a_vote_leaves_when_it_is_durable() -> None:
    cluster = Cluster(3)
    leader = cluster.leader()
    others = [member for member in cluster.members if member is not leader]
    leader.crash()
    for member in others:
        member.holding.add(LOG)
    cluster.tick(60)
    assert all(member.alive.raft.state[0]["leader"] == -1 for member in others)
    for member in others:
        member.holding.clear()
    assert cluster.leader() in others


def test_every_start_has_a_number_of_its_own_before_anything_is_said() -> None:
    cluster = Cluster(3)
    member = cluster.follower()
    boot = int(member.alive.state[0]["boot"])
    member.crash()
    member.holding.add(LOG)
    member.start()
    sent = int(member.alive.statistics[0]["messages_sent"])
    cluster.tick(50)
    assert member.alive.statistics[0]["messages_sent"] == sent
    member.crash()
    member.holding.clear()
    member.start()
    cluster.settle()
    assert member.alive.state[0]["boot"] == boot + 1  # the start between left no trace
    member.crash()
    member.start()
    assert member.alive.state[0]["boot"] == boot + 2


def test_without_fsync_nothing_is_synced_and_all_else_is_the_same() -> None:
    cluster = Cluster(1, fsync=False)
    member = cluster.leader()
    assert cluster.put(member, b"a").header.revision == 2
    assert member.disk.syncs == 0
    assert cluster.get(member, b"a") == b"v"


@pytest.mark.parametrize("broken", [File.SEGMENT, File.MARK])
def test_a_member_whose_disk_fails_stops_for_good(broken: File) -> None:
    cluster = Cluster(1)
    member = cluster.leader()
    member.disk.broken.add(broken)
    handle = offer_put(cluster, member, b"a")
    cluster.tick(120)
    state = member.alive.state[0]
    assert (state["failed"], state["failed_file"], state["failed_errno"]) == (NodeError.DISK, broken, 5)
    if broken == File.SEGMENT:
        assert cluster.answer(handle, pb.PutResponse) is None
    assert offer_put(cluster, member, b"b") == StoreError.STOPPED
    cluster.tick(5)
    assert not any(member.queues)


def damaged(content: Any, at: int) -> None:
    content[at] ^= 1


def test_damage_is_refused_and_named() -> None:
    cluster = Cluster(1)
    member = cluster.leader()
    for i in range(3):
        cluster.put(member, b"%d" % i)
    member.crash()
    content = member.disk.files[int(File.SEGMENT), 1]
    damaged(content, 300)
    with pytest.raises(Damage, match="segment 1, offset"):
        member.start()
    damaged(content, 300)
    for at in (30, 542):
        damaged(member.disk.files[MARK], at)
    with pytest.raises(Damage, match="mark"):
        member.start()
    damaged(member.disk.files[MARK], 30)
    member.start()
    assert cluster.get(cluster.leader(), b"2") == b"v"


def test_a_clean_cut_of_what_was_acknowledged_is_noticed() -> None:
    cluster = Cluster(1)
    member = cluster.leader()
    for i in range(3):
        cluster.put(member, b"%d" % i)
    end = int(member.alive.log.state[0]["position"])
    cluster.put(member, b"last")
    cluster.tick(120)  # noted in the mark
    member.crash()
    content = member.disk.files[int(File.SEGMENT), 1]
    content[end:] = bytes(len(content) - end)
    with pytest.raises(Damage, match="had been durable"):
        member.start()


def test_entries_are_read_back_from_the_disk_after_a_start() -> None:
    cluster = Cluster(1)
    member = cluster.leader()
    for i in range(300):
        cluster.put(member, b"%03d" % (i % 100), b"x" * (i * 7 % 500))
    assert member.alive.log.state[0]["segment_number"] > 1
    member.crash()
    member.start()
    node = cluster.leader().alive
    assert node.statistics[0]["applied"] == node.raft.state[0]["commit"]
    assert node.store.state[0]["revision"] == 301
    for i in range(200, 300):
        assert cluster.get(member, b"%03d" % (i % 100)) == b"x" * (i * 7 % 500)


def test_a_stale_answer_of_the_disk_is_ignored() -> None:
    cluster = Cluster(1)
    member = cluster.leader()
    before = member.alive.state.tobytes()
    for sequence in (-1, 0, 5, 1 << 40):
        member.call(step.WRITTEN, sequence, 0)
    assert member.alive.state.tobytes() == before


def test_bytes_that_are_no_frame_change_nothing() -> None:
    cluster = Cluster(3)
    member = cluster.leader()
    other = cluster.follower()
    random = np.random.default_rng(1)
    before = member.alive.raft.state.tobytes()
    for size in (0, 1, 15, 16, 100):
        data = random.integers(0, 256, size, np.uint8).tobytes()
        assert member.call(step.DELIVER, other.position, 0, data) < 0
    assert member.alive.raft.state.tobytes() == before
