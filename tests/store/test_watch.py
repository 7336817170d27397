"""Watchers: each gets exactly the events that it asked for, once, in order, whatever happens between two questions."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench.jit import JIT_ENABLED
from kvbench.ops.status import TEXT, StoreError
from kvbench.store import compaction, loading, watch, watch_events, watchers
from kvbench.store.records import StoreCode
from kvbench.wire.proto import messages
from tests.naive import store as naive
from tests.store import strategies
from tests.store.driver import Refused
from tests.store.test_histories import Pair
from tests.store.test_snapshot import dump, load

EXAMPLES = 150 if JIT_ENABLED else 15
ROOM = 1 << 14


@dataclass
class Watched:
    """What a watcher was promised and what it got."""

    stream: int
    watch_id: int
    key: bytes
    end: bytes
    start: int
    filters: set[int]
    prev_kv: bool
    fragment: bool
    got: list[Any] = field(default_factory=list)
    """Events."""
    cancelled: bool = False
    """By compaction."""
    owed: int = 0
    """1: the last response was a fragment."""

    def wants(self, event: naive.Event) -> bool:
        kind = 1 if event.version.value is None else 0
        covered = naive.covers(event.key, self.key, self.end)
        return covered and event.version.mod >= self.start and kind not in self.filters


class Watching(Pair):
    """A store and its twin, with streams of watchers, and a server that asks them."""

    def __init__(self) -> None:
        super().__init__()
        self.watched: dict[tuple[int, int], Watched] = {}
        self.taken: list[int] = []
        self.progress: dict[int, list[int]] = {}
        self.out = np.zeros(ROOM + 64, np.uint8)
        self.streams: list[int] = []

    @property
    def store(self) -> Any:
        return self.driver.store

    def open(self) -> int:
        stream = int(watch.open_stream(self.store, 1000 + len(self.streams)))
        self.streams.append(stream)
        return stream

    def close(self, stream: int) -> None:
        watch.close_stream(self.store, stream)
        self.streams.remove(stream)
        self.watched = {place: one for place, one in self.watched.items() if place[0] != stream}
        self.progress.pop(stream, None)

    def request(self, stream: int, room: int = ROOM, **fields: Any) -> Any:
        """The response to a WatchRequest, None when there is none. Raises Refused."""
        data = messages.WatchRequest(**fields).SerializeToString()
        buf = np.frombuffer(data + b"\xff" * 8, np.uint8).copy()
        self.out[:] = 0xEE
        size = int(watch.watch_request(self.store, stream, buf, 0, len(data), self.out, 0, room))
        return self.response(size, room)

    def response(self, size: int, room: int) -> Any:
        if size < 0:
            raise Refused(size)
        assert size <= room and (self.out[size:] == 0xEE).all()
        data = bytes(self.out[:size])
        response = messages.WatchResponse.FromString(data)
        assert response.SerializeToString() == data
        return response if size else None

    def create(self, stream: int, request: Any) -> Any:
        response = self.request(stream, create_request=request)
        assert response.header == self.twin.header() and response.created
        if not response.canceled:
            one = Watched(stream, response.watch_id, request.key or b"\0", request.range_end,
                          request.start_revision or self.twin.revision + 1, set(request.filters), request.prev_kv,
                          request.fragment)  # fmt: skip
            before = self.watched.pop((stream, response.watch_id), None)
            if before is not None:
                assert before.cancelled
                self.compare(before)
            self.watched[stream, response.watch_id] = one
        return response

    def answer(self, watcher: int) -> Any:
        """The next response of a watcher, None when there is none."""
        self.out[:] = 0xEE
        size = int(watch_events.watch_next(self.store, watcher, self.out, 0, ROOM, watch_events.ALWAYS))
        return self.response(size, ROOM)

    def ask(self, watcher: int, room: int, split: int = watch_events.WHERE_WANTED) -> int:
        """One question to a watcher. Returns the bytes of what it said, or a negative code."""
        stream = int(self.store.watchers[watcher]["stream"])
        self.out[:] = 0xEE
        size = int(watch_events.watch_next(self.store, watcher, self.out, 0, room, split))
        if size < 0:
            assert size == StoreCode.NO_ROOM
            return size
        response = self.response(size, room)
        if response is not None:
            self.take_in(stream, response)
        return size

    def take_in(self, stream: int, response: Any) -> None:
        if not response.events and not response.canceled:
            assert response.watch_id == -1
            self.progress.setdefault(stream, []).append(response.header.revision)
            self.check_progress(stream, response.header.revision)
            return
        one = self.watched[stream, response.watch_id]
        if response.canceled:
            assert response.compact_revision == self.twin.compacted
            one.cancelled = True
            return
        revisions = [event.kv.mod_revision for event in response.events]
        assert response.header.revision >= revisions[-1]
        if one.got and not one.owed:
            assert one.got[-1].kv.mod_revision < revisions[0], "a revision was split"
        one.owed = int(response.fragment)
        one.got += response.events

    def check_progress(self, stream: int, revision: int) -> None:
        """Everything up to ``revision`` was sent to all watchers of the stream."""
        for one in self.watched.values():
            if one.stream == stream and not one.cancelled:
                expected = [event for event in self.twin.events if one.wants(event) and event.version.mod <= revision]
                assert len(one.got) >= len(expected)

    def pull(self, most: int, room: int, slow: bool) -> None:
        """Take up to ``most`` watchers; ask each until it has nothing, or (``slow``) only once, and go on later."""
        for _ in range(most):
            watcher = int(watch.take_pending(self.store))
            if watcher < 0:
                break
            assert watcher not in self.taken
            self.taken.append(watcher)
        for watcher in list(self.taken):
            size = self.ask(watcher, room)
            while size > 0 and not slow:
                size = self.ask(watcher, room)
            if size == StoreCode.NO_ROOM:
                size = self.ask(watcher, ROOM, watch_events.ALWAYS)
                assert size > 0
            if size == 0 or self.store.watchers[watcher]["stream"] < 0:
                self.taken.remove(watcher)

    def finish(self) -> None:
        for _ in range(1000):
            self.pull(100, ROOM, False)
            if not self.taken and watch.take_pending(self.store) < 0:
                break
        for one in self.watched.values():
            self.compare(one)

    def compare(self, one: Watched) -> None:
        expected = [event for event in self.twin.events if one.wants(event)]
        if one.cancelled:
            expected = expected[: len(one.got)]
        assert len(one.got) == len(expected)
        for got, event in zip(one.got, expected, strict=True):
            if event.version.value is None:
                assert got.type == messages.Event.DELETE
                assert got.kv == messages.KeyValue(key=event.key, mod_revision=event.version.mod)
            else:
                assert got.type == messages.Event.PUT
                assert got.kv == self.twin.key_value(event.key, event.version)
            is_creation = event.version.value is not None and event.version.create == event.version.mod
            if got.HasField("prev_kv"):
                assert one.prev_kv and not is_creation and event.previous is not None
                assert got.prev_kv == self.twin.key_value(event.key, event.previous)
            elif one.prev_kv and not is_creation and event.previous is not None:
                assert event.version.mod - 1 < self.twin.compacted


keys = st.sampled_from([b"a", b"a", b"ab", b"b"])
creates = st.builds(
    messages.WatchCreateRequest, key=keys, range_end=st.sampled_from([b"", b"", b"\0", b"b", b"c"]),
    start_revision=st.sampled_from([0, 0, 1, 2, 5, 9, 14, 30]), filters=st.lists(st.integers(0, 1), max_size=1),
    prev_kv=st.booleans(), fragment=st.booleans(), watch_id=st.sampled_from([0, 0, 0, 3, 4]),
)  # fmt: skip
plain_puts = st.builds(messages.PutRequest, key=keys, value=st.sampled_from([b"", b"v" * 50, b"v" * 120]))
plain_deletes = st.builds(messages.DeleteRangeRequest, key=keys, range_end=st.sampled_from([b"", b"", b"c"]))
several = st.builds(
    lambda requests: messages.TxnRequest(success=[strategies.operation(request) for request in requests]),
    st.lists(st.one_of(plain_puts, plain_deletes), min_size=2, max_size=4, unique_by=lambda request: request.key),
)
pulls = st.tuples(st.just("pull"), st.integers(1, 4), st.sampled_from([256, 300, 400, ROOM]), st.booleans())
watch_steps = st.one_of(
    plain_puts, plain_puts, plain_puts, plain_deletes, several, strategies.txns, strategies.revokes,
    strategies.grants, strategies.puts, strategies.compactions, st.integers(1, 5), creates, creates, pulls, pulls,
    st.tuples(st.just("cancel"), st.integers(0, 5)), st.tuples(st.just("progress")), st.tuples(st.just("close")),
)  # fmt: skip


@settings(max_examples=EXAMPLES)
@given(st.lists(watch_steps, min_size=10, max_size=60))
def test_every_watcher_gets_its_events(history: list[Any]) -> None:
    pair = Watching()
    pair.open()
    pair.open()
    for count, step in enumerate(history):
        stream = pair.streams[count % len(pair.streams)]
        if isinstance(step, messages.WatchCreateRequest):
            pair.create(stream, step)
        elif not isinstance(step, tuple):
            pair.step(step)
        elif step[0] == "pull":
            pair.pull(*step[1:])
        elif step[0] == "cancel":
            response = pair.request(stream, cancel_request=messages.WatchCancelRequest(watch_id=step[1]))
            one = pair.watched.pop((stream, step[1]), None)
            assert (response is None) == (one is None or one.cancelled)
            pair.taken = [watcher for watcher in pair.taken if pair.store.watchers[watcher]["stream"] >= 0]
        elif step[0] == "progress":
            response = pair.request(stream, progress_request=messages.WatchProgressRequest())
            if response is not None:
                assert (response.watch_id, response.header) == (-1, pair.twin.header())
                pair.check_progress(stream, response.header.revision)
        elif len(pair.streams) < 4:
            pair.close(stream)
            pair.taken = [watcher for watcher in pair.taken if pair.store.watchers[watcher]["stream"] >= 0]
            pair.open()
    pair.finish()
    for stream in list(pair.streams):
        pair.close(stream)
    assert int(pair.store.spaces[1]["used_units"]) == 0
    assert int(pair.driver.state["watchers"]) == int(pair.driver.state["exact"]) == 0
    while compaction.compact_some(pair.store, 5):
        pass


changes = st.one_of(plain_puts, plain_puts, plain_deletes, several, strategies.compactions, st.integers(1, 5))


@settings(max_examples=EXAMPLES // 2)
@given(
    st.lists(st.one_of(changes, creates, pulls), min_size=5, max_size=30), st.lists(changes, max_size=20),
    st.lists(changes, max_size=10), st.booleans(),
)  # fmt: skip
def test_watchers_go_on_when_a_newer_state_is_loaded(
    before: list[Any], unseen: list[Any], behind: list[Any], idle: bool
) -> None:
    """A member that has fallen behind gets its leader's state; its clients must not notice."""
    leader, pair = Pair(), Watching()
    stream = pair.open()
    for step in before:
        if isinstance(step, messages.WatchCreateRequest):
            pair.create(stream, step)
        elif isinstance(step, tuple):
            pair.pull(*step[1:])
        else:
            leader.step(step)
            pair.step(step)
    if idle:
        pair.finish()
    for step in unseen:
        leader.step(step)
    load(dump(leader.driver, 200, []), 200, pair.driver)
    pair.twin = leader.twin
    for step in behind:
        pair.step(step)
    pair.finish()


