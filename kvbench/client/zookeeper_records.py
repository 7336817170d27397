"""The state of ZooKeeper's client: sessions, requests in flight, watches; and its codes."""

from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kvbench.wire.jute import JUTE_MAXBUFFER, PASSWORD_BYTES
from kvbench.wire.jute_replies import REPLY


class ZooKeeperCode(IntEnum):
    """Why a connection to ZooKeeper must be broken (beside wire.jute.JuteError)."""

    XID_MISMATCH = -750
    """An answer that is not the next one due: ZooKeeper answers a session's requests in order."""
    SESSION_EXPIRED = -751
    """The server no longer knows the session; the next connection opens a new one."""
    AUTH_REFUSED = -752
    """The server refused the user name and password (digest)."""
    HANDSHAKE_TIMEOUT = -753
    """No session within the session time-out after TCP was up."""
    SERVER_SILENT = -754
    """Nothing received for a session time-out although answers were due: the server has expired the session by now."""
    UNEXPECTED_FRAME = -755
    """A frame when nothing was asked."""


XID_MISMATCH = int(ZooKeeperCode.XID_MISMATCH)
SESSION_EXPIRED = int(ZooKeeperCode.SESSION_EXPIRED)
AUTH_REFUSED = int(ZooKeeperCode.AUTH_REFUSED)
HANDSHAKE_TIMEOUT = int(ZooKeeperCode.HANDSHAKE_TIMEOUT)
SERVER_SILENT = int(ZooKeeperCode.SERVER_SILENT)
UNEXPECTED_FRAME = int(ZooKeeperCode.UNEXPECTED_FRAME)

DETACHED, HANDSHAKE, AUTHENTICATING, ATTACHED, CLOSING = 0, 1, 2, 3, 4
"""Where a session is: no session on this connection; ConnectRequest sent; credentials sent; usable; closeSession
answered, so that the server is about to close the connection."""

DONE, PING, CREATE, SET, READ, SYNC, DELETE, CHILDREN, MULTI = 0, 1, 2, 3, 4, 5, 6, 7, 8
WATCH_READ, WATCH_EXISTS, LEASE_CREATE, CLOSE = 9, 10, 11, 12
"""What a request in flight is."""

IDLE, READING, CHECKING, DUE_READ, DUE_CHECK = 0, 1, 2, 3, 4
"""A watch: stands at the server; getData in flight; exists in flight; getData, exists to be sent when there is room."""

SESSION = np.dtype(
    [
        ("session_id", np.int64),  # 0: none
        ("last_zxid", np.int64),  # highest seen, told to the server when connecting again
        ("skip_bytes", np.int64),  # of a frame larger than the read buffer: bytes still to be dropped
        ("head", np.int64),  # requests in flight: ring[head % size : tail % size]
        ("tail", np.int64),
        ("next_xid", np.int64),
        ("answer_xid", np.int64),  # xid of the answer due next
        ("event_sent_ns", np.int64),  # the event being handed out: when its put was sent,
        ("event_revision", np.int64),  # its node's version + 1,
        ("event_changes", np.int64),  # how many changes it stands for,
        ("events_left", np.int64),  # and how many watchers have not had it yet
        ("phase", np.int32),
        ("timeout_ms", np.int32),  # as granted by the server
        ("watch_first", np.int32),  # chain of the connection's watches, -1: none
        ("watches_due", np.int32),  # how many are DUE_READ or DUE_CHECK
        ("leased", np.int32),  # 1: the session is a lease (or is being opened for one)
        ("lease_slot", np.int32),  # whose LEASE_GRANT waits for the handshake, -1: nobody's
    ],
    align=True,
)

IN_FLIGHT = np.dtype(
    [
        ("key_index", np.int64),  # which key; WATCH_*: which watch
        ("slot", np.int32),  # whose request, -1: nobody's (any more)
        ("step", np.int32),  # the operation's step
        ("action", np.int16),  # what was sent
        ("kind", np.int16),  # ops.kinds.Kind
        ("error", np.int32),  # ZERR_* of the sync that preceded a read
    ],
    align=True,
)

