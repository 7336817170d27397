"""etcd's gRPC methods: their paths, and the header blocks of requests for them.

On each connection the first request of a method puts its path (and the first request of all, the other headers) into
the server's dynamic table; later requests are one byte a header. A server that grants less than TABLE_BYTES_NEEDED
for the table gets literal headers every time.
"""

from enum import IntEnum
from typing import Any

import numpy as np

from kvbench.jit import kernel
from kvbench.rt.buffer import copy, equal
from kvbench.wire import hpack
from kvbench.wire.hpack_tables import STATIC_COUNT


class Method(IntEnum):
    """A method by number."""

    PUT = 0
    RANGE = 1
    DELETE_RANGE = 2
    TXN = 3
    WATCH = 4
    LEASE_GRANT = 5
    LEASE_REVOKE = 6
    LEASE_KEEP_ALIVE = 7
    COMPACT = 8
    LEASE_TIME_TO_LIVE = 9
    LEASE_LEASES = 10
    MEMBER_LIST = 11
    STATUS = 12
    ALARM = 13
    HASH = 14
    HASH_KV = 15
    SNAPSHOT = 16
    DEFRAGMENT = 17
    MOVE_LEADER = 18
    HEALTH_CHECK = 19
    RANGE_STREAM = 20


PUT, RANGE, DELETE_RANGE, TXN, WATCH, LEASE_GRANT, LEASE_REVOKE, LEASE_KEEP_ALIVE = (int(m) for m in list(Method)[:8])
COMPACT, LEASE_TIME_TO_LIVE, LEASE_LEASES = (int(m) for m in list(Method)[8:11])
MEMBER_LIST, STATUS, ALARM, HASH, HASH_KV, SNAPSHOT = (int(m) for m in list(Method)[11:17])
DEFRAGMENT, MOVE_LEADER, HEALTH_CHECK, RANGE_STREAM = (int(m) for m in list(Method)[17:])
METHODS = len(Method)
METHODS_SENT = 8
"""The first so many are what kvbench's own client calls."""
FIRST_RARE = MEMBER_LIST
"""Methods from here on, ALARM and RANGE_STREAM apart, are about a member, not about its data."""
PATHS = (
    b"/etcdserverpb.KV/Put",
    b"/etcdserverpb.KV/Range",
    b"/etcdserverpb.KV/DeleteRange",
    b"/etcdserverpb.KV/Txn",
    b"/etcdserverpb.Watch/Watch",
    b"/etcdserverpb.Lease/LeaseGrant",
    b"/etcdserverpb.Lease/LeaseRevoke",
    b"/etcdserverpb.Lease/LeaseKeepAlive",
    b"/etcdserverpb.KV/Compact",
    b"/etcdserverpb.Lease/LeaseTimeToLive",
    b"/etcdserverpb.Lease/LeaseLeases",
    b"/etcdserverpb.Cluster/MemberList",
    b"/etcdserverpb.Maintenance/Status",
    b"/etcdserverpb.Maintenance/Alarm",
    b"/etcdserverpb.Maintenance/Hash",
    b"/etcdserverpb.Maintenance/HashKV",
    b"/etcdserverpb.Maintenance/Snapshot",
    b"/etcdserverpb.Maintenance/Defragment",
    b"/etcdserverpb.Maintenance/MoveLeader",
    b"/grpc.health.v1.Health/Check",
    b"/etcdserverpb.KV/RangeStream",
)

PATH_BYTES_MAX = 40
_PATH_TEXT = np.frombuffer(b"".join(path.ljust(PATH_BYTES_MAX) for path in PATHS), np.uint8)
_PATH_BYTES = np.array([len(path) for path in PATHS], np.int64)

TABLE_BYTES_NEEDED = 1024
"""More than the size of all entries that a client makes."""
COMMON_FIELDS = 4
"""Headers besides the path that go into the table: authority, content type, te, user agent."""
HEADERS_BYTES_MAX = 512
"""Room that ``write_request_headers`` needs."""
AUTHORITY_BYTES_MAX = 128

COMMON_BYTES_MAX = AUTHORITY_BYTES_MAX + 128

TABLE = np.dtype(
    [
        ("inserted", np.int64),  # entries this end put into the peer's dynamic table
        ("common", np.int64),  # ``inserted`` when the last common field went in, 0: not yet
        ("told", np.int64),  # the table size that this end uses, as last told to the peer
        ("paths", np.int64, (METHODS_SENT,)),  # ``inserted`` when the method's path went in, 0: not yet
    ],
    align=True,
)
"""The encoder of a connection."""

