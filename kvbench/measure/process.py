"""Processes and what they started: memory, CPU, IO, as sums over a process tree."""

import os
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, fields

import psutil

from kvbench.measure.switches import ThreadSwitches


def uss_bytes(pid: int) -> int:
    """Memory that only this process maps, from /proc/PID/smaps_rollup: what would be freed if it ended.

    Raises psutil.NoSuchProcess, or psutil.AccessDenied for another user's process.
    """
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            text = file.read()
    except PermissionError as error:
        raise psutil.AccessDenied(pid) from error
    except OSError as error:
        raise psutil.NoSuchProcess(pid) from error
    kilobytes = 0
    for line in text.splitlines():
        if line.startswith((b"Private_Clean:", b"Private_Dirty:", b"Private_Hugetlb:")):
            kilobytes += int(line.split()[1])
    return kilobytes * 1024


def parent_pids() -> dict[int, int]:
    """The parent of every process that this user can see (proc(5): fourth field of /proc/PID/stat)."""
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                text = file.read()
        except OSError:
            continue
        parents[int(name)] = int(text[text.rindex(b")") + 2 :].split(maxsplit=2)[1])
    return parents


def child_pids(roots: Iterable[int], stop_at: Collection[int] = ()) -> dict[int, set[int]]:
    """Descendants of each root. Neither the processes in ``stop_at`` nor what they started belong to another root."""
    children: dict[int, list[int]] = {}
    for pid, parent in parent_pids().items():
        children.setdefault(parent, []).append(pid)
    found: dict[int, set[int]] = {}
    for root in roots:
        tree: set[int] = set()
        waiting = [root]
        while waiting:
            for child in children.get(waiting.pop(), ()):
                if child not in stop_at and child not in tree:
                    tree.add(child)
                    waiting.append(child)
        found[root] = tree
    return found


def cpu_ns(exclude: Collection[int] = ()) -> int:
    """User + system time of this process and of the processes it started that still run.

    ``exclude``: pids of servers started here, which are left out with all that they started.
    """
    total = time.process_time_ns()
    own = os.getpid()
    for pid in child_pids([own], exclude)[own]:
        try:
            times = psutil.Process(pid).cpu_times()
        except psutil.Error:
            continue
        total += round((times.user + times.system) * 1e9)
    return total


@dataclass
class Use:
    """What one process, or a sum of processes, has used and holds."""

    cpu_user_s: float = 0.0
    cpu_system_s: float = 0.0
    read_bytes: int = 0
    write_bytes: int = 0
    ctx_switches_voluntary: int = 0
    ctx_switches_involuntary: int = 0
    rss_bytes: int = 0
    threads: int = 0
    open_files: int = 0
    denied: set[str] = field(default_factory=set)
    """Fields that this user may not read."""

    def add(self, other: "Use", names: Iterable[str]) -> None:
        """Add the named fields of another."""
        for name in names:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.denied |= other.denied


TOTALS = (
    "cpu_user_s",
    "cpu_system_s",
    "read_bytes",
    "write_bytes",
    "ctx_switches_voluntary",
    "ctx_switches_involuntary",
)
"""Fields that count since the process started; the others say what it holds now."""
ALL = tuple(entry.name for entry in fields(Use) if entry.name != "denied")


def read_use(process: psutil.Process, switches: ThreadSwitches) -> Use:
    """One process without its children. Raises psutil.NoSuchProcess when it has ended (a zombie has)."""
    use = Use()
    with process.oneshot():
        if process.status() == psutil.STATUS_ZOMBIE:
            raise psutil.ZombieProcess(process.pid)
        times = process.cpu_times()
        use.cpu_user_s, use.cpu_system_s = times.user, times.system
        use.rss_bytes = process.memory_info().rss
        use.threads = process.num_threads()
        use.ctx_switches_voluntary, use.ctx_switches_involuntary = switches.read()
        try:
            io = process.io_counters()
            use.read_bytes, use.write_bytes = io.read_bytes, io.write_bytes
        except psutil.AccessDenied:
            use.denied |= {"read_bytes", "write_bytes"}
        try:
            use.open_files = process.num_fds()
        except psutil.AccessDenied:
            use.denied.add("open_files")
    return use


class ProcessTree:
    """A process and what it started, read as one. Totals never fall when a child ends."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._processes: dict[int, psutil.Process | None] = {}
        self._switches: dict[int, ThreadSwitches] = {}
        self._last: dict[int, Use] = {}
        self._ended = Use()
        self._remember(pid)

    def _remember(self, pid: int) -> None:
        self._switches[pid] = ThreadSwitches(pid)
        try:
            self._processes[pid] = psutil.Process(pid)
        except psutil.Error:
            self._processes[pid] = None

    def set_children(self, pids: Iterable[int]) -> None:
        """The children that there are now, as ``child_pids`` found them."""
        for pid in pids:
            if pid not in self._processes:
                self._remember(pid)

    def alive_pids(self) -> list[int]:
        """Processes that answered when last read."""
        return [pid for pid, process in self._processes.items() if process is not None]

    def read(self) -> Use | None:
        """The tree's sum; None when its root has ended."""
        total = Use()
        for pid, process in list(self._processes.items()):
            if process is None:
                continue
            try:
                use = read_use(process, self._switches[pid])
            except psutil.NoSuchProcess:
                self._forget(pid)
                continue
            except psutil.AccessDenied:
                continue
            self._last[pid] = use
            total.add(use, ALL)
        total.add(self._ended, TOTALS)
        return total if self._processes[self.pid] is not None else None

    def _forget(self, pid: int) -> None:
        """A process has ended: keep what it had used when last seen."""
        last = self._last.pop(pid, None)
        if last is not None:
            self._ended.add(last, TOTALS)
        if pid == self.pid:
            self._processes[pid] = None
        else:
            del self._processes[pid], self._switches[pid]
