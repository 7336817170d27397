"""Clients that do harm, on real sockets, beside one that behaves: it is served, and memory stays bounded."""

import random
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from kvbench.wire.proto import messages, methods
from tests.naive import hpack, http2
from tests.naive.http2 import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    SETTINGS,
    frame,
)
from tests.server.end_driver import fields_block, framed, request
from tests.server.serving import Client, Serve, serving, until

pytestmark = pytest.mark.slow

CONNECTIONS = 200
MIB = 1 << 20
WIDE = ((4, (1 << 31) - 1),)
"""A peer's settings: it takes as much on each stream as HTTP/2 allows."""
CALM = 11


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Serve, Client]]:
    with serving(tmp_path_factory.mktemp("hostile"), f"--connections={CONNECTIONS}", "--fsync=off") as (server, client):
        client.put(b"large", b"v" * MIB)
        yield server, client
        assert server.end() == 0, server.said()


@pytest.fixture
def good(served: tuple[Serve, Client]) -> Iterator[Client]:
    """The client that behaves: what it wrote before is there, nobody's calls are left, and it is served."""
    server, client = served
    client.put(b"before", b"mine")
    yield client
    assert server.process.poll() is None, server.said()
    assert client.get(b"before") == b"mine"
    until(lambda: client.metrics()["kvbench_calls"] == 0 and client.metrics()["kvbench_buffer_bytes"] < MIB)


def greeted(client: Client, *settings: tuple[int, int]) -> socket.socket:
    """A connection with HTTP/2's greeting behind it."""
    connection = client.connect()
    connection.sendall(PREFACE + http2.settings(*settings))
    return connection


def last_words(connection: socket.socket) -> list[tuple[int, int, int, bytes]]:
    """The frames that came until the server hung up; none when they may not be all, since a reset loses some."""
    data, was_reset = bytearray(), False
    try:
        while piece := connection.recv(1 << 16):
            data += piece
    except ConnectionResetError:
        was_reset = True
    whole = 0
    while len(data) - whole >= 9 and len(data) - whole >= 9 + int.from_bytes(data[whole : whole + 3], "big"):
        whole += 9 + int.from_bytes(data[whole : whole + 3], "big")
    return [] if was_reset else http2.split(bytes(data[:whole]))


def flood(connection: socket.socket, data: bytes) -> None:
    """Send all of it, or as much as the server takes before it hangs up."""
    try:
        connection.sendall(data)
    except (ConnectionResetError, BrokenPipeError):
        return


def put(key: bytes, value: bytes = b"v") -> bytes:
    return messages.PutRequest(key=key, value=value).SerializeToString()


def bomb() -> bytes:
    """A header block of a few hundred bytes that means 800,000."""
    return hpack.encode_field(hpack.Table(), (b"b", b"x" * 4000), 1, False) + b"\xbe" * 200


MALFORMED = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    "nothing that is spoken here": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a line without end": b"GET /" + b"a" * 100_000,
    "a preface that goes wrong": PREFACE[:20] + b"wrong",
    "no settings first": PREFACE + frame(PING, 0, 0, bytes(8)),
    "a frame of 16 MB": PREFACE + http2.settings() + b"\xff\xff\xff" + bytes(6),
    "a PING of 5 bytes": PREFACE + http2.settings() + frame(PING, 0, 0, b"short"),
    "a stream that nobody opened": PREFACE + http2.settings() + frame(DATA, 0, 9, b"x"),
    "an even stream": PREFACE + http2.settings() + frame(HEADERS, END_HEADERS, 2, fields_block(methods.PUT.path)),
    "padding beyond the frame": PREFACE + http2.settings() + frame(DATA, 8, 1, b"\xff"),
    "a window of more than 2**31": PREFACE + http2.settings() + http2.window_update(0, (1 << 31) - 1) * 2,
    "a headers' bomb": PREFACE + http2.settings() + frame(HEADERS, END_HEADERS, 1, bomb()),
    "headers that are no HPACK": PREFACE + http2.settings() + frame(HEADERS, END_HEADERS, 1, b"\xff" * 6),
    "a block of 80 KB": PREFACE + http2.settings() + frame(HEADERS, 0, 1, b"x" * 16384)
    + frame(CONTINUATION, 0, 1, b"x" * 16384) * 4,
    "another frame within a block": PREFACE + http2.settings() + frame(HEADERS, 0, 1, b"\x82")
    + frame(PING, 0, 0, bytes(8)),
    "a member of another cluster": struct.pack("<I", 56) + bytes(52),
    "a member of another cluster, of many words": struct.pack("<I", 56) + bytes(200_000),
}  # fmt: skip


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_malformed_is_hung_up_on(good: Client, data: bytes) -> None:
    connection = good.connect()
    flood(connection, data)
    frames = last_words(connection) if data.startswith(PREFACE) else []
    if frames:
        assert frames[-1][0] == GOAWAY
    else:
        connection.close()


def test_random_bytes(good: Client) -> None:
    chance = random.Random(5)
    for number in range(100):
        connection = greeted(good) if number % 2 else good.connect()
        with connection:
            flood(connection, chance.randbytes(chance.randrange(1, 3000)))
    good.put(b"after", b"v")


