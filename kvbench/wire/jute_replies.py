"""What a ZooKeeper server sends: decoders for the client's end, encoders for the server's.

Source: zookeeper.jute (org.apache.zookeeper.proto and .data.Stat), MultiResponse and WatcherEvent. Every ``put_*``
that takes an xid writes a whole frame; the others write records.
"""

from typing import Any

import numpy as np

from kvbench.jit import kernel
from kvbench.rt.buffer import load_be64, store_be32, store_be64
from kvbench.wire.jute import (
    CHECK,
    CREATE,
    CREATE_2,
    DELETE,
    ERROR,
    FRAME_HEADER_BYTES,
    MULTI_HEADER_BYTES,
    NEGATIVE_LENGTH,
    NULL_PATH,
    PASSWORD_BYTES,
    PASSWORD_SIZE,
    REPLY_HEADER_BYTES,
    SET_DATA,
    STAT_BYTES,
    TRAILING_BYTES,
    TRUNCATED,
    UNKNOWN_TYPE,
    XID_NOTIFICATION,
    finish_frame,
    load_i32,
    put_bytes,
    read_length,
    skip_strings,
)

STAT = np.dtype(
    [
        ("czxid", np.int64),
        ("mzxid", np.int64),
        ("ctime_ms", np.int64),
        ("mtime_ms", np.int64),
        ("ephemeral_owner", np.int64),
        ("pzxid", np.int64),
        ("version", np.int32),
        ("cversion", np.int32),
        ("aversion", np.int32),
        ("data_bytes", np.int32),
        ("children", np.int32),
    ],
    align=True,
)

REPLY = np.dtype(
    [
        ("zxid", np.int64),
        ("session_id", np.int64),  # ConnectResponse
        ("timeout_ms", np.int32),  # ConnectResponse; 0: the session asked for has expired
        ("protocol_version", np.int32),
        ("read_only", np.int32),
        ("xid", np.int32),
        ("error", np.int32),  # ZERR_*
        ("data_at", np.int32),  # getData: data; create, sync, notification: path; ConnectResponse: password
        ("data_bytes", np.int32),  # -1: null
        ("stat_at", np.int32),  # where the Stat lies
        ("count", np.int32),  # children, or members of a multi
        ("failed", np.int32),  # multi: the first member that failed, -1: none
        ("failed_error", np.int32),  # multi: its ZERR_*
        ("event_type", np.int32),  # notification: NODE_*, -1: none (a change of the session's state)
        ("event_state", np.int32),
    ],
    align=True,
)
"""What a server's frame decodes to; each decoder sets the fields that its docstring names.

Positions are offsets into the buffer that was decoded.
"""

STAT_MZXID_AT = 8
STAT_VERSION_AT = 32
STAT_PZXID_AT = 60
"""Where fields lie within a Stat on the wire."""


@kernel
def put_connect_response(out: Any, at: int, timeout_ms: int, session_id: int, password: Any, password_at: int) -> int:
    """ConnectResponse of a server that is not read-only."""
    store_be32(out, at + 4, 0)
    store_be32(out, at + 8, timeout_ms)
    store_be64(out, at + 12, session_id)
    end = put_bytes(out, at + 20, password, password_at, PASSWORD_BYTES)
    out[end] = 0
    return finish_frame(out, at, end + 1)


@kernel
def decode_connect_response(buffer: Any, at: int, end: int, into: Any) -> int:
    """ConnectResponse in the frame at ``at`` that ends at ``end``. Returns bytes consumed.

    Sets protocol_version, timeout_ms, session_id, read_only, data_at and data_bytes (the password). Servers before
    3.4 leave the last field, readOnly, out.
    """
    if end - at < 20:
        return TRUNCATED
    into["protocol_version"] = load_i32(buffer, at + 4)
    into["timeout_ms"] = load_i32(buffer, at + 8)
    into["session_id"] = load_be64(buffer, at + 12)
    size = read_length(buffer, at + 20, end)
    if size < -1:
        return size
    if size > PASSWORD_BYTES:
        return PASSWORD_SIZE
    into["data_at"] = at + 24
    into["data_bytes"] = size
    rest = at + 24 + max(size, 0)
    into["read_only"] = 0
    if rest < end:
        into["read_only"] = np.int32(buffer[rest])
        rest += 1
    return rest - at if rest == end else TRAILING_BYTES


