"""Watches on ZooKeeper: every change is seen, none twice, whatever comes between."""

from typing import Any

import pytest

from kvbench.client import zookeeper
from kvbench.ops.errors import ErrorCode
from kvbench.ops.kinds import Kind
from tests.client.zookeeper_script import Script, brief, created, data, frames, notification, stat
from tests.naive import jute

NO_NODE = -101


def read(xid: int, path: bytes = b"/a") -> bytes:
    return jute.request(xid, 4, path=path, watch=True)


def exists(xid: int, path: bytes = b"/a") -> bytes:
    return jute.request(xid, 3, path=path, watch=True)


def value(sent_ns: int) -> bytes:
    """A value as the load engine writes it: its send time comes first."""
    return sent_ns.to_bytes(8, "little") + b"rest of it"


def watching(watchers: int = 1, **options: int) -> Script:
    """A client whose slots 0 .. watchers - 1 watch /a, last seen at version 4, mzxid 40. Its next xid is given."""
    script = Script(watches=4, **options).ready()
    script.sent()
    for slot in range(watchers):
        assert script.submit(Kind.WATCH, slot=slot) == 1
        assert script.sent() == read(slot + 1)
        (stands,) = script.give(data(slot + 1, value(1), version=4, mzxid=40))
        assert (stands["slot"], stands["kind"], stands["code"], stands["count"]) == (slot, Kind.WATCH, 0, 1)
        assert stands["revision"] == 5
    return script


def events(outcomes: list[Any]) -> list[tuple[int, int, int]]:
    """(send time, changes, revision) of events; nothing else may be among them."""
    assert all(o["slot"] == -1 and o["kind"] == Kind.WATCH and o["code"] == 0 for o in outcomes)
    return [(int(o["sent_ns"]), int(o["count"]), int(o["revision"])) for o in outcomes]


def test_a_change_is_told_read_and_handed_out() -> None:
    script = watching()
    assert script.give(notification(b"/a")) == []
    assert script.sent() == read(2)
    assert events(script.give(data(2, value(123), version=5, mzxid=41))) == [(123, 1, 6)]
    assert script.sent() == b""
    script.give(notification(b"/a"))
    assert events(script.give(data(3, value(456), version=6, mzxid=42))) == [(456, 1, 7)]


def test_changes_seen_as_one_are_counted() -> None:
    script = watching()
    script.give(notification(b"/a"))
    assert events(script.give(data(2, value(9), version=8, mzxid=44))) == [(9, 4, 9)]


def test_a_notification_while_reading_makes_it_read_again() -> None:
    script = watching()
    script.give(notification(b"/a"))
    script.give(notification(b"/a"))
    assert script.sent() == read(2)
    assert events(script.give(data(2, value(5), version=5, mzxid=41))) == [(5, 1, 6)]
    assert script.sent() == read(3)
    assert script.give(data(3, value(5), version=5, mzxid=41)) == []
    assert script.sent() == b""


def test_every_watcher_of_a_path_gets_every_event() -> None:
    script = watching(watchers=5, outcomes=2)
    script.give(notification(b"/a"))
    found = script.give(data(6, value(7), version=5, mzxid=41))
    assert events(found) == [(7, 1, 6)] * 5


def test_events_that_do_not_fit_come_before_what_follows() -> None:
    script = watching(watchers=5, outcomes=4)
    script.give(notification(b"/a"))
    script.submit(Kind.PUT, b"other", slot=9)
    found = script.give(data(6, value(7), version=5, mzxid=41) + created(7))
    assert [int(o["slot"]) for o in found] == [-1] * 5 + [9]


def test_a_new_watcher_does_not_take_an_event_from_the_others() -> None:
    script = watching()
    script.submit(Kind.WATCH, slot=1)
    found = script.give(notification(b"/a") + data(2, value(8), version=5, mzxid=41))
    assert sorted((int(o["slot"]), int(o["sent_ns"])) for o in found) == [(-1, 8), (1, 0)]
    assert script.give(data(3, value(8), version=5, mzxid=41)) == []
    script.give(notification(b"/a"))
    assert events(script.give(data(4, value(9), version=6, mzxid=42))) == [(9, 1, 7)] * 2


