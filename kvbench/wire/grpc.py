"""gRPC over HTTP/2: what headers and trailers mean, and messages cut out of DATA frames, for both roles.

Follows gRPC's PROTOCOL-HTTP2 document and its table of HTTP statuses. What a header block means is packed into one
int64, so that a block seen before needs no second look (http2_frames.remember).
"""

from enum import IntEnum
from typing import Any

import numpy as np

from kvbench.jit import kernel
from kvbench.rt.buffer import copy, equal, load_be32, store_be32
from kvbench.wire import grpc_pool, hpack


class GrpcError(IntEnum):
    """Why a call's messages cannot be read; each ends the call, not the connection."""

    COMPRESSED = -400
    """A message with the compressed flag, although no encoding was agreed on."""
    BAD_FLAG = -401
    """A message whose first byte is neither 0 nor 1."""
    TOO_LARGE = -402
    """A message larger than the pool allows or has room for."""


COMPRESSED, BAD_FLAG, TOO_LARGE = int(GrpcError.COMPRESSED), int(GrpcError.BAD_FLAG), int(GrpcError.TOO_LARGE)

PREFIX_BYTES = 5
STATUS_MAX = 16

OK, CANCELLED, UNKNOWN, PERMISSION_DENIED, RESOURCE_EXHAUSTED = 0, 1, 2, 7, 8
UNIMPLEMENTED, INTERNAL, UNAVAILABLE, UNAUTHENTICATED = 12, 13, 14, 16
"""gRPC's status codes that this module itself gives."""

_NAMES = b":statusgrpc-statusgrpc-messagecontent-type:path:methodapplication/grpcPOST"
_TEXT = np.frombuffer(_NAMES, np.uint8)
_STATUS, _GRPC_STATUS, _GRPC_MESSAGE = 0, 7, 18
_CONTENT_TYPE, _PATH, _METHOD, _MEDIA_TYPE, _POST = 30, 42, 47, 54, 70

NO_STATUS = 0
HAS_MEDIA_TYPE = 1 << 40
"""Bit of a meaning: the content type is gRPC's."""
HAS_MESSAGE = 1 << 41
"""Bit of a meaning: there is a grpc-message."""


@kernel
def _is(listed: Any, at: int, size: int, name: int, name_bytes: int) -> bool:
    """Whether the decoded text at ``at`` is one of the names above."""
    return size == name_bytes and equal(listed["text"], at, _TEXT, name, name_bytes)


@kernel
def _number(listed: Any, at: int, size: int) -> int:
    """A decimal number of at most 6 digits, or -1."""
    if size == 0 or size > 6:
        return -1
    value = 0
    for position in range(at, at + size):
        digit = int(listed["text"][position]) - 48
        if digit < 0 or digit > 9:
            return -1
        value = value * 10 + digit
    return value


@kernel
def response_meaning(listed: Any, count: int) -> int:
    """What the ``count`` fields just decoded (``listed``: hpack.HEADER_LIST) say as a response's headers or trailers.

    ``http_status_of``, ``grpc_status_of`` and the HAS_ bits read it. A grpc-status that is no known code is UNKNOWN.
    """
    meaning = 0
    for i in range(count):
        field = listed["fields"][i]
        at, name, value = int(field["at"]), int(field["name_bytes"]), int(field["value_bytes"])
        if _is(listed, at, name, _STATUS, 7):
            meaning |= max(_number(listed, at + name, value), 0) << 8
        elif _is(listed, at, name, _GRPC_STATUS, 11):
            status = _number(listed, at + name, value)
            if status < 0 or status > STATUS_MAX:
                status = UNKNOWN
            meaning |= status + 1
        elif _is(listed, at, name, _GRPC_MESSAGE, 12):
            meaning |= HAS_MESSAGE
        elif _is(listed, at, name, _CONTENT_TYPE, 12) and _is(listed, at + name, min(value, 16), _MEDIA_TYPE, 16):
            meaning |= HAS_MEDIA_TYPE
    return meaning


@kernel
def http_status_of(meaning: int) -> int:
    """:status, 0 when there was none."""
    return meaning >> 8 & 0xFFFFF


