"""Kernels of the connection table: connect with back-off, wait, read, write, close."""

import socket
from typing import Any

import numpy as np

from kvbench.jit import kernel
from kvbench.net.records import (
    ADDRESS_BYTES,
    CLOSED,
    CONNECTING,
    CONNECTION,
    CONTROL_AT,
    CONTROL_BYTES,
    EVENT_BYTES,
    IOVEC_AT,
    MESSAGE_BYTES,
    OPEN,
    TIMER_TAG,
    WATCHED,
    Net,
)
from kvbench.rt import clock, libc
from kvbench.rt.buffer import copy, load_le32, load_le64, store_le32, store_le64

READ_NONE = 0
READ_SOME = 1
READ_CLOSED = -100
"""The peer closed the connection, or it broke."""
READ_FULL = -101
"""No room to read into: the protocol left its bytes unread."""

BACKOFF_FIRST_NS = 10_000_000
BACKOFF_MAX_NS = 1_000_000_000
CONNECT_TIMEOUT_NS = 5_000_000_000
CLOCKS_APART_NS = 50_000
"""At most so far apart the two clocks are read that turn a kernel's stamp into CLOCK_MONOTONIC."""
SOCKET_BUFFER_BYTES = 0
"""0: the kernel sizes socket buffers itself."""


def socket_address(host: str, port: int) -> bytes:
    """sockaddr_in or sockaddr_in6 of the first address that ``host`` resolves to. Raises OSError."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    packed = socket.inet_pton(family, str(address[0]))
    number = int(address[1]).to_bytes(2, "big")
    kind = int(family).to_bytes(2, "little")
    if family == socket.AF_INET:
        return kind + number + packed + bytes(8)
    return kind + number + bytes(4) + packed + bytes(4)


def new_net(connections: int, addresses: list[tuple[str, int]], rx_bytes: int = 65536, tx_bytes: int = 65536) -> Net:
    """A table of closed connections; connection i begins with address i modulo their number."""
    table = np.zeros(connections, CONNECTION)
    table["fd"] = -1
    packed = [socket_address(host, port) for host, port in addresses]
    flat = np.zeros(max(len(packed), 1) * ADDRESS_BYTES, np.uint8)
    for i, one in enumerate(packed):
        flat[i * ADDRESS_BYTES : i * ADDRESS_BYTES + len(one)] = np.frombuffer(one, np.uint8)
    if packed:
        table["endpoint"] = np.arange(connections) % len(packed)
    return Net(
        connections=table,
        rx=np.zeros(connections * rx_bytes, np.uint8),
        tx=np.zeros(connections * tx_bytes, np.uint8),
        rx_bytes=rx_bytes,
        tx_bytes=tx_bytes,
        addresses=flat,
        address_bytes=np.array([len(one) for one in packed] or [0], np.int64),
        events=np.zeros(EVENT_BYTES * 512, np.uint8),
        dirty=np.zeros(connections + 1, np.int32),
        scratch=np.zeros(64, np.uint8),
        epoll=np.full(1, -1, np.int32),
        message=np.zeros(MESSAGE_BYTES, np.uint8),
        timer=np.full(2, -1, np.int64),
    )


@kernel
def open_epoll(net: Any) -> int:
    """Create the epoll descriptor. Returns 0, or -errno."""
    descriptor = libc.epoll_create1(libc.EPOLL_CLOEXEC)
    if descriptor < 0:
        return -libc.errno()
    net.epoll[0] = descriptor
    return 0


@kernel
def open_timer(net: Any) -> int:
    """Create the timer that ``wait_until`` sets, and have epoll report it. Returns 0, or -errno: there is none."""
    descriptor = libc.timerfd_create(libc.CLOCK_MONOTONIC, libc.TFD_NONBLOCK_CLOEXEC)
    if descriptor < 0:
        return -libc.errno()
    net.timer[0] = descriptor
    net.timer[1] = 0
    # Edge-triggered: it is reported once each time that it runs out, and never read.
    control(net, libc.EPOLL_CTL_ADD, descriptor, libc.EPOLLIN | libc.EPOLLET, TIMER_TAG)
    return 0


@kernel
def close_all(net: Any) -> None:
    """Close every descriptor of the table."""
    for connection in range(len(net.connections)):
        disconnect(net, connection)
    if net.timer[0] >= 0:
        libc.close(int(net.timer[0]))
        net.timer[0] = -1
    if net.epoll[0] >= 0:
        libc.close(int(net.epoll[0]))
        net.epoll[0] = -1


@kernel
def control(net: Any, operation: int, fd: int, mask: int, tag: int) -> int:
    """epoll_ctl with ``tag`` as the event's data. Returns what epoll_ctl does."""
    store_le32(net.scratch, 0, mask)
    store_le64(net.scratch, 4, tag)
    return libc.epoll_ctl(int(net.epoll[0]), operation, fd, libc.address(net.scratch, 0))