def test_one_watcher_after_another() -> None:
    script = Script(watches=2).ready()
    assert script.submit(Kind.WATCH, slot=0) == 1
    assert script.submit(Kind.WATCH, slot=1) == 0
    script.give(data(1, value(1), version=1, mzxid=9))
    assert script.submit(Kind.WATCH, slot=1) == 1


def test_paths_are_told_apart() -> None:
    script = Script(watches=3).ready()
    for xid, key in ((1, b"key/long/one"), (2, b"key/long/two"), (3, b"key")):
        script.submit(Kind.WATCH, key, slot=xid)
        script.give(data(xid, value(1), version=1, mzxid=xid))
    script.sent()
    script.give(notification(b"/key/long/two") + notification(b"/nobody") + notification(b"/key"))
    assert script.sent() == read(4, b"/key/long/two") + read(5, b"/key")


def test_no_room_for_another_watch() -> None:
    script = Script(watches=1, key_bytes_max=8).ready()
    script.submit(Kind.WATCH, b"a")
    assert script.submit(Kind.WATCH, b"b") == -ErrorCode.RESOURCE_EXHAUSTED
    assert script.submit(Kind.WATCH, b"123456789") == -ErrorCode.REQUEST_TOO_LARGE


def test_a_short_value_tells_no_time() -> None:
    script = watching()
    script.give(notification(b"/a"))
    assert events(script.give(data(2, b"1234567", version=5, mzxid=41))) == [(0, 1, 6)]


def test_a_missing_node_is_watched_for_its_creation() -> None:
    script = Script(watches=1).ready()
    script.submit(Kind.WATCH, slot=3)
    script.sent()
    assert script.give(jute.reply(1, 7, NO_NODE)) == []
    assert script.sent() == exists(2)
    assert brief(script.give(jute.reply(2, 7, NO_NODE))) == [(3, 0, 0, 0)]
    script.give(notification(b"/a", kind=1))
    assert script.sent() == read(3)
    assert events(script.give(data(3, value(6), version=0, mzxid=9))) == [(6, 1, 1)]


def test_a_node_that_came_to_be_while_asking() -> None:
    script = Script(watches=1).ready()
    script.submit(Kind.WATCH, slot=3)
    script.give(jute.reply(1, 7, NO_NODE))
    script.sent()
    assert script.give(jute.reply(2, 8, 0, ("stat", "t"), stat=stat())) == []
    assert script.sent() == read(3)
    assert brief(script.give(data(3, value(6), version=0, mzxid=8))) == [(3, 0, 1, 0)]


def test_a_deletion_is_no_event_and_the_creation_after_it_is_one() -> None:
    script = watching()
    script.give(notification(b"/a", kind=2))
    assert script.sent() == read(2)
    assert script.give(jute.reply(2, 50, NO_NODE)) == []
    assert script.sent() == exists(3)
    assert script.give(jute.reply(3, 50, NO_NODE)) == []
    script.give(notification(b"/a", kind=1))
    assert script.sent() == read(4)
    assert events(script.give(data(4, value(2), version=0, mzxid=51))) == [(2, 1, 1)]


def test_a_watch_that_is_refused() -> None:
    script = Script(watches=1).ready()
    script.submit(Kind.WATCH, slot=3)
    assert brief(script.give(jute.reply(1, 7, -102))) == [(3, ErrorCode.ZK_NO_AUTH, 0, 0)]
    script.submit(Kind.WATCH, slot=3)
    assert brief(script.give(data(2, value(6), version=0, mzxid=8))) == [(3, 0, 1, 0)]


def test_a_watch_whose_node_can_no_longer_be_read_says_so() -> None:
    script = watching()
    script.give(notification(b"/a"))
    (outcome,) = script.give(jute.reply(2, 7, -102))
    assert (outcome["slot"], outcome["kind"], outcome["code"]) == (-1, Kind.WATCH, ErrorCode.ZK_NO_AUTH)


def test_a_value_larger_than_the_buffer() -> None:
    script = watching(rx=512)
    script.give(notification(b"/a"))
    (outcome,) = script.give(data(2, bytes(600), version=5, mzxid=41))
    assert (outcome["slot"], outcome["code"]) == (-1, ErrorCode.RESPONSE_TOO_LARGE)
    script.give(notification(b"/a"))
    assert events(script.give(data(3, value(9), version=6, mzxid=42))) == [(9, 2, 7)]


