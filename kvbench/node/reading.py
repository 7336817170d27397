"""Reading back from the disk, one read at a time: entries to apply or for a peer that lags, and pieces of snapshots.

An entry is known by its index and term: records with its index and another term were replaced later, and are skipped.
"""

from typing import Any

from kvbench.jit import kernel
from kvbench.log import append as log_append
from kvbench.log import record as log_record
from kvbench.log import writing as log_writing
from kvbench.log.records import INCOMPLETE, NOT_IN_MEMORY
from kvbench.node.codes import LOG_DAMAGED
from kvbench.node.disk import add_bytes, fail, issue
from kvbench.node.outbox import room
from kvbench.node.records import MEMBERS_MAX, Buffer, DiskKind, File, Purpose, Queue, Reader
from kvbench.node.sending import MESSAGE_BYTES_MAX, begin_piece, end_piece, queued_at, run_last
from kvbench.node.state import READ_AT
from kvbench.raft import core
from kvbench.wire import peer as frames

READ, FILES_QUEUE, READING = int(DiskKind.READ), int(Queue.FILES), int(Buffer.READING)
READ_PURPOSE, SEGMENT_FILE = int(Purpose.READ), int(File.SEGMENT)
SNAPSHOT_FILE, FOREIGN_FILE = int(File.SNAPSHOT), int(File.FOREIGN_SNAPSHOT)
NOBODY, APPLY, PEER, LOAD, CHUNK, STALE = (int(reader) for reader in Reader)
TURNS = 2 + 2 * MEMBERS_MAX


@kernel
def release(node: Any) -> None:
    """``reading`` is free for whoever comes next."""
    state = node.state[0]
    state["reader"] = NOBODY
    state["reader_ready"] = 0


@kernel
def abandon(node: Any) -> None:
    """The log begins anew: entries that were read, or are being read, are of no use."""
    state = node.state[0]
    if state["reader"] != APPLY and state["reader"] != PEER:
        return
    if state["reader_ready"] != 0:
        release(node)
    else:
        state["reader"] = STALE


@kernel
def read(node: Any, reader: int, peer: int, file: int, number: int, offset: int, size: int) -> None:
    """Read up to ``size`` bytes for somebody."""
    state = node.state[0]
    state["reader"] = reader
    state["reader_peer"] = peer
    state["reader_ready"] = 0
    state["reader_number"] = number
    state["reader_offset"] = offset
    state["reader_at"] = READ_AT
    state["reader_end"] = READ_AT
    place = issue(node, READ, FILES_QUEUE, file, number, READ_PURPOSE, 0)
    add_bytes(node, place, offset, READING, READ_AT, min(size, len(node.reading) - READ_AT))


@kernel
def read_entries(node: Any, reader: int, peer: int, index: int) -> None:
    """Read entries from ``index`` on; those that are not durable yet are not on disk for certain: later."""
    log = node.log.state[0]
    if index > log["durable_index"] or log_writing.find_on_disk(node.log, index) != 0:
        return
    node.state[0]["reader_index"] = index
    node.state[0]["reader_crc"] = log["found_checksum"]
    offset = int(log["found_offset"])
    read(node, reader, peer, SEGMENT_FILE, int(log["found_number"]), offset, int(log["segment_bytes"]) - offset)


@kernel
def read_on(node: Any) -> None:
    """The entry looked for lies further on in the same file."""
    state = node.state[0]
    offset = int(state["reader_offset"]) + int(state["reader_at"]) - READ_AT
    left = int(node.log.state[0]["segment_bytes"]) - offset
    read(node, int(state["reader"]), int(state["reader_peer"]), SEGMENT_FILE, int(state["reader_number"]), offset, left)


@kernel
def find_entry(node: Any, index: int) -> int:
    """Find an entry in what was read: 1, then the log's ``record_*`` say where; 0: not in here.

    When it must be further on, that is read; when it cannot be, the log is damaged.
    """
    state = node.state[0]
    log = node.log.state[0]
    if state["reader_number"] < log["segment_first"]:
        release(node)
        return 0
    seed = int(node.log.segments[int(state["reader_number"]) % len(node.log.segments)]["seed"])
    term = core.term_of(node.raft, index)
    while True:
        at, end = int(state["reader_at"]), int(state["reader_end"])
        offset = int(state["reader_offset"]) + at - READ_AT
        size = INCOMPLETE
        if at < end:
            crc = int(state["reader_crc"])
            size = log_record.read_record(node.log, seed, offset, crc, node.reading, at, end)
        if size < 0:
            if state["reader_index"] != index:
                release(node)
            elif size == INCOMPLETE and at > READ_AT:
                read_on(node)
            else:
                fail(node, LOG_DAMAGED, SEGMENT_FILE, int(state["reader_number"]), offset, 0)
            return 0
        state["reader_at"] = at + size
        state["reader_crc"] = log["record_checksum"]
        if log["record_index"] == index and log["record_term"] == term:
            node.statistics[0]["entries_read"] += 1
            return 1


