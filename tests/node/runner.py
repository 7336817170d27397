"""Members without sockets, disks or clocks: what they ask for is carried out here, one thing after the other.

A disk keeps, beside what was written, what would be left of it after a power loss. Tests hold back a member's disk or
the frames between two members, and let them go again.
"""

from collections import deque
from typing import Any

import numpy as np

from kvbench.log.replay import Replayed, Segment
from kvbench.log.snapshot import new_stream, read_snapshot_header
from kvbench.node import step
from kvbench.node.records import QUEUES, Buffer, DiskKind, File
from kvbench.node.recovery import NO_SNAPSHOT, Snapshot, SnapshotFile, recover
from kvbench.node.state import Node, NodeConfig, new_node
from kvbench.wire import peer
from kvbench.wire.etcd_methods import Method
from kvbench.wire.proto import messages as pb

NOTHING = np.zeros(1, np.uint8)
CLUSTER = 0x1234
MEMBER_IDS = (101, 102, 103)
TICK_NS = 10_000_000
ENOSPC, EIO, ENOENT = 28, 5, 2
Name = tuple[int, int]
MARK = (int(File.MARK), 0)

SMALL: dict[str, Any] = {
    "election_ticks": 10,
    "heartbeat_ticks": 1,
    "request_bytes_max": 4096,
    "snapshots": 0,
    "piece_bytes": 4096,
    "keep_bytes": 0,
    "segment_bytes": 1 << 16,
    "ring_bytes": 1 << 16,
    "entries": 1 << 10,
    "window_bytes": 1 << 14,
    "message_bytes_max": 1 << 13,
    "uncommitted_bytes_max": 1 << 14,
    "forward_bytes_max": 1 << 12,
    "outbox_bytes": 1 << 16,
    "pending": 64,
    "reads": 64,
    "read_bytes": 1 << 14,
    "reply_bytes": 1 << 16,
    "arena_bytes": 1 << 20,
    "keys_max": 1 << 10,
    "leases_max": 64,
    "watchers_max": 16,
    "streams_max": 16,
    "raft_runs": 64,
    "raft_sizes": 1 << 10,
    "segments": 64,
    "landmarks": 1 << 10,
    "landmark_bytes": 1 << 10,
    "operations_max": 256,
}
"""Capacities that make every limit easy to reach."""


class Disk:
    """A member's files."""

    def __init__(self) -> None:
        self.files: dict[Name, bytearray] = {}
        self.durable: dict[Name, bytes] = {}
        self.full = False
        self.broken: set[int] = set()
        """Kinds of files on which every operation fails."""
        self.syncs = 0

    def carry_out(self, node: Node, command: Any) -> int:
        """Do what a DISK_COMMAND says. Returns its result."""
        name = (int(command["file"]), int(command["number"]))
        kind = int(command["kind"])
        if name[0] in self.broken:
            return -EIO
        if kind == DiskKind.CREATE:
            if self.full:
                return -ENOSPC
            self.files[name] = bytearray(int(command["bytes"]))
        elif kind == DiskKind.RENAME:
            to = (int(command["to_file"]), int(command["to_number"]))
            self.files[to] = self.files.pop(name)
            self.durable[to] = self.durable.pop(name)
            return 0
        elif kind == DiskKind.DELETE:
            self.files.pop(name, None)
            self.durable.pop(name, None)
            return 0
        elif kind == DiskKind.READ:
            return self.read(node, name, command)
        elif kind == DiskKind.WRITE and not self.write(node, name, command):
            return -ENOSPC
        if command["sync"]:
            self.durable[name] = bytes(self.files[name])
            self.syncs += 1
        return 0

    def read(self, node: Node, name: Name, command: Any) -> int:
        """READ."""
        if name not in self.files:
            return -ENOENT
        offset, size, at = int(command["offset"]), int(command["bytes"]), int(command["at"])
        found = bytes(self.files[name][offset : offset + size])
        node.reading[at : at + len(found)] = np.frombuffer(found, np.uint8)
        return len(found)

    def write(self, node: Node, name: Name, command: Any) -> bool:
        """WRITE: whether there was room."""
        buffer = {Buffer.RING: node.log.ring, Buffer.MARK: node.mark, Buffer.PIECES: node.pieces}[
            Buffer(int(command["buffer"]))
        ]
        at, size, offset = int(command["at"]), int(command["bytes"]), int(command["offset"])
        content = self.files.setdefault(name, bytearray())
        if offset + size > len(content):
            if self.full:
                return False
            content.extend(bytes(offset + size - len(content)))
        content[offset : offset + size] = buffer[at : at + size].tobytes()
        return True

    def lose_power(self) -> None:
        """What was not synced is gone."""
        self.files = {name: bytearray(content) for name, content in self.durable.items()}

    def segments(self) -> list[Segment]:
        """The log's files, for a recovery."""
        return [
            Segment(number, len(content), self.reader(content))
            for (file, number), content in sorted(self.files.items())
            if file == File.SEGMENT
        ]

    @staticmethod
    def reader(content: bytearray) -> Any:
        """Fills an array with a file's content."""

        def read(buf: Any, offset: int) -> None:
            buf[:] = np.frombuffer(bytes(content), np.uint8)[offset : offset + len(buf)]

        return read

    def snapshot(self) -> Snapshot:
        """The newest snapshot."""
        numbers = [number for file, number in self.files if file == File.SNAPSHOT]
        if not numbers:
            return NO_SNAPSHOT
        content = bytes(self.files[int(File.SNAPSHOT), max(numbers)])
        stream = new_stream()
        assert read_snapshot_header(stream, np.frombuffer(content, np.uint8), 0, len(content)) > 0
        return SnapshotFile(max(numbers), int(stream[0]["term"]), len(content))


