"""A member's folder on a real disk: whose it is, who uses it, and what is in it when the member starts.

```
identity             whose it is (log.identity); written last when a folder is made
lock                 held by the process that uses it
mark                 log.mark
log/NUMBER.log       segments; NUMBER.part while one is made; NUMBER.OFFSET.torn: kept copies of what was cut off
snapshot/INDEX.snap  snapshots; own.part and foreign.part while one is written or received
```
"""

import errno
import fcntl
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kvbench.log import append, mark
from kvbench.log.damage import Damage
from kvbench.log.identity import Identity, pack_identity, unpack_identity
from kvbench.log.records import Log, LogDamage, new_log
from kvbench.log.replay import Cut, Replayed, Segment
from kvbench.log.snapshot import new_stream, read_frame, read_snapshot_header
from kvbench.node.records import File

SNAPSHOT_FRAME_BYTES_MAX = 1 << 20
"""Longest frame of a snapshot that is believed."""
TORN_COPIES_MAX = 16
"""How many copies of what was cut off are kept; the oldest go first."""
ZEROS = bytes(256 << 10)
"""Zeros are written and synced in pieces of this size: the log's own syncs wait for what lies before them in the disk's
queue."""
READ_BYTES = 1 << 20
LEFT_BYTES_MAX = 64
"""What a reader of a snapshot may have left of one frame until the next one comes."""
_SEGMENT = re.compile(r"(\d{10})\.log")
_SNAPSHOT = re.compile(r"(\d{20})\.snap")


class FolderError(Exception):
    """A folder that this member cannot use, and why."""


class FolderInUse(FolderError):
    """Another process has it."""


class FolderForeign(FolderError):
    """It is another member's, another cluster's, or no member's."""


class FolderDamaged(FolderError):
    """A file in it cannot be trusted."""

    def __init__(self, path: Path, offset: int, reason: str) -> None:
        super().__init__(f"{path}, offset {offset}: {reason}; the member does not start with it")
        self.path, self.offset, self.reason = path, offset, reason


class FolderNewer(FolderDamaged):
    """A file in it is of a format that this version does not know."""


def damaged(path: Path, damage: Damage) -> FolderDamaged:
    """The error that says of a damage which file it is in."""
    kind = FolderNewer if damage.code == LogDamage.NEWER_FORMAT else FolderDamaged
    return kind(path, damage.offset, damage.reason)


@dataclass(frozen=True)
class SnapshotFound:
    """The newest snapshot; zeros: there is none."""

    index: int
    term: int
    file_bytes: int
    revision: int


Take = Callable[[Sequence[Segment], npt.NDArray[np.uint8], SnapshotFound], Replayed]
"""(segments, the mark's bytes, snapshot): a member's replay (log.replay). Raises Damage."""


TakeFrame = Callable[[npt.NDArray[np.uint8], int, int], int]
"""(buf, at, end): takes a frame's payload. Returns 0, or a negative code."""


def sync_folder(path: Path) -> None:
    """Make what a folder lists durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_at(fd: int, data: bytes, offset: int) -> None:
    """All of ``data`` at ``offset``."""
    view = memoryview(data)
    while view:
        done = os.pwrite(fd, view, offset)
        view, offset = view[done:], offset + done


def write_zeros(fd: int, offset: int, end: int, sync: bool) -> None:
    """Zeros from ``offset`` to ``end``, durable with ``sync``."""
    while offset < end:
        size = min(len(ZEROS), end - offset)
        write_at(fd, ZEROS[:size], offset)
        offset += size
        if sync:
            os.fdatasync(fd)


def allocate(fd: int, size: int) -> None:
    """Have a new file's space set aside at once, where the file system can. Raises OSError, at once when it is full.

    It is written all the same: space that was never written costs each later sync an entry in the journal.
    """
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise


@contextmanager
def written_aside(path: Path, sync: bool = True, aside: Path | None = None) -> Iterator[int]:
    """A descriptor of a new file that is named ``path`` once it is whole and durable; nothing is left otherwise."""
    aside = aside or path.with_suffix(".part")
    fd = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        yield fd
        if sync:
            os.fsync(fd)
        os.replace(aside, path)
    except BaseException:
        with suppress(OSError):
            aside.unlink()
        raise
    finally:
        os.close(fd)
    if sync:
        sync_folder(path.parent)


def read_identity(root: Path) -> Identity | None:
    """Whose folder it is; None when it is nobody's yet. Raises FolderDamaged."""
    path = root / "identity"
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return unpack_identity(data)
    except Damage as damage:
        raise damaged(path, damage) from damage


