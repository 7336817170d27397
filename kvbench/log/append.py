"""Entries into memory, out of it, and forgotten."""

from typing import Any

from kvbench.jit import kernel
from kvbench.log.record import record_size, seal, segment_seed
from kvbench.log.records import (
    ALIGNMENT,
    COMPACTED,
    FORMAT,
    NO_ENTRY,
    NO_ROOM,
    NOT_IN_MEMORY,
    OUT_OF_ORDER,
    RECORD_BYTES,
    SEGMENT_HEADER_BYTES,
    SEGMENT_START,
)
from kvbench.ops.entries import PREFIX_BYTES, write_prefix
from kvbench.rt.buffer import copy, store_le32, store_le64


@kernel
def begin(log: Any) -> None:
    """A new log: its first segment is number 1, its first entry index 1."""
    state = log.state[0]
    state["first_index"] = 1
    state["memory_first"] = 1
    state["segment_first"] = 1
    state["handed_number"] = 1
    open_segment(log, 0)


@kernel
def fits(log: Any, size: int) -> bool:
    """Whether a record of ``size`` bytes fits into the newest segment."""
    state = log.state[0]
    segment = log.segments[int(state["segment_number"]) % len(log.segments)]
    return int(state["position"]) + size <= int(segment["begin"]) + int(segment["bytes"])


@kernel
def oldest_kept(log: Any) -> int:
    """The position from which on bytes in memory must stay: not durable yet, or of an entry not released."""
    state = log.state[0]
    kept = int(state["synced"])
    number = int(state["segment_number"])
    newest = number
    while number > 1 and kept < int(log.segments[number % len(log.segments)]["begin"]):
        number -= 1
    if number < newest and kept == int(log.segments[number % len(log.segments)]["end"]):
        kept = int(log.segments[(number + 1) % len(log.segments)]["begin"])
    index = max(min(int(state["released"]), int(state["durable_index"])) + 1, int(state["memory_first"]))
    if index <= int(state["last_index"]):
        kept = min(kept, int(log.places[index % len(log.places)]["position"]))
    return kept


@kernel
def has_room(log: Any, payload_bytes: int) -> bool:
    """Whether an entry of that size can be appended now."""
    state = log.state[0]
    size = record_size(payload_bytes)
    if size > int(state["record_bytes_max"]):
        return False
    end = int(state["position"]) + size
    if not fits(log, size):
        number = int(state["segment_number"])
        if number + 1 - int(state["segment_first"]) >= len(log.segments):
            return False
        last = log.segments[number % len(log.segments)]
        end = int(last["begin"]) + int(last["bytes"]) + SEGMENT_START + size
    if int(state["landmark_end"]) - int(state["landmark_first"]) >= len(log.landmarks):
        return False
    free = max(min(int(state["released"]), int(state["durable_index"])), int(state["memory_first"]) - 1)
    return end - oldest_kept(log) <= int(state["ring_bytes"]) and int(state["last_index"]) - free < len(log.places)


@kernel
def has_room_for(log: Any, entries: int, payload_bytes: int) -> bool:
    """Whether so many entries, of so many bytes in all, can be appended one after the other now.

    None is larger than what the log takes. When they do not all fit into the newest segment, it is reckoned that each
    segment leaves as much unused as may be, so this may say no when they would just fit.
    """
    state = log.state[0]
    size = payload_bytes + entries * (RECORD_BYTES + ALIGNMENT)
    record_bytes_max = int(state["record_bytes_max"])
    end = int(state["position"]) + size
    begun = 0
    if not fits(log, size):
        usable = int(state["segment_bytes"]) - SEGMENT_START - record_bytes_max + ALIGNMENT
        begun = 1 + size // usable
        end += begun * (SEGMENT_START + record_bytes_max)
    if int(state["segment_number"]) + begun - int(state["segment_first"]) >= len(log.segments):
        return False
    if int(state["landmark_end"]) + entries - int(state["landmark_first"]) > len(log.landmarks):
        return False
    free = max(min(int(state["released"]), int(state["durable_index"])), int(state["memory_first"]) - 1)
    unreleased = int(state["last_index"]) + entries - free
    return end - oldest_kept(log) <= int(state["ring_bytes"]) and unreleased <= len(log.places)


