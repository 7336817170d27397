"""What the Raft paper and thesis say of elections, sentence by sentence, in our words (see ``test_paper``)."""

import pytest

from kvbench.raft.records import NONE, Kind, Stepped
from tests.raft.cluster import message
from tests.raft.paper import T, begin_campaign, give, make, sent, silence

# Section 5.1: terms.


@pytest.mark.parametrize("kind", [Kind.APPEND, Kind.HEARTBEAT, Kind.VOTE, Kind.APPEND_ANSWER, Kind.HEARTBEAT_ANSWER])
@pytest.mark.parametrize("role", ["FOLLOWER", "CANDIDATE"])
def test_whoever_sees_a_later_term_takes_it_over_and_follows(role: str, kind: Kind) -> None:
    """Section 5.1: a member whose term is smaller than another's moves to it; a candidate becomes a follower."""
    cluster = make()
    member = cluster[0] if role == "FOLLOWER" else begin_campaign(cluster, 0)
    give(member, message(kind, 1, 0, term=member["term"] + 3))
    assert (member.role, member["term"]) == ("FOLLOWER", 3 if role == "FOLLOWER" else 4)
    assert member["leader"] == (1 if kind in (Kind.APPEND, Kind.HEARTBEAT) else NONE)


def test_a_leader_that_sees_a_later_term_steps_down() -> None:
    """Section 5.1: so does a leader."""
    cluster = make()
    leader = cluster.elect(0)
    give(leader, message(Kind.APPEND_ANSWER, 1, 0, term=7))
    assert (leader.role, leader["term"], leader["leader"]) == ("FOLLOWER", 7, NONE)


def test_requests_of_an_earlier_term_are_refused() -> None:
    """Section 5.1: a request with a stale term has no effect, and its sender learns the present term."""
    cluster = make()
    cluster.elect(0)
    follower = cluster[1]
    follower.call("step", message(Kind.HEARTBEAT, 2, 1, term=5).message)
    follower.turn()
    follower.sync_mark()
    for kind in (Kind.APPEND, Kind.HEARTBEAT, Kind.SNAPSHOT):
        cluster.net.clear()
        before = follower.terms()
        assert give(follower, message(kind, 0, 1, term=4, index=1, log_term=1, first=2, last=1)) == Stepped.IGNORED
        assert (follower["leader"], follower.terms()) == (2, before)
        assert [each["term"] for each in cluster.net] == [5]


# Section 5.2: elections.


def test_members_begin_as_followers() -> None:
    """Section 5.2: at the start everybody is a follower, in term 0, of nobody."""
    assert {(each.role, each["term"], each["leader"]) for each in make(5).members} == {("FOLLOWER", 0, NONE)}


def test_a_follower_stays_one_while_it_hears_of_its_leader() -> None:
    """Section 5.2."""
    cluster = make()
    cluster.elect(0)
    follower = cluster[1]
    for _ in range(5 * T):
        follower.call("tick")
        if follower["election_elapsed"] == T - 1:
            give(follower, message(Kind.HEARTBEAT, 0, 1, term=1))
    assert (follower.role, follower["term"]) == ("FOLLOWER", 1)


def test_a_leader_sends_heartbeats_to_all_at_its_interval() -> None:
    """Section 5.2: an idle leader still tells everybody regularly that it is there, without entries."""
    cluster = make(5)
    leader = cluster.elect(2)
    for _ in range(3):
        for expected in ([], [0, 1, 3, 4]):
            leader.call("tick")
            leader.turn()
            assert [each["to"] for each in sent(cluster, Kind.HEARTBEAT)] == expected
            assert len(cluster.net) == len(expected)
            cluster.net.clear()


def test_a_candidate_raises_its_term_and_votes_for_itself() -> None:
    """Section 5.2: to begin an election a follower goes to the next term, votes for itself and asks all others."""
    cluster = make(5)
    member = begin_campaign(cluster, 3)
    assert (member["term"], member["vote"]) == (1, 3)
    assert sorted(each["to"] for each in sent(cluster, Kind.VOTE)) == [0, 1, 2, 4]


@pytest.mark.parametrize(("size", "others", "wins"), [(1, 0, True), (3, 0, False), (3, 1, True), (5, 1, False)])
def test_a_majority_elects(size: int, others: int, wins: bool) -> None:
    """Section 5.2: votes of a majority of all members, one's own among them, win."""
    cluster = make(size)
    if size == 1:
        cluster[0].call("campaign")
    else:
        begin_campaign(cluster, 0)
    for place in range(1, 1 + others):
        give(cluster[0], message(Kind.VOTE_ANSWER, place, 0, term=1))
    assert (cluster[0].role == "LEADER") == wins


def test_an_answer_that_comes_twice_counts_once() -> None:
    """Section 5.2: a majority of members, not of messages."""
    cluster = make(5)
    member = begin_campaign(cluster, 0)
    for _ in range(3):
        give(member, message(Kind.VOTE_ANSWER, 1, 0, term=1))
    assert member.role == "CANDIDATE"


