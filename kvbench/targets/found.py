"""Which servers and tools this machine has: on PATH, in kvbench's cache, in the wheel, in Debian's folders.

Versions are asked of the programs and jars themselves; the name of a cache folder is never believed.
"""

import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from kvbench.targets import jars
from kvbench.targets.cache import version_folders
from kvbench.targets.commands import ask
from kvbench.targets.sources.wheel import installed_binaries
from kvbench.targets.versions import known_data_bug, version_key

KINDS = ("etcd", "zookeeper", "etcdctl", "etcd-benchmark")
DEBIAN_JARS = Path("/usr/share/java")
_PROGRAM_NAMES = {"etcd": "etcd", "etcdctl": "etcdctl", "etcd-benchmark": "benchmark"}
# The Go linker leaves a program's module and its version in the program, one line each.
_BENCHMARK_MODULE = (
    rb"path\tgo\.etcd\.io/etcd/v3/tools/benchmark\n"
    rb"(?:mod|dep)\tgo\.etcd\.io/etcd/v3(?:/tools/benchmark)?\tv(\d+\.\d+\.\d+[0-9A-Za-z.-]*)"
)


@dataclass(frozen=True)
class FoundServer:
    """A server or tool that this machine has."""

    kind: str
    """"etcd", "zookeeper", "etcdctl" or "etcd-benchmark"."""
    version: str
    """As the program or jar itself says."""
    source: str
    """Where it was found: "PATH", "cache", "wheel", "Debian package", "ZOOKEEPER_HOME", "zkServer.sh on PATH"."""
    paths: tuple[Path, ...]
    """The program; for ZooKeeper the class path, its own jar first."""

    @property
    def path(self) -> Path:
        """The program, or ZooKeeper's own jar."""
        return self.paths[0]

    @property
    def warning(self) -> str:
        """A known data bug of this version, "" when none is known."""
        return known_data_bug(self.kind, self.version)


def find_all(kind: str) -> list[FoundServer]:
    """Every server or tool of ``kind`` found, newest first; of equal versions the one on PATH comes first."""
    found = _find_zookeepers() if kind == "zookeeper" else _find_programs(kind)
    return sorted(found, key=lambda server: version_key(server.version), reverse=True)


def version_in(kind: str, folder: Path) -> str:
    """The version of ``kind`` in one folder laid out as the cache's are; "" when there is none that answers."""
    if kind != "zookeeper":
        return _ask_version(kind, folder / _PROGRAM_NAMES[kind])
    jar = jars.find_server_jar(folder / "lib")
    return "" if jar is None else jars.jar_version(jar, jars.class_path(jar))


def _find_programs(kind: str) -> list[FoundServer]:
    program = _PROGRAM_NAMES[kind]
    candidates: list[tuple[str, Path]] = []
    on_path = shutil.which(program)
    if on_path:
        candidates.append(("PATH", Path(on_path)))
    # etcdctl lies beside etcd when it came in a wheel or a Debian package.
    for owner in (kind, "etcd") if kind == "etcdctl" else (kind,):
        candidates += [("cache", folder / program) for folder in version_folders(owner)]
    wheel = installed_binaries()
    if wheel is not None:
        candidates.append(("wheel", wheel / program))
    with ThreadPoolExecutor(max_workers=4) as pool:
        versions = list(pool.map(lambda candidate: _ask_version(kind, candidate[1]), candidates))
    return [
        FoundServer(kind, version, source, (path,))
        for (source, path), version in zip(candidates, versions, strict=True)
        if version
    ]


def _ask_version(kind: str, path: Path) -> str:
    if not (path.is_file() and os.access(path, os.X_OK)):
        return ""
    return {"etcd": _etcd_version, "etcdctl": _etcdctl_version, "etcd-benchmark": _benchmark_version}[kind](path)


def _etcd_version(path: Path) -> str:
    found = re.search(r"^etcd Version: (\S+)", ask([str(path), "--version"]), re.MULTILINE)
    return found.group(1) if found else ""


def _etcdctl_version(path: Path) -> str:
    found = re.search(r"^etcdctl version: (\S+)", ask([str(path), "version"]), re.MULTILINE)
    return found.group(1) if found else ""


def _benchmark_version(path: Path) -> str:
    # The tool has no version command.
    try:
        found = re.search(_BENCHMARK_MODULE, path.read_bytes())
    except OSError:
        return ""
    return found.group(1).decode() if found else ""


def _find_zookeepers() -> list[FoundServer]:
    found = []
    seen: set[Path] = set()
    for source, folder in _zookeeper_folders():
        jar = jars.find_server_jar(folder)
        if jar is None or jar.resolve() in seen:
            continue
        seen.add(jar.resolve())
        class_path = jars.class_path(jar)
        version = jars.jar_version(jar, class_path)
        if version:
            found.append(FoundServer("zookeeper", version, source, class_path))
    return found


def _zookeeper_folders() -> list[tuple[str, Path]]:
    folders: list[tuple[str, Path]] = []
    home = os.environ.get("ZOOKEEPER_HOME")
    if home:
        folders += [("ZOOKEEPER_HOME", Path(home) / "lib"), ("ZOOKEEPER_HOME", Path(home))]
    script = shutil.which("zkServer.sh")
    if script:
        release = Path(script).resolve().parent.parent
        folders += [("zkServer.sh on PATH", release / "lib"), ("zkServer.sh on PATH", release)]
    folders += [("cache", folder / "lib") for folder in version_folders("zookeeper")]
    folders.append(("Debian package", DEBIAN_JARS))
    return folders
