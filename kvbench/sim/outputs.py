"""What a member asks of the world after each step: disk commands, messages, replies; and what it has applied."""

from typing import Any

from kvbench.jit import kernel
from kvbench.log.append import payload_of
from kvbench.node import calls
from kvbench.node.records import QUEUES, Buffer, DiskKind, File
from kvbench.ops.status import grpc_status
from kvbench.rt.crc32c import crc32c
from kvbench.sim import clients, disk, network, watching
from kvbench.sim.agenda import chance, draw, schedule, trace
from kvbench.sim.away import note_receiving
from kvbench.sim.records import INDEXES_MAX, QUEUE_DEPTH, Failure, Happening, Met
from kvbench.wire.peer import frame_size

CLIENT, DISK, ISOLATE = int(Happening.CLIENT), int(Happening.DISK), int(Happening.ISOLATE)
STRIKE_DOWN = int(Happening.STRIKE_DOWN)
DIVERGED, MEMBER_FAILED, WORLD_FULL = int(Failure.DIVERGED), int(Failure.MEMBER_FAILED), int(Failure.WORLD_FULL)
READ_ACROSS_LEADERS, FULL_DISK, COMPACTION = int(Met.READ_ACROSS_LEADERS), int(Met.FULL_DISK), int(Met.COMPACTION)
WRITE, SYNC, CREATE, RENAME = int(DiskKind.WRITE), int(DiskKind.SYNC), int(DiskKind.CREATE), int(DiskKind.RENAME)
OWN_SNAPSHOT, FOREIGN_SNAPSHOT = int(File.OWN_SNAPSHOT), int(File.FOREIGN_SNAPSHOT)
DELETE, READ = int(DiskKind.DELETE), int(DiskKind.READ)
RING, MARK, PIECES, READING = int(Buffer.RING), int(Buffer.MARK), int(Buffer.PIECES), int(Buffer.READING)
ELECTION, TRUNCATION, SNAPSHOT = int(Met.ELECTION), int(Met.TRUNCATION), int(Met.SNAPSHOT)
SNAPSHOT_INSTALL, LEASE_EXPIRY, FORWARD = int(Met.SNAPSHOT_INSTALL), int(Met.LEASE_EXPIRY), int(Met.FORWARD)
INSTALL_FULL_DISK = int(Met.INSTALL_FULL_DISK)
UNAVAILABLE = 14
"""The gRPC status of an unknown outcome."""


@kernel
def take_commands(world: Any, node: Any, member: int) -> int:
    """Put a member's new disk commands into their queues. Returns 0, or WORLD_FULL."""
    own = world.members[member]
    for number in range(node.state[0]["commands"]):
        command = node.disk[number]
        queue = int(command["queue"])
        if own["queue_count"][queue] == QUEUE_DEPTH:
            return WORLD_FULL
        place = (int(own["queue_head"][queue]) + int(own["queue_count"][queue])) % QUEUE_DEPTH
        world.commands[(member * QUEUES + queue) * QUEUE_DEPTH + place] = command
        own["queue_count"][queue] += 1
        if own["queue_count"][queue] == 1 and start_command(world, node, member, queue) != 0:
            return WORLD_FULL
    node.state[0]["commands"] = 0
    return 0


@kernel
def file_of(world: Any, member: int, command: Any) -> int:
    """The slot of the file that a command names, or NO_FILE. There is one part file of a kind, whatever its number."""
    kind = int(command["file"])
    is_part = kind == OWN_SNAPSHOT or kind == FOREIGN_SNAPSHOT
    return disk.find(world, member, kind, 0 if is_part else int(command["number"]))


@kernel
def open_file(world: Any, member: int, command: Any) -> int:
    """The slot of the file that a WRITE changes, made if need be; a part file begins anew with offset 0.

    Negative: there is none, or the disk has no room for what it would grow by.
    """
    kind, number = int(command["file"]), int(command["number"])
    slot = file_of(world, member, command)
    full = world.members[member]["full"] == 1
    if kind == OWN_SNAPSHOT or kind == FOREIGN_SNAPSHOT:
        number = 0
        if command["offset"] == 0 and slot >= 0:
            slot = disk.create(world, member, kind, 0, 0)
        if full and slot >= 0:
            return disk.NO_SPACE
    if slot < 0 and not full:
        slot = disk.create(world, member, kind, number, 0)
    return slot


@kernel
def write_file(world: Any, node: Any, slot: int, command: Any) -> int:
    """The bytes of a WRITE, from the buffer that it names. Returns 0 or NO_SPACE."""
    offset, at, size = int(command["offset"]), int(command["at"]), int(command["bytes"])
    if command["buffer"] == RING:
        return disk.write(world, slot, offset, node.log.ring, at, size)
    if command["buffer"] == MARK:
        return disk.write(world, slot, offset, node.mark, at, size)
    return disk.write(world, slot, offset, node.pieces, at, size)


