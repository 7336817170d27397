"""Counter-based pseudo-random numbers: pure functions of a key and a counter, with no state to carry.

The mixer is SplitMix64's finaliser (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
The arithmetic wraps in 64 bits; everything outside sees int64 and float64 only.
"""

import struct
from typing import Any

import numpy as np
from numba.extending import overload

from kvbench.jit import kernel
from kvbench.rt import buffer

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB
_POSITIVE = (1 << 63) - 1
_MANTISSA = (1 << 53) - 1
_UNIT = 1.0 / 9007199254740992.0


def mix(key: int, counter: int) -> int:
    """The ``counter``-th 64 random bits of the stream ``key``, as an int64."""
    z = (int(key) + (int(counter) + 1) * _GOLDEN) & _MASK
    z = ((z ^ (z >> 30)) * _MIX_1) & _MASK
    z = ((z ^ (z >> 27)) * _MIX_2) & _MASK
    z ^= z >> 31
    return z - (1 << 64) if z >> 63 else z


@overload(mix, strict=False)
def _overload_mix(key: Any, counter: Any) -> Any:
    golden, mix_1, mix_2 = np.uint64(_GOLDEN), np.uint64(_MIX_1), np.uint64(_MIX_2)
    s1, s27, s30, s31 = np.uint64(1), np.uint64(27), np.uint64(30), np.uint64(31)

    def compiled(key, counter):  # type: ignore[no-untyped-def]
        z = np.uint64(key) + (np.uint64(counter) + s1) * golden
        z = (z ^ (z >> s30)) * mix_1
        z = (z ^ (z >> s27)) * mix_2
        return np.int64(z ^ (z >> s31))

    return compiled


def fill(target: Any, at: int, size: int, seed: int) -> None:
    """Write ``size`` pseudo-random bytes, a function of ``seed``, to ``target[at:]``.

    Word i is seed + i * golden through a multiply between two shift-xors: weaker than ``mix`` and twice as fast, meant
    for content that must not compress, with a ``seed`` that is itself a result of ``mix``.
    """
    words = []
    state = int(seed) & _MASK
    for _ in range((size + 7) >> 3):
        z = ((state ^ (state >> 32)) * _MIX_1) & _MASK
        words.append(z ^ (z >> 29))
        state = (state + _GOLDEN) & _MASK
    target[at : at + size] = np.frombuffer(struct.pack(f"<{len(words)}Q", *words)[:size], np.uint8)


@overload(fill, strict=False)
def _overload_fill(target: Any, at: Any, size: Any, seed: Any) -> Any:
    golden, multiplier = np.uint64(_GOLDEN), np.uint64(_MIX_1)
    s29, s32, s8, byte = np.uint64(29), np.uint64(32), np.uint64(8), np.uint64(255)
    store: Any = buffer.store_le64

    def compiled(target, at, size, seed):  # type: ignore[no-untyped-def]
        state = np.uint64(seed)
        words = size >> 3
        for word in range(words):
            z = state + np.uint64(word) * golden
            z = (z ^ (z >> s32)) * multiplier
            store(target, at + word * 8, np.int64(z ^ (z >> s29)))
        z = state + np.uint64(words) * golden
        z = (z ^ (z >> s32)) * multiplier
        z ^= z >> s29
        for i in range(at + words * 8, at + size):
            target[i] = np.uint8(z & byte)
            z = z >> s8

    return compiled


@kernel
def derive(seed: int, stream: int) -> int:
    """The key (int64 >= 0) of an independent stream of numbers, by seed and stream number."""
    return mix(mix(seed, stream), stream) & _POSITIVE


@kernel
def integer(key: int, counter: int) -> int:
    """int64 in 0 .. 2**63 - 1."""
    return mix(key, counter) & _POSITIVE


@kernel
def unit(key: int, counter: int) -> float:
    """float64 in [0, 1) with 53 random bits."""
    return ((mix(key, counter) >> 11) & _MANTISSA) * _UNIT


@kernel
def below(key: int, counter: int, bound: int) -> int:
    """int64 in 0 .. bound - 1 for 0 < bound < 2**53; bias below bound / 2**53."""
    return int(unit(key, counter) * bound)
