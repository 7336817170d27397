"""The recorder: every event counted once, in its second, whenever Python fetches what became final."""

import threading
from collections import Counter
from functools import reduce
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench.jit import JIT_ENABLED, kernel
from kvbench.load import merge, recorder
from kvbench.ops.errors import ERROR_CODES
from kvbench.ops.results import ERROR, RESPONSE, SERVICE, WAIT, PhaseResult
from tests.naive import recorder as naive

START_NS = 7_000_000_000_123
SECOND_NS = 1_000_000_000
NAMES = ("put", "get", "range")
TIMES_NS = st.one_of(st.integers(0, 5000), st.integers(0, 10 * SECOND_NS), st.integers(0, 8_000 * SECOND_NS))
STEP_NS = st.one_of(st.integers(0, SECOND_NS // 2), st.integers(0, 4 * SECOND_NS))
OPERATIONS = st.integers(0, len(NAMES) - 1)
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("time"), STEP_NS, st.just(0)),
        st.tuples(st.just("offer"), OPERATIONS, TIMES_NS),
        st.tuples(st.just("send"), OPERATIONS, st.just(0)),
        st.tuples(st.just("succeed"), OPERATIONS, TIMES_NS),
        st.tuples(st.just("fail"), OPERATIONS, TIMES_NS),
        st.tuples(st.just("drain"), st.just(0), st.just(0)),
    ),
    max_size=60,
)


