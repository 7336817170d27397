"""The HTTP/2 state machine: both ends joined and cut anywhere, a plain twin, and every connection error by name."""

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench.wire import http2_frames, http2_records
from kvbench.wire.http2_records import CLIENT, SERVER, WINDOW_MAX
from tests.naive import hpack as naive_hpack
from tests.naive import http2 as naive
from tests.naive.http2 import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HAS_PRIORITY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
)
from tests.wire.http2_ends import End

METHOD_GET, STATUS_200 = b"\x82", b"\x88"
GET, OK = [(b":method", b"GET")], [(b":status", b"200")]
WHOLE = END_HEADERS | END_STREAM


def ready_server(ring: int = 256) -> End:
    """A server that has a client's preface and settings, and whose own greeting is read."""
    server = End(SERVER, ring)
    assert server.feed(PREFACE + naive.settings()) == [("settings",)]
    server.sent()
    return server


def ready_client(ring: int = 256, *settings: tuple[int, int]) -> End:
    """A client that has a server's settings."""
    client = End(CLIENT, ring)
    assert client.feed(naive.settings(*settings)) == [("settings",)]
    client.sent()
    return client


# -- both ends joined -------------------------------------------------------------------------------------------------


def conversation(cut: int) -> list[list[tuple[Any, ...]]]:
    """A request and its response between two ends whose bytes arrive in two pieces, cut at ``cut`` of each flight."""
    client, server = End(CLIENT), End(SERVER)
    heard: list[list[tuple[Any, ...]]] = [[], []]

    def carry(data: bytes, to: End, log: list[tuple[Any, ...]]) -> None:
        at = cut % (len(data) + 1)
        log += to.feed(data[:at]) + to.feed(data[at:])

    carry(client.sent(), server, heard[1])
    carry(server.sent(), client, heard[0])
    carry(client.sent(), server, heard[1])
    stream = client.open()
    request = frame(HEADERS, END_HEADERS, stream, METHOD_GET) + frame(DATA, END_STREAM, stream, b"question")
    carry(request, server, heard[1])
    answer = frame(HEADERS, END_HEADERS, stream, STATUS_200)
    answer += frame(DATA, 0, stream, b"ans") + frame(DATA, 0, stream, b"wer")
    carry(answer + frame(HEADERS, WHOLE, stream, STATUS_200) + frame(PING, 0, 0, b"12345678"), client, heard[0])
    carry(client.sent(), server, heard[1])
    return heard


def test_both_ends_joined_and_cut_at_every_byte() -> None:
    expected = conversation(0)
    assert expected[0] == [
        ("settings",),
        ("window",),
        ("headers", 1, OK, False),
        ("data", 1, b"ans", False),
        ("data", 1, b"wer", False),
        ("headers", 1, OK, True),
    ]
    assert expected[1] == [
        ("settings",),
        ("window",),
        ("headers", 1, GET, False),
        ("data", 1, b"question", True),
        ("ping answered",),
    ]
    for cut in range(1, 120):
        assert conversation(cut) == expected, f"cut at {cut}"


def test_byte_by_byte_the_events_are_the_same() -> None:
    request = frame(HEADERS, END_HEADERS, 1, METHOD_GET) + frame(DATA, END_STREAM, 1, b"abc")
    data = PREFACE + naive.settings((4, 99)) + request
    whole, bytewise = End(SERVER), End(SERVER)
    expected = whole.feed(data)
    assert [event for byte in data for event in bytewise.feed(bytes([byte]))] == expected
    assert bytewise.sent() == whole.sent()


def test_greetings() -> None:
    sent = End(CLIENT).sent()
    assert sent.startswith(PREFACE)
    settings_frame, window = naive.split(sent[len(PREFACE) :])
    announced = dict(struct.iter_unpack(">HI", settings_frame[3]))
    assert announced == {1: 0, 2: 0, 4: http2_records.STREAM_WINDOW, 6: 32768}
    assert window == (WINDOW_UPDATE, 0, 0, (WINDOW_MAX - 65535).to_bytes(4, "big"))
    assert naive.split(End(SERVER).sent())[0][0] == SETTINGS


