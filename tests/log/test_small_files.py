"""Mark, identity and snapshot: they come back as they were written, and no flipped bit or cut passes unseen."""

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench.jit import JIT_ENABLED
from kvbench.log import append, snapshot
from kvbench.log.damage import Damage
from kvbench.log.identity import IDENTITY_BYTES, Identity, pack_identity, unpack_identity
from kvbench.log.mark import COPIES, MARK, MARK_BYTES, new_mark, newest_mark, read_mark, write_mark
from kvbench.log.records import BAD_HEADER, BLANK, NEWER_FORMAT, LogDamage, new_log
from tests.log.simulated import CLUSTER, MEMBER, array_of, small_log
from tests.naive.crc32c import crc32c

STEP = 1 if JIT_ENABLED else 37
INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
IDENTITY = Identity(CLUSTER, MEMBER, 1, (5, MEMBER, 9))


def flipped(data: bytes, step: int = STEP) -> Any:
    """``data`` with one bit flipped, each in turn, and which."""
    for bit in range(0, 8 * len(data), step):
        changed = bytearray(data)
        changed[bit >> 3] ^= 1 << (bit & 7)
        yield bit, bytes(changed)


def mark_of(sequence: int, **fields: int) -> tuple[Any, bytes]:
    """A mark and one copy of it on disk."""
    log, mark, buf = small_log(), new_mark(), np.full(MARK_BYTES + 2, 0xEE, np.uint8)
    append.begin(log)
    for name, value in {"sequence": sequence - 1, **fields}.items():
        mark[name] = value
    write_mark(log, mark, buf, 1)
    assert (buf[0], buf[-1]) == (0xEE, 0xEE)
    return mark, bytes(buf[1:-1])


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.integers(1, 1 << 62), INT64, INT64, INT64)
def test_a_mark_comes_back(sequence: int, term: int, vote: int, acknowledged: int) -> None:
    mark, data = mark_of(sequence, term=term, vote=vote, acknowledged=acknowledged, boot=3, disk_alarm=1)
    assert data[4:24] == struct.pack("<Iqq", 1, CLUSTER, MEMBER)
    assert data[24:88] == struct.pack("<8q", sequence, 3, term, vote, acknowledged, 0, 0, 1)
    assert data[88:] == bytes(MARK_BYTES - 88)
    assert data[:4] == struct.pack("<I", crc32c(data[4:]))
    again = new_mark()
    assert read_mark(small_log(), again, array_of(data), 0) == 0
    assert again == mark


def test_a_mark_says_how_far_the_log_was_durable() -> None:
    log, mark, buf = small_log(), new_mark(), np.zeros(MARK_BYTES, np.uint8)
    mark["behind_until"] = 7
    log.state["synced"], log.state["durable_index"] = 4711, 6
    write_mark(log, mark, buf, 0)
    assert mark[0].tolist() == (1, 0, 0, -1, 0, 4711, 7, 0)
    log.state["durable_index"] = 7
    write_mark(log, mark, buf, 0)
    assert mark[0].tolist() == (2, 0, 0, -1, 0, 4711, 0, 0)


def test_of_two_copies_the_newest_that_is_whole_counts() -> None:
    """Whatever single bit of the file is flipped, what was acted on (both copies) is there."""
    older, newer = mark_of(7, term=3)[1], mark_of(8, term=4)[1]
    for first, second, term in ((newer, older, 4), (older, newer, 4), (bytes(512), older, 3), (older, bytes(512), 3)):
        assert int(newest_mark(small_log(), array_of(first + second))[0]["term"]) == term
    for _, data in flipped(newer + newer, 1 if JIT_ENABLED else 97):
        assert int(newest_mark(small_log(), array_of(data))[0]["term"]) == 4


def test_a_mark_that_cannot_be_read_is_refused() -> None:
    data = mark_of(7)[1]
    log = small_log()
    for _, changed in flipped(data):
        with pytest.raises(Damage, match=r"mark, offset 512: a header does not fit its checksum"):
            newest_mark(log, array_of(changed + changed))
    for content, code in (
        (b"", LogDamage.INCOMPLETE),
        (data[:511], LogDamage.INCOMPLETE),
        (bytes(COPIES * MARK_BYTES), LogDamage.BLANK),
    ):
        with pytest.raises(Damage) as found:
            newest_mark(log, np.frombuffer(content, np.uint8).copy())
        assert found.value.code == code
    with pytest.raises(Damage, match="another cluster or another member"):
        newest_mark(new_log(CLUSTER, MEMBER + 1), array_of(data + data))
    later = bytearray(data)
    later[4] = 2
    later[:4] = struct.pack("<I", crc32c(bytes(later[4:])))
    with pytest.raises(Damage, match="later version of kvbench"):
        newest_mark(log, array_of(bytes(later) * 2))
    unchanged = new_mark()
    assert read_mark(log, unchanged, array_of(bytes(512)), 0) == BLANK
    assert unchanged == new_mark() and MARK.itemsize == 64


