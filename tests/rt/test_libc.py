"""System calls from kernels, on real sockets and a real epoll."""

import errno
import os
import select
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kvbench.jit import kernel
from kvbench.net.table import socket_address
from kvbench.rt import libc

EVENT_BYTES = 12


@kernel
def send(fd: int, data: Any, at: int, size: int) -> int:
    """What send returned, or -errno."""
    result = libc.send(fd, libc.address(data, at), size, libc.MSG_NOSIGNAL)
    return -libc.errno() if result < 0 else result


@kernel
def recv(fd: int, data: Any, at: int, size: int) -> int:
    """What recv returned, or -errno."""
    result = libc.recv(fd, libc.address(data, at), size, 0)
    return -libc.errno() if result < 0 else result


@kernel
def connect(address: Any, size: int, family: int) -> int:
    """A descriptor that is connecting, or -errno."""
    fd = libc.socket(family, libc.SOCK_STREAM | libc.SOCK_NONBLOCK | libc.SOCK_CLOEXEC, 0)
    if fd < 0:
        return -libc.errno()
    if libc.connect(fd, libc.address(address, 0), size) < 0 and libc.errno() != libc.EINPROGRESS:
        failed = libc.errno()
        libc.close(fd)
        return -failed
    return fd


@kernel
def pwrite(fd: int, data: Any, at: int, size: int, offset: int) -> int:
    """What pwrite returned, or -errno."""
    result = libc.pwrite(fd, libc.address(data, at), size, offset)
    return -libc.errno() if result < 0 else result


@kernel
def pread(fd: int, data: Any, at: int, size: int, offset: int) -> int:
    """What pread returned, or -errno."""
    result = libc.pread(fd, libc.address(data, at), size, offset)
    return -libc.errno() if result < 0 else result


@kernel
def fdatasync(fd: int) -> int:
    """0, or -errno."""
    return -libc.errno() if libc.fdatasync(fd) < 0 else 0


@kernel
def close(fd: int) -> int:
    """0, or -errno."""
    return -libc.errno() if libc.close(fd) < 0 else 0


@kernel
def accept(fd: int) -> int:
    """A descriptor, or -errno."""
    result = libc.accept4(fd, 0, 0, libc.SOCK_NONBLOCK | libc.SOCK_CLOEXEC)
    return -libc.errno() if result < 0 else result


@kernel
def set_option(fd: int, level: int, name: int, value: Any) -> int:
    return libc.setsockopt(fd, level, name, libc.address(value, 0), 4)


@kernel
def get_option(fd: int, level: int, name: int, value: Any, size: Any) -> int:
    return libc.getsockopt(fd, level, name, libc.address(value, 0), libc.address(size, 0))


@kernel
def open_epoll() -> int:
    return libc.epoll_create1(libc.EPOLL_CLOEXEC)


@kernel
def control(epoll: int, operation: int, fd: int, event: Any) -> int:
    """0, or -errno."""
    return -libc.errno() if libc.epoll_ctl(epoll, operation, fd, libc.address(event, 0)) < 0 else 0


@kernel
def wait(epoll: int, events: Any, most: int, timeout: Any) -> int:
    return libc.epoll_pwait2(epoll, libc.address(events, 0), most, libc.address(timeout, 0), 0)


