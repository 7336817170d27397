"""How a store refuses a request: one negative number each, with the gRPC status and the text that etcd answers.

Statuses and texts are etcd's (api/v3rpc/rpctypes/error.go of etcd 3.6 and 3.7; its clients match on both), but for
those that say so. ``grpc_status`` and ``write_text`` give kernels what GRPC_STATUS and TEXT give Python. The texts are
plain ASCII without ``%``, so that a grpc-message needs no escapes.
"""

from enum import IntEnum
from typing import Any

import numpy as np

from kvbench.jit import kernel
from kvbench.ops.errors import ErrorCode
from kvbench.rt.buffer import copy

FIRST = -1000


class StoreError(IntEnum):
    """Why a request was not done. The number is FIRST minus the position in _TEXTS."""

    EMPTY_KEY = -1000
    KEY_NOT_FOUND = -1001
    """Put with ignore_value or ignore_lease of a key that is not there; also a request of a Txn that is none."""
    VALUE_PROVIDED = -1002
    LEASE_PROVIDED = -1003
    TOO_MANY_OPERATIONS = -1004
    DUPLICATE_KEY = -1005
    INVALID_SORT_OPTION = -1006
    COMPACTED = -1007
    FUTURE_REVISION = -1008
    NO_SPACE = -1009
    LEASE_NOT_FOUND = -1010
    LEASE_EXISTS = -1011
    LEASE_TTL_TOO_LARGE = -1012
    WATCH_CANCELED = -1013
    MEMBER_NOT_FOUND = -1014
    REQUEST_TOO_LARGE = -1015
    TOO_MANY_REQUESTS = -1016
    NO_LEADER = -1017
    NOT_LEADER = -1018
    LEADER_CHANGED = -1019
    STOPPED = -1020
    TIMEOUT = -1021
    TIMEOUT_LEADER_FAILED = -1022
    TIMEOUT_CONNECTION_LOST = -1023
    TIMEOUT_WAITING_TO_APPLY = -1024
    UNHEALTHY = -1025
    CORRUPT = -1026
    BAD_LEADER_TRANSFEREE = -1027
    NOT_CAPABLE = -1028
    AUTH_NOT_ENABLED = -1029
    CANCELED = -1030
    DEADLINE_EXCEEDED = -1031
    BAD_REQUEST = -1032
    """The request's bytes are no message of its type (the text is this store's own)."""
    UNIMPLEMENTED = -1033
    """A method that this store does not have (the text is this store's own)."""
    RESPONSE_TOO_LARGE = -1034
    """A response larger than the server keeps room for; a write whose response it is has been done (own text)."""
    WATCHER_RANGE_EMPTY = -1035
    """A watch of no key: the text is the reason of a cancelled watch (mvcc/watcher.go), never a call's status."""
    DUPLICATE_WATCH_ID = -1036
    """As WATCHER_RANGE_EMPTY: the watch id that a client chose is taken."""
    TIMEOUT_LEADER_TRANSFER = -1037
    """etcd has no status of its own for it, and so answers UNKNOWN (etcdserver/errors.go, v3rpc/util.go)."""


