"""Context switches of a process, all its threads together."""

import os

import psutil

Switches = tuple[int, int]
"""(voluntary, involuntary)"""


class ThreadSwitches:
    """What the threads of one process have counted since each began. The sum never falls when a thread ends.

    /proc/PID/status counts the leading thread only, which in etcd and in a JVM does next to nothing. Nothing tells of
    a thread that came and went between two readings.
    """

    def __init__(self, pid: int) -> None:
        self._folder = f"/proc/{pid}/task"
        self._pid = pid
        self._last: dict[int, Switches] = {}
        self._ended = (0, 0)

    def read(self) -> Switches:
        """The sum so far. Raises psutil.NoSuchProcess, or psutil.AccessDenied for a process that may not be seen."""
        try:
            numbers = [int(name) for name in os.listdir(self._folder)]
        except PermissionError as error:
            raise psutil.AccessDenied(self._pid) from error
        except OSError as error:
            raise psutil.NoSuchProcess(self._pid) from error
        now = {number: found for number in numbers if (found := self._of_thread(number)) is not None}
        for number, last in self._last.items():
            found = now.get(number, (0, 0))
            # A number that counts less than before was given to another thread.
            if found[0] < last[0] or found[1] < last[1]:
                self._ended = _added(self._ended, last)
        self._last = now
        return _added(self._ended, *now.values())

    def _of_thread(self, number: int) -> Switches | None:
        """proc(5): the last two lines of /proc/PID/task/TID/status; None when the thread has ended."""
        try:
            with open(f"{self._folder}/{number}/status", "rb") as file:
                text = file.read()
        except OSError:
            return None
        found = text[text.rfind(b"\nvoluntary_ctxt_switches:") :].split()
        return (int(found[1]), int(found[3])) if len(found) >= 4 else None


def _added(*parts: Switches) -> Switches:
    return sum(part[0] for part in parts), sum(part[1] for part in parts)
