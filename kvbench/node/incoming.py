"""A snapshot from the leader: piece by piece into a file, which is checked, made durable, and then replaces the log."""

from typing import Any

from kvbench.jit import kernel
from kvbench.log import writing as log_writing
from kvbench.node.codes import LOG_DAMAGED
from kvbench.node.disk import add_bytes, fail, issue
from kvbench.node.loading import DAMAGED, MORE, begin_file, begin_load, go_through
from kvbench.node.outbox import room, sent
from kvbench.node.own import IDLE as NO_OWN
from kvbench.node.own import adopt, give_up_own
from kvbench.node.pending import give_up_replaced
from kvbench.node.reading import LOAD, abandon, release
from kvbench.node.records import REMOVED, RENAMED, SYNCED, Buffer, DiskKind, File, Purpose, Queue, ReceiveStage
from kvbench.node.state import PIECE_MARGIN_BYTES
from kvbench.raft import core
from kvbench.rt.buffer import copy
from kvbench.wire import peer as frames

WRITE, SYNC, RENAME, DELETE = (int(DiskKind[name]) for name in ("WRITE", "SYNC", "RENAME", "DELETE"))
FOREIGN_FILE, SNAPSHOT_FILE, SEGMENT_FILE = int(File.FOREIGN_SNAPSHOT), int(File.SNAPSHOT), int(File.SEGMENT)
PIECES, FOREIGN, SNAPSHOT_QUEUE = int(Buffer.PIECES), int(Purpose.FOREIGN), int(Queue.SNAPSHOT)
IDLE, RECEIVING, SYNCING, VERIFYING, RENAMING, INSTALLING = (int(stage) for stage in ReceiveStage)
PIECE = 0
SYNC_EVERY_BYTES = 4 << 20
ASK_TICKS = 20
ELECTIONS_MAX = 4
"""Election time-outs without another piece after which a transfer is given up."""


@kernel
def ask(node: Any) -> None:
    """Ask for the next piece, or say that all is there."""
    state = node.state[0]
    peer = int(state["receive_from"])
    to = room(node, peer, frames.FRAME_BYTES_MIN)
    if to >= 0:
        index, offset = int(state["receive_index"]), int(state["receive_offset"])
        sent(node, peer, frames.write_wanted(node.outbox, to, int(state["member"]), index, offset))


@kernel
def want_snapshot(node: Any, sender: int, index: int, term: int) -> None:
    """The leader has announced a snapshot that this member needs."""
    state = node.state[0]
    stage = state["receive_stage"]
    if stage > RECEIVING or state["loading"] != 0:
        return
    is_same = state["receive_index"] == index and state["receive_term"] == term and state["receive_from"] == sender
    if stage == IDLE or not is_same:
        state["receive_stage"] = RECEIVING
        state["receive_index"] = index
        state["receive_term"] = term
        state["receive_from"] = sender
        state["receive_offset"] = 0
        state["receive_bytes"] = 0
        state["receive_waits"] = 0
    ask(node)


@kernel
def give_up_receiving(node: Any) -> None:
    """The snapshot cannot be had: the leader may try again."""
    state = node.state[0]
    if state["receive_stage"] == IDLE:
        return
    state["receive_stage"] = IDLE
    issue(node, DELETE, SNAPSHOT_QUEUE, FOREIGN_FILE, 0, FOREIGN, REMOVED)
    core.refuse_snapshot(node.raft)


@kernel
def on_chunk(node: Any, sender: int, buf: Any, at: int, end: int) -> int:
    """SNAPSHOT_CHUNK: the next piece, when it is the one that was asked for."""
    state = node.state[0]
    start = frames.bytes_at(at, frames.CHUNK_NUMBERS)
    size, offset = end - start, frames.number(buf, at, frames.CHUNK_OFFSET)
    total = frames.number(buf, at, frames.CHUNK_FILE_BYTES)
    if size < 1 or size > state["piece_bytes"] or offset < 0 or size > total - offset:
        return frames.BODY_SIZE
    is_wanted = state["receive_stage"] == RECEIVING and state["receive_out"] == 0 and sender == state["receive_from"]
    if not is_wanted or offset != state["receive_offset"]:
        return 0
    if frames.number(buf, at, frames.CHUNK_INDEX) != state["receive_index"]:
        return 0
    if frames.number(buf, at, frames.CHUNK_TERM) != state["receive_term"]:
        return 0
    place_at = 2 * (int(state["piece_bytes"]) + PIECE_MARGIN_BYTES)
    copy(node.pieces, place_at, buf, start, size)
    place = issue(node, WRITE, SNAPSHOT_QUEUE, FOREIGN_FILE, 0, FOREIGN, PIECE)
    add_bytes(node, place, offset, PIECES, place_at, size)
    if offset // SYNC_EVERY_BYTES == (offset + size) // SYNC_EVERY_BYTES:
        node.disk[place]["sync"] = 0
    state["receive_out"] = 1
    state["receive_offset"] = offset + size
    state["receive_bytes"] = total
    state["receive_waits"] = 0
    return 0


