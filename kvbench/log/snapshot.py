"""A snapshot's form: a header, frames of a state's dump, and a trailer that counts them; every byte under a checksum.

Each checksum is seeded with the one before, so frames cannot be missing, doubled or exchanged. What the frames hold is
the store's business.
"""

from typing import Any

import numpy as np

from kvbench.jit import kernel
from kvbench.log.records import BAD_CONTENT, BAD_HEADER, FORMAT, NEWER_FORMAT
from kvbench.rt.buffer import load_le32, load_le64, store_le32, store_le64
from kvbench.rt.crc32c import crc32c

MAGIC = int.from_bytes(b"kvsnap1\n", "little")
HEADER_BYTES = 56
"""Magic, checksum of what follows, format, cluster id, index, term, revision, 8 bytes of zeros."""
FRAME_BYTES = 8
"""Before a frame's payload: checksum of what follows, bytes of the payload (never 0)."""
TRAILER_BYTES = 24
"""A frame header with 0 bytes, then how many frames and how many bytes of payload there were."""

STREAM = np.dtype(
    [
        ("cluster", np.int64),
        ("index", np.int64),  # of the last entry that the state holds
        ("term", np.int64),  # of that entry
        ("revision", np.int64),
        ("checksum", np.int64),  # the last one
        ("frames", np.int64),
        ("payload_bytes", np.int64),
        ("frame_bytes_max", np.int64),  # reading: a longer payload is damage
        ("frame_at", np.int64),  # reading: the frame's payload in the buffer
        ("frame_bytes", np.int64),
        ("finished", np.int64),  # reading: 1 once the trailer was read; nothing follows it
    ],
    align=True,
)
"""A snapshot being written or read."""


def new_stream(frame_bytes_max: int = 1 << 20) -> Any:
    """STREAM[1]"""
    stream = np.zeros(1, STREAM)
    stream["frame_bytes_max"] = frame_bytes_max
    return stream


@kernel
def begin_snapshot(stream: Any, buf: Any, at: int, cluster: int, index: int, term: int, revision: int) -> int:
    """Write a snapshot's header: HEADER_BYTES."""
    record = stream[0]
    store_le64(buf, at, MAGIC)
    store_le32(buf, at + 12, FORMAT)
    store_le64(buf, at + 16, cluster)
    store_le64(buf, at + 24, index)
    store_le64(buf, at + 32, term)
    store_le64(buf, at + 40, revision)
    store_le64(buf, at + 48, 0)
    checksum = crc32c(buf, at + 12, HEADER_BYTES - 12, 0)
    store_le32(buf, at + 8, checksum)
    record["cluster"] = cluster
    record["index"] = index
    record["term"] = term
    record["revision"] = revision
    record["checksum"] = checksum
    record["frames"] = 0
    record["payload_bytes"] = 0
    record["finished"] = 0
    return HEADER_BYTES


@kernel
def seal_frame(stream: Any, buf: Any, at: int, size: int) -> int:
    """Complete the frame at ``at`` whose payload (``size`` > 0 bytes) lies behind its FRAME_BYTES; returns its size."""
    record = stream[0]
    store_le32(buf, at + 4, size)
    record["checksum"] = crc32c(buf, at + 4, size + 4, int(record["checksum"]))
    store_le32(buf, at, int(record["checksum"]))
    record["frames"] = int(record["frames"]) + 1
    record["payload_bytes"] = int(record["payload_bytes"]) + size
    return FRAME_BYTES + size


@kernel
def end_snapshot(stream: Any, buf: Any, at: int) -> int:
    """Write the trailer: TRAILER_BYTES."""
    record = stream[0]
    store_le32(buf, at + 4, 0)
    store_le64(buf, at + 8, int(record["frames"]))
    store_le64(buf, at + 16, int(record["payload_bytes"]))
    record["checksum"] = crc32c(buf, at + 4, TRAILER_BYTES - 4, int(record["checksum"]))
    store_le32(buf, at, int(record["checksum"]))
    record["finished"] = 1
    return TRAILER_BYTES


@kernel
def read_snapshot_header(stream: Any, buf: Any, at: int, end: int) -> int:
    """Read the header at ``at``: HEADER_BYTES, 0 (more bytes are needed), BAD_HEADER, NEWER_FORMAT."""
    if end - at < HEADER_BYTES:
        return 0
    record = stream[0]
    if load_le64(buf, at) != MAGIC:
        return BAD_HEADER
    checksum = crc32c(buf, at + 12, HEADER_BYTES - 12, 0)
    if checksum != load_le32(buf, at + 8):
        return BAD_HEADER
    if load_le32(buf, at + 12) > FORMAT:
        return NEWER_FORMAT
    record["cluster"] = load_le64(buf, at + 16)
    record["index"] = load_le64(buf, at + 24)
    record["term"] = load_le64(buf, at + 32)
    record["revision"] = load_le64(buf, at + 40)
    record["checksum"] = checksum
    record["frames"] = 0
    record["payload_bytes"] = 0
    record["finished"] = 0
    return HEADER_BYTES


@kernel
def read_frame(stream: Any, buf: Any, at: int, end: int) -> int:
    """Read the frame at ``at``: its size, with ``frame_at`` and ``frame_bytes`` set; 0: more bytes are needed.

    The trailer is a frame of 0 bytes that sets ``finished``. Damage: BAD_HEADER (a length that cannot be, a trailer
    that counts otherwise), BAD_CONTENT.
    """
    if end - at < FRAME_BYTES:
        return 0
    record = stream[0]
    payload = load_le32(buf, at + 4)
    if payload > int(record["frame_bytes_max"]):
        return BAD_HEADER
    size = TRAILER_BYTES if payload == 0 else FRAME_BYTES + payload
    if end - at < size:
        return 0
    checksum = crc32c(buf, at + 4, size - 4, int(record["checksum"]))
    if checksum != load_le32(buf, at):
        return BAD_CONTENT
    if payload == 0:
        counted = load_le64(buf, at + 8) == int(record["frames"])
        if not counted or load_le64(buf, at + 16) != int(record["payload_bytes"]):
            return BAD_HEADER
        record["finished"] = 1
    else:
        record["frames"] = int(record["frames"]) + 1
        record["payload_bytes"] = int(record["payload_bytes"]) + payload
    record["checksum"] = checksum
    record["frame_at"] = at + FRAME_BYTES
    record["frame_bytes"] = payload
    return size