class Member:
    """A member, or where one was."""

    def __init__(self, cluster: "Cluster", position: int, settings: dict[str, Any]) -> None:
        self.cluster, self.position, self.settings = cluster, position, settings
        self.disk = Disk()
        self.node: Node | None = None
        self.holding: set[int] = set()
        """Queues whose commands wait."""
        self.queues: list[deque[Any]] = [deque() for _ in range(QUEUES)]
        self.replayed: Replayed | None = None

    @property
    def alive(self) -> Node:
        """The node, which must run."""
        assert self.node is not None
        return self.node

    def start(self) -> None:
        """Recover from the disk, and run."""
        members = self.cluster.size
        config = NodeConfig(
            member=self.position,
            members=members,
            cluster_id=CLUSTER,
            member_ids=MEMBER_IDS[:members],
            seed=self.cluster.seed,
            **(SMALL | self.settings),
        )
        node = new_node(config)
        mark = self.disk.files.get(MARK)
        found = None if mark is None else np.frombuffer(bytes(mark), np.uint8)
        self.replayed = recover(node, self.disk.segments(), found, self.disk.snapshot())
        for cut in self.replayed.cuts:
            content = self.disk.files[int(File.SEGMENT), cut.number]
            content[cut.offset :] = bytes(len(content) - cut.offset)
        self.disk.durable = {name: bytes(content) for name, content in self.disk.files.items()}
        self.node = node
        for other in self.cluster.members:
            if other is not self and other.node is not None:
                self.call(step.CONNECTED, other.position)
                other.call(step.CONNECTED, self.position)

    def crash(self) -> None:
        """Lose power."""
        self.node = None
        self.queues = [deque() for _ in range(QUEUES)]
        self.disk.lose_power()
        self.cluster.in_flight = [frame for frame in self.cluster.in_flight if frame[1] != self.position]
        for other in self.cluster.members:
            if other.node is not None:
                other.call(step.DISCONNECTED, self.position)

    def call(self, what: int, a: int = 0, b: int = 0, data: bytes = b"", argument: int = 0) -> int:
        """Call the node, and take what it has to say."""
        buf = np.frombuffer(data, np.uint8).copy() if data else NOTHING
        node = self.alive
        code = int(step.call(node, self.cluster.now, what, a, b, buf, argument, len(data)))
        self.take(node)
        return code

    def take(self, node: Node) -> None:
        """Take commands, replies and frames."""
        state = node.state[0]
        for command in node.disk[: state["commands"]].copy():
            self.queues[int(command["queue"])].append(command)
        state["commands"] = 0
        for reply in node.replies[: state["replies"]]:
            data = node.reply_bytes[int(reply["at"]) : int(reply["at"]) + int(reply["bytes"])].tobytes()
            self.cluster.replies.setdefault(int(reply["handle"]), []).append((int(reply["code"]), data))
            if reply["method"] < 0:
                self.cluster.values[int(reply["handle"])] = [int(reply["code"]), *reply["values"].tolist()]
        step.call(node, self.cluster.now, step.REPLIES_TAKEN, 0, 0, NOTHING, 0, 0)
        for to in range(self.cluster.size):
            link = node.links[to]
            base = to * int(state["outbox_bytes"])
            data = node.outbox[base + int(link["start"]) : base + int(link["end"])].tobytes()
            link["start"] = link["end"]
            self.cluster.post(self.position, to, data)

    def do_disk(self) -> bool:
        """Carry out a command of each queue that is not held. Returns whether there was one."""
        done = False
        for queue in range(QUEUES):
            if self.node is None or queue in self.holding or not self.queues[queue]:
                continue
            command = self.queues[queue].popleft()
            result = self.disk.carry_out(self.node, command)
            self.call(step.WRITTEN, int(command["sequence"]), result)
            done = True
        return done


