"""What a member's process does, from its settings to its exit code. ``__main__`` is the process.

Imports little, so that the process stays small: neither the command line's packages nor any for results.
"""

import contextlib
import ctypes
import os
import resource
import select
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from enum import IntEnum
from functools import partial
from pathlib import Path
from typing import Any

from kvbench.log.identity import Identity as LogIdentity
from kvbench.node.records import Buffer, CommandKind, File
from kvbench.node.recovery import recover
from kvbench.node.state import Node, NodeConfig, new_node
from kvbench.server.compiling import compile_server
from kvbench.server.disk import Disk
from kvbench.server.end_records import GrpcEnd, new_end
from kvbench.server.folder import (
    Folder,
    FolderDamaged,
    FolderError,
    FolderForeign,
    FolderInUse,
    FolderNewer,
)
from kvbench.server.footprint import give_back_file_pages
from kvbench.server.identity import Identity, make_identity
from kvbench.server.listener import listen
from kvbench.server.loop import run
from kvbench.server.metrics import Sources
from kvbench.server.notices import LOOK_S, Notices, say
from kvbench.server.rare_calls import RareCalls
from kvbench.server.rare_channel import RareChannel
from kvbench.server.rare_ring import RareRing, close_rare_ring, new_rare_ring
from kvbench.server.records import Figure, Server, new_server
from kvbench.server.settings import MemberSettings, from_json


class Exit(IntEnum):
    """What the process returns; scripts rely on the numbers."""

    OK = 0
    """Ended when told."""
    BAD_CONFIGURATION = 2
    FAILED = 3
    """It cannot go on: the disk failed, or the member contradicts others."""
    NO_ADDRESS = 10
    """Its address is in use or cannot be listened on."""
    FOLDER_IN_USE = 11
    FOLDER_FOREIGN = 12
    """The data folder is another member's or cluster's, or holds something else."""
    FOLDER_NEWER = 13
    """Written by a later version of kvbench."""
    FOLDER_DAMAGED = 14
    FOLDER_UNUSABLE = 15
    """It cannot be read or written."""
    INTERRUPTED = 130


FOLDER_EXITS: tuple[tuple[type[FolderError], Exit], ...] = (
    (FolderInUse, Exit.FOLDER_IN_USE),
    (FolderForeign, Exit.FOLDER_FOREIGN),
    (FolderNewer, Exit.FOLDER_NEWER),
    (FolderDamaged, Exit.FOLDER_DAMAGED),
)
GRPC_OVERHEAD_BYTES = 512 << 10
"""A message may be so much larger than the largest request (etcd's grpcOverheadBytes), which the store then refuses."""
PR_SET_PDEATHSIG = 1
CALLS = 1 << 17
DESCRIPTORS_SPARE = 128
STOP_PATIENCE_S = 4.0
READY_POLL_S = 0.01
SYNC_BOUNDS_S = tuple(0.001 * 2**power for power in range(14))


class StartError(Exception):
    """Why a member does not start, in one line; with the exit code."""

    def __init__(self, what: str, code: int = Exit.FAILED) -> None:
        super().__init__(what)
        self.code = code


class Member:
    """Everything of a member: made by ``__init__``, ended by ``close``."""

    def __init__(self, settings: MemberSettings, folder: Folder, identity: Identity, listener: int) -> None:
        """Nothing is read yet."""
        self.settings, self.folder, self.identity = settings, folder, identity
        self.node: Node = new_node(node_config(settings, identity))
        self.disk = Disk(folder, {
            Buffer.RING: self.node.log.ring, Buffer.MARK: self.node.mark, Buffer.PIECES: self.node.pieces,
            Buffer.READING: self.node.reading,
        })  # fmt: skip
        self.ring: RareRing = new_rare_ring()
        message_bytes_max = settings.request_bytes_max + GRPC_OVERHEAD_BYTES
        self.end: GrpcEnd = new_end(settings.connections, CALLS, message_bytes_max=message_bytes_max)
        store = self.node.store
        self.server: Server = new_server(
            listener,
            self.disk.wake,
            list(settings.addresses),
            int(self.node.state[0]["frame_bytes_max"]),
            len(store.watchers),
            len(store.streams),
        )
        self.channel = RareChannel(self.ring)
        self.sources = Sources(
            identity, self.server.figures, self.end.handled, self.node.statistics, self.server.ways,
            settings.quota_bytes, SYNC_BOUNDS_S, *sync_figures(self.disk),
        )  # fmt: skip
        self.calls = RareCalls(self.channel, self.sources, partial(folder.path, File.SNAPSHOT))
        self.code: int | None = None
        """What the loop returned."""
        self._thread = threading.Thread(target=self._run, name="loop", daemon=True)

    @property
    def kernels(self) -> tuple[Any, ...]:
        """Arguments of the loop's kernel."""
        return (self.server, self.end, self.node, self.disk.queues, self.ring)

    def recover(self) -> None:
        """Bring the member to where its folder says that it was. Raises FolderError."""

        self.folder.recover(self.node.log, partial(recover, self.node))

    def start(self) -> None:
        """Start disk and loop."""
        self.disk.start()
        self._thread.start()

    def _run(self) -> None:
        try:
            self.code = int(run(*self.kernels))
        finally:
            os.eventfd_write(self.channel.descriptor, 1)

    @property
    def is_ready(self) -> bool:
        """Whether it serves: it knows a leader, and has what was committed."""
        return bool(self.server.figures[Figure.READY])

    @property
    def has_ended(self) -> bool:
        """Whether the loop is over."""
        return self.code is not None

    def ask_to_stop(self) -> list[int]:
        """Have the member hand over and end. The list gets a code once it may end."""
        done: list[int] = []
        if not self.calls.command(CommandKind.STOP, lambda code, values: done.append(code)):
            done.append(0)
        return done

    def close(self) -> None:
        """End the loop, then everything else."""
        self.server.stop[0] = 1
        self.channel.command(0, 0, 0)
        if self._thread.ident is not None:
            self._thread.join()
        self.calls.close()
        self.disk.stop()
        close_rare_ring(self.ring)