@kernel
def put_reply_header(out: Any, at: int, xid: int, zxid: int, error: int) -> int:
    """Room for the frame's length and a ReplyHeader."""
    store_be32(out, at + 4, xid)
    store_be64(out, at + 8, zxid)
    store_be32(out, at + 16, error)
    return at + FRAME_HEADER_BYTES + REPLY_HEADER_BYTES


@kernel
def decode_reply_header(buffer: Any, at: int, end: int, into: Any) -> int:
    """The ReplyHeader of the frame at ``at``: sets xid, zxid, error. Returns bytes consumed, the length included."""
    if end - at < FRAME_HEADER_BYTES + REPLY_HEADER_BYTES:
        return TRUNCATED
    into["xid"] = load_i32(buffer, at + 4)
    into["zxid"] = load_be64(buffer, at + 8)
    into["error"] = load_i32(buffer, at + 16)
    return FRAME_HEADER_BYTES + REPLY_HEADER_BYTES


@kernel
def put_reply(out: Any, at: int, xid: int, zxid: int, error: int) -> int:
    """A reply without a record: delete, ping, closeSession, auth, setWatches, check, and every failure."""
    return finish_frame(out, at, put_reply_header(out, at, xid, zxid, error))


@kernel
def put_path_reply(out: Any, at: int, xid: int, zxid: int, path: Any, path_at: int, path_bytes: int) -> int:
    """The reply of create and sync."""
    end = put_reply_header(out, at, xid, zxid, 0)
    return finish_frame(out, at, put_bytes(out, end, path, path_at, path_bytes))


@kernel
def put_data_reply(out: Any, at: int, xid: int, zxid: int, data: Any, data_at: int, data_bytes: int, stat: Any) -> int:
    """The reply of getData, and of create2 with a path as data; ``stat`` is a STAT."""
    end = put_reply_header(out, at, xid, zxid, 0)
    end = put_bytes(out, end, data, data_at, data_bytes)
    return finish_frame(out, at, put_stat(out, end, stat))


@kernel
def put_stat_reply(out: Any, at: int, xid: int, zxid: int, stat: Any) -> int:
    """The reply of setData and exists; ``stat`` is a STAT."""
    end = put_reply_header(out, at, xid, zxid, 0)
    return finish_frame(out, at, put_stat(out, end, stat))


@kernel
def put_children_reply(
    out: Any, at: int, xid: int, zxid: int, names: Any, places: Any, count: int, stat: Any, with_stat: int
) -> int:
    """The reply of getChildren, or getChildren2 (``with_stat``). ``places`` int64[2 * count]: where in ``names`` each
    child's name begins, and its length."""
    end = put_reply_header(out, at, xid, zxid, 0)
    store_be32(out, end, count)
    end += 4
    for child in range(count):
        end = put_bytes(out, end, names, places[2 * child], places[2 * child + 1])
    if with_stat:
        end = put_stat(out, end, stat)
    return finish_frame(out, at, end)


@kernel
def put_event(out: Any, at: int, zxid: int, kind: int, state: int, path: Any, path_at: int, path_bytes: int) -> int:
    """A notification."""
    end = put_reply_header(out, at, XID_NOTIFICATION, zxid, 0)
    store_be32(out, end, kind)
    store_be32(out, end + 4, state)
    return finish_frame(out, at, put_bytes(out, end + 8, path, path_at, path_bytes))


