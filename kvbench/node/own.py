"""Writing a snapshot of this member's state, piece by piece beside the live state; what it allows to be forgotten."""

from typing import Any

from kvbench.jit import kernel
from kvbench.log import snapshot as log_snapshot
from kvbench.log import writing as log_writing
from kvbench.log.snapshot import FRAME_BYTES
from kvbench.node.disk import add_bytes, issue
from kvbench.node.outgoing import is_sending
from kvbench.node.records import REMOVED, RENAMED, Buffer, DiskKind, File, OwnStage, Purpose, Queue
from kvbench.node.state import BY_SIZE, OFF, PIECE_MARGIN_BYTES
from kvbench.node.writing import DELETED, DELETES_MAX
from kvbench.raft import core
from kvbench.store import snapshot

WRITE, RENAME, DELETE = int(DiskKind.WRITE), int(DiskKind.RENAME), int(DiskKind.DELETE)
OWN_FILE, SNAPSHOT_FILE, SEGMENT_FILE = int(File.OWN_SNAPSHOT), int(File.SNAPSHOT), int(File.SEGMENT)
PIECES, OWN = int(Buffer.PIECES), int(Purpose.OWN)
SNAPSHOT_QUEUE, FILES_QUEUE = int(Queue.SNAPSHOT), int(Queue.FILES)
IDLE, DUMPING, ENDING, RENAMING, FAILED = (int(stage) for stage in OwnStage)
SYNC_EVERY_BYTES = 4 << 20
"""A snapshot is synced as it grows, so that its last sync does not hold up the log's for long."""
RETRY_NS = 10_000_000_000


@kernel
def is_due(node: Any, now: int) -> bool:
    """Whether a snapshot should be taken now. Not while one is being sent: its file would go."""
    state = node.state[0]
    applied, every = int(state["applied"]), int(state["snapshot_every"])
    if applied == state["snapshot_index"] or now < state["own_retry_ns"] or is_sending(node):
        return False
    if state["own_wanted"] != 0:
        return True
    if every == OFF:
        return False
    if has_many_terms(node):
        return True
    if every != BY_SIZE:
        return applied - int(state["snapshot_index"]) >= every
    grown = int(node.log.state[0]["position"]) - int(state["snapshot_log_at"])
    return grown >= max(int(state["snapshot_log_bytes"]), int(node.store.state[0]["used_bytes"]))


@kernel
def has_many_terms(node: Any) -> bool:
    """Whether half of the places for changes of term are taken: a start would have to find room for all of them."""
    return int(node.raft.state[0]["run_count"]) > len(node.raft.runs) // 2


@kernel
def begin_own(node: Any) -> None:
    """Begin a snapshot of the state as it is now."""
    state = node.state[0]
    index = int(state["applied"])
    term = core.term_of(node.raft, index)
    if index == 0 or term < 0:
        return
    snapshot.snapshot_begin(node.store)
    revision = int(node.store.state[0]["revision"])
    cluster = int(state["cluster_id"])
    state["own_head"] = log_snapshot.begin_snapshot(node.own_stream, node.pieces, 0, cluster, index, term, revision)
    state["own_stage"] = DUMPING
    state["own_index"] = index
    state["own_term"] = term
    state["own_offset"] = 0
    state["own_out"] = 0
    state["own_wanted"] = 0
    state["own_log_at"] = node.log.state[0]["position"]


@kernel
def dump_piece(node: Any) -> None:
    """Write the next piece, in the half of ``pieces`` that is free."""
    state = node.state[0]
    half = 1 if int(state["own_out"]) & 1 != 0 else 0
    size = int(state["piece_bytes"])
    at = half * (size + PIECE_MARGIN_BYTES)
    to = at + int(state["own_head"])
    dumped = snapshot.snapshot_some(node.store, node.pieces, to + FRAME_BYTES, to + FRAME_BYTES + size)
    if dumped > 0:
        end = to + log_snapshot.seal_frame(node.own_stream, node.pieces, to, dumped)
    else:
        end = to + log_snapshot.end_snapshot(node.own_stream, node.pieces, to)
        snapshot.snapshot_end(node.store)
        state["own_stage"] = ENDING
    offset = int(state["own_offset"])
    place = issue(node, WRITE, SNAPSHOT_QUEUE, OWN_FILE, 0, OWN, half)
    add_bytes(node, place, offset, PIECES, at, end - at)
    if dumped > 0 and offset // SYNC_EVERY_BYTES == (offset + end - at) // SYNC_EVERY_BYTES:
        node.disk[place]["sync"] = 0
    state["own_head"] = 0
    state["own_offset"] = offset + end - at
    state["own_out"] = int(state["own_out"]) | 1 << half
    node.statistics[0]["snapshot_bytes"] += end - at


