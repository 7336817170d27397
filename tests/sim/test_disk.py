"""The simulated disk against byte strings: what is read back, and what a crash may leave."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench.sim import disk
from kvbench.sim.records import SLOT_BYTES, SLOTS, World, new_world
from tests.naive.sim_disk import Disk

WORLD = new_world()
MEMBER = 1


def empty(seed: int) -> World:
    WORLD.state[0]["seed"], WORLD.state[0]["draws"] = seed, 0
    WORLD.files[:] = 0
    return WORLD


def contents(world: World, name: tuple[int, int]) -> bytes:
    slot = disk.find(world, MEMBER, *name)
    return world.current[slot * SLOT_BYTES : (slot + 1) * SLOT_BYTES].tobytes()


NAMES = st.tuples(st.integers(1, 2), st.integers(0, 2))
STEPS = st.one_of(
    st.tuples(st.just("create"), NAMES),
    st.tuples(st.just("write"), NAMES, st.integers(0, 3000), st.binary(min_size=1, max_size=1200)),
    st.tuples(st.just("sync"), NAMES),
    st.tuples(st.just("remove"), NAMES),
    st.tuples(st.just("rename"), NAMES, NAMES),
)


def carry_out(world: World, naive: Disk, step: tuple) -> None:  # type: ignore[type-arg]
    """One step on both disks; a step on a file that is not there is left out."""
    kind, name = step[0], step[1]
    if kind == "create":
        assert disk.create(world, MEMBER, name[0], name[1], SLOT_BYTES) >= 0
        naive.create(name)
        return
    slot = disk.find(world, MEMBER, *name)
    assert (slot >= 0) == (name in naive.current)
    if slot < 0:
        return
    if kind == "write":
        assert disk.write(world, slot, step[2], np.frombuffer(step[3], np.uint8), 0, len(step[3])) == 0
        naive.write(name, step[2], step[3])
    elif kind == "sync":
        disk.sync(world, slot)
        naive.sync(name)
    elif kind == "remove":
        disk.remove(world, slot)
        naive.remove(name)
    elif name != step[2]:
        disk.rename(world, MEMBER, slot, *step[2])
        naive.rename(name, step[2])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(STEPS, max_size=20), st.integers(0, 1000))
def test_files_are_read_back_and_a_crash_leaves_sectors_whole(steps: list[tuple], seed: int) -> None:  # type: ignore[type-arg]
    world, naive = empty(seed), Disk(SLOT_BYTES)
    for step in steps:
        carry_out(world, naive, step)
    for name, content in naive.current.items():
        assert contents(world, name) == bytes(content)
    disk.crash(world, MEMBER)
    for name in naive.current:
        assert naive.could_be(name, contents(world, name))
    left = {name: contents(world, name) for name in naive.current}
    assert disk.crash(world, MEMBER) == 0
    assert left == {name: contents(world, name) for name in naive.current}


def test_what_was_synced_survives_and_each_way_of_losing_happens() -> None:
    kept, lost, torn = 0, 0, 0
    for seed in range(40):
        world = empty(seed)
        slot = disk.create(world, MEMBER, 1, 1, SLOT_BYTES)
        disk.write(world, slot, 0, np.full(700, 1, np.uint8), 0, 700)
        disk.sync(world, slot)
        disk.write(world, slot, 600, np.full(2000, 2, np.uint8), 0, 2000)
        disk.crash(world, MEMBER)
        content = contents(world, (1, 1))
        assert content[:600] == bytes([1]) * 600
        twos = content.count(2)
        kept, lost, torn = kept + (twos == 2000), lost + (twos == 0), torn + (0 < twos < 2000)
    assert min(kept, lost, torn) > 0


def test_a_disk_has_so_many_files_of_such_a_size() -> None:
    world = empty(0)
    assert disk.create(world, MEMBER, 1, 0, SLOT_BYTES + 1) == disk.NO_SPACE
    slots = [disk.create(world, MEMBER, 1, number, 10) for number in range(SLOTS)]
    assert len(set(slots)) == SLOTS and min(slots) >= MEMBER * SLOTS
    assert disk.create(world, MEMBER, 2, 0, 10) == disk.NO_SPACE
    assert disk.write(world, slots[0], SLOT_BYTES - 1, np.ones(2, np.uint8), 0, 2) == disk.NO_SPACE


@pytest.mark.parametrize("seed", range(5))
def test_a_flipped_bit_is_one_bit_of_what_was_written(seed: int) -> None:
    world = empty(seed)
    slot = disk.create(world, MEMBER, 1, 1, SLOT_BYTES)
    assert disk.flip_bit(world, slot, SLOT_BYTES) == -1
    disk.write(world, slot, 0, np.full(100, 255, np.uint8), 0, 100)
    disk.sync(world, slot)
    offset = disk.flip_bit(world, slot, SLOT_BYTES)
    content = contents(world, (1, 1))
    assert 0 <= offset < 100 and sum(byte.bit_count() for byte in content) == 799 and content[offset] != 255
