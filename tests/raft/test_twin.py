"""The core against its slow twin: the same calls, the same state and the same messages after each of them."""

from typing import Any

import pytest

from kvbench.jit import JIT_ENABLED
from kvbench.raft.records import Kind, Progress, Role
from tests.naive.raft import Naive
from tests.naive.raft_state import Message
from tests.raft.cluster import ENTRY_BYTES, Cluster, Member
from tests.raft.schedules import OPTIONS, Schedule

SEEDS, STEPS = (8, 250) if JIT_ENABLED else (4, 150)

SAME = {
    "term": "term",
    "vote": "vote",
    "leader": "leader",
    "hard_state": "hard_state",
    "base_index": "base",
    "base_term": "base_term",
    "last_index": "last",
    "durable_index": "durable",
    "commit": "commit",
    "applied": "applied",
    "verified_index": "verified",
    "answered_index": "answered",
    "receiving": "receiving",
    "timeout_ticks": "timeout",
    "election_elapsed": "elapsed",
    "wants_noop": "wants_noop",
    "transferee": "transferee",
    "round_sent": "round_sent",
    "round_confirmed": "round_confirmed",
    "dropped": "dropped",
}
"""Fields of RAFT, and what the twin calls them."""
STATES = {Progress.PROBE: "probe", Progress.REPLICATE: "replicate", Progress.SNAPSHOT: "snapshot"}


def plain(message: Any) -> Message:
    """A MESSAGE as the twin writes it: fields that are not 0, and the term of each entry."""
    fields: Message = {name: int(message[name]) for name in message.dtype.names if name not in ("runs", "run_count")}
    runs = [(int(run["index"]), int(run["term"])) for run in message["runs"][: int(message["run_count"])]]
    fields["kind"] = Kind(fields["kind"]).name
    ends = [index - 1 for index, _ in runs[1:]] + [fields["last"]]
    fields["terms"] = [term for (first, term), end in zip(runs, ends, strict=False) for _ in range(first, end + 1)]
    return fields


def used(message: Message) -> Message:
    """Without the fields that are 0 or empty, or that every message of a member has."""
    return {name: value for name, value in message.items() if value and name != "sender"}


class TwinMember(Member):
    """A member whose every call goes to the twin too."""

    def started(self) -> None:
        options = {"window_messages": 64} | self.cluster.options
        self.twin = Naive(self.place, self.cluster.size, self.cluster.seed, options)
        self.twin.restore(self.disk.term, self.disk.vote, *self.disk.base, self.disk.boot, 0, 0)
        for offset, entry in enumerate(self.disk.entries):
            assert self.twin.recovered(self.disk.base[0] + 1 + offset, entry.term, ENTRY_BYTES) == 0
        self.compare()

    def call(self, name: str, *arguments: Any) -> int:
        result = super().call(name, *arguments)
        given = [plain(each) if name == "step" else each for each in arguments]
        assert result == getattr(self.twin, {"applied": "applied_to"}.get(name, name))(*given), name
        if name == "step":
            assert (self["accept_from"], self["accept_to"], bool(self["truncated"])) == self.twin.accepted
        self.compare()
        return result

    def take(self) -> None:
        super().take()
        self.twin.outbox.clear()
        self.twin.reads.clear()

    def compare(self) -> None:
        """Everything that can be seen of the two is the same."""
        twin = self.twin
        for name, other in SAME.items():
            assert self[name] == getattr(twin, other), name
        assert self.role == twin.role
        assert self.terms() == twin.terms
        sent = [used(plain(each)) for each in self.raft.outbox[: self["messages"]]]
        assert sent == [used(each) for each in twin.outbox]
        reads = [(int(each["context"]), int(each["index"])) for each in self.raft.reads[: self["read_count"]]]
        assert reads == twin.reads
        if self["role"] == Role.LEADER:
            self.compare_peers()

    def compare_peers(self) -> None:
        """A leader's view."""
        for place in self.twin.others:
            peer, other = self.raft.peers[place], self.twin.peers[place]
            mine = (int(peer["match"]), int(peer["next"]), STATES[peer["progress"]], bool(peer["paused"]))
            assert mine == (other.match, other.next, other.state, other.waiting)
            assert (int(peer["inflight_count"]), bool(peer["active"])) == (len(other.inflight), other.active)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_same_as_twin(size: int) -> None:
    for seed in range(SEEDS):
        cluster = Cluster(size, seed, TwinMember, **OPTIONS)
        schedule = Schedule(cluster, seed, trouble=(0.03, 0.1, 0.25)[seed % 3])
        schedule.run(STEPS)
        schedule.end()
