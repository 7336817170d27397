"""Writes an artifact while its run goes on, so that a run that is killed leaves what it had."""

import json
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, fields
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from kvbench.artifact import hlog, schema
from kvbench.artifact.errors import ArtifactError, cannot_write
from kvbench.artifact.files import Lines, write_json
from kvbench.ops.results import TIME_NAMES, PhaseResult
from kvbench.stats import histograms

SECOND_NS = 1_000_000_000
SCALARS = tuple(
    field.name for field in fields(PhaseResult) if field.type is int and field.name not in ("start_ns", "duration_ns")
)
"""The whole numbers of a PhaseResult that its phase_finished event carries under their own names."""
COUNTS = ("offered", "sent", "completed", "errors")
"""The arrays of a PhaseResult, axis 0 the second."""
SECRETS = ("password",)


class Writer:
    """One artifact under way. All methods may be called from any thread; all raise ArtifactError when the disk is full.

    Histograms, counts, events and resource rows reach their files at once; ``finish`` turns counts and rows into
    Parquet. A context manager: on leaving, the streams are closed, whether or not ``finish`` was reached.
    """

    def __init__(self, folder: Path, kvbench: str = "") -> None:
        """Creates the folder. Raises ArtifactError when it holds an artifact already or cannot be written."""
        self.folder = folder
        self._lock = threading.RLock()
        self._wall_offset_ns = time.time_ns() - time.monotonic_ns()
        self._start_ns = time.monotonic_ns()
        self._parts: dict[str, list[PhaseResult]] = {}
        self._offsets_s: dict[str, float] = {}
        self._results: list[PhaseResult] = []
        self._rows: list[dict[str, Any]] = []
        self._phase = ""
        self._create_folder()
        self._streams: list[Lines] = []
        self._events = self._stream(schema.EVENTS)
        self._hlog = self._stream(schema.HISTOGRAMS)
        self._intervals = self._stream(schema.INTERVALS_STREAM)
        self._resources = self._stream(schema.RESOURCES_STREAM)
        start_s = self._wall_s(self._start_ns)
        self._hlog.append(hlog.header(kvbench, start_s, datetime.fromtimestamp(start_s, UTC).isoformat()))

    def _create_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            taken = any(self.folder.iterdir())
        except OSError as error:
            raise cannot_write(self.folder, error) from error
        if taken:
            raise ArtifactError(
                f"{self.folder} is not empty, and results are never overwritten", "give another folder with --out"
            )

    def _stream(self, name: str) -> Lines:
        try:
            lines = Lines(self.folder / name)
        except ArtifactError:
            self.close()
            raise
        self._streams.append(lines)
        return lines

    def __enter__(self) -> "Writer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _wall_s(self, t_ns: int) -> float:
        return (t_ns + self._wall_offset_ns) / SECOND_NS

    def manifest(self, content: Mapping[str, Any]) -> None:
        """Write manifest.json, adding "schema"; may be called again when more is known. Passwords are left out."""
        with self._lock:
            write_json(self.folder / schema.MANIFEST, {"schema": schema.VERSION, **_without_secrets(content)})

    def event(self, kind: str, **fields: Any) -> None:
        """Append one event with the time of now, or of ``t_ns`` (CLOCK_MONOTONIC) if it is given."""
        with self._lock:
            t_ns = int(fields.pop("t_ns", time.monotonic_ns()))
            content = {"t_ns": t_ns, "wall_s": self._wall_s(t_ns), "kind": kind, **fields}
            self._events.append(json.dumps(content, ensure_ascii=False) + "\n")

    def phase_started(self, name: str, wall_start_s: float | None = None, **fields: Any) -> None:
        """Mark that a phase begins. Phase names are unique within a run."""
        with self._lock:
            self._phase = name
            if wall_start_s is not None:
                fields["wall_start_s"] = wall_start_s
            self.event(schema.PHASE_STARTED, phase=name, **fields)

    def interval(self, part: PhaseResult) -> None:
        """Write what became final of a phase: its histograms to the log, its counts to the stream."""
        with self._lock:
            known = self._parts.setdefault(part.phase, [])
            if not known:
                start = {"phase": part.phase, "start_ns": part.start_ns, "operations": list(part.operations)}
                self._intervals.append(json.dumps(start, ensure_ascii=False) + "\n")
                # A phase that began before this folder was made begins with it: log times must not be negative.
                self._offsets_s[part.phase] = max(0.0, (part.start_ns - self._start_ns) / SECOND_NS)
                self._hlog.append(hlog.phase_line(part.phase, self._offsets_s[part.phase]))
            size = self._hlog.size
            self._hlog.append("".join(self._hlog_lines(part)))
            try:
                self._intervals.append("".join(_count_lines(part)))
            except ArtifactError:
                # A part stands in both files or in neither, so that counts and histograms agree.
                self._hlog.cut_back(size)
                raise
            known.append(part)

    def _hlog_lines(self, part: PhaseResult) -> Iterable[str]:
        rows = part.histograms
        starts = histograms.starts_of_runs(rows, ("second", "operation", "time"))
        for first, end in pairwise(np.append(starts, len(rows))):
            second, operation, time_number = (int(rows[name][first]) for name in ("second", "operation", "time"))
            left_ns = part.duration_ns - second * SECOND_NS
            interval = hlog.Interval(
                tag=hlog.tag_of(part.phase, part.operations[operation], TIME_NAMES[time_number]),
                start_s=self._offsets_s[part.phase] + second,
                length_s=left_ns / SECOND_NS if 0 < left_ns < SECOND_NS else 1.0,
                buckets=rows["bucket"][first:end].astype(np.int64),
                counts=rows["count"][first:end],
            )
            yield hlog.line(interval)

    def resource(self, rows: Mapping[str, Any] | Iterable[Mapping[str, Any]]) -> None:
        """Write one or more resource rows (schema.RESOURCE_COLUMNS); a row without "phase" is of the one under way."""
        with self._lock:
            several = [rows] if isinstance(rows, Mapping) else list(rows)
            complete = [{"phase": self._phase, **row} for row in several]
            self._resources.append("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in complete))
            self._rows += complete

    def phase_finished(self, result: PhaseResult) -> None:
        """Write what of a phase's whole result no interval wrote, and the totals that are not counted by the second.

        Raises ArtifactError when the intervals written hold more than the whole.
        """
        with self._lock:
            self.interval(_rest(result, self._parts.get(result.phase, [])))
            del self._parts[result.phase]
            self._results.append(result)
            self._phase = ""
            self.event(
                schema.PHASE_FINISHED,
                phase=result.phase,
                start_ns=result.start_ns,
                duration_ns=result.duration_ns,
                operations=list(result.operations),
                end_reason=result.end_reason,
                error_text=result.error_text,
                threads=[asdict(thread) for thread in result.threads],
                **{name: int(getattr(result, name)) for name in SCALARS},
            )

    def finish(self, summary: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Write the Parquet files and summary.json, end the streams, and return the summary.

        Without ``summary`` it is computed from the folder, as ``summary.recompute`` would. A phase that was not
        finished ends here as "interrupted", with what its intervals hold.
        """
        from kvbench.artifact import summary as summaries
        from kvbench.artifact import tables

        with self._lock:
            for parts in list(self._parts.values()):
                self.phase_finished(_sum(parts))
            tables.write(tables.interval_table(self._results), self.folder / schema.INTERVALS)
            tables.write(tables.resource_table(self._rows), self.folder / schema.RESOURCES)
            self.close()
            for name in (schema.INTERVALS_STREAM, schema.RESOURCES_STREAM):
                with suppress(OSError):
                    (self.folder / name).unlink()
            content = dict(summary) if summary is not None else summaries.recompute(self.folder)
            write_json(self.folder / schema.SUMMARY, content)
            return content

    def discard(self) -> None:
        """Remove what was written, and the folder unless it holds other things: a run that never began."""
        with self._lock:
            self.close()
            for stream in self._streams:
                stream.path.unlink(missing_ok=True)
            with suppress(OSError):
                self.folder.rmdir()

    def close(self) -> None:
        """End the streams; what they hold stays. Safe to call twice."""
        with self._lock:
            for stream in self._streams:
                stream.close()


def _sum(parts: list[PhaseResult]) -> PhaseResult:
    """All that the parts of an unfinished phase count."""
    seconds = max(len(part.offered) for part in parts)
    counts: dict[str, Any] = {}
    for name in COUNTS:
        shape = (seconds, *getattr(parts[0], name).shape[1:])
        counts[name] = np.zeros(shape, dtype=np.int64)
        for part in parts:
            counts[name][: len(getattr(part, name))] += getattr(part, name)
    return PhaseResult(
        phase=parts[0].phase,
        operations=parts[0].operations,
        start_ns=parts[0].start_ns,
        duration_ns=max(seconds * SECOND_NS, *(part.duration_ns for part in parts)),
        histograms=histograms.added(part.histograms for part in parts),
        end_reason="interrupted",
        **counts,
    )


def _rest(result: PhaseResult, parts: list[PhaseResult]) -> PhaseResult:
    """The whole of a phase without its parts, counts and histograms only."""
    counts: dict[str, Any] = {}
    for name in COUNTS:
        counts[name] = np.array(getattr(result, name), dtype=np.int64)
        for part in parts:
            rows = getattr(part, name)
            if len(rows) > len(counts[name]) or (counts[name][: len(rows)] < rows).any():
                raise ArtifactError(f"phase {result.phase}: its intervals hold more {name} than its result")
            counts[name][: len(rows)] -= rows
    try:
        rest = histograms.subtracted(result.histograms, histograms.added(part.histograms for part in parts))
    except ValueError as error:
        raise ArtifactError(f"phase {result.phase}: {error}") from error
    return PhaseResult(
        phase=result.phase,
        operations=result.operations,
        start_ns=result.start_ns,
        duration_ns=result.duration_ns,
        histograms=rest,
        **counts,
    )


def _count_lines(part: PhaseResult) -> Iterable[str]:
    """One line of the intervals' stream per second and operation that has a count."""
    busy = (part.offered != 0) | (part.sent != 0) | (part.completed != 0) | part.errors.any(axis=2)
    for second, operation in np.argwhere(busy).tolist():
        codes = np.flatnonzero(part.errors[second, operation]).tolist()
        content = {
            "phase": part.phase,
            "second": second,
            "operation": part.operations[operation],
            "offered": int(part.offered[second, operation]),
            "sent": int(part.sent[second, operation]),
            "completed": int(part.completed[second, operation]),
            **{
                schema.ERROR_COLUMN_PREFIX + schema.error_name(code): int(part.errors[second, operation, code])
                for code in codes
            },
        }
        yield json.dumps(content, ensure_ascii=False) + "\n"


def _without_secrets(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {
            str(key): "(not kept)" if key in SECRETS and value else _without_secrets(value)
            for key, value in content.items()
        }
    if isinstance(content, list | tuple | set | frozenset):
        return [_without_secrets(value) for value in content]
    return str(content) if isinstance(content, Path) else content
