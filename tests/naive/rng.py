"""SplitMix64 as its authors write it: a state that is stepped, one number after another."""

from collections.abc import Iterator

MASK = (1 << 64) - 1


def splitmix64(seed: int) -> Iterator[int]:
    """The generator's numbers, 0 to 2**64 - 1, from a seed."""
    state = seed & MASK
    while True:
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        yield z ^ (z >> 31)


def signed(number: int) -> int:
    """The int64 of the same 64 bits."""
    return number - (1 << 64) if number >= 1 << 63 else number


def content(seed: int, size: int) -> bytes:
    """``size`` bytes of rng.fill: word i is f(seed + i * golden), little-endian."""
    words = b""
    for i in range(size // 8 + 1):
        z = (seed + i * 0x9E3779B97F4A7C15) & MASK
        z = ((z ^ (z >> 32)) * 0xBF58476D1CE4E5B9) & MASK
        words += (z ^ (z >> 29)).to_bytes(8, "little")
    return words[:size]
