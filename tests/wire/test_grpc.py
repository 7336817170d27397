"""gRPC's headers, trailers and message framing: what they mean, at every cut."""

from itertools import pairwise
from typing import Any

import grpc as grpcio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench.wire import grpc, grpc_pool, hpack
from kvbench.wire.grpc import ASSEMBLY, HAS_MEDIA_TYPE, HAS_MESSAGE, MESSAGE, GrpcError
from kvbench.wire.grpc_pool import POOL
from kvbench.wire.hpack import HEADER_LIST
from tests.naive import hpack as naive_hpack


def listed(*fields: tuple[bytes, bytes]) -> tuple[Any, int]:
    """A HEADER_LIST as the decoder leaves it, and how many fields it has."""
    state, into = np.zeros(1, hpack.DECODER)[0], np.zeros(1, HEADER_LIST)[0]
    hpack.reset(state)
    table = naive_hpack.Table()
    block = b"".join(naive_hpack.encode_field(table, field, 2, False) for field in fields)
    return into, hpack.decode(state, into, np.frombuffer(block + b"\0", np.uint8).copy(), 0, len(block))


def meaning(*fields: tuple[bytes, bytes]) -> int:
    return int(grpc.response_meaning(*listed(*fields)))


MEDIA_TYPE = (b"content-type", b"application/grpc")


def test_headers_and_trailers_of_a_success() -> None:
    first = meaning((b":status", b"200"), MEDIA_TYPE)
    assert (grpc.http_status_of(first), grpc.grpc_status_of(first)) == (200, -1)
    assert first & HAS_MEDIA_TYPE
    last = meaning((b"grpc-status", b"0"), (b"grpc-message", b""))
    assert (grpc.http_status_of(last), grpc.grpc_status_of(last)) == (0, 0)
    assert last & HAS_MESSAGE
    assert not last & HAS_MEDIA_TYPE


@pytest.mark.parametrize(
    ("text", "status"), [(b"7", 7), (b"16", 16), (b"17", 2), (b"", 2), (b"x", 2), (b"1234567", 2), (b"-1", 2)]
)
def test_statuses(text: bytes, status: int) -> None:
    assert grpc.grpc_status_of(meaning((b"x", b"y"), (b"grpc-status", text))) == status


@pytest.mark.parametrize(
    ("content_type", "is_grpc"),
    [
        (b"application/grpc", True),
        (b"application/grpc+proto", True),
        (b"application/grp", False),
        (b"text/html", False),
        (b"", False),
    ],
)
def test_media_types(content_type: bytes, is_grpc: bool) -> None:
    assert bool(meaning((b"content-type", content_type)) & HAS_MEDIA_TYPE) == is_grpc


@pytest.mark.parametrize(
    ("http", "status"),
    [(400, 13), (401, 16), (403, 7), (404, 12), (429, 14), (502, 14), (503, 14), (504, 14), (500, 2), (301, 2)],
)
def test_http_statuses_stand_for_grpc_ones(http: int, status: int) -> None:
    assert grpc.status_of_http(http) == status


@pytest.mark.parametrize(
    ("reason", "status"), [(0, 13), (1, 13), (2, 13), (3, 13), (7, 14), (8, 1), (11, 8), (12, 7), (99, 13)]
)
def test_reset_reasons_stand_for_statuses(reason: int, status: int) -> None:
    assert grpc.status_of_reset(reason) == status


def test_statuses_are_grpcs_own() -> None:
    numbers = {code.name: code.value[0] for code in grpcio.StatusCode}
    for name, number in numbers.items():
        assert getattr(grpc, name, number) == number
    assert max(numbers.values()) == grpc.STATUS_MAX


@settings(deadline=None)
@given(st.text(max_size=60), st.integers(1, 100))
def test_messages_are_percent_decoded(text: str, room: int) -> None:
    data = text.encode()
    coded = b"".join(bytes([b]) if 32 <= b <= 126 and b != 37 else b"%%%02X" % b for b in data)
    target = np.full(120, 1, np.uint8)
    state, count = listed((b"a", b"b"), (b"grpc-message", coded))
    size = grpc.copy_message(state, count, target[:room])
    assert bytes(target[:size]) == data[:room]
    assert bytes(target[room:]) == b"\x01" * (120 - room)


@pytest.mark.parametrize("raw", [b"100%", b"%4", b"%zz", b"%%41", b"%g1%2"])
def test_broken_percent_codes_stay_as_they_are(raw: bytes) -> None:
    target = np.zeros(20, np.uint8)
    size = grpc.copy_message(*listed((b"grpc-message", raw)), target)
    assert bytes(target[:size]) == raw.replace(b"%41", b"A")