# -- against the twin -------------------------------------------------------------------------------------------------

STREAMS = st.sampled_from([0, 1, 2, 3, 5, 7])
PIECES = st.sampled_from([b"", METHOD_GET, b"\x40\x01a\x01b", b"\xbe", b"\x00\x01c\x02de", b"\xff", b"\x20", b"\x84"])


@st.composite
def frames(draw: Any) -> bytes:
    """Any frame, mostly sensible."""
    kind = draw(st.sampled_from([DATA, HEADERS, HEADERS, DATA, *range(2, 12)]))
    flags = draw(st.sampled_from([0, END_STREAM, END_HEADERS, WHOLE, PADDED | END_HEADERS, WHOLE | HAS_PRIORITY, 255]))
    stream = draw(STREAMS)
    if kind in (HEADERS, CONTINUATION):
        payload = draw(PIECES)
        if flags & HAS_PRIORITY:
            payload = bytes(5) + payload
    elif kind == SETTINGS:
        stream = draw(st.sampled_from([0, 0, 0, 1]))
        flags = draw(st.sampled_from([0, 0, ACK]))
        value = st.sampled_from([0, 1, 2, 100, 16384, 65535, WINDOW_MAX, WINDOW_MAX + 1])
        payload = naive.settings(*draw(st.lists(st.tuples(st.integers(1, 8), value), max_size=2)))[9:]
    elif kind in (RST_STREAM, WINDOW_UPDATE):
        payload = draw(st.sampled_from([0, 1, 8, 70000, WINDOW_MAX])).to_bytes(4, "big")
    else:
        payload = draw(st.sampled_from([b"", b"x", b"12345", b"12345678", b"1234567890"]))
    if flags & PADDED and kind in (DATA, HEADERS):
        payload = naive.padded(payload, draw(st.integers(0, 3)))
    if draw(st.integers(0, 19)) == 0:
        payload = payload[:-1]
    return frame(kind, flags, stream, payload)


@settings(deadline=None, max_examples=400)
@given(st.lists(frames(), max_size=12), st.integers(0, 400), st.integers(0, 30))
def test_server_does_what_the_twin_does(parts: list[bytes], cut: int, first: int) -> None:
    server, twin = End(SERVER, greeted=False), naive.Server()
    data = (b"" if first == 0 else naive.settings()) + b"".join(parts)
    found = server.feed(PREFACE + data[:cut]) + server.feed(data[cut:])
    expected: list[tuple[Any, ...]] = []
    try:
        for part in naive.split(data):
            expected += twin.take(*part)
    except naive.Broken as error:
        expected.append(("broken", str(error)))
    assert found == expected
    sent = naive.split(server.sent())
    if server.error:
        assert sent.pop()[:3] == (GOAWAY, 0, 0)
        return
    assert sent == twin.answers
    assert int(server.h2["live"]) == len(twin.streams)
    assert int(server.h2["send_window"]) == twin.send_window
    for stream, live in twin.streams.items():
        entry = server.h2["streams"][server.place(stream)]
        assert (int(entry["send_window"]), int(entry["receive_left"])) == (live.window, live.left)


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=120))
def test_random_bytes_end_in_an_error_or_nothing(data: bytes) -> None:
    for end in (ready_server(), ready_client()):
        end.feed(data)
        assert int(end.h2["live"]) >= 0


# -- connection errors ------------------------------------------------------------------------------------------------

BLOCK = frame(HEADERS, END_HEADERS, 1, METHOD_GET)