@kernel
def set_option(net: Any, fd: int, level: int, name: int, value: int) -> int:
    """setsockopt with an int value."""
    store_le32(net.scratch, 0, value)
    return libc.setsockopt(fd, level, name, libc.address(net.scratch, 0), 4)


@kernel
def schedule_retry(net: Any, connection: int, now: int) -> None:
    """Set when to connect again: 10 ms after the first failure, doubled with each, at most 1 s."""
    record = net.connections[connection]
    delay = BACKOFF_FIRST_NS << min(int(record["failures"]), 7)
    record["retry_at_ns"] = now + min(delay, BACKOFF_MAX_NS)
    record["failures"] += 1


@kernel
def start_connect(net: Any, connection: int, now: int) -> int:
    """Begin to connect to the connection's address. Returns its state; CLOSED with a retry time when it failed."""
    record = net.connections[connection]
    endpoint = int(record["endpoint"])
    at = endpoint * ADDRESS_BYTES
    family = int(net.addresses[at])
    fd = libc.socket(family, libc.SOCK_STREAM | libc.SOCK_NONBLOCK | libc.SOCK_CLOEXEC, 0)
    if fd < 0:
        schedule_retry(net, connection, now)
        return CLOSED
    set_option(net, fd, libc.IPPROTO_TCP, libc.TCP_NODELAY, 1)
    result = libc.connect(fd, libc.address(net.addresses, at), net.address_bytes[endpoint])
    if result < 0 and libc.errno() != libc.EINPROGRESS:
        libc.close(fd)
        schedule_retry(net, connection, now)
        return CLOSED
    record["fd"] = fd
    record["rx_start"] = 0
    record["rx_end"] = 0
    record["tx_start"] = 0
    record["tx_end"] = 0
    record["more"] = 0
    record["eof"] = 0
    record["ready"] = 0
    record["stamped"] = 0
    record["opened_ns"] = now
    record["wants_write"] = 1
    record["state"] = CONNECTING
    control(net, libc.EPOLL_CTL_ADD, fd, WATCHED | libc.EPOLLOUT, connection)
    return CONNECTING


@kernel
def finish_connect(net: Any, connection: int, now: int) -> int:
    """The descriptor became writable: see whether connect() succeeded. Returns OPEN, or CLOSED with a retry time."""
    record = net.connections[connection]
    fd = int(record["fd"])
    store_le32(net.scratch, 16, 0)
    store_le32(net.scratch, 24, 4)
    base = libc.address(net.scratch, 0)
    failed = libc.getsockopt(fd, libc.SOL_SOCKET, libc.SO_ERROR, base + 16, base + 24)
    if failed < 0 or load_le32(net.scratch, 16) != 0:
        disconnect(net, connection)
        schedule_retry(net, connection, now)
        return CLOSED
    record["state"] = OPEN
    record["opened_ns"] = now
    record["last_sent_ns"] = now
    record["last_received_ns"] = now
    record["wants_write"] = 0
    control(net, libc.EPOLL_CTL_MOD, fd, WATCHED, connection)
    return OPEN


@kernel
def disconnect(net: Any, connection: int) -> None:
    """Close the descriptor, if any, and forget all bytes. Closing takes it out of epoll."""
    record = net.connections[connection]
    if record["fd"] >= 0:
        libc.close(int(record["fd"]))
    record["fd"] = -1
    record["state"] = CLOSED
    record["ready"] = 0
    record["rx_start"] = 0
    record["rx_end"] = 0
    record["tx_start"] = 0
    record["tx_end"] = 0
    record["wants_write"] = 0
    record["more"] = 0


