"""HdrHistogram's V2 compressed encoding and its interval log, from sparse counts and back.

Format: HdrHistogram's AbstractHistogram.encodeIntoCompressedByteBuffer and HistogramLogWriter (version 1.3 of the log).
A payload is a 40-byte header and the counts up to the last that is not zero, each a ZigZag LEB128 number of at most 9
bytes (the ninth holds 8 bits), where a negative number stands for that many zeros; deflated by zlib, in base64.
"""

import base64
import re
import struct
import zlib
from dataclasses import dataclass
from urllib.parse import quote, unquote

import numpy as np
import numpy.typing as npt

from kvbench.stats import buckets as bucket_numbers

Int64s = npt.NDArray[np.int64]

ENCODING_COOKIE = 0x1C849303 | 0x10
COMPRESSED_COOKIE = 0x1C849304 | 0x10
OUTER = struct.Struct(">iI")
INNER = struct.Struct(">iIiiqqd")
NUMBER_BYTES_MAX = 9
PHASE_LINE = re.compile(r"#\[Phase: (\S+) (\d+\.\d+)\]$")
LEGEND = '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"\n'
NS_PER_MAX_UNIT = 1e6
"""Interval_Max is given in milliseconds, as HdrHistogram's own writer does for nanoseconds."""


class HlogError(ValueError):
    """A line or payload that is no V2 histogram of this numbering."""


def encode(buckets: Int64s, counts: Int64s) -> str:
    """The base64 text of a histogram. ``buckets`` int64[n] ascending and distinct, ``counts`` int64[n] positive."""
    numbers = _with_zero_runs(buckets, counts)
    body = _leb128(numbers)
    inner = INNER.pack(
        ENCODING_COOKIE,
        len(body),
        0,
        bucket_numbers.SIGNIFICANT_DIGITS,
        bucket_numbers.LOWEST_NS,
        bucket_numbers.HIGHEST_NS,
        1.0,
    )
    deflated = zlib.compress(inner + body)
    return base64.b64encode(OUTER.pack(COMPRESSED_COOKIE, len(deflated)) + deflated).decode("ascii")


def _with_zero_runs(buckets: Int64s, counts: Int64s) -> Int64s:
    """The counts in order with what lies between them: 0 for one empty bucket, -n for n > 1 of them."""
    gaps = np.diff(buckets, prepend=-1) - 1
    numbers = np.empty(2 * len(buckets), dtype=np.int64)
    numbers[0::2] = np.where(gaps > 1, -gaps, 0)
    numbers[1::2] = counts
    present = np.ones(len(numbers), dtype=bool)
    present[0::2] = gaps > 0
    return numbers[present]


def _leb128(numbers: Int64s) -> bytes:
    """Each number as ZigZag LEB128, without a loop over them: a table of 9 bytes each, of which the used are kept."""
    zigzag = ((numbers << 1) ^ (numbers >> 63)).view(np.uint64)
    shifts = np.arange(0, 7 * NUMBER_BYTES_MAX, 7, dtype=np.uint64)
    rest = zigzag[:, None] >> shifts[None, :]
    table = (rest & np.uint64(0x7F)).astype(np.uint8)
    more = np.zeros(table.shape, dtype=bool)
    more[:, :-1] = rest[:, 1:] != 0
    table[more] |= 0x80
    table[:, -1] = (rest[:, -1] & np.uint64(0xFF)).astype(np.uint8)
    used = np.ones(table.shape, dtype=bool)
    used[:, 1:] = more[:, :-1]
    return table[used].tobytes()


def decode(text: str) -> tuple[Int64s, Int64s]:
    """(buckets int64[n] ascending, counts int64[n] positive) of a base64 text. Raises HlogError."""
    try:
        raw = base64.b64decode(text, validate=True)
        cookie, length = OUTER.unpack_from(raw)
        body = zlib.decompress(raw[OUTER.size :])
        header = INNER.unpack_from(body)
    except (struct.error, zlib.error, ValueError) as error:
        raise HlogError(f"not a compressed V2 histogram: {error}") from error
    if cookie & ~0xF0 != COMPRESSED_COOKIE & ~0xF0 or length != len(raw) - OUTER.size:
        raise HlogError("not a compressed V2 histogram")
    cookie, length, offset, digits, lowest, highest, _ = header
    if cookie & ~0xF0 != ENCODING_COOKIE & ~0xF0 or length != len(body) - INNER.size:
        raise HlogError("not a V2 histogram payload")
    numbering = (offset, digits, lowest, highest)
    if numbering != (0, bucket_numbers.SIGNIFICANT_DIGITS, bucket_numbers.LOWEST_NS, bucket_numbers.HIGHEST_NS):
        raise HlogError(f"a histogram of another numbering (offset, digits, lowest, highest = {numbering})")
    return _without_zero_runs(_numbers(np.frombuffer(body, dtype=np.uint8, offset=INNER.size)))


