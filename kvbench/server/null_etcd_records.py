"""State of etcd's null server, beside its connections."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kvbench.server.end_records import GrpcEnd, new_end
from kvbench.server.null_net import VALUE_BYTES_MAX
from kvbench.wire import protobuf

ARENA_BYTES = 256 << 20
"""Memory that is never used is never touched."""
CALLS_EACH = 512
"""Calls that a connection may have at a time."""
REQUEST_BYTES_MAX = 64 << 20

SHARED = np.dtype(
    [
        ("revision", np.int64),
        ("leases", np.int64),
        ("fields", np.int64, (4 * protobuf.FIELDS,)),
        ("inner", np.int64, (4 * protobuf.FIELDS,)),
        ("value_bytes", np.int64),
        ("value", np.uint8, (VALUE_BYTES_MAX,)),
    ],
    align=True,
)
"""Counters, scratch, and the value that every key has."""


class NullEtcd(NamedTuple):
    """The null server."""

    end: GrpcEnd
    shared: npt.NDArray[np.void]
    """SHARED[1]"""


def new_null_etcd(connections: int, value_bytes: int = 256) -> NullEtcd:
    """State for a number of connections. Raises ValueError when a value is larger than VALUE_BYTES_MAX.

    The arena has room for as many answers with a value as one connection has calls: a client that asks for large
    values takes in what it asked for.
    """
    if not 0 <= value_bytes <= VALUE_BYTES_MAX:
        raise ValueError(f"the null server's values have 0 to {VALUE_BYTES_MAX} bytes, not {value_bytes}")
    shared = np.zeros(1, SHARED)
    shared["revision"] = 1
    shared["value_bytes"] = value_bytes
    arena_bytes = ARENA_BYTES + CALLS_EACH * 4 * value_bytes
    return NullEtcd(
        new_end(
            connections,
            connections * CALLS_EACH,
            arena_bytes,
            message_bytes_max=REQUEST_BYTES_MAX,
            held_bytes_max=arena_bytes,
        ),
        shared,
    )
