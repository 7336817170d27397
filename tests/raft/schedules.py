"""Random schedules for a cluster: everything that a network, disks and users may do to it, in any order."""

import random

from kvbench.raft.records import RaftError, Role
from tests.raft.cluster import Cluster, Envelope, Member

OPTIONS = {
    "election_ticks": 6,
    "heartbeat_ticks": 2,
    "window_messages": 3,
    "window_bytes": 700,
    "message_bytes_max": 250,
    "uncommitted_bytes_max": 3000,
    "outbox": 8,
    "runs": 12,
    "sizes": 16,
    "reads": 4,
}
"""Small enough for every limit to be met."""


class Schedule:
    """A cluster and the dice."""

    def __init__(self, cluster: Cluster, seed: int, trouble: float = 0.3) -> None:
        self.cluster = cluster
        self.dice = random.Random(seed)
        self.trouble = trouble
        self.contexts = 0

    def run(self, steps: int) -> None:
        """Let things happen."""
        users = (self.propose, self.read, self.compact)
        common = (self.deliver, self.deliver, self.deliver, self.sync, self.tick, self.tick, self.mend, *users)
        network = (self.drop, self.duplicate, self.cut, self.unreachable)
        members = (self.crash, self.restart, self.transfer, self.campaign, self.late)
        trouble = (*network, *members, self.depose, self.depose, self.snapshot, self.snapshot)
        for _ in range(steps):
            chosen = trouble if self.dice.random() < self.trouble else common
            self.dice.choice(chosen)()

    def end(self) -> None:
        """All is well again: the cluster must make progress, and end with one log."""
        cluster = self.cluster
        cluster.cuts.clear()
        for member in cluster.members:
            if not member.up:
                member.start()
            for place in range(cluster.size):
                member.call("report_snapshot", place, 0)
        for _ in range(40):
            cluster.tick(5)
            if any(each["role"] == 3 and each["wants_noop"] == 0 for each in cluster.members):
                break
        leader = cluster.leader()
        for _ in range(20):
            index = leader.propose(cluster.new_payload())
            leader.turn()
            cluster.tick(8)
            if index > 0 and all(each["commit"] >= index for each in cluster.members):
                return
            assert index > 0 or index in (RaftError.TRANSFERRING, RaftError.NOT_LEADER, RaftError.TOO_MUCH_UNCOMMITTED)
            leader = cluster.leader()
        raise AssertionError("no progress")

    def someone(self) -> Member | None:
        """A member that is up."""
        up = [each for each in self.cluster.members if each.up]
        return self.dice.choice(up) if up else None

    def message(self) -> Envelope | None:
        """A message in the network, rather an early one."""
        net = self.cluster.net
        return net[min(int(self.dice.expovariate(0.5)), len(net) - 1)] if net else None

    def deliver(self) -> None:
        """Some arrive."""
        for _ in range(self.dice.randint(1, 12)):
            if envelope := self.message():
                self.cluster.deliver(envelope)

    def drop(self) -> None:
        """One is lost."""
        if envelope := self.message():
            self.cluster.net.remove(envelope)

    def duplicate(self) -> None:
        """One comes twice, the second time late."""
        if envelope := self.message():
            self.cluster.net.append(Envelope(envelope.message, envelope.entries))

    def cut(self) -> None:
        """A link breaks in one direction, or a member is cut off."""
        a, b = self.dice.randrange(self.cluster.size), self.dice.randrange(self.cluster.size)
        self.cluster.cuts.add((a, b))
        if self.dice.random() < 0.3:
            self.cluster.cuts |= {pair for each in range(self.cluster.size) for pair in ((a, each), (each, a))}

    def depose(self) -> None:
        """A leader gets entries that it cannot send, and is not heard of for a while."""
        for member in self.cluster.members:
            if member.up and member["role"] == Role.LEADER:
                pairs = {(member.place, each) for each in range(self.cluster.size)}
                self.cluster.cuts |= pairs | {(b, a) for a, b in pairs}
                member.propose(self.cluster.new_payload())
                member.turn()
        for _ in range(8):
            self.tick()
            self.deliver()
            self.sync()

    def mend(self) -> None:
        """Links are well again, or a member comes back."""
        if self.dice.random() < 0.2:
            self.cluster.cuts.clear()
        elif self.dice.random() < 0.3:
            self.restart()

    def tick(self) -> None:
        """Some clocks go on."""
        for member in self.cluster.members:
            for _ in range(self.dice.randint(0, 2)):
                if member.up:
                    member.call("tick")
                    member.turn()
        del self.cluster.net[:-60]

    def sync(self) -> None:
        """Disks finish something."""
        for member in self.cluster.members:
            if not member.up or self.dice.random() < 0.3:
                continue
            if self.dice.random() < 0.8:
                member.sync_mark()
            if self.dice.random() < 0.8:
                upto = member.last if self.dice.random() < 0.7 else self.dice.randint(member.base, member.last)
                member.sync_log(max(upto, member["durable_index"]))
            member.turn()

    def late(self) -> None:
        """A disk reports what may be replaced by now."""
        if member := self.someone():
            member.call("persisted", self.dice.randint(0, member.last + 2), self.dice.randint(900, 999))

    def propose(self) -> None:
        """Someone is asked for an entry or several."""
        if member := self.someone():
            for _ in range(self.dice.randint(1, 4)):
                member.propose(self.cluster.new_payload(), self.dice.choice((40, 100, 400)))
            member.turn()

    def read(self) -> None:
        """Someone is asked for a read index; what comes must cover all that was committed when it was asked."""
        if member := self.someone():
            self.contexts += 1
            if member.call("read", self.contexts) == 0:
                self.cluster.asked[self.contexts] = max(self.cluster.applied, default=0)
            member.turn()

    def crash(self) -> None:
        """Someone goes down."""
        member = self.someone()
        if member and sum(each.up for each in self.cluster.members) > 1 and self.dice.random() < 0.5:
            member.crash()

    def restart(self) -> None:
        """Someone comes back."""
        down = [each for each in self.cluster.members if not each.up]
        if down:
            self.dice.choice(down).start()

    def campaign(self) -> None:
        """Someone wants to lead."""
        if (member := self.someone()) and self.dice.random() < 0.3:
            member.call("campaign")
            member.turn()

    def transfer(self) -> None:
        """Someone is to hand over."""
        if member := self.someone():
            member.call("transfer", self.dice.randrange(self.cluster.size))
            member.turn()

    def compact(self) -> None:
        """Someone's log is cut at the front."""
        if (member := self.someone()) and member.applied > member.base:
            member.compact(member.applied - self.dice.randint(0, min(2, member.applied - member.base - 1)))

    def snapshot(self) -> None:
        """A snapshot arrives, or does not, or its sender reports."""
        member = self.someone()
        if member is None:
            return
        if member.wanted is not None:
            if self.dice.random() < 0.7:
                member.install()
            else:
                member.wanted = None
                member.call("refuse_snapshot")
        else:
            member.call("report_snapshot", self.dice.randrange(self.cluster.size), self.dice.randint(0, 1))
        member.turn()

    def unreachable(self) -> None:
        """A connection breaks."""
        if member := self.someone():
            member.call("unreachable", self.dice.randrange(self.cluster.size))
