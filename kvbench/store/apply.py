"""Entries of the log, one after the other: the same bytes in the same order make the same state on every member."""

from typing import Any

from kvbench.jit import kernel
from kvbench.ops import entries
from kvbench.ops.status import StoreError
from kvbench.store import changes, writes
from kvbench.store.records import NO_ROOM, NONE

RESPONSE_TOO_LARGE = int(StoreError.RESPONSE_TOO_LARGE)
UNIMPLEMENTED = int(StoreError.UNIMPLEMENTED)


@kernel
def apply(store: Any, index: int, buf: Any, at: int, end: int, out: Any, to: int, limit: int) -> int:
    """Apply the entry ``buf[at:end]`` (prefix and request), which is the log's number ``index``.

    Returns the bytes of the response at ``out[to:]`` (0 when ``limit`` leaves no room at all: nobody here waits for
    it), a StoreError, or OUT_OF_MEMORY.
    """
    state = store.state[0]
    state["applied_index"] = index
    state["lease_slot"] = NONE
    code = _apply_kind(store, entries.kind_of(buf, at), buf, at, end, out, to, limit)
    changes.end_entry(store)
    if code == NO_ROOM:
        return 0 if limit <= to else RESPONSE_TOO_LARGE
    return code if code < 0 else code - to


@kernel
def _apply_kind(store: Any, kind: int, buf: Any, at: int, end: int, out: Any, to: int, limit: int) -> int:
    """Apply the request behind the prefix. Returns the response's end or a negative code."""
    start = at + entries.PREFIX_BYTES
    if kind == entries.PUT:
        code = writes.check_put(store, buf, start, end)
        return code if code < 0 else writes.put(store, buf, out, to, limit, False)
    if kind == entries.DELETE_RANGE:
        code = writes.read_delete(store, buf, start, end)
        return code if code < 0 else writes.delete_range(store, buf, out, to, limit, False)
    return to if kind == entries.NOOP else UNIMPLEMENTED
