"""Ctrl-C, SIGTERM, a lost terminal: the first ends a run cleanly, the second hurries; servers stop either way."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from kvbench.run.request import ExitCode


class Interruption:
    """Counts requests to stop.

    Outside ``shielded`` one raises KeyboardInterrupt, so that whatever waits is left at once; inside, it is only
    counted and whoever works there looks at ``count``. The third ends the process on the spot, whatever hangs: the
    watchdog (targets.watchdog) then ends the servers.
    """

    LAST = 3

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self.count = 0
        self._shields = 0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Interruption":
        for number in self.SIGNALS:
            # nohup ignores SIGHUP, and means it.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._heard)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _heard(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
        if self.count >= self.LAST:
            os.write(2, b"interrupted three times: ending at once\n")
            os._exit(ExitCode.INTERRUPTED)
        if not self._shields:
            raise KeyboardInterrupt

    @contextmanager
    def shielded(self) -> Iterator[None]:
        """A stretch that must come to its end: a phase, which is told to stop, or cleaning up."""
        self._shields += 1
        try:
            yield
        finally:
            self._shields -= 1