def sync_figures(disk: Disk) -> tuple[Any, Any]:
    """The log's histogram of syncs, and their sum in ns, as Sources has them."""
    from kvbench.server.disk_queue import SYNC_BUCKET_COUNT, SYNC_BUCKETS, SYNC_NS

    marks = disk.queues.log.marks
    return marks[SYNC_BUCKETS : SYNC_BUCKETS + SYNC_BUCKET_COUNT], marks[SYNC_NS : SYNC_NS + 1]


def node_config(settings: MemberSettings, identity: Identity) -> NodeConfig:
    """The member's configuration."""
    return NodeConfig(
        member=identity.position,
        members=len(identity.members),
        cluster_id=identity.cluster_id,
        member_ids=tuple(one.id for one in identity.members),
        seed=int.from_bytes(os.urandom(7), "little"),
        election_ticks=settings.election_ms // 10,
        heartbeat_ticks=settings.heartbeat_ms // 10,
        fsync=settings.fsync,
        snapshots=settings.snapshots,
        quota_bytes=settings.quota_bytes,
        request_bytes_max=settings.request_bytes_max,
        message_bytes_max=settings.message_bytes_max,
        syncs_out_max=settings.syncs_out_max,
    )


def raise_descriptor_limit(wanted: int) -> int:
    """Allow this process as many descriptors as it may have. Returns how many connections that leaves room for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted + DESCRIPTORS_SPARE
    if soft != resource.RLIM_INFINITY and soft < most:
        soft = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return wanted if soft == resource.RLIM_INFINITY else max(min(wanted, soft - DESCRIPTORS_SPARE), 16)


class Signals:
    """SIGTERM and SIGINT as something to poll for."""

    def __init__(self) -> None:
        self.got = 0
        self.descriptor, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._take)

    def _take(self, number: int, frame: Any) -> None:
        self.got = self.got or number


def open_listener(settings: MemberSettings) -> tuple[int, int]:
    """The listening socket and its port. Raises StartError."""
    host, port = settings.address
    try:
        return listen(host, port)
    except OSError as error:
        raise StartError(f"cannot listen on {host}:{port}: {error.strerror}", Exit.NO_ADDRESS) from None


def open_folder(settings: MemberSettings, identity: Identity) -> Folder:
    """The member's folder. Raises StartError."""
    ids = tuple(one.id for one in identity.members)
    with folder_errors(settings.folder):
        return Folder(settings.folder, LogIdentity(identity.cluster_id, identity.own.id, identity.position, ids))


@contextlib.contextmanager
def folder_errors(folder: Path) -> Iterator[None]:
    """What is wrong with a folder, as a StartError."""
    try:
        yield
    except FolderError as error:
        code = next((code for kind, code in FOLDER_EXITS if isinstance(error, kind)), Exit.FAILED)
        raise StartError(str(error), code) from None
    except OSError as error:
        where = error.filename or folder
        raise StartError(f"cannot use {where}: {error.strerror}", Exit.FOLDER_UNUSABLE) from None


def serve(settings: MemberSettings) -> int:
    """Serve until told to end. Returns the exit code."""
    signals = Signals()
    if settings.life_fd >= 0:
        die_with_parent()
    connections = raise_descriptor_limit(settings.connections)
    if connections < settings.connections:
        say(f"room for {connections:,} connections, not {settings.connections:,}: raise ulimit -n")
    identity = make_identity(settings.token, list(settings.addresses), settings.position)
    listener, port = open_listener(settings)
    try:
        folder = open_folder(settings, identity)
        try:
            member = start_member(replace(settings, connections=connections), folder, identity, listener, signals)
            try:
                member.start()
                code = attend(member, signals, port)
            finally:
                member.close()
        finally:
            folder.close()
    finally:
        os.close(listener)
    return code


