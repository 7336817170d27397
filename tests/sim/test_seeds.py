"""Many seeds: none proves the store wrong, every fault and mechanism is met, and a seed replays to the same trace."""

import os
import subprocess
import sys
from collections import Counter

import pytest

from kvbench.jit import JIT_ENABLED
from kvbench.sim.records import Met
from kvbench.sim.running import Outcome, Simulator
from kvbench.sim.seeds import outcomes

SEEDS = 500
LEAST = {
    "SNAPSHOT_INSTALL": 150,
    "INSTALL_CRASH": 10,
    "INSTALL_LEADER_CHANGE": 10,
    "INSTALL_FULL_DISK": 50,
    "OLD_READ_ANSWER": 200,
    "WATCH_ACROSS_INSTALL": 40,
}
"""What must be met more than once."""
WHOLE = pytest.mark.slow
"""These run the whole simulator, compiled."""


@pytest.fixture(scope="module")
def seen() -> list[Outcome]:
    """What came of SEEDS seeds."""
    return list(outcomes(0, SEEDS, jobs=2))


@WHOLE
def test_no_seed_proves_the_store_wrong(seen: list[Outcome]) -> None:
    assert [str(outcome) for outcome in seen if outcome.faults] == []


@WHOLE
def test_every_fault_and_mechanism_is_met(seen: list[Outcome], capsys: pytest.CaptureFixture[str]) -> None:
    met: Counter[str] = Counter()
    for outcome in seen:
        met.update(outcome.met)
    with capsys.disabled():
        print(f"\n{len(seen)} seeds met: " + ", ".join(f"{name} {met[name]}" for name in (kind.name for kind in Met)))
    assert [kind.name for kind in Met if met[kind.name] < LEAST.get(kind.name, 1)] == []


@WHOLE
def test_a_seed_replays_to_the_same_trace_here_and_in_another_process(seen: list[Outcome]) -> None:
    simulator = Simulator()
    again = [simulator.run(seed) for seed in (3, 1, 2)]
    assert again == [seen[3], seen[1], seen[2]]
    code = "from kvbench.sim.running import Simulator; print(Simulator().run(2).trace)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert int(printed.stdout) == seen[2].trace


@pytest.mark.skipif(JIT_ENABLED, reason="compiled, the seeds above do this")
def test_two_seeds_interpreted_are_different_runs() -> None:
    simulator = Simulator()
    first, second = simulator.run(0), simulator.run(1)
    assert first.trace != second.trace and first.operations > 0 and not first.faults + second.faults
