"""Frames on their way out and requests that wait, against lists and dictionaries."""

from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench.node import outbox, pending
from kvbench.node.state import Node, NodeConfig, new_node
from tests.node.runner import CLUSTER, MEMBER_IDS, SMALL

TO = 1


def member(**settings: int) -> Node:
    return new_node(
        NodeConfig(member=0, members=3, cluster_id=CLUSTER, member_ids=MEMBER_IDS, seed=1, **(SMALL | settings))
    )


@settings(deadline=None, max_examples=25, derandomize=True)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 30_000)), max_size=40))
def test_frames_leave_whole_and_in_order(moves: list[tuple[bool, int]]) -> None:
    node = member()
    total = int(node.state[0]["outbox_bytes"])
    assert outbox.room(node, TO, 1) == outbox.NO_ROOM
    link = node.links[TO]
    link["connected"] = 1
    expected, taken, waiting, mark = bytearray(), bytearray(), 0, 0
    for writes, size in moves:
        if writes:
            at = outbox.room(node, TO, size)
            assert (at == outbox.NO_ROOM) == (waiting + size > total)
            if at != outbox.NO_ROOM:
                mark = mark % 255 + 1
                assert TO * total <= at and at + size <= (TO + 1) * total
                node.outbox[at : at + size] = mark
                outbox.sent(node, TO, at + size)
                expected += bytes([mark]) * size
                waiting += size
        else:
            size = min(size, waiting)
            begin = TO * total + int(link["start"])
            taken += node.outbox[begin : begin + size].tobytes()
            link["start"] += size
            waiting -= size
    begin, end = TO * total + int(link["start"]), TO * total + int(link["end"])
    assert bytes(taken + node.outbox[begin:end].tobytes()) == bytes(expected)


@settings(deadline=None, max_examples=25, derandomize=True)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20)), max_size=60))
def test_a_request_is_found_as_long_as_it_waits(moves: list[tuple[bool, int]]) -> None:
    node = member(pending=8)
    node.state[0]["boot"] = 3
    waiting: dict[int, int] = {}
    over: list[int] = []
    for handle, (comes, which) in enumerate(moves):
        if comes:
            slot = pending.await_entry(node, 0, handle, 0)
            assert (slot == pending.FREE) == (len(waiting) == 8)
            if slot != pending.FREE:
                node.pending[slot]["forwarded"] = -1
                waiting[int(node.pending[slot]["request"])] = handle
        elif waiting:
            request = sorted(waiting)[which % len(waiting)]
            pending.let_go(node, pending.waiting(node, 3, request))
            del waiting[request]
            over.append(request)
        found = {request: int(node.pending[pending.waiting(node, 3, request)]["handle"]) for request in waiting}
        assert found == waiting
        assert pending.owed(node) == len(waiting)
        for request in (*over, pending.NO_REQUEST, pending.FREE, *(each + 1 for each in waiting)):
            if request not in waiting:
                assert pending.waiting(node, 3, request) == pending.FREE
        assert all(pending.waiting(node, 2, request) == pending.FREE for request in waiting)
    assert len(set(over)) == len(over)
