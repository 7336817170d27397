"""Scripts of consensus in plain text: commands for a cluster, and below each what came of it.

A script is blocks between empty lines: comments (#), one or more commands, a line ``----``, and the output. Members are
numbers from 0. After each command the members that changed are shown, then the messages that entered the network.

    cluster N [option=value ...]    N members; options as new_raft's; sync=manual: disks write only on `sync`
    write M TERM ... [term=T]       give a member that has just started a log with these terms
    tick M|all N                    N ticks; nothing is delivered
    run N                           N ticks of all members, everything delivered and written between
    lonely M ...                    an election time-out passes for these; what they send meanwhile is lost
    settle                          deliver and write until nothing moves
    campaign M, elect M             stand for election now; and settle
    disks auto|manual               as sync= of cluster
    propose M [N] [size=BYTES]      N proposals
    deliver [A>B] [KIND] [count=N]  deliver what is in the network now, or what matches
    drop, duplicate [A>B] [KIND]    lose, or send twice
    net                             show the network
    sync M [mark|log|UPTO]          write the mark and the log (up to an index)
    late M INDEX TERM               the disk reports an earlier write
    cut A>B | A-B ..., heal         messages that cannot pass in one or both directions
    isolate M                       cut a member off
    crash M, restart M [behind=I] [floor=T] [forget=I]   forget: entries from I on are missing from the disk
    read M CONTEXT, reads M         ask for a read index; show what is confirmed
    transfer M TO, transferee M     hand over leadership; who would be chosen
    compact M INDEX                 a snapshot takes the place of the log up to there
    install M, refuse M             the snapshot announced to M has arrived, or not whole
    report M TO ok|failed           M's snapshot to TO is all sent, or not
    unreachable M TO, trim M TO I   what M sent to TO is lost, or went only up to I
    state, log M, peers M           show all members, one's log, a leader's view
"""

from pathlib import Path
from typing import Any

from kvbench.raft.records import NONE, Kind, Progress, RaftError, Role, Stepped
from tests.raft.cluster import Cluster, Envelope, Member

SHOWN = ("role", "term", "vote", "leader", "base_index", "last_index", "durable_index", "commit", "hard_state")


def who(place: int) -> str:
    """A member, or nobody."""
    return "-" if place == NONE else str(place)


def runs(terms: list[int], first: int) -> str:
    """Terms of consecutive entries: ``3-5:2 6:3``."""
    parts: list[list[int]] = []
    for index, term in enumerate(terms, first):
        if parts and parts[-1][2] == term:
            parts[-1][1] = index
        else:
            parts.append([index, index, term])
    return " ".join(f"{a}:{term}" if a == b else f"{a}-{b}:{term}" for a, b, term in parts) or "none"


def describe(member: Member) -> str:
    """A member in one line."""
    if not member.up:
        return f"{member.place}: down"
    text = (
        f"{member.place}: {member.role} term {member['term']} vote {who(member['vote'])} "
        f"leader {who(member['leader'])} log {member['base_index'] + 1}..{member['last_index']} "
        f"commit {member['commit']}"
    )
    if member["durable_index"] != member["last_index"]:
        text += f" durable {member['durable_index']}"
    if member.durable_hard_state != member["hard_state"]:
        text += " mark pending"
    return text


def show_message(envelope: Envelope) -> str:
    """A message in one line: the fields that its kind uses."""
    m = envelope
    text = f"  {m['sender']}>{m['to']} {m.kind} term {m['term']}"
    match m["kind"]:
        case Kind.APPEND:
            text += f" behind {m['index']}/{m['log_term']} entries "
            text += runs([each.term for each in envelope.entries], m["first"]) + f" commit {m['commit']}"
            text += " quiet" if m["context"] else ""
        case Kind.APPEND_ANSWER if m["reject"]:
            text += f" rejects {m['index']} hint {m['hint_index']}/{m['hint_term']}"
        case Kind.APPEND_ANSWER | Kind.SNAPSHOT_ANSWER:
            text += " refused" if m["reject"] else f" has {m['index']}"
        case Kind.HEARTBEAT:
            text += f" round {m['context']} commit {m['commit']}"
        case Kind.HEARTBEAT_ANSWER:
            text += f" round {m['context']} has {m['index']}"
            text += f" receiving {m['hint_index']}" if m["hint_index"] else ""
        case Kind.VOTE | Kind.PRE_VOTE:
            text += f" last {m['index']}/{m['log_term']}" + (" forced" if m["context"] else "")
        case Kind.VOTE_ANSWER | Kind.PRE_VOTE_ANSWER:
            text += " no" if m["reject"] else " yes"
        case Kind.SNAPSHOT:
            text += f" of {m['index']}/{m['log_term']}"
        case Kind.READ_INDEX:
            text += f" context {m['context']}"
        case Kind.READ_INDEX_ANSWER:
            text += f" context {m['context']} index {m['index']}"
    return text


