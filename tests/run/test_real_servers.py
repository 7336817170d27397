"""kvbench run against real servers, started fresh or already there: what it leaves, and every way it can end."""

import json
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest

from kvbench.artifact import files
from kvbench.artifact import summary as summaries
from kvbench.artifact.reader import read
from kvbench.cli import main
from kvbench.load.admin import connect
from kvbench.run import phases
from kvbench.run.request import ExitCode
from kvbench.targets.found import find_all
from kvbench.targets.running import RunningTarget
from tests.run.conftest import Command, summary_of

pytestmark = pytest.mark.slow

KINDS = [kind for kind in ("etcd", "zookeeper") if find_all(kind)]
"""`make test` installs what the machine can have first; without Java there is no ZooKeeper to test."""
Start = Callable[..., Command]
Cluster = Callable[[str], RunningTarget]
SHORT = (
    "--set", "phases.warm-up.duration_s=1", "--set", "phases.measure.duration_s=2", "--set", "load.clients=50",
    "--set", "load.connections=10", "--set", "keys.count=1000",
)  # fmt: skip
ENDLESS = (
    "--set", "phases.warm-up.duration_s=1", "--set", "phases.measure.duration_s=600", "--set", "load.clients=20",
    "--set", "load.connections=10", "--set", "keys.count=1000", "--set", "phases.measure.count=0",
)  # fmt: skip


def leading(command: Command) -> psutil.Process:
    (server,) = command.servers()
    return server


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_leaves_a_whole_artifact_and_prints_its_summary(kvbench: Start, kind: str) -> None:
    command = kvbench("run", "put", "--target", kind, "--json", "--seed", "7", *SHORT)
    code, output = command.finish()
    assert code == 0, command.text
    assert json.loads(output) == summary_of(command)
    (run,) = summary_of(command)["runs"]
    assert run["phase"] == "measure" and run["target"]["kind"] == kind
    put = run["operations"]["put"]
    assert put["completed"] > 100 and put["errors"] == {} and put["offered"] >= put["completed"]
    assert put["throughput_ops_s"] == pytest.approx(put["completed"] / run["duration_s"])
    assert put["response_time_ns"]["count"] == put["completed"]
    assert run["verdict"] in ("server-bound", "generator-bound")
    assert run["members"][0]["rss_bytes_max"] > 1 << 20 and run["members"][0]["cpu_s"] > 0
    assert run["client"]["cpu_ns_per_request"] > 0 and run["client"]["connections"] == 10
    folder = command.out / run["artifact"]
    assert {path.name for path in folder.iterdir()} == {
        "manifest.json", "intervals.parquet", "histograms.hlog", "resources.parquet", "events.jsonl", "summary.json",
        "servers",
    }  # fmt: skip
    assert [path.name for path in (folder / "servers").iterdir()] == ["m1.log"]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["seeds"] == {"order": 7, "load": 7} and sum(manifest["connections"].values()) == 10
    assert manifest["target"]["commands"]["m1"] and manifest["exit_code"] == 0
    intervals = pd.read_parquet(folder / "intervals.parquet")
    assert intervals[intervals["phase"] == "measure"]["completed"].sum() == put["completed"]
    assert summaries.recompute(command.out) == summary_of(command)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_operation_succeeds(kvbench: Start, kind: str) -> None:
    command = kvbench("run", "smoke", "--target", kind)
    code, output = command.finish()
    assert code == 0, command.text
    (run,) = summary_of(command)["runs"]
    for name, operation in run["operations"].items():
        assert operation["errors"] == {}, name
        assert operation["completed"] > 0, name
    assert {"put", "get", "range", "txn", "insert", "read_modify_write", "watch"} <= set(run["operations"])
    assert "smoke, measure" in output and "read_modify_write" in output