def test_an_identity_comes_back() -> None:
    data = pack_identity(IDENTITY)
    assert len(data) == IDENTITY_BYTES
    assert unpack_identity(data) == IDENTITY
    assert unpack_identity(pack_identity(Identity(-1, -2, 4, (1, 2, 3, 4, -2)))).members == (1, 2, 3, 4, -2)


def test_an_identity_that_is_not_whole_is_refused() -> None:
    data = pack_identity(IDENTITY)
    for _, changed in flipped(data):
        with pytest.raises(Damage):
            unpack_identity(changed)
    for size in range(0, IDENTITY_BYTES, STEP):
        with pytest.raises(Damage):
            unpack_identity(data[:size])
    with pytest.raises(Damage, match="a size that it is never given"):
        unpack_identity(data + b"x")
    with pytest.raises(Damage, match="later version"):
        unpack_identity(data[:8] + b"\x02" + data[9:])


def snapshot_of(frames: list[bytes]) -> bytes:
    """A snapshot's file."""
    stream, buf = snapshot.new_stream(), np.zeros(4096, np.uint8)
    data = bytes(buf[: snapshot.begin_snapshot(stream, buf, 0, CLUSTER, 1000, 5, 77)])
    for payload in frames:
        buf[snapshot.FRAME_BYTES : snapshot.FRAME_BYTES + len(payload)] = np.frombuffer(payload, np.uint8)
        data += bytes(buf[: snapshot.seal_frame(stream, buf, 0, len(payload))])
    return data + bytes(buf[: snapshot.end_snapshot(stream, buf, 0)])


def naive_snapshot(frames: list[bytes]) -> bytes:
    """The same, by struct and bit by bit."""
    header = struct.pack("<I5q", 1, CLUSTER, 1000, 5, 77, 0)
    checksum = crc32c(header)
    data = b"kvsnap1\n" + struct.pack("<I", checksum) + header
    trailer = struct.pack("<Iqq", 0, len(frames), sum(len(payload) for payload in frames))
    for frame in (*(struct.pack("<I", len(payload)) + payload for payload in frames), trailer):
        checksum = crc32c(frame, checksum)
        data += struct.pack("<I", checksum) + frame
    return data


def read_snapshot(data: bytes, split: int = 1 << 60) -> tuple[list[bytes], int]:
    """Frames and the last code (0: more needed; 1: finished), when only ``split`` bytes are there at first."""
    stream, buf = snapshot.new_stream(300), array_of(data)
    frames: list[bytes] = []
    at, end, started, size = 0, min(split, len(data)), False, 0
    while True:
        size = (snapshot.read_frame if started else snapshot.read_snapshot_header)(stream, buf, at, end)
        if size == 0 and end < len(data):
            end = len(data)
            continue
        if size <= 0:
            return frames, size
        if started and not stream[0]["finished"]:
            begin = int(stream[0]["frame_at"])
            frames.append(bytes(buf[begin : begin + int(stream[0]["frame_bytes"])]))
        at, started = at + size, True
        if stream[0]["finished"]:
            assert at == len(data)
            assert [int(stream[0][name]) for name in ("cluster", "index", "term", "revision")] == [CLUSTER, 1000, 5, 77]
            return frames, 1


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.lists(st.binary(min_size=1, max_size=300), max_size=4), st.integers(0, 400))
def test_a_snapshot_comes_back(frames: list[bytes], split: int) -> None:
    data = snapshot_of(frames)
    assert data == naive_snapshot(frames)
    assert read_snapshot(data, split) == (frames, 1)


FRAMES = [b"first", bytes(40), b"x" * 100]


def test_a_snapshot_at_every_split_and_cut() -> None:
    data = snapshot_of(FRAMES)
    for size in range(len(data)):
        assert read_snapshot(data, size) == (FRAMES, 1)
        frames, code = read_snapshot(data[:size])
        assert code == 0 and frames == FRAMES[: len(frames)]


def test_every_flipped_bit_of_a_snapshot_is_found() -> None:
    """At the frame that it is in: those before are as they were. A longer length may ask for bytes that never come."""
    data = snapshot_of(FRAMES)
    ends, end = [], snapshot.HEADER_BYTES
    for payload in FRAMES:
        end += snapshot.FRAME_BYTES + len(payload)
        ends.append(end)
    for bit, changed in flipped(data):
        frames, code = read_snapshot(changed)
        assert code <= 0
        assert frames == FRAMES[: sum(bit >> 3 >= end for end in ends)]


def test_snapshots_that_cannot_be_are_refused() -> None:
    data = bytearray(snapshot_of([b"one", b"two"]))
    first = snapshot.HEADER_BYTES
    size = snapshot.FRAME_BYTES + 3
    exchanged = data[:first] + data[first + size : first + 2 * size] + data[first : first + size] + data[-24:]
    missing = data[:first] + data[first + size :]
    doubled = data[: first + size] + data[first:]
    for changed in (exchanged, missing, doubled):
        assert read_snapshot(bytes(changed))[1] < 0
    data[12] = 2
    data[8:12] = struct.pack("<I", crc32c(bytes(data[12:first])))
    assert read_snapshot(bytes(data)) == ([], NEWER_FORMAT)
    assert read_snapshot(snapshot_of([b"x" * 301])) == ([], BAD_HEADER)
