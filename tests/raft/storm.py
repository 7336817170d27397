"""Random schedules as a kernel: thousands of clusters, each with its losses, crashes and partitions, in seconds.

The same things happen as in ``schedules``, with less to look at: a broken promise is a code, its seed the way back.
"""

from typing import Any

from kvbench.jit import kernel
from kvbench.raft import core
from kvbench.raft.records import LEADER, MEMBERS_MAX, NONE
from tests.raft.storm_world import (
    CONTEXTS,
    INDEXES,
    NET,
    NO_PROGRESS,
    begin,
    below,
    boot,
    compact,
    core_of,
    entries_of,
    finish_snapshot,
    new_payload,
    receive,
    receive_some,
    sync,
    tick_all,
    turn,
)


@kernel
def split(storm: Any) -> None:
    """The cluster falls into two parts, which may hear each other in one direction."""
    members = int(storm.globals[0]["members"])
    part = 1 + below(storm, (1 << members) - 1)
    both = below(storm, 4)
    for a in range(members):
        for b in range(members):
            inside = (part >> a) & 1
            differ = inside != (part >> b) & 1
            storm.cuts[a, b] = int(differ and (both > 0 or inside == 1))


@kernel
def crash(storm: Any, place: int) -> None:
    """A member goes down; others come back before a majority stays down for long."""
    down = 1
    for other in range(int(storm.globals[0]["members"])):
        down += int(storm.disks[other]["up"] == 0)
    if 2 * down < storm.globals[0]["members"] or below(storm, 8) == 0:
        storm.disks[place]["up"] = 0
    else:
        mend(storm)


@kernel
def usurp(storm: Any, place: int) -> int:
    """The leader is cut off until all others have given it up, and one of them stands for election.

    The leader takes a proposal more, which nobody gets to see: what a later leader finds in its way.
    """
    leader, members = int(storm.state[place]["leader"]), int(storm.globals[0]["members"])
    code = 0
    if leader != NONE and storm.disks[leader]["up"] and storm.state[leader]["last_index"] < INDEXES - 40:
        index = core.propose(core_of(storm, leader), 60)
        storm.log[leader, max(index, 0)] = new_payload(storm)
        code = sync(storm, leader, 1, int(storm.state[leader]["last_index"]))
    for other in range(members):
        if leader != NONE and other != leader:
            storm.cuts[leader, other] = 1
            storm.cuts[other, leader] = 1
            raft = core_of(storm, other)
            ticks = int(raft.state[0]["election_ticks"]) * int(storm.disks[other]["up"])
            while code == 0 and ticks > 0:
                core.tick(raft)
                code = turn(storm, raft, other)
                ticks -= 1
    if code == 0:
        core.campaign(core_of(storm, place))
        code = turn(storm, core_of(storm, place), place)
    return code


@kernel
def trouble(storm: Any, place: int) -> int:
    """Something bad happens, to a member that is up."""
    world = storm.globals[0]
    members = int(world["members"])
    raft = core_of(storm, place)
    what = below(storm, 12)
    if what < 2 and world["net"] > 0:
        at = below(storm, int(world["net"]))
        storm.net[at]["to"] = storm.net[at]["sender"]  # lost: no core takes its own message
    elif what < 4 and 0 < world["net"] < NET:
        at = below(storm, int(world["net"]))
        storm.net[int(world["net"])] = storm.net[at]
        for entry in range(entries_of(storm.net[at])):
            storm.net_log[int(world["net"]), entry] = storm.net_log[at, entry]
        world["net"] += 1
    elif what < 6:
        split(storm)
    elif what == 6:
        crash(storm, place)
    elif what == 7:
        core.transfer(raft, below(storm, members))
    elif what == 8:
        core.unreachable(raft, below(storm, members))
        core.report_snapshot(raft, below(storm, members), 0)
    elif what < 11:
        return usurp(storm, place)
    else:
        core.persisted(raft, below(storm, int(raft.state[0]["last_index"]) + 2), int(raft.state[0]["term"]) + 1)
    return turn(storm, raft, place) if storm.disks[place]["up"] else 0


