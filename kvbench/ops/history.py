"""What clients did and saw, in a form that checkers read: one record an operation."""

from enum import IntEnum

import numpy as np


class Seen(IntEnum):
    """How an operation of a history ended."""

    OK = 0
    """It was answered with success."""
    FAILED = 1
    """It certainly had no effect, and said nothing of the state: as if it had never been."""
    UNKNOWN = 2
    """It may have had its effect at any time after its invocation, or never."""
    REFUSED = 3
    """A compare-and-swap was answered: the key is not as expected."""


class Act(IntEnum):
    """What an operation of a history does to its key."""

    READ = 1
    WRITE = 2
    DELETE = 3
    CAS = 4


READ, WRITE, DELETE, CAS = (int(act) for act in Act)
OK, FAILED, UNKNOWN, REFUSED = (int(seen) for seen in Seen)

NEVER = (1 << 63) - 1
"""The return time of an operation whose outcome is unknown."""
ABSENT = 0
"""The value of a key that does not exist; every write of a history has a value of its own, from 1 on."""

HISTORY = np.dtype(
    [
        ("invoked", np.int64),  # when the client began, any clock that all clients share
        ("returned", np.int64),  # when the answer came; NEVER with an unknown outcome
        ("key", np.int64),
        ("value", np.int64),  # READ: what was found; WRITE, CAS: what is written
        ("expected", np.int64),  # CAS: the value compared with
        ("revision", np.int64),  # of the answer's header, 0: not told
        ("found_revision", np.int64),  # READ: mod revision of what was found, 0: not told
        ("act", np.int32),  # Act
        ("seen", np.int32),  # Seen
        ("client", np.int32),
        ("member", np.int32),  # which member was asked
    ],
    align=True,
)
"""An operation. Intervals are closed: operations that share an instant may be in either order."""


class Extent(IntEnum):
    """What a watch is on."""

    ONE_KEY = 0
    REGISTERS = 1
    """All keys of the history, and no others."""
    EVERYTHING = 2


ONE_KEY, REGISTERS, EVERYTHING = (int(extent) for extent in Extent)
OTHER_KEYS = 1000
"""Keys in no history have numbers from here on."""

WATCHED = np.dtype(
    [
        ("span", np.int64),  # position of its SPAN
        ("revision", np.int64),
        ("key", np.int64),
        ("value", np.int64),  # ABSENT: it was deleted
    ],
    align=True,
)
"""An event, as a watching client saw it; a span's events are in the order in which they came."""

SPAN = np.dtype(
    [
        ("extent", np.int64),  # Extent
        ("key", np.int64),  # ONE_KEY: which
        ("begin", np.int64),  # the client was to have all events of revisions begin .. end
        ("end", np.int64),
    ],
    align=True,
)
"""A stretch of revisions that a client watched without a gap, at one member or at several one after another."""
