"""A cluster of cores as arrays, with disks and a network, for kernels: what ``storm`` happens to."""

from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kvbench.jit import kernel
from kvbench.raft import core, invariants, setup
from kvbench.raft.invariants import SEEN, Witness
from kvbench.raft.records import (
    APPEND,
    BAD_MESSAGE,
    ENTRIES,
    MEMBERS_MAX,
    MESSAGE,
    NONE,
    PEER,
    RAFT,
    READ,
    SNAPSHOT_WANTED,
    TERM_RUN,
    Raft,
)
from kvbench.rt import rng

INDEXES, TERMS, NET, ENTRIES_MAX, CONTEXTS = 512, 4096, 96, 64, 64


class Outcome(IntEnum):
    """How a schedule ended: 0, a Violation (1 to 99), or one of these."""

    LOST_WRITE = 100
    """Two members applied different entries at one index."""
    STALE_READ = 101
    """A read index before what was committed when the read was asked for."""
    STEP_FAILED = 102
    """``step`` found Raft's promises broken."""
    NO_PROGRESS = 103
    """Healed, the cluster committed nothing more."""


LOST_WRITE, STALE_READ, STEP_FAILED, NO_PROGRESS = 100, 101, 102, 103

DISK = np.dtype(
    [
        ("up", np.int64),
        ("boot", np.int64),
        ("term", np.int64),  # durable
        ("vote", np.int64),
        ("hard_state", np.int64),
        ("base", np.int64),
        ("base_term", np.int64),
        ("last", np.int64),
        ("wanted", np.int64),  # a snapshot that was announced; 0: none
        ("wanted_term", np.int64),
    ],
    align=True,
)
GLOBAL = np.dtype(
    [
        ("members", np.int64),
        ("key", np.int64),
        ("draws", np.int64),
        ("net", np.int64),
        ("payloads", np.int64),
        ("contexts", np.int64),
        ("committed", np.int64),  # the highest index that any member committed
        ("trouble", np.int64),  # drawn for each schedule: how many of 1,000 steps are bad ones
        ("healing", np.int64),  # and how many of them end what is bad
        ("entries", np.int64),  # bytes of an APPEND
        ("lag", np.int64),  # how far disks fall behind
        ("leaders", np.int64),  # elections won, snapshots installed, entries replaced, reads confirmed
        ("snapshots", np.int64),
        ("truncations", np.int64),
        ("reads", np.int64),
        ("old_terms", np.int64),  # leaders that found entries of earlier terms that were not committed
    ],
    align=True,
)


class Storm(NamedTuple):
    """A cluster of up to MEMBERS_MAX in arrays, and what happens to it."""

    cores: tuple[Raft, ...]
    """By member; their arrays are rows of state, peers, outbox, runs, sizes, reads and pending."""
    globals: npt.NDArray[np.void]
    disks: npt.NDArray[np.void]
    state: npt.NDArray[np.void]
    peers: npt.NDArray[np.void]
    outbox: npt.NDArray[np.void]
    runs: npt.NDArray[np.void]
    sizes: npt.NDArray[np.int64]
    reads: npt.NDArray[np.void]
    pending: npt.NDArray[np.void]
    log: npt.NDArray[np.int64]
    """[member, index]: what was proposed, in memory"""
    disk_log: npt.NDArray[np.int64]
    disk_terms: npt.NDArray[np.int64]
    net: npt.NDArray[np.void]
    net_log: npt.NDArray[np.int64]
    """[message, entry]"""
    held: npt.NDArray[np.void]
    """[member, message]: waits for the mark"""
    held_log: npt.NDArray[np.int64]
    held_count: npt.NDArray[np.int64]
    cuts: npt.NDArray[np.int64]
    """[from, to]"""
    applied: npt.NDArray[np.int64]
    """[index]: what was applied there by whoever was first"""
    asked: npt.NDArray[np.int64]
    """[context % CONTEXTS]: what was committed when the read was asked for"""
    witness: Witness


