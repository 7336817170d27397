"""Which key a request uses and what its bytes are: pure functions of seed, index and the number of keys inserted.

A key is the prefix, a directory and "/" when there are directories, the key's number in decimal, padded with zeros,
and full stops up to the wanted length. So all keys are of one length and sort in the order of their numbers.

Zipfian draws are by rejection-inversion (Hörmann and Derflinger: "Rejection-inversion to generate variates from
monotone discrete distributions", ACM TOMACS 6(3), 1996): a constant number of steps over any number of keys, and exact
for the real one.
"""

import math
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kvbench.jit import kernel
from kvbench.load import streams
from kvbench.load.plan import Keys
from kvbench.rt import rng
from kvbench.rt.buffer import copy, store_le64


class Distribution(IntEnum):
    """How requests choose among the keys."""

    SEQUENTIAL = 0
    UNIFORM = 1
    ZIPFIAN = 2
    LATEST = 3
    HOTSPOT = 4


SEQUENTIAL, UNIFORM, ZIPFIAN, LATEST, HOTSPOT = (int(each) for each in Distribution)

KEYSPACE = np.dtype(
    [
        ("count", np.int64),  # keys that requests choose from
        ("capacity", np.int64),  # keys that can be written: numbers below it fit into the digits
        ("size_bytes", np.int64),
        ("prefix_bytes", np.int64),
        ("parent_bytes", np.int64),  # the prefix up to its last "/", itself not included; 0 without one
        ("digits", np.int64),  # of the number, or of its part within the directory
        ("fanout", np.int64),  # keys per directory; 0: no directories
        ("directory_digits", np.int64),
        ("distribution", np.int64),  # Distribution
        ("key", np.int64),  # key of the random stream
        ("multiplier", np.int64),  # zipfian: rank r is key (r * multiplier + offset) mod count
        ("offset", np.int64),
        ("hot_count", np.int64),
        ("hot_requests", np.float64),
        ("theta", np.float64),
        ("integral_first", np.float64),  # zipfian: integral at 1.5 less the density at 1
        ("integral_last", np.float64),  # zipfian: integral at count + 0.5
        ("sure", np.float64),  # zipfian: a draw no further than this below its rank needs no second look
    ],
    align=True,
)

COUNT_MAX = 1 << 31
"""Most keys: the product of a rank and the multiplier fits into an int64."""
DIGITS = 10
"""Digits of a key's number where its length leaves room for as many; else as few as the count needs."""
DIGITS_MAX = 18
"""Digits that a number of 63 bits is sure to fill: no capacity is larger than 10**18."""


class Keyspace(NamedTuple):
    """What the kernels below need to know of the keys."""

    fields: npt.NDArray[np.void]
    """KEYSPACE[1]"""
    template: npt.NDArray[np.uint8]
    """uint8[size_bytes]: a key with all digits 0"""