@kernel
def next_entry(node: Any, index: int) -> int:
    """The entry that is to be applied next, if it has been read: 1, then the log's ``record_*`` say where it is."""
    state = node.state[0]
    if state["reader"] != APPLY or state["reader_ready"] == 0:
        return 0
    return find_entry(node, index)


@kernel
def end_reading(node: Any) -> None:
    """Nothing that was read is left to be applied."""
    state = node.state[0]
    if state["reader"] == APPLY and state["reader_ready"] != 0:
        release(node)


@kernel
def send_read_entries(node: Any) -> None:
    """Entries for a peer were read: send them as a piece of the oldest APPEND that waits."""
    state = node.state[0]
    peer = int(state["reader_peer"])
    link = node.links[peer]
    place = queued_at(node, peer)
    message = node.queued[place]
    first = int(message["first"])
    current = message["term"] == node.raft.state[0]["term"] and message["last"] >= first
    if link["count"] == 0 or first != state["reader_index"] or not current:
        release(node)
        return
    limit = int(state["frame_bytes_max"])
    at = room(node, peer, limit)
    if at < 0:
        if link["connected"] == 0:
            release(node)
        return
    to = begin_piece(node, place, at, first)
    end = run_last(message)
    last = first - 1
    while last < end and find_entry(node, last + 1) == 1:
        size = int(node.log.state[0]["record_bytes"])
        if last >= first and to + frames.ENTRY_HEADER_BYTES + size - at > limit - MESSAGE_BYTES_MAX:
            break
        to = frames.put_entry(node.outbox, to, node.reading, int(node.log.state[0]["record_at"]), size)
        last += 1
    if last >= first:
        begin_piece(node, place, at, last)
        end_piece(node, peer, place, at, to, last)
        release(node)


@kernel
def peer_lacks(node: Any, peer: int) -> bool:
    """Whether the oldest APPEND that waits for a peer needs entries from the disk."""
    link = node.links[peer]
    if link["count"] == 0:
        return False
    message = node.queued[queued_at(node, peer)]
    if message["last"] < message["first"] or message["term"] != node.raft.state[0]["term"]:
        return False
    return log_append.payload_of(node.log, int(message["first"])) == NOT_IN_MEMORY


@kernel
def read_for(node: Any, turn: int) -> None:
    """Begin a read for whoever's turn it is, if he needs one."""
    state = node.state[0]
    size = int(state["piece_bytes"])
    if turn == 0:
        if state["load_offset"] < state["load_bytes"]:
            offset = int(state["load_offset"])
            if state["loading"] != 0:
                read(node, LOAD, 0, SNAPSHOT_FILE, int(state["load_index"]), offset, len(node.reading))
            else:
                read(node, LOAD, 0, FOREIGN_FILE, 0, offset, len(node.reading))
    elif turn == 1:
        index = int(state["applied"]) + 1
        wanted = state["loading"] == 0 and index <= node.raft.state[0]["commit"]
        if wanted and log_append.payload_of(node.log, index) == NOT_IN_MEMORY:
            read_entries(node, APPLY, 0, index)
    elif turn < 2 + MEMBERS_MAX:
        peer = turn - 2
        if peer_lacks(node, peer):
            read_entries(node, PEER, peer, int(node.queued[queued_at(node, peer)]["first"]))
    else:
        peer = turn - 2 - MEMBERS_MAX
        link = node.links[peer]
        if link["snapshot_index"] > 0 and link["snapshot_offset"] >= 0:
            read(node, CHUNK, peer, SNAPSHOT_FILE, int(link["snapshot_index"]), int(link["snapshot_offset"]), size)


@kernel
def begin_read(node: Any) -> None:
    """If nothing is being read, let the next one who needs it read."""
    state = node.state[0]
    for _ in range(TURNS):
        if state["reader"] != NOBODY:
            return
        turn = int(state["reader_next"])
        state["reader_next"] = turn + 1 if turn + 1 < TURNS else 0
        read_for(node, turn)