class Folder:
    """A member's folder, held by this process until ``close``."""

    def __init__(self, root: Path, identity: Identity) -> None:
        """Take hold of ``root``, and make it this member's if it is nobody's. Raises FolderError, OSError."""
        self.root, self.identity = root, identity
        root.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._hold()
            found = read_identity(root)
            if found is None:
                self._make()
            elif found != identity:
                raise FolderForeign(f"{root} belongs to {self._name(found)}, this is {self._name(identity)}")
        except BaseException:
            self.close()
            raise

    @staticmethod
    def _name(identity: Identity) -> str:
        members = ", ".join(f"{member:x}" for member in identity.members)
        return f"member {identity.member:x} of cluster {identity.cluster:x} (members {members})"

    def _hold(self) -> None:
        """Lock the folder for as long as this process lives, however it ends."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(self._lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise FolderInUse(f"{self.root} is in use by another process (pid {owner})") from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def _make(self) -> None:
        """Make the folder's content; the identity last, so that what has one is whole."""
        known = {"lock", "mark", "mark.part", "identity.part", "log", "snapshot"}
        strange = sorted(path.name for path in self.root.iterdir() if path.name not in known)
        strange += [f"{name}/{path.name}" for name in ("log", "snapshot") for path in self._listed(name)]
        if strange:
            raise FolderForeign(f"{self.root} is no member's folder and not empty: it holds {strange[0]}")
        for name in ("log", "snapshot"):
            (self.root / name).mkdir(exist_ok=True)
        log = new_log(
            self.identity.cluster, self.identity.member,
            segment_bytes=1024, ring_bytes=1024, payload_bytes_max=64, entries=1, segments=2, landmarks=1,
        )  # fmt: skip
        append.begin(log)
        first, buf = mark.new_mark(), np.zeros(mark.MARK_BYTES, np.uint8)
        mark.write_mark(log, first, buf, 0)
        with written_aside(self.root / "mark") as fd:
            write_at(fd, bytes(buf) * mark.COPIES, 0)
        with written_aside(self.root / "identity") as fd:
            write_at(fd, pack_identity(self.identity), 0)
        sync_folder(self.root.absolute().parent)

    def _listed(self, name: str) -> list[Path]:
        folder = self.root / name
        return sorted(folder.iterdir()) if folder.is_dir() else []

    def close(self) -> None:
        """Let go of the folder."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def path(self, file: int, number: int = 0) -> Path:
        """Where a file of a kind (node.records.File) and number is."""
        if file == File.SEGMENT:
            return self.root / "log" / f"{number:010d}.log"
        if file == File.SNAPSHOT:
            return self.root / "snapshot" / f"{number:020d}.snap"
        names = {
            File.MARK: "mark",
            File.OWN_SNAPSHOT: "snapshot/own.part",
            File.FOREIGN_SNAPSHOT: "snapshot/foreign.part",
        }
        return self.root / names[File(file)]

    def damaged(self, damage: Damage) -> FolderDamaged:
        """The error that names a damage's file."""
        kinds = {"segment": File.SEGMENT, "snapshot": File.SNAPSHOT, "mark": File.MARK}
        return damaged(self.path(kinds[damage.kind], damage.number), damage)

    def clear_unfinished(self) -> None:
        """Remove what was being written when the member ended."""
        for name in ("log", "snapshot"):
            for path in self._listed(name):
                if path.suffix == ".part":
                    path.unlink()

    def recover(self, log: Log, take: Take) -> Replayed:
        """Have ``take`` fill a member's ``log`` (and more) from what is here, then make the files agree with it.

        Raises FolderDamaged when something cannot be trusted; nothing but unfinished files is touched then.
        """
        self.clear_unfinished()
        path = self.path(File.MARK)
        if not path.exists():
            raise FolderDamaged(path, 0, "it is missing")
        noted = np.frombuffer(path.read_bytes(), np.uint8).copy()
        found = self.snapshots()
        newest = SnapshotFound(0, 0, 0, 0)
        if found:
            stream = self.check_snapshot(found[-1])
            file_bytes = self.path(File.SNAPSHOT, found[-1]).stat().st_size
            newest = SnapshotFound(found[-1], int(stream["term"]), file_bytes, int(stream["revision"]))
        try:
            replayed = take(self.segments(), noted, newest)
        except Damage as damage:
            raise self.damaged(damage) from damage
        state = log.state[0]
        if replayed.lost_bytes and len(self.identity.members) == 1:
            number = int(state["handed_number"])
            offset = int(state["handed"]) - int(log.segments[number % len(log.segments)]["begin"])
            raise self.damaged(Damage("segment", number, offset, LogDamage.LOST_END))
        self.repair(log, replayed)
        for index in found[:-1]:
            self.path(File.SNAPSHOT, index).unlink()
        return replayed

    def segments(self) -> list[Segment]:
        """The segments there are, in order: the newest ones without a gap between them."""
        numbers = self._numbers("log", _SEGMENT)
        first = len(numbers) - 1
        while first > 0 and numbers[first - 1] == numbers[first] - 1:
            first -= 1
        return [self._segment(number) for number in numbers[max(first, 0) :]]

    def snapshots(self) -> list[int]:
        """Indexes of the snapshots there are, in order."""
        return self._numbers("snapshot", _SNAPSHOT)

    def _numbers(self, name: str, pattern: re.Pattern[str]) -> list[int]:
        found = (pattern.fullmatch(path.name) for path in self._listed(name))
        return sorted(int(match[1]) for match in found if match)

    def _segment(self, number: int) -> Segment:
        path = self.path(File.SEGMENT, number)

        def read(buf: npt.NDArray[np.uint8], offset: int) -> None:
            with open(path, "rb", buffering=0) as file:
                file.seek(offset)
                view = buf.data
                done = 0
                while done < len(buf) and (got := file.readinto(view[done:])):
                    done += got
            buf[done:] = 0

        size = path.stat().st_size
        return Segment(number, size, read)

    def check_snapshot(self, index: int) -> Any:
        """Read a whole snapshot: its STREAM record (index, term, revision). Raises FolderDamaged where damaged."""
        path = self.path(File.SNAPSHOT, index)
        stream = new_stream(SNAPSHOT_FRAME_BYTES_MAX)
        size = path.stat().st_size
        with open(path, "rb", buffering=0) as file:
            code, offset = read_stream(file, stream, size)
        if code == 0 and offset < size:
            code = LogDamage.BAD_LENGTH
        elif code == 0 and (int(stream[0]["index"]) != index or int(stream[0]["cluster"]) != self.identity.cluster):
            code = LogDamage.FOREIGN
        if code < 0:
            raise self.damaged(Damage("snapshot", index, offset, code))
        return stream[0]

    def repair(self, log: Log, replayed: Replayed) -> None:
        """Make a replayed log's files what the log takes them for, and durable; a copy of what is cut off is kept."""
        newest = int(log.state[0]["handed_number"])
        for cut in replayed.cuts:
            self._keep(cut)
        for cut in reversed(replayed.cuts):
            if cut.offset == 0 and cut.number > newest:
                self.path(File.SEGMENT, cut.number).unlink()
        first = int(log.state[0]["segment_first"])
        for number in self._numbers("log", _SEGMENT):
            path = self.path(File.SEGMENT, number)
            if number < first:
                path.unlink()
                continue
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                offset = min((cut.offset for cut in replayed.cuts if cut.number == number), default=None)
                size = os.fstat(fd).st_size
                whole = int(log.segments[number % len(log.segments)]["bytes"]) if number <= newest else size
                if offset is not None or (number == newest and size < whole):
                    write_zeros(fd, size if offset is None else offset, max(size, whole), True)
                os.fsync(fd)
            finally:
                os.close(fd)
        sync_folder(self.root / "log")

    def _keep(self, cut: Cut) -> None:
        """Copy what a cut takes away, but for zeros at its end."""
        path = self.path(File.SEGMENT, cut.number)
        data = path.read_bytes()[cut.offset :].rstrip(b"\0")
        copy = path.with_name(f"{path.stem}.{cut.offset}.torn")
        fd = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            write_at(fd, data, 0)
            os.fsync(fd)
        finally:
            os.close(fd)
        kept = sorted(self.root.glob("log/*.torn"), key=lambda path: path.stat().st_mtime_ns)
        for path in kept[:-TORN_COPIES_MAX]:
            path.unlink()