@kernel
def demand(storm: Any, place: int) -> int:
    """A user wants something of a member: entries, or a read."""
    world = storm.globals[0]
    raft = core_of(storm, place)
    if below(storm, 2) == 0:
        for _ in range(1 + below(storm, 3)):
            if raft.state[0]["last_index"] < INDEXES - 40:
                index = core.propose(raft, 40 + 120 * below(storm, 3))
                if index > 0:
                    storm.log[place, index] = new_payload(storm)
    else:
        world["contexts"] += 1
        storm.asked[int(world["contexts"]) % CONTEXTS] = world["committed"]
        core.read(raft, int(world["contexts"]))
    return turn(storm, raft, place)


@kernel
def mend(storm: Any) -> None:
    """Links are well again, or members come back."""
    heal = below(storm, 2)
    for a in range(int(storm.globals[0]["members"])):
        for b in range(MEMBERS_MAX):
            storm.cuts[a, b] *= heal
        if storm.disks[a]["up"] == 0 and below(storm, 2) == 0:
            boot(storm, a)


@kernel
def happen(storm: Any) -> int:
    """Anything. Returns an Outcome."""
    world = storm.globals[0]
    place = below(storm, int(world["members"]))
    weather = below(storm, 1000)
    if weather < world["healing"]:
        mend(storm)
        return 0
    if storm.disks[place]["up"] == 0:
        return 0
    if weather > 1000 - world["trouble"]:
        return trouble(storm, place)
    what = below(storm, 24)
    raft = core_of(storm, place)
    state = raft.state[0]
    if what < 11:
        return receive_some(storm)
    if what < 13:
        return tick_all(storm)
    if what < 18:
        upto = int(state["last_index"]) - below(storm, int(world["lag"])) * below(storm, 2)
        return sync(storm, place, int(below(storm, 4) > 0), upto)
    if what < 21:
        return demand(storm, place)
    if what < 22:
        return compact(storm, place, int(state["applied"]) - below(storm, 3))
    if storm.disks[place]["wanted"] > 0:
        return finish_snapshot(storm, place, int(below(storm, 4) > 0))
    return 0


@kernel
def calm(storm: Any) -> int:
    """All is well for a while: everything arrives and is written. Returns an Outcome: there must be progress."""
    world = storm.globals[0]
    members = int(world["members"])
    for a in range(members):
        for b in range(members):
            storm.cuts[a, b] = 0
        if storm.disks[a]["up"] == 0:
            boot(storm, a)
        for b in range(members):
            core.report_snapshot(core_of(storm, a), b, 0)
    before, goal = int(world["committed"]), 0
    for tick in range(300):
        code = 0
        for place in range(members):
            raft = core_of(storm, place)
            core.tick(raft)
            if tick > 100 and goal == 0 and raft.state[0]["role"] == LEADER and raft.state[0]["transferee"] == NONE:
                goal = core.propose(raft, 40)
                storm.log[place, max(goal, 0)] = new_payload(storm)
            code = max(code, turn(storm, raft, place))
        while code == 0 and world["net"] > 0:
            code = receive(storm, 0)
            for place in range(members):
                if code == 0 and storm.disks[place]["wanted"] > 0:
                    code = finish_snapshot(storm, place, 1)
                if code == 0:
                    code = sync(storm, place, 1, int(storm.state[place]["last_index"]))
        for place in range(members):
            if code == 0:
                code = sync(storm, place, 1, int(storm.state[place]["last_index"]))
        if code != 0:
            return code
        done = goal > before
        for place in range(members):
            done = done and bool(storm.state[place]["commit"] >= goal)
        if done:
            return 0
        goal = max(goal, 0)
    return NO_PROGRESS


@kernel
def run(storm: Any, members: int, seed: int, steps: int) -> int:
    """A whole schedule, and calm after it. Returns an Outcome, 0 when all is as promised."""
    begin(storm, members, seed)
    for _ in range(steps):
        code = happen(storm)
        if code != 0:
            return code
    return calm(storm)
