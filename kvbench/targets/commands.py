"""External commands: run with progress, ended when kvbench is interrupted, and explained when they fail."""

import os
import re
import shutil
import signal
import subprocess
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from kvbench.targets.cache import Progress, silent
from kvbench.targets.guard import guard
from kvbench.targets.running import TargetError

TAIL_LINES = 20
_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def require_tool(name: str, purpose: str, remedy: str) -> str:
    """The full path of the command ``name``, or a TargetError that says what it is needed for."""
    path = shutil.which(name)
    if path is None:
        raise TargetError(f"{purpose} needs the command `{name}`, which is not on PATH", remedy)
    return path


def run_command(
    command: Sequence[str],
    what: str,
    remedy: str,
    folder: Path,
    progress: Progress = silent,
    environment: Mapping[str, str] | None = None,
) -> list[str]:
    """Run ``command`` in ``folder`` and return its output (both streams) as lines.

    ``what`` names the step in an error; every line is passed on to ``progress``. The command has a process group of
    its own, which is killed when this function is left by an exception (Ctrl-C, for one) and when kvbench is killed.
    Raises TargetError with the last lines of the output when the command cannot start or fails.
    """
    overseer = guard()
    overseer.start()
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(os.environ if environment is None else environment) | overseer.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise TargetError(f"{what} failed: cannot run {command[0]}: {error.strerror}", remedy) from error
    overseer.watch_process(process.pid)
    lines: list[str] = []
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    try:
        assert process.stdout is not None
        with process.stdout:
            for raw in process.stdout:
                line = _ESCAPES.sub("", raw).rstrip()
                if line:
                    lines.append(line)
                    tail.append(line)
                    progress(f"  {line}")
        code = process.wait()
    except BaseException:
        _kill_group(process)
        raise
    finally:
        overseer.forget_process(process.pid)
    if code != 0:
        raise TargetError(f"{what} failed: `{' '.join(command)}` ended with {_ended(code)}", remedy, "\n".join(tail))
    return lines


def ask(command: Sequence[str], timeout_s: float = 10.0) -> str:
    """The output (both streams) of a short question such as ``etcd --version``; "" when it fails or takes too long."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _ended(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def _kill_group(process: "subprocess.Popen[str]") -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        process.kill()
    process.wait()
