"""Watchers of etcd and of the built-in store: the same responses, with the same events."""

import time
from typing import Any

import pytest

from kvbench.wire.proto import messages as m
from kvbench.wire.proto import methods
from tests.like_etcd.sides import QUIET_S, Both

pytestmark = pytest.mark.slow

ALL: dict[str, Any] = {"key": b"\0", "range_end": b"\0"}


@pytest.fixture(autouse=True)
def no_differences(both: Both) -> Any:
    """Each test leaves an empty keyspace, and fails with all that it found."""
    yield
    both.ask(methods.DELETE_RANGE, m.DeleteRangeRequest(**ALL))
    both.conclude()


def put(both: Both, key: bytes, value: bytes = b"v", **options: Any) -> int:
    """The revision of a put to both."""
    answer = both.ask(methods.PUT, m.PutRequest(key=key, value=value, **options))
    return int(answer.said["header"]["revision"])


def delete(both: Both, key: bytes, range_end: bytes = b"") -> None:
    both.ask(methods.DELETE_RANGE, m.DeleteRangeRequest(key=key, range_end=range_end))


def some_changes(both: Both) -> None:
    """Nine revisions of a, b and c, one of them with two events."""
    put(both, b"a", b"1")
    put(both, b"b", b"1")
    put(both, b"a", b"2")
    both.ask(methods.TXN, m.TxnRequest(success=[
        m.RequestOp(request_put=m.PutRequest(key=b"b", value=b"2")),
        m.RequestOp(request_put=m.PutRequest(key=b"a", value=b"3")),
    ]))  # fmt: skip
    delete(both, b"a")
    delete(both, b"none")
    put(both, b"c", b"1")
    delete(both, b"a", b"z")
    put(both, b"a", b"4")
    put(both, b"a", b"5")


def test_new_events(both: Both) -> None:
    for options in (
        {"key": b"a"}, {"key": b"a", "prev_kv": True}, {"key": b"a", "range_end": b"c"}, {**ALL, "prev_kv": True},
        {**ALL, "fragment": True}, {"key": b"b", "range_end": b"\0"}, {"key": b"a", "filters": ["NOPUT"]},
        {"key": b"a", "filters": ["NODELETE"]}, {"key": b"a", "filters": ["NOPUT", "NODELETE"]}, {"key": b""},
        {"key": b"", "range_end": b"b"}, {"key": b"a", "progress_notify": True, "watch_id": 77},
    ):  # fmt: skip
        stream = both.watch()
        stream.create(**options)
        stream.expect(1, f"created {options}")
        some_changes(both)
        stream.ask_progress()
        for one in stream:
            one.wait_for(lambda got: any(response.watch_id == -1 for response in got))
        stream.expect_all(f"events {options}")
        stream.close()


def test_past_events(both: Both) -> None:
    first = put(both, b"first")
    some_changes(both)
    now = put(both, b"last")
    # etcd's events are the same objects for all watchers that wait at a time, prev_kv included: one group has it.
    for previous in (False, True):
        streams = {}
        for start in (first, first + 1, first + 4, now, now + 1):
            for options in (
                {"key": b"a"}, {"key": b"a", "range_end": b"c"}, {**ALL}, {**ALL, "filters": ["NOPUT"]},
                {**ALL, "fragment": True},
            ):  # fmt: skip
                stream = both.watch()
                stream.create(**options, start_revision=start, prev_kv=previous)
                streams[f"{options} from {start}"] = stream
        time.sleep(QUIET_S)
        put(both, b"a", b"mark %d" % previous)
        delete(both, b"a")
        time.sleep(QUIET_S)
        for what, stream in streams.items():
            stream.expect_all(what)
            stream.close()


def test_future_start(both: Both) -> None:
    now = put(both, b"a")
    stream = both.watch()
    stream.create(b"a", start_revision=now + 3)
    stream.expect(1, "created")
    # Not answered: who waits for what is to come has not had everything.
    stream.ask_progress()
    for number in range(4):
        put(both, b"a", b"%d" % number)
    stream.expect(2, "events from the third on")
    stream.ask_progress()
    stream.expect(1, "progress")


