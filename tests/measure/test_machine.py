import json
import os
from pathlib import Path

from kvbench.measure import machine


def test_description_is_plain_and_complete(tmp_path: Path) -> None:
    found = machine.describe(tmp_path)
    assert json.loads(json.dumps(found)) == found
    assert found["cores"] >= 1
    assert found["cpu_model"]
    assert found["memory_bytes"] > 1 << 20
    assert found["kernel"].startswith("Linux ")
    assert found["cpus_allowed"] == sorted(os.sched_getaffinity(0))
    assert found["clock_source"]
    assert 0 <= found["steal_share"] <= 1


def test_file_system_of_known_places(tmp_path: Path) -> None:
    assert machine.file_system(Path("/proc")).kind == "proc"
    assert machine.file_system(Path("/proc/self/nowhere/at/all")).mount_point == "/proc"
    there = machine.file_system(tmp_path)
    assert there.kind and tmp_path.resolve().is_relative_to(there.mount_point)
    assert machine.file_system(tmp_path / "not" / "yet") == there


def test_a_file_that_is_not_there_reads_as_empty() -> None:
    assert machine.read_line("/proc/no/such/file") == ""
