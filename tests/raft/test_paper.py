"""What the Raft paper and thesis say of a correct member, sentence by sentence, in our words.

"Section" alone is one of Ongaro and Ousterhout: "In Search of an Understandable Consensus Algorithm" (2014, extended
version); "thesis, section" one of Ongaro: "Consensus: Bridging Theory and Practice" (2014).
"""

import pytest

from kvbench.raft.records import Kind, RaftError, Role, Stepped
from tests.raft.cluster import message
from tests.raft.paper import begin_campaign, give, make, sent

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