def read_stream(file: Any, stream: Any, size: int, take: TakeFrame | None = None) -> tuple[int, int]:
    """Read a snapshot from a file of ``size`` bytes: (0 or a LogDamage, offset reached).

    ``take`` gets each frame's payload, ``buf[at:end]``, may write over LEFT_BYTES_MAX bytes before it, and returns 0 or
    a negative code, which ends the reading.
    """
    buf = np.zeros(LEFT_BYTES_MAX + min(size, SNAPSHOT_FRAME_BYTES_MAX + READ_BYTES) + 1, np.uint8)
    view = buf.data
    at = end = LEFT_BYTES_MAX
    offset = 0
    started = False
    record = stream[0]
    while not record["finished"]:
        used = (read_frame if started else read_snapshot_header)(stream, buf, at, end)
        if used < 0:
            return used, offset
        if used > 0:
            if take is not None and started and not record["finished"]:
                frame_at = int(record["frame_at"])
                code = take(buf, frame_at, frame_at + int(record["frame_bytes"]))
                if code < 0:
                    return code, offset
            at, offset, started = at + used, offset + used, True
            continue
        rest = end - at
        buf[LEFT_BYTES_MAX : LEFT_BYTES_MAX + rest] = buf[at:end].copy()
        at, end = LEFT_BYTES_MAX, LEFT_BYTES_MAX + rest
        got = file.readinto(view[end:])
        if not got:
            return LogDamage.INCOMPLETE, offset
        end += got
    return 0, offset
