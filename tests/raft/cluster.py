"""A cluster of cores in Python: logs, disks and a network as lists, so that a test can look at and meddle with all."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from kvbench.raft import core, invariants, setup
from kvbench.raft.records import (
    APPEND,
    DONE,
    ENTRIES,
    LEADER,
    MESSAGE,
    NONE,
    SNAPSHOT_WANTED,
    Kind,
    RaftError,
    Role,
)

NOOP_BYTES = 32
ENTRY_BYTES = 100
TERMS, INDEXES = 1000, 5000


@dataclass(frozen=True)
class Entry:
    """What a log holds: a term and what was proposed, told apart by a number (0: a leader's first entry)."""

    term: int
    payload: int


@dataclass(frozen=True, eq=False)
class Envelope:
    """A message on its way, with its entries."""

    message: Any
    entries: tuple[Entry, ...] = ()

    def __getitem__(self, name: str) -> int:
        return int(self.message[name])

    @property
    def kind(self) -> str:
        """Its kind's name."""
        return Kind(self["kind"]).name


@dataclass
class Disk:
    """What survives a crash."""

    term: int = 0
    vote: int = NONE
    base: tuple[int, int] = (0, 0)
    entries: tuple[Entry, ...] = ()
    boot: int = 0


class Member:
    """A node around a core, with the least that it needs to be one."""

    def __init__(self, cluster: "Cluster", place: int) -> None:
        self.cluster = cluster
        self.place = place
        self.disk = Disk()
        self.up = False
        self.start()

    # A life.

    def start(self, behind_until: int = 0, term_floor: int = 0) -> None:
        """Begin anew from what the disk has."""
        disk = self.disk
        disk.boot += 1
        self.raft = setup.new_raft(self.place, self.cluster.size, self.cluster.seed, **self.cluster.options)
        setup.restore(self.raft, disk.term, disk.vote, *disk.base, disk.boot, behind_until, term_floor)
        for offset, entry in enumerate(disk.entries):
            assert setup.recovered(self.raft, disk.base[0] + 1 + offset, entry.term, ENTRY_BYTES) == 0
        self.base = disk.base[0]
        self.log = list(disk.entries)
        self.applied = self.base
        self.durable_hard_state = self["hard_state"]
        self.held: list[Envelope] = []
        self.reads: list[tuple[int, int]] = []
        self.wanted: tuple[int, int] | None = None
        self.up = True
        self.started()

    def crash(self) -> None:
        """Lose all that is not durable."""
        self.up = False

    def started(self) -> None:
        """For a test that keeps something beside the core."""

    def __getitem__(self, name: str) -> int:
        return int(self.raft.state[0][name])

    @property
    def role(self) -> str:
        """Its role's name."""
        return Role(self["role"]).name

    @property
    def last(self) -> int:
        """The last index of the log that this node keeps."""
        return self.base + len(self.log)

    def entry(self, index: int) -> Entry:
        """An entry that is not compacted."""
        return self.log[index - self.base - 1]

    def terms(self) -> list[int]:
        """The terms of all entries behind the base, as the core knows them."""
        return [int(core.term_of(self.raft, index)) for index in range(self["base_index"] + 1, self["last_index"] + 1)]

    def call(self, name: str, *arguments: Any) -> int:
        """Call a function of the core."""
        return int(getattr(core, name)(self.raft, *arguments) or 0)

    # What comes in.

    def receive(self, envelope: Envelope) -> int:
        """Step a message and do what it asks for. Returns what ``step`` did."""
        code = self.call("step", envelope.message)
        assert code >= 0 or code == RaftError.BAD_MESSAGE, RaftError(code).name
        if code == ENTRIES:
            self.store(envelope)
        if code == SNAPSHOT_WANTED:
            self.wanted = (envelope["index"], envelope["log_term"])
        return code

    def store(self, envelope: Envelope) -> None:
        """Store the entries that the core accepted."""
        first, last = self["accept_from"], self["accept_to"]
        assert bool(self["truncated"]) == (first <= self.last)
        del self.log[first - self.base - 1 :]
        for index in range(first, last + 1):
            self.log.append(envelope.entries[index - envelope["first"]])
            self.call("entry_bytes", index, ENTRY_BYTES)
        assert self.last == self["last_index"]

    def propose(self, payload: int, size: int = ENTRY_BYTES) -> int:
        """Propose an entry. Returns its index, or the core's refusal."""
        index = self.call("propose", size)
        if index > 0:
            self.log.append(Entry(self["term"], payload))
            assert index == self.last
        return index

    def turn(self) -> None:
        """What a node does after each batch of input: first entry of a term, sending, applying."""
        if self["wants_noop"]:
            index = self.call("noop", NOOP_BYTES)
            assert index == self.last + 1 or index == RaftError.TOO_MANY_TERMS
            if index > 0:
                self.log.append(Entry(self["term"], 0))
        while self.call("send_due") and self["messages"] > 0:
            self.take()
        self.take()
        self.apply()
        self.check()

    def take(self) -> None:
        """Take what the core wants to send; what needs a term or vote that is not durable yet is held."""
        for message in self.raft.outbox[: self["messages"]].copy():
            first, last = int(message["first"]), int(message["last"])
            entries = tuple(self.entry(i) for i in range(first, last + 1)) if message["kind"] == APPEND else ()
            self.held.append(Envelope(message, entries))
        self.raft.state["messages"] = 0
        for one in self.raft.reads[: self["read_count"]]:
            context, index = int(one["context"]), int(one["index"])
            assert index >= self.cluster.asked.get(context, 0), "a read that may miss an acknowledged write"
            self.reads.append((context, index))
        self.raft.state["read_count"] = 0
        self.release()

    def release(self) -> None:
        """Send what no longer needs to be held."""
        for envelope in self.held:
            if envelope["hard_state"] <= self.durable_hard_state:
                self.cluster.net.append(envelope)
        self.held = [each for each in self.held if each["hard_state"] > self.durable_hard_state]

    def apply(self) -> None:
        """Apply what is committed: the same entry at each index, whoever applies it."""
        while self.applied < self["commit"]:
            self.applied += 1
            entry = self.entry(self.applied)
            assert self.cluster.applied.setdefault(self.applied, entry) == entry
        assert self.call("applied", self.applied) == DONE

    def check(self) -> None:
        """The core's own promises, and the cluster's."""
        assert invariants.violation(self.raft) == 0, invariants.Violation(invariants.violation(self.raft)).name
        code = invariants.witness(self.raft, self.cluster.witness)
        assert code == 0, invariants.Violation(code).name
        assert self.terms() == [each.term for each in self.log[self["base_index"] - self.base :]]

    # The disk.

    def sync_mark(self) -> None:
        """Make term and vote durable, and send what waited for them."""
        self.disk.term, self.disk.vote = self["term"], self["vote"]
        self.durable_hard_state = self["hard_state"]
        self.release()

    def sync_log(self, upto: int | None = None) -> None:
        """Make the log durable, up to an index or as a whole."""
        index = self.last if upto is None else min(upto, self.last)
        self.disk.entries = tuple(self.log[: index - self.base])
        if index > self.base:
            self.call("persisted", index, self.entry(index).term)
        self.take()

    def compact(self, index: int) -> int:
        """Have a snapshot at ``index`` take the place of the log up to there. Returns what the core says."""
        term = int(core.term_of(self.raft, index))
        code = self.call("compacted", index)
        if code == DONE and index > self.base:
            del self.log[: index - self.base]
            self.base = index
            self.disk.base = (index, term)
            self.disk.entries = tuple(self.log[: self["durable_index"] - index])
            self.take()
        return code

    def install(self) -> int:
        """The snapshot that was announced is here, whole and durable. Returns 1 when it replaced the log."""
        assert self.wanted is not None
        index, term = self.wanted
        self.wanted = None
        replaced = self.call("install", index, term)
        if replaced:
            self.disk.base, self.disk.entries = (index, term), ()
            self.base, self.log = index, []
            self.applied = index
        self.take()
        return replaced


class Cluster:
    """Members and the messages between them."""

    def __init__(
        self, size: int, seed: int = 1, make: Callable[["Cluster", int], Member] = Member, **options: int
    ) -> None:
        self.size = size
        self.seed = seed
        self.options = {"outbox": 64, "runs": 64, "sizes": 256, "reads": 16} | options
        self.witness = invariants.new_witness(size, TERMS, INDEXES)
        self.applied: dict[int, Entry] = {}
        self.asked: dict[int, int] = {}
        self.net: list[Envelope] = []
        self.cuts: set[tuple[int, int]] = set()
        self.members = [make(self, place) for place in range(size)]
        self.payloads = 0

    def __getitem__(self, place: int) -> Member:
        return self.members[place]

    def new_payload(self) -> int:
        """A number that no other proposal has."""
        self.payloads += 1
        return self.payloads

    def leader(self) -> Member:
        """The leader of the highest term."""
        leaders = [each for each in self.members if each.up and each["role"] == LEADER]
        return max(leaders, key=lambda each: each["term"])

    def is_cut(self, envelope: Envelope) -> bool:
        """Whether a message cannot arrive."""
        return (envelope["sender"], envelope["to"]) in self.cuts or not self[envelope["to"]].up

    def deliver(self, envelope: Envelope) -> None:
        """Take a message from the network to its receiver, if it can arrive."""
        self.net.remove(envelope)
        receiver = self[envelope["to"]]
        if not self.is_cut(envelope):
            receiver.receive(envelope)
            receiver.turn()

    def sync(self) -> None:
        """Every member's disk does all it has to."""
        for member in self.members:
            if member.up:
                member.sync_mark()
                member.sync_log()

    def finish_snapshots(self) -> None:
        """Every snapshot that was announced arrives."""
        for member in self.members:
            if member.up and member.wanted is not None:
                sender = self[member["leader"]] if member["leader"] != NONE else None
                member.install()
                member.turn()
                if sender is not None and sender.up:
                    sender.call("report_snapshot", member.place, 1)
                    sender.turn()

    def settle(self) -> None:
        """Deliver, sync and install until nothing moves any more."""
        for _ in range(1000):
            self.sync()
            self.finish_snapshots()
            self.sync()
            if not self.net:
                return
            self.deliver(self.net[0])
        raise AssertionError("the cluster does not come to rest")

    def tick(self, count: int = 1) -> None:
        """Time passes for all, and everything arrives at once."""
        for _ in range(count):
            for member in self.members:
                if member.up:
                    member.call("tick")
                    member.turn()
            self.settle()

    def elect(self, place: int) -> Member:
        """Make a member the leader."""
        member = self[place]
        member.call("campaign")
        member.turn()
        self.settle()
        assert member["role"] == LEADER
        return member

    def write(self, place: int, text: str, term: int = 0) -> None:
        """Give a member that has not begun a log with the terms of ``text`` ("1 1 2"), as if it had been so."""
        member = self[place]
        entries = [Entry(int(each), 1000 * int(each) + offset) for offset, each in enumerate(text.split())]
        member.disk.entries = tuple(entries)
        member.disk.term = term or max((each.term for each in entries), default=0)
        member.start()


def message(kind: Kind, sender: int, to: int, **fields: Any) -> Envelope:
    """A message that no core has sent."""
    record = np.zeros(1, MESSAGE)[0]
    for name, value in {"kind": kind, "sender": sender, "to": to, "boot": 1, "first": 1, **fields}.items():
        record[name] = value
    return Envelope(record)
