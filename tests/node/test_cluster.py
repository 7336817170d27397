"""Several members: forwarding, changes of leader, reads, and members that missed something."""

import numpy as np
import pytest

from kvbench.node import step
from kvbench.node.records import Queue
from kvbench.ops.status import StoreError
from kvbench.wire.etcd_methods import Method
from kvbench.wire.proto import messages as pb
from tests.node.runner import Cluster, Member

LOG = int(Queue.LOG)
UNKNOWN = StoreError.LEADER_CHANGED


def offer_put(cluster: Cluster, member: Member, key: bytes) -> int:
    return cluster.offer(member, Method.PUT, pb.PutRequest(key=key, value=b"v"))


def offer_get(cluster: Cluster, member: Member, key: bytes) -> int:
    return cluster.offer(member, Method.RANGE, pb.RangeRequest(key=key))


def isolate(cluster: Cluster, member: Member) -> None:
    for other in cluster.members:
        cluster.blocked |= {(member.position, other.position), (other.position, member.position)}


def states(cluster: Cluster) -> set[tuple[int, int]]:
    return {(int(m.alive.store.state[0]["revision"]), int(m.alive.store.state[0]["keys"])) for m in cluster.members}


@pytest.mark.parametrize("size", [1, 2, 3])
def test_every_member_serves_writes_and_reads(size: int) -> None:
    cluster = Cluster(size)
    cluster.leader()
    for i, member in enumerate(cluster.members):
        response = cluster.put(member, b"%d" % i)
        assert response.header.revision == 2 + i
        assert response.header.member_id == 101 + i
        for other in cluster.members:
            assert cluster.get(other, b"%d" % i) == b"v"
    cluster.tick()
    assert states(cluster) == {(size + 1, size)}


def test_an_answer_comes_from_the_origins_own_apply() -> None:
    cluster = Cluster(3)
    leader, follower = cluster.leader(), cluster.follower()
    cluster.blocked.add((leader.position, follower.position))
    handle = offer_put(cluster, follower, b"a")
    cluster.settle()
    assert cluster.get(leader, b"a") == b"v"
    assert cluster.answer(handle, pb.PutResponse) is None
    cluster.blocked.clear()
    cluster.tick(3)
    assert cluster.answer(handle, pb.PutResponse).header.revision == 2


def test_a_forwarded_write_whose_leader_is_lost_is_of_unknown_outcome_and_is_not_sent_again() -> None:
    cluster = Cluster(3)
    leader, follower = cluster.leader(), cluster.follower()
    for member in cluster.members:
        if member is not follower:
            member.holding.add(LOG)
    handle = offer_put(cluster, follower, b"a")
    cluster.settle()
    assert cluster.answer(handle, pb.PutResponse) is None
    leader.crash()
    assert cluster.answer(handle, pb.PutResponse) == UNKNOWN
    for member in cluster.members:
        member.holding.clear()
    leader.start()
    cluster.leader()
    cluster.tick(20)
    assert cluster.replies[handle] == [(UNKNOWN, b"")]
    assert cluster.get(follower, b"a") == b"v"  # the follower had stored it, so it was done after all, once
    assert states(cluster) == {(2, 1)}


def test_a_forward_that_never_arrives_times_out() -> None:
    cluster = Cluster(3, request_timeout_s=0.2)
    leader, follower = cluster.leader(), cluster.follower()
    cluster.blocked.add((follower.position, leader.position))
    handle = offer_put(cluster, follower, b"a")
    cluster.settle()
    cluster.blocked.clear()
    cluster.tick(105)
    assert cluster.answer(handle, pb.PutResponse) == StoreError.TIMEOUT
    assert cluster.get(follower, b"a") == b""


