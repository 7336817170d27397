"""Who a member is: its cluster, the other members, and the version of etcd's API that it serves."""

import hashlib
from dataclasses import dataclass

API_VERSION = "3.7.3"
"""What Status and /version say: clients decide by it what they may ask for, and where etcd's versions differ, this
store follows this one."""
CLUSTER_VERSION = "3.7.0"
"""What etcd of that version says of its cluster, and of the form of its data."""


@dataclass(frozen=True)
class ClusterMember:
    """One member as clients see it."""

    id: int
    """uint64"""
    name: str
    host: str
    port: int

    @property
    def url(self) -> str:
        """For clients and for members alike."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


@dataclass(frozen=True)
class Identity:
    """A member's place in its cluster."""

    cluster_id: int
    """uint64"""
    position: int
    members: tuple[ClusterMember, ...]

    @property
    def own(self) -> ClusterMember:
        """This member."""
        return self.members[self.position]


def derive_id(*parts: str) -> int:
    """A number from 1 to 2**63 - 1 that depends on texts alone."""
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return int.from_bytes(digest[:8], "little") & (1 << 63) - 1 or 1


def make_identity(token: str, addresses: list[tuple[str, int]], position: int) -> Identity:
    """The identity of member ``position``: all members that are started with the same token and addresses agree.

    A member that is alone may move to another address.
    """
    names = [f"{host}:{port}" for host, port in addresses] if len(addresses) > 1 else []
    cluster_id = derive_id(token, *names)
    members = tuple(
        ClusterMember(derive_id(token, *names, str(number)), f"m{number + 1}", host, port)
        for number, (host, port) in enumerate(addresses)
    )
    return Identity(cluster_id, position, members)
