"""kvbench's end of the watchdog: one small process that cleans up after this one, whatever ends it."""

import atexit
import contextlib
import os
import subprocess
import sys
import threading
import uuid
from pathlib import Path

from kvbench.targets import watchdog
from kvbench.targets.running import TargetError


class Guard:
    """Tells a watchdog process what to end and remove if this process dies. Thread-safe.

    The watchdog is started with the first charge and lives as long as this process. Should it be killed, a new one
    is started and told everything again.
    """

    def __init__(self) -> None:
        self.token = uuid.uuid4().hex
        self._lock = threading.RLock()
        self._owner = os.getpid()
        self._pipe = -1
        self._process: subprocess.Popen[bytes] | None = None
        self._processes: dict[int, int] = {}
        self._folders: set[Path] = set()
        # A forked child must not keep the pipe open after its parent's death.
        os.register_at_fork(after_in_child=self._close_pipe)

    @property
    def environment(self) -> dict[str, str]:
        """What to add to the environment of a server, so that the watchdog knows it before being told its pid."""
        return {watchdog.TOKEN_NAME.decode().rstrip("="): self.token}

    @property
    def pid(self) -> int | None:
        """The watchdog's process id, None while there is none."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the watchdog if there is none. Call it before the first server."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._launch()

    def watch_process(self, pid: int) -> None:
        """End the process group that ``pid`` leads if this process dies."""
        with self._lock:
            start = watchdog.start_time(pid)
            if start >= 0:
                self._processes[pid] = start
                self._tell(f"process {pid} {start}")

    def forget_process(self, pid: int) -> None:
        """``pid`` has ended."""
        with self._lock:
            if self._processes.pop(pid, None) is not None:
                self._tell(f"done {pid}")

    def watch_folder(self, folder: Path) -> None:
        """Remove ``folder`` (absolute) if this process dies."""
        if not folder.is_absolute() or "\n" in str(folder):
            raise ValueError(f"not an absolute path on one line: {folder}")
        with self._lock:
            self._folders.add(folder)
            self._tell(f"folder {folder}")

    def forget_folder(self, folder: Path) -> None:
        """``folder`` is removed, or is to stay."""
        with self._lock:
            if folder in self._folders:
                self._folders.discard(folder)
                self._tell(f"kept {folder}")

    def close(self) -> None:
        """Let the watchdog end whatever it still has charge of, and wait until it has; for the end of this process."""
        if self._process is not None and os.getpid() == self._owner:
            self._close_pipe()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(watchdog.GIVE_UP_AFTER_S)

    def _tell(self, line: str) -> None:
        if self._pipe >= 0:
            with contextlib.suppress(BrokenPipeError):
                os.write(self._pipe, os.fsencode(line + "\n"))
                return
        self._launch()

    def _launch(self) -> None:
        if os.getpid() != self._owner:
            raise TargetError(
                "servers cannot be started from a process that kvbench forked", "start them from the main one"
            )
        self._close_pipe()
        reader, self._pipe = os.pipe()
        try:
            # By path, since -I (no user's modules, no PYTHON* variables) and -S (no site-packages) hide the package.
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", watchdog.__file__],
                stdin=reader,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        finally:
            os.close(reader)
        lines = [f"token {self.token}"]
        lines += [f"process {pid} {start}" for pid, start in self._processes.items()]
        lines += [f"folder {folder}" for folder in self._folders]
        os.write(self._pipe, os.fsencode("".join(line + "\n" for line in lines)))

    def _close_pipe(self) -> None:
        if self._pipe >= 0:
            with contextlib.suppress(OSError):
                os.close(self._pipe)
            self._pipe = -1


_guard: Guard | None = None
_guard_lock = threading.Lock()


def guard() -> Guard:
    """This process's guard; a process made by fork has one of its own."""
    global _guard
    with _guard_lock:
        if _guard is None or _guard._owner != os.getpid():
            _guard = Guard()
            atexit.register(_guard.close)
        return _guard
