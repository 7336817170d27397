"""What a runner calls: the functions of ``step``, by way of the one entry to a member's machine code.

So a member is compiled once, whoever runs it, and its runners without it.
"""

from typing import Any

from kvbench.jit import kernel
from kvbench.node.step import Call, call

OFFER, DELIVER, WRITTEN, TICK = int(Call.OFFER), int(Call.DELIVER), int(Call.WRITTEN), int(Call.TICK)
ADVANCE, CONNECTED, DISCONNECTED = int(Call.ADVANCE), int(Call.CONNECTED), int(Call.DISCONNECTED)
COMMAND = int(Call.COMMAND)


@kernel
def offer(node: Any, now: int, handle: int, method: int, buf: Any, at: int, end: int) -> int:
    """See ``step.offer``."""
    return call(node, now, OFFER, handle, method, buf, at, end)


@kernel
def deliver(node: Any, now: int, sender: int, buf: Any, at: int, end: int) -> int:
    """See ``step.deliver``."""
    return call(node, now, DELIVER, sender, 0, buf, at, end)


@kernel
def written(node: Any, now: int, sequence: int, result: int) -> None:
    """See ``step.written``."""
    call(node, now, WRITTEN, sequence, result, node.scratch, 0, 0)


@kernel
def tick(node: Any, now: int) -> None:
    """See ``step.tick``."""
    call(node, now, TICK, 0, 0, node.scratch, 0, 0)


@kernel
def advance(node: Any, now: int) -> int:
    """See ``step.advance``."""
    return call(node, now, ADVANCE, 0, 0, node.scratch, 0, 0)


@kernel
def connected(node: Any, now: int, peer: int) -> None:
    """See ``step.connected``."""
    call(node, now, CONNECTED, peer, 0, node.scratch, 0, 0)


@kernel
def disconnected(node: Any, now: int, peer: int) -> None:
    """See ``step.disconnected``."""
    call(node, now, DISCONNECTED, peer, 0, node.scratch, 0, 0)


@kernel
def command(node: Any, now: int, kind: int, a: int, handle: int) -> int:
    """See ``step.command``."""
    return call(node, now, COMMAND, handle, kind, node.scratch, a, 0)
