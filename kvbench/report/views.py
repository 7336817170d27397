"""A result as a report shows it: targets with a colour each, their runs, and the runs' measured phases on one axis."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from kvbench.artifact import schema
from kvbench.artifact.reader import Artifact, Result
from kvbench.ops.results import PhaseResult

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#AA4499", "#8C6D00", "#56B4E9", "#000000")
"""Told apart with any common colour blindness (Okabe and Ito 2008; yellow and pale purple darkened to be legible on
white)."""
CLIENT_COLOUR = "#6B6B6B"
SECOND_NS = 1_000_000_000

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PhaseView:
    """One measured phase of one run."""

    entry: Mapping[str, Any]
    """Its entry in the summary."""
    result: PhaseResult
    start_s: float
    """Since the run's first measured phase began."""

    @property
    def name(self) -> str:
        return self.result.phase

    @property
    def seconds(self) -> int:
        """Seconds to draw: the last one, which is partial, would look like a fall."""
        return max(1, int(self.result.duration_ns // SECOND_NS))


@dataclass(frozen=True)
class EventMark:
    """Something that happened, on the axis of the run."""

    at_s: float
    kind: str


@dataclass(frozen=True)
class RunView:
    """One run of one target."""

    repeat: int
    artifact: Artifact
    phases: list[PhaseView]

    @property
    def start_ns(self) -> int:
        return self.phases[0].result.start_ns

    @property
    def end_s(self) -> float:
        last = self.phases[-1]
        return last.start_s + last.result.duration_ns / SECOND_NS

    def marks(self) -> list[EventMark]:
        """Events within the measured phases, without the phases' own."""
        found = []
        for event in self.artifact.events:
            at_s = (int(event["t_ns"]) - self.start_ns) / SECOND_NS
            if not str(event["kind"]).startswith("phase_") and 0.0 <= at_s <= self.end_s:
                found.append(EventMark(at_s, str(event["kind"])))
        return found


@dataclass(frozen=True)
class TargetView:
    """One target and all its runs, in one colour throughout the report."""

    label: str
    colour: str
    runs: list[RunView] = field(default_factory=list)


@dataclass(frozen=True)
class ReportView:
    """All that a report shows."""

    workload: str
    kvbench: str
    manifest: Mapping[str, Any]
    """Of the first run: what is common to all."""
    targets: list[TargetView]

    @property
    def operations(self) -> list[str]:
        """Names of all operations, those with the most successes first."""
        completed: dict[str, int] = {}
        for phase in self.phases():
            for name, operation in phase.entry["operations"].items():
                completed[name] = completed.get(name, 0) + int(operation["completed"])
        return sorted(completed, key=lambda name: -completed[name])

    @property
    def phase_names(self) -> list[str]:
        return list(dict.fromkeys(phase.name for phase in self.phases()))

    def phases(self) -> list[PhaseView]:
        """All measured phases of all runs of all targets."""
        return [phase for target in self.targets for run in target.runs for phase in run.phases]

    @property
    def repeats(self) -> int:
        return max((len(target.runs) for target in self.targets), default=0)


def label_of(target: Mapping[str, Any]) -> str:
    """What a target is called in charts: its kind, version, and whatever is not as usual."""
    name = f"{target.get('kind', 'target')} {target.get('version', '')}".strip()
    parts = []
    members = int(target.get("members", 1) or 1)
    if members > 1:
        parts.append(f"{members} members")
    if str(target.get("snapshots", "on")) != "on":
        parts.append(f"snapshots {target['snapshots']}")
    if target.get("fsync", True) is False:
        parts.append("no fsync")
    return f"{name} ({', '.join(parts)})" if parts else name


def view_of(result: Result) -> ReportView:
    """The result with targets in the order of their first run. Runs without a measured phase are left out."""
    entries = result.summary["runs"]
    keys = list(dict.fromkeys(_key(entry) for entry in entries))
    labels = _labels([next(entry["target"] for entry in entries if _key(entry) == key) for key in keys])
    targets = {
        key: TargetView(label, COLOURS[place % len(COLOURS)])
        for place, (key, label) in enumerate(zip(keys, labels, strict=True))
    }
    grouped: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for entry in entries:
        grouped.setdefault((_key(entry), str(entry["artifact"])), []).append(entry)
    for (key, called), phases in grouped.items():
        targets[key].runs.append(_run_view(result.artifacts[called], phases))
    first = next(iter(result.artifacts.values()))
    return ReportView(
        workload=str(result.summary.get("workload", "")),
        kvbench=str(result.summary.get("kvbench", "")),
        manifest=first.manifest,
        targets=list(targets.values()),
    )


def _key(entry: Mapping[str, Any]) -> str:
    target = entry["target"]
    return str(target.get("label") or label_of(target))


def _labels(targets: list[Mapping[str, Any]]) -> list[str]:
    """Labels, told apart by what the user typed where they would be the same."""
    labels = [label_of(target) for target in targets]
    return [
        f"{label} [{target.get('text') or target.get('label') or place}]" if labels.count(label) > 1 else label
        for place, (label, target) in enumerate(zip(labels, targets, strict=True), 1)
    ]


def _run_view(artifact: Artifact, entries: list[Mapping[str, Any]]) -> RunView:
    results = [artifact.phases[str(entry["phase"])] for entry in entries]
    start_ns = results[0].start_ns
    phases = [
        PhaseView(entry, phase, (phase.start_ns - start_ns) / SECOND_NS)
        for entry, phase in zip(entries, results, strict=True)
    ]
    return RunView(int(entries[0]["repeat"]), artifact, phases)


def time_series(run: RunView, operation: str, column: str) -> tuple[Floats, Floats]:
    """(seconds since the first measured phase, values) of one column of the intervals, NaN where there is none.

    Phases follow each other with a NaN between them, so that a line breaks there.
    """
    times: list[Floats] = []
    values: list[Floats] = []
    frame = run.artifact.intervals
    for phase in run.phases:
        rows = frame[(frame["phase"] == phase.name) & (frame["operation"] == operation)]
        series = np.full(phase.seconds, np.nan)
        inside = rows[rows["second"] < phase.seconds]
        series[inside["second"].to_numpy(dtype=np.int64)] = inside[column].to_numpy(dtype=np.float64, na_value=np.nan)
        times.append(_seconds_axis(phase, phase.seconds))
        values += [series, np.array([np.nan])]
    return np.concatenate(times), np.concatenate(values)


def _seconds_axis(phase: PhaseView, seconds: int) -> Floats:
    """The middle of each of a phase's seconds, and its end, where lines break."""
    axis = phase.start_s + np.arange(seconds + 1, dtype=np.float64)
    axis[:-1] += 0.5
    return axis


def throughput_series(run: RunView, column: str) -> tuple[Floats, Floats]:
    """(seconds, requests per second summed over operations); a second without any counts 0.

    Errors of the last, partial second are there too: it is at a phase's end that time-outs are counted.
    """
    times: list[Floats] = []
    values: list[Floats] = []
    for phase in run.phases:
        if column == "errors":
            known = phase.result.errors.sum(axis=(1, 2))
            seconds = max(phase.seconds, len(known))
        else:
            known = getattr(phase.result, column).sum(axis=1)
            seconds = phase.seconds
        counts = np.zeros(seconds)
        count = min(seconds, len(known))
        counts[:count] = known[:count]
        times.append(_seconds_axis(phase, seconds))
        values += [counts, np.array([np.nan])]
    return np.concatenate(times), np.concatenate(values)


def member_names(run: RunView) -> list[str]:
    """Servers in the order of their first sample."""
    names = dict.fromkeys(str(row["member"]) for row in run.artifact.resource_rows)
    return [name for name in names if name not in (schema.KVBENCH_MEMBER, schema.MACHINE_MEMBER)]


def member_series(run: RunView, member: str, column: str) -> tuple[Floats, Floats]:
    """(seconds since the first measured phase, readings) of a member; samples without a reading are left out."""
    rows = [row for row in run.artifact.resource_rows if row["member"] == member and row.get(column) is not None]
    times = np.array([(int(row["t_ns"]) - run.start_ns) / SECOND_NS for row in rows], dtype=np.float64)
    return times, np.array([float(row[column]) for row in rows], dtype=np.float64)


def rate_series(run: RunView, member: str, columns: tuple[str, ...]) -> tuple[Floats, Floats]:
    """(middles between samples, growth per second of the columns' sum); a restart's fall counts as nothing."""
    readings = [member_series(run, member, column) for column in columns]
    times, total = readings[0][0], readings[0][1].copy()
    for other_times, values in readings[1:]:
        if len(other_times) != len(times):
            return np.zeros(0), np.zeros(0)
        total += values
    if len(times) < 2:
        return np.zeros(0), np.zeros(0)
    return (times[1:] + times[:-1]) / 2, np.maximum(np.diff(total), 0.0) / np.maximum(np.diff(times), 1e-9)
