"""A log as its form is described: lists of records, bytes put together by struct, checksums bit by bit."""

import struct
from dataclasses import dataclass, field

from tests.naive.crc32c import crc32c

RECORD_BYTES, SECTOR_BYTES = 32, 512


def padded(payload: bytes) -> bytes:
    """The payload and 1 to 8 bytes of padding."""
    return payload + b"\xa5" * (8 - len(payload) % 8)


def is_sparse(data: bytes, offset: int) -> bool:
    """Whether a whole sector within a record at ``offset``, none of its padding in it, has at most one bit set."""
    end = offset + len(data)
    sectors = [s for s in range(0, end, SECTOR_BYTES) if s > offset and s + SECTOR_BYTES < end]
    return any(int.from_bytes(data[s - offset : s - offset + SECTOR_BYTES], "little").bit_count() <= 1 for s in sectors)


def record(
    seed: int, offset: int, previous: int, unsynced: int, index: int, term: int, payload: bytes
) -> tuple[bytes, int]:
    """A record's bytes and checksum."""
    content = padded(payload)
    known = bytes(8) + struct.pack("<IIqq", len(payload), unsynced // 8, index, term)
    flag = 1 << 31 if is_sparse(known + content, offset) else 0
    header = struct.pack("<IIIqq", crc32c(content, previous), len(payload) | flag, unsynced // 8, index, term)
    checksum = crc32c(header, seed ^ offset)
    return struct.pack("<I", checksum) + header + content, checksum


@dataclass
class NaiveLog:
    """A log that is never short of room, and whose segments always exist."""

    cluster: int
    member: int
    segment_bytes: int
    segments: list[bytes] = field(default_factory=list)
    entries: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    """Term and payload by index."""
    last_index: int = 0
    checksum: int = 0
    synced: int = 0

    def __post_init__(self) -> None:
        self.open_segment()

    @property
    def position(self) -> int:
        return (len(self.segments) - 1) * self.segment_bytes + len(self.segments[-1])

    def add(self, seed: int, index: int, term: int, payload: bytes, previous: int) -> None:
        data, self.checksum = record(
            seed, len(self.segments[-1]), previous, self.position - self.synced, index, term, payload
        )
        self.segments[-1] += data

    def open_segment(self) -> None:
        previous, number, first = self.checksum, len(self.segments) + 1, self.last_index + 1
        self.segments.append(b"")
        begin = (number - 1) * self.segment_bytes
        ids = self.cluster, self.member, number, first, begin, self.segment_bytes
        self.add(0, 0, number, struct.pack("<II7q", 1, previous, *ids, 0), 0)

    def append(self, term: int, payload: bytes) -> None:
        if len(self.segments[-1]) + RECORD_BYTES + len(padded(payload)) > self.segment_bytes:
            self.open_segment()
        self.last_index += 1
        seed = crc32c(struct.pack("<qqq", self.cluster, self.member, len(self.segments)))
        self.add(seed, self.last_index, term, payload, self.checksum)
        self.entries[self.last_index] = term, payload

    def truncate(self, index: int) -> None:
        self.entries = {i: entry for i, entry in self.entries.items() if i < index}
        self.last_index = min(self.last_index, index - 1)

    def sync(self) -> None:
        self.synced = self.position


def read(segments: dict[int, bytes], cluster: int, member: int) -> dict[int, tuple[int, bytes]]:
    """Term and payload by index of all records up to the first that is not whole, in files that were kept from 1 on."""
    entries: dict[int, tuple[int, bytes]] = {}
    previous = 0
    for number in sorted(segments):
        data, offset = segments[number], 0
        seed = crc32c(struct.pack("<qqq", cluster, member, number))
        while True:
            header = data[offset : offset + RECORD_BYTES]
            if len(header) < RECORD_BYTES or not any(header):
                break
            checksum, content_checksum, flagged, _, index, term = struct.unpack("<IIIIqq", header)
            size = flagged & (1 << 31) - 1
            content = data[offset + RECORD_BYTES : offset + RECORD_BYTES + len(padded(bytes(min(size, 1 << 16))))]
            chained = 0 if offset == 0 else previous
            if checksum != crc32c(header[4:], (seed if offset else 0) ^ offset) or content_checksum != crc32c(
                content, chained
            ):
                return entries
            if offset == 0 and struct.unpack_from("<I", content, 4)[0] != previous:
                return entries
            if offset:
                entries = {i: entry for i, entry in entries.items() if i < index} | {index: (term, content[:size])}
            previous, offset = checksum, offset + RECORD_BYTES + len(content)
        if offset == 0:
            break
    return entries
