"""A target that answers: what the rest of kvbench may know of running servers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from kvbench.targets.spec import TargetSpec


@dataclass(frozen=True)
class Member:
    """One server of a target."""

    name: str
    address: str
    """host:port for clients."""
    pid: int | None = None
    """None: not started here, so no process to watch."""
    data_folder: Path | None = None
    log_path: Path | None = None
    command: tuple[str, ...] = ()
    metrics_address: str = ""
    """host:port that answers /metrics (etcd) or mntr (ZooKeeper)."""


class RunningTarget(Protocol):
    """A cluster that is up: started here and stopped by ``stop``, or an existing one that ``stop`` leaves alone."""

    spec: TargetSpec
    version: str
    members: list[Member]
    warnings: list[str]

    def describe(self) -> dict[str, Any]:
        """The manifest's "target": kind, version, members, snapshots, fsync, exact command lines and settings."""

    def addresses_for_load(self) -> list[str]:
        """host:port of the members that ``spec.endpoints`` selects, the leader looked up now."""

    def counters(self, member: Member) -> dict[str, float]:
        """The server's own counters by name, as it names them; empty when it does not answer within a second."""

    def dead_members(self) -> list[Member]:
        """Members started here whose process has ended."""

    def how_ended(self, member: Member) -> str:
        """How a dead member ended, in words: "exit code 1", "signal 9"."""

    def log_tail(self, lines: int = 20, members: Sequence[Member] = ()) -> str:
        """The last lines of the log of each of ``members`` (none given: of all), for an error message."""

    def stop(self) -> None:
        """End every process started here and remove its data; safe to call twice."""


@dataclass
class TargetError(Exception):
    """A target that cannot be found, started or reached. ``remedy`` says how to mend it. Exit code 3."""

    what: str
    remedy: str = ""
    log_tail: str = field(default="", repr=False)

    def __str__(self) -> str:
        return self.what
