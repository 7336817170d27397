"""The commands and their options. Bodies are in the modules beside this one, so that --help imports next to nothing."""

from pathlib import Path

import click

from kvbench import __version__

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 120}


@click.group(context_settings=CONTEXT)
@click.version_option(__version__, prog_name="kvbench")
def kvbench() -> None:
    """Load etcd, ZooKeeper and a store of its own as hard as they can take it, watch what they pay, and say how sure
    the result is.

    \b
    Exit codes: 0 fine, 2 bad configuration, 3 target failed, 4 invalid run, 70 a fault of kvbench's own,
    130 interrupted.
    """


@kvbench.command(short_help="Run a workload against targets.")
@click.argument("workload")
@click.option("--target", "targets", multiple=True, default=("raft?members=3",), show_default=True, metavar="T",
              help="raft (the built-in store), etcd, zookeeper, with options as in etcd?members=3,snapshots=off; or an"
                   " existing cluster: etcd://host:2379,host:2379. Several: one --target each.")  # fmt: skip
@click.option("--repeat", type=click.IntRange(1, 1000), default=1, show_default=True,
              help="How often to run each target: in random order, with fresh servers each time.")  # fmt: skip
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE",
              help="Change a value of the workload: load.clients=100, phases.measure.duration_s=5.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), default=None,
              help="Folder for the results; has to be empty.  [default: results/WORKLOAD/DATE-TIME]")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print summary.json to standard output and nothing else.")
@click.option("--engine", type=click.Choice(["fast", "grpcio"]), default="fast", show_default=True,
              help="grpcio: slower, for etcd with TLS or user and password.")  # fmt: skip
@click.option("--processes", type=click.IntRange(1, 256), default=1, show_default=True,
              help="Worker processes of the grpcio engine.")  # fmt: skip
@click.option("--load-threads", type=int, default=None, help="Load threads of the fast engine.")
@click.option("--load-cpus", default=None, metavar="0,1", help="Cores to pin the load threads to.")
@click.option("--sample-period", type=click.FloatRange(0.05, 3600), default=1.0, show_default=True, metavar="S",
              help="Seconds between two looks at the servers' memory, CPU and disk.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=None,
              help="Of the random order and the load; a run with the same seed sends the same requests.")  # fmt: skip
@click.option("--keep-data", is_flag=True, help="Keep the servers' data (on an existing cluster: the keys written).")
@click.option("--yes", is_flag=True, help="Do not ask before loading an existing cluster.")
def run(**options: object) -> int:
    """Run WORKLOAD (a name from `kvbench list`, or a file) against one or more targets."""
    from kvbench.cli.running import run_command

    return run_command(**options)  # type: ignore[arg-type]


@kvbench.command("list", short_help="Workloads and operations.")
@click.option("--operations", is_flag=True, help="What each operation is on the wire, per target.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_command(operations: bool, as_json: bool) -> None:
    """The workloads that come along, with their questions; or the operations they are made of."""
    from kvbench.cli.listing import list_operations, list_workloads

    (list_operations if operations else list_workloads)(as_json)


@kvbench.command(short_help="A page with charts from results.")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--out", type=click.Path(path_type=Path), default=None,
              help="Folder for the page and its charts.  [default: FOLDER/report]")  # fmt: skip
def report(folder: Path, out: Path | None) -> None:
    """Make a page with charts from the results in FOLDER."""
    from kvbench.cli.reporting import make_report

    make_report(folder, out)


@kvbench.group(short_help="Servers on this machine, and how to get more.")
def servers() -> None:
    """The servers this machine has, and how to get more."""


@servers.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def servers_list(as_json: bool) -> None:
    """Which servers and versions this machine has, and where from."""
    from kvbench.cli.servers import list_found

    list_found(as_json)


@servers.command("install")
@click.argument("what", nargs=-1, metavar="[KIND[@VERSION]]...")
@click.option("--available", is_flag=True, help="The best version of etcd and ZooKeeper that this machine can get.")
def servers_install(what: tuple[str, ...], available: bool) -> None:
    """Get servers, such as etcd@3.7.3 or zookeeper@3.9.5, into kvbench's cache folder."""
    from kvbench.cli.servers import install_named

    install_named(what, available)


