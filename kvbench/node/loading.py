"""Reading a snapshot's file: to check a received one, and to fill the store, at the start or when one is installed."""

from typing import Any

from kvbench.jit import kernel
from kvbench.log import snapshot as log_snapshot
from kvbench.log.append import release as release_log
from kvbench.node.codes import SNAPSHOT_DAMAGED
from kvbench.node.disk import fail
from kvbench.node.leases import renew_all
from kvbench.node.reading import LOAD, release
from kvbench.node.records import File
from kvbench.node.state import READ_AT
from kvbench.raft import core
from kvbench.raft.records import LEADER
from kvbench.rt.buffer import copy
from kvbench.store import loading

SNAPSHOT_FILE = int(File.SNAPSHOT)
LEFT_AT, LEFT_BYTES_MAX = 128, 64
"""Where in ``scratch`` the store's leavings are kept, and how many there can be."""
MORE, WHOLE, DAMAGED = 0, 1, -1
"""What has been found of a snapshot: nothing wrong so far, all of it, or that it is not whole."""


@kernel
def begin_load(node: Any, index: int, size: int) -> None:
    """Fill the store anew from the snapshot at ``index``, whose file has ``size`` bytes."""
    state = node.state[0]
    state["loading"] = 1
    loading.load_begin(node.store)
    begin_file(node, index, size)


@kernel
def begin_file(node: Any, index: int, size: int) -> None:
    """Read a snapshot's file from its beginning."""
    state = node.state[0]
    state["load_index"] = index
    state["load_bytes"] = size
    state["load_offset"] = 0
    state["load_left"] = 0
    node.load_stream[0]["finished"] = 0


@kernel
def read_header(node: Any) -> int:
    """The file begins with the header of this cluster's snapshot at ``load_index``: its bytes, 0 or negative if not."""
    state = node.state[0]
    size = log_snapshot.read_snapshot_header(node.load_stream, node.reading, READ_AT, int(state["reader_end"]))
    stream = node.load_stream[0]
    if stream["cluster"] != state["cluster_id"] or stream["index"] != state["load_index"]:
        return 0
    return size


@kernel
def take_frame(node: Any) -> int:
    """Give the store a frame's payload, behind what it left of the one before. Returns 0, or DAMAGED."""
    state = node.state[0]
    stream = node.load_stream[0]
    left = int(state["load_left"])
    at, end = int(stream["frame_at"]) - left, int(stream["frame_at"]) + int(stream["frame_bytes"])
    copy(node.reading, at, node.scratch, LEFT_AT, left)
    taken = loading.load_some(node.store, node.reading, at, end)
    left = end - at - taken
    if taken < 0 or left > LEFT_BYTES_MAX:
        return DAMAGED
    copy(node.scratch, LEFT_AT, node.reading, end - left, left)
    state["load_left"] = left
    return 0


@kernel
def go_through(node: Any) -> int:
    """Go on through what was read of a snapshot, a bounded part of it. Returns MORE, WHOLE, or DAMAGED."""
    state = node.state[0]
    stream = node.load_stream[0]
    at, end = int(state["reader_at"]), int(state["reader_end"])
    limit = at + int(state["apply_bytes_max"])
    size = 1
    if state["reader_offset"] == 0 and at == READ_AT:
        size = read_header(node)
        at += max(size, 0)
    while size > 0 and at < limit and stream["finished"] == 0:
        size = log_snapshot.read_frame(node.load_stream, node.reading, at, end)
        if size > 0 and stream["finished"] == 0 and state["loading"] != 0 and take_frame(node) != 0:
            return DAMAGED
        at += max(size, 0)
    if size < 0 or (size == 0 and at == READ_AT):
        return DAMAGED
    state["reader_at"] = at
    if stream["finished"] != 0:
        is_all = int(state["reader_offset"]) + at - READ_AT == state["load_bytes"] and state["load_left"] == 0
        release(node)
        return WHOLE if is_all else DAMAGED
    if size == 0:
        state["load_offset"] = int(state["reader_offset"]) + at - READ_AT
        release(node)
    return MORE


@kernel
def load_some(node: Any, now: int) -> int:
    """Go on filling the store. Returns 1 when more was read already."""
    state = node.state[0]
    if state["loading"] == 0 or state["reader"] != LOAD or state["reader_ready"] == 0:
        return 0
    found = go_through(node)
    store = node.store.state[0]
    if found == WHOLE and (store["loaded"] == 0 or store["applied_index"] != state["load_index"]):
        found = DAMAGED
    if found == DAMAGED:
        fail(node, SNAPSHOT_DAMAGED, SNAPSHOT_FILE, int(state["load_index"]), int(state["reader_offset"]), 0)
        return 0
    if found == MORE:
        return 1
    index = int(state["load_index"])
    state["loading"] = 0
    state["load_bytes"] = 0
    state["applied"] = index
    if state["snapshot_index"] == index:
        state["snapshot_revision"] = node.load_stream[0]["revision"]
    core.applied(node.raft, index)
    release_log(node.log, index)
    if node.raft.state[0]["role"] == LEADER:
        renew_all(node, now)
    node.statistics[0]["snapshots_loaded"] += 1
    return 1
