"""Every flipped bit, every cut and every way to lose a part of an unfinished write, on a small log of several segments.

What is durable is never dropped unless the log is cut exactly at a record's end, and then the mark tells.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench.jit import JIT_ENABLED
from kvbench.log import append
from kvbench.log.damage import Damage
from kvbench.log.record import record_size
from kvbench.log.records import SEGMENT_START, Log, LogDamage
from kvbench.log.replay import Replayed
from kvbench.log.tail import one_flip_explains
from tests.log.simulated import CLUSTER, MEMBER, Writer, payloads, read_back, recovered, small_log
from tests.naive import log as naive
from tests.naive.crc32c import crc32c

SEGMENT_BYTES = 1536
SECTOR_BYTES = 512
SIZES = (0, 40, 700, 3, 100, 8, 64, 500, 250, 200, 31)
STEP = 1 if JIT_ENABLED else 157
"""Interpreted, only some bits are flipped: it is the same code."""


def tiny_log() -> Log:
    return small_log(SEGMENT_BYTES, 8192, payload_bytes_max=1200)


class Written:
    """A log of three segments, all durable, and a spare: its files, entries, and where each record is."""

    def __init__(self) -> None:
        writer = Writer(tiny_log())
        contents = payloads(SIZES)
        # Two records with a sector that holds next to nothing: none at all, and one bit.
        contents[2] = contents[2][:50] + bytes(650)
        contents[7] = contents[7][:10] + bytes(880) + b"\x10" + bytes(120)
        for term, payload in enumerate(contents, 1):
            writer.append(term, payload)
            writer.sync()
        self.contents = contents
        self.files = writer.disk.images()
        self.position = int(writer.state["position"])
        self.records: dict[int, list[tuple[int, int]]] = {number: [] for number in self.files}
        """By segment: (offset, offset behind) of its records; a record at the end for the zeros."""
        number, offset = 1, 0
        for size in (SEGMENT_START, *(record_size(len(payload)) for payload in contents)):
            if offset + size > SEGMENT_BYTES:
                self.records[number].append((offset, SEGMENT_BYTES))
                number, offset = number + 1, SEGMENT_START
                self.records[number].append((0, SEGMENT_START))
            self.records[number].append((offset, offset + size))
            offset += size
        for last in range(number, len(self.files) + 1):
            end = self.records[last][-1][1] if self.records[last] else 0
            self.records[last].append((end, SEGMENT_BYTES))

    def entries_before(self, number: int, offset: int) -> int:
        """How many entries lie wholly before a place."""
        return sum(
            1
            for segment, records in self.records.items()
            for begin, end in records[:-1]
            if begin > 0 and (segment < number or (segment == number and end <= offset))
        )

    def is_prefix(self, log: Log, files: dict[int, bytes], length: int) -> bool:
        """Whether a log holds exactly the first entries."""
        state = log.state[0]
        if int(state["last_index"]) != length:
            return False
        return all(
            read_payload(log, files, index) == (index, self.contents[index - 1]) for index in range(1, length + 1)
        )


def read_payload(log: Log, files: dict[int, bytes], index: int) -> tuple[int, bytes]:
    """Term and payload of an entry, whose term is its index."""
    return index, read_back(log, files, index, index)


@pytest.fixture(scope="module")
def written() -> Written:
    return Written()


def outcome(written: Written, files: dict[int, bytes], marked: int) -> tuple[str, Log | None, Replayed | Damage]:
    """How a log in ``files`` is taken: refused, torn, reported (a cut that the mark knows of), or clean."""
    try:
        log, replayed = recovered(files, tiny_log(), acknowledged=len(SIZES), marked=marked)
    except Damage as damage:
        return "refused", None, damage
    if replayed.cuts:
        return "torn", log, replayed
    return ("reported" if replayed.behind_until else "clean"), log, replayed


def test_the_log_has_what_this_is_about(written: Written) -> None:
    assert [len(records) - 1 for records in written.records.values()] == [8, 3, 3, 0]
    log, replayed = recovered(written.files, tiny_log(), marked=written.position)
    assert replayed == Replayed((), 0, 0)
    assert written.is_prefix(log, written.files, len(SIZES))


def test_every_flipped_bit_is_refused_and_its_record_named(written: Written) -> None:
    """Also without the mark's help, in zeros that no record has come to, and where a sector is nearly all zeros."""
    codes: Counter[int] = Counter()
    for number, content in written.files.items():
        damaged = bytearray(content)
        for bit in range(0, 8 * SEGMENT_BYTES, STEP):
            damaged[bit >> 3] ^= 1 << (bit & 7)
            how, _, damage = outcome(written, {**written.files, number: bytes(damaged)}, 0)
            damaged[bit >> 3] ^= 1 << (bit & 7)
            assert how == "refused" and isinstance(damage, Damage), (number, bit)
            offset = next(begin for begin, end in written.records[number] if begin <= bit >> 3 < end)
            assert (damage.number, damage.offset) == (number, offset), bit
            codes[damage.code] += 1
    assert sum(codes.values()) == len(range(0, 8 * SEGMENT_BYTES, STEP)) * 4
    assert set(codes) == {LogDamage.BAD_HEADER, LogDamage.BAD_CONTENT, LogDamage.STRAY_BITS}


