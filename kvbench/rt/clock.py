"""The two clocks: monotonic for everything measured, wall only to label it."""

from typing import Any

import numpy as np

from kvbench.jit import kernel
from kvbench.rt import libc
from kvbench.rt.buffer import load_le64

CLOCK_REALTIME = 0
CLOCK_MONOTONIC = 1


@kernel
def read(scratch: Any, clock: int) -> int:
    """Nanoseconds of a clock; ``scratch`` is a uint8 array of at least 16 bytes that the call overwrites."""
    libc.clock_gettime(clock, libc.address(scratch, 0))
    return load_le64(scratch, 0) * 1_000_000_000 + load_le64(scratch, 8)


@kernel
def monotonic_ns(scratch: Any) -> int:
    """CLOCK_MONOTONIC in nanoseconds, the clock of time.monotonic_ns."""
    return read(scratch, CLOCK_MONOTONIC)


def new_scratch() -> Any:
    """A buffer for ``read``."""
    return np.zeros(16, np.uint8)
