"""Raft as the paper and the thesis tell it, on lists and dicts, slowly: the twin of ``kvbench.raft``.

A member gets the same calls as the core and must end in the same state with the same messages. Sections are those of
Ongaro and Ousterhout (2014), "thesis" those of Ongaro's thesis.
"""

from typing import Any

from tests.naive.raft_leader import Leader
from tests.naive.raft_state import DONE, ENTRIES, IGNORED, NOBODY, SNAPSHOT_WANTED, Message, Peer


class Naive(Leader):
    """One member."""

    # Roles (section 5.2).

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

    def on_timeout_now(self, m: Message, peer: Peer) -> int:
        if self.role != "FOLLOWER" or m["sender"] != self.leader or self.last < self.behind:
            return IGNORED
        self.stand(True)
        return DONE
