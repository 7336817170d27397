"""Version numbers of servers: order, and what each version can do."""

import re

_NUMBERS = re.compile(r"^v?(\d+)\.(\d+)\.(\d+)(?:-([0-9A-Za-z.-]+))?$")


def version_key(version: str) -> tuple[int, int, int, int, str]:
    """A key that sorts versions by age; a pre-release (3.7.0-rc.1) sorts before its release.

    A text that is no version sorts first.
    """
    found = _NUMBERS.match(version)
    if found is None:
        return (0, 0, 0, 0, version)
    major, minor, patch, suffix = found.groups()
    return (int(major), int(minor), int(patch), 0 if suffix else 1, suffix or "")


def is_version(text: str) -> bool:
    """Whether ``text`` is a full version: three numbers, perhaps with a pre-release suffix."""
    return _NUMBERS.match(text) is not None


def minor_version(version: str) -> tuple[int, int]:
    """(major, minor)."""
    return version_key(version)[:2]


def has_unsafe_no_fsync(etcd_version: str) -> bool:
    """Whether this etcd has ``--unsafe-no-fsync`` (since 3.5.0)."""
    return minor_version(etcd_version) >= (3, 5)


def default_snapshot_count(etcd_version: str) -> int:
    """etcd's own ``--snapshot-count``: 10,000 since 3.6, 100,000 in 3.2 to 3.5."""
    return 10_000 if minor_version(etcd_version) >= (3, 6) else 100_000


def keeps_log_in_memory(etcd_version: str) -> bool:
    """Whether etcd keeps every Raft entry since the last snapshot in memory: so up to 3.5.

    Since 3.6 the log in memory is cut to its last 5,000 entries every 100 applied ones, whatever the snapshot count
    is (etcd's server/etcdserver/server.go, snapshotIfNeededAndCompactRaftLog).
    """
    return minor_version(etcd_version) < (3, 6)


def known_data_bug(kind: str, version: str) -> str:
    """One sentence on a known data bug of this version, "" when none is known."""
    if kind == "etcd" and (3, 5, 0) <= version_key(version)[:3] <= (3, 5, 2):
        return (
            f"etcd {version} can lose or corrupt data when it is killed under load (fixed in 3.5.3): "
            "fine for a demonstration, not for conclusions about etcd"
        )
    return ""
