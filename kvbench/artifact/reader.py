"""Reads artifacts: of runs that came to their end, and of runs that were cut off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kvbench.artifact import context, hlog, schema
from kvbench.artifact.errors import ArtifactError
from kvbench.artifact.files import NOT_OURS, read_json, read_json_lines
from kvbench.artifact.writer import SCALARS, SECOND_NS
from kvbench.ops.results import HISTOGRAM_COUNT, TIME_NAMES, PhaseResult, ThreadUse
from kvbench.stats import histograms

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Artifact:
    """What one run left. ``phases`` are in the order they began."""

    folder: Path
    manifest: dict[str, Any]
    events: list[dict[str, Any]]
    phases: dict[str, PhaseResult]
    resource_rows: list[dict[str, Any]] = field(repr=False)
    unfinished: frozenset[str] = frozenset()
    """Phases that the run did not finish: they hold what was written of them."""
    is_complete: bool = True
    """Whether the run came to its end."""

    @property
    def context(self) -> context.RunContext:
        """The manifest's part that summaries use."""
        return context.from_manifest(self.manifest)

    @cached_property
    def intervals(self) -> pd.DataFrame:
        """intervals.parquet's columns, one row per phase, second and operation."""
        from kvbench.artifact import tables

        frame: pd.DataFrame = tables.interval_table(list(self.phases.values())).to_pandas()
        return frame

    @cached_property
    def resources(self) -> pd.DataFrame:
        """schema.RESOURCE_COLUMNS, counters as dicts."""
        import pandas as pd

        columns = {name: [row.get(name) for row in self.resource_rows] for name in schema.RESOURCE_COLUMNS}
        frame = pd.DataFrame(columns)
        numeric = [name for name, (kind, _, _) in schema.RESOURCE_COLUMNS.items() if kind in ("int64", "float64")]
        frame[numeric] = frame[numeric].apply(pd.to_numeric)
        return frame


def read(folder: Path) -> Artifact:
    """One run's folder. Raises ArtifactError for a folder that holds no artifact, or a damaged one."""
    manifest = read_json(folder / schema.MANIFEST)
    if int(manifest.get("schema", 0)) > schema.VERSION:
        raise ArtifactError(
            f"{folder} was written with schema {manifest['schema']}; this kvbench reads up to {schema.VERSION}",
            "read it with the kvbench that wrote it, or a newer one",
        )
    events = read_json_lines(folder / schema.EVENTS)
    rows, started = _interval_rows(folder)
    finished = {event["phase"]: event for event in events if event.get("kind") == schema.PHASE_FINISHED}
    log = _read_hlog(folder / schema.HISTOGRAMS, {**started, **finished})
    phases = {}
    for name, known in {**started, **finished}.items():
        phases[name] = _phase_result(known, rows, log.get(name, histograms.empty()))
    return Artifact(
        folder=folder,
        manifest=manifest,
        events=events,
        phases=dict(sorted(phases.items(), key=lambda item: item[1].start_ns)),
        resource_rows=_resource_rows(folder),
        unfinished=frozenset(set(phases) - set(finished)),
        is_complete=(folder / schema.SUMMARY).exists(),
    )


def _interval_rows(folder: Path) -> tuple[Mapping[str, Sequence[Any]], dict[str, dict[str, Any]]]:
    """(columns of counts, phases that the stream knows to have begun)."""
    path = folder / schema.INTERVALS
    if path.exists():
        from kvbench.artifact import tables

        return tables.read(path).to_pydict(), {}
    lines = read_json_lines(folder / schema.INTERVALS_STREAM)
    counts = [line for line in lines if "second" in line]
    names = list(dict.fromkeys(name for line in counts for name in line)) or ["phase", "second", "operation"]
    return (
        {name: [line.get(name, 0) for line in counts] for name in names},
        {line["phase"]: line for line in lines if "start_ns" in line},
    )


def _resource_rows(folder: Path) -> list[dict[str, Any]]:
    path = folder / schema.RESOURCES
    if not path.exists():
        return read_json_lines(folder / schema.RESOURCES_STREAM)
    from kvbench.artifact import tables

    rows: list[dict[str, Any]] = tables.read(path).to_pylist()
    return [{**row, "counters": dict(row["counters"] or ())} for row in rows]