def test_requests_that_are_too_large(good: Client) -> None:
    request_ = messages.PutRequest(key=b"k", value=bytes(1600 << 10))
    assert good.refusal(methods.PUT, request_) == ("INVALID_ARGUMENT", "etcdserver: request is too large")
    code, text = good.refusal(methods.PUT, messages.PutRequest(key=b"k", value=bytes(3 << 20)))
    assert code == "RESOURCE_EXHAUSTED"
    assert text == f"grpc: received message larger than max ({(3 << 20) + 8} vs. 2097152)"
    assert good.get(b"k") == b""


def test_a_message_of_4_gb_is_not_waited_for(good: Client) -> None:
    with greeted(good) as connection:
        head = frame(HEADERS, END_HEADERS, 1, fields_block(methods.PUT.path))
        connection.sendall(head + frame(DATA, 0, 1, b"\0\xff\xff\xff\xff" + bytes(1000)))
        until(lambda: b"grpc: received message larger than max (4294967295 vs. 2097152)" in connection.recv(1 << 16))
        connection.sendall(request(3, put(b"beside")))
        until(lambda: b"grpc-status" in connection.recv(1 << 16))
    assert good.get(b"beside") == b"v"


def test_rare_calls_with_odd_content(good: Client) -> None:
    """What Python answers: numbers beyond any revision, messages that are none, and more of them than there is room."""
    for revision in (-1, -(1 << 63)):
        good.call(methods.HASH_KV, messages.HashKVRequest(revision=revision))
    future = messages.HashKVRequest(revision=(1 << 63) - 1)
    assert good.refusal(methods.HASH_KV, future) == (
        "OUT_OF_RANGE", "etcdserver: mvcc: required revision is a future revision"
    )  # fmt: skip
    rare = (methods.STATUS, methods.MEMBER_LIST, methods.HASH, methods.HASH_KV, methods.MOVE_LEADER, methods.DEFRAGMENT)
    with greeted(good) as connection:
        for number, method in enumerate(rare * 10):
            connection.sendall(request(1 + 2 * number, b"\xff" * 11 * (number + 1) * 50, method.path))
        connection.sendall(request(1001, b"\x08\x01" * 600_000, methods.STATUS.path))
    with greeted(good) as connection:
        connection.sendall(b"".join(request(1 + 2 * n, b"", methods.STATUS.path) for n in range(400)))
        until(lambda: good.metrics()["kvbench_calls"] == 0, 5)
    assert good.call(methods.STATUS, messages.StatusRequest()).leader != 0


def test_snapshots_that_nobody_reads(good: Client) -> None:
    """They wait for their readers; everything else that Python answers does not."""
    with greeted(good, (4, 1000)) as connection:
        connection.sendall(b"".join(request(1 + 2 * n, b"", methods.SNAPSHOT.path) for n in range(100)))
        until(lambda: good.metrics()["kvbench_calls"] > 3)
        for _ in range(20):
            assert good.call(methods.STATUS, messages.StatusRequest()).leader != 0
            assert good.metrics()["kvbench_calls"] < 100


def test_a_flood_of_resets(served: tuple[Serve, Client], good: Client) -> None:
    before = served[0].resident_bytes()
    message = put(b"flood")
    pieces = [request(1 + 2 * n, message) + http2.rst_stream(1 + 2 * n, 8) for n in range(30_000)]
    with greeted(good) as connection, ThreadPoolExecutor(1) as thread:
        done = thread.submit(flood, connection, b"".join(pieces))
        for number in range(20):
            good.put(b"beside", b"%d" % number)
        done.result()
        frames = last_words(connection)
    assert not frames or (frames[-1][0], frames[-1][3][4:8]) == (GOAWAY, CALM.to_bytes(4, "big"))
    assert good.get(b"beside") == b"19"
    assert served[0].resident_bytes() - before < 64 * MIB


FLOODS = {
    "pings": frame(PING, 0, 0, bytes(8)),
    "settings": http2.settings((3, 5)),
    "unknown frames": frame(99, 0, 0),
    "empty continuations": frame(CONTINUATION, 0, 1),
    "bytes for a stream that is gone": frame(DATA, 0, 1),
}


@pytest.mark.parametrize("piece", FLOODS.values(), ids=FLOODS.keys())
def test_a_flood_of_frames_that_carry_nothing(good: Client, piece: bytes) -> None:
    """Whoever sends them as fast as it goes is hung up on, and told why unless answers to it were still ahead."""
    opening = b""
    if piece[3] == CONTINUATION:
        opening = frame(HEADERS, 0, 1, b"\x82")
    elif piece[3] == DATA:
        opening = request(1, put(b"k"))
    dropped = good.metrics()["kvbench_connections_dropped_total"]
    with greeted(good) as connection, ThreadPoolExecutor(1) as thread:
        connection.settimeout(30)
        connection.sendall(opening)
        heard = thread.submit(last_words, connection)
        for _ in range(40):
            flood(connection, piece * 10_000)
        good.put(b"beside", b"v")
        frames = heard.result()
    until(lambda: good.metrics()["kvbench_connections_dropped_total"] == dropped + 1)
    answers = sum(kind in (PING, SETTINGS) and flags & ACK != 0 for kind, flags, _, _ in frames)
    was_told = bool(frames) and (frames[-1][0], frames[-1][3][4:8]) == (GOAWAY, CALM.to_bytes(4, "big"))
    assert was_told or not frames or 1 < answers < 400_000


