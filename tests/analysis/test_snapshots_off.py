"""The study of snapshots=off: its tables, made from results on disk as a run leaves them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from analysis.snapshots_off import analyze
from kvbench.stats.comparison import paired_ratio
from tests.report import results

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three repeats of two targets, of which the second is turned into the first without snapshots."""
    written = results.write(tmp_path_factory.mktemp("study") / "results", repeats=3, seconds=4)
    for path in written.glob("zookeeper-*/manifest.json"):
        manifest = json.loads(path.read_text())
        manifest["target"] = {**results.TARGETS["etcd"], "snapshots": "off"}
        path.write_text(json.dumps(manifest))
    return written


def test_a_row_per_run(folder: Path) -> None:
    runs = analyze.runs_of(folder)
    assert list(zip(runs["store"], runs["snapshots"], runs["repeat"], strict=True)) == [
        ("etcd 3.7.3", snapshots, repeat) for snapshots in ("on", "off") for repeat in (1, 2, 3)
    ]
    assert (runs["keys"] == 500_000).all() and (runs["puts/s"] > 0).all()


def test_medians_over_the_repeats(folder: Path) -> None:
    runs = analyze.runs_of(folder)
    shown = analyze.medians(runs)
    on = runs[runs["snapshots"] == "on"]
    assert list(shown.index) == [("etcd 3.7.3", "on"), ("etcd 3.7.3", "off")]
    first = shown.xs(("etcd 3.7.3", "on"))
    assert (first["runs"], first["puts/s"]) == (3, f"{on['puts/s'].median():,.0f}")
    assert first["failed"] == on["failed"].sum() and str(first["RSS max"]).endswith("MiB")


def test_ratios_pair_runs_of_one_repeat(folder: Path) -> None:
    runs = analyze.runs_of(folder)
    line = analyze.ratios(runs).xs("etcd 3.7.3")
    on, off = (runs[runs["snapshots"] == each].set_index("repeat")["puts/s"] for each in ("on", "off"))
    expected = paired_ratio(on.tolist(), off.tolist())
    assert line["pairs"] == "3" and line["puts/s"] == analyze.spelled(expected)
    assert "(" in str(line["RSS max"])


def test_memory_at_unequal_key_counts_has_no_ratio(folder: Path) -> None:
    runs = analyze.runs_of(folder)
    runs.loc[0, "keys"] = 1
    line = analyze.ratios(runs).xs("etcd 3.7.3")
    assert line["RSS max"] == line["data on disk"] == "key counts differ"
    assert "(" in str(line["puts/s"])


def test_a_store_without_pairs_has_no_line(folder: Path) -> None:
    runs = analyze.runs_of(folder)
    assert analyze.ratios(runs[runs["snapshots"] == "on"]).empty
    two = pd.concat([runs.iloc[:2], runs.iloc[3:5]])
    assert "(" not in str(analyze.ratios(two).xs("etcd 3.7.3")["puts/s"])


def test_the_script_prints_both_tables_and_refuses_other_folders(folder: Path, tmp_path: Path) -> None:
    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        script = ROOT / "analysis" / "snapshots_off" / "analyze.py"
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, str(script), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    found = run(str(folder))
    assert (found.returncode, found.stderr) == (0, "")
    assert "puts/s" in found.stdout and "snapshots off / on" in found.stdout
    for refused in (run(), run(str(tmp_path))):
        assert refused.returncode == 2 and refused.stdout == "" and "Traceback" not in refused.stderr
