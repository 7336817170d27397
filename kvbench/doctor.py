"""Is this machine fit to measure on? Each finding says what was seen, whether that is ok, and what to do if not.

Everything is measured for real and within a few seconds. Nothing is changed but a scratch file that is removed.
"""

import ctypes
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from kvbench.measure import machine
from kvbench.targets.cache import cache_folder
from kvbench.targets.found import find_all
from kvbench.targets.jars import find_java
from kvbench.targets.servers import install_remedy
from kvbench.targets.versions import known_data_bug

OK, WARN, BAD = "ok", "warn", "bad"

FILES_MIN = 4096
"""File descriptors for a few thousand connections."""
MEMORY_WARN_BYTES, MEMORY_BAD_BYTES = 2 << 30, 512 << 20
DISK_WARN_BYTES, DISK_BAD_BYTES = 5 << 30, 512 << 20
STEAL_WARN, STEAL_BAD = 0.01, 0.05
BUSY_WARN = 0.2
GOOD_CLOCKS = ("tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page", "xen")
"""Clock sources that are read without a system call."""
MEMORY_FILE_SYSTEMS, NETWORK_FILE_SYSTEMS = ("tmpfs", "ramfs"), ("nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs")
SYNC_BYTES = 2300
"""An append of a store's log under load."""
SYNC_COUNT, SYNC_SECONDS = 300, 2.0
SYNC_TOO_FAST_US, SYNC_SLOW_US, SYNC_BAD_US = 15.0, 5_000.0, 50_000.0
LAG_WAKES, LAG_PERIOD_S = 500, 0.0005
LAG_WARN_US, LAG_BAD_US = 500.0, 5_000.0
PR_SET_TIMERSLACK, PR_GET_TIMERSLACK = 29, 30


@dataclass(frozen=True)
class Finding:
    """One line."""

    name: str
    state: str
    """"ok", "warn" or "bad"."""
    seen: str
    remedy: str = ""
    """Empty when all is well."""


def examine(results: Path) -> list[Finding]:
    """All findings. ``results``: the folder that results would go to; it need not exist."""
    found: list[Finding] = []
    for look in (cores, governor, steal_and_load, swap, files, clock, wake_up_lag, memory):
        found.append(look())
    place = existing_parent(results)
    temporary = Path(tempfile.gettempdir())
    places = [("results", place)] + ([("temporary", temporary)] if temporary != place else [])
    for name, folder in places:
        found += [file_system(name, folder), free_disk(name, folder), sync_time(name, folder)]
    return [*found, *servers(), java(), build_tools(), compiled_kernels()]


