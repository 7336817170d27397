"""The verdict on made-up phases, one fault at a time."""

from dataclasses import replace

import numpy as np
import pytest

from kvbench.ops.errors import ErrorCode
from kvbench.ops.results import PhaseResult, ThreadUse
from kvbench.stats import verdict
from tests.stats import phase_results

IDLE = ThreadUse(wall_ns=1000, cpu_ns=300, run_delay_ns=100)
PUT_ONLY = np.array([1, 0], dtype=np.int64)
BUSY = ThreadUse(wall_ns=1000, cpu_ns=850, run_delay_ns=60)


@pytest.fixture
def paced() -> PhaseResult:
    return replace(phase_results.make(failures=0, per_second=1000), threads=[IDLE])


def test_an_open_loop_that_holds_its_rate_is_paced(paced: PhaseResult) -> None:
    assert verdict.of_phase(paced, open_loop=True).name == "paced"


def test_a_closed_loop_with_waiting_threads_is_server_bound(paced: PhaseResult) -> None:
    assert verdict.of_phase(paced, open_loop=False).name == "server-bound"


@pytest.mark.parametrize("open_loop", [True, False])
def test_one_busy_thread_makes_a_run_generator_bound(paced: PhaseResult, open_loop: bool) -> None:
    found = verdict.of_phase(replace(paced, threads=[IDLE, BUSY]), open_loop)
    assert found.name == "generator-bound"
    assert "9.0 %" in found.reason


def test_a_tenth_of_waiting_is_enough(paced: PhaseResult) -> None:
    edge = ThreadUse(wall_ns=1000, cpu_ns=850, run_delay_ns=50)
    assert verdict.of_phase(replace(paced, threads=[edge]), open_loop=False).name == "server-bound"


def test_without_watched_threads_nothing_is_claimed(paced: PhaseResult) -> None:
    assert verdict.of_phase(replace(paced, threads=[]), open_loop=True).name == "unknown"


def test_a_reached_cap_is_not_paced(paced: PhaseResult) -> None:
    found = verdict.of_phase(replace(paced, cap_reached=12, in_flight_cap=10), open_loop=True)
    assert found.name == "server-bound" and "cap of 10" in found.reason


def test_unsent_requests_are_not_paced(paced: PhaseResult) -> None:
    sent = paced.sent.copy()
    sent[0, 0] -= 9
    found = verdict.of_phase(replace(paced, sent=sent), open_loop=True)
    assert found.name == "server-bound" and "9 of 8,000 due requests were never sent" in found.reason


def test_failed_requests_are_not_paced(paced: PhaseResult) -> None:
    completed = paced.completed.copy()
    completed[1, 1] -= 9
    assert "did not succeed" in verdict.of_phase(replace(paced, completed=completed), open_loop=True).reason


def test_a_compare_that_failed_was_answered_in_time(paced: PhaseResult) -> None:
    completed, errors = paced.completed.copy(), paced.errors.copy()
    completed[1, 1] -= 9
    errors[1, 1, ErrorCode.COMPARE_FAILED] += 9
    contended = replace(paced, completed=completed, errors=errors)
    assert verdict.of_phase(contended, open_loop=True).name == "paced"
    completed[1, 1] += 1
    assert verdict.of_phase(replace(paced, completed=completed), open_loop=True).name == "paced"


def test_a_backlog_at_the_end_is_not_paced(paced: PhaseResult) -> None:
    nothing = np.zeros((1, 2), dtype=np.int64)
    for late, name in ((200, "paced"), (201, "server-bound")):
        completed = np.concatenate((paced.completed, nothing))
        completed[0, 0] -= late
        completed[-1, 0] += late
        longer = replace(
            paced,
            offered=np.concatenate((paced.offered, nothing)),
            sent=np.concatenate((paced.sent, nothing)),
            completed=completed,
            errors=np.concatenate((paced.errors, np.zeros((1, 2, paced.errors.shape[2]), dtype=np.int64))),
        )
        assert verdict.of_phase(longer, open_loop=True).name == name


def test_watch_events_are_no_requests(paced: PhaseResult) -> None:
    watched = replace(paced, operations=("put", "watch"), offered=paced.offered * PUT_ONLY, sent=paced.sent * PUT_ONLY)
    assert verdict.of_phase(watched, open_loop=True).name == "paced"


def test_an_open_loop_without_requests_is_not_paced(paced: PhaseResult) -> None:
    assert verdict.of_phase(replace(paced, offered=paced.offered * 0), open_loop=True).name == "server-bound"