def test_a_requests_path() -> None:
    post, path = (b":method", b"POST"), (b":path", b"/a.B/C")
    state, count = listed(post, (b":scheme", b"http"), path, MEDIA_TYPE)
    at, size = grpc.request_path(state, count)
    assert bytes(state["text"][at : at + size]) == b"/a.B/C"
    assert grpc.request_path(*listed((b":method", b"GET"), path, MEDIA_TYPE)) == (-1, -1)
    assert grpc.request_path(*listed(post, path, (b"content-type", b"text/html"))) == (-1, -1)
    assert grpc.request_path(*listed(post, path)) == (-1, -1)
    assert grpc.request_path(*listed(post, MEDIA_TYPE)) == (-1, -1)


# -- messages ---------------------------------------------------------------------------------------------------------


class Reader:
    """A stream's messages out of chunks of its body."""

    def __init__(self, arena_bytes: int = 1 << 16) -> None:
        self.assembly, self.pool = np.zeros(1, ASSEMBLY)[0], np.zeros(1, POOL)[0]
        self.message, self.arena = np.zeros(1, MESSAGE)[0], np.zeros(arena_bytes, np.uint8)
        grpc_pool.clear(self.pool)
        grpc.begin(self.assembly)

    def take(self, chunk: bytes) -> list[bytes | str]:
        """The messages that a chunk completes; an error's name ends the list."""
        buf = np.frombuffer(b"\x09" + chunk + b"\xee" * 8, np.uint8).copy()
        at, end = 1, 1 + len(chunk)
        found: list[bytes | str] = []
        while True:
            code = grpc.next_message(self.assembly, self.pool, self.arena, buf, at, end, self.message)
            if code < 0:
                return [*found, GrpcError(code).name]
            if code == 0:
                return found
            source = self.arena if self.message["in_pool"] else buf
            found.append(bytes(source[self.message["at"] : self.message["end"]]))
            if self.message["in_pool"]:
                grpc.release(self.assembly, self.pool, self.arena)
            at = int(self.message["next"])


def framed(*messages: bytes) -> bytes:
    return b"".join(b"\0" + len(message).to_bytes(4, "big") + message for message in messages)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=5), st.lists(st.integers(0, 200), max_size=6))
def test_messages_come_whole_however_they_are_cut(messages: list[bytes], cuts: list[int]) -> None:
    data = framed(*messages)
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    reader = Reader()
    found: list[bytes | str] = []
    for start, end in pairwise(places):
        found += reader.take(data[start:end])
    assert found == messages
    assert int(reader.pool["live"]) == 0


def test_two_messages_at_every_split_and_byte_by_byte() -> None:
    messages = [b"first message", b"", b"second"]
    data = framed(*messages)
    for cut in range(len(data) + 1):
        reader = Reader()
        assert reader.take(data[:cut]) + reader.take(data[cut:]) == messages
    reader = Reader()
    assert [message for byte in data for message in reader.take(bytes([byte]))] == messages


@pytest.mark.parametrize(("flag", "error"), [(1, "COMPRESSED"), (2, "BAD_FLAG"), (255, "BAD_FLAG")])
def test_flags_that_are_refused(flag: int, error: str) -> None:
    assert Reader().take(framed(b"ok") + bytes([flag, 0, 0, 0, 1, 65])) == [b"ok", error]
    reader = Reader()
    assert reader.take(bytes([flag, 0, 0, 0])) + reader.take(b"\0") == [error]


def test_a_message_that_the_pool_cannot_hold() -> None:
    reader = Reader(arena_bytes=8192)
    assert reader.take(b"\0\0\0\x20\x01x") == ["TOO_LARGE"]
    assert Reader(arena_bytes=8192).take(b"\0\xff\xff\xff\xffx") == ["TOO_LARGE"]
    within_a_chunk = Reader(arena_bytes=0)
    assert within_a_chunk.take(framed(b"y" * 9000)) == [b"y" * 9000]


def test_a_message_larger_than_the_pool_allows() -> None:
    reader = Reader()
    reader.pool["message_bytes_max"] = 20
    assert reader.take(framed(b"x" * 20)[:15]) == []
    assert reader.take(framed(b"x" * 20)[15:] + b"\0\0\0\0\x15") == [b"x" * 20, "TOO_LARGE"]


def test_memory_grows_with_what_came_not_with_what_was_announced() -> None:
    reader = Reader(arena_bytes=1 << 18)
    data = framed(bytes(range(256)) * 390)
    reader.take(data[:6])
    assert int(reader.pool["held"]) == grpc.FIRST_ROOM_BYTES
    found = [message for at in range(6, len(data), 7000) for message in reader.take(data[at : at + 7000])]
    assert found == [data[5:]]
    assert (int(reader.pool["held"]), int(reader.pool["live"])) == (0, 0)
    crowded = Reader(arena_bytes=1 << 17)
    assert crowded.take(data[:10_000]) == []
    assert crowded.take(data[10_000:80_000]) == ["TOO_LARGE"]


