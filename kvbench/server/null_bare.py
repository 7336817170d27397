"""The bare server: answers every so many bytes with so many bytes, and looks at none of them.

The other end of ``load.bare``; together they measure what the kernel's sockets cost for a protocol's traffic.
"""

from typing import Any

from kvbench.jit import kernel
from kvbench.net import table
from kvbench.net.records import OPEN
from kvbench.server import null_net


@kernel
def answer(net: Any, connection: int, request_bytes: int, response_bytes: int) -> None:
    """Turn whole requests in rx into responses in tx, as far as there is room; ``more`` when there was not."""
    row = net.connections[connection]
    waiting = (row["rx_end"] - row["rx_start"]) // request_bytes
    possible = table.room(net, connection) // response_bytes
    count = min(waiting, possible)
    row["rx_start"] += count * request_bytes
    row["tx_end"] += count * response_bytes
    row["more"] = 1 if count < waiting else 0
    if count > 0:
        table.mark_dirty(net, connection)


@kernel
def serve(net: Any, listener: int, ready: Any, stop: Any, request_bytes: int, response_bytes: int) -> int:
    """Answer until ``stop`` (int64[1]) is set. Returns 0, or -errno when epoll cannot be had."""
    code = null_net.begin(net, listener)
    if code < 0:
        return code
    while not null_net.stopped(stop):
        count = null_net.poll(net, listener, ready, 100_000_000)
        while count > 0:
            for position in range(count):
                connection = ready[2 * position]
                if ready[2 * position + 1] == null_net.RECEIVED and net.connections[connection]["state"] == OPEN:
                    answer(net, connection, request_bytes, response_bytes)
            count = null_net.flush_dirty(net, ready)
    table.close_all(net)
    return 0


def serve_bare(listener: int, connections: int, stop: Any, request_bytes: int, response_bytes: int) -> int:
    """Serve on a listening descriptor until ``stop`` (int64[1]) is not 0."""
    net = table.new_net(connections, [], 1 << 16, 1 << 16)
    return int(serve(net, listener, null_net.new_ready(net), stop, request_bytes, response_bytes))
