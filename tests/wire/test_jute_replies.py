"""Replies: encoded as the twin does, decoded as kazoo does; every cut and every byte too many has its name."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kazoo.protocol import serialization as kazoo

from kvbench.wire import jute
from kvbench.wire import jute_replies as replies
from kvbench.wire import jute_requests as requests
from kvbench.wire.jute import JuteError
from tests.naive import jute as naive

AT = 5
HEADER = jute.FRAME_HEADER_BYTES + jute.REPLY_HEADER_BYTES

paths = st.binary(max_size=40)
values = st.one_of(st.none(), st.binary(max_size=40))
names = st.lists(st.text("abcxyz019", min_size=1, max_size=8).map(str.encode), max_size=5)
i32 = st.integers(-(2**31), 2**31 - 1)
i64 = st.integers(-(2**63), 2**63 - 1)
stats = st.fixed_dictionaries({name: i64 if kind == "q" else i32 for name, kind in naive.STAT})


def as_array(data: bytes) -> Any:
    return np.frombuffer(b"\xee" * AT + data + b"\xdd" * 3, np.uint8).copy()


def as_stat(values: dict[str, int]) -> Any:
    record = np.zeros(1, replies.STAT)
    for name, value in values.items():
        record[name] = value
    return record[0]


def as_dict(record: Any) -> dict[str, int]:
    return {name: int(record[name]) for name, _ in naive.STAT}


def written(put: Any, *arguments: Any) -> bytes:
    """What an encoder wrote; nothing before it, and at most one byte behind it, may be touched."""
    buffer = np.full(900, 0xCC, np.uint8)
    end = put(buffer, AT, *arguments)
    assert set(buffer[:AT].tolist()) | set(buffer[end + 1 :].tolist()) == {0xCC}
    return bytes(buffer[AT:end])


def text(data: bytes | None) -> tuple[Any, int, int]:
    """Array, position and length of a string or buffer."""
    return as_array(data or b""), AT, -1 if data is None else len(data)


def field(frame: bytes, record: Any) -> bytes | None:
    size, at = int(record["data_bytes"]), int(record["data_at"]) - AT
    return None if size < 0 else frame[at : at + size]


def decode(decoder: Any, frame: bytes, *arguments: Any, header: int = HEADER) -> tuple[int, Any]:
    """A decoder applied to the record behind the header: how much it consumed, and the REPLY."""
    record = np.zeros(1, replies.REPLY)
    return int(decoder(as_array(frame), AT + header, AT + len(frame), *arguments, record[0])), record[0]


def check_cuts(decoder: Any, frame: bytes, *arguments: Any, header: int = HEADER) -> None:
    """Every cut of the record is TRUNCATED, a byte too many TRAILING_BYTES."""
    for end in range(header, len(frame)):
        assert decode(decoder, frame[:end], *arguments, header=header)[0] == JuteError.TRUNCATED
    assert decode(decoder, frame + b"\0", *arguments, header=header)[0] == JuteError.TRAILING_BYTES


@settings(deadline=None)
@given(i32, i64, i32)
def test_a_reply_without_a_record(xid: int, zxid: int, error: int) -> None:
    frame = naive.reply(xid, zxid, error)
    assert written(replies.put_reply, xid, zxid, error) == frame
    record = np.zeros(1, replies.REPLY)
    assert replies.decode_reply_header(as_array(frame), AT, AT + len(frame), record[0]) == HEADER
    header, _ = kazoo.ReplyHeader.deserialize(frame, 4)
    assert (header.xid, header.zxid, header.err) == (xid, zxid, error)
    assert (record[0]["xid"], record[0]["zxid"], record[0]["error"]) == (xid, zxid, error)
    for end in range(AT, AT + HEADER):
        assert replies.decode_reply_header(as_array(frame), AT, end, record[0]) == JuteError.TRUNCATED


@settings(deadline=None)
@given(i32, i64, paths)
def test_create_and_sync(xid: int, zxid: int, path: bytes) -> None:
    frame = naive.reply(xid, zxid, 0, ("path", "b"), path=path)
    assert written(replies.put_path_reply, xid, zxid, *text(path)) == frame
    code, record = decode(replies.decode_path, frame)
    assert (code, field(frame, record)) == (len(frame) - HEADER, path)
    check_cuts(replies.decode_path, frame)


def test_a_created_path_cannot_be_null() -> None:
    assert decode(replies.decode_path, naive.reply(1, 2, 0, ("path", "b"), path=None))[0] == JuteError.NULL_PATH


@settings(deadline=None)
@given(i32, i64, values, stats)
def test_get_data(xid: int, zxid: int, data: bytes | None, stat: dict[str, int]) -> None:
    frame = naive.reply(xid, zxid, 0, ("data", "b"), ("stat", "t"), data=data, stat=stat)
    assert written(replies.put_data_reply, xid, zxid, *text(data), as_stat(stat)) == frame
    code, record = decode(replies.decode_data, frame)
    assert (code, field(frame, record)) == (len(frame) - HEADER, data)
    theirs, their_stat = kazoo.GetData.deserialize(frame, HEADER)
    assert (theirs, tuple(their_stat)) == (data, tuple(stat[name] for name, _ in naive.STAT))
    found = np.zeros(1, replies.STAT)
    stat_at = int(record["stat_at"])
    assert replies.decode_stat(as_array(frame), stat_at, AT + len(frame), found[0]) == jute.STAT_BYTES
    assert as_dict(found[0]) == stat
    check_cuts(replies.decode_data, frame)


@settings(deadline=None)
@given(i32, i64, stats)
def test_set_data_and_exists(xid: int, zxid: int, stat: dict[str, int]) -> None:
    frame = naive.reply(xid, zxid, 0, ("stat", "t"), stat=stat)
    assert written(replies.put_stat_reply, xid, zxid, as_stat(stat)) == frame
    code, record = decode(replies.decode_stat_place, frame)
    stat_at = int(record["stat_at"])
    assert (code, stat_at) == (jute.STAT_BYTES, AT + HEADER)
    array = as_array(frame)
    assert jute.load_i32(array, stat_at + replies.STAT_VERSION_AT) == stat["version"]
    for name, place in (("mzxid", replies.STAT_MZXID_AT), ("pzxid", replies.STAT_PZXID_AT)):
        at = HEADER + place
        assert int.from_bytes(frame[at : at + 8], "big", signed=True) == stat[name]
    check_cuts(replies.decode_stat_place, frame)
    found = np.zeros(1, replies.STAT)
    assert replies.decode_stat(array, stat_at, AT + len(frame) - 1, found[0]) == JuteError.TRUNCATED


@settings(deadline=None)
@given(i32, i64, names, stats, st.booleans())
def test_children(xid: int, zxid: int, children: list[bytes], stat: dict[str, int], with_stat: bool) -> None:
    fields = (("children", "s"), ("stat", "t"))[: 1 + with_stat]
    frame = naive.reply(xid, zxid, 0, *fields, children=children, stat=stat)
    pairs = [(sum(map(len, children[:i])), len(name)) for i, name in enumerate(children)]
    places = np.array(pairs, np.int64).reshape(-1)
    flat = np.frombuffer(b"".join(children) or b"\0", np.uint8).copy()
    arguments = (flat, places, len(children), as_stat(stat), int(with_stat))
    assert written(replies.put_children_reply, xid, zxid, *arguments) == frame
    code, record = decode(replies.decode_children, frame, int(with_stat))
    assert (code, int(record["count"])) == (len(frame) - HEADER, len(children))
    if with_stat:
        theirs, their_stat = kazoo.GetChildren2.deserialize(frame, HEADER)
        assert their_stat.pzxid == stat["pzxid"]
        assert int(record["stat_at"]) == AT + len(frame) - jute.STAT_BYTES
    else:
        theirs = kazoo.GetChildren.deserialize(frame, HEADER)
    assert [name.encode() for name in theirs] == children
    check_cuts(replies.decode_children, frame, int(with_stat))


def test_children_below_none() -> None:
    frame = naive.frame(bytes(16), b"\xff\xff\xff\xfe")
    assert decode(replies.decode_children, frame, 0)[0] == JuteError.NEGATIVE_LENGTH


@settings(deadline=None)
@given(i64, i32, i32, paths)
def test_notification(zxid: int, kind: int, state: int, path: bytes) -> None:
    frame = naive.reply(-1, zxid, 0, *naive.EVENT, event_type=kind, event_state=state, path=path)
    assert written(replies.put_event, zxid, kind, state, *text(path)) == frame
    code, record = decode(replies.decode_event, frame)
    assert (code, int(record["event_type"]), int(record["event_state"])) == (len(frame) - HEADER, kind, state)
    assert field(frame, record) == path
    check_cuts(replies.decode_event, frame)


@settings(deadline=None)
@given(i32, i32, i64, st.binary(min_size=16, max_size=16), st.booleans(), st.booleans())
def test_connect_response(
    version: int, timeout_ms: int, session_id: int, password: bytes, read_only: bool, old: bool
) -> None:
    fields = {"protocol_version": version, "timeout_ms": timeout_ms, "session_id": session_id, "password": password,
              "read_only": read_only}  # fmt: skip
    body = naive.encode(naive.CONNECTED, fields)
    frame = naive.frame(body[:-1] if old else body)
    code, record = decode(replies.decode_connect_response, frame, header=0)
    assert code == len(frame)
    assert (record["protocol_version"], record["timeout_ms"]) == (version, timeout_ms)
    assert (record["session_id"], record["read_only"]) == (session_id, read_only and not old)
    assert field(frame, record) == password
    theirs, _ = kazoo.Connect.deserialize(frame, 4)
    assert (theirs.time_out, theirs.session_id, theirs.passwd) == (timeout_ms, session_id, password)
    for end in range(len(frame) - 1):
        assert decode(replies.decode_connect_response, frame[:end], header=0)[0] == JuteError.TRUNCATED
    if not old:
        code, _ = decode(replies.decode_connect_response, frame + b"\0", header=0)
        assert code == JuteError.TRAILING_BYTES
    expected = naive.frame(naive.encode(naive.CONNECTED, {**fields, "protocol_version": 0, "read_only": False}))
    assert written(replies.put_connect_response, timeout_ms, session_id, as_array(password), AT) == expected


def test_a_servers_password_has_16_bytes_at_most() -> None:
    fields = {"protocol_version": 0, "timeout_ms": 9, "session_id": 1, "password": bytes(17), "read_only": False}
    frame = naive.frame(naive.encode(naive.CONNECTED, fields))
    assert decode(replies.decode_connect_response, frame, header=0)[0] == JuteError.PASSWORD_SIZE


results: st.SearchStrategy[Any] = st.one_of(
    st.tuples(st.just(jute.CREATE), st.fixed_dictionaries({"path": paths})),
    st.tuples(st.just(jute.CREATE_2), st.fixed_dictionaries({"path": paths, "stat": stats})),
    st.tuples(st.just(jute.SET_DATA), st.fixed_dictionaries({"stat": stats})),
    st.tuples(st.sampled_from([jute.DELETE, jute.CHECK]), st.just({})),
    st.tuples(st.just(-1), st.fixed_dictionaries({"error": st.sampled_from([0, -2, -101, -110])})),
)


@settings(deadline=None)
@given(st.lists(results, max_size=5))
def test_multi(expected: list[tuple[int, dict[str, Any]]]) -> None:
    frame = naive.multi_reply(3, 9, expected)
    code, record = decode(replies.decode_multi, frame)
    failures = [(i, fields["error"]) for i, (_, fields) in enumerate(expected) if fields.get("error", 0) != 0]
    assert (code, int(record["count"])) == (len(frame) - HEADER, len(expected))
    assert (int(record["failed"]), int(record["failed_error"])) == (failures[0] if failures else (-1, 0))
    check_cuts(replies.decode_multi, frame)


def test_put_multi_results() -> None:
    stat = dict.fromkeys((name for name, _ in naive.STAT), 7)
    expected: list[tuple[int, dict[str, Any]]] = [
        (1, {"path": b"/a"}),
        (5, {"stat": stat}),
        (2, {}),
        (13, {}),
        (-1, {"error": -101}),
    ]
    buffer = np.zeros(600, np.uint8)
    end = replies.put_reply_header(buffer, 0, 3, 9, 0)
    end = replies.put_create_result(buffer, end, as_array(b"/a"), AT, 2)
    end = replies.put_set_data_result(buffer, end, as_stat(stat))
    end = replies.put_empty_result(buffer, end, 2)
    end = replies.put_empty_result(buffer, end, 13)
    end = replies.put_error_result(buffer, end, -101)
    end = jute.finish_frame(buffer, 0, requests.put_multi_end(buffer, end))
    assert bytes(buffer[:end]) == naive.multi_reply(3, 9, expected)
    path, their_stat, deleted, checked, error = kazoo.Transaction.deserialize(bytes(buffer[:end]), HEADER)
    assert (path, their_stat.version, deleted, checked, type(error).__name__) == ("/a", 7, True, True, "NoNodeError")


@pytest.mark.parametrize("kind", [3, 4, 14])
def test_a_multi_with_a_result_of_another_kind(kind: int) -> None:
    frame = naive.frame(bytes(16), naive.multi_header(kind, False, 0), bytes(90))
    assert decode(replies.decode_multi, frame)[0] == JuteError.UNKNOWN_TYPE
