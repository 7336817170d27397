"""Due times: the rate's integral in every window, never backwards, the same for any division into shares."""

from bisect import bisect_left

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from kvbench.load import arrivals
from kvbench.load.plan import Phase
from kvbench.load.records import NEVER_NS
from tests.naive import arrivals as naive

START_NS = 5_000_000_000_000
RATE = st.one_of(st.floats(0.5, 1e6), st.integers(1, 100_000).map(float))
DURATION = st.one_of(st.floats(0.01, 1000), st.integers(1, 100).map(float))


def constant(rate: float) -> Phase:
    return Phase("p", count=1, arrival="constant", rates_ops_s=(rate,))


def poisson(rate: float) -> Phase:
    return Phase("p", count=1, arrival="poisson", rates_ops_s=(rate,))


def ramp(first: float, last: float, duration_s: float) -> Phase:
    return Phase("p", duration_s=duration_s, arrival="ramp", rates_ops_s=(first, last))


def steps(rates: tuple[float, ...], duration_s: float) -> Phase:
    return Phase("p", duration_s=duration_s, arrival="steps", rates_ops_s=rates)


SCHEDULES = st.one_of(
    st.builds(constant, RATE),
    st.builds(ramp, st.one_of(st.just(0.0), RATE), RATE, DURATION),
    st.builds(ramp, RATE, st.just(0.0), DURATION),
    st.builds(steps, st.lists(st.one_of(st.just(0.0), RATE), min_size=1, max_size=5).map(tuple), DURATION),
)


def due_times(phase: Phase, count: int, seed: int = 1) -> list[int]:
    """Due times of the first ``count`` requests, relative to the start."""
    schedule = arrivals.new_arrival(phase, seed)
    due, times = START_NS, []
    for index in range(count):
        due = arrivals.next_due_ns(schedule, index, due, START_NS)
        times.append(due if due == NEVER_NS else due - START_NS)
    return times


@settings(deadline=None, max_examples=200)
@given(SCHEDULES, st.one_of(st.integers(0, 50), st.integers(0, 10_000_000)))
def test_due_when_the_integral_has_come_to_the_index(phase: Phase, index: int) -> None:
    due = arrivals.next_due_ns(arrivals.new_arrival(phase, 1), index, START_NS, START_NS)
    assert due >= START_NS
    per_ns = max(phase.rates_ops_s) / 1e9
    tolerance = 1e-6 + 1e-12 * index + 3 * per_ns
    if due == NEVER_NS:
        assert naive.integral(phase, int(phase.duration_s * 1e9) + 1) <= index + tolerance
    else:
        assert abs(float(naive.integral(phase, due - START_NS) - index)) <= tolerance


@settings(deadline=None)
@given(SCHEDULES, st.integers(0, 300))
def test_due_times_are_the_naive_ones(phase: Phase, index: int) -> None:
    """By bisection in exact fractions; where the rate is next to 0, a rounding error is a longer time."""
    due = arrivals.next_due_ns(arrivals.new_arrival(phase, 1), index, START_NS, START_NS)
    latest = 1 << 50
    expected = naive.due_ns(phase, index, latest)
    if due == NEVER_NS:
        assert expected == latest or phase.rates_ops_s[-1] == 0
    elif phase.arrival != "ramp":
        assert abs(due - START_NS - expected) <= 2 + expected // 10**12


@settings(deadline=None)
@given(SCHEDULES, st.integers(1, 200))
def test_never_backwards(phase: Phase, count: int) -> None:
    times = due_times(phase, count)
    assert times == sorted(times)
    assert times[0] >= 0


