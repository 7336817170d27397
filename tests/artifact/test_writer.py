"""Writing: whole, in parts, cut off, twice, and onto a disk that is full."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from kvbench.artifact import reader, schema
from kvbench.artifact.errors import ArtifactError
from kvbench.artifact.writer import Writer
from tests.artifact import runs
from tests.load.test_merge import same
from tests.stats import phase_results

PROJECT = Path(__file__).parents[2]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    results = runs.write(tmp_path / "run")
    artifact = reader.read(tmp_path / "run")
    assert artifact.is_complete and not artifact.unfinished
    assert list(artifact.phases) == ["warmup", "measure"]
    for result in results:
        same(artifact.phases[result.phase], result)
    assert [event["kind"] for event in artifact.events] == [
        "phase_started", "phase_finished", "phase_started", "leader_changed", "phase_finished",
    ]  # fmt: skip
    assert artifact.resource_rows[0]["counters"] == {"etcd_disk_wal_fsync_duration_seconds_count": 0.0}
    assert len(artifact.resources) == 15 and artifact.resources.rss_bytes.max() == 90_000_000


def test_a_finished_folder_holds_the_files_of_the_schema_and_no_others(tmp_path: Path) -> None:
    runs.write(tmp_path / "run")
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        schema.MANIFEST, schema.INTERVALS, schema.HISTOGRAMS, schema.RESOURCES, schema.EVENTS, schema.SUMMARY,
    }  # fmt: skip


def test_tables_are_plain_parquet_with_units(tmp_path: Path) -> None:
    from pyarrow import parquet

    runs.write(tmp_path / "run")
    frame = pd.read_parquet(tmp_path / "run" / schema.INTERVALS)
    assert set(schema.INTERVAL_COLUMNS) <= set(frame.columns)
    row = frame[(frame.phase == "measure") & (frame.second == 3) & (frame.operation == "get")].iloc[0]
    assert (row.offered, row.completed, row.errors, row.unknown_outcomes) == (300, 295, 5, 2)
    assert (row.errors_TIMEOUT, row.errors_NOT_FOUND) == (2, 3)
    assert row.response_time_ns_p50 <= row.response_time_ns_p99 <= row.response_time_ns_max
    field = parquet.read_schema(tmp_path / "run" / schema.INTERVALS).field("response_time_ns_p99")
    assert field.metadata[b"unit"] == b"ns"


def test_a_run_that_never_began_leaves_nothing_of_its_own(tmp_path: Path) -> None:
    with Writer(tmp_path / "nothing") as writer:
        writer.discard()
    assert not (tmp_path / "nothing").exists()
    with Writer(tmp_path / "log") as writer:
        (tmp_path / "log" / "m1.log").touch()
        writer.discard()
    assert [path.name for path in (tmp_path / "log").iterdir()] == ["m1.log"]


def test_passwords_are_not_kept(tmp_path: Path) -> None:
    runs.write(tmp_path / "run")
    text = (tmp_path / "run" / schema.MANIFEST).read_text()
    assert "secret" not in text and json.loads(text)["plan"]["password"] == "(not kept)"


def test_a_run_without_a_finish_is_read_from_its_streams(tmp_path: Path) -> None:
    results = runs.write(tmp_path / "run", finish=False)
    artifact = reader.read(tmp_path / "run")
    assert not artifact.is_complete
    for result in results:
        same(artifact.phases[result.phase], result)
    assert len(artifact.resource_rows) == 15


def test_a_killed_process_leaves_every_interval_it_was_given(tmp_path: Path) -> None:
    script = f"""
import os, signal
from pathlib import Path
from kvbench.artifact.writer import Writer
from tests.artifact import runs
from tests.stats import phase_results
writer = Writer(Path({str(tmp_path / "run")!r}))
writer.manifest(runs.MANIFEST)
writer.phase_started("measure")
first, _ = phase_results.split(phase_results.make(2), 3)
writer.interval(first)
writer.resource(runs.samples(first.start_ns, 1))
os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, check=False)
    assert ended.returncode == -signal.SIGKILL
    artifact = reader.read(tmp_path / "run")
    first, _ = phase_results.split(phase_results.make(2), 3)
    assert artifact.unfinished == {"measure"}
    same(artifact.phases["measure"], replace(first, end_reason="interrupted"))
    assert len(artifact.resource_rows) == 6


@pytest.mark.parametrize("name", [schema.HISTOGRAMS, schema.EVENTS, schema.INTERVALS_STREAM, schema.RESOURCES_STREAM])
def test_a_torn_last_line_is_left_out(tmp_path: Path, name: str) -> None:
    runs.write(tmp_path / "run", finish=False)
    path = tmp_path / "run" / name
    path.write_bytes(path.read_bytes()[:-5])
    assert set(reader.read(tmp_path / "run").phases) >= {"warmup"}