def start_member(
    settings: MemberSettings, folder: Folder, identity: Identity, listener: int, signals: Signals
) -> Member:
    """The member with its machine code and its state. Raises StartError."""
    began = time.monotonic()
    try:
        member = Member(settings, folder, identity, listener)
    except OSError as error:
        raise StartError(f"no memory for what was asked: {error.strerror}", Exit.BAD_CONFIGURATION) from None
    if compile_server(member.kernels, member.disk.queues.log, say) and not settings.is_compiled and not signals.got:
        rehearse()
        if not signals.got:
            start_anew(settings)
    loaded_s = time.monotonic() - began
    with folder_errors(settings.folder):
        member.recover()
    recovered_s = time.monotonic() - began - loaded_s
    given = give_back_file_pages()
    if "KVBENCH_TRACE" in os.environ:
        say(f"machine code in {loaded_s:.2f} s, recovered in {recovered_s:.2f} s, gave {given >> 20} MiB back")
    return member


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends, even one that is stopped and cannot see ``life_fd``."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def rehearse() -> None:
    """Start a member twice in a folder that is then removed: what is compiled on the way is stored for the next start.

    The second time there is a log to recover, and a snapshot.
    """
    with tempfile.TemporaryDirectory(prefix="kvbench-") as name:
        settings = MemberSettings(str(Path(name) / "data"), (("127.0.0.1", 0),), connections=16)
        identity = make_identity(settings.token, list(settings.addresses), 0)
        for _ in range(2):
            rehearse_start(settings, identity)


def rehearse_start(settings: MemberSettings, identity: Identity) -> None:
    """Start a member, have it write a snapshot, and end it."""
    listener, _ = open_listener(settings)
    folder = open_folder(settings, identity)
    try:
        member = Member(settings, folder, identity, listener)
        compile_server(member.kernels, member.disk.queues.log, say)
        member.recover()
        member.start()
        while not member.is_ready and not member.has_ended:
            time.sleep(READY_POLL_S)
        done: list[int] = []
        is_asked = member.calls.command(CommandKind.SNAPSHOT, lambda code, values: done.append(code))
        while is_asked and not done and not member.has_ended:
            member.calls.serve()
            time.sleep(READY_POLL_S)
        member.close()
    finally:
        folder.close()
        os.close(listener)


def start_anew(settings: MemberSettings) -> None:
    """Begin again as the same process, now that the machine code is stored: compiling leaves much memory behind."""
    settings = replace(settings, is_compiled=True)
    for descriptor in (settings.life_fd, settings.ready_fd):
        if descriptor >= 0:
            os.set_inheritable(descriptor, True)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", "kvbench.server", settings.to_json()])


def attend(member: Member, signals: Signals, port: int) -> int:
    """Serve rare calls until something ends the member. Returns the exit code."""
    settings = member.settings
    poll = select.poll()
    for descriptor in (member.channel.descriptor, signals.descriptor, settings.life_fd):
        if descriptor >= 0:
            poll.register(descriptor, select.POLLIN)
    notices = Notices(member.server, member.end)
    is_announced = False
    stopping: list[int] | None = None
    give_up = 0.0
    while True:
        waiting_s = READY_POLL_S if stopping is not None or not is_announced else LOOK_S
        ready = [descriptor for descriptor, _ in poll.poll(waiting_s * 1000)]
        member.calls.serve()
        notices.look()
        if not is_announced and member.is_ready:
            announce(settings, port)
            is_announced = True
            give_back_file_pages()
        if member.has_ended:
            return report_end(member)
        if settings.life_fd in ready and not os.read(settings.life_fd, 1):
            return Exit.OK
        if signals.descriptor in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(signals.descriptor, 64)
        if signals.got and stopping is None:
            stopping, give_up = member.ask_to_stop(), time.monotonic() + STOP_PATIENCE_S
        if stopping is not None and (stopping or time.monotonic() > give_up):
            return Exit.INTERRUPTED if signals.got == signal.SIGINT else Exit.OK


def announce(settings: MemberSettings, port: int) -> None:
    """Say that the member serves."""
    print(f"ready {settings.address[0]}:{port}", flush=True)
    if settings.ready_fd >= 0:
        os.write(settings.ready_fd, b"ready\n")
        os.close(settings.ready_fd)


def report_end(member: Member) -> int:
    """The loop ended by itself: say why. Returns the exit code."""
    figures = member.server.figures
    where = member.folder.path(int(figures[Figure.FAILED_FILE]), int(figures[Figure.FAILED_NUMBER]))
    number = int(figures[Figure.FAILED_ERRNO])
    why = os.strerror(number) if number else f"code {member.code}"
    say(f"the member stopped for good: {why} ({where}, offset {int(figures[Figure.FAILED_OFFSET])})")
    return Exit.FAILED


def main(arguments: list[str] | None = None) -> int:
    """Start from the settings on the command line. Returns the exit code."""
    settings = from_json((sys.argv[1:] if arguments is None else arguments)[0])
    try:
        return serve(settings)
    except StartError as error:
        say(str(error))
        return error.code
    except KeyboardInterrupt:
        return Exit.INTERRUPTED

