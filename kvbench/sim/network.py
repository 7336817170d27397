"""The simulated network: frames between members, each lost, late, twice, or out of order as the seed has it."""

from typing import Any

from kvbench.jit import kernel
from kvbench.node.records import MEMBERS_MAX
from kvbench.rt.buffer import copy
from kvbench.sim.agenda import AGENDA_FULL, chance, draw, schedule
from kvbench.sim.records import PACKET_BYTES, Happening, Met

PACKET = int(Happening.PACKET)
LOSS, DELAY, REORDER, DUPLICATE = int(Met.LOSS), int(Met.DELAY), int(Met.REORDER), int(Met.DUPLICATE)


@kernel
def delay_ns(world: Any) -> int:
    """How long a message takes: half to twice the usual, or as a straggler up to 50 times that."""
    state = world.state[0]
    options = state["options"]
    usual = int(options["delay_ns"])
    if state["healed"] == 0 and chance(state, int(options["straggle_per_mille"])):
        state["met"][DELAY] += 1
        return usual * 10 + draw(state, usual * 40)
    return usual // 2 + draw(state, usual + usual // 2)


@kernel
def post(world: Any, sender: int, to: int, source: Any, at: int, size: int) -> int:
    """One copy of a frame under way. Returns 0, or AGENDA_FULL."""
    state = world.state[0]
    if state["packets_free"] == 0 or size > PACKET_BYTES:
        return AGENDA_FULL
    state["packets_free"] -= 1
    packet = int(world.packets_free[state["packets_free"]])
    copy(world.packet_bytes, packet * PACKET_BYTES, source, at, size)
    row = world.packets[packet]
    row["sender"], row["bytes"], row["sent_ns"], row["order"] = sender, size, state["now_ns"], state["order"]
    return schedule(world, int(state["now_ns"]) + delay_ns(world), PACKET, to, packet, 0)


@kernel
def send(world: Any, sender: int, to: int, source: Any, at: int, size: int) -> int:
    """A member's frame ``source[at : at + size]`` to another. Returns 0, or AGENDA_FULL."""
    state = world.state[0]
    options = state["options"]
    lost = state["cut"][sender * MEMBERS_MAX + to] == 1
    if state["healed"] == 0 and chance(state, int(options["loss_per_mille"])):
        lost = True
    if lost:
        state["met"][LOSS] += 1
        return 0
    result = post(world, sender, to, source, at, size)
    if result == 0 and state["healed"] == 0 and chance(state, int(options["duplicate_per_mille"])):
        state["met"][DUPLICATE] += 1
        result = post(world, sender, to, source, at, size)
    return result


@kernel
def release(world: Any, packet: int) -> None:
    """A packet arrived or is void: its room is free."""
    state = world.state[0]
    world.packets_free[state["packets_free"]] = packet
    state["packets_free"] += 1


@kernel
def arrives(world: Any, packet: int, to: int) -> bool:
    """Whether a packet gets through at the end of its way: its link may have been cut since. Counts reordering."""
    state, row = world.state[0], world.packets[packet]
    link = int(row["sender"]) * MEMBERS_MAX + to
    if state["cut"][link] == 1:
        state["met"][LOSS] += 1
        return False
    if row["order"] < state["sent_order"][link]:
        state["met"][REORDER] += 1
    state["sent_order"][link] = max(int(row["order"]), int(state["sent_order"][link]))
    return True
