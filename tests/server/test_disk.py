"""The disk's threads on real files: every command does what it says, in order, and every error is told."""

import errno
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench.jit import JIT_ENABLED
from kvbench.node.records import Buffer, DiskKind, File, Queue
from kvbench.server.disk_queue import BYTES_READ, BYTES_WRITTEN, SYNC_BUCKET_COUNT, SYNC_BUCKETS, SYNC_NS, SYNCS
from tests.naive.disk import NaiveDisk
from tests.server.disk_driver import Buffers, Driver, command, real_disk

WRITE, SYNC, CREATE, RENAME, DELETE, READ = DiskKind
SEGMENT, MARK, SNAPSHOT, OWN, FOREIGN = File


def write(number: int, offset: int, at: int, size: int, **fields: int) -> dict[str, int]:
    """A WRITE of the ring's bytes to a segment."""
    return command(WRITE, SEGMENT, number, offset=offset, buffer=Buffer.RING, at=at, bytes=size, **fields)


def create(number: int, size: int = 4096, **fields: int) -> dict[str, int]:
    return command(CREATE, SEGMENT, number, bytes=size, queue=Queue.FILES, **fields)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Driver, Buffers]]:
    with real_disk(tmp_path / "m") as started:
        yield started


def test_a_segment_is_made_written_and_read(disk: tuple[Driver, Buffers], tmp_path: Path) -> None:
    driver, buffers = disk
    buffers[Buffer.RING][:100] = np.arange(100)
    assert driver.do(create(3, 5000)) == [0]
    path = tmp_path / "m" / "log" / "0000000003.log"
    assert path.read_bytes() == bytes(5000)
    assert driver.do(write(3, 600, 10, 50), write(3, 650, 60, 4)) == [50, 4]
    assert path.read_bytes() == bytes(600) + bytes(range(10, 64)) + bytes(5000 - 654)
    read = command(READ, SEGMENT, 3, offset=640, buffer=Buffer.READING, at=7, bytes=5000, queue=Queue.FILES)
    assert driver.do(read) == [4360]
    assert bytes(buffers[Buffer.READING][:24]) == bytes(7) + bytes(range(50, 64)) + bytes(3)
    assert [entry.name for entry in os.scandir(tmp_path / "m" / "log")] == ["0000000003.log"]


def test_writes_that_wait_share_a_sync(tmp_path: Path) -> None:
    """Of one segment; a mark's copies are never in danger together, and without sync there is none."""
    with real_disk(tmp_path / "m", start=False) as (driver, _):
        for number in (1, 2):
            (tmp_path / f"m/log/{number:010d}.log").write_bytes(bytes(4096))
        copy = command(WRITE, MARK, buffer=Buffer.MARK, bytes=512)
        given = driver.give(
            [
                *(write(1, 8 * i, 0, 8, sync=i % 2) for i in range(6)),
                *(write(2, 0, 0, 8), write(2, 8, 0, 8)),
                *(copy, {**copy, "offset": 512}),
                *(write(2, 16, 0, 8, sync=0), command(SYNC, SEGMENT, 2, sync=0)),
            ]
        )
        driver.disk.start()
        assert driver.wait(given) == [8] * 8 + [512, 512, 8, 0]
        marks = driver.disk.queues.log.marks
        assert (marks[SYNCS], marks[BYTES_WRITTEN]) == (4, 9 * 8 + 1024)
        assert driver.do(command(SYNC, SEGMENT, 2)) == [0]
        assert marks[SYNCS] == marks[SYNC_BUCKETS : SYNC_BUCKETS + SYNC_BUCKET_COUNT].sum() == 5
        assert marks[SYNC_NS] > 0


def test_queues_do_not_wait_for_each_other(disk: tuple[Driver, Buffers]) -> None:
    """A pipe in a segment's place holds up the queue that reads it, and no other."""
    driver, _ = disk
    fifo = driver.disk.folder.path(SEGMENT, 9)
    os.mkfifo(fifo)
    blocked = driver.give([command(READ, SEGMENT, 9, buffer=Buffer.READING, bytes=1, queue=Queue.FILES), create(1)])
    part = command(WRITE, OWN, buffer=Buffer.PIECES, bytes=100, queue=Queue.SNAPSHOT)
    copy = command(WRITE, MARK, buffer=Buffer.MARK, bytes=512)
    assert driver.do(part, copy) == [100, 512]
    assert not set(blocked) & set(driver.answers)
    os.close(os.open(fifo, os.O_WRONLY))
    assert driver.wait(blocked) == [-errno.ESPIPE, 0]


