"""State of a gRPC server's end: connections, calls, and the one arena that all their bytes lie in.

The arena begins with the buffer that every connection is read into, one after the other, and a little room for control
frames; the rest is a pool. A connection holds memory of the pool only while it has something that cannot be done yet:
part of a frame, part of a request, a response that waits for the peer. An idle one costs its records.
"""

from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kvbench.net.records import EVENT_BYTES
from kvbench.server.memory import reserve
from kvbench.wire import etcd_methods, grpc, grpc_pool, http2_records
from kvbench.wire.http2_records import FRAME_BYTES_MAX, FRAME_HEADER_BYTES

RECV_BYTES = 1 << 17
"""Most bytes read from a connection before another one's turn."""
UNREAD_BYTES_MAX = RECV_BYTES + FRAME_BYTES_MAX + FRAME_HEADER_BYTES
CONTROL_AT = UNREAD_BYTES_MAX + RECV_BYTES
"""Where in the arena the frames that answer control frames are written first."""
CONTROL_BYTES = 2048
POOL_AT = (CONTROL_AT + CONTROL_BYTES + 4095) // 4096 * 4096
TX_BYTES_MAX = 1 << 17
"""Most unsent bytes of a connection. Responses leave the upper half to control frames and trailers."""
TX_RESPONSES_MAX = 1 << 16
BLOCK_BYTES_MAX = 64
TEXT_BYTES_MAX = 1024
"""Longest text of a refusal."""
STATUSES = grpc.STATUS_MAX + 1
METHODS_COUNTED = etcd_methods.METHODS + 1
"""The last one stands for all that are not known."""

RING_FIRST = 64
"""Places for streams that a connection begins with; it gets more when they are full."""

CALL_BITS = 24
"""A call's handle is its number, and above it how often the number was used before."""


class Kind(IntEnum):
    """What a connection turned out to be, by its first bytes."""

    UNKNOWN = 0
    GRPC = 1
    HTTP1 = 2
    PEER = 3


class LinkState(IntEnum):
    """Where a connection is in its life."""

    FREE = 0
    OPEN = 1
    ENDING = 2
    """Nothing is read any more; closed once all is sent."""


class EndError(IntEnum):
    """Why a connection is broken off by this end."""

    GONE = -1400
    """The peer closed it, or it broke."""
    CALM = -1401
    """A flood of resets or of frames that carry nothing."""
    NO_MEMORY = -1402
    """The pool has no room for what was read of it."""
    STALLED = -1403
    """The greeting, a frame or a request began and did not come to its end in time."""
    NOT_HTTP = -1404
    """Its first bytes are no protocol that is spoken here."""
    UNSENT = -1405
    """The peer does not read what it is owed."""


GONE, CALM, NO_MEMORY, STALLED, NOT_HTTP, UNSENT = (int(code) for code in EndError)
UNKNOWN, GRPC, HTTP1, PEER = (int(kind) for kind in Kind)
FREE, OPEN, ENDING = (int(state) for state in LinkState)

LINK = np.dtype(
    [
        ("fd", np.int32),
        ("state", np.int32),  # LinkState
        ("kind", np.int32),  # Kind
        ("mask", np.int32),  # what epoll watches it for
        ("dirty", np.int32),  # 1: in the list of connections to flush
        ("blocked", np.int32),  # 1: not read, because what it is owed for control frames is not sent
        ("again", np.int32),  # 1: in the list of connections that have unread bytes to go on with
        ("next", np.int32),  # of the free list
        ("owed", np.int32),  # first call whose response waits for the windows; -1: none
        ("owed_last", np.int32),
        ("calls", np.int32),
        ("tag", np.int64),  # the user's
        ("unread_at", np.int64),  # bytes read and not dealt with, in the pool; -1: none
        ("unread_bytes", np.int64),
        ("tx_at", np.int64),  # unsent bytes: arena[tx_at + tx_start : tx_at + tx_end]; -1: none
        ("tx_room", np.int64),
        ("tx_start", np.int64),
        ("tx_end", np.int64),
        ("held_bytes", np.int64),  # of the pool, by its calls
        ("opened_ns", np.int64),
        ("received_ns", np.int64),
        ("sent_ns", np.int64),  # when it last took something, or was owed nothing when swept
        ("resets", np.int64),  # streams given up by the peer since the last sweep
        ("idle_frames", np.int64),  # HTTP2's count at the last sweep
        ("broken", np.int64),  # not 0: an EndError, with which it is to be dropped
        ("bytes_received", np.int64),
        ("bytes_sent", np.int64),
    ],
    align=True,
)
"""A connection; its HTTP/2 state is apart."""

CALL = np.dtype(
    [
        *((name, np.int64) for name in grpc.ASSEMBLY.names or ()),
        ("generation", np.int64),
        ("link", np.int64),  # its connection, -1: free
        ("stream", np.int64),
        ("method", np.int64),
        ("next", np.int64),  # of the free list, of the connection's list of calls that are owed something
        ("asked", np.int64),  # requests handed out
        ("greeted", np.int64),  # 1: the response's headers are sent
        ("half_closed", np.int64),  # 1: the peer sends nothing more
        ("owed_at", np.int64),  # a response that waits for the windows, in the pool; -1: none
        ("owed_room", np.int64),
        ("owed_size", np.int64),
        ("owed_sent", np.int64),
        ("owed_ends", np.int64),  # 1: trailers follow it
        ("tag", np.int64),  # the user's
        ("waits", np.int64),  # 1: the user wants to know when nothing is owed any more
        ("listed", np.int64),  # 1: in the list of calls that nothing is owed any more
        ("count", np.int64),  # the user's
    ],
    align=True,
)
"""A call on a stream, with its message under way (the fields of grpc.ASSEMBLY)."""

