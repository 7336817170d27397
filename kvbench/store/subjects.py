"""Keys that watchers of one key watch, found by the key's hash, so that a change costs nothing when nobody watches.

A subject has a list of *sleepers*: watchers that have had everything. They are not touched when an event comes; their
subject joins a queue, once, and hands them out one by one when it is asked.
"""

from typing import Any

from kvbench.jit import kernel
from kvbench.rt.buffer import copy, equal
from kvbench.store import table
from kvbench.store.arena import allocate, release
from kvbench.store.layout import key_at, key_bytes, mod_of, newest_of
from kvbench.store.records import NONE, UNIT_BYTES


@kernel
def find(store: Any, code: int, buf: Any, at: int, size: int) -> int:
    """The subject that watches ``buf[at : at + size]``, whose hash is ``code``; NONE when nobody does."""
    subjects = store.subjects
    subject = int(subjects[code & len(subjects) - 1]["bucket"]) - 1
    while subject >= 0:
        record = subjects[subject]
        same = record["hash"] == code and record["key_bytes"] == size
        if same and equal(store.names, int(record["key"]) * UNIT_BYTES, buf, at, size):
            return subject
        subject = int(record["next"])
    return NONE


@kernel
def notify(store: Any, key: int, revision: int) -> None:
    """A key has changed."""
    arena, state, subjects = store.arena, store.state[0], store.subjects
    at, size = key_at(arena, key), key_bytes(arena, key)
    subject = find(store, table.hash_key(store, arena, at, size), arena, at, size)
    if subject == NONE:
        return
    record = subjects[subject]
    record["last_revision"] = revision
    if record["queued"] == 1 or record["first"] == NONE:
        return
    record["burst_revision"] = revision
    record["queued"] = 1
    record["queue_next"] = NONE
    if state["subject_first"] == NONE:
        state["subject_first"] = subject
    else:
        subjects[state["subject_last"]]["queue_next"] = subject
    state["subject_last"] = subject


@kernel
def leave_queue(store: Any) -> None:
    """The first subject of the queue has no sleeper left that misses anything."""
    state = store.state[0]
    record = store.subjects[state["subject_first"]]
    record["queued"] = 0
    state["subject_first"] = record["queue_next"]


@kernel
def join(store: Any, buf: Any, at: int, size: int) -> int:
    """The subject of a key, made if need be, with one watcher more. NONE: there is no room for it."""
    subjects, state = store.subjects, store.state[0]
    code = table.hash_key(store, buf, at, size)
    subject = find(store, code, buf, at, size)
    if subject == NONE:
        subject = int(state["subject_free"])
        if subject == NONE and state["subject_top"] == len(subjects):
            return NONE
        name = allocate(store.spaces[1], store.names, size)
        if name == 0:
            return NONE
        if subject != NONE:
            state["subject_free"] = subjects[subject]["next"]
        else:
            subject = int(state["subject_top"])
            state["subject_top"] = subject + 1
        copy(store.names, name * UNIT_BYTES, buf, at, size)
        record = subjects[subject]
        record["hash"] = code
        record["key"] = name
        record["key_bytes"] = size
        record["watchers"] = 0
        record["queued"] = 0
        record["first"] = NONE
        record["last"] = NONE
        head = subjects[code & len(subjects) - 1]
        record["next"] = head["bucket"] - 1
        head["bucket"] = subject + 1
        set_last_revision(store, subject)
    subjects[subject]["watchers"] += 1
    state["exact"] += 1
    return subject


@kernel
def set_last_revision(store: Any, subject: int) -> None:
    """Find out when a subject's key changed last; what history has lost may hold a change of a key that is gone."""
    record = store.subjects[subject]
    at = int(record["key"]) * UNIT_BYTES
    key = table.find(store, int(record["hash"]), store.names, at, int(record["key_bytes"]))
    if key != 0:
        record["last_revision"] = mod_of(store.arena, newest_of(store.arena, key))
    else:
        record["last_revision"] = store.state[0]["dropped_revision"]


@kernel
def part(store: Any, subject: int) -> None:
    """One watcher less, not in the list of sleepers any more; the last one takes the subject along."""
    subjects, state = store.subjects, store.state[0]
    record = subjects[subject]
    record["watchers"] -= 1
    state["exact"] -= 1
    if record["watchers"] > 0:
        return
    if record["queued"] == 1:
        _unqueue(store, subject)
    head = subjects[int(record["hash"]) & len(subjects) - 1]
    if head["bucket"] - 1 == subject:
        head["bucket"] = record["next"] + 1
    else:
        before = int(head["bucket"]) - 1
        while subjects[before]["next"] != subject:
            before = int(subjects[before]["next"])
        subjects[before]["next"] = record["next"]
    release(store.spaces[1], store.names, int(record["key"]), int(record["key_bytes"]))
    record["next"] = state["subject_free"]
    state["subject_free"] = subject


@kernel
def _unqueue(store: Any, subject: int) -> None:
    """Take a subject out of the queue, wherever it stands in it."""
    subjects, state = store.subjects, store.state[0]
    if state["subject_first"] == subject:
        leave_queue(store)
        return
    before = int(state["subject_first"])
    while subjects[before]["queue_next"] != subject:
        before = int(subjects[before]["queue_next"])
    subjects[before]["queue_next"] = subjects[subject]["queue_next"]
    if state["subject_last"] == subject:
        state["subject_last"] = before
