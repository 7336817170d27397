"""ZooKeeper's jars: which version they are, which a server needs, and the Java to run them with."""

import os
import re
import shutil
import zipfile
from collections.abc import Iterable
from pathlib import Path

from kvbench.targets.commands import ask

MAIN_CLASS = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
REMEDY_NO_JAVA = "install a Java runtime (Debian: apt install default-jre-headless), or set JAVA_HOME"
_SERVER_JAR = re.compile(r"^zookeeper(-\d[^/]*)?\.jar$")
_POM = "META-INF/maven/org.apache.zookeeper/zookeeper/pom.properties"


def find_java() -> str | None:
    """``$JAVA_HOME/bin/java`` if it can be run, else the `java` on PATH, else None."""
    home = os.environ.get("JAVA_HOME")
    if home:
        own = Path(home) / "bin" / "java"
        if os.access(own, os.X_OK):
            return str(own)
    return shutil.which("java")


def find_server_jar(folder: Path) -> Path | None:
    """ZooKeeper's own jar in ``folder``: ``zookeeper.jar`` or ``zookeeper-<version>.jar``."""
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return None
    return next((folder / name for name in names if _SERVER_JAR.match(name)), None)


def jar_version(jar: Path, class_path: Iterable[Path]) -> str:
    """The version of ZooKeeper's jar, read from the jar itself; asked of Java if the jar does not say; else ""."""
    manifest = _manifest(jar)
    declared = manifest.get("Implementation-Version") or manifest.get("Bundle-Version") or _pom_version(jar)
    found = re.match(r"\d+\.\d+\.\d+", declared)
    if found:
        return found.group()
    java = find_java()
    if java is None:
        return ""
    command = [java, "-cp", ":".join(map(str, class_path)), "org.apache.zookeeper.Version"]
    answered = re.search(r"version (\d+\.\d+\.\d+)", ask(command))
    return answered.group(1) if answered else ""


def class_path(server_jar: Path) -> tuple[Path, ...]:
    """The jars that a server needs, ZooKeeper's own first.

    A folder of ZooKeeper's own (a release, or filled by Maven) is taken whole. In a folder shared with other
    programs, Debian's, the jars' own Class-Path lines are followed by file name, and slf4j's log4j binding is added.
    """
    folder = server_jar.parent
    named = _manifest_closure(server_jar)
    if len(named) > 1:
        backend = [folder / name for name in ("slf4j-reload4j.jar", "slf4j-log4j12.jar")]
        logger = [folder / name for name in ("reload4j.jar", "log4j-1.2.jar")]
        extra = [*[jar for jar in backend if jar.is_file()][:1], *[jar for jar in logger if jar.is_file()][:1]]
        extra += [jar for jar in [folder / "metrics-core.jar", folder / "snappy-java.jar"] if jar.is_file()]
        return tuple(dict.fromkeys([*named, *extra]))
    return (server_jar, *sorted(jar for jar in folder.glob("*.jar") if jar != server_jar))


def _manifest_closure(server_jar: Path) -> list[Path]:
    folder = server_jar.parent
    found = [server_jar]
    for jar in found:
        for entry in _manifest(jar).get("Class-Path", "").split():
            sibling = folder / Path(entry).name
            if sibling not in found and sibling.is_file():
                found.append(sibling)
    return found


def _manifest(jar: Path) -> dict[str, str]:
    try:
        with zipfile.ZipFile(jar) as archive:
            text = archive.read("META-INF/MANIFEST.MF").decode("utf-8", "replace")
    except (OSError, KeyError, zipfile.BadZipFile):
        return {}
    # A line that begins with a blank continues the one before it.
    lines = text.replace("\r\n", "\n").replace("\n ", "").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines) if value}


def _pom_version(jar: Path) -> str:
    try:
        with zipfile.ZipFile(jar) as archive:
            text = archive.read(_POM).decode("utf-8", "replace")
    except (OSError, KeyError, zipfile.BadZipFile):
        return ""
    found = re.search(r"^version=(.+)$", text, re.MULTILINE)
    return found.group(1).strip() if found else ""
