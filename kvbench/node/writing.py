"""The log and the mark on their way to the disk, and the segments that the log needs."""

from typing import Any

from kvbench.jit import kernel
from kvbench.log import mark as log_mark
from kvbench.log import writing as log_writing
from kvbench.log.mark import COPIES, MARK_BYTES
from kvbench.node.disk import add_bytes, issue
from kvbench.node.records import Buffer, DiskKind, File, Purpose, Queue

WRITE, CREATE = int(DiskKind.WRITE), int(DiskKind.CREATE)
SEGMENT_FILE, MARK_FILE = int(File.SEGMENT), int(File.MARK)
RING, MARK_BUFFER = int(Buffer.RING), int(Buffer.MARK)
LOG_QUEUE, FILES_QUEUE = int(Queue.LOG), int(Queue.FILES)
LOG_WRITE, LOG_SYNC = int(Purpose.LOG_WRITE), int(Purpose.LOG_SYNC)
SEGMENT, MARK, DELETED = int(Purpose.SEGMENT), int(Purpose.MARK), int(Purpose.DELETE)

SPANS_MAX = 4
"""Writes in one group."""
MARK_EVERY_NS = 1_000_000_000
"""How often what was acknowledged is noted, when it has changed."""
DELETES_MAX = 4


@kernel
def write_log(node: Any) -> None:
    """Give out what was appended since the last time, as one group that ends with a sync of each file that it is in."""
    state = node.state[0]
    log = node.log.state[0]
    while state["syncs_out"] < state["syncs_out_max"]:
        last = -1
        for _ in range(SPANS_MAX):
            size = log_writing.next_write(node.log)
            if size == 0:
                break
            number = int(log["write_number"])
            if last >= 0 and node.disk[last]["number"] == number:
                node.disk[last]["sync"] = 0
            last = issue(node, WRITE, LOG_QUEUE, SEGMENT_FILE, number, LOG_WRITE, 0)
            add_bytes(node, last, int(log["write_offset"]), RING, int(log["write_at"]), size)
            node.statistics[0]["log_writes"] += 1
            node.statistics[0]["log_bytes"] += size
        if last < 0:
            return
        slot = int(node.disk[last]["sequence"]) % len(node.issued)
        node.issued[slot]["purpose"] = LOG_SYNC
        node.issued[slot]["a"] = log["write_end"]
        state["syncs_out"] += 1


@kernel
def acknowledged(node: Any) -> int:
    """The highest index that may have been acknowledged to a client and is durable here."""
    raft = node.raft.state[0]
    return min(int(raft["commit"]), int(raft["durable_index"]))


@kernel
def write_mark(node: Any, now: int) -> None:
    """Give out the mark when term, vote or alarm changed, and now and then to note what was acknowledged.

    Its two copies are written and synced one after the other, so that one of them is whole whenever power is lost.
    """
    state = node.state[0]
    raft = node.raft.state[0]
    if state["mark_out"] != 0:
        return
    noted = max(acknowledged(node), int(state["mark_acknowledged"]))
    due = now - int(state["mark_ns"]) >= MARK_EVERY_NS or state["stopping"] != 0
    is_same = state["mark_hard_state"] >= raft["hard_state"] and state["mark_alarm"] == state["disk_alarm"]
    if is_same and (noted == state["mark_acknowledged"] or not due):
        return
    mark = node.mark_record[0]
    mark["term"] = raft["term"]
    mark["vote"] = raft["vote"]
    mark["acknowledged"] = noted
    mark["disk_alarm"] = state["disk_alarm"]
    log_mark.write_mark(node.log, node.mark_record, node.mark, 0)
    for copy in range(COPIES):
        place = issue(node, WRITE, LOG_QUEUE, MARK_FILE, 0, MARK, copy)
        add_bytes(node, place, copy * MARK_BYTES, MARK_BUFFER, 0, MARK_BYTES)
    state["mark_out"] = 1
    state["mark_out_hard_state"] = raft["hard_state"]
    state["mark_out_acknowledged"] = noted
    state["mark_out_alarm"] = state["disk_alarm"]
    state["mark_ns"] = now
    node.statistics[0]["marks"] += 1


@kernel
def mark_written(node: Any, copy: int) -> None:
    """A copy of the mark that was out is durable; the last one makes it count."""
    state = node.state[0]
    if copy < COPIES - 1:
        return
    state["mark_out"] = 0
    state["mark_hard_state"] = state["mark_out_hard_state"]
    state["mark_acknowledged"] = state["mark_out_acknowledged"]
    state["mark_alarm"] = state["mark_out_alarm"]


@kernel
def make_segment(node: Any, now: int) -> None:
    """Ask for the log's next file ahead of need; after a full disk, again every second."""
    state = node.state[0]
    if now < state["create_retry_ns"]:
        return
    number = log_writing.wanted_segment(node.log)
    if number == 0:
        return
    place = issue(node, CREATE, FILES_QUEUE, SEGMENT_FILE, number, SEGMENT, 0)
    add_bytes(node, place, 0, 0, 0, int(node.log.state[0]["segment_bytes"]))
