import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from kvbench.measure.budget import Budget
from kvbench.measure.folder import folder_size
from kvbench.measure.process import ProcessTree, child_pids, cpu_ns, parent_pids, uss_bytes
from kvbench.measure.switches import ThreadSwitches
from kvbench.measure.threads import own_tid, schedstat

PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
print(child.pid, flush=True)
sys.stdin.readline()
child.communicate()
print("ended", flush=True)
sys.stdin.readline()
"""


def spin(cpu_s: float) -> None:
    until = time.thread_time() + cpu_s
    while time.thread_time() < until:
        pass


def test_uss_agrees_with_psutil() -> None:
    # Other threads of the test run may allocate between the two readings.
    assert uss_bytes(os.getpid()) == pytest.approx(psutil.Process().memory_full_info().uss, rel=0.1)


def test_uss_of_no_process() -> None:
    with pytest.raises(psutil.NoSuchProcess):
        uss_bytes(2**22 + 1)


def test_parents_agree_with_psutil() -> None:
    parents = parent_pids()
    assert parents[os.getpid()] == os.getppid()


def test_a_tree_is_read_as_one_and_its_totals_never_fall() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None and parent.stdin is not None
        child = int(parent.stdout.readline())
        tree = ProcessTree(parent.pid)
        alone = tree.read()
        found = child_pids([parent.pid])[parent.pid]
        assert found == {child}
        assert child_pids([parent.pid], stop_at=[child])[parent.pid] == set()
        tree.set_children(found)
        both = tree.read()
        assert alone is not None and both is not None
        assert (alone.threads, both.threads) == (1, 2)
        assert both.rss_bytes > alone.rss_bytes
        parent.stdin.write("\n")
        parent.stdin.flush()
        assert parent.stdout.readline() == "ended\n"
        after = tree.read()
        assert after is not None and after.threads == 1
        assert after.cpu_user_s >= both.cpu_user_s
        assert after.ctx_switches_voluntary >= both.ctx_switches_voluntary
        parent.stdin.close()
        parent.wait()
        assert tree.read() is None
        assert tree.alive_pids() == []


THREADS = """
import os, sys, threading, time

def work(ready, go):
    for _ in range(200):
        time.sleep(0.0001)
    print(threading.get_native_id(), flush=True)
    ready.set()
    go.wait()

for number in range(3):
    ready, go = threading.Event(), threading.Event()
    threading.Thread(target=work, args=(ready, go), daemon=True).start()
    ready.wait()
    if number == 0:
        go.set()
print("all", flush=True)
sys.stdin.read()
"""


def switches_of(folder: str) -> int:
    with open(f"{folder}/status") as file:
        return sum(int(line.split()[1]) for line in file if "ctxt_switches" in line)


def test_context_switches_of_all_threads_are_counted() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", THREADS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdin is not None
        tree = ProcessTree(process.pid)
        while process.stdout.readline() != "all\n":
            pass
        use = tree.read()
        assert use is not None
        total = use.ctx_switches_voluntary + use.ctx_switches_involuntary
        folder = f"/proc/{process.pid}/task"
        alone, threads = switches_of(f"/proc/{process.pid}"), os.listdir(folder)
        assert total > 400  # two threads that live and slept 200 times each
        assert total - alone > 350
        assert total <= sum(switches_of(f"{folder}/{thread}") for thread in threads)
        process.stdin.close()
        process.wait()


def test_the_switches_of_a_thread_that_has_ended_stay_in_the_sum() -> None:
    ready, go = threading.Event(), threading.Event()

    def work() -> None:
        for _ in range(200):
            time.sleep(0.0001)
        ready.set()
        go.wait()

    switches = ThreadSwitches(os.getpid())
    before = switches.read()
    thread = threading.Thread(target=work)
    thread.start()
    ready.wait()
    during = switches.read()
    go.set()
    thread.join()
    after = switches.read()
    assert during[0] - before[0] >= 200
    assert after[0] >= during[0] and after[1] >= during[1]


def test_the_switches_of_no_process() -> None:
    with pytest.raises(psutil.NoSuchProcess):
        ThreadSwitches(2**22 + 1).read()


def test_cpu_time_counts_this_process() -> None:
    before = cpu_ns()
    spin(0.05)
    assert cpu_ns() - before >= 45_000_000


def test_excluded_children_are_left_out() -> None:
    code = "import time\nwhile time.process_time() < 0.5: pass\nprint(flush=True)\ninput()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        without = cpu_ns(exclude=[child.pid])
        assert cpu_ns() - without >= 400_000_000
        child.communicate("\n")


def test_schedstat_counts_the_calling_thread() -> None:
    before = schedstat(own_tid())
    spin(0.05)
    after = schedstat(own_tid())
    assert after.cpu_ns - before.cpu_ns >= 45_000_000
    assert after.run_delay_ns >= before.run_delay_ns


def test_schedstat_of_a_thread_that_has_ended() -> None:
    with pytest.raises(ProcessLookupError, match="has ended"):
        schedstat(2**22 + 1)


def test_folder_size_counts_holes_links_and_folders(tmp_path: Path) -> None:
    (tmp_path / "member" / "wal").mkdir(parents=True)
    (tmp_path / "member" / "wal" / "0.wal").write_bytes(b"x" * 100_000)
    with open(tmp_path / "db", "wb") as file:
        file.truncate(50 << 20)
    os.link(tmp_path / "db", tmp_path / "db.linked")
    (tmp_path / "elsewhere").symlink_to("/usr")
    size = folder_size(tmp_path)
    link = (tmp_path / "elsewhere").lstat()
    assert size.apparent_bytes == 100_000 + (50 << 20) + link.st_size
    assert size.files == 3
    assert 100_000 <= size.allocated_bytes < 50 << 20


def test_folder_that_does_not_exist(tmp_path: Path) -> None:
    assert folder_size(tmp_path / "nothing") == (0, 0, 0)


def test_a_budget_spreads_a_cost_over_time() -> None:
    budget = Budget(share=0.01)
    assert budget.is_due(0)
    budget.spent(now_ns=1_000, cost_ns=50)
    assert not budget.is_due(5_999)
    assert budget.is_due(6_000)