def test_repeats_interleave_targets_with_fresh_servers(kvbench: Start) -> None:
    targets = [part for kind in (KINDS * 2)[:2] for part in ("--target", kind)]
    command = kvbench("run", "put", *targets, "--repeat", "2", "--seed", "3", *SHORT)
    code, output = command.finish()
    assert code == 0, command.text
    runs = summary_of(command)["runs"]
    assert sorted(run["repeat"] for run in runs) == [1, 1, 2, 2]
    folders = {run["artifact"] for run in runs}
    assert len(folders) == 4
    addresses = set()
    for folder in folders:
        manifest = json.loads((command.out / folder / "manifest.json").read_text())
        assert sorted(manifest["order"]) == sorted({each["target"]["label"] for each in runs})
        addresses.add((manifest["started"], manifest["target"]["addresses"][0]))
    assert len(addresses) == 4
    assert "times the throughput" in output and "2 pairs" in output


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_dies_ends_the_run_with_what_it_had(kvbench: Start, kind: str) -> None:
    command = kvbench("run", "put", "--target", kind, *ENDLESS)
    command.wait_for_phase("measure")
    leading(command).kill()
    code, _ = command.finish()
    assert code == ExitCode.TARGET_FAILED, command.text
    assert "member m1 (signal 9) ended by itself" in command.text and "m1.log" in command.text
    (run,) = summary_of(command)["runs"]
    assert run["end_reason"] == "failed" and run["operations"]["put"]["completed"] > 0
    assert sum(run["operations"]["put"]["errors"].values()) > 0
    assert any("ended by itself" in warning for warning in run["warnings"])
    artifact = read(command.out / run["artifact"])
    assert any(event["kind"] == "member_died" for event in artifact.events)


@pytest.mark.parametrize(("cap", "seconds"), [(10, 8), (0, 4)])
def test_a_stall_shows_in_the_response_time_whatever_the_cap(kvbench: Start, cap: int, seconds: int) -> None:
    schedule = ("--set", "phases.warm-up.duration_s=1", "--set", f"phases.measure.duration_s={seconds}")
    command = kvbench("run", "paced", "--target", "etcd", "--set", f"load.max_in_flight={cap}", *schedule)
    command.wait_for_phase("measure")
    server = leading(command)
    server.suspend()
    time.sleep(2)
    server.resume()
    code, _ = command.finish()
    assert code == 0, command.text
    (run,) = summary_of(command)["runs"]
    put = run["operations"]["put"]
    assert put["offered"] == put["completed"] == 2000 * seconds
    assert put["response_time_ns"]["p999"] > 1.9e9
    assert put["zero_throughput_s"] >= 1
    assert any("had no success" in warning for warning in run["warnings"])
    reached = [warning for warning in run["warnings"] if "cap of 10 in flight was reached" in warning]
    if cap:
        assert len(reached) == 1
        assert put["service_time_ns"]["p999"] < 0.5e9 < 1.9e9 < put["service_time_ns"]["max"]
    else:
        assert reached == []
        assert put["service_time_ns"]["p999"] > 1.9e9


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_keeps_what_it_had(kvbench: Start, number: signal.Signals) -> None:
    command = kvbench("run", "put", "--target", KINDS[0], "--json", *ENDLESS)
    command.wait_for_phase("measure")
    command.process.send_signal(number)
    code, output = command.finish()
    assert code == ExitCode.INTERRUPTED, command.text
    (run,) = json.loads(output)["runs"]
    assert run["end_reason"] == "interrupted" and run["operations"]["put"]["completed"] > 0
    assert run["operations"]["put"]["errors"] == {}
    assert (command.out / run["artifact"] / "resources.parquet").exists()


def test_a_second_interrupt_does_not_wait_for_a_server_that_hangs(kvbench: Start) -> None:
    command = kvbench("run", "put", "--target", KINDS[0], "--set", "load.timeout_s=600", *ENDLESS)
    command.wait_for_phase("measure")
    leading(command).suspend()
    command.process.send_signal(signal.SIGINT)
    command.wait_for("once more: do not wait")
    command.process.send_signal(signal.SIGINT)
    code, _ = command.finish()
    assert code == ExitCode.INTERRUPTED, command.text


def test_an_interrupt_while_servers_start_leaves_none(kvbench: Start) -> None:
    command = kvbench("run", "put", "--target", KINDS[-1], *ENDLESS)
    command.wait_for("starting ")
    command.process.send_signal(signal.SIGINT)
    code, _ = command.finish()
    assert code == ExitCode.INTERRUPTED, command.text


