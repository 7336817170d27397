"""A member crashes: what its disk had not synced is lost, kept or torn, and a bit of its log may be flipped."""

from typing import Any

from kvbench.jit import kernel
from kvbench.node.records import QUEUES
from kvbench.sim import disk
from kvbench.sim.agenda import draw, schedule
from kvbench.sim.records import SLOT_BYTES, SLOTS, Happening, Met

RESTART, LINK = int(Happening.RESTART), int(Happening.LINK)
CRASHED, LOST, FLIPPED = int(Met.CRASH), int(Met.UNSYNCED_LOSS), int(Met.BIT_FLIP)
INSTALL_CRASH = int(Met.INSTALL_CRASH)
MS = 1_000_000


@kernel
def crash(world: Any, member: int, away_ns: int) -> None:
    """A member is gone at once, and what its disk did not sync with it.

    It starts again after about ``away_ns``; negative: when somebody has it start.
    """
    state, own = world.state[0], world.members[member]
    if own["up"] == 0:
        return
    own["up"] = 0
    own["doomed"] = 0
    own["incarnation"] += 1
    state["met"][CRASHED] += 1
    if own["receiving"] != 0:
        state["met"][INSTALL_CRASH] += 1
    own["receiving"] = 0
    if disk.crash(world, member) > 0:
        state["met"][LOST] += 1
    for queue in range(QUEUES):
        own["queue_count"][queue] = 0
    if state["options"]["flips"] == 1 and state["damaged"] < 0 and state["options"]["members"] > 1:
        flip_bit(world, member)
    if away_ns >= 0:
        schedule(world, int(state["now_ns"]) + away_ns // 100 + draw(state, 2 * away_ns), RESTART, member, 0, 0)
    for other in range(int(state["options"]["members"])):
        if world.members[other]["up"] == 1:
            at_ns = int(state["now_ns"]) + draw(state, 20 * MS)
            schedule(world, at_ns, LINK, other, member, 0)


@kernel
def flip_bit(world: Any, member: int) -> None:
    """Flip a bit in one of a crashed member's segments."""
    state = world.state[0]
    first = draw(state, SLOTS)
    for i in range(SLOTS):
        slot = member * SLOTS + (first + i) % SLOTS
        if world.files[slot]["kind"] == 1 and disk.flip_bit(world, slot, SLOT_BYTES) >= 0:
            state["damaged"] = member
            state["met"][FLIPPED] += 1
            return