def cuts(written: Written) -> Iterator[tuple[int, int, dict[int, bytes]]]:
    """The log cut short: a file truncated at every length, and zeros from every byte on, to the log's end.

    Yields segment, offset, files.
    """
    step = 1 if JIT_ENABLED else 61
    for number, content in written.files.items():
        for offset in range(0, SEGMENT_BYTES, step):
            yield number, offset, {**written.files, number: content[:offset]}
        later = {other: bytes(SEGMENT_BYTES) for other in written.files if other > number}
        for offset in range(0, SEGMENT_BYTES, step):
            zeroed = content[:offset] + bytes(SEGMENT_BYTES - offset)
            yield number, offset, {**written.files, number: zeroed, **later}


@pytest.mark.parametrize("marked", [True, False])
def test_every_cut_is_refused_or_leaves_an_exact_prefix(written: Written, marked: bool) -> None:
    """With a mark that knows of all entries, none is dropped but by a cut at a record's end, which is reported."""
    counts: Counter[str] = Counter()
    for number, offset, files in cuts(written):
        how, log, result = outcome(written, files, written.position if marked else 0)
        counts[how] += 1
        if log is None:
            continue
        assert isinstance(result, Replayed)
        length = int(log.state[0]["last_index"])
        assert written.is_prefix(log, files, length)
        dropped = len(SIZES) - length
        assert dropped == 0 or length == written.entries_before(number, offset)
        if marked:
            zeros = written.records[number][-1][0]
            at_end = offset >= zeros or any(offset == begin for begin, _ in written.records[number])
            assert (how == "reported") == (result.behind_until > 0) == (result.lost_bytes > 0)
            assert dropped == 0 or (how == "reported" and at_end and result.behind_until == len(SIZES))
    if not JIT_ENABLED:
        return
    records = sum(len(found) - 1 for found in written.records.values())
    assert sum(counts.values()) == 2 * 4 * SEGMENT_BYTES
    if marked:
        assert set(counts) == {"refused", "reported", "clean"}
        assert counts["reported"] >= records
    else:
        assert set(counts) == {"refused", "torn", "clean"}


def lose(before: dict[int, bytes], after: dict[int, bytes], lost: set[tuple[int, int]]) -> dict[int, bytes]:
    """Files of which some sectors, (segment, number of the sector), are as they were before."""
    files = {number: bytearray(content) for number, content in after.items()}
    for number, sector in lost:
        begin = sector * SECTOR_BYTES
        files[number][begin : begin + SECTOR_BYTES] = before[number][begin : begin + SECTOR_BYTES]
    return {number: bytes(content) for number, content in files.items()}


