"""Between a member and its disk's queues: commands one way, results the other."""

from typing import Any

from kvbench.jit import kernel
from kvbench.node import calls
from kvbench.rt import libc
from kvbench.server import disk, disk_queue


@kernel
def give_commands(queues: Any, node: Any) -> None:
    """Hand the member's DISK_COMMANDs over. A queue has room for more than a member ever has under way."""
    count = int(node.state[0]["commands"])
    if count > 0:
        disk.give_all(queues, node.disk, count)
        node.state[0]["commands"] = 0


@kernel
def take_results(queues: Any, node: Any, descriptor: int, scratch: Any, now: int) -> None:
    """Tell the member what the disk has done. ``scratch``: uint8[16] for reading the eventfd ``descriptor``."""
    libc.read(descriptor, libc.address(scratch, 0), 8)
    take_queue(queues.log, node, now)
    take_queue(queues.files, node, now)
    take_queue(queues.snapshots, node, now)


@kernel
def take_queue(queue: Any, node: Any, now: int) -> None:
    """The results of one queue."""
    while True:
        place = disk_queue.next_done(queue)
        if place < 0:
            return
        calls.written(node, now, int(queue.done[place]), int(queue.done[place + 1]))
        disk_queue.done_taken(queue)
