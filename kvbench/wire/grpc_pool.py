"""A pool of byte buffers for messages that do not lie in one frame: one arena, size classes of powers of two.

A buffer that is given back goes to its class's list and serves the next request of that class. When all are back, the
whole arena is free again for any class; before that, larger buffers are split when nothing else is left, and with
``marks`` free neighbours are joined, so that buffers of one size, once they are back, are no loss to other sizes.
Memory is touched only as far as it is used.
"""

from typing import Any

import numpy as np

from kvbench.jit import kernel
from kvbench.rt.buffer import load_le64, store_le64

SMALLEST_BITS = 12
LARGEST_BITS = 40
JOINS_SHARE = 16
"""Free neighbours are joined when this part of what was ever in use was given back since the last time."""
POOL = np.dtype(
    [
        ("base", np.int64),  # where in the arena the pool begins
        ("front", np.int64),  # end of the part in use, buffers that were given back included
        ("highest", np.int64),  # the most that ``front`` ever was
        ("live", np.int64),  # buffers in use
        ("held", np.int64),  # and their bytes
        ("given", np.int64),  # bytes given back since free neighbours were last joined
        ("marks", np.int64),  # where in the arena a byte for each smallest buffer is, before ``base``; 0: nowhere
        ("message_bytes_max", np.int64),  # largest message that ``grpc.next_message`` puts together; 0: what fits
        ("lists", np.int64, (LARGEST_BITS,)),  # the first free buffer of each class; -1: none
    ],
    align=True,
)


@kernel
def clear(pool: Any) -> None:
    """All buffers are free."""
    pool["front"] = pool["base"]
    pool["live"] = 0
    pool["held"] = 0
    pool["given"] = 0
    for bits in range(LARGEST_BITS):
        pool["lists"][bits] = -1


@kernel
def class_of(size: int) -> int:
    """The smallest class (a power of two's exponent) that holds ``size`` bytes."""
    bits = SMALLEST_BITS
    while 1 << bits < size:
        bits += 1
    return bits


@kernel
def take(pool: Any, arena: Any, size: int) -> int:
    """A buffer of at least ``size`` bytes: where it begins in the arena, or -1 when there is no room."""
    if size > len(arena):
        return -1
    bits = class_of(size)
    room = 1 << bits
    head = int(pool["lists"][bits])
    if head >= 0:
        pool["lists"][bits] = load_le64(arena, head)
    else:
        head = advance(pool, arena, room)
        if head < 0:
            head = split(pool, arena, bits)
            if head < 0:
                return -1
    pool["live"] += 1
    pool["held"] += room
    return head


@kernel
def advance(pool: Any, arena: Any, room: int) -> int:
    """``room`` bytes that were never used since the pool was empty, or -1."""
    head = int(pool["front"])
    if head + room > len(arena):
        return -1
    pool["front"] = head + room
    if head + room > pool["highest"]:
        pool["highest"] = head + room
    return head


@kernel
def split(pool: Any, arena: Any, bits: int) -> int:
    """A buffer of a class that has none, out of a larger one, for which free neighbours are joined; or -1."""
    head = halve(pool, arena, bits)
    used = int(pool["front"]) - int(pool["base"])
    if head >= 0 or pool["marks"] == 0 or pool["given"] < max(1 << bits, used // JOINS_SHARE):
        return head
    join(pool, arena)
    head = advance(pool, arena, 1 << bits)
    return head if head >= 0 else halve(pool, arena, bits)


@kernel
def halve(pool: Any, arena: Any, bits: int) -> int:
    """The first free buffer of the smallest class from ``bits`` on, cut down to ``bits``; or -1."""
    for wider in range(bits, LARGEST_BITS):
        head = int(pool["lists"][wider])
        if head >= 0:
            pool["lists"][wider] = load_le64(arena, head)
            for half in range(bits, wider):
                keep(pool, arena, head + (1 << half), half)
            return head
    return -1


@kernel
def keep(pool: Any, arena: Any, at: int, bits: int) -> None:
    """Put a free buffer into its class's list."""
    store_le64(arena, at, pool["lists"][bits])
    pool["lists"][bits] = at


@kernel
def join(pool: Any, arena: Any) -> None:
    """Make as large buffers as possible of what is free, and free the arena's end where nothing is in use."""
    marks, base, front = int(pool["marks"]), int(pool["base"]), int(pool["front"])
    for unit in range(front - base >> SMALLEST_BITS):
        arena[marks + unit] = 0
    for bits in range(SMALLEST_BITS, LARGEST_BITS):
        at = int(pool["lists"][bits])
        while at >= 0:
            arena[marks + (at - base >> SMALLEST_BITS)] = bits
            at = load_le64(arena, at)
        pool["lists"][bits] = -1
    pool["given"] = 0
    start = base
    end = base
    while end < front:
        bits = int(arena[marks + (end - base >> SMALLEST_BITS)])
        if bits > 0:
            end += 1 << bits
            continue
        carve(pool, arena, start, end)
        end += 1 << SMALLEST_BITS
        start = end
    pool["front"] = start


@kernel
def carve(pool: Any, arena: Any, start: int, end: int) -> None:
    """Make free buffers of ``arena[start:end]``."""
    bits = LARGEST_BITS - 1
    while start < end:
        while start + (1 << bits) > end:
            bits -= 1
        keep(pool, arena, start, bits)
        start += 1 << bits


@kernel
def give(pool: Any, arena: Any, at: int, size: int) -> None:
    """Take back a buffer that ``take`` gave for the same size."""
    bits = class_of(size)
    keep(pool, arena, at, bits)
    pool["live"] -= 1
    pool["held"] -= 1 << bits
    pool["given"] += 1 << bits
    if pool["live"] == 0:
        clear(pool)
