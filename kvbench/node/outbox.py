"""Frames on their way to other members: one stretch of bytes each, which the runner takes from its beginning."""

from typing import Any

from kvbench.jit import kernel
from kvbench.rt.buffer import copy

NO_ROOM = -1


@kernel
def room(node: Any, peer: int, size: int) -> int:
    """Where in ``outbox`` a frame of at most ``size`` bytes for ``peer`` goes; NO_ROOM also when not connected."""
    state = node.state[0]
    link = node.links[peer]
    if link["connected"] == 0:
        return NO_ROOM
    total = int(state["outbox_bytes"])
    base = peer * total
    start, end = int(link["start"]), int(link["end"])
    if start == end:
        start, end = 0, 0
    elif total - end < size and total - (end - start) >= size:
        copy(node.outbox, base, node.outbox, base + start, end - start)
        start, end = 0, end - start
    if total - end < size:
        return NO_ROOM
    link["start"] = start
    link["end"] = end
    return base + end


@kernel
def sent(node: Any, peer: int, end: int) -> None:
    """A frame was written up to ``end`` of ``outbox``."""
    state = node.state[0]
    link = node.links[peer]
    size = end - peer * int(state["outbox_bytes"]) - int(link["end"])
    link["end"] += size
    node.statistics[0]["messages_sent"] += 1
    node.statistics[0]["peer_bytes_sent"] += size
