"""The workloads that come along: they load, and say what they are said to say."""

from pathlib import Path

import pytest

from kvbench.config import load_workload, packaged_workloads
from kvbench.ops.kinds import Kind

NAMES = (
    "cas-contention", "get", "lease-churn", "load-ramp", "mixed", "paced", "put", "put-2m", "put-2m-256b-keys", "smoke",
    "watch-fanout", "ycsb-a", "ycsb-b", "ycsb-c", "ycsb-d", "ycsb-e", "ycsb-f",
)  # fmt: skip


def test_all_are_there() -> None:
    assert tuple(sorted(packaged_workloads())) == tuple(sorted(NAMES))


@pytest.mark.parametrize("name", NAMES)
def test_each_asks_one_question_in_its_first_line(name: str) -> None:
    workload = load_workload(name)
    first = Path(workload.path).read_text().splitlines()[0]
    assert first == f"# {workload.question}" and first.count("?") == 1
    assert workload.description


def mix(name: str) -> dict[Kind, float]:
    plan = load_workload(name).plan
    total = sum(item.weight for item in plan.operations)
    return {item.kind: item.weight / total for item in plan.operations}


def test_put_is_as_published() -> None:
    plan = load_workload("put").plan
    assert (plan.clients, plan.connections, plan.preload, plan.think_time_s) == (1000, 100, 0, 0.0)
    assert (plan.keys.size_bytes, plan.keys.count, plan.keys.distribution) == (256, 1_000_000, "uniform")
    assert plan.values.sizes_bytes == (256,) and mix("put") == {Kind.PUT: 1.0}
    assert [(item.duration_s, item.count, item.measured, item.arrival) for item in plan.phases] == [
        (5.0, 0, False, "closed"),
        (30.0, 2_000_000, True, "closed"),
    ]


@pytest.mark.parametrize(("name", "key_bytes", "value_bytes"), [("put-2m", 8, 256), ("put-2m-256b-keys", 256, 8)])
def test_two_million_different_keys_are_written_once_each(name: str, key_bytes: int, value_bytes: int) -> None:
    plan = load_workload(name).plan
    assert plan.keys.distribution == "sequential" and plan.keys.count == 2_000_000
    assert sum(item.count for item in plan.phases) == 2_000_000 and plan.phases[0].duration_s == 0
    assert (plan.keys.size_bytes, plan.values.sizes_bytes) == (key_bytes, (value_bytes,))
    assert plan.clients == 1000


@pytest.mark.parametrize(
    ("letter", "expected", "distribution"),
    [
        ("a", {Kind.GET: 0.5, Kind.PUT: 0.5}, "zipfian"),
        ("b", {Kind.GET: 0.95, Kind.PUT: 0.05}, "zipfian"),
        ("c", {Kind.GET: 1.0}, "zipfian"),
        ("d", {Kind.GET: 0.95, Kind.INSERT: 0.05}, "latest"),
        ("e", {Kind.RANGE: 0.95, Kind.INSERT: 0.05}, "zipfian"),
        ("f", {Kind.GET: 0.5, Kind.READ_MODIFY_WRITE: 0.5}, "zipfian"),
    ],
)
def test_ycsb_mixes_are_the_published_ones(letter: str, expected: dict[Kind, float], distribution: str) -> None:
    plan = load_workload(f"ycsb-{letter}").plan
    assert mix(f"ycsb-{letter}") == pytest.approx(expected)
    assert plan.keys.distribution == distribution and plan.preload == plan.keys.count


def test_lease_churn_has_a_connection_per_client() -> None:
    plan = load_workload("lease-churn").plan
    assert plan.clients == plan.connections


def test_load_ramp_rises() -> None:
    rates = [item.rates_ops_s[0] for item in load_workload("load-ramp").plan.phases if item.measured]
    assert len(rates) >= 5 and rates == sorted(set(rates))
