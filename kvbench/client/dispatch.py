"""Chooses between the protocols' clients by an ``if`` on an int: numba caches no functions passed as arguments.

Both clients' states are always passed; the one not in use is an empty one of the same type.
"""

from typing import Any

from kvbench.client import etcd, table, zookeeper
from kvbench.jit import kernel

ETCD = 1
ZOOKEEPER = 2
_NUMBERS = {"etcd": ETCD, "zookeeper": ZOOKEEPER}
PROTOCOLS = {kind: _NUMBERS[protocol] for kind, protocol in table.PROTOCOLS.items()}
"""Which protocol each kind of target speaks."""


@kernel
def opened(protocol: int, first: Any, second: Any, net: Any, connection: int, now: int) -> int:
    """TCP is up: write the greeting."""
    if protocol == ETCD:
        return int(etcd.opened(first, net, connection, now))
    return int(zookeeper.opened(second, net, connection, now))


@kernel
def submit(
    protocol: int,
    first: Any,
    second: Any,
    net: Any,
    connection: int,
    slot: int,
    operations: Any,
    count: int,
    payload: Any,
    now: int,
) -> int:
    """Encode a request: 1 accepted, 0 blocked, negative: -ErrorCode."""
    if protocol == ETCD:
        return int(etcd.submit(first, net, connection, slot, operations, count, payload, now))
    return int(zookeeper.submit(second, net, connection, slot, operations, count, payload, now))


@kernel
def receive(
    protocol: int, first: Any, second: Any, net: Any, connection: int, now: int, outcomes: Any, count: int
) -> int:
    """Decode what was read: the new number of outcomes, or a negative code."""
    if protocol == ETCD:
        return int(etcd.receive(first, net, connection, now, outcomes, count))
    return int(zookeeper.receive(second, net, connection, now, outcomes, count))


@kernel
def close_session(protocol: int, first: Any, second: Any, net: Any, connection: int, now: int) -> int:
    """The run is over: 1: a farewell is written, after which the server closes the connection; 0: none is due."""
    if protocol == ETCD:
        return 0
    return int(zookeeper.close_session(second, net, connection, now))


@kernel
def cancel(protocol: int, first: Any, second: Any, net: Any, connection: int, slot: int, now: int) -> int:
    """Drop the answer of a request that timed out."""
    if protocol == ETCD:
        return int(etcd.cancel(first, net, connection, slot, now))
    return int(zookeeper.cancel(second, net, connection, slot, now))


@kernel
def tick(protocol: int, first: Any, second: Any, net: Any, connection: int, now: int) -> int:
    """Pings and keep-alives; negative: the connection is dead."""
    if protocol == ETCD:
        return int(etcd.tick(first, net, connection, now))
    return int(zookeeper.tick(second, net, connection, now))


@kernel
def lost(protocol: int, first: Any, second: Any, net: Any, connection: int, outcomes: Any, count: int) -> int:
    """An outcome for each request on a connection that is gone."""
    if protocol == ETCD:
        return int(etcd.lost(first, net, connection, outcomes, count))
    return int(zookeeper.lost(second, net, connection, outcomes, count))
