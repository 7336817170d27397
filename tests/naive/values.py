"""A value's bytes: per stretch of 256 the fresh bytes, then the zero ones."""

from tests.naive.rng import MASK, content, signed, splitmix64

GOLDEN = 0x9E3779B97F4A7C15


def value(seed_key: int, index: int, size: int, compressibility: float) -> bytes:
    """The ``index``-th value of a stream, ``size`` bytes long."""
    seed = signed(next(splitmix64((seed_key + ~index * GOLDEN) & MASK)))
    fresh_of_256 = 256 - round(256 * compressibility)
    if fresh_of_256 == 256:
        return content(seed, size)
    data = b""
    for position in range(0, size, 256):
        stretch = min(256, size - position)
        fresh = -(-stretch * fresh_of_256 // 256)
        data += content(seed + position, fresh) + bytes(stretch - fresh)
    return data
