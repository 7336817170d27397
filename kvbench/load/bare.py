"""The bare loop: moves the bytes of a protocol's requests and answers, and does nothing else.

It is the yardstick of ``kvbench calibrate``: what the kernel's socket calls alone cost on this machine.
"""

from typing import Any

from kvbench.jit import kernel
from kvbench.load.records import SHARED_COMPLETED, SHARED_STOP
from kvbench.net import table
from kvbench.net.records import CONNECTING, OPEN
from kvbench.rt import atomics, clock


@kernel
def add_requests(net: Any, connection: int, count: int, request_bytes: int) -> None:
    """Put ``count`` requests of no meaning into the write buffer, which has room for all in flight, and send it."""
    table.room(net, connection)
    net.connections[connection]["tx_end"] += count * request_bytes
    table.flush(net, connection, 0)


@kernel
def take_answers(net: Any, connection: int, response_bytes: int) -> int:
    """Read once. Returns how many whole answers there were."""
    if table.read(net, connection, 0) != table.READ_SOME:
        return 0
    row = net.connections[connection]
    count = (row["rx_end"] - row["rx_start"]) // response_bytes
    row["rx_start"] += count * response_bytes
    return int(count)


@kernel
def run_bare(net: Any, shared: Any, request_bytes: int, response_bytes: int, in_flight: int, duration_ns: int) -> int:
    """Keep ``in_flight`` requests on each connection for ``duration_ns``. Returns answers received.

    ``shared`` is int64[SHARED_SLOTS]. Connects first; the time counts from when every connection was asked for.
    """
    table.open_epoll(net)
    for connection in range(len(net.connections)):
        table.start_connect(net, connection, 0)
    completed = 0
    end = clock.monotonic_ns(net.scratch) + duration_ns
    while clock.monotonic_ns(net.scratch) < end and atomics.load(shared, SHARED_STOP) == 0:
        events = table.wait(net, 100_000_000)
        for event in range(events):
            connection = table.event_tag(net, event)
            row = net.connections[connection]
            if row["state"] == CONNECTING:
                if table.finish_connect(net, connection, 0) == OPEN:
                    add_requests(net, connection, in_flight, request_bytes)
            elif row["state"] == OPEN:
                count = take_answers(net, connection, response_bytes)
                if row["eof"] == 1:
                    table.disconnect(net, connection)
                else:
                    add_requests(net, connection, count, request_bytes)
                completed += count
        atomics.store(shared, SHARED_COMPLETED, completed)
    table.close_all(net)
    return completed