@kernel
def advance(log: Any, size: int) -> None:
    """Move the log's end behind a record of ``size`` bytes."""
    state = log.state[0]
    start = int(state["position"])
    end = start + size
    ring_bytes = int(state["ring_bytes"])
    if start // ring_bytes != end // ring_bytes:
        state["lap_end"] = end
    state["position"] = end


@kernel
def open_segment(log: Any, base_term: int) -> None:
    """Begin the next segment: its header becomes the log's last record. ``base_term``: see SEGMENT_HEADER."""
    state = log.state[0]
    number = int(state["segment_number"])
    start = 0
    if number > 0:
        last = log.segments[number % len(log.segments)]
        last["end"] = int(state["position"])
        start = int(last["begin"]) + int(last["bytes"])
    number += 1
    segment = log.segments[number % len(log.segments)]
    segment["begin"] = start
    segment["bytes"] = int(state["segment_bytes"])
    segment["first_index"] = int(state["last_index"]) + 1
    segment["seed"] = segment_seed(log, number)
    state["segment_number"] = number
    state["position"] = start
    at = start % int(state["ring_bytes"])
    payload = at + RECORD_BYTES
    store_le32(log.ring, payload, FORMAT)
    store_le32(log.ring, payload + 4, int(state["checksum"]))
    store_le64(log.ring, payload + 8, int(state["cluster"]))
    store_le64(log.ring, payload + 16, int(state["member"]))
    store_le64(log.ring, payload + 24, number)
    store_le64(log.ring, payload + 32, int(state["last_index"]) + 1)
    store_le64(log.ring, payload + 40, start)
    store_le64(log.ring, payload + 48, int(state["segment_bytes"]))
    store_le64(log.ring, payload + 56, base_term)
    unsynced = start - int(state["synced"])
    state["checksum"] = seal(log.ring, at, SEGMENT_HEADER_BYTES, 0, 0, 0, unsynced, 0, number)
    advance(log, SEGMENT_START)


@kernel
def mark_land(log: Any, index: int, offset: int) -> None:
    """Note where the entry about to be appended lies, if the last landmark is far away or in another segment."""
    state = log.state[0]
    number = int(state["segment_number"])
    end = int(state["landmark_end"])
    if end > int(state["landmark_first"]):
        last = log.landmarks[(end - 1) % len(log.landmarks)]
        if int(last["number"]) == number and offset - int(last["offset"]) < int(state["landmark_bytes"]):
            return
    landmark = log.landmarks[end % len(log.landmarks)]
    landmark["index"] = index
    landmark["number"] = number
    landmark["offset"] = offset
    landmark["previous_checksum"] = int(state["checksum"])
    state["landmark_end"] = end + 1


@kernel
def reserve(log: Any, index: int, payload_bytes: int) -> int:
    """Make room for an entry: where in the ring its record goes, or NO_ROOM, OUT_OF_ORDER."""
    state = log.state[0]
    if index != int(state["last_index"]) + 1:
        return OUT_OF_ORDER
    if not has_room(log, payload_bytes):
        return NO_ROOM
    size = record_size(payload_bytes)
    if not fits(log, size):
        open_segment(log, 0)
    oldest = int(state["position"]) + size - int(state["ring_bytes"])
    first = int(state["memory_first"])
    while first < index and (
        index - first >= len(log.places) or int(log.places[first % len(log.places)]["position"]) < oldest
    ):
        first += 1
    state["memory_first"] = first
    return int(state["position"]) % int(state["ring_bytes"])


