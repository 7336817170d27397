"""What goes wrong with artifacts, in sentences for users."""

import errno
from dataclasses import dataclass
from pathlib import Path


@dataclass
class ArtifactError(Exception):
    """An artifact cannot be written or read. ``remedy`` says how to mend it."""

    what: str
    remedy: str = ""

    def __str__(self) -> str:
        return self.what


def cannot_write(path: Path, error: OSError) -> ArtifactError:
    """Why ``path`` could not be written, from the system's error."""
    kept = "What was written before is intact"
    if error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
        return ArtifactError(
            f"no space left for results in {path.parent} (while writing {path.name})",
            f"free space there, or give another folder with --out. {kept}: kvbench report {path.parent}",
        )
    reason = error.strerror or str(error)
    return ArtifactError(
        f"cannot write results to {path}: {reason}", f"give another folder with --out. {kept} in {path.parent}"
    )
