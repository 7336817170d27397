"""The type of the fixture that starts targets."""

from collections.abc import Callable

from kvbench.targets.running import RunningTarget

Start = Callable[[str], RunningTarget]
"""Takes a target's text; the fixture stops what it returns."""
