"""Looks at every member once a period, in a thread of its own, and hands rows to a sink."""

import os
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence

import psutil

from kvbench.measure.budget import Budget
from kvbench.measure.folder import folder_size
from kvbench.measure.process import ProcessTree, child_pids, uss_bytes
from kvbench.measure.rows import KVBENCH, MACHINE, ResourceRow, Watched, empty_row

USS_SHARE = 0.002
FOLDER_SHARE = 0.001
CHILDREN_SHARE = 0.001
COUNTERS_SHARE = 0.004
"""Shares of one core that each costly reading may take, over all members together; see ``Sampler``."""
COUNTERS_PATIENCE_S = 1.5
"""How long the first and the last sample wait for counters."""

Counters = Callable[[Watched], Mapping[str, float]]


class CountersReader(threading.Thread):
    """Asks one member for its own counters, apart from the sampler: a member that hangs must not delay the others."""

    def __init__(self, member: Watched, counters: Counters, period_ns: int, share: float) -> None:
        super().__init__(name=f"counters-{member.name}", daemon=True)
        self._member = member
        self._counters = counters
        self._period_ns = period_ns
        self._budget = Budget(share)
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._fresh: Mapping[str, float] = {}
        self.answered = threading.Event()
        """Set once the member has been asked for the first time, whatever it answered."""

    def run(self) -> None:
        """Ask once a period until ``end``, and then once more."""
        schedule = Schedule(self._period_ns, time.monotonic_ns())
        while True:
            now_ns = time.monotonic_ns()
            if self._budget.is_due(now_ns):
                self._ask(now_ns)
            if wait_for_tick(self._ended, schedule):
                self._ask(time.monotonic_ns())
                return

    def _ask(self, now_ns: int) -> None:
        begun_ns = time.thread_time_ns()
        try:
            fresh = self._counters(self._member)
        except Exception:
            # Whatever a server in trouble answers, the samples of memory and CPU must go on.
            fresh = {}
        self._budget.spent(now_ns, time.thread_time_ns() - begun_ns)
        with self._lock:
            self._fresh = fresh
        self.answered.set()

    def take(self) -> Mapping[str, float]:
        """Counters read since the last call; empty when there are none."""
        with self._lock:
            fresh, self._fresh = self._fresh, {}
        return fresh

    def end(self) -> None:
        """Ask no more."""
        self._ended.set()


class Schedule:
    """Ticks at start + n * period: a late tick does not move the ones after it, a missed one is dropped."""

    def __init__(self, period_ns: int, start_ns: int) -> None:
        self._period_ns = max(1, period_ns)
        self._start_ns = start_ns
        self._tick = 0
        self.missed = 0

    def next_due_ns(self, now_ns: int) -> int:
        """When the next tick is due, always after ``now_ns``."""
        passed = (now_ns - self._start_ns) // self._period_ns
        self.missed += max(0, passed - self._tick)
        self._tick = max(self._tick, passed) + 1
        return self._start_ns + self._tick * self._period_ns


def wait_for_tick(ended: threading.Event, schedule: Schedule) -> bool:
    """Sleep until the next tick. Returns True at once when the end was asked for."""
    due_ns = schedule.next_due_ns(time.monotonic_ns())
    return ended.wait(max(0, due_ns - time.monotonic_ns()) / 1e9)


class MemberWatch:
    """One member: its process tree, its data folder and its counters, each read when its budget allows."""

    def __init__(self, member: Watched, counters: CountersReader | None, share: float) -> None:
        self.name = member.name
        self.pid = member.pid
        self.tree = ProcessTree(member.pid) if member.pid is not None else None
        self._folder = member.data_folder
        self._counters = counters
        self._uss = Budget(USS_SHARE * share)
        self._size = Budget(FOLDER_SHARE * share)

    def row(self, now_ns: int, everything: bool) -> ResourceRow:
        """Read the member. ``everything``: whatever it costs (the first and the last sample)."""
        row = empty_row(now_ns, self.name, self.pid)
        if self.tree is not None:
            self._read_tree(row, self.tree, now_ns, everything)
        if self._folder is not None and (everything or self._size.is_due(now_ns)):
            begun_ns = time.thread_time_ns()
            size = folder_size(self._folder)
            row["data_bytes"], row["data_apparent_bytes"] = size.allocated_bytes, size.apparent_bytes
            self._size.spent(now_ns, time.thread_time_ns() - begun_ns)
        if self._counters is not None:
            row["counters"] = self._counters.take()
        return row

    def _read_tree(self, row: ResourceRow, tree: ProcessTree, now_ns: int, everything: bool) -> None:
        use = tree.read()
        if use is None:
            return
        row["rss_bytes"] = use.rss_bytes
        row["cpu_user_s"], row["cpu_system_s"] = use.cpu_user_s, use.cpu_system_s
        if "read_bytes" not in use.denied:
            row["read_bytes"], row["write_bytes"] = use.read_bytes, use.write_bytes
        row["ctx_switches_voluntary"] = use.ctx_switches_voluntary
        row["ctx_switches_involuntary"] = use.ctx_switches_involuntary
        row["threads"] = use.threads
        if "open_files" not in use.denied:
            row["open_files"] = use.open_files
        if everything or self._uss.is_due(now_ns):
            begun_ns = time.thread_time_ns()
            row["uss_bytes"] = self._uss_of(tree)
            self._uss.spent(now_ns, time.thread_time_ns() - begun_ns)

    def _uss_of(self, tree: ProcessTree) -> int | None:
        """Sum over the tree; None when this user may not read it or the process has just ended."""
        total = 0
        for pid in tree.alive_pids():
            try:
                total += uss_bytes(pid)
            except psutil.AccessDenied:
                return None
            except psutil.NoSuchProcess:
                if pid == tree.pid:
                    return None
        return total


