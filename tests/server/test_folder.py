"""A member's folder: whose it is, what of it is trusted at a start, and what becomes of the rest."""

import errno
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kvbench import jit
from kvbench.log import append, snapshot, writing
from kvbench.log.identity import IDENTITY_BYTES, Identity, pack_identity
from kvbench.log.mark import MARK_BYTES, new_mark, newest_mark, write_mark
from kvbench.log.records import SEGMENT_START, Log, new_log
from kvbench.log.replay import Replayed, Segment, replay
from kvbench.node.records import Buffer, DiskKind, File, Queue
from kvbench.server.disk import Disk
from kvbench.server.folder import (
    Folder,
    FolderDamaged,
    FolderForeign,
    FolderInUse,
    SnapshotFound,
    read_identity,
)
from tests.log.simulated import array_of, payloads, read_back
from tests.server.disk_driver import Driver, command

ALONE = Identity(0xC1, 7, 0, (7,))
OF_THREE = Identity(0xC1, 7, 1, (5, 7, 9))
SEGMENT_BYTES = 4096


def log_of(identity: Identity) -> Log:
    return new_log(
        identity.cluster, identity.member,
        segment_bytes=SEGMENT_BYTES, ring_bytes=16384, payload_bytes_max=2048, entries=256, segments=64, landmarks=256,
    )  # fmt: skip


class Member:
    """A log in a folder, driven through a real disk as a node drives it."""

    def __init__(self, root: Path, identity: Identity = OF_THREE) -> None:
        self.folder = Folder(root, identity)
        self.log = log_of(identity)
        self.mark = new_mark()
        self.found = SnapshotFound(0, 0, 0, 0)

        def take(segments: Sequence[Segment], noted: Any, found: SnapshotFound) -> Replayed:
            self.mark, self.found = newest_mark(self.log, noted), found
            return replay(
                self.log,
                segments,
                snapshot_index=found.index,
                snapshot_term=found.term,
                acknowledged=int(self.mark[0]["acknowledged"]),
                marked=int(self.mark[0]["position"]),
            )

        try:
            self.replayed = self.folder.recover(self.log, take)
        except BaseException:
            self.folder.close()
            raise
        self.state = self.log.state[0]
        self.buffers = {Buffer.RING: self.log.ring, Buffer.MARK: np.zeros(MARK_BYTES, np.uint8)}
        self.disk = Disk(self.folder, self.buffers)
        self.disk.start()
        self.driver = Driver(self.disk)

    def append(self, payload: bytes, term: int = 1) -> None:
        append.release(self.log, int(self.state["last_index"]))
        index = int(self.state["last_index"]) + 1
        assert append.append(self.log, index, term, array_of(payload), 0, len(payload)) == 0

    def write(self, sync: bool = True) -> None:
        """Hand all to the disk, making segments as they are wanted; without ``sync``, as if power were lost before."""
        while (number := writing.wanted_segment(self.log)) > 0:
            made = command(DiskKind.CREATE, File.SEGMENT, number, bytes=SEGMENT_BYTES, queue=Queue.FILES)
            assert self.driver.do(made) == [0]
            writing.segment_ready(self.log, number)
        while (size := writing.next_write(self.log)) > 0:
            fields = {"offset": int(self.state["write_offset"]), "at": int(self.state["write_at"]), "bytes": size}
            number = int(self.state["write_number"])
            assert self.driver.do(command(DiskKind.WRITE, File.SEGMENT, number, buffer=Buffer.RING, **fields)) == [size]
            if sync:
                writing.synced(self.log, int(self.state["write_end"]))

    def note(self, acknowledged: int) -> None:
        """Write the mark."""
        self.mark["acknowledged"] = acknowledged
        write_mark(self.log, self.mark, self.buffers[Buffer.MARK], 0)
        copy = command(DiskKind.WRITE, File.MARK, buffer=Buffer.MARK, bytes=MARK_BYTES)
        assert self.driver.do(copy, {**copy, "offset": MARK_BYTES}) == [MARK_BYTES] * 2

    def close(self) -> None:
        self.disk.stop()
        self.folder.close()

    def entries(self) -> list[bytes]:
        """All payloads, read back."""
        files = {n: self.folder.path(File.SEGMENT, n).read_bytes() for n in range(1, 20) if self.has(n)}
        first, last = int(self.state["first_index"]), int(self.state["last_index"])
        return [read_back(self.log, files, index, 1) for index in range(first, last + 1)]

    def has(self, number: int) -> bool:
        return self.folder.path(File.SEGMENT, number).exists()


