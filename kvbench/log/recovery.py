"""From a disk's bytes to a log: record by record, in the order in which they were written.

``begin_recovery``; for each segment ``recover_segment`` and then ``recover_record`` until it stops; ``end_recovery``.
What it stopped at is judged in ``tail``; ``replay`` drives all of it.
"""

from typing import Any

from kvbench.jit import kernel
from kvbench.log.append import mark_land, truncate
from kvbench.log.record import read_record, segment_seed
from kvbench.log.records import (
    BAD_HEADER,
    BAD_INDEX,
    BAD_LENGTH,
    BROKEN_CHAIN,
    FOREIGN,
    FORMAT,
    GAP,
    NEWER_FORMAT,
    NO_ROOM,
    SEGMENT_HEADER_BYTES,
    WRONG_NUMBER,
)
from kvbench.log.writing import forget, restart
from kvbench.rt.buffer import load_le32, load_le64


@kernel
def begin_recovery(log: Any, snapshot_index: int, snapshot_term: int) -> None:
    """A log of which nothing is known yet but the snapshot (0, 0: none) that its member has."""
    state = log.state[0]
    forget(log, 0, 0)
    state["snapshot_index"] = snapshot_index
    state["snapshot_term"] = snapshot_term
    state["snapshot_met"] = 0
    state["segment_first"] = 0
    state["segment_number"] = 0
    state["position"] = 0
    state["checksum"] = 0


@kernel
def check_segment(log: Any, number: int, buf: Any, at: int, size: int) -> int:
    """Whether the header just read (its payload at ``at``) is that of segment ``number``: 0 or a LogDamage."""
    state = log.state[0]
    if int(state["record_bytes"]) < 4 or int(state["record_index"]) != 0:
        return BAD_HEADER
    if load_le32(buf, at) > FORMAT:
        return NEWER_FORMAT
    if int(state["record_bytes"]) != SEGMENT_HEADER_BYTES:
        return BAD_HEADER
    if load_le64(buf, at + 8) != int(state["cluster"]) or load_le64(buf, at + 16) != int(state["member"]):
        return FOREIGN
    if load_le64(buf, at + 24) != number:
        return WRONG_NUMBER
    if size > load_le64(buf, at + 48):
        return BAD_LENGTH
    newest = int(state["segment_number"])
    if newest == 0:
        return 0
    last = log.segments[newest % len(log.segments)]
    follows = number == newest + 1 and load_le64(buf, at + 40) == int(last["begin"]) + int(last["bytes"])
    if not follows or load_le32(buf, at + 4) != int(state["checksum"]):
        return BROKEN_CHAIN
    return 0


@kernel
def recover_segment(log: Any, number: int, buf: Any, at: int, end: int, file_bytes: int) -> int:
    """Take up segment ``number``, whose file begins with ``buf[at:end]``: its header record's size, or a LogDamage."""
    state = log.state[0]
    size = read_record(log, 0, 0, 0, buf, at, end)
    if size < 0:
        return size
    payload = int(state["record_at"])
    code = check_segment(log, number, buf, payload, file_bytes)
    if code < 0:
        return code
    first_index = load_le64(buf, payload + 32)
    base_term = load_le64(buf, payload + 56)
    newest = int(state["segment_number"])
    if newest == 0 or base_term > 0:
        if first_index > int(state["snapshot_index"]) + 1:
            return GAP
        forget(log, first_index - 1, base_term)
        state["snapshot_met"] = base_term if first_index == int(state["snapshot_index"]) + 1 else 0
    elif first_index > int(state["last_index"]) + 1:
        return BAD_INDEX
    if newest == 0:
        state["segment_first"] = number
    elif number - int(state["segment_first"]) >= len(log.segments):
        return NO_ROOM
    else:
        log.segments[newest % len(log.segments)]["end"] = int(state["position"])
    segment = log.segments[number % len(log.segments)]
    segment["begin"] = load_le64(buf, payload + 40)
    segment["bytes"] = load_le64(buf, payload + 48)
    segment["first_index"] = first_index
    segment["seed"] = segment_seed(log, number)
    state["segment_number"] = number
    state["position"] = int(segment["begin"]) + size
    state["checksum"] = int(state["record_checksum"])
    return size


@kernel
def recover_record(log: Any, buf: Any, at: int, end: int) -> int:
    """Take up the record at ``at``, the next one of the segment whose file ends at ``buf[end]``.

    Returns its size, with ``record_*`` set (the entry replaces those from ``record_index`` on); or a LogDamage.
    """
    state = log.state[0]
    segment = log.segments[int(state["segment_number"]) % len(log.segments)]
    offset = int(state["position"]) - int(segment["begin"])
    size = read_record(log, int(segment["seed"]), offset, int(state["checksum"]), buf, at, end)
    if size < 0:
        return size
    index = int(state["record_index"])
    term = int(state["record_term"])
    if index < 1 or index > int(state["last_index"]) + 1 or term < 1:
        return BAD_INDEX
    truncate(log, index)
    if int(state["landmark_end"]) - int(state["landmark_first"]) >= len(log.landmarks):
        return NO_ROOM
    mark_land(log, index, offset)
    if index <= int(state["snapshot_index"]):
        state["snapshot_met"] = term if index == int(state["snapshot_index"]) else 0
    state["last_index"] = index
    state["last_term"] = term
    state["checksum"] = int(state["record_checksum"])
    state["position"] = int(state["position"]) + size
    return size


@kernel
def recover_records(log: Any, buf: Any, at: int, end: int) -> int:
    """``recover_record`` until it stops: the LogDamage (BLANK included) that it stopped at."""
    while True:
        size = recover_record(log, buf, at, end)
        if size < 0:
            return size
        at += size


@kernel
def end_recovery(log: Any, ready_number: int) -> int:
    """All that was taken up is durable, and files exist up to segment ``ready_number``: the log goes on behind it.

    A log that ends before the snapshot, or that holds another entry than the snapshot's last one, begins anew behind
    the snapshot, in a new segment. Returns 0, or NO_ROOM if that cannot be.
    """
    state = log.state[0]
    last = int(state["last_index"])
    state["memory_first"] = last + 1
    state["released"] = last
    state["durable_index"] = last
    state["durable_term"] = int(state["last_term"])
    state["handed"] = int(state["position"])
    state["synced"] = int(state["position"])
    state["lap_end"] = 0
    state["handed_number"] = int(state["segment_number"])
    state["ready_number"] = ready_number
    state["asked_number"] = ready_number
    snapshot = int(state["snapshot_index"])
    met = int(state["snapshot_met"])
    unmet = met != int(state["snapshot_term"]) and (met > 0 or snapshot >= int(state["first_index"]))
    if last >= snapshot and not unmet:
        return 0
    return restart(log, snapshot, int(state["snapshot_term"]))
