"""Rare calls, served in Python beside the loop: Cluster, Maintenance, health, and HTTP/1.1."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from kvbench.node.records import CommandKind
from kvbench.ops.errors import ErrorCode
from kvbench.ops.status import GRPC_STATUS, TEXT, StoreError
from kvbench.server import http_pages
from kvbench.server.identity import API_VERSION, CLUSTER_VERSION
from kvbench.server.metrics import NOSPACE, Sources
from kvbench.server.protobuf_writer import content, number, numbers, signed, text
from kvbench.server.rare_channel import Asked, RareChannel
from kvbench.server.rare_ring import ANSWER_SLOTS, Question
from kvbench.server.records import Figure
from kvbench.wire.etcd_methods import Method

SERVING, NOT_SERVING = 1, 2
STREAMS_MAX = ANSWER_SLOTS // 4
"""Snapshots sent at a time: each holds a place for answers for as long as its reader takes no more of it."""
SNAPSHOT_BLOB_BYTES = 128 << 10
SNAPSHOT_PAGE_BYTES = 512
"""The stream is padded to whole pages and followed by its SHA-256: by what is left over, etcdctl knows that it is."""


class RareCalls:
    """Answers what the loop asks. ``serve`` is called by one thread, whenever the channel's descriptor is readable."""

    def __init__(self, channel: RareChannel, sources: Sources, snapshot_path: Callable[[int], Path]) -> None:
        self.channel = channel
        self.sources = sources
        self.snapshot_path = snapshot_path
        self.failed: list[int] = []
        self._next = 1
        self._waiting: dict[int, Callable[[int, tuple[int, int, int]], None]] = {}
        self._streams: list[threading.Thread] = []
        self._snapshots = 0
        """Snapshots that the member was asked for and has not finished."""

    def serve(self) -> None:
        """Answer all that was asked since the last call."""
        for asked in self.channel.take():
            if asked.what == Question.HTTP:
                self.channel.answer(asked, http_pages.respond(asked.message, self.sources))
            elif asked.what == Question.COMMAND_DONE:
                waiting = self._waiting.pop(asked.handle, None)
                if waiting is not None:
                    waiting(asked.values[0], asked.values[1:])
            elif asked.what == Question.FAILED:
                self.failed.append(asked.values[0])
            else:
                self._answer(asked)

    def command(self, kind: CommandKind, then: Callable[[int, tuple[int, int, int]], None], a: int = 0) -> bool:
        """Have the member carry out a command; ``then`` gets its code and values. False: too many are waiting."""
        handle = self._next
        self._next += 1
        self._waiting[handle] = then
        if self.channel.command(kind, a, handle):
            return True
        del self._waiting[handle]
        return False

    def close(self) -> None:
        """End the streams."""
        self.channel.close()
        for stream in self._streams:
            stream.join()

    def _answer(self, asked: Asked) -> None:
        try:
            handlers[asked.what](self, asked)
        except ValueError:
            self._refuse(asked, StoreError.BAD_REQUEST)

    def _refuse(self, asked: Asked, code: int) -> None:
        self.channel.answer(asked, TEXT[code].encode(), GRPC_STATUS[code])

    def _header(self, with_revision: bool = True) -> bytes:
        """The response header of this moment, as field 1."""
        figure, identity = self.sources.figures, self.sources.identity
        inner = number(1, identity.cluster_id) + number(2, identity.own.id)
        if with_revision:
            inner += number(3, int(figure[Figure.REVISION]))
        return content(1, inner + number(4, int(figure[Figure.TERM])))

    def _member_list(self, asked: Asked) -> None:
        numbers(asked.message, (1,))
        members = b"".join(
            content(2, number(1, one.id) + text(2, one.name) + text(3, one.url) + text(4, one.url))
            for one in self.sources.identity.members
        )
        # As in etcd: a list of members has no revision.
        self.channel.answer(asked, self._header(with_revision=False) + members)

    def _status(self, asked: Asked) -> None:
        numbers(asked.message, ())
        figure, identity = self.sources.figures, self.sources.identity
        leader = int(figure[Figure.LEADER])
        errors = []
        if leader < 0:
            errors.append(TEXT[StoreError.NO_LEADER])
        if int(figure[Figure.ALARMS]) & NOSPACE:
            errors.append(f"memberID:{identity.own.id} alarm:NOSPACE ")
        message = self._header() + text(2, API_VERSION) + number(3, int(figure[Figure.EXTENT_BYTES]))
        message += number(4, identity.members[leader].id if leader >= 0 else 0)
        message += number(5, int(figure[Figure.COMMIT])) + number(6, int(figure[Figure.TERM]))
        message += number(7, int(figure[Figure.APPLIED]))
        message += b"".join(text(8, error) for error in errors)
        message += number(9, int(figure[Figure.USED_BYTES])) + text(11, CLUSTER_VERSION)
        # The last field says of a downgrade that there is none.
        self.channel.answer(asked, message + number(12, self.sources.quota_bytes) + content(13, b""))

    def _hash(self, asked: Asked) -> None:
        numbers(asked.message, ())
        self._hash_at(asked, 0, lambda values: number(2, values[0]))

    def _hash_kv(self, asked: Asked) -> None:
        revision = signed(numbers(asked.message, (1,))[1])

        def response(values: tuple[int, int, int]) -> bytes:
            # As in etcd: what was never compacted is compacted at -1, and a negative revision is taken as it stands.
            return number(2, values[0]) + number(3, values[1] or -1) + number(4, min(revision, 0) or values[2])

        self._hash_at(asked, revision, response)

    def _hash_at(self, asked: Asked, revision: int, response: Callable[[tuple[int, int, int]], bytes]) -> None:
        def done(code: int, values: tuple[int, int, int]) -> None:
            if code < 0:
                self._refuse(asked, code)
            else:
                self.channel.answer(asked, self._header() + response(values))

        if not self.command(CommandKind.HASH_KV, done, max(revision, 0)):
            self._refuse(asked, StoreError.TOO_MANY_REQUESTS)

    def _defragment(self, asked: Asked) -> None:
        numbers(asked.message, ())
        # As in etcd: no header.
        self.channel.answer(asked, b"")

    def _move_leader(self, asked: Asked) -> None:
        target = numbers(asked.message, (1,))[1]
        identity = self.sources.identity
        if int(self.sources.figures[Figure.LEADER]) != identity.position:
            self._refuse(asked, StoreError.NOT_LEADER)
            return
        position = next((place for place, one in enumerate(identity.members) if one.id == target), -1)
        if position < 0:
            self._refuse(asked, StoreError.BAD_LEADER_TRANSFEREE)
            return

        def done(code: int, values: tuple[int, int, int]) -> None:
            if code < 0:
                self._refuse(asked, code)
            else:
                # As in etcd: no header.
                self.channel.answer(asked, b"")

        if not self.command(CommandKind.TRANSFER, done, position):
            self._refuse(asked, StoreError.TOO_MANY_REQUESTS)

    def _health(self, asked: Asked) -> None:
        # The first field is the name of a service; only the server as a whole, which has none, has a health.
        if asked.message[:1] == b"\n" and asked.message[1:2] != b"\0":
            self.channel.answer(asked, b"unknown service", ErrorCode.NOT_FOUND)
            return
        healthy = not http_pages.why_unhealthy(self.sources, False)
        self.channel.answer(asked, number(1, SERVING if healthy else NOT_SERVING))

    def _snapshot(self, asked: Asked) -> None:
        numbers(asked.message, ())

        def done(code: int, values: tuple[int, int, int]) -> None:
            """The member has one: ``values`` are its index and its file's size."""
            self._snapshots -= 1
            if code < 0:
                self._refuse(asked, code)
                return
            try:
                # Opened here and now: the member may replace its snapshot by a newer one and remove the file.
                file = open(self.snapshot_path(values[0]), "rb")  # noqa: SIM115
            except OSError:
                self._refuse(asked, StoreError.TOO_MANY_REQUESTS)
                return
            thread = threading.Thread(target=self._stream, args=(asked, file, values[1]), name="snapshot", daemon=True)
            self._streams.append(thread)
            thread.start()

        self._streams = [one for one in self._streams if one.is_alive()]
        is_room = len(self._streams) + self._snapshots < STREAMS_MAX
        if is_room and self.command(CommandKind.SNAPSHOT, done):
            self._snapshots += 1
        else:
            self._refuse(asked, StoreError.TOO_MANY_REQUESTS)

    def _stream(self, asked: Asked, file: BinaryIO, size: int) -> None:
        """Send a snapshot's file, a checksum behind it. As in etcd there is no header."""
        with file:
            left = padded_bytes(size) + hashlib.sha256().digest_size
            for blob in with_checksum(file, size):
                left -= len(blob)
                message = number(2, left) + content(3, blob) + text(4, CLUSTER_VERSION)
                if not self.channel.answer(asked, message, last=left == 0):
                    return


