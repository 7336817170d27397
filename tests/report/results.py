"""Results to report on: targets that differ, with a stall and events, as a run would have left them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kvbench.artifact import summary
from kvbench.artifact.writer import Writer
from kvbench.ops.errors import ERROR_CODES, ErrorCode
from kvbench.ops.results import ERROR, RESPONSE, SERVICE, WAIT, PhaseResult, ThreadUse
from kvbench.stats import histograms
from tests.stats import phase_results

SECOND_NS = 1_000_000_000
TARGETS: dict[str, dict[str, Any]] = {
    "etcd": {"kind": "etcd", "version": "3.7.3", "members": 1, "snapshots": "on", "fsync": True},
    "zookeeper": {"kind": "zookeeper", "version": "3.9.5", "members": 3, "snapshots": "on", "fsync": True},
}


def manifest(kind: str, repeat: int, phases: tuple[str, ...], arrival: str) -> dict[str, Any]:
    return {
        "kvbench": "0.1.0",
        "commit": "0123456789abcdef",
        "command": ["kvbench", "run", "put", "--target", "etcd", "--target", "zookeeper?members=3"],
        "started": "2026-01-23T10:00:00+00:00",
        "workload": {"name": "put", "question": "How many puts can a cluster take from 1,000 clients?"},
        "target": TARGETS[kind],
        "repeat": repeat,
        "machine": {"cpus": 2, "cpu_model": "Example CPU", "memory_bytes": 24 << 30, "kernel": "Linux 6.1.0"},
        "plan": {
            "clients": 1000,
            "connections": 100,
            "keys": {"count": 1_000_000, "size_bytes": 256, "distribution": "uniform"},
            "phases": [{"name": name, "measured": True, "arrival": arrival} for name in phases],
        },
    }


def phase(
    seed: int, name: str, start_ns: int, seconds: int, rate: int, response_ns: float, operations: tuple[str, ...],
    stall_at: int, open_loop: bool,
) -> PhaseResult:  # fmt: skip
    """A phase whose server stands still for the second ``stall_at`` (-1: never) and fails a few requests after it."""
    rng = np.random.default_rng(seed)
    shape = (seconds + 1, len(operations))
    counts: dict[str, Any] = {key: np.zeros(shape, dtype=np.int64) for key in ("offered", "sent", "completed")}
    errors = np.zeros((*shape, ERROR_CODES), dtype=np.int64)
    rows = []
    for second in range(seconds):
        for place in range(len(operations)):
            share = rate // (4**place)
            done = 0 if second == stall_at else int(share * rng.normal(1.0, 0.04))
            failed = done // 200 if second == stall_at + 1 and stall_at >= 0 else 0
            counts["offered"][second, place] = share if open_loop else done
            counts["sent"][second, place] = done
            counts["completed"][second, place] = done - failed
            errors[second, place, ErrorCode.UNAVAILABLE] = failed
            if not done:
                continue
            service = rng.gamma(6.0, response_ns * (1 + place) / 6.0, done) + 2e5
            wait = rng.exponential(2e4, done)
            if second == stall_at + 1 and stall_at >= 0:
                (wait if open_loop else service)[: done // 20] += rng.uniform(0, 1e9, done // 20)
            for time, values in ((WAIT, wait), (SERVICE, service), (RESPONSE, wait + service)):
                rows.append(phase_results.rows_of(second, place, time, values[failed:].astype(np.int64)))
            rows.append(phase_results.rows_of(second, place, ERROR, service[:failed].astype(np.int64)))
    return PhaseResult(
        phase=name, operations=operations, start_ns=start_ns, duration_ns=seconds * SECOND_NS + 3_000_000,
        errors=errors, histograms=histograms.added(rows), threads=[ThreadUse(seconds * SECOND_NS, SECOND_NS, 10**7)],
        in_flight_cap=65_536, in_flight_max=1000, cpu_ns=int(5000 * counts["completed"].sum()), end_reason="duration",
        **counts,
    )  # fmt: skip


def samples(kind: str, start_ns: int, seconds: int, rate: int) -> list[dict[str, Any]]:
    """Memory, CPU and disk of the members, the client and the machine, once a second from 2 s before the start."""
    rows: list[dict[str, Any]] = []
    members = [f"m{number}" for number in range(1, int(TARGETS[kind]["members"]) + 1)]
    base = 60 << 20 if kind == "etcd" else 380 << 20
    for second in range(-2, seconds + 3):
        t_ns = start_ns + second * SECOND_NS
        age = second + 2
        for place, member in enumerate(members):
            rows.append(
                {
                    "t_ns": t_ns, "member": member, "pid": 100 + place,
                    "rss_bytes": base + age * (9 << 20) // (1 + place) + place * (20 << 20), "uss_bytes": base,
                    "cpu_user_s": age * 0.9 / (1 + place), "cpu_system_s": age * 0.3 / (1 + place), "read_bytes": 0,
                    "write_bytes": int(age * rate * 1100), "threads": 12, "data_bytes": age * rate * 512,
                    "counters": {},
                }
            )  # fmt: skip
        rows.append(
            {"t_ns": t_ns, "member": "kvbench", "pid": 9, "rss_bytes": 210 << 20, "cpu_user_s": age * 0.07,
             "cpu_system_s": age * 0.08}
        )  # fmt: skip
        rows.append(
            {"t_ns": t_ns, "member": "machine", "pid": None, "cpu_user_s": age * 1.1, "cpu_system_s": age * 0.5,
             "counters": {"cpu_idle_s": age * 0.4, "cpu_iowait_s": 0.0, "cpu_steal_s": 0.0}}
        )  # fmt: skip
    return rows


def write(
    folder: Path,
    repeats: int = 1,
    kinds: tuple[str, ...] = ("etcd", "zookeeper"),
    operations: tuple[str, ...] = ("put",),
    phases: tuple[str, ...] = ("measure",),
    arrival: str = "closed",
    seconds: int = 20,
    finish: bool = True,
    keys: tuple[int, int] = (500_000, 500_000),
) -> Path:
    """A result's folder; ``finish=False`` leaves it as a killed kvbench would."""
    for repeat in range(1, repeats + 1):
        for place, kind in enumerate(kinds):
            rate = (3000, 1900)[place % 2] + 40 * repeat
            with Writer(folder / f"{kind}-{repeat}", kvbench="0.1.0") as writer:
                writer.manifest(manifest(kind, repeat, phases, arrival))
                start_ns = phase_results.START_NS
                writer.resource(samples(kind, start_ns, seconds * len(phases), rate))
                for number, name in enumerate(phases):
                    stall = -1 if place == 0 or number else seconds // 2
                    result = phase(
                        10 * repeat + place, name, start_ns + number * (seconds + 1) * SECOND_NS, seconds,
                        rate * (1 + number), (2.5e6 + 2e6 * place) * (1 + number**2 / 4), operations, stall,
                        arrival != "closed",
                    )  # fmt: skip
                    result = replace(result, keys_touched=keys[place % 2])
                    writer.phase_started(name)
                    if stall >= 0:
                        writer.event("leader_changed", t_ns=result.start_ns + stall * SECOND_NS)
                    if finish:
                        writer.phase_finished(result)
                    else:
                        writer.interval(replace(result, threads=[]))
                if finish:
                    writer.finish()
    if finish:
        summary.write_result(folder)
    return folder
