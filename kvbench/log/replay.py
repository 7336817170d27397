"""Recovery as a whole, without IO: segments' bytes in, a log and what must be cut off out, or ``Damage``.

``server`` replays a real folder, ``sim`` a simulated one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kvbench.log.append import begin
from kvbench.log.damage import Damage
from kvbench.log.record import is_zero, read_record
from kvbench.log.records import BLANK, INCOMPLETE, NO_ROOM, RECORD_BYTES, SEGMENT_HEADER, Log, LogDamage
from kvbench.log.recovery import begin_recovery, end_recovery, recover_records, recover_segment
from kvbench.log.tail import claims_durable, judge
from kvbench.rt.buffer import load_le64

assert SEGMENT_HEADER.fields is not None
BEGIN_AT = SEGMENT_HEADER.fields["begin"][1]
"""Where a segment header's ``begin`` is."""
TOO_SMALL = "the log's tables are too small for what is on disk"
WINDOW_BYTES = 4 << 20
"""So much of a segment is in memory at a time; a whole one only where what recovery stopped at must be judged."""


@dataclass(frozen=True)
class Segment:
    """A segment's file as it was found."""

    number: int
    file_bytes: int
    read: Callable[[Any, int], None]
    """(buf, offset): fills a uint8 array with the file's content from ``offset`` on; zeros behind its end."""


@dataclass(frozen=True)
class Cut:
    """Remains of an unfinished write: bytes from ``offset`` on are to become zeros."""

    number: int
    offset: int


@dataclass(frozen=True)
class Replayed:
    """What came of it."""

    cuts: tuple[Cut, ...]
    behind_until: int
    """0, or: the log ends before what its mark knows to have been durable, as if cut exactly at a record's end. No
    vote and no candidacy before the log reaches this index."""
    lost_bytes: int
    """How much of what had been durable is missing, in bytes of log."""


Scan = Callable[[Any, int, int], int]
"""(buf, at, end): takes up records until one cannot be, and returns the LogDamage: ``recover_records`` of a log."""


def replay(
    log: Log,
    segments: Sequence[Segment],
    *,
    snapshot_index: int = 0,
    snapshot_term: int = 0,
    acknowledged: int = 0,
    marked: int = 0,
    scan: Scan | None = None,
    window_bytes: int = WINDOW_BYTES,
) -> Replayed:
    """Fill ``log`` from its segments, which are in order of their numbers, without a gap.

    ``snapshot_*``: the newest whole snapshot (0: none). ``acknowledged``, ``marked``: the mark's index and position.
    ``scan``: a kernel's loop around ``recover_record`` that does more with each record, else nothing is done with them.
    ``window_bytes``: how much of a segment is read at a time.
    The caller makes the cuts, makes everything that is left durable, and only then uses the log. Raises Damage; and
    ValueError when the log's tables are too small.
    """
    begin_recovery(log, snapshot_index, snapshot_term)
    take = scan or (lambda buf, at, end: int(recover_records(log, buf, at, end)))
    cuts = _Replay(log, segments, np.zeros(window_bytes, np.uint8), take, marked).run()
    state = log.state[0]
    newest, end = int(state["segment_number"]), int(state["position"])
    ready = newest
    for segment in segments:
        if not cuts and segment.number == ready + 1 and segment.file_bytes == int(state["segment_bytes"]):
            ready = segment.number
    if newest == 0:
        if snapshot_index > 0 or (segments and segments[0].number != 1):
            raise Damage("segment", segments[0].number if segments else 1, 0, LogDamage.GAP)
        begin(log)
        state["ready_number"] = state["asked_number"] = ready
    elif end_recovery(log, ready) < 0:
        raise ValueError(TOO_SMALL)
    if end >= marked:
        return Replayed(cuts, 0, 0)
    return Replayed(cuts, max(acknowledged, int(state["last_index"]) + 1), marked - end)


