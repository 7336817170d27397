"""Ranges that watchers watch, found by a key that lies in them: a treap (Seidel and Aragon, 1996) of subjects.

It is ordered by the ranges' first keys. Each subject knows which one of those at or below it reaches furthest, so
that whole branches are passed over which end before the key. Finding costs as much as a descent, and what is found.
"""

from typing import Any

from kvbench.jit import kernel
from kvbench.rt.buffer import compare
from kvbench.rt.rng import mix
from kvbench.store.layout import FROM
from kvbench.store.records import NONE, UNIT_BYTES

PRIORITY_SEED = 1


@kernel
def is_above(subject: int, other: int) -> bool:
    """Whether a subject belongs nearer to the root than another one."""
    return mix(subject, PRIORITY_SEED) > mix(other, PRIORITY_SEED)


@kernel
def begins_before(store: Any, subject: int, other: int) -> bool:
    """Whether a range's first key lies before another's."""
    names, one, two = store.names, store.subjects[subject], store.subjects[other]
    at, size = int(one["key"]) * UNIT_BYTES, int(one["key_bytes"])
    return compare(names, at, size, names, int(two["key"]) * UNIT_BYTES, int(two["key_bytes"])) < 0


@kernel
def ends_behind(store: Any, subject: int, buf: Any, at: int, size: int) -> bool:
    """Whether a range's end lies behind the key ``buf[at : at + size]``."""
    record = store.subjects[subject]
    if record["extent"] == FROM:
        return True
    return compare(store.names, int(record["range_end"]) * UNIT_BYTES, int(record["end_bytes"]), buf, at, size) > 0


@kernel
def furthest(store: Any, subject: int, other: int) -> int:
    """That one of two subjects whose range ends last; ``other`` may be NONE."""
    if other == NONE or store.subjects[subject]["extent"] == FROM:
        return subject
    record = store.subjects[subject]
    at, size = int(record["range_end"]) * UNIT_BYTES, int(record["end_bytes"])
    return other if ends_behind(store, other, store.names, at, size) else subject


@kernel
def set_reach(store: Any, subject: int) -> None:
    """Say anew which subject at or below one reaches furthest."""
    record = store.subjects[subject]
    reach = subject
    if record["left"] != NONE:
        reach = furthest(store, reach, int(store.subjects[record["left"]]["reach"]))
    if record["right"] != NONE:
        reach = furthest(store, reach, int(store.subjects[record["right"]]["reach"]))
    record["reach"] = reach


@kernel
def replace_child(store: Any, parent: int, child: int, other: int) -> None:
    """Have ``other`` (may be NONE) hang where ``child`` hung; ``parent`` NONE: at the root."""
    if parent == NONE:
        store.state[0]["range_root"] = other
    elif store.subjects[parent]["left"] == child:
        store.subjects[parent]["left"] = other
    else:
        store.subjects[parent]["right"] = other
    if other != NONE:
        store.subjects[other]["parent"] = parent


@kernel
def rotate_up(store: Any, subject: int) -> None:
    """Let a subject change places with its parent, in the same order of first keys."""
    subjects, record = store.subjects, store.subjects[subject]
    parent = int(record["parent"])
    above = subjects[parent]
    replace_child(store, int(above["parent"]), parent, subject)
    if above["left"] == subject:
        moved = int(record["right"])
        above["left"] = moved
        record["right"] = parent
    else:
        moved = int(record["left"])
        above["right"] = moved
        record["left"] = parent
    if moved != NONE:
        subjects[moved]["parent"] = parent
    above["parent"] = subject
    set_reach(store, parent)
    set_reach(store, subject)


@kernel
def insert(store: Any, subject: int) -> None:
    """Take a subject with a range in."""
    subjects, record = store.subjects, store.subjects[subject]
    parent, node = NONE, int(store.state[0]["range_root"])
    goes_left = False
    while node != NONE:
        parent = node
        subjects[node]["reach"] = furthest(store, int(subjects[node]["reach"]), subject)
        goes_left = begins_before(store, subject, node)
        node = int(subjects[node]["left"]) if goes_left else int(subjects[node]["right"])
    record["left"] = NONE
    record["right"] = NONE
    record["parent"] = parent
    record["reach"] = subject
    if parent == NONE:
        store.state[0]["range_root"] = subject
    elif goes_left:
        subjects[parent]["left"] = subject
    else:
        subjects[parent]["right"] = subject
    while record["parent"] != NONE and is_above(subject, int(record["parent"])):
        rotate_up(store, subject)


@kernel
def remove(store: Any, subject: int) -> None:
    """Take a subject with a range out."""
    record = store.subjects[subject]
    while record["left"] != NONE or record["right"] != NONE:
        child, other = int(record["left"]), int(record["right"])
        if child == NONE or (other != NONE and is_above(other, child)):
            child = other
        rotate_up(store, child)
    node = int(record["parent"])
    replace_child(store, node, subject, NONE)
    while node != NONE:
        set_reach(store, node)
        node = int(store.subjects[node]["parent"])


@kernel
def begin_search(store: Any) -> None:
    """Have ``find_next`` find all ranges that a key lies in."""
    state = store.state[0]
    state["visits"] = 0
    if state["range_root"] != NONE:
        state["visit"][0] = state["range_root"]
        state["visits"] = 1


@kernel
def find_next(store: Any, buf: Any, at: int, size: int) -> int:
    """One more subject whose range holds the key ``buf[at : at + size]``, NONE when there is none left."""
    state, subjects, names = store.state[0], store.subjects, store.names
    visit = state["visit"]
    while state["visits"] > 0:
        state["visits"] -= 1
        subject = int(visit[state["visits"]])
        record = subjects[subject]
        if not ends_behind(store, int(record["reach"]), buf, at, size):
            continue
        if record["left"] != NONE:
            visit[state["visits"]] = record["left"]
            state["visits"] += 1
        if compare(names, int(record["key"]) * UNIT_BYTES, int(record["key_bytes"]), buf, at, size) > 0:
            continue
        if record["right"] != NONE:
            visit[state["visits"]] = record["right"]
            state["visits"] += 1
        if ends_behind(store, subject, buf, at, size):
            return subject
    return NONE
