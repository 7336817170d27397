"""Sorting of references: merge sort between the two halves of ``found``; what compares equal stays in order."""

from typing import Any

from kvbench.jit import kernel
from kvbench.rt.buffer import compare
from kvbench.store.layout import (
    create_of,
    key_at,
    key_bytes,
    key_of,
    mod_of,
    number_of,
    reference_at,
    value_at,
    value_bytes,
)

BY_KEY, BY_VERSION, BY_CREATE, BY_MOD, BY_VALUE = 0, 1, 2, 3, 4
"""What versions are ordered by; the first five are a RangeRequest's."""
KEYS = 5
"""The references are of keys."""


@kernel
def _sign(difference: int) -> int:
    return 1 if difference > 0 else -1 if difference < 0 else 0


@kernel
def _order(arena: Any, left: int, right: int, target: int) -> int:
    """Negative, 0 or positive as ``left`` comes before, with or behind ``right``."""
    if target == BY_VERSION:
        return _sign(number_of(arena, left) - number_of(arena, right))
    if target == BY_CREATE:
        return _sign(create_of(arena, left) - create_of(arena, right))
    if target == BY_MOD:
        return _sign(mod_of(arena, left) - mod_of(arena, right))
    if target == BY_VALUE:
        size, other = value_bytes(arena, left), value_bytes(arena, right)
        return compare(arena, value_at(arena, left), size, arena, value_at(arena, right), other)
    if target == BY_KEY:
        left, right = key_of(arena, left), key_of(arena, right)
    size, other = key_bytes(arena, left), key_bytes(arena, right)
    return compare(arena, key_at(arena, left), size, arena, key_at(arena, right), other)


@kernel
def sort(store: Any, count: int, target: int, descending: bool) -> None:
    """Sort the first ``count`` references in ``found`` (at most half of its length)."""
    found = store.found
    half = len(found) >> 1
    source, goal = 0, half
    width = 1
    while width < count:
        for start in range(0, count, 2 * width):
            left = min(width, count - start)
            right = min(width, count - start - left)
            _merge(store, source + start, left, right, goal + start, target, descending)
        source, goal = goal, source
        width *= 2
    if source != 0:
        for position in range(count):
            found[position] = found[half + position]


@kernel
def _merge(store: Any, at: int, left: int, right: int, to: int, target: int, descending: bool) -> None:
    """Merge two sorted runs that lie one behind the other."""
    found, arena = store.found, store.arena
    other = at + left
    left_end, right_end = other, other + right
    while at < left_end or other < right_end:
        take_left = other == right_end
        if not take_left and at < left_end:
            order = _order(arena, reference_at(found, at), reference_at(found, other), target)
            take_left = order >= 0 if descending else order <= 0
        if take_left:
            found[to] = found[at]
            at += 1
        else:
            found[to] = found[other]
            other += 1
        to += 1
