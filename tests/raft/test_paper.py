"""What the Raft paper and thesis say of a correct member, sentence by sentence, in our words.

"Section" alone is one of Ongaro and Ousterhout: "In Search of an Understandable Consensus Algorithm" (2014, extended
version); "thesis, section" one of Ongaro: "Consensus: Bridging Theory and Practice" (2014).
"""

import pytest

from kvbench.raft.records import NONE, Kind, RaftError, Role, Stepped
from tests.raft.cluster import Cluster, Envelope, Member, message

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


# Section 5.3: replication.


def test_an_entry_is_committed_once_a_majority_has_it() -> None:
    """Section 5.3: the leader appends, sends to all, and commits when a majority has stored it; then all apply it."""
    cluster = make(5)
    leader = cluster.elect(0)
    index = leader.propose(cluster.new_payload())
    leader.turn()
    leader.sync_log()
    assert sorted(each["to"] for each in sent(cluster, Kind.APPEND)) == [1, 2, 3, 4]
    give(leader, message(Kind.APPEND_ANSWER, 1, 0, term=1, index=index))
    assert leader["commit"] == index - 1
    give(leader, message(Kind.APPEND_ANSWER, 4, 0, term=1, index=index))
    assert leader["commit"] == index
    cluster.settle()
    assert {each.applied for each in cluster.members} == {index}


def test_what_stands_before_a_committed_entry_is_committed_with_it() -> None:
    """Section 5.3: so are entries of earlier leaders."""
    cluster = make()
    for place in range(3):
        cluster.write(place, "1 1 2 3")
    leader = cluster.elect(1)
    assert (leader["term"], leader["commit"], leader.applied) == (4, 5, 5)


def test_followers_learn_what_is_committed_and_apply_it_in_order() -> None:
    """Section 5.3: the leader says in its messages what is committed; followers then apply it."""
    cluster = make()
    leader = cluster.elect(0)
    follower = cluster[1]
    for _ in range(3):
        leader.propose(cluster.new_payload())
    leader.turn()
    cluster.deliver(next(each for each in cluster.net if each["to"] == 1))
    assert (follower["last_index"], follower.applied) == (4, 1)
    give(follower, message(Kind.APPEND, 0, 1, term=1, index=4, log_term=1, first=5, last=4, commit=3))
    assert follower.applied == 3


def test_a_follower_commits_only_what_it_knows_to_be_the_leaders() -> None:
    """Section 5.3 (figure 2, step 5): at most up to the last entry that the message vouches for."""
    cluster = make()
    cluster.write(1, "1 1 1")
    follower = cluster[1]
    give(follower, message(Kind.APPEND, 0, 1, term=2, index=1, log_term=1, first=2, last=1, commit=3))
    assert follower["commit"] == 1
    give(follower, message(Kind.APPEND_ANSWER, 0, 1, term=2, index=3))
    assert follower["commit"] == 1


@pytest.mark.parametrize(
    ("index", "term", "agrees"), [(0, 0, True), (1, 1, True), (2, 2, True), (2, 1, False), (3, 2, False)]
)
def test_entries_are_taken_only_behind_a_common_one(index: int, term: int, agrees: bool) -> None:
    """Section 5.3: a follower refuses entries unless it has the one before them, with its term."""
    cluster = make()
    cluster.write(1, "1 2")
    follower = cluster[1]
    give(follower, message(Kind.APPEND, 0, 1, term=3, index=index, log_term=term, first=index + 1, last=index))
    (answer,) = sent(cluster, Kind.APPEND_ANSWER)
    assert answer["reject"] == int(not agrees)


FIGURE_7 = {
    "a": "1 1 1 4 4 5 5 6 6",
    "b": "1 1 1 4",
    "c": "1 1 1 4 4 5 5 6 6 6 6",
    "d": "1 1 1 4 4 5 5 6 6 6 7 7",
    "e": "1 1 1 4 4 4 4",
    "f": "1 1 1 2 2 2 3 3 3 3 3",
}


@pytest.mark.parametrize("name", FIGURE_7)
def test_a_leader_makes_followers_logs_like_its_own(name: str) -> None:
    """Section 5.3 and figure 7: what follows the last common entry goes, and the leader's own comes."""
    cluster = make(3)
    cluster.write(0, "1 1 1 4 4 5 5 6 6 6", term=7)
    cluster.write(1, "1 1 1 4 4 5 5 6 6 6", term=7)
    cluster.write(2, FIGURE_7[name], term=7)
    leader = cluster.elect(0)
    cluster.tick(4)
    assert leader.terms() == [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 8]
    assert [each.log for each in cluster.members] == [leader.log] * 3


