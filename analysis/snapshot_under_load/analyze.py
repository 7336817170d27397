"""What writing a snapshot does to the requests meanwhile, second by second, from the results of one study.

    python analysis/snapshot_under_load/analyze.py results/snapshot_under_load/DATE

Prints for each run how many snapshots its members finished, the median and the worst of the measured phase's whole
seconds, and, with ``--seconds``, all of them.
"""

import sys
from itertools import pairwise
from pathlib import Path

import pandas as pd

from kvbench.artifact.errors import ArtifactError
from kvbench.artifact.reader import Artifact, read, read_result

PHASE = "measure"
SNAPSHOTS = "kvbench_snapshots_total"
SECOND_NS = 1_000_000_000


def seconds_of(run: Artifact) -> pd.Series:
    """Successes in each whole second of the measured phase, by second."""
    rows = run.intervals[run.intervals["phase"] == PHASE]
    whole = run.phases[PHASE].duration_ns // SECOND_NS
    by_second = rows.groupby("second")["completed"].sum()
    return by_second.reindex(range(whole), fill_value=0)


def snapshots_of(run: Artifact) -> dict[str, list[float]]:
    """Seconds since the measured phase began after which each member was first seen with one more snapshot."""
    start_ns = run.phases[PHASE].start_ns
    found: dict[str, list[float]] = {}
    for member, rows in run.resources.groupby("member"):
        samples = zip(rows["t_ns"], rows["counters"], strict=True)
        counts = [(t_ns, counters.get(SNAPSHOTS)) for t_ns, counters in samples]
        known = [(t_ns, count) for t_ns, count in counts if count is not None]
        if known:
            rises = [t_ns for (_, before), (t_ns, after) in pairwise(known) if after > before]
            found[str(member)] = [(t_ns - start_ns) / SECOND_NS for t_ns in rises]
    return found


def line_of(run: Artifact) -> dict[str, object]:
    """The run's row in the table."""
    seconds = seconds_of(run)
    median, worst = float(seconds.median()), int(seconds.min())
    inside = {name: [at for at in times if 0 <= at <= len(seconds)] for name, times in snapshots_of(run).items()}
    return {
        "seconds": len(seconds),
        "snapshots in them": sum(len(times) for times in inside.values()),
        "finished at s": ", ".join(f"{name} {at:.0f}" for name, times in inside.items() for at in times),
        "median": round(median),
        "worst": worst,
        "worst second": int(seconds.to_numpy().argmin()),
        "worst / median": round(worst / median, 2) if median else 0.0,
        "without a success": int((seconds == 0).sum()),
    }


def main(arguments: list[str]) -> int:
    """Print the table. Returns the exit code."""
    folders = [one for one in arguments if one != "--seconds"]
    if len(folders) != 1:
        print("usage: analyze.py [--seconds] FOLDER-OF-RESULTS", file=sys.stderr)
        return 2
    try:
        root = Path(folders[0])
        names = [str(run["artifact"]) for run in read_result(root).summary["runs"]]
        runs = {name: read(root / name) for name in names}
    except ArtifactError as error:
        print(f"{error.what}\n  {error.remedy}", file=sys.stderr)
        return 2
    print(pd.DataFrame({name: line_of(run) for name, run in runs.items()}).to_string())
    if "--seconds" in arguments:
        print(pd.DataFrame({name: seconds_of(run) for name, run in runs.items()}).to_string())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
