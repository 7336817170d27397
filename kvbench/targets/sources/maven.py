"""ZooKeeper's jars from a Maven repository, with ``mvn``."""

from pathlib import Path

from kvbench.targets.cache import Progress
from kvbench.targets.commands import require_tool, run_command

REMEDY_NO_MAVEN = "install Maven (Debian: apt install maven), then try again"
_REMEDY = "see the lines above; `mvn` needs network access to a Maven repository"

# logback comes first: of two versions of slf4j-api at the same depth Maven takes the one declared first, and logback
# 1.3 does not work with the slf4j 1.7 that ZooKeeper up to 3.9.2 asks for. The others are needed by the server but
# declared as "provided" by ZooKeeper.
_DEPENDENCIES = (
    ("ch.qos.logback", "logback-classic", "1.3.14"),
    ("org.apache.zookeeper", "zookeeper", ""),
    ("org.xerial.snappy", "snappy-java", "1.1.10.7"),
    ("io.dropwizard.metrics", "metrics-core", "4.1.12.1"),
)


def install_zookeeper_jars(version: str, product: Path, scratch: Path, progress: Progress) -> None:
    """Fill ``product/lib`` with the jars that a ZooKeeper server of ``version`` needs. Raises TargetError."""
    mvn = require_tool("mvn", f"fetching ZooKeeper {version}", REMEDY_NO_MAVEN)
    require_tool("java", "running Maven and ZooKeeper", "install a Java runtime (Debian: apt install default-jre)")
    (scratch / "pom.xml").write_text(_pom(version))
    progress(f"fetching ZooKeeper {version} and what it needs, with Maven")
    command = [
        mvn,
        "--batch-mode",
        "--quiet",
        "dependency:copy-dependencies",
        f"-DoutputDirectory={product / 'lib'}",
        "-DincludeScope=runtime",
    ]
    run_command(command, f"fetching ZooKeeper {version}", _REMEDY, scratch, progress)


def _pom(version: str) -> str:
    dependencies = "".join(
        f"<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>"
        f"<version>{own or version}</version></dependency>"
        for group, artifact, own in _DEPENDENCIES
    )
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>kvbench</groupId><artifactId>zookeeper-server</artifactId><version>1</version>"
        f"<dependencies>{dependencies}</dependencies></project>\n"
    )