def test_a_stream_given_up_gives_its_buffer_back() -> None:
    reader = Reader()
    reader.take(framed(b"z" * 100)[:50])
    assert int(reader.pool["live"]) == 1
    grpc.release(reader.assembly, reader.pool, reader.arena)
    assert int(reader.pool["live"]) == 0
    assert reader.take(framed(b"next")) == [b"next"]


# -- the pool ---------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30000)), max_size=60))
def test_buffers_never_overlap(steps: list[tuple[bool, int]]) -> None:
    arena, pool = np.zeros(1 << 17, np.uint8), np.zeros(1, POOL)[0]
    grpc_pool.clear(pool)
    held: list[tuple[int, int, int]] = []
    for number, (taking, size) in enumerate(steps):
        if taking or not held:
            at = grpc_pool.take(pool, arena, size)
            if at < 0:
                continue
            assert at + size <= len(arena)
            assert all(at + size <= start or start + other <= at for start, other, _ in held)
            arena[at : at + size] = number & 255
            held.append((at, size, number & 255))
        else:
            at, size, mark = held.pop(size % len(held))
            assert (arena[at : at + size] == mark).all()
            grpc_pool.give(pool, arena, at, size)
    assert int(pool["live"]) == len(held)
    for at, size, _ in held:
        grpc_pool.give(pool, arena, at, size)
    assert int(pool["held"]) == 0
    assert grpc_pool.take(pool, arena, len(arena)) == 0


MARKS = 4096


def pool_with_marks(units: int) -> tuple[Any, Any]:
    """(arena, pool) of so many smallest buffers that joins free neighbours."""
    arena, pool = np.zeros(MARKS + (units << 12), np.uint8), np.zeros(1, POOL)[0]
    pool["marks"], pool["base"] = 1, MARKS
    grpc_pool.clear(pool)
    return arena, pool


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 70000)), max_size=80))
def test_what_is_free_serves_any_size(steps: list[tuple[int, int]]) -> None:
    """Buffers never overlap, and joining finds every stretch that nobody holds."""
    units = 32
    arena, pool = pool_with_marks(units)
    held: list[tuple[int, int, int]] = []
    for number, (what, size) in enumerate(steps):
        if what == 0 and held:
            at, size, mark = held.pop(size % len(held))
            assert (arena[at : at + size] == mark).all()
            grpc_pool.give(pool, arena, at, size)
        elif what == 1:
            grpc_pool.join(pool, arena)
        elif (at := int(grpc_pool.take(pool, arena, size))) >= 0:
            assert at >= MARKS and at + size <= len(arena)
            assert all(at + size <= start or start + other <= at for start, other, _ in held)
            arena[at : at + size] = number & 255
            held.append((at, size, number & 255))
    grpc_pool.join(pool, arena)
    taken = np.zeros(units, bool)
    for at, size, _ in held:
        taken[(at - MARKS) >> 12 : ((at - MARKS) >> 12) + (1 << grpc_pool.class_of(size) - 12)] = True
    assert int(pool["front"]) == MARKS + (0 if not taken.any() else (int(np.flatnonzero(taken)[-1]) + 1 << 12))
    free = "".join("x" if one else "." for one in taken).split("x")
    largest = max((len(run).bit_length() for run in free), default=0)
    if largest:
        assert grpc_pool.take(pool, arena, 1 << 11 + largest) >= MARKS


def test_one_buffer_in_use_does_not_keep_the_others_from_being_used() -> None:
    """What many small ones held serves a large one, and the other way round, although the pool is never empty."""
    arena, pool = pool_with_marks(64)
    one = grpc_pool.take(pool, arena, 1)
    small = [grpc_pool.take(pool, arena, 4096) for _ in range(63)]
    assert min(small) > 0 and grpc_pool.take(pool, arena, 1) == -1
    for at in small:
        grpc_pool.give(pool, arena, at, 4096)
    large = grpc_pool.take(pool, arena, 100_000)
    assert large > 0
    grpc_pool.give(pool, arena, large, 100_000)
    assert min(grpc_pool.take(pool, arena, 4096) for _ in range(63)) > 0
    assert (int(pool["live"]), int(pool["held"]), one) == (64, 64 << 12, MARKS)


def test_a_pool_behind_something_else() -> None:
    arena, pool = np.zeros(1 << 14, np.uint8), np.zeros(1, POOL)[0]
    pool["base"] = 5000
    grpc_pool.clear(pool)
    first, second = grpc_pool.take(pool, arena, 100), grpc_pool.take(pool, arena, 100)
    assert (first, second, grpc_pool.take(pool, arena, 100)) == (5000, 9096, -1)
    for at in (first, second):
        grpc_pool.give(pool, arena, at, 100)
    assert (int(pool["front"]), int(pool["highest"])) == (5000, 13192)


def test_a_pool_of_nothing_gives_nothing() -> None:
    pool = np.zeros(1, POOL)[0]
    grpc_pool.clear(pool)
    assert grpc_pool.take(pool, np.zeros(0, np.uint8), 1) == -1