def test_a_forward_of_an_earlier_term_is_refused() -> None:
    cluster = Cluster(3)
    leader, follower = cluster.leader(), cluster.follower()
    cluster.blocked.add((follower.position, leader.position))
    offer_put(cluster, follower, b"a")
    state = follower.alive.state[0]
    base = leader.position * int(state["outbox_bytes"])
    link = follower.alive.links[leader.position]
    late = follower.alive.outbox[base : base + int(link["end"])].tobytes()
    isolate(cluster, leader)
    cluster.tick(40)
    cluster.blocked.clear()
    isolate(cluster, next(m for m in cluster.members if m is not leader and m is not follower))
    cluster.tick(60)
    cluster.blocked.clear()
    again = cluster.leader()
    again.call(step.DELIVER, follower.position, 0, late)
    cluster.tick(5)
    assert cluster.get(again, b"a") == b""
    assert cluster.replies[1] == [(UNKNOWN, b"")]


def test_a_forward_that_comes_twice_is_done_once() -> None:
    cluster = Cluster(3)
    leader, follower = cluster.leader(), cluster.follower()
    member = follower.alive
    handles = []
    for key in (b"a", b"b"):
        request = pb.PutRequest(key=key).SerializeToString()
        cluster.handles += 1
        handles.append(cluster.handles)
        buf = np.frombuffer(request, np.uint8)
        assert step.call(member, cluster.now, step.OFFER, cluster.handles, int(Method.PUT), buf, 0, len(buf)) == 0
    base = leader.position * int(member.state[0]["outbox_bytes"])
    link = member.links[leader.position]
    both = member.outbox[base + int(link["start"]) : base + int(link["end"])].tobytes()
    first, second = both[: len(both) // 2], both[len(both) // 2 :]
    follower.take(member)
    cluster.settle()
    for data in (first, second, first):
        assert leader.call(step.DELIVER, follower.position, 0, data) == 0
        cluster.settle()
    assert [cluster.answer(handle, pb.PutResponse).header.revision for handle in handles] == [2, 3]
    cluster.tick(2)
    assert states(cluster) == {(3, 2)}


def test_writes_of_a_deposed_leader_are_given_up_when_they_are_replaced() -> None:
    cluster = Cluster(3)
    old = cluster.leader()
    assert cluster.put(old, b"a").header.revision == 2
    isolate(cluster, old)
    lost = [offer_put(cluster, old, b"lost%d" % i) for i in range(3)]
    cluster.tick(60)
    new = next(m for m in cluster.members if m is not old and m.alive.raft.state[0]["role"] == 3)
    assert cluster.put(new, b"b").header.revision == 3
    assert [cluster.answer(handle, pb.PutResponse) for handle in lost] == [None] * 3
    cluster.blocked.clear()
    cluster.tick(20)
    assert [cluster.answer(handle, pb.PutResponse) for handle in lost] == [UNKNOWN] * 3
    assert old.alive.statistics[0]["truncations"] == 1
    assert cluster.get(old, b"lost0") == b""
    assert states(cluster) == {(3, 2)}
    old.crash()
    old.start()
    cluster.tick(20)
    assert states(cluster) == {(3, 2)}


def test_a_deposed_leader_answers_no_read_from_what_it_has() -> None:
    cluster = Cluster(3)
    old = cluster.leader()
    cluster.put(old, b"a", b"old")
    isolate(cluster, old)
    handle = offer_get(cluster, old, b"a")
    cluster.tick(60)
    new = next(m for m in cluster.members if m is not old and m.alive.raft.state[0]["role"] == 3)
    cluster.put(new, b"a", b"new")
    assert cluster.answer(handle, pb.RangeResponse) is None
    assert cluster.get(old, b"a", serializable=True) == b"old"
    cluster.blocked.clear()
    cluster.tick(20)
    assert cluster.answer(handle, pb.RangeResponse).kvs[0].value == b"new"


def test_reads_survive_the_loss_of_the_leader() -> None:
    cluster = Cluster(3)
    leader, follower = cluster.leader(), cluster.follower()
    cluster.put(leader, b"a")
    cluster.blocked.add((follower.position, leader.position))
    handles = [offer_get(cluster, follower, b"a") for _ in range(5)]
    cluster.settle()
    leader.crash()
    cluster.leader()
    cluster.tick(20)
    assert [cluster.answer(handle, pb.RangeResponse).kvs[0].value for handle in handles] == [b"v"] * 5


def test_without_a_majority_reads_time_out_and_writes_are_not_taken() -> None:
    cluster = Cluster(3, request_timeout_s=0.2)
    leader = cluster.leader()
    for member in cluster.members:
        if member is not leader:
            member.crash()
    handle = offer_get(cluster, leader, b"a")
    cluster.tick(30)
    request = pb.PutRequest(key=b"b").SerializeToString()
    assert leader.call(step.OFFER, 99, int(Method.PUT), request) == 1
    cluster.tick(50)
    assert cluster.answer(handle, pb.RangeResponse) == StoreError.TIMEOUT


def test_reads_of_one_round_share_it() -> None:
    cluster = Cluster(3)
    leader = cluster.leader()
    rounds = int(leader.alive.statistics[0]["read_rounds"])
    handles = [offer_get(cluster, leader, b"a") for _ in range(20)]
    cluster.settle()
    assert all(cluster.answer(handle, pb.RangeResponse) is not None for handle in handles)
    assert leader.alive.statistics[0]["read_rounds"] == rounds + 1


def test_a_read_waits_until_what_was_written_before_is_applied_here() -> None:
    cluster = Cluster(3)
    leader, follower = cluster.leader(), cluster.follower()
    cluster.blocked.add((leader.position, follower.position))
    cluster.put(leader, b"a")
    handle = offer_get(cluster, follower, b"a")
    cluster.settle()
    assert cluster.answer(handle, pb.RangeResponse) is None
    cluster.blocked.clear()
    cluster.tick(20)
    assert cluster.answer(handle, pb.RangeResponse).kvs[0].value == b"v"


def test_a_member_that_was_away_is_sent_what_it_missed_from_memory_and_from_the_disk() -> None:
    cluster = Cluster(3)
    leader, away = cluster.leader(), cluster.follower()
    away.crash()
    for i in range(200):
        cluster.offer(leader, Method.PUT, pb.PutRequest(key=b"%03d" % i, value=b"x" * 600))
        if i % 10 == 9:
            cluster.settle()
    assert leader.alive.log.state[0]["memory_first"] > 50
    away.start()
    cluster.tick(30)
    assert leader.alive.statistics[0]["entries_read"] > 50
    assert states(cluster) == {(201, 200)}


def test_no_more_is_taken_than_fits_and_what_is_taken_is_done() -> None:
    cluster = Cluster(3)
    leader, follower = cluster.leader(), cluster.follower()
    for member in cluster.members:
        member.holding.add(LOG)
    request = pb.PutRequest(key=b"k", value=b"x" * 500).SerializeToString()
    taken = {}
    for member in (leader, follower):
        handles = range(1000 * (1 + member.position), 1000 * (1 + member.position) + 100)
        codes = []
        for handle in handles:
            codes.append(member.call(step.OFFER, handle, int(Method.PUT), request))
            cluster.settle()
        assert set(codes) == {0, 1}
        taken[member.position] = codes.index(1)
        assert codes == [0] * codes.index(1) + [1] * (100 - codes.index(1))
        for handle in handles[: codes.index(1)]:
            assert handle not in cluster.replies
    for member in cluster.members:
        member.holding.clear()
    cluster.tick(5)
    answers = [answers for handle, answers in cluster.replies.items() if handle >= 1000]
    assert len(answers) == sum(taken.values()) > 15
    assert all(len(each) == 1 and each[0][0] == 0 for each in answers)


def test_requests_have_a_largest_size() -> None:
    cluster = Cluster(3)
    for member in (cluster.leader(), cluster.follower()):
        assert cluster.put(member, b"k", b"x" * 4096) == StoreError.REQUEST_TOO_LARGE
        assert cluster.put(member, b"k", b"x" * 4000) is not None
        assert cluster.put(member, b"") == StoreError.EMPTY_KEY


def test_a_member_that_knows_no_leader_takes_nothing_but_serializable_reads() -> None:
    cluster = Cluster(3)
    member = cluster.follower()
    cluster.put(member, b"a")
    isolate(cluster, member)
    cluster.tick(40)
    request = pb.PutRequest(key=b"b").SerializeToString()
    assert member.call(step.OFFER, 7, int(Method.PUT), request) == 1
    assert cluster.get(member, b"a", serializable=True) == b"v"