@kernel
def start_command(world: Any, node: Any, member: int, queue: int) -> int:
    """Begin the first command of a queue. A WRITE changes the file now, so a crash may find it done in part."""
    own = world.members[member]
    command = world.commands[(member * QUEUES + queue) * QUEUE_DEPTH + int(own["queue_head"][queue])]
    if command["kind"] == WRITE:
        slot = open_file(world, member, command)
        if slot >= 0 and write_file(world, node, slot, command) < 0:
            return WORLD_FULL
    usual = int(world.state[0]["options"]["disk_ns"])
    at_ns = int(world.state[0]["now_ns"]) + usual // 4 + draw(world.state[0], 2 * usual)
    return schedule(world, at_ns, DISK, member, queue, int(own["incarnation"]))


@kernel
def effect_of(world: Any, node: Any, member: int, command: Any) -> int:
    """Carry out a command, a WRITE's bytes aside. Returns what ``written`` is told: bytes read, 0, or -errno."""
    kind = int(command["kind"])
    slot = file_of(world, member, command)
    if kind == CREATE:
        if world.members[member]["full"] == 1:
            world.state[0]["met"][FULL_DISK] += 1
            return disk.NO_SPACE
        slot = disk.create(world, member, int(command["file"]), int(command["number"]), int(command["bytes"]))
        return min(slot, 0)
    if kind == DELETE:
        if slot >= 0:
            disk.remove(world, slot)
        return 0
    if kind == WRITE and (slot < 0 or world.files[slot]["bytes"] < int(command["offset"]) + int(command["bytes"])):
        world.state[0]["met"][INSTALL_FULL_DISK] += 1 if command["file"] == FOREIGN_SNAPSHOT else 0
        return disk.NO_SPACE
    if slot < 0:
        return disk.NO_FILE
    if kind == RENAME:
        disk.rename(world, member, slot, int(command["to_file"]), int(command["to_number"]))
    elif kind == READ:
        return disk.read(world, slot, int(command["offset"]), node.reading, int(command["at"]), int(command["bytes"]))
    elif command["sync"] == 1:
        disk.sync(world, slot)
    return 0


@kernel
def finish_command(world: Any, node: Any, member: int, queue: int, now: int) -> int:
    """The first command of a queue is done: tell the member, begin the next. Returns 0, or WORLD_FULL."""
    own = world.members[member]
    command = world.commands[(member * QUEUES + queue) * QUEUE_DEPTH + int(own["queue_head"][queue])]
    result = effect_of(world, node, member, command)
    sequence = int(command["sequence"])
    own["queue_head"][queue] = (int(own["queue_head"][queue]) + 1) % QUEUE_DEPTH
    own["queue_count"][queue] -= 1
    calls.written(node, now, sequence, result)
    if own["queue_count"][queue] > 0:
        return start_command(world, node, member, queue)
    return 0


@kernel
def take_messages(world: Any, node: Any, member: int) -> int:
    """Send the frames in a member's outbox. Returns 0, or WORLD_FULL."""
    base_bytes = int(node.state[0]["outbox_bytes"])
    for to in range(int(node.state[0]["members"])):
        link = node.links[to]
        at, end = to * base_bytes + int(link["start"]), to * base_bytes + int(link["end"])
        while at < end:
            size = frame_size(node.outbox, at, end, int(node.state[0]["frame_bytes_max"]))
            if size <= 0 or network.send(world, member, to, node.outbox, at, size) < 0:
                return WORLD_FULL
            at += size
        link["start"] = 0
        link["end"] = 0
    return 0


@kernel
def take_replies(world: Any, node: Any, member: int) -> int:
    """Hand a member's answers to the clients that wait for them. Returns 0, or a Failure."""
    state, result = world.state[0], 0
    for number in range(node.state[0]["replies"]):
        reply = node.replies[number]
        one = int(reply["handle"]) & 255
        client = world.clients[one]
        trace(state, int(reply["handle"]), int(reply["code"]))
        if client["operation"] != int(reply["handle"]) >> 8 or client["wish"] == 0:
            continue
        read = client["wish"] == clients.GET
        if reply["code"] == 0:
            if read and client["term"] < node.raft.state[0]["term"]:
                state["met"][READ_ACROSS_LEADERS] += 1
            if client["wish"] == clients.COMPACT:
                state["met"][COMPACTION] += 1
            at = int(reply["at"])
            result = clients.end_answered(world, one, node.reply_bytes, at, at + int(reply["bytes"]))
        elif grpc_status(int(reply["code"])) == UNAVAILABLE:
            clients.end_unknown(world, one)
        else:
            clients.end_refused(world, one)
        if schedule_next(world, one) < 0:
            return WORLD_FULL
        if result != 0:
            return result
    node.state[0]["replies"] = 0
    node.state[0]["reply_end"] = 0
    return 0