@kernel
def set_timer_slack(nanoseconds: int) -> int:
    return libc.prctl(libc.PR_SET_TIMERSLACK, nanoseconds, 0, 0, 0)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected, non-blocking stream sockets."""
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    with left, right:
        yield left, right


def test_bytes_arrive_where_they_should(pair: tuple[socket.socket, socket.socket]) -> None:
    left, right = pair
    data = np.arange(100, dtype=np.uint8)
    received = np.zeros(100, np.uint8)
    assert send(left.fileno(), data, 10, 50) == 50
    assert recv(right.fileno(), received, 20, 80) == 50
    assert received.tolist() == [0] * 20 + list(range(10, 60)) + [0] * 30


def test_nothing_to_read_is_eagain(pair: tuple[socket.socket, socket.socket]) -> None:
    assert recv(pair[0].fileno(), np.zeros(8, np.uint8), 0, 8) == -errno.EAGAIN


def test_a_full_pipe_is_eagain(pair: tuple[socket.socket, socket.socket]) -> None:
    data = np.zeros(1 << 20, np.uint8)
    assert 0 < send(pair[0].fileno(), data, 0, len(data)) < len(data)
    assert send(pair[0].fileno(), data, 0, len(data)) == -errno.EAGAIN


def test_writing_to_a_closed_peer_is_an_error_and_no_signal(pair: tuple[socket.socket, socket.socket]) -> None:
    pair[1].close()
    assert send(pair[0].fileno(), np.zeros(8, np.uint8), 0, 8) == -errno.EPIPE
    assert recv(pair[0].fileno(), np.zeros(8, np.uint8), 0, 8) == 0


def test_errors_name_their_cause_and_do_not_stick() -> None:
    reader, writer = os.pipe()
    os.close(writer)
    assert close(-1) == -errno.EBADF
    assert close(reader) == 0
    assert close(-1) == -errno.EBADF


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
def test_connect_and_accept(host: str, family: int) -> None:
    address = np.zeros(28, np.uint8)
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        try:
            listener.bind((host, 0))
        except OSError as error:  # a machine without IPv6: the kernel must say the same
            assert family == socket.AF_INET6
            assert error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
            return
        listener.listen()
        listener.setblocking(False)
        packed = socket_address(host, listener.getsockname()[1])
        address[: len(packed)] = np.frombuffer(packed, np.uint8)
        assert accept(listener.fileno()) == -errno.EAGAIN
        fd = connect(address, len(packed), int(family))
        assert fd >= 0
        select.select([listener], [], [], 10)
        accepted = accept(listener.fileno())
        assert accepted >= 0
        assert os.get_blocking(accepted) is False and os.get_inheritable(accepted) is False
        assert send(fd, np.frombuffer(b"hello", np.uint8).copy(), 0, 5) == 5
        select.select([accepted], [], [], 10)
        assert os.read(accepted, 10) == b"hello"
        assert close(fd) == close(accepted) == 0


def test_files(tmp_path: Path) -> None:
    data, back = np.arange(100, dtype=np.uint8), np.zeros(100, np.uint8)
    with open(tmp_path / "file", "w+b") as file:
        assert pwrite(file.fileno(), data, 10, 50, 1000) == 50
        assert fdatasync(file.fileno()) == 0
        assert pread(file.fileno(), back, 20, 80, 1010) == 40
        assert back.tolist() == [0] * 20 + list(range(20, 60)) + [0] * 40
        assert pread(file.fileno(), back, 0, 80, 1050) == 0
        file.seek(0)
        assert file.read() == bytes(1000) + bytes(range(10, 60))
    reader, writer = os.pipe()
    assert (pwrite(writer, data, 0, 1, 0), fdatasync(writer)) == (-errno.ESPIPE, -errno.EINVAL)
    assert close(reader) == close(writer) == 0
    assert pwrite(writer, data, 0, 1, 0) == fdatasync(writer) == -errno.EBADF


def test_options() -> None:
    one, value, size = (np.frombuffer(struct.pack("<i", i), np.uint8).copy() for i in (1, 0, 4))
    with socket.socket() as plain:
        assert plain.getsockopt(libc.IPPROTO_TCP, libc.TCP_NODELAY) == 0
        assert set_option(plain.fileno(), libc.IPPROTO_TCP, libc.TCP_NODELAY, one) == 0
        assert plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert get_option(plain.fileno(), libc.IPPROTO_TCP, libc.TCP_NODELAY, value, size) == 0
        assert value.tolist() == one.tolist()


def test_epoll(pair: tuple[socket.socket, socket.socket]) -> None:
    left, right = pair
    epoll = open_epoll()
    events = np.zeros(4 * EVENT_BYTES, np.uint8)
    soon = np.frombuffer(struct.pack("<qq", 0, 1_000_000), np.uint8).copy()
    later = np.frombuffer(struct.pack("<qq", 10, 0), np.uint8).copy()
    event = np.frombuffer(struct.pack("<Iq", libc.EPOLLIN, 77), np.uint8).copy()
    try:
        assert control(epoll, libc.EPOLL_CTL_ADD, right.fileno(), event) == 0
        assert control(epoll, libc.EPOLL_CTL_ADD, right.fileno(), event) == -errno.EEXIST
        assert wait(epoll, events, 4, soon) == 0
        left.send(b"x")
        assert wait(epoll, events, 4, later) == 1
        assert struct.unpack("<Iq", bytes(events[:EVENT_BYTES])) == (libc.EPOLLIN, 77)
        left.close()
        assert wait(epoll, events, 4, later) == 1
        assert struct.unpack("<Iq", bytes(events[:EVENT_BYTES])) == (libc.EPOLLIN | libc.EPOLLHUP, 77)
        assert control(epoll, libc.EPOLL_CTL_DEL, right.fileno(), event) == 0
        assert wait(epoll, events, 4, soon) == 0
    finally:
        close(epoll)


def test_timer_slack() -> None:
    assert set_timer_slack(1) == 0
    with open("/proc/self/timerslack_ns") as slack:
        assert int(slack.read()) == 1
    assert set_timer_slack(0) == 0


def test_constants_are_the_systems() -> None:
    assert (libc.SOCK_NONBLOCK, libc.SOCK_CLOEXEC) == (socket.SOCK_NONBLOCK, socket.SOCK_CLOEXEC)
    assert (libc.AF_INET, libc.AF_INET6, libc.SOCK_STREAM) == (socket.AF_INET, socket.AF_INET6, socket.SOCK_STREAM)
    assert (libc.SOL_SOCKET, libc.SO_ERROR, libc.SO_LINGER) == (socket.SOL_SOCKET, socket.SO_ERROR, socket.SO_LINGER)
    assert (libc.SO_REUSEADDR, libc.SO_SNDBUF, libc.SO_RCVBUF) == (
        socket.SO_REUSEADDR, socket.SO_SNDBUF, socket.SO_RCVBUF,
    )  # fmt: skip
    assert (libc.EPOLLIN, libc.EPOLLOUT, libc.EPOLLERR) == (select.EPOLLIN, select.EPOLLOUT, select.EPOLLERR)
    assert (libc.EPOLLHUP, libc.EPOLLRDHUP) == (select.EPOLLHUP, select.EPOLLRDHUP)
    assert libc.EPOLL_CLOEXEC == select.EPOLL_CLOEXEC
    assert socket.MSG_NOSIGNAL == libc.MSG_NOSIGNAL