@kernel
def wait(net: Any, timeout_ns: int) -> int:
    """epoll_pwait2 for at most ``timeout_ns``. Returns how many events; -1 after a signal."""
    store_le64(net.scratch, 0, timeout_ns // 1_000_000_000)
    store_le64(net.scratch, 8, timeout_ns % 1_000_000_000)
    base = libc.address(net.scratch, 0)
    most = len(net.events) // EVENT_BYTES
    return libc.epoll_pwait2(int(net.epoll[0]), libc.address(net.events, 0), most, base, 0)


@kernel
def wait_until(net: Any, wake_ns: int, now: int) -> int:
    """Wait for events, at most until ``wake_ns`` (CLOCK_MONOTONIC). Returns how many, the timer's with TIMER_TAG among
    them; -1 after a signal.

    A time-out of epoll's own would be set and taken back at every call, each of which costs a virtual machine a visit
    to its host; the timer stays set while answers come and go.
    """
    if wake_ns <= now or net.timer[0] < 0:
        return wait(net, max(wake_ns - now, 0))
    base = libc.address(net.scratch, 0)
    if wake_ns != net.timer[1]:
        net.timer[1] = wake_ns
        store_le64(net.scratch, 0, 0)
        store_le64(net.scratch, 8, 0)
        store_le64(net.scratch, 16, wake_ns // 1_000_000_000)
        store_le64(net.scratch, 24, wake_ns % 1_000_000_000)
        libc.timerfd_settime(int(net.timer[0]), libc.TFD_TIMER_ABSTIME, base, 0)
    most = len(net.events) // EVENT_BYTES
    return libc.epoll_pwait2(int(net.epoll[0]), libc.address(net.events, 0), most, 0, 0)


@kernel
def event_mask(net: Any, event: int) -> int:
    """EPOLL flags of the ``event``-th event of the last wait."""
    return load_le32(net.events, event * EVENT_BYTES)


@kernel
def event_tag(net: Any, event: int) -> int:
    """The tag (connection number) of the ``event``-th event of the last wait."""
    return load_le64(net.events, event * EVENT_BYTES + 4)


@kernel
def sleep_until(net: Any, wake_ns: int) -> None:
    """Sleep until ``wake_ns`` (CLOCK_MONOTONIC), whatever arrives."""
    store_le64(net.scratch, 0, wake_ns // 1_000_000_000)
    store_le64(net.scratch, 8, wake_ns % 1_000_000_000)
    libc.clock_nanosleep(libc.CLOCK_MONOTONIC, libc.TIMER_ABSTIME, libc.address(net.scratch, 0), 0)


@kernel
def make_room(net: Any, connection: int) -> int:
    """Room in the read buffer, unread bytes moved to its front first when it is short. Returns how much."""
    record = net.connections[connection]
    base = connection * net.rx_bytes
    start, end = int(record["rx_start"]), int(record["rx_end"])
    if start == end:
        start = end = 0
    elif start > 0 and end > net.rx_bytes // 2:
        copy(net.rx, base, net.rx, base + start, end - start)
        end -= start
        start = 0
    record["rx_start"] = start
    record["rx_end"] = end
    return int(net.rx_bytes - end)


@kernel
def note_read(record: Any, got: int, now: int) -> int:
    """What came of a recv that returned ``got``, for ``read`` to return."""
    if got > 0:
        record["rx_end"] += got
        record["bytes_received"] += got
        record["last_received_ns"] = now
        return READ_SOME
    if got < 0:
        error = libc.errno()
        if error == libc.EAGAIN or error == libc.EINTR:
            return READ_NONE
    record["eof"] = 1
    return READ_CLOSED


@kernel
def read(net: Any, connection: int, now: int) -> int:
    """One recv into the free part of the read buffer.

    Returns READ_SOME, READ_NONE (nothing there), READ_CLOSED or READ_FULL.
    """
    record = net.connections[connection]
    free = make_room(net, connection)
    if free == 0:
        return READ_FULL
    at = libc.address(net.rx, connection * net.rx_bytes + int(record["rx_end"]))
    return note_read(record, libc.recv(int(record["fd"]), at, free, 0), now)


@kernel
def read_stamped(net: Any, connection: int, now: int) -> int:
    """As ``read``, and ``arrived_ns`` becomes when the kernel received the last of it, as far as it says so.

    Else it becomes the time of reading, as with the first read of a connection, which asks for the stamps.
    """
    record = net.connections[connection]
    fd = int(record["fd"])
    if record["stamped"] == 0:
        record["stamped"] = 1
        set_option(net, fd, libc.SOL_SOCKET, libc.SO_TIMESTAMPNS, 1)
    free = make_room(net, connection)
    if free == 0:
        return READ_FULL
    message = net.message
    base = libc.address(message, 0)
    store_le64(message, 16, base + IOVEC_AT)
    store_le64(message, 24, 1)
    store_le64(message, 32, base + CONTROL_AT)
    store_le64(message, 40, CONTROL_BYTES)
    store_le64(message, IOVEC_AT, libc.address(net.rx, connection * net.rx_bytes + int(record["rx_end"])))
    store_le64(message, IOVEC_AT + 8, free)
    got = libc.recvmsg(fd, base, 0)
    if got > 0:
        record["arrived_ns"] = arrival_ns(net, record)
    return note_read(record, got, now)


@kernel
def arrival_ns(net: Any, record: Any) -> int:
    """The stamp of what recvmsg has just read, in CLOCK_MONOTONIC, never in the future; now if there is none.

    The stamp is of CLOCK_REALTIME. Both clocks are read at most ``CLOCKS_APART_NS`` apart (again, when the thread was
    interrupted between them), so the arrival is late by no more than that, and never early.
    """
    message = net.message
    if load_le64(message, 40) < 32 or load_le32(message, CONTROL_AT + 12) != libc.SO_TIMESTAMPNS:
        return clock.monotonic_ns(net.scratch)
    before = clock.monotonic_ns(net.scratch)
    wall = clock.read(net.scratch, clock.CLOCK_REALTIME)
    now = clock.monotonic_ns(net.scratch)
    while now - before > CLOCKS_APART_NS:
        before = now
        wall = clock.read(net.scratch, clock.CLOCK_REALTIME)
        now = clock.monotonic_ns(net.scratch)
    record["stamped"] = 2
    stamp = load_le64(message, CONTROL_AT + 16) * 1_000_000_000 + load_le64(message, CONTROL_AT + 24)
    return now - max(wall - stamp, 0)


@kernel
def pause(net: Any, connection: int) -> None:
    """The read buffer is full and the protocol waits for room to write: wait for that only.

    ``flush`` goes back to waiting for input once it could send something. When nothing waits to be sent, input is what
    there is to wait for, and nothing changes.
    """
    record = net.connections[connection]
    if record["wants_write"] == 1:
        record["wants_write"] = 2
        control(net, libc.EPOLL_CTL_MOD, int(record["fd"]), libc.EPOLLOUT, connection)


@kernel
def mark_dirty(net: Any, connection: int) -> None:
    """Have ``flush_all`` send what is in the connection's write buffer."""
    record = net.connections[connection]
    if record["dirty"] == 0:
        record["dirty"] = 1
        net.dirty[0] += 1
        net.dirty[net.dirty[0]] = connection


@kernel
def room(net: Any, connection: int) -> int:
    """Free bytes behind the write buffer's content. Moves unsent bytes to the front when that makes room."""
    record = net.connections[connection]
    start, end = int(record["tx_start"]), int(record["tx_end"])
    if start > 0 and (start == end or end > net.tx_bytes // 2):
        base = connection * net.tx_bytes
        copy(net.tx, base, net.tx, base + start, end - start)
        record["tx_start"] = 0
        record["tx_end"] = end - start
        end -= start
    return int(net.tx_bytes - end)


@kernel
def flush(net: Any, connection: int, now: int) -> int:
    """One send of the write buffer. Returns 0, or READ_CLOSED when the connection broke.

    Arms EPOLLOUT when the kernel did not take everything, and disarms it once it did.
    """
    record = net.connections[connection]
    start, end = int(record["tx_start"]), int(record["tx_end"])
    fd = int(record["fd"])
    if start < end:
        at = libc.address(net.tx, connection * net.tx_bytes + start)
        sent = libc.send(fd, at, end - start, libc.MSG_NOSIGNAL)
        if sent < 0:
            error = libc.errno()
            if error != libc.EAGAIN and error != libc.EINTR:
                return READ_CLOSED
            sent = 0
        if sent > 0:
            record["bytes_sent"] += sent
            record["last_sent_ns"] = now
        start += sent
        if start == end:
            start = end = 0
        record["tx_start"] = start
        record["tx_end"] = end
    wants = 1 if start < end else 0
    if wants != record["wants_write"]:
        record["wants_write"] = wants
        control(net, libc.EPOLL_CTL_MOD, fd, WATCHED | (libc.EPOLLOUT if wants else 0), connection)
    return 0
