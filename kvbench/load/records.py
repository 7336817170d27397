"""Records of the load loop."""

from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


class Slot(IntEnum):
    """What the request of a slot is doing."""

    FREE = 0
    """Nobody's (open loop), or its client thinks (closed loop)."""
    WAITING = 1
    """In the waiting line of its connection."""
    SENT = 2
    """In the connection's write buffer, in the kernel, or at the server."""
    WATCHING = 3
    """A watch that stands."""


NEVER_NS = 1 << 62
"""A time that no clock reaches."""
FREE, WAITING, SENT, WATCHING = int(Slot.FREE), int(Slot.WAITING), int(Slot.SENT), int(Slot.WATCHING)

REQUEST = np.dtype(
    [
        ("scheduled_ns", np.int64),
        ("sent_ns", np.int64),  # 0: not sent yet
        ("queued_ns", np.int64),  # WAITING: since when
        ("index", np.int64),
        ("key_index", np.int64),
        ("expected", np.int64),
        ("lease_id", np.int64),  # the lease that this client holds, 0: none
        ("state", np.int32),  # Slot
        ("operation", np.int32),  # position in the phase's mix, which is the recorder's operation
        ("kind", np.int32),  # ops.kinds.Kind
        ("step", np.int32),
        ("connection", np.int32),
        ("next", np.int32),  # the next slot in the same waiting line, -1: none
    ],
    align=True,
)
"""A slot of the request table. Closed loop: slot = client. Watchers have slots behind all others."""

LINE = np.dtype([("head", np.int32), ("tail", np.int32)], align=True)
"""First and last slot of a connection's waiting line, -1: empty."""

PHASE = np.dtype(
    [
        ("start_ns", np.int64),
        ("end_ns", np.int64),  # no request is scheduled at or after this time
        ("count", np.int64),  # requests of the phase over all shares; a share stops before the first index beyond
        ("index", np.int64),  # the next request's index
        ("due_index", np.int64),  # open loop: the request whose due time is ``due_ns``; -1: none yet
        ("due_ns", np.int64),  # open loop: when request ``index`` is due
        ("shares", np.int64),
        ("share", np.int64),
        ("timeout_ns", np.int64),
        ("think_ns", np.int64),
        ("in_flight", np.int64),  # slots that are WAITING or SENT
        ("last_slot", np.int64),  # the slot whose request was issued last
        ("used", np.int64),  # slots from this one on were never used in this phase
        ("free", np.int64),  # open loop: how many slots are free
        ("ready_head", np.int64),  # closed loop with think time: ring of thinking clients
        ("ready_tail", np.int64),
        ("connected", np.int64),
        ("all_connections", np.int64),  # of this share, the watchers' included
        ("inserted", np.int64),  # INSERTs issued by this share
        ("insert_base", np.int64),  # keys that existed before
        ("sweep_ns", np.int64),  # when to look for time-outs next
        ("tick_ns", np.int64),
        ("last_ns", np.int64),  # when the last outcome came
        ("retry_ns", np.int64),  # when to look for connections to connect next
        ("round_robin", np.int64),
        ("cap_hit_ns", np.int64),  # open loop: when requests were last due with no slot free
        ("offered", np.int64),
        ("completed", np.int64),
        ("second_tries", np.int64),
        ("missing", np.int64),
        ("reconnects", np.int64),
        ("standing", np.int64),  # watches that stand
        ("deferred", np.int64),  # times that an answer was left unread until the next request was due
        ("cap_reached", np.int64),
        ("in_flight_max", np.int64),
        ("send_lag_ns_max", np.int64),
        ("closed_loop", np.int32),
        ("stopping", np.int32),  # 1: nothing new is issued
        ("opening", np.int32),  # 1: the phase ends when every connection is ready and every watch stands
        ("closing", np.int32),  # 1: sessions are ended; the phase ends when the servers have closed every connection
        ("end_reason", np.int32),  # END_*
        ("protocol", np.int32),
        ("load_connections", np.int32),  # connections before the watchers' own
        ("clients", np.int32),  # slots before the watchers'
        ("watch_operation", np.int32),  # the recorder's operation of watch events
        ("defers", np.int32),  # 1: answers may be read when the next request is due, see load.loop.may_defer
        ("lease_per_connection", np.int32),  # 1: a lease is the connection's session, and is lost with it
    ],
    align=True,
)
"""A thread's phase: what it has to do and how far it is. One record."""

END_COUNT, END_DURATION, END_STOPPED, END_FAILED = 0, 1, 2, 3
END_REASONS = ("count", "duration", "interrupted", "failed")
"""From the least to the most telling."""

SHARED_STOP, SHARED_OFFERED, SHARED_COMPLETED, SHARED_ERRORS, SHARED_IN_FLIGHT = 0, 1, 2, 3, 4
SHARED_CONNECTED, SHARED_WATCHING, SHARED_DONE, SHARED_TID, SHARED_SLOTS = 5, 6, 7, 8, 16
STOP_NONE, STOP_DRAIN, STOP_NOW = 0, 1, 2


class Loop(NamedTuple):
    """The load loop's own arrays, one set for each thread."""

    phase: npt.NDArray[np.void]
    """PHASE[1]"""
    shared: npt.NDArray[np.int64]
    """int64[SHARED_SLOTS]: counters for Python to read, and its stop flag; through rt.atomics only"""
    requests: npt.NDArray[np.void]
    """REQUEST[slots + watchers]"""
    lines: npt.NDArray[np.void]
    """LINE[connections]"""
    free: npt.NDArray[np.int32]
    """int32[slots]: stack of free slots, PHASE.free of them"""
    ready: npt.NDArray[np.int32]
    """int32[slots]: ring of clients that think, in order of their due time"""
    operations: npt.NDArray[np.void]
    """OPERATION[transaction members + 1]: the request being encoded"""
    payload: npt.NDArray[np.uint8]
    """the bytes of its keys and values"""
    outcomes: npt.NDArray[np.void]
    """OUTCOME[...]: what the last receive decoded"""
    touched: npt.NDArray[np.uint8]
    """uint8[keys]: 1: written by this run; shared by all threads"""
    scratch: npt.NDArray[np.uint8]
    """uint8[16] for the clock"""


class Choices(NamedTuple):
    """The pure functions' parameters: what is sent when, to which key, with which value."""

    keyspace: Any
    values: Any
    mix: Any
    arrival: Any


class Clients(NamedTuple):
    """Both protocols' states; the one not in use is as small as it can be."""

    etcd: Any
    zookeeper: Any
