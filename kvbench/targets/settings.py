"""What ``snapshots=``, ``fsync=`` and the like become on each target and version, as flags, and what that costs.

The flags that start a server, the manifest and the README's table all come from here.
"""

from dataclasses import dataclass

from kvbench.targets.running import TargetError
from kvbench.targets.spec import TargetSpec
from kvbench.targets.versions import default_snapshot_count, has_unsafe_no_fsync, keeps_log_in_memory

ETCD_SNAPSHOTS_OFF = 100_000_000
ZOOKEEPER_SNAPSHOTS_OFF = 2_147_483_646
"""The largest even int. ZooKeeper snapshots after snapCount/2 plus a random part below snapCount/2 transactions, in
int arithmetic, which this does not overflow: the first one comes after 1,073,741,823 transactions at the earliest."""


@dataclass(frozen=True)
class Setting:
    """One option of a target, and what became of it."""

    option: str
    """As the user writes it: "snapshots=off"."""
    flags: tuple[str, ...]
    """What the server is started with; empty: its own default."""
    cost: str
    """What it means and costs, in one sentence."""


def etcd_snapshots(version: str, snapshots: str) -> Setting:
    """``snapshots=`` on etcd. Its snapshot is a small file that marks a place in the log; it never dumps the data."""
    if snapshots == "off":
        flags: tuple[str, ...] = (f"--snapshot-count={ETCD_SNAPSHOTS_OFF}",)
        disk = "no file of the write-ahead log is ever removed, and a restart replays all of it"
        if keeps_log_in_memory(version):
            return Setting("snapshots=off", flags, f"the whole Raft log stays in memory; {disk}")
        return Setting("snapshots=off", flags, f"{disk}; memory is not affected")
    count = default_snapshot_count(version) if snapshots == "on" else int(snapshots)
    flags = () if snapshots == "on" else (f"--snapshot-count={count}",)
    if keeps_log_in_memory(version):
        cost = f"every {count:,} writes a small file is written, and the Raft log in memory is cut to its last 5,000"
    else:
        cost = (
            f"every {count:,} writes a small file is written; the Raft log in memory never holds more than about 5,100"
        )
    return Setting(f"snapshots={snapshots}", flags, cost)


def etcd_fsync(version: str, fsync: bool) -> Setting:
    """``fsync=`` on etcd. Raises TargetError for fsync=off before 3.5."""
    if fsync:
        return Setting("fsync=on", (), "every batch of writes is synced to disk before it is acknowledged")
    if not has_unsafe_no_fsync(version):
        raise TargetError(
            f"etcd {version} cannot do fsync=off: --unsafe-no-fsync came with 3.5.0",
            "use another version (version=3.7.3; kvbench servers list shows those on this machine), or fsync=on",
        )
    return Setting(
        "fsync=off", ("--unsafe-no-fsync",), "nothing is synced: a crash of the machine loses or corrupts data"
    )


def zookeeper_snapshots(snapshots: str) -> Setting:
    """``snapshots=`` on ZooKeeper. Its snapshot writes the whole tree to a file, beside the requests."""
    if snapshots == "off":
        return Setting(
            "snapshots=off",
            (f"-Dzookeeper.snapCount={ZOOKEEPER_SNAPSHOTS_OFF}", "-Dzookeeper.snapSizeLimitInKb=-1"),
            "only the small one when a server starts; the transaction log grows without end, and a restart replays it",
        )
    count = 100_000 if snapshots == "on" else int(snapshots)
    flags = () if snapshots == "on" else (f"-Dzookeeper.snapCount={count}",)
    return Setting(
        f"snapshots={snapshots}",
        flags,
        f"after {count // 2:,} to {count:,} transactions (random, so that members take turns), or 2 to 4 GiB of log, "
        "all data is written to a file",
    )


def zookeeper_fsync(fsync: bool) -> Setting:
    """``fsync=`` on ZooKeeper."""
    if fsync:
        return Setting("fsync=on", (), "every batch of transactions is synced to disk before it is acknowledged")
    return Setting(
        "fsync=off",
        ("-Dzookeeper.forceSync=no",),
        "the log is not synced: a crash of the machine loses or corrupts data",
    )


def raft_snapshots(snapshots: str) -> Setting:
    """``snapshots=`` on the built-in store. Its snapshot writes all data to a file, beside the requests."""
    flags: tuple[str, ...] = (f"--snapshots={snapshots}",)
    if snapshots == "off":
        return Setting("snapshots=off", flags, "no file of the log is ever removed, and a restart replays all of it")
    when = "the log behind the last one is 256 MiB and as large as it" if snapshots == "on" else (
        f"{int(snapshots):,} writes were made since the last one"
    )
    flags = () if snapshots == "on" else flags
    return Setting(f"snapshots={snapshots}", flags, f"when {when}, all data is written to a file")


def raft_fsync(fsync: bool) -> Setting:
    """``fsync=`` on the built-in store."""
    if fsync:
        return Setting("fsync=on", (), "every batch of writes is synced to disk before it is acknowledged")
    return Setting("fsync=off", ("--fsync=off",), "nothing is synced: a crash of the machine loses data")


def settings_of(spec: TargetSpec, version: str) -> tuple[Setting, Setting]:
    """The settings for snapshots and fsync of one target. Raises TargetError for what ``version`` cannot do."""
    if spec.kind == "raft":
        return raft_snapshots(spec.snapshots), raft_fsync(spec.fsync)
    if spec.kind == "zookeeper":
        return zookeeper_snapshots(spec.snapshots), zookeeper_fsync(spec.fsync)
    return etcd_snapshots(version, spec.snapshots), etcd_fsync(version, spec.fsync)


def readme_table() -> list[tuple[str, str, str, str]]:
    """Rows (target and versions, option, flags, what it means and costs) for the README, the header first."""
    rows = [("target", "option", "becomes", "means and costs")]
    families = (("etcd 3.4", "3.4.23"), ("etcd 3.5", "3.5.35"), ("etcd 3.6, 3.7", "3.7.3"))
    for name, version in families:
        rows += [_row(name, etcd_snapshots(version, snapshots)) for snapshots in ("on", "off")]
        rows.append(_row(name, etcd_fsync(version, True)))
        try:
            rows.append(_row(name, etcd_fsync(version, False)))
        except TargetError:
            rows.append((name, "fsync=off", "refused", "needs --unsafe-no-fsync, which came with etcd 3.5"))
    rows += [_row("ZooKeeper 3.8, 3.9", zookeeper_snapshots(snapshots)) for snapshots in ("on", "off")]
    rows += [_row("ZooKeeper 3.8, 3.9", zookeeper_fsync(fsync)) for fsync in (True, False)]
    rows += [_row("raft", raft_snapshots(snapshots)) for snapshots in ("on", "off")]
    rows += [_row("raft", raft_fsync(fsync)) for fsync in (True, False)]
    return rows


def _row(name: str, setting: Setting) -> tuple[str, str, str, str]:
    return (name, setting.option, " ".join(setting.flags) or "the server's default", setting.cost)
