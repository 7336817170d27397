"""One server process: started in a session of its own, watched over, and ended for good."""

import contextlib
import os
import signal
import subprocess
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from kvbench.targets.guard import guard
from kvbench.targets.running import TargetError

STOP_PATIENCE_S = 5.0
STOP_PATIENCE_FRESH_S = 2.0
"""How long a server may take to end after SIGTERM when its data is kept, and when it is removed."""
_HIDDEN_VARIABLES = ("GOMAXPROCS", "GOGC", "GOMEMLIMIT", "GODEBUG", "GOTRACEBACK", "CLASSPATH")
_HIDDEN_PREFIXES = ("ETCD_", "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS")


class ServerProcess:
    """A running server. Its output goes to ``log_path``, which outlives it."""

    def __init__(self, command: Sequence[str], log_path: Path, cpus: Sequence[int], folder: Path) -> None:
        """Start ``command`` in ``folder``, pinned to ``cpus`` unless these are none. Raises TargetError."""
        self.command = tuple(command)
        self.log_path = log_path
        overseer = guard()
        overseer.start()
        try:
            with open(log_path, "ab") as log, _pinned_to(cpus):
                self._popen = subprocess.Popen(
                    self.command,
                    cwd=folder,
                    env=server_environment(os.environ) | overseer.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            raise TargetError(
                f"cannot start {self.command[0]}: {error.strerror}", "is it a program for this machine, and executable?"
            ) from error
        overseer.watch_process(self.pid)

    @property
    def pid(self) -> int:
        """The process id, which is its process group's and its session's too."""
        return self._popen.pid

    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._popen.poll()

    def signal(self, number: int) -> None:
        """Send a signal to the whole process group; nothing happens when it is gone."""
        with contextlib.suppress(ProcessLookupError):
            if self._popen.poll() is None:
                os.killpg(self.pid, number)

    def ask_to_stop(self) -> None:
        """SIGTERM, and SIGCONT so that a stopped server hears it."""
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)

    def wait(self, patience_s: float) -> None:
        """Wait for the end, at most ``patience_s``."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(patience_s)

    def kill(self) -> None:
        """End it with SIGKILL if it still runs, which no server survives, stopped ones included."""
        self.signal(signal.SIGKILL)
        self._popen.wait()
        guard().forget_process(self.pid)


def server_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """``environment`` without what would silently change a server: its flags are to say everything."""
    return {
        name: value
        for name, value in environment.items()
        if name not in _HIDDEN_VARIABLES and not name.startswith(_HIDDEN_PREFIXES)
    }


@contextlib.contextmanager
def _pinned_to(cpus: Sequence[int]) -> Iterator[None]:
    """Pin this thread, from which a new process inherits it.

    A preexec function is unsafe in a program with threads, and pinning the child later would be too late: Go and the
    JVM count their cores when they start.
    """
    if not cpus:
        yield
        return
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, cpus)
    except OSError as error:
        raise TargetError(
            f"cannot pin servers to the cores {'+'.join(map(str, cpus))}: {error.strerror}",
            f"this process may use the cores {'+'.join(map(str, sorted(before)))}",
        ) from error
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def tail_of(log_path: Path, lines: int) -> list[str]:
    """The last ``lines`` lines of a log, none when it cannot be read. Reads at most its last 64 KiB."""
    try:
        with open(log_path, "rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - 65_536))
            return list(deque(log.read().decode("utf-8", "replace").splitlines(), maxlen=lines))
    except OSError:
        return []