def _phase_result(
    known: Mapping[str, Any], rows: Mapping[str, Sequence[Any]], log: np.ndarray[Any, Any]
) -> PhaseResult:
    """A phase from its counts, its histograms, and its phase_finished event or what the stream knows of its start."""
    from kvbench.artifact import tables

    operations = tuple(known["operations"])
    counts: dict[str, Any] = tables.counts_of(rows, known["phase"], operations)
    scalars: dict[str, Any] = {name: int(known.get(name, 0)) for name in SCALARS}
    seconds = len(counts["offered"])
    return PhaseResult(
        phase=known["phase"],
        operations=operations,
        start_ns=int(known["start_ns"]),
        duration_ns=int(known.get("duration_ns", seconds * SECOND_NS)),
        histograms=log,
        threads=[ThreadUse(**thread) for thread in known.get("threads", ())],
        end_reason=str(known.get("end_reason", "interrupted")),
        error_text=str(known.get("error_text", "")),
        **counts,
        **scalars,
    )


def _read_hlog(path: Path, phases: Mapping[str, Mapping[str, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    """The histograms of each phase. A torn last line, left by a crash, is left out."""
    found: dict[str, list[np.ndarray[Any, Any]]] = {}
    offsets_s: dict[str, float] = {}
    try:
        lines = path.read_text(encoding="ascii").splitlines(keepends=True)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"cannot read {path}: {error}", "restore the file, or run again") from error
    for number, text in enumerate(lines, 1):
        start = hlog.parse_phase_line(text)
        if start is not None:
            offsets_s[start[0]] = start[1]
            continue
        try:
            interval = hlog.parse_line(text)
            if interval is not None:
                phase, rows = _histogram_rows(interval, phases, offsets_s)
                found.setdefault(phase, []).append(rows)
        except hlog.HlogError as error:
            if number == len(lines) and not text.endswith("\n"):
                break
            raise ArtifactError(f"{path}, line {number}: {error}", "restore the file, or run again") from error
    return {phase: histograms.added(parts) for phase, parts in found.items()}


def _histogram_rows(
    interval: hlog.Interval, phases: Mapping[str, Mapping[str, Any]], offsets_s: Mapping[str, float]
) -> tuple[str, np.ndarray[Any, Any]]:
    """(phase, HISTOGRAM_COUNT[n]) of one line. Raises HlogError when it belongs to no known phase."""
    phase, operation, time = hlog.parts_of(interval.tag)
    operations = list(phases.get(phase, {}).get("operations", ()))
    if phase not in offsets_s or operation not in operations or time not in TIME_NAMES:
        raise hlog.HlogError(f"tag {interval.tag!r} belongs to no phase of this run")
    rows = np.zeros(len(interval.buckets), dtype=HISTOGRAM_COUNT)
    rows["second"] = round(interval.start_s - offsets_s[phase])
    rows["operation"] = operations.index(operation)
    rows["time"] = TIME_NAMES.index(time)
    rows["bucket"], rows["count"] = interval.buckets, interval.counts
    return phase, rows


@dataclass(frozen=True)
class Result:
    """What one ``kvbench run`` left: a summary of all its runs, and their artifacts by folder name."""

    folder: Path
    summary: dict[str, Any]
    artifacts: dict[str, Artifact]


def artifact_folders(folder: Path) -> list[Path]:
    """The artifact folders of a result, by name; the folder itself when it is an artifact. Raises ArtifactError."""
    if (folder / schema.MANIFEST).exists():
        return [folder]
    found = sorted(path.parent for path in folder.glob(f"*/{schema.MANIFEST}"))
    if not found:
        raise ArtifactError(f"{folder} holds no results of kvbench", NOT_OURS)
    return found


def read_all(folder: Path) -> dict[str, Artifact]:
    """The artifacts of a result's folder by folder name; of a single artifact's folder, that one under "."."""
    folders = artifact_folders(folder)
    return {"." if path == folder else path.name: read(path) for path in folders}


def read_result(folder: Path) -> Result:
    """A result's folder, or a single artifact's.

    The summary is computed from the raw files, as this version of kvbench does: a stored one may be an older version's,
    or missing because the run was cut off. Raises ArtifactError.
    """
    from kvbench.artifact import summary

    artifacts = read_all(folder)
    return Result(folder=folder, summary=summary.of_artifacts(artifacts), artifacts=artifacts)