@kernel
def grpc_status_of(meaning: int) -> int:
    """grpc-status, or -1 when there was none."""
    return (meaning & 255) - 1


@kernel
def status_of_http(http_status: int) -> int:
    """The gRPC status that an HTTP status stands for when there is no grpc-status."""
    if http_status == 400:
        return INTERNAL
    if http_status == 401:
        return UNAUTHENTICATED
    if http_status == 403:
        return PERMISSION_DENIED
    if http_status == 404:
        return UNIMPLEMENTED
    if http_status == 429 or (http_status >= 502 and http_status <= 504):
        return UNAVAILABLE
    return UNKNOWN


@kernel
def status_of_reset(reason: int) -> int:
    """The gRPC status of a stream that ended by RST_STREAM with an HTTP/2 Reason."""
    if reason == 7:
        return UNAVAILABLE
    if reason == 8:
        return CANCELLED
    if reason == 11:
        return RESOURCE_EXHAUSTED
    if reason == 12:
        return PERMISSION_DENIED
    return INTERNAL


@kernel
def _hex(byte: int) -> int:
    """Value of a hexadecimal digit, or -1."""
    if byte >= 48 and byte <= 57:
        return byte - 48
    byte |= 32
    return byte - 87 if byte >= 97 and byte <= 102 else -1


@kernel
def copy_message(listed: Any, count: int, target: Any) -> int:
    """Percent-decode the grpc-message of the fields just decoded into ``target``. Returns its length, cut to fit."""
    size = 0
    for i in range(count):
        field = listed["fields"][i]
        at, name = int(field["at"]), int(field["name_bytes"])
        if not _is(listed, at, name, _GRPC_MESSAGE, 12):
            continue
        at += name
        end = at + int(field["value_bytes"])
        size = 0
        while at < end and size < len(target):
            byte = int(listed["text"][at])
            if byte == 37 and end - at > 2:
                high, low = _hex(int(listed["text"][at + 1])), _hex(int(listed["text"][at + 2]))
                if high >= 0 and low >= 0:
                    byte = high << 4 | low
                    at += 2
            target[size] = byte
            size += 1
            at += 1
    return size


@kernel
def request_path(listed: Any, count: int) -> tuple[int, int]:
    """(where in the list's text the :path of a gRPC request is, its length), or (-1, -1): not a gRPC request.

    A request is gRPC's when its method is POST and its content type begins with application/grpc.
    """
    path, path_bytes = -1, -1
    posted = typed = False
    for i in range(count):
        field = listed["fields"][i]
        at, name, value = int(field["at"]), int(field["name_bytes"]), int(field["value_bytes"])
        if _is(listed, at, name, _PATH, 5):
            path = at + name
            path_bytes = value
        elif _is(listed, at, name, _METHOD, 7):
            posted = _is(listed, at + name, value, _POST, 4)
        elif _is(listed, at, name, _CONTENT_TYPE, 12):
            typed = _is(listed, at + name, min(value, 16), _MEDIA_TYPE, 16)
    if posted and typed:
        return path, path_bytes
    return -1, -1


@kernel
def write_prefix(buf: Any, at: int, size: int) -> int:
    """The 5 bytes before an uncompressed message."""
    buf[at] = 0
    store_be32(buf, at + 1, size)
    return at + PREFIX_BYTES


ASSEMBLY = np.dtype(
    [
        ("prefix_have", np.int64),  # bytes of the prefix seen so far
        ("prefix", np.int64),  # and what they are, big-endian
        ("size", np.int64),  # of the message under way
        ("have", np.int64),  # bytes of it in the pool's buffer
        ("at", np.int64),  # the buffer in the pool's arena, -1: none
        ("room", np.int64),  # its size: grows with what came, whatever size was announced
    ],
    align=True,
)
"""A stream's message that came only in part."""
FIRST_ROOM_BYTES = 1 << 14

MESSAGE = np.dtype(
    [
        ("next", np.int64),  # where in the frame the next message begins
        ("in_pool", np.int64),  # 1: the bytes are in the pool's arena; the caller calls ``release`` after use
        ("at", np.int64),
        ("end", np.int64),
    ],
    align=True,
)
"""A complete message."""


