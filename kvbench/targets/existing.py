"""A cluster that is up already: asked, never started, never stopped."""

import re
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kvbench.targets.asking import four_letter_word, http_get, http_get_json, parse_metrics, parse_mntr, why_no_answer
from kvbench.targets.cluster import select_endpoints
from kvbench.targets.etcd import is_leader
from kvbench.targets.running import Member, TargetError
from kvbench.targets.spec import TargetSpec
from kvbench.targets.versions import known_data_bug, version_key
from kvbench.targets.zookeeper import leads

_ZOOKEEPER_VERSION = re.compile(r"^Zookeeper version: (\d+\.\d+\.\d+)", re.MULTILINE)


class ExistingCluster:
    """The members named by ``spec.addresses``; implements kvbench.targets.running.RunningTarget."""

    def __init__(self, spec: TargetSpec) -> None:
        """Ask every member for its version. Raises TargetError when one does not answer."""
        self.spec = spec
        self._tls = tls_context(spec)
        self.members = [
            Member(f"m{index}", address, metrics_address=address) for index, address in enumerate(spec.addresses, 1)
        ]
        versions = [self._ask_version(member.address) for member in self.members]
        self.version = min(versions, key=version_key)
        self.warnings: list[str] = []
        if len(set(versions)) > 1:
            self.warnings.append(f"the members have different versions: {', '.join(versions)}")
        self.warnings += sorted({known_data_bug(spec.kind, version) for version in versions} - {""})

    def describe(self) -> dict[str, Any]:
        """The manifest's "target". Snapshots and fsync are the cluster's own affair and not known here."""
        return {
            "kind": self.spec.kind,
            "version": self.version,
            "members": len(self.members),
            "snapshots": "unknown",
            "fsync": None,
            "local": False,
            "endpoints": self.spec.endpoints,
            "addresses": [member.address for member in self.members],
            "tls": self._tls is not None,
            "user": self.spec.user,
            "warnings": list(self.warnings),
        }

    def addresses_for_load(self) -> list[str]:
        """host:port of the members that ``spec.endpoints`` selects, the leader looked up now. Raises TargetError."""
        return select_endpoints(self.spec, list(self.spec.addresses), self.leader_address)

    def leader_address(self) -> str | None:
        """The first member that says it is the leader."""
        for member in self.members:
            if leads(member.address) if self.spec.kind == "zookeeper" else is_leader(member.address, self._tls):
                return member.address
        return None

    def counters(self, member: Member) -> dict[str, float]:
        """etcd's /metrics or ZooKeeper's mntr; empty when it does not answer, or does not allow the question."""
        if self.spec.kind == "zookeeper":
            return parse_mntr(four_letter_word(member.metrics_address, "mntr") or "")
        return parse_metrics(http_get(member.metrics_address, "/metrics", self._tls) or "")

    def dead_members(self) -> list[Member]:
        """None: there is no process here to watch."""
        return []

    def how_ended(self, member: Member) -> str:
        """Not known here."""
        return "unknown"

    def log_tail(self, lines: int = 20, members: Sequence[Member] = ()) -> str:
        """Empty: the logs are elsewhere."""
        return ""

    def stop(self) -> None:
        """Leaves the cluster alone."""

    def _ask_version(self, address: str) -> str:
        if self.spec.kind == "zookeeper":
            text = four_letter_word(address, "srvr") or four_letter_word(address, "mntr") or ""
            found = _ZOOKEEPER_VERSION.search(text) or re.search(r"^zk_version\t(\d+\.\d+\.\d+)", text, re.MULTILINE)
            if found:
                return found.group(1)
            remedy = (
                "is it up, and is this its plain client port? It must allow `srvr`: 4lw.commands.whitelist=srvr,mntr"
            )
        else:
            answer = http_get_json(address, "/version", self._tls)
            if isinstance(answer, dict) and "etcdserver" in answer:
                return str(answer["etcdserver"])
            remedy = "is it up, and is this its client port? A cluster with TLS needs ca=file.pem"
            if self._tls is not None:
                remedy = (
                    "is it up, does its certificate name this host, and is it signed by ca=? Some need cert= and key="
                )
        why = why_no_answer(address, self._tls)
        raise TargetError(f"{self.spec.kind} at {address} does not answer: {why}", remedy)


def tls_context(spec: TargetSpec) -> ssl.SSLContext | None:
    """The TLS settings of ``spec``, None for plain connections. Raises TargetError for a file that cannot be read."""
    if not (spec.tls_ca or spec.tls_cert):
        return None
    for option, name in (("ca", spec.tls_ca), ("cert", spec.tls_cert), ("key", spec.tls_key)):
        if name:
            try:
                Path(name).read_bytes()
            except OSError as error:
                raise TargetError(
                    f"cannot read {name} ({option}=): {error.strerror}", "give the path of a PEM file that you may read"
                ) from error
    try:
        context = ssl.create_default_context(cafile=spec.tls_ca or None)
        if spec.tls_cert:
            context.load_cert_chain(spec.tls_cert, spec.tls_key)
    except (ssl.SSLError, ValueError) as error:
        files = ", ".join(name for name in (spec.tls_ca, spec.tls_cert, spec.tls_key) if name)
        raise TargetError(
            f"cannot use {files}: {error}", "they must be PEM files, the key without a passphrase"
        ) from error
    return context
