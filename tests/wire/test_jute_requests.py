"""Requests: what is encoded is what the twin and kazoo encode; what is decoded is what was meant."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kazoo.protocol import serialization as kazoo
from kazoo.security import OPEN_ACL_UNSAFE

from kvbench.wire import jute
from kvbench.wire import jute_requests as requests
from kvbench.wire.jute import JuteError
from tests.naive import jute as naive

AT = 5
ROOM = 700

keys = st.binary(max_size=40)
values = st.one_of(st.none(), st.binary(max_size=40))
i32 = st.integers(-(2**31), 2**31 - 1)
i64 = st.integers(-(2**63), 2**63 - 1)
ascii_keys = st.text("abcdefghij/0123456789", max_size=30)


def out() -> Any:
    return np.full(ROOM, 0xCC, np.uint8)


def source(*parts: bytes | None) -> tuple[Any, list[int]]:
    """The parts one after another with a byte between them, and where each begins."""
    data, places = b"", []
    for part in parts:
        data += b"\xee"
        places.append(len(data))
        data += part or b""
    return np.frombuffer(data, np.uint8).copy(), places


def size_of(value: bytes | None) -> int:
    return -1 if value is None else len(value)


def check_written(buffer: Any, end: int, expected: bytes) -> None:
    """Exactly the expected bytes stand at AT, and at most one byte behind them was touched."""
    assert bytes(buffer[AT:end]) == expected
    assert set(buffer[:AT].tolist()) <= {0xCC}
    assert set(buffer[end + 1 :].tolist()) <= {0xCC}


def decode(data: bytes) -> tuple[int, Any, bytes]:
    """decode_request of a frame in the middle of other bytes: its result, the REQUEST and the buffer."""
    buffer = b"\xee" * AT + data + b"\xdd" * 3
    record = np.zeros(1, requests.REQUEST)
    code = requests.decode_request(np.frombuffer(buffer, np.uint8).copy(), AT, AT + len(data), record[0])
    return int(code), record[0], buffer


def field(buffer: bytes, record: Any, name: str) -> bytes | None:
    size = int(record[f"{name}_bytes"])
    start = int(record[f"{name}_at"])
    return None if size < 0 else buffer[start : start + size]


@settings(deadline=None)
@given(i32, keys, values, st.integers(0, 3))
def test_create(xid: int, key: bytes, value: bytes | None, flags: int) -> None:
    data, (key_at, value_at) = source(key, value)
    buffer = out()
    end = requests.put_create(buffer, AT, xid, data, key_at, len(key), data, value_at, size_of(value), flags)
    expected = naive.request(xid, 1, path=b"/" + key, data=value, acl=naive.OPEN_ACL, flags=flags)
    check_written(buffer, end, expected)
    assert end - AT == requests.CREATE_BYTES + len(key) + len(value or b"")


@settings(deadline=None)
@given(i32, keys, values, i32)
def test_set_data(xid: int, key: bytes, value: bytes | None, version: int) -> None:
    data, (key_at, value_at) = source(key, value)
    buffer = out()
    end = requests.put_set_data(buffer, AT, xid, data, key_at, len(key), data, value_at, size_of(value), version)
    check_written(buffer, end, naive.request(xid, 5, path=b"/" + key, data=value, version=version))
    assert end - AT == requests.SET_DATA_BYTES + len(key) + len(value or b"")


@settings(deadline=None)
@given(i32, keys, st.sampled_from([jute.EXISTS, jute.GET_DATA, jute.GET_CHILDREN, jute.GET_CHILDREN_2]), st.booleans())
def test_reads(xid: int, key: bytes, kind: int, watch: bool) -> None:
    data, (key_at,) = source(key)
    buffer = out()
    end = requests.put_get(buffer, AT, xid, kind, data, key_at, len(key), int(watch))
    check_written(buffer, end, naive.request(xid, kind, path=b"/" + key, watch=watch))
    assert end - AT == requests.GET_BYTES + len(key)


@settings(deadline=None)
@given(i32, keys, st.sampled_from([jute.DELETE, jute.CHECK]), i32)
def test_delete_and_check(xid: int, key: bytes, kind: int, version: int) -> None:
    data, (key_at,) = source(key)
    buffer = out()
    end = requests.put_versioned(buffer, AT, xid, kind, data, key_at, len(key), version)
    check_written(buffer, end, naive.request(xid, kind, path=b"/" + key, version=version))
    assert end - AT == requests.DELETE_BYTES + len(key)


@settings(deadline=None)
@given(i32, keys)
def test_requests_with_little_in_them(xid: int, key: bytes) -> None:
    data, (key_at,) = source(key)
    buffer = out()
    end = requests.put_sync(buffer, AT, xid, data, key_at, len(key))
    check_written(buffer, end, naive.request(xid, 9, path=b"/" + key))
    assert end - AT == requests.SYNC_BYTES + len(key)
    buffer = out()
    check_written(buffer, requests.put_close_session(buffer, AT, xid), naive.request(xid, -11))
    buffer = out()
    end = requests.put_ping(buffer, AT)
    check_written(buffer, end, naive.request(-2, 11))
    assert end - AT == requests.PING_BYTES
    buffer = out()
    end = requests.put_digest_auth(buffer, AT, data, key_at, len(key))
    check_written(buffer, end, naive.request(-4, 100, auth_type=0, path=b"digest", data=key))
    assert end - AT == requests.AUTH_BYTES + len(key)


@settings(deadline=None)
@given(i64, st.tuples(*[st.lists(keys, max_size=3)] * 3))
def test_set_watches(zxid: int, vectors: tuple[list[bytes], list[bytes], list[bytes]]) -> None:
    paths = [path for vector in vectors for path in vector]
    data, places = source(*paths)
    flat = np.array([part for pair in zip(places, map(len, paths), strict=True) for part in pair], np.int64)
    counts = np.array([len(vector) for vector in vectors], np.int64)
    buffer = out()
    end = requests.put_set_watches(buffer, AT, zxid, data, flat, counts)
    expected = naive.request(-8, 101, relative_zxid=zxid, data=vectors[0], exist=vectors[1], child=vectors[2])
    check_written(buffer, end, expected)
    code, record, _ = decode(expected)
    assert (code, int(record["type"]), int(record["xid"])) == (len(expected), jute.SET_WATCHES, jute.XID_SET_WATCHES)


@settings(deadline=None)
@given(i64, i32, i64, st.binary(min_size=16, max_size=16))
def test_connect(zxid: int, timeout_ms: int, session_id: int, password: bytes) -> None:
    data, (password_at,) = source(password)
    buffer = out()
    end = requests.put_connect(buffer, AT, zxid, timeout_ms, session_id, data, password_at)
    expected = naive.frame(
        naive.encode(
            naive.CONNECT,
            {"protocol_version": 0, "last_zxid": zxid, "timeout_ms": timeout_ms, "session_id": session_id,
             "password": password, "read_only": False},
        )
    )  # fmt: skip
    check_written(buffer, end, expected)
    assert expected[4:] == bytes(kazoo.Connect(0, zxid, timeout_ms, session_id, password, False).serialize())
    assert end - AT == requests.CONNECT_BYTES


@settings(deadline=None)
@given(i32, i64, i32, i64, st.one_of(st.none(), st.binary(max_size=16)), st.booleans(), st.booleans())
def test_decode_connect(
    version: int, zxid: int, timeout_ms: int, session_id: int, password: bytes | None, read_only: bool, old: bool
) -> None:
    body = naive.encode(
        naive.CONNECT,
        {"protocol_version": version, "last_zxid": zxid, "timeout_ms": timeout_ms, "session_id": session_id,
         "password": password, "read_only": read_only},
    )  # fmt: skip
    frame = naive.frame(body[:-1] if old else body)
    buffer = b"\0" * AT + frame + b"\xff"
    record = np.zeros(1, requests.CONNECT_REQUEST)
    array = np.frombuffer(buffer, np.uint8).copy()
    assert requests.decode_connect(array, AT, AT + len(frame), record[0]) == len(frame)
    found = record[0]
    assert (found["protocol_version"], found["last_zxid"], found["timeout_ms"]) == (version, zxid, timeout_ms)
    assert (found["session_id"], found["read_only"]) == (session_id, read_only and not old)
    assert field(buffer, found, "password") == password
    for end in range(AT, AT + len(frame) - 1):
        assert requests.decode_connect(array, AT, end, record[0]) == JuteError.TRUNCATED
    assert requests.decode_connect(array, AT, AT + len(frame) + 1, record[0]) == (
        len(frame) + 1 if old else JuteError.TRAILING_BYTES
    )


def test_a_password_has_16_bytes_at_most() -> None:
    values = {"protocol_version": 0, "last_zxid": 0, "timeout_ms": 0, "session_id": 0, "password": bytes(17),
              "read_only": False}  # fmt: skip
    frame = np.frombuffer(naive.frame(naive.encode(naive.CONNECT, values)), np.uint8).copy()
    record = np.zeros(1, requests.CONNECT_REQUEST)
    assert requests.decode_connect(frame, 0, len(frame), record[0]) == JuteError.PASSWORD_SIZE


simple = st.sampled_from([kind for kind in naive.REQUESTS if kind not in (100, 101)])
acls = st.lists(st.tuples(st.integers(0, 31), keys, keys), max_size=3)


@st.composite
def requests_of(draw: Any, kinds: Any = simple) -> tuple[int, dict[str, Any]]:
    kind = draw(kinds)
    chosen: dict[str, Any] = {
        "path": draw(keys), "data": draw(values), "acl": draw(acls), "flags": draw(i32), "version": draw(i32),
        "watch": draw(st.booleans()),
    }  # fmt: skip
    return kind, {name: chosen[name] for name, _ in naive.REQUESTS[kind]}


def check_fields(buffer: bytes, record: Any, kind: int, expected: dict[str, Any]) -> None:
    assert int(record["type"]) == kind
    assert field(buffer, record, "path") == expected.get("path")
    assert field(buffer, record, "data") == expected.get("data")
    assert int(record["version"]) == expected.get("version", -1)
    assert int(record["flags"]) == expected.get("flags", 0)
    assert bool(record["watch"]) == expected.get("watch", False)


@settings(deadline=None)
@given(i32, requests_of())
def test_decode_request(xid: int, request: tuple[int, dict[str, Any]]) -> None:
    kind, expected = request
    frame = naive.request(xid, kind, **expected)
    code, record, buffer = decode(frame)
    assert (code, int(record["xid"])) == (len(frame), xid)
    check_fields(buffer, record, kind, expected)
    for end in range(4, len(frame)):
        assert decode(frame[:end])[0] == JuteError.TRUNCATED
    assert decode(frame + b"\0")[0] == JuteError.TRAILING_BYTES


def test_decode_auth() -> None:
    frame = naive.request(-4, 100, auth_type=0, path=b"digest", data=b"ann:secret")
    code, record, buffer = decode(frame)
    assert (code, int(record["type"])) == (len(frame), jute.AUTH)
    assert (field(buffer, record, "path"), field(buffer, record, "data")) == (b"digest", b"ann:secret")
    for end in range(4, len(frame)):
        assert decode(frame[:end])[0] == JuteError.TRUNCATED


@pytest.mark.parametrize("kind", [0, 6, 7, 16, 105, -2, 2**31 - 1])
def test_a_type_that_is_not_known(kind: int) -> None:
    frame = naive.frame(kind.to_bytes(4, "big", signed=True) * 2, b"\0\0\0\x01/")
    assert decode(frame)[0] == JuteError.UNKNOWN_TYPE


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5, 8, 9, 12, 13, 15])
def test_a_path_cannot_be_null(kind: int) -> None:
    frame = naive.frame((1).to_bytes(4, "big") + kind.to_bytes(4, "big"), b"\xff\xff\xff\xff", bytes(40))
    assert decode(frame)[0] == JuteError.NULL_PATH


members = requests_of(st.sampled_from([jute.CREATE, jute.CREATE_2, jute.SET_DATA, jute.DELETE, jute.CHECK]))


def read_members(buffer: Any, start: int, end: int) -> tuple[int, list[Any]]:
    """All members of a multi: the last code, and copies of their records."""
    found: list[Any] = []
    while True:
        record = np.zeros(1, requests.REQUEST)
        code = int(requests.decode_multi_member(buffer, start, end, record[0]))
        if code < 0:
            return code, found
        start += code
        if record[0]["done"] == 1:
            return start, found
        found.append(record[0])


@settings(deadline=None)
@given(i32, st.lists(members, max_size=4))
def test_decode_multi(xid: int, expected: list[tuple[int, dict[str, Any]]]) -> None:
    frame = naive.multi_request(xid, expected)
    code, record, buffer = decode(frame)
    assert (code, int(record["type"]), int(record["xid"])) == (len(frame), jute.MULTI, xid)
    array = np.frombuffer(buffer, np.uint8).copy()
    start = int(record["data_at"])
    end, found = read_members(array, start, AT + len(frame))
    assert end == AT + len(frame)
    for member, (kind, fields) in zip(found, expected, strict=True):
        check_fields(buffer, member, kind, fields)
    for cut in range(start, AT + len(frame)):
        assert read_members(array, start, cut)[0] == JuteError.TRUNCATED


def test_a_multi_has_no_reads() -> None:
    body = naive.multi_header(4, False, -1) + naive.encode(naive.REQUESTS[4], {"path": b"/a", "watch": False})
    assert read_members(np.frombuffer(body, np.uint8).copy(), 0, len(body))[0] == JuteError.UNKNOWN_TYPE


@settings(deadline=None)
@given(i32, keys, values, keys, values)
def test_put_multi(xid: int, key: bytes, value: bytes | None, other: bytes, content: bytes | None) -> None:
    data, (key_at, value_at, other_at, content_at) = source(key, value, other, content)
    buffer = out()
    end = requests.put_header(buffer, AT, xid, jute.MULTI)
    end = requests.put_multi_header(buffer, end, jute.CREATE, 0, -1)
    end = requests.put_create_record(buffer, end, data, key_at, len(key), data, value_at, size_of(value), 0)
    end = requests.put_multi_header(buffer, end, jute.SET_DATA, 0, -1)
    end = requests.put_set_data_record(buffer, end, data, other_at, len(other), data, content_at, size_of(content), -1)
    end = jute.finish_frame(buffer, AT, requests.put_multi_end(buffer, end))
    create = {"path": b"/" + key, "data": value, "acl": naive.OPEN_ACL, "flags": 0}
    check_written(
        buffer,
        end,
        naive.multi_request(xid, [(1, create), (5, {"path": b"/" + other, "data": content, "version": -1})]),
    )


@settings(deadline=None)
@given(ascii_keys, st.binary(max_size=30), i32)
def test_kazoo_encodes_the_same(name: str, value: bytes, version: int) -> None:
    path, key = "/" + name, name.encode()
    data, (key_at, value_at) = source(key, value)

    def body(put: Any, *arguments: Any) -> bytes:
        buffer = out()
        return bytes(buffer[AT + 12 : put(buffer, AT, 1, *arguments)])

    key_part = (data, key_at, len(key))
    value_part = (data, value_at, len(value))
    create = kazoo.Create(path, value, OPEN_ACL_UNSAFE, 1)
    set_data = kazoo.SetData(path, value, version)
    assert body(requests.put_create, *key_part, *value_part, 1) == create.serialize()
    assert body(requests.put_set_data, *key_part, *value_part, version) == set_data.serialize()
    assert body(requests.put_versioned, jute.DELETE, *key_part, version) == kazoo.Delete(path, version).serialize()
    assert body(requests.put_versioned, jute.CHECK, *key_part, version) == kazoo.CheckVersion(path, version).serialize()
    assert body(requests.put_get, jute.EXISTS, *key_part, 1) == kazoo.Exists(path, print).serialize()
    assert body(requests.put_get, jute.GET_DATA, *key_part, 0) == kazoo.GetData(path, None).serialize()
    assert body(requests.put_get, jute.GET_CHILDREN_2, *key_part, 0) == kazoo.GetChildren2(path, None).serialize()
    assert body(requests.put_sync, *key_part) == kazoo.Sync(path).serialize()
    frame = naive.multi_request(
        1, [(1, {"path": path.encode(), "data": value, "acl": naive.OPEN_ACL, "flags": 1}),
            (5, {"path": path.encode(), "data": value, "version": version})]
    )  # fmt: skip
    assert frame[12:] == kazoo.Transaction([create, set_data]).serialize()


def test_kazoo_encodes_credentials_the_same() -> None:
    data, (at,) = source(b"ann:secret")
    buffer = out()
    end = requests.put_digest_auth(buffer, AT, data, at, 10)
    assert bytes(buffer[AT + 12 : end]) == kazoo.Auth(0, "digest", "ann:secret").serialize()
