"""What goes to the disk next, what has come to be durable, and the segments that this takes."""

from typing import Any

from kvbench.jit import kernel
from kvbench.log.append import open_segment
from kvbench.log.records import COMPACTED, NO_ENTRY, NO_ROOM, SEGMENT_START


@kernel
def next_write(log: Any) -> int:
    """Bytes of the next span to write, given out once, in order; 0: nothing now.

    They are ``ring[write_at : write_at + bytes]`` and go to ``write_offset`` of segment ``write_number``. Once they and
    all spans before are durable, call ``synced(write_end)``; the ring's bytes stay as they are until then. A span lies
    in one segment. When its number is another than the last span's, that one's segment must be synced by itself.
    Nothing is given out for a segment whose file does not exist yet.
    """
    state = log.state[0]
    number = int(state["handed_number"])
    newest = int(state["segment_number"])
    start = int(state["handed"])
    if number < newest and start == int(log.segments[number % len(log.segments)]["end"]):
        number += 1
        start = int(log.segments[number % len(log.segments)]["begin"])
    segment = log.segments[number % len(log.segments)]
    end = int(segment["end"]) if number < newest else int(state["position"])
    if start == end or number > int(state["ready_number"]):
        return 0
    if start < int(state["lap_end"]) < end:
        end = int(state["lap_end"])
    state["handed_number"] = number
    state["handed"] = end
    state["write_number"] = number
    state["write_offset"] = start - int(segment["begin"])
    state["write_at"] = start % int(state["ring_bytes"])
    state["write_end"] = end
    return end - start


@kernel
def synced(log: Any, position: int) -> None:
    """Everything before ``position`` (a ``write_end``) is durable: moves ``durable_index`` and ``durable_term``."""
    state = log.state[0]
    if position <= int(state["synced"]):
        return
    state["synced"] = position
    index = int(state["durable_index"]) + 1
    last = int(state["last_index"])
    while index <= last and int(log.places[index % len(log.places)]["position"]) < position:
        state["durable_index"] = index
        state["durable_term"] = int(log.places[index % len(log.places)]["term"])
        index += 1


@kernel
def wanted_segment(log: Any) -> int:
    """The number of a segment that should be made now, asked for once; 0: none. One is made ahead of need."""
    state = log.state[0]
    asked = int(state["asked_number"])
    if asked > int(state["segment_number"]):
        return 0
    state["asked_number"] = asked + 1
    return asked + 1


@kernel
def segment_ready(log: Any, number: int) -> None:
    """The file of segment ``number`` exists under its name, full of zeros, and is durable."""
    state = log.state[0]
    state["ready_number"] = max(int(state["ready_number"]), number)


@kernel
def segment_failed(log: Any) -> None:
    """Segments asked for and not made since will be asked for again."""
    state = log.state[0]
    state["asked_number"] = int(state["ready_number"])


@kernel
def drop_segment(log: Any, index: int) -> int:
    """The number of the oldest segment if only entries up to ``index`` are in it, else 0.

    ``index`` must be covered by a durable snapshot. The log begins behind the segment then, whose file may be deleted;
    call again for the next one.
    """
    state = log.state[0]
    number = int(state["segment_first"])
    if number >= int(state["segment_number"]):
        return 0
    following = log.segments[(number + 1) % len(log.segments)]
    first_index = int(following["first_index"])
    if first_index > index + 1 or int(following["begin"]) + SEGMENT_START > int(state["synced"]):
        return 0
    state["segment_first"] = number + 1
    state["first_index"] = max(int(state["first_index"]), first_index)
    landmark = int(state["landmark_first"])
    while (
        landmark < int(state["landmark_end"]) and int(log.landmarks[landmark % len(log.landmarks)]["number"]) <= number
    ):
        landmark += 1
    state["landmark_first"] = landmark
    return number


@kernel
def restart(log: Any, index: int, term: int) -> int:
    """Begin anew behind entry ``index``, which a durable snapshot holds; everything else is forgotten.

    Returns 0; or NO_ROOM: not all that was appended is durable yet, or there are too many segments. The old segments
    are given by ``drop_segment(log, index)`` once the new one's header is durable.
    """
    state = log.state[0]
    number = int(state["segment_number"])
    if int(state["synced"]) < int(state["position"]) or number + 1 - int(state["segment_first"]) >= len(log.segments):
        return NO_ROOM
    forget(log, index, term)
    open_segment(log, term)
    return 0


@kernel
def forget(log: Any, index: int, term: int) -> None:
    """No entries, in memory or known on disk; the next one is the one behind ``index``."""
    state = log.state[0]
    state["last_index"] = index
    state["last_term"] = term
    state["first_index"] = index + 1
    state["memory_first"] = index + 1
    state["released"] = index
    state["durable_index"] = index
    state["durable_term"] = term
    state["landmark_first"] = state["landmark_end"]


@kernel
def find_on_disk(log: Any, index: int) -> int:
    """Find an entry that is durable: read segment ``found_number`` from ``found_offset`` on, record by record.

    ``found_checksum`` is the checksum of the record before. The entry is in that segment, at most ``landmark_bytes``
    and a record away, unless entries that were replaced lie between. Records with its index and another term may come
    first. Returns 0, COMPACTED, or NO_ENTRY.
    """
    state = log.state[0]
    low = int(state["landmark_first"])
    high = int(state["landmark_end"])
    if index < int(state["first_index"]):
        return COMPACTED
    if index > int(state["last_index"]) or low == high:
        return NO_ENTRY
    while high - low > 1:
        middle = (low + high) >> 1
        if int(log.landmarks[middle % len(log.landmarks)]["index"]) <= index:
            low = middle
        else:
            high = middle
    landmark = log.landmarks[low % len(log.landmarks)]
    if int(landmark["index"]) > index:
        return COMPACTED
    state["found_number"] = landmark["number"]
    state["found_offset"] = landmark["offset"]
    state["found_checksum"] = landmark["previous_checksum"]
    return 0
