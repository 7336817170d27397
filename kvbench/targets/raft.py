"""The built-in store, started here: ``kvbench serve`` as a process for each member."""

import sys
from pathlib import Path
from typing import Any

from kvbench import __version__
from kvbench.targets.asking import http_get, http_get_json, parse_metrics
from kvbench.targets.cluster import LocalCluster, MemberPlan
from kvbench.targets.etcd import is_leader
from kvbench.targets.found import FoundServer
from kvbench.targets.process import tail_of
from kvbench.targets.running import Member, TargetError

SOURCE = "kvbench itself"
COMPILING = "compiling the store's machine code"
"""What a member's log says (server.compiling) while its first start on a machine takes a minute."""


def built_in(version: str) -> FoundServer:
    """The store of this kvbench. Raises TargetError when another version is asked for."""
    if version and version != __version__:
        raise TargetError(
            f"the built-in store is that of this kvbench, {__version__}, and has no version {version}",
            "leave version= out, or install that version of kvbench",
        )
    return FoundServer("raft", __version__, SOURCE, (Path(sys.executable),))


class LocalRaft(LocalCluster):
    """One or more members of the built-in store on loopback."""

    peer_ports_each = 0

    def prepare(self, plan: MemberPlan, plans: list[MemberPlan]) -> tuple[str, ...]:
        """Everything is on the command line."""
        snapshots, fsync = self.settings
        command = [
            sys.executable, "-m", "kvbench", "serve",
            f"--data-dir={plan.data_folder / 'data'}",
            f"--listen={plan.address}",
            f"--quota={self.spec.quota_bytes}B",
            *snapshots.flags,
            *fsync.flags,
        ]  # fmt: skip
        if len(plans) > 1:
            command += [f"--member={plan.index + 1}", f"--peers={','.join(one.address for one in plans)}"]
        return tuple(command)

    def not_ready_because(self) -> str:
        """Every member healthy, and exactly one leader; a member that is compiling says so and for how long."""
        for member in self.members:
            health = http_get_json(member.address, "/health")
            if not isinstance(health, dict) or health.get("health") != "true":
                last = "".join(tail_of(member.log_path, 1)) if member.log_path else ""
                if COMPILING in last:
                    return f"member {member.name} is {last[last.index(COMPILING) :]}"
                return f"member {member.name} does not say that it is healthy"
        leaders = sum(1 for member in self.members if is_leader(member.address))
        return "" if leaders == 1 else f"{leaders} members say that they lead"

    def leader_address(self) -> str | None:
        """The first member whose etcd_server_is_leader is 1."""
        return next((member.address for member in self.members if is_leader(member.address)), None)

    def counters(self, member: Member) -> dict[str, float]:
        """/metrics, without what is left out by parse_metrics."""
        text = http_get(member.metrics_address or member.address, "/metrics")
        return {} if text is None else parse_metrics(text)

    def describe_kind(self) -> dict[str, Any]:
        """quota_bytes."""
        return {"quota_bytes": self.spec.quota_bytes}
