"""The doctor: every line is measured, judged by stated bounds, and has a remedy where it is not ok."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench import doctor
from kvbench.cli import main
from kvbench.doctor import BAD, OK, WARN
from kvbench.measure import machine


def test_every_finding_that_is_not_ok_has_a_remedy(tmp_path: Path) -> None:
    found = doctor.examine(tmp_path / "not" / "there")
    names = [finding.name for finding in found]
    for expected in ("cores", "CPU governor", "steal and load", "swap", "ulimit -n", "clock source", "wake-up lag",
                     "memory", "results folder", "results disk space", "results fdatasync", "etcd", "zookeeper",
                     "Java", "Go and Maven", "compiled kernels"):  # fmt: skip
        assert expected in names
    assert len(names) == len(set(names))
    for finding in found:
        assert finding.state in (OK, WARN, BAD) and finding.seen
        assert bool(finding.remedy) == (finding.state != OK), finding


def test_sync_times_are_measured_within_bounds(tmp_path: Path) -> None:
    times = doctor.measure_sync(tmp_path, count=5, seconds=60.0)
    assert len(times) == 5 and all(time > 0 for time in times)
    assert len(doctor.measure_sync(tmp_path, count=5, seconds=0.0)) == 1
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_bad(tmp_path: Path) -> None:
    finding = doctor.sync_time("results", tmp_path / "missing")
    assert finding.state == BAD and "cannot be measured" in finding.seen


@pytest.mark.parametrize(
    ("kind", "name", "state"),
    [
        ("ext4", "results", OK),
        ("nfs4", "results", BAD),
        ("tmpfs", "results", WARN),
        ("tmpfs", "temporary", OK),
        ("overlay", "results", WARN),
    ],
)
def test_file_systems_are_judged(
    kind: str, name: str, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = machine.FileSystem(kind, "device", "/", "rw")
    monkeypatch.setattr(machine, "file_system", lambda path: where)
    assert doctor.file_system(name, tmp_path).state == state


def test_clock_sources_are_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    for source, state in (("tsc", OK), ("kvm-clock", OK), ("hpet", BAD), ("acpi_pm", BAD)):
        monkeypatch.setattr(machine, "clock_source", lambda source=source: source)
        assert doctor.clock().state == state


def test_governors_are_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, state in (("", OK), ("performance", OK), ("powersave", WARN)):
        monkeypatch.setattr(machine, "governor", lambda name=name: name)
        assert doctor.governor().state == state


@settings(deadline=None)
@given(st.lists(st.floats(0, 1e9), min_size=1))
def test_quantiles_leave_the_right_share_above(values: list[float]) -> None:
    for share in (0.5, 0.99):
        found = doctor.quantile(values, share)
        assert found in values
        assert sum(value <= found for value in values) >= share * len(values) - 1e-9


def test_json_has_every_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json", "--results", str(tmp_path)]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {"name", "state", "seen", "remedy"} == set(rows[0])


def test_the_table_names_every_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--results", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "results fdatasync" in shown and "wake-up lag" in shown
