"""The disk of a member: a thread for each queue of commands, and what their kernels leave to Python."""

import errno
import os
import threading
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from kvbench.jit import compile_for, kernel
from kvbench.node.records import Buffer, DiskKind, File, Queue
from kvbench.rt import atomics
from kvbench.server import disk_queue
from kvbench.server.disk_queue import BROKEN, FILES_OPEN, STOP, STOPPED, STRICT, TAIL, DiskQueue, Why, answer, wake_loop
from kvbench.server.folder import Folder, allocate, sync_folder, write_zeros, written_aside

LOG, FILES, SNAPSHOT = int(Queue.LOG), int(Queue.FILES), int(Queue.SNAPSHOT)
PARTS = (File.OWN_SNAPSHOT, File.FOREIGN_SNAPSHOT)


class DiskQueues(NamedTuple):
    """A member's queues, as its loop sees them."""

    log: DiskQueue
    files: DiskQueue
    snapshots: DiskQueue


@kernel
def give_all(queues: Any, commands: Any, count: int) -> int:
    """Hand over the first ``count`` DISK_COMMANDs. Returns how many; fewer only when a queue is full."""
    given = 0
    touched = 0
    while given < count:
        command = commands[given]
        queue = int(command["queue"])
        if queue == LOG:
            room = disk_queue.give(queues.log, command)
        elif queue == FILES:
            room = disk_queue.give(queues.files, command)
        else:
            room = disk_queue.give(queues.snapshots, command)
        if not room:
            break
        touched |= 1 << queue
        given += 1
    if touched >> LOG & 1:
        disk_queue.wake_disk(queues.log)
    if touched >> FILES & 1:
        disk_queue.wake_disk(queues.files)
    if touched >> SNAPSHOT & 1:
        disk_queue.wake_disk(queues.snapshots)
    return given


class Disk:
    """Carries out a member's DISK_COMMANDs in its folder, until ``stop``."""

    def __init__(self, folder: Folder, buffers: dict[Buffer, Any], slots: int = 256) -> None:
        """``buffers``: the member's arrays that commands name. ``slots``: most commands of a queue not yet answered."""
        self.folder, self.buffers = folder, buffers
        self.wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        """Readable when there are answers: for the loop's epoll."""
        addresses = disk_queue.addresses_of(buffers)
        made = [disk_queue.new_disk_queue(slots, self.wake, addresses, queue == Queue.LOG) for queue in Queue]
        self.queues = DiskQueues(*made)
        self._threads = [
            threading.Thread(target=self._run, args=(queue,), name=f"disk-{name.name.lower()}", daemon=True)
            for name, queue in zip(Queue, made, strict=True)
        ]

    def start(self, report: Callable[[float], None] | None = None) -> None:
        """Compile what the threads run, if it is not yet (``report``: see jit.compile_for), and start them."""
        compile_for(disk_queue.work, (self.queues.log,), "disk", report)
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Finish what was given, end the threads and close everything. Nothing may be given any more."""
        for queue in self.queues:
            atomics.store(queue.marks, STOP, 1)
            os.eventfd_write(int(queue.wakes[0]), 1)
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        for queue in self.queues:
            self._close(queue, range(FILES_OPEN))
            os.close(int(queue.wakes[0]))
        os.close(self.wake)

    def _run(self, queue: DiskQueue) -> None:
        """A queue's thread."""
        while (why := disk_queue.work(queue)) != STOPPED:
            command = queue.commands[int(queue.marks[TAIL]) % len(queue.commands)]
            try:
                if why == Why.OPEN:
                    self._open(queue, command)
                    continue
                result = self._rare(queue, command)
            except OSError as error:
                result = -(errno.ENOSPC if error.errno == errno.EDQUOT else error.errno or errno.EIO)
            except BaseException:
                self._answer(queue, -errno.EIO)
                raise
            self._answer(queue, result)

    def _answer(self, queue: DiskQueue, result: int) -> None:
        """Answer the command that Python dealt with."""
        if result < 0 and queue.marks[STRICT] and not queue.marks[BROKEN]:
            queue.marks[BROKEN] = result
        answer(queue, result)
        wake_loop(queue)

    def _close(self, queue: DiskQueue, places: Iterable[int]) -> None:
        """Close the files in some places."""
        for place in places:
            if queue.files[place]["fd"] >= 0:
                os.close(int(queue.files[place]["fd"]))
                queue.files[place]["fd"] = -1

    def _close_file(self, queue: DiskQueue, file: int, number: int) -> None:
        """Close a file if the queue has it open."""
        place = disk_queue.find_file(queue, file, number)
        if place >= 0:
            self._close(queue, [place])

    def _open(self, queue: DiskQueue, command: Any) -> None:
        """Open the file of a command, which may have to give way to one opened earlier. Raises OSError."""
        file, number = int(command["file"]), int(command["number"])
        self._close_file(queue, file, number)
        flags = os.O_CLOEXEC | (os.O_RDONLY if command["kind"] == DiskKind.READ else os.O_RDWR)
        emptied = file in PARTS and command["kind"] == DiskKind.WRITE and command["offset"] == 0
        if emptied:
            flags |= os.O_CREAT | os.O_TRUNC
        fd = os.open(self.folder.path(file, number), flags, 0o600)
        opened = queue.files
        if file == File.SEGMENT and queue is self.queues.log:
            # Held open, a removed segment would go on taking space. The last one may still be written to.
            older = [p for p in range(FILES_OPEN) if opened[p]["file"] == file and opened[p]["number"] < number - 1]
            self._close(queue, older)
        free = [place for place in range(FILES_OPEN) if opened[place]["fd"] < 0]
        if not free:
            free = [int(opened["number"].argmin())]
            self._close(queue, free)
        opened[free[0]] = (file, number, fd, emptied)

    def _rare(self, queue: DiskQueue, command: Any) -> int:
        """CREATE, RENAME, DELETE: 0. Raises OSError."""
        kind, file, number = int(command["kind"]), int(command["file"]), int(command["number"])
        path, sync = self.folder.path(file, number), bool(command["sync"])
        self._close_file(queue, file, number)
        if kind == DiskKind.CREATE:
            with written_aside(path, sync) as fd:
                allocate(fd, int(command["bytes"]))
                write_zeros(fd, 0, int(command["bytes"]), sync)
        elif kind == DiskKind.RENAME:
            target = self.folder.path(int(command["to_file"]), int(command["to_number"]))
            self._close_file(queue, int(command["to_file"]), int(command["to_number"]))
            os.replace(path, target)
            if sync:
                sync_folder(target.parent)
        elif kind == DiskKind.DELETE:
            path.unlink(missing_ok=True)
        else:
            raise OSError(errno.EINVAL, f"no such disk command: {kind}")
        return 0