@settings(deadline=None)
@given(SCHEDULES, st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_windows_count_is_the_rates_integral(phase: Phase, one_ns: int, other_ns: int) -> None:
    """Requests due in a window against the integral over it: the same to within the one at each edge."""
    times = due_times(phase, 400)
    first, last = sorted((one_ns, other_ns))
    last = min(last, times[-1])
    first = min(first, last)
    counted = bisect_left(times, last) - bisect_left(times, first)
    expected = naive.integral(phase, last) - naive.integral(phase, first)
    assert abs(counted - expected) < 1.001


def test_constant_is_exact_from_the_index() -> None:
    """A third of a second does not add up to anything after a year."""
    schedule = arrivals.new_arrival(constant(3.0), 1)
    year = 3 * 365 * 86_400
    assert arrivals.next_due_ns(schedule, year, 0, START_NS) == START_NS + 365 * 86_400 * 10**9
    assert due_times(constant(3.0), 4) == [0, 333_333_333, 666_666_666, 1_000_000_000]
    assert due_times(constant(2000.0), 3) == [0, 500_000, 1_000_000]


def test_a_step_of_rate_0_is_a_pause() -> None:
    times = due_times(steps((2.0, 0.0, 4.0), 6.0), 9)
    assert times == [0, 500_000_000, 1_000_000_000, 1_500_000_000, 4_000_000_000, 4_250_000_000, 4_500_000_000,
                     4_750_000_000, 5_000_000_000]  # fmt: skip


def test_a_first_step_of_rate_0_delays_everything() -> None:
    assert due_times(steps((0.0, 1.0), 4.0), 3) == [2_000_000_000, 3_000_000_000, 4_000_000_000]


def test_the_last_rate_goes_on() -> None:
    assert due_times(steps((1.0, 2.0), 2.0), 6)[-2:] == [2_500_000_000, 3_000_000_000]
    assert due_times(ramp(2.0, 2.0, 1.0), 6)[-1] == 2_500_000_000


def test_after_a_last_rate_of_0_nothing_is_due() -> None:
    assert due_times(steps((1.0, 0.0), 4.0), 3) == [0, 1_000_000_000, NEVER_NS]
    times = due_times(ramp(2.0, 0.0, 2.0), 4)
    assert times[0] == 0 and times[1] == pytest.approx(2e9 - 2**0.5 * 1e9, abs=2)
    assert times[2:] == [NEVER_NS] * 2


def test_a_ramp_from_0() -> None:
    """1 request/s more each second: request i is due after sqrt(2 i) seconds."""
    times = due_times(ramp(0.0, 10.0, 10.0), 20)
    assert times == pytest.approx([(2 * i) ** 0.5 * 1e9 for i in range(20)], abs=2)


@settings(deadline=None)
@given(st.one_of(SCHEDULES, st.builds(poisson, RATE)), st.integers(1, 60), st.integers(1, 7), st.integers(0, 1 << 60))
@example(poisson(1000.0), 60, 3, 1)
def test_shares_together_are_the_whole(phase: Phase, count: int, shares: int, seed: int) -> None:
    whole = due_times(phase, count, seed)
    schedule = arrivals.new_arrival(phase, seed)
    for share in range(shares):
        previous, due = -1, START_NS
        for index in range(share, count, shares):
            due = arrivals.share_due_ns(schedule, previous, index, due, START_NS)
            previous = index
            assert (due if due == NEVER_NS else due - START_NS) == whole[index]


def test_poisson_gaps_are_exponential() -> None:
    rate = 1000.0
    times = np.array(due_times(poisson(rate), 20_000, seed=7))
    gaps = np.diff(times, prepend=0)
    assert gaps.min() >= 0
    assert stats.kstest(gaps, "expon", args=(0, 1e9 / rate)).pvalue > 0.001
    assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) < 0.03


def test_poisson_depends_on_the_seed_alone() -> None:
    assert due_times(poisson(10.0), 20, seed=1) == due_times(poisson(10.0), 20, seed=1)
    assert due_times(poisson(10.0), 20, seed=1) != due_times(poisson(10.0), 20, seed=2)


def test_poisson_gaps_are_those_of_their_formula() -> None:
    key = int(arrivals.new_arrival(poisson(1.0), 3)[0]["key"])
    for index in range(50):
        assert arrivals.poisson_gap_ns(key, index, 2500.0) == naive.poisson_gap_ns(key, index, 2500.0)


def test_a_closed_loop_has_no_schedule() -> None:
    schedule = arrivals.new_arrival(Phase("p", count=1), 1)
    assert arrivals.next_due_ns(schedule, 5, START_NS + 3, START_NS) == START_NS + 3


@pytest.mark.parametrize(
    ("arrival", "rates", "duration_s", "message"),
    [
        ("bursty", (1.0,), 1.0, "unknown arrival 'bursty'"),
        ("constant", (), 1.0, "takes 1 rates, not 0"),
        ("constant", (0.0,), 1.0, "never sends anything"),
        ("poisson", (1.0, 2.0), 1.0, "takes 1 rates, not 2"),
        ("poisson", (0.0,), 1.0, "never sends anything"),
        ("ramp", (1.0,), 1.0, "takes 2 rates"),
        ("ramp", (0.0, 0.0), 1.0, "never sends anything"),
        ("ramp", (1.0, 2.0), 0.0, "needs a duration"),
        ("steps", (), 1.0, "at least one rate"),
        ("steps", (1.0,), 0.0, "needs a duration"),
        ("constant", (-1.0,), 1.0, "at least 0"),
        ("constant", (float("nan"),), 1.0, "at least 0"),
        ("constant", (1e9,), 1.0, "below 1e9"),
    ],
)
def test_impossible_schedules_are_refused(
    arrival: str, rates: tuple[float, ...], duration_s: float, message: str
) -> None:
    phase = Phase("measure", count=10, duration_s=duration_s, arrival=arrival, rates_ops_s=rates)
    with pytest.raises(ValueError, match=message) as caught:
        arrivals.new_arrival(phase, 1)
    assert "measure" in str(caught.value)
