"""What a request costs before it is encoded: its due time, operation, key and value. ns each in ``extra_info``."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kvbench.jit import JIT_ENABLED, kernel
from kvbench.load import arrivals, keys, mix, values
from kvbench.load.plan import Keys, Operation, Phase, Values
from kvbench.ops.kinds import Kind

REQUESTS = 1_000_000 if JIT_ENABLED else 100


@kernel
def due_times(schedule: Any, requests: int) -> int:
    due = 0
    for index in range(requests):
        due = arrivals.next_due_ns(schedule, index, due, 0)
    return due


@kernel
def operations(chosen: Any, requests: int) -> int:
    total = 0
    for index in range(requests):
        total += mix.choose(chosen, index)
    return total


@kernel
def key_choices(keyspace: Any, requests: int) -> int:
    total = 0
    for index in range(requests):
        total += keys.choose(keyspace, index, 0)
    return total


@kernel
def key_bytes(keyspace: Any, payload: Any, requests: int) -> int:
    total = 0
    for index in range(requests):
        total += keys.write_key(keyspace, index, payload, 0)
    return total


@kernel
def value_bytes(space: Any, payload: Any, requests: int) -> int:
    total = 0
    for index in range(requests):
        total += values.write_value(space, space.key, index, payload, 0)
    return total


def measure(benchmark: Any, function: Callable[..., int], *arguments: Any) -> int:
    """Time calls of ``function`` that are REQUESTS requests each; returns what one call returned."""
    function(*arguments, 1)
    result = benchmark.pedantic(function, (*arguments, REQUESTS), rounds=10)
    if benchmark.stats is not None:
        benchmark.extra_info["ns_per_request"] = round(benchmark.stats.stats.min * 1e9 / REQUESTS, 1)
    return int(result)


@pytest.mark.parametrize(
    ("arrival", "rates"), [("constant", (1e5,)), ("poisson", (1e5,)), ("ramp", (1e4, 1e5)), ("steps", (1e4, 1e5, 1e4))]
)
def test_due_time(benchmark: Any, arrival: str, rates: tuple[float, ...]) -> None:
    phase = Phase("p", duration_s=30.0, arrival=arrival, rates_ops_s=rates)
    assert measure(benchmark, due_times, arrivals.new_arrival(phase, 1)) > 0


def test_operation(benchmark: Any) -> None:
    chosen = mix.new_mix([Operation(Kind.PUT, 50.0), Operation(Kind.GET, 50.0)], 1)
    assert 0 < measure(benchmark, operations, chosen) < REQUESTS


@pytest.mark.parametrize("distribution", ["sequential", "uniform", "zipfian", "latest", "hotspot"])
def test_key_choice(benchmark: Any, distribution: str) -> None:
    keyspace = keys.new_keyspace(Keys(distribution=distribution), 1)
    assert measure(benchmark, key_choices, keyspace) > 0


@pytest.mark.parametrize(("size_bytes", "fanout"), [(256, 0), (256, 1000), (24, 0)])
def test_key_bytes(benchmark: Any, size_bytes: int, fanout: int) -> None:
    keyspace = keys.new_keyspace(Keys(size_bytes=size_bytes, fanout=fanout), 1)
    payload = np.zeros(512, np.uint8)
    assert measure(benchmark, key_bytes, keyspace, payload) == REQUESTS * size_bytes


@pytest.mark.parametrize(("size_bytes", "compressibility"), [(256, 0.0), (256, 0.5), (4096, 0.0), (8, 0.0)])
def test_value_bytes(benchmark: Any, size_bytes: int, compressibility: float) -> None:
    space = values.new_values(Values(sizes_bytes=(size_bytes,), compressibility=compressibility), 1)
    payload = np.zeros(8192, np.uint8)
    assert measure(benchmark, value_bytes, space, payload) == REQUESTS * size_bytes