def apply(events: list[tuple[str, int, int]], slots: int, longest_s: float) -> tuple[naive.Recorder, list[PhaseResult]]:
    """The twin after the events, and the parts that were drained between and after them."""
    kernels = recorder.new_recorder(len(NAMES), START_NS, longest_s, slots)
    drain = recorder.Drain(kernels, "measure", NAMES)
    twin = naive.Recorder(START_NS, len(kernels.offered))
    parts = []
    for what, one, other in events:
        if what == "time":
            twin.now += one
            recorder.roll(kernels, twin.now)
        elif what == "offer":
            twin.offer(one, twin.now - other)
            recorder.offered(kernels, one, twin.now - other)
        elif what == "send":
            twin.send(one)
            recorder.sent(kernels, one)
        elif what == "succeed":
            twin.succeed(one, twin.now - other, twin.now - other // 3)
            recorder.record(kernels, one, twin.now - other, twin.now - other // 3, twin.now)
        elif what == "fail":
            twin.fail(one, 40 + one, twin.now - other)
            recorder.record_error(kernels, one, 40 + one, twin.now - other, twin.now)
        else:
            parts.append(drain.take())
    recorder.finish(kernels, twin.now)
    parts.append(drain.take())
    assert drain.take() is None
    assert not kernels.counts.any()
    assert kernels.slots.tolist() == [recorder.FREE] * len(kernels.slots)
    return twin, [part for part in parts if part is not None]


def counted(table: Any) -> Counter[tuple[int, ...]]:
    """Positions of a counter array that are not 0, and what is there."""
    return Counter({tuple(int(i) for i in at): int(table[tuple(at)]) for at in np.argwhere(table)})


def buckets(part: PhaseResult) -> Counter[tuple[int, ...]]:
    return Counter(
        {tuple(int(row[name]) for name in ("second", "operation", "time", "bucket")): int(row["count"])
         for row in part.histograms}
    )  # fmt: skip


@settings(max_examples=200 if JIT_ENABLED else 40)
@given(EVENTS, st.sampled_from([1, 2, 3, 16]), st.sampled_from([0.0, 3.0, 400.0]))
def test_parts_add_up_to_every_event(events: list[tuple[str, int, int]], slots: int, longest_s: float) -> None:
    twin, parts = apply(events, slots, longest_s)
    whole = reduce(merge.add, parts)
    assert counted(whole.offered) == twin.offered
    assert counted(whole.sent) == twin.sent
    assert counted(whole.completed) == twin.completed
    assert counted(whole.errors) == twin.errors
    assert whole.clipped == twin.clipped
    if whole.seconds_merged == 0:
        assert buckets(whole) == twin.histograms
    totals: Counter[tuple[int, ...]] = Counter()
    for (_, *rest), count in twin.histograms.items():
        totals[tuple(rest)] += count
    found: Counter[tuple[int, ...]] = Counter()
    for (_, *rest), count in buckets(whole).items():
        found[tuple(rest)] += count
    assert found == totals


@settings(max_examples=200 if JIT_ENABLED else 40)
@given(EVENTS)
def test_with_slots_enough_every_second_has_its_own(events: list[tuple[str, int, int]]) -> None:
    twin, parts = apply(events, 64, 400.0)
    whole = reduce(merge.add, parts)
    assert whole.seconds_merged == 0
    assert buckets(whole) == twin.histograms
    order = ["second", "operation", "time", "bucket"]
    for part in parts:
        assert part.histograms.tolist() == np.sort(part.histograms, order=order).tolist()
        assert (part.histograms["count"] > 0).all()


@settings(max_examples=100 if JIT_ENABLED else 40)
@given(EVENTS)
def test_counters_of_a_part_belong_to_its_histograms(events: list[tuple[str, int, int]]) -> None:
    """In every part, also when slots are short: as many successes as response times, as many failures as errors."""
    for part in apply(events, 2, 400.0)[1]:
        for operation in range(len(NAMES)):
            for time, counters in ((RESPONSE, part.completed), (WAIT, part.completed), (SERVICE, part.completed),
                                   (ERROR, part.errors)):  # fmt: skip
                rows = part.histograms[(part.histograms["operation"] == operation) & (part.histograms["time"] == time)]
                assert rows["count"].sum() == counters[:, operation].sum()


def busy(kernels: recorder.Recorder, second: int, requests: int) -> None:
    """``requests`` answers in a second."""
    now = START_NS + second * SECOND_NS
    recorder.roll(kernels, now)
    for i in range(requests):
        recorder.record(kernels, 0, now - 3000 - i, now - 2000, now)


def test_only_whole_seconds_are_given() -> None:
    kernels = recorder.new_recorder(1, START_NS, 10.0)
    drain = recorder.Drain(kernels, "measure", ("put",))
    busy(kernels, 0, 5)
    assert drain.take() is None
    busy(kernels, 1, 7)
    part = drain.take()
    assert part is not None
    assert part.completed.tolist() == [[5]]
    assert set(part.histograms["second"].tolist()) == {0}
    recorder.finish(kernels, START_NS + SECOND_NS + 1)
    part = drain.take()
    assert part is not None
    assert part.completed.tolist() == [[0], [7]]
    assert (part.phase, part.operations, part.start_ns) == ("measure", ("put",), START_NS)
    assert part.duration_ns == SECOND_NS


def test_while_python_keeps_up_two_slots_take_turns() -> None:
    kernels = recorder.new_recorder(1, START_NS, 100.0)
    drain = recorder.Drain(kernels, "measure", ("put",))
    used = set()
    for second in range(50):
        busy(kernels, second, 1)
        used.add(int(kernels.state[recorder.SLOT]))
        drain.take()
    assert used == {0, 1}


def test_when_python_is_late_seconds_share_histograms_and_the_result_says_how_many() -> None:
    kernels = recorder.new_recorder(1, START_NS, 100.0, slots=3)
    drain = recorder.Drain(kernels, "measure", ("put",))
    for second in range(10):
        busy(kernels, second, 10 + second)
    late = drain.take()
    assert late is not None
    assert late.completed.tolist() == [[10], [11]]
    assert late.seconds_merged == 0
    busy(kernels, 10, 1)
    merged = drain.take()
    assert merged is not None
    assert merged.seconds_merged == 7
    assert merged.completed[:, 0].tolist() == [0, 0, *range(12, 20)]
    assert set(merged.histograms["second"].tolist()) == {2}
    assert merged.histograms["count"].sum() == 3 * sum(range(12, 20))
    recorder.finish(kernels, START_NS + 11 * SECOND_NS)
    last = drain.take()
    assert last is not None
    assert set(last.histograms["second"].tolist()) == {10}
    whole = reduce(merge.add, [late, merged, last])
    assert whole.seconds_merged == 7
    assert whole.completed.sum() == sum(range(10, 20)) + 1


def test_a_backlog_is_offered_in_the_second_it_was_due() -> None:
    kernels = recorder.new_recorder(1, START_NS, 100.0)
    drain = recorder.Drain(kernels, "measure", ("put",))
    for second in (0, 1, 2):
        busy(kernels, second, 1)
        recorder.offered(kernels, 0, START_NS + second * SECOND_NS)
    first = drain.take()
    recorder.offered(kernels, 0, START_NS + 5)
    busy(kernels, 3, 1)
    second_part = drain.take()
    assert first is not None and second_part is not None
    assert first.offered.tolist() == [[1], [1]]
    assert second_part.offered.tolist() == [[1], [0], [1]]


def test_times_beyond_an_hour_are_clipped_and_counted() -> None:
    kernels = recorder.new_recorder(1, START_NS, 10_000.0)
    now = START_NS + 9000 * SECOND_NS
    recorder.roll(kernels, now)
    recorder.record(kernels, 0, now - 8000 * SECOND_NS, now - 4000 * SECOND_NS, now)
    recorder.record_error(kernels, 0, 40, now - 8000 * SECOND_NS, now)
    recorder.record(kernels, 0, now - 3600 * SECOND_NS, now, now)
    recorder.finish(kernels, now)
    part = recorder.Drain(kernels, "measure", ("put",)).take()
    assert part is not None
    assert part.clipped == 4
    assert int(kernels.state[recorder.FAILED]) == part.errors.sum() == 1
    assert part.errors.shape == (9001, 1, ERROR_CODES)


def test_after_its_longest_time_a_phase_counts_in_the_last_row() -> None:
    kernels = recorder.new_recorder(1, START_NS, 3.0)
    rows = len(kernels.completed)
    drain = recorder.Drain(kernels, "measure", ("put",))
    parts = []
    for second in range(0, 3 * rows, 2):
        busy(kernels, second, 1)
        recorder.sent(kernels, 0)
        recorder.offered(kernels, 0, START_NS + second * SECOND_NS)
        parts.append(drain.take())
    recorder.finish(kernels, START_NS + 100 * SECOND_NS)
    parts.append(drain.take())
    whole = reduce(merge.add, [part for part in parts if part is not None])
    assert len(whole.completed) == rows
    assert whole.completed.sum() == whole.sent.sum() == whole.offered.sum() == len(range(0, 3 * rows, 2))


@pytest.mark.parametrize("operations", [1, 3, 10])
def test_memory_is_bounded(operations: int) -> None:
    kernels = recorder.new_recorder(operations, START_NS)
    assert kernels.counts.nbytes <= recorder.SLOTS_BYTES_MAX
    assert len(kernels.slots) >= 8


@kernel
def run(kernels: Any, requests: int, per_second: int) -> None:
    """A load thread whose clock jumps from request to request."""
    for i in range(requests):
        now = START_NS + i * (SECOND_NS // per_second)
        recorder.roll(kernels, now)
        recorder.offered(kernels, i % 3, now - 100)
        recorder.sent(kernels, i % 3)
        if i % 7 == 0:
            recorder.record_error(kernels, i % 3, 14, now - 50 * i, now)
        else:
            recorder.record(kernels, i % 3, now - 50 * i - 1, now - i, now)
    recorder.finish(kernels, START_NS + requests * (SECOND_NS // per_second))


@pytest.mark.parametrize("slots", [1, 2, 16])
def test_nothing_is_lost_between_threads(slots: int) -> None:
    requests = 1_000_000 if JIT_ENABLED else 3_000
    kernels = recorder.new_recorder(3, START_NS, 1000.0, slots)
    drain = recorder.Drain(kernels, "measure", NAMES)
    thread = threading.Thread(target=run, args=(kernels, requests, requests // 400))
    thread.start()
    parts = []
    while thread.is_alive():
        parts.append(drain.take())
    thread.join()
    parts.append(drain.take())
    whole = reduce(merge.add, [part for part in parts if part is not None])
    failed = len(range(0, requests, 7))
    assert whole.offered.sum() == whole.sent.sum() == requests
    assert whole.errors.sum() == whole.errors[:, :, 14].sum() == failed
    assert whole.completed.sum() == requests - failed
    per_time = np.bincount(whole.histograms["time"], whole.histograms["count"], minlength=4)
    assert per_time.tolist() == [requests - failed] * 3 + [failed]
