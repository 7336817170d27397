"""What a member of ``tests.naive.raft`` knows, and its log: lists and dicts."""

from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from tests.naive.rng import MASK, signed, splitmix64

NOBODY = -1
BLIND = 64
RUNS_IN_MESSAGE = 8
Message = dict[str, Any]

REFUSALS = {
    "NOT_LEADER": -2000,
    "NO_LEADER": -2001,
    "TRANSFERRING": -2002,
    "TOO_MUCH_UNCOMMITTED": -2003,
    "TOO_MANY_READS": -2004,
    "TOO_MANY_TERMS": -2005,
    "BAD_INDEX": -2009,
    "NO_SUCH_MEMBER": -2008,
    "BAD_MESSAGE": -2010,
}
DONE, ENTRIES, SNAPSHOT_WANTED, IGNORED = 0, 1, 2, 3


def random_number(key: int, counter: int) -> int:
    """The counter-th number of a stream, 0 to 2**64 - 1."""
    return next(splitmix64((key + counter * 0x9E3779B97F4A7C15) & MASK))


def stream_key(seed: int, stream: int) -> int:
    """The key of a member's own stream."""
    return random_number(signed(random_number(seed, stream)), stream) % (1 << 63)


@dataclass
class Peer:
    """What a leader knows of another member."""

    match: int = 0
    next: int = 1
    state: str = "probe"
    active: bool = False
    waiting: bool = False
    ping: bool = False
    told_commit: int = 0
    round: int = 0
    vote: bool | None = None
    boot: int = 0
    inflight: list[int] = field(default_factory=list)

    def become(self, state: str, next_index: int) -> None:
        """Send in another way from now on."""
        self.state, self.next = state, next_index
        self.waiting = self.ping = False
        self.told_commit = 0
        self.inflight = []


class State:
    """What a member knows."""

    def __init__(self, me: int, members: int, seed: int, options: dict[str, int]) -> None:
        self.me, self.members, self.options = me, members, options
        self.others = [each for each in range(members) if each != me]
        self.key, self.draws = stream_key(seed, me), 0
        self.terms: list[int] = []
        self.sizes: dict[int, int] = {}
        self.sized_floor = 0
        self.peers = {each: Peer() for each in range(members)}
        self.role, self.leader, self.vote, self.term = "FOLLOWER", NOBODY, NOBODY, 0
        self.base = self.base_term = self.commit = self.applied = self.durable = 0
        self.verified = self.answered = self.receiving = 0
        self.hard_state = 1
        self.elapsed = self.heartbeat_elapsed = 0
        self.heartbeat_due = self.wants_noop = self.forced = False
        self.transferee, self.transfer_elapsed, self.timeout_now_sent = NOBODY, 0, False
        self.waiting_reads: list[tuple[int, int, int, int]] = []
        self.round_sent = self.round_confirmed = self.round_index = 0
        self.outbox: list[Message] = []
        self.reads: list[tuple[int, int]] = []
        self.dropped = 0
        self.accepted: tuple[int, int, bool] = (0, -1, False)

    # Start.

    def restore(self, term: int, vote: int, base: int, base_term: int, boot: int, behind: int, floor: int) -> None:
        """What the disk has."""
        self.base, self.base_term, self.commit, self.applied, self.durable = base, base_term, base, base, base
        self.sized_floor = base
        self.term = max(term, base_term, floor)
        self.vote = vote if self.term == term else NOBODY
        self.boot, self.behind, self.floor = boot, behind, floor
        self.draw()

    def recovered(self, index: int, term: int, size: int) -> int:
        """An entry that the disk has."""
        if index <= self.last:
            self.truncate(index)
        if not self.append(term):
            return REFUSALS["TOO_MANY_TERMS"]
        self.set_size(index, size)
        self.durable = index
        if term > self.term:
            self.term, self.vote = term, NOBODY
        return 0

    # The log.

    @property
    def last(self) -> int:
        """The last index."""
        return self.base + len(self.terms)

    def term_of(self, index: int) -> int | None:
        """The term of an entry, None when it is not known."""
        if index == self.base:
            return self.base_term
        return self.terms[index - self.base - 1] if self.base < index <= self.last else None

    def append(self, term: int) -> bool:
        """One more entry. False when there would be too many changes of term."""
        groups = [len(list(group)) for _, group in groupby(self.terms)]
        if (not self.terms or self.terms[-1] != term) and len(groups) == self.options["runs"]:
            if self.base + groups[0] > self.applied:
                return False
            self.forget(self.base + groups[0])
        self.terms.append(term)
        return True

    def forget(self, index: int) -> None:
        """The base moves up."""
        term = self.term_of(index)
        assert term is not None
        del self.terms[: index - self.base]
        self.base, self.base_term = index, term

    def truncate(self, index: int) -> None:
        """Entries from ``index`` on are gone."""
        del self.terms[index - self.base - 1 :]
        self.durable = min(self.durable, index - 1)
        self.sizes = {each: size for each, size in self.sizes.items() if each < index}
        self.sized_floor = min(self.sized_floor, index - 1)

    def sized_last(self) -> int:
        """The last entry whose size is known."""
        return max(self.sizes, default=self.sized_floor)

    def set_size(self, index: int, size: int) -> None:
        """Sizes are kept of a number of the latest entries."""
        if index != self.sized_last() + 1:
            self.sizes, self.sized_floor = {}, index - 1
        self.sizes[index] = size
        self.sized_floor = max(self.sized_floor, index - (self.options["sizes"] - 1))
        self.sizes = {each: known for each, known in self.sizes.items() if each > self.sized_floor}

    def bytes_of(self, after: int, last: int) -> int:
        """Known bytes of entries after + 1 .. last."""
        return sum(self.sizes.get(index, 0) for index in range(after + 1, last + 1))

    def last_at_most(self, index: int, term: int) -> int:
        """The last entry up to ``index`` whose term is at most ``term``, the base at the least."""
        while index > self.base and (self.term_of(index) or 0) > term:
            index -= 1
        return max(index, self.base)

    # Messages.

    def send(self, kind: str, to: int, **fields: Any) -> None:
        """Put a message into the outbox."""
        hard_state = 0 if kind.startswith("PRE_VOTE") else self.hard_state
        if len(self.outbox) >= self.options["outbox"]:
            self.dropped += 1
            return
        self.outbox.append(
            {"kind": kind, "to": to, "term": self.term, "boot": self.boot, "hard_state": hard_state} | fields
        )

    def room(self) -> bool:
        """Whether the outbox takes another message."""
        return len(self.outbox) < self.options["outbox"]

    def acknowledge(self, kind: str) -> None:
        """Tell the leader what is here durably and as it has it."""
        if self.leader not in (NOBODY, self.me):
            index = min(self.verified, self.durable)
            self.send(kind, self.leader, index=index)
            self.answered = max(self.answered, index)

    def majority(self, count: int) -> bool:
        """More than half."""
        return 2 * count > self.members

    def draw(self) -> None:
        """A new election time-out in [T, 2T]."""
        ticks = self.options["election_ticks"]
        unit = (random_number(self.key, self.draws) >> 11) / (1 << 53)
        self.timeout = ticks + int(unit * (ticks + 1))
        self.draws += 1
        self.elapsed = 0
