"""Keys in order: a B+ tree of references to them, in the arena. A key's bytes are not stored again.

A *leaf* is 64 words: number of keys, next leaf, the keys. An *inner node* is 128 words: number of children, an unused
word, 63 children, 63 keys; key i (i > 0) is the first one below child i. What is appended to a full node goes into a
new one and leaves the full one full, so keys that come in order fill their leaves. A node with few entries is joined
with a neighbour when both fit into one.

``path`` of the state holds the nodes of the last descent, topmost first, and the positions taken in them.
"""

from typing import Any

from kvbench.jit import kernel
from kvbench.rt.buffer import copy, load_le32, store_le32
from kvbench.store.arena import allocate, release
from kvbench.store.layout import compare_behind, key_at, key_bytes
from kvbench.store.records import LEAF_UNITS, OUT_OF_MEMORY, PATH_LEVELS, UNIT_BYTES

LEAF_KEYS = 62
INNER_CHILDREN = 63
INNER_UNITS = 128
FEW_KEYS, FEW_CHILDREN = 15, 15
HEAD = 2
"""Words before a node's entries."""
SEPARATORS = HEAD + INNER_CHILDREN
"""Where an inner node's keys begin."""
POSITIONS = PATH_LEVELS
"""Where in ``path`` the positions begin."""


@kernel
def word(arena: Any, node: int, index: int) -> int:
    """A word of a node."""
    return load_le32(arena, (node + index) * UNIT_BYTES)


@kernel
def set_word(arena: Any, node: int, index: int, value: int) -> None:
    """Change a word of a node."""
    store_le32(arena, (node + index) * UNIT_BYTES, value)


@kernel
def _move(arena: Any, node: int, index: int, source: int, start: int, count: int) -> None:
    """Copy words from one node (or place in it) to another; the two may overlap."""
    copy(arena, (node + index) * UNIT_BYTES, arena, (source + start) * UNIT_BYTES, count * UNIT_BYTES)


@kernel
def _position(
    arena: Any, node: int, low: int, high: int, buf: Any, at: int, size: int, least: int, below: int, above: int
) -> tuple[int, int, int]:
    """(number, below, above): how many of the words ``low`` to ``high`` of a node, keys in order, are before a key.

    With ``least`` 1 these are the keys below it, with 0 it counts itself. ``below`` and ``above`` say how many bytes
    the key shares with the nearest known ones on either side: what lies between shares the fewer of them too.
    """
    start = low
    while low < high:
        middle = (low + high) >> 1
        order, same = compare_behind(arena, word(arena, node, middle), buf, at, size, min(below, above))
        if order >= least:
            low = middle + 1
            below = same
        else:
            high = middle
            above = same
    return low - start, below, above


@kernel
def descend(store: Any, buf: Any, at: int, size: int) -> int:
    """Find where a key is or belongs: fills ``path``. Returns the leaf; its position is that of the next key."""
    state, arena = store.state[0], store.arena
    path = state["path"]
    height = int(state["height"])
    node = int(state["root"])
    below = above = 0
    for level in range(height):
        first, end = SEPARATORS + 1, SEPARATORS + word(arena, node, 0)
        place, below, above = _position(arena, node, first, end, buf, at, size, 0, below, above)
        path[level] = node
        path[POSITIONS + level] = place
        node = word(arena, node, HEAD + place)
    path[height] = node
    end = HEAD + word(arena, node, 0)
    place, below, above = _position(arena, node, HEAD, end, buf, at, size, 1, below, above)
    path[POSITIONS + height] = place
    return node


@kernel
def seek(store: Any, buf: Any, at: int, size: int) -> tuple[int, int]:
    """(leaf, position) of the first key not below the given one; position = number of keys: there is none."""
    leaf = descend(store, buf, at, size)
    place = int(store.state[0]["path"][POSITIONS + store.state[0]["height"]])
    following = word(store.arena, leaf, 1)
    if place == word(store.arena, leaf, 0) and following != 0:
        return following, 0
    return leaf, place


@kernel
def first_leaf(store: Any) -> int:
    """The leaf of the smallest keys."""
    node = int(store.state[0]["root"])
    for _ in range(store.state[0]["height"]):
        node = word(store.arena, node, HEAD)
    return node


