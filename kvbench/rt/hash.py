"""A hash of bytes for tables in memory: fast, seeded, the same compiled and interpreted. Not for anything that is kept.

Each 8-byte word is mixed in by an xor, a multiplication and a shift; an incomplete last word is read so that it
overlaps the one before. Only the seed stands between an attacker and collisions.
"""

from typing import Any

import numpy as np
from numba.extending import overload

from kvbench.rt import buffer

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_WORD = 0xD6E8FEB86659FD93
_LAST = 0xBF58476D1CE4E5B9
_POSITIVE = (1 << 62) - 1


def hash_bytes(array: Any, at: int, size: int, seed: int) -> int:
    """0 .. 2**62 - 1: the hash of ``size`` bytes of ``array`` from ``at`` on."""
    buffer.check(array, at, size)
    data = bytes(array[at : at + size])
    words = [data[i : i + 8] for i in range(0, size - 7, 8)]
    if size & 7:
        words.append(data[-8:] if size >= 8 else data)
    state = (int(seed) + int(size) * _GOLDEN) & _MASK
    for word in words:
        state = ((state ^ int.from_bytes(word, "little")) * _WORD) & _MASK
        state ^= state >> 32
    state = (state * _LAST) & _MASK
    return (state ^ state >> 29) & _POSITIVE


@overload(hash_bytes, strict=False)
def _overload_hash_bytes(array: Any, at: Any, size: Any, seed: Any) -> Any:
    golden, word_factor, last = np.uint64(_GOLDEN), np.uint64(_WORD), np.uint64(_LAST)
    s8, s29, s32, positive = np.uint64(8), np.uint64(29), np.uint64(32), np.uint64(_POSITIVE)
    load: Any = buffer.load_le64

    def compiled(array, at, size, seed):  # type: ignore[no-untyped-def]
        state = np.uint64(seed) + np.uint64(size) * golden
        position = at
        end = at + size
        while position + 8 <= end:
            state = (state ^ np.uint64(load(array, position))) * word_factor
            state = state ^ (state >> s32)
            position += 8
        if position < end:
            if size >= 8:
                word = np.uint64(load(array, end - 8))
            else:
                word = np.uint64(0)
                for i in range(end - 1, at - 1, -1):
                    word = (word << s8) | np.uint64(array[i])
            state = (state ^ word) * word_factor
            state = state ^ (state >> s32)
        state = state * last
        return np.int64((state ^ (state >> s29)) & positive)

    return compiled
