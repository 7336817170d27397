"""Servers for the tests of kvbench.targets: what this machine has, or else what is quickest to install."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kvbench.targets import found, launch, servers
from kvbench.targets.running import RunningTarget
from kvbench.targets.spec import parse_target
from tests.targets.starting import Start


@pytest.fixture(scope="session")
def newest_etcd() -> servers.FoundServer:
    """The newest etcd here."""
    here = found.find_all("etcd")
    return here[0] if here else servers.install("etcd@3.5.1")


@pytest.fixture(scope="session")
def newest_zookeeper() -> servers.FoundServer:
    """The newest ZooKeeper here."""
    here = found.find_all("zookeeper")
    return here[0] if here else servers.install("zookeeper@3.8.0")


@pytest.fixture
def start(tmp_path: Path, newest_etcd: object, newest_zookeeper: object) -> Iterator[Start]:
    """Start targets by their text; all are stopped when the test ends."""
    running: list[RunningTarget] = []

    def start_one(text: str) -> RunningTarget:
        running.append(launch.start(parse_target(text), tmp_path / f"target{len(running)}"))
        return running[-1]

    yield start_one
    for target in running:
        target.stop()


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Put a shell script of the given name first on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def write(name: str, body: str) -> Path:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    return write


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder that holds nothing."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("KVBENCH_CACHE", str(folder))
    return folder
