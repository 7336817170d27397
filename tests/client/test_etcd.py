"""etcd's client against a server that is the test: every operation, and whatever a server may do to a call."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench.client import etcd
from kvbench.jit import JIT_ENABLED
from kvbench.net import table
from kvbench.ops.errors import ErrorCode
from kvbench.ops.kinds import Kind
from kvbench.wire.proto import messages
from tests.client.driver import operation, operations
from tests.client.etcd_script import (
    HEADERS_OK,
    NOW,
    WHOLE,
    Script,
    answer,
    brief,
    data,
    field,
    framed,
    header,
    headers,
    keep_alive,
    put_response,
    range_response,
    trailers,
    watch_response,
    watching,
)
from tests.naive import http2
from tests.naive.http2 import DATA, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, frame

SECOND_NS = 1_000_000_000


def one(script: Script, what: tuple[Any, Any], response: Any, slot: int = 3) -> tuple[bytes, bytes, Any]:
    """Submit, answer with success: (path, message, outcome)."""
    assert script.submit(what, slot) == 1
    fields, message, stream = script.request()
    (outcome,) = script.give(answer(stream, response))
    assert (int(outcome["slot"]), int(outcome["kind"])) == (slot, int(what[0]["kind"][0]))
    return fields[b":path"], message, outcome


def told(outcome: Any) -> tuple[int, int, int, int]:
    """(code, revision, count, next_step)"""
    return int(outcome["code"]), int(outcome["revision"]), int(outcome["count"]), int(outcome["next_step"])


# -- every operation --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Kind.PUT, Kind.INSERT])
def test_put_and_insert(kind: Kind) -> None:
    path, message, outcome = one(Script(), operation(kind, b"key", b"value"), put_response(8))
    assert path == b"/etcdserverpb.KV/Put"
    assert messages.PutRequest.FromString(message) == messages.PutRequest(key=b"key", value=b"value")
    assert told(outcome) == (0, 8, 1, 0)


@pytest.mark.parametrize(("kind", "serializable"), [(Kind.GET, False), (Kind.GET_SERIALIZABLE, True)])
def test_get(kind: Kind, serializable: bool) -> None:
    script = Script()
    path, message, outcome = one(script, operation(kind, b"key"), range_response(9, 4))
    assert path == b"/etcdserverpb.KV/Range"
    assert messages.RangeRequest.FromString(message) == messages.RangeRequest(key=b"key", serializable=serializable)
    assert told(outcome) == (0, 4, 1, 0)
    assert told(one(script, operation(kind, b"key"), range_response(9))[2]) == (0, 0, 0, 0)


def test_range() -> None:
    script = Script()
    _, message, outcome = one(script, operation(Kind.RANGE, b"a", end=b"b", limit=3), range_response(9, 4, 5, 6))
    assert messages.RangeRequest.FromString(message) == messages.RangeRequest(key=b"a", range_end=b"b", limit=3)
    assert told(outcome) == (0, 9, 3, 0)
    assert told(one(script, operation(Kind.RANGE, b"a", end=b"b"), range_response(9))[2]) == (0, 9, 0, 0)


def test_delete() -> None:
    response = messages.DeleteRangeResponse(header=header(5), deleted=1)
    path, message, outcome = one(Script(), operation(Kind.DELETE, b"key"), response)
    assert path == b"/etcdserverpb.KV/DeleteRange"
    assert messages.DeleteRangeRequest.FromString(message) == messages.DeleteRangeRequest(key=b"key")
    assert told(outcome) == (0, 5, 1, 0)


@pytest.mark.parametrize(("mod", "count"), [((4,), 1), ((), 0)])
def test_compare_and_swap(mod: tuple[int, ...], count: int) -> None:
    script = Script()
    what = operation(Kind.CAS, b"key", b"new")
    path, message, outcome = one(script, what, range_response(9, *mod))
    assert (path, messages.RangeRequest.FromString(message)) == (
        b"/etcdserverpb.KV/Range",
        messages.RangeRequest(key=b"key"),
    )
    expected = mod[0] if mod else 0
    assert told(outcome) == (0, expected, count, 1)
    what[0]["step"], what[0]["expected"] = 1, expected
    path, message, outcome = one(script, what, messages.TxnResponse(header=header(10), succeeded=True))
    txn = messages.TxnRequest.FromString(message)
    (compare,) = txn.compare
    assert (compare.key, compare.mod_revision, compare.WhichOneof("target_union")) == (b"key", expected, "mod_revision")
    assert (compare.result, compare.target) == (messages.Compare.EQUAL, messages.Compare.MOD)
    assert [op.request_put for op in txn.success] == [messages.PutRequest(key=b"key", value=b"new")]
    assert (path, len(txn.failure), told(outcome)[:2]) == (b"/etcdserverpb.KV/Txn", 0, (0, 10))
    outcome = one(script, what, messages.TxnResponse(header=header(11)))[2]
    assert told(outcome) == (ErrorCode.COMPARE_FAILED, 11, 0, 0)


def test_a_read_that_fails_has_no_next_step() -> None:
    script = Script()
    assert script.submit(operation(Kind.CAS, b"key", b"new")) == 1
    (outcome,) = script.give(trailers(script.request()[2], 14, b"no leader"))
    assert told(outcome) == (ErrorCode.UNAVAILABLE, 0, 0, 0)


def test_read_modify_write() -> None:
    script = Script()
    what = operation(Kind.READ_MODIFY_WRITE, b"key", b"new")
    path, _, outcome = one(script, what, range_response(9, 4))
    assert (path, told(outcome)) == (b"/etcdserverpb.KV/Range", (0, 4, 1, 1))
    what[0]["step"] = 1
    path, message, outcome = one(script, what, put_response(10))
    assert (path, told(outcome)) == (b"/etcdserverpb.KV/Put", (0, 10, 1, 0))
    assert messages.PutRequest.FromString(message).value == b"new"


def test_transaction() -> None:
    what = operations((Kind.TXN, b"", b"", b""), (Kind.PUT, b"a", b"1", b""), (Kind.PUT, b"b", b"2", b""))
    response = messages.TxnResponse(header=header(7), succeeded=True)
    for _ in range(2):
        response.responses.add().response_put.header.revision = 7
    _, message, outcome = one(Script(), what, response)
    txn = messages.TxnRequest.FromString(message)
    assert [(op.request_put.key, op.request_put.value) for op in txn.success] == [(b"a", b"1"), (b"b", b"2")]
    assert (len(txn.compare), told(outcome)) == (0, (0, 7, 2, 0))


def test_leases_are_granted_and_revoked() -> None:
    script = Script()
    response = messages.LeaseGrantResponse(header=header(2), ID=1234567890123, TTL=60)
    path, message, outcome = one(script, operation(Kind.LEASE_GRANT, ttl_s=60), response)
    assert (path, messages.LeaseGrantRequest.FromString(message).TTL) == (b"/etcdserverpb.Lease/LeaseGrant", 60)
    assert (int(outcome["code"]), int(outcome["lease_id"])) == (0, 1234567890123)
    what = operation(Kind.LEASE_REVOKE, lease_id=77)
    path, message, outcome = one(script, what, messages.LeaseRevokeResponse(header=header(3)))
    assert (path, messages.LeaseRevokeRequest.FromString(message).ID) == (b"/etcdserverpb.Lease/LeaseRevoke", 77)
    assert told(outcome) == (0, 3, 1, 0)


def test_a_lease_that_was_not_granted() -> None:
    response = messages.LeaseGrantResponse(header=header(2), error="no")
    assert one(Script(), operation(Kind.LEASE_GRANT, ttl_s=60), response)[2]["code"] == ErrorCode.PROTOCOL_ERROR


def test_a_parent_is_made_at_once() -> None:
    script = Script(outcomes=4)
    accepted = 0
    while script.submit(operation(Kind.MAKE_PARENT, b"dir"), accepted) == 1:
        accepted += 1
    assert accepted == 64
    assert script.row["more"] == 1
    found = script.decode()
    assert sorted(brief(found)) == [(slot, 0, 0) for slot in range(64)]
    assert script.raw() == b""


def test_a_kind_that_etcd_does_not_know() -> None:
    what = operation(Kind.PUT, b"key")
    what[0]["kind"] = 99
    assert Script().submit(what) == -ErrorCode.UNIMPLEMENTED


# -- keep-alives ------------------------------------------------------------------------------------------------------


def kept(lease_id: int, ttl: int = 60) -> Any:
    return messages.LeaseKeepAliveResponse(header=header(1), ID=lease_id, TTL=ttl)


def test_keep_alives_share_a_stream_and_are_answered_in_order() -> None:
    script = Script()
    assert [script.submit(keep_alive(100 + slot), slot) for slot in range(3)] == [1, 1, 1]
    head, *bodies = script.frames()
    assert script.heads[head[2]][b":path"] == b"/etcdserverpb.Lease/LeaseKeepAlive"
    assert [(b[0], b[1], b[2]) for b in bodies] == [(DATA, 0, head[2])] * 3
    assert [messages.LeaseKeepAliveRequest.FromString(b[3][5:]).ID for b in bodies] == [100, 101, 102]
    assert etcd.cancel(script.state, script.net, 0, 1, NOW) == 0
    found = script.give(headers(head[2]) + data(head[2], kept(100), kept(101)) + data(head[2], kept(102, 0)))
    assert brief(found) == [(0, 0, 0), (2, ErrorCode.LEASE_EXPIRED, 0)]
    assert script.submit(keep_alive(103), 4) == 1
    assert [f[0] for f in script.frames()] == [DATA]


@pytest.mark.parametrize("space", [2, 64])
def test_keep_alives_fail_with_their_stream_and_begin_another(space: int) -> None:
    script = Script(outcomes=space)
    for slot in range(5):
        script.submit(keep_alive(slot + 1), slot)
    stream = script.frames()[0][2]
    assert script.submit(operation(Kind.PUT, b"k", b"v"), 9) == 1
    put = script.request()[2]
    found = script.give(headers(stream) + data(stream, kept(1)) + trailers(stream, 14) + answer(put, put_response(5)))
    assert brief(found) == [(0, 0, 0), *((slot, 14, 0) for slot in range(1, 5)), (9, 0, 5)]
    assert script.frames() == [(RST_STREAM, 0, stream, (8).to_bytes(4, "big"))]
    assert script.submit(keep_alive(9), 1) == 1
    assert [f[0] for f in script.frames()] == [HEADERS, DATA]


def test_as_many_keep_alives_as_there_are_places() -> None:
    script = Script(streams=8)
    assert [script.submit(keep_alive(slot + 1), slot) for slot in range(9)] == [1] * 8 + [0]


# -- watches ----------------------------------------------------------------------------------------------------------


def stamped(sent_ns: int) -> bytes:
    return sent_ns.to_bytes(8, "little") + b"rest"


def test_a_watch_stands_and_tells_of_events() -> None:
    script = Script()
    stream = watching(script)
    found = script.give(data(stream, watch_response((10, stamped(123)), (11, b"short")), watch_response()))
    assert [(int(o["slot"]), int(o["kind"]), int(o["revision"]), int(o["sent_ns"])) for o in found] == [
        (-1, Kind.WATCH, 10, 123),
        (-1, Kind.WATCH, 11, 0),
    ]


@pytest.mark.parametrize("space", [2, 3, 5])
@pytest.mark.parametrize("cut", [0, 40, 150])
def test_more_events_than_there_is_space_for(space: int, cut: int) -> None:
    script = Script(outcomes=space)
    stream = watching(script)
    put = script.put(slot=1)
    response = framed(watch_response(*((n, stamped(n)) for n in range(10, 20))))
    body = response + framed(watch_response((20, stamped(20)))) + framed(watch_response((21, stamped(21))))
    received = frame(DATA, 0, stream, body[:cut]) + frame(DATA, 0, stream, body[cut:])
    found = script.give(received + answer(put, put_response(22)))
    assert [int(o["revision"]) for o in found] == list(range(10, 23))
    assert [int(o["sent_ns"]) for o in found[:-1]] == list(range(10, 22))
    assert int(script.state.shared["pool"]["live"][0]) == 0


def test_a_watch_that_is_cancelled_while_its_events_wait() -> None:
    script = Script(outcomes=3)
    stream = watching(script)
    put = script.put(slot=1)
    received = data(stream, watch_response(*((n, b"") for n in range(10, 20)))) + answer(put, put_response(22))
    end = int(script.row["rx_end"])
    script.net.rx[end : end + len(received)] = np.frombuffer(received, np.uint8)
    script.row["rx_end"] = end + len(received)
    assert etcd.receive(script.state, script.net, 0, NOW, script.outcomes, 0) == 2
    assert script.row["more"] == 1
    etcd.cancel(script.state, script.net, 0, 5, NOW)
    assert brief(script.decode()) == [(1, 0, 22)]


@pytest.mark.parametrize(
    ("response", "code"),
    [
        (watch_response(canceled=True, compact_revision=5), ErrorCode.OUT_OF_RANGE),
        (watch_response(canceled=True), ErrorCode.CANCELLED),
        (watch_response(created=True, canceled=True), ErrorCode.CANCELLED),
    ],
)
def test_a_watch_that_the_server_ends(response: Any, code: int) -> None:
    script = Script()
    stream = watching(script)
    assert brief(script.give(data(stream, response))) == [(5, code, 0)]
    assert script.frames() == [(RST_STREAM, 0, stream, (8).to_bytes(4, "big"))]
    assert int(script.link["http2"]["live"]) == 0


def test_a_watch_whose_call_ends() -> None:
    script = Script()
    for status, code in ((14, 14), (0, ErrorCode.CANCELLED)):
        stream = watching(script)
        assert brief(script.give(trailers(stream, status, b"leaving"))) == [(5, code, 0)]
        assert script.frames() == [(RST_STREAM, 0, stream, (8).to_bytes(4, "big"))]


# -- errors -----------------------------------------------------------------------------------------------------------


def test_an_error_with_its_message() -> None:
    script = Script()
    stream = script.put()
    text = b"etcdserver: mvcc: database space exceeded"
    assert brief(script.give(trailers(stream, 8, text.replace(b":", b"%3A")))) == [(0, 8, 0)]
    assert etcd.last_error(script.state) == (8, text.decode())


def test_an_error_after_headers_and_a_message() -> None:
    script = Script()
    stream = script.put()
    found = script.give(headers(stream) + data(stream, put_response(3)) + trailers(stream, 13, b"late"))
    assert brief(found) == [(0, 13, 3)]


def test_the_same_error_twice_is_told_twice() -> None:
    script = Script()
    for _ in range(3):
        script.state.shared["error_status"] = 0
        assert brief(script.give(trailers(script.put(), 8, b"full"))) == [(0, 8, 0)]
        assert etcd.last_error(script.state) == (8, "full")


@pytest.mark.parametrize(
    ("blocks", "code"),
    [
        ([b"\x8d"], 12),  # :status 404 and the end
        ([field(b":status", b"503")], 14),
        ([field(b":status", b"401")], 16),
        ([HEADERS_OK, b"\x88"], 2),  # trailers without grpc-status
        ([b"\x88" + field(b"content-type", b"text/html")], 2),
    ],
)
def test_answers_that_are_not_grpc(blocks: list[bytes], code: int) -> None:
    script = Script()
    stream = script.put()
    received = b"".join(frame(HEADERS, END_HEADERS, stream, block) for block in blocks[:-1])
    assert brief(script.give(received + frame(HEADERS, WHOLE, stream, blocks[-1]))) == [(0, code, 0)]
    assert int(script.link["unary"]) == 0


def test_an_error_page_with_a_body() -> None:
    script = Script()
    stream = script.put()
    block = field(b":status", b"502") + field(b"content-type", b"text/html")
    received = frame(HEADERS, END_HEADERS, stream, block) + frame(DATA, END_STREAM, stream, b"<html>")
    assert brief(script.give(received)) == [(0, 14, 0)]
    assert script.frames() == [(RST_STREAM, 0, stream, (8).to_bytes(4, "big"))]


def test_informational_headers_come_before_the_answer() -> None:
    script = Script()
    stream = script.put()
    early = frame(HEADERS, END_HEADERS, stream, field(b":status", b"100"))
    assert brief(script.give(early + answer(stream, put_response(4)))) == [(0, 0, 4)]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (framed(b"\x0a\x05\x08"), ErrorCode.PROTOCOL_ERROR),  # cut short within the header
        (framed(b"\x08\x05"), ErrorCode.PROTOCOL_ERROR),  # the header as a number
        (b"", ErrorCode.PROTOCOL_ERROR),  # no message at all
        (b"\0\0\0", ErrorCode.PROTOCOL_ERROR),
    ],
)
def test_damaged_messages(body: bytes, code: int) -> None:
    script = Script()
    stream = script.put()
    received = headers(stream) + frame(DATA, 0, stream, body) + trailers(stream)
    assert [pair[:2] for pair in brief(script.give(received))] == [(0, code)]


def test_a_compressed_message_ends_the_call() -> None:
    script = Script()
    stream = script.put()
    received = headers(stream) + frame(DATA, 0, stream, b"\1\0\0\0\1x") + trailers(stream)
    assert brief(script.give(received)) == [(0, ErrorCode.PROTOCOL_ERROR, 0)]
    assert script.frames() == [(RST_STREAM, 0, stream, (8).to_bytes(4, "big"))]


def test_a_response_too_large() -> None:
    script = Script()
    stream = script.put()
    received = headers(stream) + frame(DATA, 0, stream, b"\0\x7f\xff\xff\xffx")
    assert brief(script.give(received)) == [(0, ErrorCode.RESPONSE_TOO_LARGE, 0)]


def test_data_that_ends_the_stream_without_trailers() -> None:
    script = Script()
    stream = script.put()
    received = headers(stream) + frame(DATA, END_STREAM, stream, framed(put_response(3)))
    assert brief(script.give(received)) == [(0, ErrorCode.UNKNOWN, 3)]


@pytest.mark.parametrize(("reason", "code"), [(7, 14), (8, 1), (2, 13), (11, 8)])
def test_a_stream_reset_by_the_server(reason: int, code: int) -> None:
    script = Script()
    assert brief(script.give(http2.rst_stream(script.put(), reason))) == [(0, code, 0)]
    assert brief(script.give(answer(script.put(slot=2), put_response(6)))) == [(2, 0, 6)]


# -- however it is cut ------------------------------------------------------------------------------------------------


def flight(script: Script) -> bytes:
    """Answers to a put, a get and an error."""
    put = script.put(slot=1)
    assert script.submit(operation(Kind.GET, b"k"), 2) == 1
    get = script.request()[2]
    failed = script.put(slot=3)
    received = headers(put) + headers(get) + data(put, put_response(5)) + data(get, range_response(5, 4))
    return received + trailers(failed, 8, b"full") + trailers(get) + frame(PING, 0, 0, b"8 bytes!") + trailers(put)


EXPECTED = [(3, 8, 0), (2, 0, 4), (1, 0, 5)]


def test_answers_cut_at_every_byte() -> None:
    script = Script()
    received = flight(script)
    assert brief(script.give(received)) == EXPECTED
    for cut in range(1, len(received)):
        script = Script()
        received = flight(script)
        assert brief(script.give(received[:cut]) + script.give(received[cut:])) == EXPECTED
    script = Script()
    received = flight(script)
    assert brief([o for byte in received for o in script.give(bytes([byte]))]) == EXPECTED
    assert script.frames() == [(PING, 1, 0, b"8 bytes!")]


# More than HTTP/2's first window; interpreted, each byte costs.
@settings(max_examples=40 if JIT_ENABLED else 10)
@given(st.integers(1, 200_000), st.lists(st.integers(1, 16000), min_size=1, max_size=8), st.integers(1, 40000))
def test_large_responses_in_pieces(size: int, frames: list[int], pieces: int) -> None:
    script = Script()
    script.submit(operation(Kind.GET, b"k"), 2)
    stream = script.request()[2]
    message = framed(range_response(5, 4, value=b"x" * size))
    received = headers(stream)
    at = number = 0
    while at < len(message):
        step = frames[number % len(frames)] if number < 40 else 16000
        received += frame(DATA, 0, stream, message[at : at + step])
        at, number = at + step, number + 1
    received += trailers(stream)
    found = []
    pieces = max(pieces, len(received) // 500)
    for start in range(0, len(received), pieces):
        table.room(script.net, 0)
        if script.row["rx_start"] > 0:
            start_at, end_at = int(script.row["rx_start"]), int(script.row["rx_end"])
            script.net.rx[: end_at - start_at] = script.net.rx[start_at:end_at].copy()
            script.row["rx_start"], script.row["rx_end"] = 0, end_at - start_at
        found += script.give(received[start : start + pieces])
    assert brief(found) == [(2, 0, 4)]
    assert int(script.state.shared["pool"]["live"][0]) == 0


def test_random_bytes_never_hang() -> None:
    for seed in range(60):
        script = Script()
        script.put()
        script.give(np.random.default_rng(seed).bytes(200))
        assert len(script.lose()) + (script.link["unary"] == 0) >= 1
