"""As much of HTTP/1.1 as /metrics, /health and /version need: one request a connection, its body ignored."""

from typing import Any

from kvbench.jit import kernel
from kvbench.rt.buffer import load_be32

HEAD_BYTES_MAX = 8192
TOO_LARGE = -1

_PRI, _GET, _HEAD, _POST = 0x50524920, 0x47455420, 0x48454144, 0x504F5354
_PUT, _DELETE, _OPTIONS, _PATCH = 0x50555420, 0x44454C45, 0x4F505449, 0x50415443
"""The first four bytes of a connection that speaks HTTP/2, and of the methods of HTTP/1.1."""


@kernel
def is_http2(buf: Any, at: int) -> bool:
    """Whether a connection's first four bytes are those of HTTP/2's preface."""
    return load_be32(buf, at) == _PRI


@kernel
def is_http1(buf: Any, at: int) -> bool:
    """Whether a connection's first four bytes are those of an HTTP/1.1 request."""
    word = load_be32(buf, at)
    if word == _GET or word == _HEAD or word == _POST or word == _PUT:
        return True
    return word == _DELETE or word == _OPTIONS or word == _PATCH


@kernel
def head_bytes(buf: Any, at: int, stop: int) -> int:
    """Length of the request's head, its empty line included; 0: it is not all there; TOO_LARGE."""
    last = min(stop, at + HEAD_BYTES_MAX) - 3
    for position in range(at, last):
        if buf[position] == 13 and load_be32(buf, position) == 0x0D0A0D0A:
            return position + 4 - at
    return TOO_LARGE if stop - at >= HEAD_BYTES_MAX else 0
