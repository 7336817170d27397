"""An etcd and a built-in store with nothing in them, for one file's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kvbench.targets import found, launch, servers
from kvbench.targets.running import RunningTarget
from kvbench.targets.spec import parse_target
from tests.like_etcd.sides import Both, Side

NEWEST = "3.7"
"""The minor version whose answers the store gives."""


@pytest.fixture(scope="module")
def etcd_version() -> str:
    """The newest etcd here of the minor version that the store follows."""
    here = [server.version for server in found.find_all("etcd") if server.version.startswith(f"{NEWEST}.")]
    if not here:
        pytest.skip(f"needs etcd {NEWEST}: kvbench servers install etcd@{servers.RECOMMENDED['etcd']}")
    return here[0]


@pytest.fixture(scope="module")
def etcd(etcd_version: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTarget]:
    """etcd with one member."""
    yield from _start(f"etcd?version={etcd_version},fsync=off", tmp_path_factory.mktemp("etcd"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTarget]:
    """The built-in store with one member."""
    yield from _start("raft?fsync=off", tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def both(etcd: RunningTarget, store: RunningTarget) -> Iterator[Both]:
    """Both, asked the same from the beginning."""
    sides = Side("etcd", etcd.members[0].address), Side("store", store.members[0].address)
    yield Both(*sides)
    for side in sides:
        side.close()


def _start(text: str, folder: Path) -> Iterator[RunningTarget]:
    target = launch.start(parse_target(text), folder / "target")
    yield target
    target.stop()