END = np.dtype(
    [
        ("epoll_ready", np.int64),  # events of the last wait
        # limits
        ("held_bytes_max", np.int64),  # of a connection's calls
        ("greeting_ns", np.int64),  # time for a connection's greeting
        ("stall_ns", np.int64),  # time without a byte, inside a frame or a request
        ("resets_max", np.int64),  # streams that a peer may give up between two sweeps of a connection
        ("idle_frames_max", np.int64),  # frames without content between two sweeps
        # lists
        ("link_free", np.int64),
        ("call_free", np.int64),
        ("link_used", np.int64),  # places of ``links`` ever used
        ("call_used", np.int64),
        ("swept", np.int64),
        # the connection being read
        ("link", np.int64),
        ("at", np.int64),
        ("stop", np.int64),
        ("part_call", np.int64),  # the frame being cut into messages: its call; -1: none
        ("part_at", np.int64),
        ("part_end", np.int64),
        ("part_ends", np.int64),
        # what next_request found
        ("call", np.int64),
        ("request_at", np.int64),
        ("request_end", np.int64),
        # the response being written
        ("open_at", np.int64),
        ("open_room", np.int64),
        ("open_way", np.int64),
        # counters
        ("links_open", np.int64),
        ("calls_open", np.int64),
        ("accepted", np.int64),
        ("turned_away", np.int64),  # connections closed at once for lack of a place
        ("dropped", np.int64),  # connections broken off by this end
        ("refused_streams", np.int64),
        ("bytes_received", np.int64),
        ("bytes_sent", np.int64),
        # shared state
        ("pool", grpc_pool.POOL),
        ("message", grpc.MESSAGE),
        ("headers_bytes", np.int64),
        ("trailers_bytes", np.int64),
        ("headers", np.uint8, (BLOCK_BYTES_MAX,)),
        ("trailers", np.uint8, (BLOCK_BYTES_MAX,)),
        ("text", np.uint8, (TEXT_BYTES_MAX,)),
        ("http2", http2_records.HTTP2_SHARED),
        ("settings", http2_records.HTTP2),  # of a new connection
    ],
    align=True,
)
"""What all connections share."""


class GrpcEnd(NamedTuple):
    """A gRPC server's connections and calls."""

    links: npt.NDArray[np.void]
    """LINK[n]"""
    http2: npt.NDArray[np.void]
    """HTTP2[n]"""
    calls: npt.NDArray[np.void]
    """CALL[m]"""
    state: npt.NDArray[np.void]
    """END[1]"""
    arena: npt.NDArray[np.uint8]
    """All bytes."""
    handled: npt.NDArray[np.int64]
    """int64[METHODS_COUNTED * STATUSES]: calls answered, by method and status"""
    dirty: npt.NDArray[np.int32]
    """int32[n + 1]: how many connections have something to send, then which"""
    again: npt.NDArray[np.int32]
    """int32[n + 1]: how many connections have unread bytes that can be dealt with now, then which"""
    writable: npt.NDArray[np.int32]
    """int32[m + 1]: how many calls, of those whose user waits for it, are owed nothing any more, then which"""
    events: npt.NDArray[np.uint8]
    scratch: npt.NDArray[np.uint8]
    epoll: npt.NDArray[np.int32]
    """These three as net.records.Net has them."""


def new_end(
    connections: int,
    calls: int,
    arena_bytes: int = 1 << 30,
    message_bytes_max: int = 2 << 20,
    held_bytes_max: int = 128 << 20,
    streams: int = 1024,
) -> GrpcEnd:
    """State for so many connections and calls at a time. Memory is address space until it is used.

    ``message_bytes_max``: largest request; ``held_bytes_max``: what the calls of one connection may hold of the arena.
    """
    state = np.zeros(1, END)
    # Every connection has these settings when it is accepted: to write them into each record now would touch them all.
    http2_records.set_up(state["settings"], state["http2"], http2_records.SERVER, streams, min(streams, RING_FIRST))
    for name, block in zip(("headers", "trailers"), grpc.response_blocks(), strict=True):
        state[f"{name}_bytes"] = len(block)
        state[name][0, : len(block)] = np.frombuffer(block, np.uint8)
    marks_bytes = (arena_bytes >> grpc_pool.SMALLEST_BITS) + 4095 & ~4095
    state["pool"]["marks"] = POOL_AT
    state["pool"]["base"] = state["pool"]["front"] = POOL_AT + marks_bytes
    state["pool"]["lists"] = -1
    state["pool"]["message_bytes_max"] = message_bytes_max
    state["held_bytes_max"] = held_bytes_max
    state["greeting_ns"] = 5_000_000_000
    state["stall_ns"] = 30_000_000_000
    state["resets_max"] = 5_000
    state["idle_frames_max"] = 50_000
    for name in ("link_free", "call_free", "part_call"):
        state[name] = -1
    return GrpcEnd(
        links=reserve(connections * LINK.itemsize).view(LINK),
        http2=reserve(connections * http2_records.HTTP2.itemsize).view(http2_records.HTTP2),
        calls=reserve(calls * CALL.itemsize).view(CALL),
        state=state,
        arena=reserve(POOL_AT + marks_bytes + arena_bytes),
        handled=np.zeros(METHODS_COUNTED * STATUSES, np.int64),
        dirty=np.zeros(connections + 1, np.int32),
        again=np.zeros(connections + 1, np.int32),
        writable=np.zeros(calls + 1, np.int32),
        events=np.zeros(EVENT_BYTES * 512, np.uint8),
        scratch=np.zeros(64, np.uint8),
        epoll=np.full(1, -1, np.int32),
    )
