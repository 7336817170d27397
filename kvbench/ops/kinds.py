"""The operations a workload may ask for, by number and name.

The numbers appear in records that kernels share, the names in workloads, artifacts and reports.
"""

from enum import IntEnum


class Kind(IntEnum):
    """One operation. The name in lower case is the name in a workload's ``[operations]`` table."""

    PUT = 1
    """Write a value to a key, whether or not the key exists."""
    GET = 2
    """Read one key, linearizable where the store can."""
    GET_SERIALIZABLE = 3
    """Read one key from the member asked, possibly stale."""
    RANGE = 4
    """Read keys by prefix, at most ``limit`` of them."""
    DELETE = 5
    """Remove one key."""
    CAS = 6
    """Write a key on condition that it is at the version that this client read last."""
    TXN = 7
    """Write several keys in one atomic transaction."""
    WATCH = 8
    """An event's arrival at a watcher, timed from the send of the put that caused it."""
    LEASE_GRANT = 9
    """Create a lease (ZooKeeper: open a session with one ephemeral znode)."""
    LEASE_KEEP_ALIVE = 10
    """Refresh a lease (ZooKeeper: ping the session)."""
    LEASE_REVOKE = 11
    """Give a lease up (ZooKeeper: close the session)."""
    INSERT = 12
    """Write a key that does not exist yet, the next one after all that do."""
    READ_MODIFY_WRITE = 13
    """Read a key, then write it; timed as one (YCSB workload F)."""
    MAKE_PARENT = 14
    """Create a directory of the key space where the store has directories (preparation only)."""


KIND_NAMES: dict[int, str] = {int(kind): kind.name.lower() for kind in Kind}
KINDS_BY_NAME: dict[str, Kind] = {kind.name.lower(): kind for kind in Kind}