def test_a_leader_never_changes_its_own_log() -> None:
    """Section 5.3: a leader only appends, whatever others have."""
    cluster = make()
    cluster.write(0, "1 1 2")
    cluster.write(1, "1 1 1 1 1 1")
    cluster.write(2, "1 1 2")
    leader = cluster.elect(0)
    before = list(leader.log)
    for _ in range(3):
        leader.propose(cluster.new_payload())
        cluster.tick(2)
    assert leader.log[: len(before)] == before


def test_what_a_follower_has_already_stays() -> None:
    """Section 5.3 (figure 2, step 3): only a conflict removes entries; an old, shorter message does not."""
    cluster = make()
    leader = cluster.elect(0)
    follower = cluster[1]
    for _ in range(3):
        leader.propose(cluster.new_payload())
        leader.turn()
    old = next(each for each in cluster.net if each["to"] == 1)
    cluster.settle()
    assert follower["last_index"] == 4
    assert give(follower, old) == Stepped.DONE
    assert follower["last_index"] == 4


# Section 5.4: safety.


@pytest.mark.parametrize(
    ("candidate", "voter", "granted"),
    [
        ("1", "1", True),
        ("1 1", "1", True),
        ("1", "1 1", False),
        ("2", "1 1", True),
        ("1 1", "2", False),
        ("1 2", "1 2", True),
        ("1 1 1", "1 2", False),
        ("", "", True),
        ("", "1", False),
    ],
)
def test_votes_go_only_to_logs_that_are_not_behind(candidate: str, voter: str, granted: bool) -> None:
    """Section 5.4.1: the later last term is ahead; with equal last terms, the longer log."""
    cluster = make()
    cluster.write(1, voter, term=3)
    terms = [int(each) for each in candidate.split()]
    for kind in (Kind.PRE_VOTE, Kind.VOTE):
        cluster.net.clear()
        give(cluster[1], message(kind, 0, 1, term=4, index=len(terms), log_term=terms[-1] if terms else 0))
        assert [each["reject"] for each in cluster.net] == [int(not granted)]


def test_entries_of_earlier_terms_are_not_committed_by_counting() -> None:
    """Section 5.4.2 and figure 8: only an entry of the leader's own term is, and then what stands before it."""
    cluster = make(5)
    cluster.write(0, "1 2", term=3)
    leader = begin_campaign(cluster, 0)
    for place in (1, 2):
        give(leader, message(Kind.VOTE_ANSWER, place, 0, term=4))
    assert leader.terms() == [1, 2, 4]
    for place in (1, 2, 3, 4):
        give(leader, message(Kind.APPEND_ANSWER, place, 0, term=4, index=2))
    assert leader["commit"] == 0
    give(leader, message(Kind.APPEND_ANSWER, 1, 0, term=4, index=3))
    give(leader, message(Kind.APPEND_ANSWER, 2, 0, term=4, index=3))
    assert leader["commit"] == 3


# Section 5.5: members that fail.


def test_requests_may_be_repeated() -> None:
    """Section 5.5: a member that gets a request again, after a crash or because an answer was lost, does no harm."""
    cluster = make()
    leader = cluster.elect(0)
    leader.propose(cluster.new_payload())
    leader.turn()
    request = next(each for each in cluster.net if each["to"] == 1)
    for _ in range(3):
        give(cluster[1], request)
        answers = [each["index"] for each in sent(cluster, Kind.APPEND_ANSWER)]
        assert answers[-1] == 2 and cluster[1].terms() == [1, 1]


# Section 7: snapshots.


def test_a_snapshot_replaces_a_log_that_lacks_its_last_entry() -> None:
    """Section 7: what the snapshot does not know of is dropped with all the rest."""
    cluster = make()
    cluster.write(1, "1 1 1 1 1", term=3)
    follower = cluster[1]
    announced = message(Kind.SNAPSHOT, 0, 1, term=3, index=4, log_term=2)
    assert give(follower, announced) == Stepped.SNAPSHOT_WANTED
    assert follower.install() == 1
    assert (follower["base_index"], follower["last_index"], follower["commit"]) == (4, 4, 4)


def test_a_snapshot_of_a_prefix_keeps_what_follows_it() -> None:
    """Section 7: entries behind the snapshot's last one are still valid."""
    cluster = make()
    cluster.write(1, "1 1 2 2 2", term=3)
    follower = cluster[1]
    assert give(follower, message(Kind.SNAPSHOT, 0, 1, term=3, index=4, log_term=2)) == Stepped.DONE
    assert (follower["last_index"], follower["commit"]) == (5, 4)
    assert [each["index"] for each in sent(cluster, Kind.APPEND_ANSWER)] == [4]


# Section 8, and thesis, section 6.4: reads.


def test_a_new_leader_begins_with_an_entry_of_its_own() -> None:
    """Section 8: without it, it would not know what is committed."""
    cluster = make()
    for place in range(3):
        cluster.write(place, "1 1")
    leader = cluster.elect(0)
    assert leader.terms() == [1, 1, 2]
    assert leader.log[-1].payload == 0