def existing_parent(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    place = folder.absolute()
    while not place.is_dir():
        place = place.parent
    return place


def cores() -> Finding:
    """How many cores kvbench may use."""
    count = len(os.sched_getaffinity(0))
    limit = machine.cpu_limit()
    seen = f"{count} ({machine.cpu_model()})" + (f", limited to {limit:g} by the control group" if limit else "")
    if count == 1 or 0 < limit < 2:
        return Finding("cores", WARN, seen, "client and server share one core: give the machine two or more")
    return Finding("cores", OK, seen)


def governor() -> Finding:
    """The cores' frequency governor."""
    seen = machine.governor()
    if not seen:
        return Finding("CPU governor", OK, "not shown by this machine (usual on virtual ones)")
    if seen == "performance":
        return Finding("CPU governor", OK, seen)
    remedy = "speed follows the load: cpupower frequency-set -g performance (as root)"
    return Finding("CPU governor", WARN, seen, remedy)


def steal_and_load(seconds: float = 0.5) -> Finding:
    """CPU time taken by the hypervisor and used by others, over a moment in which kvbench does nothing."""
    before = psutil.cpu_times()
    time.sleep(seconds)
    after = psutil.cpu_times()
    grown = {name: getattr(after, name) - getattr(before, name) for name in after._fields}
    total = max(sum(grown[name] for name in grown if not name.startswith("guest")), 1e-9)
    steal = max(grown.get("steal", 0.0) / total, machine.steal_share())
    busy = 1.0 - (grown["idle"] + grown.get("iowait", 0.0)) / total
    seen = f"steal {100 * steal:.1f} %, others use {100 * busy:.0f} % of the cores"
    if steal > STEAL_BAD:
        return Finding("steal and load", BAD, seen, "the hypervisor gives this machine's cores away: use another one")
    if steal > STEAL_WARN:
        return Finding("steal and load", WARN, seen, "repeat and interleave: kvbench run --repeat 10")
    if busy > BUSY_WARN:
        return Finding("steal and load", WARN, seen, "stop what else runs here (top shows it)")
    return Finding("steal and load", OK, seen)


def swap() -> Finding:
    """Swapped memory makes any process slow at random."""
    used = psutil.swap_memory()
    if used.total == 0:
        return Finding("swap", OK, "none")
    seen = f"{size(used.used)} of {size(used.total)} used"
    if used.used > 64 << 20:
        return Finding("swap", WARN, seen, "free memory and empty it: swapoff -a && swapon -a (as root)")
    return Finding("swap", OK, seen)


def files() -> Finding:
    """How many files (and so connections) a process may open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    seen = f"{soft:,}, could be {hard:,}"
    if soft >= FILES_MIN:
        return Finding("ulimit -n", OK, seen)
    if hard >= FILES_MIN:
        return Finding("ulimit -n", WARN, seen, f"in this shell: ulimit -n {min(hard, 65536)}")
    return Finding("ulimit -n", BAD, seen, "raise nofile in /etc/security/limits.conf, then log in again")


def clock() -> Finding:
    """What the clock is read from, and what that costs."""
    seen = machine.clock_source()
    reads = 20_000
    start = time.perf_counter_ns()
    for _ in range(reads):
        time.monotonic_ns()
    each = (time.perf_counter_ns() - start) / reads
    shown = f"{seen or 'unknown'}, {each:.0f} ns a reading from Python"
    if not seen or seen.startswith(GOOD_CLOCKS):
        return Finding("clock source", OK, shown)
    return Finding(
        "clock source", BAD, shown, "reading it is a system call; boot with clocksource=tsc, or use another machine"
    )


def wake_up_lag() -> Finding:
    """How late a thread wakes up that asks to be woken 2,000 times a second, with a timer slack of 1 ns."""
    libc = ctypes.CDLL(None, use_errno=True)
    slack_ns = libc.prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0)
    libc.prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
    try:
        lags = []
        due = time.monotonic() + LAG_PERIOD_S
        for _ in range(LAG_WAKES):
            time.sleep(max(0.0, due - time.monotonic()))
            lags.append((time.monotonic() - due) * 1e6)
            due = max(due + LAG_PERIOD_S, time.monotonic())
    finally:
        libc.prctl(PR_SET_TIMERSLACK, max(slack_ns, 1), 0, 0, 0)
    p50, p99 = quantile(lags, 0.50), quantile(lags, 0.99)
    seen = f"p50 {p50:.0f} µs, p99 {p99:.0f} µs (timer slack by default {slack_ns / 1000:.0f} µs)"
    remedy = "wait times will show it: stop what else runs here, or forbid deep sleep (cpupower idle-set -D 0)"
    if p99 > LAG_BAD_US:
        return Finding("wake-up lag", BAD, seen, remedy)
    return Finding("wake-up lag", WARN, seen, remedy) if p99 > LAG_WARN_US else Finding("wake-up lag", OK, seen)


def memory() -> Finding:
    """Memory for servers and client."""
    found = psutil.virtual_memory()
    seen = f"{size(found.available)} free of {size(found.total)}"
    remedy = "stop what else uses memory; 2,000,000 keys of 256 bytes need 2 to 4 GB in a store"
    if found.available < MEMORY_BAD_BYTES:
        return Finding("memory", BAD, seen, remedy)
    return Finding("memory", WARN, seen, remedy) if found.available < MEMORY_WARN_BYTES else Finding("memory", OK, seen)


def file_system(name: str, folder: Path) -> Finding:
    """What the folder's files lie on."""
    where = machine.file_system(folder)
    title = f"{name} folder"
    seen = f"{where.kind or 'unknown'} ({folder})"
    if where.kind in NETWORK_FILE_SYSTEMS:
        return Finding(title, BAD, seen, "a network disk measures the network: use a local one (--out)")
    if where.kind in MEMORY_FILE_SYSTEMS:
        state = WARN if name == "results" else OK
        return Finding(title, state, seen, "fsync costs nothing in memory: use a disk (--out)" if state == WARN else "")
    if where.kind == "overlay":
        return Finding(title, WARN, seen, "a container's layer: mount a volume, and give it with --out")
    return Finding(title, OK, seen)


def free_disk(name: str, folder: Path) -> Finding:
    """Space for data and results."""
    free = shutil.disk_usage(folder).free
    title = f"{name} disk space"
    remedy = "free space, or use a folder on another disk (--out)"
    if free < DISK_BAD_BYTES:
        return Finding(title, BAD, f"{size(free)} free", remedy)
    state = WARN if free < DISK_WARN_BYTES else OK
    return Finding(title, state, f"{size(free)} free", remedy if state == WARN else "")


def sync_time(name: str, folder: Path) -> Finding:
    """How long fdatasync takes after a small append: what every acknowledged write of a store waits for."""
    title = f"{name} fdatasync"
    try:
        times_us = measure_sync(folder)
    except OSError as error:
        remedy = "use a folder that you may write to (--out)"
        return Finding(title, BAD, f"cannot be measured: {error.strerror}", remedy)
    p50, p99 = quantile(times_us, 0.50), quantile(times_us, 0.99)
    seen = f"p50 {p50:,.0f} µs, p99 {p99:,.0f} µs ({len(times_us)} appends of {SYNC_BYTES:,} bytes)"
    if p50 < SYNC_TOO_FAST_US:
        state = WARN if name == "results" else OK
        return Finding(title, state, seen, "this disk does not really sync: results say nothing of one that does")
    if p99 > SYNC_BAD_US:
        return Finding(title, BAD, seen, "stores will stall: use a faster or less busy disk (--out)")
    if p99 > SYNC_SLOW_US:
        return Finding(title, WARN, seen, "slow: use an SSD, and see that nothing else writes to it")
    return Finding(title, OK, seen)


def measure_sync(folder: Path, count: int = SYNC_COUNT, seconds: float = SYNC_SECONDS) -> list[float]:
    """Microseconds of each fdatasync after an append, for at most ``seconds``. Raises OSError."""
    block = os.urandom(SYNC_BYTES)
    times_us: list[float] = []
    with tempfile.TemporaryFile(dir=folder) as scratch:
        until = time.monotonic() + seconds
        while len(times_us) < count and (time.monotonic() < until or not times_us):
            os.write(scratch.fileno(), block)
            start = time.perf_counter_ns()
            os.fdatasync(scratch.fileno())
            times_us.append((time.perf_counter_ns() - start) / 1e3)
    return times_us


def servers() -> list[Finding]:
    """Which servers could be started here."""
    found = []
    for kind in ("etcd", "zookeeper"):
        versions = list(dict.fromkeys(server.version for server in find_all(kind)))
        if not versions:
            found.append(Finding(kind, WARN, "none found", install_remedy(kind)))
            continue
        bug = known_data_bug(kind, versions[0])
        found.append(Finding(kind, WARN if bug else OK, ", ".join(versions), bug))
    return found


def java() -> Finding:
    """ZooKeeper needs it."""
    path = find_java()
    if path:
        return Finding("Java", OK, str(path))
    return Finding("Java", WARN, "none", "ZooKeeper cannot run: apt-get install default-jre-headless, or set JAVA_HOME")


def build_tools() -> Finding:
    """Go and Maven, which new versions of the servers come through."""
    found = [name for name in ("go", "mvn") if shutil.which(name)]
    missing = {"go": "Go (etcd 3.5 and later)", "mvn": "Maven (ZooKeeper 3.9)"}
    lacking = [text for name, text in missing.items() if name not in found]
    if not lacking:
        return Finding("Go and Maven", OK, "both there")
    remedy = f"to install newer servers, get {' and '.join(lacking)}; what is found above runs without"
    return Finding("Go and Maven", WARN, ", ".join(found) or "neither", remedy)


def compiled_kernels() -> Finding:
    """Whether the load engine was compiled on this machine before."""
    folder = cache_folder() / "kernels"
    count = sum(1 for _ in folder.rglob("*.nbc")) if folder.is_dir() else 0
    if count:
        return Finding("compiled kernels", OK, f"{count} in {folder}")
    remedy = "the first run compiles for up to a minute and keeps the result"
    return Finding("compiled kernels", WARN, f"none in {folder}", remedy)


def quantile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` of the values are not above."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-len(ordered) * round(share * 100) // 100) - 1))]


def size(count: int) -> str:
    """Bytes in GiB or MiB."""
    return f"{count / (1 << 30):.1f} GiB" if count >= 1 << 30 else f"{count / (1 << 20):.0f} MiB"
