"""What a ZooKeeper client sends: encoders for the client's end, decoders for the server's.

Source: zookeeper.jute (org.apache.zookeeper.proto) and MultiOperationRecord. Every ``put_*`` writes a whole frame,
its length included, unless it says "record"; a key becomes the path "/" + key.
"""

from typing import Any

import numpy as np

from kvbench.jit import kernel
from kvbench.rt.buffer import load_be64, store_be32, store_be64
from kvbench.wire.jute import (
    AUTH,
    CHECK,
    CLOSE_SESSION,
    CREATE,
    CREATE_2,
    DELETE,
    ERROR,
    EXISTS,
    FRAME_HEADER_BYTES,
    GET_CHILDREN,
    GET_CHILDREN_2,
    GET_DATA,
    MULTI,
    MULTI_HEADER_BYTES,
    NULL_PATH,
    OPEN_ACL_BYTES,
    PASSWORD_BYTES,
    PASSWORD_SIZE,
    PING,
    REQUEST_HEADER_BYTES,
    SET_DATA,
    SET_WATCHES,
    SYNC,
    TRAILING_BYTES,
    TRUNCATED,
    UNKNOWN_TYPE,
    XID_AUTH,
    XID_PING,
    XID_SET_WATCHES,
    finish_frame,
    load_i32,
    put_bytes,
    put_open_acl,
    put_path,
    read_length,
    skip_acl,
    skip_strings,
)

CONNECT_REQUEST = np.dtype(
    [
        ("last_zxid", np.int64),
        ("session_id", np.int64),
        ("protocol_version", np.int32),
        ("timeout_ms", np.int32),
        ("password_at", np.int32),
        ("password_bytes", np.int32),
        ("read_only", np.int32),
    ],
    align=True,
)
"""A decoded ConnectRequest; positions are offsets into the buffer it was decoded from."""

REQUEST = np.dtype(
    [
        ("xid", np.int32),
        ("type", np.int32),
        ("path_at", np.int32),
        ("path_bytes", np.int32),  # -1: no path or a null one
        ("data_at", np.int32),
        ("data_bytes", np.int32),  # -1: no data or null
        ("version", np.int32),
        ("flags", np.int32),  # create: kind of node
        ("watch", np.int32),
        ("done", np.int32),  # member of a multi: 1 behind the last one
    ],
    align=True,
)
"""A decoded request, or a member of a multi, whose fields depend on ``type``.

Of a multi's frame ``data_at`` is where its members begin. AUTH has its scheme in path, its credentials in data.
"""

CREATE_BYTES = FRAME_HEADER_BYTES + REQUEST_HEADER_BYTES + 5 + 4 + OPEN_ACL_BYTES + 4
"""Size of a create's frame without the bytes of key and value."""
SET_DATA_BYTES = FRAME_HEADER_BYTES + REQUEST_HEADER_BYTES + 5 + 4 + 4
GET_BYTES = FRAME_HEADER_BYTES + REQUEST_HEADER_BYTES + 5 + 1
"""Size of a getData, exists or getChildren2 frame without the bytes of the key."""
DELETE_BYTES = FRAME_HEADER_BYTES + REQUEST_HEADER_BYTES + 5 + 4
SYNC_BYTES = FRAME_HEADER_BYTES + REQUEST_HEADER_BYTES + 5
PING_BYTES = FRAME_HEADER_BYTES + REQUEST_HEADER_BYTES
MULTI_MEMBER_BYTES = MULTI_HEADER_BYTES + 5 + 4 + OPEN_ACL_BYTES + 4
"""Most bytes of a multi's create or setData without those of key and value."""
MULTI_FRAME_BYTES = FRAME_HEADER_BYTES + REQUEST_HEADER_BYTES + MULTI_HEADER_BYTES
AUTH_BYTES = FRAME_HEADER_BYTES + REQUEST_HEADER_BYTES + 4 + 10 + 4
CONNECT_BYTES = FRAME_HEADER_BYTES + 24 + 4 + PASSWORD_BYTES + 1

