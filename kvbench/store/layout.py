"""What lies at a reference in the arena: keys and versions of keys, little-endian, as compact as they can be.

A *key*: newest version u32; next key of its bucket u32; u16 with the length in 14 bits (LONG_KEY: a u32 with it
follows) and whether the newest version is a deletion; then the key's bytes.

A *version*: key u32; 8 bytes that hold the mod revision (48 bits) above a u16 of flags and the value's length in 11
bits; then, each only if its flag says so: the previous version u32 (0 once compaction took it); create revision and
version number, 48 bits each (else they are the mod revision and 1); lease id i64 and attachment u32; length u32 of a
value of LONG_VALUE or more. Then the value.

An *attachment* ties a key to its lease: key u32, next u32, previous u32.
"""

from typing import Any

import numpy as np

from kvbench.jit import kernel
from kvbench.rt.buffer import compare, equal, load_le32, load_le64, store_le32, store_le64

LONG_KEY = 0x3FFF
DELETED = 0x4000
KEY_HEAD_BYTES = 10

LONG_VALUE = 0x7FF
PREVIOUS, COUNTED, LEASED, TOMBSTONE, LONG = 0x800, 0x1000, 0x2000, 0x4000, 0x8000
"""Flags of a version."""
VERSION_HEAD_BYTES = 12
MASK_48 = (1 << 48) - 1

ONE_KEY, UP_TO, FROM = 0, 1, 2
"""Extents of a range: a key, keys below an end, keys to the end of all."""

ATTACHMENT_BYTES = 12


@kernel
def reference_at(references: Any, position: int) -> int:
    """An element of an array of uint32, as int64."""
    return np.int64(references[position])  # type: ignore[return-value]


@kernel
def load_le16(array: Any, at: int) -> int:
    """Little-endian uint16 as int64."""
    return np.int64(array[at]) | np.int64(array[at + 1]) << 8  # type: ignore[return-value]


# -- keys -------------------------------------------------------------------------------------------------------------


@kernel
def key_record_bytes(size: int) -> int:
    """Length of the record of a key of ``size`` bytes."""
    return KEY_HEAD_BYTES + size + (4 if size >= LONG_KEY else 0)


@kernel
def write_key_head(arena: Any, key: int, size: int) -> None:
    """Fill a new key record but for the key's bytes: no version, no next one."""
    place = key * 4
    store_le64(arena, place, 0)
    if size < LONG_KEY:
        arena[place + 8] = size & 255
        arena[place + 9] = size >> 8
    else:
        arena[place + 8] = LONG_KEY & 255
        arena[place + 9] = LONG_KEY >> 8
        store_le32(arena, place + KEY_HEAD_BYTES, size)


@kernel
def key_bytes(arena: Any, key: int) -> int:
    """Length of a key."""
    size = load_le16(arena, key * 4 + 8) & LONG_KEY
    return size if size < LONG_KEY else load_le32(arena, key * 4 + KEY_HEAD_BYTES)


@kernel
def key_at(arena: Any, key: int) -> int:
    """Where a key's bytes begin."""
    at = key * 4 + KEY_HEAD_BYTES
    return at if load_le16(arena, key * 4 + 8) & LONG_KEY != LONG_KEY else at + 4


@kernel
def is_key(arena: Any, key: int, buf: Any, at: int, size: int) -> bool:
    """Whether a key is ``buf[at : at + size]``."""
    return key_bytes(arena, key) == size and equal(arena, key_at(arena, key), buf, at, size)


@kernel
def compare_behind(arena: Any, key: int, buf: Any, at: int, size: int, same: int) -> tuple[int, int]:
    """(-1, 0 or 1 as ``buf[at : at + size]`` is before, at or behind a key; bytes that are equal, in steps of 8).

    The first ``same`` bytes are known to be equal.
    """
    start, length = key_at(arena, key), key_bytes(arena, key)
    while same + 8 <= min(size, length) and load_le64(buf, at + same) == load_le64(arena, start + same):
        same += 8
    return compare(buf, at + same, size - same, arena, start + same, length - same), same


@kernel
def newest_of(arena: Any, key: int) -> int:
    """The newest version of a key."""
    return load_le32(arena, key * 4)


@kernel
def is_deleted(arena: Any, key: int) -> bool:
    """Whether a key's newest version is a deletion."""
    return (int(arena[key * 4 + 9]) & DELETED >> 8) != 0


@kernel
def set_newest(arena: Any, key: int, version: int, deleted: bool) -> None:
    """Give a key its newest version."""
    store_le32(arena, key * 4, version)
    byte = int(arena[key * 4 + 9]) & ~(DELETED >> 8)
    arena[key * 4 + 9] = byte | DELETED >> 8 if deleted else byte


# -- versions ---------------------------------------------------------------------------------------------------------


@kernel
def version_bytes(flags: int, size: int) -> int:
    """Length of the record of a version with ``flags`` (without LONG) and a value of ``size`` bytes."""
    return _value_offset(flags | (LONG if size >= LONG_VALUE else 0)) + size


