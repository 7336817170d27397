"""``kvbench snapshot``: the built-in store's data saved to a file, looked at, and made a new cluster."""

import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
from rich import box
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from kvbench.cli import consoles
from kvbench.cli.serving import parse_address, plan_addresses
from kvbench.config_source import ConfigError
from kvbench.load.grpcio_channels import OPTIONS, explain
from kvbench.log.identity import Identity
from kvbench.server import saved_snapshot
from kvbench.server.folder import write_at, written_aside
from kvbench.server.identity import make_identity
from kvbench.server.saved_snapshot import Report
from kvbench.store.records import Store
from kvbench.targets.running import TargetError
from kvbench.wire.proto import messages, methods

KEEP_ALIVE = (("grpc.keepalive_time_ms", 10_000), ("grpc.keepalive_timeout_ms", 20_000))
"""A member that stops in the middle of a stream is noticed."""
TOKEN_DIGITS = 12
"""Of the SHA-256, in a new cluster's token."""


@contextmanager
def progress(what: str) -> Iterator[Report]:
    """A bar on standard error, where that is a terminal."""
    columns = (TextColumn(what), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as shown:
        task = shown.add_task(what, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)


def compiling(seconds: float) -> None:
    """Said while machine code is made."""
    if seconds > 3:
        print(f"kvbench: compiling the store's machine code, once: {seconds:.0f} s", file=sys.stderr, flush=True)


def save_command(file: Path, endpoint: str) -> None:
    """Save a member's data. Raises TargetError, SnapshotError, ConfigError."""
    parse_address(endpoint)
    aside = file.with_name(f"{file.name}.part")
    try:
        with written_aside(file, aside=aside) as fd, progress("saving") as report:
            fetch(endpoint, fd, report)
            saved = saved_snapshot.read_saved(aside)
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror}") from None
    print(f"saved revision {saved.revision:,} to {file}: {saved.file_bytes:,} bytes, SHA-256 {saved.digest}")


def fetch(endpoint: str, fd: int, report: Report) -> None:
    """Write what a member streams to a file. Raises TargetError, OSError."""
    with grpc.insecure_channel(endpoint, options=(*OPTIONS, *KEEP_ALIVE)) as channel:
        call = channel.unary_stream(
            methods.SNAPSHOT.path,
            request_serializer=messages.SnapshotRequest.SerializeToString,
            response_deserializer=messages.SnapshotResponse.FromString,
        )
        done = left = 0
        try:
            for response in call(messages.SnapshotRequest()):
                write_at(fd, response.blob, done)
                done, left = done + len(response.blob), response.remaining_bytes
                report(done, done + left)
        except grpc.RpcError as error:
            raise TargetError(*explain(error, [endpoint], "saving a snapshot", False)) from None
    if left or not done:
        raise TargetError(f"{endpoint} ended the snapshot {left:,} bytes early", "save it again")


def status_command(file: Path, as_json: bool) -> None:
    """Check a file and say what is in it. Raises SnapshotError, ConfigError."""
    store = saved_snapshot.empty_store(compiling)
    saved = read(file, store)
    state = store.state[0]
    found = {
        "hash": saved_snapshot.hash_of(store),
        "revision": saved.revision,
        "totalKey": int(state["keys"]),
        "totalSize": saved.file_bytes,
        "version": str(saved.format),
        "compactRevision": saved_snapshot.compacted_revision(store),
        "leases": int(state["leases"]),
        "sha256": saved.digest,
    }
    if as_json:
        print(json.dumps(found))
        return
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("hash", "revision", "total keys", "total size", "version", "compacted", "leases"):
        table.add_column(column, justify="right")
    size = f"{saved.file_bytes:,}"
    table.add_row(
        f"{found['hash']:08x}", f"{saved.revision:,}", f"{found['totalKey']:,}", size, str(saved.format),
        f"{found['compactRevision']:,}", f"{found['leases']:,}",
    )  # fmt: skip
    consoles.stdout().print(table)


def read(file: Path, store: Store) -> saved_snapshot.SavedSnapshot:
    """Check a file and fill the store from it. Raises SnapshotError, ConfigError."""
    try:
        with progress("checking") as report:
            return saved_snapshot.read_saved(file, store, report)
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from None


def restore_command(
    file: Path,
    data_dir: Path,
    listen: str,
    members: int,
    member: int,
    peers: str,
    token: str,
    bump_revision: int,
    mark_compacted: bool,
) -> None:
    """Make a new cluster of a file. Raises SnapshotError, ConfigError."""
    if mark_compacted and bump_revision == 0:
        raise ConfigError("--mark-compacted goes with --bump-revision N")
    host, port = parse_address(listen)
    addresses = plan_addresses(host, port, members, member, peers)
    if data_dir.exists():
        raise ConfigError(f"{data_dir} exists already: name a folder that does not, nothing is ever replaced")
    store = saved_snapshot.empty_store(compiling)
    saved = read(file, store)
    token = token or f"restored-{saved.digest[:TOKEN_DIGITS]}"
    saved_snapshot.begin_anew(store, bump_revision)
    whole = members > 1 and not peers
    names = {f"m{place + 1}": place for place in range(members)} if whole else {"": max(member - 1, 0)}
    identities = {name: log_identity(token, addresses, place) for name, place in names.items()}
    try:
        with progress("writing") as report:
            saved_snapshot.restore(data_dir, identities, store, report)
    except OSError as error:
        raise ConfigError(f"cannot write {data_dir}: {error.strerror}") from None
    revision = int(store.state[0]["revision"])
    command = ["kvbench", "serve", "--data-dir", str(data_dir), "--listen", listen, "--cluster-token", token]
    command += ["--members", str(members)] if whole else []
    command += ["--member", str(member), "--peers", peers] if peers else []
    print(f"restored {int(store.state[0]['keys']):,} keys at revision {revision:,}; start it with\n  "
          + shlex.join(command))  # fmt: skip


def log_identity(token: str, addresses: list[tuple[str, int]], position: int) -> Identity:
    """What a member's folder will be marked with."""
    identity = make_identity(token, addresses, position)
    return Identity(identity.cluster_id, identity.own.id, position, tuple(one.id for one in identity.members))
