"""What the tests of the paper's sentences share."""

from kvbench.raft.records import Kind
from tests.raft.cluster import Cluster, Envelope, Member

T = 10
OPTIONS = {"election_ticks": T, "heartbeat_ticks": 2}


def make(size: int = 3, seed: int = 1, **options: int) -> Cluster:
    return Cluster(size, seed, Member, **OPTIONS | options)


def sent(cluster: Cluster, kind: Kind) -> list[Envelope]:
    """The messages of a kind that are in the network."""
    return [each for each in cluster.net if each["kind"] == kind]


def give(member: Member, envelope: Envelope) -> int:
    """Have a member take a message, and do what follows from it."""
    code = member.receive(envelope)
    member.turn()
    member.sync_mark()
    member.sync_log()
    return code


def silence(cluster: Cluster) -> None:
    """An election time-out passes for all, and nothing arrives."""
    for member in cluster.members:
        for _ in range(T):
            member.call("tick")
            member.turn()
    cluster.net.clear()


def begin_campaign(cluster: Cluster, place: int) -> Member:
    """Bring a member to candidacy, with nobody's vote yet but its own."""
    member = cluster[place]
    member.call("campaign")
    member.turn()
    for envelope in [*sent(cluster, Kind.PRE_VOTE)]:
        cluster.deliver(envelope)
    for envelope in [*sent(cluster, Kind.PRE_VOTE_ANSWER)]:
        cluster.deliver(envelope)
    member.sync_mark()
    assert member.role == "CANDIDATE"
    return member
