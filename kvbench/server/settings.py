"""What one member is started with, as ``kvbench serve`` passes it to the serving process."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

SNAPSHOTS_BY_SIZE, SNAPSHOTS_OFF = -1, 0


@dataclass(frozen=True)
class MemberSettings:
    """One member."""

    data_folder: str
    addresses: tuple[tuple[str, int], ...]
    """Of all members, in the order in which every member is told them."""
    position: int = 0
    token: str = "kvbench"
    """Members of one cluster have the same; another one makes another cluster id."""
    snapshots: int = SNAPSHOTS_BY_SIZE
    """SNAPSHOTS_BY_SIZE, SNAPSHOTS_OFF, or after how many entries."""
    fsync: bool = True
    quota_bytes: int = 2 << 30
    connections: int = 16_384
    request_bytes_max: int = 3 << 19
    message_bytes_max: int = 1 << 20
    """Of entries sent to another member in one message."""
    syncs_out_max: int = 1
    election_ms: int = 1000
    heartbeat_ms: int = 100
    life_fd: int = -1
    """A pipe's reading end: the member ends when its writer is gone."""
    ready_fd: int = -1
    """Told, beside standard output, when the member is ready."""
    is_compiled: bool = False
    """The machine code is there: this process has started anew to be rid of what compiling left behind."""

    @property
    def address(self) -> tuple[str, int]:
        """This member's."""
        return self.addresses[self.position]

    @property
    def folder(self) -> Path:
        """Its data."""
        return Path(self.data_folder)

    def to_json(self) -> str:
        """For a command line."""
        return json.dumps(asdict(self))


def from_json(text: str) -> MemberSettings:
    """What ``to_json`` wrote."""
    fields = json.loads(text)
    fields["addresses"] = tuple((host, port) for host, port in fields["addresses"])
    return MemberSettings(**fields)
