"""The etcd client's state: a LINK record a connection, with a CALL a stream, and what all connections share.

All of it is records in records, because a kernel gets a record as one pointer without reference counts.
"""

import os
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kvbench.wire import etcd_methods, grpc, grpc_pool, http2_records, protobuf
from kvbench.wire.http2_records import RING_MAX

PING_AFTER_NS = 10_000_000_000
"""Silence of a connection with requests in flight after which it is pinged."""
PING_TIMEOUT_NS = 20_000_000_000
"""A connection that leaves a PING unanswered for so long is dead."""
RESERVE_BYTES = 1024
"""Part of tx that requests leave free for control frames."""
ERROR_BYTES_MAX = 1024
PROMPT_MAX = 64
"""Most requests of a connection that wait to be answered without having been sent."""
POOL_BYTES = 64 << 20
"""Smallest arena of messages larger than a frame; memory that is never used is never touched."""
POOL_SHARE_MAX = 0.25
"""Largest arena, as a share of the machine's memory."""
STREAMS_MIN = 64
"""Streams that a connection has room for, if there are as many slots."""
DROPPED = -2
"""In place of a slot: its request was cancelled, its answer is not wanted."""


class EtcdClientError(IntEnum):
    """Why a connection is given up, beside the errors of http2 and hpack."""

    BUFFERS_TOO_SMALL = -700
    """rx cannot hold the largest frame that a server may send, or tx not the smallest requests."""


BUFFERS_TOO_SMALL = int(EtcdClientError.BUFFERS_TOO_SMALL)

CALL = np.dtype(
    [
        *((name, np.int64) for name in grpc.ASSEMBLY.names or ()),
        ("slot", np.int64),
        ("kind", np.int64),
        ("step", np.int64),
        ("answered", np.int64),  # 1: the response's message came; a watch: it stands
        ("code", np.int64),  # of the operation, if the call's status is OK
        ("revision", np.int64),
        ("lease_id", np.int64),
        ("count", np.int64),
    ],
    align=True,
)
"""A call on a stream: what it is for, its message under way (the fields of grpc.ASSEMBLY), and its answer so far."""

LINK = np.dtype(
    [
        ("unary", np.int64),  # unary calls in flight
        ("large_place", np.int64),  # the call whose message is still being sent, -1: none
        ("large_at", np.int64),  # the message in the pool
        ("large_size", np.int64),
        ("large_sent", np.int64),
        ("keep_alive_place", np.int64),  # the stream of keep-alives, -1: none
        ("keep_alives_sent", np.int64),  # numbers of keep-alives ever sent and answered on this connection
        ("keep_alives_answered", np.int64),
        ("keep_alive_code", np.int64),  # not 0: the stream of keep-alives ended so, those in flight are to be reported
        ("waiting", np.int64),  # 1: outcomes wait to be reported that need no further bytes
        ("broken", np.int64),  # the negative code that the next call of receive returns
        ("prompt", np.int64),  # requests to be answered without having been sent
        ("sweep", np.int64),  # 1: streams that GOAWAY refused are still to be reported
        ("ping_ns", np.int64),  # when the PING that is under way was sent, 0: none
        ("held_place", np.int64),  # a watch's message is held back for lack of outcome space, -1: none
        ("held_done", np.int64),  # how many of its events were reported
        ("held_in_pool", np.int64),
        ("held_at", np.int64),  # the message: in the pool, or in rx counted from rx_start
        ("held_end", np.int64),
        ("held_next", np.int64),  # what follows it in the frame, and the frame's end, counted from rx_start
        ("held_frame_end", np.int64),
        ("table", etcd_methods.TABLE),
        ("prompts", np.int64, (PROMPT_MAX,)),
        ("calls", CALL, (RING_MAX,)),  # in step with http2's streams
        ("keep_alives", np.int64, (RING_MAX,)),  # slots in the order of their keep-alives
        ("http2", http2_records.HTTP2),
    ],
    align=True,
)
"""A connection."""

SHARED = np.dtype(
    [
        ("message", grpc.MESSAGE),
        ("pool", grpc_pool.POOL),
        ("common", etcd_methods.COMMON),
        ("fields", np.int64, (4 * protobuf.FIELDS,)),
        ("error_status", np.int64),
        ("error_bytes", np.int64),
        ("error_text", np.uint8, (ERROR_BYTES_MAX,)),
        ("http2", http2_records.HTTP2_SHARED),
    ],
    align=True,
)
"""What a thread's connections share."""


class EtcdClient(NamedTuple):
    """The client of one load thread."""

    links: npt.NDArray[np.void]
    """LINK[n]"""
    shared: npt.NDArray[np.void]
    """SHARED[1]"""
    arena: npt.NDArray[np.uint8]
    """The pool's memory"""


def new_client(
    connections: int, slots: int, payload_bytes: int, authority: str = "localhost", streams: int = 0
) -> EtcdClient:
    """State for ``connections`` connections that carry requests of ``slots`` slots.

    ``payload_bytes`` is the size of the largest request; the pool, which holds messages larger than a frame for all
    connections together, has room for one in each slot, as far as the machine's memory allows. A response for which it
    has none ends as RESPONSE_TOO_LARGE, a request that is larger than the pool as REQUEST_TOO_LARGE. ``streams`` is how
    many calls a connection takes at once, a power of two from 8 to 1024; 0: four times an even share of the slots.
    Raises ValueError for impossible sizes.
    """
    if streams == 0:
        streams = 1 << (min(max(slots, 6), max(4 * -(-slots // max(connections, 1)), STREAMS_MIN)) + 1).bit_length()
        streams = min(streams, RING_MAX)
    links, shared = np.zeros(connections, LINK), np.zeros(1, SHARED)
    for name in ("large_place", "keep_alive_place", "held_place"):
        links[name] = -1
    http2_records.set_up(links["http2"], shared["http2"], http2_records.CLIENT, streams)
    etcd_methods.set_up(shared["common"], authority)
    shared["pool"]["lists"] = -1
    return EtcdClient(links, shared, np.zeros(pool_bytes(connections + slots, payload_bytes), np.uint8))


def pool_bytes(messages: int, message_bytes: int) -> int:
    """The size of an arena for so many messages at once, each at most so large."""
    most = POOL_SHARE_MAX * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    buffer_bytes = 1 << max((message_bytes + grpc.PREFIX_BYTES - 1).bit_length(), grpc_pool.SMALLEST_BITS)
    return max(POOL_BYTES, 8 * buffer_bytes, min(messages * buffer_bytes, int(most)))


def last_error(client: EtcdClient) -> tuple[int, str]:
    """(gRPC status, message) of the last call that a server refused with a message; (0, "") when none was."""
    shared = client.shared[0]
    text = bytes(shared["error_text"][: int(shared["error_bytes"])])
    return int(shared["error_status"]), text.decode(errors="replace")
