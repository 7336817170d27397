"""A pool of byte buffers for messages that do not lie in one frame: one arena, size classes of powers of two.

A buffer that is given back goes to its class's list and serves the next request of that class. When all are back, the
whole arena is free again for any class. Memory is touched only as far as it is used.
"""

from typing import Any

import numpy as np

from kvbench.jit import kernel
from kvbench.rt.buffer import load_le64, store_le64

SMALLEST_BITS = 12
LARGEST_BITS = 40
POOL = np.dtype(
    [
        ("base", np.int64),  # where in the arena the pool begins
        ("front", np.int64),  # end of the part in use, buffers that were given back included
        ("highest", np.int64),  # the most that ``front`` ever was
        ("live", np.int64),  # buffers in use
        ("held", np.int64),  # and their bytes
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
        head = int(pool["front"])
        if head + room > len(arena):
            return -1
        pool["front"] = head + room
        if head + room > pool["highest"]:
            pool["highest"] = head + room
    pool["live"] += 1
    pool["held"] += room
    return head


@kernel
def give(pool: Any, arena: Any, at: int, size: int) -> None:
    """Take back a buffer that ``take`` gave for the same size."""
    bits = class_of(size)
    store_le64(arena, at, pool["lists"][bits])
    pool["lists"][bits] = at
    pool["live"] -= 1
    pool["held"] -= 1 << bits
    if pool["live"] == 0:
        clear(pool)
