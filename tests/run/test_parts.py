"""The parts of a run that need no servers: order, preparation, interruption, checks, displays, tables."""

import io
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from kvbench.artifact.errors import ArtifactError
from kvbench.config import ConfigError, load_workload
from kvbench.load.plan import Operation, Phase, Plan
from kvbench.ops.kinds import Kind
from kvbench.run import checks, interleave, results
from kvbench.run.display import PlainDisplay, TerminalDisplay, clock, milliseconds
from kvbench.run.interleave import orders
from kvbench.run.interrupt import Interruption
from kvbench.run.manifest import describe_run
from kvbench.run.preparation import all_phases, directories_needed
from kvbench.run.request import ExitCode, PhaseView, RunFailure, RunRequest
from tests.artifact import runs

ROOT = Path(__file__).resolve().parents[2]


def make_request(out: Path, workload: str = "put", targets: tuple[str, ...] = ("etcd",), **more: Any) -> RunRequest:
    return RunRequest(load_workload(workload), checks.parse_targets(targets), out, **more)


@settings(deadline=None)
@given(st.integers(1, 5), st.integers(1, 20), st.integers(0, 2**31))
def test_every_repeat_visits_every_target_once_in_an_order_given_by_the_seed(
    count: int, repeats: int, seed: int
) -> None:
    targets = checks.parse_targets(["etcd"] * count)
    found = list(orders(targets, repeats, seed))
    assert len(found) == repeats
    assert all(sorted(each.label for each in order) == sorted(each.label for each in targets) for order in found)
    assert found == list(orders(targets, repeats, seed))


def test_orders_differ_and_favour_no_target() -> None:
    targets = checks.parse_targets(["etcd", "zookeeper"])
    first = Counter(order[0].label for order in orders(targets, 1000, 7))
    assert 400 < first["etcd"] < 600


def test_equal_targets_get_labels_of_their_own_and_passwords_are_hidden() -> None:
    targets = checks.parse_targets(["etcd", "etcd", "etcd?fsync=off", "etcd://h:1?user=u,password=s3cret"])
    assert [each.label for each in targets] == [
        "etcd", "etcd-2", "etcd-fsync-off", "etcd-h-1-user-u-password-hidden"
    ]  # fmt: skip
    assert "s3cret" not in targets[3].text and targets[3].spec.password == "s3cret"


def test_a_preload_and_directories_come_first() -> None:
    plan = load_workload("smoke").plan
    assert [phase.name for phase in all_phases(plan, "zookeeper")] == ["parents", "preload", "warm-up", "measure"]
    assert [phase.name for phase in all_phases(plan, "etcd")] == ["preload", "warm-up", "measure"]
    parents, preload = all_phases(plan, "zookeeper")[:2]
    assert preload.count == plan.preload == 1000 and [each.kind for each in preload.operations] == [Kind.INSERT]
    assert parents.count * plan.keys.fanout >= plan.keys.count
    assert not parents.measured and not preload.measured
    assert all_phases(load_workload("put").plan, "zookeeper") == load_workload("put").plan.phases


def test_directories_leave_room_for_inserts() -> None:
    plan = load_workload("ycsb-e").plan
    without = replace(plan, operations=(Operation(Kind.GET, 1.0),))
    assert directories_needed(without) == plan.keys.count // plan.keys.fanout
    assert directories_needed(plan) > directories_needed(without)
    in_phase = replace(without, phases=(Phase("a", count=250, operations=(Operation(Kind.INSERT, 1.0),)),))
    assert directories_needed(in_phase) == directories_needed(without) + 3


def test_the_first_signal_raises_outside_a_shield_and_counts_inside() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Interruption() as interruption:
        with interruption.shielded():
            os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.count == 1
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt), interruption.shielded():
            raise KeyboardInterrupt
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_third_signal_ends_a_process_that_hangs() -> None:
    code = (
        "import os, signal, time\nfrom kvbench.run.interrupt import Interruption\n"
        "with Interruption() as interruption, interruption.shielded():\n"
        "    for _ in range(3):\n        os.kill(os.getpid(), signal.SIGTERM)\n"
        "    time.sleep(600)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (130, "interrupted three times: ending at once\n")


def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption() as interruption:
            os.kill(os.getpid(), signal.SIGHUP)
            assert interruption.count == 0
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_disk_that_is_too_full_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=100 << 20))
    with pytest.raises(RunFailure, match=r"only 0\.1 GiB free"):
        checks.check_disk(make_request(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1 << 30))
    (warning,) = checks.check_disk(make_request(tmp_path, "put-2m-256b-keys", ("etcd?members=3",)))
    assert "may need 4.4 GiB" in warning
    assert checks.check_disk(make_request(tmp_path, "put-2m-256b-keys", ("etcd://h:1",))) == []


