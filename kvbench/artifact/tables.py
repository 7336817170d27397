"""An artifact's tables: PhaseResults and resource rows to Parquet, and back. Imports pyarrow only when called."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kvbench.artifact import schema
from kvbench.artifact.errors import ArtifactError, cannot_write
from kvbench.ops.errors import ERROR_CODES, outcome_is_unknown
from kvbench.ops.results import PhaseResult
from kvbench.stats import percentiles

if TYPE_CHECKING:
    import pyarrow as pa

UNKNOWN_CODES = np.array([outcome_is_unknown(code) for code in range(ERROR_CODES)])


def interval_table(results: Sequence[PhaseResult]) -> pa.Table:
    """The rows of intervals.parquet, by phase, second and operation."""
    import pyarrow as pa

    codes = np.zeros(ERROR_CODES, dtype=bool)
    for result in results:
        codes |= result.errors.any(axis=(0, 1))
    tables = [pa.table(_interval_columns(result, np.flatnonzero(codes))) for result in results]
    fields = _interval_fields(np.flatnonzero(codes))
    described = pa.schema(fields, metadata={"kvbench_schema": str(schema.VERSION)})
    return pa.concat_tables([table.cast(described) for table in tables]) if tables else described.empty_table()


def _interval_fields(codes: Sequence[int] | np.ndarray[Any, Any]) -> list[pa.Field]:
    fields = [_field(name, *column) for name, column in schema.INTERVAL_COLUMNS.items()]
    for code in codes:
        name = schema.error_name(int(code))
        fields.append(_field(schema.ERROR_COLUMN_PREFIX + name, "int64", "requests", f"failed with {name}"))
    for time in schema.TIMES:
        fields += [_field(schema.time_column(time, name), *column) for name, column in schema.TIME_COLUMNS.items()]
    return fields


def _field(name: str, kind: str, unit: str, meaning: str) -> pa.Field:
    import pyarrow as pa

    types = {"string": pa.string(), "map<string, float64>": pa.map_(pa.string(), pa.float64())}
    return pa.field(name, types.get(kind) or pa.type_for_alias(kind), metadata={"unit": unit, "meaning": meaning})


def _interval_columns(result: PhaseResult, codes: np.ndarray[Any, Any]) -> dict[str, Any]:
    import pyarrow as pa

    seconds, operations = result.offered.shape
    columns: dict[str, Any] = {
        "phase": [result.phase] * (seconds * operations),
        "second": np.repeat(np.arange(seconds, dtype=np.int32), operations),
        "operation": list(result.operations) * seconds,
        "offered": result.offered.ravel(),
        "sent": result.sent.ravel(),
        "completed": result.completed.ravel(),
        "errors": result.errors.sum(axis=2).ravel(),
        "unknown_outcomes": result.errors[:, :, UNKNOWN_CODES].sum(axis=2).ravel(),
    }
    for code in codes:
        columns[schema.ERROR_COLUMN_PREFIX + schema.error_name(int(code))] = result.errors[:, :, code].ravel()
    found = percentiles.per_interval(result.histograms)
    for time, time_name in enumerate(schema.TIMES):
        chosen = found.time == time
        rows = found.second[chosen] * operations + found.operation[chosen]
        missing = np.ones(seconds * operations, dtype=bool)
        missing[rows] = False
        for name in schema.TIME_COLUMNS:
            values = np.zeros(seconds * operations, dtype=np.int64)
            values[rows] = (found.max if name == "max" else found.percentiles[name])[chosen]
            columns[schema.time_column(time_name, name)] = pa.array(values, mask=missing)
    return columns


def counts_of(rows: Mapping[str, Sequence[Any]], phase: str, operations: tuple[str, ...]) -> dict[str, Any]:
    """One phase's arrays of counts (the PhaseResult fields offered, sent, completed, errors) from interval columns."""
    chosen = [place for place, name in enumerate(rows["phase"]) if name == phase]
    seconds = 1 + max((rows["second"][place] for place in chosen), default=-1)
    columns = {name: place for place, name in enumerate(operations)}
    counts = {name: np.zeros((seconds, len(operations)), dtype=np.int64) for name in ("offered", "sent", "completed")}
    errors = np.zeros((seconds, len(operations), ERROR_CODES), dtype=np.int64)
    names = {schema.ERROR_COLUMN_PREFIX + schema.error_name(code): code for code in range(ERROR_CODES)}
    present = [name for name in rows if name in names]
    for place in chosen:
        at = rows["second"][place], columns[rows["operation"][place]]
        for name, array in counts.items():
            array[at] += rows[name][place]
        for name in present:
            errors[(*at, names[name])] += rows[name][place]
    return {**counts, "errors": errors}


def resource_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """The rows of resources.parquet; what a row lacks is null."""
    import pyarrow as pa

    fields = [_field(name, *column) for name, column in schema.RESOURCE_COLUMNS.items()]
    columns: list[Any] = []
    for field in fields:
        if field.name == "counters":
            values: list[Any] = [list((row.get("counters") or {}).items()) for row in rows]
        else:
            values = [row.get(field.name) for row in rows]
        columns.append(pa.array(values, type=field.type))
    return pa.table(columns, schema=pa.schema(fields, metadata={"kvbench_schema": str(schema.VERSION)}))


def write(table: pa.Table, path: Path) -> None:
    """Write a Parquet file whole or not at all. Raises ArtifactError."""
    from pyarrow import parquet

    unfinished = path.with_name(path.name + ".partial")
    try:
        parquet.write_table(table, unfinished, compression="zstd")
        os.replace(unfinished, path)
    except OSError as error:
        with suppress(OSError):
            unfinished.unlink()
        raise cannot_write(path, error) from error


def read(path: Path) -> pa.Table:
    """Raises ArtifactError for a file that is no Parquet."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        return parquet.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise ArtifactError(f"cannot read {path}: {error}", "restore the file, or run again") from error
