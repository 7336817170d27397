"""A queue of commands for the disk: what the loop asks, a thread carries out, in order, and answers.

Each queue of the member is one thread inside ``work``, without the GIL. It sleeps in a read of the queue's eventfd and
wakes the loop through another one. Writes and reads of open files never leave the kernel; for the rest (making,
renaming, removing and opening files) it returns to Python, which deals with the command and comes back.

Errors are answered, as -errno, with the command that met them. On a queue that is strict, nothing is carried out any
more after a failed write or sync: a log with a hole must not go on behind it.
"""

import os
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kvbench.jit import kernel
from kvbench.node.records import DISK_COMMAND, Buffer, DiskKind, File
from kvbench.rt import atomics, libc
from kvbench.rt.clock import monotonic_ns, new_scratch

WRITE, SYNC, READ = int(DiskKind.WRITE), int(DiskKind.SYNC), int(DiskKind.READ)
SEGMENT, OWN_PART, FOREIGN_PART = int(File.SEGMENT), int(File.OWN_SNAPSHOT), int(File.FOREIGN_SNAPSHOT)

HEAD, TAIL, DONE_HEAD, DONE_TAIL, STOP, BROKEN = 0, 8, 16, 24, 32, 40
"""Marks, in cache lines of their own: commands given and taken, answers given and taken, whether to end, and the -errno
that broke a strict queue."""
STRICT = 48
"""Mark: 1 for a strict queue."""
SYNCS, SYNC_NS, BYTES_WRITTEN, BYTES_READ = 56, 57, 58, 59
"""Marks that count, for /metrics: syncs, the time in them, bytes."""
SYNC_BUCKETS, SYNC_BUCKET_COUNT = 64, 15
"""Marks: how many syncs took up to 1, 2, 4 ... 8192 ms; the last one: longer. As etcd's histogram of its log."""
MARKS = 80

FILES_OPEN = 8
OPEN_FILE = np.dtype(
    [
        ("file", np.int64),
        ("number", np.int64),
        ("fd", np.int64),  # -1: none
        ("emptied", np.int64),  # 1: a part file that was emptied for the write that comes next
    ],
    align=True,
)
"""A file that the queue has open."""


class Why(IntEnum):
    """Why ``work`` returned."""

    STOPPED = 0
    """It was told to end, and everything that was given is answered."""
    RARE = 1
    """The next command is Python's."""
    OPEN = 2
    """The next command's file must be opened first; a part file that is written from its beginning, emptied."""


STOPPED, RARE, OPEN = int(Why.STOPPED), int(Why.RARE), int(Why.OPEN)


class DiskQueue(NamedTuple):
    """What the loop and the queue's thread share. A disk that is full by a quota is answered as full (ENOSPC)."""

    marks: npt.NDArray[np.int64]
    commands: npt.NDArray[np.void]
    """DISK_COMMAND[n]"""
    done: npt.NDArray[np.int64]
    """int64[2 * n]: sequence and result of each command, in its place"""
    files: npt.NDArray[np.void]
    """OPEN_FILE[FILES_OPEN]"""
    addresses: npt.NDArray[np.int64]
    """Where each Buffer is in memory"""
    wakes: npt.NDArray[np.int32]
    """int32[2]: eventfds that wake the thread (it blocks in reading it) and the loop"""
    scratch: npt.NDArray[np.uint8]
    """uint8[16]: the number 1 to write to an eventfd, room to read one"""
    clock: npt.NDArray[np.uint8]
    """uint8[16]"""


def new_disk_queue(slots: int, loop_wake: int, addresses: npt.NDArray[np.int64], strict: bool) -> DiskQueue:
    """An empty queue for at most ``slots`` commands that are not answered yet, with an eventfd of its own."""
    queue = DiskQueue(
        marks=np.zeros(MARKS, np.int64),
        commands=np.zeros(slots, DISK_COMMAND),
        done=np.zeros(2 * slots, np.int64),
        files=np.zeros(FILES_OPEN, OPEN_FILE),
        addresses=addresses,
        wakes=np.array([os.eventfd(0, os.EFD_CLOEXEC), loop_wake], np.int32),
        scratch=np.zeros(16, np.uint8),
        clock=new_scratch(),
    )
    queue.marks[STRICT] = strict
    queue.files["fd"] = -1
    queue.scratch[0] = 1
    return queue