class _Replay:
    """A replay under way."""

    def __init__(self, log: Log, segments: Sequence[Segment], window: Any, scan: Scan, marked: int) -> None:
        self.log, self.segments, self.window, self.scan, self.marked = log, segments, window, scan, marked
        self.state = log.state[0]

    def run(self) -> tuple[Cut, ...]:
        """Take up all segments; returns what to cut."""
        ended = False
        for i, segment in enumerate(self.segments):
            if ended:
                # What is in a segment behind one that was never begun was not durable, or something is wrong.
                if not self.is_blank(segment, 0):
                    return self.cut(i, 0)
                continue
            offset, code = self.take_up(segment)
            if code == LogDamage.BROKEN_CHAIN:
                return self.cut(i, 0, LogDamage.BROKEN_CHAIN)
            is_end = code == BLANK and self.is_blank(segment, offset)
            verdict = BLANK if is_end else self.judge(segment, offset, code)
            if verdict == LogDamage.TORN:
                return self.cut(i, offset)
            if verdict != LogDamage.BLANK:
                raise Damage("segment", segment.number, offset, verdict)
            ended = offset == 0
        return ()

    def take_up(self, segment: Segment) -> tuple[int, int]:
        """Take up a segment's records: the offset where that stopped, and the LogDamage that it stopped with."""
        window, size = self.window, segment.file_bytes
        base, end = 0, min(size, len(window))
        segment.read(window[:end], 0)
        at = recover_segment(self.log, segment.number, window, 0, end, size)
        if at == INCOMPLETE and end < size:
            window, end = self.whole(segment), size
            at = recover_segment(self.log, segment.number, window, 0, end, size)
        if at < 0:
            return 0, int(at)
        while True:
            code = self.scan(window, at, end)
            offset = int(self.state["position"]) - int(self.newest()["begin"])
            at = offset - base
            is_at_border = code == INCOMPLETE or (code == BLANK and end - at < RECORD_BYTES)
            if base + end == size or not is_at_border:
                return offset, code
            if at == 0:
                # A record that is longer than the window.
                window, base, at, end = self.whole(segment), 0, offset, size
                continue
            kept = end - at
            window[:kept] = window[at:end].copy()
            base, at, end = offset, 0, min(size - offset, len(window))
            segment.read(window[kept:end], base + kept)

    def whole(self, segment: Segment) -> Any:
        """All bytes of a segment."""
        buffer = np.zeros(max(segment.file_bytes, 1), np.uint8)
        segment.read(buffer[: segment.file_bytes], 0)
        return buffer

    def is_blank(self, segment: Segment, offset: int) -> bool:
        """Whether a segment has nothing but zeros from ``offset`` on."""
        while offset < segment.file_bytes:
            size = min(segment.file_bytes - offset, len(self.window))
            segment.read(self.window[:size], offset)
            if not is_zero(self.window, 0, size):
                return False
            offset += size
        return True

    def newest(self) -> Any:
        """The SEGMENT that was taken up last."""
        return self.log.segments[int(self.state["segment_number"]) % len(self.log.segments)]

    def judge(self, segment: Segment, offset: int, code: int) -> int:
        """What is at ``offset``, where taking up records stopped with ``code``."""
        if code == NO_ROOM:
            raise ValueError(TOO_SMALL)
        seed = int(self.newest()["seed"]) if offset > 0 else 0
        previous = int(self.state["checksum"]) if offset > 0 else 0
        return int(judge(self.log, seed, previous, self.whole(segment), 0, offset, segment.file_bytes, code))

    def cut(self, i: int, offset: int, otherwise: int = LogDamage.DURABLE_TORN) -> tuple[Cut, ...]:
        """Segment ``i`` from ``offset`` on and all behind it may go, unless it had been durable."""
        first = self.segments[i]
        end = int(self.state["position"])
        if end < self.marked:
            raise Damage("segment", first.number, offset, otherwise)
        cuts: list[Cut] = []
        start = offset
        follows = int(self.newest()["begin"]) + int(self.newest()["bytes"]) if self.state["segment_number"] else 0
        begins = int(self.newest()["begin"]) if offset > 0 else follows
        for segment in self.segments[i:]:
            buffer = self.whole(segment)
            if segment is not first:
                offset = 0
                begins += int(self.state["segment_bytes"])
            if offset == 0 and read_record(self.log, 0, 0, 0, buffer, 0, segment.file_bytes) > 0:
                begins = int(load_le64(buffer, int(self.state["record_at"]) + BEGIN_AT))
            if claims_durable(self.log, segment.number, begins, buffer, 0, offset, segment.file_bytes, end):
                raise Damage("segment", first.number, start, otherwise)
            if not is_zero(buffer, offset, segment.file_bytes):
                cuts.append(Cut(segment.number, offset))
        return tuple(cuts)
