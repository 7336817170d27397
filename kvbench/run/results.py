"""A summary as tables for people: a table per phase, what limited each target, and who was faster."""

import re
from collections.abc import Callable, Iterable, Mapping
from statistics import median
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from kvbench.run.display import milliseconds
from kvbench.stats.comparison import Ratio, paired_ratio

Run = Mapping[str, Any]
TIMES = ("ops/s", "p50", "p99", "p99.9", "errors")
COSTS = ("client CPU/req", "RSS max", "verdict")
LEFT = ("target", "operation", "verdict")
TARGET_WIDTH_MIN = 20
"""A target's name is folded to this width before a table is split in two."""
NUMBER = re.compile(r"\d[\d,.]*")


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
        found = milliseconds(middle(each[percentile] if each["count"] else None for each in times))
        return f"{found} ?" if any(_is_doubtful(each, percentile) for each in times) else found

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
        "-" if memory is None else f"{memory / (1 << 20):,.0f} MiB",
        ", ".join(dict.fromkeys(str(run["verdict"]) for run in runs)),
    ]


def _is_doubtful(times: Mapping[str, Any], percentile: str) -> bool:
    """Whether too few values lie beyond a percentile to print it as a fact."""
    return bool(times["count"]) and percentile in times.get("insufficient", ())


def _table(title: str, columns: Iterable[str]) -> Table:
    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in columns:
        # A number that is cut is worse than a name that takes two lines.
        table.add_column(
            column, justify="left" if column in LEFT else "right", no_wrap=column != "target", overflow="fold"
        )
    return table


def tables(summary: Mapping[str, Any], console: Console) -> list[Table]:
    """A table per measured phase; two where the console is too narrow for one: times, and what they cost."""
    found = []
    for phase, by_target in by_phase(summary["runs"]).items():
        repeats = max(len(runs) for runs in by_target.values())
        title = f"{summary['workload']}, {phase}" + (f" (medians of {repeats})" if repeats > 1 else "")
        whole = _table(title, ("target", "operation", *TIMES, *COSTS))
        times, costs = _table(title, ("target", "operation", *TIMES)), _table("", ("target", *COSTS))
        for name, runs in by_target.items():
            spent = run_cells(runs)
            costs.add_row(name, *spent)
            for position, operation in enumerate(runs[0]["operations"]):
                first = position == 0
                cells = operation_cells(operation, runs)
                whole.add_row(name if first else "", *cells, *(spent if first else ["", "", ""]))
                times.add_row(name if first else "", *cells)
        found += [whole] if _fits(whole, max(map(len, by_target)), console) else [times, costs]
    return found


def _fits(table: Table, longest_name: int, console: Console) -> bool:
    needed = console.measure(table, options=console.options.update(width=10_000)).maximum
    return needed - longest_name + min(longest_name, TARGET_WIDTH_MIN) <= console.width


def limits(summary: Mapping[str, Any]) -> list[str]:
    """One sentence per target and phase about what limited it, from its last repeat."""
    return [
        f"{name}, {phase}: {runs[-1]['verdict']}: {runs[-1]['verdict_reason']}"
        for phase, by_target in by_phase(summary["runs"]).items()
        for name, runs in by_target.items()
    ]


def warnings(summary: Mapping[str, Any]) -> list[str]:
    """Every run's warnings with where they belong; of those of one target that differ in numbers only, the first."""
    found: dict[tuple[str, str], list[str]] = {}
    for run in summary["runs"]:
        for warning in run["warnings"]:
            key = target_name(run), NUMBER.sub("#", warning)
            found.setdefault(key, []).append(f"{target_name(run)}, {run['phase']}: {warning}")
    return [f"{alike[0]} ({len(alike) - 1} more like it)" if len(alike) > 1 else alike[0] for alike in found.values()]


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
            if rate is None:
                continue
            compared = f"{_spelled(rate)} the throughput"
            if time is not None:
                compared += f" and {_spelled(time)} the p99 response time"
            found.append(f"{phase}, {operation}: {second} has {compared} of {first} ({_how_sure(rate)})")
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
    """0, which is not compared, where too few values lie beyond it."""
    times = run["operations"][operation]["response_time_ns"]
    return 0.0 if _is_doubtful(times, "p99") else float(times["p99"])


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
    for table in tables(summary, console):
        console.print(table)
    for line in (*limits(summary), *ratios(summary)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    for line in warnings(summary):
        console.print(f"warning: {line}", highlight=False, markup=False, soft_wrap=True)
