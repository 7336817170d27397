"""One event after another: the simulation's loop."""

from typing import Any

from kvbench.jit import kernel
from kvbench.node import calls
from kvbench.sim import away, clients, faults, network, watching
from kvbench.sim.agenda import chance, draw, schedule, take_next, trace
from kvbench.sim.crashing import crash
from kvbench.sim.outputs import finish_command, schedule_next, settle_outputs
from kvbench.sim.records import PACKET_BYTES, Failure, Happening, Met

TICK, PACKET, DISK, CLIENT = int(Happening.TICK), int(Happening.PACKET), int(Happening.DISK), int(Happening.CLIENT)
FAULT, ROOM, RESTART = int(Happening.FAULT), int(Happening.ROOM), int(Happening.RESTART)
LINK, TIMEOUT, ISOLATE = int(Happening.LINK), int(Happening.TIMEOUT), int(Happening.ISOLATE)
STRIKE_DOWN, LOOK_AWAY = int(Happening.STRIKE_DOWN), int(Happening.LOOK_AWAY)
STRIKE_INSTALL, WATCH = int(Happening.STRIKE_INSTALL), int(Happening.WATCH)
NO_PROGRESS, WORLD_FULL = int(Failure.NO_PROGRESS), int(Failure.WORLD_FULL)
PAUSED, CLOCK_STEPPED = int(Met.PAUSE), int(Met.CLOCK_STEP)

MS, S = faults.MS, faults.S
TICK_NS = 10 * MS
TIMEOUT_NS = 4 * S
ANSWERS_WANTED = 8
"""Operations of each client that the healed world must answer."""
QUIET_NS = 2 * S
LEASE_QUIET_NS = 7 * S
"""How long the world then runs on: until all members have applied all; until leases that nobody keeps have expired."""

GO_ON = 0
DONE = 1
"""The world is quiet: every member can be looked at."""
START_MEMBER = 2
"""A member (``state["failure_member"]``) is to be made anew from its disk by the caller, who then calls again."""
FAILED = 3
"""``state["failure"]`` says how."""


@kernel
def local_ns(world: Any, member: int) -> int:
    """A member's clock."""
    return int(world.state[0]["now_ns"]) + int(world.members[member]["clock_ns"])


@kernel
def ask(world: Any, node: Any, one: int, member: int, now: int) -> int:
    """A client begins an operation at a member. Returns 0, or WORLD_FULL."""
    state, client = world.state[0], world.clients[one]
    if state["operations"] == len(world.history):
        return WORLD_FULL
    end = clients.begin_operation(world, one, member)
    client["operation"] += 1
    client["incarnation"], client["term"] = world.members[member]["incarnation"], node.raft.state[0]["term"]
    handle = one | int(client["operation"]) << 8
    method = int(client["method"])
    result = calls.offer(node, now, handle, method, world.scratch, clients.REQUEST_AT, end)
    if result == 0:
        return schedule(world, int(state["now_ns"]) + TIMEOUT_NS, TIMEOUT, 0, one, int(client["operation"]))
    if result > 0:
        clients.take_back(world, one)
    else:
        clients.end_refused(world, one)
    return schedule_next(world, one)


@kernel
def handle(world: Any, node: Any, event: Any, member: int) -> int:
    """An event that happens to a member that is up. Returns 0, or a Failure."""
    kind, a, b, now = int(event["kind"]), int(event["a"]), int(event["b"]), local_ns(world, member)
    result = 0
    if kind == TICK:
        calls.tick(node, now)
        result = schedule(world, int(world.state[0]["now_ns"]) + TICK_NS, TICK, member, 0, b)
    elif kind == PACKET:
        row = world.packets[a]
        at = a * PACKET_BYTES
        calls.deliver(node, now, int(row["sender"]), world.packet_bytes, at, at + int(row["bytes"]))
        network.release(world, a)
    elif kind == DISK:
        result = finish_command(world, node, member, a, now)
    elif kind == CLIENT:
        result = ask(world, node, a, member, now)
    elif kind == WATCH:
        result = watching.act(world, node.store, a, member)
        if result != 0:
            return result
    else:
        if b == 0:
            calls.disconnected(node, now, a)
        if world.members[a]["up"] == 1:
            calls.connected(node, now, a)
    if result != 0:
        return WORLD_FULL
    return settle_outputs(world, node, member, now)


@kernel
def any_member(world: Any) -> int:
    """A member that is up, or -1; seldom the one that is kept away, where all would have to wait."""
    state = world.state[0]
    members = int(state["options"]["members"])
    first = draw(state, members)
    for i in range(members):
        member = (first + i) % members
        if member == state["away"] and chance(state, 950):
            continue
        if world.members[member]["up"] == 1:
            return member
    return -1