@kernel
def _value_offset(flags: int) -> int:
    """Where in its record a version's value begins."""
    at = VERSION_HEAD_BYTES
    if flags & PREVIOUS:
        at += 4
    if flags & COUNTED:
        at += 12
    if flags & LEASED:
        at += 12
    if flags & LONG:
        at += 4
    return at


@kernel
def flags_of(arena: Any, version: int) -> int:
    """A version's flags; the low 11 bits are no flags."""
    return load_le16(arena, version * 4 + 4)


@kernel
def mod_of(arena: Any, version: int) -> int:
    """The mod revision."""
    return load_le64(arena, version * 4 + 4) >> 16


@kernel
def key_of(arena: Any, version: int) -> int:
    """The key that it is a version of."""
    return load_le32(arena, version * 4)


@kernel
def is_tombstone(arena: Any, version: int) -> bool:
    """Whether this is a deletion."""
    return flags_of(arena, version) & TOMBSTONE != 0


@kernel
def previous_of(arena: Any, version: int) -> int:
    """The version before, 0 when there is none (any more)."""
    return load_le32(arena, version * 4 + VERSION_HEAD_BYTES) if flags_of(arena, version) & PREVIOUS else 0


@kernel
def cut_previous(arena: Any, version: int) -> None:
    """Forget the version before."""
    if flags_of(arena, version) & PREVIOUS:
        store_le32(arena, version * 4 + VERSION_HEAD_BYTES, 0)


@kernel
def _counts_at(arena: Any, version: int, flags: int) -> int:
    """Where create revision and version number are."""
    return version * 4 + VERSION_HEAD_BYTES + (4 if flags & PREVIOUS else 0)


@kernel
def create_of(arena: Any, version: int) -> int:
    """The create revision."""
    flags = flags_of(arena, version)
    if not flags & COUNTED:
        return mod_of(arena, version)
    return load_le64(arena, _counts_at(arena, version, flags)) & MASK_48


@kernel
def number_of(arena: Any, version: int) -> int:
    """The version number: how often the key was put since it was created."""
    flags = flags_of(arena, version)
    if not flags & COUNTED:
        return 1
    return (load_le64(arena, _counts_at(arena, version, flags) + 4) >> 16) & MASK_48


@kernel
def _lease_at(arena: Any, version: int, flags: int) -> int:
    """Where lease id and attachment are."""
    return _counts_at(arena, version, flags) + (12 if flags & COUNTED else 0)


@kernel
def lease_of(arena: Any, version: int) -> int:
    """The lease's id, 0: none."""
    flags = flags_of(arena, version)
    return load_le64(arena, _lease_at(arena, version, flags)) if flags & LEASED else 0


@kernel
def attachment_of(arena: Any, version: int) -> int:
    """The attachment of a version with a lease, 0 when it is not a key's newest version (any more)."""
    flags = flags_of(arena, version)
    return load_le32(arena, _lease_at(arena, version, flags) + 8) if flags & LEASED else 0


@kernel
def set_attachment(arena: Any, version: int, attachment: int) -> None:
    """Note the attachment of a version with a lease."""
    store_le32(arena, _lease_at(arena, version, flags_of(arena, version)) + 8, attachment)


@kernel
def value_bytes(arena: Any, version: int) -> int:
    """Length of the value."""
    flags = flags_of(arena, version)
    if flags & LONG:
        return load_le32(arena, version * 4 + _value_offset(flags) - 4)
    return flags & LONG_VALUE


@kernel
def value_at(arena: Any, version: int) -> int:
    """Where the value begins."""
    return version * 4 + _value_offset(flags_of(arena, version))


@kernel
def record_bytes(arena: Any, version: int) -> int:
    """Length of a version's record."""
    return _value_offset(flags_of(arena, version)) + value_bytes(arena, version)


@kernel
def write_version_head(
    arena: Any,
    version: int,
    key: int,
    mod: int,
    flags: int,
    previous: int,
    create: int,
    number: int,
    lease_id: int,
    size: int,
) -> int:
    """Fill a new version's record but for its value. Returns where that belongs."""
    at = version * 4
    length = size if size < LONG_VALUE else 0
    if size >= LONG_VALUE:
        flags |= LONG
    store_le32(arena, at, key)
    store_le64(arena, at + 4, mod << 16 | flags | length)
    at += VERSION_HEAD_BYTES
    if flags & PREVIOUS:
        store_le32(arena, at, previous)
        at += 4
    if flags & COUNTED:
        store_le32(arena, at, create)
        store_le32(arena, at + 4, create >> 32 | (number & 0xFFFF) << 16)
        store_le32(arena, at + 8, number >> 16)
        at += 12
    if flags & LEASED:
        store_le64(arena, at, lease_id)
        store_le32(arena, at + 8, 0)
        at += 12
    if flags & LONG:
        store_le32(arena, at, size)
        at += 4
    return at
