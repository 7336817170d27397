"""How much a data folder holds."""

import os
from pathlib import Path
from typing import NamedTuple

BLOCK_BYTES = 512
"""The unit of st_blocks, whatever the file system's own block size (stat(2))."""


class FolderSize(NamedTuple):
    """Sizes of all files below a folder."""

    allocated_bytes: int
    apparent_bytes: int
    files: int


def folder_size(folder: Path) -> FolderSize:
    """Size of the files below ``folder``, symbolic links not followed, each hard-linked file once.

    Files that vanish while being counted are left out; a folder that does not exist has size 0.
    """
    allocated = apparent = files = 0
    linked: set[tuple[int, int]] = set()
    waiting = [os.fspath(folder)]
    while waiting:
        try:
            entries = os.scandir(waiting.pop())
        except OSError:
            continue
        with entries:
            for entry in entries:
                try:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                        continue
                    status = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                if status.st_nlink > 1:
                    identity = (status.st_dev, status.st_ino)
                    if identity in linked:
                        continue
                    linked.add(identity)
                allocated += status.st_blocks * BLOCK_BYTES
                apparent += status.st_size
                files += 1
    return FolderSize(allocated, apparent, files)
