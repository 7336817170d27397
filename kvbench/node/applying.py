"""Committed entries into the store, and the answers to the clients that wait for them here."""

from typing import Any

from kvbench.jit import kernel
from kvbench.log import append as log_append
from kvbench.log.records import NOT_IN_MEMORY
from kvbench.node.codes import LOG_DAMAGED, STORE_FULL
from kvbench.node.disk import fail
from kvbench.node.leases import renew
from kvbench.node.pending import FREE, let_go, reply, waiting
from kvbench.node.reading import end_reading, next_entry
from kvbench.node.reads import ANSWER_BYTES_MIN
from kvbench.node.records import File
from kvbench.ops.entries import LEASE_GRANT, boot_of, kind_of, origin_of, request_of
from kvbench.raft import core
from kvbench.store.apply import apply
from kvbench.store.records import OUT_OF_MEMORY

SEGMENT_FILE = int(File.SEGMENT)


@kernel
def apply_entry(node: Any, now: int, index: int, buf: Any, at: int, size: int) -> None:
    """Apply an entry, and answer whoever waits for it here."""
    state = node.state[0]
    slot = FREE
    own = origin_of(buf, at) == state["member"]
    if own:
        slot = waiting(node, boot_of(buf, at), request_of(buf, at))
        if slot == FREE:
            node.statistics[0]["applied_silently"] += 1
    to = int(state["reply_end"])
    limit = len(node.reply_bytes) if slot != FREE else to
    result = apply(node.store, index, buf, at, at + size, node.reply_bytes, to, limit)
    if result == OUT_OF_MEMORY:
        fail(node, STORE_FULL, 0, 0, index, 0)
        return
    if slot != FREE:
        entry = node.pending[slot]
        reply(node, int(entry["handle"]), int(entry["method"]), min(result, 0), max(result, 0))
        let_go(node, slot)
    if kind_of(buf, at) == LEASE_GRANT:
        lease = int(node.store.state[0]["lease_slot"])
        if lease >= 0:
            renew(node, now, lease)
    state["applied"] = index
    core.applied(node.raft, index)
    node.statistics[0]["applied"] += 1


@kernel
def apply_some(node: Any, now: int) -> int:
    """Apply what is committed, up to a limit. Returns 1 when there is more that need not wait for anything."""
    state = node.state[0]
    log = node.log.state[0]
    left = int(state["apply_bytes_max"])
    while state["applied"] < node.raft.state[0]["commit"] and state["failed"] == 0:
        if left <= 0 or int(state["reply_end"]) + ANSWER_BYTES_MIN > len(node.reply_bytes):
            return 1
        index = int(state["applied"]) + 1
        found = log_append.payload_of(node.log, index)
        if found == 0:
            size = int(log["found_bytes"])
            apply_entry(node, now, index, node.log.ring, int(log["found_at"]), size)
        elif found == NOT_IN_MEMORY:
            if next_entry(node, index) == 0:
                return 0
            size = int(log["record_bytes"])
            apply_entry(node, now, index, node.reading, int(log["record_at"]), size)
        else:
            fail(node, LOG_DAMAGED, SEGMENT_FILE, 0, index, 0)
            return 0
        left -= size + 64
    log_append.release(node.log, int(state["applied"]))
    end_reading(node)
    return 0
