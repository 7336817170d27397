"""Which keys a lease is attached to: a list of attachments in the arena, each named by its key's newest version."""

from typing import Any

from kvbench.jit import kernel
from kvbench.rt.buffer import load_le32, store_le32
from kvbench.store.arena import allocate, release
from kvbench.store.layout import ATTACHMENT_BYTES, attachment_of, lease_of, set_attachment
from kvbench.store.records import NONE, OUT_OF_MEMORY, UNIT_BYTES, lease_bucket

KEY, NEXT, BEFORE = 0, 4, 8
"""Offsets in an attachment."""


@kernel
def find_lease(store: Any, lease_id: int) -> int:
    """The slot of a lease, NONE when there is no such lease."""
    leases = store.leases
    slot = int(leases[lease_bucket(store, lease_id)]["bucket"]) - 1
    while slot >= 0 and leases[slot]["id"] != lease_id:
        slot = int(leases[slot]["next"])
    return slot if slot >= 0 else NONE


@kernel
def attach(store: Any, slot: int, key: int, version: int) -> int:
    """Tie a key, whose newest version is ``version``, to a lease. Returns 0 or OUT_OF_MEMORY."""
    arena, lease = store.arena, store.leases[slot]
    attachment = allocate(store.spaces[0], arena, ATTACHMENT_BYTES)
    if attachment == 0:
        return OUT_OF_MEMORY
    following = int(lease["first"])
    at = attachment * UNIT_BYTES
    store_le32(arena, at + KEY, key)
    store_le32(arena, at + NEXT, following)
    store_le32(arena, at + BEFORE, 0)
    if following != 0:
        store_le32(arena, following * UNIT_BYTES + BEFORE, attachment)
    lease["first"] = attachment
    lease["keys"] += 1
    set_attachment(arena, version, attachment)
    return 0


@kernel
def detach(store: Any, version: int) -> None:
    """A version with a lease is a key's newest no longer: untie the key."""
    arena = store.arena
    attachment = attachment_of(arena, version)
    if attachment == 0:
        return
    lease = store.leases[find_lease(store, lease_of(arena, version))]
    at = attachment * UNIT_BYTES
    following, before = load_le32(arena, at + NEXT), load_le32(arena, at + BEFORE)
    if before != 0:
        store_le32(arena, before * UNIT_BYTES + NEXT, following)
    else:
        lease["first"] = following
    if following != 0:
        store_le32(arena, following * UNIT_BYTES + BEFORE, before)
    lease["keys"] -= 1
    set_attachment(arena, version, 0)
    release(store.spaces[0], arena, attachment, ATTACHMENT_BYTES)


@kernel
def attached_key(store: Any, attachment: int) -> int:
    """The key of an attachment."""
    return load_le32(store.arena, attachment * UNIT_BYTES + KEY)


@kernel
def next_attachment(store: Any, attachment: int) -> int:
    """The one behind it in its lease's list, 0: none."""
    return load_le32(store.arena, attachment * UNIT_BYTES + NEXT)
