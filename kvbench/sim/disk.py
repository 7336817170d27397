"""A member's simulated disk: files in slots, in two images. Reads see the current one, a crash leaves the durable one.

A write changes the current image and makes its sectors dirty; a sync copies the file's dirty sectors to the durable
one. A crash decides for each dirty sector whether it had reached the disk, so writes that were not synced are lost,
kept or torn in any combination. Making, renaming and removing files are each whole or not at all.
"""

from typing import Any

from kvbench.jit import kernel
from kvbench.rt.buffer import copy, fill
from kvbench.sim.agenda import chance, draw
from kvbench.sim.records import SECTOR_BYTES, SLOT_BYTES, SLOTS

NO_FILE = -2
"""ENOENT"""
NO_SPACE = -28
"""ENOSPC"""


@kernel
def find(world: Any, member: int, kind: int, number: int) -> int:
    """The slot of a member's file, or NO_FILE."""
    for slot in range(member * SLOTS, (member + 1) * SLOTS):
        if world.files[slot]["kind"] == kind and world.files[slot]["number"] == number:
            return slot
    return NO_FILE


@kernel
def create(world: Any, member: int, kind: int, number: int, size: int) -> int:
    """Make a file of ``size`` zeros, in place of one of that name. Returns its slot, or NO_SPACE."""
    slot = find(world, member, kind, number)
    if slot < 0:
        slot = find(world, member, 0, 0)
    if slot < 0 or size > SLOT_BYTES:
        return NO_SPACE
    file = world.files[slot]
    file["kind"], file["number"], file["bytes"], file["durable_bytes"] = kind, number, size, size
    fill(world.current, slot * SLOT_BYTES, SLOT_BYTES, 0)
    fill(world.durable, slot * SLOT_BYTES, SLOT_BYTES, 0)
    fill(world.dirty, slot * (SLOT_BYTES // SECTOR_BYTES), SLOT_BYTES // SECTOR_BYTES, 0)
    return slot


@kernel
def remove(world: Any, slot: int) -> None:
    """Free a file's slot."""
    world.files[slot]["kind"] = 0
    world.files[slot]["number"] = 0


@kernel
def rename(world: Any, member: int, slot: int, kind: int, number: int) -> None:
    """Give a file another name, in place of the one that has it."""
    other = find(world, member, kind, number)
    if other >= 0 and other != slot:
        remove(world, other)
    world.files[slot]["kind"] = kind
    world.files[slot]["number"] = number


@kernel
def write(world: Any, slot: int, offset: int, source: Any, at: int, size: int) -> int:
    """Change the current image. Returns 0, or NO_SPACE beyond a slot's room."""
    if offset + size > SLOT_BYTES:
        return NO_SPACE
    copy(world.current, slot * SLOT_BYTES + offset, source, at, size)
    first = slot * (SLOT_BYTES // SECTOR_BYTES)
    for sector in range(offset // SECTOR_BYTES, (offset + size + SECTOR_BYTES - 1) // SECTOR_BYTES):
        world.dirty[first + sector] = 1
    world.files[slot]["bytes"] = max(int(world.files[slot]["bytes"]), offset + size)
    return 0


@kernel
def read(world: Any, slot: int, offset: int, target: Any, at: int, size: int) -> int:
    """Read up to ``size`` bytes from ``offset`` on. Returns how many there were."""
    there = max(min(size, int(world.files[slot]["bytes"]) - offset), 0)
    copy(target, at, world.current, slot * SLOT_BYTES + offset, there)
    return there


@kernel
def settle(world: Any, slot: int, sector: int, kept: bool) -> None:
    """A dirty sector reached the disk, or did not."""
    at = slot * SLOT_BYTES + sector * SECTOR_BYTES
    if kept:
        copy(world.durable, at, world.current, at, SECTOR_BYTES)
    else:
        copy(world.current, at, world.durable, at, SECTOR_BYTES)
    world.dirty[slot * (SLOT_BYTES // SECTOR_BYTES) + sector] = 0


@kernel
def sync(world: Any, slot: int) -> None:
    """Make what was written to a file durable."""
    first = slot * (SLOT_BYTES // SECTOR_BYTES)
    for sector in range(SLOT_BYTES // SECTOR_BYTES):
        if world.dirty[first + sector] == 1:
            settle(world, slot, sector, True)
    world.files[slot]["durable_bytes"] = world.files[slot]["bytes"]


@kernel
def lose_unsynced(world: Any, slot: int) -> int:
    """What a crash does to a file: its dirty sectors all lost, all kept, kept up to one, or each by chance.

    Returns how many were lost. The file is as long as before the writes that were lost, or as after them.
    """
    state = world.state[0]
    first = slot * (SLOT_BYTES // SECTOR_BYTES)
    way, lost, upto = draw(state, 4), 0, draw(state, SLOT_BYTES // SECTOR_BYTES)
    for sector in range(SLOT_BYTES // SECTOR_BYTES):
        if world.dirty[first + sector] == 0:
            continue
        kept = way == 1 or (way == 2 and sector < upto) or (way == 3 and chance(state, 500))
        settle(world, slot, sector, kept)
        lost += 0 if kept else 1
    file = world.files[slot]
    if way == 0:
        file["bytes"] = file["durable_bytes"]
    file["durable_bytes"] = file["bytes"]
    return lost


@kernel
def crash(world: Any, member: int) -> int:
    """The power goes: what was not synced is lost, kept or torn. Returns how many sectors were lost."""
    lost = 0
    for slot in range(member * SLOTS, (member + 1) * SLOTS):
        if world.files[slot]["kind"] != 0:
            lost += lose_unsynced(world, slot)
    return lost


@kernel
def flip_bit(world: Any, slot: int, most: int) -> int:
    """Flip a bit among the first ``most`` bytes of a file that are not all zero. Returns the byte's offset, or -1."""
    base = slot * SLOT_BYTES
    last = most - 1
    while last >= 0 and world.durable[base + last] == 0:
        last -= 1
    if last < 0:
        return -1
    offset = draw(world.state[0], last + 1)
    world.durable[base + offset] ^= 1 << draw(world.state[0], 8)
    world.current[base + offset] = world.durable[base + offset]
    return offset
