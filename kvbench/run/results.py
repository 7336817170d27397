"""A summary as tables for people: a table per phase, what limited each target, and who was faster."""

from collections.abc import Callable, Iterable, Mapping
from statistics import median
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from kvbench.run.display import milliseconds
from kvbench.stats.comparison import Ratio, paired_ratio

Run = Mapping[str, Any]
COLUMNS = ("target", "operation", "ops/s", "p50", "p99", "p99.9", "errors", "client CPU/req", "RSS max", "verdict")
LEFT = ("target", "operation", "verdict")


def target_name(run: Run) -> str:
    """What tells a target from the others in one summary: the text it was asked for by, else kind and version."""
    target = run["target"]
    text = str(target.get("text") or target.get("kind", "?"))
    version = str(target.get("version", ""))
    return f"{text} ({version})" if version and version not in text else text


def by_phase(runs: Iterable[Run]) -> dict[str, dict[str, list[Run]]]:
    """Runs by phase in the order of appearance, then by target's name, as runs are in random order."""
    found: dict[str, dict[str, list[Run]]] = {}
    for run in runs:
        found.setdefault(run["phase"], {}).setdefault(target_name(run), []).append(run)
    return {phase: dict(sorted(by_target.items())) for phase, by_target in found.items()}


def middle(values: Iterable[float | None]) -> float | None:
    """The median of those that are known."""
    known = [value for value in values if value is not None]
    return median(known) if known else None


def rss_bytes_max(run: Run) -> float | None:
    """The largest member's resident memory."""
    known = [member["rss_bytes_max"] for member in run["members"] if member.get("rss_bytes_max") is not None]
    return max(known) if known else None


def operation_cells(operation: str, runs: list[Run]) -> list[str]:
    """One operation's cells: medians over the repeats, errors summed."""
    counts = [run["operations"][operation] for run in runs]
    times = [each["response_time_ns"] for each in counts]

    def time(percentile: str) -> str:
        return milliseconds(middle(each[percentile] if each["count"] else None for each in times))

    rate = middle(each["throughput_ops_s"] for each in counts)
    errors = sum(sum(each["errors"].values()) for each in counts)
    shown = "-" if rate is None else f"{rate:,.0f}"
    return [operation, shown, time("p50"), time("p99"), time("p999"), f"{errors:,}"]


def run_cells(runs: list[Run]) -> list[str]:
    """The cells that belong to the whole run and no single operation: medians over the repeats."""
    cpu = middle(run["client"]["cpu_ns_per_request"] for run in runs)
    memory = middle(rss_bytes_max(run) for run in runs)
    return [
        "-" if cpu is None else f"{cpu / 1e3:.2f} µs",
        "-" if memory is None else f"{memory / 1e6:,.0f} MB",
        ", ".join(dict.fromkeys(str(run["verdict"]) for run in runs)),
    ]


def tables(summary: Mapping[str, Any]) -> list[Table]:
    """A table per measured phase."""
    found = []
    for phase, by_target in by_phase(summary["runs"]).items():
        repeats = max(len(runs) for runs in by_target.values())
        title = f"{summary['workload']}, {phase}" + (f" (medians of {repeats})" if repeats > 1 else "")
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
        for column in COLUMNS:
            table.add_column(column, justify="left" if column in LEFT else "right")
        for name, runs in by_target.items():
            for position, operation in enumerate(runs[0]["operations"]):
                first = position == 0
                whole = run_cells(runs) if first else ["", "", ""]
                table.add_row(name if first else "", *operation_cells(operation, runs), *whole)
        found.append(table)
    return found


def limits(summary: Mapping[str, Any]) -> list[str]:
    """One sentence per target and phase about what limited it, from its last repeat."""
    last = {(target_name(run), run["phase"]): run for run in summary["runs"]}
    lines = {key: f"{key[0]}, {key[1]}: {run['verdict']}: {run['verdict_reason']}" for key, run in last.items()}
    return [lines[key] for key in sorted(lines)]


def warnings(summary: Mapping[str, Any]) -> list[str]:
    """Every run's warnings with where they belong; equal ones of several repeats once."""
    found: dict[str, None] = {}
    for run in summary["runs"]:
        for warning in run["warnings"]:
            found[f"{target_name(run)}, {run['phase']}: {warning}"] = None
    return list(found)


def ratios(summary: Mapping[str, Any]) -> list[str]:
    """How the second target compares with the first, paired by repeat; none unless there are just two."""
    found = []
    for phase, by_target in by_phase(summary["runs"]).items():
        if len(by_target) != 2:
            continue
        (first, runs_a), (second, runs_b) = by_target.items()
        for operation in runs_a[0]["operations"]:
            rate = _ratio(runs_a, runs_b, operation, _throughput)
            time = _ratio(runs_a, runs_b, operation, _p99)
            if rate is not None and time is not None:
                found.append(
                    f"{phase}, {operation}: {second} has {_spelled(rate)} the throughput and {_spelled(time)} the p99"
                    f" response time of {first} ({_how_sure(rate)})"
                )
    return found


def _ratio(a: list[Run], b: list[Run], operation: str, value: Callable[[Run, str], float]) -> Ratio | None:
    """Of the repeats that both have; None where there is nothing to compare."""
    left = {run["repeat"]: value(run, operation) for run in a}
    right = {run["repeat"]: value(run, operation) for run in b if operation in run["operations"]}
    pairs = [(left[n], right[n]) for n in sorted(left.keys() & right.keys()) if left[n] > 0 and right[n] > 0]
    return paired_ratio([pair[0] for pair in pairs], [pair[1] for pair in pairs]) if pairs else None


def _throughput(run: Run, operation: str) -> float:
    return float(run["operations"][operation]["throughput_ops_s"])


def _p99(run: Run, operation: str) -> float:
    return float(run["operations"][operation]["response_time_ns"]["p99"])


def _spelled(ratio: Ratio) -> str:
    if ratio.low is not None and ratio.high is not None:
        return f"{ratio.ratio:.2f} times ({ratio.low:.2f} to {ratio.high:.2f})"
    return f"{ratio.ratio:.2f} times"


def _how_sure(ratio: Ratio) -> str:
    if ratio.low is not None:
        return f"{ratio.pairs} pairs, 95 % intervals"
    return f"{ratio.pairs} pair{'s' if ratio.pairs > 1 else ''}: too few to say how sure that is"


def show(summary: Mapping[str, Any], console: Console) -> None:
    """Print tables, limits, ratios and warnings."""
    for table in tables(summary):
        console.print(table)
    for line in (*limits(summary), *ratios(summary)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    for line in warnings(summary):
        console.print(f"warning: {line}", highlight=False, markup=False, soft_wrap=True)