class Cluster:
    """Members, the frames between them, and their clock."""

    def __init__(self, size: int, seed: int = 1, **settings: Any) -> None:
        self.size, self.seed, self.now = size, seed, 1_000_000_000
        self.replies: dict[int, list[tuple[int, bytes]]] = {}
        self.values: dict[int, list[int]] = {}
        """Of commands: code and values."""
        self.in_flight: list[tuple[int, int, bytes]] = []
        self.blocked: set[tuple[int, int]] = set()
        self.handles = 0
        self.members = [Member(self, position, settings) for position in range(size)]
        for member in self.members:
            member.start()
        self.settle()

    def __getitem__(self, position: int) -> Member:
        return self.members[position]

    def post(self, sender: int, to: int, data: bytes) -> None:
        """Frames leave; blocked ones are lost."""
        buf = np.frombuffer(data, np.uint8)
        at = 0
        while at < len(data):
            size = peer.frame_size(buf, at, len(data), 1 << 24)
            assert size > 0
            if (sender, to) not in self.blocked:
                self.in_flight.append((sender, to, data[at : at + size]))
            at += size

    def settle(self) -> None:
        """Let everything happen that can without time going by."""
        for _ in range(20_000):
            busy = False
            for member in self.members:
                if member.node is not None:
                    while member.call(step.ADVANCE):
                        busy = True
                    busy |= member.do_disk()
            frames, self.in_flight = self.in_flight, []
            for sender, to, data in frames:
                if self[to].node is not None and (sender, to) not in self.blocked:
                    assert self[to].call(step.DELIVER, sender, 0, data) == 0
                    busy = True
            if not busy and not self.in_flight:
                return
        raise AssertionError("it never comes to rest")

    def tick(self, ticks: int = 1) -> None:
        """Let time go by."""
        for _ in range(ticks):
            self.now += TICK_NS
            for member in self.members:
                if member.node is not None:
                    member.call(step.TICK)
            self.settle()

    def leader(self) -> Member:
        """The member that leads, after as many ticks as that takes."""
        for _ in range(200):
            terms = {
                int(member.alive.raft.state[0]["term"]): member
                for member in self.members
                if member.node is not None and member.node.raft.state[0]["role"] == 3
            }
            if terms:
                leader = terms[max(terms)]
                if leader.alive.raft.state[0]["commit"] == leader.alive.raft.state[0]["last_index"]:
                    return leader
            self.tick()
        raise AssertionError("nobody leads")

    def follower(self) -> Member:
        """A member that does not lead, and knows who does."""
        leader = self.leader()
        return next(member for member in self.members if member.node is not None and member is not leader)

    def offer(self, member: Member, method: Method, request: Any) -> int:
        """Offer a request. Returns its handle, or a negative StoreError; it must not be busy."""
        self.handles += 1
        code = member.call(step.OFFER, self.handles, int(method), request.SerializeToString())
        assert code != 1, "busy"
        return code or self.handles

    def ask(self, member: Member, method: Method, request: Any, response: Any) -> Any:
        """Offer a request and let it be answered: the response, or the StoreError."""
        handle = self.offer(member, method, request)
        if handle < 0:
            return handle
        self.settle()
        return self.answer(handle, response)

    def answer(self, handle: int, response: Any) -> Any:
        """The one answer to a request: the response, or the StoreError; None if there is none yet."""
        answers = self.replies.get(handle, [])
        if not answers:
            return None
        assert len(answers) == 1
        code, data = answers[0]
        return code if code < 0 else response.FromString(data)

    def put(self, member: Member, key: bytes, value: bytes = b"v", **fields: Any) -> Any:
        """Put a key: the PutResponse, a StoreError, or None."""
        return self.ask(member, Method.PUT, pb.PutRequest(key=key, value=value, **fields), pb.PutResponse)

    def get(self, member: Member, key: bytes, **fields: Any) -> Any:
        """The key's value, None if there is none; or the StoreError."""
        found = self.ask(member, Method.RANGE, pb.RangeRequest(key=key, **fields), pb.RangeResponse)
        if found is None or isinstance(found, int):
            return found
        return found.kvs[0].value if found.kvs else b""
