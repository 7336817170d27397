"""What is checked before anything is started: better a refusal now than a failure after the first hour."""

import os
import re
import resource
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from kvbench.config import ConfigError
from kvbench.load.plan import Plan
from kvbench.load.shares import watch_connections
from kvbench.ops.kinds import Kind
from kvbench.run.request import ExitCode, RunFailure, RunRequest, Target
from kvbench.targets.existing import ExistingCluster
from kvbench.targets.launch import check_startable
from kvbench.targets.spec import TargetSpec, TargetSpecError, parse_target

FREE_BYTES_MIN = 512 << 20
FILES_BESIDE_CONNECTIONS = 128
"""Libraries, logs, results and pipes of kvbench, or the data files of a server."""
DATA_FACTOR = 3
"""A store keeps a written value in its log, its data file and often a snapshot."""
LEASES = (Kind.LEASE_GRANT, Kind.LEASE_KEEP_ALIVE, Kind.LEASE_REVOKE)


def parse_targets(texts: Sequence[str]) -> tuple[Target, ...]:
    """The targets with labels that tell them apart. Raises ConfigError."""
    targets: list[Target] = []
    for text in texts:
        try:
            spec = parse_target(text)
        except TargetSpecError as error:
            remedy = f": {error.remedy}" if error.remedy else ""
            raise ConfigError(f"--target {hide_password(text)}: {error.what}{remedy}") from None
        label = re.sub(r"[^A-Za-z0-9.]+", "-", hide_password(text)).strip("-")[:60] or spec.kind
        taken = {target.label for target in targets}
        number = 2
        unique = label
        while unique in taken:
            unique = f"{label}-{number}"
            number += 1
        targets.append(Target(hide_password(text), spec, unique))
    return tuple(targets)


def hide_password(text: str) -> str:
    """A target's text without the password it may hold."""
    return re.sub(r"(password=)[^,&]*", r"\1(hidden)", text)


def check_all(request: RunRequest) -> list[str]:
    """Refuse what cannot work: ConfigError, TargetError or RunFailure. Returns warnings."""
    for target in request.targets:
        check_cpus(f"--target {target.text}: cpus=", target.spec.cpus)
        check_engine(request.engine, request.processes, target)
        check_plan(request.workload.plan, target)
    for target in request.targets:
        if check_startable(target.spec) is None:
            # Asks every member for its version: one that does not answer, or a certificate that cannot be read.
            ExistingCluster(target.spec)
    plan = request.workload.plan
    allow_connections(plan.connections + watch_connections(plan, 0, 1))
    check_folder(request.out)
    return check_disk(request)


def check_engine(engine: str, processes: int, target: Target) -> None:
    """Refuse a target that the engine cannot reach. Raises ConfigError."""
    spec = target.spec
    if engine == "grpcio":
        if spec.kind == "zookeeper":
            raise ConfigError(f"--target {target.text}: the engine grpcio speaks to etcd only; leave --engine out")
        return
    if processes != 1:
        raise ConfigError("--processes is for --engine grpcio; the fast engine has --load-threads")
    if _uses_tls(spec):
        if spec.kind == "zookeeper":
            raise ConfigError(f"--target {target.text}: kvbench does not speak TLS to ZooKeeper; use its plain port")
        raise ConfigError(f"--target {target.text}: the fast engine does not speak TLS; add --engine grpcio")
    if spec.user and spec.kind == "etcd":
        raise ConfigError(f"--target {target.text}: the fast engine does not log in to etcd; add --engine grpcio")


def _uses_tls(spec: TargetSpec) -> bool:
    return bool(spec.tls_ca or spec.tls_cert or spec.tls_key)


def check_plan(plan: Plan, target: Target) -> None:
    """Refuse a plan that this kind of target cannot carry out. Raises ConfigError."""
    mixes = [plan.operations, *(phase.operations for phase in plan.phases)]
    leases = any(operation.kind in LEASES for mix in mixes for operation in mix)
    if target.spec.kind == "zookeeper" and leases and plan.clients != plan.connections:
        raise ConfigError(
            f"--target {target.text}: on ZooKeeper a lease is a session and a session is a connection: set"
            f" load.connections ({plan.connections:,}) equal to load.clients ({plan.clients:,})"
        )
    if not target.spec.is_local and not plan.keys.prefix.endswith("/"):
        raise ConfigError(
            f'--target {target.text}: on a cluster that kvbench did not start, keys.prefix ("{plan.keys.prefix}") has'
            " to end in /, so that it holds nobody else's keys: --set keys.prefix=kvbench/ (and keys.size_bytes to fit)"
        )


def allow_connections(connections: int) -> None:
    """Have this process, and the servers that it starts, open so many connections. Raises ConfigError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + FILES_BESIDE_CONNECTIONS
    if soft == resource.RLIM_INFINITY or needed <= soft:
        return
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise ConfigError(
            f"{connections:,} connections need {needed:,} open files, and this process may have {hard:,} (ulimit -Hn):"
            " raise that limit, or use fewer: --set load.connections=..."
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def check_folder(out: Path) -> None:
    """The results' folder can be made and written to, and is empty. Raises RunFailure."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
        taken = any(out.iterdir())
    except OSError as error:
        raise RunFailure(
            ExitCode.BAD_CONFIGURATION,
            f"cannot write results to {out}: {error.strerror}",
            "give another folder with --out",
        ) from None
    if taken:
        raise RunFailure(
            ExitCode.BAD_CONFIGURATION,
            f"{out} is not empty, and results are never overwritten",
            "give another folder with --out",
        )


def bytes_bounded(plan: Plan) -> int:
    """Bytes of keys and values that the plan's counts allow; phases ended by time alone are not in it."""
    each = plan.keys.size_bytes + plan.values.bytes_max
    return each * (plan.preload + sum(phase.count for phase in plan.phases))


def check_disk(request: RunRequest) -> list[str]:
    """Refuse a disk that is too full to begin; warn of one that counts might fill. Raises RunFailure."""
    free = shutil.disk_usage(request.out).free
    local = [target for target in request.targets if target.spec.is_local]
    shown = f"{free / (1 << 30):.1f} GiB free in {request.out}"
    if free < FREE_BYTES_MIN:
        raise RunFailure(
            ExitCode.BAD_CONFIGURATION,
            f"only {shown}, too little for servers' data and results",
            "free space there, or give a folder on another disk with --out",
        )
    members = max((target.spec.members for target in local), default=0)
    needed = DATA_FACTOR * members * bytes_bounded(request.workload.plan)
    if needed > free:
        return [f"{shown}, while the workload's counts may need {needed / (1 << 30):.1f} GiB on this machine"]
    return []


def check_cpus(option: str, cpus: Sequence[int]) -> None:
    """Refuse cores that this process may not use. Raises ConfigError, which names ``option``."""
    allowed = os.sched_getaffinity(0)
    missing = [cpu for cpu in cpus if cpu not in allowed]
    if missing:
        named, usable = ", ".join(map(str, missing)), ", ".join(map(str, sorted(allowed)))
        raise ConfigError(f"{option}: no core {named}; this process may use {usable}")
