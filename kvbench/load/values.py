"""Sizes and bytes of values: pure functions of a stream's key and an index.

Every value is fresh pseudo-random bytes. With a compressibility of c, each stretch of 256 bytes ends in a share c of
zero bytes: long enough runs for any general compressor to see, in each of the blocks that a store may compress by
itself. The first 8 bytes of a value of 8 bytes or more are reserved: the load loop writes the send time there, so that
a watcher can tell how old an event is.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kvbench.jit import kernel
from kvbench.load import streams
from kvbench.load.plan import Values
from kvbench.rt import rng
from kvbench.rt.buffer import fill, store_le64

STRETCH_BYTES = 256
STAMP_BYTES = 8
"""Length of the send time at the beginning of a value."""

FIXED, UNIFORM, WEIGHTED = 0, 1, 2
DISTRIBUTIONS = ("fixed", "uniform", "weighted")


class ValueSpace(NamedTuple):
    """What the kernels below need to know of the values."""

    distribution: int
    """FIXED, UNIFORM (from the first size to the last) or WEIGHTED"""
    sizes_bytes: npt.NDArray[np.int64]
    """int64[n]"""
    thresholds: npt.NDArray[np.float64]
    """float64[n]: share of the weights up to and with each size; 1 from the last with weight on"""
    random_bytes: int
    """Pseudo-random bytes in each full stretch of 256; the rest is zero"""
    key: int
    """Key of the random stream of values that belong to no transaction"""


def new_values(values: Values, seed: int) -> ValueSpace:
    """The values of a plan. Raises ValueError when a setting is impossible."""
    _check(values)
    weights = np.array(values.weights or [1.0] * len(values.sizes_bytes), np.float64)
    thresholds = np.cumsum(weights) / weights.sum()
    thresholds[np.flatnonzero(weights)[-1] :] = 1.0
    return ValueSpace(
        distribution=DISTRIBUTIONS.index(values.distribution),
        sizes_bytes=np.array(values.sizes_bytes, np.int64),
        thresholds=thresholds,
        random_bytes=STRETCH_BYTES - round(STRETCH_BYTES * values.compressibility),
        key=rng.derive(seed, streams.VALUES),
    )


def _check(values: Values) -> None:
    sizes, weights, name = values.sizes_bytes, values.weights, values.distribution
    if name not in DISTRIBUTIONS:
        raise ValueError(f"values: unknown distribution {name!r}; use one of {', '.join(DISTRIBUTIONS)}")
    if not sizes or min(sizes) < 0 or max(sizes) >= 1 << 31:
        raise ValueError(f"values: sizes_bytes is {list(sizes)}; it needs sizes from 0 to {(1 << 31) - 1}")
    if name == "fixed" and len(sizes) != 1:
        raise ValueError(f"values: distribution 'fixed' takes one size, not {len(sizes)}")
    if name == "uniform" and (len(sizes) != 2 or sizes[0] > sizes[1]):
        raise ValueError(f"values: distribution 'uniform' takes the least and the most size, not {list(sizes)}")
    if name == "weighted" and len(weights) != len(sizes):
        raise ValueError(f"values: 'weighted' takes a weight per size, not {len(weights)} for {len(sizes)} sizes")
    if weights and not (min(weights) >= 0 and 0 < sum(weights) < float("inf")):
        raise ValueError(f"values: weights are {list(weights)}; none may be negative and one must be above 0")
    if not 0 <= values.compressibility <= 1:
        raise ValueError(f"values: compressibility is {values.compressibility}; it is a share, from 0 to 1")


@kernel
def seed_key(values: Any, member: int) -> int:
    """Key of the random stream of the values that the ``member``-th write of each transaction has."""
    return values.key if member == 0 else rng.derive(values.key, member)


@kernel
def size_of(values: Any, seed_key: int, index: int) -> int:
    """Length in bytes of the ``index``-th value of the stream ``seed_key``."""
    if values.distribution == FIXED:
        return int(values.sizes_bytes[0])
    if values.distribution == UNIFORM:
        least, most = int(values.sizes_bytes[0]), int(values.sizes_bytes[1])
        return least + rng.below(seed_key, index, most - least + 1)
    drawn = rng.unit(seed_key, index)
    position = 0
    while drawn >= values.thresholds[position]:
        position += 1
    return int(values.sizes_bytes[position])


@kernel
def write_value(values: Any, seed_key: int, index: int, payload: Any, at: int) -> int:
    """Write the ``index``-th value of the stream ``seed_key`` (from ``seed_key``) to ``payload[at:]``.

    Returns its length. Content and length come from different numbers of the stream.
    """
    size = size_of(values, seed_key, index)
    content = rng.mix(seed_key, ~index)
    if values.random_bytes == STRETCH_BYTES:
        rng.fill(payload, at, size, content)
        return size
    position = 0
    while position < size:
        stretch = min(size - position, STRETCH_BYTES)
        fresh = (stretch * values.random_bytes + STRETCH_BYTES - 1) // STRETCH_BYTES
        rng.fill(payload, at + position, fresh, content + position)
        fill(payload, at + position + fresh, stretch - fresh, 0)
        position += stretch
    return size


@kernel
def stamp(payload: Any, at: int, now_ns: int) -> None:
    """Write the send time into the first 8 bytes of a value of at least 8 bytes at ``payload[at:]``."""
    store_le64(payload, at, now_ns)