def test_refusals_and_ids(both: Both) -> None:
    put(both, b"a")
    stream = both.watch()
    for options in (
        {"key": b"a", "watch_id": 5}, {"key": b"b", "watch_id": 5}, {"key": b"a"}, {"key": b"a"},
        {"key": b"a", "watch_id": 2}, {"key": b"a"}, {"key": b"b", "range_end": b"a"}, {"key": b"b", "range_end": b"b"},
        {"key": b"a", "start_revision": -1}, {"key": b"a", "watch_id": -3}, {"key": b"a", "watch_id": -1},
        {"key": b"a", "watch_id": 1 << 40},
    ):  # fmt: skip
        stream.create(**options)
        stream.expect(1, f"created {options}")
    for watch_id in (5, 5, 0, 99, 1, 1 << 40, -3):
        stream.cancel(watch_id)
    time.sleep(QUIET_S)
    put(both, b"a", b"again")
    time.sleep(QUIET_S)
    stream.expect_all("cancelled one by one")
    stream.create(b"a", watch_id=5)
    stream.create(b"a")
    stream.expect(2, "created again")


def test_compacted(both: Both) -> None:
    first = put(both, b"a")
    some_changes(both)
    now = put(both, b"a", b"now")
    both.ask(methods.COMPACT, m.CompactionRequest(revision=now - 2))
    streams = {}
    for start in (1, first, now - 3, now - 2, now - 1):
        for options in ({"key": b"a"}, {"key": b"none"}, {**ALL}):
            stream = both.watch()
            stream.create(**options, start_revision=start, prev_kv=True)
            streams[f"{options} from {start}"] = stream
    time.sleep(QUIET_S)
    for what, stream in streams.items():
        stream.expect_all(what)
        stream.create(b"a")
        stream.expect(1, f"another one on the stream of {what}")
        stream.close()


def test_several_on_one_stream(both: Both) -> None:
    stream = both.watch()
    for number, key in enumerate((b"a", b"b", b"c")):
        stream.create(key, watch_id=number + 10, prev_kv=True)
    stream.create(b"a", range_end=b"d", watch_id=20, prev_kv=True, progress_notify=True)
    stream.expect(4, "created")
    some_changes(both)
    stream.expect(6 + 3 + 2 + 9, "events")
    stream.cancel(11)
    stream.expect(1, "cancelled")
    put(both, b"b", b"unseen")
    put(both, b"a", b"seen")
    stream.expect(3, "events after the cancellation")
    stream.ask_progress()
    stream.expect(1, "progress for all")


def test_leases_end_keys(both: Both) -> None:
    both.ask(methods.LEASE_GRANT, m.LeaseGrantRequest(ID=50, TTL=600))
    for key in (b"z", b"x", b"y"):
        put(both, key, lease=50)
    stream = both.watch()
    stream.create(**ALL, prev_kv=True)
    stream.expect(1, "created")
    both.ask(methods.LEASE_REVOKE, m.LeaseRevokeRequest(ID=50))
    stream.expect(1, "deletions in one")


def test_fragments(both: Both) -> None:
    """A revision of more than a request's size comes in parts if the watcher asked for that, else whole."""
    for number in range(6):
        put(both, b"f%d" % number, b"x" * 400_000)
    whole, parts = [both.watch() for _ in range(6)], both.watch()
    for stream in whole:
        stream.create(b"f", range_end=b"g", prev_kv=True)
    parts.create(b"f", range_end=b"g", prev_kv=True, fragment=True)
    for stream in (*whole, parts):
        stream.expect(1, "created")
    delete(both, b"f", b"g")
    for stream in whole:
        stream.expect(1, "whole")
    ends = lambda got: bool(got) and sum(len(one.events) for one in got) == 6  # noqa: E731
    for one in parts:
        got = one.wait_for(ends)
        assert [response.fragment for response in got] == [True] * (len(got) - 1) + [False] and len(got) > 1
        assert [event.kv.key for response in got for event in response.events] == [b"f%d" % i for i in range(6)]
        assert all(len(event.prev_kv.value) == 400_000 for response in got for event in response.events)


def test_a_client_that_sends_no_more_is_still_sent_events(both: Both) -> None:
    stream = both.watch()
    stream.create(b"a")
    for one in stream:
        one.send()
        one.half_close()
    stream.expect(1, "created")
    time.sleep(QUIET_S)
    put(both, b"a")
    stream.expect(1, "event")
