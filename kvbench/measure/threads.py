"""What the kernel's scheduler did with one thread of this process."""

import os
import threading
from typing import NamedTuple


class SchedStat(NamedTuple):
    """Totals since the thread started (kernel documentation, scheduler/sched-stats)."""

    cpu_ns: int
    run_delay_ns: int
    """Time spent ready to run but waiting for a core."""


def schedstat(tid: int) -> SchedStat:
    """CPU time and run delay of a thread of this process. Raises ProcessLookupError when it has ended."""
    try:
        with open(f"/proc/self/task/{tid}/schedstat", "rb") as file:
            fields = file.read().split()
    except FileNotFoundError as error:
        raise ProcessLookupError(f"thread {tid} of process {os.getpid()} has ended") from error
    return SchedStat(int(fields[0]), int(fields[1]))


def own_tid() -> int:
    """The kernel's number of the calling thread, for ``schedstat``."""
    return threading.get_native_id()
