"""A gRPC server's end: requests however they are cut, answers however slowly they are read, and every bad input."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench.jit import JIT_ENABLED
from kvbench.server import grpc_answers, sweep
from kvbench.server.end_records import EndError
from kvbench.wire.proto import methods
from tests.naive import hpack, http2
from tests.naive.http2 import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    frame,
)
from tests.server.end_driver import WHOLE, Server, body, fields_block, framed, kinds, request, trailers


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    yield one
    one.close()


def answered(stream: int) -> list[tuple[int, int, int]]:
    return [(HEADERS, END_HEADERS, stream), (DATA, 0, stream), (HEADERS, WHOLE, stream)]


# -- requests and answers ---------------------------------------------------------------------------------------------


def test_a_request_and_its_answer(server: Server) -> None:
    peer = server.connect()
    peer.send(request(1, b"ask"))
    assert server.turn() == [b"ask"]
    server.answer_all(b"answer")
    frames = peer.take()
    assert kinds(frames) == answered(1)
    assert frames[1][3] == framed(b"answer")
    assert trailers(frames) == {b"grpc-status": b"0", b"grpc-message": b""}
    assert server.held() == (0, 0, 0)


def test_requests_at_every_cut(server: Server) -> None:
    peer = server.connect()
    stream = 1
    for cut in range(1, len(request(1, b"first") + request(3, b"x" * 20))):
        data = request(stream, b"first") + request(stream + 2, b"x" * 20)
        peer.send(data[:cut])
        found = server.turn()
        peer.send(data[cut:])
        assert found + server.turn() == [b"first", b"x" * 20]
        server.answer_all()
        assert kinds(peer.take()) == answered(stream) + answered(stream + 2)
        assert server.held() == (0, 0, 0)
        stream += 4


def test_byte_by_byte(server: Server) -> None:
    peer = server.connect()
    found = []
    for byte in request(1, b"one") + request(3, b"two"):
        peer.send(bytes([byte]))
        found += server.turn()
    assert found == [b"one", b"two"]


@settings(max_examples=40 if JIT_ENABLED else 10)
@given(st.lists(st.tuples(st.integers(0, 40_000), st.integers(1, 17_000)), min_size=1, max_size=4), st.randoms())
def test_bodies_in_pieces_of_several_streams_at_once(sizes: list[tuple[int, int]], random: Any) -> None:
    server = Server()
    peer = server.connect()
    streams = []
    for number, (size, step) in enumerate(sizes):
        stream = 1 + 2 * number
        content = bytes([65 + number]) * size
        data = framed(content)
        peer.send(frame(HEADERS, END_HEADERS, stream, fields_block(methods.PUT.path)))
        pieces = [data[at : at + min(step, 16384)] for at in range(0, len(data), min(step, 16384))]
        streams.append((stream, pieces, content))
    expected = sorted(content for _, _, content in streams)
    found: list[bytes] = []
    while any(pieces for _, pieces, _ in streams):
        stream, pieces, _ = random.choice([one for one in streams if one[1]])
        peer.send(frame(DATA, 0 if len(pieces) > 1 else END_STREAM, stream, pieces.pop(0)))
        found += server.turn()
    assert sorted(found + server.turn()) == expected
    server.close()


def test_many_messages_on_one_stream(server: Server) -> None:
    peer = server.connect()
    peer.send(frame(HEADERS, END_HEADERS, 1, fields_block(methods.LEASE_KEEP_ALIVE.path)))
    data = b"".join(framed(b"m%d" % i) for i in range(6))
    peer.send(frame(DATA, 0, 1, data[:11]) + frame(DATA, 0, 1, data[11:]))
    assert server.turn() == [b"m%d" % i for i in range(6)]
    for handle, message in server.requests:
        assert server.answer(handle, message, last=False)
    peer.send(frame(DATA, END_STREAM, 1))
    assert server.turn() == ["half-closed"]
    grpc_answers.finish(server.end, grpc_answers.call_of(server.end, server.requests[0][0]))
    server.flush()
    frames = peer.take()
    assert body(frames, 1) == data
    assert kinds(frames)[-1] == (HEADERS, WHOLE, 1)
    assert server.held() == (0, 0, 0)


def test_a_handle_finds_its_call_only(server: Server) -> None:
    peer = server.connect()
    peer.send(request(1, b"a"))
    server.turn()
    handle = server.requests[0][0]
    peer.send(http2.rst_stream(1, 8) + request(3, b"b"))
    assert server.turn() == [b"b"]
    assert grpc_answers.call_of(server.end, handle) == -1
    assert grpc_answers.call_of(server.end, server.requests[1][0]) >= 0
    assert grpc_answers.call_of(server.end, 12345) == -1


def test_an_answer_before_the_request_is_all_there(server: Server) -> None:
    peer = server.connect()
    peer.send(request(1, b"a", ends=False))
    server.turn()
    server.answer_all()
    assert kinds(peer.take()) == [*answered(1), (RST_STREAM, 0, 1)]
    peer.send(frame(DATA, END_STREAM, 1, b"late") + request(3, b"c"))
    assert server.turn() == [b"c"]


def test_a_store_error_keeps_its_status_and_text(server: Server) -> None:
    from kvbench.ops.status import StoreError

    peer = server.connect()
    peer.send(request(1, b"a"))
    server.turn()
    grpc_answers.fail_store(server.end, grpc_answers.call_of(server.end, server.requests[0][0]), StoreError.COMPACTED)
    server.flush()
    frames = peer.take()
    assert kinds(frames) == [(HEADERS, WHOLE, 1)]
    assert trailers(frames) == {
        b":status": b"200",
        b"content-type": b"application/grpc",
        b"grpc-status": b"11",
        b"grpc-message": b"etcdserver: mvcc: required revision has been compacted",
    }


# -- flow control -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("initial", [0, 1, 9])
def test_answers_wait_for_small_windows(server: Server, initial: int) -> None:
    peer = server.connect((4, initial))
    peer.send(request(1, b"a") + request(3, b"b"))
    server.turn()
    server.answer_all(b"the answer")
    frames = peer.take()
    for _ in range(40):
        for stream in (1, 3):
            if server.held()[0]:
                peer.send(http2.window_update(stream, 1))
                frames += peer.take()
    assert server.held() == (0, 0, 0)
    for stream in (1, 3):
        assert body(frames, stream) == framed(b"the answer")
        assert [one[:2] for one in frames if one[2] == stream][-1] == (HEADERS, WHOLE)


def test_large_answers_share_the_connection(server: Server) -> None:
    peer = server.connect((4, 1 << 30))
    peer.send(http2.window_update(0, 1 << 30))
    peer.send(request(1, b"a") + request(3, b"b") + request(5, b"c"))
    server.turn()
    large = bytes(range(256)) * 8000
    (first, _), (second, _), (third, _) = server.requests
    assert server.answer(first, large)
    assert server.answer(second, large)
    assert server.answer(third, b"small")
    server.flush()
    frames = peer.take()
    assert body(frames, 1) == framed(large) == body(frames, 3)
    assert body(frames, 5) == framed(b"small")
    assert {len(payload) for kind, *_, payload in frames if kind == DATA} <= set(range(16385))
    ended = [one[2] for one in frames if one[:2] == (HEADERS, WHOLE)]
    assert ended[0] == 5
    assert server.held() == (0, 0, 0)


def test_a_connection_may_hold_so_much_and_no_more() -> None:
    server = Server(held_bytes_max=300_000)
    peer, other = server.connect((4, 0)), server.connect()
    peer.send(b"".join(request(1 + 2 * i, b"a") for i in range(4)))
    other.send(request(1, b"b"))
    server.turn()
    handles = [handle for handle, message in server.requests if message == b"a"]
    assert [server.answer(handle, bytes(100_000)) for handle in handles] == [True, True, False, False]
    assert server.answer(server.requests[-1][0], bytes(30_000))
    server.flush()
    assert len(body(other.take(), 1)) == 30_005
    peer.send(http2.rst_stream(1, 8))
    server.turn()
    assert server.answer(handles[2], bytes(100_000))
    server.close()


def test_small_responses_queue_on_a_stream_up_to_a_limit(server: Server) -> None:
    peer = server.connect((4, 0))
    peer.send(frame(HEADERS, END_HEADERS, 1, fields_block(methods.WATCH.path)) + frame(DATA, 0, 1, framed(b"w")))
    server.turn()
    handle = server.requests[0][0]
    sent = b""
    number = 0
    while server.answer(handle, message := b"%d" % number * 1000, last=False):
        sent += framed(message)
        number += 1
    assert grpc_answers.QUEUED_BYTES_MAX - 10_000 < len(sent) <= grpc_answers.QUEUED_BYTES_MAX
    grpc_answers.finish(server.end, grpc_answers.call_of(server.end, handle))
    peer.send(http2.window_update(0, 1 << 30) + http2.window_update(1, 1 << 30))
    frames = peer.take()
    assert body(frames, 1) == sent
    assert kinds(frames)[-1] == (RST_STREAM, 0, 1)
    assert server.held() == (0, 0, 0)


def test_a_call_that_is_owed_an_answer_and_reset(server: Server) -> None:
    peer = server.connect((4, 0))
    for stream in (1, 3, 5):
        peer.send(request(stream, b"a"))
    server.turn()
    server.answer_all()
    for stream, left in ((3, 2), (5, 1), (1, 0)):
        peer.send(http2.rst_stream(stream, 8))
        server.turn()
        assert server.held()[:2] == (left, left)


def test_a_reader_that_stops_blocks_itself_alone(server: Server) -> None:
    peer, other = server.connect(), server.connect()
    pings = b"".join(frame(PING, 0, 0, i.to_bytes(8, "big")) for i in range(45_000))
    for at in range(0, len(pings), 100_000):
        if peer.link["blocked"]:
            break
        peer.send(pings[at : at + 100_000])
        server.turn()
    assert peer.link["blocked"] == 1
    assert server.held()[2] < 1 << 20
    other.send(request(1, b"still"))
    assert server.turn() == [b"still"]
    server.answer_all()
    assert kinds(other.take()) == answered(1)
    peer.take()
    assert peer.link["blocked"] == 0


# -- refused calls ----------------------------------------------------------------------------------------------------

LONG_FIELD = b"\x00\x01a" + hpack.string(b"x" * 33_000, False)


@pytest.mark.parametrize(
    ("block", "content", "expected"),
    [
        (fields_block(methods.PUT.path, b"GET"), b"", {b":status": b"415"}),
        (fields_block(methods.PUT.path, media=b"text/html"), b"", {b":status": b"415"}),
        (fields_block("/etcdserverpb.Auth/AuthEnable"), framed(b""), {b"grpc-status": b"12"}),
        (fields_block(methods.PUT.path), b"\1\0\0\0\0", {b"grpc-status": b"12"}),
        (fields_block(methods.PUT.path), b"\7\0\0\0\0", {b"grpc-status": b"13"}),
        (fields_block(methods.PUT.path), b"", {b"grpc-status": b"13"}),
        (fields_block(methods.PUT.path), b"\0\0\0\0\5abc", {b"grpc-status": b"13"}),
        (
            fields_block(methods.PUT.path),
            b"\0\0\x20\0\1abc",
            {b"grpc-status": b"8", b"grpc-message": b"grpc: received message larger than max (2097153 vs. 2097152)"},
        ),
        (fields_block(methods.PUT.path) + LONG_FIELD, b"", {b"grpc-status": b"8"}),
    ],
)
def test_what_is_wrong_is_refused(server: Server, block: bytes, content: bytes, expected: dict[bytes, bytes]) -> None:
    peer = server.connect()
    for stream in (1, 3):
        head = [block[at : at + 16384] for at in range(0, len(block), 16384)]
        peer.send(frame(HEADERS, END_HEADERS if len(head) == 1 else 0, stream, head[0]))
        for number, piece in enumerate(head[1:], 2):
            peer.send(frame(CONTINUATION, END_HEADERS if number == len(head) else 0, stream, piece))
        server.turn()
        peer.send(frame(DATA, END_STREAM, stream, content))
        assert server.turn() == []
        frames = peer.take()
        assert (HEADERS, WHOLE, stream) in kinds(frames)
        assert expected.items() <= trailers(frames).items()
        assert server.held() == (0, 0, 0)
    peer.send(request(5, b"fine"))
    assert server.turn() == [b"fine"]


def test_a_request_without_a_body(server: Server) -> None:
    peer = server.connect()
    peer.send(frame(HEADERS, WHOLE, 1, fields_block(methods.PUT.path)))
    assert server.turn() == []
    assert trailers(peer.take())[b"grpc-status"] == b"13"


def test_more_calls_than_there_is_room_for() -> None:
    server = Server(calls=3)
    peer = server.connect()
    peer.send(b"".join(request(1 + 2 * i, b"a") for i in range(5)))
    assert server.turn() == [b"a"] * 3
    assert [one[2] for one in peer.take() if one[:2] == (HEADERS, WHOLE)] == [7, 9]
    server.answer_all()
    peer.send(request(11, b"again"))
    assert server.turn() == [b"again"]
    server.close()


def test_streams_are_told_that_their_user_must_know(server: Server) -> None:
    peer = server.connect()
    peer.send(frame(HEADERS, END_HEADERS, 1, fields_block(methods.WATCH.path)) + frame(DATA, 0, 1, framed(b"w")))
    assert server.turn() == [b"w"]
    server.end.calls[grpc_answers.call_of(server.end, server.requests[0][0])]["tag"] = 7
    peer.send(http2.rst_stream(1, 8))
    assert server.turn() == ["cancelled"]
    peer.send(frame(HEADERS, END_HEADERS, 3, fields_block(methods.WATCH.path)) + frame(DATA, 0, 3, framed(b"x")))
    server.turn()
    server.end.calls[grpc_answers.call_of(server.end, server.requests[1][0])]["tag"] = 7
    peer.send(frame(DATA, 0, 3, b"\7\0\0\0\0"))
    assert server.turn() == ["cancelled"]
    assert trailers(peer.take())[b"grpc-status"] == b"13"
    assert server.held() == (0, 0, 0)


def test_who_waits_hears_that_nothing_is_owed_any_more(server: Server) -> None:
    peer = server.connect((4, 0))
    peer.send(frame(HEADERS, END_HEADERS, 1, fields_block(methods.WATCH.path)) + frame(DATA, 0, 1, framed(b"w")))
    server.turn()
    handle = server.requests[0][0]
    number = int(grpc_answers.call_of(server.end, handle))
    assert server.answer(handle, b"event", last=False)
    server.end.calls[number]["waits"] = 1
    server.flush()
    assert grpc_answers.take_writable(server.end) == -1
    peer.send(http2.window_update(1, 100))
    server.turn()
    assert [grpc_answers.take_writable(server.end) for _ in range(2)] == [number, -1]


# -- connections that are broken off ----------------------------------------------------------------------------------


def bomb() -> bytes:
    table = hpack.Table()
    return hpack.encode_field(table, (b"b", b"x" * 4000), 1, False) + b"\xbe" * 200


@pytest.mark.parametrize(
    ("data", "why", "reason"),
    [
        (frame(PING, 0, 0, b"short"), "BAD_FRAME_SIZE", 6),
        (frame(DATA, 0, 9, b"x"), "IDLE_STREAM", 1),
        (b"\x01\x00\x00\x00\x00\x00\x00\x00\x01", "FRAME_TOO_LARGE", 6),
        (frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff"), "-301", 9),
        (frame(HEADERS, END_HEADERS, 1, bomb()), "-305", 11),
        (frame(HEADERS, 0, 1, b"x" * 16384) + frame(CONTINUATION, 0, 1, b"x" * 16384) * 4, "BLOCK_TOO_LARGE", 11),
        (http2.window_update(0, 0), "ZERO_INCREMENT", 1),
    ],
)
def test_malformed_frames_end_the_connection_and_no_other(server: Server, data: bytes, why: str, reason: int) -> None:
    peer, other = server.connect(), server.connect()
    peer.send(request(1, b"before") + data)
    other.send(request(1, b"other"))
    assert sorted(map(str, server.turn())) == sorted([str(b"before"), str(b"other"), why])
    frames = peer.take()
    assert (frames[-1][0], frames[-1][3][4:8]) == (GOAWAY, reason.to_bytes(4, "big"))
    assert peer.is_closed()
    assert server.held()[0] == 1
    assert server.answer(server.requests[-1][0], b"fine")
    server.flush()
    assert kinds(other.take()) == answered(1)


def test_no_preface(server: Server) -> None:
    peer = server.connect(greeted=False)
    peer.send(b"PRI * HTTP/2.1\r\n\r\nSM\r\n\r\n")
    assert server.turn() == ["BAD_PREFACE"]


def test_a_flood_of_resets(server: Server) -> None:
    peer = server.connect()
    server.state["resets_max"] = 100
    peer.send(b"".join(request(1 + 2 * i, b"a") + http2.rst_stream(1 + 2 * i, 8) for i in range(100)))
    assert server.turn() == [b"a"] * 100
    assert server.held() == (0, 0, 0)
    peer.send(request(201, b"a") + http2.rst_stream(201, 8))
    assert server.turn()[-1] == "CALM"
    assert peer.take()[-1][3][4:8] == (11).to_bytes(4, "big")


@pytest.mark.parametrize("flood", [frame(PING, 0, 0, bytes(8)), http2.settings((3, 5)), frame(99, 0, 0)])
def test_a_flood_of_frames_that_carry_nothing(server: Server, flood: bytes) -> None:
    peer = server.connect()
    server.state["idle_frames_max"] = 50
    peer.send(flood * 49)
    assert server.turn() == []
    server.now += 10**9
    assert sweep.sweep(server.end, server.now, 10) == -1
    peer.send(flood * 50)
    assert server.turn() == []
    peer.send(flood)
    assert server.turn() == ["CALM"]
    assert peer.take()[-1][3][4:8] == (11).to_bytes(4, "big")


@pytest.mark.parametrize(
    ("data", "greeted"),
    [
        (b"", False),
        (PREFACE[:10], False),
        (PREFACE, False),
        (frame(PING, 0, 0, bytes(8))[:12], True),
        (frame(HEADERS, 0, 1, b"\x82"), True),
        (request(1, b"x" * 100, ends=False)[:-50], True),
        (request(1, b"x" * 20_000, ends=False)[:-50], True),
    ],
)
def test_whoever_stops_in_the_middle_is_dropped_in_time(server: Server, data: bytes, greeted: bool) -> None:
    peer, other = server.connect(greeted=greeted), server.connect()
    other.send(request(1, b"slow answer"))
    peer.send(data)
    server.turn()
    server.now += 4_000_000_000
    assert sweep.sweep(server.end, server.now, 10) == -1
    server.now += 30_000_000_000
    assert sweep.sweep(server.end, server.now, 10) == peer.position
    assert peer.link["broken"] == EndError.STALLED
    server.drop(peer.position, EndError.STALLED)
    assert sweep.sweep(server.end, server.now, 10) == -1


def test_an_idle_connection_may_stay_for_ever(server: Server) -> None:
    peer = server.connect()
    peer.send(request(1, b"a"))
    server.turn()
    server.now += 10**15
    assert sweep.sweep(server.end, server.now, 10) == -1


def test_who_takes_nothing_goes_when_memory_is_short() -> None:
    server = Server(arena_bytes=1 << 20)
    peer = server.connect((4, 0))
    peer.send(request(1, b"a"))
    server.turn()
    assert sweep.sweep(server.end, server.now, 1) == -1
    assert server.answer(server.requests[0][0], bytes(500_000))
    server.now += 20_000_000_000
    assert sweep.sweep(server.end, server.now, 1) == -1
    peer.send(request(3, b"b"))
    server.turn()
    assert server.answer(server.requests[1][0], bytes(200_000))
    assert sweep.sweep(server.end, server.now, 1) == peer.position
    assert peer.link["broken"] == EndError.UNSENT
    server.close()


def test_memory_goes_back_when_nothing_is_held() -> None:
    server = Server(arena_bytes=64 << 20, held_bytes_max=64 << 20)
    peer = server.connect((4, 0))
    peer.send(request(1, b"a"))
    server.turn()
    assert server.answer(server.requests[0][0], b"x" * (20 << 20))
    high = int(server.state["pool"]["highest"])
    sweep.trim(server.end)
    assert int(server.state["pool"]["highest"]) == high
    peer.send(http2.rst_stream(1, 8))
    server.turn()
    server.flush()
    assert server.held() == (0, 0, 0)
    touched = (server.end.arena[high - (30 << 20) : high] == 120).any()
    sweep.trim(server.end)
    assert touched
    assert not server.end.arena[high - (30 << 20) : high].any()
    server.close()


@settings(deadline=None, max_examples=80)
@given(st.binary(max_size=300), st.integers(0, 200))
def test_random_bytes_do_no_harm(data: bytes, keep: int) -> None:
    server = Server(arena_bytes=1 << 20)
    peer, other = server.connect(), server.connect()
    peer.send(request(1, b"v" * 50)[:keep] + data)
    server.turn()
    server.requests.clear()
    other.send(request(1, b"other"))
    assert server.turn() == [b"other"]
    server.close()
