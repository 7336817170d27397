"""State of etcd's null server."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kvbench.server.null_net import VALUE_BYTES_MAX
from kvbench.wire import grpc, grpc_pool, http2_records, protobuf
from kvbench.wire.http2_records import RING_MAX

BLOCK_BYTES_MAX = 64
ARENA_BYTES = 64 << 20
"""Memory that is never used is never touched."""

CALL = np.dtype(
    [
        *((name, np.int64) for name in grpc.ASSEMBLY.names or ()),
        ("method", np.int64),
        ("greeted", np.int64),  # 1: the response's headers are sent
        ("watch_id", np.int64),
        ("owed_at", np.int64),  # a response that the windows did not let through, in the pool; -1: none
        ("owed_room", np.int64),  # size that its buffer was taken with
        ("owed_size", np.int64),
        ("owed_sent", np.int64),
        ("owed_ends", np.int64),  # 1: trailers follow it
    ],
    align=True,
)
"""A call on a stream, with its message under way (the fields of grpc.ASSEMBLY)."""

LINK = np.dtype(
    [
        ("owed", np.int64),  # calls with a response that waits for the windows
        ("calls", CALL, (RING_MAX,)),
        ("http2", http2_records.HTTP2),
    ],
    align=True,
)
"""A connection."""

SHARED = np.dtype(
    [
        ("revision", np.int64),
        ("leases", np.int64),
        ("message", grpc.MESSAGE),
        ("pool", grpc_pool.POOL),
        ("fields", np.int64, (4 * protobuf.FIELDS,)),
        ("inner", np.int64, (4 * protobuf.FIELDS,)),
        ("headers_bytes", np.int64),
        ("trailers_bytes", np.int64),
        ("headers", np.uint8, (BLOCK_BYTES_MAX,)),
        ("trailers", np.uint8, (BLOCK_BYTES_MAX,)),
        ("value_bytes", np.int64),
        ("value", np.uint8, (VALUE_BYTES_MAX,)),
        ("http2", http2_records.HTTP2_SHARED),
    ],
    align=True,
)
"""What all connections share: counters, constants, scratch."""


class NullEtcd(NamedTuple):
    """The state of the null server."""

    links: npt.NDArray[np.void]
    """LINK[n]"""
    shared: npt.NDArray[np.void]
    """SHARED[1]"""
    arena: npt.NDArray[np.uint8]
    """Requests in several frames, and responses that wait."""


def new_null_etcd(connections: int, value_bytes: int = 256, streams: int = 1024) -> NullEtcd:
    """State for a number of connections. Raises ValueError when a value is larger than VALUE_BYTES_MAX.

    The arena has room for as many answers with a value as one connection has streams: a client that asks for large
    values takes in what it asked for.
    """
    if not 0 <= value_bytes <= VALUE_BYTES_MAX:
        raise ValueError(f"the null server's values have 0 to {VALUE_BYTES_MAX} bytes, not {value_bytes}")
    links, shared = np.zeros(connections, LINK), np.zeros(1, SHARED)
    http2_records.set_up(links["http2"], shared["http2"], http2_records.SERVER, streams)
    for name, block in zip(("headers", "trailers"), grpc.response_blocks(), strict=True):
        shared[f"{name}_bytes"] = len(block)
        shared[name][0, : len(block)] = np.frombuffer(block, np.uint8)
    shared["revision"] = 1
    shared["value_bytes"] = value_bytes
    shared["pool"]["lists"] = -1
    return NullEtcd(links, shared, np.zeros(ARENA_BYTES + streams * 2 * value_bytes, np.uint8))