def _numbers(body: npt.NDArray[np.uint8]) -> Int64s:
    """The ZigZag LEB128 numbers of a payload. A number of 9 bytes ends there, whatever its last bit says."""
    ends = body < 0x80
    # Nine bytes mean a count of 2**55 or more, where the ninth byte's top bit would be taken for "more follows".
    stops = np.flatnonzero(ends)
    starts = np.concatenate(([0], stops[:-1] + 1)) if len(stops) else np.zeros(0, dtype=np.int64)
    if len(body) and (len(stops) == 0 or stops[-1] != len(body) - 1 or int((stops - starts).max()) >= 8):
        return _numbers_one_by_one(body.tobytes())
    lengths = stops - starts + 1
    place = np.arange(len(body)) - np.repeat(starts, lengths)
    digits = (body & 0x7F).astype(np.uint64) << (7 * place).astype(np.uint64)
    zigzag = np.add.reduceat(digits, starts) if len(starts) else digits
    return _unzigzag(zigzag)


def _numbers_one_by_one(body: bytes) -> Int64s:
    """The same, byte by byte: for numbers of 9 bytes, and to tell what is wrong with a damaged payload."""
    numbers = []
    position = 0
    while position < len(body):
        value = 0
        for place in range(NUMBER_BYTES_MAX):
            if position == len(body):
                raise HlogError("a payload that ends within a number")
            byte = body[position]
            position += 1
            value |= (byte if place == NUMBER_BYTES_MAX - 1 else byte & 0x7F) << (7 * place)
            if byte < 0x80:
                break
        numbers.append(value)
    return _unzigzag(np.array(numbers, dtype=np.uint64))


def _unzigzag(zigzag: npt.NDArray[np.uint64]) -> Int64s:
    return (zigzag >> np.uint64(1)).astype(np.int64) ^ -(zigzag & np.uint64(1)).astype(np.int64)


def _without_zero_runs(numbers: Int64s) -> tuple[Int64s, Int64s]:
    widths = np.where(numbers < 0, -numbers, 1)
    buckets = np.cumsum(widths) - widths
    filled = numbers > 0
    if len(buckets) and int(buckets[-1] + widths[-1]) > bucket_numbers.BUCKETS:
        raise HlogError("a payload with more counts than its numbering has")
    return buckets[filled], numbers[filled]


@dataclass(frozen=True)
class Interval:
    """One line of a log: a tag, when it began and how long it was (s since StartTime), and its sparse counts."""

    tag: str
    start_s: float
    length_s: float
    buckets: Int64s
    counts: Int64s


def header(kvbench: str, start_wall_s: float, start_text: str) -> str:
    """A log's first lines. Line times are relative to ``start_wall_s`` (seconds since the epoch)."""
    return (
        f"#[Logged with kvbench {kvbench}]\n"
        "#[Histogram log format version 1.3]\n"
        f"#[StartTime: {start_wall_s:.3f} (seconds since epoch), {start_text}]\n"
        f"#[BaseTime: {start_wall_s:.3f} (seconds since epoch)]\n"
        "#[Tags are phase/operation/time; values are in nanoseconds, Interval_Max is in milliseconds]\n" + LEGEND
    )


def phase_line(phase: str, offset_s: float) -> str:
    """A comment that says where a phase begins, in seconds since StartTime: second n of it begins n seconds later."""
    return f"#[Phase: {quote(phase, safe='')} {offset_s:.6f}]\n"


def parse_phase_line(text: str) -> tuple[str, float] | None:
    """(phase, offset in s) of a ``phase_line``; None for any other line."""
    match = PHASE_LINE.match(text)
    return (unquote(match[1]), float(match[2])) if match else None


def line(interval: Interval) -> str:
    """One line of the log. The tag must hold no comma, white space or line break (``tag_of`` makes such)."""
    highest_ns = float(bucket_numbers.highest_of(interval.buckets[-1])) if len(interval.buckets) else 0.0
    return (
        f"Tag={interval.tag},{interval.start_s:.6f},{interval.length_s:.6f},{highest_ns / NS_PER_MAX_UNIT:.3f},"
        f"{encode(interval.buckets, interval.counts)}\n"
    )


def tag_of(phase: str, operation: str, time: str) -> str:
    """phase/operation/time, with what a tag must not hold percent-encoded."""
    return "/".join(quote(part, safe="") for part in (phase, operation, time))


def parts_of(tag: str) -> tuple[str, str, str]:
    """(phase, operation, time) of a tag. Raises HlogError for one of another make."""
    parts = tag.split("/")
    if len(parts) != 3:
        raise HlogError(f"tag {tag!r} is not phase/operation/time")
    return unquote(parts[0]), unquote(parts[1]), unquote(parts[2])


def parse_line(text: str) -> Interval | None:
    """The interval of a line, None for comments and the legend. Raises HlogError."""
    if text.startswith(("#", '"')) or not text.strip():
        return None
    tag = ""
    if text.startswith("Tag="):
        tag, _, text = text[len("Tag=") :].partition(",")
    fields = text.strip().split(",")
    if len(fields) != 4:
        raise HlogError("not 4 fields behind the tag")
    try:
        start_s, length_s = float(fields[0]), float(fields[1])
    except ValueError as error:
        raise HlogError(f"not a time: {error}") from error
    return Interval(tag, start_s, length_s, *decode(fields[3]))
