"""From bytes back to a log: what was written comes back, and what was not whole is cut off, refused or reported."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench.jit import JIT_ENABLED
from kvbench.log import append, writing
from kvbench.log.damage import Damage
from kvbench.log.records import SEGMENT_START, LogDamage, new_log
from kvbench.log.replay import Cut
from tests.log.simulated import CLUSTER, MEMBER, Writer, array_of, contents, payloads, recovered, small_log

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 900)),
        st.tuples(st.just("truncate"), st.integers(1, 6)),
    ),
    max_size=40,
)


def state_of(log: Any, *names: str) -> list[int]:
    return [int(log.state[0][name]) for name in names]


@settings(deadline=None, derandomize=True, max_examples=40)
@given(STEPS, st.integers(0, 20))
def test_what_was_synced_comes_back(steps: list[tuple[str, int]], more: int) -> None:
    """And the log goes on as if it had never stopped: the bytes that follow are the same."""
    writer = Writer()
    log = writer.log
    expected: dict[int, tuple[int, bytes]] = {}
    for term, (what, argument) in enumerate(steps, 1):
        if what == "append":
            payload = payloads([argument])[0]
            writer.append(term, payload)
            expected[int(writer.state["last_index"])] = term, payload
        elif len(expected) >= argument:
            append.truncate(log, len(expected) + 1 - argument)
            expected = {i: entry for i, entry in expected.items() if i <= int(writer.state["last_index"])}
    # A truncation is not on disk before the entry that replaces.
    writer.append(99, b"last")
    expected[int(writer.state["last_index"])] = 99, b"last"
    writer.sync()
    images = writer.disk.images()
    again, replayed = recovered(images, marked=int(writer.state["position"]))
    assert (replayed.cuts, replayed.behind_until) == ((), 0)
    names = "first_index", "last_index", "last_term", "position", "checksum", "segment_number", "ready_number"
    assert state_of(again, *names) == state_of(log, *names)
    assert contents(again, images, {i: term for i, (term, _) in expected.items()}) == expected
    second = Writer(again, images)
    for one in (writer, second):
        one.make_segments()
        for size in range(more):
            one.append(100, payloads([size * 40])[0])
        one.sync()
    assert {k: bytes(v) for k, v in second.disk.files.items()}.keys() == writer.disk.files.keys()
    if more:
        # The first record made after a start knows everything before it to be durable, so only claims may differ.
        third, replayed = recovered(second.disk.images())
        assert replayed.cuts == () and state_of(third, "last_index", "position") == state_of(
            log, "last_index", "position"
        )


def test_nothing_at_all_is_a_new_log() -> None:
    log, replayed = recovered({})
    assert state_of(log, "first_index", "last_index", "segment_number", "ready_number") == [1, 0, 1, 0]
    assert replayed.behind_until == 0
    log, replayed = recovered({1: bytes(4096), 2: bytes(4096)})
    assert state_of(log, "segment_number", "ready_number") == [1, 2]


def test_a_log_that_lost_everything_says_so() -> None:
    _, replayed = recovered({1: bytes(4096)}, acknowledged=5, marked=700)
    assert (replayed.behind_until, replayed.lost_bytes) == (5, 700)


def test_spares_of_another_size_are_made_anew() -> None:
    log, _ = recovered({1: bytes(4096), 2: bytes(2048), 3: bytes(4096)})
    assert state_of(log, "ready_number") == [1]


@pytest.fixture
def three_segments() -> Writer:
    """Entries 1 to 20 of 500 bytes, all durable, 7 to a segment."""
    writer = Writer()
    for size in [500] * 20:
        writer.append(1, payloads([size])[0])
    writer.sync()
    return writer


def test_the_log_begins_where_segments_were_kept(three_segments: Writer) -> None:
    images = three_segments.disk.images()
    del images[1]
    log, _ = recovered(images, snapshot_index=10, snapshot_term=1)
    assert state_of(log, "first_index", "last_index", "segment_first") == [8, 20, 2]
    with pytest.raises(Damage) as found:
        recovered(images, snapshot_index=6, snapshot_term=1)
    assert (found.value.number, found.value.offset, found.value.code) == (2, 0, LogDamage.GAP)


@pytest.mark.parametrize(("index", "term"), [(25, 3), (15, 2)])
def test_a_snapshot_that_the_log_does_not_lead_to(three_segments: Writer, index: int, term: int) -> None:
    """One beyond its end, or one with another entry: the log begins anew behind it."""
    images = three_segments.disk.images()
    log, _ = recovered(images, snapshot_index=index, snapshot_term=term)
    assert state_of(log, "first_index", "last_index", "last_term", "segment_number") == [index + 1, index, term, 4]
    writer = Writer(log, images)
    writer.append(4, b"new")
    writer.sync()
    again, _ = recovered(writer.disk.images(), snapshot_index=index, snapshot_term=term)
    assert state_of(again, "first_index", "last_index", "last_term") == [index + 1, index + 1, 4]
    assert [writing.drop_segment(again, index) for _ in range(4)] == [1, 2, 3, 0]
    with pytest.raises(Damage, match="entries are missing between the newest snapshot and the log"):
        recovered(writer.disk.images())


def test_a_new_beginning_that_did_not_come_to_the_disk(three_segments: Writer) -> None:
    """A snapshot was installed and a mark written, then power was lost: nothing that was durable is missing."""
    log, state = three_segments.log, three_segments.state
    assert writing.restart(log, 100, 7) == 0
    marked = int(state["synced"])
    images = three_segments.disk.images()
    again, replayed = recovered(images, snapshot_index=100, snapshot_term=7, acknowledged=100, marked=marked)
    assert (replayed.behind_until, replayed.cuts) == (0, ())
    assert state_of(again, "first_index", "last_index", "segment_number") == [101, 100, 4]
    while append.append(log, int(state["last_index"]) + 1, 8, array_of(bytes(500)), 0, 500) == 0:
        pass
    assert int(state["position"]) - marked > 8192 - 600, "the gap to the new segment takes no room"


def test_another_members_log_is_refused(three_segments: Writer) -> None:
    images = three_segments.disk.images()
    sizes = {"segment_bytes": 4096, "ring_bytes": 8192, "payload_bytes_max": 1024}
    for ids in ((CLUSTER, MEMBER + 1), (CLUSTER + 1, MEMBER)):
        with pytest.raises(Damage) as found:
            recovered(images, new_log(*ids, **sizes))
        assert found.value.code == LogDamage.FOREIGN


def test_segments_in_each_others_place_are_refused(three_segments: Writer) -> None:
    images = three_segments.disk.images()
    with pytest.raises(Damage) as found:
        recovered({**images, 2: images[3], 3: images[2]})
    assert (found.value.number, found.value.code) == (2, LogDamage.WRONG_NUMBER)
    with pytest.raises(Damage) as found:
        recovered({1: images[1], 2: images[2] + bytes(8)})
    assert found.value.code == LogDamage.BAD_LENGTH


def test_a_missing_end_of_a_segment_is_refused(three_segments: Writer) -> None:
    """Cut exactly at a record's end, but the next segment knows of what is missing."""
    images = three_segments.disk.images()
    short = images[1][: SEGMENT_START + 6 * 536] + bytes(4096 - SEGMENT_START - 6 * 536)
    with pytest.raises(Damage) as found:
        recovered({**images, 1: short})
    assert (found.value.number, found.value.offset, found.value.code) == (2, 0, LogDamage.BROKEN_CHAIN)


