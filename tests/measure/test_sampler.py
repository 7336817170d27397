import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from kvbench.measure.rows import KVBENCH, MACHINE, ResourceRow, Watched
from kvbench.measure.sampler import Sampler, Schedule

HOLD_64_MIB = """
import sys
block = bytearray(64 << 20)
block[::4096] = b"x" * len(block[::4096])
print("ready", flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True)
class Member:
    name: str
    pid: int | None = None
    data_folder: Path | None = None


@pytest.fixture
def holder() -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD_64_MIB], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.communicate()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "nothing happened for 30 s"
        time.sleep(0.005)


def of(rows: list[ResourceRow], member: str) -> list[ResourceRow]:
    return [row for row in rows if row["member"] == member]


def test_a_process_is_read_in_full_in_the_first_and_the_last_sample(
    holder: "subprocess.Popen[str]", tmp_path: Path
) -> None:
    (tmp_path / "wal").write_bytes(b"x" * 10_000)
    rows: list[ResourceRow] = []
    with Sampler([Member("m1", holder.pid, tmp_path)], 0.02, rows.append) as sampler:
        wait_until(lambda: len(of(rows, "m1")) >= 5)
    assert sampler.failure is None
    seen = of(rows, "m1")
    for row in (seen[0], seen[-1]):
        assert row["pid"] == holder.pid
        assert row["rss_bytes"] is not None and row["rss_bytes"] >= 64 << 20
        assert row["uss_bytes"] is not None and 64 << 20 <= row["uss_bytes"] <= row["rss_bytes"]
        assert row["cpu_user_s"] is not None and row["cpu_user_s"] >= 0
        assert row["threads"] == 1
        assert row["open_files"] is not None and row["open_files"] >= 3
        assert row["ctx_switches_voluntary"] is not None
        assert row["read_bytes"] is not None and row["write_bytes"] is not None
        assert row["data_apparent_bytes"] == 10_000
        assert row["data_bytes"] is not None and row["data_bytes"] >= 10_000
    times = [row["t_ns"] for row in seen]
    assert times == sorted(set(times))
    assert all(row["rss_bytes"] is not None for row in seen)


def test_costly_readings_are_spread_out(holder: "subprocess.Popen[str]") -> None:
    rows: list[ResourceRow] = []
    with Sampler([Member("m1", holder.pid)], 0.005, rows.append):
        wait_until(lambda: len(of(rows, "m1")) >= 40)
    read = sum(row["uss_bytes"] is not None for row in of(rows, "m1"))
    # 64 MiB cost about a millisecond to walk: at 0.1 % of a core that is once a second.
    assert 2 <= read < len(of(rows, "m1")) / 2


def test_a_member_that_ends_leaves_rows_of_none(holder: "subprocess.Popen[str]") -> None:
    rows: list[ResourceRow] = []
    with Sampler([Member("m1", holder.pid)], 0.01, rows.append) as sampler:
        wait_until(lambda: len(of(rows, "m1")) >= 2)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        wait_until(lambda: of(rows, "m1")[-1]["rss_bytes"] is None)
    assert sampler.failure is None
    last = of(rows, "m1")[-1]
    assert last["pid"] == holder.pid and last["cpu_user_s"] is None and last["uss_bytes"] is None
    assert of(rows, KVBENCH)[-1]["rss_bytes"] is not None


def test_a_pid_that_never_was(tmp_path: Path) -> None:
    rows: list[ResourceRow] = []
    Sampler([Member("gone", 2**22 + 1, tmp_path / "nothing")], 0.01, rows.append).stop()
    assert rows == []
    with Sampler([Member("gone", 2**22 + 1, tmp_path / "nothing")], 0.01, rows.append) as sampler:
        wait_until(lambda: len(rows) > 0)
    assert sampler.failure is None
    assert of(rows, "gone")[0]["rss_bytes"] is None
    assert of(rows, "gone")[0]["data_bytes"] == 0


def test_remote_members_have_counters_only() -> None:
    rows: list[ResourceRow] = []

    def counters(member: Watched) -> Mapping[str, float]:
        return {"puts": 7.0, "name_length": float(len(member.name))}

    with Sampler([Member("far"), Member("farther")], 0.01, rows.append, counters):
        wait_until(lambda: all(any(row["counters"] for row in of(rows, name)) for name in ("far", "farther")))
    assert of(rows, "far")[-1]["counters"] == {"puts": 7.0, "name_length": 3.0}
    assert of(rows, "farther")[-1]["counters"] == {"puts": 7.0, "name_length": 7.0}
    assert {row["pid"] for row in of(rows, "far")} == {None}


def test_counters_are_in_the_first_and_the_last_sample() -> None:
    rows: list[ResourceRow] = []
    now = {"puts": 1.0}
    with Sampler([Member("m1")], 3600.0, rows.append, lambda member: dict(now)):
        wait_until(lambda: len(of(rows, MACHINE)) == 1)
        now["puts"] = 2.0
    assert [row["counters"] for row in of(rows, "m1")] == [{"puts": 1.0}, {"puts": 2.0}]


def test_a_member_that_hangs_or_fails_delays_nobody() -> None:
    rows: list[ResourceRow] = []
    release = threading.Event()

    def counters(member: Watched) -> Mapping[str, float]:
        if member.name == "hangs":
            release.wait(30)
        raise ConnectionResetError("no such server")

    sampler = Sampler([Member("hangs"), Member("fails")], 0.01, rows.append, counters)
    sampler.start()
    wait_until(lambda: len(of(rows, "hangs")) >= 10)
    release.set()
    sampler.stop()
    assert sampler.failure is None
    assert all(row["counters"] == {} for row in of(rows, "hangs") + of(rows, "fails"))


def test_own_process_and_machine_have_rows() -> None:
    rows: list[ResourceRow] = []
    with Sampler([], 0.01, rows.append):
        wait_until(lambda: len(of(rows, MACHINE)) >= 3)
    own, machine = of(rows, KVBENCH)[0], of(rows, MACHINE)[0]
    assert own["pid"] == os.getpid()
    assert own["rss_bytes"] is not None and own["rss_bytes"] > 1 << 20
    assert machine["pid"] is None
    assert machine["cpu_user_s"] is not None and machine["cpu_user_s"] > 0
    assert {"cpu_iowait_s", "cpu_steal_s", "cpu_idle_s", "memory_available_bytes"} <= set(machine["counters"])


def test_members_are_not_counted_as_kvbench(holder: "subprocess.Popen[str]") -> None:
    rows: list[ResourceRow] = []
    with Sampler([Member("m1", holder.pid)], 0.01, rows.append):
        wait_until(lambda: len(of(rows, KVBENCH)) >= 2)
    without = of(rows, KVBENCH)[-1]["threads"]
    rows.clear()
    with Sampler([], 0.01, rows.append):
        wait_until(lambda: len(of(rows, KVBENCH)) >= 2)
    with_child = of(rows, KVBENCH)[-1]["threads"]
    assert without is not None and with_child == without + 1


def test_a_sink_that_fails_ends_the_sampling() -> None:
    def full(row: ResourceRow) -> None:
        raise OSError(28, "No space left on device")

    sampler = Sampler([], 0.01, full)
    sampler.start()
    wait_until(lambda: sampler.failure is not None)
    sampler.stop()
    assert isinstance(sampler.failure, OSError)


def test_the_period_must_be_positive() -> None:
    with pytest.raises(ValueError, match="above 0 s"):
        Sampler([], 0.0, lambda row: None)


def test_ticks_do_not_drift() -> None:
    second = 1_000_000_000
    schedule = Schedule(second, start_ns=7)
    now_ns = 7
    due_s = []
    for late_ns in (0, 300_000_000, 0, 2_500_000_000, 0):
        now_ns = schedule.next_due_ns(now_ns)
        due_s.append((now_ns - 7) / second)
        now_ns += late_ns
    assert due_s == [1, 2, 3, 4, 7]
    assert schedule.missed == 2
