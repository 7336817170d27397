"""Names, types, units and meanings of what an artifact holds. Version 1.

A later version may add files, columns and keys; it never gives one of these another meaning.

manifest.json         what was run: MANIFEST_KEYS and whatever else the run knows (machine, flags, seeds)
intervals.parquet     one row per phase, second and operation: INTERVAL_COLUMNS, and per time TIME_COLUMNS
histograms.hlog       HdrHistogram V2 interval log; Tag = phase/operation/time; values in ns
resources.parquet     one row per sample and member: RESOURCE_COLUMNS
events.jsonl          one JSON object per line: EVENT_KEYS and the event's own fields
summary.json          what tables and gates read (artifact.summary)

While a run goes on, and after one that was cut off, INTERVALS_STREAM and RESOURCES_STREAM stand in for the Parquet
files.
"""

from kvbench.ops.errors import ERROR_NAMES

VERSION = 1

MANIFEST = "manifest.json"
INTERVALS = "intervals.parquet"
HISTOGRAMS = "histograms.hlog"
RESOURCES = "resources.parquet"
EVENTS = "events.jsonl"
SUMMARY = "summary.json"
INTERVALS_STREAM = "intervals.partial.jsonl"
RESOURCES_STREAM = "resources.partial.jsonl"

MANIFEST_KEYS: dict[str, str] = {
    "schema": "int, this VERSION; written by the writer",
    "kvbench": "str, kvbench's version",
    "workload": "str, the workload's name, or a table with 'name' and the effective configuration",
    "target": "table: kind, version, members, snapshots, fsync, exact flags",
    "repeat": "int from 1",
    "plan": "load.plan.Plan as a table; of it are read: clients, connections, think_time_s, phases",
    "machine": "table; of it are read: cpus (that the run may use), else cores",
    "warnings": "list of sentences known before the load began",
}

INTERVAL_COLUMNS: dict[str, tuple[str, str, str]] = {
    "phase": ("string", "", "name of the phase"),
    "second": ("int32", "s", "since the phase's start; a row counts from here to the next second"),
    "operation": ("string", "", "ops.kinds name"),
    "offered": ("int64", "requests", "scheduled in this second"),
    "sent": ("int64", "requests", "first sent in this second"),
    "completed": ("int64", "requests", "succeeded in this second"),
    "errors": ("int64", "requests", "failed in this second; by code in columns errors_<CODE> of codes that occurred"),
    "unknown_outcomes": ("int64", "requests", "of the errors, those that may have been applied all the same"),
}
ERROR_COLUMN_PREFIX = "errors_"

TIMES: tuple[str, ...] = ("wait", "service", "response", "error")
"""Position = ops.results.WAIT, SERVICE, RESPONSE, ERROR. "error" is the response time of requests that failed."""

TIME_COLUMNS: dict[str, tuple[str, str, str]] = {
    "p50": ("int64", "ns", "half of the values are not above it"),
    "p90": ("int64", "ns", "90 % are not above it"),
    "p99": ("int64", "ns", "99 % are not above it"),
    "p999": ("int64", "ns", "99.9 % are not above it"),
    "max": ("int64", "ns", "the largest value, to 3 significant digits"),
}
"""Per time t of TIMES a column t_time_ns_<name>, null where the second has no value."""

RESOURCE_COLUMNS: dict[str, tuple[str, str, str]] = {
    "t_ns": ("int64", "ns", "CLOCK_MONOTONIC when the sample was begun"),
    "phase": ("string", "", "the phase under way; empty between phases"),
    "member": ("string", "", "the server's name; kvbench: the client itself; machine: all of it"),
    "pid": ("int64", "", "process id; null: a remote member, or the machine"),
    "rss_bytes": ("int64", "bytes", "resident memory"),
    "uss_bytes": ("int64", "bytes", "memory that only this process maps"),
    "cpu_user_s": ("float64", "s", "since the process started"),
    "cpu_system_s": ("float64", "s", "since the process started"),
    "read_bytes": ("int64", "bytes", "read from storage since the process started"),
    "write_bytes": ("int64", "bytes", "written to storage since the process started"),
    "ctx_switches_voluntary": ("int64", "", "since the process started"),
    "ctx_switches_involuntary": ("int64", "", "since the process started"),
    "threads": ("int64", "", "threads now"),
    "open_files": ("int64", "", "file descriptors now"),
    "data_bytes": ("int64", "bytes", "blocks allocated to the data folder"),
    "data_apparent_bytes": ("int64", "bytes", "lengths of the data folder's files, holes and all"),
    "counters": ("map<string, float64>", "", "the server's own counters, as it names them"),
}

EVENT_KEYS: dict[str, str] = {
    "t_ns": "int, CLOCK_MONOTONIC",
    "wall_s": "float, seconds since the epoch",
    "kind": "str; PHASE_STARTED, PHASE_FINISHED, or a server's or fault's own",
}
PHASE_STARTED = "phase_started"
PHASE_FINISHED = "phase_finished"
"""Carries all of a PhaseResult that is not counted by the second."""

KVBENCH_MEMBER = "kvbench"
MACHINE_MEMBER = "machine"


def time_column(time: str, name: str) -> str:
    """The column of one percentile of one time: response_time_ns_p99."""
    return f"{time}_time_ns_{name}"


def error_name(code: int) -> str:
    """The code's name in artifacts; codes that this version does not know keep their number."""
    return ERROR_NAMES.get(code, f"CODE_{code}")