def test_whoever_stops_in_the_middle_holds_little(served: tuple[Serve, Client], good: Client) -> None:
    before = served[0].resident_bytes()
    whole = PREFACE + http2.settings() + request(1, put(b"half", b"v" * 60_000))
    chance = random.Random(7)
    halves = [good.connect() for _ in range(100)]
    for connection in halves:
        connection.sendall(whole[: chance.randrange(1, len(whole))])
    until(lambda: good.metrics()["kvbench_connections"] >= 100)
    good.put(b"beside", b"v")
    assert served[0].resident_bytes() - before < 100 * (128 << 10) + 16 * MIB
    for connection in halves:
        connection.close()
    until(lambda: good.metrics()["kvbench_connections"] < 20)
    assert good.get(b"half") in (b"", b"v" * 60_000)


def test_slow_readers_hold_what_they_may_and_no_more(served: tuple[Serve, Client], good: Client) -> None:
    """Five connections ask for a gigabyte and read none of it: there is still room for others, and it comes back."""
    server = served[0]
    before = server.resident_bytes()
    asked = messages.RangeRequest(key=b"large").SerializeToString()
    slow = [greeted(good, *WIDE) for _ in range(5)]
    for connection in slow:
        connection.sendall(http2.window_update(0, (1 << 31) - 1 - 65535))
        connection.sendall(b"".join(request(1 + 2 * n, asked, methods.RANGE.path) for n in range(200)))
    until(lambda: good.metrics()["kvbench_buffer_bytes"] > 512 * MIB)
    for number in range(20):
        good.put(b"beside", b"%d" % number)
    assert len(good.get(b"large")) == MIB
    assert server.resident_bytes() - before < 800 * MIB
    for connection in slow:
        connection.close()
    until(lambda: good.metrics()["kvbench_buffer_bytes"] < MIB)
    until(lambda: server.resident_bytes() - before < 64 * MIB)


def test_a_watcher_that_does_not_read(served: tuple[Serve, Client], good: Client) -> None:
    create = messages.WatchRequest(create_request=messages.WatchCreateRequest(key=b"watched")).SerializeToString()
    with greeted(good, (4, 0)) as connection:
        head = frame(HEADERS, END_HEADERS, 1, fields_block(methods.WATCH.path))
        connection.sendall(head + frame(DATA, 0, 1, framed(create)))
        until(lambda: good.metrics()["etcd_debugging_mvcc_watcher_total"] == 1)
        for number in range(50):
            good.put(b"watched", b"%d" % number * 1000)
        assert good.metrics()["kvbench_buffer_bytes"] < 2 * MIB
    until(lambda: good.metrics()["etcd_debugging_mvcc_watcher_total"] == 0)


def test_more_connections_than_there_are_places(served: tuple[Serve, Client], good: Client) -> None:
    """What is too much is hung up on at once and said; who is connected is served, and places come free again."""
    server = served[0]
    before = good.metrics()["kvbench_connections_turned_away_total"]
    many = [greeted(good) for _ in range(CONNECTIONS + 50)]
    try:
        good.put(b"beside", b"v")
        closed = sum(not _is_open(connection) for connection in many)
        assert 50 <= closed <= 60
        until(lambda: f"connections turned away: all {CONNECTIONS} places are taken (--connections)" in server.said())
    finally:
        for connection in many:
            connection.close()
    until(lambda: good.metrics()["kvbench_connections"] < 20)
    assert good.metrics()["kvbench_connections_turned_away_total"] - before >= 50


def _is_open(connection: socket.socket) -> bool:
    """Whether the server sent its greeting."""
    try:
        return len(connection.recv(1)) == 1
    except ConnectionResetError:
        return False


def test_an_unread_flood_of_refusals(good: Client) -> None:
    """Whoever reads no refusals is no longer read; once it reads, it finds each of its requests refused."""
    head = frame(HEADERS, END_HEADERS | END_STREAM, 1, fields_block("/no/such"))
    count = 300_000
    with greeted(good) as connection, ThreadPoolExecutor(1) as thread:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        everything = b"".join(head[:5] + (1 + 2 * n).to_bytes(4, "big") + head[9:] for n in range(count))
        sent = thread.submit(connection.sendall, everything)
        until(lambda: good.metrics()["kvbench_buffer_bytes"] > 1 << 17)
        good.put(b"beside", b"v")
        assert not sent.done()
        assert good.metrics()["kvbench_buffer_bytes"] < 2 * MIB
        refusals = 0
        rest = b""
        while refusals < count:
            data = rest + connection.recv(1 << 18)
            refusals += data.count(b"this server does not have the method")
            rest = data[-35:] if len(data) >= 35 else data
        sent.result()
    assert refusals == count