@pytest.mark.parametrize(
    ("data", "error", "reason"),
    [
        (b"\x00\x40\x01" + bytes(6), "FRAME_TOO_LARGE", 6),
        (frame(PING, 0, 0, b"1234567"), "BAD_FRAME_SIZE", 6),
        (frame(RST_STREAM, 0, 1, b"123"), "BAD_FRAME_SIZE", 6),
        (frame(WINDOW_UPDATE, 0, 0, b"123"), "BAD_FRAME_SIZE", 6),
        (frame(SETTINGS, 0, 0, b"12345"), "BAD_FRAME_SIZE", 6),
        (frame(SETTINGS, ACK, 0, bytes(6)), "BAD_FRAME_SIZE", 6),
        (frame(GOAWAY, 0, 0, b"1234567"), "BAD_FRAME_SIZE", 6),
        (frame(DATA, 0, 0, b"x"), "BAD_STREAM_ID", 1),
        (frame(HEADERS, END_HEADERS, 0, METHOD_GET), "BAD_STREAM_ID", 1),
        (frame(HEADERS, END_HEADERS, 2, METHOD_GET), "BAD_STREAM_ID", 1),
        (frame(PING, 0, 1, bytes(8)), "BAD_STREAM_ID", 1),
        (frame(SETTINGS, 0, 1), "BAD_STREAM_ID", 1),
        (frame(GOAWAY, 0, 1, bytes(8)), "BAD_STREAM_ID", 1),
        (frame(RST_STREAM, 0, 0, bytes(4)), "BAD_STREAM_ID", 1),
        (frame(PRIORITY, 0, 0, bytes(5)), "BAD_STREAM_ID", 1),
        (frame(CONTINUATION, 0, 0), "BAD_STREAM_ID", 1),
        (BLOCK + frame(DATA, PADDED, 1, b"\x05abcd"), "BAD_PADDING", 1),
        (BLOCK + frame(DATA, PADDED, 1, b""), "BAD_PADDING", 1),
        (frame(HEADERS, END_HEADERS | PADDED, 1, b""), "BAD_PADDING", 1),
        (frame(HEADERS, END_HEADERS | PADDED, 1, b"\x02\x82"), "BAD_PADDING", 1),
        (frame(HEADERS, END_HEADERS | HAS_PRIORITY, 1, b"1234"), "BAD_PADDING", 1),
        (naive.settings((2, 2)), "BAD_SETTING", 1),
        (naive.settings((5, 16383)), "BAD_SETTING", 1),
        (naive.settings((5, 1 << 24)), "BAD_SETTING", 1),
        (naive.settings((4, 1 << 31)), "WINDOW_OVERFLOW", 3),
        (naive.window_update(0, WINDOW_MAX), "WINDOW_OVERFLOW", 3),
        (BLOCK + naive.window_update(1, 1) + naive.settings((4, WINDOW_MAX)), "WINDOW_OVERFLOW", 3),
        (naive.window_update(0, 0), "ZERO_INCREMENT", 1),
        (frame(HEADERS, 0, 1, METHOD_GET) + frame(PING, 0, 0, bytes(8)), "CONTINUATION_EXPECTED", 1),
        (frame(HEADERS, 0, 1, METHOD_GET) + frame(CONTINUATION, 4, 3), "CONTINUATION_EXPECTED", 1),
        (frame(CONTINUATION, END_HEADERS, 1, METHOD_GET), "UNEXPECTED_CONTINUATION", 1),
        (frame(HEADERS, 0, 1, METHOD_GET) + frame(CONTINUATION, 0, 1, bytes(16384)) * 4, "BLOCK_TOO_LARGE", 11),
        (frame(DATA, 0, 9, b"x"), "IDLE_STREAM", 1),
        (frame(RST_STREAM, 0, 9, bytes(4)), "IDLE_STREAM", 1),
        (naive.window_update(9, 1), "IDLE_STREAM", 1),
        (frame(PUSH_PROMISE, 4, 1, bytes(4)), "PUSHED", 1),
        (frame(HEADERS, END_HEADERS, 1, b"\xbe"), "BAD_INDEX", 9),
        (frame(HEADERS, END_HEADERS, 1, b"\x40"), "TRUNCATED", 9),
    ],
)
def test_connection_errors(data: bytes, error: str, reason: int) -> None:
    server = ready_server()
    assert server.feed(data)[-1] == ("broken", error)
    kind, _, stream, payload = naive.split(server.sent())[-1]
    assert (kind, stream, int.from_bytes(payload[4:], "big")) == (GOAWAY, 0, reason)


def test_a_wrong_preface() -> None:
    for cut in range(1, len(PREFACE)):
        server = End(SERVER)
        server.feed(PREFACE[:cut])
        assert server.feed(bytes([PREFACE[cut] ^ 1]))[-1] == ("broken", "BAD_PREFACE")