CONTENT = payloads([500, 1500, 900, 30, 1900, 700, 20, 1900, 60])
"""Entries of three segments."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder of a member of three that has CONTENT, all durable and noted."""
    member = Member(tmp_path / "m")
    for payload in CONTENT:
        member.append(payload)
        member.write()
    member.note(len(CONTENT))
    member.close()
    return tmp_path / "m"


def fingerprint(root: Path) -> dict[str, str]:
    """Content of all files."""
    files = [path for path in root.rglob("*") if path.is_file() and path.name != "lock"]
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def segment(root: Path, number: int) -> Path:
    return root / "log" / f"{number:010d}.log"


def change(path: Path, offset: int, data: bytes) -> None:
    """Overwrite bytes of a file."""
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def test_what_was_written_is_there_again(root: Path) -> None:
    before = fingerprint(root)
    member = Member(root)
    try:
        assert member.replayed == Replayed((), 0, 0)
        assert member.entries() == CONTENT
        assert int(member.mark[0]["acknowledged"]) == len(CONTENT)
        assert fingerprint(root) == before
        member.append(b"more")
        member.write()
    finally:
        member.close()
    member = Member(root)
    member.close()
    assert member.entries() == [*CONTENT, b"more"]


def test_a_new_folder(tmp_path: Path) -> None:
    assert read_identity(tmp_path / "new") is None
    Folder(tmp_path / "new", ALONE).close()
    assert read_identity(tmp_path / "new") == ALONE
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["identity", "lock", "log", "mark", "snapshot"]
    member = Member(tmp_path / "new", ALONE)
    member.close()
    assert member.entries() == [] and int(member.state["segment_number"]) == 1


@pytest.mark.parametrize("left", [[], ["mark"], ["mark", "log", "snapshot"], ["identity.part", "mark.part"]])
def test_a_folder_that_was_half_made_is_made(tmp_path: Path, left: list[str]) -> None:
    (tmp_path / "m").mkdir()
    for name in left:
        if "." in name or name == "mark":
            (tmp_path / "m" / name).write_bytes(b"half")
        else:
            (tmp_path / "m" / name).mkdir()
    Member(tmp_path / "m").close()
    assert read_identity(tmp_path / "m") == OF_THREE


@pytest.mark.parametrize("name", ["notes.txt", "log/0000000001.log", "snapshot/x"])
def test_a_folder_with_something_else_in_it_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "m" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(FolderForeign, match=f"no member's folder and not empty: it holds {name}"):
        Folder(tmp_path / "m", ALONE)
    assert path.read_text() == "mine" and not (tmp_path / "m" / "identity").exists()


@pytest.mark.parametrize(
    "other",
    [Identity(0xC2, 7, 1, (5, 7, 9)), Identity(0xC1, 5, 0, (5, 7, 9)), Identity(0xC1, 7, 1, (5, 7, 8))],
)
def test_another_members_folder_is_refused(root: Path, other: Identity) -> None:
    with pytest.raises(FolderForeign, match=r"m belongs to member 7 of cluster c1 \(members 5, 7, 9\), this is member"):
        Folder(root, other)
    Folder(root, OF_THREE).close()