_DIGE, _ST = 0x64696765, 0x73740000
"""The bytes of "digest"."""


@kernel
def put_connect(
    out: Any, at: int, last_zxid: int, timeout_ms: int, session_id: int, password: Any, password_at: int
) -> int:
    """ConnectRequest, read-only servers refused. ``password`` has PASSWORD_BYTES, zeros for a new session."""
    store_be32(out, at + 4, 0)
    store_be64(out, at + 8, last_zxid)
    store_be32(out, at + 16, timeout_ms)
    store_be64(out, at + 20, session_id)
    end = put_bytes(out, at + 28, password, password_at, PASSWORD_BYTES)
    out[end] = 0
    return finish_frame(out, at, end + 1)


@kernel
def decode_connect(buffer: Any, at: int, end: int, into: Any) -> int:
    """ConnectRequest in the frame at ``at`` that ends at ``end``, into a CONNECT_REQUEST. Returns bytes consumed.

    Clients before 3.4 leave the last field, readOnly, out.
    """
    if end - at < 28:
        return TRUNCATED
    into["protocol_version"] = load_i32(buffer, at + 4)
    into["last_zxid"] = load_be64(buffer, at + 8)
    into["timeout_ms"] = load_i32(buffer, at + 16)
    into["session_id"] = load_be64(buffer, at + 20)
    size = read_length(buffer, at + 28, end)
    if size < -1:
        return size
    if size > PASSWORD_BYTES:
        return PASSWORD_SIZE
    into["password_at"] = at + 32
    into["password_bytes"] = size
    rest = at + 32 + max(size, 0)
    into["read_only"] = 0
    if rest < end:
        into["read_only"] = np.int32(buffer[rest])
        rest += 1
    return rest - at if rest == end else TRAILING_BYTES


@kernel
def put_header(out: Any, at: int, xid: int, kind: int) -> int:
    """Room for the frame's length and a RequestHeader."""
    store_be32(out, at + 4, xid)
    store_be32(out, at + 8, kind)
    return at + FRAME_HEADER_BYTES + REQUEST_HEADER_BYTES


@kernel
def put_create_record(
    out: Any, at: int, key: Any, key_at: int, key_bytes: int, value: Any, value_at: int, value_bytes: int, flags: int
) -> int:
    """CreateRequest record with an open ACL."""
    end = put_path(out, at, key, key_at, key_bytes)
    end = put_bytes(out, end, value, value_at, value_bytes)
    end = put_open_acl(out, end)
    store_be32(out, end, flags)
    return end + 4


@kernel
def put_create(
    out: Any,
    at: int,
    xid: int,
    key: Any,
    key_at: int,
    key_bytes: int,
    value: Any,
    value_at: int,
    value_bytes: int,
    flags: int,
) -> int:
    """create with an open ACL: CREATE_BYTES + key_bytes + value_bytes. ``put_header`` and ``put_create_record`` make
    a create2."""
    end = put_header(out, at, xid, CREATE)
    end = put_create_record(out, end, key, key_at, key_bytes, value, value_at, value_bytes, flags)
    return finish_frame(out, at, end)


@kernel
def put_set_data_record(
    out: Any, at: int, key: Any, key_at: int, key_bytes: int, value: Any, value_at: int, value_bytes: int, version: int
) -> int:
    """SetDataRequest record; version -1 sets whatever the version is."""
    end = put_path(out, at, key, key_at, key_bytes)
    end = put_bytes(out, end, value, value_at, value_bytes)
    store_be32(out, end, version)
    return end + 4


@kernel
def put_set_data(
    out: Any,
    at: int,
    xid: int,
    key: Any,
    key_at: int,
    key_bytes: int,
    value: Any,
    value_at: int,
    value_bytes: int,
    version: int,
) -> int:
    """setData: SET_DATA_BYTES + key_bytes + value_bytes."""
    end = put_header(out, at, xid, SET_DATA)
    end = put_set_data_record(out, end, key, key_at, key_bytes, value, value_at, value_bytes, version)
    return finish_frame(out, at, end)


