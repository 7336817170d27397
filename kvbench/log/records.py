"""The log's form on disk, its state in memory, and what can be wrong with either.

A *segment* is a file of zeros that fills with records, each a RECORD and its payload, padded to a multiple of 8 bytes
(at least one byte of padding, which is never zero). The first record of a segment is its SEGMENT_HEADER. A record never
spans segments: the rest of a segment stays zeros.

A *position* counts bytes through all segments, as if they were one file, from the first segment's begin: a segment's
begin plus the offset in it. Positions only grow, also when entries are replaced by others of lower index.
"""

from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FORMAT = 1
"""Version of everything in a member's folder. A higher one is refused."""
SECTOR_BYTES = 512
"""What a disk writes as a whole: after a loss of power a sector is as it was before or as it was to be."""
ALIGNMENT = 8
PAD = 0xA5
SPARSE = 1 << 31
"""Bit of ``RECORD.bytes``: some whole sector within the record has no more than one bit set, so that finding it all
zeros does not show that it was never written."""
PAYLOAD_BYTES_MAX = SPARSE - 1

RECORD = np.dtype(
    [
        ("checksum", np.uint32),  # of the rest of this header; its seed says where in which log it belongs
        ("content_checksum", np.uint32),  # of payload and padding; seed: the checksum of the record before
        ("bytes", np.uint32),  # of the payload; SPARSE
        ("unsynced", np.uint32),  # how much of the log before it was not known to be durable, in units of 8 bytes
        ("index", np.int64),  # 0: a segment's header
        ("term", np.int64),
    ],
    align=True,
)
"""Header of a record. Both checksums are CRC32C, and together they cover every byte.

``checksum`` is seeded with the segment's seed (``record.segment_seed``) and the offset, so bytes that look like a
record but were not written here as one do not pass. ``content_checksum`` chains: a record fits behind one record only.
``unsynced`` tells recovery what must be whole: all that was durable when a later record was made.
"""
RECORD_BYTES = 32

SEGMENT_HEADER = np.dtype(
    [
        ("format", np.uint32),
        ("previous_checksum", np.uint32),  # of the last record of the segment before
        ("cluster", np.int64),
        ("member", np.int64),
        ("number", np.int64),
        ("first_index", np.int64),  # of the entry that was to come next
        ("begin", np.int64),  # position of the segment's first byte
        ("segment_bytes", np.int64),  # size of the file
        ("base_term", np.int64),  # not 0: the log begins anew here, behind a snapshot whose last entry had this term
    ],
    align=True,
)
"""Payload of a segment's first record, whose content checksum is seeded with 0."""
SEGMENT_HEADER_BYTES = 64
SEGMENT_START = 104
"""Offset of a segment's first entry: RECORD, SEGMENT_HEADER, padding."""


class LogCode(IntEnum):
    """Why an entry cannot be added or found."""

    NO_ROOM = -1200
    """Memory is full of entries that are not durable or not released, or a table is full."""
    NOT_IN_MEMORY = -1201
    """The entry is on disk only: ``find_on_disk``."""
    COMPACTED = -1202
    """The entry is older than the log."""
    NO_ENTRY = -1203
    """There is no such entry (yet)."""
    OUT_OF_ORDER = -1204
    """Not the index behind the last one."""


NO_ROOM, NOT_IN_MEMORY, COMPACTED, NO_ENTRY, OUT_OF_ORDER = (int(code) for code in LogCode)


