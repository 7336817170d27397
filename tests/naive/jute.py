"""Jute the obvious way, with struct and bytes: the twin of kvbench.wire.jute*.

A record is a list of fields (name, format); formats: i, q, ? as in struct, "b" a buffer or string (None: null),
"s" a vector of strings, "a" a vector of ACLs (permissions, scheme, id), "t" a Stat (dict).
"""

import struct
from typing import Any

STAT = (
    ("czxid", "q"), ("mzxid", "q"), ("ctime_ms", "q"), ("mtime_ms", "q"), ("version", "i"), ("cversion", "i"),
    ("aversion", "i"), ("ephemeral_owner", "q"), ("data_bytes", "i"), ("children", "i"), ("pzxid", "q"),
)  # fmt: skip
REQUESTS: dict[int, tuple[tuple[str, str], ...]] = {
    1: (("path", "b"), ("data", "b"), ("acl", "a"), ("flags", "i")),
    2: (("path", "b"), ("version", "i")),
    3: (("path", "b"), ("watch", "?")),
    4: (("path", "b"), ("watch", "?")),
    5: (("path", "b"), ("data", "b"), ("version", "i")),
    8: (("path", "b"), ("watch", "?")),
    9: (("path", "b"),),
    11: (),
    12: (("path", "b"), ("watch", "?")),
    13: (("path", "b"), ("version", "i")),
    15: (("path", "b"), ("data", "b"), ("acl", "a"), ("flags", "i")),
    100: (("auth_type", "i"), ("path", "b"), ("data", "b")),
    101: (("relative_zxid", "q"), ("data", "s"), ("exist", "s"), ("child", "s")),
    -11: (),
}
REPLIES: dict[int, tuple[tuple[str, str], ...]] = {
    1: (("path", "b"),),
    2: (),
    3: (("stat", "t"),),
    4: (("data", "b"), ("stat", "t")),
    5: (("stat", "t"),),
    8: (("children", "s"),),
    9: (("path", "b"),),
    12: (("children", "s"), ("stat", "t")),
    13: (),
    15: (("path", "b"), ("stat", "t")),
    -1: (("error", "i"),),
}
CONNECT = (("protocol_version", "i"), ("last_zxid", "q"), ("timeout_ms", "i"), ("session_id", "q"), ("password", "b"),
           ("read_only", "?"))  # fmt: skip
CONNECTED = (("protocol_version", "i"), ("timeout_ms", "i"), ("session_id", "q"), ("password", "b"),
             ("read_only", "?"))  # fmt: skip
EVENT = (("event_type", "i"), ("event_state", "i"), ("path", "b"))
OPEN_ACL = [(31, b"world", b"anyone")]


def encode(fields: tuple[tuple[str, str], ...], values: dict[str, Any]) -> bytes:
    """The bytes of a record."""
    return b"".join(_encode_field(kind, values[name]) for name, kind in fields)


def _encode_field(kind: str, value: Any) -> bytes:
    if kind in "iq?":
        return struct.pack(">" + kind, value)
    if kind == "b":
        return struct.pack(">i", -1) if value is None else struct.pack(">i", len(value)) + value
    if kind == "s":
        return struct.pack(">i", len(value)) + b"".join(_encode_field("b", one) for one in value)
    if kind == "a":
        acls = (struct.pack(">i", acl[0]) + _encode_field("b", acl[1]) + _encode_field("b", acl[2]) for acl in value)
        return struct.pack(">i", len(value)) + b"".join(acls)
    return encode(STAT, value)


def frame(*parts: bytes) -> bytes:
    """A frame around the parts."""
    body = b"".join(parts)
    return struct.pack(">i", len(body)) + body


def request(xid: int, kind: int, **values: Any) -> bytes:
    """A request's frame."""
    return frame(struct.pack(">ii", xid, kind), encode(REQUESTS[kind], values))


def reply(xid: int, zxid: int, error: int, *fields: tuple[str, str], **values: Any) -> bytes:
    """A reply's frame."""
    return frame(struct.pack(">iqi", xid, zxid, error), encode(fields, values))


def multi_header(kind: int, done: bool, error: int) -> bytes:
    """What stands before each member of a multi, and behind the last."""
    return struct.pack(">i?i", kind, done, error)


def multi_request(xid: int, members: list[tuple[int, dict[str, Any]]]) -> bytes:
    """A multi's frame."""
    body = b"".join(multi_header(kind, False, -1) + encode(REQUESTS[kind], values) for kind, values in members)
    return frame(struct.pack(">ii", xid, 14), body, multi_header(-1, True, -1))


def multi_reply(xid: int, zxid: int, results: list[tuple[int, dict[str, Any]]]) -> bytes:
    """A multi's answer; a result of kind -1 is an error."""
    body = b"".join(
        multi_header(kind, False, values.get("error", 0)) + encode(REPLIES[kind], values) for kind, values in results
    )
    return frame(struct.pack(">iqi", xid, zxid, 0), body, multi_header(-1, True, -1))
