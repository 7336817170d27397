"""What goes wrong, when: the options that a seed chooses, and one adversity after another until the world heals."""

from enum import IntEnum
from typing import Any

from kvbench.jit import kernel
from kvbench.node.records import MEMBERS_MAX
from kvbench.sim.agenda import chance, draw
from kvbench.sim.records import WATCHERS_MAX, Met

MS = 1_000_000
S = 1_000_000_000
SEGMENT_BYTES_MIN = 1 << 13
"""Room for the largest entry."""


class Adversity(IntEnum):
    """Kinds of faults that come one after another; lost, late and doubled messages come all the time."""

    NOTHING = 0
    PARTITION = 1
    ONE_WAY = 2
    PAUSE = 3
    CRASH = 4
    ALL_CRASH = 5
    FULL_DISK = 6
    CLOCK_STEP = 7
    AWAY = 8
    """A member is kept away until the others have compacted what it lacks."""


class Way(IntEnum):
    """How a member is kept away."""

    CUT_OFF = 0
    PAUSED = 1
    CRASHED = 2


NOTHING, PARTITION, ONE_WAY, PAUSE, CRASH, ALL_CRASH, FULL_DISK, CLOCK_STEP, AWAY = (int(kind) for kind in Adversity)
CUT_OFF, PAUSED, CRASHED = (int(way) for way in Way)
PARTITIONED, CUT_ONE_WAY = int(Met.PARTITION), int(Met.ONE_WAY_PARTITION)


@kernel
def choose_options(state: Any) -> None:
    """Fill in the run's options from its seed."""
    options = state["options"]
    dice = draw(state, 10)
    options["members"] = 1 if dice == 0 else 5 if dice > 7 else 3
    options["clients"] = 3 + draw(state, 4)
    options["keys"] = 2 + draw(state, 4)
    options["loss_per_mille"] = draw(state, 100) if chance(state, 600) else 0
    options["duplicate_per_mille"] = draw(state, 100) if chance(state, 500) else 0
    options["delay_ns"] = MS // 2 + draw(state, 10 * MS)
    options["straggle_per_mille"] = draw(state, 30)
    options["disk_ns"] = MS // 10 + draw(state, 20 * MS)
    options["fault_gap_ns"] = 100 * MS + draw(state, 900 * MS)
    options["faults_end_ns"] = 5 * S + draw(state, 4 * S)
    options["end_ns"] = options["faults_end_ns"] + 40 * S
    options["partitions"] = draw(state, 4)
    options["one_ways"] = draw(state, 3)
    options["pauses"] = draw(state, 3)
    options["crashes"] = draw(state, 5)
    options["all_crashes"] = draw(state, 2)
    options["full_disks"] = draw(state, 2)
    options["clock_steps"] = 1 if chance(state, 200) else 0
    options["usurps"] = 1 if chance(state, 400) else 0
    options["election_ticks"] = 20 + draw(state, 80)
    options["message_bytes"] = 64 if chance(state, 400) else 1 << 12
    if options["usurps"] == 1:
        favour_usurpers(state, options)
    options["flips"] = 1 if chance(state, 200) else 0
    options["snapshot_every"] = 0 if chance(state, 200) else 20 + draw(state, 300)
    options["segment_bytes"] = 1 << 15
    options["keep_bytes"] = 1 << 13
    options["leases"] = 1 if chance(state, 600) else 0
    options["compactions"] = 1 if chance(state, 600) else 0
    options["old_answers"] = 1 if chance(state, 300) else 0
    options["watchers"] = draw(state, WATCHERS_MAX + 1)
    if options["members"] > 1 and options["usurps"] == 0 and chance(state, 500):
        favour_absence(state, options)
    if options["old_answers"] == 1:
        options["crashes"] = max(int(options["crashes"]), 3)


