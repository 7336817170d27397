"""The watchdog: ends kvbench's servers and removes their data when kvbench itself is gone, however it went.

Run as a program with a pipe on its standard input, whose only writer is kvbench. Each line tells it something:

- ``process <pid> <start>`` and ``done <pid>``: a process group to end, named by its leader and the leader's start time
- ``folder <path>`` and ``kept <path>``: a folder to remove, or not to remove any more
- ``token <text>``: processes whose environment holds ``KVBENCH_TOKEN=<text>`` are ended too; kvbench marks every
  server so, which covers a server started in the instant before kvbench died

When the pipe closes, or its parent is gone (a child that kvbench forked may hold the pipe open), it kills with
SIGKILL, which ends stopped (SIGSTOP) processes also, removes the folders and exits. It starts nothing, imports only
a little of the standard library, and is meant to be run with ``-I -S``.
"""

import os
import select
import shutil
import signal
import sys
import time

GIVE_UP_AFTER_S = 30.0
TOKEN_NAME = b"KVBENCH_TOKEN="


def start_time(pid: int) -> int:
    """When process ``pid`` started, in clock ticks since boot (field 22 of /proc/<pid>/stat); -1 when it is gone.

    A zombie counts as gone: it holds no port and no file.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The command's name, in brackets, may itself hold blanks and brackets.
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return -1
    return -1 if fields[0] in (b"Z", b"X") else int(fields[19])


class _Charge:
    """What is to be ended and removed."""

    def __init__(self) -> None:
        self.processes: dict[int, int] = {}
        self.folders: set[str] = set()
        self.token = b""

    def hear(self, line: bytes) -> None:
        """Take in one line of kvbench's: what it started or made, or what is no longer to be ended or removed."""
        word, _, rest = line.partition(b" ")
        if word == b"process":
            pid, _, start = rest.partition(b" ")
            self.processes[int(pid)] = int(start)
        elif word == b"done":
            self.processes.pop(int(rest), None)
        elif word == b"folder":
            self.folders.add(os.fsdecode(rest))
        elif word == b"kept":
            self.folders.discard(os.fsdecode(rest))
        elif word == b"token":
            self.token = TOKEN_NAME + rest

    def alive(self) -> dict[int, int]:
        """The processes still there: {pid: start time}. A pid that now belongs to another process is not."""
        found = {pid: start for pid, start in self.processes.items() if start_time(pid) == start}
        if self.token:
            for name in os.listdir("/proc"):
                if name.isdigit() and int(name) != os.getpid() and self._is_marked(name):
                    found[int(name)] = start_time(int(name))
        return {pid: start for pid, start in found.items() if start >= 0}

    def _is_marked(self, pid: str) -> bool:
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                return self.token in file.read().split(b"\0")
        except OSError:
            return False

    def end_everything(self) -> None:
        give_up = time.monotonic() + GIVE_UP_AFTER_S
        while time.monotonic() < give_up:
            alive = self.alive()
            if not alive:
                break
            for pid in alive:
                _kill(pid)
            time.sleep(0.01)
        for folder in self.folders:
            shutil.rmtree(folder, ignore_errors=True)


def _kill(pid: int) -> None:
    try:
        if os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def _wait_for_the_end(charge: _Charge, pipe: int) -> None:
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    parent = None
    try:
        parent = os.pidfd_open(os.getppid())
        poll.register(parent, select.POLLIN)
    except (OSError, AttributeError):
        pass
    heard = b""
    while True:
        ready = [descriptor for descriptor, _ in poll.poll()]
        if pipe in ready:
            chunk = os.read(pipe, 65536)
            if not chunk:
                return
            *lines, heard = (heard + chunk).split(b"\n")
            for line in lines:
                charge.hear(line)
        elif parent in ready:
            return


def main() -> int:
    """Wait until the writer of standard input is gone, then end everything."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(ignored, signal.SIG_IGN)
    os.chdir("/")
    charge = _Charge()
    _wait_for_the_end(charge, sys.stdin.fileno())
    charge.end_everything()
    return 0


if __name__ == "__main__":
    sys.exit(main())
