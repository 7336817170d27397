"""Watch calls of a real server: every event once and in order, however many watch and however slowly they read."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from kvbench.jit import JIT_ENABLED
from kvbench.wire.proto import messages, methods
from tests.server.serving import Client, Serve, serving, three_ports, until
from tests.server.watching import SlowWatch, Watch, create, put_many

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Serve, Client]]:
    """One member for all tests; each uses keys of its own."""
    with serving(tmp_path_factory.mktemp("member")) as both:
        yield both


@pytest.fixture
def client(server: tuple[Serve, Client]) -> Client:
    return server[1]


def revisions(events: list[Any]) -> list[int]:
    return [event.kv.mod_revision for event in events]


def test_many_watchers_of_one_key_on_one_stream(client: Client) -> None:
    watchers, puts = (1000, 3) if JIT_ENABLED else (60, 3)
    with Watch(client.address) as watch:
        for _ in range(watchers):
            watch.ask(create(key=b"one"))
        assert [watch.next().watch_id for _ in range(watchers)] == list(range(watchers))
        expected = [client.put(b"one", b"%d" % number) for number in range(puts)]
        got: dict[int, list[int]] = {number: [] for number in range(watchers)}
        while sum(len(one) for one in got.values()) < watchers * puts:
            response = watch.next()
            got[response.watch_id] += revisions(response.events)
        assert all(one == expected for one in got.values())


def test_streams_and_ranges(client: Client) -> None:
    names = [b"dir%d/" % number for number in range(20)]
    watches = [Watch(client.address) for _ in names]
    for watch, name in zip(watches, names, strict=True):
        watch.create(key=name, range_end=name[:-1] + b"0")
    watches[0].create(key=b"dir", range_end=b"dis")
    for round_number in range(3):
        for name in names:
            client.put(name + b"key", b"%d" % round_number)
    for watch, name in zip(watches[1:], names[1:], strict=True):
        events = watch.events(3)
        assert [(event.kv.key, event.kv.value) for event in events] == [(name + b"key", b"%d" % n) for n in range(3)]
    got: dict[int, list[Any]] = {0: [], 1: []}
    while len(got[0]) < 3 or len(got[1]) < 3 * len(names):
        response = watches[0].next()
        got[response.watch_id] += response.events
    assert [event.kv.key for event in got[1]] == [name + b"key" for name in names] * 3
    for watch in watches:
        watch.__exit__()


@pytest.mark.parametrize("window", [0, 1 << 30])
def test_a_watcher_that_does_not_read_holds_little_and_catches_up(client: Client, window: int) -> None:
    """It grants no window, or does not read its socket until that is full."""
    count, size = (3000, 4000) if JIT_ENABLED else (200, 4000)
    key = b"slow%d" % (window > 0)
    before = client.metrics()["kvbench_buffer_bytes"]
    with client.connect() as connection, SlowWatch(connection, window) as slow, Watch(client.address) as fast:
        slow.ask(create(key=key))
        slow.ask(create(key=key, range_end=key + b"\0"))
        fast.create(key=key)
        until(lambda: client.metrics()["etcd_debugging_mvcc_watcher_total"] >= 3)
        expected = put_many(client.address, key, count, size)
        assert revisions(fast.events(count)) == expected
        assert client.metrics()["kvbench_buffer_bytes"] - before < 200_000
        slow.open_window()
        got: dict[int, list[Any]] = {0: [], 1: []}
        for response in slow.responses():
            got[response.watch_id] += response.events
            if all(len(events) == count for events in got.values()):
                break
        assert [revisions(events) for events in got.values()] == [expected, expected]


def test_compaction_cancels_a_watcher_that_lags(client: Client) -> None:
    with client.connect() as connection, SlowWatch(connection, 0) as slow:
        slow.ask(create(key=b"lag"))
        first = put_many(client.address, b"lag", 50, 1000)
        client.call(methods.COMPACT, messages.CompactionRequest(revision=first[-1], physical=True))
        last = client.put(b"lag", b"more")
        client.call(methods.COMPACT, messages.CompactionRequest(revision=last, physical=True))
        slow.open_window()
        got: list[int] = []
        for response in slow.responses():
            got += revisions(response.events)
            if response.canceled:
                break
        assert response.compact_revision in (first[-1], last) and response.watch_id == 0
        assert got == first[: len(got)]


def test_a_transaction_is_one_response_unless_fragments_are_wanted(client: Client) -> None:
    keys = [b"txn%d" % number for number in range(4)]
    values = {key: bytes([65 + place]) * 300_000 for place, key in enumerate(keys)}
    ops = [messages.RequestOp(request_put=messages.PutRequest(key=key, value=values[key])) for key in keys]
    with Watch(client.address) as whole, Watch(client.address) as parts:
        for watch, fragment in ((whole, False), (parts, True)):
            watch.create(key=b"txn", range_end=b"txo", prev_kv=True, fragment=fragment)
        for _ in range(2):
            client.call(methods.TXN, messages.TxnRequest(success=ops))
        sizes = [len(whole.next().events) for _ in range(2)]
        assert sizes == [4, 4]
        events: list[Any] = []
        fragments = []
        while len(events) < 8:
            response = parts.next()
            events += response.events
            fragments.append(response.fragment)
        assert fragments == [False, True, False]
        assert [event.kv.key for event in events] == keys * 2
        assert all(event.prev_kv.value == values[event.kv.key] for event in events[4:])


def test_progress_cancel_and_half_close(client: Client) -> None:
    with Watch(client.address) as watch:
        watch.create(key=b"progress")
        revision = client.put(b"progress", b"1")
        assert revisions(watch.events(1)) == [revision]
        watch.ask(messages.WatchRequest(progress_request=messages.WatchProgressRequest()))
        response = watch.next()
        assert (response.watch_id, response.header.revision, len(response.events)) == (-1, revision, 0)
        watch.create(key=b"other", start_revision=revision + 100)
        watch.ask(messages.WatchRequest(cancel_request=messages.WatchCancelRequest(watch_id=0)))
        response = watch.next()
        assert response.canceled and response.watch_id == 0
        client.put(b"progress", b"2")
        put_many(client.address, b"other", 100, 10)
        last = client.put(b"other", b"")
        assert all(revision + 100 <= one <= last for one in revisions(watch.events(last - revision - 99)))


def test_nothing_is_left_of_calls_that_are_over(client: Client) -> None:
    def open_watchers() -> float:
        return float(client.metrics()["etcd_debugging_mvcc_watcher_total"])

    until(lambda: open_watchers() == 0)
    with client.connect() as connection, SlowWatch(connection, 0) as slow, Watch(client.address) as watch:
        for _ in range(30):
            slow.ask(create(key=b"over"))
            watch.create(key=b"over")
        until(lambda: open_watchers() == 60)
        put_many(client.address, b"over", 20, 10_000)
    until(lambda: open_watchers() == 0)
    until(lambda: client.metrics()["kvbench_buffer_bytes"] < 100_000)


def test_no_gap_across_a_leaders_end_and_a_snapshot(tmp_path: Path) -> None:
    """Three members: the watched follower is stopped, gets a snapshot, and then the leader is killed."""
    port = three_ports()
    addresses = [f"127.0.0.1:{port + number}" for number in range(3)]
    options = [f"--peers={','.join(addresses)}", "--snapshots=40", "--message-bytes=65536"]
    members = [
        Serve(f"--data-dir={tmp_path / str(number)}", f"--listen={address}", f"--member={number + 1}", *options,
              log=tmp_path / f"log{number}")
        for number, address in enumerate(addresses)
    ]  # fmt: skip
    clients = [Client(address) for address in addresses]
    try:
        for member in members:
            member.ready()
        status = [client.call(methods.STATUS, messages.StatusRequest()) for client in clients]
        leader = next(place for place, one in enumerate(status) if one.header.member_id == one.leader)
        follower, other = (place for place in range(3) if place != leader)
        with Watch(addresses[follower]) as watch:
            watch.create(key=b"k")
            watch.create(key=b"k", range_end=b"l")
            expected = put_many(addresses[other], b"k", 50, 100)
            members[follower].process.send_signal(signal.SIGSTOP)
            for _ in range(6):
                expected += put_many(addresses[leader], b"k", 50, 5000)
            members[follower].process.send_signal(signal.SIGCONT)
            expected += put_many(addresses[leader], b"k", 20, 100)
            members[leader].process.kill()
            for number in range(10):
                until(lambda number=number: put_again(clients[other], b"k", b"%d" % number))
            found = clients[other].call(methods.RANGE, messages.RangeRequest(key=b"k"))
            got: dict[int, list[int]] = {0: [], 1: []}
            while any(len(one) == 0 or one[-1] < found.header.revision for one in got.values()):
                response = watch.next()
                assert not response.canceled
                got[response.watch_id] += revisions(response.events)
            assert got[0] == got[1]
            assert got[0] == list(range(expected[0], found.header.revision + 1))
            assert clients[follower].metrics()["kvbench_snapshot_index"] > 0
    finally:
        for client in clients:
            client.__exit__()
        for member in members:
            member.close()


def put_again(client: Client, key: bytes, value: bytes) -> bool:
    """A put; False when the cluster cannot take it now."""
    try:
        client.call(methods.PUT, messages.PutRequest(key=key, value=value), 3.0)
    except grpc.RpcError:
        return False
    return True
