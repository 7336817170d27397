"""Raft as the paper and the thesis tell it, on lists and dicts, slowly: the twin of ``kvbench.raft``.

A member gets the same calls as the core and must end in the same state with the same messages. Sections are those of
Ongaro and Ousterhout (2014), "thesis" those of Ongaro's thesis.
"""

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


class Naive:
    """One member."""

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

    # Roles (section 5.2).

    def draw(self) -> None:
        """A new election time-out in [T, 2T]."""
        ticks = self.options["election_ticks"]
        unit = (random_number(self.key, self.draws) >> 11) / (1 << 53)
        self.timeout = ticks + int(unit * (ticks + 1))
        self.draws += 1
        self.elapsed = 0

    def new_hard_state(self, term: int, vote: int) -> None:
        """Term and vote that have to become durable."""
        if term != self.term:
            self.verified = self.answered = self.receiving = 0
        self.term, self.vote = term, vote
        self.hard_state += 1

    def drop_duties(self) -> None:
        """Whatever a leader still had to do."""
        self.transferee, self.waiting_reads = NOBODY, []
        self.wants_noop = self.heartbeat_due = False

    def follow(self, term: int, leader: int) -> None:
        """A follower of ``leader``."""
        if term != self.term:
            self.new_hard_state(term, NOBODY)
        self.role, self.leader = "FOLLOWER", leader
        self.drop_duties()
        self.draw()

    def ask(self) -> None:
        """For votes, or whether they would be given."""
        for to in self.others:
            if self.peers[to].vote is None:
                pre = self.role == "PRE_CANDIDATE"
                log_term = self.term_of(self.last)
                self.send(
                    "PRE_VOTE" if pre else "VOTE",
                    to,
                    term=self.term + pre,
                    index=self.last,
                    log_term=log_term,
                    context=int(self.forced),
                )

    def open_poll(self, role: str, forced: bool) -> None:
        """A candidate of either kind."""
        self.role, self.leader, self.forced = role, NOBODY, forced
        for each in self.peers.values():
            each.vote = None
        self.peers[self.me].vote = True
        self.draw()

    def stand(self, forced: bool) -> None:
        """A candidate in the next term."""
        self.new_hard_state(self.term + 1, self.me)
        self.open_poll("CANDIDATE", forced)
        if self.members == 1:
            self.lead()
        else:
            self.ask()

    def campaign(self) -> int:
        """Thesis, section 9.6."""
        if self.role == "LEADER" or self.last < self.behind:
            return IGNORED
        if self.members == 1:
            self.stand(False)
        else:
            self.open_poll("PRE_CANDIDATE", False)
            self.ask()
        return DONE

    def lead(self) -> None:
        """The leader, which does not know what the others have."""
        self.role, self.leader = "LEADER", self.me
        self.drop_duties()
        self.wants_noop = self.heartbeat_due = True
        self.heartbeat_elapsed = self.elapsed = 0
        self.round_confirmed = self.round_sent
        for peer in self.peers.values():
            peer.match, peer.active, peer.round = 0, False, 0
            peer.become("probe", self.last + 1)
        self.peers[self.me].match = self.durable

    def majority(self, count: int) -> bool:
        """More than half."""
        return 2 * count > self.members

    # Ticks.

    def tick(self) -> int:
        """Time passes."""
        self.elapsed += 1
        if self.role == "LEADER":
            self.tick_leader()
        elif self.elapsed >= self.timeout:
            self.elapsed = 0
            self.campaign()
        elif self.role != "FOLLOWER" and self.elapsed % self.options["heartbeat_ticks"] == 0:
            self.ask()
        return 0

    def tick_leader(self) -> None:
        """Heartbeats, the check of the quorum (thesis, section 6.2), the end of a transfer (section 3.10)."""
        self.heartbeat_elapsed += 1
        if self.heartbeat_elapsed >= self.options["heartbeat_ticks"]:
            self.heartbeat_elapsed, self.heartbeat_due = 0, True
        if self.transferee != NOBODY:
            self.transfer_elapsed += 1
            if self.transfer_elapsed >= self.options["election_ticks"]:
                self.transferee = NOBODY
        if self.elapsed >= self.options["election_ticks"]:
            self.elapsed = 0
            heard = 1 + sum(self.peers[each].active for each in self.others)
            for peer in self.peers.values():
                peer.active = False
            if not self.majority(heard):
                self.follow(self.term, NOBODY)

    # A message.

    def step(self, m: Message) -> int:
        """Take in a message that a member sent."""
        self.accepted = (0, -1, False)
        peer = self.peers[m["sender"]]
        if m["boot"] < peer.boot:
            return IGNORED
        if m["boot"] > peer.boot:
            if peer.boot and self.role == "LEADER":
                peer.match = 0
                peer.become("probe", self.last + 1)
            peer.boot = m["boot"]
        from_leader = m["kind"] in ("APPEND", "HEARTBEAT", "SNAPSHOT")
        if m["term"] < self.term:
            if from_leader:
                self.send("APPEND_ANSWER", m["sender"])
            if m["kind"] == "PRE_VOTE":
                self.send("PRE_VOTE_ANSWER", m["sender"], reject=1)
            return IGNORED
        if m["term"] > self.term:
            if m["kind"] in ("VOTE", "PRE_VOTE") and not m["context"]:
                hears = self.leader not in (NOBODY, m["sender"]) and self.elapsed < self.options["election_ticks"]
                if hears:
                    return IGNORED
            consent = m["kind"] == "PRE_VOTE_ANSWER" and not m["reject"]
            if m["kind"] != "PRE_VOTE" and not consent:
                self.follow(m["term"], m["sender"] if from_leader else NOBODY)
        if self.role == "LEADER":
            peer.active = True
        if from_leader:
            self.heed(m["sender"])
        return int(getattr(self, "on_" + m["kind"].lower())(m, peer))

    def heed(self, sender: int) -> None:
        """The leader of this term is known, and lives."""
        assert self.leader in (NOBODY, sender)
        if self.role == "FOLLOWER" and self.leader == sender:
            self.elapsed = 0
        else:
            self.follow(self.term, sender)

    # Votes (sections 5.2 and 5.4.1).

    def would_vote(self, m: Message) -> bool:
        """Whether the vote is free, trusted, and the candidate's log no worse."""
        free = self.vote == m["sender"] or (self.vote == NOBODY and self.leader == NOBODY)
        if m["kind"] == "PRE_VOTE" and m["term"] > self.term:
            free = True
        trusted = self.last >= self.behind and m["term"] > self.floor
        return free and trusted and (m["log_term"], m["index"]) >= (self.term_of(self.last), self.last)

    def on_vote(self, m: Message, peer: Peer) -> int:
        granted = self.would_vote(m)
        if granted:
            self.elapsed = 0
            if self.vote == NOBODY:
                self.new_hard_state(self.term, m["sender"])
        self.send("VOTE_ANSWER", m["sender"], reject=int(not granted))
        return DONE

    def on_pre_vote(self, m: Message, peer: Peer) -> int:
        granted = self.would_vote(m)
        self.send("PRE_VOTE_ANSWER", m["sender"], term=m["term"] if granted else self.term, reject=int(not granted))
        return DONE

    def on_vote_answer(self, m: Message, peer: Peer) -> int:
        if self.role != "CANDIDATE":
            return IGNORED
        peer.vote = not m["reject"]
        self.close_poll(self.lead)
        return DONE

    def on_pre_vote_answer(self, m: Message, peer: Peer) -> int:
        expected = self.term if m["reject"] else self.term + 1
        if self.role != "PRE_CANDIDATE" or m["term"] != expected:
            return IGNORED
        peer.vote = not m["reject"]
        self.close_poll(lambda: self.stand(False))
        return DONE

    def close_poll(self, won: Any) -> None:
        """When a majority has answered one way."""
        votes = [each.vote for each in self.peers.values()]
        if self.majority(votes.count(True)):
            won()
        elif self.majority(votes.count(False)):
            self.follow(self.term, NOBODY)

    # A follower's log (section 5.3).

    def learn(self, commit: int) -> None:
        """What is committed, as far as it is here."""
        self.commit = max(self.commit, min(commit, self.last))

    def on_append(self, m: Message, peer: Peer) -> int:
        if m["index"] >= self.base and self.term_of(m["index"]) != m["log_term"]:
            assert m["index"] > self.commit
            hint = self.last_at_most(min(m["index"], self.last), m["log_term"])
            self.send(
                "APPEND_ANSWER",
                m["sender"],
                reject=1,
                index=m["index"],
                hint_index=hint,
                hint_term=self.term_of(hint),
            )
            return DONE
        last, found = m["last"], False
        for index, term in zip(range(m["first"], m["last"] + 1), m["terms"], strict=True):
            if index <= self.commit or (not found and self.term_of(index) == term):
                continue
            if not found:
                found = True
                self.accepted = (index, index - 1, index <= self.last)
                if index <= self.last:
                    self.truncate(index)
            if not self.append(term):
                break
            self.accepted = (self.accepted[0], index, self.accepted[2])
        if found:
            last = self.last
        self.verified = max(self.verified, last, self.commit)
        self.learn(min(m["commit"], last))
        if not found and not m["context"] and self.verified <= self.durable:
            self.acknowledge("APPEND_ANSWER")
        return ENTRIES if found else DONE

    def on_heartbeat(self, m: Message, peer: Peer) -> int:
        self.learn(m["commit"])
        self.send(
            "HEARTBEAT_ANSWER",
            m["sender"],
            context=m["context"],
            index=min(self.commit, self.durable),
            hint_index=self.receiving,
        )
        return DONE

    def has(self, index: int, term: int) -> bool:
        """Whether a snapshot brings nothing."""
        if index > self.commit and self.term_of(index) != term:
            return False
        self.commit = max(self.commit, index)
        self.verified = max(self.verified, self.commit)
        return True

    def on_snapshot(self, m: Message, peer: Peer) -> int:
        if self.has(m["index"], m["log_term"]):
            self.acknowledge("APPEND_ANSWER")
            return DONE
        self.receiving = m["index"]
        return SNAPSHOT_WANTED

    def install(self, index: int, term: int) -> int:
        """Section 7."""
        self.receiving = 0
        if self.role == "LEADER":
            return 0
        replaced = not self.has(index, term)
        if replaced:
            self.base, self.base_term, self.terms, self.sizes, self.sized_floor = index, term, [], {}, index
            self.commit = self.applied = self.durable = index
            self.verified = max(self.verified, index)
        self.acknowledge("SNAPSHOT_ANSWER")
        return int(replaced)

    def refuse_snapshot(self) -> int:
        self.receiving = 0
        if self.leader not in (NOBODY, self.me):
            self.send("SNAPSHOT_ANSWER", self.leader, reject=1)
        return 0

    def entry_bytes(self, index: int, size: int) -> int:
        self.set_size(index, size)
        return 0

    # A leader's view (section 5.3, 5.4).

    def note_match(self, place: int, index: int) -> int:
        """``place`` has all up to ``index``."""
        if not 0 <= index <= self.last:
            return REFUSALS["BAD_MESSAGE"]
        peer = self.peers[place]
        grew = index > peer.match
        peer.match = max(peer.match, index)
        peer.inflight = [each for each in peer.inflight if each > index]
        if (peer.state == "probe" and index >= peer.match) or (peer.state == "snapshot" and peer.match >= self.base):
            peer.become("replicate", peer.match + 1)
        peer.next = max(peer.next, peer.match + 1)
        if grew:
            matches = sorted((each.match for each in self.peers.values()), reverse=True)
            index = matches[self.members // 2]
            if index > self.commit and self.term_of(index) == self.term:
                self.commit = index
        return DONE

    def back_to_match(self, peer: Peer) -> None:
        """What was sent may be lost."""
        peer.become("probe", peer.match + 1)

    def on_append_answer(self, m: Message, peer: Peer) -> int:
        if self.role != "LEADER":
            return IGNORED
        if not m["reject"]:
            return self.note_match(m["sender"], m["index"])
        if m["index"] <= peer.match:
            return IGNORED
        if peer.state == "replicate":
            self.back_to_match(peer)
            return DONE
        if peer.state != "probe" or m["index"] != peer.next - 1:
            return IGNORED
        agreed = m["hint_index"]
        if agreed > self.base:
            agreed = self.last_at_most(min(agreed, self.last), m["hint_term"])
        if agreed == self.base and self.base_term > m["hint_term"]:
            agreed -= 1
        peer.become("probe", max(min(m["index"], agreed + 1), peer.match + 1))
        return DONE

    def on_snapshot_answer(self, m: Message, peer: Peer) -> int:
        if self.role != "LEADER":
            return IGNORED
        if peer.state == "snapshot":
            self.back_to_match(peer)
        if m["reject"]:
            peer.waiting = True
            return DONE
        return self.note_match(m["sender"], m["index"])

    def on_heartbeat_answer(self, m: Message, peer: Peer) -> int:
        if self.role != "LEADER":
            return IGNORED
        peer.round = max(peer.round, m["context"])
        if self.majority(1 + sum(self.peers[each].round >= self.round_sent for each in self.others)):
            self.round_confirmed = self.round_sent
        if self.transferee == m["sender"]:
            self.timeout_now_sent = False
        if peer.state == "snapshot":
            code = self.note_match(m["sender"], m["index"])
            if peer.state == "snapshot" and peer.waiting and m["hint_index"] == 0:
                self.back_to_match(peer)
            return code
        peer.waiting = False
        peer.ping = peer.match < self.last
        return DONE

    def report_snapshot(self, place: int, ok: int) -> int:
        peer = self.peers[place]
        if self.role == "LEADER" and peer.state == "snapshot":
            if not ok:
                self.back_to_match(peer)
            peer.waiting = True
        return 0

    def unreachable(self, place: int) -> int:
        peer = self.peers[place]
        if self.role == "LEADER" and peer.state == "replicate":
            self.back_to_match(peer)
            peer.waiting = True
        return 0

    # Reads (thesis, section 6.4).

    def read(self, context: int) -> int:
        if self.role == "LEADER":
            return self.queue_read(self.me, self.boot, context)
        if self.leader == NOBODY:
            return REFUSALS["NO_LEADER"]
        if not self.room():
            return REFUSALS["TOO_MANY_READS"]
        self.send("READ_INDEX", self.leader, context=context)
        return DONE

    def queue_read(self, asker: int, boot: int, context: int) -> int:
        """It waits for the next round."""
        if len(self.waiting_reads) + len(self.reads) >= self.options["reads"]:
            return REFUSALS["TOO_MANY_READS"]
        self.waiting_reads.append((asker, boot, context, self.round_sent + 1))
        return DONE

    def on_read_index(self, m: Message, peer: Peer) -> int:
        if self.role != "LEADER" or self.queue_read(m["sender"], m["boot"], m["context"]) != DONE:
            return IGNORED
        return DONE

    def on_read_index_answer(self, m: Message, peer: Peer) -> int:
        if m["hint_index"] != self.boot:
            return IGNORED
        self.confirm_read(m["context"], m["index"])
        return DONE

    def confirm_read(self, context: int, index: int) -> None:
        """For the caller."""
        if len(self.reads) < self.options["reads"]:
            self.reads.append((context, index))

    def release_reads(self) -> None:
        """Those of confirmed rounds."""
        while self.waiting_reads and self.waiting_reads[0][3] <= self.round_confirmed and self.room():
            asker, boot, context, _ = self.waiting_reads.pop(0)
            if asker == self.me:
                self.confirm_read(context, self.round_index)
            else:
                self.send("READ_INDEX_ANSWER", asker, context=context, hint_index=boot, index=self.round_index)

    def serve_reads(self) -> None:
        """Release, and begin the next round."""
        self.release_reads()
        if not self.waiting_reads or self.waiting_reads[0][3] <= self.round_confirmed:
            return
        if self.round_confirmed < self.round_sent or self.term_of(self.commit) != self.term:
            return
        self.round_sent += 1
        self.round_index = self.commit
        if self.members == 1:
            self.round_confirmed = self.round_sent
            self.release_reads()
        else:
            self.heartbeat_due, self.heartbeat_elapsed = True, 0

    # Transfer (thesis, section 3.10).

    def transfer(self, to: int) -> int:
        if self.role != "LEADER":
            return REFUSALS["NOT_LEADER"]
        if to not in self.others:
            return REFUSALS["NO_SUCH_MEMBER"]
        if self.transferee != to:
            self.transferee, self.transfer_elapsed, self.timeout_now_sent = to, 0, False
        return DONE

    def on_timeout_now(self, m: Message, peer: Peer) -> int:
        if self.role != "FOLLOWER" or m["sender"] != self.leader or self.last < self.behind:
            return IGNORED
        self.stand(True)
        return DONE

    # Entries of its own, and sending.

    def own_entry(self, size: int) -> int:
        if not self.append(self.term):
            return REFUSALS["TOO_MANY_TERMS"]
        self.set_size(self.last, size)
        return self.last

    def noop(self, size: int) -> int:
        if self.role != "LEADER":
            return REFUSALS["NOT_LEADER"]
        index = self.own_entry(size)
        if index > 0:
            self.wants_noop = False
        return index

    def propose(self, size: int) -> int:
        if self.role != "LEADER":
            return REFUSALS["NOT_LEADER"]
        if self.transferee != NOBODY:
            return REFUSALS["TRANSFERRING"]
        tail = self.bytes_of(self.commit, self.last)
        too_large = tail > 0 and tail + size > self.options["uncommitted_bytes_max"]
        if too_large or self.last - self.commit >= self.options["sizes"] - 1:
            return REFUSALS["TOO_MUCH_UNCOMMITTED"]
        return self.own_entry(size)

    def persisted(self, index: int, term: int) -> int:
        if self.term_of(index) == term:
            self.note_durable(index)
        return 0

    def note_durable(self, index: int) -> None:
        """Would be found again."""
        if index > self.durable:
            self.durable = index
            if self.role == "LEADER":
                self.note_match(self.me, index)
            elif min(self.verified, index) > self.answered:
                self.acknowledge("APPEND_ANSWER")

    def applied_to(self, index: int) -> int:
        if index > self.commit:
            return REFUSALS["BAD_INDEX"]
        self.applied = max(self.applied, index)
        return DONE

    def compacted(self, index: int) -> int:
        if index > self.applied:
            return REFUSALS["BAD_INDEX"]
        if index > self.base:
            self.forget(index)
            self.note_durable(index)
        return DONE

    def send_due(self) -> int:
        """All that a leader has to send."""
        if self.role != "LEADER":
            return 0
        self.serve_reads()
        if self.heartbeat_due:
            for to in self.others:
                self.send("HEARTBEAT", to, context=self.round_sent, commit=min(self.peers[to].match, self.commit))
            self.heartbeat_due = False
        for to in self.others:
            peer = self.peers[to]
            while (last := self.next_append(peer)) is not None and self.room():
                self.send_append(to, peer, last)
            ready = peer.state == "replicate" and peer.match == self.last
            if self.transferee == to and ready and not self.timeout_now_sent:
                self.send("TIMEOUT_NOW", to)
                self.timeout_now_sent = True
        return int(not self.room())

    def window_open(self, peer: Peer) -> bool:
        """Whether another message may be on its way."""
        if not peer.inflight:
            return True
        if len(peer.inflight) >= self.options["window_messages"] or peer.match < self.sized_floor:
            return False
        return self.bytes_of(peer.match, peer.next - 1) < self.options["window_bytes"]

    def next_append(self, peer: Peer) -> int | None:
        """Up to where the next APPEND goes; None when none is due."""
        before = peer.next - 1
        if peer.state == "snapshot" or (peer.state == "probe" and peer.waiting):
            return None
        if peer.state == "probe" or (before < self.last and self.window_open(peer)):
            return self.batch(before)
        return before if peer.ping or min(self.commit, before) > peer.told_commit else None

    def batch(self, before: int) -> int:
        """As many entries as a message may have."""
        if before < self.sized_floor:
            return min(before + BLIND, self.sized_floor, self.last)
        if before >= self.sized_last():
            return min(before + BLIND, self.last)
        last = before + 1
        while last < min(self.last, self.sized_last()):
            if self.bytes_of(before, last + 1) > self.options["message_bytes_max"]:
                break
            last += 1
        return last

    def send_append(self, to: int, peer: Peer, last: int) -> None:
        """An APPEND, or the news that a snapshot is needed."""
        first = peer.next
        log_term = self.term_of(first - 1)
        if log_term is None:
            if peer.active:
                peer.become("snapshot", peer.match + 1)
                self.send("SNAPSHOT", to, index=self.base, log_term=self.base_term)
            else:
                self.back_to_match(peer)
                peer.waiting = True
            return
        terms = self.terms[first - self.base - 1 : last - self.base]
        while len(list(groupby(terms))) > RUNS_IN_MESSAGE:
            terms.pop()
        last = first + len(terms) - 1
        quiet = peer.state == "replicate" and not terms and not peer.ping
        self.send(
            "APPEND",
            to,
            index=first - 1,
            log_term=log_term,
            commit=self.commit,
            first=first,
            last=last,
            bytes=self.bytes_of(first - 1, last),
            context=int(quiet),
            terms=terms,
        )
        if peer.state == "probe":
            peer.waiting = True
        elif terms:
            peer.inflight.append(last)
            peer.next = last + 1
        peer.ping = False
        peer.told_commit = min(self.commit, last)
