"""ZooKeeper's wire format, jute: frames, strings and buffers, and the numbers of the protocol.

Source: Apache ZooKeeper's zookeeper-jute (BinaryOutputArchive) and zookeeper.jute. Every frame is a 4-byte big-endian
length and a body. Integers are big-endian; strings (UTF-8) and buffers have a 4-byte length first, -1 for null;
vectors have a 4-byte count first; booleans are one byte.

Encoders (``put_*``) write at an offset and return the next one; the caller has checked the room. Decoders take a
buffer, where to begin and where the frame ends, and return how much they consumed, or a negative ``JuteError``; only
``frame_size`` can ask for more. Positions that decoders report are offsets into the buffer: no byte is copied.
"""

from enum import IntEnum
from typing import Any

from kvbench.jit import kernel
from kvbench.rt.buffer import copy, load_be32, store_be32


class JuteError(IntEnum):
    """Why bytes are not a frame or record of ZooKeeper's protocol."""

    NEGATIVE_FRAME = -600
    """A frame's length is negative."""
    FRAME_TOO_LARGE = -601
    """A frame's length is beyond the limit given."""
    TRUNCATED = -602
    """A record goes on beyond the end of its frame."""
    NEGATIVE_LENGTH = -603
    """A string's, buffer's or vector's length is below -1."""
    TRAILING_BYTES = -604
    """A frame goes on beyond the end of its record."""
    UNKNOWN_TYPE = -605
    """A request of a type that this decoder does not know."""
    NULL_PATH = -606
    """A path is null where one is required."""
    PASSWORD_SIZE = -607
    """A session's password is longer than PASSWORD_BYTES."""


NEGATIVE_FRAME = int(JuteError.NEGATIVE_FRAME)
FRAME_TOO_LARGE = int(JuteError.FRAME_TOO_LARGE)
TRUNCATED = int(JuteError.TRUNCATED)
NEGATIVE_LENGTH = int(JuteError.NEGATIVE_LENGTH)
TRAILING_BYTES = int(JuteError.TRAILING_BYTES)
UNKNOWN_TYPE = int(JuteError.UNKNOWN_TYPE)
NULL_PATH = int(JuteError.NULL_PATH)
PASSWORD_SIZE = int(JuteError.PASSWORD_SIZE)

CREATE, DELETE, EXISTS, GET_DATA, SET_DATA = 1, 2, 3, 4, 5
GET_CHILDREN, SYNC, PING, GET_CHILDREN_2, CHECK, MULTI, CREATE_2 = 8, 9, 11, 12, 13, 14, 15
AUTH, SET_WATCHES, CLOSE_SESSION, ERROR = 100, 101, -11, -1
"""Request types. ERROR is the type of a failed operation's result within a multi."""

XID_NOTIFICATION, XID_PING, XID_AUTH, XID_SET_WATCHES = -1, -2, -4, -8
"""Transaction ids with a meaning of their own; requests count up from 1."""

PERSISTENT, EPHEMERAL, PERSISTENT_SEQUENTIAL, EPHEMERAL_SEQUENTIAL = 0, 1, 2, 3
"""Flags of create."""

NODE_CREATED, NODE_DELETED, NODE_DATA_CHANGED, NODE_CHILDREN_CHANGED = 1, 2, 3, 4
"""Types of notification."""

PERMISSIONS_ALL = 31

ZERR_OK = 0
ZERR_RUNTIME_INCONSISTENCY = -2
ZERR_CONNECTION_LOSS = -4
ZERR_MARSHALLING = -5
ZERR_UNIMPLEMENTED = -6
ZERR_OPERATION_TIMEOUT = -7
ZERR_BAD_ARGUMENTS = -8
ZERR_NO_NODE = -101
ZERR_NO_AUTH = -102
ZERR_BAD_VERSION = -103
ZERR_NO_CHILDREN_FOR_EPHEMERALS = -108
ZERR_NODE_EXISTS = -110
ZERR_NOT_EMPTY = -111
ZERR_SESSION_EXPIRED = -112
ZERR_INVALID_ACL = -114
ZERR_AUTH_FAILED = -115
ZERR_THROTTLED = -127

