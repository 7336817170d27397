"""What the disk has done."""

from typing import Any

from kvbench.jit import kernel
from kvbench.log import writing as log_writing
from kvbench.node.codes import DISK
from kvbench.node.disk import NOTHING, fail
from kvbench.node.incoming import foreign_written
from kvbench.node.outgoing import chunk_failed
from kvbench.node.own import own_written
from kvbench.node.reading import release
from kvbench.node.records import Purpose, Reader
from kvbench.node.state import READ_AT
from kvbench.node.writing import mark_written
from kvbench.raft import core

LOG_SYNC, SEGMENT, MARK = int(Purpose.LOG_SYNC), int(Purpose.SEGMENT), int(Purpose.MARK)
READ, OWN, FOREIGN, DELETED = int(Purpose.READ), int(Purpose.OWN), int(Purpose.FOREIGN), int(Purpose.DELETE)
CHUNK, STALE = int(Reader.CHUNK), int(Reader.STALE)
NO_SPACE_LEFT = -28
"""-ENOSPC"""
RETRY_NS = 1_000_000_000


@kernel
def segment_made(node: Any, now: int, number: int, result: int) -> None:
    """The log's next file is there. Or the disk is full: a whole segment is left for what must still be written."""
    state = node.state[0]
    if result == NO_SPACE_LEFT:
        log_writing.segment_failed(node.log)
        state["disk_full"] = 1
        state["create_retry_ns"] = now + RETRY_NS
        node.statistics[0]["disk_full"] += 1
        return
    log_writing.segment_ready(node.log, number)
    state["disk_full"] = 0
    node.statistics[0]["segments_created"] += 1


@kernel
def log_synced(node: Any, position: int) -> None:
    """A group of the log is durable."""
    log_writing.synced(node.log, position)
    node.state[0]["syncs_out"] -= 1
    node.statistics[0]["log_syncs"] += 1
    log = node.log.state[0]
    core.persisted(node.raft, int(log["durable_index"]), int(log["durable_term"]))


@kernel
def was_read(node: Any, result: int) -> None:
    """The bytes that were asked for are in ``reading``."""
    state = node.state[0]
    if state["reader"] == STALE:
        release(node)
        return
    state["reader_ready"] = 1
    state["reader_end"] = READ_AT + result


@kernel
def failed(node: Any, slot: int, result: int) -> bool:
    """Whether an error of the disk is one that ends this member; others are dealt with where they came up."""
    issued = node.issued[slot]
    purpose = int(issued["purpose"])
    if purpose == READ and node.state[0]["reader"] == CHUNK:
        chunk_failed(node)
        release(node)
        return True
    survived = result == NO_SPACE_LEFT and (purpose == OWN or purpose == FOREIGN or purpose == SEGMENT)
    if not survived:
        fail(node, DISK, int(issued["file"]), int(issued["number"]), 0, -result)
    return not survived


@kernel
def complete(node: Any, now: int, sequence: int, result: int) -> None:
    """A DISK_COMMAND is done: ``result`` is a number of bytes, or -errno."""
    state = node.state[0]
    slot = sequence % len(node.issued)
    issued = node.issued[slot]
    if sequence < 0 or issued["purpose"] == NOTHING or issued["sequence"] != sequence:
        return
    purpose, a, number = int(issued["purpose"]), int(issued["a"]), int(issued["number"])
    is_over = result < 0 and failed(node, slot, result)
    issued["purpose"] = NOTHING
    if is_over:
        return
    if purpose == LOG_SYNC:
        log_synced(node, a)
    elif purpose == READ:
        was_read(node, result)
    elif purpose == MARK:
        mark_written(node, a)
    elif purpose == SEGMENT:
        segment_made(node, now, number, result)
    elif purpose == OWN:
        own_written(node, now, a, result)
    elif purpose == FOREIGN:
        foreign_written(node, now, a, result)
    elif purpose == DELETED:
        state["deletes_out"] -= 1