def test_parts_become_snapshots(disk: tuple[Driver, Buffers], tmp_path: Path) -> None:
    driver, buffers = disk
    buffers[Buffer.PIECES][:300] = np.arange(300) % 251
    part = command(WRITE, OWN, buffer=Buffer.PIECES, bytes=200, queue=Queue.SNAPSHOT, sync=0)
    assert driver.do(part, {**part, "offset": 200}) == [200, 200]
    # Begun anew: nothing of the first attempt is left behind the new end.
    rename = command(RENAME, OWN, to_file=SNAPSHOT, to_number=77, queue=Queue.SNAPSHOT)
    synced = command(SYNC, OWN, queue=Queue.SNAPSHOT)
    first, second = {**part, "bytes": 50}, {**part, "offset": 50, "at": 50, "bytes": 100}
    assert driver.do(first, second, synced, rename) == [50, 100, 0, 0]
    path = tmp_path / "m" / "snapshot" / f"{77:020d}.snap"
    assert path.read_bytes() == bytes(range(150))
    read = command(READ, SNAPSHOT, 77, offset=100, buffer=Buffer.READING, bytes=100, queue=Queue.FILES)
    delete = command(DELETE, SNAPSHOT, 77, queue=Queue.FILES)
    assert driver.do(read, delete, read, delete) == [50, 0, -errno.ENOENT, 0]
    assert not path.exists()


def test_a_removed_segment_is_not_held_open(disk: tuple[Driver, Buffers]) -> None:
    """It would go on taking space: only the segment written to and the one before are open."""
    driver, _ = disk
    for number in range(1, 13):
        assert driver.do(create(number)) == [0]
        assert driver.do(write(number, 0, 0, 8)) == [8]
    opened = driver.disk.queues.log.files
    assert sorted(opened["number"][opened["fd"] >= 0].tolist()) == [11, 12]
    for number in range(1, 13):
        assert driver.do(command(READ, SEGMENT, number, buffer=Buffer.READING, bytes=8, queue=Queue.FILES)) == [8]
    assert (driver.disk.queues.files.files["fd"] >= 0).all()


def test_a_failed_write_ends_the_logs_queue(disk: tuple[Driver, Buffers], tmp_path: Path) -> None:
    """What was given behind it would leave a hole. The other queues go on."""
    driver, _ = disk
    assert driver.do(create(1), create(2)) == [0, 0]
    path = driver.disk.folder.path(SEGMENT, 2)
    path.unlink()
    path.symlink_to("/dev/full")
    full = -errno.ENOSPC
    given = write(1, 0, 0, 8), write(2, 0, 0, 8), write(2, 8, 0, 8), write(1, 8, 0, 8)
    assert driver.do(*given) == [8, full, full, full]
    assert driver.do(write(1, 8, 0, 8), command(SYNC, SEGMENT, 1)) == [full, full]
    assert driver.do(create(3)) == [0]


def test_a_file_that_cannot_be_opened_is_an_answer(disk: tuple[Driver, Buffers]) -> None:
    driver, _ = disk
    read = command(READ, SEGMENT, 5, buffer=Buffer.READING, bytes=1, queue=Queue.FILES)
    assert driver.do(read, read) == [-errno.ENOENT] * 2
    assert driver.do(command(RENAME, OWN, to_file=SNAPSHOT, queue=Queue.SNAPSHOT)) == [-errno.ENOENT]
    assert driver.do(command(WRITE, OWN, offset=8, buffer=Buffer.PIECES, bytes=8, queue=Queue.SNAPSHOT)) == [
        -errno.ENOENT
    ]
    assert driver.do({**create(1), "kind": 99}) == [-errno.EINVAL]
    assert driver.do(write(5, 0, 0, 8), write(5, 8, 0, 8)) == [-errno.ENOENT] * 2
    # A sync that fails: a device that has none.
    part = driver.disk.folder.path(OWN)
    part.symlink_to("/dev/null")
    synced = command(WRITE, OWN, buffer=Buffer.PIECES, bytes=8, queue=Queue.SNAPSHOT)
    assert driver.do({**synced, "sync": 0}, synced) == [8, -errno.EINVAL]