@kernel
def give_up_own(node: Any) -> None:
    """The snapshot that is being written will not be finished."""
    state = node.state[0]
    if state["own_stage"] == DUMPING:
        snapshot.snapshot_end(node.store)
    if state["own_stage"] == DUMPING or state["own_stage"] == ENDING:
        state["own_stage"] = FAILED
        node.statistics[0]["snapshots_failed"] += 1
    end_failed(node)


@kernel
def end_failed(node: Any) -> None:
    """Remove the remains of a snapshot that was given up, once nothing of it is being written."""
    state = node.state[0]
    if state["own_stage"] == FAILED and state["own_out"] == 0:
        issue(node, DELETE, SNAPSHOT_QUEUE, OWN_FILE, 0, OWN, REMOVED)
        state["own_stage"] = IDLE


@kernel
def adopt(node: Any, index: int, term: int, size: int, revision: int, log_at: int) -> None:
    """A snapshot is durable under its name: it is the newest, and the one before goes."""
    state = node.state[0]
    if state["snapshot_index"] > 0 and state["snapshot_index"] != index:
        issue(node, DELETE, SNAPSHOT_QUEUE, SNAPSHOT_FILE, int(state["snapshot_index"]), OWN, REMOVED)
    state["snapshot_index"] = index
    state["snapshot_term"] = term
    state["snapshot_bytes"] = size
    state["snapshot_revision"] = revision
    state["snapshot_log_at"] = log_at


@kernel
def own_written(node: Any, now: int, a: int, result: int) -> None:
    """A piece is written, or the whole renamed, or an old file removed."""
    state = node.state[0]
    if a == REMOVED:
        return
    if a == RENAMED:
        state["own_stage"] = IDLE
        if result >= 0:
            index, size = int(state["own_index"]), int(state["own_offset"])
            revision = int(node.own_stream[0]["revision"])
            adopt(node, index, int(state["own_term"]), size, revision, int(state["own_log_at"]))
            if has_many_terms(node):
                core.compacted(node.raft, index)
            node.statistics[0]["snapshots"] += 1
        return
    state["own_out"] = int(state["own_out"]) & ~(1 << a)
    if result < 0:
        state["own_retry_ns"] = now + RETRY_NS
        give_up_own(node)
    elif state["own_stage"] == ENDING and state["own_out"] == 0:
        place = issue(node, RENAME, SNAPSHOT_QUEUE, OWN_FILE, 0, OWN, RENAMED)
        node.disk[place]["to_file"] = SNAPSHOT_FILE
        node.disk[place]["to_number"] = state["own_index"]
        state["own_stage"] = RENAMING
    else:
        end_failed(node)


@kernel
def write_own(node: Any, now: int) -> int:
    """Begin a snapshot when one is due, and write the next piece. Returns 1 when another one could follow at once."""
    state = node.state[0]
    if state["own_stage"] == IDLE and is_due(node, now):
        begin_own(node)
    if state["own_stage"] != DUMPING or state["own_out"] == 3:
        return 0
    dump_piece(node)
    return 1 if state["own_stage"] == DUMPING and state["own_out"] != 3 else 0


@kernel
def drop_log(node: Any) -> None:
    """Remove segments that the snapshot makes unnecessary, but for some of the log that others may still need."""
    state = node.state[0]
    log = node.log.state[0]
    dropped = False
    while state["deletes_out"] < DELETES_MAX and log["segment_first"] < log["segment_number"]:
        following = node.log.segments[(int(log["segment_first"]) + 1) % len(node.log.segments)]
        if int(following["begin"]) > int(log["position"]) - int(state["keep_bytes"]):
            break
        number = log_writing.drop_segment(node.log, int(state["snapshot_index"]))
        if number == 0:
            break
        issue(node, DELETE, FILES_QUEUE, SEGMENT_FILE, number, DELETED, 0)
        state["deletes_out"] += 1
        node.statistics[0]["segments_deleted"] += 1
        dropped = True
    if dropped:
        core.compacted(node.raft, int(log["first_index"]) - 1)
