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
from kvbench.server import null_etcd
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
    server_net: Any
    operations: Any
    payload: Any
    outcomes: Any
    cpu_ns: Any
    """int64[3]: spent in submit, in the server, in receive"""


@kernel
def carry(sender: Any, receiver: Any, connection: int) -> None:
    """Move what one side wrote to the other's rx."""
    here, there = sender.connections[connection], receiver.connections[connection]
    size = int(here["tx_end"]) - int(here["tx_start"])
    to = connection * receiver.rx_bytes + int(there["rx_end"])
    copy(receiver.rx, to, sender.tx, connection * sender.tx_bytes + int(here["tx_start"]), size)
    there["rx_end"] += size
    here["tx_start"] = 0
    here["tx_end"] = 0
    here["dirty"] = 0
    sender.dirty[0] = 0


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
        carry(j.client_net, j.server_net, connection)
    sent = read(scratch, THREAD_CPU_CLOCK)
    for connection in range(connections):
        code = null_etcd.serve_connection(j.server, j.server_net, connection)
        if code < 0:
            return code
        forget_read(j.server_net, connection)
        carry(j.server_net, j.client_net, connection)
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
        server_net=table.new_net(CONNECTIONS, [], 1 << 17, 1 << 17),
        operations=operations,
        payload=payload,
        outcomes=np.zeros(2 * CONNECTIONS * IN_FLIGHT, OUTCOME),
        cpu_ns=np.zeros(3, np.int64),
    )
    for connection in range(CONNECTIONS):
        etcd.opened(j.client, j.client_net, connection, 0)
        null_etcd.begin(j.server, j.server_net, connection)
    carry_both(j)
    assert exchange_many(j, 2, 0) == 0
    assert (j.client_net.connections["ready"] == 1).all()
    return j


def carry_both(j: Joined) -> None:
    """Exchange the greetings."""
    for connection in range(CONNECTIONS):
        carry(j.client_net, j.server_net, connection)
        carry(j.server_net, j.client_net, connection)


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
