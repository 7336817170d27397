"""A member's state, and what it is configured by."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kvbench.log.mark import MARK_BYTES, new_mark
from kvbench.log.records import Log, new_log
from kvbench.log.snapshot import new_stream
from kvbench.node.records import (
    COMMAND,
    DISK_COMMAND,
    ISSUED,
    LINK,
    MEMBERS_MAX,
    NO_MEMBER,
    NODE,
    PENDING,
    REPLY,
    STATISTICS,
    WAITING_READ,
)
from kvbench.ops.entries import PREFIX_BYTES
from kvbench.raft.records import MESSAGE, Raft
from kvbench.raft.setup import new_raft
from kvbench.rt import rng
from kvbench.store.records import Store, new_store, reserve, set_identity
from kvbench.wire.peer import FRAME_BYTES_MIN

OFF, BY_SIZE = 0, -1
"""When a snapshot is taken: never; when the log behind the last one is as large as it; else every so many entries."""
ISSUED_MAX = 64
"""Disk commands that may wait for their answers."""
COMMANDS_MAX = 16
PIECES = 3
READ_AT = 128
"""Where in ``reading`` what was read begins: behind room for what was left of the piece before."""
PIECE_MARGIN_BYTES = 256
"""Beside the dump's bytes in a piece: the file's header, the frame's, the trailer."""
SECOND_NS = 1_000_000_000


@dataclass(frozen=True)
class NodeConfig:
    """What a member is, and its limits. Capacities are address space: memory is taken as it is used."""

    member: int
    """Position among the members, 0 .. members - 1."""
    members: int
    cluster_id: int
    member_ids: tuple[int, ...]
    """int64 by position, for headers."""
    seed: int
    tick_ns: int = 10_000_000
    election_ticks: int = 100
    heartbeat_ticks: int = 10
    fsync: bool = True
    snapshots: int = BY_SIZE
    """OFF, BY_SIZE, or after how many entries."""
    quota_bytes: int = 2 << 30
    request_bytes_max: int = 3 << 19
    request_timeout_s: float = 5.0
    """Beside two election time-outs."""
    syncs_out_max: int = 1
    snapshot_log_bytes: int = 256 << 20
    """BY_SIZE: no snapshot before the log has grown by so much."""
    keep_bytes: int = 64 << 20
    """Log kept behind a snapshot, for members that lag a little."""
    piece_bytes: int = 256 << 10
    """Of a snapshot written, sent or loaded at a time."""
    apply_bytes: int = 256 << 10
    """Of entries applied, and of reads answered, before the loop looks at its sockets again."""
    segment_bytes: int = 64 << 20
    ring_bytes: int = 32 << 20
    entries: int = 1 << 17
    """In memory."""
    window_messages: int = 64
    window_bytes: int = 4 << 20
    message_bytes_max: int = 1 << 20
    uncommitted_bytes_max: int = 16 << 20
    forward_bytes_max: int = 2 << 20
    """Of a follower's requests at the leader, which keeps room for them."""
    outbox_bytes: int = 8 << 20
    pending: int = 1 << 15
    reads: int = 1 << 15
    read_bytes: int = 8 << 20
    reply_bytes: int = 65 << 20
    """Answers on their way to the runner; the largest answer."""
    arena_bytes: int = 0
    """0: by the quota."""
    keys_max: int = 1 << 26
    leases_max: int = 1 << 20
    watchers_max: int = 1 << 17
    streams_max: int = 1 << 16
    raft_runs: int = 1 << 16
    """Changes of term in the log behind the last snapshot, at half of which a snapshot is taken."""
    raft_sizes: int = 1 << 17
    segments: int = 1 << 13
    landmarks: int = 1 << 20
    landmark_bytes: int = 64 << 10
    operations_max: int = field(default=1 << 19)


