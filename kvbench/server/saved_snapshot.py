"""A snapshot that was saved from a member: checked, read, and made the beginning of a new cluster.

The file is what Maintenance/Snapshot streams: a member's snapshot (log.snapshot), zeros up to whole pages of 512 bytes,
and the SHA-256 of all that. A member's own file, without these, is taken too: its frames have checksums.
"""

import hashlib
import os
import shutil
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from kvbench.jit import compile_for
from kvbench.log import append, writing
from kvbench.log.damage import REASONS
from kvbench.log.identity import Identity
from kvbench.log.records import FORMAT, LogDamage, new_log
from kvbench.log.snapshot import FRAME_BYTES, begin_snapshot, end_snapshot, new_stream, seal_frame
from kvbench.log.snapshot import MAGIC as FILE_MAGIC
from kvbench.server.folder import LEFT_BYTES_MAX, Folder, read_stream, sync_folder, write_at, written_aside
from kvbench.server.rare_calls import SNAPSHOT_PAGE_BYTES, padded_bytes
from kvbench.server.snapshot_errors import SnapshotDamaged, SnapshotUnsuitable
from kvbench.store import hashing, loading, snapshot
from kvbench.store.records import NONE, OUT_OF_MEMORY, Store, new_store

DIGEST_BYTES = hashlib.sha256().digest_size
PIECE_BYTES = 256 << 10
HASH_RECORDS = 1 << 20
FIRST_INDEX, FIRST_TERM = 1, 1
"""Where the log of a restored cluster begins: behind one entry, which the snapshot stands for."""
FIRST_SEGMENT = 1
MAGIC_BYTES = struct.pack("<q", FILE_MAGIC)
MAGIC_KIND = MAGIC_BYTES[:6]
"""What snapshots of every format begin with."""
BOLT_MAGIC_AT, BOLT_MAGIC = 16, struct.pack("<I", 0xED0CDAED)
"""How a page that describes a bbolt file begins, behind its header of 16 bytes; etcd's snapshots are such files."""

Report = Callable[[int, int], None]
"""(bytes done, bytes in all): how far it has come."""


@dataclass(frozen=True)
class SavedSnapshot:
    """What a file holds, all of it checked."""

    revision: int
    format: int
    file_bytes: int
    digest: str
    """SHA-256 of the snapshot, zeros behind it included, in hexadecimal."""


class _Hashed:
    """A file whose bytes are hashed as they are read, but for a digest at its end."""

    def __init__(self, file: BinaryIO, size: int, report: Report | None) -> None:
        self.file, self.size, self.report = file, size, report
        self.sha256 = hashlib.sha256()
        self.done = 0
        self.end = size - DIGEST_BYTES if size % SNAPSHOT_PAGE_BYTES == DIGEST_BYTES else size

    def readinto(self, view: memoryview) -> int:
        """As a raw file's."""
        got = self.file.readinto(view) or 0  # type: ignore[attr-defined]
        self.sha256.update(view[: min(got, max(self.end - self.done, 0))])
        self.done += got
        if self.report is not None:
            self.report(self.done, self.size)
        return int(got)


def read_saved(path: Path, store: Store | None = None, report: Report | None = None) -> SavedSnapshot:
    """Check all of a file, and fill ``store`` from it. Raises SnapshotError, OSError."""
    loaded = None if store is None else _Loading(store)
    stream = new_stream(1 << 20)
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        _check_kind(path, os.pread(file.fileno(), BOLT_MAGIC_AT + len(BOLT_MAGIC), 0))
        hashed = _Hashed(file, size, report)
        code, offset = read_stream(hashed, stream, size, None if loaded is None else loaded.take)
        if code == LogDamage.NEWER_FORMAT:
            raise _newer(path)
        if code == OUT_OF_MEMORY:
            raise SnapshotUnsuitable(f"{path} holds more than a member can: 16 GiB or 268,435,456 keys")
        if code < 0:
            raise SnapshotDamaged(path, offset, REASONS.get(code, "it is no state of this store"))
        if loaded is not None and not loaded.is_whole(int(stream[0]["index"])):
            raise SnapshotDamaged(path, offset, "the state in it is not whole")
        _check_end(path, file, hashed, offset)
    return SavedSnapshot(int(stream[0]["revision"]), FORMAT, size, hashed.sha256.hexdigest())


def _check_kind(path: Path, head: bytes) -> None:
    """Raises SnapshotUnsuitable for what this store has not written, or not this version of it."""
    if head[BOLT_MAGIC_AT:] == BOLT_MAGIC:
        raise SnapshotUnsuitable(f"{path} is a snapshot of etcd's, not of the built-in store", "use etcdutl with it")
    if head[: len(MAGIC_KIND)] != MAGIC_KIND:
        raise SnapshotUnsuitable(f"{path} is no snapshot of the built-in store")
    if head[: len(MAGIC_BYTES)] != MAGIC_BYTES[: len(head)]:
        raise _newer(path)


def _newer(path: Path) -> SnapshotUnsuitable:
    return SnapshotUnsuitable(f"{path}: {REASONS[LogDamage.NEWER_FORMAT]}", "use that version, or a later one")


