"""Frames between members, the slow and obvious way."""

import struct

from tests.naive.crc32c import crc32c

HELLO, MESSAGE, FORWARD, FORWARD_REFUSED = 1, 2, 3, 4
LEASE_ASK, LEASE_ANSWER, SNAPSHOT_CHUNK, SNAPSHOT_WANTED = 5, 6, 7, 8

MESSAGE_FIELDS = [
    *("kind", "to", "term", "boot", "index", "log_term", "commit", "reject"),
    *("hint_index", "hint_term", "context", "first", "last", "bytes", "run_count"),
]


def frame(kind: int, sender: int, numbers: list[int], data: bytes = b"") -> bytes:
    """A whole frame."""
    body = struct.pack(f"<{len(numbers)}q", *numbers) + data
    size = struct.pack("<I", 16 + len(body))
    rest = struct.pack("<BBHI", kind, sender, 0, 0) + body
    return size + struct.pack("<I", crc32c(size + rest)) + rest


def message(fields: dict[str, int], sender: int, runs: list[tuple[int, int]], entries: list[bytes]) -> bytes:
    """A MESSAGE frame."""
    numbers = [fields.get(name, 0) for name in MESSAGE_FIELDS[:-1]] + [len(runs)]
    numbers += [number for run in runs for number in run]
    return frame(MESSAGE, sender, numbers, b"".join(struct.pack("<I", len(entry)) + entry for entry in entries))
