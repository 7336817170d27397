"""The connection table on real sockets: connect and back off, wait, read, write, and what peers do to it."""

import contextlib
import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench.net import table
from kvbench.net.records import CLOSED, CONNECTING, OPEN, TIMER_TAG, Net
from kvbench.rt import libc
from tests.naive.stream import Stream

NOW = 1_000_000_000_000
LONG_NS = 10_000_000_000
BYTES = 256


@contextmanager
def listening() -> Iterator[socket.socket]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener


@contextmanager
def closing(net: Net) -> Iterator[Net]:
    assert table.open_epoll(net) == 0
    try:
        yield net
    finally:
        table.close_all(net)


def wait_for(net: Net, connection: int) -> int:
    """The mask of the next event, which must be of this connection."""
    assert table.wait(net, LONG_NS) == 1
    assert table.event_tag(net, 0) == connection
    return table.event_mask(net, 0)


@contextmanager
def connected(rx_bytes: int = BYTES, tx_bytes: int = BYTES) -> Iterator[tuple[Net, socket.socket]]:
    """A table whose connection 1 of 3 is open, and the other end of it."""
    with listening() as listener, closing(table.new_net(3, [listener.getsockname()], rx_bytes, tx_bytes)) as net:
        assert table.start_connect(net, 1, NOW) == CONNECTING
        assert wait_for(net, 1) & libc.EPOLLOUT
        assert table.finish_connect(net, 1, NOW + 5) == OPEN
        peer, _ = listener.accept()
        with peer:
            yield net, peer


def queue(net: Net, connection: int, data: bytes) -> None:
    """Append to the write buffer what a protocol would."""
    record = net.connections[connection]
    at = connection * net.tx_bytes + int(record["tx_end"])
    net.tx[at : at + len(data)] = np.frombuffer(data, np.uint8)
    record["tx_end"] += len(data)


def unread(net: Net, connection: int) -> bytes:
    record = net.connections[connection]
    base = connection * net.rx_bytes
    return bytes(net.rx[base + int(record["rx_start"]) : base + int(record["rx_end"])])


def read_all(net: Net, connection: int, size: int) -> int:
    """Read until ``size`` bytes are unread or read says something else than that there are some."""
    while len(unread(net, connection)) < size:
        table.wait(net, LONG_NS)
        code = table.read(net, connection, NOW)
        if code != table.READ_SOME:
            return code
    return table.READ_SOME


def test_addresses_are_what_the_kernel_wants() -> None:
    fourth = table.socket_address("127.0.0.1", 2379)
    assert fourth == struct.pack("<H", socket.AF_INET) + b"\x09\x4b\x7f\0\0\x01" + bytes(8)
    sixth = table.socket_address("::1", 2379)
    assert sixth == struct.pack("<H", socket.AF_INET6) + b"\x09\x4b" + bytes(4) + bytes(15) + b"\x01" + bytes(4)
    with pytest.raises(OSError, match=r".+"):
        table.socket_address("no-such-host.invalid", 1)


def test_connections_are_dealt_to_addresses_in_turn() -> None:
    net = table.new_net(5, [("127.0.0.1", 1), ("127.0.0.1", 2)])
    assert net.connections["endpoint"].tolist() == [0, 1, 0, 1, 0]
    assert net.connections["fd"].tolist() == [-1] * 5


def test_connect() -> None:
    with connected() as (net, _):
        record = net.connections[1]
        assert (int(record["state"]), int(record["ready"]), int(record["opened_ns"])) == (OPEN, 0, NOW + 5)
        with socket.socket(fileno=os.dup(int(record["fd"]))) as own:
            assert own.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert not os.get_blocking(int(record["fd"]))
        assert not os.get_inheritable(int(record["fd"]))
        assert table.wait(net, 0) == 0