@kernel
def finish(log: Any, index: int, term: int, payload_bytes: int) -> None:
    """The payload is in its place: complete the record and move on."""
    state = log.state[0]
    position = int(state["position"])
    segment = log.segments[int(state["segment_number"]) % len(log.segments)]
    offset = position - int(segment["begin"])
    mark_land(log, index, offset)
    state["checksum"] = seal(
        log.ring,
        position % int(state["ring_bytes"]),
        payload_bytes,
        int(segment["seed"]),
        offset,
        int(state["checksum"]),
        position - int(state["synced"]),
        index,
        term,
    )
    place = log.places[index % len(log.places)]
    place["position"] = position
    place["bytes"] = payload_bytes
    place["term"] = term
    state["last_index"] = index
    state["last_term"] = term
    advance(log, record_size(payload_bytes))


@kernel
def append(log: Any, index: int, term: int, buf: Any, at: int, size: int) -> int:
    """Append entry ``index`` (last_index + 1) with the ``size`` bytes at ``buf[at]`` as its payload.

    Returns 0, NO_ROOM (nothing is changed; try again when something was synced or released), or OUT_OF_ORDER.
    """
    place = reserve(log, index, size)
    if place < 0:
        return place
    copy(log.ring, place + RECORD_BYTES, buf, at, size)
    finish(log, index, term, size)
    return 0


@kernel
def append_request(
    log: Any,
    index: int,
    term: int,
    kind: int,
    origin: int,
    boot: int,
    request: int,
    time_ns: int,
    lease_id: int,
    buf: Any,
    at: int,
    size: int,
) -> int:
    """``append`` of a payload made of a prefix (ops.entries) and the ``size`` bytes of a request."""
    place = reserve(log, index, PREFIX_BYTES + size)
    if place < 0:
        return place
    behind = write_prefix(log.ring, place + RECORD_BYTES, kind, origin, boot, request, time_ns, lease_id)
    copy(log.ring, behind, buf, at, size)
    finish(log, index, term, PREFIX_BYTES + size)
    return 0


@kernel
def truncate(log: Any, index: int) -> None:
    """Forget entries ``index`` and above (index > 0): what is appended next replaces them, in memory and on disk.

    ``last_term`` is not known then until the next append, unless the entry before is in memory; else it is -1.
    """
    state = log.state[0]
    if index > int(state["last_index"]):
        return
    last = index - 1
    state["last_index"] = last
    state["memory_first"] = min(int(state["memory_first"]), index)
    state["released"] = min(int(state["released"]), last)
    state["durable_index"] = min(int(state["durable_index"]), last)
    state["first_index"] = min(int(state["first_index"]), index)
    in_memory = last >= int(state["memory_first"])
    state["last_term"] = int(log.places[last % len(log.places)]["term"]) if in_memory else -1
    end = int(state["landmark_end"])
    while end > int(state["landmark_first"]) and int(log.landmarks[(end - 1) % len(log.landmarks)]["index"]) >= index:
        end -= 1
    state["landmark_end"] = end


@kernel
def release(log: Any, index: int) -> None:
    """Entries up to ``index`` may leave memory once they are durable; they stay until their room is needed."""
    state = log.state[0]
    state["released"] = max(int(state["released"]), min(index, int(state["last_index"])))


@kernel
def payload_of(log: Any, index: int) -> int:
    """Find an entry in memory: its payload is ``ring[found_at : found_at + found_bytes]``, its term ``found_term``.

    It stays there until the next append. Returns 0, NOT_IN_MEMORY, COMPACTED, or NO_ENTRY.
    """
    state = log.state[0]
    if index > int(state["last_index"]):
        return NO_ENTRY
    if index < int(state["first_index"]):
        return COMPACTED
    if index < int(state["memory_first"]):
        return NOT_IN_MEMORY
    place = log.places[index % len(log.places)]
    state["found_at"] = int(place["position"]) % int(state["ring_bytes"]) + RECORD_BYTES
    state["found_bytes"] = int(place["bytes"])
    state["found_term"] = int(place["term"])
    return 0