@kernel
def piece_written(node: Any) -> None:
    """A piece is in the file: ask for the next one; behind the last one, make all durable."""
    state = node.state[0]
    state["receive_out"] = 0
    if state["receive_stage"] != RECEIVING:
        return
    ask(node)
    if state["receive_bytes"] > 0 and state["receive_offset"] == state["receive_bytes"]:
        issue(node, SYNC, SNAPSHOT_QUEUE, FOREIGN_FILE, 0, FOREIGN, SYNCED)
        state["receive_stage"] = SYNCING


@kernel
def foreign_written(node: Any, now: int, a: int, result: int) -> None:
    """A piece is written, or all is synced, or the file has its name."""
    state = node.state[0]
    if a == REMOVED:
        return
    if result < 0:
        state["receive_out"] = 0
        give_up_receiving(node)
    elif a == PIECE:
        piece_written(node)
    elif a == SYNCED:
        state["receive_stage"] = VERIFYING
        begin_file(node, int(state["receive_index"]), int(state["receive_bytes"]))
    elif a == RENAMED:
        index, size = int(state["receive_index"]), int(state["receive_bytes"])
        term, revision = int(state["receive_term"]), int(node.load_stream[0]["revision"])
        adopt(node, index, term, size, revision, int(node.log.state[0]["position"]))
        state["receive_stage"] = INSTALLING
        node.statistics[0]["snapshots_received"] += 1


@kernel
def verify_some(node: Any) -> int:
    """Go on checking what was received. Returns 1 when more was read already."""
    state = node.state[0]
    if state["receive_stage"] != VERIFYING or state["reader"] != LOAD or state["reader_ready"] == 0:
        return 0
    found = go_through(node)
    if found == MORE:
        return 1
    state["load_bytes"] = 0
    if found == DAMAGED:
        release(node)
    if found == DAMAGED or node.load_stream[0]["term"] != state["receive_term"]:
        give_up_receiving(node)
        return 1
    place = issue(node, RENAME, SNAPSHOT_QUEUE, FOREIGN_FILE, 0, FOREIGN, RENAMED)
    node.disk[place]["to_file"] = SNAPSHOT_FILE
    node.disk[place]["to_number"] = state["receive_index"]
    state["receive_stage"] = RENAMING
    return 1


@kernel
def install(node: Any) -> int:
    """Let the snapshot replace the log, once nothing of either state is being written. Returns 1 when that is done."""
    state = node.state[0]
    log = node.log.state[0]
    if state["receive_stage"] != INSTALLING:
        return 0
    if state["own_stage"] != NO_OWN:
        give_up_own(node)
        return 0
    if log["synced"] != log["position"]:
        return 0
    index, term = int(state["receive_index"]), int(state["receive_term"])
    state["receive_stage"] = IDLE
    if core.install(node.raft, index, term) == 0:
        return 1
    if log_writing.restart(node.log, index, term) != 0:
        fail(node, LOG_DAMAGED, SEGMENT_FILE, int(log["segment_number"]), 0, 0)
        return 0
    abandon(node)
    give_up_replaced(node, 0)
    begin_load(node, index, int(state["receive_bytes"]))
    return 1


@kernel
def tick_receiving(node: Any) -> None:
    """A tick: ask again, or give up."""
    state = node.state[0]
    if state["receive_stage"] != RECEIVING or state["receive_out"] != 0:
        return
    state["receive_waits"] += 1
    if int(state["receive_waits"]) * int(state["tick_ns"]) > ELECTIONS_MAX * int(state["election_ns"]):
        give_up_receiving(node)
    elif int(state["receive_waits"]) % ASK_TICKS == 0:
        ask(node)