@pytest.mark.parametrize("kind", KINDS)
def test_an_existing_cluster_is_left_as_it_was(kvbench: Start, cluster: Cluster, kind: str) -> None:
    running = cluster(kind)
    address = running.members[0].address
    admin = connect(kind, [address])
    try:
        admin.prepare_prefix("others/")
        before = admin.count_keys("others/"), admin.count_keys("kvbench/")
        command = kvbench("run", "smoke", "--target", f"{kind}://{address}")
        code, _ = command.finish()
        assert code == 0, command.text
        assert (admin.count_keys("others/"), admin.count_keys("kvbench/")) == before == (before[0], 0)
        kept = kvbench("run", "put", "--target", f"{kind}://{address}", "--keep-data", *SHORT)
        assert kept.finish()[0] == 0, kept.text
        written = admin.count_keys("kvbench/")
        assert written > 0
        refused = kvbench("run", "put", "--target", f"{kind}://{address}", *SHORT)
        assert refused.finish()[0] == ExitCode.TARGET_FAILED
        assert f'holds {written:,} keys under the prefix "kvbench/" already' in refused.text
        assert admin.count_keys("kvbench/") == written
    finally:
        admin.close()


def test_completed_puts_agree_with_the_servers_own_count(kvbench: Start, cluster: Cluster) -> None:
    running = cluster("etcd")
    address = running.members[0].address
    changes = ("phases.measure.count=3000", "phases.measure.duration_s=0", "phases.warm-up.count=100",
               "phases.warm-up.duration_s=0", "load.clients=20", "load.connections=5", "keys.count=500")  # fmt: skip
    settings = [part for change in changes for part in ("--set", change)]
    command = kvbench("run", "put", "--target", f"etcd://{address}", "--keep-data", *settings)
    assert command.finish()[0] == 0, command.text
    (run,) = summary_of(command)["runs"]
    assert run["operations"]["put"]["completed"] == 3000
    admin = connect("etcd", [address])
    try:
        # An empty store is at revision 1, and every put makes one more.
        assert admin.revision() == 1 + 100 + 3000
    finally:
        admin.close()
    counters = running.counters(running.members[0])
    handled = [value for name, value in counters.items()
               if name.startswith("grpc_server_handled_total") and '"Put"' in name and '"OK"' in name]  # fmt: skip
    assert sum(handled) == 3100


def test_a_store_that_is_full_makes_the_run_invalid(kvbench: Start) -> None:
    sizes = ("--set", "values.size_bytes=8192", "--set", "keys.distribution=sequential")
    command = kvbench("run", "put", "--target", "etcd?quota=16MiB", *SHORT, *sizes)
    code, _ = command.finish()
    assert code == ExitCode.INVALID_RUN, command.text
    assert "NOSPACE" in command.text
    (run,) = summary_of(command)["runs"]
    assert run["operations"]["put"]["errors"].get("RESOURCE_EXHAUSTED", 0) > 0
    assert any("NOSPACE" in warning for warning in run["warnings"])
    assert any("RESOURCE_EXHAUSTED: etcdserver: mvcc: database space exceeded" in each for each in run["warnings"])


def test_a_results_disk_that_fills_up_ends_the_run_and_leaves_no_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real_write = os.write
    written = {"bytes": 0}

    def full(descriptor: int, data: Any) -> int:
        """The disk takes 4 KB of results and then nothing more."""
        written["bytes"] += len(data)
        if written["bytes"] > 4096:
            raise OSError(28, "No space left on device")
        return real_write(descriptor, data)

    class FullDisk:
        def __getattr__(self, name: str) -> Any:
            return full if name == "write" else getattr(os, name)

    monkeypatch.setattr(files, "os", FullDisk())
    out = tmp_path / "out"
    assert main(["run", "put", "--target", KINDS[0], "--out", str(out), *ENDLESS]) == ExitCode.INVALID_RUN
    said = capsys.readouterr().err
    assert "no space left for results" in said and "give another folder with --out" in said
    assert not [process for process in psutil.Process().children(recursive=True) if process.cwd().startswith(str(out))]


