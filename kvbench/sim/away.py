"""A member is kept away until the others have compacted what it lacks, and what happens while it gets a snapshot."""

from typing import Any

from kvbench.jit import kernel
from kvbench.sim import faults
from kvbench.sim.agenda import chance, draw, schedule
from kvbench.sim.crashing import crash
from kvbench.sim.records import LOADING, Happening, Met

RESTART, LOOK_AWAY, ROOM = int(Happening.RESTART), int(Happening.LOOK_AWAY), int(Happening.ROOM)
STRIKE_INSTALL = int(Happening.STRIKE_INSTALL)
KEPT_AWAY, LEADER_CHANGE = int(Met.KEPT_AWAY), int(Met.INSTALL_LEADER_CHANGE)
MS, S = faults.MS, faults.S
LOOK_NS = 50 * MS
AWAY_NS_MAX = 8 * S


@kernel
def send_away(world: Any, member: int) -> None:
    """Cut a member off, have it pause, or have it crash; the others can reach each other."""
    state, own = world.state[0], world.members[member]
    faults.mend(state)
    state["away"] = member
    state["away_way"] = draw(state, 3)
    state["away_ns"] = state["now_ns"]
    own["doomed"] = 0
    if state["away_way"] == faults.CRASHED:
        crash(world, member, -1)
    elif state["away_way"] == faults.PAUSED:
        own["resumes_ns"] = int(state["now_ns"]) + 2 * LOOK_NS
    schedule(world, int(state["now_ns"]) + LOOK_NS, LOOK_AWAY, member, int(state["away_ns"]), 0)


@kernel
def bring_back(world: Any) -> None:
    """Nobody is kept away any more."""
    state = world.state[0]
    member = int(state["away"])
    if member < 0:
        return
    state["away"] = -1
    if state["away_way"] == faults.CRASHED and world.members[member]["up"] == 0:
        schedule(world, int(state["now_ns"]) + draw(state, 50 * MS), RESTART, member, 0, 0)
    elif state["away_way"] == faults.PAUSED:
        world.members[member]["resumes_ns"] = state["now_ns"]


@kernel
def look(world: Any, since_ns: int) -> None:
    """Bring the member back that has been away since then, if it has missed enough; else look again soon."""
    state = world.state[0]
    member, leader, now = int(state["away"]), int(state["leader"]), int(state["now_ns"])
    if member < 0 or state["away_ns"] != since_ns:
        return
    missed = leader != member and world.members[leader]["base_index"] > world.members[member]["last_index"]
    if missed or now - since_ns > AWAY_NS_MAX:
        state["met"][KEPT_AWAY] += 1 if missed else 0
        bring_back(world)
        return
    if state["away_way"] == faults.PAUSED:
        world.members[member]["resumes_ns"] = now + 2 * LOOK_NS
    schedule(world, now + LOOK_NS, LOOK_AWAY, member, since_ns, 0)


@kernel
def note_receiving(world: Any, node: Any, member: int) -> int:
    """Take note of what a member has of a snapshot; one that begins to receive may be struck. 0, or AGENDA_FULL."""
    state, own, raft = world.state[0], world.members[member], node.raft.state[0]
    stage = int(node.state[0]["receive_stage"])
    if stage == 0 and node.state[0]["loading"] == 1 and own["receiving"] != 0:
        stage = LOADING
    begins = stage != 0 and own["receiving"] == 0
    own["receiving"] = stage
    own["base_index"] = raft["base_index"]
    own["last_index"] = raft["last_index"]
    if begins:
        own["receive_term"] = raft["term"]
        if state["healed"] == 0 and chance(state, 600):
            usual = 2 * int(state["options"]["delay_ns"]) + int(state["options"]["disk_ns"])
            return schedule(world, int(state["now_ns"]) + draw(state, 12 * usual), STRIKE_INSTALL, member, 0, 0)
    elif stage != 0 and raft["term"] > own["receive_term"] and raft["leader"] >= 0:
        own["receive_term"] = raft["term"]
        state["met"][LEADER_CHANGE] += 1
    return 0


@kernel
def strike_install(world: Any, member: int) -> None:
    """A member that receives a snapshot: it crashes, its leader crashes or is cut off, or its disk is full."""
    state = world.state[0]
    if state["healed"] == 1 or world.members[member]["receiving"] == 0:
        return
    dice = draw(state, 5)
    if dice == 0:
        crash(world, member, 300 * MS)
    elif dice == 1:
        crash(world, int(state["leader"]), 300 * MS)
    elif dice == 2:
        faults.isolate(state, int(state["leader"]))
    else:
        world.members[member]["full"] = 1
        schedule(world, int(state["now_ns"]) + 200 * MS + draw(state, S), ROOM, member, 0, 0)