@kernel
def put_stat(out: Any, at: int, stat: Any) -> int:
    """A STAT as a record: STAT_BYTES."""
    store_be64(out, at, stat["czxid"])
    store_be64(out, at + 8, stat["mzxid"])
    store_be64(out, at + 16, stat["ctime_ms"])
    store_be64(out, at + 24, stat["mtime_ms"])
    store_be32(out, at + 32, int(stat["version"]))
    store_be32(out, at + 36, int(stat["cversion"]))
    store_be32(out, at + 40, int(stat["aversion"]))
    store_be64(out, at + 44, stat["ephemeral_owner"])
    store_be32(out, at + 52, int(stat["data_bytes"]))
    store_be32(out, at + 56, int(stat["children"]))
    store_be64(out, at + 60, stat["pzxid"])
    return at + STAT_BYTES


@kernel
def decode_stat(buffer: Any, at: int, end: int, into: Any) -> int:
    """A Stat, into a STAT. Returns bytes consumed."""
    if end - at < STAT_BYTES:
        return TRUNCATED
    into["czxid"] = load_be64(buffer, at)
    into["mzxid"] = load_be64(buffer, at + 8)
    into["ctime_ms"] = load_be64(buffer, at + 16)
    into["mtime_ms"] = load_be64(buffer, at + 24)
    into["version"] = load_i32(buffer, at + 32)
    into["cversion"] = load_i32(buffer, at + 36)
    into["aversion"] = load_i32(buffer, at + 40)
    into["ephemeral_owner"] = load_be64(buffer, at + 44)
    into["data_bytes"] = load_i32(buffer, at + 52)
    into["children"] = load_i32(buffer, at + 56)
    into["pzxid"] = load_be64(buffer, at + 60)
    return STAT_BYTES


@kernel
def decode_data(buffer: Any, at: int, end: int, into: Any) -> int:
    """The record of getData's reply at ``at``: sets data_at, data_bytes and stat_at. Returns bytes consumed."""
    size = read_length(buffer, at, end)
    if size < -1:
        return size
    stat_at = at + 4 + max(size, 0)
    if end - stat_at < STAT_BYTES:
        return TRUNCATED
    if end - stat_at > STAT_BYTES:
        return TRAILING_BYTES
    into["data_at"] = at + 4
    into["data_bytes"] = size
    into["stat_at"] = stat_at
    return end - at


@kernel
def decode_stat_place(buffer: Any, at: int, end: int, into: Any) -> int:
    """The record of setData's and exists' reply: sets stat_at. Returns bytes consumed."""
    if end - at < STAT_BYTES:
        return TRUNCATED
    if end - at > STAT_BYTES:
        return TRAILING_BYTES
    into["stat_at"] = at
    return STAT_BYTES


@kernel
def decode_path(buffer: Any, at: int, end: int, into: Any) -> int:
    """The record of create's and sync's reply: sets data_at and data_bytes to the path. Returns bytes consumed."""
    size = read_length(buffer, at, end)
    if size == -1:
        return NULL_PATH
    if size < 0:
        return size
    if at + 4 + size != end:
        return TRAILING_BYTES
    into["data_at"] = at + 4
    into["data_bytes"] = size
    return 4 + size


@kernel
def decode_created(buffer: Any, at: int, end: int, into: Any) -> int:
    """The record of create2's reply, a path and a Stat: sets data_at, data_bytes and stat_at."""
    return decode_data(buffer, at, end, into)


@kernel
def decode_children(buffer: Any, at: int, end: int, with_stat: int, into: Any) -> int:
    """The record of getChildren's reply, or getChildren2's (``with_stat``): sets count and stat_at."""
    if end - at < 4:
        return TRUNCATED
    count = load_i32(buffer, at)
    if count < -1:
        return NEGATIVE_LENGTH
    size = skip_strings(buffer, at, end)
    if size < 0:
        return size
    into["count"] = max(count, 0)
    into["stat_at"] = at + size
    consumed = size + (STAT_BYTES if with_stat else 0)
    if consumed > end - at:
        return TRUNCATED
    return consumed if consumed == end - at else TRAILING_BYTES