def new_storm() -> Storm:
    """Arrays for any schedule."""
    n = MEMBERS_MAX
    state, peers, outbox = np.zeros(n, RAFT), np.zeros((n, MEMBERS_MAX), PEER), np.zeros((n, 9), MESSAGE)
    runs, sizes = np.zeros((n, 24), TERM_RUN), np.zeros((n, 32), np.int64)
    reads, pending = np.zeros((n, 4), READ), np.zeros((n, 4), READ)
    rows = zip(state.reshape(n, 1), peers, outbox, runs, sizes, reads, pending, strict=True)
    return Storm(
        cores=tuple(Raft(*row) for row in rows),
        globals=np.zeros(1, GLOBAL),
        disks=np.zeros(n, DISK),
        state=state,
        peers=peers,
        outbox=outbox,
        runs=runs,
        sizes=sizes,
        reads=reads,
        pending=pending,
        log=np.zeros((n, INDEXES), np.int64),
        disk_log=np.zeros((n, INDEXES), np.int64),
        disk_terms=np.zeros((n, INDEXES), np.int64),
        net=np.zeros(NET, MESSAGE),
        net_log=np.zeros((NET, ENTRIES_MAX), np.int64),
        held=np.zeros((n, NET), MESSAGE),
        held_log=np.zeros((n, NET, ENTRIES_MAX), np.int64),
        held_count=np.zeros(n, np.int64),
        cuts=np.zeros((n, n), np.int64),
        applied=np.zeros(INDEXES, np.int64),
        asked=np.zeros(CONTEXTS, np.int64),
        witness=Witness(np.zeros(TERMS, np.int64), np.zeros(INDEXES, np.int64), np.zeros(n, SEEN)),
    )


@kernel
def core_of(storm: Any, place: int) -> Any:
    """A member's core."""
    return storm.cores[place]


@kernel
def entries_of(message: Any) -> int:
    """How many entries a message carries."""
    return int(message["last"]) - int(message["first"]) + 1 if message["kind"] == APPEND else 0


@kernel
def below(storm: Any, bound: int) -> int:
    """A random number in 0 .. bound - 1."""
    world = storm.globals[0]
    world["draws"] += 1
    return rng.below(int(world["key"]), int(world["draws"]), bound)


@kernel
def boot(storm: Any, place: int) -> None:
    """Start a member from its disk."""
    world, disk = storm.globals[0], storm.disks[place]
    raft = core_of(storm, place)
    state = raft.state[0]
    members = int(world["members"])
    disk["up"] = 1
    disk["boot"] += 1
    disk["wanted"] = 0
    storm.held_count[place] = 0
    for other in range(MEMBERS_MAX):
        raft.peers[other]["boot"] = 0
    state["member"] = place
    state["members"] = members
    state["quorum"] = members // 2 + 1
    state["election_ticks"] = 6
    state["heartbeat_ticks"] = 3
    state["window_messages"] = 3
    state["window_bytes"] = 700
    state["message_bytes_max"] = world["entries"]
    state["uncommitted_bytes_max"] = 3000
    state["role"] = 0
    state["leader"] = NONE
    state["transferee"] = NONE
    state["pending_count"] = 0
    state["read_count"] = 0
    state["messages"] = 0
    state["wants_noop"] = 0
    state["receiving"] = 0
    state["verified_index"] = 0
    state["answered_index"] = 0
    state["election_elapsed"] = 0
    state["round_sent"] = 0
    state["round_confirmed"] = 0
    state["rng_key"] = rng.derive(int(world["key"]), place)
    state["hard_state"] = 1
    disk["hard_state"] = 1
    setup.restore(
        raft,
        int(disk["term"]),
        int(disk["vote"]),
        int(disk["base"]),
        int(disk["base_term"]),
        int(disk["boot"]),
        0,
        0,
    )
    for index in range(int(disk["base"]) + 1, int(disk["last"]) + 1):
        setup.recovered(raft, index, int(storm.disk_terms[place, index]), 100)
        storm.log[place, index] = storm.disk_log[place, index]