def test_a_server_that_stops_answering_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(phases, "STILL_S_MIN", 1.0)
    out = tmp_path / "out"

    over = threading.Event()

    def stop_the_server() -> None:
        while not over.wait(0.05):
            if any('"measure"' in stream.read_text() for stream in out.glob("*/intervals.partial.jsonl")):
                break
        for pid in map(
            int, re.findall(r'"pid": (\d+), ', "".join(map(Path.read_text, out.glob("*/resources*.jsonl"))))
        ):
            if pid != os.getpid():
                psutil.Process(pid).suspend()

    thread = threading.Thread(target=stop_the_server)
    thread.start()
    settings = (*ENDLESS, "--set", "load.timeout_s=0.3")
    code = main(["run", "put", "--target", KINDS[0], "--out", str(out), *settings])
    over.set()
    thread.join()
    assert code == ExitCode.TARGET_FAILED
    assert "no request succeeded for" in capsys.readouterr().err
    (run,) = json.loads((out / "summary.json").read_text())["runs"]
    assert run["end_reason"] == "failed" and run["operations"]["put"]["errors"]["TIMEOUT"] > 0
    manifest = json.loads((out / run["artifact"] / "manifest.json").read_text())
    assert manifest["command"] == ["kvbench", "run", "put", "--target", KINDS[0], "--out", str(out), *settings]
    assert not [process for process in psutil.Process().children(recursive=True) if process.cwd().startswith(str(out))]


def test_nothing_is_left_of_a_run_whose_servers_never_started(kvbench: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = kvbench("run", "put", "--target", f"{KINDS[0]}?port={taken.getsockname()[1]}")
        code, output = command.finish()
    assert code == ExitCode.TARGET_FAILED and "is in use" in command.text and output == ""
    assert not command.out.exists()


def test_a_cluster_that_never_answers_is_given_up(kvbench: Start, cluster: Cluster) -> None:
    running = cluster(KINDS[0])
    member = running.members[0]
    assert member.pid is not None
    os.kill(member.pid, signal.SIGSTOP)
    try:
        command = kvbench("run", "put", "--target", f"{KINDS[0]}://{member.address}", *SHORT)
        code, _ = command.finish()
    finally:
        os.kill(member.pid, signal.SIGCONT)
    assert code == ExitCode.TARGET_FAILED
    assert "does not answer" in command.text


def test_keys_that_cannot_be_deleted_any_more_are_said_to_be_left(kvbench: Start, cluster: Cluster) -> None:
    running = cluster("etcd")
    (member,) = running.members
    assert member.pid is not None
    command = kvbench("run", "put", "--target", f"etcd://{member.address}", *SHORT, "--set", "load.timeout_s=0.5")
    command.wait_for_phase("warm-up")
    os.kill(member.pid, signal.SIGKILL)
    command.finish()
    assert 'the keys under "kvbench/" could not be deleted: those that were written are left' in command.text
    (run,) = summary_of(command)["runs"]
    assert run["operations"]["put"]["errors"]["NOT_CONNECTED"] > 0


def test_the_grpcio_engine_leaves_the_same_artifact(kvbench: Start) -> None:
    command = kvbench("run", "put", "--target", "etcd", "--engine", "grpcio", "--processes", "2", *SHORT)
    code, _ = command.finish()
    assert code == 0, command.text
    (run,) = summary_of(command)["runs"]
    assert run["operations"]["put"]["completed"] > 0 and run["operations"]["put"]["errors"] == {}
    manifest = json.loads((command.out / run["artifact"] / "manifest.json").read_text())
    assert manifest["engine"] == {"name": "grpcio", "processes": 2}


def test_kept_data_stays(kvbench: Start) -> None:
    command = kvbench("run", "put", "--target", KINDS[0], "--keep-data", *SHORT)
    assert command.finish()[0] == 0, command.text
    (run,) = summary_of(command)["runs"]
    assert any((command.out / run["artifact"] / "servers" / "m1").iterdir())
