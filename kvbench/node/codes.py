"""Why a member stopped for good, and what its kernels say to each other."""

from enum import IntEnum


class NodeError(IntEnum):
    """Why a member stopped itself. Its runner ends the process; ``failed_*`` of its state say where."""

    DISK = -1500
    """A disk operation failed, other than for lack of space where that can be survived."""
    STORE_FULL = -1501
    """The arena of keys and values is full, which the quota should have prevented."""
    DIVERGED = -1502
    """The leader's log contradicts what this member knows to be committed."""
    TWO_LEADERS = -1503
    """Another member leads in the term in which this one does."""
    LOG_DAMAGED = -1504
    """Bytes of the log that were whole at the start are not any more."""
    SNAPSHOT_DAMAGED = -1505
    """The snapshot that this member's log begins behind is not whole."""
    MARK_DAMAGED = -1506
    """Neither half of the mark is whole: this member's vote is not known."""
    SNAPSHOT_MISSING = -1507
    """The log begins behind an entry that no snapshot holds."""
    TOO_MANY_TERMS = -1508
    """The log has more changes of term than there are places for."""


DISK, STORE_FULL, DIVERGED, TWO_LEADERS, LOG_DAMAGED, SNAPSHOT_DAMAGED, MARK_DAMAGED, SNAPSHOT_MISSING = (
    int(code) for code in list(NodeError)[:8]
)
TOO_MANY_TERMS = int(NodeError.TOO_MANY_TERMS)

BUSY = 1
"""Nothing was taken; try again later."""
