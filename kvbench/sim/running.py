"""A run of one seed from beginning to verdict."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from kvbench.check.linearizable import Verdict, check_history
from kvbench.check.revisions import check_revisions
from kvbench.check.watches import check_watches
from kvbench.node.state import Node, new_node
from kvbench.ops.history import ABSENT, HISTORY, OK, READ
from kvbench.sim import events
from kvbench.sim.records import Failure, Met, new_world
from kvbench.sim.starting import config_of, start_member
from kvbench.store.hashing import hash_begin, hash_some
from kvbench.store.reads import read
from kvbench.wire import etcd_methods
from kvbench.wire.proto import messages


@dataclass(frozen=True)
class Outcome:
    """What came of a seed."""

    seed: int
    trace: int
    """Hash of all that happened."""
    events: int
    met: dict[str, int]
    """How often each of ``Met`` was met."""
    operations: int
    faults: list[str] = field(default_factory=list)
    """What the run proved wrong, a sentence each; none: nothing."""

    def __str__(self) -> str:
        return f"seed {self.seed}: " + ("; ".join(self.faults) or f"{self.operations} operations, nothing wrong")


class Simulator:
    """Runs seeds, one after the other, in the same memory."""

    def __init__(self) -> None:
        self.world = new_world()
        self.nodes: list[Node] = []

    def run(self, seed: int) -> Outcome:
        """Run a seed to its end."""
        world = self.world
        for array in (world.state, world.members, world.clients, world.files, world.committed, world.history):
            array[:] = np.zeros(1, array.dtype)
        for array in (world.answers, world.watching):
            array[:] = np.zeros(1, array.dtype)
        events.begin(world, seed)
        members = int(world.state[0]["options"]["members"])
        self.nodes = [new_node(config_of(world, member)) for member in range(members)]
        faults = self.let_happen()
        if not faults:
            history = self.complete_history()
            faults = self.look_at_members() + self.end_watches() + judge(history) + self.judge_watches(history)
        state = world.state[0]
        met = {kind.name: int(state["met"][kind]) for kind in Met}
        return Outcome(seed, int(state["trace"]), int(state["events"]), met, int(state["operations"]), faults)

    def let_happen(self) -> list[str]:
        """The run itself; members start here whenever the loop asks for it."""
        world, state = self.world, self.world.state[0]
        while True:
            spare = [self.nodes[0]] * (5 - len(self.nodes))
            found = events.run(world, *self.nodes, *spare)
            if found == events.DONE:
                return []
            member = int(state["failure_member"])
            if found == events.FAILED:
                failure = Failure(int(state["failure"]))
                return [f"{failure.name}, member {member} at {int(state['now_ns']) / 1e9:.3f} s"]
            damage = start_member(world, self.nodes, member)
            if damage is not None and state["damaged"] != member:
                return [f"RECOVERY_REFUSED, member {member}: {damage}"]

    def look_at_members(self) -> list[str]:
        """Members that are up must have applied the same entries, hold the same, and none of what expired."""
        faults, seen = [], {}
        for member, node in enumerate(self.nodes):
            if self.world.members[member]["up"] == 0:
                continue
            hash_begin(node.store, 0)
            while hash_some(node.store, 1 << 20) == 1:
                pass
            store = node.store.state[0]
            content = int(node.state[0]["applied"]), int(store["revision"]), int(store["hash"])
            seen[member] = content
            if int(store["leases"]) > 0:
                faults.append(f"LEASE_KEPT, member {member} still has {int(store['leases'])} leases")
        if len(set(seen.values())) > 1:
            faults.append(f"CONTENTS_DIFFER: applied, revision, hash by member: {seen}")
        return faults

    def end_watches(self) -> list[str]:
        """The quiet world has told each watching client all that its member has applied."""
        world, faults = self.world, []
        for one in range(int(world.state[0]["options"]["watchers"])):
            client = world.watching[one]
            member, span = int(client["member"]), int(client["span"])
            own = world.members[member]
            if member < 0 or own["up"] == 0 or own["incarnation"] != client["incarnation"] or client["taken"] >= 0:
                faults.append(f"WATCH_WRONG, client {one} has no watch that is at rest")
                continue
            revision = int(self.nodes[member].store.state[0]["revision"])
            world.spans[span]["end"] = max(int(world.spans[span]["end"]), revision)
        return faults

    def judge_watches(self, history: npt.NDArray[np.void]) -> list[str]:
        """What the watching clients prove wrong."""
        world, state = self.world, self.world.state[0]
        spans, watched = world.spans[: int(state["spans"])], world.watched[: int(state["watched"])]
        return [violation.what for violation in check_watches(history, spans, watched)][:5]

    def final_read(self, node: Node, key: int) -> tuple[int, int]:
        """(value, mod revision) of a register as a member holds it at the end."""
        request = messages.RangeRequest(key=b"k%02d" % key).SerializeToString()
        out = np.zeros(1 << 12, np.uint8)
        buf = np.frombuffer(request, np.uint8).copy()
        size = read(node.store, etcd_methods.RANGE, buf, 0, len(buf), out, 0, len(out))
        if size < 0:
            raise AssertionError(f"a read of one key was refused with {size}")
        response = messages.RangeResponse.FromString(out[:size].tobytes())
        if not response.kvs:
            return ABSENT, 0
        return int.from_bytes(response.kvs[0].value[:8], "little"), response.kvs[0].mod_revision

    def complete_history(self) -> npt.NDArray[np.void]:
        """The clients' history with a read of every register from every member at the end."""
        world, state = self.world, self.world.state[0]
        rows = [world.history[: int(state["operations"])]]
        now = int(state["now_ns"]) + 1
        for member, node in enumerate(self.nodes):
            if world.members[member]["up"] == 0:
                continue
            for key in range(int(state["options"]["keys"])):
                row = np.zeros(1, HISTORY)
                row["invoked"], row["returned"], row["key"], row["act"], row["seen"] = now, now + 1, key, READ, OK
                row["value"], row["found_revision"] = self.final_read(node, key)
                row["revision"], row["member"] = node.store.state[0]["revision"], member
                rows.append(row)
        return np.concatenate(rows)


def judge(history: npt.NDArray[np.void]) -> list[str]:
    """What a history proves wrong: by the store's own order, and by a search for any order."""
    faults = [violation.what for violation in check_revisions(history)][:5]
    for key, verdict, operations in check_history(history, configurations=1 << 16):
        if verdict != Verdict.LINEARIZABLE:
            faults.append(f"key {key}: {operations} operations are {verdict.name}")
    return faults