def test_one_vote_a_term_to_who_comes_first() -> None:
    """Section 5.2: each member votes for at most one candidate in a term."""
    cluster = make()
    member = cluster[2]
    for sender, granted in ((1, True), (0, False), (1, True)):
        cluster.net.clear()
        give(member, message(Kind.VOTE, sender, 2, term=1))
        (answer,) = sent(cluster, Kind.VOTE_ANSWER)
        assert (answer["to"], answer["reject"]) == (sender, int(not granted))
    give(member, message(Kind.VOTE, 0, 2, term=2))
    assert (member["vote"], member["term"]) == (0, 2)


def test_a_candidate_yields_to_the_leader_of_its_term() -> None:
    """Section 5.2: whoever leads in a candidate's own term has won; the candidate follows."""
    for kind in (Kind.APPEND, Kind.HEARTBEAT):
        cluster = make()
        member = begin_campaign(cluster, 0)
        give(member, message(kind, 1, 0, term=1))
        assert (member.role, member["leader"], member["vote"]) == ("FOLLOWER", 1, 0)


def test_a_candidate_goes_on_when_an_earlier_leader_speaks() -> None:
    """Section 5.2: a leader of an earlier term is refused, and the candidacy goes on."""
    cluster = make()
    member = begin_campaign(cluster, 0)
    give(member, message(Kind.HEARTBEAT, 1, 0, term=0))
    assert member.role == "CANDIDATE"


def test_a_candidate_without_a_result_tries_again_in_a_later_term() -> None:
    """Section 5.2: when votes are split, a candidate begins another election after another time-out."""
    cluster = make()
    member = begin_campaign(cluster, 0)
    assert member["term"] == 1
    cluster.net.clear()
    while member.role == "CANDIDATE":
        member.call("tick")
    member.turn()
    for envelope in sent(cluster, Kind.PRE_VOTE)[:2]:
        cluster.deliver(envelope)
    for envelope in [*sent(cluster, Kind.PRE_VOTE_ANSWER)]:
        cluster.deliver(envelope)
    assert (member.role, member["term"]) == ("CANDIDATE", 2)


def test_election_time_outs_are_drawn_anew_from_t_to_2t() -> None:
    """Section 5.2: time-outs are random within a fixed interval, so that split votes are rare."""
    cluster = make(5)
    drawn = {place: set[int]() for place in range(5)}
    for _ in range(200):
        for member in cluster.members:
            member.call("campaign")
            drawn[member.place].add(member["timeout_ticks"])
    assert all(each == set(range(T, 2 * T + 1)) for each in drawn.values())
    first = [[make(5, seed)[place]["timeout_ticks"] for seed in range(20)] for place in range(5)]
    assert len({tuple(each) for each in first}) == 5


# The thesis.


def test_requests_for_votes_are_ignored_while_a_leader_lives() -> None:
    """Thesis, section 4.2.3: for an election time-out after hearing from a leader, no vote and no new term."""
    cluster = make()
    cluster.elect(0)
    for kind in (Kind.VOTE, Kind.PRE_VOTE):
        request = message(kind, 2, 1, term=9, index=50, log_term=8)
        assert give(cluster[1], request) == Stepped.IGNORED
        assert give(cluster[0], message(kind, 2, 0, term=9, index=50, log_term=8)) == Stepped.IGNORED
    assert {each["term"] for each in cluster.members} == {1}
    silence(cluster)
    assert give(cluster[1], message(Kind.VOTE, 2, 1, term=9, index=50, log_term=8)) == Stepped.DONE
    assert cluster[1]["vote"] == 2


def test_a_leader_without_a_majority_steps_down() -> None:
    """Thesis, section 6.2: when an election time-out passes without a round of answers from a majority."""
    cluster = make(5)
    leader = cluster.elect(0)
    silence(cluster)
    for tick in range(2 * T):
        leader.call("tick")
        leader.turn()
        if tick % 2:
            give(leader, message(Kind.HEARTBEAT_ANSWER, 1, 0, term=1))
    assert (leader.role, leader["term"]) == ("FOLLOWER", 1)


def test_asking_whether_one_would_win_changes_nobody() -> None:
    """Thesis, section 9.6: a pre-vote raises no term, costs no vote, and does not delay others' elections."""
    cluster = make()
    cluster[1].call("tick")
    seen = ("term", "vote", "hard_state", "role", "leader", "election_elapsed", "timeout_ticks")
    before = [cluster[1][name] for name in seen]
    asking = cluster[0]
    asking.call("campaign")
    asking.turn()
    assert (asking["term"], asking["vote"]) == (0, NONE)
    cluster.deliver(next(each for each in cluster.net if each["to"] == 1))
    assert [cluster[1][name] for name in seen] == before
