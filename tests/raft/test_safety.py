"""Thousands of random schedules: loss, repetition, reordering, partitions, crashes, lost writes; no promise broken."""

import pytest

from kvbench.jit import JIT_ENABLED
from kvbench.raft.invariants import Violation
from tests.raft import storm
from tests.raft.storm_world import Outcome, new_storm

SIZES = (3, 5, 3, 2, 3, 5, 3, 1)
WHAT_HAPPENS = ("leaders", "snapshots", "truncations", "reads", "old_terms")


def run(seeds: int, steps: int) -> dict[str, int]:
    """Run schedules; fails with the first seed that breaks a promise. Returns how often things happened."""
    world = new_storm()
    for seed in range(seeds):
        code = storm.run(world, SIZES[seed % len(SIZES)], seed, steps)
        name = Outcome(code).name if code >= 100 else Violation(code).name
        assert code == 0, f"seed {seed}: {name}"
    return {name: int(world.globals[0][name]) for name in WHAT_HAPPENS}


@pytest.mark.slow
@pytest.mark.skipif(not JIT_ENABLED, reason="thousands of schedules take hours interpreted")
def test_promises_hold_whatever_happens() -> None:
    """Also that all of it does happen: else the schedules prove nothing."""
    happened = run(3000, 3000)
    assert min(happened.values()) > 500, happened
    assert run(100, 3000) == run(100, 3000)


@pytest.mark.skipif(JIT_ENABLED, reason="the compiled test does more of it")
def test_promises_hold_interpreted() -> None:
    happened = run(24, 300)
    assert happened["leaders"] > 0
