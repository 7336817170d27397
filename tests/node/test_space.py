"""A full quota, a full disk: what is refused, what passes, and how it ends."""

from typing import Any

from kvbench.ops.status import StoreError
from kvbench.wire.etcd_methods import Method
from kvbench.wire.proto import messages as pb
from tests.node.runner import Cluster, Member

NO_SPACE = StoreError.NO_SPACE


def alarm(cluster: Cluster, member: Member, action: int, member_id: int = 0) -> Any:
    request = pb.AlarmRequest(action=pb.AlarmRequest.AlarmAction.Name(action), memberID=member_id, alarm=pb.NOSPACE)
    found = cluster.ask(member, Method.ALARM, request, pb.AlarmResponse)
    return [(each.memberID, each.alarm) for each in found.alarms]


def fill(cluster: Cluster, member: Member) -> int:
    for i in range(1000):
        if cluster.put(member, b"fill%d" % i, b"x" * 500) == NO_SPACE:
            return i
    raise AssertionError("it never gets full")


def delete(cluster: Cluster, member: Member) -> Any:
    request = pb.DeleteRangeRequest(key=b"fill", range_end=b"film")
    return cluster.ask(member, Method.DELETE_RANGE, request, pb.DeleteRangeResponse)


def test_a_full_quota_raises_the_alarm_and_deleting_and_compacting_makes_room() -> None:
    cluster = Cluster(3, quota_bytes=20_000)
    leader, follower = cluster.leader(), cluster.follower()
    count = fill(cluster, follower)
    assert 10 < count < 40
    cluster.tick(5)
    for member in cluster.members:
        assert member.alive.store.state[0]["alarms"] == 1
        assert cluster.put(member, b"small") == NO_SPACE
        assert cluster.ask(member, Method.LEASE_GRANT, pb.LeaseGrantRequest(TTL=9), pb.LeaseGrantResponse) == NO_SPACE
    put = pb.RequestOp(request_put=pb.PutRequest(key=b"a"))
    request = pb.TxnRequest(failure=[put])
    assert cluster.ask(leader, Method.TXN, request, pb.TxnResponse) == NO_SPACE
    assert cluster.get(leader, b"fill0") == b"x" * 500
    me = follower.alive.state[0]["member_ids"][follower.position]
    assert alarm(cluster, leader, 0) == [(me, pb.NOSPACE)]

    assert delete(cluster, follower).deleted == count
    revision = int(leader.alive.store.state[0]["revision"])
    compact = pb.CompactionRequest(revision=revision)
    assert cluster.ask(leader, Method.COMPACT, compact, pb.CompactionResponse).header.revision == revision
    cluster.tick(5)
    assert leader.alive.store.state[0]["used_bytes"] < 10_000
    assert cluster.put(leader, b"small") == NO_SPACE  # until it is disarmed, as with etcd
    assert alarm(cluster, leader, 2, me) == [(me, pb.NOSPACE)]
    assert alarm(cluster, leader, 0) == []
    assert cluster.put(follower, b"small").header.revision == revision + 1


def test_a_full_disk_makes_the_store_read_only_and_space_makes_it_whole() -> None:
    cluster = Cluster(3)
    leader, follower = cluster.leader(), cluster.follower()
    follower.disk.full = True
    refused = False
    for i in range(300):
        if cluster.put(leader, b"%d" % (i % 10), b"x" * 500) == NO_SPACE:
            refused = True
            break
        cluster.tick()
    assert refused
    node = follower.alive
    assert node.state[0]["disk_full"] == 1 and node.state[0]["failed"] == 0
    me = node.state[0]["member_ids"][follower.position]
    assert alarm(cluster, leader, 0) == [(me, pb.NOSPACE)]
    assert cluster.put(follower, b"a") == NO_SPACE
    assert cluster.get(follower, b"1") == b"x" * 500
    request = pb.DeleteRangeRequest(key=b"1")
    assert cluster.ask(follower, Method.DELETE_RANGE, request, pb.DeleteRangeResponse).deleted == 1
    cluster.tick(150)
    assert alarm(cluster, leader, 0) == [(me, pb.NOSPACE)]

    follower.disk.full = False
    cluster.tick(250)
    assert alarm(cluster, leader, 0) == []
    assert cluster.put(follower, b"a") is not None
    cluster.tick(5)
    assert len({int(member.alive.store.state[0]["revision"]) for member in cluster.members}) == 1


def test_one_member_with_a_full_disk() -> None:
    cluster = Cluster(1)
    member = cluster.leader()
    member.disk.full = True
    done = 0
    while cluster.put(member, b"%d" % (done % 10), b"x" * 500) != NO_SPACE:
        done += 1
        cluster.tick()
    assert done > 50
    deleted = cluster.ask(member, Method.DELETE_RANGE, pb.DeleteRangeRequest(key=b"1"), pb.DeleteRangeResponse)
    assert deleted.deleted == 1
    member.crash()
    member.start()
    cluster.leader()
    assert cluster.get(member, b"2") == b"x" * 500
    assert cluster.put(member, b"a") == NO_SPACE
    member.disk.full = False
    cluster.tick(250)
    assert cluster.put(member, b"a") is not None


def test_a_member_takes_its_alarm_back_after_it_has_started_anew() -> None:
    cluster = Cluster(3)
    leader, follower = cluster.leader(), cluster.follower()
    follower.disk.full = True
    for i in range(300):
        if cluster.put(leader, b"%d" % (i % 10), b"x" * 500) == NO_SPACE:
            break
        cluster.tick()
    me = follower.alive.state[0]["member_ids"][follower.position]
    assert alarm(cluster, leader, 0) == [(me, pb.NOSPACE)]
    follower.crash()
    follower.disk.full = False
    follower.start()
    assert follower.alive.state[0]["disk_full"] == 0
    cluster.tick(250)
    assert alarm(cluster, leader, 0) == []
    assert cluster.put(follower, b"a") is not None
    cluster.tick(1200)
    assert follower.alive.state[0]["disk_alarm"] == follower.alive.mark_record[0]["disk_alarm"] == 0


def test_an_alarm_that_comes_late_is_taken_back_too() -> None:
    """The disk has room again while the alarm is still on its way."""
    cluster = Cluster(3)
    leader, follower = cluster.leader(), cluster.follower()
    others = [member.position for member in cluster.members if member is not follower]
    follower.disk.full = True
    while follower.alive.state[0]["disk_alarm"] == 0:
        cluster.put(leader, b"a", b"x" * 500)
        cluster.tick()
    follower.disk.full = False
    node = follower.alive
    node.state[0]["create_retry_ns"] = 0
    held = [(follower.position, other) for other in others]
    cluster.blocked.update(held)
    cluster.settle()
    cluster.blocked.difference_update(held)
    cluster.tick(400)
    assert node.state[0]["disk_full"] == 0
    assert alarm(cluster, leader, 0) == []


def test_an_alarm_of_the_quota_stays_until_it_is_disarmed_also_after_a_restart() -> None:
    cluster = Cluster(3, quota_bytes=20_000)
    leader, follower = cluster.leader(), cluster.follower()
    fill(cluster, follower)
    me = follower.alive.state[0]["member_ids"][follower.position]
    cluster.tick(5)
    follower.crash()
    follower.start()
    cluster.tick(300)
    assert alarm(cluster, leader, 0) == [(me, pb.NOSPACE)]