@kernel
def strike(world: Any) -> None:
    """The next adversity."""
    state = world.state[0]
    kind, member = faults.next_adversity(state), draw(state, int(state["options"]["members"]))
    if chance(state, 500):
        member = int(state["leader"])
    now, own = int(state["now_ns"]), world.members[member]
    if state["away"] >= 0 and chance(state, 850):
        return  # the others have to get on
    trace(state, kind, member)
    if kind == faults.PARTITION:
        faults.partition(state)
    elif kind == faults.ONE_WAY:
        faults.cut_one_way(state, member)
    elif kind == faults.PAUSE:
        own["resumes_ns"] = now + 50 * MS + draw(state, 4 * S)
        state["met"][PAUSED] += 1
    elif kind == faults.CRASH and chance(state, 300):
        crash(world, member, S)
    elif kind == faults.CRASH:
        own["doomed"] = 1
    elif kind == faults.ALL_CRASH:
        for one in range(int(state["options"]["members"])):
            crash(world, one, S)
    elif kind == faults.FULL_DISK:
        own["full"] = 1
        schedule(world, now + 500 * MS + draw(state, 3 * S), ROOM, member, 0, 0)
    elif kind == faults.CLOCK_STEP:
        own["clock_ns"] += 10 * MS + draw(state, 4 * S)
        state["met"][CLOCK_STEPPED] += 1
    elif kind == faults.AWAY and state["away"] < 0:
        away.send_away(world, member)
        return
    if chance(state, 400):
        faults.mend(state)


@kernel
def heal(world: Any) -> None:
    """No more adversities: the ways work, pauses end, disks have room, who is down starts soon."""
    state = world.state[0]
    state["healed"] = 1
    faults.mend(state)
    away.bring_back(world)
    for member in range(int(state["options"]["members"])):
        own = world.members[member]
        own["resumes_ns"] = min(int(own["resumes_ns"]), int(state["now_ns"]))
        own["full"] = 0
        own["doomed"] = 0
    for one in range(int(state["options"]["clients"])):
        world.clients[one]["done"] = 0