def stamped_read(net: Net, peer: socket.socket, text: bytes) -> tuple[int, int, int]:
    """Receive ``text`` a while after it was sent: (before it was sent, its arrival as read, after it was sent)."""
    before = time.monotonic_ns()
    peer.sendall(text)
    after = time.monotonic_ns()
    wait_for(net, 1)
    time.sleep(0.002)
    assert table.read_stamped(net, 1, NOW) == table.READ_SOME
    assert unread(net, 1) == text
    record = net.connections[1]
    record["rx_start"] = record["rx_end"]
    return before, int(record["arrived_ns"]), after


def test_the_kernel_says_when_it_received_what_is_read() -> None:
    with connected() as (net, peer):
        record = net.connections[1]
        give_up = time.monotonic() + 10
        while record["stamped"] < 2:  # the kernel begins to stamp a while after it was asked to
            before, arrived, _ = stamped_read(net, peer, b"first")
            assert before <= arrived <= time.monotonic_ns()
            assert time.monotonic() < give_up
        for text in (b"x", b"y" * 100):
            before, arrived, after = stamped_read(net, peer, text)
            assert before <= arrived <= after + table.CLOCKS_APART_NS
        assert int(record["bytes_received"]) >= 106 and int(record["last_received_ns"]) == NOW
        assert table.read_stamped(net, 1, NOW) == table.READ_NONE
        peer.sendall(b"z" * 2 * BYTES)
        while table.read_stamped(net, 1, NOW) == table.READ_SOME:
            table.wait(net, LONG_NS)
        assert table.read_stamped(net, 1, NOW) == table.READ_FULL
        record["rx_start"] = record["rx_end"]
        assert read_all(net, 1, BYTES) == table.READ_SOME
        record["rx_start"] = record["rx_end"]
        peer.close()
        wait_for(net, 1)
        assert table.read_stamped(net, 1, NOW) == table.READ_CLOSED


def test_a_paused_connection_waits_for_room_only_until_it_has_sent() -> None:
    with connected(BYTES, 1 << 20) as (net, peer):
        record = net.connections[1]
        table.pause(net, 1)
        assert int(record["wants_write"]) == 0  # nothing waits to be sent
        peer.sendall(b"input")
        while record["wants_write"] == 0:
            queue(net, 1, bytes(table.room(net, 1)))
            assert table.flush(net, 1, NOW) == 0
        assert wait_for(net, 1) == libc.EPOLLIN
        table.pause(net, 1)
        assert (int(record["wants_write"]), table.wait(net, 0)) == (2, 0)
        peer.setblocking(False)
        while record["wants_write"] != 0:
            with contextlib.suppress(BlockingIOError):
                while peer.recv(1 << 20):
                    pass
            assert wait_for(net, 1) & libc.EPOLLOUT
            assert table.flush(net, 1, NOW) == 0
        assert wait_for(net, 1) == libc.EPOLLIN


def test_waiting_until_a_time_or_an_event() -> None:
    with connected() as (net, peer):
        assert table.open_timer(net) == 0
        now = time.monotonic_ns()
        for wake in (now + 5_000_000, now + 8_000_000, now + 8_000_000 + 1):
            assert table.wait_until(net, wake, now) == 1
            assert table.event_tag(net, 0) == TIMER_TAG
            assert time.monotonic_ns() >= wake
        assert table.wait_until(net, now, now) == 0
        wake = time.monotonic_ns() + LONG_NS
        for text in (b"a", b"b"):
            peer.sendall(text)
            assert table.wait_until(net, wake, now) == 1
            assert (table.event_tag(net, 0), int(net.timer[1])) == (1, wake)
            assert table.read(net, 1, NOW) == table.READ_SOME
        sooner = time.monotonic_ns() + 1_000_000
        assert table.wait_until(net, sooner, now) == 1
        assert table.event_tag(net, 0) == TIMER_TAG
    assert net.timer[0] == -1


