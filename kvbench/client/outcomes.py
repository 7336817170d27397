"""OUTCOME records, which every protocol's client appends to its caller's array."""

from typing import Any

from kvbench.jit import kernel


@kernel
def append(
    outcomes: Any, count: int, slot: int, kind: int, code: int, revision: int, found: int, next_step: int
) -> int:
    """Write an OUTCOME at position ``count``; its send time and its lease are 0. Returns the new count."""
    outcome = outcomes[count]
    outcome["sent_ns"] = 0
    outcome["revision"] = revision
    outcome["lease_id"] = 0
    outcome["count"] = found
    outcome["slot"] = slot
    outcome["kind"] = kind
    outcome["code"] = code
    outcome["next_step"] = next_step
    return count + 1