WATCH = np.dtype(
    [
        ("mzxid", np.int64),  # of the value read last; 0: the node was missing
        ("version", np.int64),  # of the value read last
        ("used", np.int32),  # 0: free
        ("next", np.int32),  # next watch of the same connection, -1: none
        ("key_bytes", np.int32),  # its key lies at keys_at + position * key_bytes_max
        ("watchers", np.int32),  # how many watch this path on this connection
        ("state", np.int32),
        ("again", np.int32),  # 1: a notification came while a request was in flight
        ("registering", np.int32),  # 1: the first outcome of a watcher is still to be given
        ("slot", np.int32),  # to this slot, -1: it was cancelled
    ],
    align=True,
)


class ZooKeeperClient(NamedTuple):
    """The client's state for all connections of one thread."""

    sessions: npt.NDArray[np.void]
    """SESSION[connections]"""
    ring: npt.NDArray[np.void]
    """IN_FLIGHT[connections * ring_size]"""
    known: npt.NDArray[np.uint8]
    """uint8[keys], shared by all threads: not 0 where a node is believed to exist.
    A wrong guess costs a second request."""
    watches: npt.NDArray[np.void]
    """WATCH[most watches]"""
    texts: npt.NDArray[np.uint8]
    """uint8[]: passwords of sessions, PASSWORD_BYTES each; at ``keys_at`` the watches' keys, ``key_bytes_max`` each;
    at ``credentials_at`` user:password; at ``scratch_at`` room to build the path of a lease's node"""
    reply: npt.NDArray[np.void]
    """REPLY[1], for decoders"""
    ring_size: int
    """A power of two."""
    keys_at: int
    key_bytes_max: int
    credentials_at: int
    credentials_bytes: int
    """0: no user is set"""
    scratch_at: int
    session_timeout_ms: int
    lease_sessions: int
    """1: a connection opens no session until an operation needs one; LEASE_GRANT opens one that is the lease."""
    request_bytes_max: int
    """The largest request that the server takes."""
    frame_bytes_max: int
    """A longer answer is not one: the connection is broken. Answers beyond the read buffer are skipped up to this."""


FRAME_BYTES_MAX = 1 << 30
LEASE_SUFFIX_BYTES = 17
"""A dash and the session id in 16 hexadecimal digits, behind the key of a lease's ephemeral znode."""


def new_client(
    connections: int,
    in_flight_per_connection: int,
    known: npt.NDArray[np.uint8],
    *,
    session_timeout_ms: int = 30_000,
    user: str = "",
    password: str = "",
    lease_sessions: bool = False,
    watches: int = 0,
    key_bytes_max: int = 1024,
    request_bytes_max: int = JUTE_MAXBUFFER,
    frame_bytes_max: int = FRAME_BYTES_MAX,
) -> ZooKeeperClient:
    """A client without sessions, for as many connections as its net has.

    ``in_flight_per_connection``: most requests on one connection at a time (a linearizable GET is two); more are
    blocked. ``known``: uint8[keys], see ZooKeeperClient. ``watches``: most pairs of connection and watched key.
    """
    ring_size = 4
    while ring_size < in_flight_per_connection:
        ring_size *= 2
    sessions = np.zeros(connections, SESSION)
    sessions["watch_first"] = -1
    sessions["lease_slot"] = -1
    secret = f"{user}:{password}".encode() if user else b""
    keys_at = connections * PASSWORD_BYTES
    credentials_at = keys_at + watches * key_bytes_max
    scratch_at = credentials_at + len(secret)
    texts = np.zeros(scratch_at + key_bytes_max + LEASE_SUFFIX_BYTES, np.uint8)
    texts[credentials_at:scratch_at] = list(secret)
    return ZooKeeperClient(
        sessions=sessions,
        ring=np.zeros(connections * ring_size, IN_FLIGHT),
        known=known,
        watches=np.zeros(watches, WATCH),
        texts=texts,
        reply=np.zeros(1, REPLY),
        ring_size=ring_size,
        keys_at=keys_at,
        key_bytes_max=key_bytes_max,
        credentials_at=credentials_at,
        credentials_bytes=len(secret),
        scratch_at=scratch_at,
        session_timeout_ms=session_timeout_ms,
        lease_sessions=int(lease_sessions),
        request_bytes_max=request_bytes_max,
        frame_bytes_max=frame_bytes_max,
    )