def _check_end(path: Path, file: BinaryIO, hashed: _Hashed, offset: int) -> None:
    """Behind the snapshot, which ends at ``offset``, are nothing, or zeros and the digest. Raises SnapshotDamaged."""
    if offset == hashed.size:
        return
    end = padded_bytes(offset)
    if hashed.size != end + DIGEST_BYTES:
        early = hashed.size < end + DIGEST_BYTES
        raise SnapshotDamaged(path, min(hashed.size, end + DIGEST_BYTES),
                              REASONS[LogDamage.INCOMPLETE] if early else REASONS[LogDamage.BAD_LENGTH])  # fmt: skip
    view = memoryview(bytearray(end + DIGEST_BYTES - offset))
    while hashed.readinto(view):
        pass
    if any(os.pread(file.fileno(), end - offset, offset)):
        raise SnapshotDamaged(path, offset, REASONS[LogDamage.STRAY_BITS])
    if os.pread(file.fileno(), DIGEST_BYTES, end) != hashed.sha256.digest():
        raise SnapshotDamaged(path, end, "the SHA-256 at its end is not that of what is before it")


class _Loading:
    """A store that is filled frame by frame."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.left = np.zeros(0, np.uint8)
        loading.load_begin(store)

    def take(self, buf: Any, at: int, end: int) -> int:
        """A frame's payload. Returns 0, or a negative code."""
        start = at - len(self.left)
        buf[start:at] = self.left
        taken = int(loading.load_some(self.store, buf, start, end))
        if taken < 0:
            return taken
        self.left = buf[start + taken : end].copy()
        return 0 if len(self.left) <= LEFT_BYTES_MAX else int(LogDamage.BAD_CONTENT)

    def is_whole(self, index: int) -> bool:
        """All was taken, and it is the state behind entry ``index``."""
        state = self.store.state[0]
        return int(state["loaded"]) == 1 and int(state["applied_index"]) == index and len(self.left) == 0


def empty_store(say: Callable[[float], None] | None = None) -> Store:
    """A store to load into, with the machine code for it at hand (``say``: see jit.compile_for)."""
    store = new_store()
    buf, stream = np.zeros(8, np.uint8), new_stream()
    for kernel, arguments in (
        (loading.load_some, (store, buf, 0, 0)),
        (snapshot.snapshot_some, (store, buf, 0, 0)),
        (hashing.hash_some, (store, 0)),
        (seal_frame, (stream, buf, 0, 0)),
    ):
        compile_for(kernel, arguments, "snapshot", say)
    return store


def hash_of(store: Store) -> int:
    """The state's hash as HashKV gives it (32 bits)."""
    hashing.hash_begin(store, 0)
    while hashing.hash_some(store, HASH_RECORDS):
        pass
    return int(store.state[0]["hash"])


def begin_anew(store: Store, bump_revision: int) -> None:
    """Make a state the first one of a new cluster: its log begins, and what members had to say of themselves is void.

    With ``bump_revision`` > 0 revisions go on that much later, and all before counts as compacted.
    """
    state = store.state[0]
    state["applied_index"] = FIRST_INDEX
    state["alarms"] = 0
    store.alarms["kind"] = 0
    if bump_revision > 0:
        loading.bump_revision(store, bump_revision, 1)


def write_snapshot(store: Store, cluster: int, fd: int, report: Report | None = None) -> None:
    """Write a state into an empty file as a cluster's first snapshot. Raises OSError."""
    stream, buf = new_stream(), np.zeros(PIECE_BYTES + 512, np.uint8)
    revision = int(store.state[0]["revision"])
    at = int(begin_snapshot(stream, buf, 0, cluster, FIRST_INDEX, FIRST_TERM, revision))
    offset = 0
    snapshot.snapshot_begin(store)
    while not stream[0]["finished"]:
        payload = at + FRAME_BYTES
        dumped = int(snapshot.snapshot_some(store, buf, payload, payload + PIECE_BYTES))
        at += int(seal_frame(stream, buf, at, dumped) if dumped > 0 else end_snapshot(stream, buf, at))
        write_at(fd, buf[:at].tobytes(), offset)
        offset, at = offset + at, 0
        if report is not None:
            report(offset, int(store.state[0]["used_bytes"]))
    snapshot.snapshot_end(store)


def restore(root: Path, identities: dict[str, Identity], store: Store, report: Report | None = None) -> None:
    """Make ``root``, with a member's folder below it for each name ("": itself), that begins with the store's state.

    ``begin_anew`` was called. ``root`` appears as a whole, when all of it is durable.
    Raises SnapshotUnsuitable, OSError.
    """
    if root.exists():
        raise SnapshotUnsuitable(f"{root} exists already", "name a folder that does not: nothing is ever replaced")
    root.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f"{root.name}.part-", dir=root.parent))
    try:
        for name, identity in identities.items():
            Folder(aside / name, identity).close()
            _begin_folder(aside / name, identity, store, report)
        sync_folder(aside)
        os.rename(aside, root)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    sync_folder(root.parent.absolute())


def _begin_folder(root: Path, identity: Identity, store: Store, report: Report | None) -> None:
    """Give a new member's folder its state, and the log that goes on behind it."""
    path = root / "snapshot" / f"{FIRST_INDEX:020d}.snap"
    with written_aside(path) as fd:
        write_snapshot(store, identity.cluster, fd, report)
    log = new_log(identity.cluster, identity.member, entries=1, segments=2, landmarks=1)
    writing.forget(log, FIRST_INDEX, FIRST_TERM)
    append.open_segment(log, FIRST_TERM)
    with written_aside(root / "log" / f"{FIRST_SEGMENT:010d}.log") as fd:
        write_at(fd, log.ring[: int(log.state[0]["position"])].tobytes(), 0)


def compacted_revision(store: Store) -> int:
    """As etcd has it; 0: nothing is compacted."""
    compacted = int(store.state[0]["compacted"])
    return 0 if compacted == NONE else compacted
