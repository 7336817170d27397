"""Servers from Debian packages, unpacked into a folder: never installed, so no service is started or enabled.

``apt-get download`` and ``dpkg-deb -x`` need no root.
"""

import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from kvbench.targets.cache import Progress
from kvbench.targets.commands import ask, require_tool, run_command
from kvbench.targets.running import TargetError

REMEDY_NO_APT = "this way exists on Debian and Ubuntu only"
_DOWNLOAD_REMEDY = (
    "see the lines above; apt needs network access to a Debian mirror, and `apt-get update` as root first"
)
_JAVA_LIBRARY = re.compile(r"^lib[a-z0-9.+-]+-java$")


def package_version(package: str, upstream: str) -> str:
    """The full version of ``package`` whose upstream part is ``upstream``, "" when the package lists have none.

    "3.8.0-11+deb12u2" and "3.4.23+dfsg-4" have the upstream parts 3.8.0 and 3.4.23.
    """
    for line in ask(["apt-cache", "madison", package]).splitlines():
        columns = [column.strip() for column in line.split("|")]
        if len(columns) >= 3 and re.split(r"[-+~]", columns[1].rpartition(":")[2])[0] == upstream:
            return columns[1]
    return ""


def install_etcd(version: str, product: Path, scratch: Path, progress: Progress) -> None:
    """Put etcd and etcdctl of Debian's packages into ``product``. Raises TargetError."""
    packages = _pinned(("etcd-server", "etcd-client"), version, f"etcd {version}", progress)
    root = _unpack(packages, scratch, progress)
    for name in ("etcd", "etcdctl"):
        shutil.copy2(root / "usr/bin" / name, product / name)


def install_zookeeper(version: str, product: Path, scratch: Path, progress: Progress) -> None:
    """Put the jars of Debian's ZooKeeper and of all the Java libraries it depends on into ``product/lib``.

    The libraries are taken even where this machine has them installed, so that removing those later breaks nothing.
    """
    package = _pinned(("libzookeeper-java",), version, f"ZooKeeper {version}", progress)
    libraries = _java_libraries("libzookeeper-java")
    root = _unpack([*package, *sorted(libraries - {"libzookeeper-java"})], scratch, progress)
    lib = product / "lib"
    lib.mkdir()
    jars = root / "usr/share/java"
    for jar in jars.glob("*.jar"):
        # Absolute links would leave the unpacked tree.
        source = root / os.readlink(jar).lstrip("/") if jar.is_symlink() and os.readlink(jar)[0] == "/" else jar
        if source.is_file() and not jar.name.startswith(("zookeeper-contrib", "zookeeper-it", "zookeeper-recipes")):
            shutil.copyfile(source, lib / jar.name)


def _pinned(packages: Iterable[str], version: str, what: str, progress: Progress) -> list[str]:
    """``package=version`` for each, after seeing that the lists have them."""
    for tool in ("apt-get", "apt-cache", "dpkg-deb"):
        require_tool(tool, f"unpacking Debian's package of {what}", REMEDY_NO_APT)
    _fill_empty_lists(progress)
    pinned = []
    for package in packages:
        full = package_version(package, version)
        if not full:
            raise TargetError(
                f"apt knows no package {package} of version {version}",
                "`apt-get update` as root if the package lists are old; Debian 12 has etcd 3.4.23 and ZooKeeper 3.8.0",
            )
        pinned.append(f"{package}={full}")
    return pinned


def _fill_empty_lists(progress: Progress) -> None:
    if ask(["apt-cache", "madison", "bash"]).strip():
        return
    if os.geteuid() != 0:
        raise TargetError("apt's package lists are empty", "run `apt-get update` as root, then try again")
    progress("apt's package lists are empty: apt-get update")
    run_command(["apt-get", "update"], "apt-get update", _DOWNLOAD_REMEDY, Path("/"), progress)


def _java_libraries(package: str) -> set[str]:
    """``package`` and every Java library that it depends on, directly or not; neither a JRE nor any program."""
    found = {package}
    waiting = [package]
    options = [f"--no-{kind}" for kind in ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")]
    while waiting:
        answer = ask(["apt-cache", "depends", *options, *waiting], timeout_s=60.0)
        named = re.findall(r"^ *\|?Depends: (\S+)$", answer, re.MULTILINE)
        waiting = sorted({name for name in named if _JAVA_LIBRARY.match(name)} - found)
        found.update(waiting)
    return found


def _unpack(packages: list[str], scratch: Path, progress: Progress) -> Path:
    progress(f"downloading {len(packages)} Debian packages")
    downloads, root = scratch / "packages", scratch / "root"
    downloads.mkdir()
    root.mkdir()
    run_command(["apt-get", "download", *packages], "downloading Debian packages", _DOWNLOAD_REMEDY, downloads)
    for package in sorted(downloads.glob("*.deb")):
        command = ["dpkg-deb", "-x", str(package), str(root)]
        run_command(command, f"unpacking {package.name}", "free disk space, then try again", scratch)
    return root
