"""HdrHistogram's numbering by counting: ranges of values one after another, each doubling twice as coarse."""

from bisect import bisect_right


def lowest_values() -> list[int]:
    """The lowest value of every bucket, in order: 2,048 of width 1, then 1,024 each of width 2, 4, 8, ..."""
    lowest = list(range(2048))
    width = 2
    while len(lowest) < 33 * 1024:
        start = lowest[-1] + width // 2
        lowest += [start + i * width for i in range(1024)]
        width *= 2
    return lowest


LOWEST = lowest_values()


def bucket_of(value: int) -> int:
    """The last bucket whose lowest value is not above ``value``."""
    return bisect_right(LOWEST, value) - 1