@pytest.mark.parametrize("end", [b"", b"b"])
def test_watches_that_are_asked_for_while_a_state_is_loaded(end: bytes) -> None:
    """Those from a compacted revision on are cancelled; the others get all from theirs on, once there is all."""
    leader, pair = Pair(), Watching()
    for _ in range(10):
        leader.step(messages.PutRequest(key=b"a", value=b"v"))
    leader.step(messages.CompactionRequest(revision=6))
    data = dump(leader.driver, 200, [])
    loading.load_begin(pair.store)
    stream = pair.open()
    starts = (3, 6, 8, 12, 20)
    for number, start in enumerate(starts):
        request = messages.WatchCreateRequest(key=b"a", range_end=end, start_revision=start, watch_id=number + 1)
        assert pair.request(stream, create_request=request).created
    assert pair.request(stream, progress_request=messages.WatchProgressRequest()) is None
    buf = np.frombuffer(data, np.uint8).copy()
    assert loading.load_some(pair.store, buf, 0, len(buf)) == len(buf)
    got: dict[int, list[int]] = {number + 1: [] for number in range(len(starts))}
    pair.driver.index = int(pair.driver.state["applied_index"])
    pair.twin = leader.twin
    for response in all_responses(pair):
        if response.canceled:
            assert (response.watch_id, response.compact_revision) == (1, 6)
        elif response.watch_id >= 0:
            got[response.watch_id] += [event.kv.mod_revision for event in response.events]
    assert got == {1: [], 2: [6, 7, 8, 9, 10, 11], 3: [8, 9, 10, 11], 4: [], 5: []}


