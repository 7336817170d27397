"""A simulated member's start: made anew, and brought to where its simulated disk says it was."""

from typing import Any

import numpy as np
import numpy.typing as npt

from kvbench.log.damage import Damage
from kvbench.log.records import LogDamage
from kvbench.log.replay import Replayed, Segment
from kvbench.log.snapshot import new_stream, read_snapshot_header
from kvbench.node.records import File
from kvbench.node.recovery import NO_SNAPSHOT, SnapshotFile, recover
from kvbench.node.state import Node, NodeConfig, new_node
from kvbench.sim import disk, events
from kvbench.sim.records import SLOT_BYTES, SLOTS, Met, World

CLUSTER_ID = 0x5EED


def config_of(world: World, member: int) -> NodeConfig:
    """A small member with the options of the world's seed."""
    options = world.state[0]["options"]
    return NodeConfig(
        member=member,
        members=int(options["members"]),
        cluster_id=CLUSTER_ID,
        member_ids=tuple(range(1, int(options["members"]) + 1)),
        seed=int(world.state[0]["seed"]),
        election_ticks=int(options["election_ticks"]),
        heartbeat_ticks=int(options["election_ticks"]) // 10,
        snapshots=int(options["snapshot_every"]),
        quota_bytes=1 << 20,
        request_bytes_max=1 << 12,
        keep_bytes=int(options["keep_bytes"]),
        piece_bytes=1 << 12,
        apply_bytes=1 << 12,
        segment_bytes=int(options["segment_bytes"]),
        ring_bytes=1 << 16,
        entries=1 << 10,
        window_messages=8,
        window_bytes=1 << 14,
        message_bytes_max=int(options["message_bytes"]),
        uncommitted_bytes_max=1 << 15,
        forward_bytes_max=1 << 12,
        outbox_bytes=1 << 16,
        pending=256,
        reads=256,
        read_bytes=1 << 16,
        reply_bytes=1 << 16,
        arena_bytes=4 << 20,
        keys_max=1 << 12,
        leases_max=256,
        watchers_max=64,
        streams_max=16,
        raft_runs=256,
        raft_sizes=1 << 11,
        segments=256,
        landmarks=1 << 12,
        landmark_bytes=1 << 12,
        operations_max=1 << 10,
    )


def content(world: World, slot: int) -> npt.NDArray[np.uint8]:
    """The bytes of a file, as they would be read: a view."""
    at = slot * SLOT_BYTES
    return world.current[at : at + int(world.files[slot]["bytes"])]


def files_of(world: World, member: int, kind: File) -> list[tuple[int, int]]:
    """(number, slot) of a member's files of a kind, in the order of numbers."""
    slots = range(member * SLOTS, (member + 1) * SLOTS)
    return sorted((int(world.files[slot]["number"]), slot) for slot in slots if world.files[slot]["kind"] == kind)


def mark_of(world: World, member: int) -> npt.NDArray[np.uint8] | None:
    """The mark, None as long as none was made durable."""
    found = files_of(world, member, File.MARK)
    return content(world, found[0][1]) if found and content(world, found[0][1]).any() else None


def segments_of(world: World, member: int) -> list[Segment]:
    """A member's segments."""

    def reader(slot: int) -> Any:
        def read(target: Any, offset: int) -> None:
            target[:] = content(world, slot)[offset : offset + len(target)]

        return read

    found = files_of(world, member, File.SEGMENT)
    return [Segment(number, int(world.files[slot]["bytes"]), reader(slot)) for number, slot in found]


def newest_snapshot(world: World, member: int) -> SnapshotFile:
    """A member's newest snapshot that has its name."""
    found = files_of(world, member, File.SNAPSHOT)
    if not found:
        return NO_SNAPSHOT
    index, slot = found[-1]
    stream, file_bytes = new_stream(), int(world.files[slot]["bytes"])
    code = read_snapshot_header(stream, content(world, slot), 0, file_bytes)
    if code <= 0 or stream[0]["index"] != index:
        raise Damage("snapshot", index, 0, LogDamage.INCOMPLETE)  # it got its name before it was whole
    return SnapshotFile(index, int(stream[0]["term"]), file_bytes)


def remove_parts(world: World, member: int) -> None:
    """Snapshots that never got their name go at a start."""
    for kind in (File.OWN_SNAPSHOT, File.FOREIGN_SNAPSHOT):
        for _, slot in files_of(world, member, kind):
            disk.remove(world, slot)


def make_cuts(world: World, member: int, replayed: Replayed) -> None:
    """Zero what an unfinished write left, and make all that is left durable."""
    for cut in replayed.cuts:
        slot = disk.find(world, member, int(File.SEGMENT), cut.number)
        zeros = np.zeros(int(world.files[slot]["bytes"]) - cut.offset, np.uint8)
        disk.write(world, slot, cut.offset, zeros, 0, len(zeros))
    for _, slot in files_of(world, member, File.SEGMENT):
        disk.sync(world, slot)


def start_member(world: World, nodes: list[Node], member: int) -> Damage | None:
    """Make a member from its disk. Returns why it refuses to start, None when it is up."""
    state = world.state[0]
    nodes[member] = new_node(config_of(world, member))
    remove_parts(world, member)
    try:
        snapshot = newest_snapshot(world, member)
        replayed = recover(nodes[member], segments_of(world, member), mark_of(world, member), snapshot)
    except Damage as damage:
        state["met"][Met.REFUSED] += 1
        return damage
    state["met"][Met.TORN_TAIL] += 1 if replayed.cuts else 0
    state["met"][Met.RESTART] += 1 if world.members[member]["incarnation"] > 0 else 0
    make_cuts(world, member, replayed)
    events.started(world, member)
    return None
