"""What a summary must know of a run beside its counts: the part of the manifest that it uses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class RunContext:
    """One run of one workload against one target."""

    workload: str
    kvbench: str
    target: Mapping[str, Any]
    """As it stands in the summary: kind, version, members, snapshots, fsync and what else is a single value; command
    lines and tables of settings stay in the manifest."""
    repeat: int = 1
    clients: int = 0
    connections: int = 0
    think_time_s: float = 0.0
    open_loop: frozenset[str] = frozenset()
    """Names of the phases whose requests are due by a schedule."""
    measured: frozenset[str] | None = None
    """Names of the phases with an entry in the summary; None: all. Preload and warm-up have none."""
    cpus: int = 0
    """Cores that the run could use; 0: not known."""
    warnings: tuple[str, ...] = field(default=())
    """Sentences known before the load began."""

    def is_measured(self, phase: str) -> bool:
        """Whether a phase has an entry in the summary."""
        return self.measured is None or phase in self.measured


def from_manifest(manifest: Mapping[str, Any]) -> RunContext:
    """Reads schema.MANIFEST_KEYS; what is missing takes RunContext's defaults."""
    workload = manifest.get("workload", "")
    plan: Mapping[str, Any] = manifest.get("plan") or {}
    phases = plan.get("phases") or []
    target: Mapping[str, Any] = manifest.get("target") or {}
    machine: Mapping[str, Any] = manifest.get("machine") or {}
    return RunContext(
        workload=str(workload.get("name", "") if isinstance(workload, Mapping) else workload),
        kvbench=str(manifest.get("kvbench", "")),
        target={key: value for key, value in target.items() if not isinstance(value, Mapping | list)},
        repeat=int(manifest.get("repeat", 1)),
        clients=int(plan.get("clients", 0)),
        connections=int(plan.get("connections", 0)),
        think_time_s=float(plan.get("think_time_s", 0.0)),
        open_loop=frozenset(phase["name"] for phase in phases if phase.get("arrival", "closed") != "closed"),
        measured=frozenset(phase["name"] for phase in phases if phase.get("measured", True)) if phases else None,
        cpus=int(machine.get("cpus") or machine.get("cores") or 0),
        warnings=tuple(manifest.get("warnings") or ()),
    )