@pytest.mark.parametrize("end", [b"", b"b"])
def test_a_watch_from_a_later_revision_does_not_miss_what_was_compacted_before_that(end: bytes) -> None:
    """A member that lags is asked for a watch by a client that comes from another one, and gets a snapshot then."""
    leader, pair = Pair(), Watching()
    stream = pair.open()
    for start in (12, 14):
        request = messages.WatchCreateRequest(key=b"a", range_end=end, start_revision=start, watch_id=start)
        assert pair.request(stream, create_request=request).created
    for _ in range(11):
        leader.step(messages.PutRequest(key=b"a", value=b"v"))
    leader.step(messages.CompactionRequest(revision=10))
    load(dump(leader.driver, 200, []), 200, pair.driver)
    got = [(one.watch_id, [event.kv.mod_revision for event in one.events]) for one in all_responses(pair)]
    assert got == [(12, [12])]


def all_responses(pair: Watching) -> Iterator[Any]:
    """Ask the watchers of a store until none has anything."""
    while (watcher := int(watch.take_pending(pair.store))) >= 0:
        while (response := pair.answer(watcher)) is not None:
            yield response


# -- one by one -------------------------------------------------------------------------------------------------------


def put(pair: Watching, key: bytes, value: bytes = b"v") -> None:
    pair.step(messages.PutRequest(key=key, value=value))


