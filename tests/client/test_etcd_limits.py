"""etcd's client against a server that is the test: windows, room, large requests, and the end of a connection."""

from typing import Any

import numpy as np
import pytest

from kvbench.client import etcd
from kvbench.net import table
from kvbench.net.records import OPEN
from kvbench.ops.errors import ErrorCode
from kvbench.ops.kinds import Kind
from kvbench.ops.records import OUTCOME
from kvbench.wire.http2_records import Http2Error
from kvbench.wire.proto import messages
from tests.client.driver import operation
from tests.client.etcd_script import (
    NOW,
    Script,
    answer,
    brief,
    framed,
    keep_alive,
    put_response,
    trailers,
    watch_response,
    watching,
)
from tests.naive import http2
from tests.naive.http2 import DATA, HEADERS, PING, RST_STREAM, frame

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


# -- limits -----------------------------------------------------------------------------------------------------------


def test_windows_block_and_open() -> None:
    script = Script(greet=False).open()
    value = b"v" * 16000
    accepted = 0
    streams = []
    while script.submit(operation(Kind.PUT, b"k", value), accepted) == 1:
        streams.append(script.request()[2])
        accepted += 1
    assert accepted == 4  # 65,535 bytes
    script.give(http2.window_update(0, 20000))
    assert script.submit(operation(Kind.PUT, b"k", value), 9) == 1


def sent_body(script: Script, streams: set[int]) -> bytes:
    """The DATA that the client wrote; every frame keeps to the largest size."""
    body = b""
    for kind, _, stream, payload in script.frames():
        assert len(payload) <= 16384
        if kind == DATA:
            streams.add(stream)
            body += payload
    return body


@pytest.mark.parametrize("initial", [65535, 100, 1 << 20])
@pytest.mark.parametrize("tx", [8192, 65536])
def test_a_large_request_goes_out_piece_by_piece(initial: int, tx: int) -> None:
    script = Script(greet=False, tx=tx, payload=400_000).open((4, initial))
    value = bytes(range(256)) * 1200
    assert script.submit(operation(Kind.PUT, b"k", value), 1) == 1
    streams: set[int] = set()
    body = sent_body(script, streams)
    assert script.submit(operation(Kind.PUT, b"other", b"v"), 2) == 0
    rounds = 0
    while len(body) < len(value) + 5:
        (stream,) = streams
        grown = http2.window_update(stream, 5000) + http2.window_update(0, 5000)
        assert script.give(grown) == []
        body += sent_body(script, streams)
        rounds += 1
        assert rounds < 200
    assert messages.PutRequest.FromString(body[5:]).value == value
    assert int(script.state.shared["pool"]["live"][0]) == 0
    (stream,) = streams
    assert brief(script.give(answer(stream, put_response(4)))) == [(1, 0, 4)]
    assert script.submit(operation(Kind.PUT, b"other", b"v"), 2) == 1


def test_a_large_request_goes_on_when_tx_has_left_or_the_window_opens() -> None:
    script = Script(greet=False, tx=8192, payload=40_000).open()
    assert script.submit(operation(Kind.PUT, b"k", b"v" * 30_000), 1) == 1
    assert script.row["more"] == 1  # room in tx is what it waits for
    script.raw(100)
    assert script.decode() == []
    assert script.row["more"] == 1
    sent = 0
    while script.row["more"] == 1:
        sent += len(script.raw())
        assert script.decode() == []
    assert sent + len(script.raw()) > 30_000
    assert int(script.link["large_place"]) == -1
    script = Script(greet=False, tx=8192, payload=40_000).open((4, 1000))
    assert script.submit(operation(Kind.PUT, b"k", b"v" * 30_000), 1) == 1
    assert script.row["more"] == 0  # only the server can open the window
    script.raw()
    assert script.submit(operation(Kind.PUT, b"other", b"v"), 2) == 0
    assert int(script.net.dirty[0]) == 0  # nothing to flush, else the loop would come back at once, for ever


def test_frames_that_need_answers_wait_for_room() -> None:
    script = Script(tx=4096)
    pings = [frame(PING, 0, 0, b"%08d" % number) for number in range(400)]
    assert script.give(b"".join(pings)) == []
    assert script.row["more"] == 1
    answers: list[Any] = []
    while script.row["more"] == 1:
        answers += script.frames()
        assert script.decode() == []
    answers += script.frames()
    assert [payload for _, _, _, payload in answers] == [b"%08d" % number for number in range(400)]


