"""What each member of a run used during one phase, from its samples."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from kvbench.artifact.schema import KVBENCH_MEMBER, MACHINE_MEMBER

Row = Mapping[str, Any]

COUNTERS = {
    "cpu_user_s": "cpu_user_s",
    "cpu_system_s": "cpu_system_s",
    "read_bytes": "disk_read_bytes",
    "write_bytes": "disk_write_bytes",
    "ctx_switches_voluntary": "ctx_switches_voluntary",
    "ctx_switches_involuntary": "ctx_switches_involuntary",
}
"""Column that only grows -> its name in a summary, where it is what the phase added."""
MAXIMA = {
    "rss_bytes": "rss_bytes_max",
    "uss_bytes": "uss_bytes_max",
    "threads": "threads_max",
    "open_files": "open_files_max",
}
IDLE = ("cpu_idle_s", "cpu_iowait_s")
BUSY = ("cpu_user_s", "cpu_system_s")
STEAL = "cpu_steal_s"


def by_member(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows by member in order of time; members in the order of their first row."""
    found: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: int(row["t_ns"])):
        found.setdefault(str(row["member"]), []).append(row)
    return found


def added_between(rows: Sequence[Row], column: str, start_ns: int, end_ns: int) -> float | None:
    """How much a counter grew from ``start_ns`` to ``end_ns``; None when it was never read.

    Between two samples the growth counts evenly. Before the first and after the last, nothing is assumed. A process
    that was started anew counts from 0 again.
    """
    known = [(int(row["t_ns"]), float(row[column]), row.get("pid")) for row in rows if row.get(column) is not None]
    if not known:
        return None
    times = np.array([t_ns for t_ns, _, _ in known], dtype=np.float64)
    values = [value for _, value, _ in known]
    total = [values[0]]
    for (_, before, old_pid), (_, now, pid) in pairwise(known):
        total.append(total[-1] + (now if pid != old_pid else max(0.0, now - before)))
    at_start, at_end = np.interp((start_ns, end_ns), times, total)
    return float(at_end - at_start)


def readings(rows: Sequence[Row], column: str, start_ns: int, end_ns: int) -> list[int]:
    """A column's values during a phase, in order of time. Costly ones are not in every sample: of a phase without any,
    the last before it and the first after it.
    """
    known = [row for row in rows if row.get(column) is not None]
    chosen = [row for row in known if start_ns <= int(row["t_ns"]) <= end_ns]
    if not chosen:
        before = [row for row in known if int(row["t_ns"]) < start_ns][-1:]
        chosen = before + [row for row in known if int(row["t_ns"]) > end_ns][:1]
    return [int(row[column]) for row in chosen]


def use_of(name: str, rows: Sequence[Row], start_ns: int, end_ns: int) -> dict[str, Any]:
    """One entry of a summary's "members". None stands for what no sample knew (a remote member's memory)."""
    entry: dict[str, Any] = {"name": name}
    for column, called in MAXIMA.items():
        known = readings(rows, column, start_ns, end_ns)
        entry[called] = max(known) if known else None
    for column, called in COUNTERS.items():
        grown = added_between(rows, column, start_ns, end_ns)
        entry[called] = grown if grown is None or column.endswith("_s") else round(grown)
    parts = [entry["cpu_user_s"], entry["cpu_system_s"]]
    entry["cpu_s"] = None if None in parts else sum(parts)
    for column in ("data_bytes", "data_apparent_bytes"):
        sizes = readings(rows, column, start_ns, end_ns)
        entry[column] = sizes[-1] if sizes else None
    entry["samples"] = len([row for row in rows if start_ns <= int(row["t_ns"]) <= end_ns])
    return entry


def servers(rows: Iterable[Row], start_ns: int, end_ns: int) -> list[dict[str, Any]]:
    """The servers' entries, without the client's and the machine's."""
    return [
        use_of(name, member_rows, start_ns, end_ns)
        for name, member_rows in by_member(rows).items()
        if name not in (KVBENCH_MEMBER, MACHINE_MEMBER)
    ]


def machine(
    rows: Iterable[Row], start_ns: int, end_ns: int, client_cpu_ns: int, servers_cpu_s: float, cpus: int
) -> dict[str, Any]:
    """How busy the machine was, and who kept it busy, as shares (0 to 1) of its CPU time; None where not known."""
    samples = [
        {"t_ns": row["t_ns"], **(row.get("counters") or {}), **{name: row.get(name) for name in BUSY}}
        for row in by_member(rows).get(MACHINE_MEMBER, [])
    ]
    grown = {name: added_between(samples, name, start_ns, end_ns) or 0.0 for name in (*BUSY, *IDLE, STEAL)}
    total_s = sum(grown.values())
    capacity_s = total_s or cpus * (end_ns - start_ns) / 1e9
    busy_s = total_s - sum(grown[name] for name in (*IDLE, STEAL))
    other_s = max(0.0, busy_s - client_cpu_ns / 1e9 - servers_cpu_s)
    return {
        "cpus": cpus or None,
        "cpu_share": busy_s / total_s if total_s > 0 else None,
        "other_cpu_share": other_s / total_s if total_s > 0 else None,
        "steal_share": grown[STEAL] / total_s if total_s > 0 else None,
        "client_cpu_share": client_cpu_ns / 1e9 / capacity_s if capacity_s > 0 else None,
    }
