"""Runs of many seeds: ``python -m kvbench.sim [--first 0] [--count 500] [--jobs 2] [--until-wrong]``.

Prints every seed that proves something wrong, with what, then how many runs met each fault and mechanism. Exit codes:
0 nothing wrong, 1 something wrong, 130 interrupted.
"""

import argparse
import sys
import time
from collections import Counter

from kvbench.sim.records import Met
from kvbench.sim.seeds import outcomes

PROGRESS_S = 2.0


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m kvbench.sim", description="Simulated runs of the built-in store.")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--count", type=int, default=500, help="how many seeds")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--until-wrong", action="store_true", help="end with the first wrong seed")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the seeds asked for. Returns the exit code."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    met: Counter[str] = Counter()
    runs: Counter[str] = Counter()
    done = wrong = 0
    said = begun = time.monotonic()
    try:
        for outcome in outcomes(options.first, options.count, options.jobs):
            done += 1
            met.update(outcome.met)
            runs.update({name: 1 for name, times in outcome.met.items() if times > 0})
            if outcome.faults:
                wrong += 1
                print(outcome, flush=True)
                if options.until_wrong:
                    break
            if time.monotonic() - said > PROGRESS_S:
                said = time.monotonic()
                print(f"{done} of {options.count} seeds, {wrong} wrong", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        print(f"interrupted after {done} seeds, {wrong} wrong", file=sys.stderr)
        return 130
    for kind in Met:
        print(f"{kind.name.lower().replace('_', ' '):24}{met[kind.name]:10} times, in {runs[kind.name]:6} runs")
    print(f"{done} seeds in {time.monotonic() - begun:.0f} s, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
