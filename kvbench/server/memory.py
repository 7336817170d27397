"""Memory that is address space until it is used."""

import mmap

import numpy as np
import numpy.typing as npt

MAP_NORESERVE = 0x4000
"""Linux's, on x86-64 and ARM; Python names it since 3.13 only."""


def reserve(size: int) -> npt.NDArray[np.uint8]:
    """uint8[size] of zeros of which only touched pages take memory, however large the machine's memory is.

    Pages are small: with large ones, a few bytes touched here and there would take 2 MiB each. Raises OSError.
    """
    memory = mmap.mmap(-1, max(size, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(memory, np.uint8)[:size]
