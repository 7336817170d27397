"""Every exception that can end a command, as a message on standard error and an exit code."""

import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import click

from kvbench.artifact.errors import ArtifactError
from kvbench.config_source import ConfigError
from kvbench.load.protocol import EngineError
from kvbench.run.request import ExitCode, RunFailure
from kvbench.server.snapshot_errors import SnapshotDamaged, SnapshotError
from kvbench.targets.running import TargetError
from kvbench.targets.spec import TargetSpecError


def tell(what: str, remedy: str = "", log_tail: str = "") -> None:
    """An error for people: what, how to mend it, and the servers' last words."""
    print(f"kvbench: {what}", file=sys.stderr)
    if remedy:
        print(f"  {remedy}", file=sys.stderr)
    if log_tail:
        print(log_tail, file=sys.stderr)


def explain(error: Exception, command: Sequence[str]) -> int:
    """Print what ``error`` means and return the exit code."""
    if isinstance(error, click.exceptions.Exit):
        return int(error.exit_code)
    if isinstance(error, click.exceptions.Abort):
        print("interrupted", file=sys.stderr)
        return ExitCode.INTERRUPTED
    if isinstance(error, click.ClickException):
        error.show()
        return ExitCode.BAD_CONFIGURATION
    if isinstance(error, ConfigError):
        tell(str(error))
        return ExitCode.BAD_CONFIGURATION
    if isinstance(error, TargetSpecError):
        tell(error.what, error.remedy)
        return ExitCode.BAD_CONFIGURATION
    if isinstance(error, RunFailure):
        tell(error.what, error.remedy, error.log_tail)
        return error.code
    if isinstance(error, TargetError):
        tell(error.what, error.remedy, error.log_tail)
        return ExitCode.TARGET_FAILED
    if isinstance(error, EngineError):
        tell(str(error))
        return ExitCode.TARGET_FAILED
    if isinstance(error, ArtifactError):
        tell(error.what, error.remedy)
        return ExitCode.BAD_CONFIGURATION
    if isinstance(error, SnapshotError):
        tell(error.what, error.remedy)
        return ExitCode.TARGET_FAILED if isinstance(error, SnapshotDamaged) else ExitCode.BAD_CONFIGURATION
    kept = write_crash(error, command)
    tell(f"this is a fault of kvbench's own: {type(error).__name__}: {error}", f"details: {kept}")
    return ExitCode.INTERNAL


def write_crash(error: Exception, command: Sequence[str]) -> str:
    """Keep the traceback in the cache folder, else in the temporary one. Returns the file's name."""
    from kvbench.targets.cache import cache_folder

    name = f"crash-{datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}.txt"
    text = f"{' '.join(command)}\n\n{''.join(traceback.format_exception(error))}"
    for folder in (cache_folder() / "crashes", Path(tempfile.gettempdir())):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / name
            path.write_text(text)
            return str(path)
        except OSError:
            continue
    return "could not be written anywhere"
