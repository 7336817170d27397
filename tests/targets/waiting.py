"""Waiting for what other processes do."""

import time
from collections.abc import Callable
from pathlib import Path

from kvbench.targets.watchdog import start_time


def eventually(condition: Callable[[], bool], patience_s: float = 20.0) -> bool:
    """Whether ``condition`` comes true before patience ends."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def is_gone(pid: int) -> bool:
    """Whether no process, zombies apart, has this pid."""
    return start_time(pid) < 0


def is_stopped(pid: int) -> bool:
    """Whether every thread of a process is stopped; a signal reaches them one after the other."""
    states = [task.read_text().rpartition(")")[2].split()[0] for task in Path(f"/proc/{pid}/task").glob("*/stat")]
    return all(state == "T" for state in states)
