"""What recovery stopped at: the log's end, the remains of an unfinished write, or damage.

A disk writes sectors of 512 bytes as a whole, so an unfinished write leaves each of its sectors as it was before
(zeros, behind the log's end) or as it was to be. Of the records of such a write some may be whole and others lack
sectors, in any order. A record that lacks a sector is *torn*. It was never durable unless something says otherwise: the
mark, or a record behind it, each of which tells how far the log was durable when it was made.

A single flipped bit is always damage: where a torn record could be told from one only by a sector that is nearly all
zeros anyway, the checksum decides, which one flipped bit alone would explain.
"""

from typing import Any

from kvbench.jit import kernel
from kvbench.log.record import first_sector, has_one_bit, is_zero, read_header, record_size, segment_seed
from kvbench.log.records import (
    ALIGNMENT,
    BAD_CONTENT,
    BAD_HEADER,
    BLANK,
    INCOMPLETE,
    RECORD_BYTES,
    SECTOR_BYTES,
    SPARSE,
    STRAY_BITS,
    TORN,
)
from kvbench.rt.buffer import load_le32, load_le64
from kvbench.rt.crc32c import POLYNOMIAL, crc32c


@kernel
def one_flip_explains(size: int, difference: int) -> bool:
    """Whether one flipped bit in ``size`` bytes changes their CRC32C by ``difference`` (an exclusive or, not 0)."""
    register = POLYNOMIAL
    for _ in range(8 * size):
        if register == difference:
            return True
        register = register >> 1 ^ (POLYNOMIAL if register & 1 else 0)
    return False


@kernel
def judge_header(buf: Any, at: int, offset: int, end: int, seed: int) -> int:
    """A header that does not fit its checksum, all of it within the file: TORN or BAD_HEADER."""
    border = at + SECTOR_BYTES - offset % SECTOR_BYTES
    if border >= at + RECORD_BYTES:
        return BAD_HEADER
    if is_zero(buf, at, border):
        return TORN
    if not is_zero(buf, border, min(border + SECTOR_BYTES, end)):
        return BAD_HEADER
    # The sector's only bit may have been one of the term. More of the header lies in it only if it has more bits.
    if border - at < RECORD_BYTES - 8 or load_le32(buf, at + 8) < SPARSE:
        return TORN
    difference = crc32c(buf, at + 4, RECORD_BYTES - 4, seed ^ offset) ^ load_le32(buf, at)
    return BAD_HEADER if one_flip_explains(RECORD_BYTES - 4, difference) else TORN


@kernel
def judge_content(log: Any, buf: Any, at: int, offset: int, previous: int) -> int:
    """A record with a good header, all of it within the file, and a bad content: TORN or BAD_CONTENT."""
    state = log.state[0]
    size = record_size(int(state["record_bytes"]))
    sector = at + first_sector(offset) - offset
    while sector < at + size and not is_zero(buf, sector, min(sector + SECTOR_BYTES, at + size)):
        sector += SECTOR_BYTES
    if sector >= at + size:
        return BAD_CONTENT
    if int(state["record_sparse"]) == 0:
        return TORN
    content = size - RECORD_BYTES
    difference = crc32c(buf, at + RECORD_BYTES, content, previous) ^ load_le32(buf, at + 4)
    return BAD_CONTENT if one_flip_explains(content, difference) else TORN


@kernel
def judge_blank(buf: Any, at: int, offset: int, end: int) -> int:
    """A header of zeros: BLANK when there are zeros up to the file's end, TORN, or STRAY_BITS."""
    position = at
    while position + 8 <= end and load_le64(buf, position) == 0:
        position += 8
    if is_zero(buf, position, end):
        return BLANK
    lost = at + SECTOR_BYTES - offset % SECTOR_BYTES
    if lost < at + RECORD_BYTES:
        lost += SECTOR_BYTES
    if not is_zero(buf, at, min(lost, end)):
        return STRAY_BITS
    bits = 0
    while position < end and bits < 2:
        byte = int(buf[position])
        if byte != 0:
            bits += 1 if has_one_bit(byte) else 2
        position += 1
    return STRAY_BITS if bits < 2 else TORN


@kernel
def judge(log: Any, seed: int, previous: int, buf: Any, begin: int, at: int, end: int, damage: int) -> int:
    """Judge where a segment's records end: at ``at``, where reading the next one gave ``damage``.

    The file's bytes are ``buf[begin:end]``; ``seed`` and ``previous`` are those of the record expected there (0 for the
    segment's header). Returns BLANK (nothing but zeros), TORN, or what is damaged.
    """
    offset = at - begin
    if damage == BLANK:
        return judge_blank(buf, at, offset, end)
    if damage == BAD_HEADER:
        return judge_header(buf, at, offset, end, seed)
    if damage == BAD_CONTENT:
        return judge_content(log, buf, at, offset, previous)
    if damage == INCOMPLETE:
        segment = log.segments[int(log.state[0]["segment_number"]) % len(log.segments)]
        whole = offset > 0 and end - begin >= int(segment["bytes"])
        return STRAY_BITS if whole else TORN
    return damage


@kernel
def claims_durable(
    log: Any, number: int, segment_begin: int, buf: Any, begin: int, at: int, end: int, position: int
) -> bool:
    """Whether some record from ``at`` on in a segment says that the log was durable beyond ``position``.

    The segment's bytes are ``buf[begin:end]``, and its first byte is at position ``segment_begin``. Records are found
    by their headers' checksums, wherever they are.
    """
    seed = segment_seed(log, number)
    while at + RECORD_BYTES <= end:
        if load_le64(buf, at) != 0:
            offset = at - begin
            if read_header(log, seed if offset > 0 else 0, offset, buf, at) == 0:
                durable = segment_begin + offset - int(log.state[0]["record_unsynced"])
                if durable > position:
                    return True
        at += ALIGNMENT
    return False
