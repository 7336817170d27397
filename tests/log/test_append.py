"""The log in memory and the bytes it writes, against a log made of lists."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench.log import append, record, writing
from kvbench.log.records import (
    COMPACTED,
    NO_ENTRY,
    NO_ROOM,
    NOT_IN_MEMORY,
    OUT_OF_ORDER,
    RECORD,
    RECORD_BYTES,
    SEGMENT_HEADER,
    SEGMENT_HEADER_BYTES,
    SEGMENT_START,
    new_log,
)
from kvbench.ops.entries import ENTRY_PREFIX, PREFIX_BYTES
from tests.log.simulated import CLUSTER, MEMBER, Writer, array_of, payloads, read_back, small_log
from tests.naive import log as naive

PAYLOADS = st.one_of(
    st.integers(0, 700).map(lambda size: payloads([size])[0]),
    st.integers(0, 2000).map(bytes),
    st.tuples(st.integers(0, 1000), st.sampled_from([1, 0x80]), st.integers(0, 1000)).map(
        lambda parts: bytes(parts[0]) + bytes([parts[1]]) + bytes(parts[2])
    ),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), PAYLOADS),
        st.tuples(st.just("sync"), st.just(b"")),
        st.tuples(st.just("truncate"), st.integers(1, 4)),
    ),
    max_size=40,
)


def test_sizes_of_records() -> None:
    assert RECORD.itemsize == RECORD_BYTES
    assert SEGMENT_HEADER.itemsize == SEGMENT_HEADER_BYTES
    assert record.record_size(SEGMENT_HEADER_BYTES) == SEGMENT_START
    assert [record.record_size(size) for size in (0, 1, 7, 8, 15, 16)] == [40, 40, 40, 48, 48, 56]


@settings(deadline=None, derandomize=True, max_examples=40)
@given(STEPS)
def test_any_use_writes_the_bytes_that_the_form_says(steps: list[tuple[str, Any]]) -> None:
    """Entries stay readable, from memory or from disk, and the files are what a log of lists has."""
    writer = Writer(small_log(landmark_bytes=512))
    log, state = writer.log, writer.log.state[0]
    twin = naive.NaiveLog(CLUSTER, MEMBER, 4096)
    for number, (what, argument) in enumerate(steps):
        if what == "append":
            while not append.has_room(log, len(argument)):
                writer.sync()
                twin.sync()
                append.release(log, int(state["last_index"]))
            assert writer.append(number + 1, argument, room=False) == 0
            twin.append(number + 1, argument)
        elif what == "sync":
            writer.sync()
            twin.sync()
        elif twin.last_index >= argument:
            append.truncate(log, twin.last_index + 1 - argument)
            twin.truncate(twin.last_index + 1 - argument)
        assert (int(state["last_index"]), int(state["position"])) == (twin.last_index, twin.position)
    writer.sync()
    images = writer.disk.images()
    for number, content in enumerate(twin.segments, 1):
        assert images[number] == content + bytes(4096 - len(content))
    assert int(state["durable_index"]) == twin.last_index
    for index, (term, payload) in twin.entries.items():
        code = append.payload_of(log, index)
        if code == 0:
            at = int(state["found_at"])
            assert bytes(log.ring[at : at + int(state["found_bytes"])]) == payload
            assert int(state["found_term"]) == term
        else:
            assert code == NOT_IN_MEMORY
        assert read_back(log, images, index, term) == payload
    assert append.payload_of(log, twin.last_index + 1) == NO_ENTRY


def test_a_request_is_stored_behind_its_prefix() -> None:
    log = small_log()
    append.begin(log)
    buf = array_of(b"..request..")
    assert append.append_request(log, 1, 4, 3, 2, 9, 10, 11, 12, buf, 2, 7) == 0
    assert append.payload_of(log, 1) == 0
    at = int(log.state[0]["found_at"])
    assert int(log.state[0]["found_bytes"]) == PREFIX_BYTES + 7
    assert log.ring[at : at + PREFIX_BYTES].copy().view(ENTRY_PREFIX)[0].tolist() == (3, 2, 0, 9, 10, 11, 12)
    assert bytes(log.ring[at + PREFIX_BYTES : at + PREFIX_BYTES + 7]) == b"request"


def test_indexes_follow_each_other() -> None:
    writer = Writer()
    buf = array_of(b"x")
    assert append.append(writer.log, 2, 1, buf, 0, 1) == OUT_OF_ORDER
    assert writer.append(1, b"x") == 0
    assert append.append(writer.log, 1, 1, buf, 0, 1) == OUT_OF_ORDER
    append.truncate(writer.log, 1)
    assert append.append(writer.log, 1, 2, buf, 0, 1) == 0


def test_room_is_what_is_durable_and_released() -> None:
    writer = Writer()
    log, state = writer.log, writer.log.state[0]
    while writer.append(1, bytes(500), room=False) == 0:
        pass
    last = int(state["last_index"])
    assert not append.has_room(log, 500) and append.append(log, last + 1, 1, array_of(bytes(500)), 0, 500) == NO_ROOM
    append.release(log, last)
    assert not append.has_room(log, 500)
    writer.sync()
    assert append.has_room(log, 2048) and not append.has_room(log, 2056)
    assert append.payload_of(log, 1) == 0
    assert writer.append(1, bytes(2000), room=False) == 0
    assert append.payload_of(log, 1) == NOT_IN_MEMORY
    assert append.payload_of(log, last) == 0


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.lists(st.integers(0, 1500), max_size=8), st.lists(st.integers(0, 1500), min_size=1, max_size=12))
def test_room_for_several_is_room_for_each(before: list[int], sizes: list[int]) -> None:
    writer = Writer(small_log(ring_bytes=16384, entries=16))
    for size in before:
        writer.append(1, bytes(size))
    if append.has_room_for(writer.log, len(sizes), sum(sizes)):
        assert [writer.append(1, bytes(size), room=False) for size in sizes] == [0] * len(sizes)
    writer.sync()
    append.release(writer.log, int(writer.state["last_index"]))
    assert append.has_room_for(writer.log, 3, 2048)
    assert not append.has_room_for(writer.log, 17, 0) and not append.has_room_for(writer.log, 1, 16384)


def test_entries_not_released_stay() -> None:
    writer = Writer()
    while writer.append(1, bytes(500), room=False) == 0:
        pass
    writer.sync()
    append.release(writer.log, 2)
    assert writer.append(1, bytes(500), room=False) == 0
    assert [append.payload_of(writer.log, index) for index in (1, 2, 3)] == [NOT_IN_MEMORY, 0, 0]


def test_places_run_out_before_bytes_do() -> None:
    writer = Writer(small_log(entries=8))
    for _ in range(8):
        assert writer.append(1, b"", room=False) == 0
    assert writer.append(1, b"", room=False) == NO_ROOM
    assert writer.append(1, b"") == 0
    assert append.payload_of(writer.log, 1) == NOT_IN_MEMORY


def test_spans_wait_for_their_segment() -> None:
    log = small_log()
    append.begin(log)
    state = log.state[0]
    assert writing.next_write(log) == 0
    assert [writing.wanted_segment(log), writing.wanted_segment(log), writing.wanted_segment(log)] == [1, 2, 0]
    writing.segment_ready(log, 1)
    assert writing.next_write(log) == SEGMENT_START
    assert (state["write_number"], state["write_offset"], state["write_at"]) == (1, 0, 0)
    writing.synced(log, int(state["write_end"]))
    for index in range(1, 4):
        assert append.append(log, index, 1, array_of(bytes(1900)), 0, 1900) == 0
    assert int(state["segment_number"]) == 2
    assert writing.next_write(log) == 2 * record.record_size(1900)
    assert writing.next_write(log) == 0
    writing.segment_failed(log)
    assert [writing.wanted_segment(log), writing.wanted_segment(log), writing.wanted_segment(log)] == [2, 3, 0]
    writing.segment_ready(log, 2)
    assert writing.next_write(log) == SEGMENT_START + record.record_size(1900)


def test_durable_is_what_is_durable_now() -> None:
    """An entry that replaced a durable one is not durable before its own sync."""
    writer = Writer()
    state = writer.log.state[0]
    for _ in range(3):
        writer.append(1, b"old")
    writer.sync()
    assert (state["durable_index"], state["durable_term"]) == (3, 1)
    append.truncate(writer.log, 2)
    assert (state["durable_index"], state["last_term"]) == (1, 1)
    writer.append(2, b"new")
    end = writer.write()
    writer.append(2, b"newer")
    writing.synced(writer.log, end)
    assert (state["durable_index"], state["durable_term"]) == (2, 2)
    writer.sync()
    assert (state["durable_index"], state["durable_term"]) == (3, 2)


def test_segments_behind_a_snapshot_are_dropped() -> None:
    writer = Writer()
    state = writer.log.state[0]
    for _ in range(40):
        writer.append(1, bytes(500))
    writer.sync()
    firsts = {number: int(writer.log.segments[number]["first_index"]) for number in range(1, 7)}
    assert writing.drop_segment(writer.log, firsts[2] - 2) == 0
    assert writing.drop_segment(writer.log, firsts[3] - 1) == 1
    assert int(state["first_index"]) == firsts[2]
    assert writing.drop_segment(writer.log, firsts[3] - 1) == 2
    assert writing.drop_segment(writer.log, firsts[3] - 1) == 0
    assert append.payload_of(writer.log, firsts[3] - 1) == COMPACTED
    assert writing.find_on_disk(writer.log, firsts[3] - 1) == COMPACTED
    assert read_back(writer.log, writer.disk.images(), firsts[3], 1) == bytes(500)
    dropped = [writing.drop_segment(writer.log, 40) for _ in range(6)]
    assert dropped == [*range(3, int(state["segment_number"])), *[0] * (9 - int(state["segment_number"]))]


def test_a_snapshot_from_elsewhere_replaces_the_log() -> None:
    writer = Writer()
    state = writer.log.state[0]
    for _ in range(10):
        writer.append(1, bytes(500))
    assert writing.restart(writer.log, 100, 7) == NO_ROOM
    writer.sync()
    assert writing.restart(writer.log, 100, 7) == 0
    assert [int(state[name]) for name in ("first_index", "last_index", "last_term", "durable_index")] == [
        101,
        100,
        7,
        100,
    ]
    assert append.payload_of(writer.log, 5) == COMPACTED
    assert [writing.drop_segment(writer.log, 100) for _ in range(2)] == [1, 0]
    writer.make_segments()
    assert writer.append(8, b"behind") == 0
    writer.sync()
    newest = int(state["segment_number"])
    assert [writing.drop_segment(writer.log, 100) for _ in range(newest)] == [*range(2, newest), 0, 0]
    assert read_back(writer.log, writer.disk.images(), 101, 8) == b"behind"


def test_sizes_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 512"):
        new_log(1, 1, segment_bytes=4096 + 8, ring_bytes=8192, payload_bytes_max=512)
    with pytest.raises(ValueError, match="no largest record"):
        new_log(1, 1, segment_bytes=4096, ring_bytes=8192, payload_bytes_max=4096)
    with pytest.raises(ValueError, match="no two largest"):
        new_log(1, 1, segment_bytes=4096, ring_bytes=4096, payload_bytes_max=2048)
    with pytest.raises(ValueError, match="multiple of 8"):
        new_log(1, 1, segment_bytes=4096, ring_bytes=8196, payload_bytes_max=512)
