"""What a machine is: the facts that a reader of a result needs before believing it."""

import os
import platform
from pathlib import Path
from typing import Any, NamedTuple

import psutil


class FileSystem(NamedTuple):
    """Where a path lies."""

    kind: str
    """"ext4", "xfs", "overlay", "tmpfs" ...; empty when it cannot be told."""
    device: str
    mount_point: str
    options: str


def read_line(path: str) -> str:
    """The first line of a file of /proc or /sys without its newline; empty when it is not there."""
    try:
        return Path(path).read_text(errors="replace").partition("\n")[0].strip()
    except OSError:
        return ""


def cpu_model() -> str:
    """The processor's name as /proc/cpuinfo has it; the architecture when it has none."""
    try:
        with open("/proc/cpuinfo", errors="replace") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name.strip() in ("model name", "Model", "cpu model"):
                    return value.strip()
    except OSError:
        pass
    return platform.machine()


def governor() -> str:
    """The frequency governors of all cores, in order and without repetition; empty on most virtual machines."""
    found = {
        read_line(str(path)) for path in Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
    }
    return ",".join(sorted(found - {""}))


def clock_source() -> str:
    """What CLOCK_MONOTONIC is read from ("tsc", "kvm-clock" ...)."""
    return read_line("/sys/devices/system/clocksource/clocksource0/current_clocksource")


def _unescape(text: str) -> str:
    """A field of /proc/self/mountinfo: blanks are written as octal escapes there (proc(5))."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text


def file_system(path: Path) -> FileSystem:
    """The file system that holds ``path``, or that would once it is created."""
    place = path.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    place = place.resolve()
    best = FileSystem("", "", "", "")
    try:
        lines = Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
    except OSError:
        return best
    for line in lines:
        left, _, right = line.partition(" - ")
        mount_point = _unescape(left.split()[4])
        # A later mount on the same point hides the earlier one, hence ">=".
        if place.is_relative_to(mount_point) and len(mount_point) >= len(best.mount_point):
            kind, device, super_options = [*right.split(), "", ""][:3]
            best = FileSystem(kind, _unescape(device), mount_point, super_options)
    return best


def cpu_limit() -> float:
    """Cores that the control group (version 2) may use; 0: no limit."""
    group = read_line("/proc/self/cgroup").rpartition(":")[2]
    quota, _, period = read_line(f"/sys/fs/cgroup{group}/cpu.max").partition(" ")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else 0.0


def steal_share() -> float:
    """Share of CPU time since boot that the hypervisor gave to others while this machine had work."""
    times = psutil.cpu_times()
    busy = times.user + times.nice + times.system + times.irq + times.softirq + times.steal
    return times.steal / busy if busy > 0 else 0.0


def describe(path: Path | None = None) -> dict[str, Any]:
    """The machine in plain values for a manifest. ``path``: whose file system to name (default: current folder)."""
    where = file_system(path if path is not None else Path.cwd())
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    return {
        "cpu_model": cpu_model(),
        "cores": psutil.cpu_count(logical=True) or os.cpu_count() or 1,
        "cores_physical": psutil.cpu_count(logical=False) or 0,
        "cpus_allowed": sorted(os.sched_getaffinity(0)),
        "cpu_limit_cores": cpu_limit(),
        "memory_bytes": int(memory.total),
        "memory_available_bytes": int(memory.available),
        "swap_bytes": int(swap.total),
        "swap_used_bytes": int(swap.used),
        "kernel": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "file_system": where.kind,
        "file_system_device": where.device,
        "file_system_options": where.options,
        "governor": governor(),
        "clock_source": clock_source(),
        "steal_share": round(steal_share(), 6),
        "python": platform.python_version(),
    }