FRAME_HEADER_BYTES = 4
REQUEST_HEADER_BYTES = 8
REPLY_HEADER_BYTES = 16
STAT_BYTES = 68
MULTI_HEADER_BYTES = 9
OPEN_ACL_BYTES = 27
"""A vector of one ACL: world:anyone may do everything."""
PASSWORD_BYTES = 16
JUTE_MAXBUFFER = 0xFFFFF
"""The largest request that a server takes unless told otherwise."""

_OPEN_ACL_WORLD = 0x776F726C
_OPEN_ACL_ANYONE_1 = 0x64000000
_OPEN_ACL_ANYONE_2 = 0x06616E79
_OPEN_ACL_ANYONE_3 = 0x6F6E6500


@kernel
def load_i32(buffer: Any, at: int) -> int:
    """A signed 32-bit integer."""
    value = load_be32(buffer, at)
    return value - 0x100000000 if value > 0x7FFFFFFF else value


@kernel
def frame_size(buffer: Any, at: int, end: int, limit: int) -> int:
    """Size of the frame at ``at``, its length field included; 0: fewer than 4 bytes are there; negative: JuteError.

    The frame may not be whole yet: compare with ``end - at``. ``limit`` is the most bytes a frame may have.
    """
    if end - at < FRAME_HEADER_BYTES:
        return 0
    size = load_i32(buffer, at)
    if size < 0:
        return NEGATIVE_FRAME
    if size + FRAME_HEADER_BYTES > limit:
        return FRAME_TOO_LARGE
    return size + FRAME_HEADER_BYTES


@kernel
def finish_frame(out: Any, at: int, end: int) -> int:
    """Write the length of the frame that begins at ``at`` and ends at ``end``. Returns ``end``."""
    store_be32(out, at, end - at - FRAME_HEADER_BYTES)
    return end


@kernel
def read_length(buffer: Any, at: int, end: int) -> int:
    """Length of the string or buffer at ``at``: -1 for null, below -1: JuteError. Its bytes lie before ``end``."""
    if end - at < 4:
        return TRUNCATED
    size = load_i32(buffer, at)
    if size < -1:
        return NEGATIVE_LENGTH
    if size > end - at - 4:
        return TRUNCATED
    return size


@kernel
def put_bytes(out: Any, at: int, source: Any, start: int, size: int) -> int:
    """A string or buffer of ``size`` bytes; ``size`` -1 writes null."""
    store_be32(out, at, size)
    if size <= 0:
        return at + 4
    copy(out, at + 4, source, start, size)
    return at + 4 + size


@kernel
def put_path(out: Any, at: int, key: Any, start: int, size: int) -> int:
    """The path of a key: a slash and the key's bytes. Takes 5 bytes more than the key."""
    store_be32(out, at, size + 1)
    out[at + 4] = 47
    copy(out, at + 5, key, start, size)
    return at + 5 + size


@kernel
def put_open_acl(out: Any, at: int) -> int:
    """A vector of one ACL, world:anyone with all permissions. Writes one byte more than OPEN_ACL_BYTES."""
    store_be32(out, at, 1)
    store_be32(out, at + 4, PERMISSIONS_ALL)
    store_be32(out, at + 8, 5)
    store_be32(out, at + 12, _OPEN_ACL_WORLD)
    store_be32(out, at + 16, _OPEN_ACL_ANYONE_1)
    store_be32(out, at + 20, _OPEN_ACL_ANYONE_2)
    store_be32(out, at + 24, _OPEN_ACL_ANYONE_3)
    return at + OPEN_ACL_BYTES


@kernel
def skip_acl(buffer: Any, at: int, end: int) -> int:
    """Bytes of the ACL vector at ``at``, or a JuteError."""
    if end - at < 4:
        return TRUNCATED
    count = load_i32(buffer, at)
    if count < -1:
        return NEGATIVE_LENGTH
    position = at + 4
    for _ in range(count):
        position += 4
        for _part in range(2):
            size = read_length(buffer, position, end)
            if size < -1:
                return size
            position += 4 + max(size, 0)
    return position - at


@kernel
def skip_strings(buffer: Any, at: int, end: int) -> int:
    """Bytes of the vector of strings at ``at``, or a JuteError."""
    if end - at < 4:
        return TRUNCATED
    count = load_i32(buffer, at)
    if count < -1:
        return NEGATIVE_LENGTH
    position = at + 4
    for _ in range(count):
        size = read_length(buffer, position, end)
        if size < -1:
            return size
        position += 4 + max(size, 0)
    return position - at