@kernel
def begin(assembly: Any) -> None:
    """Expect the first message of a stream."""
    assembly["prefix_have"] = 0
    assembly["prefix"] = 0
    assembly["at"] = -1


@kernel
def release(assembly: Any, pool: Any, arena: Any) -> None:
    """Give the stream's buffer back, if it has one, and expect a new message."""
    if assembly["at"] >= 0:
        grpc_pool.give(pool, arena, int(assembly["at"]), int(assembly["room"]))
    begin(assembly)


@kernel
def next_message(assembly: Any, pool: Any, arena: Any, buf: Any, at: int, end: int, message: Any) -> int:
    """The next complete message of a stream, given a DATA frame's bytes ``buf[at:end]``.

    Returns 1 and fills ``message``; 0 when all bytes are taken and none is complete; or a negative GrpcError. A
    message within the frame stays where it is; one that spans frames is put together in the pool.
    """
    if assembly["prefix_have"] == 0 and end - at >= PREFIX_BYTES and buf[at] == 0:
        size = load_be32(buf, at + 1)
        at += PREFIX_BYTES
        if end - at >= size:
            message["in_pool"] = 0
            message["at"] = at
            message["end"] = at + size
            message["next"] = at + size
            return 1
        at -= PREFIX_BYTES
    return _assemble(assembly, pool, arena, buf, at, end, message)


@kernel
def _assemble(assembly: Any, pool: Any, arena: Any, buf: Any, at: int, end: int, message: Any) -> int:
    """``next_message`` for a message that does not lie in one frame."""
    while assembly["prefix_have"] < PREFIX_BYTES:
        if at == end:
            return 0
        assembly["prefix"] = assembly["prefix"] << 8 | int(buf[at])
        assembly["prefix_have"] += 1
        at += 1
        if assembly["prefix_have"] == PREFIX_BYTES:
            flag = assembly["prefix"] >> 32
            if flag != 0:
                return COMPRESSED if flag == 1 else BAD_FLAG
            assembly["size"] = assembly["prefix"] & 0xFFFFFFFF
            assembly["have"] = 0
            assembly["room"] = min(int(assembly["size"]), FIRST_ROOM_BYTES)
            most = int(pool["message_bytes_max"])
            if assembly["size"] > (most if most > 0 else len(arena)):
                return TOO_LARGE
            assembly["at"] = grpc_pool.take(pool, arena, int(assembly["room"]))
            if assembly["at"] < 0:
                return TOO_LARGE
    piece = min(end - at, int(assembly["size"]) - int(assembly["have"]))
    if assembly["have"] + piece > assembly["room"] and not _grow(assembly, pool, arena, piece):
        return TOO_LARGE
    start = int(assembly["at"])
    copy(arena, start + assembly["have"], buf, at, piece)
    assembly["have"] += piece
    if assembly["have"] < assembly["size"]:
        return 0
    message["in_pool"] = 1
    message["at"] = start
    message["end"] = start + assembly["size"]
    message["next"] = at + piece
    return 1


@kernel
def _grow(assembly: Any, pool: Any, arena: Any, piece: int) -> bool:
    """Move a message under way to a buffer that holds ``piece`` more bytes. Returns whether there was one."""
    have, room = int(assembly["have"]), int(assembly["room"])
    wanted = min(int(assembly["size"]), max(2 * room, have + piece))
    buffer = grpc_pool.take(pool, arena, wanted)
    if buffer < 0:
        return False
    copy(arena, buffer, arena, int(assembly["at"]), have)
    grpc_pool.give(pool, arena, int(assembly["at"]), room)
    assembly["at"] = buffer
    assembly["room"] = wanted
    return True


def response_blocks() -> tuple[bytes, bytes]:
    """Header blocks of every success, without dynamic table: the response's headers, and the trailers."""
    headers = b"\x88" + hpack.literal(b"content-type", b"application/grpc", False, 31)
    trailers = hpack.literal(b"grpc-status", b"0", False) + hpack.literal(b"grpc-message", b"", False)
    return headers, trailers
