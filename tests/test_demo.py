"""The demo's choice of targets and settings."""

from pathlib import Path

from kvbench import demo
from kvbench.config import load_workload
from kvbench.run.checks import parse_targets
from kvbench.targets.found import FoundServer


def server(kind: str) -> FoundServer:
    return FoundServer(kind, "1.2.3", "cache", (Path("x"),))


def test_two_kinds_are_compared_and_one_with_itself_without_fsync() -> None:
    assert demo.targets([server("etcd"), server("zookeeper")]) == ("etcd", "zookeeper")
    assert demo.targets([server("etcd")]) == ("etcd", "etcd?fsync=off")
    assert [each.spec.fsync for each in parse_targets(demo.targets([server("etcd")]))] == [True, False]


def test_its_settings_fit_the_workload_and_a_minute() -> None:
    plan = load_workload("put", demo.SETTINGS).plan
    assert 2 * sum(phase.duration_s for phase in plan.phases) <= 45