class Node(NamedTuple):
    """A member."""

    state: npt.NDArray[np.void]
    """NODE[1]"""
    raft: Raft
    log: Log
    store: Store
    links: npt.NDArray[np.void]
    """LINK[MEMBERS_MAX]"""
    pending: npt.NDArray[np.void]
    """PENDING[n]"""
    free: npt.NDArray[np.int64]
    """int64[n]: free places of ``pending``"""
    reads: npt.NDArray[np.void]
    """WAITING_READ[n]: read k lies at k % n"""
    read_bytes: npt.NDArray[np.uint8]
    disk: npt.NDArray[np.void]
    """DISK_COMMAND[ISSUED_MAX]: for the runner to take"""
    issued: npt.NDArray[np.void]
    """ISSUED[ISSUED_MAX]"""
    outbox: npt.NDArray[np.uint8]
    """uint8[MEMBERS_MAX * outbox_bytes]: frames for each peer"""
    queued: npt.NDArray[np.void]
    """MESSAGE[MEMBERS_MAX * queued_max]: APPENDs that wait, a ring for each peer"""
    incoming: npt.NDArray[np.void]
    """MESSAGE[2]: what came last, and the piece of an APPEND that is being written"""
    replies: npt.NDArray[np.void]
    """REPLY[n]: for the runner to take"""
    reply_bytes: npt.NDArray[np.uint8]
    deadlines: npt.NDArray[np.int64]
    """int64[leases]: when the lease in a slot of the store ends, where this member leads"""
    mark: npt.NDArray[np.uint8]
    """uint8[MARK_BYTES]: what is written to both halves of the mark"""
    mark_record: npt.NDArray[np.void]
    """MARK[1]: the newest"""
    pieces: npt.NDArray[np.uint8]
    """uint8[PIECES * (piece_bytes + PIECE_MARGIN_BYTES)]: two of the snapshot being written, one of one received"""
    own_stream: npt.NDArray[np.void]
    """STREAM[1]: the snapshot being written"""
    load_stream: npt.NDArray[np.void]
    """STREAM[1]: the one being loaded or verified"""
    reading: npt.NDArray[np.uint8]
    """What was read from disk, from READ_AT on."""
    scratch: npt.NDArray[np.uint8]
    """Small requests of this member's own."""
    commands: npt.NDArray[np.void]
    """COMMAND[COMMANDS_MAX]"""
    statistics: npt.NDArray[np.void]
    """STATISTICS[1]"""


def arena_bytes_of(config: NodeConfig) -> int:
    """The arena that a quota needs: what is proposed before everyone knows of the alarm must still find room."""
    most = config.quota_bytes + config.quota_bytes // 4 + (256 << 20)
    return config.arena_bytes or min(most, 1 << 34)


def own_bytes_max(config: NodeConfig) -> int:
    """How much a leader has uncommitted when it takes no more of its own clients."""
    return config.uncommitted_bytes_max - (config.members - 1) * config.forward_bytes_max


def raft_of(config: NodeConfig) -> Raft:
    """The core, with an empty log. Raises ValueError for bad limits."""
    return new_raft(
        config.member,
        config.members,
        config.seed,
        election_ticks=config.election_ticks,
        heartbeat_ticks=config.heartbeat_ticks,
        window_messages=config.window_messages,
        window_bytes=config.window_bytes,
        message_bytes_max=config.message_bytes_max,
        uncommitted_bytes_max=config.uncommitted_bytes_max,
        runs=config.raft_runs,
        sizes=config.raft_sizes,
    )


def log_of(config: NodeConfig) -> Log:
    """The log, with nothing in it. Raises ValueError for bad limits."""
    return new_log(
        config.cluster_id,
        config.member_ids[config.member],
        segment_bytes=config.segment_bytes,
        ring_bytes=config.ring_bytes,
        payload_bytes_max=PREFIX_BYTES + config.request_bytes_max,
        entries=config.entries,
        segments=config.segments,
        landmarks=config.landmarks,
        landmark_bytes=config.landmark_bytes,
    )