@pytest.mark.parametrize("name", [schema.HISTOGRAMS, schema.EVENTS, schema.INTERVALS_STREAM])
def test_damage_in_the_middle_is_named_by_file_and_line(tmp_path: Path, name: str) -> None:
    runs.write(tmp_path / "run", finish=False)
    path = tmp_path / "run" / name
    lines = path.read_text().splitlines(keepends=True)
    lines[-2] = lines[-2][: len(lines[-2]) // 2] + "\n"
    path.write_text("".join(lines))
    with pytest.raises(ArtifactError, match=rf"{name}, line {len(lines) - 1}"):
        reader.read(tmp_path / "run")


def test_an_unfinished_phase_is_finished_as_interrupted(tmp_path: Path) -> None:
    first, _ = phase_results.split(phase_results.make(2), 3)
    with Writer(tmp_path / "run") as writer:
        writer.manifest(runs.MANIFEST)
        writer.phase_started("measure")
        writer.interval(first)
        summary = writer.finish()
    assert summary["runs"][0]["end_reason"] == "interrupted"
    same(reader.read(tmp_path / "run").phases["measure"], replace(first, end_reason="interrupted"))


def test_a_run_without_any_phase_is_readable(tmp_path: Path) -> None:
    with Writer(tmp_path / "run") as writer:
        writer.manifest(runs.MANIFEST)
        assert writer.finish()["runs"] == []
    artifact = reader.read(tmp_path / "run")
    assert artifact.phases == {} and len(artifact.intervals) == 0 and len(artifact.resources) == 0


def test_results_are_never_overwritten(tmp_path: Path) -> None:
    runs.write(tmp_path / "run")
    before = (tmp_path / "run" / schema.SUMMARY).read_bytes()
    with pytest.raises(ArtifactError, match="never overwritten") as raised:
        Writer(tmp_path / "run")
    assert "--out" in raised.value.remedy
    assert (tmp_path / "run" / schema.SUMMARY).read_bytes() == before


def test_intervals_that_exceed_the_whole_are_refused(tmp_path: Path) -> None:
    whole = phase_results.make()
    with Writer(tmp_path / "run") as writer:
        writer.interval(whole)
        smaller = replace(whole, completed=whole.completed - 1)
        with pytest.raises(ArtifactError, match="more completed"):
            writer.phase_finished(smaller)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match=r"cannot write results to .*file/run"):
        Writer(tmp_path / "file" / "run")


FULL_DISK = """
import json, sys
from pathlib import Path
from kvbench.artifact import reader
from kvbench.artifact.errors import ArtifactError
from kvbench.artifact.writer import Writer
from tests.artifact import runs
from tests.stats import phase_results
if sys.argv[2] != "mounted":
    import resource, signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
folder = Path(sys.argv[1]) / "run"
written = 0
errors = []
with Writer(folder) as writer:
    writer.manifest(runs.MANIFEST)
    writer.phase_started("measure")
    try:
        for second in range(400):
            whole = phase_results.make(second, seconds=second + 1, per_second=300)
            writer.interval(phase_results.split(whole, second)[1])
            written += 1
    except ArtifactError as error:
        errors.append([str(error), error.remedy])
    try:
        writer.finish()
    except ArtifactError as error:
        errors.append([str(error), error.remedy])
result = reader.read(folder).phases["measure"]
print(json.dumps({
    "written": written,
    "errors": errors,
    "completed": int(result.completed.sum()),
    "responses": int(result.histograms["count"][result.histograms["time"] == 2].sum()),
    "whole_lines": all(path.read_bytes()[-1:] == b"\\n" for path in folder.iterdir() if path.stat().st_size),
    "leftovers": [path.name for path in folder.glob("*.parquet.partial")],
}))
"""


def test_a_full_disk_is_said_and_what_was_written_stays(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    # A mount in a name space of its own disappears with the process. Where the system forbids it, the kernel's limit
    # on file sizes stops the writes instead.
    space = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    mount = [*space, "sh", "-c", 'mount -t tmpfs -o size=256k none "$0" && exec "$@"', str(small)]
    mounted = subprocess.run([*mount, "true"], capture_output=True, check=False).returncode == 0
    command = [sys.executable, "-c", FULL_DISK, str(small), "mounted" if mounted else "limited"]
    ended = subprocess.run(
        [*mount, *command] if mounted else command, cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    first_error, remedy = found["errors"][0]
    assert str(small / "run") in first_error
    assert ("no space left" if mounted else "File too large") in first_error
    assert "--out" in remedy and "intact" in remedy
    assert found["written"] >= 1
    assert found["completed"] == found["responses"] == found["written"] * 2 * 295
    assert found["whole_lines"] and found["leftovers"] == []