def padded_bytes(size: int) -> int:
    """``size`` rounded up to whole pages."""
    return -(-size // SNAPSHOT_PAGE_BYTES) * SNAPSHOT_PAGE_BYTES


def with_checksum(file: BinaryIO, size: int) -> Iterator[bytes]:
    """``size`` bytes of a file, zeros up to whole pages, and the SHA-256 of all that, in pieces.

    Raises EOFError when the file is shorter.
    """
    digest = hashlib.sha256()
    left = size
    while left:
        blob = file.read(min(SNAPSHOT_BLOB_BYTES, left))
        if not blob:
            raise EOFError(f"the snapshot's file ends {left:,} bytes early")
        left -= len(blob)
        digest.update(blob)
        yield blob
    padding = bytes(padded_bytes(size) - size)
    digest.update(padding)
    yield padding + digest.digest()


handlers: dict[int, Callable[[RareCalls, Asked], None]] = {
    Method.MEMBER_LIST: RareCalls._member_list,
    Method.STATUS: RareCalls._status,
    Method.HASH: RareCalls._hash,
    Method.HASH_KV: RareCalls._hash_kv,
    Method.SNAPSHOT: RareCalls._snapshot,
    Method.DEFRAGMENT: RareCalls._defragment,
    Method.MOVE_LEADER: RareCalls._move_leader,
    Method.HEALTH_CHECK: RareCalls._health,
}
"""What answers which method."""
