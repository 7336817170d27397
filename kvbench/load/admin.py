"""Rare calls on a target before and after a run, in plain Python: is the prefix empty, clean it, who leads."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from kvbench.load.credentials import Credentials

DeleteProgress = Callable[[int, int], None]
"""Called with (keys deleted so far, keys there were) now and then."""


NOBODY = Credentials()


@dataclass
class AdminError(Exception):
    """A target that cannot be asked. ``remedy`` says how to mend it."""

    what: str
    remedy: str = ""

    def __str__(self) -> str:
        return self.what


@dataclass(frozen=True)
class MemberStatus:
    """What one member says of itself."""

    address: str
    name: str
    version: str
    is_leader: bool
    """Whether it leads; a member that stands alone does."""
    revision: int
    """etcd: the store's revision; ZooKeeper: the last zxid."""
    data_bytes: int
    """etcd: the database file's size; 0 where the server does not say."""
    keys: int = -1
    """ZooKeeper: znodes in all; -1 where the server does not say."""


class Admin(Protocol):
    """One target. All calls raise AdminError."""

    def count_keys(self, prefix: str) -> int:
        """How many keys begin with ``prefix``."""

    def prepare_prefix(self, prefix: str) -> tuple[str, ...]:
        """Create what must stand before keys can (ZooKeeper: the parent znodes). Returns what was created here."""

    def delete_prefix(self, prefix: str, progress: DeleteProgress | None = None, created: Sequence[str] = ()) -> int:
        """Delete all keys that begin with ``prefix``, in batches, and then ``created`` if nothing is left below.

        Returns how many keys were deleted. Raises ValueError for an empty prefix.
        """

    def status(self) -> list[MemberStatus]:
        """Every member that answers, in the order of the addresses."""

    def leader_address(self) -> str:
        """host:port of the leader."""

    def revision(self) -> int:
        """The highest revision (etcd) or zxid (ZooKeeper) that any member has applied."""

    def alarms(self) -> list[str]:
        """Alarms raised, as "NOSPACE at m1"; always empty for ZooKeeper."""

    def members(self) -> list[str]:
        """host:port of every member, including those whose address was not given."""

    def close(self) -> None:
        """Close the connections; safe to call twice."""


def connect(kind: str, addresses: Sequence[str], credentials: Credentials = NOBODY, timeout_s: float = 5.0) -> Admin:
    """The rare calls of a target. ``kind``: "etcd", "raft" (which speaks etcd's API) or "zookeeper".

    Raises AdminError when credentials cannot be used. Nothing is sent until the first call.
    """
    if kind in ("etcd", "raft"):
        from kvbench.load.admin_etcd import EtcdAdmin

        return EtcdAdmin(addresses, credentials, timeout_s)
    if kind == "zookeeper":
        from kvbench.load.admin_zookeeper import ZooKeeperAdmin

        return ZooKeeperAdmin(addresses, credentials, timeout_s)
    raise ValueError(f"no rare calls for {kind!r}; known: etcd, raft, zookeeper")