def test_a_folder_of_a_later_version_is_refused(root: Path) -> None:
    change(root / "identity", 8, b"\x02")
    with pytest.raises(FolderDamaged, match=r"identity, offset 8: it was written by a later version of kvbench"):
        Folder(root, OF_THREE)
    change(root / "identity", 8, b"\x01\0\0\0\0")
    with pytest.raises(FolderDamaged, match="a header does not fit its checksum"):
        read_identity(root)
    (root / "identity").write_bytes(pack_identity(OF_THREE)[: IDENTITY_BYTES - 1])
    with pytest.raises(FolderDamaged, match="a size that it is never given"):
        read_identity(root)


HOLD = """
import sys, time
from pathlib import Path
from kvbench.log.identity import Identity
from kvbench.server.folder import Folder
folder = Folder(Path(sys.argv[1]), Identity(0xC1, 7, 1, (5, 7, 9)))
print("held", flush=True)
time.sleep(600)
"""


def test_two_processes_do_not_share_a_folder(root: Path) -> None:
    """The second one is told who has it; a killed one has it no longer."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(root)], cwd=jit.PACKAGE_ROOT.parent, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(FolderInUse, match=rf"in use by another process \(pid {holder.pid}\)"):
            Folder(root, OF_THREE)
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        holder.stdout.close()
    first = Folder(root, OF_THREE)
    with pytest.raises(FolderInUse, match=f"pid {os.getpid()}"):
        Folder(root, OF_THREE)
    first.close()
    first.close()


def lose_a_sector(root: Path, unsynced: list[bytes]) -> tuple[int, bytes]:
    """Append entries, lose the first sector of their write: the offset where the log ended, and what was written."""
    member = Member(root)
    offset = int(member.state["position"]) - int(member.log.segments[int(member.state["segment_number"])]["begin"])
    for payload in unsynced:
        member.append(payload)
    member.write(sync=False)
    member.close()
    path = segment(root, 3)
    written = path.read_bytes()[offset:].rstrip(b"\0")
    change(path, offset, bytes(512 - offset % 512))
    return offset, bytes(512 - offset % 512) + written[512 - offset % 512 :]


def test_a_torn_write_is_cut_off_and_kept(root: Path) -> None:
    offset, remains = lose_a_sector(root, payloads([300, 800]))
    member = Member(root)
    member.close()
    assert [(cut.number, cut.offset) for cut in member.replayed.cuts] == [(3, offset)]
    assert member.entries() == CONTENT
    assert segment(root, 3).read_bytes()[offset:] == bytes(SEGMENT_BYTES - offset)
    copy = root / "log" / f"0000000003.{offset}.torn"
    assert copy.read_bytes() == remains.rstrip(b"\0")
    member = Member(root)
    assert member.replayed == Replayed((), 0, 0)
    member.append(b"again")
    member.write()
    member.close()
    assert found_entries(root) == [*CONTENT, b"again"]


def found_entries(root: Path) -> list[bytes]:
    """What a member finds when it starts."""
    member = Member(root)
    member.close()
    return member.entries()


def test_a_torn_write_that_ran_into_the_next_segment(root: Path) -> None:
    lose_a_sector(root, payloads([1500, 1900, 100]))
    assert segment(root, 4).read_bytes().strip(b"\0") and segment(root, 5).exists()
    member = Member(root)
    assert [cut.number for cut in member.replayed.cuts] == [3, 4]
    assert not member.has(4) and (root / "log" / "0000000004.0.torn").exists()
    member.append(payloads([1900])[0])
    member.append(payloads([1900])[0])
    member.write()
    member.close()
    assert len(found_entries(root)) == len(CONTENT) + 2


def test_copies_of_what_was_cut_do_not_pile_up(root: Path) -> None:
    for i in range(30):
        path = root / "log" / f"0000000001.{i}.torn"
        path.write_bytes(b"x")
        os.utime(path, (i, i))
    lose_a_sector(root, payloads([300, 800]))
    Member(root).close()
    kept = [path.name for path in (root / "log").glob("*.torn")]
    assert len(kept) == 16 and "0000000001.29.torn" in kept and any(name.startswith("0000000003") for name in kept)


@pytest.mark.parametrize(
    ("number", "offset", "reason"),
    [
        (1, 0, "a header does not fit its checksum"),
        (2, SEGMENT_START, "a header does not fit its checksum"),
        (3, SEGMENT_START, "a header does not fit its checksum"),
        (1, SEGMENT_START + 40, "a content does not fit its checksum"),
        (3, SEGMENT_BYTES - 9, "bits are set where nothing had been written yet"),
        (4, 2000, "bits are set where nothing had been written yet"),
    ],
)
def test_damage_is_refused_by_file_and_offset_and_nothing_is_touched(
    root: Path, number: int, offset: int, reason: str
) -> None:
    path = segment(root, number)
    byte = path.read_bytes()[offset]
    change(path, offset, bytes([byte ^ 4]))
    before = fingerprint(root)
    with pytest.raises(FolderDamaged, match=reason) as found:
        Member(root)
    assert found.value.path == path and found.value.offset <= offset
    assert f"{path}, offset {found.value.offset}: " in str(found.value)
    assert fingerprint(root) == before
    change(path, offset, bytes([byte]))
    Member(root).close()


def test_a_missing_segment_is_refused(root: Path) -> None:
    moved = root / "elsewhere"
    segment(root, 2).rename(moved)
    with pytest.raises(FolderDamaged, match="entries are missing between the newest snapshot and the log"):
        Member(root)
    moved.rename(segment(root, 2))
    segment(root, 1).unlink()
    with pytest.raises(FolderDamaged) as found:
        Member(root)
    assert (found.value.path, found.value.offset) == (segment(root, 2), 0)


def test_a_cut_at_a_records_end_is_seen_by_the_mark(root: Path) -> None:
    """Of three members it starts, without a vote until it is where it was; alone it does not."""
    path = segment(root, 3)
    change(path, SEGMENT_START, bytes(SEGMENT_BYTES - SEGMENT_START))
    member = Member(root)
    member.close()
    kept = int(member.state["last_index"])
    assert 0 < kept < len(CONTENT) and member.entries() == CONTENT[:kept]
    assert member.replayed.behind_until == len(CONTENT) and member.replayed.lost_bytes > 0
    alone = root.parent / "alone"
    member = Member(alone, ALONE)
    for payload in CONTENT:
        member.append(payload)
        member.write()
    member.note(len(CONTENT))
    member.close()
    change(segment(alone, 3), SEGMENT_START, bytes(SEGMENT_BYTES - SEGMENT_START))
    with pytest.raises(FolderDamaged, match="the log ends before what had been durable, and no other") as found:
        Member(alone, ALONE)
    assert (found.value.path, found.value.offset) == (segment(alone, 3), SEGMENT_START)


def test_a_file_that_was_cut_short(root: Path) -> None:
    """Within the zeros it is made whole again; within a record that was durable it is refused."""
    path = segment(root, 3)
    end = len(path.read_bytes().rstrip(b"\0"))
    os.truncate(path, end + 100)
    assert found_entries(root) == CONTENT
    assert path.stat().st_size == SEGMENT_BYTES
    os.truncate(path, end - 1)
    with pytest.raises(FolderDamaged, match="a record that had been durable is not whole"):
        Member(root)


def test_the_mark_is_needed(root: Path) -> None:
    path = root / "mark"
    data = path.read_bytes()
    change(path, 30, bytes([data[30] ^ 1]))
    assert found_entries(root) == CONTENT
    change(path, 512 + 30, bytes([data[30] ^ 1]))
    with pytest.raises(FolderDamaged, match=r"mark, offset 512: a header does not fit its checksum"):
        Member(root)
    path.unlink()
    with pytest.raises(FolderDamaged, match=r"mark, offset 0: it is missing"):
        Member(root)


def snapshot_file(index: int, term: int, frames: Sequence[bytes], cluster: int = 0xC1) -> bytes:
    """A snapshot's bytes."""
    stream, buf = snapshot.new_stream(), np.zeros(1 << 16, np.uint8)
    parts = [bytes(buf[: snapshot.begin_snapshot(stream, buf, 0, cluster, index, term, 50)])]
    for payload in frames:
        buf[8 : 8 + len(payload)] = np.frombuffer(payload, np.uint8)
        parts.append(bytes(buf[: snapshot.seal_frame(stream, buf, 0, len(payload))]))
    return b"".join(parts) + bytes(buf[: snapshot.end_snapshot(stream, buf, 0)])