def test_waiting_until_a_time_without_a_timer() -> None:
    with connected() as (net, _):
        now = time.monotonic_ns()
        assert table.wait_until(net, now + 2_000_000, now) == 0
        assert time.monotonic_ns() >= now + 2_000_000


def test_a_refused_connection_is_tried_again_later_and_later() -> None:
    with listening() as listener:
        address = listener.getsockname()
    with closing(table.new_net(1, [address])) as net:
        delays = []
        for attempt in range(10):
            now = NOW + attempt
            if table.start_connect(net, 0, now) == CONNECTING:
                wait_for(net, 0)
                assert table.finish_connect(net, 0, now) == CLOSED
            assert int(net.connections[0]["fd"]) == -1
            delays.append((int(net.connections[0]["retry_at_ns"]) - now) // 1_000_000)
        assert delays == [10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000]


def test_no_descriptor_left_is_a_failed_connect() -> None:
    net = table.new_net(1, [("127.0.0.1", 1)])
    net.addresses[0] = 255  # no such family: socket() fails as it does when descriptors run out
    assert table.start_connect(net, 0, NOW) == CLOSED
    assert int(net.connections[0]["retry_at_ns"]) == NOW + 10_000_000


def test_wait_ends_in_time_and_without_events() -> None:
    with closing(table.new_net(1, [])) as net:
        before = time.monotonic_ns()
        assert table.wait(net, 2_000_000) == 0
        assert time.monotonic_ns() - before >= 2_000_000


def test_bytes_are_read_and_counted() -> None:
    with connected() as (net, peer):
        assert table.read(net, 1, NOW) == table.READ_NONE
        peer.sendall(b"hello")
        assert wait_for(net, 1) == libc.EPOLLIN
        assert table.read(net, 1, NOW + 9) == table.READ_SOME
        assert unread(net, 1) == b"hello"
        record = net.connections[1]
        assert (int(record["bytes_received"]), int(record["last_received_ns"])) == (5, NOW + 9)
        assert int(record["eof"]) == 0


def test_a_full_read_buffer_waits_for_the_protocol() -> None:
    with connected() as (net, peer):
        peer.sendall(bytes(BYTES + 10))
        assert read_all(net, 1, BYTES) == table.READ_SOME
        assert table.read(net, 1, NOW) == table.READ_FULL
        net.connections[1]["rx_start"] = BYTES - 3
        assert read_all(net, 1, 13) == table.READ_SOME
        assert not net.rx[:BYTES].any() and not net.rx[2 * BYTES :].any()


def test_a_peer_that_leaves() -> None:
    with connected() as (net, peer):
        peer.sendall(b"bye")
        peer.close()
        assert read_all(net, 1, 3) == table.READ_SOME
        assert table.read(net, 1, NOW) == table.READ_CLOSED
        assert unread(net, 1) == b"bye"
        assert int(net.connections[1]["eof"]) == 1


def test_a_peer_that_breaks_off() -> None:
    with connected() as (net, peer):
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        assert wait_for(net, 1) & (libc.EPOLLERR | libc.EPOLLHUP)
        queue(net, 1, b"x")
        assert table.flush(net, 1, NOW) == table.READ_CLOSED
        assert table.read(net, 1, NOW) == table.READ_CLOSED


def test_bytes_are_sent_and_counted() -> None:
    with connected() as (net, peer):
        queue(net, 1, b"hello")
        assert table.flush(net, 1, NOW + 7) == 0
        assert peer.recv(100) == b"hello"
        record = net.connections[1]
        assert (int(record["bytes_sent"]), int(record["last_sent_ns"])) == (5, NOW + 7)
        assert (int(record["tx_start"]), int(record["tx_end"]), int(record["wants_write"])) == (0, 0, 0)
        assert table.flush(net, 1, NOW + 8) == 0
        assert int(record["last_sent_ns"]) == NOW + 7


def test_a_peer_that_does_not_read_is_waited_for() -> None:
    size = 8 << 20
    with connected(tx_bytes=size) as (net, peer):
        record = net.connections[1]
        data = Stream().put(size)
        queue(net, 1, data)
        assert table.flush(net, 1, NOW) == 0
        assert int(record["wants_write"]) == 1
        assert 0 < int(record["tx_start"]) < int(record["tx_end"]) == size
        received = bytearray()
        while len(received) < size:
            received += peer.recv(1 << 20)
            while table.wait(net, 0) == 1:
                assert table.event_mask(net, 0) == libc.EPOLLOUT
                assert table.flush(net, 1, NOW) == 0
        assert bytes(received) == data
        assert int(record["wants_write"]) == 0


def test_room_moves_unsent_bytes_only_when_that_is_worth_it() -> None:
    net = table.new_net(2, [], BYTES, 100)
    record = net.connections[1]
    queue(net, 1, bytes(range(1, 41)))
    record["tx_start"] = 30
    assert table.room(net, 1) == 60
    assert (int(record["tx_start"]), int(record["tx_end"])) == (30, 40)
    queue(net, 1, bytes(range(41, 61)))
    assert table.room(net, 1) == 70
    assert (int(record["tx_start"]), int(record["tx_end"])) == (0, 30)
    assert net.tx[100:130].tolist() == list(range(31, 61))
    record["tx_start"] = 30
    assert table.room(net, 1) == 100


def test_dirty_connections_are_listed_once() -> None:
    net = table.new_net(4, [])
    for connection in (2, 0, 2, 2, 3):
        table.mark_dirty(net, connection)
    assert net.dirty[: 1 + int(net.dirty[0])].tolist() == [3, 2, 0, 3]


def test_disconnecting_forgets_everything_and_closes() -> None:
    with connected() as (net, peer):
        fd = int(net.connections[1]["fd"])
        queue(net, 1, b"never sent")
        table.disconnect(net, 1)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
        record = net.connections[1]
        assert (int(record["fd"]), int(record["state"]), int(record["tx_end"])) == (-1, CLOSED, 0)
        assert peer.recv(10) == b""
        table.disconnect(net, 1)
        assert table.wait(net, 0) == 0


def test_closing_everything_twice_is_safe() -> None:
    with connected() as (net, peer):
        fds = [int(net.connections[1]["fd"]), int(net.epoll[0])]
        table.close_all(net)
        for fd in fds:
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(fd)
        assert peer.recv(10) == b""
        table.close_all(net)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, BYTES), st.integers(0, BYTES)), max_size=30))
