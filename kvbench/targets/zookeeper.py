"""ZooKeeper started here.

Left at ZooKeeper's defaults: tickTime 2,000 ms (so sessions of 4 to 40 s), packets up to 1 MiB, log files allocated
64 MiB at a time, the JVM's own choice of collector (G1; Serial on fewer than 2 cores, so ``cpus=0`` changes it), no
-Xms, so that resident memory is what was used. A single member runs "standalone", without the quorum protocol.

Changed, so that it is the server that is measured and not a limit: connections per address without limit (60), a
million requests outstanding (1,000), a listen backlog of 4,096 (50: a thousand connections at once would wait for
lost SYNs). No admin server, four-letter words allowed, logs at WARN (Logback without a configuration logs at DEBUG).
The JVM ends itself when out of memory, and keeps no performance data file.
"""

import os
import re
from functools import cached_property
from pathlib import Path
from typing import Any

from kvbench.targets import jars
from kvbench.targets.asking import four_letter_word, parse_mntr
from kvbench.targets.cluster import LocalCluster, MemberPlan
from kvbench.targets.commands import ask
from kvbench.targets.found import FoundServer
from kvbench.targets.ports import LOOPBACK
from kvbench.targets.running import Member, TargetError
from kvbench.targets.spec import TargetSpec

OUTSTANDING_LIMIT = 1_000_000
LISTEN_BACKLOG = 4_096
HEAP_BYTES_MAX = 4 << 30
_MODE = re.compile(r"^Mode: (\w+)", re.MULTILINE)
_STATE = re.compile(r"^zk_server_state\t(\w+)", re.MULTILINE)
_SERVES = ("leader", "follower", "standalone")

_LOGBACK = """<configuration>
  <appender name="out" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%d{ISO8601} %-5level %logger{0} %msg%n</pattern></encoder>
  </appender>
  <root level="WARN"><appender-ref ref="out"/></root>
</configuration>
"""
_LOG4J = """log4j.rootLogger=WARN, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d{ISO8601} %-5p %c{1} %m%n
"""


class LocalZookeeper(LocalCluster):
    """One or more ZooKeeper servers on loopback."""

    peer_ports_each = 2

    def __init__(self, spec: TargetSpec, server: FoundServer, folder: Path) -> None:
        super().__init__(spec, server, folder)
        java = jars.find_java()
        if java is None:
            raise TargetError(
                f"ZooKeeper {server.version} needs Java, which is neither in JAVA_HOME nor on PATH", jars.REMEDY_NO_JAVA
            )
        self._java = java
        self._configurations: dict[str, str] = {}
        self.heap_bytes = spec.heap_bytes or default_heap_bytes()

    def prepare(self, plan: MemberPlan, plans: list[MemberPlan]) -> tuple[str, ...]:
        """Write zoo.cfg, myid and the log configurations; flags go on the command line, where the manifest has them."""
        data, configuration = plan.data_folder / "data", plan.data_folder / "conf"
        data.mkdir()
        configuration.mkdir()
        (data / "myid").write_text(f"{plan.index + 1}\n")
        self._configurations[plan.name] = _zoo_cfg(plan, plans, data)
        (configuration / "zoo.cfg").write_text(self._configurations[plan.name])
        (configuration / "logback.xml").write_text(_LOGBACK)
        (configuration / "log4j.properties").write_text(_LOG4J)
        snapshots, fsync = self.settings
        return (
            self._java,
            f"-Xmx{self.heap_bytes >> 20}m",
            "-XX:+ExitOnOutOfMemoryError",
            "-XX:-UsePerfData",
            "-Dzookeeper.jmx.log4j.disable=true",
            "-Dzookeeper.admin.enableServer=false",
            "-Dzookeeper.4lw.commands.whitelist=*",
            f"-Dzookeeper.globalOutstandingLimit={OUTSTANDING_LIMIT}",
            *snapshots.flags,
            *fsync.flags,
            "-cp",
            ":".join(map(str, (configuration, *self.server.paths))),
            jars.MAIN_CLASS,
            str(configuration / "zoo.cfg"),
        )

    def not_ready_because(self) -> str:
        """Every member serving, with exactly one leader or one standalone server."""
        states = {member.name: server_state(member.address) for member in self.members}
        waiting = [name for name, state in states.items() if state not in _SERVES]
        if waiting:
            return f"{', '.join(waiting)} not serving"
        leaders = sum(state in ("leader", "standalone") for state in states.values())
        return "" if leaders == 1 else f"{leaders} members say that they lead"

    def leader_address(self) -> str | None:
        """The first member that leads or stands alone."""
        return next((member.address for member in self.members if leads(member.address)), None)

    def counters(self, member: Member) -> dict[str, float]:
        """mntr."""
        return parse_mntr(four_letter_word(member.metrics_address or member.address, "mntr") or "")

    def describe_kind(self) -> dict[str, Any]:
        """heap_bytes, the JVM, and each member's zoo.cfg."""
        return {
            "heap_bytes": self.heap_bytes,
            "java": self._java_version,
            "configuration": dict(self._configurations),
        }

    @cached_property
    def _java_version(self) -> list[str]:
        return ask([self._java, "-version"]).strip().splitlines()


def server_state(address: str) -> str:
    """ "leader", "follower", "standalone" or the like; "" when the server does not answer or does not serve yet."""
    for word, pattern in (("srvr", _MODE), ("mntr", _STATE)):
        found = pattern.search(four_letter_word(address, word) or "")
        if found is not None:
            return found.group(1).lower()
    return ""


def leads(address: str) -> bool:
    """Whether the server at ``address`` is the leader, or alone."""
    return server_state(address) in ("leader", "standalone")


def default_heap_bytes() -> int:
    """A member's heap when ``heap=`` is not given: 4 GiB, or a quarter of this machine's memory if that is less."""
    memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        with open("/sys/fs/cgroup/memory.max") as file:
            memory_bytes = min(memory_bytes, int(file.read()))
    except (OSError, ValueError):
        pass
    return min(HEAP_BYTES_MAX, memory_bytes // 4) >> 20 << 20


def _zoo_cfg(plan: MemberPlan, plans: list[MemberPlan], data: Path) -> str:
    lines = [
        "tickTime=2000",
        "initLimit=10",
        "syncLimit=5",
        f"dataDir={data}",
        f"clientPort={plan.client_port}",
        f"clientPortAddress={LOOPBACK}",
        f"clientPortListenBacklog={LISTEN_BACKLOG}",
        "maxClientCnxns=0",
    ]
    if len(plans) > 1:
        lines += [
            f"server.{member.index + 1}={LOOPBACK}:{member.peer_ports[0]}:{member.peer_ports[1]}" for member in plans
        ]
    return "\n".join(lines) + "\n"
