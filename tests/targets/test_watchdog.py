"""Nothing survives kvbench, however it ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kvbench.targets import watchdog
from kvbench.targets.guard import Guard
from tests.targets.waiting import eventually, is_gone

ROOT = Path(__file__).parents[2]
SLEEP = ["sleep", "600"]

# Starts etcd, says where it is, and then does what the test wants.
STARTER = """
import os, signal, sys, time
from pathlib import Path
from kvbench.targets.launch import start
from kvbench.targets.spec import parse_target
target = start(parse_target("etcd"), Path(sys.argv[1]))
member = target.members[0]
from kvbench.targets.guard import guard
print(member.pid, guard().pid, member.data_folder, flush=True)
"""


def run_starter(rest: str, folder: Path) -> tuple["subprocess.Popen[str]", int, int, Path]:
    """A kvbench that has started etcd: (its process, etcd's pid, the watchdog's pid, etcd's data folder)."""
    command = [sys.executable, "-c", STARTER + rest, str(folder)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pid, watchdog_pid, data = process.stdout.readline().split(maxsplit=2)
    process.stdout.close()
    return process, int(pid), int(watchdog_pid), Path(data.strip())


@pytest.mark.slow
@pytest.mark.parametrize("stopped", [False, True])
def test_sigkill_of_kvbench_ends_its_server_and_removes_its_data(
    newest_etcd: object, tmp_path: Path, stopped: bool
) -> None:
    process, pid, watchdog_pid, data = run_starter("time.sleep(600)", tmp_path)
    assert data.is_dir() and not is_gone(pid) and not is_gone(watchdog_pid)
    if stopped:
        os.kill(pid, signal.SIGSTOP)
    process.kill()
    process.wait()
    assert eventually(lambda: is_gone(pid))
    assert eventually(lambda: not data.exists())
    assert eventually(lambda: is_gone(watchdog_pid))


@pytest.mark.slow
@pytest.mark.parametrize("rest", ["sys.exit(0)", "sys.stderr.close()\nraise RuntimeError"])
def test_kvbench_ends_without_stopping_its_server(newest_etcd: object, tmp_path: Path, rest: str) -> None:
    process, pid, watchdog_pid, data = run_starter(rest, tmp_path)
    process.wait()
    assert eventually(lambda: is_gone(pid))
    assert eventually(lambda: not data.exists())
    assert eventually(lambda: is_gone(watchdog_pid))


@pytest.mark.slow
def test_sigkill_of_kvbench_that_leaves_a_forked_child(newest_etcd: object, tmp_path: Path) -> None:
    note = tmp_path / "child"
    rest = f"child = os.fork() or time.sleep(600)\nPath({str(note)!r}).write_text(str(child))\nos.kill(os.getpid(), 9)"
    process, pid, watchdog_pid, data = run_starter(rest, tmp_path)
    process.wait()
    try:
        assert eventually(lambda: is_gone(pid))
        assert eventually(lambda: not data.exists())
        assert eventually(lambda: is_gone(watchdog_pid))
    finally:
        os.kill(int(note.read_text()), signal.SIGKILL)


@pytest.fixture
def sleeper() -> "subprocess.Popen[bytes]":
    """A process in a session of its own."""
    return subprocess.Popen(SLEEP, start_new_session=True)


def end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()


def run_watchdog(lines: str) -> None:
    """Tell a watchdog some lines and close its pipe; returns when it has ended."""
    command = [sys.executable, "-I", "-S", watchdog.__file__]
    subprocess.run(command, input=lines.encode(), check=True, timeout=60)


def test_a_pid_that_another_process_has_now_is_left_alone(sleeper: "subprocess.Popen[bytes]") -> None:
    start = watchdog.start_time(sleeper.pid)
    run_watchdog(f"process {sleeper.pid} {start - 1}\n")
    assert sleeper.poll() is None
    run_watchdog(f"process {sleeper.pid} {start}\n")
    assert sleeper.wait(20) == -signal.SIGKILL


def test_what_is_done_or_kept_is_left_alone(sleeper: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    kept, removed = tmp_path / "kept", tmp_path / "with blanks"
    kept.mkdir()
    removed.mkdir()
    start = watchdog.start_time(sleeper.pid)
    run_watchdog(f"process {sleeper.pid} {start}\nfolder {kept}\nfolder {removed}\ndone {sleeper.pid}\nkept {kept}\n")
    assert sleeper.poll() is None
    assert kept.is_dir() and not removed.exists()
    end(sleeper)


def test_a_marked_process_is_ended_before_its_pid_was_told() -> None:
    overseer = Guard()
    marked = subprocess.Popen(SLEEP, env=dict(os.environ, **overseer.environment))
    overseer.start()
    overseer.close()
    assert marked.wait(20) == -signal.SIGKILL


def test_a_watchdog_that_was_killed_is_replaced_and_told_everything(
    sleeper: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    overseer = Guard()
    overseer.start()
    overseer.watch_process(sleeper.pid)
    first = overseer.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert eventually(lambda: is_gone(first))
    folder = tmp_path / "data"
    folder.mkdir()
    overseer.watch_folder(folder)
    assert overseer.pid not in (None, first)
    overseer.close()
    assert sleeper.wait(20) == -signal.SIGKILL
    assert not folder.exists()


def test_servers_do_not_inherit_the_pipe(sleeper: "subprocess.Popen[bytes]") -> None:
    overseer = Guard()
    overseer.start()
    heir = subprocess.Popen(SLEEP)
    pipes = {os.readlink(f"/proc/{overseer.pid}/fd/0")}
    held = {os.readlink(f"/proc/{heir.pid}/fd/{name}") for name in os.listdir(f"/proc/{heir.pid}/fd")}
    end(heir)
    end(sleeper)
    overseer.close()
    assert not pipes & held


@pytest.mark.slow
def test_ctrl_c_while_starting_leaves_nothing(script: Callable[[str, str], Path], tmp_path: Path) -> None:
    note = tmp_path / "pid"
    script("etcd", f'[ "$1" = --version ] && echo "etcd Version: 99.0.0" && exit; echo $$ > {note}; exec sleep 600')
    code = STARTER.replace('"etcd"', '"etcd?version=99.0.0"')
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "run")], cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True
    )
    assert eventually(lambda: note.exists() and note.read_text().strip() != "")
    pid = int(note.read_text())
    process.send_signal(signal.SIGINT)
    assert process.wait(30) != 0
    assert is_gone(pid)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["m1.log"]