_TEXTS: tuple[tuple[ErrorCode, str], ...] = (
    (ErrorCode.INVALID_ARGUMENT, "etcdserver: key is not provided"),
    (ErrorCode.INVALID_ARGUMENT, "etcdserver: key not found"),
    (ErrorCode.INVALID_ARGUMENT, "etcdserver: value is provided"),
    (ErrorCode.INVALID_ARGUMENT, "etcdserver: lease is provided"),
    (ErrorCode.INVALID_ARGUMENT, "etcdserver: too many operations in txn request"),
    (ErrorCode.INVALID_ARGUMENT, "etcdserver: duplicate key given in txn request"),
    (ErrorCode.INVALID_ARGUMENT, "etcdserver: invalid sort option"),
    (ErrorCode.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted"),
    (ErrorCode.OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision"),
    (ErrorCode.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded"),
    (ErrorCode.NOT_FOUND, "etcdserver: requested lease not found"),
    (ErrorCode.FAILED_PRECONDITION, "etcdserver: lease already exists"),
    (ErrorCode.OUT_OF_RANGE, "etcdserver: too large lease TTL"),
    (ErrorCode.CANCELLED, "etcdserver: watch canceled"),
    (ErrorCode.NOT_FOUND, "etcdserver: member not found"),
    (ErrorCode.INVALID_ARGUMENT, "etcdserver: request is too large"),
    (ErrorCode.RESOURCE_EXHAUSTED, "etcdserver: too many requests"),
    (ErrorCode.UNAVAILABLE, "etcdserver: no leader"),
    (ErrorCode.FAILED_PRECONDITION, "etcdserver: not leader"),
    (ErrorCode.UNAVAILABLE, "etcdserver: leader changed"),
    (ErrorCode.UNAVAILABLE, "etcdserver: server stopped"),
    (ErrorCode.UNAVAILABLE, "etcdserver: request timed out"),
    (ErrorCode.UNAVAILABLE, "etcdserver: request timed out, possibly due to previous leader failure"),
    (ErrorCode.UNAVAILABLE, "etcdserver: request timed out, possibly due to connection lost"),
    (ErrorCode.UNAVAILABLE, "etcdserver: request timed out, waiting for the applied index took too long"),
    (ErrorCode.UNAVAILABLE, "etcdserver: unhealthy cluster"),
    (ErrorCode.DATA_LOSS, "etcdserver: corrupt cluster"),
    (ErrorCode.FAILED_PRECONDITION, "etcdserver: bad leader transferee"),
    (ErrorCode.FAILED_PRECONDITION, "etcdserver: not capable"),
    (ErrorCode.FAILED_PRECONDITION, "etcdserver: authentication is not enabled"),
    (ErrorCode.CANCELLED, "etcdserver: request canceled"),
    (ErrorCode.DEADLINE_EXCEEDED, "etcdserver: context deadline exceeded"),
    (ErrorCode.INTERNAL, "grpc: error unmarshalling request"),
    (ErrorCode.UNIMPLEMENTED, "method not served here"),
    (ErrorCode.INTERNAL, "response too large"),
    (ErrorCode.INVALID_ARGUMENT, "mvcc: watcher range is empty"),
    (ErrorCode.INVALID_ARGUMENT, "mvcc: duplicate watch ID provided on the WatchStream"),
    (ErrorCode.UNKNOWN, "etcdserver: request timed out, leader transfer took too long"),
)

GRPC_STATUS: dict[int, int] = {int(code): int(_TEXTS[FIRST - code][0]) for code in StoreError}
"""The gRPC status of each StoreError."""
TEXT: dict[int, str] = {int(code): _TEXTS[FIRST - code][1] for code in StoreError}
"""The grpc-message of each StoreError."""

ERRORS = len(_TEXTS)
TEXT_BYTES_MAX = 96
"""No text is longer."""
_STATUS_OF = np.array([int(status) for status, _ in _TEXTS], np.int64)
_TEXT = np.frombuffer("".join(text.ljust(TEXT_BYTES_MAX) for _, text in _TEXTS).encode(), np.uint8)
_TEXT_BYTES = np.array([len(text) for _, text in _TEXTS], np.int64)


@kernel
def is_store_error(code: int) -> bool:
    """Whether ``code`` is a StoreError."""
    return code <= FIRST and code > FIRST - ERRORS


@kernel
def grpc_status(code: int) -> int:
    """The gRPC status of a StoreError."""
    return int(_STATUS_OF[FIRST - code])


@kernel
def text_bytes(code: int) -> int:
    """Length of a StoreError's text, at most TEXT_BYTES_MAX."""
    return int(_TEXT_BYTES[FIRST - code])


@kernel
def write_text(buf: Any, at: int, code: int) -> int:
    """Write a StoreError's text; returns the position behind it."""
    size = int(_TEXT_BYTES[FIRST - code])
    copy(buf, at, _TEXT, (FIRST - code) * TEXT_BYTES_MAX, size)
    return at + size
