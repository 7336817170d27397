"""The bytes of one record."""

from typing import Any

from kvbench.jit import kernel
from kvbench.log.records import (
    ALIGNMENT,
    BAD_CONTENT,
    BAD_HEADER,
    BLANK,
    INCOMPLETE,
    PAD,
    PAYLOAD_BYTES_MAX,
    RECORD_BYTES,
    SECTOR_BYTES,
    SPARSE,
)
from kvbench.rt.buffer import fill, load_le32, load_le64, store_le32, store_le64
from kvbench.rt.crc32c import crc32c

_SIGN = -(1 << 63)


@kernel
def record_size(payload_bytes: int) -> int:
    """Bytes of a record on disk: header, payload, and 1 to 8 bytes of padding."""
    return (RECORD_BYTES + payload_bytes + ALIGNMENT) & -ALIGNMENT


@kernel
def segment_seed(log: Any, number: int) -> int:
    """What the checksums of a segment's record headers are seeded with, before the offset goes in."""
    state = log.state[0]
    store_le64(log.scratch, 0, int(state["cluster"]))
    store_le64(log.scratch, 8, int(state["member"]))
    store_le64(log.scratch, 16, number)
    return crc32c(log.scratch, 0, 24, 0)


@kernel
def has_one_bit(word: int) -> bool:
    """Whether exactly one of 64 bits is set."""
    return word == _SIGN or (word > 0 and word & (word - 1) == 0)


@kernel
def first_sector(offset: int) -> int:
    """The first sector's begin at or behind a record's header, for a record at ``offset`` of its file."""
    return (offset + RECORD_BYTES + SECTOR_BYTES - 1) & -SECTOR_BYTES


@kernel
def is_sparse(buf: Any, at: int, offset: int, size: int) -> bool:
    """Whether some whole sector of a record has at most one bit set; the record is at ``offset`` of its file.

    Its header is there as far as it may be in such a sector: index and term. Sectors with padding have more bits.
    """
    sector = (offset + SECTOR_BYTES) & -SECTOR_BYTES
    while sector + SECTOR_BYTES < offset + size:
        begin = at + sector - offset
        words = 0
        position = begin
        while position < begin + SECTOR_BYTES and words < 2:
            word = load_le64(buf, position)
            if word != 0:
                words += 1 if has_one_bit(word) else 2
            position += 8
        if words < 2:
            return True
        sector += SECTOR_BYTES
    return False


@kernel
def seal(
    buf: Any, at: int, payload_bytes: int, seed: int, offset: int, previous: int, unsynced: int, index: int, term: int
) -> int:
    """Write the header and padding of a record whose payload is in its place already; returns its checksum.

    ``at``: where the record begins in ``buf``; ``offset``: where in its segment, whose seed is ``seed``; ``previous``:
    the checksum of the record before; ``unsynced``: bytes before it that are not known to be durable.
    """
    size = record_size(payload_bytes)
    content = at + RECORD_BYTES
    fill(buf, content + payload_bytes, size - RECORD_BYTES - payload_bytes, PAD)
    store_le32(buf, at + 4, crc32c(buf, content, size - RECORD_BYTES, previous))
    store_le32(buf, at + 12, unsynced // ALIGNMENT)
    store_le64(buf, at + 16, index)
    store_le64(buf, at + 24, term)
    store_le32(buf, at + 8, payload_bytes | (SPARSE if is_sparse(buf, at, offset, size) else 0))
    checksum = crc32c(buf, at + 4, RECORD_BYTES - 4, seed ^ offset)
    store_le32(buf, at, checksum)
    return checksum


@kernel
def is_zero(buf: Any, at: int, end: int) -> bool:
    """Whether bytes ``at`` to ``end`` are all zeros."""
    while at + 8 <= end:
        if load_le64(buf, at) != 0:
            return False
        at += 8
    while at < end:
        if buf[at] != 0:
            return False
        at += 1
    return True


@kernel
def read_header(log: Any, seed: int, offset: int, buf: Any, at: int) -> int:
    """Check the header at ``at`` (all of it is there), and set ``record_*`` from it. Returns 0, BLANK, BAD_HEADER."""
    if is_zero(buf, at, at + RECORD_BYTES):
        return BLANK
    if crc32c(buf, at + 4, RECORD_BYTES - 4, seed ^ offset) != load_le32(buf, at):
        return BAD_HEADER
    state = log.state[0]
    flagged = load_le32(buf, at + 8)
    state["record_sparse"] = flagged // SPARSE
    state["record_bytes"] = flagged & PAYLOAD_BYTES_MAX
    state["record_unsynced"] = load_le32(buf, at + 12) * ALIGNMENT
    state["record_index"] = load_le64(buf, at + 16)
    state["record_term"] = load_le64(buf, at + 24)
    state["record_at"] = at + RECORD_BYTES
    state["record_checksum"] = load_le32(buf, at)
    return 0


@kernel
def read_record(log: Any, seed: int, offset: int, previous: int, buf: Any, at: int, end: int) -> int:
    """Read the record at ``at``: sets ``record_*`` and returns its size.

    ``seed`` is the segment's (0 for the segment's header), ``offset`` the record's in it, ``previous`` the checksum of
    the record before (0 for the segment's header). Negative: BLANK; INCOMPLETE, when ``end`` is within it (``record_*``
    is set if its header is there); BAD_HEADER; BAD_CONTENT (``record_*`` is set).
    """
    if end - at < RECORD_BYTES:
        return BLANK if is_zero(buf, at, end) else INCOMPLETE
    code = read_header(log, seed, offset, buf, at)
    if code < 0:
        return code
    size = record_size(int(log.state[0]["record_bytes"]))
    if size > end - at:
        return INCOMPLETE
    if crc32c(buf, at + RECORD_BYTES, size - RECORD_BYTES, previous) != load_le32(buf, at + 4):
        return BAD_CONTENT
    return size