@pytest.mark.parametrize("step", ["read", "exists"])
def test_a_cancelled_watcher_gets_nothing(step: str) -> None:
    script = Script(watches=1).ready()
    script.submit(Kind.WATCH, slot=3)
    if step == "exists":
        script.give(jute.reply(1, 7, NO_NODE))
    script.cancel(3)
    answer = jute.reply(2, 7, NO_NODE) if step == "exists" else data(1, value(1), version=1, mzxid=9)
    assert script.give(answer) == []
    script.give(notification(b"/a"))
    script.sent()
    assert script.give(data(3 if step == "exists" else 2, value(2), version=2, mzxid=10)) == []


def test_watches_come_back_with_the_connection() -> None:
    script = watching(watchers=2)
    assert script.lost() == []
    script.opened()
    script.give(jute.frame(jute.encode(jute.CONNECTED, {
        "protocol_version": 0, "timeout_ms": 9000, "session_id": 5, "password": bytes(16), "read_only": False,
    })))  # fmt: skip
    assert script.sent() == read(1)
    assert events(script.give(data(1, value(3), version=7, mzxid=50))) == [(3, 3, 8)] * 2


def test_a_change_already_seen_is_not_told_again_after_a_reconnect() -> None:
    script = watching()
    script.lost()
    script.ready()
    assert script.sent() == read(1)
    assert script.give(data(1, value(1), version=4, mzxid=40)) == []
    script.give(notification(b"/a"))
    assert script.sent() == read(2)


def test_a_reading_watch_is_lost_without_an_outcome_and_read_again() -> None:
    script = watching()
    script.give(notification(b"/a"))
    assert script.lost() == []
    script.ready()
    assert script.sent() == read(1)
    assert events(script.give(data(1, value(3), version=5, mzxid=41))) == [(3, 1, 6)]


def test_a_watcher_on_its_way_is_lost() -> None:
    script = Script(watches=1).ready()
    script.submit(Kind.WATCH, slot=3)
    assert brief(script.lost()) == [(3, ErrorCode.CONNECTION_LOST, 0, 0)]
    script.ready()
    assert script.sent() == b""
    assert script.submit(Kind.WATCH, slot=3) == 1


def test_events_not_handed_out_yet_are_not_lost_with_the_connection() -> None:
    script = watching(watchers=5, outcomes=2)
    script.give(notification(b"/a"))
    script.net.rx[:200] = 0
    answer = data(6, value(7), version=5, mzxid=41)
    script.net.rx[: len(answer)] = list(answer)
    script.net.connections["rx_start"], script.net.connections["rx_end"] = 0, len(answer)
    assert zookeeper.receive(script.client, script.net, 0, script.now, script.batch, 0) == 2
    first = [record.copy() for record in script.batch[:2]]
    assert events(first + script.lost()) == [(7, 1, 6)] * 5


def test_reads_that_find_no_room_are_sent_later() -> None:
    script = Script(watches=4, in_flight=4, tx=256).ready()
    script.sent()
    for xid, key in enumerate((b"a", b"b", b"c"), 1):
        script.submit(Kind.WATCH, key, slot=xid)
        script.sent()
        script.give(data(xid, value(1), version=1, mzxid=xid))
    for slot in range(3):
        assert script.submit(Kind.GET_SERIALIZABLE, bytes(40), slot=slot) == 1
    script.give(b"".join(notification(path) for path in (b"/a", b"/b", b"/c")))
    first = frames(script.sent())
    assert first[3:] == [read(7, b"/a")]
    script.give(b"".join(data(xid, b"x") for xid in (4, 5, 6)))
    assert frames(script.sent()) == [read(8, b"/c"), read(9, b"/b")]
    last = [(8, value(3)), (9, value(4))]
    found = script.give(data(7, value(2), version=2, mzxid=11))
    found += script.give(b"".join(data(xid, text, version=2, mzxid=20 + xid) for xid, text in last))
    assert sorted(event[0] for event in events(found)) == [2, 3, 4]
