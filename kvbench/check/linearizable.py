"""Linearizability of the registers of a history, key by key, since it is local (Herlihy and Wing, 1990, section 3.3).

The search is Wing and Gong's with Lowe's memory of configurations ("Testing for linearizability", 2017, section 3):
take any operation that no other had to come before, see whether the register allows it, go on; at a return of an
operation that was not taken yet, go back. A configuration (which operations are taken, what the register holds) that
was seen before leads nowhere new.
"""

from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kvbench.jit import kernel
from kvbench.ops.history import ABSENT, CAS, DELETE, FAILED, NEVER, OK, READ, REFUSED, UNKNOWN, WRITE
from kvbench.rt.rng import mix


class Verdict(IntEnum):
    """What a check found. UNDECIDED is no pass."""

    LINEARIZABLE = 1
    ILLEGAL = 2
    UNDECIDED = 3
    """The search was ended by its limit of configurations."""


LINEARIZABLE, ILLEGAL, UNDECIDED = (int(verdict) for verdict in Verdict)
IMPOSSIBLE = -1
"""No value: the register does not allow the operation as it was seen."""
NO_ROOM = -2
"""No value: too many configurations."""


class Search(NamedTuple):
    """Room for the search over one key's operations, for at most ``operations`` of them."""

    events: npt.NDArray[np.int64]
    """int64[2 n]: invocation of operation i: i; its return: n + i; in order of time"""
    after: npt.NDArray[np.int32]
    """int32[2 n + 2]: the list of events that remain: the next one's position; position 2 n is the head"""
    before: npt.NDArray[np.int32]
    """int32[2 n + 2]"""
    place: npt.NDArray[np.int32]
    """int32[2 n]: where in ``events`` an event is"""
    taken: npt.NDArray[np.int64]
    """int64[words]: bit set of the operations taken"""
    stack: npt.NDArray[np.int64]
    """int64[2 n]: operations taken, each with the register's value before it"""
    table: npt.NDArray[np.int32]
    """int32[power of two]: hash table of configurations, 0: empty, else their number + 1"""
    configurations: npt.NDArray[np.int64]
    """int64[limit * (words + 1)]: the sets and values seen"""


def new_search(operations: int, configurations: int = 1 << 16) -> Search:
    """Room to search ``operations`` operations of a key, remembering at most ``configurations`` configurations."""
    words = (operations + 62) // 63
    return Search(
        events=np.zeros(2 * operations, np.int64),
        after=np.zeros(2 * operations + 2, np.int32),
        before=np.zeros(2 * operations + 2, np.int32),
        place=np.zeros(2 * operations, np.int32),
        taken=np.zeros(words, np.int64),
        stack=np.zeros(2 * operations, np.int64),
        table=np.zeros(1 << (2 * configurations - 1).bit_length(), np.int32),
        configurations=np.zeros(configurations * (words + 1), np.int64),
    )


@kernel
def next_value(value: int, act: int, seen: int, argument: int, expected: int) -> int:
    """What the register holds after an operation, IMPOSSIBLE when it cannot have been seen so with ``value`` in it."""
    if act == READ:
        return value if argument == value else IMPOSSIBLE
    if act == WRITE:
        return argument
    if act == DELETE:
        return ABSENT
    if seen == REFUSED:
        return value if value != expected else IMPOSSIBLE
    return argument if value == expected else IMPOSSIBLE


@kernel
def event_time(history: Any, event: int, count: int) -> int:
    """When an event was."""
    if event < count:
        return int(history[event]["invoked"])
    if history[event - count]["seen"] == UNKNOWN:
        return NEVER
    return int(history[event - count]["returned"])


@kernel
def comes_later(history: Any, left: int, right: int, count: int) -> bool:
    """Whether event ``left`` comes after ``right``: by time, invocations first (intervals are closed), by number."""
    left_time, right_time = event_time(history, left, count), event_time(history, right, count)
    if left_time != right_time:
        return left_time > right_time
    return left > right


@kernel
def sift(history: Any, events: Any, root: int, end: int, count: int) -> None:
    """Heap sort's step: let the event at ``root`` sink below later ones."""
    while True:
        child = 2 * root + 1
        if child >= end:
            return
        if child + 1 < end and comes_later(history, events[child + 1], events[child], count):
            child += 1
        if not comes_later(history, events[child], events[root], count):
            return
        event = events[root]
        events[root] = events[child]
        events[child] = event
        root = child


@kernel
def arrange(history: Any, count: int, search: Any) -> None:
    """Sort the events of ``history[:count]`` by time and link them."""
    events, total = search.events, 2 * count
    for event in range(total):
        events[event] = event
    for root in range(count - 1, -1, -1):
        sift(history, events, root, total, count)
    for end in range(total - 1, 0, -1):
        event = events[end]
        events[end] = events[0]
        events[0] = event
        sift(history, events, 0, end, count)
    head = total
    search.after[head] = 0
    for position in range(total):
        search.place[events[position]] = position
        search.after[position] = position + 1 if position + 1 < total else head
        search.before[position] = position - 1 if position > 0 else head
    search.before[head] = total - 1