class LogDamage(IntEnum):
    """What is wrong with bytes from a disk."""

    BLANK = -1220
    """No damage yet: a header of zeros, where a record could be. What is behind decides."""
    INCOMPLETE = -1221
    """The file ends within the record."""
    BAD_HEADER = -1222
    """A record's header does not fit its checksum."""
    BAD_CONTENT = -1223
    """A record's payload does not fit its checksum, or the record does not fit behind the one before."""
    TORN = -1224
    """Not whole, as an unfinished write leaves it, and nothing shows that it was ever durable: may be cut off."""
    DURABLE_TORN = -1225
    """Not whole, as an unfinished write would leave it, but it had been durable."""
    STRAY_BITS = -1226
    """Zeros where the log ends, and behind them bits that no unfinished write of records leaves there."""
    BAD_INDEX = -1227
    """A whole record with an index that cannot follow."""
    FOREIGN = -1228
    """It belongs to another cluster or another member."""
    NEWER_FORMAT = -1229
    """Written by a later version of this program."""
    WRONG_NUMBER = -1230
    """A segment under another one's name."""
    BROKEN_CHAIN = -1231
    """A segment that does not begin where the one before ends: something between them is missing."""
    GAP = -1232
    """Entries are missing between the snapshot and the log."""
    BAD_LENGTH = -1233
    """A file of a size that it is never given."""
    LOST_END = -1234
    """A log that ends, as if it had never been longer, before what its mark knows to have been durable."""


(
    BLANK,
    INCOMPLETE,
    BAD_HEADER,
    BAD_CONTENT,
    TORN,
    DURABLE_TORN,
    STRAY_BITS,
    BAD_INDEX,
    FOREIGN,
    NEWER_FORMAT,
    WRONG_NUMBER,
    BROKEN_CHAIN,
    GAP,
    BAD_LENGTH,
    LOST_END,
) = (int(code) for code in LogDamage)

ENTRY_PLACE = np.dtype([("position", np.int64), ("bytes", np.int64), ("term", np.int64)], align=True)
"""An entry in memory: its record's position, and its payload's length."""

SEGMENT = np.dtype(
    [
        ("begin", np.int64),  # position of the file's first byte
        ("end", np.int64),  # position behind its last record; of the newest segment: see LOG.position
        ("bytes", np.int64),  # size of the file
        ("first_index", np.int64),  # of the entry that was to come when it began
        ("seed", np.int64),
    ],
    align=True,
)
"""A segment; segment n lies at n % capacity."""

LANDMARK = np.dtype(
    [
        ("index", np.int64),
        ("number", np.int64),  # segment
        ("offset", np.int64),
        ("previous_checksum", np.int64),  # of the record before, which seeds this one's content checksum
    ],
    align=True,
)
"""Where on disk an entry's record is. The first entry of each segment has one, and one every ``landmark_bytes``."""

LOG = np.dtype(
    [
        ("cluster", np.int64),
        ("member", np.int64),
        ("segment_bytes", np.int64),  # of new segments
        ("ring_bytes", np.int64),
        ("record_bytes_max", np.int64),
        ("landmark_bytes", np.int64),
        ("first_index", np.int64),  # of the oldest entry that the log has (last_index + 1: none)
        ("last_index", np.int64),
        ("last_term", np.int64),
        ("memory_first", np.int64),  # entries memory_first .. last_index are in memory
        ("released", np.int64),  # entries up to this index may leave memory once they are durable
        ("durable_index", np.int64),  # the last entry that, with all before it, is durable
        ("durable_term", np.int64),
        ("position", np.int64),  # where the next record goes
        ("handed", np.int64),  # ``next_write`` gave out everything before
        ("synced", np.int64),  # everything before is durable
        ("checksum", np.int64),  # of the last record
        ("lap_end", np.int64),  # end of the last record that reaches the end of the ring
        ("segment_number", np.int64),  # the newest segment, 0: none yet
        ("segment_first", np.int64),  # the oldest segment
        ("handed_number", np.int64),  # the segment that ``handed`` is in
        ("ready_number", np.int64),  # files up to this number exist
        ("asked_number", np.int64),  # files up to this number were asked for
        ("landmark_first", np.int64),  # counts; landmark k lies at k % capacity
        ("landmark_end", np.int64),
        # what ``next_write`` found
        ("write_number", np.int64),  # segment
        ("write_offset", np.int64),
        ("write_at", np.int64),  # in the ring
        ("write_end", np.int64),  # position behind it: what to tell ``synced``
        # what ``payload_of``, ``find_on_disk`` found
        ("found_at", np.int64),  # the payload in the ring
        ("found_bytes", np.int64),
        ("found_term", np.int64),
        ("found_number", np.int64),
        ("found_offset", np.int64),
        ("found_checksum", np.int64),
        # what ``read_record`` read
        ("record_index", np.int64),  # 0: a segment's header
        ("record_term", np.int64),
        ("record_at", np.int64),  # the payload in the buffer given
        ("record_bytes", np.int64),
        ("record_sparse", np.int64),  # 1: SPARSE
        ("record_checksum", np.int64),
        ("record_unsynced", np.int64),  # how many bytes before it were not known to be durable when it was made
        # recovery
        ("snapshot_index", np.int64),
        ("snapshot_term", np.int64),
        ("snapshot_met", np.int64),  # the term of the log's entry ``snapshot_index``, 0: not met
        ("chained", np.int64),  # 1: ``checksum`` is known
    ],
    align=True,
)
"""Everything about a log that has one value."""