class Script:
    """Runs commands and says what came of them."""

    def __init__(self) -> None:
        self.cluster: Cluster | None = None
        self.manual = False
        self.out: list[str] = []

    def run(self, line: str) -> list[str]:
        """The output of a command."""
        words = line.split()
        plain = [word for word in words[1:] if "=" not in word]
        named = dict(word.split("=") for word in words[1:] if "=" in word)
        self.out = []
        if words[0] == "cluster":
            self.manual = named.pop("sync", "auto") == "manual"
            options = {name: int(value) for name, value in named.items()}
            self.cluster = Cluster(int(plain[0]), 1, Member, **{"election_ticks": 10, "heartbeat_ticks": 2} | options)
            return []
        assert self.cluster is not None
        before = [self.glance(member) for member in self.cluster.members]
        known = list(self.cluster.net)
        getattr(self, "do_" + words[0])(*plain, **named)
        for member in self.cluster.members:
            if member.up:
                member.turn()
        if not self.manual:
            self.cluster.sync()
            for member in self.cluster.members:
                if member.up:
                    member.turn()
            self.cluster.sync()
        for member, old in zip(self.cluster.members, before, strict=True):
            if self.glance(member) != old:
                self.out.append(describe(member))
        self.out += [show_message(each) for each in self.cluster.net if each not in known]
        return self.out

    @staticmethod
    def glance(member: Member) -> tuple[int, ...]:
        """What makes a member count as changed."""
        return (int(member.up), member.durable_hard_state, *(member[name] for name in SHOWN))

    def of(self, place: str) -> Member:
        assert self.cluster is not None
        return self.cluster[int(place)]

    def say(self, code: int) -> None:
        """A refusal, by its name."""
        if code < 0:
            self.out.append(RaftError(code).name)

    # Time and entries.

    def do_write(self, place: str, *terms: str, term: str = "0") -> None:
        assert self.cluster is not None
        self.cluster.write(int(place), " ".join(terms), int(term))

    def do_tick(self, place: str, count: str) -> None:
        assert self.cluster is not None
        for member in self.cluster.members:
            if place in ("all", str(member.place)) and member.up:
                for _ in range(int(count)):
                    member.call("tick")
                    member.turn()

    def do_run(self, count: str) -> None:
        assert self.cluster is not None
        self.cluster.tick(int(count))

    def do_lonely(self, *places: str) -> None:
        assert self.cluster is not None
        for place in places:
            for _ in range(self.of(place)["election_ticks"]):
                self.of(place).call("tick")
                self.of(place).turn()
            self.cluster.net = [each for each in self.cluster.net if each["sender"] != int(place)]

    def do_settle(self) -> None:
        assert self.cluster is not None
        self.cluster.settle()

    def do_campaign(self, place: str) -> None:
        if self.of(place).call("campaign") == Stepped.IGNORED:
            self.out.append("IGNORED")

    def do_elect(self, place: str) -> None:
        assert self.cluster is not None
        self.cluster.elect(int(place))

    def do_disks(self, how: str) -> None:
        self.manual = how == "manual"

    def do_propose(self, place: str, count: str = "1", size: str = "100") -> None:
        assert self.cluster is not None
        for _ in range(int(count)):
            self.say(self.of(place).propose(self.cluster.new_payload(), int(size)))

    def do_sync(self, place: str, what: str = "all") -> None:
        member = self.of(place)
        if what in ("all", "mark"):
            member.sync_mark()
        if what != "mark":
            member.sync_log(None if what in ("all", "log") else int(what))
        member.turn()

    def do_late(self, place: str, index: str, term: str) -> None:
        self.of(place).call("persisted", int(index), int(term))

    # The network.

    def select(self, words: tuple[str, ...], count: str = "1000000") -> list[Envelope]:
        """The messages that match, of those that are in the network now."""
        assert self.cluster is not None
        chosen = self.cluster.net
        for word in words:
            if ">" in word:
                chosen = [each for each in chosen if f"{each['sender']}>{each['to']}" == word]
            else:
                chosen = [each for each in chosen if each.kind == word]
        return chosen[: int(count)]

    def do_deliver(self, *words: str, count: str = "1000000") -> None:
        assert self.cluster is not None
        for envelope in list(self.select(words, count)):
            lost = self.cluster.is_cut(envelope)
            self.cluster.deliver(envelope)
            if lost:
                self.out.append("lost" + show_message(envelope)[1:])

    def do_drop(self, *words: str, count: str = "1000000") -> None:
        assert self.cluster is not None
        for envelope in list(self.select(words, count)):
            self.cluster.net.remove(envelope)

    def do_duplicate(self, *words: str) -> None:
        assert self.cluster is not None
        self.cluster.net += [Envelope(each.message, each.entries) for each in self.select(words)]

    def do_net(self) -> None:
        assert self.cluster is not None
        self.out += [show_message(each) for each in self.cluster.net]

    def do_cut(self, *links: str) -> None:
        assert self.cluster is not None
        for link in links:
            left, right = (int(place) for place in link.replace(">", "-").split("-"))
            self.cluster.cuts |= {(left, right)} if ">" in link else {(left, right), (right, left)}

    def do_heal(self) -> None:
        assert self.cluster is not None
        self.cluster.cuts.clear()

    def do_isolate(self, place: str) -> None:
        assert self.cluster is not None
        self.do_cut(*(f"{place}-{other.place}" for other in self.cluster.members if other.place != int(place)))

    # Lives.

    def do_crash(self, place: str) -> None:
        self.of(place).crash()

    def do_restart(self, place: str, behind: str = "0", floor: str = "0", forget: str = "0") -> None:
        member = self.of(place)
        if int(forget):
            member.disk.entries = member.disk.entries[: int(forget) - member.disk.base[0] - 1]
        member.start(int(behind), int(floor))

    # Reads, transfers, snapshots.

    def do_read(self, place: str, context: str) -> None:
        self.say(self.of(place).call("read", int(context)))

    def do_reads(self, place: str) -> None:
        member = self.of(place)
        self.out += [f"context {context} index {index}" for context, index in member.reads] or ["none"]
        member.reads.clear()

    def do_transfer(self, place: str, to: str) -> None:
        self.say(self.of(place).call("transfer", int(to)))

    def do_transferee(self, place: str) -> None:
        member = self.of(place)
        self.out.append(f"under way to {who(member['transferee'])}, best {who(member.call('best_transferee'))}")

    def do_compact(self, place: str, index: str) -> None:
        self.say(self.of(place).compact(int(index)))

    def do_install(self, place: str) -> None:
        self.out.append("replaced" if self.of(place).install() else "not needed")

    def do_refuse(self, place: str) -> None:
        self.of(place).wanted = None
        self.of(place).call("refuse_snapshot")

    def do_report(self, place: str, to: str, how: str) -> None:
        self.of(place).call("report_snapshot", int(to), int(how == "ok"))

    def do_unreachable(self, place: str, to: str) -> None:
        self.of(place).call("unreachable", int(to))

    def do_trim(self, place: str, to: str, last: str) -> None:
        assert self.cluster is not None
        envelope = [each for each in self.select((f"{place}>{to}", "APPEND"))][-1]
        message = envelope.message.copy()
        message["last"] = int(last)
        kept = [run for run in message["runs"][: int(message["run_count"])] if run["index"] <= int(last)]
        message["run_count"] = len(kept)
        self.cluster.net[self.cluster.net.index(envelope)] = Envelope(
            message, envelope.entries[: int(last) - envelope["first"] + 1]
        )
        self.of(place).call("cut", int(to), int(last))

    # Looking.

    def do_state(self) -> None:
        assert self.cluster is not None
        self.out += [describe(member) for member in self.cluster.members]

    def do_log(self, place: str) -> None:
        member = self.of(place)
        self.out.append(runs(member.terms(), member["base_index"] + 1))

    def do_peers(self, place: str) -> None:
        member = self.of(place)
        for other in range(member["members"]):
            if other != member.place and member["role"] == Role.LEADER:
                self.out.append(describe_peer(member.raft.peers[other], other))


def describe_peer(peer: Any, place: int) -> str:
    """A leader's view of a peer in one line."""
    text = f"{place}: {Progress(peer['progress']).name} match {peer['match']} next {peer['next']}"
    if peer["inflight_count"]:
        text += f" in flight {peer['inflight_count']}"
    return text + (" paused" if peer["paused"] else "") + (" inactive" if not peer["active"] else "")


def perform(text: str) -> str:
    """A script with the output that its commands give now."""
    script = Script()
    blocks = []
    for block in text.strip("\n").split("\n\n"):
        commands, separator, _ = block.partition("\n----")
        if not separator:
            blocks.append(block)
            continue
        output: list[str] = []
        for line in commands.splitlines():
            if line and not line.startswith("#"):
                output += script.run(line)
        blocks.append("\n".join([commands, "----", *(output or ["ok"])]))
    return "\n\n".join(blocks) + "\n"


def rewrite(path: Path) -> None:
    """Write a script's output anew."""
    path.write_text(perform(path.read_text()))