@pytest.fixture
def small_space(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A folder with room for less than a megabyte, and the errno of what is too much.

    A small file system where one may be mounted, else this process' own limit on the size of files.
    """
    root = tmp_path / "small"
    root.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=768k", "none", str(root)], capture_output=True)
    if mounted.returncode == 0:
        try:
            yield root, errno.ENOSPC
        finally:
            subprocess.run(["umount", str(root)], check=True)
        return
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (700 << 10, before[1]))
    try:
        yield root, errno.EFBIG
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_told_and_recovers(small_space: tuple[Path, int]) -> None:
    """Nothing half made stays behind, what was there stays as it was, and once there is space it goes on."""
    root, code = small_space
    with real_disk(root / "m", buffer_bytes=1 << 20) as (driver, _):
        assert driver.do(create(1, 128 << 10)) == [0]
        assert driver.do(create(2, 1 << 20)) == [-code]
        assert [path.name for path in (root / "m" / "log").iterdir()] == ["0000000001.log"]
        piece = command(WRITE, OWN, buffer=Buffer.PIECES, bytes=1 << 20, queue=Queue.SNAPSHOT)
        assert driver.do(piece) == [-code]
        assert driver.do(command(DELETE, OWN, queue=Queue.SNAPSHOT)) == [0]
        assert driver.do(write(1, 0, 0, 128 << 10)) == [128 << 10]
        assert driver.do(create(2, 128 << 10)) == [0]


def test_stopping_finishes_what_was_given(tmp_path: Path) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    with real_disk(tmp_path / "m") as (driver, buffers):
        buffers[Buffer.RING][:] = 5
        assert driver.do(create(1, 1 << 16)) == [0]
        given = driver.give([write(1, 512 * i, 512 * i, 512) for i in range(100)])
        driver.disk.stop()
        driver.collect()
        assert [driver.answers[sequence] for sequence in given] == [512] * 100
        assert (tmp_path / "m/log/0000000001.log").read_bytes()[:51200] == b"\x05" * 51200
        driver.disk.stop = lambda: None  # type: ignore[method-assign]
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_too_many_commands_are_not_taken(tmp_path: Path) -> None:
    with real_disk(tmp_path / "m", start=False) as (driver, _):
        driver.give([command(SYNC, MARK, sync=0)] * 256)
        with pytest.raises(AssertionError):
            driver.give([command(SYNC, MARK, sync=0)])
        driver.disk.start()
        assert driver.wait([255]) == [0]


NAMES = st.sampled_from([(SEGMENT, 1), (SEGMENT, 2), (OWN, 0), (FOREIGN, 0), (SNAPSHOT, 3)])
COMMANDS = st.builds(
    lambda kind, name, offset, at, size, sync, to: command(
        kind, name[0], name[1], offset=offset, at=at, bytes=size, sync=sync, to_file=to[0], to_number=to[1],
        buffer=Buffer.READING if kind == READ else Buffer.RING,
    ),
    st.sampled_from(list(DiskKind)), NAMES, st.integers(0, 600), st.integers(0, 99), st.integers(0, 700),
    st.sampled_from([0, 0, 1]), NAMES,
)  # fmt: skip


@settings(deadline=None, derandomize=True, max_examples=40 if JIT_ENABLED else 10)
@given(st.lists(COMMANDS, min_size=1, max_size=30), st.booleans())
def test_any_commands(tmp_path_factory: pytest.TempPathFactory, commands: list[dict[str, int]], strict: bool) -> None:
    """Files, results and what is read are as a disk of dictionaries has them."""
    queue = Queue.LOG if strict else Queue.FILES
    twin = NaiveDisk(strict)
    root = tmp_path_factory.mktemp("disk") / "m"
    with real_disk(root) as (driver, buffers):
        ring = np.random.default_rng(1).integers(0, 256, 1 << 16).astype(np.uint8)
        buffers[Buffer.RING][:] = ring
        marks = driver.disk.queues[queue].marks
        for fields in commands:
            if fields["kind"] == RENAME and (fields["file"], fields["number"]) == (
                fields["to_file"],
                fields["to_number"],
            ):
                continue
            result, read = twin.carry_out(fields, bytes(ring[fields["at"] : fields["at"] + fields["bytes"]]))
            before = int(marks[BYTES_READ])
            assert driver.do({**fields, "queue": queue}) == [result]
            assert marks[BYTES_READ] - before == len(read)
            assert bytes(buffers[Buffer.READING][fields["at"] : fields["at"] + len(read)]) == read
        for kind, number in [(SEGMENT, 1), (SEGMENT, 2), (OWN, 0), (FOREIGN, 0), (SNAPSHOT, 3)]:
            path = driver.disk.folder.path(kind, number)
            content = path.read_bytes() if path.exists() else None
            assert content == twin.files.get((kind, number))