@pytest.mark.parametrize("role", [CLIENT, SERVER])
def test_settings_come_first(role: int) -> None:
    end = End(role)
    greeting = PREFACE if role == SERVER else b""
    assert end.feed(greeting + frame(PING, 0, 0, bytes(8)))[-1] == ("broken", "SETTINGS_EXPECTED")


def test_a_client_takes_no_stream_from_the_server() -> None:
    for stream in (1, 2):
        client = ready_client()
        assert client.feed(frame(HEADERS, END_HEADERS, stream, STATUS_200))[-1] == ("broken", "IDLE_STREAM")
    assert ready_client().feed(naive.settings((2, 1)))[-1] == ("broken", "BAD_SETTING")


# -- windows and streams ----------------------------------------------------------------------------------------------


def test_initial_window_changes_live_streams_and_may_go_below_zero() -> None:
    client = ready_client()
    first = client.open()
    client.h2["streams"][client.place(first)]["send_window"] -= 60000
    client.feed(naive.settings((4, 100)))
    second = client.open()
    assert (client.window(first), client.window(second)) == (100 - 60000, 100)
    client.feed(naive.window_update(first, 60001) + naive.window_update(0, 5))
    assert (client.window(first), int(client.h2["send_window"])) == (101, 65540)


def test_received_data_is_granted_again_once_half_is_used() -> None:
    server = ready_server()
    server.feed(BLOCK)
    server.h2["receive_left"] = (WINDOW_MAX >> 1) + 5
    server.h2["streams"][server.place(1)]["receive_left"] = (http2_records.STREAM_WINDOW >> 1) + 8
    server.feed(frame(DATA, 0, 1, b"12345"))
    assert server.sent() == b""
    server.feed(frame(DATA, 0, 1, b"1"))
    missing = WINDOW_MAX - (WINDOW_MAX >> 1) + 1
    assert naive.split(server.sent()) == [(WINDOW_UPDATE, 0, 0, missing.to_bytes(4, "big"))]
    server.feed(frame(DATA, 0, 1, b"123"))
    assert naive.split(server.sent()) == [(WINDOW_UPDATE, 0, 1, ((1 << 29) + 1).to_bytes(4, "big"))]


def test_a_peer_that_sends_beyond_its_windows() -> None:
    server = ready_server()
    server.feed(BLOCK)
    server.h2["streams"][server.place(1)]["receive_left"] = 3
    assert server.feed(frame(DATA, 0, 1, b"1234")) == [("reset", 1, 3)]
    server.h2["receive_left"] = 2
    assert server.feed(frame(DATA, 0, 1, b"123"))[-1] == ("broken", "WINDOW_EXCEEDED")


def test_frames_for_a_stream_that_was_given_up_are_ignored_but_counted() -> None:
    client = ready_client()
    stream = client.open()
    client.tx_at = http2_frames.reset_stream(client.h2, client.place(stream), 8, client.tx, 0)
    assert naive.split(client.sent()) == [(RST_STREAM, 0, stream, (8).to_bytes(4, "big"))]
    late = frame(HEADERS, END_HEADERS, stream, b"\x40\x01a\x01b") + frame(DATA, 0, stream, b"12345")
    late += naive.window_update(stream, 5) + naive.rst_stream(stream, 2) + frame(DATA, END_STREAM, stream, b"")
    assert client.feed(late) == []
    assert int(client.h2["receive_left"]) == WINDOW_MAX - 5
    assert int(client.h2["decoder"]["held"]) == 1


def test_streams_are_limited_by_the_peer_and_by_the_ring() -> None:
    client = ready_client(256, (3, 2))
    assert [client.open(), client.open(), client.open()] == [1, 3, 0]
    client.feed(frame(HEADERS, END_HEADERS, 1, STATUS_200) + naive.rst_stream(1, 0))
    assert client.open() == 5
    small = ready_client(8)
    assert [small.open() for _ in range(9)] == [1, 3, 5, 7, 9, 11, 13, 15, 0]