def new_keyspace(keys: Keys, seed: int) -> Keyspace:
    """The key space of a plan. Raises ValueError when a setting is impossible or the keys do not fit their length."""
    _check(keys)
    prefix = keys.prefix.encode()
    fields = np.zeros(1, KEYSPACE)
    record = fields[0]
    record["count"] = keys.count
    record["size_bytes"] = keys.size_bytes
    record["prefix_bytes"] = len(prefix)
    record["parent_bytes"] = max(prefix.rfind(b"/"), 0)
    record["fanout"] = keys.fanout
    record["distribution"] = Distribution[keys.distribution.upper()]
    record["key"] = rng.derive(seed, streams.KEYS)
    template = bytearray(prefix)
    room = keys.size_bytes - len(prefix)
    if keys.fanout:
        record["digits"] = len(str(keys.fanout - 1))
        room -= 1 + int(record["digits"])
        record["directory_digits"] = _width(keys, room, (keys.count - 1) // keys.fanout)
        record["capacity"] = min(keys.fanout * 10 ** int(record["directory_digits"]), 10**DIGITS_MAX)
        template += b"0" * int(record["directory_digits"]) + b"/"
    else:
        record["digits"] = _width(keys, room, keys.count - 1)
        record["capacity"] = 10 ** int(record["digits"])
    template += b"0" * int(record["digits"])
    template += b"." * (keys.size_bytes - len(template))
    _set_distribution(record, keys, seed)
    return Keyspace(fields, np.frombuffer(bytes(template), np.uint8).copy())


def _check(keys: Keys) -> None:
    if keys.distribution.upper() not in Distribution.__members__:
        names = ", ".join(each.name.lower() for each in Distribution)
        raise ValueError(f"keys: unknown distribution {keys.distribution!r}; use one of {names}")
    if not 1 <= keys.count <= COUNT_MAX:
        raise ValueError(f"keys: count is {keys.count}; it must be from 1 to {COUNT_MAX}")
    if not 0 <= keys.fanout <= COUNT_MAX:
        raise ValueError(f"keys: fanout is {keys.fanout}; it must be from 0 (no directories) to {COUNT_MAX}")
    if not 0 < keys.theta < math.inf:
        raise ValueError(f"keys: theta is {keys.theta}; it must be above 0")
    for name in ("hot_keys", "hot_requests"):
        if not 0 <= getattr(keys, name) <= 1:
            raise ValueError(f"keys: {name} is {getattr(keys, name)}; it is a share, from 0 to 1")


def _width(keys: Keys, room: int, largest: int) -> int:
    """Digits for numbers up to ``largest`` (and what is inserted later) in ``room`` bytes."""
    needed = len(str(largest))
    if room < needed:
        least = keys.size_bytes + needed - room
        raise ValueError(
            f"keys: {keys.count} keys with the prefix {keys.prefix!r}"
            + (f" and {keys.fanout} per directory" if keys.fanout else "")
            + f" need at least {least} bytes each, size_bytes is {keys.size_bytes}; shorten the prefix or raise it"
        )
    return max(needed, min(room, DIGITS))


def _set_distribution(record: Any, keys: Keys, seed: int) -> None:
    scramble = keys.scramble and keys.distribution == "zipfian"
    record["multiplier"] = _multiplier(keys.count) if scramble else 1
    record["offset"] = rng.derive(seed, streams.SCRAMBLE) % keys.count if scramble else 0
    record["hot_count"] = min(max(round(keys.hot_keys * keys.count), 1), keys.count)
    record["hot_requests"] = keys.hot_requests if record["hot_count"] < keys.count else 1.0
    theta = record["theta"] = keys.theta
    record["integral_first"] = integral(1.5, theta) - 1.0
    record["integral_last"] = integral(keys.count + 0.5, theta)
    record["sure"] = 2.0 - integral_inverse(integral(2.5, theta) - 2.0**-theta, theta)


def _multiplier(count: int) -> int:
    """A number coprime to ``count``, near its golden section so that successive multiples spread evenly."""
    multiplier = max(int(count * 0.6180339887498949), 1)
    while math.gcd(multiplier, count) != 1:
        multiplier += 1
    return multiplier


@kernel
def integral(x: float, theta: float) -> float:
    """Integral of t**-theta from 1 to x, also where theta is close to 1 or is 1."""
    log_x = math.log(x)
    exponent = (1.0 - theta) * log_x
    if abs(exponent) < 1e-8:
        return log_x * (1.0 + exponent * 0.5)
    return log_x * math.expm1(exponent) / exponent


@kernel
def integral_inverse(y: float, theta: float) -> float:
    """The x whose integral is y."""
    scaled = max(y * (1.0 - theta), -1.0 + 1e-16)
    if abs(scaled) < 1e-8:
        return math.exp(y * (1.0 - scaled * 0.5))
    return math.exp(y * math.log1p(scaled) / scaled)


@kernel
def zipfian_rank(keyspace: Any, index: int) -> int:
    """Rank of request ``index``, 0 the most frequent: P(rank) is proportional to (rank + 1)**-theta.

    The first draw is the stream's ``index``-th number; when it is rejected (about one in ten at most), the next ones
    come from a stream of the request's own.
    """
    fields = keyspace.fields[0]
    count, key, theta = int(fields["count"]), int(fields["key"]), float(fields["theta"])
    first, last = float(fields["integral_first"]), float(fields["integral_last"])
    sure = float(fields["sure"])
    drawn = rng.unit(key, index)
    tries = 0
    while True:
        y = last + drawn * (first - last)
        x = integral_inverse(y, theta)
        number = min(max(int(x + 0.5), 1), count)
        if number - x <= sure or y >= integral(number + 0.5, theta) - math.exp(-theta * math.log(number)):
            return number - 1
        tries += 1
        drawn = rng.unit(rng.mix(key, index), tries)


@kernel
def hotspot_key(keyspace: Any, index: int) -> int:
    """A key among the first ``hot_count`` with probability ``hot_requests``, else one of the others."""
    fields = keyspace.fields[0]
    count, hot_count = int(fields["count"]), int(fields["hot_count"])
    hot_requests = float(fields["hot_requests"])
    drawn = rng.unit(int(fields["key"]), index)
    if drawn < hot_requests:
        return min(int(drawn / hot_requests * hot_count), hot_count - 1)
    cold = (drawn - hot_requests) / (1.0 - hot_requests)
    return min(hot_count + int(cold * (count - hot_count)), count - 1)


@kernel
def choose(keyspace: Any, index: int, inserted: int) -> int:
    """The key of request ``index``: 0 .. count - 1, but for "latest", which counts back from the newest key.

    ``inserted`` is the number of keys that exist beyond ``count``; only "latest" looks at it.
    """
    fields = keyspace.fields[0]
    count, distribution = int(fields["count"]), int(fields["distribution"])
    if distribution == UNIFORM:
        return rng.below(int(fields["key"]), index, count)
    if distribution == SEQUENTIAL:
        return index % count
    if distribution == ZIPFIAN:
        rank = zipfian_rank(keyspace, index)
        return (rank * int(fields["multiplier"]) + int(fields["offset"])) % count
    if distribution == LATEST:
        return count + inserted - 1 - zipfian_rank(keyspace, index)
    return hotspot_key(keyspace, index)


@kernel
def eight_digits(number: int) -> int:
    """ASCII of a number below 10**8, eight digits, the first in the lowest byte."""
    pairs = number // 10000 | (number % 10000) << 32
    high = ((pairs * 10486) >> 20) & 0x7F0000007F
    pairs = high | (pairs - high * 100) << 16
    high = ((pairs * 103) >> 10) & 0x000F000F000F000F
    return (high | (pairs - high * 10) << 8) + 0x3030303030303030


@kernel
def write_digits(payload: Any, at: int, width: int, number: int) -> None:
    """Write the last ``width`` decimal digits of ``number`` with leading zeros to ``payload[at:]``."""
    while width >= 8:
        store_le64(payload, at + width - 8, eight_digits(number % 100000000))
        number //= 100000000
        width -= 8
    digits = eight_digits(number % 100000000) >> (8 * (8 - width)) if width > 0 else 0
    for i in range(width):
        payload[at + i] = digits & 0xFF
        digits >>= 8


@kernel
def write_key(keyspace: Any, key_index: int, payload: Any, at: int) -> int:
    """Write the bytes of a key to ``payload[at:]``; returns their number, ``size_bytes``.

    ``key_index`` must be below the key space's ``capacity``: beyond it the leading digits are lost.
    """
    fields = keyspace.fields[0]
    size = int(fields["size_bytes"])
    start = at + int(fields["prefix_bytes"])
    fanout, digits = int(fields["fanout"]), int(fields["digits"])
    copy(payload, at, keyspace.template, 0, size)
    if fanout == 0:
        write_digits(payload, start, digits, key_index)
        return size
    directory_digits = int(fields["directory_digits"])
    directory = key_index // fanout
    write_digits(payload, start, directory_digits, directory)
    write_digits(payload, start + directory_digits + 1, digits, key_index - directory * fanout)
    return size


@kernel
def directory_of(keyspace: Any, key_index: int) -> int:
    """The directory that a key is in; 0 when all keys are directly under the prefix."""
    fanout = int(keyspace.fields[0]["fanout"])
    return key_index // fanout if fanout > 0 else 0


@kernel
def directories(keyspace: Any) -> int:
    """How many directories the first ``count`` keys are in; 0 without directories."""
    fields = keyspace.fields[0]
    fanout = int(fields["fanout"])
    return (int(fields["count"]) + fanout - 1) // fanout if fanout > 0 else 0


@kernel
def write_directory(keyspace: Any, directory: int, payload: Any, at: int, slash: int) -> int:
    """Write the path of a directory to ``payload[at:]``, its trailing "/" too if ``slash`` is 1; returns its length.

    Without directories it is what the prefix has up to its last "/"; nothing (0) when it has none.
    """
    fields = keyspace.fields[0]
    if int(fields["fanout"]) == 0:
        size = int(fields["parent_bytes"])
        if size == 0:
            return 0
        copy(payload, at, keyspace.template, 0, size + slash)
        return size + slash
    prefix_bytes, digits = int(fields["prefix_bytes"]), int(fields["directory_digits"])
    size = prefix_bytes + digits + slash
    copy(payload, at, keyspace.template, 0, size)
    write_digits(payload, at + prefix_bytes, digits, directory)
    return size


@kernel
def write_range_end(keyspace: Any, directory: int, payload: Any, at: int) -> int:
    """Write the first key beyond a directory's keys, its path and "0" (the byte after "/"); returns the length.

    Without directories it is the first key beyond the prefix: its last byte one higher, or one zero byte, etcd's mark
    for the end of all keys, when the prefix is empty.
    """
    fields = keyspace.fields[0]
    if int(fields["fanout"]) == 0:
        size = int(fields["prefix_bytes"])
        if size == 0:
            payload[at] = 0
            return 1
        copy(payload, at, keyspace.template, 0, size)
        payload[at + size - 1] = int(payload[at + size - 1]) + 1
        return size
    size = write_directory(keyspace, directory, payload, at, 1)
    payload[at + size - 1] = 0x30
    return size
