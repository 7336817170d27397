"""etcd started here.

Left at etcd's defaults, since they are what its users run: heartbeat 100 ms and election 1,000 ms, no automatic
compaction (so every revision is kept, as ZooKeeper keeps none), requests up to 1.5 MiB, 128 operations per
transaction, no cap on streams. Changed: quota (the same for every store that has one, 8 GiB unless ``quota=`` says
otherwise; etcd's own 2 GiB would end a long run), log level warn, loopback only. ``ETCD_*`` and Go's GOGC, GOMAXPROCS
and the like are kept out of its environment.
"""

import re
import ssl
import uuid
from functools import cached_property
from pathlib import Path
from typing import Any

from kvbench.targets.asking import http_get, http_get_json, parse_metrics
from kvbench.targets.cluster import LocalCluster, MemberPlan
from kvbench.targets.commands import ask
from kvbench.targets.found import FoundServer
from kvbench.targets.ports import LOOPBACK
from kvbench.targets.running import Member
from kvbench.targets.spec import TargetSpec
from kvbench.targets.versions import minor_version

_LEADER_GAUGE = re.compile(r"^etcd_server_is_leader (\d+)$", re.MULTILINE)


class LocalEtcd(LocalCluster):
    """One or more etcd members on loopback."""

    peer_ports_each = 1

    def __init__(self, spec: TargetSpec, server: FoundServer, folder: Path) -> None:
        super().__init__(spec, server, folder)
        self._token = f"kvbench-{uuid.uuid4().hex[:12]}"

    def prepare(self, plan: MemberPlan, plans: list[MemberPlan]) -> tuple[str, ...]:
        """etcd takes everything from its command line."""
        snapshots, fsync = self.settings
        cluster = ",".join(f"{member.name}={_peer_url(member)}" for member in plans)
        command = [
            str(self.server.path),
            f"--name={plan.name}",
            f"--data-dir={plan.data_folder / 'data'}",
            f"--listen-client-urls=http://{plan.address}",
            f"--advertise-client-urls=http://{plan.address}",
            f"--listen-peer-urls={_peer_url(plan)}",
            f"--initial-advertise-peer-urls={_peer_url(plan)}",
            f"--initial-cluster={cluster}",
            "--initial-cluster-state=new",
            f"--initial-cluster-token={self._token}",
            "--log-level=warn",
            f"--quota-backend-bytes={self.spec.quota_bytes}",
            *snapshots.flags,
            *fsync.flags,
        ]
        if minor_version(self.version) < (3, 5):
            # Its old logger knows no --log-level.
            command.append("--logger=zap")
        return tuple(command)

    def not_ready_because(self) -> str:
        """Every member healthy, the member list complete, and exactly one leader."""
        for member in self.members:
            health = http_get_json(member.address, "/health")
            if not isinstance(health, dict) or str(health.get("health")).lower() != "true":
                return f"member {member.name} does not say that it is healthy"
        listed = http_get_json(self.members[0].address, "/v3/cluster/member/list", body=b"{}")
        entries = listed.get("members", []) if isinstance(listed, dict) else []
        published = sum(1 for entry in entries if entry.get("clientURLs"))
        if published != len(self.members):
            return f"{published} of {len(self.members)} members have made themselves known"
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
        """quota_bytes, and the build as etcd states it (Go version and commit change its speed)."""
        return {"quota_bytes": self.spec.quota_bytes, "build": self._build}

    @cached_property
    def _build(self) -> list[str]:
        return ask([str(self.server.path), "--version"]).strip().splitlines()


def is_leader(address: str, tls: ssl.SSLContext | None = None) -> bool:
    """Whether the etcd at ``address`` says in /metrics that it is the leader."""
    found = _LEADER_GAUGE.search(http_get(address, "/metrics", tls) or "")
    return found is not None and found.group(1) == "1"


def _peer_url(plan: MemberPlan) -> str:
    return f"http://{LOOPBACK}:{plan.peer_ports[0]}"
