"""What is watched: keys, found by their hash, and ranges, found in a tree; a change costs little when nobody watches.

A subject has a list of *sleepers*: watchers that have had everything. They are not touched when an event comes; their
subject joins a queue, once, and hands them out one by one when it is asked.
"""

from typing import Any

from kvbench.jit import kernel
from kvbench.rt.buffer import copy, equal
from kvbench.rt.hash import hash_bytes
from kvbench.store import ranges, table
from kvbench.store.arena import allocate, release
from kvbench.store.layout import FROM, ONE_KEY, UP_TO, key_at, key_bytes, mod_of, newest_of
from kvbench.store.records import NONE, UNIT_BYTES


@kernel
def find(store: Any, code: int, buf: Any, at: int, size: int, end_buf: Any, end_at: int, end_bytes: int) -> int:
    """The subject with a hash, first key and end (no bytes: of the key alone); NONE when nobody watches that."""
    subjects, names = store.subjects, store.names
    subject = int(subjects[code & len(subjects) - 1]["bucket"]) - 1
    while subject >= 0:
        record = subjects[subject]
        same = record["hash"] == code and record["key_bytes"] == size and record["end_bytes"] == end_bytes
        same = same and equal(names, int(record["key"]) * UNIT_BYTES, buf, at, size)
        if same and equal(names, int(record["range_end"]) * UNIT_BYTES, end_buf, end_at, end_bytes):
            return subject
        subject = int(record["next"])
    return NONE


@kernel
def notify(store: Any, key: int, revision: int) -> None:
    """A key has changed."""
    arena, state = store.arena, store.state[0]
    at, size = key_at(arena, key), key_bytes(arena, key)
    if state["exact"] > 0:
        subject = find(store, table.hash_key(store, arena, at, size), arena, at, size, arena, at, 0)
        if subject != NONE:
            wake(store, subject, revision)
    if state["range_root"] != NONE:
        ranges.begin_search(store)
        subject = ranges.find_next(store, arena, at, size)
        while subject != NONE:
            wake(store, subject, revision)
            subject = ranges.find_next(store, arena, at, size)


@kernel
def wake(store: Any, subject: int, revision: int) -> None:
    """Something that is watched has changed: its sleepers are to be asked."""
    state, subjects, record = store.state[0], store.subjects, store.subjects[subject]
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
def join(store: Any, buf: Any, at: int, size: int, end_buf: Any, end_at: int, end_bytes: int) -> int:
    """The subject of a key, or of a range, made if need be, with one watcher more. NONE: there is no room for it."""
    code = table.hash_key(store, buf, at, size)
    if end_bytes > 0:
        code = hash_bytes(end_buf, end_at, end_bytes, code)
    subject = find(store, code, buf, at, size, end_buf, end_at, end_bytes)
    if subject == NONE:
        subject = _make(store, code, buf, at, size, end_buf, end_at, end_bytes)
        if subject == NONE:
            return NONE
    store.subjects[subject]["watchers"] += 1
    if end_bytes == 0:
        store.state[0]["exact"] += 1
    return subject


@kernel
def _make(store: Any, code: int, buf: Any, at: int, size: int, end_buf: Any, end_at: int, end_bytes: int) -> int:
    """A new subject that nobody watches yet. NONE: there is no room for it."""
    subjects, state, names, space = store.subjects, store.state[0], store.names, store.spaces[1]
    subject = int(state["subject_free"])
    if subject == NONE and state["subject_top"] == len(subjects):
        return NONE
    name = allocate(space, names, size)
    end = allocate(space, names, end_bytes) if end_bytes > 0 else name
    if name == 0 or end == 0:
        if name != 0:
            release(space, names, name, size)
        return NONE
    if subject != NONE:
        state["subject_free"] = subjects[subject]["next"]
    else:
        subject = int(state["subject_top"])
        state["subject_top"] = subject + 1
    copy(names, name * UNIT_BYTES, buf, at, size)
    copy(names, end * UNIT_BYTES, end_buf, end_at, end_bytes)
    record = subjects[subject]
    record["hash"] = code
    record["extent"] = ONE_KEY if end_bytes == 0 else UP_TO
    if end_bytes == 1 and end_buf[end_at] == 0:
        record["extent"] = FROM
    record["key"] = name
    record["key_bytes"] = size
    record["range_end"] = end
    record["end_bytes"] = end_bytes
    record["watchers"] = 0
    record["queued"] = 0
    record["first"] = NONE
    record["last"] = NONE
    head = subjects[code & len(subjects) - 1]
    record["next"] = head["bucket"] - 1
    head["bucket"] = subject + 1
    if end_bytes > 0:
        ranges.insert(store, subject)
    set_last_revision(store, subject)
    return subject


@kernel
def set_last_revision(store: Any, subject: int) -> None:
    """Find out when a key changed last; what history has lost may hold a change of one that is gone. Of a range that is
    not known: at the latest now.
    """
    record = store.subjects[subject]
    if record["extent"] != ONE_KEY:
        record["last_revision"] = store.state[0]["revision"]
        return
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
    if record["extent"] == ONE_KEY:
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
    if record["extent"] != ONE_KEY:
        ranges.remove(store, subject)
    release(store.spaces[1], store.names, int(record["key"]), int(record["key_bytes"]))
    if record["extent"] != ONE_KEY:
        release(store.spaces[1], store.names, int(record["range_end"]), int(record["end_bytes"]))
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