@kernel
def put_get(out: Any, at: int, xid: int, kind: int, key: Any, key_at: int, key_bytes: int, watch: int) -> int:
    """exists, getData, getChildren or getChildren2 (``kind``), all {path, watch}: GET_BYTES + key_bytes."""
    end = put_header(out, at, xid, kind)
    end = put_path(out, end, key, key_at, key_bytes)
    out[end] = watch
    return finish_frame(out, at, end + 1)


@kernel
def put_versioned(out: Any, at: int, xid: int, kind: int, key: Any, key_at: int, key_bytes: int, version: int) -> int:
    """delete or check (``kind``), both {path, version}: DELETE_BYTES + key_bytes."""
    end = put_header(out, at, xid, kind)
    end = put_path(out, end, key, key_at, key_bytes)
    store_be32(out, end, version)
    return finish_frame(out, at, end + 4)


@kernel
def put_sync(out: Any, at: int, xid: int, key: Any, key_at: int, key_bytes: int) -> int:
    """sync: SYNC_BYTES + key_bytes."""
    end = put_header(out, at, xid, SYNC)
    end = put_path(out, end, key, key_at, key_bytes)
    return finish_frame(out, at, end)


@kernel
def put_ping(out: Any, at: int) -> int:
    """ping: PING_BYTES."""
    return finish_frame(out, at, put_header(out, at, XID_PING, PING))


@kernel
def put_close_session(out: Any, at: int, xid: int) -> int:
    """closeSession: PING_BYTES."""
    return finish_frame(out, at, put_header(out, at, xid, CLOSE_SESSION))


@kernel
def put_digest_auth(out: Any, at: int, credentials: Any, credentials_at: int, credentials_bytes: int) -> int:
    """AuthPacket of scheme "digest", credentials "user:password": AUTH_BYTES and those of the credentials."""
    end = put_header(out, at, XID_AUTH, AUTH)
    store_be32(out, end, 0)
    store_be32(out, end + 4, 6)
    store_be32(out, end + 8, _DIGE)
    store_be32(out, end + 12, _ST)
    end = put_bytes(out, end + 14, credentials, credentials_at, credentials_bytes)
    return finish_frame(out, at, end)


@kernel
def put_set_watches(out: Any, at: int, last_zxid: int, paths: Any, places: Any, counts: Any) -> int:
    """setWatches. ``counts`` int64[3]: how many data, exist and child watches; ``places`` int64[2 * sum(counts)]:
    where in ``paths`` each path begins and its length, in that order."""
    end = put_header(out, at, XID_SET_WATCHES, SET_WATCHES)
    store_be64(out, end, last_zxid)
    end += 8
    path = 0
    for vector in range(3):
        count = counts[vector]
        store_be32(out, end, count)
        end += 4
        for _ in range(count):
            end = put_bytes(out, end, paths, places[2 * path], places[2 * path + 1])
            path += 1
    return finish_frame(out, at, end)


@kernel
def put_multi_header(out: Any, at: int, kind: int, done: int, error: int) -> int:
    """MultiHeader record, before each member and, with ERROR, 1, -1, behind the last: MULTI_HEADER_BYTES."""
    store_be32(out, at, kind)
    out[at + 4] = done
    store_be32(out, at + 5, error)
    return at + MULTI_HEADER_BYTES


@kernel
def put_multi_end(out: Any, at: int) -> int:
    """The header that ends a multi's request or response."""
    return put_multi_header(out, at, ERROR, 1, -1)


@kernel
def _clear(into: Any) -> None:
    into["path_at"] = 0
    into["path_bytes"] = -1
    into["data_at"] = 0
    into["data_bytes"] = -1
    into["version"] = -1
    into["flags"] = 0
    into["watch"] = 0
    into["done"] = 0


@kernel
def _decode_path(buffer: Any, at: int, end: int, into: Any) -> int:
    size = read_length(buffer, at, end)
    if size == -1:
        return NULL_PATH
    if size < 0:
        return size
    into["path_at"] = at + 4
    into["path_bytes"] = size
    return 4 + size