def new_node(config: NodeConfig) -> Node:
    """A member with nothing in it; then ``recovery.begin``. Raises ValueError when limits contradict each other."""
    payload_bytes_max = PREFIX_BYTES + config.request_bytes_max
    entries_bytes = max(config.message_bytes_max, payload_bytes_max)
    frame_bytes_max = FRAME_BYTES_MIN + entries_bytes + entries_bytes // 8
    if config.outbox_bytes < frame_bytes_max or config.outbox_bytes < FRAME_BYTES_MIN + config.piece_bytes:
        raise ValueError(f"an outbox of {config.outbox_bytes} bytes does not hold the largest frame")
    if config.uncommitted_bytes_max + 2 * payload_bytes_max > config.ring_bytes:
        raise ValueError(f"{config.ring_bytes} bytes of log in memory do not hold what may be uncommitted")
    if own_bytes_max(config) < config.request_bytes_max:
        raise ValueError(f"{config.uncommitted_bytes_max} bytes of uncommitted log do not hold what others forward")
    raft, log = raft_of(config), log_of(config)
    store = new_store(
        arena_bytes_of(config),
        config.keys_max,
        config.leases_max,
        config.watchers_max,
        config.streams_max,
        config.operations_max,
        rng.derive(config.seed, config.member),
    )
    set_identity(store, config.cluster_id, config.member_ids[config.member])
    queued_max = config.window_messages + 8
    reading_bytes = READ_AT + max(2 * payload_bytes_max + 4 * config.landmark_bytes, 4 * config.piece_bytes)
    node = Node(
        state=np.zeros(1, NODE),
        raft=raft,
        log=log,
        store=store,
        links=np.zeros(MEMBERS_MAX, LINK),
        pending=reserve(PENDING, config.pending),
        free=reserve(np.int64, config.pending),
        reads=reserve(WAITING_READ, config.reads),
        read_bytes=reserve(np.uint8, config.read_bytes),
        disk=np.zeros(ISSUED_MAX, DISK_COMMAND),
        issued=np.zeros(ISSUED_MAX, ISSUED),
        outbox=reserve(np.uint8, MEMBERS_MAX * config.outbox_bytes),
        queued=np.zeros(MEMBERS_MAX * queued_max, MESSAGE),
        incoming=np.zeros(2, MESSAGE),
        replies=reserve(REPLY, config.pending + config.reads + 2 * COMMANDS_MAX),
        reply_bytes=reserve(np.uint8, config.reply_bytes),
        deadlines=reserve(np.int64, len(store.leases)),
        mark=np.zeros(MARK_BYTES, np.uint8),
        mark_record=new_mark(),
        pieces=reserve(np.uint8, PIECES * (config.piece_bytes + PIECE_MARGIN_BYTES)),
        own_stream=new_stream(config.piece_bytes),
        load_stream=new_stream(config.piece_bytes),
        reading=reserve(np.uint8, reading_bytes),
        scratch=np.zeros(256, np.uint8),
        commands=np.zeros(COMMANDS_MAX, COMMAND),
        statistics=np.zeros(1, STATISTICS),
    )
    configure(node, config)
    node.state[0]["frame_bytes_max"] = max(frame_bytes_max, FRAME_BYTES_MIN + config.piece_bytes)
    node.state[0]["queued_max"] = queued_max
    return node


def configure(node: Node, config: NodeConfig) -> None:
    """Write what the configuration says into a new member's state."""
    state = node.state[0]
    election_ns = config.election_ticks * config.tick_ns
    for name in ("member", "members", "cluster_id", "request_bytes_max", "quota_bytes", "forward_bytes_max"):
        state[name] = getattr(config, name)
    for name in ("outbox_bytes", "syncs_out_max", "tick_ns", "snapshot_log_bytes", "piece_bytes", "keep_bytes"):
        state[name] = getattr(config, name)
    state["member_ids"][: config.members] = config.member_ids
    state["own_bytes_max"] = own_bytes_max(config)
    state["fsync"] = int(config.fsync)
    state["apply_bytes_max"] = config.apply_bytes
    state["snapshot_every"] = config.snapshots
    state["election_ns"] = election_ns
    state["request_timeout_ns"] = int(config.request_timeout_s * SECOND_NS) + 2 * election_ns
    state["ttl_s_min"] = -(-3 * election_ns // (2 * SECOND_NS))
    state["lease_seed"] = rng.derive(config.seed, config.member)
    state["leader"] = NO_MEMBER
    state["pending_free"] = config.pending
    node.pending["request"] = -1
    node.free[:] = np.arange(config.pending)[::-1]
    node.store.state[0]["lease_ttl_min_s"] = state["ttl_s_min"]