@kvbench.command(short_help="How fast kvbench itself can go here.")
@click.option("--protocol", "protocols", multiple=True, type=click.Choice(["etcd", "zookeeper"]),
              help="One protocol only.  [default: all]")  # fmt: skip
@click.option("--engine", type=click.Choice(["fast", "grpcio", "all"]), default="all", show_default=True)
@click.option("--seconds", type=click.FloatRange(0.5, 3600), default=10.0, show_default=True, help="Per measurement.")
@click.option("--rate", type=click.FloatRange(0), default=0.0,
              help="Requests per second at a constant rate.  [default: as many as go]")  # fmt: skip
@click.option("--rounds", type=click.IntRange(1, 1000), default=1, show_default=True,
              help="Interleaved rounds; medians are printed behind them.")  # fmt: skip
@click.option("--yardstick", is_flag=True,
              help="Instead: the workload put on real etcd servers, beside etcd's own benchmark tool.")  # fmt: skip
@click.option("--etcd", "version", default="", help="Yardstick: etcd's version.  [default: the newest found]")
@click.option("--total", type=click.IntRange(1000), default=600_000, show_default=True,
              help="Yardstick: puts by etcd's tool.")  # fmt: skip
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE",
              help="Yardstick: change the workload put.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def calibrate(
    protocols: tuple[str, ...],
    engine: str,
    seconds: float,
    rate: float,
    rounds: int,
    yardstick: bool,
    version: str,
    total: int,
    settings: tuple[str, ...],
    as_json: bool,
) -> None:
    """How fast kvbench itself can go on this machine, against servers that parse and answer but store nothing."""
    from kvbench.cli.calibrating import calibrate_command, yardstick_command

    if yardstick:
        yardstick_command(rounds, total, version, list(settings), as_json)
    else:
        calibrate_command(protocols, engine, seconds, rate, rounds, as_json)


@kvbench.command(short_help="The built-in store: a server that speaks etcd's API.")
@click.option("--data-dir", type=click.Path(path_type=Path), required=True, help="Folder of its data; made if need be.")
@click.option("--listen", default="127.0.0.1:2379", show_default=True, metavar="HOST:PORT",
              help="For clients, for the other members and for HTTP (/metrics, /health, /version).")  # fmt: skip
@click.option("--members", type=click.Choice(["1", "3", "5"]), default="1", show_default=True,
              help="A whole cluster here: one process each, on this port and the following ones.")  # fmt: skip
@click.option("--member", type=click.IntRange(1, 5), default=None, metavar="N",
              help="One member of a cluster: which of the --peers it is.")  # fmt: skip
@click.option("--peers", default="", metavar="HOST:PORT,...", help="All members of the cluster, this one included.")
@click.option("--snapshots", default="on", show_default=True, metavar="on|off|N",
              help="on: when the log is as large as the last one; off: never; N: after every N writes.")  # fmt: skip
@click.option("--fsync", type=click.Choice(["on", "off"]), default="on", show_default=True,
              help="off: nothing is synced; a crash of the machine loses data.")  # fmt: skip
@click.option("--quota", default="2GiB", show_default=True, metavar="SIZE", help="Beyond it only deletes are taken.")
@click.option("--cluster-token", "token", default="kvbench", show_default=True,
              help="Members of one cluster have the same; another one makes another cluster.")  # fmt: skip
@click.option("--insecure", is_flag=True, help="Listen on an address that other machines can reach, without TLS.")
@click.option("--connections", type=click.IntRange(16, 1_000_000), default=16_384, show_default=True,
              help="Most connections at a time.")  # fmt: skip
@click.option("--request-bytes", default="1536KiB", show_default=True, metavar="SIZE", help="Largest request.")
@click.option("--message-bytes", default="1MiB", show_default=True, metavar="SIZE",
              help="Most bytes of writes in one message to another member.")  # fmt: skip
