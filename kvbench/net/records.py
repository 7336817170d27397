"""Records and arrays of the connection table."""

from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kvbench.rt import libc


class State(IntEnum):
    """Where a connection is in its life."""

    CLOSED = 0
    """No descriptor; ``retry_at_ns`` says when to connect again."""
    CONNECTING = 1
    """connect() is under way."""
    OPEN = 2
    """TCP is up; ``ready`` says whether the protocol's greeting is done too."""


CLOSED, CONNECTING, OPEN = int(State.CLOSED), int(State.CONNECTING), int(State.OPEN)

CONNECTION = np.dtype(
    [
        ("fd", np.int32),  # -1: none
        ("state", np.int32),  # State
        ("ready", np.int32),  # 1: the protocol may submit requests
        ("endpoint", np.int32),  # which address
        ("rx_start", np.int32),  # unread bytes: rx[base + rx_start : base + rx_end], base = connection * rx_bytes
        ("rx_end", np.int32),
        ("tx_start", np.int32),  # unsent bytes: tx[base + tx_start : base + tx_end], base = connection * tx_bytes
        ("tx_end", np.int32),
        ("wants_write", np.int32),  # 1: EPOLLOUT is armed; 2: and nothing else (``table.pause``)
        ("more", np.int32),  # 1: the protocol stopped for lack of outcome space or room in tx; call receive again
        ("eof", np.int32),  # 1: the peer closed its side
        ("dirty", np.int32),  # 1: in the list of connections to flush
        ("failures", np.int32),  # connects that failed in a row
        ("stamped", np.int32),  # 1: the kernel was asked to note when it receives something; 2: and did
        ("retry_at_ns", np.int64),
        ("opened_ns", np.int64),
        ("last_sent_ns", np.int64),
        ("last_received_ns", np.int64),
        ("arrived_ns", np.int64),  # when the kernel received the last that ``table.read_stamped`` read
        ("bytes_sent", np.int64),
        ("bytes_received", np.int64),
        ("reconnects", np.int64),
    ],
    align=True,
)

ADDRESS_BYTES = 28
"""Size of the larger socket address (sockaddr_in6)."""


class Net(NamedTuple):
    """A thread's connections and their buffers."""

    connections: npt.NDArray[np.void]
    """CONNECTION[n]"""
    rx: npt.NDArray[np.uint8]
    """uint8[n * rx_bytes]"""
    tx: npt.NDArray[np.uint8]
    """uint8[n * tx_bytes]"""
    rx_bytes: int
    tx_bytes: int
    addresses: npt.NDArray[np.uint8]
    """uint8[endpoints * ADDRESS_BYTES]: socket addresses as the kernel wants them"""
    address_bytes: npt.NDArray[np.int64]
    """int64[endpoints]: length of each"""
    events: npt.NDArray[np.uint8]
    """uint8[12 * most events]: epoll_event is packed on x86-64"""
    dirty: npt.NDArray[np.int32]
    """int32[n + 1]: how many connections have something to send, then which"""
    scratch: npt.NDArray[np.uint8]
    """uint8[64] for small call arguments"""
    epoll: npt.NDArray[np.int32]
    """int32[1]: the epoll descriptor"""
    message: npt.NDArray[np.uint8]
    """uint8[MESSAGE_BYTES]: what recvmsg is called with"""
    timer: npt.NDArray[np.int64]
    """int64[2]: descriptor of the timer (-1: none), and the CLOCK_MONOTONIC time in ns that it was set to last"""


EVENT_BYTES = 12
IOVEC_AT, CONTROL_AT, CONTROL_BYTES = 56, 72, 64
MESSAGE_BYTES = CONTROL_AT + CONTROL_BYTES
"""A msghdr of 56 bytes, the one iovec that it points to, and room for a control message (socket(7), 64-bit Linux)."""
TIMER_TAG = 1 << 33
"""epoll tag of the timer, beyond all connection numbers."""
WATCHED = libc.EPOLLIN | libc.EPOLLRDHUP
