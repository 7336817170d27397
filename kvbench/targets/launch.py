"""From a target's spec to servers that answer."""

from pathlib import Path

from kvbench.targets.cache import Progress, silent
from kvbench.targets.cluster import START_TIMEOUT_S, LocalCluster
from kvbench.targets.etcd import LocalEtcd
from kvbench.targets.existing import ExistingCluster
from kvbench.targets.found import FoundServer
from kvbench.targets.raft import LocalRaft, built_in
from kvbench.targets.running import RunningTarget, TargetError
from kvbench.targets.servers import find_server, versions_with_fsync_off
from kvbench.targets.settings import settings_of
from kvbench.targets.spec import TargetSpec
from kvbench.targets.versions import has_unsafe_no_fsync
from kvbench.targets.zookeeper import LocalZookeeper

FIRST_START_TIMEOUT_S = 600.0


def check_startable(spec: TargetSpec) -> FoundServer | None:
    """The server that ``start`` would start, without starting it; None for an existing cluster.

    Raises TargetError when it is not on this machine, or its version cannot do what ``spec`` asks for. Call it for
    all targets of a run before the first one starts.
    """
    if not spec.is_local:
        return None
    server = built_in(spec.version) if spec.kind == "raft" else find_server(spec.kind, spec.version)
    if spec.kind == "etcd" and not spec.fsync and not has_unsafe_no_fsync(server.version):
        raise TargetError(
            f"etcd {server.version} cannot do fsync=off: --unsafe-no-fsync came with 3.5.0", versions_with_fsync_off()
        )
    settings_of(spec, server.version)
    return server


def start(
    spec: TargetSpec, folder: Path, progress: Progress | None = None, timeout_s: float = START_TIMEOUT_S
) -> RunningTarget:
    """Start the target's servers with fresh data below ``folder``, or reach the existing cluster.

    Returns when it answers and has a leader. Whatever goes wrong, Ctrl-C included, no process and no data is left;
    logs stay in ``folder``. Raises TargetError, with the servers' last log lines.
    """
    server = check_startable(spec)
    if server is None:
        return ExistingCluster(spec)
    kinds: dict[str, type[LocalCluster]] = {"etcd": LocalEtcd, "zookeeper": LocalZookeeper, "raft": LocalRaft}
    cluster = kinds[spec.kind](spec, server, folder)
    if spec.kind == "raft":
        # The first start compiles its machine code, which takes a minute or more.
        timeout_s = max(timeout_s, FIRST_START_TIMEOUT_S)
    cluster.start(progress or silent, timeout_s)
    return cluster
