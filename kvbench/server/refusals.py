"""What a gRPC server itself refuses before any store sees it: statuses and texts, as grpc-go's server words them."""

from enum import IntEnum
from typing import Any

import numpy as np

from kvbench.jit import kernel
from kvbench.rt.buffer import copy
from kvbench.wire import grpc


class Refusal(IntEnum):
    """Why a call is refused; the number is the position in _TEXTS."""

    UNKNOWN_METHOD = 0
    COMPRESSED = 1
    BAD_FLAG = 2
    TOO_LARGE = 3
    """Followed by the size and the limit."""
    NO_MESSAGE = 4
    LIST_TOO_LARGE = 5
    TOO_MANY_CALLS = 6
    NO_MEMORY = 7
    BAD_MESSAGE = 8
    UNREAD = 9
    """The peer does not read a stream's responses as fast as they come."""
    CUSTOM_ORDER = 10
    """RangeStream (etcdserver/api/v3rpc/key.go of etcd 3.7), as the next one."""
    REVISION_FILTERS = 11


UNKNOWN_METHOD, COMPRESSED, BAD_FLAG, TOO_LARGE, NO_MESSAGE, LIST_TOO_LARGE, TOO_MANY_CALLS, NO_MEMORY = range(8)
BAD_MESSAGE, UNREAD, CUSTOM_ORDER, REVISION_FILTERS = 8, 9, 10, 11

_TEXTS = (
    (grpc.UNIMPLEMENTED, "this server does not have the method"),
    (grpc.UNIMPLEMENTED, "grpc: Decompressor is not installed for grpc-encoding"),
    (grpc.INTERNAL, "grpc: received unexpected payload format"),
    (grpc.RESOURCE_EXHAUSTED, "grpc: received message larger than max"),
    (grpc.INTERNAL, "the request ends without a message"),
    (grpc.RESOURCE_EXHAUSTED, "peer header list size exceeded limit"),
    (grpc.RESOURCE_EXHAUSTED, "too many calls at a time"),
    (grpc.RESOURCE_EXHAUSTED, "the server has no memory left for this request or its response"),
    (grpc.INTERNAL, "grpc: error unmarshalling request"),
    (grpc.RESOURCE_EXHAUSTED, "responses are not read as fast as they come"),
    (grpc.UNIMPLEMENTED, "RangeStream does not support custom sort orders"),
    (grpc.UNIMPLEMENTED, "RangeStream does not support revision filters"),
)
_STRIDE = 96
_STATUS_OF = np.array([status for status, _ in _TEXTS], np.int64)
_TEXT = np.frombuffer("".join(text.ljust(_STRIDE) for _, text in _TEXTS).encode(), np.uint8)
_TEXT_BYTES = np.array([len(text) for _, text in _TEXTS], np.int64)


@kernel
def status_of(refusal: int) -> int:
    """The gRPC status of a Refusal."""
    return int(_STATUS_OF[refusal])


@kernel
def write_refusal(text: Any, refusal: int) -> int:
    """Write a Refusal's text to the beginning of ``text``. Returns its length."""
    size = int(_TEXT_BYTES[refusal])
    copy(text, 0, _TEXT, refusal * _STRIDE, size)
    return size


@kernel
def write_number(text: Any, at: int, value: int) -> int:
    """Write a number that is not negative in decimal. Returns its end."""
    digits = 1
    scale = 10
    while digits < 19 and value >= scale:
        digits += 1
        scale *= 10
    for position in range(at + digits - 1, at - 1, -1):
        text[position] = 48 + value % 10
        value //= 10
    return at + digits


@kernel
def write_too_large(text: Any, size: int, limit: int) -> int:
    """TOO_LARGE's text with both numbers. Returns its length."""
    at = write_refusal(text, TOO_LARGE)
    text[at] = 32
    text[at + 1] = 40
    at = write_number(text, at + 2, size)
    text[at] = 32
    text[at + 1] = 118
    text[at + 2] = 115
    text[at + 3] = 46
    text[at + 4] = 32
    at = write_number(text, at + 5, limit)
    text[at] = 41
    return at + 1