@kernel
def decode_event(buffer: Any, at: int, end: int, into: Any) -> int:
    """A notification's record, behind the ReplyHeader: sets event_type, event_state, data_at and data_bytes (path)."""
    if end - at < 8:
        return TRUNCATED
    into["event_type"] = load_i32(buffer, at)
    into["event_state"] = load_i32(buffer, at + 4)
    size = read_length(buffer, at + 8, end)
    if size < -1:
        return size
    into["data_at"] = at + 12
    into["data_bytes"] = size
    consumed = 12 + max(size, 0)
    return consumed if at + consumed == end else TRAILING_BYTES


@kernel
def multi_result_size(buffer: Any, at: int, end: int) -> int:
    """Bytes of one result of a multi, header included, or a JuteError."""
    if end - at < MULTI_HEADER_BYTES:
        return TRUNCATED
    kind = load_i32(buffer, at)
    size = 0
    if kind == ERROR:
        size = 4
    elif kind == SET_DATA:
        size = STAT_BYTES
    elif kind == CREATE or kind == CREATE_2:
        path = read_length(buffer, at + MULTI_HEADER_BYTES, end)
        if path < -1:
            return path
        size = 4 + max(path, 0) + (STAT_BYTES if kind == CREATE_2 else 0)
    elif kind != DELETE and kind != CHECK:
        return UNKNOWN_TYPE
    return MULTI_HEADER_BYTES + size if size <= end - at - MULTI_HEADER_BYTES else TRUNCATED


@kernel
def decode_multi(buffer: Any, at: int, end: int, into: Any) -> int:
    """The record of a multi's reply: sets count, failed and failed_error. Returns bytes consumed.

    A multi that failed has an error for each member: 0 for those before the one that failed, then its own, then
    ZERR_RUNTIME_INCONSISTENCY.
    """
    into["count"] = 0
    into["failed"] = -1
    into["failed_error"] = 0
    position = at
    while True:
        if end - position < MULTI_HEADER_BYTES:
            return TRUNCATED
        if buffer[position + 4] != 0:
            position += MULTI_HEADER_BYTES
            return position - at if position == end else TRAILING_BYTES
        size = multi_result_size(buffer, position, end)
        if size < 0:
            return size
        if load_i32(buffer, position) == ERROR:
            error = load_i32(buffer, position + MULTI_HEADER_BYTES)
            if error != 0 and into["failed"] < 0:
                into["failed"] = into["count"]
                into["failed_error"] = error
        into["count"] += 1
        position += size


@kernel
def put_error_result(out: Any, at: int, error: int) -> int:
    """ErrorResult record of one member of a multi that failed, its header included."""
    store_be32(out, at, ERROR)
    out[at + 4] = 0
    store_be32(out, at + 5, error)
    store_be32(out, at + MULTI_HEADER_BYTES, error)
    return at + MULTI_HEADER_BYTES + 4


@kernel
def put_create_result(out: Any, at: int, path: Any, path_at: int, path_bytes: int) -> int:
    """The record of a multi's create that succeeded, its header included."""
    store_be32(out, at, CREATE)
    out[at + 4] = 0
    store_be32(out, at + 5, 0)
    return put_bytes(out, at + MULTI_HEADER_BYTES, path, path_at, path_bytes)


@kernel
def put_set_data_result(out: Any, at: int, stat: Any) -> int:
    """The record of a multi's setData that succeeded, its header included."""
    store_be32(out, at, SET_DATA)
    out[at + 4] = 0
    store_be32(out, at + 5, 0)
    return put_stat(out, at + MULTI_HEADER_BYTES, stat)


@kernel
def put_empty_result(out: Any, at: int, kind: int) -> int:
    """The record of a multi's delete or check (``kind``) that succeeded: its header only."""
    store_be32(out, at, kind)
    out[at + 4] = 0
    store_be32(out, at + 5, 0)
    return at + MULTI_HEADER_BYTES
