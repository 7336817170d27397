"""What an etcd put costs in user space: submit and receive, joined in memory with the null server, in one kernel."""

from typing import Any, NamedTuple

import numpy as np
import pytest

from kvbench.client import etcd
from kvbench.jit import JIT_ENABLED, kernel
from kvbench.net import table
from kvbench.ops.kinds import Kind
from kvbench.ops.records import OUTCOME
from kvbench.rt.buffer import copy
from kvbench.rt.clock import read
from kvbench.server import null_etcd, sockets
from kvbench.wire import grpc_pool
from tests.client.driver import operation

pytestmark = pytest.mark.slow

CONNECTIONS, IN_FLIGHT = 100, 10
ROUNDS = 300 if JIT_ENABLED else 2
THREAD_CPU_CLOCK = 3


class Joined(NamedTuple):
    """A client and a null server with memory between them."""

    client: Any
    client_net: Any
    server: Any
    operations: Any
    payload: Any
    outcomes: Any
    cpu_ns: Any
    """int64[3]: spent in submit, in the server, in receive"""


@kernel
def carry_requests(net: Any, end: Any, connection: int) -> None:
    """Move what the client wrote to where the server reads."""
    here, there = net.connections[connection], end.links[connection]
    size = int(here["tx_end"]) - int(here["tx_start"])
    at = connection * net.tx_bytes + int(here["tx_start"])
    copy(end.arena, int(there["unread_bytes"]), net.tx, at, size)
    sockets.begin_with(end, connection, size)
    here["tx_start"] = 0
    here["tx_end"] = 0
    here["dirty"] = 0
    net.dirty[0] = 0


@kernel
def carry_answers(end: Any, net: Any, connection: int) -> None:
    """Move what the server wrote to the client's rx."""
    here, there = end.links[connection], net.connections[connection]
    size = int(here["tx_end"]) - int(here["tx_start"])
    if size > 0:
        to = connection * net.rx_bytes + int(there["rx_end"])
        copy(net.rx, to, end.arena, int(here["tx_at"]) + int(here["tx_start"]), size)
        there["rx_end"] += size
        grpc_pool.give(end.state[0]["pool"], end.arena, int(here["tx_at"]), int(here["tx_room"]))
    here["tx_at"] = -1
    here["tx_start"] = 0
    here["tx_end"] = 0
    here["tx_room"] = 0
    here["dirty"] = 0
    end.dirty[0] = 0


@kernel
def forget_read(net: Any, connection: int) -> None:
    """Make room in rx once all of it is read."""
    row = net.connections[connection]
    if row["rx_start"] == row["rx_end"]:
        row["rx_start"] = 0
        row["rx_end"] = 0


@kernel
def exchange(j: Any, in_flight: int) -> int:
    """``in_flight`` puts on each connection, and their answers. Returns the number of outcomes, or a negative code."""
    scratch = j.client_net.scratch
    connections = len(j.client_net.connections)
    start = read(scratch, THREAD_CPU_CLOCK)
    for connection in range(connections):
        for number in range(in_flight):
            j.payload[number] = number
            code = etcd.submit(j.client, j.client_net, connection, number, j.operations, 1, j.payload, 0)
            if code != 1:
                return -1
    sent = read(scratch, THREAD_CPU_CLOCK)
    for connection in range(connections):
        carry_requests(j.client_net, j.server.end, connection)
        code = null_etcd.serve_read(j.server, connection)
        if code < 0:
            return code
        carry_answers(j.server.end, j.client_net, connection)
    served = read(scratch, THREAD_CPU_CLOCK)
    done = 0
    for connection in range(connections):
        done = etcd.receive(j.client, j.client_net, connection, 0, j.outcomes, done)
        if done < 0:
            return done
        forget_read(j.client_net, connection)
    j.cpu_ns[0] += sent - start
    j.cpu_ns[1] += served - sent
    j.cpu_ns[2] += read(scratch, THREAD_CPU_CLOCK) - served
    return done


@kernel
def exchange_many(j: Any, rounds: int, in_flight: int) -> int:
    """``exchange`` again and again. Returns the puts done, or a negative code."""
    done = 0
    for _ in range(rounds):
        code = exchange(j, in_flight)
        if code < 0:
            return code
        for number in range(code):
            if j.outcomes[number]["code"] != 0:
                return -2
        done += code
    return done


@pytest.fixture
def joined() -> Joined:
    operations, payload = operation(Kind.PUT, bytes(256), bytes(256))
    j = Joined(
        client=etcd.new_client(CONNECTIONS, CONNECTIONS * IN_FLIGHT, 1000),
        client_net=table.new_net(CONNECTIONS, []),
        server=null_etcd.new_null_etcd(CONNECTIONS),
        operations=operations,
        payload=payload,
        outcomes=np.zeros(2 * CONNECTIONS * IN_FLIGHT, OUTCOME),
        cpu_ns=np.zeros(3, np.int64),
    )
    for connection in range(CONNECTIONS):
        etcd.opened(j.client, j.client_net, connection, 0)
        sockets.open_link(j.server.end, connection, -1, 0)
    assert exchange_many(j, 3, 0) == 0
    assert (j.client_net.connections["ready"] == 1).all()
    return j


def test_put_in_memory(joined: Joined, benchmark: Any) -> None:
    """The benchmark's time is that of ROUNDS * 1,000 puts with the server's share; extra_info has the parts per put."""
    puts = ROUNDS * CONNECTIONS * IN_FLIGHT
    assert exchange_many(joined, 1, IN_FLIGHT) == CONNECTIONS * IN_FLIGHT
    joined.cpu_ns[:] = 0
    rounds = []

    def run() -> None:
        rounds.append(exchange_many(joined, ROUNDS, IN_FLIGHT))

    benchmark(run)
    assert set(rounds) == {puts}
    for name, spent in zip(("submit_ns", "server_ns", "receive_ns"), joined.cpu_ns, strict=True):
        benchmark.extra_info[name] = round(float(spent) / (puts * len(rounds)), 1)
    assert int(joined.server.shared["revision"][0]) > puts