def changed_sectors(before: dict[int, bytes], after: dict[int, bytes]) -> list[tuple[int, int]]:
    """Which sectors a write changed."""
    return [
        (number, sector)
        for number in after
        for sector in range(len(after[number]) // SECTOR_BYTES)
        if before[number][sector * SECTOR_BYTES : (sector + 1) * SECTOR_BYTES]
        != after[number][sector * SECTOR_BYTES : (sector + 1) * SECTOR_BYTES]
    ]


def pending_images(writer: Writer) -> tuple[dict[int, bytes], dict[int, bytes]]:
    """Files before and after what is written but not synced."""
    before = writer.disk.images()
    files = {number: bytearray(content) for number, content in before.items()}
    for number, offset, data in writer.disk.pending:
        files[number][offset : offset + len(data)] = data
    return before, {number: bytes(content) for number, content in files.items()}


def make_cuts(files: dict[int, bytes], replayed: Replayed) -> dict[int, bytes]:
    """Files after the cuts that a replay asked for."""
    cut = {c.number: c.offset for c in replayed.cuts}
    return {
        number: content[: cut[number]] + bytes(len(content) - cut[number]) if number in cut else content
        for number, content in files.items()
    }


@pytest.mark.parametrize("synced", [0, 1, 4])
def test_any_part_of_an_unfinished_write_may_be_lost(synced: int) -> None:
    """Whatever sectors of it are missing: what was durable comes back, and of the rest a prefix; nothing is refused."""
    writer = Writer(tiny_log())
    contents = payloads([300, 20, 600, 90, 480, 5, 700, 33])
    contents[4] = bytes(470) + contents[4][470:]
    for term, payload in enumerate(contents[:synced], 1):
        writer.append(term, payload)
    if synced:
        writer.sync()
    marked = int(writer.state["synced"])
    for term, payload in enumerate(contents[synced:], synced + 1):
        assert writer.append(term, payload, room=False) == 0
    writer.write()
    before, after = pending_images(writer)
    sectors = changed_sectors(before, after)
    assert 3 <= len(sectors) <= 9
    lengths: Counter[int] = Counter()
    for mask in range(1 << len(sectors)):
        files = lose(before, after, {sector for i, sector in enumerate(sectors) if mask >> i & 1})
        log, replayed = recovered(files, tiny_log(), marked=marked)
        length = int(log.state[0]["last_index"])
        assert length >= synced and (length == len(contents)) == (mask == 0)
        assert replayed.behind_until == 0
        lengths[length] += 1
        if mask % 7 == 0:
            for index in range(1, length + 1):
                assert read_payload(log, files, index)[1] == contents[index - 1]
            again, second = recovered(make_cuts(files, replayed), tiny_log(), marked=marked)
            assert (second.cuts, int(again.state[0]["last_index"])) == ((), length)
    assert lengths[synced] > 0 and len(lengths) > 1


PLACES = range(0, SECTOR_BYTES, 8)
"""Where in a sector a record may begin."""


@pytest.mark.parametrize("zeros", [False, True])
def test_wherever_an_unfinished_write_begins_any_part_of_it_may_be_lost(zeros: bool) -> None:
    """At every place in a sector, the header across a border included; with a term of one bit; with zeros behind.

    The one loss that is refused looks like a single flipped bit, the term's: the sector had no other.
    """
    lengths: Counter[int] = Counter()
    refused = 0
    for place in PLACES:
        writer = Writer()
        writer.append(1, payloads([400 + place])[0])
        writer.sync()
        marked = int(writer.state["synced"])
        for payload in (bytes(700) if zeros else payloads([700])[0], payloads([20])[0]):
            writer.append(1, payload, room=False)
        writer.write()
        assert {number for number, _, _ in writer.disk.pending} == {1}
        before, after = pending_images(writer)
        sectors = changed_sectors(before, after)
        for mask in range(1 << len(sectors)):
            files = lose(before, after, {sector for i, sector in enumerate(sectors) if mask >> i & 1})
            try:
                log, replayed = recovered(files, marked=marked)
            except Damage:
                assert zeros and (SEGMENT_START + record_size(400 + place)) % SECTOR_BYTES == SECTOR_BYTES - 24
                refused += 1
                continue
            length = int(log.state[0]["last_index"])
            assert length >= 1 and replayed.behind_until == 0 and (mask > 0 or length == 3)
            lengths[length] += 1
    assert set(lengths) == {1, 2, 3} and (refused > 0) == zeros


@pytest.mark.parametrize("zeros", [False, True])
def test_flipped_bits_of_a_header_across_a_border_are_refused(zeros: bool) -> None:
    """In the last record as well, whose term has one bit and which may be zeros behind it."""
    for place in range(SECTOR_BYTES - 48, SECTOR_BYTES + 8, 8):
        size = place + SECTOR_BYTES - SEGMENT_START - record_size(0) + 7
        writer = Writer()
        writer.append(1, payloads([size])[0])
        writer.append(1, bytes(700) if zeros else payloads([700])[0])
        writer.sync()
        images = writer.disk.images()
        begin = SEGMENT_START + record_size(size)
        assert begin == place + SECTOR_BYTES
        content = bytearray(images[1])
        for bit in range(8 * begin, 8 * (begin + 40), 1 if JIT_ENABLED else 11):
            content[bit >> 3] ^= 1 << (bit & 7)
            with pytest.raises(Damage):
                recovered({**images, 1: bytes(content)})
            content[bit >> 3] ^= 1 << (bit & 7)


def test_a_lost_sector_of_what_was_durable_is_refused(written: Written) -> None:
    """Every sector but those of the last write, of which nobody but the mark knows that it was finished."""
    blank = {number: bytes(SEGMENT_BYTES) for number in written.files}
    for lost in changed_sectors(blank, written.files):
        files = lose(blank, written.files, {lost})
        how, _, _ = outcome(written, files, written.position)
        last = lost == changed_sectors(blank, written.files)[-1]
        assert how == "refused" or (last and how == "reported")
        how, log, _ = outcome(written, files, 0)
        assert how == "refused" or (last and log is not None and int(log.state[0]["last_index"]) >= len(SIZES) - 2)


SCRIBBLES = st.lists(
    st.tuples(st.integers(1, 4), st.integers(0, SEGMENT_BYTES - 1), st.binary(min_size=1, max_size=40)), max_size=3
)


@settings(deadline=None, derandomize=True, max_examples=400 if JIT_ENABLED else 30)
@given(SCRIBBLES, st.booleans())
def test_scribbled_files_are_refused_or_read_as_far_as_they_are_whole(
    written: Written, scribbles: list[tuple[int, int, bytes]], marked: bool
) -> None:
    """Whatever is written over the files: what a log has, a plain reader of its form finds there too."""
    files = {number: bytearray(content) for number, content in written.files.items()}
    for number, offset, data in scribbles:
        data = data[: SEGMENT_BYTES - offset]
        files[number][offset : offset + len(data)] = data
    images = {number: bytes(content) for number, content in files.items()}
    how, log, _ = outcome(written, images, written.position if marked else 0)
    expected = naive.read(images, CLUSTER, MEMBER)
    if log is None:
        assert images != written.files
        return
    last = int(log.state[0]["last_index"])
    assert last == len(expected) and written.is_prefix(log, images, last)
    assert how != "clean" or last == len(SIZES) or not marked


@settings(deadline=None, derandomize=True, max_examples=50)
@given(st.binary(min_size=1, max_size=60), st.data())
def test_one_flipped_bit_is_found_out_from_checksums(data: bytes, drawn: st.DataObject) -> None:
    """And two never pass for one: CRC32C tells any two flipped bits from one in records of any size we have."""
    first, second = (drawn.draw(st.integers(0, 8 * len(data) - 1)) for _ in range(2))
    one = int.from_bytes(data, "big") ^ 1 << first
    two = one ^ 1 << second
    for changed, expected in ((one, True), (two, False)):
        difference = crc32c(data) ^ crc32c(changed.to_bytes(len(data), "big"))
        if difference:
            assert one_flip_explains(len(data), difference) == expected


ROUNDS = st.lists(
    st.tuples(
        st.lists(st.integers(0, 700), max_size=6),
        st.lists(st.integers(0, 700), max_size=6),
        st.integers(0, (1 << 20) - 1),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=6,
)


@settings(deadline=None, derandomize=True, max_examples=150 if JIT_ENABLED else 10)
@given(ROUNDS)
def test_a_member_that_loses_power_again_and_again(rounds: list[tuple[list[int], list[int], int, int]]) -> None:
    """Each time it appends and syncs, appends more, maybe in place of older entries, and loses a part of that."""
    files: dict[int, bytes] = {}
    entries: dict[int, tuple[int, bytes]] = {}
    writer = Writer(tiny_log())
    for term, (synced, unsynced, mask, replaced) in enumerate(rounds, 1):
        for size in synced:
            writer.append(term, payloads([size])[0])
            entries[int(writer.state["last_index"])] = term, payloads([size])[0]
        writer.sync()
        marked = int(writer.state["synced"])
        durable = dict(entries)
        if unsynced and replaced:
            append.truncate(writer.log, max(1, len(entries) + 1 - replaced))
        appended: dict[int, tuple[int, bytes]] = {}
        for size in unsynced:
            if writer.append(term + 1000, payloads([size])[0], room=False) == 0:
                appended[int(writer.state["last_index"])] = term + 1000, payloads([size])[0]
        writer.write()
        before, after = pending_images(writer)
        lost = {sector for i, sector in enumerate(changed_sectors(before, after)) if mask >> i & 1}
        files = lose(before, after, lost)
        log, replayed = recovered(files, tiny_log(), marked=marked)
        files = make_cuts(files, replayed)
        last = int(log.state[0]["last_index"])
        kept = [index for index in appended if index <= last and log_has(log, files, index, term + 1000) is not None]
        assert kept == list(appended)[: len(kept)]
        entries = {i: e for i, e in durable.items() if not kept or i < kept[0]} | {i: appended[i] for i in kept}
        assert last == len(entries) and replayed.behind_until == 0
        for index, (of, payload) in entries.items():
            assert log_has(log, files, index, of) == payload
        writer = Writer(log, files)


def log_has(log: Log, files: dict[int, bytes], index: int, term: int) -> Any:
    """The payload of an entry if the log has it with that term, else None."""
    try:
        return read_back(log, files, index, term)
    except AssertionError:
        return None