def addresses_of(buffers: dict[Buffer, Any]) -> npt.NDArray[np.int64]:
    """Where the arrays are; the caller keeps them alive."""
    return np.array([libc.address(buffers[b], 0) if b in buffers else 0 for b in Buffer], np.int64)


@kernel
def give(queue: Any, command: Any) -> bool:
    """The loop's side: take in a DISK_COMMAND. False when there are too many. ``wake_disk`` when all are given."""
    head = atomics.load(queue.marks, HEAD)
    if head - atomics.load(queue.marks, DONE_TAIL) >= len(queue.commands):
        return False
    place = queue.commands[head % len(queue.commands)]
    place["sequence"] = command["sequence"]
    place["kind"] = command["kind"]
    place["queue"] = command["queue"]
    place["file"] = command["file"]
    place["number"] = command["number"]
    place["offset"] = command["offset"]
    place["buffer"] = command["buffer"]
    place["at"] = command["at"]
    place["bytes"] = command["bytes"]
    place["sync"] = command["sync"]
    place["to_file"] = command["to_file"]
    place["to_number"] = command["to_number"]
    atomics.store(queue.marks, HEAD, head + 1)
    return True


@kernel
def wake_disk(queue: Any) -> None:
    """The loop's side: have the thread look."""
    libc.write(int(queue.wakes[0]), libc.address(queue.scratch, 0), 8)


@kernel
def next_done(queue: Any) -> int:
    """The loop's side: place in ``done`` (sequence, then result) of the next answer, or -1. Then ``done_taken``."""
    tail = atomics.load(queue.marks, DONE_TAIL)
    if tail == atomics.load(queue.marks, DONE_HEAD):
        return -1
    return 2 * (tail % len(queue.commands))


@kernel
def done_taken(queue: Any) -> None:
    """The loop's side: the answer is dealt with."""
    atomics.store(queue.marks, DONE_TAIL, atomics.load(queue.marks, DONE_TAIL) + 1)


@kernel
def answer(queue: Any, result: int) -> None:
    """The next command is done."""
    tail = atomics.load(queue.marks, TAIL)
    slot = tail % len(queue.commands)
    queue.done[2 * slot] = queue.commands[slot]["sequence"]
    queue.done[2 * slot + 1] = result
    atomics.store(queue.marks, TAIL, tail + 1)
    atomics.store(queue.marks, DONE_HEAD, tail + 1)


@kernel
def wake_loop(queue: Any) -> None:
    """Have the loop look at the answers."""
    libc.write(int(queue.wakes[1]), libc.address(queue.scratch, 0), 8)


@kernel
def find_file(queue: Any, file: int, number: int) -> int:
    """The place of an open file, or -1."""
    for place in range(FILES_OPEN):
        record = queue.files[place]
        if record["fd"] >= 0 and record["file"] == file and record["number"] == number:
            return place
    return -1


@kernel
def sync(queue: Any, fd: int) -> int:
    """fdatasync, timed: 0 or -errno."""
    start = monotonic_ns(queue.clock)
    code = -libc.EINTR
    while code == -libc.EINTR:
        code = 0
        if libc.fdatasync(fd) < 0:
            code = -libc.errno()
    spent = monotonic_ns(queue.clock) - start
    queue.marks[SYNCS] += 1
    queue.marks[SYNC_NS] += spent
    bucket = 0
    while bucket < SYNC_BUCKET_COUNT - 1 and spent > 1_000_000 << bucket:
        bucket += 1
    queue.marks[SYNC_BUCKETS + bucket] += 1
    return code


@kernel
def write_all(queue: Any, command: Any, fd: int) -> int:
    """All bytes of a WRITE: how many, or -errno."""
    pointer = int(queue.addresses[int(command["buffer"])]) + int(command["at"])
    offset, size, done = int(command["offset"]), int(command["bytes"]), 0
    while done < size:
        wrote = libc.pwrite(fd, pointer + done, size - done, offset + done)
        if wrote > 0:
            done += wrote
        elif wrote == 0:
            return -libc.EIO
        elif libc.errno() != libc.EINTR:
            return -libc.errno()
    queue.marks[BYTES_WRITTEN] += size
    return size