@kernel
def begin(storm: Any, members: int, seed: int) -> None:
    """A new cluster with empty disks, and a weather of its own."""
    world = storm.globals[0]
    world["members"] = members
    world["key"] = rng.derive(seed, 77)
    world["draws"] = 0
    world["net"] = 0
    world["committed"] = 0
    world["trouble"] = 10 << below(storm, 5)
    world["healing"] = 2 << below(storm, 4)
    world["entries"] = 50 + 200 * below(storm, 2)
    world["lag"] = 1 + below(storm, 4)
    for index in range(INDEXES):
        storm.applied[index] = 0
        storm.witness.committed[index] = NONE
    for term in range(TERMS):
        storm.witness.leaders[term] = NONE
    for place in range(members):
        disk = storm.disks[place]
        disk["boot"] = 0
        disk["term"] = 0
        disk["vote"] = NONE
        disk["base"] = 0
        disk["base_term"] = 0
        disk["last"] = 0
        storm.witness.seen[place]["boot"] = 0
        storm.state[place]["rng_counter"] = 0
        for other in range(members):
            storm.cuts[place, other] = 0
        boot(storm, place)


@kernel
def post(storm: Any, place: int) -> None:
    """Put into the network what of a member's messages stands on a durable term and vote."""
    world = storm.globals[0]
    kept = 0
    for i in range(int(storm.held_count[place])):
        message = storm.held[place, i]
        if message["hard_state"] > storm.disks[place]["hard_state"]:
            storm.held[place, kept] = storm.held[place, i]
            for entry in range(entries_of(message)):
                storm.held_log[place, kept, entry] = storm.held_log[place, i, entry]
            kept += 1
        elif world["net"] < NET:
            storm.net[int(world["net"])] = storm.held[place, i]
            for entry in range(entries_of(message)):
                storm.net_log[int(world["net"]), entry] = storm.held_log[place, i, entry]
            world["net"] += 1
    storm.held_count[place] = kept


@kernel
def take(storm: Any, raft: Any, place: int) -> int:
    """Take a core's messages and confirmed reads."""
    world, state = storm.globals[0], raft.state[0]
    code = 0
    for i in range(int(state["messages"])):
        at = int(storm.held_count[place])
        if at == NET:
            break
        storm.held[place, at] = raft.outbox[i]
        message = raft.outbox[i]
        if message["kind"] == APPEND:
            for index in range(int(message["first"]), int(message["last"]) + 1):
                storm.held_log[place, at, index - int(message["first"])] = storm.log[place, index]
        storm.held_count[place] = at + 1
    state["messages"] = 0
    for i in range(int(state["read_count"])):
        context, index = int(raft.reads[i]["context"]), int(raft.reads[i]["index"])
        if context + CONTEXTS > world["contexts"] and index < storm.asked[context % CONTEXTS]:
            code = STALE_READ
        world["reads"] += 1
    state["read_count"] = 0
    post(storm, place)
    return code


@kernel
def apply(storm: Any, raft: Any, place: int) -> int:
    """Apply what is committed, and compare with who did so before."""
    state = raft.state[0]
    for index in range(int(state["applied"]) + 1, int(state["commit"]) + 1):
        if storm.applied[index] == 0:
            storm.applied[index] = storm.log[place, index]
        elif storm.applied[index] != storm.log[place, index]:
            return LOST_WRITE
    core.applied(raft, int(state["commit"]))
    storm.globals[0]["committed"] = max(int(storm.globals[0]["committed"]), int(state["commit"]))
    return 0


@kernel
def new_payload(storm: Any) -> int:
    """A number that no entry had before."""
    storm.globals[0]["payloads"] += 1
    return int(storm.globals[0]["payloads"])


@kernel
def turn(storm: Any, raft: Any, place: int) -> int:
    """After anything that came in: first entry, sending, applying, checking. Returns an Outcome."""
    state = raft.state[0]
    if state["wants_noop"]:
        storm.globals[0]["old_terms"] += int(state["last_index"] > state["commit"])
        index = core.noop(raft, 32)
        if index > 0:
            storm.log[place, index] = new_payload(storm)
            storm.globals[0]["leaders"] += 1
    more = 1
    while more == 1:
        more = core.send_due(raft)
        code = take(storm, raft, place)
        if code != 0:
            return code
    code = apply(storm, raft, place)
    if code == 0:
        code = invariants.violation(raft)
    if code == 0:
        code = invariants.witness(raft, storm.witness)
    return code