def test_a_results_folder_has_to_be_empty_and_writable(tmp_path: Path) -> None:
    checks.check_folder(tmp_path / "new" / "folder")
    assert list((tmp_path / "new" / "folder").iterdir()) == []
    (tmp_path / "new" / "file").touch()
    with pytest.raises(RunFailure, match="is not empty, and results are never overwritten"):
        checks.check_folder(tmp_path / "new")
    with pytest.raises(RunFailure, match="cannot write results to") as caught:
        checks.check_folder(tmp_path / "new" / "file" / "below")
    assert caught.value.code == ExitCode.BAD_CONFIGURATION and "--out" in caught.value.remedy


def test_cores_that_are_not_there_are_refused_by_option() -> None:
    checks.check_cpus("cpus=", sorted(os.sched_getaffinity(0)))
    with pytest.raises(ConfigError, match="cpus=: no core 4000; this process may use"):
        checks.check_cpus("cpus=", (4000,))


def test_the_limit_on_open_files_is_raised_or_named() -> None:
    code = (
        "import resource\nfrom kvbench.run.checks import allow_connections\n"
        "limit = resource.RLIMIT_NOFILE\n"
        "resource.setrlimit(limit, (256, 1024))\n"
        "allow_connections(50)\nassert resource.getrlimit(limit) == (256, 1024)\n"
        "allow_connections(500)\nassert resource.getrlimit(limit) == (628, 1024)\n"
        "allow_connections(1000)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert "1,000 connections need 1,128 open files, and this process may have 1,024" in found.stderr


def test_bytes_are_bounded_by_counts_only() -> None:
    plan = Plan((Operation(Kind.PUT, 1.0),), (Phase("a", count=10), Phase("b", duration_s=5)), preload=5)
    assert checks.bytes_bounded(plan) == 15 * (256 + 256)


def test_the_manifest_says_what_was_run(tmp_path: Path) -> None:
    request = make_request(tmp_path, "smoke", ("etcd", "zookeeper"), seed=5, repeat=3)
    phases = all_phases(request.workload.plan, "zookeeper")
    described = {"kind": "zookeeper", "version": "3.9.5"}
    order = ("zookeeper", "etcd")
    found = describe_run(request, request.targets[1], described, 2, order, phases, tmp_path)
    assert found["target"]["version"] == "3.9.5" and found["target"]["text"] == "zookeeper"
    assert found["order"] == ["zookeeper", "etcd"] and (found["repeat"], found["repeats"]) == (2, 3)
    assert found["seeds"] == {"order": 5, "load": request.workload.plan.seed + 1} and found["plan"]["seed"] == 2
    assert [phase["name"] for phase in found["plan"]["phases"]] == ["parents", "preload", "warm-up", "measure"]
    assert [phase["measured"] for phase in found["plan"]["phases"]] == [False, False, False, True]
    assert found["machine"]["cpus"] >= 1 and found["packages"]["numba"]
    assert found["file_systems"]["results"]["kind"] == found["machine"]["file_system"]


def view(**changes: Any) -> PhaseView:
    return replace(PhaseView("etcd", "measure", 30.0, 1000), **changes)


def test_what_is_left_of_a_phase() -> None:
    assert view(elapsed_s=10.0, completed=100, rate_ops_s=100.0).left_s == pytest.approx(9.0)
    assert view(elapsed_s=29.0, completed=100, rate_ops_s=1.0).left_s == pytest.approx(1.0)
    assert view(duration_s=0.0).left_s is None
    assert view(elapsed_s=15.0, completed=900, errors=50).share_done == pytest.approx(0.95)


def test_plain_lines_come_every_few_seconds() -> None:
    stream = io.StringIO()
    eager, patient = PlainDisplay(stream, every_s=0.0), PlainDisplay(stream, every_s=3600.0)
    patient.update(view())
    assert stream.getvalue() == ""
    eager.update(view(rate_ops_s=1234.4, p50_ns=1_500_000, p99_ns=25_000_000, errors=3, in_flight=10, elapsed_s=4.0))
    assert stream.getvalue() == (
        "etcd  measure: 1,234/s, response time p50 1.5 ms p99 25 ms, 3 errors, 10 in flight, 0:00 left\n"
    )
    patient.phase_done(view(completed=5, elapsed_s=2.0, rate_ops_s=2.5))
    assert "measure: 5 done in 2.0 s" in stream.getvalue()


def test_a_line_just_said_keeps_the_next_one_back(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("kvbench.run.display.time.monotonic", lambda: now[0])
    stream = io.StringIO()
    display = PlainDisplay(stream, every_s=5.0)
    now[0] = 30.0
    display.say("the engine is compiled")
    display.update(view())
    assert stream.getvalue() == "the engine is compiled\n"
    now[0] = 35.0
    display.update(view())
    assert "measure: 0/s" in stream.getvalue()


def test_a_terminal_shows_a_bar_and_keeps_the_totals() -> None:
    stream = io.StringIO()
    display = TerminalDisplay(Console(file=stream, force_terminal=True, width=140))
    display.say("starting [etcd]")
    display.update(view(count=0, elapsed_s=15.0, rate_ops_s=99.0))
    display.phase_done(view(completed=77, elapsed_s=30.0))
    shown = stream.getvalue()
    assert "starting [etcd]" in shown and "0:15 left" in shown and "77 done in 30.0 s" in shown


def test_times_are_spelled_for_people() -> None:
    assert [milliseconds(each) for each in (None, 1_234, 1_234_567, 123_456_789, 2_433_000_000)] == [
        "-", "0.00123 ms", "1.23 ms", "123 ms", "2,433 ms"
    ]  # fmt: skip
    assert [clock(each) for each in (None, 5.9, 65.0)] == ["?", "0:05", "1:05"]


def entry(target: str, repeat: int, rate: float, **changes: Any) -> dict[str, Any]:
    times = {"count": 9, "mean": 1.0, "p50": 1_000_000, "p90": 2_000_000, "p99": 4_000_000, "p999": 5_000_000, "max": 6}
    operation = {"throughput_ops_s": rate, "errors": {"UNAVAILABLE": 2}, "response_time_ns": times}
    found = {
        "target": {"kind": target, "text": target, "version": "1.2.3"},
        "repeat": repeat,
        "phase": "measure",
        "verdict": "server-bound",
        "verdict_reason": "each load thread waited",
        "warnings": ["2 failed"],
        "operations": {"put": operation},
        "client": {"cpu_ns_per_request": 4321.0},
        "members": [{"rss_bytes_max": 5 << 20}, {"rss_bytes_max": None}],
    }
    return {**found, **changes}


def shown(entries: list[dict[str, Any]], width: int = 160) -> str:
    stream = io.StringIO()
    results.show({"workload": "put", "runs": entries}, Console(file=stream, width=width))
    return stream.getvalue()


def test_the_table_has_a_line_per_target_and_says_what_limited_it() -> None:
    text = shown([entry("zookeeper", 1, 1000.0), entry("etcd", 1, 2000.0)])
    lines = [line.split() for line in text.splitlines()]
    row = next(line for line in lines if line[:2] == ["etcd", "(1.2.3)"])
    assert row[2:] == ["put", "2,000", "1", "ms", "4", "ms", "5", "ms", "2", "4.32", "µs", "5", "MiB", "server-bound"]
    assert "etcd (1.2.3), measure: server-bound: each load thread waited" in text
    assert "put: zookeeper (1.2.3) has 0.50 times the throughput and 1.00 times the p99 response time of etcd" in text
    assert "of etcd (1.2.3) (1 pair: too few to say how sure that is)" in text
    assert text.count("warning: ") == 2


def test_repeats_are_paired_and_get_an_interval() -> None:
    rates = [(1000.0, 2000.0), (900.0, 1900.0), (1100.0, 2100.0), (500.0, 1000.0)]
    runs = [entry(name, n, pair[i]) for n, pair in enumerate(rates, 1) for i, name in enumerate(("etcd", "zookeeper"))]
    text = shown(runs)
    assert "medians of 4" in text and "4 pairs, 95 % intervals" in text
    low, high = re.search(r"2\.00 times \((1\.\d\d) to (2\.\d\d)\) the throughput", text).groups()  # type: ignore[union-attr]
    assert 1.9 <= float(low) < 2.0 < float(high) <= 2.12


@pytest.mark.parametrize("width", [80, 100, 120, 160])
def test_no_console_is_too_narrow_for_the_numbers(width: int) -> None:
    runs = [entry("etcd", 1, 1_234_567.0), entry("zookeeper://first.example:2181,second.example:2181", 1, 1000.0)]
    text = shown(runs, width)
    table = text[: text.index("etcd (1.2.3), measure")]
    assert all(len(line.rstrip()) <= width for line in table.splitlines())
    for whole in ("1,234,567", "5 MiB", "4.32 µs", "server-bound", "p99.9"):
        assert whole in table
    assert "…" not in table and ("verdict" in table.splitlines()[2]) == (width >= 120)


def test_percentiles_with_too_few_values_beyond_them_are_marked_and_not_compared() -> None:
    thin = entry("etcd", 1, 2000.0)
    thin["operations"]["put"]["response_time_ns"]["insufficient"] = ["p99", "p999"]
    text = shown([thin, entry("zookeeper", 1, 1000.0)])
    assert "1 ms   4 ms ?   5 ms ?" in re.sub(r"  +", "   ", text)
    assert "zookeeper (1.2.3) has 0.50 times the throughput of etcd" in text and "p99 response time" not in text


def test_warnings_that_differ_in_numbers_only_stand_once() -> None:
    busy = ["the machine was 97 % busy", "the machine was 99.5 % busy", "2 of 5 seconds had no success"]
    runs = [entry("etcd", n, 9.0, warnings=[warning]) for n, warning in enumerate(busy, 1)]
    assert results.warnings({"workload": "put", "runs": runs}) == [
        "etcd (1.2.3), measure: the machine was 97 % busy (1 more like it)",
        "etcd (1.2.3), measure: 2 of 5 seconds had no success",
    ]


def test_phases_are_told_in_the_order_they_had() -> None:
    runs = [entry("etcd", 1, 9.0, phase=phase) for phase in ("rate-1000", "rate-2000", "rate-16000")]
    said = results.limits({"workload": "put", "runs": runs})
    assert [line.split(":")[0] for line in said] == [
        "etcd (1.2.3), rate-1000", "etcd (1.2.3), rate-2000", "etcd (1.2.3), rate-16000"
    ]  # fmt: skip


def test_what_belongs_to_the_whole_run_stands_once_beside_its_operations() -> None:
    run = entry("etcd", 1, 2000.0)
    run["operations"]["get"] = {**run["operations"]["put"], "throughput_ops_s": 3000.0}
    lines = [line.split() for line in shown([run]).splitlines() if "ms" in line]
    assert [line[0] for line in lines] == ["etcd", "get"]
    assert "server-bound" in lines[0] and "server-bound" not in lines[1] and "3,000" in lines[1]


def test_three_targets_get_no_ratio_and_nothing_answered_gets_dashes() -> None:
    silent = entry("raft", 1, 0.0, members=[], client={"cpu_ns_per_request": None})
    silent["operations"]["put"]["response_time_ns"] = {"count": 0, "p50": 0, "p99": 0, "p999": 0}
    runs = [entry("etcd", 1, 5.0), entry("zookeeper", 1, 6.0), silent]
    assert results.ratios({"workload": "put", "runs": runs}) == []
    assert results.operation_cells("put", [silent]) == ["put", "0", "-", "-", "-", "2"]
    assert results.run_cells([silent]) == ["-", "-", "server-bound"]


def test_a_summary_that_cannot_be_written_is_printed_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.write(tmp_path / "r01-etcd")

    def full(path: Path, content: object) -> None:
        raise ArtifactError("no space left")

    monkeypatch.setattr("kvbench.artifact.summary.write_json", full)
    found = interleave._summary(make_request(tmp_path))
    assert found is not None and [run["phase"] for run in found["runs"]] == ["measure"]
    assert not (tmp_path / "summary.json").exists()
    assert interleave._summary(make_request(tmp_path / "nothing")) is None


def test_exit_codes_are_the_published_ones() -> None:
    assert {code.name: int(code) for code in ExitCode} == {
        "OK": 0, "BAD_CONFIGURATION": 2, "TARGET_FAILED": 3, "INVALID_RUN": 4, "INTERNAL": 70, "INTERRUPTED": 130
    }  # fmt: skip
