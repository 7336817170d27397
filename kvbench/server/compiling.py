"""Machine code of the server, made once."""

import time
from collections.abc import Callable
from typing import Any

from kvbench.jit import compile_for, is_compiled
from kvbench.server import disk_queue
from kvbench.server.loop import run

GROUP = "server"
COMPILING_S = 3.0
"""What takes longer was compiled, not loaded."""


def compile_server(arguments: tuple[Any, ...], queue: Any, say: Callable[[str], None]) -> float:
    """Have the machine code of loop and disk threads at hand. Returns the seconds that compiling took, 0: loaded."""
    said: list[float] = []

    def report(seconds: float) -> None:
        if seconds > COMPILING_S and (not said or seconds - said[-1] >= 5):
            said.append(seconds)
            say(f"compiling the store's machine code, once: {seconds:.0f} s")

    start = time.monotonic()
    if not is_compiled(run):
        compile_for(run, arguments, GROUP, report)
    if not is_compiled(disk_queue.work):
        compile_for(disk_queue.work, (queue,), GROUP, report)
    spent = time.monotonic() - start
    return spent if said else 0.0
