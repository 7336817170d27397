"""The command line: what it accepts, what it says of what it does not, and its exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from kvbench.artifact.errors import ArtifactError
from kvbench.cli import failures, main, running
from kvbench.config import ConfigError, packaged_workloads
from kvbench.load.protocol import EngineError
from kvbench.run.request import ExitCode, RunFailure
from kvbench.targets.running import TargetError
from kvbench.targets.spec import TargetSpecError


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Standard error of a command that is refused as bad configuration, with nothing on standard output."""
    assert main(arguments) == ExitCode.BAD_CONFIGURATION
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    return said.err


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for command in ("run", "list", "report", "servers", "calibrate", "doctor"):
        assert f"\n  {command} " in shown


@pytest.mark.parametrize(
    "command", [["run"], ["list"], ["report"], ["servers", "list"], ["servers", "install"], ["calibrate"], ["doctor"]]
)
def test_every_command_has_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--help"]) == 0
    assert "Usage: " in capsys.readouterr().out


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from kvbench.cli import main; main(['--help']);"
        "heavy = {'numba', 'numpy', 'pandas', 'pyarrow', 'matplotlib', 'grpc', 'scipy', 'rich'} & set(sys.modules);"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")


def test_both_ways_to_start_it_print_the_version() -> None:
    found = subprocess.run([sys.executable, "-m", "kvbench", "--version"], capture_output=True, text=True, check=True)
    assert found.stdout.startswith("kvbench, version 0.1.0")


def test_list_prints_every_question(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == list(packaged_workloads())
    assert main(["list"]) == 0
    assert rows[0]["question"] in capsys.readouterr().out


def test_servers_list_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["servers", "list", "--json"]) == 0
    for row in json.loads(capsys.readouterr().out):
        assert {"kind", "version", "source", "path", "warning"} == set(row)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "putt", "--target", "etcd"], 'unknown workload "putt"; did you mean "put"?'),
        (["run", "put", "--target", "etdc"], "--target etdc: unknown target 'etdc': did you mean 'etcd'?"),
        (["run", "put", "--target", "etcd?member=3"], "member"),
        (["run", "put", "--target", "etcd", "--set", "load.client=5"], 'did you mean "clients"?'),
        (["run", "put", "--target", "etcd", "--load-threads", "0"], "--load-threads 0: has to be from 1 to"),
        (["run", "put", "--target", "etcd", "--load-cpus", "a"], '--load-cpus "a": write core numbers'),
        (["run", "put", "--target", "etcd", "--load-cpus", "9999"], "--load-cpus: no core 9999"),
        (["run", "put", "--target", "etcd?cpus=4000"], "--target etcd?cpus=4000: cpus=: no core 4000"),
        (["run", "put", "--target", "etcd", "--processes", "2"], "--processes is for --engine grpcio"),
        (["run", "put", "--target", "etcd", "--engine", "grpcio", "--load-threads", "2"], "has --processes"),
        (["run", "put", "--target", "zookeeper", "--engine", "grpcio"], "the engine grpcio speaks to etcd only"),
        (["run", "put", "--target", "etcd://h:1?ca=x.pem"], "the fast engine does not speak TLS; add --engine grpcio"),
        (["run", "put", "--target", "etcd://h:1?user=u,password=s3cret"], "does not log in to etcd; add --engine grpc"),
        (["run", "put", "--target", "zookeeper://h:1?ca=x.pem"], "without TLS only"),
        (["run", "put-2m", "--target", "etcd://h:1"], 'keys.prefix ("k") has to end in /'),
        (
            ["run", "lease-churn", "--target", "zookeeper", "--set", "load.connections=10"],
            "on ZooKeeper a lease is a session",
        ),
        (["run", "put", "--target", "etcd", "--repeat", "0"], "Invalid value for '--repeat'"),
        (["servers", "install"], "name what to install"),
        (["report", "no-such-folder"], "does not exist"),
        (["repot"], "No such command 'repot'"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    said = refusal(capsys, *arguments)
    assert message in said
    assert "s3cret" not in said
    assert os.listdir(tmp_path) == []


def test_a_version_that_is_not_there_is_a_failed_target(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", "put", "--target", "etcd?version=3.7.99"]) == ExitCode.TARGET_FAILED
    said = capsys.readouterr().err
    assert "etcd 3.7.99 is not on this machine" in said and "kvbench servers install etcd@3.7.99" in said


def test_a_certificate_that_cannot_be_read_is_refused_before_anything_starts(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    target = "etcd://127.0.0.1:1?ca=missing.pem"
    assert main(["run", "put", "--target", target, "--engine", "grpcio"]) == ExitCode.TARGET_FAILED
    assert "cannot read missing.pem" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


def test_a_cluster_that_does_not_answer_is_a_failed_target(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ["run", "put", "--target", "etcd://127.0.0.1:1", "--out", str(tmp_path / "out"), "--json"]
    assert main(arguments) == ExitCode.TARGET_FAILED
    said = capsys.readouterr()
    assert "etcd at 127.0.0.1:1 does not answer" in said.err
    assert said.out == ""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("what"), 2),
        (TargetSpecError("what", "mend"), 2),
        (TargetError("what", "mend", "the log"), 3),
        (EngineError("what"), 3),
        (RunFailure(ExitCode.INVALID_RUN, "what", "mend"), 4),
        (ArtifactError("what", "mend"), 2),
        (click.UsageError("what"), 2),
        (click.exceptions.Abort(), 130),
        (click.exceptions.Exit(5), 5),
    ],
)
def test_every_error_has_its_exit_code(error: Exception, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert failures.explain(error, ["kvbench"]) == code
    said = capsys.readouterr().err
    assert "Traceback" not in said
    if str(error) == "what":
        assert "what" in said
        assert ("mend" in said) == bool(getattr(error, "remedy", ""))


def test_a_fault_of_our_own_is_one_line_and_a_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KVBENCH_CACHE", str(tmp_path))
    try:
        raise KeyError("inner")
    except KeyError as error:
        assert failures.explain(error, ["kvbench", "run"]) == ExitCode.INTERNAL
    said = capsys.readouterr().err
    assert "KeyError: 'inner'" in said and "Traceback" not in said
    (kept,) = (tmp_path / "crashes").iterdir()
    assert str(kept) in said
    assert "Traceback" in kept.read_text() and "kvbench run" in kept.read_text()


def test_a_crash_file_goes_elsewhere_when_the_cache_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("KVBENCH_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    kept = Path(failures.write_crash(ValueError("x"), ["kvbench"]))
    assert kept.parent == tmp_path and "ValueError: x" in kept.read_text()


def test_other_systems_are_turned_away_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert main(["--help"]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and "Linux only" in said.err and said.out == ""


def test_the_default_folder_is_a_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = running.default_folder("put")
    first.mkdir(parents=True)
    second = running.default_folder("put")
    assert first != second and first.parent == second.parent == Path("results/put")


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = f"{sys.executable} -m kvbench list --json | head -c 1"
    found = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr, found.stdout) == (0, "", "[")


def test_workloads_are_found_from_any_folder(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[1]
    found = subprocess.run(
        [sys.executable, "-m", "kvbench", "list", "--json"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert "ycsb-a" in [row["name"] for row in json.loads(found.stdout)]
