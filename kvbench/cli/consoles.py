"""Where tables are printed."""

import sys

from rich.console import Console

WIDTH = 160
"""Columns when standard output is no terminal, which has none of its own: wide enough for every table."""


def stdout() -> Console:
    """A console on standard output."""
    return Console(width=None if sys.stdout.isatty() else WIDTH)