def test_a_stream_comes_in_whole(steps: list[tuple[int, int]]) -> None:
    """The peer sends, the protocol takes some: at every moment what is unread is what comes next in the stream."""
    sent = Stream()
    with connected() as (net, peer):
        record = net.connections[1]
        for send, take in steps:
            peer.sendall(sent.put(send))
            read_all(net, 1, min(BYTES, sent.put_bytes - sent.taken_bytes))
            data = unread(net, 1)[:take]
            record["rx_start"] += len(data)
            assert sent.take(data)
        while sent.taken_bytes < sent.put_bytes:
            assert read_all(net, 1, 1) == table.READ_SOME
            data = unread(net, 1)
            record["rx_start"] += len(data)
            assert sent.take(data)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, BYTES), st.booleans()), max_size=30))
def test_a_stream_goes_out_whole(steps: list[tuple[int, bool]]) -> None:
    """The protocol writes as much as there is room for and flushes now and then: the peer gets it in order."""
    stream = Stream()
    with connected() as (net, peer):
        for size, flush in steps:
            queue(net, 1, stream.put(min(size, table.room(net, 1))))
            if flush:
                assert table.flush(net, 1, NOW) == 0
        assert table.flush(net, 1, NOW) == 0
        table.disconnect(net, 1)
        received = b"".join(iter(lambda: peer.recv(1 << 16), b""))
        assert len(received) == stream.put_bytes
        assert stream.take(received)
