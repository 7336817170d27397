"""Why a saved snapshot cannot be used."""

from pathlib import Path


class SnapshotError(Exception):
    """A snapshot that cannot be used, and why, in one line; ``remedy`` says what to do instead."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.what, self.remedy = what, remedy


class SnapshotUnsuitable(SnapshotError):
    """It is no snapshot of this store, or of a later version; or there is something where it is to be restored."""


class SnapshotDamaged(SnapshotError):
    """Its bytes are not what was saved."""

    def __init__(self, path: Path, offset: int, reason: str) -> None:
        super().__init__(f"{path}, offset {offset}: {reason}", "nothing was done with it; take another copy")
        self.path, self.offset, self.reason = path, offset, reason
