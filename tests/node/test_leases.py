"""Leases: when they end, who says so, and what a change of leader does to them."""

from typing import Any

import pytest

from kvbench.node.records import Queue
from kvbench.ops.status import StoreError
from kvbench.wire.etcd_methods import Method
from kvbench.wire.proto import messages as pb
from tests.node.runner import Cluster, Member

TTL_S = 2
TICKS_PER_S = 100


def grant(cluster: Cluster, member: Member, ttl_s: int = TTL_S, lease_id: int = 0) -> Any:
    request = pb.LeaseGrantRequest(TTL=ttl_s, ID=lease_id)
    return cluster.ask(member, Method.LEASE_GRANT, request, pb.LeaseGrantResponse)


def keep_alive(cluster: Cluster, member: Member, lease_id: int) -> Any:
    request = pb.LeaseKeepAliveRequest(ID=lease_id)
    return cluster.ask(member, Method.LEASE_KEEP_ALIVE, request, pb.LeaseKeepAliveResponse)


def time_to_live(cluster: Cluster, member: Member, lease_id: int) -> Any:
    request = pb.LeaseTimeToLiveRequest(ID=lease_id, keys=True)
    return cluster.ask(member, Method.LEASE_TIME_TO_LIVE, request, pb.LeaseTimeToLiveResponse)


def leases(cluster: Cluster, member: Member) -> list[int]:
    found = cluster.ask(member, Method.LEASE_LEASES, pb.LeaseLeasesRequest(), pb.LeaseLeasesResponse)
    return [lease.ID for lease in found.leases]


@pytest.mark.parametrize("size", [1, 3])
def test_a_lease_ends_with_its_keys_unless_it_is_kept_alive(size: int) -> None:
    cluster = Cluster(size)
    member = cluster.leader() if size == 1 else cluster.follower()
    given = grant(cluster, member)
    assert given.TTL == TTL_S and given.ID > 0
    cluster.put(member, b"a", lease=given.ID)
    for _ in range(3):
        cluster.tick(TTL_S * TICKS_PER_S - 50)
        assert keep_alive(cluster, member, given.ID).TTL == TTL_S
    assert cluster.get(member, b"a") == b"v"
    assert leases(cluster, member) == [given.ID]
    cluster.tick(TTL_S * TICKS_PER_S + 60)
    assert cluster.get(member, b"a") == b""
    assert leases(cluster, member) == []
    assert keep_alive(cluster, member, given.ID).TTL == 0
    assert cluster.leader().alive.statistics[0]["leases_expired"] == 1


@pytest.mark.parametrize("size", [1, 3])
def test_time_to_live_is_the_leaders_and_keys_are_told_by_any_member(size: int) -> None:
    cluster = Cluster(size)
    given = grant(cluster, cluster.leader(), 5)
    cluster.put(cluster.leader(), b"a", lease=given.ID)
    cluster.tick(150)
    for member in cluster.members:
        found = time_to_live(cluster, member, given.ID)
        assert (found.ID, found.TTL, found.grantedTTL, list(found.keys)) == (given.ID, 3, 5, [b"a"])
        assert time_to_live(cluster, member, 999).TTL == -1
        assert keep_alive(cluster, member, 999).TTL == 0


@pytest.mark.parametrize("count", [0, 1, 2, 3, 30])
def test_the_leader_lists_leases_by_when_they_end(count: int) -> None:
    cluster = Cluster(1)
    leader = cluster.leader()
    ttls_s = [100 + 37 * number % 41 for number in range(count)]
    for number, ttl_s in enumerate(ttls_s):
        grant(cluster, leader, ttl_s, number + 1)
    order = sorted(range(count), key=lambda number: ttls_s[number])
    assert leases(cluster, leader) == [number + 1 for number in order]
    if count:
        cluster.tick(50 * TICKS_PER_S)
        keep_alive(cluster, leader, order[0] + 1)
        left = {number: ttl_s - 50 for number, ttl_s in enumerate(ttls_s)}
        left[order[0]] = ttls_s[order[0]]
        assert leases(cluster, leader) == [number + 1 for number in sorted(range(count), key=lambda n: left[n])]