@kernel
def receive(storm: Any, at: int) -> int:
    """Take a message out of the network, to its receiver if it can arrive."""
    world = storm.globals[0]
    message = storm.net[at]
    place = int(message["to"])
    code = 0
    if storm.disks[place]["up"] and storm.cuts[int(message["sender"]), place] == 0:
        raft = core_of(storm, place)
        state = raft.state[0]
        result = core.step(raft, message)
        if result < 0 and result != BAD_MESSAGE:
            code = STEP_FAILED
        if result == ENTRIES:
            world["truncations"] += int(state["truncated"])
            for index in range(int(state["accept_from"]), int(state["accept_to"]) + 1):
                storm.log[place, index] = storm.net_log[at, index - int(message["first"])]
                core.entry_bytes(raft, index, 100)
        if result == SNAPSHOT_WANTED:
            storm.disks[place]["wanted"] = message["index"]
            storm.disks[place]["wanted_term"] = message["log_term"]
        if code == 0:
            code = turn(storm, raft, place)
    world["net"] -= 1
    for i in range(at, int(world["net"])):
        storm.net[i] = storm.net[i + 1]
        for entry in range(entries_of(storm.net[i])):
            storm.net_log[i, entry] = storm.net_log[i + 1, entry]
    return code


@kernel
def receive_some(storm: Any) -> int:
    """Some of the earliest messages arrive."""
    world = storm.globals[0]
    code, count = 0, 1 + below(storm, 4)
    while code == 0 and count > 0 and world["net"] > 0:
        code = receive(storm, below(storm, min(int(world["net"]), 3)))
        count -= 1
    return code


@kernel
def tick_all(storm: Any) -> int:
    """Clocks go on; some stand still."""
    code = 0
    for place in range(int(storm.globals[0]["members"])):
        if code == 0 and storm.disks[place]["up"] and below(storm, 8) > 0:
            raft = core_of(storm, place)
            core.tick(raft)
            code = turn(storm, raft, place)
    return code


@kernel
def sync(storm: Any, place: int, mark: int, upto: int) -> int:
    """A disk has finished a mark, and the log up to an index."""
    disk = storm.disks[place]
    raft = core_of(storm, place)
    state = raft.state[0]
    if mark:
        disk["term"] = state["term"]
        disk["vote"] = state["vote"]
        disk["hard_state"] = state["hard_state"]
        post(storm, place)
    if upto > state["durable_index"]:
        for index in range(int(state["base_index"]) + 1, upto + 1):
            storm.disk_log[place, index] = storm.log[place, index]
            storm.disk_terms[place, index] = core.term_of(raft, index)
        disk["last"] = upto
        core.persisted(raft, upto, core.term_of(raft, upto))
    return turn(storm, raft, place)


@kernel
def finish_snapshot(storm: Any, place: int, whole: int) -> int:
    """A snapshot that was announced arrives, or does not; the sender learns of either."""
    disk = storm.disks[place]
    raft = core_of(storm, place)
    leader = int(raft.state[0]["leader"])
    if whole == 0:
        core.refuse_snapshot(raft)
    elif core.install(raft, int(disk["wanted"]), int(disk["wanted_term"])):
        disk["base"] = disk["wanted"]
        disk["base_term"] = disk["wanted_term"]
        disk["last"] = disk["wanted"]
        storm.globals[0]["snapshots"] += 1
    disk["wanted"] = 0
    code = turn(storm, raft, place)
    if code == 0 and leader != NONE and storm.disks[leader]["up"]:
        sender = core_of(storm, leader)
        core.report_snapshot(sender, place, whole)
        code = turn(storm, sender, leader)
    return code


@kernel
def compact(storm: Any, place: int, index: int) -> int:
    """A snapshot takes the place of a log's beginning."""
    disk = storm.disks[place]
    raft = core_of(storm, place)
    state = raft.state[0]
    if index <= state["base_index"] or index > state["applied"]:
        return 0
    term = core.term_of(raft, index)
    core.compacted(raft, index)
    for i in range(index + 1, int(state["durable_index"]) + 1):
        storm.disk_log[place, i] = storm.log[place, i]
        storm.disk_terms[place, i] = core.term_of(raft, i)
    disk["base"] = index
    disk["base_term"] = term
    disk["last"] = max(index, int(state["durable_index"]))
    return turn(storm, raft, place)
