"""Live progress on standard error: bars on a terminal, a plain line every few seconds elsewhere."""

import sys
import time
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table

from kvbench.run.request import Display, PhaseView

PLAIN_EVERY_S = 5.0
REFRESH_PER_S = 4


def milliseconds(ns: float | None) -> str:
    """A time to 3 significant digits in ms; "-" for none."""
    if ns is None:
        return "-"
    ms = ns / 1e6
    return f"{ms:,.0f} ms" if ms >= 100 else f"{ms:.3g} ms"


def clock(seconds: float | None) -> str:
    """Seconds as m:ss; "?" for none."""
    return "?" if seconds is None else f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def describe(view: PhaseView) -> str:
    """A phase in one line."""
    return (
        f"{view.target}  {view.phase}: {view.rate_ops_s:,.0f}/s, response time p50 {milliseconds(view.p50_ns)}"
        f" p99 {milliseconds(view.p99_ns)}, {view.errors:,} errors, {view.in_flight:,} in flight"
    )


class PlainDisplay:
    """Lines, for logs and pipes."""

    def __init__(self, stream: TextIO | None = None, every_s: float = PLAIN_EVERY_S) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._every_s = every_s
        self._last_s = time.monotonic()

    def say(self, line: str) -> None:
        """One line."""
        self._last_s = time.monotonic()
        print(line, file=self._stream, flush=True)

    def update(self, phase: PhaseView) -> None:
        """A line, if the last one is long enough ago."""
        if time.monotonic() - self._last_s >= self._every_s:
            self.say(f"{describe(phase)}, {clock(phase.left_s)} left")

    def phase_done(self, phase: PhaseView) -> None:
        """The phase's totals."""
        self.say(done(phase))


def done(view: PhaseView) -> str:
    """A finished phase in one line."""
    return (
        f"{view.target}  {view.phase}: {view.completed:,} done in {view.elapsed_s:.1f} s, {view.rate_ops_s:,.0f}/s,"
        f" response time p50 {milliseconds(view.p50_ns)} p99 {milliseconds(view.p99_ns)}, {view.errors:,} errors"
    )


class TerminalDisplay:
    """A line with a bar that is drawn anew in place, and lines that stay above it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None

    def say(self, line: str) -> None:
        """One line that stays."""
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def update(self, phase: PhaseView) -> None:
        """Draw the phase."""
        if self._live is None:
            self._live = Live(console=self._console, refresh_per_second=REFRESH_PER_S, transient=True)
            self._live.start()
        grid = Table.grid(padding=(0, 1))
        grid.add_row(
            ProgressBar(total=1.0, completed=phase.share_done, width=24),
            f"{clock(phase.left_s)} left",
            escape(describe(phase)),
        )
        self._live.update(grid)

    def phase_done(self, phase: PhaseView) -> None:
        """Replace the bar by the phase's totals."""
        self.close()
        self.say(done(phase))

    def close(self) -> None:
        """Take the bar away."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def make_display() -> Display:
    """What fits standard error."""
    if sys.stderr.isatty():
        return TerminalDisplay(Console(stderr=True))
    return PlainDisplay()