@kernel
def schedule_next(world: Any, client: int) -> int:
    """Have a client begin its next operation after a while."""
    state = world.state[0]
    return schedule(world, int(state["now_ns"]) + 1_000_000 + draw(state, 15_000_000), CLIENT, 0, client, 0)


@kernel
def compare_applied(world: Any, node: Any, member: int) -> int:
    """Compare what a member applied since the last time with what others applied there. Returns 0, or DIVERGED."""
    state, own = world.state[0], world.members[member]
    applied = int(node.state[0]["applied"])
    for index in range(int(own["applied"]) + 1, min(applied + 1, INDEXES_MAX)):
        if payload_of(node.log, index) != 0:
            continue
        at, size = int(node.log.state[0]["found_at"]), int(node.log.state[0]["found_bytes"])
        checksum = crc32c(node.log.ring, at, size, int(node.log.state[0]["found_term"])) + 1
        if world.committed[index] == 0:
            world.committed[index] = checksum
            trace(state, index, checksum)
        elif world.committed[index] != checksum:
            state["failure_index"] = index
            return DIVERGED
    own["applied"] = applied
    return 0


@kernel
def note(world: Any, member: int, met: int, count: int) -> None:
    """Add to the world's ``met`` what a member's counter gained since it was last looked at."""
    own, state = world.members[member], world.state[0]
    state["met"][met] += count - own["noted"][met]
    own["noted"][met] = count


@kernel
def take_statistics(world: Any, node: Any, member: int) -> None:
    """Take note of the mechanisms that a member's statistics count."""
    counted = node.statistics[0]
    world.members[member]["alarms"] = node.store.state[0]["alarms"]
    note(world, member, ELECTION, int(counted["elections_won"]))
    note(world, member, TRUNCATION, int(counted["truncations"]))
    note(world, member, SNAPSHOT, int(counted["snapshots"]))
    if counted["snapshots_received"] > world.members[member]["noted"][SNAPSHOT_INSTALL]:
        watching.note_install(world, member)
    note(world, member, SNAPSHOT_INSTALL, int(counted["snapshots_received"]))
    note(world, member, LEASE_EXPIRY, int(counted["leases_expired"]))
    note(world, member, FORWARD, int(counted["forwarded"]))


@kernel
def note_leader(world: Any, node: Any, member: int) -> int:
    """Take note of who leads; a new leader may be cut off soon. Returns what ``schedule`` does."""
    state = world.state[0]
    state["leader"] = member
    term = int(node.state[0]["term"])
    if term <= state["leader_term"]:
        return 0
    state["leader_term"] = term
    if state["healed"] == 1 or state["options"]["usurps"] == 0 or chance(state, 250):
        return 0
    options = state["options"]
    wait_ns = 0 if chance(state, 400) else draw(state, 6 * int(options["delay_ns"]) + 2 * int(options["disk_ns"]))
    return schedule(world, int(state["now_ns"]) + wait_ns, ISOLATE, member, 0, 0)


@kernel
def note_vote(world: Any, node: Any, member: int) -> int:
    """Take note of a vote for another; who gave it may crash soon. Returns what ``schedule`` does."""
    state, own, raft = world.state[0], world.members[member], node.raft.state[0]
    if raft["vote"] < 0 or raft["vote"] == member or raft["term"] <= own["voted_term"]:
        return 0
    own["voted_term"] = raft["term"]
    options = state["options"]
    if state["healed"] == 1 or options["usurps"] == 0 or chance(state, 500):
        return 0
    return schedule(world, int(state["now_ns"]) + draw(state, 5 * int(options["disk_ns"])), STRIKE_DOWN, member, 0, 0)


@kernel
def settle_outputs(world: Any, node: Any, member: int, now: int) -> int:
    """Let a member go on until it waits, and carry out all that it asks for. Returns 0, or a Failure."""
    more = 1
    while more == 1:
        more = calls.advance(node, now)
        result = compare_applied(world, node, member)
        if result == 0:
            result = take_commands(world, node, member)
        if result == 0:
            result = take_messages(world, node, member)
        if result == 0:
            result = take_replies(world, node, member)
        if result == 0:
            result = watching.serve(world, node.store)
        if result != 0:
            return result
    take_statistics(world, node, member)
    if note_receiving(world, node, member) < 0:
        return WORLD_FULL
    if note_vote(world, node, member) < 0:
        return WORLD_FULL
    if node.state[0]["leads"] == 1 and note_leader(world, node, member) < 0:
        return WORLD_FULL
    if node.state[0]["failed"] != 0:
        return MEMBER_FAILED
    return 0
