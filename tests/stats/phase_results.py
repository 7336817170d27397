"""Phase results made up from a seed: whole, consistent, and small."""

from dataclasses import fields, replace

import numpy as np
from hypothesis import strategies as st

from kvbench.ops.errors import ERROR_CODES, ErrorCode
from kvbench.ops.results import ERROR, HISTOGRAM_COUNT, RESPONSE, SERVICE, WAIT, PhaseResult, ThreadUse
from kvbench.stats import buckets, histograms

START_NS = 5_000_000_000


def make(
    seed: int = 1,
    seconds: int = 4,
    operations: tuple[str, ...] = ("put", "get"),
    per_second: int = 300,
    failures: int = 5,
    phase: str = "measure",
    start_ns: int = START_NS,
) -> PhaseResult:
    """A phase in which every second offers, sends and answers ``per_second`` requests of each operation."""
    rng = np.random.default_rng(seed)
    shape = (seconds, len(operations))
    completed = np.full(shape, per_second - failures, dtype=np.int64)
    errors = np.zeros((*shape, ERROR_CODES), dtype=np.int64)
    errors[:, :, ErrorCode.TIMEOUT] = failures // 2
    errors[:, :, ErrorCode.NOT_FOUND] = failures - failures // 2
    rows = []
    for second in range(seconds):
        for operation in range(len(operations)):
            service = rng.lognormal(14, 0.6, per_second).astype(np.int64)
            wait = rng.lognormal(9, 1.0, per_second).astype(np.int64)
            done = per_second - failures
            for time, values in (
                (WAIT, wait[:done]),
                (SERVICE, service[:done]),
                (RESPONSE, (wait + service)[:done]),
                (ERROR, (wait + service)[done:]),
            ):
                rows.append(rows_of(second, operation, time, values))
    return PhaseResult(
        phase=phase,
        operations=operations,
        start_ns=start_ns,
        duration_ns=seconds * 1_000_000_000 + 7_000_000,
        offered=np.full(shape, per_second, dtype=np.int64),
        sent=np.full(shape, per_second, dtype=np.int64),
        completed=completed,
        errors=errors,
        histograms=histograms.added(rows),
        threads=[ThreadUse(wall_ns=10_000, cpu_ns=3_000, run_delay_ns=1_000, send_lag_ns_max=77)],
        in_flight_cap=1000,
        in_flight_max=412,
        second_tries=3,
        reconnects=1,
        keys_touched=900,
        cpu_ns=12_345_678,
        bytes_sent=1_000_000,
        bytes_received=300_000,
        end_reason="duration",
    )


def rows_of(second: int, operation: int, time: int, values: np.ndarray) -> np.ndarray:
    numbers, counts = np.unique(buckets.bucket_of(values), return_counts=True)
    rows = np.zeros(len(numbers), dtype=HISTOGRAM_COUNT)
    rows["second"], rows["operation"], rows["time"] = second, operation, time
    rows["bucket"], rows["count"] = numbers, counts
    return rows


def split(whole: PhaseResult, second: int) -> tuple[PhaseResult, PhaseResult]:
    """The parts that became final before ``second``, and after; totals of the whole stand in the last part."""
    early = whole.histograms["second"] < second
    first = PhaseResult(
        phase=whole.phase,
        operations=whole.operations,
        start_ns=whole.start_ns,
        duration_ns=second * 1_000_000_000,
        offered=whole.offered[:second],
        sent=whole.sent[:second],
        completed=whole.completed[:second],
        errors=whole.errors[:second],
        histograms=whole.histograms[early],
    )
    late = np.arange(len(whole.offered)) >= second
    rest = replace(
        whole,
        offered=whole.offered * late[:, None],
        sent=whole.sent * late[:, None],
        completed=whole.completed * late[:, None],
        errors=whole.errors * late[:, None, None],
        histograms=whole.histograms[~early],
    )
    return first, rest


SCALARS = [f.name for f in fields(PhaseResult) if f.type is int and f.name not in ("start_ns", "duration_ns")]
counts = st.integers(0, 2**40)


@st.composite
def histogram_rows(draw: st.DrawFn, size_max: int = 30) -> np.ndarray:
    """HISTOGRAM_COUNT rows, sorted and distinct, with few enough different keys to collide."""
    keys = draw(
        st.sets(
            st.tuples(
                st.integers(0, 3), st.integers(0, 1), st.integers(0, 3), st.integers(0, 3) | st.integers(0, 33_791)
            ),
            max_size=size_max,
        )
    )
    rows = [(*key, draw(st.integers(1, 1000))) for key in sorted(keys)]
    return np.array(rows, dtype=HISTOGRAM_COUNT)


@st.composite
def phase_results(draw: st.DrawFn) -> PhaseResult:
    """Any share of one phase with two operations: numbers need not fit together."""
    seconds = draw(st.integers(0, 4))
    numbers = np.random.default_rng(draw(st.integers(0, 2**32)))

    def array(*shape: int) -> np.ndarray:
        return numbers.integers(0, 2**40, size=(seconds, 2, *shape), dtype=np.int64)

    threads = st.builds(ThreadUse, counts, counts, counts, counts)
    return PhaseResult(
        phase="measure",
        operations=("put", "get"),
        start_ns=START_NS,
        duration_ns=draw(counts),
        offered=array(),
        sent=array(),
        completed=array(),
        errors=array(ERROR_CODES),
        histograms=draw(histogram_rows()),
        threads=draw(st.lists(threads, max_size=2)),
        error_text=draw(st.sampled_from(("", "UNKNOWN: a", "UNAVAILABLE: b"))),
        **{name: draw(counts) for name in SCALARS},
        end_reason=draw(st.sampled_from(("count", "duration", "interrupted", "failed"))),
    )
