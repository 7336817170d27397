"""What a log entry is: a fixed prefix, chosen by the leader, and behind it a request's bytes as they came.

The prefix has ENTRY_PREFIX's fields, little-endian. The log stores an entry without looking into it; the store applies
it; the node finds by origin, boot and request who waits for its answer.
"""

from enum import IntEnum
from typing import Any

import numpy as np

from kvbench.jit import kernel
from kvbench.rt.buffer import load_le32, load_le64, store_le32, store_le64


class EntryKind(IntEnum):
    """What the bytes behind the prefix are."""

    NOOP = 0
    """Nothing: a new leader's first entry."""
    PUT = 1
    DELETE_RANGE = 2
    TXN = 3
    COMPACT = 4
    LEASE_GRANT = 5
    LEASE_REVOKE = 6
    ALARM = 7


NOOP, PUT, DELETE_RANGE, TXN, COMPACT, LEASE_GRANT, LEASE_REVOKE, ALARM = (int(kind) for kind in EntryKind)

ENTRY_PREFIX = np.dtype(
    [
        ("kind", np.uint8),  # EntryKind
        ("origin", np.uint8),  # position of the member whose client waits for the answer, or NO_ORIGIN
        ("reserved", np.uint16),  # 0
        ("boot", np.uint32),  # which start of the origin
        ("request", np.int64),  # the origin's number of the request since that start
        ("time_ns", np.int64),  # the leader's wall clock when it proposed
        ("lease_id", np.int64),  # LEASE_GRANT without an id: the one that the leader chose
    ],
    align=True,
)
PREFIX_BYTES = 32
NO_ORIGIN = 255


@kernel
def write_prefix(
    buf: Any, at: int, kind: int, origin: int, boot: int, request: int, time_ns: int, lease_id: int
) -> int:
    """Write PREFIX_BYTES; returns the position behind them."""
    store_le32(buf, at, kind | origin << 8)
    store_le32(buf, at + 4, boot)
    store_le64(buf, at + 8, request)
    store_le64(buf, at + 16, time_ns)
    store_le64(buf, at + 24, lease_id)
    return at + PREFIX_BYTES


@kernel
def kind_of(buf: Any, at: int) -> int:
    """EntryKind of the entry whose prefix is at ``at``."""
    return int(buf[at])


@kernel
def origin_of(buf: Any, at: int) -> int:
    """Position of the member whose client waits, or NO_ORIGIN."""
    return int(buf[at + 1])


@kernel
def boot_of(buf: Any, at: int) -> int:
    """Which start of the origin, 0 .. 2**32 - 1."""
    return load_le32(buf, at + 4)


@kernel
def request_of(buf: Any, at: int) -> int:
    """The origin's number of the request."""
    return load_le64(buf, at + 8)


@kernel
def time_of(buf: Any, at: int) -> int:
    """The leader's wall clock in ns when it proposed the entry."""
    return load_le64(buf, at + 16)


@kernel
def lease_of(buf: Any, at: int) -> int:
    """The lease id that the leader chose, 0 if none."""
    return load_le64(buf, at + 24)
