"""Whether a history is explained by the order that the store itself claims: its revisions.

etcd's answers carry the store's revision, and what is read carries the revision that wrote it. Revisions therefore
name one total order of all writes over all keys, and a history is linearizable in that order when:

1. no two writes have the same revision;
2. what began after an answer of revision r has a revision of at least r, a write more than r;
3. a read of revision r that found revision m found what m wrote, and no write of that key lies between m and r.

Far cheaper than a search, and stricter: the store has to be right about its own order. A write of unknown outcome is
placed by the first read that found it, and was never made when none did.
"""

from bisect import bisect_right
from collections import defaultdict
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kvbench.ops.history import ABSENT, DELETE, OK, READ, UNKNOWN


class Write(NamedTuple):
    """A write with its place in the store's order."""

    revision: int
    value: int
    row: int


class Violation(NamedTuple):
    """What contradicts the store's order, in a sentence, with the records of the history that show it."""

    what: str
    rows: tuple[int, ...]


def writes_of(history: npt.NDArray[np.void]) -> tuple[dict[int, list[Write]], list[Violation]]:
    """Every key's writes in the order of revisions: those answered, and unknown ones that a read found."""
    violations = []
    by_revision: dict[int, int] = {}
    keys: dict[int, list[Write]] = defaultdict(list)
    unknown = {}
    for row, operation in enumerate(history):
        if operation["act"] == READ:
            continue
        if operation["seen"] == OK and operation["revision"] > 0:
            revision = int(operation["revision"])
            if revision in by_revision:
                what = f"two writes were answered with revision {revision}"
                violations.append(Violation(what, (by_revision[revision], row)))
            by_revision[revision] = row
            value = ABSENT if operation["act"] == DELETE else int(operation["value"])
            keys[int(operation["key"])].append(Write(revision, value, row))
        elif operation["seen"] == UNKNOWN and operation["act"] != DELETE:
            unknown[int(operation["key"]), int(operation["value"])] = row
    found_something = (history["act"] == READ) & (history["seen"] == OK) & (history["value"] != ABSENT)
    for read in np.flatnonzero(found_something):
        key, value = int(history[read]["key"]), int(history[read]["value"])
        found = unknown.pop((key, value), None)
        if found is not None:
            keys[key].append(Write(int(history[read]["found_revision"]), value, found))
    for writes in keys.values():
        writes.sort()
    return dict(keys), violations


def check_reads(history: npt.NDArray[np.void], keys: dict[int, list[Write]]) -> list[Violation]:
    """Reads that found something else than what was last written at their revision."""
    violations = []
    may_be_deleted = {int(row["key"]) for row in history if row["act"] == DELETE and row["seen"] == UNKNOWN}
    for row in np.flatnonzero((history["act"] == READ) & (history["seen"] == OK)):
        read = history[row]
        writes = keys.get(int(read["key"]), [])
        before = bisect_right(writes, (int(read["revision"]) + 1,)) - 1
        last = writes[before] if before >= 0 else Write(0, ABSENT, -1)
        value, found = int(read["value"]), int(read["found_revision"])
        if value == ABSENT:
            if last.value != ABSENT and int(read["key"]) not in may_be_deleted:
                what = f"a read at revision {read['revision']} found nothing of what revision {last.revision} wrote"
                violations.append(Violation(what, (int(row), last.row)))
        elif (value, found) != (last.value, last.revision):
            what = (
                f"a read at revision {read['revision']} found value {value} of revision {found},"
                f" after revision {last.revision} wrote value {last.value}"
            )
            violations.append(Violation(what, (int(row), last.row)))
    return violations


def check_real_time(history: npt.NDArray[np.void], keys: dict[int, list[Write]]) -> list[Violation]:
    """Operations whose revision is behind one that was answered before they began."""
    violations = []
    revisions = history["revision"].astype(np.int64)
    for writes in keys.values():
        for write in writes:
            revisions[write.row] = write.revision
    answered = [row for row in np.argsort(history["returned"], kind="stable") if history[row]["seen"] == OK]
    latest, newest, at = 0, -1, 0
    for row in np.argsort(history["invoked"], kind="stable"):
        while at < len(answered) and history[answered[at]]["returned"] < history[row]["invoked"]:
            if revisions[answered[at]] > latest:
                latest, newest = int(revisions[answered[at]]), int(answered[at])
            at += 1
        own = int(revisions[row])
        least = latest if history[row]["act"] == READ else latest + 1
        if own > 0 and own < least:
            what = f"an operation of revision {own} began after revision {latest} was answered"
            violations.append(Violation(what, (int(row), newest)))
    return violations


def check_revisions(history: npt.NDArray[np.void]) -> list[Violation]:
    """All that contradicts the store's own order of a history (HISTORY[n] of linearizable operations); empty: nothing.

    A delete that found nothing, and a refused compare-and-swap, count as reads of their revision without a finding:
    the caller gives them as READ with ``seen`` FAILED or leaves them out.
    """
    keys, violations = writes_of(history)
    return violations + check_reads(history, keys) + check_real_time(history, keys)