COMMON = np.dtype(
    [
        ("indexed_bytes", np.int64),
        ("literal_bytes", np.int64),
        ("indexed", np.uint8, (COMMON_BYTES_MAX,)),  # the common fields as literals that go into the table
        ("literal", np.uint8, (COMMON_BYTES_MAX,)),  # and as literals that do not
    ],
    align=True,
)
"""What the encoders of a thread share."""


def set_up(common: np.ndarray, authority: str) -> None:
    """Fill COMMON[1] for requests to ``authority`` (host:port). Raises ValueError when that is too long."""
    name = authority.encode()
    if len(name) > AUTHORITY_BYTES_MAX:
        raise ValueError(f"the authority {authority!r} is longer than {AUTHORITY_BYTES_MAX} bytes")
    for form, indexed in (("indexed", True), ("literal", False)):
        text = hpack.literal(b":authority", name, indexed, 1)
        text += hpack.literal(b"content-type", b"application/grpc", indexed, 31)
        text += hpack.literal(b"te", b"trailers", indexed)
        text += hpack.literal(b"user-agent", b"kvbench", indexed, 58)
        common[f"{form}_bytes"] = len(text)
        common[form][0, : len(text)] = np.frombuffer(text, np.uint8)


@kernel
def reset(table: Any) -> None:
    """A new connection: the peer's dynamic table is empty and of the protocol's default size."""
    table["inserted"] = 0
    table["common"] = 0
    table["told"] = hpack.TABLE_BYTES
    for method in range(METHODS_SENT):
        table["paths"][method] = 0


@kernel
def write_request_headers(table: Any, common: Any, method: int, peer_table_size: int, buf: Any, at: int) -> int:
    """Write the header block of a request (at most HEADERS_BYTES_MAX). Returns its end.

    ``peer_table_size`` is the peer's SETTINGS_HEADER_TABLE_SIZE as it is now.
    """
    path = table["paths"][method]
    if peer_table_size < table["told"] or path == 0 or table["common"] == 0:
        return _write_rare_headers(table, common, method, peer_table_size, buf, at)
    inserted = table["inserted"] + STATIC_COUNT + 1
    last = inserted - table["common"]
    buf[at] = 0x83
    buf[at + 1] = 0x86
    buf[at + 2] = 128 | inserted - path
    buf[at + 3] = 128 | last + 3
    buf[at + 4] = 128 | last + 2
    buf[at + 5] = 128 | last + 1
    buf[at + 6] = 128 | last
    return at + 7


@kernel
def _write_rare_headers(table: Any, common: Any, method: int, peer_table_size: int, buf: Any, at: int) -> int:
    """``write_request_headers`` where the table grows, shrinks or is not used."""
    if peer_table_size < table["told"]:
        size = peer_table_size if peer_table_size >= TABLE_BYTES_NEEDED else 0
        if size == 0:
            reset(table)
        table["told"] = size
        at = hpack.write_integer(buf, at, 0x20, 31, size)
    buf[at] = 0x83
    buf[at + 1] = 0x86
    at += 2
    size = _PATH_BYTES[method]
    if table["told"] == 0:
        buf[at] = 4
        at = hpack.write_string(buf, at + 1, _PATH_TEXT, method * PATH_BYTES_MAX, size)
        copy(buf, at, common["literal"], 0, int(common["literal_bytes"]))
        return at + int(common["literal_bytes"])
    path = table["paths"][method]
    if path == 0:
        buf[at] = 0x44
        at = hpack.write_string(buf, at + 1, _PATH_TEXT, method * PATH_BYTES_MAX, size)
        table["inserted"] += 1
        table["paths"][method] = table["inserted"]
    else:
        buf[at] = 128 | table["inserted"] + STATIC_COUNT + 1 - path
        at += 1
    if table["common"] == 0:
        copy(buf, at, common["indexed"], 0, int(common["indexed_bytes"]))
        table["inserted"] += COMMON_FIELDS
        table["common"] = table["inserted"]
        return at + int(common["indexed_bytes"])
    last = table["inserted"] + STATIC_COUNT + 1 - table["common"]
    for back in range(COMMON_FIELDS - 1, -1, -1):
        buf[at] = 128 | last + back
        at += 1
    return at


@kernel
def method_of(text: Any, at: int, size: int) -> int:
    """The method whose path is ``text[at : at + size]``, or -1."""
    for method in range(METHODS):
        if size == _PATH_BYTES[method] and equal(text, at, _PATH_TEXT, method * PATH_BYTES_MAX, size):
            return method
    return -1
