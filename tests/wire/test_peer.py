"""Frames between members: both directions against a naive twin, cut anywhere, and damaged everywhere."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench.rt.codes import PEER
from kvbench.wire import peer
from kvbench.wire.peer import PeerError
from tests.naive import peer as naive

RUN = np.dtype([("index", np.int64), ("term", np.int64)], align=True)
MESSAGE = np.dtype(
    [
        *((name, np.int64) for name in ("sender", "hard_state", *naive.MESSAGE_FIELDS)),
        ("runs", RUN, (peer.RUNS_MAX,)),
    ],
    align=True,
)
LIMIT = 1 << 20
I64 = st.integers(-(2**63), 2**63 - 1)


def as_array(data: bytes) -> Any:
    return np.frombuffer(data, np.uint8).copy()


def written(write: Any, sender: int, *arguments: Any) -> bytes:
    """What a writer puts behind 3 bytes of something else."""
    buf = np.full(1024, 0xAA, np.uint8)
    end = write(buf, 3, sender, *arguments)
    assert set(buf[:3].tolist() + buf[end:].tolist()) == {0xAA}
    return bytes(buf[3:end])


def test_codes_stay_in_their_range() -> None:
    assert all(code in PEER for code in PeerError)


@settings(deadline=None, max_examples=20, derandomize=True)
@given(st.integers(0, 4), st.lists(I64, min_size=5, max_size=5), st.binary(max_size=40))
def test_writers_agree_with_the_naive_twin(sender: int, n: list[int], data: bytes) -> None:
    source = as_array(b"zz" + data)
    size = len(data)
    assert written(peer.write_hello, sender, 1, 7, 3, 9) == naive.frame(naive.HELLO, sender, [peer.FORMAT, 7, 3, 9, 1])
    assert written(peer.write_forward, sender, *n[:4], source, 2, size) == naive.frame(
        naive.FORWARD, sender, n[:4], data
    )
    assert written(peer.write_refused, sender, *n[:3]) == naive.frame(naive.FORWARD_REFUSED, sender, n[:3])
    assert written(peer.write_ask, sender, *n) == naive.frame(naive.LEASE_ASK, sender, n)
    assert written(peer.write_answer, sender, *n) == naive.frame(naive.LEASE_ANSWER, sender, n)
    assert written(peer.write_chunk, sender, *n, source, 2, size) == naive.frame(naive.SNAPSHOT_CHUNK, sender, n, data)
    assert written(peer.write_wanted, sender, *n[:2]) == naive.frame(naive.SNAPSHOT_WANTED, sender, n[:2])


FRAMES = [
    naive.frame(naive.HELLO, 2, [1, 2, 3, 4, 0]),
    naive.frame(naive.FORWARD, 1, [1, 2, 3, 4], b"request"),
    naive.frame(naive.FORWARD_REFUSED, 1, [1, 2, -1019]),
    naive.message({"kind": 1, "first": 5, "last": 6}, 0, [(5, 2)], [b"entry", b""]),
]


@pytest.mark.parametrize("data", FRAMES)
def test_a_cut_frame_asks_for_more_and_a_damaged_one_is_refused(data: bytes) -> None:
    behind = as_array(data + b"\x01\x02\x03\x04\x05")
    for end in range(len(data)):
        assert peer.frame_size(behind, 0, end, LIMIT) == 0
        assert peer.open_frame(behind, 0, end) == PeerError.FRAME_TOO_SHORT
    assert peer.frame_size(behind, 0, len(behind), LIMIT) == len(data)
    assert peer.open_frame(behind, 0, len(data)) == data[8]
    for bit in range(8 * len(data)):
        damaged = as_array(data)
        damaged[bit >> 3] ^= 1 << (bit & 7)
        assert peer.open_frame(damaged, 0, len(data)) in (PeerError.CHECKSUM, PeerError.FRAME_TOO_SHORT)


def test_frames_found_in_a_stream_cut_at_every_split() -> None:
    stream = as_array(b"".join(FRAMES))
    for cut in range(len(stream) + 1):
        at, found = 0, 0
        for end in (cut, len(stream)):
            while (size := peer.frame_size(stream, at, end, LIMIT)) > 0:
                assert peer.open_frame(stream, at, at + size) == FRAMES[found][8]
                at, found = at + size, found + 1
        assert (at, found) == (len(stream), len(FRAMES))


def test_lengths_have_limits() -> None:
    data = as_array(naive.frame(naive.LEASE_ASK, 0, [0] * 5))
    assert peer.frame_size(data, 0, 4, len(data)) == 0
    assert peer.frame_size(data, 0, 4, len(data) - 1) == PeerError.FRAME_TOO_LARGE
    assert peer.frame_size(as_array(b"\x0f\0\0\0"), 0, 4, LIMIT) == PeerError.FRAME_TOO_SHORT
    assert peer.frame_size(as_array(b"\xff\xff\xff\xff"), 0, 4, LIMIT) == PeerError.FRAME_TOO_LARGE


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (naive.frame(0, 0, []), PeerError.UNKNOWN_KIND),
        (naive.frame(9, 0, [0] * 9), PeerError.UNKNOWN_KIND),
        (naive.frame(naive.HELLO, 0, [0] * 4), PeerError.BODY_SIZE),
        (naive.frame(naive.HELLO, 0, [0] * 5, b"x"), PeerError.BODY_SIZE),
        (naive.frame(naive.FORWARD, 0, [0] * 3, b"7 bytes"), PeerError.BODY_SIZE),
        (naive.frame(naive.SNAPSHOT_WANTED, 0, [0] * 3), PeerError.BODY_SIZE),
        (naive.frame(naive.MESSAGE, 0, [0] * 14), PeerError.BODY_SIZE),
    ],
)
def test_kinds_and_body_sizes(data: bytes, expected: int) -> None:
    assert peer.open_frame(as_array(data), 0, len(data)) == expected


@pytest.mark.parametrize(
    ("sender", "numbers", "expected"),
    [
        (2, [peer.FORMAT, 77, 3, 5, 1], 2),
        (2, [peer.FORMAT + 1, 77, 3, 5, 1], PeerError.OTHER_FORMAT),
        (2, [peer.FORMAT, 78, 3, 5, 1], PeerError.OTHER_CLUSTER),
        (2, [peer.FORMAT, 77, 5, 5, 1], PeerError.OTHER_CLUSTER),
        (1, [peer.FORMAT, 77, 3, 5, 1], PeerError.NOT_A_MEMBER),
        (3, [peer.FORMAT, 77, 3, 5, 1], PeerError.NOT_A_MEMBER),
        (2, [peer.FORMAT, 77, 3, 5, 0], PeerError.NOT_A_MEMBER),
    ],
)
def test_hello(sender: int, numbers: list[int], expected: int) -> None:
    data = as_array(naive.frame(naive.HELLO, sender, numbers))
    assert peer.read_hello(data, 0, len(data), 1, 77, 3) == expected


def test_hello_comes_first() -> None:
    data = as_array(naive.frame(naive.SNAPSHOT_WANTED, 2, [0, 0]))
    assert peer.read_hello(data, 0, len(data), 1, 77, 3) == PeerError.NOT_HELLO
    data[20] ^= 1
    assert peer.read_hello(data, 0, len(data), 1, 77, 3) == PeerError.CHECKSUM


@st.composite
def messages(draw: st.DrawFn) -> tuple[dict[str, int], list[tuple[int, int]], list[bytes]]:
    """Fields, runs and entries of a message."""
    fields = {name: draw(I64) for name in naive.MESSAGE_FIELDS}
    entries = draw(st.lists(st.binary(max_size=20), max_size=10))
    first = draw(st.integers(1, 2**40))
    fields["first"], fields["last"] = first, first + len(entries) - 1
    runs: list[tuple[int, int]] = []
    if entries:
        starts = draw(st.sets(st.integers(1, len(entries)), max_size=peer.RUNS_MAX - 1)) - {len(entries)}
        runs = [(first + start, draw(I64)) for start in sorted({0} | starts)]
    fields["run_count"] = len(runs)
    return fields, runs, entries


@settings(deadline=None, max_examples=50, derandomize=True)
@given(messages(), st.integers(0, 4))
def test_messages_agree_with_the_naive_twin(
    parts: tuple[dict[str, int], list[tuple[int, int]], list[bytes]], sender: int
) -> None:
    fields, runs, entries = parts
    record, buf = np.zeros(1, MESSAGE), np.zeros(1024, np.uint8)
    for name, value in fields.items():
        record[name] = value
    for place, run in enumerate(runs):
        record["runs"][0, place] = run
    to = peer.put_message(buf, 5, record[0])
    for entry in entries:
        to = peer.put_entry(buf, to, as_array(b"?" + entry), 1, len(entry))
    end = peer.seal(buf, 5, to, naive.MESSAGE, sender)
    data = naive.message(fields, sender, runs, entries)
    assert bytes(buf[5:end]) == data

    read = np.zeros(1, MESSAGE)
    read["hard_state"] = 9
    source = as_array(data)
    assert peer.open_frame(source, 0, len(data)) == naive.MESSAGE
    at = peer.read_message(source, 0, len(data), read[0])
    record["sender"] = sender
    assert read.tobytes() == record.tobytes()
    assert data[at:] == b"".join(len(entry).to_bytes(4, "little") + entry for entry in entries)


@pytest.mark.parametrize(
    ("fields", "runs", "entries"),
    [
        ({"first": 1, "last": 2}, [(1, 1)], [b"one"]),
        ({"first": 1, "last": 0}, [], [b"one"]),
        ({"first": 1, "last": 0}, [(1, 1)], []),
        ({"first": 1, "last": -1}, [(1, 1)], []),
        ({"first": 1, "last": 1}, [], [b"one"]),
        ({"first": 1, "last": 2}, [(2, 1)], [b"one", b"two"]),
        ({"first": 1, "last": 2}, [(1, 1), (1, 2)], [b"one", b"two"]),
        ({"first": 1, "last": 2}, [(1, 1), (3, 2)], [b"one", b"two"]),
        ({"first": 1, "last": 2}, [(1, 1)] * 9, [b"one", b"two"]),
        ({"first": 1, "last": 2**62}, [(1, 1)], [b"one", b"two"]),
        ({"first": -(2**63), "last": 2**63 - 1}, [(-(2**63), 1)], [b"one", b"two"]),
    ],
)
def test_entries_that_do_not_fit_are_refused(
    fields: dict[str, int], runs: list[tuple[int, int]], entries: list[bytes]
) -> None:
    data = as_array(naive.message(fields, 0, runs, entries))
    assert peer.open_frame(data, 0, len(data)) == naive.MESSAGE
    assert peer.read_message(data, 0, len(data), np.zeros(1, MESSAGE)[0]) == PeerError.ENTRIES


def test_an_entry_longer_than_the_frame_is_refused() -> None:
    body = naive.message({"first": 1, "last": 1}, 0, [(1, 1)], [])[16:]
    for size in (1, 5, 0xFFFFFFFF):
        data = as_array(naive.frame(naive.MESSAGE, 0, [], body + size.to_bytes(4, "little") + b"four"))
        assert peer.open_frame(data, 0, len(data)) == naive.MESSAGE
        assert peer.read_message(data, 0, len(data), np.zeros(1, MESSAGE)[0]) == PeerError.ENTRIES
