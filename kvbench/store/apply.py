"""Entries of the log, one after the other: the same bytes in the same order make the same state on every member."""

from typing import Any

from kvbench.jit import kernel
from kvbench.ops import entries
from kvbench.ops.status import StoreError
from kvbench.store import changes, requests, writes
from kvbench.store.alarms import NOSPACE, alarm, has_alarm
from kvbench.store.compaction import compact
from kvbench.store.execution import execute
from kvbench.store.leases import grant, revoke
from kvbench.store.records import NO_ROOM, NONE
from kvbench.wire import etcd_methods

NO_SPACE = int(StoreError.NO_SPACE)
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
    """Apply the request behind the prefix at ``at``. Returns the response's end or a negative code."""
    start = at + entries.PREFIX_BYTES
    if has_alarm(store, NOSPACE) and _needs_space(store, kind, buf, start, end):
        return NO_SPACE
    if kind == entries.PUT:
        code = writes.check_put(store, buf, start, end)
        return code if code < 0 else writes.put(store, buf, out, to, limit, False)
    if kind == entries.DELETE_RANGE:
        code = writes.read_delete(store, buf, start, end)
        return code if code < 0 else writes.delete_range(store, buf, out, to, limit, False)
    if kind == entries.TXN:
        return execute(store, buf, start, end, out, to, limit, False)
    if kind == entries.COMPACT:
        return compact(store, buf, start, end, out, to, limit)
    if kind == entries.LEASE_GRANT:
        return grant(store, buf, at, start, end, out, to, limit)
    if kind == entries.LEASE_REVOKE:
        return revoke(store, buf, start, end, out, to, limit)
    if kind == entries.ALARM:
        return alarm(store, buf, start, end, out, to, limit)
    return to if kind == entries.NOOP else UNIMPLEMENTED


@kernel
def _needs_space(store: Any, kind: int, buf: Any, start: int, end: int) -> bool:
    """Whether an entry is one of those that NOSPACE refuses."""
    if kind == entries.TXN:
        return requests.needs_space(store, etcd_methods.TXN, buf, start, end)
    return kind == entries.PUT or kind == entries.LEASE_GRANT
