"""The summary: its promised keys, its numbers, and that the artifact's raw files give it again."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kvbench.artifact import context, reader, schema, summary
from kvbench.artifact.errors import ArtifactError
from kvbench.artifact.writer import Writer
from kvbench.ops.results import ERROR, RESPONSE, SERVICE, WAIT, PhaseResult, ThreadUse
from kvbench.stats import histograms
from tests.artifact import runs
from tests.stats import phase_results

OPERATION = {
    "offered", "completed", "throughput_ops_s", "errors", "unknown_outcomes", "zero_throughput_s", "response_time_ns",
    "service_time_ns", "wait_time_ns",
}  # fmt: skip
TIME = {"count", "mean", "p50", "p90", "p99", "p999", "max"}
CLIENT = {"cpu_ns_per_request", "load_thread_cpu_ns_per_request", "threads", "connections", "clients"}
MEMBER = {"name", "rss_bytes_max", "uss_bytes_max", "cpu_s", "disk_write_bytes", "data_bytes"}
RUN = {
    "target", "repeat", "phase", "duration_s", "verdict", "warnings", "operations", "client", "members", "artifact",
}  # fmt: skip


def entry_of(result: PhaseResult, rows: list[dict[str, Any]] | None = None, **known: Any) -> dict[str, Any]:
    described = replace(context.from_manifest(runs.MANIFEST), warnings=(), **known)
    return summary.summarize_phase(result, rows or [], described)


def test_a_summary_has_the_keys_that_scripts_rely_on(tmp_path: Path) -> None:
    runs.write(tmp_path / "run")
    content = json.loads((tmp_path / "run" / schema.SUMMARY).read_text())
    assert (content["schema"], content["workload"], content["kvbench"]) == (1, "put", "0.1.0")
    (run,) = content["runs"]
    assert set(run) >= RUN
    assert set(run["target"]) >= {"kind", "version", "members", "snapshots", "fsync"}
    assert set(run["client"]) >= CLIENT
    assert [set(member) >= MEMBER for member in run["members"]] == [True]
    for operation in run["operations"].values():
        assert set(operation) >= OPERATION
        for time in ("response", "service", "wait"):
            assert set(operation[f"{time}_time_ns"]) >= TIME
    assert (run["phase"], run["repeat"], run["artifact"]) == ("measure", 2, ".")


@pytest.mark.parametrize("finish", [True, False])
def test_the_raw_files_give_the_summary_again(tmp_path: Path, finish: bool) -> None:
    results = runs.write(tmp_path / "run", finish=finish)
    rows = runs.samples(results[1].start_ns, 4)
    direct = summary.summarize_phase(results[1], rows, context.from_manifest(runs.MANIFEST))
    again = summary.recompute(tmp_path / "run")
    assert again == summary.document("put", "0.1.0", [direct])
    assert json.loads(json.dumps(again)) == again
    if finish:
        assert json.loads((tmp_path / "run" / schema.SUMMARY).read_text()) == again


def test_numbers_of_an_operation(tmp_path: Path) -> None:
    run = entry_of(phase_results.make(seconds=4))
    put = run["operations"]["put"]
    assert (put["offered"], put["sent"], put["completed"]) == (1200, 1200, 1180)
    assert put["throughput_ops_s"] == pytest.approx(1180 / 4.007)
    assert put["errors"] == {"NOT_FOUND": 12, "TIMEOUT": 8}
    assert put["unknown_outcomes"] == 8
    assert put["response_time_ns"]["count"] == 1180 and put["error_time_ns"]["count"] == 20
    assert put["response_time_ns"]["insufficient"] == ["p99", "p999"]
    assert run["client"]["cpu_ns_per_request"] == pytest.approx(12_345_678 / 2360)
    assert run["client"]["load_thread_cpu_ns_per_request"] == pytest.approx(3000 / 2360)
    assert run["client"]["blocked_share"] == pytest.approx(0.6)


def test_numbers_of_members_and_machine() -> None:
    result = phase_results.make(seconds=4)
    middle = replace(result, start_ns=result.start_ns + 500_000_000, duration_ns=2_000_000_000)
    run = entry_of(middle, runs.samples(result.start_ns, 4))
    (member,) = run["members"]
    assert member["name"] == "m1"
    assert member["cpu_s"] == pytest.approx(1.0) and member["cpu_user_s"] == pytest.approx(0.6)
    assert member["disk_write_bytes"] == 8192
    assert member["rss_bytes_max"] == 52_000_000 and member["samples"] == 2
    assert member["uss_bytes_max"] == 40_000_000
    assert member["data_bytes"] == 16384
    assert run["machine"]["cpu_share"] == pytest.approx(0.6)
    assert run["machine"]["client_cpu_share"] == pytest.approx(12_345_678e-9 / 4.0)
    # Of 4 s of the machine, 2.4 s were busy; 1.0 s the server's and 0.012 s the client's.
    assert run["machine"]["other_cpu_share"] == pytest.approx((2.4 - 1.0 - 12_345_678e-9) / 4.0)
    assert any("neither kvbench nor its servers took 35 %" in warning for warning in run["warnings"])


def test_a_machine_whose_time_is_stolen_is_warned_of() -> None:
    result = phase_results.make(seconds=4)
    rows = runs.samples(result.start_ns, 4)
    for second, row in enumerate(row for row in rows if row["member"] == "machine"):
        row["counters"] = {"cpu_idle_s": 0.4 * second, "cpu_iowait_s": 0.0, "cpu_steal_s": 0.4 * second}
    run = entry_of(result, rows)
    assert run["machine"]["steal_share"] == pytest.approx(0.2)
    assert run["machine"]["cpu_share"] == pytest.approx(0.6)
    assert "the hypervisor gave 20 % of the machine's CPU time to others" in run["warnings"]


def test_a_restarted_member_counts_from_zero_again() -> None:
    result = phase_results.make(seconds=4)
    rows = [row for row in runs.samples(result.start_ns, 4) if row["member"] == "m1"]
    for row in rows[3:]:
        row.update(pid=99, cpu_user_s=row["cpu_user_s"] - 3.9, cpu_system_s=row["cpu_system_s"] - 1.6)
    (member,) = entry_of(result, rows)["members"]
    assert member["cpu_user_s"] == pytest.approx(0.6 + 0.3)
    assert member["cpu_system_s"] == pytest.approx(0.4 + 0.2)


def test_a_remote_member_has_no_memory_but_is_listed() -> None:
    result = phase_results.make()
    rows = [{"t_ns": result.start_ns, "member": "far", "pid": None, "counters": {"x": 1.0}}]
    (member,) = entry_of(result, rows)["members"]
    assert (member["name"], member["rss_bytes_max"], member["cpu_s"]) == ("far", None, None)


def closed_loop(response_ns: int, clients: int, seconds: int = 10) -> PhaseResult:
    """``clients`` that are busy all the time with requests of one length."""
    each = seconds * 1_000_000_000 // response_ns
    values = np.full(each * clients, response_ns, dtype=np.int64)
    result = phase_results.make(seconds=seconds, operations=("put",), failures=0)
    return replace(
        result,
        duration_ns=seconds * 1_000_000_000,
        histograms=histograms.added(phase_results.rows_of(0, 0, time, values) for time in (WAIT, SERVICE, RESPONSE)),
    )


def test_littles_law_holds_for_busy_clients_and_warns_of_idle_ones() -> None:
    busy = entry_of(closed_loop(1_000_000, clients=3))
    assert busy["littles_law"]["ratio"] == pytest.approx(1.0, rel=1e-3)
    assert not any("Little" in warning for warning in busy["warnings"])
    idle = entry_of(closed_loop(1_000_000, clients=3), clients=6)
    assert idle["littles_law"]["ratio"] == pytest.approx(0.5, rel=1e-3)
    assert any("Little" in warning for warning in idle["warnings"])


def test_requests_that_failed_hold_their_clients_too() -> None:
    result = closed_loop(1_000_000, clients=3)
    failed = result.histograms.copy()
    failed["time"][failed["time"] == RESPONSE] = ERROR
    assert entry_of(replace(result, histograms=failed))["littles_law"]["ratio"] == pytest.approx(1.0, rel=1e-3)


def test_an_open_loop_has_no_clients_to_compare_with() -> None:
    run = entry_of(phase_results.make(), open_loop=frozenset({"measure"}))
    assert run["loop"] == "open" and run["littles_law"]["ratio"] is None


def test_watch_events_cost_no_request() -> None:
    result = phase_results.make(operations=("put", "watch"))
    assert entry_of(result)["client"]["cpu_ns_per_request"] == pytest.approx(12_345_678 / 1180)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cap_reached": 5, "in_flight_cap": 10}, "cap of 10 in flight"),
        ({"clipped": 2}, "2 values beyond an hour"),
        ({"reconnects": 4}, "connections broke 4 times"),
        ({"reconnects": 0, "seconds_merged": 3}, "percentiles of 3 seconds"),
        ({"end_reason": "failed"}, "the phase failed: "),
        ({"end_reason": "interrupted"}, "the phase was interrupted: "),
        ({"error_text": "UNKNOWN: too many"}, "refused a request: UNKNOWN: too many"),
        ({"threads": []}, "cannot be ruled out"),
        ({"threads": [ThreadUse(1000, 950, 0)]}, "--load-threads"),
        ({"duration_ns": 6_000_000_000}, "2 of 6 seconds had no success (longest row: 2)"),
    ],
)
def test_what_a_reader_must_know_is_warned_of(change: dict[str, Any], said: str) -> None:
    plain = phase_results.make()
    assert any(said in warning for warning in entry_of(replace(plain, **change))["warnings"])
    assert not any(said in warning for warning in entry_of(replace(plain, reconnects=0))["warnings"])


def test_connections_that_zookeeper_closes_for_revoked_leases_did_not_break() -> None:
    result = phase_results.make(seconds=4, operations=("lease_grant", "lease_revoke"))
    revoked = int(result.completed[:, 1].sum())
    etcd, zookeeper = ({"kind": kind} for kind in ("etcd", "zookeeper"))
    for target, reconnects, expected in (
        (zookeeper, revoked, []),
        (zookeeper, revoked + 12, ["connections broke 10 times"]),
        (etcd, 12, ["connections broke 12 times"]),
    ):
        found = entry_of(replace(result, reconnects=reconnects), target=target, connections=2)["warnings"]
        assert [warning for warning in found if warning.startswith("connections")] == expected


@pytest.mark.parametrize(
    ("part", "whole", "said"),
    [(0, 9, "0 %"), (1, 3, "33 %"), (17, 1000, "1.7 %"), (99_999_999, 100_000_000, "99.99 %"), (5, 5, "all")],
)
def test_shares_are_not_rounded_up_to_all(part: int, whole: int, said: str) -> None:
    assert summary._percent(part, whole) == said


def test_what_a_phase_that_was_cut_off_spent_is_not_known(tmp_path: Path) -> None:
    run = entry_of(replace(phase_results.make(), cpu_ns=0, threads=[]))
    assert run["client"]["cpu_ns_per_request"] is None


def test_errors_and_thin_percentiles_are_warned_of() -> None:
    found = entry_of(phase_results.make(seconds=4))["warnings"]
    assert "put: 1.7 % failed (NOT_FOUND 12, TIMEOUT 8); 8 of them may have been applied" in found
    assert "fewer than 20 values lie beyond these, too few to rely on: put p99, p99.9; get p99, p99.9" in found


def test_a_phase_without_any_request_divides_by_nothing() -> None:
    result = phase_results.make(seconds=0)
    run = entry_of(replace(result, duration_ns=0))
    assert run["client"]["cpu_ns_per_request"] is None
    assert run["operations"]["put"]["throughput_ops_s"] == 0.0
    assert json.dumps(run, allow_nan=False)


def test_a_result_with_several_runs(tmp_path: Path) -> None:
    for kind in ("etcd", "zookeeper"):
        for repeat in (1, 2):
            target = {**runs.MANIFEST["target"], "kind": kind}
            runs.write(tmp_path / f"{kind}-{repeat}", {**runs.MANIFEST, "target": target, "repeat": repeat})
    content = summary.write_result(tmp_path)
    found = [(run["target"]["kind"], run["repeat"], run["artifact"]) for run in content["runs"]]
    assert found == [
        ("etcd", 1, "etcd-1"), ("zookeeper", 1, "zookeeper-1"), ("etcd", 2, "etcd-2"), ("zookeeper", 2, "zookeeper-2"),
    ]  # fmt: skip
    result = reader.read_result(tmp_path)
    assert result.summary == content and set(result.artifacts) == {"etcd-1", "etcd-2", "zookeeper-1", "zookeeper-2"}


def test_a_result_of_two_workloads_is_refused(tmp_path: Path) -> None:
    runs.write(tmp_path / "etcd-1")
    runs.write(tmp_path / "etcd-2", {**runs.MANIFEST, "workload": "get"})
    with pytest.raises(ArtifactError, match="put, get"):
        summary.recompute(tmp_path)


def test_folders_that_hold_no_results_are_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="holds no results"):
        reader.read_result(tmp_path)
    (tmp_path / schema.MANIFEST).write_text("[1]")
    with pytest.raises(ArtifactError, match="not a JSON object"):
        reader.read(tmp_path)
    (tmp_path / schema.MANIFEST).write_text('{"schema": 99}')
    with pytest.raises(ArtifactError, match="schema 99"):
        reader.read(tmp_path)


def test_phases_of_a_writer_without_a_plan_are_all_measured(tmp_path: Path) -> None:
    with Writer(tmp_path / "run") as writer:
        writer.manifest({"workload": "adhoc"})
        writer.phase_finished(phase_results.make(phase="anything"))
        assert [run["phase"] for run in writer.finish()["runs"]] == ["anything"]
