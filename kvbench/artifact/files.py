"""Files that are either whole or not there, and files that grow by whole lines."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from kvbench.artifact.errors import ArtifactError, cannot_write

NOT_OURS = "give a folder that kvbench run wrote"


class Lines:
    """A file that only ever grows by whole lines, each handed to the kernel at once.

    A process that is killed loses none of them. When the disk is full, what was written of the last lines is cut off
    again, so that the file still ends in a whole line. Nothing is synced: that would disturb the disk being measured.
    """

    def __init__(self, path: Path) -> None:
        """Creates the file. Raises ArtifactError when it exists or cannot be created."""
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise cannot_write(path, error) from error
        self.size = 0
        """Bytes in the file, all of them whole lines."""
        self._is_open = True

    def append(self, text: str) -> None:
        """Write ``text``, which ends in a line feed. Raises ArtifactError; the file then ends where it did before."""
        if not self._is_open:
            raise ArtifactError(f"{self.path} is already closed")
        rest = memoryview(text.encode())
        size = self.size
        try:
            while rest:
                written = os.write(self._descriptor, rest)
                rest = rest[written:]
                size += written
        except OSError as error:
            self.cut_back(self.size)
            raise cannot_write(self.path, error) from error
        self.size = size

    def cut_back(self, size: int) -> None:
        """Give up all behind the first ``size`` bytes. Works on a full disk too."""
        with suppress(OSError):
            os.ftruncate(self._descriptor, size)
            os.lseek(self._descriptor, size, os.SEEK_SET)
            self.size = size

    def close(self) -> None:
        """Safe to call twice."""
        if self._is_open:
            self._is_open = False
            with suppress(OSError):
                os.close(self._descriptor)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file whole or not at all. Raises ArtifactError."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    unfinished = path.with_name(path.name + ".partial")
    try:
        unfinished.write_text(text, encoding="utf-8")
        os.replace(unfinished, path)
    except OSError as error:
        with suppress(OSError):
            unfinished.unlink()
        raise cannot_write(path, error) from error


def read_json(path: Path) -> dict[str, Any]:
    """Raises ArtifactError for a file that is missing, unreadable, or not a JSON object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror or error}", NOT_OURS) from error
    except ValueError as error:
        raise ArtifactError(f"{path} is not valid JSON: {error}", "restore the file, or run again") from error
    if not isinstance(content, dict):
        raise ArtifactError(f"{path} is not a JSON object", NOT_OURS)
    return content


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file; none when it is missing. A torn last line, left by a crash, is left out.

    Raises ArtifactError for damage anywhere else.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise ArtifactError(f"cannot read {path}: {error}") from error
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            if number == len(lines) and not line.endswith("\n"):
                break
            raise ArtifactError(f"{path}, line {number}: not valid JSON: {error}", "remove that line") from error
    return rows