@kernel
def read_all(queue: Any, command: Any, fd: int) -> int:
    """The bytes of a READ, fewer at the file's end: how many, or -errno."""
    pointer = int(queue.addresses[int(command["buffer"])]) + int(command["at"])
    offset, size, done = int(command["offset"]), int(command["bytes"]), 0
    while done < size:
        got = libc.pread(fd, pointer + done, size - done, offset + done)
        if got > 0:
            done += got
        elif got == 0:
            break
        elif libc.errno() != libc.EINTR:
            return -libc.errno()
    queue.marks[BYTES_READ] += done
    return done


@kernel
def write_group(queue: Any, fd: int) -> int:
    """Carry out the next WRITE and, of a segment, all that follow for the same file; sync once. Returns how many.

    Results are in ``done``, and not given yet. A mark's two copies each have their own sync. An error ends the group;
    a failed sync is the error of each.
    """
    tail = atomics.load(queue.marks, TAIL)
    slots = len(queue.commands)
    first = queue.commands[tail % slots]
    wants_sync = False
    count = 0
    failed = False
    while tail + count < atomics.load(queue.marks, HEAD) and not failed:
        command = queue.commands[(tail + count) % slots]
        if count > 0 and (first["file"] != SEGMENT or command["kind"] != WRITE):
            break
        if command["file"] != first["file"] or command["number"] != first["number"]:
            break
        result = write_all(queue, command, fd)
        queue.done[2 * ((tail + count) % slots) + 1] = result
        failed = result < 0
        wants_sync = wants_sync or command["sync"] != 0
        count += 1
    code = sync(queue, fd) if wants_sync else 0
    for i in range(count):
        place = 2 * ((tail + i) % slots) + 1
        if code < 0 and queue.done[place] >= 0:
            queue.done[place] = code
    return count


@kernel
def carry_out(queue: Any, fd: int) -> int:
    """Carry out the next WRITE, SYNC or READ, of an open file. Returns how many commands that answers."""
    tail = atomics.load(queue.marks, TAIL)
    slot = tail % len(queue.commands)
    command = queue.commands[slot]
    kind = int(command["kind"])
    if kind == WRITE:
        return write_group(queue, fd)
    result = 0
    if kind == READ:
        result = read_all(queue, command, fd)
    elif command["sync"] != 0:
        result = sync(queue, fd)
    queue.done[2 * slot + 1] = result
    return 1


@kernel
def give_answers(queue: Any, count: int) -> None:
    """Answer ``count`` commands with what is in ``done``; the first failed write or sync breaks a strict queue."""
    for _ in range(count):
        slot = atomics.load(queue.marks, TAIL) % len(queue.commands)
        result = int(queue.done[2 * slot + 1])
        if result == -libc.EDQUOT:
            result = -libc.ENOSPC
        if result < 0 and queue.marks[STRICT] != 0 and queue.marks[BROKEN] == 0:
            queue.marks[BROKEN] = result
        answer(queue, result)


@kernel
def work(queue: Any) -> int:
    """The thread's side: carry out commands until there is one that Python must see, or STOP. Returns a Why."""
    marks = queue.marks
    unsaid = False
    while True:
        tail = atomics.load(marks, TAIL)
        if tail == atomics.load(marks, HEAD):
            if unsaid:
                wake_loop(queue)
                unsaid = False
            if atomics.load(marks, STOP) != 0:
                return STOPPED
            libc.read(int(queue.wakes[0]), libc.address(queue.scratch, 8), 8)
            continue
        command = queue.commands[tail % len(queue.commands)]
        kind = int(command["kind"])
        if marks[BROKEN] != 0:
            answer(queue, int(marks[BROKEN]))
            unsaid = True
            continue
        file = int(command["file"])
        place = find_file(queue, file, int(command["number"]))
        rare = kind != WRITE and kind != SYNC and kind != READ
        begins_part = kind == WRITE and command["offset"] == 0 and (file == OWN_PART or file == FOREIGN_PART)
        if rare or place < 0 or (begins_part and queue.files[place]["emptied"] == 0):
            if unsaid:
                wake_loop(queue)
            return RARE if rare else OPEN
        queue.files[place]["emptied"] = 0
        is_last = kind != WRITE or command["sync"] != 0
        count = carry_out(queue, int(queue.files[place]["fd"]))
        give_answers(queue, count)
        unsaid = count == 1 and not is_last
        if not unsaid:
            wake_loop(queue)
