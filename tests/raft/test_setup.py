"""A member's state before its first message."""

import pytest

from kvbench.raft import core, setup
from kvbench.raft.records import NONE, RaftError


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ((3, 3, 1), {}),
        ((-1, 3, 1), {}),
        ((0, 6, 1), {}),
        ((0, 0, 1), {}),
        ((0, 3, 1), {"election_ticks": 5, "heartbeat_ticks": 5}),
        ((0, 3, 1), {"heartbeat_ticks": 0}),
        ((0, 3, 1), {"window_messages": 257}),
        ((0, 3, 1), {"window_messages": 0}),
        ((0, 3, 1), {"sizes": 100}),
        ((0, 3, 1), {"window_bytes": 0}),
        ((0, 3, 1), {"outbox": 3}),
        ((0, 3, 1), {"reads": 0}),
    ],
)
def test_limits_that_cannot_work_are_refused(arguments: tuple[int, int, int], options: dict[str, int]) -> None:
    with pytest.raises(ValueError):
        setup.new_raft(*arguments, **options)


def test_a_log_is_recovered_in_the_files_order() -> None:
    """A later record with a lower index replaces what was there from it on."""
    raft = setup.new_raft(0, 3, 1)
    setup.restore(raft, 2, 1, 10, 1, 7, 0, 0)
    for index, term in ((11, 1), (12, 1), (13, 1), (12, 2), (13, 2), (14, 4)):
        assert setup.recovered(raft, index, term, 50) == 0
    state = raft.state[0]
    assert [core.term_of(raft, index) for index in range(9, 16)] == [
        RaftError.COMPACTED,
        1,
        1,
        2,
        2,
        4,
        RaftError.UNAVAILABLE,
    ]
    assert (state["last_index"], state["durable_index"], state["commit"], state["applied"]) == (14, 14, 10, 10)
    assert (state["term"], state["vote"]) == (4, NONE)


def test_the_vote_of_the_marks_term_is_kept() -> None:
    raft = setup.new_raft(0, 3, 1)
    setup.restore(raft, 4, 1, 0, 0, 1, 0, 0)
    assert setup.recovered(raft, 1, 4, 50) == 0
    assert (raft.state[0]["term"], raft.state[0]["vote"]) == (4, 1)


def test_records_that_cannot_follow_are_refused() -> None:
    raft = setup.new_raft(0, 3, 1, runs=2)
    setup.restore(raft, 4, NONE, 10, 1, 1, 0, 0)
    assert setup.recovered(raft, 12, 1, 50) == RaftError.BAD_INDEX
    assert setup.recovered(raft, 10, 1, 50) == RaftError.BAD_INDEX
    assert setup.recovered(raft, 11, 1, 50) == 0
    assert setup.recovered(raft, 12, 2, 50) == 0
    assert setup.recovered(raft, 13, 3, 50) == RaftError.TOO_MANY_TERMS
    assert raft.state[0]["last_index"] == 12


def test_what_is_known_to_be_committed_counts_as_far_as_it_is_there() -> None:
    raft = setup.new_raft(0, 3, 1)
    setup.restore(raft, 1, NONE, 2, 1, 1, 0, 0)
    for index in range(3, 6):
        setup.recovered(raft, index, 1, 50)
    for known, commit in ((1, 2), (4, 4), (3, 4), (9, 5)):
        setup.restore_commit(raft, known)
        assert raft.state[0]["commit"] == commit