def test_ids_whose_places_are_taken_are_skipped() -> None:
    client = ready_client(16)
    opened = [client.open() for _ in range(16)]
    kept = set(opened[2:12])
    for stream in opened:
        if stream not in kept:
            http2_frames.free_stream(client.h2, client.place(stream))
    seen = set()
    for _ in range(40):
        stream = client.open()
        assert stream > max(opened)
        assert client.place(stream) >= 0
        seen.add(stream)
        http2_frames.free_stream(client.h2, client.place(stream))
        assert all(client.place(other) >= 0 for other in kept)
    assert int(client.h2["live"]) == len(kept)
    assert len(seen) == 40


def test_a_server_refuses_a_stream_that_finds_no_place() -> None:
    server = ready_server(8)
    for stream in range(1, 17, 2):
        assert server.feed(frame(HEADERS, END_HEADERS, stream, METHOD_GET)) == [("headers", stream, GET, False)]
    assert server.feed(frame(HEADERS, END_HEADERS, 17, b"\x40\x01a\x01b")) == []
    assert naive.split(server.sent()) == [(RST_STREAM, 0, 17, (7).to_bytes(4, "big"))]
    assert int(server.h2["decoder"]["held"]) == 1
    server.feed(naive.rst_stream(3, 8))
    assert server.feed(frame(HEADERS, END_HEADERS, 19, METHOD_GET)) == [("headers", 19, GET, False)]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40)), max_size=120))
def test_a_ring_that_grows_loses_no_stream(steps: list[tuple[int, int]]) -> None:
    server = End(SERVER, 128, ring_first=8)
    server.feed(PREFACE + naive.settings())
    live: dict[int, int] = {}
    stream = 1
    for skip, ending in steps:
        if skip and live:
            ended = sorted(live)[ending % len(live)]
            assert server.feed(naive.rst_stream(ended, 8)) == [("reset", ended, 8)]
            del live[ended]
            continue
        stream += 2 * ending
        assert server.feed(frame(HEADERS, END_HEADERS, stream, METHOD_GET)) == [("headers", stream, GET, False)]
        server.feed(naive.window_update(stream, stream))
        live[stream] = 65535 + stream
        stream += 2
        assert {one: server.window(one) for one in live} == live
    assert int(server.h2["live"]) == len(live)
    assert int(server.h2["ring"]) in (8, 16, 32, 64, 128)
    http2_frames.begin(server.h2)
    assert (int(server.h2["ring"]), int(server.h2["live"])) == (8, 0)


def test_goaway_stops_new_streams() -> None:
    client = ready_client()
    assert client.open() == 1
    assert client.feed(naive.goaway(1, 0, b"so long")) == [("goaway", 1, 0)]
    assert client.open() == 0
    assert client.feed(frame(HEADERS, WHOLE, 1, STATUS_200)) == [("headers", 1, OK, True)]


def test_frames_that_carry_nothing_are_counted() -> None:
    server = ready_server()
    before = int(server.h2["idle_frames"])
    server.feed(frame(PING, 0, 0, bytes(8)) + naive.settings())
    server.feed(frame(PRIORITY, 0, 1, bytes(5)) + frame(99, 0, 0, b"x"))
    server.feed(headers(1, METHOD_GET) + frame(DATA, 0, 1, b"x"))
    assert int(server.h2["idle_frames"]) == before + 4


def test_the_last_stream_ids_make_the_connection_drain() -> None:
    client = ready_client()
    client.h2["next_stream"] = WINDOW_MAX - 4096
    assert client.open() == WINDOW_MAX - 4096
    assert client.open() == 0
    assert int(client.h2["draining"]) == 1


def test_trailing_states_of_a_stream() -> None:
    server = ready_server()
    server.feed(frame(HEADERS, WHOLE, 1, METHOD_GET))
    assert http2_frames.end_local(server.h2, server.place(1))
    assert int(server.h2["live"]) == 0
    server.feed(frame(HEADERS, END_HEADERS, 3, METHOD_GET))
    assert not http2_frames.end_local(server.h2, server.place(3))
    assert server.feed(frame(DATA, END_STREAM, 3, b"end")) == [("data", 3, b"end", True)]
    assert int(server.event["closed"]) == 1
    assert int(server.h2["live"]) == 0


