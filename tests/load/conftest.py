"""Servers for the engines' tests: null servers once per session, real ones once per module."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kvbench.calibrate import null_server
from kvbench.targets.launch import start
from kvbench.targets.running import RunningTarget
from kvbench.targets.spec import TargetSpec


@pytest.fixture(scope="session")
def null_etcd() -> Iterator[str]:
    """host:port of a null server that speaks etcd's protocol."""
    with null_server("etcd", None) as address:
        yield address


@pytest.fixture(scope="session")
def null_zookeeper() -> Iterator[str]:
    """host:port of a null server that speaks ZooKeeper's protocol."""
    with null_server("zookeeper", None) as address:
        yield address


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTarget]:
    """A real etcd with one member, empty at the module's start."""
    yield from running("etcd", tmp_path_factory.mktemp("etcd"))


@pytest.fixture(scope="module")
def zookeeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTarget]:
    """A real ZooKeeper with one member, empty at the module's start."""
    yield from running("zookeeper", tmp_path_factory.mktemp("zookeeper"))


def running(kind: str, folder: Path) -> Iterator[RunningTarget]:
    target = start(TargetSpec(kind=kind), folder)
    try:
        yield target
    finally:
        target.stop()
