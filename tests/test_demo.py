"""The demo's choice of targets and settings."""

from pathlib import Path

from kvbench import demo
from kvbench.config import load_workload
from kvbench.run.checks import parse_targets
from kvbench.targets.found import FoundServer


def server(kind: str) -> FoundServer:
    return FoundServer(kind, "1.2.3", "cache", (Path("x"),))


def test_the_built_in_store_is_compared_with_what_is_found_or_with_itself_without_fsync() -> None:
    assert demo.targets([server("etcd"), server("zookeeper")]) == ("raft", "etcd", "zookeeper")
    assert demo.targets([server("etcd"), server("etcd")]) == ("raft", "etcd")
    assert [each.spec.fsync for each in parse_targets(demo.targets([]))] == [True, False]


def test_its_settings_fit_the_workload_and_a_minute() -> None:
    plan = load_workload("put", demo.SETTINGS).plan
    assert 3 * sum(phase.duration_s for phase in plan.phases) <= 60
