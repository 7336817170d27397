"""The row that one look at one process leaves."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, TypedDict

KVBENCH = "kvbench"
"""The row of the benchmark's own process and the worker processes it started."""
MACHINE = "machine"
"""The row of the whole machine."""


class ResourceRow(TypedDict):
    """One sample of one member. None: not known, or not read in this sample.

    Counts are totals since the process started and take in its child processes. Sums never fall: what a child
    that has ended had used when it was last seen stays in.
    """

    t_ns: int
    """CLOCK_MONOTONIC when the sample was begun."""
    member: str
    pid: int | None
    rss_bytes: int | None
    uss_bytes: int | None
    cpu_user_s: float | None
    cpu_system_s: float | None
    read_bytes: int | None
    """Read from storage, by the kernel's account (the page cache's hits are not in it)."""
    write_bytes: int | None
    ctx_switches_voluntary: int | None
    ctx_switches_involuntary: int | None
    threads: int | None
    open_files: int | None
    data_bytes: int | None
    """Blocks allocated to the data folder's files."""
    data_apparent_bytes: int | None
    """Lengths of the data folder's files, holes and all."""
    counters: Mapping[str, float]
    """The server's own counters as it names them; for MACHINE: cpu_*_s and memory_*_bytes."""


class Watched(Protocol):
    """What the sampler needs to know of a member."""

    @property
    def name(self) -> str: ...

    @property
    def pid(self) -> int | None: ...

    @property
    def data_folder(self) -> Path | None: ...


def empty_row(t_ns: int, member: str, pid: int | None) -> ResourceRow:
    """A row in which nothing is known yet."""
    return ResourceRow(
        t_ns=t_ns,
        member=member,
        pid=pid,
        rss_bytes=None,
        uss_bytes=None,
        cpu_user_s=None,
        cpu_system_s=None,
        read_bytes=None,
        write_bytes=None,
        ctx_switches_voluntary=None,
        ctx_switches_involuntary=None,
        threads=None,
        open_files=None,
        data_bytes=None,
        data_apparent_bytes=None,
        counters={},
    )
