"""Rare calls: handing leadership over, hashing, snapshots on demand, and stopping."""

from typing import Any

from kvbench.jit import kernel
from kvbench.node.codes import BUSY
from kvbench.node.pending import owed, reply
from kvbench.node.records import CommandKind
from kvbench.node.writing import acknowledged
from kvbench.ops.status import StoreError
from kvbench.raft import core
from kvbench.raft.records import LEADER, NONE
from kvbench.store import hashing

TRANSFER, HASH_KV, SNAPSHOT, STOP = (int(kind) for kind in CommandKind)
NOT_LEADER, BAD_TRANSFEREE = int(StoreError.NOT_LEADER), int(StoreError.BAD_LEADER_TRANSFEREE)
STOPPED, TIMEOUT, NO_SPACE = int(StoreError.STOPPED), int(StoreError.TIMEOUT), int(StoreError.NO_SPACE)
UNIMPLEMENTED, TIMEOUT_LEADER_TRANSFER = int(StoreError.UNIMPLEMENTED), int(StoreError.TIMEOUT_LEADER_TRANSFER)
HASH_RECORDS = 256
"""Versions hashed in one go."""
DRAINING, HANDING_OVER, NOTING = 0, 1, 2
"""Stages of STOP: those who wait get their answers; somebody else leads; the mark says what was acknowledged."""


@kernel
def command(node: Any, now: int, kind: int, a: int, handle: int) -> int:
    """A rare call (CommandKind). Returns 0: a REPLY will come; BUSY; or a StoreError."""
    state = node.state[0]
    if state["failed"] != 0:
        return STOPPED
    slot = 0
    while slot < len(node.commands) and node.commands[slot]["kind"] != 0:
        slot += 1
    if slot == len(node.commands) or state["loading"] != 0:
        return BUSY
    code = begin(node, kind, a)
    if code < 0:
        return code
    entry = node.commands[slot]
    entry["kind"] = kind
    entry["handle"] = handle
    entry["a"] = a
    entry["stage"] = 0
    entry["begun"] = 0
    entry["failures"] = node.statistics[0]["snapshots_failed"]
    entry["index"] = state["applied"]
    entry["deadline_ns"] = now + int(state["request_timeout_ns"])
    return 0


@kernel
def begin(node: Any, kind: int, a: int) -> int:
    """What a call does at once. Returns 0, or a StoreError."""
    state = node.state[0]
    if kind == TRANSFER:
        if node.raft.state[0]["role"] != LEADER:
            return NOT_LEADER
        return 0 if a == state["member"] or core.transfer(node.raft, a) == 0 else BAD_TRANSFEREE
    if kind == SNAPSHOT:
        state["own_wanted"] = 1 if state["applied"] > state["snapshot_index"] else 0
    elif kind == STOP:
        state["stopping"] = 1
    elif kind != HASH_KV:
        return UNIMPLEMENTED
    return 0


@kernel
def end(node: Any, slot: int, code: int, v0: int, v1: int, v2: int, v3: int) -> None:
    """Answer a call."""
    entry = node.commands[slot]
    place = int(node.state[0]["replies"])
    reply(node, int(entry["handle"]), -int(entry["kind"]), code, 0)
    values = node.replies[place]["values"]
    values[0] = v0
    values[1] = v1
    values[2] = v2
    values[3] = v3
    entry["kind"] = 0


@kernel
def go_on_transfer(node: Any, now: int, slot: int) -> None:
    """TRANSFER: done when the other one leads; not so when this one goes on to lead, or a third one does."""
    raft = node.raft.state[0]
    entry = node.commands[slot]
    to = int(entry["a"])
    if raft["leader"] == to:
        end(node, slot, 0, to, 0, 0, 0)
    elif now >= entry["deadline_ns"] or (raft["role"] == LEADER and raft["transferee"] == NONE):
        end(node, slot, TIMEOUT_LEADER_TRANSFER, 0, 0, 0, 0)


@kernel
def go_on_hash(node: Any, slot: int) -> int:
    """HASH_KV: one at a time. Returns 1 when there is more to do at once."""
    state = node.state[0]
    entry = node.commands[slot]
    if state["loading"] != 0:
        state["hashing"] = 0
        end(node, slot, TIMEOUT, 0, 0, 0, 0)
        return 0
    if entry["begun"] == 0:
        if state["hashing"] != 0:
            return 0
        code = hashing.hash_begin(node.store, int(entry["a"]))
        if code < 0:
            end(node, slot, code, 0, 0, 0, 0)
            return 1
        state["hashing"] = 1
        entry["begun"] = 1
    if hashing.hash_some(node.store, HASH_RECORDS) != 0:
        return 1
    store = node.store.state[0]
    state["hashing"] = 0
    revision, compacted = int(store["hash_revision"]), int(store["hash_compacted"])
    end(node, slot, 0, int(store["hash"]), compacted, revision, int(store["revision"]))
    return 1


@kernel
def go_on_snapshot(node: Any, slot: int) -> None:
    """SNAPSHOT: done when there is one that holds what was applied when it was asked for."""
    state = node.state[0]
    entry = node.commands[slot]
    if state["snapshot_index"] >= entry["index"]:
        index, size, revision = int(state["snapshot_index"]), int(state["snapshot_bytes"]), state["snapshot_revision"]
        end(node, slot, 0, index, size, int(revision), 0)
    elif node.statistics[0]["snapshots_failed"] != entry["failures"]:
        end(node, slot, NO_SPACE, 0, 0, 0, 0)


@kernel
def go_on_stopping(node: Any, now: int, slot: int) -> None:
    """STOP: its stages, each given up when half of the time is over."""
    state = node.state[0]
    raft = node.raft.state[0]
    entry = node.commands[slot]
    late = now >= int(entry["deadline_ns"]) - int(state["request_timeout_ns"]) // 2
    if entry["stage"] == DRAINING and (late or owed(node) == 0):
        entry["stage"] = HANDING_OVER
        if raft["role"] == LEADER:
            core.transfer(node.raft, core.best_transferee(node.raft))
    if entry["stage"] == HANDING_OVER and (late or raft["role"] != LEADER or raft["transferee"] == NONE):
        entry["stage"] = NOTING
    is_noted = state["mark_acknowledged"] >= acknowledged(node) and state["mark_out"] == 0
    if entry["stage"] == NOTING and is_noted and state["syncs_out"] == 0:
        end(node, slot, 0, 0, 0, 0, 0)


@kernel
def go_on(node: Any, now: int) -> int:
    """Go on with the calls under way. Returns 1 when there is more to do at once."""
    more = 0
    for slot in range(len(node.commands)):
        kind = int(node.commands[slot]["kind"])
        if kind == 0:
            continue
        if kind == TRANSFER:
            go_on_transfer(node, now, slot)
        elif kind == HASH_KV:
            more |= go_on_hash(node, slot)
        elif kind == SNAPSHOT:
            go_on_snapshot(node, slot)
        else:
            go_on_stopping(node, now, slot)
    return more
