"""What clients ask."""

from typing import Any

import numpy as np

from kvbench.jit import kernel
from kvbench.node.asking import offer_lease
from kvbench.node.codes import BUSY
from kvbench.node.pending import FREE, await_entry, give_back, may_owe_more
from kvbench.node.proposing import ACTIVATE, raise_alarm, submit
from kvbench.node.reads import ANSWER_BYTES_MIN, enqueue, read_now
from kvbench.ops.entries import EntryKind
from kvbench.ops.status import StoreError
from kvbench.store import requests
from kvbench.wire.etcd_methods import LEASE_KEEP_ALIVE, LEASE_LEASES, LEASE_TIME_TO_LIVE, METHODS, Method

NO_SPACE, REQUEST_TOO_LARGE = int(StoreError.NO_SPACE), int(StoreError.REQUEST_TOO_LARGE)
STOPPED, UNIMPLEMENTED = int(StoreError.STOPPED), int(StoreError.UNIMPLEMENTED)
WRITE, SERIALIZABLE = 0, 2
"""What ``store.requests.kind`` says of a request, beside a linearizable read."""
OVERHEAD_BYTES = 256
"""What a write may take beside its own bytes, as etcd reckons (server/storage/quota.go)."""
NOSPACE_BIT = 1


def _entry_kinds() -> np.ndarray:
    kinds = np.full(METHODS, -1, np.int64)
    for kind in list(EntryKind)[1:]:
        kinds[Method[kind.name]] = kind
    return kinds


_ENTRY_KIND = _entry_kinds()
"""int64[Method]: the kind of entry that a request becomes, -1: none."""


@kernel
def refuses_for_space(node: Any, now: int, method: int, buf: Any, at: int, end: int) -> bool:
    """Whether a write must be refused because disk or quota are full; the quota's alarm is raised then."""
    state = node.state[0]
    store = node.store.state[0]
    used = int(store["used_bytes"]) + end - at + OVERHEAD_BYTES
    if state["disk_full"] == 0 and used <= state["quota_bytes"]:
        return False
    if not requests.needs_space(node.store, method, buf, at, end):
        return False
    if state["disk_full"] == 0 and int(store["alarms"]) & NOSPACE_BIT == 0:
        raise_alarm(node, now, ACTIVATE)
    return True


@kernel
def offer_write(node: Any, now: int, handle: int, method: int, kind: int, buf: Any, at: int, end: int) -> int:
    """A request that becomes an entry. Returns 0, BUSY, or a StoreError."""
    if end - at > node.state[0]["request_bytes_max"]:
        return REQUEST_TOO_LARGE
    if refuses_for_space(node, now, method, buf, at, end):
        return NO_SPACE
    slot = await_entry(node, now, handle, method)
    if slot == FREE:
        return BUSY
    if submit(node, now, kind, slot, buf, at, end - at) != 0:
        give_back(node, slot)
        return BUSY
    return 0


@kernel
def offer(node: Any, now: int, handle: int, method: int, buf: Any, at: int, end: int) -> int:
    """A client's request. Returns 0: taken, a REPLY will come; BUSY: not now; or a StoreError."""
    state = node.state[0]
    if state["failed"] != 0 or state["stopping"] != 0:
        return STOPPED
    code = requests.check(node.store, method, buf, at, end)
    if code < 0:
        return code
    if state["loading"] != 0 or not may_owe_more(node):
        return BUSY
    if int(state["reply_end"]) + ANSWER_BYTES_MIN > len(node.reply_bytes):
        return BUSY
    if method == LEASE_KEEP_ALIVE or method == LEASE_TIME_TO_LIVE:
        return offer_lease(node, now, handle, method, buf, at, end)
    if method == LEASE_LEASES:
        return enqueue(node, now, handle, method, buf, at, 0)
    kind = requests.kind(node.store, method, buf, at, end)
    if kind == SERIALIZABLE:
        return read_now(node, now, handle, method, buf, at, end)
    if kind != WRITE:
        if end - at > state["request_bytes_max"]:
            return REQUEST_TOO_LARGE
        return enqueue(node, now, handle, method, buf, at, end - at)
    entry = int(_ENTRY_KIND[method])
    if entry < 0:
        return UNIMPLEMENTED
    return offer_write(node, now, handle, method, entry, buf, at, end)
