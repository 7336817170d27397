"""Asking the disk, and stopping when it fails."""

from typing import Any

from kvbench.jit import kernel
from kvbench.node.records import Purpose

NOTHING = int(Purpose.NOTHING)


@kernel
def issue(node: Any, kind: int, queue: int, file: int, number: int, purpose: int, a: int) -> int:
    """A new DISK_COMMAND without bytes. Returns its place in ``disk``, where the caller adds what it is about."""
    state = node.state[0]
    slot = 0
    while node.issued[slot]["purpose"] != NOTHING:
        slot += 1
    sequence = (int(state["sequence"]) + 1) * len(node.issued) + slot
    state["sequence"] += 1
    node.issued[slot]["sequence"] = sequence
    node.issued[slot]["purpose"] = purpose
    node.issued[slot]["a"] = a
    node.issued[slot]["file"] = file
    node.issued[slot]["number"] = number
    place = int(state["commands"])
    state["commands"] = place + 1
    command = node.disk[place]
    command["sequence"] = sequence
    command["kind"] = kind
    command["queue"] = queue
    command["file"] = file
    command["number"] = number
    command["offset"] = 0
    command["buffer"] = 0
    command["at"] = 0
    command["bytes"] = 0
    command["sync"] = state["fsync"]
    command["to_file"] = 0
    command["to_number"] = 0
    return place


@kernel
def add_bytes(node: Any, place: int, offset: int, buffer: int, at: int, size: int) -> None:
    """What a DISK_COMMAND writes, and where; or reads."""
    command = node.disk[place]
    command["offset"] = offset
    command["buffer"] = buffer
    command["at"] = at
    command["bytes"] = size


@kernel
def fail(node: Any, code: int, file: int, number: int, offset: int, errno: int) -> None:
    """This member stops for good; the first reason counts."""
    state = node.state[0]
    if state["failed"] != 0:
        return
    state["failed"] = code
    state["failed_file"] = file
    state["failed_number"] = number
    state["failed_offset"] = offset
    state["failed_errno"] = errno