def test_tables_that_are_too_small_are_said(three_segments: Writer) -> None:
    for changed in ({"segments": 2}, {"landmarks": 4}):
        with pytest.raises(ValueError, match="too small"):
            recovered(three_segments.disk.images(), small_log(**changed))


def test_another_size_of_segments_from_now_on(three_segments: Writer) -> None:
    images = three_segments.disk.images()
    log, _ = recovered(images, small_log(segment_bytes=8192))
    writer = Writer(log, images)
    assert len(writer.disk.files[4]) == 8192
    for _ in range(20):
        writer.append(2, bytes(600))
    writer.sync()
    again, replayed = recovered(writer.disk.images())
    assert (state_of(again, "last_index", "position"), replayed.cuts) == (state_of(log, "last_index", "position"), ())


def test_cuts_are_named_with_all_that_follows() -> None:
    writer = Writer()
    for _ in range(5):
        writer.append(1, payloads([500])[0])
    writer.sync()
    for _ in range(5):
        writer.append(1, payloads([500])[0])
    writer.write()
    # The unfinished write ran on into the second segment. Its first sector was lost.
    files = {number: bytearray(content) for number, content in writer.disk.files.items()}
    for number, offset, data in writer.disk.pending:
        files[number][offset : offset + len(data)] = data
    end = SEGMENT_START + 5 * 536
    files[1][end : end + 512 - end % 512] = bytes(512 - end % 512)
    log, replayed = recovered({number: bytes(content) for number, content in files.items()})
    assert replayed.cuts == (Cut(1, end), Cut(2, 0))
    assert state_of(log, "last_index", "position", "segment_number", "ready_number") == [5, end, 1, 1]
    assert append.append(log, 6, 2, array_of(b""), 0, 0) == 0


WINDOWS = 64, 104, 160, 1000, 4096
FLIPS = st.lists(st.tuples(st.integers(0, 1 << 14), st.integers(0, 255)), max_size=3)


def outcome(images: dict[int, bytes], marked: int, window_bytes: int) -> list[Any]:
    """Everything that a recovery says and leaves."""
    log = small_log()
    try:
        _, replayed = recovered(images, log, marked=marked, window_bytes=window_bytes)
    except Damage as damage:
        return [damage.number, damage.offset, damage.code]
    names = [name for name in log.state.dtype.names or () if not name.startswith("record_")]
    return [replayed, state_of(log, *names), log.segments.tobytes(), log.landmarks.tobytes()]


@settings(deadline=None, derandomize=True, max_examples=60 if JIT_ENABLED else 15)
@given(st.lists(st.integers(0, 900), max_size=20), FLIPS, st.integers(0, 2000), st.booleans())
def test_it_does_not_matter_how_much_is_read_at_a_time(
    sizes: list[int], scribbles: list[tuple[int, int]], lost: int, is_marked: bool
) -> None:
    """Whole segments at once or a few bytes, of a whole log or one that is damaged or cut: the same comes of it."""
    writer = Writer()
    for size in sizes:
        writer.append(1, payloads([size])[0])
    writer.sync()
    end = int(writer.state["position"])
    last = int(writer.state["segment_number"])
    content = bytearray(b"".join(bytes(writer.disk.files[number]) for number in sorted(writer.disk.files)))
    for at, byte in scribbles:
        content[at % end] = byte
    content[max(end - lost, 0) : end] = bytes(min(lost, end))
    images = {number: bytes(content[4096 * (number - 1) : 4096 * number]) for number in range(1, last + 1)}
    marked = end if is_marked else 0
    expected = outcome(images, marked, 1 << 20)
    for window_bytes in WINDOWS:
        assert outcome(images, marked, window_bytes) == expected