@kernel
def insert(store: Any, key: int) -> int:
    """Add a key that is not there. Returns 0 or OUT_OF_MEMORY."""
    state, arena = store.state[0], store.arena
    leaf = descend(store, arena, key_at(arena, key), key_bytes(arena, key))
    place = int(state["path"][POSITIONS + state["height"]])
    count = word(arena, leaf, 0)
    if count < LEAF_KEYS:
        _move(arena, leaf, HEAD + place + 1, leaf, HEAD + place, count - place)
        set_word(arena, leaf, HEAD + place, key)
        set_word(arena, leaf, 0, count + 1)
        return 0
    right = allocate(store.spaces[0], arena, LEAF_UNITS * UNIT_BYTES)
    if right == 0:
        return OUT_OF_MEMORY
    kept = LEAF_KEYS if place == LEAF_KEYS else LEAF_KEYS >> 1
    set_word(arena, right, 0, LEAF_KEYS - kept)
    set_word(arena, right, 1, word(arena, leaf, 1))
    _move(arena, right, HEAD, leaf, HEAD + kept, LEAF_KEYS - kept)
    set_word(arena, leaf, 0, kept)
    set_word(arena, leaf, 1, right)
    node = leaf
    if place > kept or place == LEAF_KEYS:
        node = right
        place -= kept
    count = word(arena, node, 0)
    _move(arena, node, HEAD + place + 1, node, HEAD + place, count - place)
    set_word(arena, node, HEAD + place, key)
    set_word(arena, node, 0, count + 1)
    return _add_child(store, int(state["height"]) - 1, right, word(arena, right, HEAD))


@kernel
def _add_child(store: Any, level: int, child: int, key: int) -> int:
    """Put a new node, whose first key is ``key``, behind the one that the path goes through. 0 or OUT_OF_MEMORY."""
    state, arena = store.state[0], store.arena
    path = state["path"]
    while level >= 0:
        node = int(path[level])
        place = int(path[POSITIONS + level]) + 1
        count = word(arena, node, 0)
        if count < INNER_CHILDREN:
            _put_child(arena, node, place, count, child, key)
            return 0
        right = allocate(store.spaces[0], arena, INNER_UNITS * UNIT_BYTES)
        if right == 0:
            return OUT_OF_MEMORY
        kept = INNER_CHILDREN if place == INNER_CHILDREN else (INNER_CHILDREN >> 1) + 1
        set_word(arena, right, 0, INNER_CHILDREN - kept)
        set_word(arena, right, 1, 0)
        _move(arena, right, HEAD, node, HEAD + kept, INNER_CHILDREN - kept)
        _move(arena, right, SEPARATORS, node, SEPARATORS + kept, INNER_CHILDREN - kept)
        first = key if kept == INNER_CHILDREN else word(arena, node, SEPARATORS + kept)
        set_word(arena, node, 0, kept)
        if place < kept:
            _put_child(arena, node, place, kept, child, key)
        else:
            if place == kept:
                first = key
            _put_child(arena, right, place - kept, INNER_CHILDREN - kept, child, key)
        child, key = right, first
        level -= 1
    root = allocate(store.spaces[0], arena, INNER_UNITS * UNIT_BYTES)
    if root == 0:
        return OUT_OF_MEMORY
    set_word(arena, root, 0, 2)
    set_word(arena, root, 1, 0)
    set_word(arena, root, HEAD, int(state["root"]))
    set_word(arena, root, HEAD + 1, child)
    set_word(arena, root, SEPARATORS, 0)
    set_word(arena, root, SEPARATORS + 1, key)
    state["root"] = root
    state["height"] += 1
    return 0


@kernel
def _put_child(arena: Any, node: int, place: int, count: int, child: int, key: int) -> None:
    """Insert a child and its first key into an inner node of ``count`` children that is not full."""
    _move(arena, node, HEAD + place + 1, node, HEAD + place, count - place)
    _move(arena, node, SEPARATORS + place + 1, node, SEPARATORS + place, count - place)
    set_word(arena, node, HEAD + place, child)
    set_word(arena, node, SEPARATORS + place, key)
    set_word(arena, node, 0, count + 1)


