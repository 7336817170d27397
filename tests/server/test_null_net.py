"""The null servers' loop on real sockets: accept, echo, a peer that leaves, a full send buffer."""

import socket
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from kvbench.jit import kernel
from kvbench.net.table import close_all, mark_dirty, new_net
from kvbench.rt.buffer import copy
from kvbench.server import null_net

RX_BYTES = 4096


@kernel
def echo(net: Any, connection: int) -> None:
    """Copy as much of rx to tx as fits; ``more`` when something is left."""
    record = net.connections[connection]
    size = min(record["rx_end"] - record["rx_start"], net.tx_bytes - record["tx_end"])
    base = connection * net.tx_bytes
    copy(net.tx, base + record["tx_end"], net.rx, connection * net.rx_bytes + record["rx_start"], int(size))
    record["rx_start"] += size
    record["tx_end"] += size
    if record["rx_start"] < record["rx_end"]:
        record["more"] = 1
    mark_dirty(net, connection)


@kernel
def serve(net: Any, listener: int, ready: Any, stop: Any, tally: Any) -> None:
    """An echo server; tally counts what poll and flush_dirty said."""
    null_net.begin(net, listener)
    while not null_net.stopped(stop):
        count = null_net.poll(net, listener, ready, 20_000_000)
        while count > 0:
            for i in range(count):
                tally[ready[2 * i + 1]] += 1
                if ready[2 * i + 1] == null_net.RECEIVED:
                    echo(net, ready[2 * i])
            count = null_net.flush_dirty(net, ready)
    close_all(net)


@pytest.fixture
def server() -> Iterator[tuple[int, Any]]:
    listener, port = null_net.listen("127.0.0.1", 0)
    net = new_net(4, [], RX_BYTES, 1024)
    stop, tally = np.zeros(1, np.int64), np.zeros(4, np.int64)
    thread = threading.Thread(target=serve, args=(net, listener, null_net.new_ready(net), stop, tally))
    thread.start()
    yield port, tally
    stop[0] = 1
    thread.join()
    socket.socket(fileno=listener).close()


def receive_exactly(peer: socket.socket, size: int) -> bytes:
    parts = b""
    while len(parts) < size:
        got = peer.recv(size - len(parts))
        assert got, "the server closed the connection"
        parts += got
    return parts


def test_echoes_more_than_the_send_buffer_holds(server: tuple[int, Any]) -> None:
    port, _ = server
    with socket.create_connection(("127.0.0.1", port)) as peer:
        sent = bytes(range(256)) * 100
        sender = threading.Thread(target=peer.sendall, args=(sent,))
        sender.start()
        assert receive_exactly(peer, len(sent)) == sent
        sender.join()


def test_positions_of_closed_connections_are_used_again(server: tuple[int, Any]) -> None:
    port, tally = server
    for round_number in range(6):
        with socket.create_connection(("127.0.0.1", port)) as peer:
            peer.sendall(b"x")
            assert receive_exactly(peer, 1) == b"x"
            assert tally[null_net.OPENED] == round_number + 1


def test_connections_beyond_the_table_are_closed(server: tuple[int, Any]) -> None:
    port, tally = server
    peers = [socket.create_connection(("127.0.0.1", port)) for _ in range(5)]
    for peer in peers[:4]:
        peer.sendall(b"y")
        assert receive_exactly(peer, 1) == b"y"
    peers[4].settimeout(10)
    assert peers[4].recv(1) == b""
    assert tally[null_net.OPENED] == 4
    for peer in peers:
        peer.close()


def test_a_port_in_use_is_an_os_error(server: tuple[int, Any]) -> None:
    port, _ = server
    with pytest.raises(OSError):
        null_net.listen("127.0.0.1", port)