def create(pair: Watching, stream: int, **fields: Any) -> Any:
    return pair.create(stream, messages.WatchCreateRequest(**fields))


def test_ids_count_from_0_and_pass_over_those_that_clients_chose() -> None:
    pair = Watching()
    stream = pair.open()
    ids = [create(pair, stream, key=b"a", watch_id=wanted).watch_id for wanted in (0, 1, 0, 7, 0)]
    assert ids == [0, 1, 2, 7, 3]
    refused = create(pair, stream, key=b"a", watch_id=7)
    assert refused == messages.WatchResponse(
        header=pair.twin.header(), watch_id=-1, created=True, canceled=True,
        cancel_reason=TEXT[StoreError.DUPLICATE_WATCH_ID],
    )  # fmt: skip
    assert create(pair, pair.open(), key=b"a").watch_id == 0


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"key": b"b", "range_end": b"a"}, StoreError.WATCHER_RANGE_EMPTY),
        ({"key": b"b", "range_end": b"b"}, StoreError.WATCHER_RANGE_EMPTY),
        ({"key": b"b", "start_revision": -1}, StoreError.COMPACTED),
    ],
)
def test_refusals(fields: dict[str, Any], reason: StoreError) -> None:
    pair = Watching()
    response = create(pair, pair.open(), **fields)
    assert (response.watch_id, response.canceled, response.cancel_reason) == (-1, True, TEXT[reason])
    assert int(pair.driver.state["watchers"]) == 0