@kernel
def happen(world: Any, event: Any) -> int:
    """An event that is no member's. Returns GO_ON, or START_MEMBER."""
    state = world.state[0]
    kind, member = int(event["kind"]), int(event["member"])
    if kind == FAULT:
        if state["now_ns"] >= state["options"]["faults_end_ns"]:
            heal(world)
        else:
            strike(world)
            gap = int(state["options"]["fault_gap_ns"])
            schedule(world, int(state["now_ns"]) + gap // 4 + draw(state, 2 * gap), FAULT, 0, 0, 0)
    elif kind == ROOM:
        world.members[member]["full"] = 0
    elif kind == LOOK_AWAY:
        away.look(world, int(event["a"]))
    elif kind == STRIKE_INSTALL:
        away.strike_install(world, member)
    elif kind == ISOLATE or kind == STRIKE_DOWN:
        if state["healed"] == 0 and kind == ISOLATE:
            faults.isolate(state, member)
        elif state["healed"] == 0:
            crash(world, member, 20 * MS)
    elif kind == TIMEOUT:
        client = world.clients[event["a"]]
        if client["operation"] == event["b"] and client["wish"] != 0:
            clients.end_unknown(world, int(event["a"]))
            schedule_next(world, int(event["a"]))
    elif world.members[member]["up"] == 0:
        state["failure_member"] = member
        return START_MEMBER
    return GO_ON


@kernel
def started(world: Any, member: int) -> None:
    """A member was made from its disk: its clock ticks, and members learn of each other."""
    state, own = world.state[0], world.members[member]
    own["up"] = 1
    own["applied"] = 0
    own["receiving"] = 0
    for met in range(len(own["noted"])):
        own["noted"][met] = 0
    schedule(world, int(state["now_ns"]) + draw(state, TICK_NS), TICK, member, 0, int(own["incarnation"]))
    for other in range(int(state["options"]["members"])):
        if other != member and world.members[other]["up"] == 1:
            schedule(world, int(state["now_ns"]) + draw(state, 20 * MS), LINK, other, member, 1)
            schedule(world, int(state["now_ns"]) + draw(state, 20 * MS), LINK, member, other, 1)


@kernel
def member_of(world: Any, event: Any) -> int:
    """Which member an event happens to: one that is up and at work; -1: none any more; -2: later, see ``postpone``."""
    kind = int(event["kind"])
    member = int(event["member"])
    if kind == WATCH and watching.is_open(world, int(event["a"])):
        member = int(world.watching[event["a"]]["member"])
    elif kind == WATCH:
        world.watching[event["a"]]["member"] = -1
    if kind == CLIENT or (kind == WATCH and world.watching[event["a"]]["member"] < 0):
        member = any_member(world)
    if member < 0:
        return -2
    own = world.members[member]
    stale = (kind == TICK or kind == DISK) and event["b"] != own["incarnation"]
    if own["up"] == 0 or stale:
        return -1
    if kind == PACKET and not network.arrives(world, int(event["a"]), member):
        return -1
    return member


@kernel
def postpone(world: Any, event: Any, at_ns: int) -> int:
    """Have an event later. Returns what ``schedule`` does."""
    kind, member, a, b = int(event["kind"]), int(event["member"]), int(event["a"]), int(event["b"])
    return schedule(world, at_ns, kind, member, a, b)


@kernel
def is_alarmed(world: Any) -> bool:
    """Whether a member is down or knows of an alarm. Where a disk was damaged, its member may never come to lift it."""
    state = world.state[0]
    for member in range(int(state["options"]["members"])):
        own = world.members[member]
        if state["damaged"] < 0 and (own["up"] == 0 or own["alarms"] != 0):
            return True
    return False


@kernel
def is_quiet(world: Any) -> bool:
    """Whether the healed world has given its clients all they want, and what expires had time to expire."""
    state = world.state[0]
    if state["healed"] == 0:
        return False
    if state["quiet_ns"] == 0:
        if is_alarmed(world):
            return False
        for one in range(int(state["options"]["clients"])):
            if world.clients[one]["done"] < ANSWERS_WANTED:
                return False
        state["quiet_ns"] = state["now_ns"]
    wait_ns = LEASE_QUIET_NS if state["options"]["leases"] == 1 else QUIET_NS
    return bool(state["now_ns"] > state["quiet_ns"] + wait_ns)


@kernel
def fail(state: Any, failure: int, member: int) -> int:
    """The run proved something wrong. Returns FAILED."""
    state["failure"], state["failure_member"] = failure, member
    return FAILED


@kernel
def run(world: Any, n0: Any, n1: Any, n2: Any, n3: Any, n4: Any) -> int:
    """Let things happen until there is something for the caller to do: DONE, START_MEMBER or FAILED."""
    state = world.state[0]
    while True:
        slot = take_next(world)
        if slot < 0:
            return fail(state, WORLD_FULL, 0)
        event = world.events[slot]
        kind = int(event["kind"])
        state["now_ns"] = event["at_ns"]
        state["events"] += 1
        trace(state, kind << 8 | int(event["member"]), int(event["at_ns"]))
        if state["now_ns"] > state["options"]["end_ns"]:
            return fail(state, NO_PROGRESS, 0)
        if is_quiet(world):
            return DONE
        is_world = kind == FAULT or kind == ROOM or kind == TIMEOUT or kind == RESTART or kind == ISOLATE
        if is_world or kind == STRIKE_DOWN or kind == LOOK_AWAY or kind == STRIKE_INSTALL:
            if happen(world, event) == START_MEMBER:
                return START_MEMBER
            continue
        if kind == CLIENT and state["quiet_ns"] != 0:
            continue
        member = member_of(world, event)
        result = 0
        if member == -2:
            result = postpone(world, event, int(state["now_ns"]) + 50 * MS)
        elif member < 0:
            if kind == PACKET:
                network.release(world, int(event["a"]))
        elif kind == DISK and world.members[member]["doomed"] == 1:
            crash(world, member, S)
        elif world.members[member]["resumes_ns"] > state["now_ns"]:
            result = postpone(world, event, int(world.members[member]["resumes_ns"]))
        else:
            node = n0
            if member == 1:
                node = n1
            elif member == 2:
                node = n2
            elif member == 3:
                node = n3
            elif member == 4:
                node = n4
            result = handle(world, node, event, member)
        if result != 0:
            return fail(state, WORLD_FULL if result < 0 else result, member)


@kernel
def begin(world: Any, seed: int) -> None:
    """Choose the options of a seed, and have every member and client of an empty world begin soon."""
    state = world.state[0]
    for slot in range(len(world.events)):
        world.heap[slot] = slot
    for packet in range(len(world.packets)):
        world.packets_free[packet] = packet
    state["seed"], state["packets_free"], state["damaged"] = seed, len(world.packets), -1
    state["away"] = -1
    faults.choose_options(state)
    options = state["options"]
    for member in range(int(options["members"])):
        world.members[member]["clock_ns"] = S + draw(state, S)
        schedule(world, draw(state, 50 * MS), RESTART, member, 0, 0)
    for one in range(int(options["clients"])):
        schedule(world, 500 * MS + draw(state, 500 * MS), CLIENT, 0, one, 0)
    watching.begin(world)
    schedule(world, S + draw(state, S), FAULT, 0, 0, 0)
