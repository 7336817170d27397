"""State of a member's server beside its connections: clock, requests that wait, ways to the other members."""

from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kvbench.net.records import ADDRESS_BYTES
from kvbench.net.table import socket_address
from kvbench.node.records import MEMBERS_MAX
from kvbench.server.memory import reserve

BUSY_NUMBERS = 4
"""handle, place in the arena, bytes, when it came"""
AREAS = 2 * MEMBERS_MAX
"""Connections of other members that are read from at a time: an old one may not be gone yet when a new one comes."""

OUT_TAG = 1 << 33
"""epoll's tag of the way to member n is OUT_TAG + n."""
DISK_TAG, RARE_TAG = 1 << 34, 1 << 35

IDLE, CONNECTING, CONNECTED = 0, 1, 2
"""States of the way to another member."""

WAY = np.dtype(
    [
        ("fd", np.int64),
        ("state", np.int64),
        ("mask", np.int64),
        ("failures", np.int64),
        ("retry_at_ns", np.int64),
        ("begun_ns", np.int64),
        ("address_bytes", np.int64),
        ("bytes_sent", np.int64),
        ("connects", np.int64),
    ],
    align=True,
)
"""The connection to another member, which this one only sends on."""


class Figure(IntEnum):
    """What the loop tells Python of its member once a tick, by position in ``figures``."""

    TERM = 0
    LEADER = 1
    """Its position, -1: none."""
    ROLE = 2
    COMMIT = 3
    APPLIED = 4
    LAST_INDEX = 5
    BASE_INDEX = 6
    DURABLE_INDEX = 7
    REVISION = 8
    COMPACTED = 9
    USED_BYTES = 10
    EXTENT_BYTES = 11
    KEYS = 12
    LEASES = 13
    WATCHERS = 14
    STREAMS = 15
    ALARMS = 16
    """Bits: 1 NOSPACE, 2 CORRUPT."""
    FAILED = 17
    LOADING = 18
    SNAPSHOT_INDEX = 19
    SNAPSHOT_BYTES = 20
    LINKS = 21
    CALLS = 22
    ACCEPTED = 23
    TURNED_AWAY = 24
    DROPPED = 25
    BYTES_RECEIVED = 26
    BYTES_SENT = 27
    POOL_BYTES = 28
    TURNS = 29
    WATCH_EVENTS = 30
    """Responses sent to watchers."""
    FAILED_FILE = 31
    FAILED_NUMBER = 32
    FAILED_OFFSET = 33
    FAILED_ERRNO = 34
    READY = 35
    """1: the member has a leader and has applied what was committed when it started."""
    STRANGERS = 36
    """Connections of what said that it was a member, and was refused."""
    STRANGER_CODE = 37
    """Why the last one was: a PeerError."""


FIGURES = 64

SERVER = np.dtype(
    [
        ("now_ns", np.int64),
        ("tick_ns", np.int64),
        ("tick_at_ns", np.int64),
        ("progress_at_ns", np.int64),
        ("progress_ns", np.int64),  # between two notifications of an idle watch that asked for them
        ("listener", np.int64),
        ("disk_fd", np.int64),
        ("accepting", np.int64),  # 0: the listener is not watched, for lack of descriptors
        ("busy_head", np.int64),
        ("busy_tail", np.int64),
        ("busy_bytes", np.int64),  # of the requests that wait
        ("more", np.int64),  # 1: the member has work left that waits for no event
        ("watching", np.int64),  # 1: watchers are pending that had no turn yet
        ("answers_wait", np.int64),  # 1: an answer of Python's waits for a window
        ("turns", np.int64),
        ("watch_events", np.int64),
        ("stop_sent", np.int64),
        ("area_bytes", np.int64),
        ("areas_used", np.int64, (AREAS,)),  # 1: taken
        ("area_start", np.int64, (AREAS,)),
        ("area_end", np.int64, (AREAS,)),
        ("area_sender", np.int64, (AREAS,)),
        ("trimmed_ns", np.int64),
        ("strangers", np.int64),  # connections of what said it was a member, and was refused
        ("stranger_code", np.int64),  # why the last one was: a PeerError
    ],
    align=True,
)


class Server(NamedTuple):
    """A member's server."""

    state: npt.NDArray[np.void]
    """SERVER[1]"""
    busy: npt.NDArray[np.int64]
    """Requests that the member had no room for yet: a ring of BUSY_NUMBERS each"""
    ways: npt.NDArray[np.void]
    """WAY[MEMBERS_MAX]"""
    addresses: npt.NDArray[np.uint8]
    """uint8[MEMBERS_MAX * ADDRESS_BYTES]"""
    areas: npt.NDArray[np.uint8]
    """uint8[AREAS * area_bytes]: what was read from other members"""
    waiting: npt.NDArray[np.int32]
    """int32[3 * watchers]: watchers that wait for their stream's window: the next one, the one before (-1: none), and
    the stream in whose list the watcher is, plus 1 (0: in none)"""
    waiting_first: npt.NDArray[np.int32]
    """int32[streams]: first one of the list, plus 1"""
    waiting_last: npt.NDArray[np.int32]
    """int32[streams]: last one of the list, where there is a first one"""
    figures: npt.NDArray[np.int64]
    """int64[FIGURES]"""
    stop: npt.NDArray[np.int64]
    """int64[1]: another thread asks the loop to end when it is not 0"""


def new_server(
    listener: int,
    disk_fd: int,
    addresses: list[tuple[str, int]],
    frame_bytes_max: int,
    watchers: int,
    streams: int,
    tick_ns: int = 10_000_000,
    progress_s: float = 600.0,
    busy: int = 1 << 16,
) -> Server:
    """State of a server. ``addresses``: of all members in their order. Raises OSError for one that is no address."""
    state = np.zeros(1, SERVER)
    state["listener"], state["disk_fd"], state["tick_ns"] = listener, disk_fd, tick_ns
    state["progress_ns"] = int(progress_s * 1e9)
    state["accepting"] = 1
    state["area_bytes"] = max(2 * frame_bytes_max, 1 << 20)
    ways = np.zeros(MEMBERS_MAX, WAY)
    ways["fd"] = -1
    flat = np.zeros(MEMBERS_MAX * ADDRESS_BYTES, np.uint8)
    for position, (host, port) in enumerate(addresses):
        packed = socket_address(host, port)
        flat[position * ADDRESS_BYTES :][: len(packed)] = np.frombuffer(packed, np.uint8)
        ways["address_bytes"][position] = len(packed)
    return Server(
        state=state,
        busy=np.zeros(busy * BUSY_NUMBERS, np.int64),
        ways=ways,
        addresses=flat,
        areas=reserve(AREAS * int(state["area_bytes"][0])),
        waiting=reserve(12 * watchers).view(np.int32),
        waiting_first=reserve(4 * streams).view(np.int32),
        waiting_last=reserve(4 * streams).view(np.int32),
        figures=np.zeros(FIGURES, np.int64),
        stop=np.zeros(1, np.int64),
    )
