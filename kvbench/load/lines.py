"""Waiting lines: requests that are due but that their connection cannot take yet, first come, first served."""

from typing import Any

from kvbench.jit import kernel


@kernel
def push(lines: Any, requests: Any, connection: int, slot: int) -> None:
    """Append ``slot`` to the line of ``connection``."""
    line = lines[connection]
    requests[slot]["next"] = -1
    if line["head"] < 0:
        line["head"] = slot
    else:
        requests[line["tail"]]["next"] = slot
    line["tail"] = slot


@kernel
def pop(lines: Any, requests: Any, connection: int) -> int:
    """Take the first slot out of the line; -1 when it is empty."""
    line = lines[connection]
    slot = int(line["head"])
    if slot >= 0:
        line["head"] = requests[slot]["next"]
        if line["head"] < 0:
            line["tail"] = -1
    return slot


@kernel
def remove(lines: Any, requests: Any, connection: int, slot: int) -> bool:
    """Take ``slot`` out of the middle of the line. Returns whether it was there. Walks the line."""
    line = lines[connection]
    before = -1
    at = int(line["head"])
    while at >= 0 and at != slot:
        before = at
        at = int(requests[at]["next"])
    if at < 0:
        return False
    if before < 0:
        line["head"] = requests[slot]["next"]
    else:
        requests[before]["next"] = requests[slot]["next"]
    if line["tail"] == slot:
        line["tail"] = before
    return True
