"""Whole artifacts made of generated phases: a manifest, two phases, samples of a server, the client and the machine."""

from pathlib import Path
from typing import Any

from kvbench.artifact.writer import Writer
from kvbench.ops.results import PhaseResult
from tests.stats import phase_results

SECOND_NS = 1_000_000_000

MANIFEST: dict[str, Any] = {
    "kvbench": "0.1.0",
    "workload": {"name": "put", "question": "How many?"},
    "target": {"kind": "etcd", "version": "3.7.3", "members": 1, "snapshots": "on", "fsync": True},
    "repeat": 2,
    "machine": {"cores": 2},
    "plan": {
        "clients": 3,
        "connections": 2,
        "think_time_s": 0.0,
        "password": "secret",
        "phases": [
            {"name": "warmup", "measured": False, "arrival": "closed"},
            {"name": "measure", "measured": True, "arrival": "closed"},
        ],
    },
    "warnings": ["etcd 3.7.3 runs on one member"],
}


def samples(start_ns: int, seconds: int) -> list[dict[str, Any]]:
    """A server that uses half a core and 1 MB more each second, the client, and a machine of two cores."""
    rows: list[dict[str, Any]] = []
    for second in range(seconds + 1):
        row = {"t_ns": start_ns + second * SECOND_NS, "phase": "measure"}
        rows += [
            {
                **row,
                "member": "m1",
                "pid": 77,
                "rss_bytes": 50_000_000 + second * 1_000_000,
                "uss_bytes": 40_000_000 if second == 0 else None,
                "cpu_user_s": 3.0 + 0.3 * second,
                "cpu_system_s": 1.0 + 0.2 * second,
                "read_bytes": 0,
                "write_bytes": 4096 * second,
                "ctx_switches_voluntary": 10 * second,
                "ctx_switches_involuntary": second,
                "threads": 9,
                "open_files": 20,
                "data_bytes": 8192 * second,
                "data_apparent_bytes": 64_000_000,
                "counters": {"etcd_disk_wal_fsync_duration_seconds_count": 5.0 * second},
            },
            {**row, "member": "kvbench", "pid": 78, "rss_bytes": 90_000_000, "cpu_user_s": 0.1 * second},
            {
                **row,
                "member": "machine",
                "pid": None,
                "cpu_user_s": 0.8 * second,
                "cpu_system_s": 0.4 * second,
                "counters": {"cpu_idle_s": 0.7 * second, "cpu_iowait_s": 0.1 * second, "cpu_steal_s": 0.0},
            },
        ]
    return rows


def phases() -> list[PhaseResult]:
    """A warm-up of 2 s, then a measured phase of 4 s."""
    start = phase_results.START_NS
    return [
        phase_results.make(1, seconds=2, phase="warmup", start_ns=start - 3 * SECOND_NS),
        phase_results.make(2, seconds=4, phase="measure"),
    ]


def write(folder: Path, manifest: dict[str, Any] | None = None, finish: bool = True) -> list[PhaseResult]:
    """An artifact as a run writes it: parts once a second, then the whole. Returns the phases."""
    results = phases()
    with Writer(folder, kvbench="0.1.0") as writer:
        writer.manifest(MANIFEST if manifest is None else manifest)
        for result in results:
            writer.phase_started(result.phase, clients=3)
            first, _ = phase_results.split(result, 1)
            writer.interval(first)
            if result.phase == "measure":
                writer.resource(samples(result.start_ns, 4))
                writer.event("leader_changed", member="m1")
            writer.phase_finished(result)
        if finish:
            writer.finish()
    return results