def test_a_large_request_whose_answer_comes_early() -> None:
    script = Script(payload=400_000)
    assert script.submit(operation(Kind.PUT, b"k", b"v" * 300_000), 1) == 1
    stream = script.frames()[0][2]
    assert brief(script.give(trailers(stream, 3, b"etcdserver: request is too large"))) == [(1, 3, 0)]
    assert script.frames() == [(RST_STREAM, 0, stream, (8).to_bytes(4, "big"))]
    assert int(script.state.shared["pool"]["live"][0]) == 0
    assert int(script.link["large_place"]) == -1


def test_a_large_request_that_times_out() -> None:
    script = Script(payload=400_000)
    assert script.submit(operation(Kind.PUT, b"k", b"v" * 300_000), 1) == 1
    script.frames()
    etcd.cancel(script.state, script.net, 0, 1, NOW)
    assert [f[0] for f in script.frames()] == [RST_STREAM]
    assert int(script.state.shared["pool"]["live"][0]) == 0
    assert script.give(http2.window_update(0, 1 << 20)) == []
    assert script.submit(operation(Kind.PUT, b"k", b"v"), 2) == 1


def test_a_request_larger_than_the_pool() -> None:
    script = Script()
    what = operation(Kind.PUT, b"k", b"v")
    what[0]["value_bytes"] = 70 << 20
    assert script.submit(what) == -ErrorCode.REQUEST_TOO_LARGE


def test_no_room_in_tx_blocks() -> None:
    script = Script(tx=4096)
    accepted = 0
    while script.submit(operation(Kind.PUT, b"k", b"v" * 256), accepted) == 1:
        accepted += 1
    assert accepted >= 5
    assert script.row["tx_end"] <= 4096 - 1024
    script.raw(1000)
    script.raw()
    assert script.submit(operation(Kind.PUT, b"k", b"v" * 256), 99) == 1


def test_as_many_streams_as_the_server_allows() -> None:
    script = Script(greet=False).open((3, 2))
    first, second = script.put(1), script.put(2)
    assert script.submit(operation(Kind.PUT, b"k", b"v"), 3) == 0
    script.give(answer(first, put_response(2)))
    assert script.put(3) > second


def test_buffers_that_are_too_small() -> None:
    net = table.new_net(1, [], 16384, 65536)
    assert etcd.opened(etcd.new_client(1, 8, 0), net, 0, NOW) == -700
    net = table.new_net(1, [], 65536, 2048)
    assert etcd.opened(etcd.new_client(1, 8, 0), net, 0, NOW) == -700


def test_sizes_of_a_client() -> None:
    assert etcd.new_client(100, 1000, 1000).links["http2"]["ring"][0] == 128
    assert etcd.new_client(1, 1, 1).links["http2"]["ring"][0] == 8
    assert etcd.new_client(1, 100_000, 1).links["http2"]["ring"][0] == 1024
    with pytest.raises(ValueError, match="power of two"):
        etcd.new_client(1, 1, 1, streams=100)


# -- the end of a connection ------------------------------------------------------------------------------------------


def test_goaway_fails_what_was_refused_and_waits_for_the_rest() -> None:
    script = Script(outcomes=3)
    streams = [script.put(slot) for slot in range(6)]
    assert brief(script.give(http2.goaway(streams[1], 0))) == [(slot, 14, 0) for slot in range(2, 6)]
    assert script.submit(operation(Kind.PUT, b"k", b"v"), 9) == 0
    assert brief(script.give(answer(streams[0], put_response(2)))) == [(0, 0, 2)]
    assert script.code == 0
    assert brief(script.give(answer(streams[1], put_response(3)))) == [(1, 0, 3)]
    assert script.code == Http2Error.DRAINED
    assert script.lose() == []


def test_goaway_with_a_watch_only() -> None:
    script = Script()
    stream = watching(script)
    assert script.give(http2.goaway(stream, 0)) == []
    assert script.code == Http2Error.DRAINED
    assert brief(script.lose()) == [(5, ErrorCode.CONNECTION_LOST, 0)]


def test_outcomes_before_damage_are_not_lost() -> None:
    script = Script()
    stream, other = script.put(1), script.put(2)
    received = answer(stream, put_response(4)) + frame(http2.PUSH_PROMISE, 4, other, bytes(4))
    assert brief(script.give(received)) == [(1, 0, 4)]
    assert script.code == Http2Error.PUSHED
    assert script.frames()[-1][0] == http2.GOAWAY
    assert brief(script.lose()) == [(2, ErrorCode.CONNECTION_LOST, 0)]


