"""What the null servers share: listening, accepting, reading and flushing, on the connection table of ``net``.

A null server is a loop of its own around ``poll`` and ``flush_dirty``, because numba cannot cache a kernel that
takes functions as arguments::

    while not stopped(stop):
        count = poll(net, listener, ready, 100_000_000)
        while count > 0:
            for i in range(count):
                connection, what = ready[2 * i], ready[2 * i + 1]
                if what == OPENED: reset the protocol's state of the connection
                elif what == RECEIVED: answer what is in rx, or ``drop`` the connection
                else: it is CLOSED already; forget it
            count = flush_dirty(net, ready)

A protocol that stops because its tx buffer is full sets ``more`` (and has marked the connection dirty); it gets
RECEIVED again once the bytes are gone.
"""

import socket
from typing import Any

import numpy as np

from kvbench.jit import kernel
from kvbench.net import table
from kvbench.net.records import CLOSED, OPEN, WATCHED
from kvbench.rt import libc
from kvbench.rt.atomics import load
from kvbench.rt.clock import monotonic_ns

OPENED, RECEIVED, GONE = 1, 2, 3
"""What ``poll`` says of a connection: newly accepted; has unread bytes; closed by the peer (its state is CLOSED)."""

LISTENER_TAG = 1 << 32
"""epoll tag of the listening socket, beyond all connection numbers."""
BACKLOG = 4096
VALUE_BYTES_MAX = 1 << 20
"""Largest values that reads find."""


def listen(host: str, port: int) -> tuple[int, int]:
    """A listening non-blocking descriptor and its port (``port`` 0: any free one). Raises OSError."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
        bound = int(listener.getsockname()[1])
    except OSError:
        listener.close()
        raise
    return listener.detach(), bound


def new_ready(net: Any) -> Any:
    """The list that ``poll`` and ``flush_dirty`` fill: int64[...], pairs of connection and what happened to it."""
    return np.zeros(2 * (len(net.connections) + 1024), np.int64)


@kernel
def begin(net: Any, listener: int) -> int:
    """Create the epoll descriptor and watch the listening socket. Returns 0, or -errno."""
    code = table.open_epoll(net)
    if code < 0:
        return code
    if table.control(net, libc.EPOLL_CTL_ADD, listener, libc.EPOLLIN, LISTENER_TAG) < 0:
        return -libc.errno()
    return 0


@kernel
def accept(net: Any, listener: int, now: int) -> int:
    """Accept one connection. Returns its position, or -1 when none waits or the table is full."""
    fd = libc.accept4(listener, 0, 0, libc.SOCK_NONBLOCK | libc.SOCK_CLOEXEC)
    if fd < 0:
        return -1
    for connection in range(len(net.connections)):
        record = net.connections[connection]
        if record["state"] == CLOSED:
            table.set_option(net, fd, libc.IPPROTO_TCP, libc.TCP_NODELAY, 1)
            record["fd"] = fd
            record["state"] = OPEN
            record["ready"] = 1
            record["eof"] = 0
            record["opened_ns"] = now
            record["last_received_ns"] = now
            table.control(net, libc.EPOLL_CTL_ADD, fd, WATCHED, connection)
            return connection
    libc.close(fd)
    return -1


@kernel
def poll(net: Any, listener: int, ready: Any, timeout_ns: int) -> int:
    """Wait for at most ``timeout_ns``, accept, read and flush. Returns how many entries of ``ready`` are filled.

    At most one entry a connection, OPENED ones aside, and room for them is what bounds accepts a call.
    """
    happened = table.wait(net, timeout_ns)
    if happened <= 0:
        return 0
    now = monotonic_ns(net.scratch)
    count = 0
    for event in range(happened):
        tag = table.event_tag(net, event)
        if tag == LISTENER_TAG:
            while count + happened - event < len(ready) // 2:
                connection = accept(net, listener, now)
                if connection < 0:
                    break
                ready[2 * count] = connection
                ready[2 * count + 1] = OPENED
                count += 1
            continue
        what = service(net, tag, table.event_mask(net, event), now)
        if what != 0:
            ready[2 * count] = tag
            ready[2 * count + 1] = what
            count += 1
    return count


@kernel
def service(net: Any, connection: int, mask: int, now: int) -> int:
    """Write and read a connection that epoll reported. Returns RECEIVED, GONE or 0: nothing for the protocol."""
    record = net.connections[connection]
    if record["state"] != OPEN:
        return 0
    what = 0
    if mask & libc.EPOLLOUT:
        if table.flush(net, connection, now) < 0:
            table.disconnect(net, connection)
            return GONE
        if record["more"] == 1:
            record["more"] = 0
            what = RECEIVED
    if mask & (libc.EPOLLIN | libc.EPOLLHUP | libc.EPOLLERR | libc.EPOLLRDHUP):
        got = table.read(net, connection, now)
        if got == table.READ_CLOSED:
            table.disconnect(net, connection)
            return GONE
        if got == table.READ_SOME:
            what = RECEIVED
        elif got == table.READ_FULL and record["more"] == 1:
            table.pause(net, connection)
    return what


@kernel
def drop(net: Any, connection: int, now: int) -> None:
    """Break a connection, after one try to send what is already written (an error report to the peer)."""
    table.flush(net, connection, now)
    table.disconnect(net, connection)


@kernel
def flush_dirty(net: Any, ready: Any) -> int:
    """Send what was written since the last call. Returns how many entries of ``ready`` it filled.

    GONE: the connection broke and is closed. RECEIVED: it had stopped with ``more``, and there is room again.
    """
    total = int(net.dirty[0])
    if total == 0:
        return 0
    now = monotonic_ns(net.scratch)
    net.dirty[0] = 0
    count = 0
    for i in range(1, total + 1):
        connection = int(net.dirty[i])
        record = net.connections[connection]
        record["dirty"] = 0
        if record["state"] != OPEN:
            continue
        what = 0
        if table.flush(net, connection, now) < 0:
            table.disconnect(net, connection)
            what = GONE
        elif record["more"] == 1 and record["wants_write"] == 0:
            record["more"] = 0
            what = RECEIVED
        if what != 0:
            ready[2 * count] = connection
            ready[2 * count + 1] = what
            count += 1
    return count


@kernel
def stopped(stop: Any) -> bool:
    """Whether the flag (int64[1], set by another thread) asks the loop to end."""
    return load(stop, 0) != 0