def snapshot_path(root: Path, index: int) -> Path:
    return root / "snapshot" / f"{index:020d}.snap"


def test_the_newest_snapshot_counts(root: Path) -> None:
    """Older ones, unfinished ones, and segments before a gap that it covers are cleared away."""
    data = snapshot_file(6, 1, [b"state"] * 9)
    snapshot_path(root, 6).write_bytes(data)
    snapshot_path(root, 3).write_bytes(snapshot_file(3, 1, [b"old"]))
    for name in ("snapshot/own.part", "snapshot/foreign.part", "log/0000000009.part"):
        (root / name).write_bytes(b"unfinished")
    stray = segment(root, 1).read_bytes()
    first = int(np.frombuffer(segment(root, 2).read_bytes()[64:72], np.int64)[0])
    assert 1 < first <= 7
    member = Member(root)
    member.close()
    assert member.found == SnapshotFound(6, 1, len(data), 50)
    assert member.entries() == CONTENT
    assert [path.name for path in (root / "snapshot").iterdir()] == [snapshot_path(root, 6).name]
    assert not list(root.glob("*/*.part"))
    # A segment whose removal came to the disk late, after that of the one behind it.
    segment(root, 1).rename(segment(root, 0))
    assert stray == segment(root, 0).read_bytes()
    member = Member(root)
    member.close()
    assert int(member.state["first_index"]) == first and not segment(root, 0).exists()


