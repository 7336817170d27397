"""What a leader of ``tests.naive.raft`` does: what its peers have, reads, transfer, and sending."""

from itertools import groupby

from tests.naive.raft_state import (
    BLIND,
    DONE,
    IGNORED,
    NOBODY,
    REFUSALS,
    RUNS_IN_MESSAGE,
    Message,
    Peer,
    State,
)


class Leader(State):
    """A member as a leader."""

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
