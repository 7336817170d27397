"""The kernel's clocks are Python's."""

import time

from kvbench.rt import clock


def test_monotonic_is_pythons() -> None:
    scratch = clock.new_scratch()
    for _ in range(100):
        before = time.monotonic_ns()
        now = clock.monotonic_ns(scratch)
        assert before <= now <= time.monotonic_ns()


def test_wall_clock_is_pythons() -> None:
    scratch = clock.new_scratch()
    before = time.clock_gettime_ns(time.CLOCK_REALTIME)
    now = clock.read(scratch, clock.CLOCK_REALTIME)
    assert before <= now <= time.clock_gettime_ns(time.CLOCK_REALTIME)