def test_a_leader_answers_reads_only_after_a_round_with_a_majority() -> None:
    """Section 8; thesis, section 6.4: heartbeats asked after the read came, answered by a majority of the members."""
    cluster = make(5)
    leader = cluster.elect(0)
    leader.call("read", 1)
    leader.turn()
    (number,) = {each["context"] for each in sent(cluster, Kind.HEARTBEAT)}
    give(leader, message(Kind.HEARTBEAT_ANSWER, 1, 0, term=1, context=number - 1))
    give(leader, message(Kind.HEARTBEAT_ANSWER, 2, 0, term=1, context=number - 1))
    give(leader, message(Kind.HEARTBEAT_ANSWER, 3, 0, term=1, context=number))
    assert leader.reads == []
    give(leader, message(Kind.HEARTBEAT_ANSWER, 4, 0, term=1, context=number))
    assert leader.reads == [(1, 1)]


# The thesis.


def test_a_transfer_brings_the_target_up_to_date_first() -> None:
    """Thesis, section 3.10: no proposals meanwhile; the target has all entries before it may stand for election."""
    cluster = make()
    leader = cluster.elect(0)
    leader.propose(cluster.new_payload())
    leader.call("transfer", 1)
    leader.turn()
    assert leader.propose(cluster.new_payload()) == RaftError.TRANSFERRING
    assert sent(cluster, Kind.TIMEOUT_NOW) == []
    cluster.settle()
    assert (cluster[1].role, cluster[1]["term"], cluster[1].terms()) == ("LEADER", 2, [1, 1, 2])


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


def test_a_leaders_disk_and_its_peers_work_at_the_same_time() -> None:
    """Thesis, section 10.2.1: entries go out before they are durable here; others alone may be the majority."""
    cluster = make()
    leader = cluster.elect(0)
    index = leader.propose(cluster.new_payload())
    leader.turn()
    assert len(sent(cluster, Kind.APPEND)) == 2
    for place in (1, 2):
        leader.receive(message(Kind.APPEND_ANSWER, place, 0, term=1, index=index))
    assert (leader["durable_index"], leader["commit"]) == (index - 1, index)


# What no member would send.


def test_unsound_messages_change_nothing() -> None:
    """Fields that contradict each other or name nobody are refused as a whole."""
    cluster = make()
    cluster.elect(0)
    member = cluster[1]
    sound = {"term": 1, "index": 1, "log_term": 1, "first": 2, "last": 3, "run_count": 1}
    bad: list[dict[str, int]] = [
        {"sender": 1},
        {"sender": 3},
        {"sender": -1},
        {"to": 0},
        {"kind": 0},
        {"kind": 14},
        {"term": -1},
        {"index": -1},
        {"commit": -5},
        {"first": 3},
        {"last": 0},
        {"run_count": 0},
        {"run_count": 9},
        {"hint_index": -2},
    ]
    for change in bad:
        envelope = message(Kind.APPEND, 0, 1, **sound)
        envelope.message["runs"][0] = (2, 1)
        for name, value in change.items():
            envelope.message[name] = value
        before = (member.raft.state.tobytes(), member.raft.peers.tobytes(), member.raft.runs.tobytes())
        assert member.call("step", envelope.message) == RaftError.BAD_MESSAGE, change
        after = (member.raft.state.tobytes(), member.raft.peers.tobytes(), member.raft.runs.tobytes())
        assert after[1:] == before[1:]
        assert member["messages"] == 0 and member["last_index"] == 1
    for run in ((1, 1), (2, 2), (2, 0), (4, 1)):
        envelope = message(Kind.APPEND, 0, 1, **sound)
        envelope.message["runs"][0] = run
        assert member.call("step", envelope.message) == RaftError.BAD_MESSAGE, run


def test_a_second_leader_in_a_term_is_told_apart_from_loss() -> None:
    """Election safety (figure 3): only a forgotten vote can bring this about, so the member says so."""
    cluster = make()
    leader = cluster.elect(0)
    assert leader.call("step", message(Kind.HEARTBEAT, 1, 0, term=1).message) == RaftError.TWO_LEADERS
    assert cluster[1].call("step", message(Kind.HEARTBEAT, 2, 1, term=1).message) == RaftError.TWO_LEADERS


def test_a_leader_that_contradicts_what_is_committed_is_told_apart_from_loss() -> None:
    """Leader completeness (figure 3): only a disk that lost acknowledged entries can bring this about."""
    cluster = make()
    cluster.elect(0)
    request = message(Kind.APPEND, 2, 1, term=5, index=1, log_term=4, first=2, last=1)
    assert cluster[1].call("step", request.message) == RaftError.DIVERGED
    assert cluster[1]["role"] == Role.FOLLOWER