class Log(NamedTuple):
    """A member's log."""

    state: npt.NDArray[np.void]
    """LOG[1]"""
    ring: npt.NDArray[np.uint8]
    """uint8[ring_bytes + record_bytes_max]: the record at position p lies at p % ring_bytes, in one piece."""
    places: npt.NDArray[np.void]
    """ENTRY_PLACE[n]: entry i lies at i % n"""
    segments: npt.NDArray[np.void]
    """SEGMENT[n]"""
    landmarks: npt.NDArray[np.void]
    """LANDMARK[n]"""
    scratch: npt.NDArray[np.uint8]
    """uint8[64]"""


def new_log(
    cluster: int,
    member: int,
    *,
    segment_bytes: int = 64 << 20,
    ring_bytes: int = 32 << 20,
    payload_bytes_max: int = 2 << 20,
    entries: int = 1 << 18,
    segments: int = 1 << 13,
    landmarks: int = 1 << 20,
    landmark_bytes: int = 64 << 10,
) -> Log:
    """An empty log, its memory untouched, for the ids of a cluster and a member; then begin a recovery, or ``begin``.

    ``segment_bytes``: size of a file, a multiple of 512. ``ring_bytes``: how much of the log's end is kept in memory,
    a multiple of 8. ``entries``, ``segments``, ``landmarks``: how many of each there may be (of entries: in memory).
    Raises ValueError when a record of ``payload_bytes_max`` would not fit.
    """
    record_bytes_max = (RECORD_BYTES + payload_bytes_max + ALIGNMENT) & -ALIGNMENT
    if segment_bytes % SECTOR_BYTES or not SEGMENT_START + record_bytes_max <= segment_bytes <= 1 << 31:
        raise ValueError(f"segments of {segment_bytes} bytes, which must be a multiple of 512, hold no largest record")
    if ring_bytes % ALIGNMENT or ring_bytes < SEGMENT_START + 2 * record_bytes_max:
        raise ValueError(f"{ring_bytes} bytes of memory, which must be a multiple of 8, hold no two largest records")
    state = np.zeros(1, LOG)
    state["cluster"], state["member"] = cluster, member
    state["segment_bytes"], state["ring_bytes"] = segment_bytes, ring_bytes
    state["record_bytes_max"], state["landmark_bytes"] = record_bytes_max, landmark_bytes
    ring = np.zeros(ring_bytes + record_bytes_max, np.uint8)
    return Log(
        state,
        ring,
        np.zeros(entries, ENTRY_PLACE),
        np.zeros(segments, SEGMENT),
        np.zeros(landmarks, LANDMARK),
        np.zeros(64, np.uint8),
    )
