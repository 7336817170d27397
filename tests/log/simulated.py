"""A log on a simulated disk: files in memory, and writes that may be cut short by a loss of power."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kvbench.log import append, record, writing
from kvbench.log.records import Log, new_log
from kvbench.log.replay import Replayed, Segment, replay

CLUSTER, MEMBER = 0x1234567890, 77


def array_of(data: bytes) -> Any:
    """A uint8 array, never empty."""
    return np.frombuffer(data + bytes(1), np.uint8).copy()


def small_log(segment_bytes: int = 4096, ring_bytes: int = 8192, **changed: int) -> Log:
    """A log with small everything."""
    sizes = {"payload_bytes_max": 2048, "entries": 64, "segments": 64, "landmarks": 256, "landmark_bytes": 1024}
    return new_log(CLUSTER, MEMBER, segment_bytes=segment_bytes, ring_bytes=ring_bytes, **(sizes | changed))


def segments_of(files: dict[int, bytes]) -> list[Segment]:
    """Files as a replay wants them."""

    def reader(content: bytes) -> Callable[[Any, int], None]:
        def read(buf: Any, offset: int) -> None:
            buf[:] = np.frombuffer(content, np.uint8)[offset : offset + len(buf)]

        return read

    return [Segment(number, len(files[number]), reader(files[number])) for number in sorted(files)]


@dataclass
class Disk:
    """Segments by number. ``pending`` holds writes that no sync has followed: (number, offset, bytes)."""

    files: dict[int, bytearray] = field(default_factory=dict)
    pending: list[tuple[int, int, bytes]] = field(default_factory=list)

    def images(self) -> dict[int, bytes]:
        """The files as they are, without what is pending."""
        return {number: bytes(content) for number, content in self.files.items()}


class Writer:
    """Drives a log as a node does: appends, hands spans to the disk, syncs, makes segments."""

    def __init__(self, log: Log | None = None, files: dict[int, bytes] | None = None) -> None:
        """A new log, or with ``files`` one that was recovered from them."""
        self.log = small_log() if log is None else log
        self.disk = Disk({number: bytearray(content) for number, content in (files or {}).items()})
        self.state = self.log.state[0]
        if files is None:
            append.begin(self.log)
        self.make_segments()

    def make_segments(self) -> None:
        while (number := writing.wanted_segment(self.log)) > 0:
            self.disk.files[number] = bytearray(int(self.state["segment_bytes"]))
            writing.segment_ready(self.log, number)

    def append(self, term: int, payload: bytes, room: bool = True) -> int:
        """Append the next entry; with ``room``, syncing and releasing everything when there is none."""
        index = int(self.state["last_index"]) + 1
        code = append.append(self.log, index, term, array_of(payload), 0, len(payload))
        if code != 0 and room:
            self.sync()
            append.release(self.log, int(self.state["last_index"]))
            code = append.append(self.log, index, term, array_of(payload), 0, len(payload))
        self.make_segments()
        return int(code)

    def write(self) -> int:
        """Hand everything to the disk; returns the position that a sync makes durable."""
        end = 0
        while (size := writing.next_write(self.log)) > 0:
            at = int(self.state["write_at"])
            data = bytes(self.log.ring[at : at + size])
            self.disk.pending.append((int(self.state["write_number"]), int(self.state["write_offset"]), data))
            end = int(self.state["write_end"])
        return end

    def sync(self) -> None:
        """Write everything and sync it."""
        end = self.write()
        for number, offset, data in self.disk.pending:
            self.disk.files[number][offset : offset + len(data)] = data
        self.disk.pending.clear()
        writing.synced(self.log, end)


def read_back(log: Log, files: dict[int, bytes], index: int, term: int) -> bytes:
    """The payload of a durable entry, found on disk as a node finds it."""
    assert writing.find_on_disk(log, index) == 0
    state = log.state[0]
    number, offset = int(state["found_number"]), int(state["found_offset"])
    previous, buf = int(state["found_checksum"]), array_of(files[number])
    seed = int(log.segments[number % len(log.segments)]["seed"])
    while True:
        size = record.read_record(log, seed, offset, previous, buf, offset, len(files[number]))
        assert size > 0
        if (int(state["record_index"]), int(state["record_term"])) == (index, term):
            return bytes(buf[int(state["record_at"]) : int(state["record_at"]) + int(state["record_bytes"])])
        previous, offset = int(state["record_checksum"]), offset + size


def recovered(files: dict[int, bytes], log: Log | None = None, **options: Any) -> tuple[Log, Replayed]:
    """A log replayed from files."""
    log = small_log() if log is None else log
    return log, replay(log, segments_of(files), **options)


def contents(log: Log, files: dict[int, bytes], terms: dict[int, int]) -> dict[int, tuple[int, bytes]]:
    """Every entry of a recovered log, read back from disk; ``terms`` by index."""
    first, last = int(log.state[0]["first_index"]), int(log.state[0]["last_index"])
    return {index: (terms[index], read_back(log, files, index, terms[index])) for index in range(first, last + 1)}


def payloads(sizes: Iterable[int]) -> list[bytes]:
    """Payloads of the given sizes that no two bytes of are alike for long."""
    return [bytes((7 * i + 13 * size + (i >> 3)) % 251 + 1 for i in range(size)) for size in sizes]
