"""Whether watching clients saw the history: each event of what they watched once, in order, without a gap.

The truth is put together from everything that names a revision: answered writes, what reads found, and all events. In
it each key has one value at a revision. A watch that was promised the revisions from one to another (a SPAN) must have
been sent exactly what the truth has there of its keys, in that order; and an event of a register must be a write that
some client asked for: one that was answered with that revision, or one whose outcome nobody knows.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from kvbench.check.revisions import Violation
from kvbench.ops.history import (
    ABSENT,
    DELETE,
    ONE_KEY,
    OTHER_KEYS,
    READ,
    REGISTERS,
    UNKNOWN,
)
from kvbench.ops.history import OK as ANSWERED

REVISION, KEY, VALUE = 0, 1, 2
"""Columns of the truth."""


def said_of(history: npt.NDArray[np.void]) -> npt.NDArray[np.int64]:
    """What a history's answers say of revisions: int64[n, 3] of REVISION, KEY, VALUE."""
    answered = history[history["seen"] == ANSWERED]
    writes = answered[(answered["act"] != READ) & (answered["revision"] > 0)]
    reads = answered[(answered["act"] == READ) & (answered["found_revision"] > 0)]
    values = np.where(writes["act"] == DELETE, ABSENT, writes["value"])
    return np.concatenate(
        [
            np.column_stack([writes["revision"], writes["key"], values]),
            np.column_stack([reads["found_revision"], reads["key"], reads["value"]]),
        ]
    )


def truth_of(said: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], list[Violation]]:
    """All that was said, each once and in order; and where two said something different of a key at a revision."""
    truth = said[np.lexsort((said[:, VALUE], said[:, KEY], said[:, REVISION]))]
    same = np.zeros(len(truth), np.bool_)
    same[1:] = (truth[1:, :VALUE] == truth[:-1, :VALUE]).all(axis=1)
    differs = np.zeros(len(truth), np.bool_)
    differs[1:] = same[1:] & (truth[1:, VALUE] != truth[:-1, VALUE])
    violations = [
        Violation(
            f"revision {truth[row, REVISION]} wrote value {truth[row - 1, VALUE]} to key {truth[row, KEY]},"
            f" and it wrote {truth[row, VALUE]}",
            (),
        )
        for row in np.flatnonzero(differs)
    ]
    return truth[~same], violations


def check_asked(history: npt.NDArray[np.void], watched: npt.NDArray[np.void]) -> Iterator[Violation]:
    """Events of registers that no client asked for."""
    answered = {(int(row[REVISION]), int(row[KEY])) for row in said_of(history)}
    writes = history[history["act"] != READ]
    unknown = writes[writes["seen"] == UNKNOWN]
    may_be_written = {(int(row["key"]), int(row["value"])) for row in unknown if row["act"] != DELETE}
    may_be_deleted = {int(row["key"]) for row in unknown if row["act"] == DELETE}
    events = np.unique(watched[["revision", "key", "value"]][watched["key"] < OTHER_KEYS])
    for revision, key, value in events.tolist():
        if (revision, key) in answered or (key, value) in may_be_written:
            continue
        if value != ABSENT or key not in may_be_deleted:
            what = f"an event of revision {revision} has value {value} of key {key}, which no write accounts for"
            yield Violation(what, ())


def wanted_by(span: np.void, truth: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """What of the truth a SPAN must have: its revisions, its keys."""
    first = np.searchsorted(truth[:, REVISION], int(span["begin"]), "left")
    last = np.searchsorted(truth[:, REVISION], int(span["end"]), "right")
    part: npt.NDArray[np.int64] = truth[first:last]
    if span["extent"] == ONE_KEY:
        part = part[part[:, KEY] == int(span["key"])]
    elif span["extent"] == REGISTERS:
        part = part[part[:, KEY] < OTHER_KEYS]
    return part


def check_span(number: int, wanted: npt.NDArray[np.int64], seen: npt.NDArray[np.int64]) -> Iterator[Violation]:
    """A SPAN's events against what it must have: the first difference."""
    if len(wanted) == len(seen) and (wanted == seen).all():
        return
    common = min(len(wanted), len(seen))
    differs = np.flatnonzero((wanted[:common] != seen[:common]).any(axis=1))
    at = int(differs[0]) if len(differs) > 0 else common
    missing = tuple(wanted[at].tolist()) if at < len(wanted) else None
    found = tuple(seen[at].tolist()) if at < len(seen) else None
    what = f"watch {number}: event {at} should be (revision, key, value) {missing}, and it is {found}"
    yield Violation(what, ())


def check_watches(
    history: npt.NDArray[np.void], spans: npt.NDArray[np.void], watched: npt.NDArray[np.void]
) -> list[Violation]:
    """All that SPAN[n] with their WATCHED[n] contradict of a HISTORY[n] or of each other; empty: nothing.

    ``watched`` is in the order in which its events came.
    """
    seen = np.column_stack([watched["revision"], watched["key"], watched["value"]])
    truth, violations = truth_of(np.concatenate([said_of(history), seen]))
    violations.extend(check_asked(history, watched))
    for number, span in enumerate(spans):
        violations.extend(check_span(number, wanted_by(span, truth), seen[watched["span"] == number]))
    return violations