def test_no_key_is_the_smallest_one() -> None:
    pair = Watching()
    stream = pair.open()
    create(pair, stream)
    create(pair, stream, range_end=b"b")
    for key in (b"\0", b"a", b"b"):
        put(pair, key)
    pair.finish()
    assert [len(one.got) for one in pair.watched.values()] == [1, 2]


def test_a_watch_below_the_compacted_revision_is_cancelled() -> None:
    pair = Watching()
    stream = pair.open()
    for _ in range(4):
        put(pair, b"a")
    pair.step(messages.CompactionRequest(revision=4))
    for start in (3, 4):
        create(pair, stream, key=b"a", start_revision=start)
    pair.finish()
    lost, kept = pair.watched.values()
    assert (lost.cancelled, kept.cancelled, len(kept.got)) == (True, False, 2)
    assert int(pair.driver.state["watchers"]) == 1


@pytest.mark.parametrize("end", [b"", b"b"])
def test_a_watcher_that_is_up_to_date_is_not_cancelled_by_a_compaction_right_behind_its_events(end: bytes) -> None:
    pair = Watching()
    create(pair, pair.open(), key=b"a", range_end=end)
    pair.finish()
    for _ in range(3):
        put(pair, b"a")
    pair.step(messages.CompactionRequest(revision=4))
    assert compaction.compact_some(pair.store, 10) == 0
    pair.finish()
    (one,) = pair.watched.values()
    assert (one.cancelled, len(one.got)) == (False, 3)
    while compaction.compact_some(pair.store, 10):
        pass
    for _ in range(3):
        put(pair, b"b")
    pair.step(messages.CompactionRequest(revision=7))
    while compaction.compact_some(pair.store, 10):
        pass
    put(pair, b"a")
    pair.finish()
    assert (one.cancelled, len(one.got)) == (False, 4)


@pytest.mark.parametrize("end", [b"", b"b"])
def test_a_slow_watcher_is_cancelled_when_compaction_passes_it(end: bytes) -> None:
    pair = Watching()
    create(pair, pair.open(), key=b"a", range_end=end)
    for _ in range(3):
        put(pair, b"a")
    slow = int(watch.take_pending(pair.store))
    assert slow >= 0
    pair.step(messages.CompactionRequest(revision=4))
    while compaction.compact_some(pair.store, 10):
        pass
    assert pair.ask(slow, ROOM) > 0
    (one,) = pair.watched.values()
    assert one.cancelled and pair.store.watchers[slow]["stream"] == -1
    assert pair.ask(slow, ROOM) == 0


def test_a_revision_too_large_for_the_room_waits_for_more_or_is_split() -> None:
    pair = Watching()
    stream = pair.open()
    create(pair, stream, key=b"k", range_end=b"l")
    create(pair, stream, key=b"k", range_end=b"l", fragment=True)
    ops = [messages.RequestOp(request_put=messages.PutRequest(key=b"k%d" % i, value=b"v" * 90)) for i in range(9)]
    pair.step(messages.TxnRequest(success=ops))
    put(pair, b"k")
    whole, fragmented = int(watch.take_pending(pair.store)), int(watch.take_pending(pair.store))
    assert pair.ask(whole, 600) == StoreCode.NO_ROOM
    assert pair.ask(whole, ROOM) > 900
    first, second = pair.watched.values()
    assert (len(first.got), first.owed) == (10, 0)
    assert pair.ask(fragmented, 600, watch_events.NEVER) == StoreCode.NO_ROOM
    assert pair.ask(fragmented, 600) > 0
    assert second.owed == 1
    while pair.ask(fragmented, 600) > 0:
        pass
    assert second.owed == 0 and second.got == first.got