def test_an_answer_that_has_no_room_waits() -> None:
    server = ready_server()
    ping = frame(PING, 0, 0, b"abcdefgh")
    assert server.feed(ping, room=http2_records.CONTROL_ROOM_BYTES - 1) == [("no room",)]
    assert server.sent() == b""
    assert server.feed(b"", room=http2_records.CONTROL_ROOM_BYTES) == []
    assert naive.split(server.sent()) == [(PING, ACK, 0, b"abcdefgh")]


# -- header blocks seen before ----------------------------------------------------------------------------------------


def headers(stream: int, block: bytes) -> bytes:
    return frame(HEADERS, END_HEADERS, stream, block)


def test_a_block_of_static_fields_is_known_on_every_stream() -> None:
    server = ready_server()
    server.remembered = 41
    block = METHOD_GET + b"\x00\x01a\x01b"
    assert server.feed(headers(1, block))[0][2] == [*GET, (b"a", b"b")]
    assert server.feed(headers(3, block) + headers(5, block + b"\x84"))[0][2] == 41
    assert server.feed(headers(7, block[:-1] + b"c"))[0][2] == [*GET, (b"a", b"c")]


def test_a_block_that_changes_the_table_is_decoded_every_time() -> None:
    server = ready_server()
    server.remembered = 42
    block = b"\x40\x01a\x01b"
    for stream in (1, 3, 5):
        assert server.feed(headers(stream, block))[0][2] == [(b"a", b"b")]
    assert int(server.h2["decoder"]["held"]) == 3


def test_a_block_that_reads_the_table_is_known_until_the_table_changes() -> None:
    server = ready_server()
    server.feed(headers(1, b"\x40\x01a\x01b"))
    server.remembered = 43
    assert server.feed(headers(3, b"\xbe"))[0][2] == [(b"a", b"b")]
    assert server.feed(headers(5, b"\xbe"))[0][2] == 43
    server.feed(headers(7, b"\x40\x01a\x01c"))
    assert server.feed(headers(9, b"\xbe"))[0][2] == [(b"a", b"c")]
    server.feed(headers(11, b"\x20"))
    assert server.feed(headers(13, b"\xbe"))[-1] == ("broken", "BAD_INDEX")


def test_more_blocks_than_there_is_room_for() -> None:
    server = ready_server()
    server.remembered = 44
    blocks = [b"\x00\x01a" + naive_hpack.string(bytes([65 + i]), False) for i in range(20)]
    for number in range(60):
        found = server.feed(headers(1 + 2 * number, blocks[number % 20]))[0][2]
        assert found in (44, [(b"a", bytes([65 + number % 20]))])
        server.feed(naive.rst_stream(1 + 2 * number, 8))


def test_a_block_in_pieces_is_not_remembered_and_one_too_long_neither() -> None:
    server = ready_server()
    server.remembered = 45
    server.feed(frame(HEADERS, 0, 1, METHOD_GET) + frame(CONTINUATION, END_HEADERS, 1, b"\x84"))
    assert server.feed(headers(3, METHOD_GET + b"\x84"))[0][2] == [*GET, (b":path", b"/")]
    long = b"\x00\x01a" + naive_hpack.string(b"x" * 300, False)
    server.feed(headers(5, long))
    assert server.feed(headers(7, long))[0][2] == [(b"a", b"x" * 300)]


def test_a_fresh_connection_starts_from_nothing() -> None:
    server = ready_server()
    server.feed(headers(1, b"\x40\x01a\x01b") + headers(3, METHOD_GET) + frame(HEADERS, 0, 5, b"x"))
    http2_frames.begin(server.h2)
    server.rx = b""
    assert server.feed(PREFACE + naive.settings() + headers(1, METHOD_GET)) == [
        ("settings",),
        ("headers", 1, GET, False),
    ]
    assert (int(server.h2["live"]), int(server.h2["decoder"]["held"])) == (1, 0)


@pytest.mark.parametrize("ring", [4, 100, 2048])
def test_impossible_rings(ring: int) -> None:
    with pytest.raises(ValueError, match="power of two from 8 to 1024"):
        End(CLIENT, ring)
