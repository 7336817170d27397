"""Stalls and Little's law."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvbench.stats import throughput

SECOND = throughput.SECOND_NS


@given(st.lists(st.integers(0, 2), max_size=12), st.integers(1, 15))
def test_zero_seconds_are_those_of_a_walk(counts: list[int], seconds: int) -> None:
    padded = (counts + [0] * seconds)[:seconds]
    longest = max((len(run) for run in "".join("." if count else "0" for count in padded).split(".")), default=0)
    found = throughput.zero_seconds(np.array(counts, dtype=np.int64), seconds * SECOND)
    assert found == (padded.count(0), longest)


def test_the_partial_last_second_is_no_stall() -> None:
    counts = np.array([5, 5, 0], dtype=np.int64)
    assert throughput.zero_seconds(counts, 2 * SECOND + 10) == (0, 0)
    assert throughput.zero_seconds(counts, 3 * SECOND) == (1, 1)


def test_a_phase_shorter_than_a_second_has_one_to_look_at() -> None:
    assert throughput.zero_seconds(np.array([7], dtype=np.int64), 1000) == (0, 0)
    assert throughput.zero_seconds(np.array([0], dtype=np.int64), 1000) == (1, 1)


def test_littles_law_is_one_when_every_client_is_always_busy() -> None:
    # 100 clients, each 9 ms of response and 1 ms of thinking: 10,000 operations a second.
    in_flight = throughput.in_flight_mean(10_000 * 9e6, SECOND)
    assert in_flight == pytest.approx(90.0)
    assert throughput.littles_law_ratio(in_flight, 10_000, 0.001, 100) == pytest.approx(1.0)
    assert throughput.littles_law_ratio(in_flight, 10_000, 0.001, 0) is None