@kernel
def unlink(search: Any, position: int) -> None:
    """Take an event out of the list."""
    search.after[search.before[position]] = search.after[position]
    search.before[search.after[position]] = search.before[position]


@kernel
def relink(search: Any, position: int) -> None:
    """Put an event back where it was; events go back in the reverse of the order in which they left."""
    search.after[search.before[position]] = position
    search.before[search.after[position]] = position


@kernel
def remember(search: Any, words: int, known: int, value: int) -> int:
    """Add the configuration (taken, ``value``). Returns 1, 0 when it was there already, -1 when there is no room."""
    mixed = mix(value, words)
    for word in range(words):
        mixed = mix(mixed, int(search.taken[word]))
    mask = len(search.table) - 1
    slot = mixed & mask
    while search.table[slot] != 0:
        base = (search.table[slot] - 1) * (words + 1)
        same = search.configurations[base + words] == value
        for word in range(words):
            same = same and search.configurations[base + word] == search.taken[word]
        if same:
            return 0
        slot = (slot + 1) & mask
    base = known * (words + 1)
    if base + words + 1 > len(search.configurations):
        return -1
    for word in range(words):
        search.configurations[base + word] = search.taken[word]
    search.configurations[base + words] = value
    search.table[slot] = known + 1
    return 1


@kernel
def try_next(row: Any, event: int, value: int, search: Any, words: int, known: int) -> int:
    """Take operation ``event`` (``row``) next. Returns the value then, IMPOSSIBLE (not taken), or NO_ROOM."""
    after = next_value(value, int(row["act"]), int(row["seen"]), int(row["value"]), int(row["expected"]))
    if after == IMPOSSIBLE:
        return IMPOSSIBLE
    bit = 1 << (event % 63)
    search.taken[event // 63] |= bit
    fresh = remember(search, words, known, after)
    if fresh == 1:
        return after
    search.taken[event // 63] &= ~bit
    return IMPOSSIBLE if fresh == 0 else NO_ROOM


@kernel
def check_register(history: Any, count: int, initial: int, search: Any) -> int:
    """Whether ``history[:count]`` (HISTORY of one key, none FAILED) of a register is linearizable; first: ``initial``.

    Returns a Verdict. ``search`` has room for ``count`` operations.
    """
    words = (count + 62) // 63
    for word in range(words):
        search.taken[word] = 0
    for slot in range(len(search.table)):
        search.table[slot] = 0
    arrange(history, count, search)
    head, depth, known, value = 2 * count, 0, 0, initial
    position = int(search.after[head])
    while position != head:
        event = int(search.events[position])
        if event < count:
            after = try_next(history[event], event, value, search, words, known)
            if after == NO_ROOM:
                return UNDECIDED
            if after == IMPOSSIBLE:
                position = int(search.after[position])
                continue
            known += 1
            search.stack[2 * depth] = event
            search.stack[2 * depth + 1] = value
            depth += 1
            value = after
            unlink(search, position)
            unlink(search, int(search.place[count + event]))
            position = int(search.after[head])
        elif history[event - count]["seen"] == UNKNOWN:
            return LINEARIZABLE  # all that is left may never have happened
        elif depth == 0:
            return ILLEGAL
        else:
            depth -= 1
            event = int(search.stack[2 * depth])
            value = int(search.stack[2 * depth + 1])
            search.taken[event // 63] &= ~(1 << (event % 63))
            relink(search, int(search.place[count + event]))
            position = int(search.place[event])
            relink(search, position)
            position = int(search.after[position])
    return LINEARIZABLE


class KeyVerdict(NamedTuple):
    """The verdict on one key."""

    key: int
    verdict: Verdict
    operations: int


def needs_checking(history: npt.NDArray[np.void]) -> npt.NDArray[np.bool_]:
    """Which operations constrain anything: not those that certainly did nothing, nor reads without an answer."""
    failed: npt.NDArray[np.bool_] = history["seen"] == FAILED
    unanswered: npt.NDArray[np.bool_] = (history["act"] == READ) & (history["seen"] != OK)
    return ~(failed | unanswered)


def check_history(
    history: npt.NDArray[np.void], initial: int = ABSENT, configurations: int = 1 << 20
) -> list[KeyVerdict]:
    """The verdict on each key of a history (HISTORY[n], any order of records), in the order of keys.

    Every key holds ``initial`` at first. Raises ValueError when an act or an ending is none of the known ones.
    """
    if not np.isin(history["act"], (READ, WRITE, DELETE, CAS)).all():
        raise ValueError("a history's acts are READ, WRITE, DELETE and CAS")
    if not np.isin(history["seen"], (OK, FAILED, UNKNOWN, REFUSED)).all():
        raise ValueError("an operation ends as OK, FAILED, UNKNOWN or REFUSED")
    telling = history[needs_checking(history)]
    verdicts = []
    for key in np.unique(telling["key"]):
        rows = telling[telling["key"] == key]
        search = new_search(len(rows), configurations)
        verdict = Verdict(check_register(rows, len(rows), initial, search))
        verdicts.append(KeyVerdict(int(key), verdict, len(rows)))
    return verdicts
