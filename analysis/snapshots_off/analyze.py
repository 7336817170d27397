"""What snapshots=off changes: each store with and without snapshots, run by run, from the results of one study.

    python analysis/snapshots_off/analyze.py results/snapshots_off/DATE

Prints medians over the repeats, and the ratio off / on of runs of the same repeat with its 95 % bootstrap interval.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from kvbench.artifact.errors import ArtifactError
from kvbench.artifact.reader import read_result
from kvbench.report import numbers
from kvbench.stats.comparison import Ratio, paired_ratio

Run = Mapping[str, Any]
OFF = "off"

FIGURES: dict[str, tuple[Callable[[Run], float], Callable[[float], str]]] = {
    "puts/s": (lambda run: float(put(run)["throughput_ops_s"]), numbers.count),
    "p50": (lambda run: float(put(run)["response_time_ns"]["p50"]), numbers.duration),
    "p99": (lambda run: float(put(run)["response_time_ns"]["p99"]), numbers.duration),
    "p99.9": (lambda run: float(put(run)["response_time_ns"]["p999"]), numbers.duration),
    "longest": (lambda run: float(put(run)["response_time_ns"]["max"]), numbers.duration),
    "RSS max": (lambda run: float(run["members"][0]["rss_bytes_max"]), numbers.size),
    "data on disk": (lambda run: float(run["members"][0]["data_bytes"]), numbers.size),
    "written to disk": (lambda run: float(run["members"][0]["disk_write_bytes"]), numbers.size),
    "CPU": (lambda run: float(run["members"][0]["cpu_s"]), lambda seconds: f"{seconds:.1f} s"),
}
"""Figure -> (its value in a run, how it is printed). Of one member: the study starts no others."""


def put(run: Run) -> Mapping[str, Any]:
    """The only operation of the study's workload."""
    operation: Mapping[str, Any] = run["operations"]["put"]
    return operation


def runs_of(folder: Path) -> pd.DataFrame:
    """A row per run: store, snapshots, repeat, keys, seconds without a success, failed puts, and FIGURES as numbers.

    Raises ArtifactError when ``folder`` holds no results.
    """
    rows = []
    for run in read_result(folder).summary["runs"]:
        target = run["target"]
        row = {
            "store": f"{target['kind']} {target['version']}",
            "snapshots": target["snapshots"],
            "repeat": int(run["repeat"]),
            "keys": int(run["client"]["keys_touched"]),
            "zero seconds": int(run["zero_throughput_s"]),
            "failed": sum(put(run)["errors"].values()),
        }
        rows.append({**row, **{name: value(run) for name, (value, _) in FIGURES.items()}})
    # "on" comes before "off", as the question puts it.
    frame = pd.DataFrame(rows).sort_values(["store", "snapshots"], ascending=[True, False], kind="stable")
    return frame.reset_index(drop=True)


def medians(runs: pd.DataFrame) -> pd.DataFrame:
    """Medians over the repeats per store and setting, as printed; keys, zero seconds and failures are summed up."""
    grouped = runs.groupby(["store", "snapshots"], sort=False)
    shown = pd.DataFrame({"runs": grouped.size(), "keys": grouped["keys"].median()})
    for name, (_, printed) in FIGURES.items():
        shown[name] = grouped[name].median().map(printed)
    for name in ("zero seconds", "failed"):
        shown[name] = grouped[name].sum()
    return shown.astype({"keys": int})


def ratios(runs: pd.DataFrame) -> pd.DataFrame:
    """off / on per store and figure, of runs of one repeat; stores without such pairs are left out.

    Memory and disk are compared at equal key counts only: elsewhere their cell says so.
    """
    lines = {}
    for store, of_store in runs.groupby("store", sort=True):
        is_off = of_store["snapshots"] == OFF
        on, off = of_store[~is_off].set_index("repeat"), of_store[is_off].set_index("repeat")
        repeats = on.index.intersection(off.index)
        if len(repeats) == 0:
            continue
        same_keys = bool((on["keys"].loc[repeats] == off["keys"].loc[repeats]).all())
        line = {"pairs": str(len(repeats))}
        for name in FIGURES:
            if name in ("RSS max", "data on disk") and not same_keys:
                line[name] = "key counts differ"
            else:
                pair = on[name].loc[repeats].tolist(), off[name].loc[repeats].tolist()
                line[name] = spelled(paired_ratio(*pair)) if min(map(min, pair)) > 0 else numbers.MISSING
        lines[store] = line
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("store")


def spelled(ratio: Ratio) -> str:
    """ "1.05 (0.98 to 1.11)"; without the interval where there are too few pairs for one."""
    if ratio.low is None or ratio.high is None:
        return f"{ratio.ratio:.2f}"
    return f"{ratio.ratio:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"


def main(arguments: list[str]) -> int:
    """Print both tables. Returns the exit code."""
    if len(arguments) != 1:
        print("usage: analyze.py FOLDER-OF-RESULTS", file=sys.stderr)
        return 2
    try:
        runs = runs_of(Path(arguments[0]))
    except ArtifactError as error:
        print(f"{error.what}\n  {error.remedy}", file=sys.stderr)
        return 2
    print(medians(runs).T.to_string())
    print("\nsnapshots off / on, 95 % intervals\n")
    print(ratios(runs).T.to_string())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