def test_a_snapshot_that_is_not_whole_is_refused(root: Path) -> None:
    frames = [bytes(range(200)), b"x" * 3000]
    data = snapshot_file(6, 1, frames)
    path = snapshot_path(root, 6)
    second = snapshot.HEADER_BYTES + snapshot.FRAME_BYTES + 200
    last = second + snapshot.FRAME_BYTES + 3000
    for changed, offset, reason in (
        (data[:-1], last, "the file ends too early"),
        (data[:60], snapshot.HEADER_BYTES, "the file ends too early"),
        (data + b"\0", len(data), "a size that it is never given"),
        (data[: second + 100] + b"y" + data[second + 101 :], second, "a content does not fit"),
        (data[:20] + b"\xff" + data[21:], 0, "a header does not fit"),
        (snapshot_file(7, 1, frames), len(data), "another cluster or another member"),
        (snapshot_file(6, 1, frames, cluster=0xC2), len(data), "another cluster or another member"),
        (b"", 0, "the file ends too early"),
    ):
        path.write_bytes(changed)
        with pytest.raises(FolderDamaged, match=reason) as found:
            Member(root)
        assert (found.value.path, found.value.offset) == (path, offset)
    path.write_bytes(data)
    assert found_entries(root) == CONTENT


def test_a_large_snapshot_is_read_in_pieces(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "m", ALONE)
    frames = [bytes([i % 251]) * 60000 for i in range(60)]
    folder.path(File.SNAPSHOT, 9).write_bytes(snapshot_file(9, 2, frames))
    stream = folder.check_snapshot(9)
    folder.close()
    assert [int(stream[name]) for name in ("index", "term", "revision", "frames")] == [9, 2, 50, 60]


def test_a_folder_that_cannot_be_written_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError) as found:
        Folder(tmp_path / "file" / "m", ALONE)
    assert found.value.errno == errno.ENOTDIR