@pytest.mark.parametrize("space", [1, 2, 64])
def test_lost_tells_of_everything_and_leaves_nothing(space: int) -> None:
    script = Script(outcomes=max(space, 2), payload=400_000)
    stream = watching(script)
    expected: list[tuple[int, int]] = [(5, ErrorCode.CONNECTION_LOST)]
    for slot in range(10, 14):
        script.put(slot)
        expected.append((slot, ErrorCode.CONNECTION_LOST))
    for slot in range(20, 23):
        script.submit(keep_alive(slot), slot)
        expected.append((slot, ErrorCode.CONNECTION_LOST))
    etcd.cancel(script.state, script.net, 0, 21, NOW)
    expected.remove((21, ErrorCode.CONNECTION_LOST))
    script.submit(operation(Kind.MAKE_PARENT, b"d"), 30)
    expected.append((30, 0))
    script.submit(operation(Kind.PUT, b"k", b"v" * 300_000), 31)
    expected.append((31, ErrorCode.CONNECTION_LOST))
    half = framed(watch_response((10, b"v" * 30)))[:20]
    script.net.rx[: len(half) + 9] = np.frombuffer(frame(DATA, 0, stream, half), np.uint8)
    script.outcomes = np.zeros(space, OUTCOME)
    found = [pair[:2] for pair in brief(script.lose())]
    assert sorted(found) == sorted(expected)
    assert int(script.state.shared["pool"]["live"][0]) == 0
    for name in ("unary", "waiting", "prompt", "keep_alive_code", "sweep", "ping_ns", "broken"):
        assert int(script.link[name]) == 0, name
    script.outcomes = np.zeros(64, OUTCOME)
    script.open()
    assert brief(script.give(answer(script.put(7), put_response(2)))) == [(7, 0, 2)]
    script.submit(keep_alive(1), 8)
    assert [f[0] for f in script.frames()] == [HEADERS, DATA]


def test_a_cancelled_call_and_its_late_answer() -> None:
    script = Script()
    stream, other = script.put(1), script.put(2)
    assert etcd.cancel(script.state, script.net, 0, 1, NOW) == 0
    assert script.frames() == [(RST_STREAM, 0, stream, (8).to_bytes(4, "big"))]
    assert brief(script.give(answer(stream, put_response(4)) + answer(other, put_response(5)))) == [(2, 0, 5)]
    assert etcd.cancel(script.state, script.net, 0, 77, NOW) == 0
    assert script.frames() == []


def tick(script: Script, now: int) -> int:
    return int(etcd.tick(script.state, script.net, 0, now))


def test_pings_only_with_requests_in_flight() -> None:
    script = Script()
    assert tick(script, NOW + 60 * SECOND_NS) == 0
    assert script.frames() == []
    script.put()
    assert tick(script, NOW + 9 * SECOND_NS) == 0
    assert script.frames() == []
    assert tick(script, NOW + 10 * SECOND_NS) == 0
    (ping,) = script.frames()
    assert ping[:3] == (PING, 0, 0)
    assert tick(script, NOW + 29 * SECOND_NS) == 0
    assert tick(script, NOW + 30 * SECOND_NS) == Http2Error.PING_UNANSWERED


@pytest.mark.parametrize("life", [frame(PING, 1, 0, bytes(8)), http2.window_update(0, 1)])
def test_any_sign_of_life_answers_a_ping(life: bytes) -> None:
    script = Script()
    script.put()
    tick(script, NOW + 10 * SECOND_NS)
    script.frames()
    script.give(life, NOW + 25 * SECOND_NS)
    assert tick(script, NOW + 31 * SECOND_NS) == 0
    assert tick(script, NOW + 36 * SECOND_NS) == 0
    assert [f[0] for f in script.frames()] == [PING]


def test_nothing_is_pinged_before_the_greeting() -> None:
    script = Script(greet=False)
    script.row["state"] = OPEN
    etcd.opened(script.state, script.net, 0, NOW)
    script.raw()
    assert tick(script, NOW + 100 * SECOND_NS) == 0
    assert script.raw() == b""


def test_each_connection_has_its_own_state() -> None:
    state = etcd.new_client(2, 16, 0)
    net = table.new_net(2, [])
    what, payload = operation(Kind.PUT, b"k", b"v")
    for connection in range(2):
        etcd.opened(state, net, connection, NOW)
        net.connections[connection]["tx_end"] = 0
        greeting = np.frombuffer(http2.settings(), np.uint8)
        net.rx[connection * net.rx_bytes :][: len(greeting)] = greeting
        net.connections[connection]["rx_end"] = len(greeting)
        out = np.zeros(4, OUTCOME)
        assert etcd.receive(state, net, connection, NOW, out, 0) == 0
        assert etcd.submit(state, net, connection, 3, what, 1, payload, NOW) == 1
    assert [int(link["unary"]) for link in state.links] == [1, 1]
    out = np.zeros(4, OUTCOME)
    assert etcd.lost(state, net, 0, out, 0) == 1
    assert [int(link["unary"]) for link in state.links] == [0, 1]
