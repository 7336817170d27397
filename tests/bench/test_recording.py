"""What it costs to record a request: three histograms and the counters of its second. ns each in ``extra_info``.

The figure is a mean over 1,000,000 log-normal wait and service times inside one kernel call. Whole-run totals are sums
of seconds, made by whoever drains; the second benchmark is that.
"""

from typing import Any

import numpy as np

from kvbench.jit import JIT_ENABLED, kernel
from kvbench.load import recorder
from kvbench.ops.results import PhaseResult

REQUESTS = 1_000_000 if JIT_ENABLED else 1_000
SECONDS = 10
SECOND_NS = 1_000_000_000


@kernel
def record_all(kernels: Any, wait_ns: Any, service_ns: Any, first_ns: int, step_ns: int) -> None:
    """Record one request after another, ``step_ns`` apart, as the load loop does."""
    now = first_ns
    for i in range(len(wait_ns)):
        now += step_ns
        recorder.roll(kernels, now)
        sent_ns = now - service_ns[i]
        recorder.record(kernels, 0, sent_ns - wait_ns[i], sent_ns, now)


def times() -> tuple[Any, Any]:
    """Wait times around 60 us and service times around 440 us, both log-normal and wide."""
    generator = np.random.default_rng(1)
    wait, service = generator.lognormal(11, 1.5, REQUESTS), generator.lognormal(13, 1, REQUESTS)
    return wait.astype(np.int64), service.astype(np.int64)


def test_record_a_request(benchmark: Any) -> None:
    """At most 15 ns a request: three histograms and the second's counters, over 10 seconds drained meanwhile."""
    wait_ns, service_ns = times()
    step_ns = SECONDS * SECOND_NS // REQUESTS
    kernels = recorder.new_recorder(1, 0, 3600.0)
    drain = recorder.Drain(kernels, "measure", ("put",))
    parts: list[PhaseResult] = []
    begun = [0]

    def drained() -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Before each round: fetch what the last one left, so that slots are free and warm."""
        part = drain.take()
        if part is not None:
            parts.append(part)
        begun[0] += SECONDS * SECOND_NS
        return (kernels, wait_ns, service_ns, begun[0], step_ns), {}

    benchmark.pedantic(record_all, setup=drained, rounds=15, warmup_rounds=2)
    if benchmark.stats is not None:
        benchmark.extra_info["ns_per_request"] = round(benchmark.stats.stats.min * 1e9 / REQUESTS, 2)
        benchmark.extra_info["ns_per_request_median"] = round(benchmark.stats.stats.median * 1e9 / REQUESTS, 2)
    recorder.finish(kernels, begun[0] + (SECONDS + 1) * SECOND_NS)
    last = drain.take()
    assert last is not None
    parts.append(last)
    completed = sum(int(part.completed.sum()) for part in parts)
    assert completed % REQUESTS == 0 and completed > 0
    assert sum(int(part.histograms["count"].sum()) for part in parts) == 3 * completed


def test_drain_a_second(benchmark: Any) -> None:
    """Python's part, once a second: rows of the second's histograms, and its counters."""
    wait_ns, service_ns = times()
    kernels = recorder.new_recorder(1, 0, 3600.0)
    drain = recorder.Drain(kernels, "measure", ("put",))
    second = [0]

    def filled() -> None:
        record_all(kernels, wait_ns, service_ns, second[0] * SECOND_NS, 0)
        second[0] += 1
        recorder.roll(kernels, second[0] * SECOND_NS)

    part = benchmark.pedantic(drain.take, setup=filled, rounds=15, warmup_rounds=2)
    assert part.completed.sum() == REQUESTS
    assert part.histograms["count"].sum() == 3 * REQUESTS