@kernel
def remove(store: Any, key: int) -> None:
    """Take out a key that is there; its record must still hold its bytes."""
    state, arena = store.state[0], store.arena
    leaf = descend(store, arena, key_at(arena, key), key_bytes(arena, key))
    height = int(state["height"])
    place = int(state["path"][POSITIONS + height])
    count = word(arena, leaf, 0) - 1
    _move(arena, leaf, HEAD + place, leaf, HEAD + place + 1, count - place)
    set_word(arena, leaf, 0, count)
    if place == 0:
        _name_first(store, leaf, count)
    level = height
    while level > 0 and _shrink(store, level):
        level -= 1
    while state["height"] > 0 and word(arena, int(state["root"]), 0) == 1:
        node = int(state["root"])
        state["root"] = word(arena, node, HEAD)
        state["height"] -= 1
        release(store.spaces[0], arena, node, INNER_UNITS * UNIT_BYTES)


@kernel
def _name_first(store: Any, leaf: int, count: int) -> None:
    """The first key of the path's leaf is gone: the inner node that names it is to name the one that is first now."""
    state, arena = store.state[0], store.arena
    path = state["path"]
    key = word(arena, leaf, HEAD) if count > 0 else 0
    for level in range(state["height"] - 1, -1, -1):
        node, place = int(path[level]), int(path[POSITIONS + level])
        if place > 0:
            if key != 0:
                set_word(arena, node, SEPARATORS + place, key)
            return
        if key == 0 and word(arena, node, 0) > 1:
            key = word(arena, node, SEPARATORS + 1)


@kernel
def _shrink(store: Any, level: int) -> bool:
    """Remove the path's node at a level if it is empty, join it if it is small. Whether its parent lost a child."""
    state, arena = store.state[0], store.arena
    path = state["path"]
    node = int(path[level])
    parent, place = int(path[level - 1]), int(path[POSITIONS + level - 1])
    count = word(arena, node, 0)
    is_leaf = level == state["height"]
    if count == 0:
        if is_leaf:
            before = _leaf_before(store)
            if before != 0:
                set_word(arena, before, 1, word(arena, node, 1))
        _drop_child(store, parent, place, is_leaf)
        return True
    few, most = (FEW_KEYS, LEAF_KEYS) if is_leaf else (FEW_CHILDREN, INNER_CHILDREN)
    if count > few:
        return False
    if place + 1 < word(arena, parent, 0) and count + word(arena, word(arena, parent, HEAD + place + 1), 0) <= most:
        _join(store, parent, place, is_leaf)
        return True
    if place > 0 and count + word(arena, word(arena, parent, HEAD + place - 1), 0) <= most:
        _join(store, parent, place - 1, is_leaf)
        return True
    return False


@kernel
def _join(store: Any, parent: int, place: int, is_leaf: bool) -> None:
    """Move all of a node's right neighbour into it."""
    arena = store.arena
    left, right = word(arena, parent, HEAD + place), word(arena, parent, HEAD + place + 1)
    here, there = word(arena, left, 0), word(arena, right, 0)
    _move(arena, left, HEAD + here, right, HEAD, there)
    set_word(arena, left, 0, here + there)
    if is_leaf:
        set_word(arena, left, 1, word(arena, right, 1))
    else:
        _move(arena, left, SEPARATORS + here, right, SEPARATORS, there)
        set_word(arena, left, SEPARATORS + here, word(arena, parent, SEPARATORS + place + 1))
    _drop_child(store, parent, place + 1, is_leaf)


@kernel
def _drop_child(store: Any, parent: int, place: int, is_leaf: bool) -> None:
    """Take a child out of an inner node, and give its record back."""
    arena = store.arena
    units = LEAF_UNITS if is_leaf else INNER_UNITS
    release(store.spaces[0], arena, word(arena, parent, HEAD + place), units * UNIT_BYTES)
    behind = word(arena, parent, 0) - place - 1
    _move(arena, parent, HEAD + place, parent, HEAD + place + 1, behind)
    _move(arena, parent, SEPARATORS + place, parent, SEPARATORS + place + 1, behind)
    set_word(arena, parent, 0, place + behind)


@kernel
def _leaf_before(store: Any) -> int:
    """The leaf before the path's leaf, 0 when that is the first."""
    state, arena = store.state[0], store.arena
    path = state["path"]
    height = int(state["height"])
    for level in range(height - 1, -1, -1):
        place = int(path[POSITIONS + level])
        if place > 0:
            node = word(arena, int(path[level]), HEAD + place - 1)
            for _ in range(height - 1 - level):
                node = word(arena, node, HEAD + word(arena, node, 0) - 1)
            return node
    return 0
