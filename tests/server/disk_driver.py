"""A real disk under test: gives commands as a member's loop does, and waits for their answers."""

import os
import select
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from kvbench.log.identity import Identity
from kvbench.node.records import DISK_COMMAND, Buffer, DiskKind, File, Queue
from kvbench.server import disk_queue
from kvbench.server.disk import Disk, give_all
from kvbench.server.folder import Folder

IDENTITY = Identity(cluster=0xC1, member=7, position=0, members=(7,))
WAIT_S = 60.0


def command(kind: DiskKind, file: File, number: int = 0, **fields: int) -> dict[str, int]:
    """A DISK_COMMAND's fields; those not given are 0, the queue is the log's, and it is to be synced."""
    return {"kind": int(kind), "file": int(file), "number": number, "sync": 1, "queue": int(Queue.LOG), **fields}


class Driver:
    """Numbers commands, and gathers answers in the order in which they come."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.given = 0
        self.answers: dict[int, int] = {}

    def give(self, commands: list[dict[str, int]]) -> list[int]:
        """Hand them over together; returns their sequence numbers."""
        records = np.zeros(len(commands), DISK_COMMAND)
        first = self.given
        for i, fields in enumerate(commands):
            for name, value in {**fields, "sequence": first + i}.items():
                records[i][name] = value
        assert give_all(self.disk.queues, records, len(records)) == len(records)
        self.given += len(commands)
        return list(range(first, self.given))

    def collect(self) -> None:
        """Take the answers that are there."""
        for queue in self.disk.queues:
            while (place := disk_queue.next_done(queue)) >= 0:
                sequence = int(queue.done[place])
                assert sequence not in self.answers
                self.answers[sequence] = int(queue.done[place + 1])
                disk_queue.done_taken(queue)

    def wait(self, sequences: list[int]) -> list[int]:
        """Results of commands, once all are answered."""
        self.collect()
        while not all(sequence in self.answers for sequence in sequences):
            assert select.select([self.disk.wake], [], [], WAIT_S)[0], "the disk does not answer"
            os.eventfd_read(self.disk.wake)
            self.collect()
        return [self.answers[sequence] for sequence in sequences]

    def do(self, *commands: dict[str, int]) -> list[int]:
        """Results of commands given together."""
        return self.wait(self.give(list(commands)))


Buffers = dict[Buffer, Any]


@contextmanager
def real_disk(root: Path, start: bool = True, buffer_bytes: int = 1 << 16) -> Iterator[tuple[Driver, Buffers]]:
    """A disk with buffers of some size in a new folder, stopped at the end."""
    folder = Folder(root, IDENTITY)
    buffers: Buffers = {b: np.zeros(buffer_bytes, np.uint8) for b in Buffer if b != Buffer.NOTHING}
    disk = Disk(folder, buffers)
    try:
        if start:
            disk.start()
        yield Driver(disk), buffers
    finally:
        disk.stop()
        folder.close()
