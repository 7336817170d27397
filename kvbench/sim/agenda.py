"""What happens when: a heap of events by time, and the run's random numbers."""

from typing import Any

from kvbench.jit import kernel
from kvbench.rt.rng import mix

AGENDA_FULL = -1


@kernel
def draw(state: Any, most: int) -> int:
    """The run's next random number, 0 to ``most`` - 1. ``state`` is the world's record; ``most`` at least 1."""
    state["draws"] += 1
    return int((mix(int(state["seed"]), int(state["draws"])) >> 1 & 0x3FFFFFFFFFFFFFFF) % most)


@kernel
def chance(state: Any, per_mille: int) -> bool:
    """True ``per_mille`` times in a thousand."""
    return draw(state, 1000) < per_mille


@kernel
def trace(state: Any, what: int, detail: int) -> None:
    """Take note that something happened: the run's hash covers it and its place in the order of things."""
    state["trace"] = mix(int(state["trace"]) ^ int(detail), int(what))


@kernel
def earlier(world: Any, left: int, right: int) -> bool:
    """Whether the event in slot ``left`` comes before that in ``right``: by time, then in the order of scheduling."""
    if world.events[left]["at_ns"] != world.events[right]["at_ns"]:
        return bool(world.events[left]["at_ns"] < world.events[right]["at_ns"])
    return bool(world.events[left]["order"] < world.events[right]["order"])


@kernel
def schedule(world: Any, at_ns: int, kind: int, member: int, a: int, b: int) -> int:
    """Have something happen at ``at_ns``. Returns 0, or AGENDA_FULL."""
    state = world.state[0]
    count = int(state["scheduled"])
    if count == len(world.heap):
        return AGENDA_FULL
    slot = int(world.heap[count])  # behind the heap lie the slots that are free
    event = world.events[slot]
    state["order"] += 1
    event["at_ns"], event["order"], event["kind"], event["member"] = at_ns, state["order"], kind, member
    event["a"], event["b"] = a, b
    position = count
    while position > 0 and earlier(world, slot, int(world.heap[(position - 1) // 2])):
        world.heap[position] = world.heap[(position - 1) // 2]
        position = (position - 1) // 2
    world.heap[position] = slot
    state["scheduled"] = count + 1
    return 0


@kernel
def take_next(world: Any) -> int:
    """Take the next event out. Returns its slot, whose record stays as it is until something is scheduled, or -1."""
    state = world.state[0]
    count = int(state["scheduled"])
    if count == 0:
        return -1
    taken = int(world.heap[0])
    count -= 1
    state["scheduled"] = count
    moved = int(world.heap[count])
    position = 0
    while True:
        child = 2 * position + 1
        if child >= count:
            break
        if child + 1 < count and earlier(world, int(world.heap[child + 1]), int(world.heap[child])):
            child += 1
        if not earlier(world, int(world.heap[child]), moved):
            break
        world.heap[position] = world.heap[child]
        position = child
    world.heap[position] = moved
    world.heap[count] = taken
    return taken
