"""Many seeds, in processes of their own: a module by itself, because those import by name what they are to run."""

import multiprocessing
from collections.abc import Iterator
from functools import cache

from kvbench.sim.running import Outcome, Simulator


@cache
def simulator() -> Simulator:
    """This process's simulator."""
    return Simulator()


def run_seed(seed: int) -> Outcome:
    """The outcome of a seed, in this process."""
    return simulator().run(seed)


def outcomes(first: int, count: int, jobs: int) -> Iterator[Outcome]:
    """The outcomes of ``count`` seeds in order, from ``jobs`` processes."""
    seeds = range(first, first + count)
    if jobs == 1:
        yield from map(run_seed, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap(run_seed, seeds, chunksize=4)