@kernel
def favour_usurpers(state: Any, options: Any) -> None:
    """Three members, elections soon, entries one by one: logs then end in terms that others have never heard of."""
    options["members"] = 3
    options["election_ticks"] = 20 + draw(state, 20)
    options["message_bytes"] = 64
    options["loss_per_mille"] = 0
    options["straggle_per_mille"] = 0
    options["fault_gap_ns"] = 500 * MS + draw(state, S)


@kernel
def favour_absence(state: Any, options: Any) -> None:
    """Small segments, few of them kept, and snapshots often: a member that is away for a while needs one."""
    options["aways"] = 6
    options["snapshot_every"] = 10 + draw(state, 40)
    options["segment_bytes"] = SEGMENT_BYTES_MIN
    options["keep_bytes"] = draw(state, 1 << 12)
    options["clients"] = 5 + draw(state, 3)
    options["disk_ns"] = MS // 10 + draw(state, 5 * MS)
    options["faults_end_ns"] += 2 * S
    options["end_ns"] += 2 * S


@kernel
def next_adversity(state: Any) -> int:
    """Which fault comes next, by the options' weights: an Adversity."""
    options = state["options"]
    several = 1 if options["members"] > 1 else 0
    partitions, one_ways = several * int(options["partitions"]), several * int(options["one_ways"])
    total = partitions + one_ways + int(options["pauses"]) + int(options["crashes"])
    total += int(options["all_crashes"]) + int(options["full_disks"]) + int(options["clock_steps"])
    total += int(options["aways"])
    if total == 0:
        return NOTHING
    dice = draw(state, total) - partitions
    if dice < 0:
        return PARTITION
    dice -= one_ways
    if dice < 0:
        return ONE_WAY
    dice -= int(options["pauses"])
    if dice < 0:
        return PAUSE
    dice -= int(options["crashes"])
    if dice < 0:
        return CRASH
    dice -= int(options["all_crashes"])
    if dice < 0:
        return ALL_CRASH
    dice -= int(options["full_disks"])
    if dice < 0:
        return FULL_DISK
    return CLOCK_STEP if dice < options["clock_steps"] else AWAY


@kernel
def partition(state: Any) -> None:
    """Split the members in two sides, neither empty, that do not hear of each other; earlier cuts are mended."""
    members = int(state["options"]["members"])
    mend(state)
    side = 1 + draw(state, (1 << members) - 2)
    for sender in range(members):
        for to in range(members):
            if side >> sender & 1 != side >> to & 1:
                state["cut"][sender * MEMBERS_MAX + to] = 1
    state["met"][PARTITIONED] += 1


@kernel
def cut_one_way(state: Any, one: int) -> None:
    """Member ``one`` is heard by nobody, or hears nobody, or one way from it to another member is cut."""
    members = int(state["options"]["members"])
    mend(state)
    other, way = draw(state, members), draw(state, 3)
    for member in range(members):
        if way == 0 or (way == 2 and member == other):
            state["cut"][one * MEMBERS_MAX + member] = 1
        elif way == 1:
            state["cut"][member * MEMBERS_MAX + one] = 1
    state["met"][CUT_ONE_WAY] += 1


@kernel
def isolate(state: Any, member: int) -> None:
    """Cut a member off from all others, and nobody else."""
    mend(state)
    for other in range(int(state["options"]["members"])):
        if other != member:
            state["cut"][member * MEMBERS_MAX + other] = 1
            state["cut"][other * MEMBERS_MAX + member] = 1
    state["met"][PARTITIONED] += 1


@kernel
def is_cut(state: Any, sender: int, to: int) -> bool:
    """Whether nothing gets from a member to another."""
    is_away = state["away"] >= 0 and (state["away"] == sender or state["away"] == to)
    return bool(state["cut"][sender * MEMBERS_MAX + to] == 1 or (is_away and state["away_way"] == CUT_OFF))


@kernel
def mend(state: Any) -> None:
    """Every way between members works."""
    for link in range(MEMBERS_MAX * MEMBERS_MAX):
        state["cut"][link] = 0
