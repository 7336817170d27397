"""The simulated network: frames between members, each lost, late, twice, or out of order as the seed has it."""

from typing import Any

from kvbench.jit import kernel
from kvbench.node.records import MEMBERS_MAX
from kvbench.raft.records import READ_INDEX, READ_INDEX_ANSWER
from kvbench.rt.buffer import copy
from kvbench.sim.agenda import AGENDA_FULL, chance, draw, schedule
from kvbench.sim.faults import MS, is_cut
from kvbench.sim.records import ANSWER_BYTES, ANSWERS_KEPT, PACKET_BYTES, Happening, Met
from kvbench.wire import peer

PACKET = int(Happening.PACKET)
OLD_READ_ANSWER, ACROSS_LEADERS = int(Met.OLD_READ_ANSWER), int(Met.READ_ANSWER_ACROSS_LEADERS)
LOSS, DELAY, REORDER, DUPLICATE = int(Met.LOSS), int(Met.DELAY), int(Met.REORDER), int(Met.DUPLICATE)
CONTEXT = 10
"""Position of a ``raft`` message's context among a frame's numbers."""


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
def post(world: Any, sender: int, to: int, source: Any, at: int, size: int, after_ns: int) -> int:
    """One copy of a frame under way, which arrives ``after_ns`` from now. Returns 0, or AGENDA_FULL."""
    state = world.state[0]
    if state["packets_free"] == 0 or size > PACKET_BYTES:
        return AGENDA_FULL
    state["packets_free"] -= 1
    packet = int(world.packets_free[state["packets_free"]])
    copy(world.packet_bytes, packet * PACKET_BYTES, source, at, size)
    row = world.packets[packet]
    row["sender"], row["bytes"], row["sent_ns"], row["order"] = sender, size, state["now_ns"], state["order"]
    row["answer_term"] = state["leader_term"] if raft_kind(source, at) == READ_INDEX_ANSWER else 0
    return schedule(world, int(state["now_ns"]) + after_ns, PACKET, to, packet, 0)


@kernel
def raft_kind(source: Any, at: int) -> int:
    """The kind of the ``raft`` message in a frame, 0 when it carries something else."""
    return peer.number(source, at, 0) if peer.kind_of(source, at) == peer.MESSAGE else 0


@kernel
def keep_answer(world: Any, sender: int, to: int, source: Any, at: int, size: int) -> None:
    """Keep a copy of a READ_INDEX_ANSWER."""
    context = peer.number(source, at, CONTEXT)
    place = to * ANSWERS_KEPT + context % ANSWERS_KEPT
    kept = world.answers[place]
    if size > ANSWER_BYTES:
        return
    kept["context"] = context
    kept["incarnation"] = world.members[to]["incarnation"]
    kept["sender"] = sender
    kept["bytes"] = size
    copy(world.answer_bytes, place * ANSWER_BYTES, source, at, size)


@kernel
def answer_again(world: Any, asker: int, context: int) -> int:
    """A member asks with a number of an earlier life: the answer to that comes now. Returns 0, or AGENDA_FULL."""
    state = world.state[0]
    place = asker * ANSWERS_KEPT + context % ANSWERS_KEPT
    kept = world.answers[place]
    if kept["context"] != context or kept["incarnation"] == world.members[asker]["incarnation"]:
        return 0
    kept["context"] = 0
    state["met"][OLD_READ_ANSWER] += 1
    at, after_ns = place * ANSWER_BYTES, draw(state, MS)
    return post(world, int(kept["sender"]), asker, world.answer_bytes, at, int(kept["bytes"]), after_ns)


@kernel
def send(world: Any, sender: int, to: int, source: Any, at: int, size: int) -> int:
    """A member's frame ``source[at : at + size]`` to another. Returns 0, or AGENDA_FULL."""
    state = world.state[0]
    options = state["options"]
    lost = is_cut(state, sender, to)
    if state["healed"] == 0 and chance(state, int(options["loss_per_mille"])):
        lost = True
    if lost:
        state["met"][LOSS] += 1
        return 0
    after_ns = delay_ns(world)
    if options["old_answers"] == 1 and state["healed"] == 0:
        kind = raft_kind(source, at)
        if kind == READ_INDEX_ANSWER:
            keep_answer(world, sender, to, source, at, size)
            if chance(state, 100):
                after_ns += 300 * MS + draw(state, 2000 * MS)
        elif kind == READ_INDEX and answer_again(world, sender, peer.number(source, at, CONTEXT)) < 0:
            return AGENDA_FULL
    result = post(world, sender, to, source, at, size, after_ns)
    if result == 0 and state["healed"] == 0 and chance(state, int(options["duplicate_per_mille"])):
        state["met"][DUPLICATE] += 1
        result = post(world, sender, to, source, at, size, delay_ns(world))
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
    if is_cut(state, int(row["sender"]), to):
        state["met"][LOSS] += 1
        return False
    if row["answer_term"] > 0 and row["answer_term"] < state["leader_term"]:
        state["met"][ACROSS_LEADERS] += 1
    if row["order"] < state["sent_order"][link]:
        state["met"][REORDER] += 1
    state["sent_order"][link] = max(int(row["order"]), int(state["sent_order"][link]))
    return True