def serve(members: str, member: int | None, **options: object) -> int:
    """The built-in store: a replicated server that speaks etcd's v3 API. Says "ready HOST:PORT" when it serves.

    \b
    Ends on SIGTERM (leadership is handed over) and Ctrl-C. Exit codes: 0 ended when told, 130 interrupted,
    2 bad configuration, 3 it cannot go on (a disk that fails), 10 the address is in use or no address of this
    machine; of the data folder: 11 another process has it, 12 it is another cluster's, 13 it was written by a later
    version, 14 it is damaged, 15 it cannot be read or written.
    Snapshots that `etcdctl snapshot save` takes from it are in its own form: etcdutl cannot restore them, but
    `kvbench snapshot restore` does.
    """
    from kvbench.cli.serving import serve_command

    return serve_command(members=int(members), member=member or 0, **options)  # type: ignore[arg-type]


@kvbench.group(short_help="Save, look at and restore the built-in store's data.")
def snapshot() -> None:
    """Save all data of the built-in store from a running member, look at such a file, make a new cluster of it.

    \b
    The form is this store's own: etcdutl cannot read it, and etcd's snapshots cannot be restored here. Files that
    `etcdctl snapshot save` has taken from this store are the same as `kvbench snapshot save` makes.
    Exit codes: 0 done, 2 bad configuration (no such file, a folder that exists, another store's or a later version's
    snapshot), 3 the member cannot be reached or the file is damaged (file and offset are said), 130 interrupted.
    """


@snapshot.command("save")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--endpoint", default="127.0.0.1:2379", show_default=True, metavar="HOST:PORT",
              help="A member of the store; a follower may lag a little behind.")  # fmt: skip
def snapshot_save(file: Path, endpoint: str) -> None:
    """Save all data of a running member to FILE: written beside it, checked, and renamed when all is on disk."""
    from kvbench.cli.snapshots import save_command

    save_command(file, endpoint)


@snapshot.command("status")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--json", "as_json", is_flag=True, help="As JSON, with the names that etcdutl has.")
def snapshot_status(file: Path, as_json: bool) -> None:
    """Check all of FILE, and say what is in it. The hash is the one that HashKV gives for that data."""
    from kvbench.cli.snapshots import status_command

    status_command(file, as_json)


@snapshot.command("restore")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--data-dir", type=click.Path(path_type=Path), required=True, help="The new folder; must not exist.")
@click.option("--listen", default="127.0.0.1:2379", show_default=True, metavar="HOST:PORT",
              help="As `kvbench serve` will be given it.")  # fmt: skip
@click.option("--members", type=click.Choice(["1", "3", "5"]), default="1", show_default=True,
              help="A whole cluster here, on this port and the following ones.")  # fmt: skip
@click.option("--member", type=click.IntRange(1, 5), default=None, metavar="N",
              help="One member of a cluster: which of the --peers it is. Restore each from the same file.")  # fmt: skip
@click.option("--peers", default="", metavar="HOST:PORT,...", help="All members of the cluster, this one included.")
@click.option("--cluster-token", "token", default="",
              help="Of the new cluster.  [default: made of the snapshot's SHA-256, so that members of old clusters"
                   " cannot join]")  # fmt: skip
@click.option("--bump-revision", type=click.IntRange(0, 1 << 46), default=0, show_default=True, metavar="N",
              help="Let revisions go on N later, more than were written since the snapshot, so that no watcher sees"
                   " them go back; all before counts as compacted.")  # fmt: skip
@click.option("--mark-compacted", is_flag=True, help="What --bump-revision does anyway; etcdutl wants to be told.")
def snapshot_restore(file: Path, members: str, member: int | None, **options: object) -> None:
    """Make a new cluster of FILE, in a new folder. Its keys, revisions and leases are kept, alarms are not.

    Says how to start it: `kvbench serve` has to be given the same addresses and token.
    """
    from kvbench.cli.snapshots import restore_command

    restore_command(file, members=int(members), member=member or 0, **options)  # type: ignore[arg-type]


@kvbench.command(short_help="Is this machine fit to measure on?")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option("--results", type=click.Path(path_type=Path), default=Path("results"), show_default=True,
              help="The folder that results will go to.")  # fmt: skip
def doctor(as_json: bool, results: Path) -> None:
    """Is this machine fit to measure on? Each line says ok, warn or bad, and the remedy. The exit code is 0."""
    from kvbench.cli.examining import doctor_command

    doctor_command(as_json, results)