class _Self:
    """This process as a member."""

    name = KVBENCH
    data_folder = None

    def __init__(self) -> None:
        self.pid: int | None = os.getpid()


def machine_row(now_ns: int) -> ResourceRow:
    """The whole machine: CPU seconds over all cores since it started, and memory."""
    row = empty_row(now_ns, MACHINE, None)
    times = psutil.cpu_times()
    memory = psutil.virtual_memory()
    row["cpu_user_s"], row["cpu_system_s"] = times.user + times.nice, times.system + times.irq + times.softirq
    row["counters"] = {
        "cpu_iowait_s": times.iowait,
        "cpu_steal_s": times.steal,
        "cpu_idle_s": times.idle,
        "memory_available_bytes": float(memory.available),
        "memory_total_bytes": float(memory.total),
    }
    return row


class Sampler:
    """A thread that samples members, this process and the machine every ``period_s`` seconds.

    Cheap readings (a few files of /proc: 0.1 ms per process) are in every row. What can be costly is read every so
    many samples, so that it stays below a share of one core: USS 0.2 %, data folders 0.1 %, the search for child
    processes 0.1 %, the servers' counters 0.4 % (CPU here, not there). Between readings the field is None. The
    first sample, and the last, taken by ``stop``, read everything.

    ``sink`` is called with one row at a time, from the sampler's thread; if it raises, sampling ends and ``failure``
    holds the exception. ``counters`` is asked per member in threads of its own.
    """

    def __init__(
        self,
        members: Sequence[Watched],
        period_s: float,
        sink: Callable[[ResourceRow], object],
        counters: Counters | None = None,
    ) -> None:
        if period_s <= 0:
            raise ValueError(f"the sampling period must be above 0 s, not {period_s}")
        self._period_ns = round(period_s * 1e9)
        self._sink = sink
        self._readers = []
        watches = []
        share = 1.0 / (len(members) + 1)
        for member in members:
            reader = None
            if counters is not None:
                reader = CountersReader(member, counters, self._period_ns, COUNTERS_SHARE / len(members))
                self._readers.append(reader)
            watches.append(MemberWatch(member, reader, share))
        self._own = MemberWatch(_Self(), None, share)
        self._watches = [*watches, self._own]
        self._server_pids = {watch.pid for watch in watches if watch.pid is not None}
        self._children = Budget(CHILDREN_SHARE)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self.failure: Exception | None = None
        self.missed = 0
        """Samples left out because the one before took too long."""
        self.cpu_ns = 0
        """CPU time of the sampling thread so far."""

    def start(self) -> None:
        """Begin; the first rows are taken as soon as every member has told its counters."""
        for reader in self._readers:
            reader.start()
        self._thread.start()

    def stop(self) -> None:
        """Take a last full sample of everything and end. Safe to call twice, and without ``start``.

        A member that does not answer is waited for ``COUNTERS_PATIENCE_S`` in all.
        """
        for reader in self._readers:
            reader.end()
        until = time.monotonic() + COUNTERS_PATIENCE_S
        for reader in self._readers:
            if reader.ident is not None:
                reader.join(max(0.0, until - time.monotonic()))
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()

    def __enter__(self) -> "Sampler":
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            until = time.monotonic() + COUNTERS_PATIENCE_S
            for reader in self._readers:
                reader.answered.wait(max(0.0, until - time.monotonic()))
            schedule = Schedule(self._period_ns, time.monotonic_ns())
            self._sample(everything=True)
            while not wait_for_tick(self._ended, schedule):
                self._sample(everything=False)
                self.missed = schedule.missed
                self.cpu_ns = time.thread_time_ns()
            self._sample(everything=True)
        except Exception as error:
            self.failure = error
        self.cpu_ns = time.thread_time_ns()

    def _sample(self, everything: bool) -> None:
        now_ns = time.monotonic_ns()
        if everything or self._children.is_due(now_ns):
            begun_ns = time.thread_time_ns()
            self._find_children(self._server_pids)
            self._children.spent(now_ns, time.thread_time_ns() - begun_ns)
        for watch in self._watches:
            self._sink(watch.row(now_ns, everything))
        self._sink(machine_row(now_ns))

    def _find_children(self, stop_at: Collection[int]) -> None:
        trees = {watch.tree.pid: watch.tree for watch in self._watches if watch.tree is not None}
        for root, pids in child_pids(trees, stop_at).items():
            trees[root].set_children(pids)