def test_a_key_with_many_versions_is_read_from_history() -> None:
    pair = Watching()
    stream = pair.open()
    for number in range(300):
        put(pair, b"a" if number % 3 else b"b", b"%d" % number)
    create(pair, stream, key=b"a", start_revision=2)
    create(pair, stream, key=b"a", start_revision=250)
    pair.taken = [int(watch.take_pending(pair.store))]
    while pair.taken:
        pair.pull(1, 300, False)
    pair.finish()


def test_a_watcher_of_a_long_history_lets_others_have_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    if not JIT_ENABLED:
        monkeypatch.setattr(watch_events, "LOOKS_MAX", 20)
    pair = Watching()
    put(pair, b"a")
    for _ in range(watch_events.LOOKS_MAX * 2):
        pair.driver.apply(messages.PutRequest(key=b"b"))
    pair.twin.revision = int(pair.driver.state["revision"])
    put(pair, b"a")
    create(pair, pair.open(), key=b"a", range_end=b"b", start_revision=2)
    watcher = int(watch.take_pending(pair.store))
    assert pair.ask(watcher, ROOM) > 0
    assert pair.ask(watcher, ROOM) == 0
    assert watch.take_pending(pair.store) == watcher
    pair.taken = [watcher]
    pair.finish()


@pytest.mark.parametrize("end", [b"", b"b"])
def test_many_watchers_are_handed_out_one_by_one(end: bytes) -> None:
    pair = Watching()
    count = 200
    stream = pair.open()
    for number in range(count):
        assert create(pair, stream, key=b"a", range_end=end, prev_kv=True).watch_id == number
    put(pair, b"b")
    assert watch.take_pending(pair.store) == -1
    put(pair, b"a")
    first = [int(watch.take_pending(pair.store)) for _ in range(count // 2)]
    put(pair, b"a", b"again")
    rest = [int(watch.take_pending(pair.store)) for _ in range(count // 2)]
    assert sorted(first + rest) == list(range(count)) and watch.take_pending(pair.store) == -1
    pair.taken = first + rest
    pair.finish()
    assert all(len(one.got) == 2 for one in pair.watched.values())


def test_a_change_wakes_only_those_whose_range_it_lies_in() -> None:
    pair = Watching()
    stream = pair.open()
    for number in range(60):
        create(pair, stream, key=b"%02d/" % number, range_end=b"%02d0" % number)
    create(pair, stream, key=b"0", range_end=b"\0")
    put(pair, b"17/a")
    put(pair, b"/")
    found = [int(watch.take_pending(pair.store)) for _ in range(3)]
    ids = [int(pair.store.watchers[watcher]["watch_id"]) for watcher in found if watcher >= 0]
    assert sorted(ids) == [17, 60] and found[2] == -1
    pair.taken = found[:2]
    pair.finish()


def test_compaction_does_not_wait_for_watchers_of_what_came_after_it() -> None:
    pair = Watching()
    stream = pair.open()
    create(pair, stream, key=b"a")
    create(pair, stream, key=b"a", range_end=b"b")
    pair.finish()
    for _ in range(5):
        put(pair, b"b")
    put(pair, b"a")
    pair.step(messages.CompactionRequest(revision=5))
    while compaction.compact_some(pair.store, 1):
        pass
    assert int(pair.driver.state["dropped_revision"]) == 4
    pair.finish()
    assert [len(one.got) for one in pair.watched.values()] == [1, 1]


def test_a_watcher_that_has_everything_sleeps_without_being_asked() -> None:
    pair = Watching()
    stream = pair.open()
    create(pair, stream, key=b"a")
    create(pair, stream, key=b"a", range_end=b"b")
    put(pair, b"a")
    for _ in range(2):
        watcher = int(watch.take_pending(pair.store))
        assert not watchers.settle(pair.store, watcher)
        assert pair.ask(watcher, ROOM) > 0
        assert watchers.settle(pair.store, watcher)
        assert pair.ask(watcher, ROOM) == 0
    pair.finish()


def test_progress_waits_for_what_is_not_sent_yet() -> None:
    pair = Watching()
    stream = pair.open()
    assert pair.request(stream, progress_request=messages.WatchProgressRequest()) is None
    create(pair, stream, key=b"a")
    create(pair, stream, key=b"a", range_end=b"c")
    asked = pair.request(stream, progress_request=messages.WatchProgressRequest())
    assert (asked.watch_id, asked.header.revision) == (-1, 1)
    put(pair, b"a")
    assert pair.request(stream, progress_request=messages.WatchProgressRequest()) is None
    put(pair, b"b")
    first = int(watch.take_pending(pair.store))
    while pair.ask(first, ROOM) > 0:
        pass
    assert pair.progress == {}
    pair.finish()
    assert pair.progress == {stream: [2]}


def test_no_progress_is_told_while_a_watcher_of_the_stream_is_to_begin_in_the_future() -> None:
    pair = Watching()
    stream = pair.open()
    create(pair, stream, key=b"a", start_revision=3)
    watcher = int(watch.take_pending(pair.store))
    assert watcher == -1
    for _ in range(2):
        assert pair.request(stream, progress_request=messages.WatchProgressRequest()) is None
        put(pair, b"b")
        pair.finish()
    asked = pair.request(stream, progress_request=messages.WatchProgressRequest())
    assert (asked.watch_id, asked.header.revision) == (-1, 3)


def test_progress_is_answered_when_the_watcher_it_waited_for_is_cancelled() -> None:
    pair = Watching()
    stream = pair.open()
    create(pair, stream, key=b"a")
    create(pair, stream, key=b"b")
    put(pair, b"a")
    assert pair.request(stream, progress_request=messages.WatchProgressRequest()) is None
    pair.request(stream, cancel_request=messages.WatchCancelRequest(watch_id=0))
    del pair.watched[stream, 0]
    pair.finish()
    assert pair.progress == {stream: [2]}


def test_notifications_are_left_out_after_events() -> None:
    pair = Watching()
    stream = pair.open()
    create(pair, stream, key=b"a", progress_notify=True)
    watcher = int(watchers.find(pair.store, stream, 0))
    assert pair.store.watchers[watcher]["progress"] == 1

    def notification() -> Any:
        pair.out[:] = 0xEE
        return pair.response(int(watch.watch_progress(pair.store, watcher, pair.out, 0)), ROOM)

    assert notification() == messages.WatchResponse(header=pair.twin.header())
    put(pair, b"a")
    assert notification() is None
    pair.finish()
    assert notification() is None
    put(pair, b"b")
    assert notification() == messages.WatchResponse(header=pair.twin.header())


def test_requests_that_are_none() -> None:
    pair = Watching()
    stream = pair.open()
    assert pair.request(stream) is None
    with pytest.raises(Refused) as refused:
        pair.request(stream, room=watch.CONTROL_BYTES_MAX - 1)
    assert refused.value.code == StoreCode.NO_ROOM
    for data in (b"\x0a\x05\x0a\x09abc", b"\xff", b"\x0a\x02\x2a\x05"):
        buf = np.frombuffer(data + b"\0" * 8, np.uint8).copy()
        assert watch.watch_request(pair.store, stream, buf, 0, len(data), pair.out, 0, ROOM) == StoreError.BAD_REQUEST
    assert int(pair.driver.state["watchers"]) == 0


def test_more_watchers_and_streams_than_there_is_room_for_are_refused() -> None:
    pair = Watching()
    stream = pair.open()
    answers = [create(pair, stream, key=b"a") for _ in range(len(pair.store.watchers) + 1)]
    assert [one.canceled for one in answers] == [False] * len(pair.store.watchers) + [True]
    assert answers[-1].cancel_reason == TEXT[StoreError.TOO_MANY_REQUESTS]
    for _ in range(len(pair.store.streams) - 1):
        pair.open()
    assert watch.open_stream(pair.store, 1) == StoreCode.TABLE_FULL
    pair.close(stream)
    assert pair.open() == stream
    assert not create(pair, stream, key=b"a").canceled
