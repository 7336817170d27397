"""A cluster of servers started here: what etcd and ZooKeeper have in common."""

import re
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kvbench.targets.cache import Progress, silent
from kvbench.targets.found import FoundServer
from kvbench.targets.guard import guard
from kvbench.targets.ports import LOOPBACK, free_ports, require_free
from kvbench.targets.process import STOP_PATIENCE_FRESH_S, STOP_PATIENCE_S, ServerProcess, tail_of
from kvbench.targets.running import Member, TargetError
from kvbench.targets.settings import settings_of
from kvbench.targets.spec import TargetSpec

START_TIMEOUT_S = 60.0
START_ATTEMPTS = 4
SAY_EVERY_S = 10.0
_PORT_TAKEN = re.compile(r"address already in use|BindException", re.IGNORECASE)
_POLL_S = 0.05


@dataclass(frozen=True)
class MemberPlan:
    """One member before it is started."""

    index: int
    name: str
    client_port: int
    peer_ports: tuple[int, ...]
    data_folder: Path
    log_path: Path

    @property
    def address(self) -> str:
        """host:port for clients."""
        return f"{LOOPBACK}:{self.client_port}"


class _PortTakenError(Exception):
    """A member could not listen: another process was faster."""


class LocalCluster(ABC):
    """Servers of one kind started here; implements kvbench.targets.running.RunningTarget.

    Data lies in ``folder/<member>``, removed by ``stop``; logs in ``folder/<member>.log`` stay. Every server leads a
    session of its own, so that Ctrl-C in a terminal reaches kvbench only, which then stops them.
    """

    peer_ports_each: int

    def __init__(self, spec: TargetSpec, server: FoundServer, folder: Path) -> None:
        self.spec = spec
        self.server = server
        self.version = server.version
        self.folder = folder.absolute()
        self.members: list[Member] = []
        self.warnings: list[str] = [server.warning] if server.warning else []
        self.settings = settings_of(spec, server.version)
        self.keep_data = False
        self._plans: list[MemberPlan] = []
        self._processes: list[ServerProcess] = []
        self._data_folders: list[Path] = []

    @abstractmethod
    def prepare(self, plan: MemberPlan, plans: list[MemberPlan]) -> tuple[str, ...]:
        """Write what the member needs into its data folder, which exists and is empty; return its command."""

    @abstractmethod
    def not_ready_because(self) -> str:
        """Ask every member; "" when all answer and agree on a leader, else what is missing."""

    @abstractmethod
    def leader_address(self) -> str | None:
        """host:port of the leader now; a single server is its own. None when there is none or it does not answer."""

    @abstractmethod
    def counters(self, member: Member) -> dict[str, float]:
        """The server's own counters by name; empty when it does not answer within a second."""

    @abstractmethod
    def describe_kind(self) -> dict[str, Any]:
        """What describe() says beyond what all kinds have."""

    def start(self, progress: Progress = silent, timeout_s: float = START_TIMEOUT_S) -> None:
        """Start all members at once and wait until the cluster answers. Leaves nothing behind when it raises."""
        try:
            for attempt in range(1, START_ATTEMPTS + 1):
                try:
                    self._start_once(progress, timeout_s)
                    return
                except _PortTakenError:
                    self._end_processes()
                    self._remove_data()
                    if attempt == START_ATTEMPTS or self._asked_port():
                        raise TargetError(
                            f"{self._name()} could not listen: other processes took its ports",
                            "leave port= out to let kvbench choose, or try again",
                            self.log_tail(),
                        ) from None
                    progress("a port was taken in between; trying others")
        except OSError as error:
            self._abandon()
            where = error.filename or self.folder
            raise TargetError(
                f"cannot prepare {where} for {self._name()}: {error.strerror}",
                "choose another folder, or free disk",
            ) from error
        except BaseException:
            self._abandon()
            raise

    def addresses_for_load(self) -> list[str]:
        """host:port of the members that ``spec.endpoints`` selects, the leader looked up now. Raises TargetError."""
        return select_endpoints(self.spec, [member.address for member in self.members], self.leader_address)

    def dead_members(self) -> list[Member]:
        """Members whose process has ended."""
        return [
            member
            for member, process in zip(self.members, self._processes, strict=False)
            if process.exit_code() is not None
        ]

    def how_ended(self, member: Member) -> str:
        """ "exit code 1", "signal 9"; "" for a member that still runs."""
        code = self._processes[self.members.index(member)].exit_code()
        return "" if code is None else _ending(code)

    def log_tail(self, lines: int = 20, members: Sequence[Member] = ()) -> str:
        """The last lines of the log of each of ``members`` (none given: of all), without Java's stack frames."""
        names = {member.name for member in members}
        parts = []
        for plan in self._plans:
            if names and plan.name not in names:
                continue
            tail = [line for line in tail_of(plan.log_path, 20 * lines) if not line.startswith("\tat ")][-lines:]
            parts.append("\n".join([f"-- {plan.name} ({plan.log_path}):", *(tail or ["(empty)"])]))
        return "\n".join(parts)

    def describe(self) -> dict[str, Any]:
        """The manifest's "target"."""
        snapshots, fsync = self.settings
        return {
            "kind": self.spec.kind,
            "version": self.version,
            "members": self.spec.members,
            "snapshots": self.spec.snapshots,
            "fsync": self.spec.fsync,
            "local": True,
            "endpoints": self.spec.endpoints,
            "addresses": [plan.address for plan in self._plans],
            "cpus": list(self.spec.cpus),
            "source": self.server.source,
            "program": str(self.server.path),
            "settings": {
                name: {"option": setting.option, "flags": list(setting.flags), "cost": setting.cost}
                for name, setting in (("snapshots", snapshots), ("fsync", fsync))
            },
            "commands": {member.name: list(member.command) for member in self.members},
            "warnings": list(self.warnings),
        } | self.describe_kind()

    def stop(self) -> None:
        """End every process and, unless ``keep_data`` is set, remove the data; safe to call twice."""
        try:
            self._end_processes()
        finally:
            if self.keep_data:
                for folder in self._data_folders:
                    guard().forget_folder(folder)
            else:
                self._remove_data()

    def _start_once(self, progress: Progress, timeout_s: float) -> None:
        self._plans = self._plan()
        began = time.monotonic()
        progress(f"starting {self._name()}, {self.spec.members} member{'s' if self.spec.members > 1 else ''}")
        guard().start()
        commands = []
        for plan in self._plans:
            self._make_data_folder(plan)
            commands.append(self.prepare(plan, self._plans))
        self.members, self._processes = [], []
        for plan, command in zip(self._plans, commands, strict=True):
            process = ServerProcess(command, plan.log_path, self.spec.cpus, plan.data_folder)
            self._processes.append(process)
            self.members.append(
                Member(
                    plan.name, plan.address, process.pid, plan.data_folder, plan.log_path, process.command, plan.address
                )
            )
        self._wait_until_ready(began, timeout_s, progress)
        progress(f"{self._name()} is ready after {time.monotonic() - began:.1f} s")

    def _plan(self) -> list[MemberPlan]:
        count = self.spec.members
        asked = self._asked_port()
        clients = list(range(asked, asked + count)) if asked else free_ports(count)
        if asked:
            for port in clients:
                require_free(port, self._name())
        peers = free_ports(count * self.peer_ports_each, clients) if self.peer_ports_each else []
        plans = []
        for index in range(count):
            own = tuple(peers[index * self.peer_ports_each : (index + 1) * self.peer_ports_each])
            name = f"m{index + 1}"
            plans.append(MemberPlan(index, name, clients[index], own, self.folder / name, self.folder / f"{name}.log"))
        return plans

    def _make_data_folder(self, plan: MemberPlan) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if plan.data_folder.exists():
            raise TargetError(
                f"{plan.data_folder} is there already; a server starts with a fresh data folder",
                "remove it, or choose another folder",
            )
        # Told first, so that no folder is left if kvbench is killed in between.
        guard().watch_folder(plan.data_folder)
        self._data_folders.append(plan.data_folder)
        plan.data_folder.mkdir()
        plan.log_path.unlink(missing_ok=True)

    def _wait_until_ready(self, began: float, timeout_s: float, progress: Progress) -> None:
        say_at = began + SAY_EVERY_S
        while True:
            self._raise_if_one_died()
            missing = self.not_ready_because()
            if not missing:
                return
            now = time.monotonic()
            if now >= say_at:
                progress(f"still waiting for {self._name()} after {now - began:.0f} s: {missing}")
                say_at += SAY_EVERY_S
            if now > began + timeout_s:
                raise TargetError(
                    f"{self._name()} did not become ready within {timeout_s:g} s: {missing}",
                    "see its log below; a loaded machine may need fewer members",
                    self.log_tail(),
                )
            time.sleep(_POLL_S)

    def _raise_if_one_died(self) -> None:
        for plan, process in zip(self._plans, self._processes, strict=True):
            code = process.exit_code()
            if code is None:
                continue
            if _PORT_TAKEN.search("\n".join(tail_of(plan.log_path, 200))):
                raise _PortTakenError
            died = [member for member in self.members if member.name == plan.name]
            raise TargetError(
                f"{self._name()}: member {plan.name} ended while starting ({_ending(code)})",
                "see its log below",
                self.log_tail(members=died),
            )

    def _end_processes(self) -> None:
        # Who ends with the rest of the cluster, an etcd leader above all, waits in vain for it to take over.
        deadline = time.monotonic() + (STOP_PATIENCE_S if self.keep_data else STOP_PATIENCE_FRESH_S)
        try:
            for process in self._processes:
                process.ask_to_stop()
            for process in self._processes:
                process.wait(max(0.0, deadline - time.monotonic()))
        finally:
            # Whatever interrupts the wait, no server is left behind.
            for process in self._processes:
                process.kill()

    def _abandon(self) -> None:
        self._end_processes()
        self._remove_data()

    def _remove_data(self) -> None:
        for folder in self._data_folders:
            shutil.rmtree(folder, ignore_errors=True)
            guard().forget_folder(folder)
        self._data_folders.clear()

    def _asked_port(self) -> int:
        return int(dict(self.spec.options).get("port", "0"))

    def _name(self) -> str:
        return f"{self.spec.kind} {self.version}"


def _ending(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {-code}"


def select_endpoints(spec: TargetSpec, addresses: list[str], find_leader: Callable[[], str | None]) -> list[str]:
    """The addresses that ``spec.endpoints`` selects. Raises TargetError when there is no leader to tell them by."""
    if spec.endpoints == "all":
        return list(addresses)
    leader = find_leader()
    if leader is None:
        raise TargetError(
            f"endpoints={spec.endpoints}: no member of {spec.kind} says that it is the leader",
            "use endpoints=all, or name every member of the cluster in the target",
        )
    if spec.endpoints == "leader":
        return [leader]
    return [address for address in addresses if address != leader]