def test_the_least_time_to_live_is_one_and_a_half_election_timeouts_rounded_up() -> None:
    cluster = Cluster(1, election_ticks=100, heartbeat_ticks=10)
    assert grant(cluster, cluster.leader(), 1).TTL == 2
    assert grant(cluster, cluster.leader(), 3).TTL == 3


def test_ids_are_chosen_by_the_leader_or_the_client() -> None:
    cluster = Cluster(3)
    follower = cluster.follower()
    assert grant(cluster, follower, lease_id=7).ID == 7
    assert grant(cluster, follower, lease_id=7) == StoreError.LEASE_EXISTS
    chosen = {grant(cluster, member).ID for member in cluster.members for _ in range(3)}
    assert len(chosen) == 9 and 7 not in chosen
    assert set(leases(cluster, follower)) == chosen | {7}
    revoked = cluster.ask(follower, Method.LEASE_REVOKE, pb.LeaseRevokeRequest(ID=7), pb.LeaseRevokeResponse)
    assert revoked.header.revision == 1
    again = cluster.ask(follower, Method.LEASE_REVOKE, pb.LeaseRevokeRequest(ID=7), pb.LeaseRevokeResponse)
    assert again == StoreError.LEASE_NOT_FOUND


def test_a_new_leader_gives_every_lease_its_whole_time_again() -> None:
    cluster = Cluster(3)
    old = cluster.leader()
    given = grant(cluster, old)
    cluster.put(old, b"a", lease=given.ID)
    cluster.tick(TTL_S * TICKS_PER_S - 10)
    old.crash()
    new = cluster.leader()
    cluster.tick(TTL_S * TICKS_PER_S - 10)
    assert cluster.get(new, b"a") == b"v"
    cluster.tick(80)
    assert cluster.get(new, b"a") == b""


def test_a_restarted_member_gives_every_lease_its_whole_time_again() -> None:
    cluster = Cluster(1)
    member = cluster.leader()
    given = grant(cluster, member)
    cluster.tick(TTL_S * TICKS_PER_S - 10)
    member.crash()
    member.start()
    cluster.leader()
    assert time_to_live(cluster, member, given.ID).TTL >= TTL_S
    cluster.tick(TTL_S * TICKS_PER_S - 10)
    assert leases(cluster, member) == [given.ID]
    cluster.tick(80)
    assert leases(cluster, member) == []


def test_a_lease_that_is_due_cannot_be_kept_alive_while_it_is_being_revoked() -> None:
    cluster = Cluster(1)
    member = cluster.leader()
    given = grant(cluster, member)
    cluster.put(member, b"a", lease=given.ID)
    member.holding.add(int(Queue.LOG))
    cluster.tick(TTL_S * TICKS_PER_S + 60)
    handle = cluster.offer(member, Method.LEASE_KEEP_ALIVE, pb.LeaseKeepAliveRequest(ID=given.ID))
    cluster.settle()
    assert cluster.answer(handle, pb.LeaseKeepAliveResponse) is None
    member.holding.clear()
    cluster.settle()
    assert cluster.answer(handle, pb.LeaseKeepAliveResponse).TTL == 0
    assert cluster.get(member, b"a") == b""


def test_a_deposed_leader_keeps_no_lease_alive() -> None:
    cluster = Cluster(3)
    old = cluster.leader()
    given = grant(cluster, old)
    for other in cluster.members:
        cluster.blocked |= {(old.position, other.position), (other.position, old.position)}
    handle = cluster.offer(old, Method.LEASE_KEEP_ALIVE, pb.LeaseKeepAliveRequest(ID=given.ID))
    cluster.tick(60)
    assert cluster.answer(handle, pb.LeaseKeepAliveResponse) is None
    cluster.blocked.clear()
    cluster.tick(30)
    assert cluster.answer(handle, pb.LeaseKeepAliveResponse) == StoreError.LEADER_CHANGED


def test_the_loss_of_the_leader_ends_questions_on_their_way() -> None:
    cluster = Cluster(3)
    leader, follower = cluster.leader(), cluster.follower()
    given = grant(cluster, follower)
    cluster.blocked.add((leader.position, follower.position))
    handle = cluster.offer(follower, Method.LEASE_KEEP_ALIVE, pb.LeaseKeepAliveRequest(ID=given.ID))
    cluster.settle()
    leader.crash()
    assert cluster.answer(handle, pb.LeaseKeepAliveResponse) == StoreError.LEADER_CHANGED