@kernel
def _decode_data(buffer: Any, at: int, end: int, into: Any) -> int:
    size = read_length(buffer, at, end)
    if size < -1:
        return size
    into["data_at"] = at + 4
    into["data_bytes"] = size
    return 4 + max(size, 0)


@kernel
def _decode_auth(buffer: Any, at: int, end: int, into: Any) -> int:
    if end - at < 4:
        return TRUNCATED
    scheme = _decode_path(buffer, at + 4, end, into)
    if scheme < 0:
        return scheme
    credentials = _decode_data(buffer, at + 4 + scheme, end, into)
    return credentials if credentials < 0 else 4 + scheme + credentials


@kernel
def _decode_watches(buffer: Any, at: int, end: int) -> int:
    position = at + 8
    for _ in range(3):
        size = skip_strings(buffer, position, end)
        if size < 0:
            return size
        position += size
    return position - at


@kernel
def decode_record(buffer: Any, at: int, end: int, into: Any) -> int:
    """The record of a request whose ``type`` is already in ``into``. Returns bytes consumed, or a JuteError."""
    kind = int(into["type"])
    _clear(into)
    if kind == PING or kind == CLOSE_SESSION:
        return 0
    if kind == AUTH:
        return _decode_auth(buffer, at, end, into)
    if kind == SET_WATCHES:
        return _decode_watches(buffer, at, end)
    if kind == MULTI:
        into["data_at"] = at
        into["data_bytes"] = end - at
        return end - at
    path = _decode_path(buffer, at, end, into)
    if path < 0 or kind == SYNC:
        return path
    position = at + path
    if kind == CREATE or kind == CREATE_2 or kind == SET_DATA:
        data = _decode_data(buffer, position, end, into)
        if data < 0:
            return data
        position += data
        if kind != SET_DATA:
            acl = skip_acl(buffer, position, end)
            if acl < 0:
                return acl
            position += acl
        if end - position < 4:
            return TRUNCATED
        if kind == SET_DATA:
            into["version"] = load_i32(buffer, position)
        else:
            into["flags"] = load_i32(buffer, position)
        return position + 4 - at
    if kind == DELETE or kind == CHECK:
        if end - position < 4:
            return TRUNCATED
        into["version"] = load_i32(buffer, position)
        return position + 4 - at
    if kind == GET_DATA or kind == EXISTS or kind == GET_CHILDREN or kind == GET_CHILDREN_2:
        if position >= end:
            return TRUNCATED
        into["watch"] = np.int32(buffer[position])
        return position + 1 - at
    return UNKNOWN_TYPE


@kernel
def decode_request(buffer: Any, at: int, end: int, into: Any) -> int:
    """The request in the frame at ``at`` that ends at ``end``, into a REQUEST. Returns bytes consumed.

    A multi's members are read with ``decode_multi_member`` from its ``data_at`` on.
    """
    if end - at < FRAME_HEADER_BYTES + REQUEST_HEADER_BYTES:
        return TRUNCATED
    into["xid"] = load_i32(buffer, at + 4)
    into["type"] = load_i32(buffer, at + 8)
    body = at + FRAME_HEADER_BYTES + REQUEST_HEADER_BYTES
    size = decode_record(buffer, body, end, into)
    if size < 0:
        return size
    return body + size - at if body + size == end else TRAILING_BYTES


@kernel
def decode_multi_member(buffer: Any, at: int, end: int, into: Any) -> int:
    """One member of a multi, into a REQUEST whose ``done`` is 1 behind the last. Returns bytes consumed."""
    if end - at < MULTI_HEADER_BYTES:
        return TRUNCATED
    into["type"] = load_i32(buffer, at)
    if buffer[at + 4] != 0:
        _clear(into)
        into["done"] = 1
        return MULTI_HEADER_BYTES
    kind = int(into["type"])
    if kind != CREATE and kind != CREATE_2 and kind != SET_DATA and kind != DELETE and kind != CHECK:
        return UNKNOWN_TYPE
    size = decode_record(buffer, at + MULTI_HEADER_BYTES, end, into)
    return size if size < 0 else MULTI_HEADER_BYTES + size
