"""The rare calls of ZooKeeper, over kazoo; who leads comes from the four-letter word srvr."""

import logging
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from kazoo.client import KazooClient
from kazoo.exceptions import (
    AuthFailedError,
    KazooException,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    UnimplementedError,
)
from kazoo.handlers.threading import KazooTimeoutError

from kvbench.load.admin import AdminError, DeleteProgress, MemberStatus
from kvbench.load.credentials import Credentials

T = TypeVar("T")
DELETE_BATCH_BYTES = 200_000
"""Paths per transaction by their bytes: jute.maxbuffer allows a megabyte."""
DELETE_BATCHES_IN_FLIGHT = 4
GET_ALL_CHILDREN_NUMBER = 104


class CountBelow(NamedTuple):
    """getAllChildrenNumber (ZooKeeper 3.6 and later), which kazoo does not have: znodes anywhere below a path."""

    path: str

    @property
    def type(self) -> int:
        """The operation's number."""
        return GET_ALL_CHILDREN_NUMBER

    def serialize(self) -> bytes:
        """The request's body: a string behind its length, 4 bytes big-endian."""
        path = self.path.encode()
        return len(path).to_bytes(4, "big") + path

    @classmethod
    def deserialize(cls, data: bytes, offset: int) -> int:
        """The answer's body: an int, 4 bytes big-endian."""
        return int.from_bytes(data[offset : offset + 4], "big")


def quiet_logger() -> logging.Logger:
    """kazoo reports every failed attempt; what matters comes out as an AdminError."""
    logger = logging.getLogger("kvbench.kazoo")
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    return logger


def split_prefix(prefix: str) -> tuple[str, str]:
    """The znode that holds a prefix's keys, and how their names in it begin: "a/b/c-" is ("/a/b", "c-")."""
    parent, _, stem = f"/{prefix.lstrip('/')}".rpartition("/")
    return parent or "/", stem


def ask(address: str, word: str, timeout_s: float) -> str:
    """The answer to a four-letter word. Raises OSError when there is none."""
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + timeout_s
    with socket.create_connection((host.strip("[]"), int(port)), timeout=timeout_s) as connection:
        connection.sendall(word.encode())
        parts: list[bytes] = []
        while True:
            connection.settimeout(max(0.001, deadline - time.monotonic()))
            part = connection.recv(65536)
            if not part:
                return b"".join(parts).decode(errors="replace")
            parts.append(part)


def parse_srvr(address: str, text: str) -> MemberStatus | None:
    """The status in an answer to srvr; None when the member does not serve (or the word is not allowed)."""
    fields = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
    if "Mode" not in fields:
        return None
    return MemberStatus(
        address=address,
        name="",
        version=fields.get("Zookeeper version", "").partition("-")[0],
        is_leader=fields["Mode"] in ("leader", "standalone"),
        revision=int(fields.get("Zxid", "0"), 16),
        data_bytes=0,
        keys=int(fields.get("Node count", "-1")),
    )


class ZooKeeperAdmin:
    """See ``kvbench.load.admin.Admin``. TLS is refused by name."""

    def __init__(self, addresses: Sequence[str], credentials: Credentials, timeout_s: float) -> None:
        if credentials.uses_tls:
            raise AdminError(
                "kvbench does not speak TLS to ZooKeeper", "give the address of a plain client port (clientPort)"
            )
        self._addresses = list(addresses)
        self._credentials = credentials
        self._timeout_s = timeout_s
        self._client: Any = None

    def _connected(self) -> Any:
        if self._client is not None:
            return self._client
        where = ", ".join(self._addresses)
        login = f"{self._credentials.user}:{self._credentials.password}"
        client = KazooClient(
            hosts=",".join(self._addresses),
            timeout=max(self._timeout_s, 4.0),
            auth_data=[("digest", login)] if self._credentials.user else None,
            logger=quiet_logger(),
        )
        try:
            client.start(timeout=self._timeout_s)
        except KazooTimeoutError as error:
            client.close()
            raise AdminError(
                f"no ZooKeeper answers at {where} within {self._timeout_s:g} s",
                "start the server, or mend the address",
            ) from error
        except AuthFailedError as error:
            client.close()
            raise AdminError(f"{where} refuses user {self._credentials.user!r}", "mend user and password") from error
        self._client = client
        return client

    def _try(self, doing: str, call: Callable[[Any], T]) -> T:
        """Run a call; what kazoo raises becomes an AdminError."""
        client = self._connected()
        where = ", ".join(self._addresses)
        try:
            return call(client)
        except NoAuthError as error:
            raise AdminError(f"{doing} at {where}: not allowed", "give a user that the znodes' ACL names") from error
        except (KazooException, KazooTimeoutError) as error:
            raise AdminError(
                f"{doing} at {where}: {type(error).__name__} {error}".rstrip(), "see the server's log"
            ) from error

    def count_keys(self, prefix: str) -> int:
        """How many znodes lie under the prefix, at any depth (before 3.6: directly)."""
        parent, stem = split_prefix(prefix)
        return self._try(f"counting the znodes under {prefix!r}", lambda client: _count(client, parent, stem))

    def prepare_prefix(self, prefix: str) -> tuple[str, ...]:
        """Create the parents of the prefix's keys. Returns those that did not exist, from the top."""
        parent, _ = split_prefix(prefix)
        names = [name for name in parent.split("/") if name]
        paths = ["/" + "/".join(names[: depth + 1]) for depth in range(len(names))]

        def create(client: Any) -> tuple[str, ...]:
            created = []
            for path in paths:
                try:
                    client.create(path)
                    created.append(path)
                except NodeExistsError:
                    continue
            return tuple(created)

        return self._try(f"creating {parent}", create)

    def delete_prefix(self, prefix: str, progress: DeleteProgress | None = None, created: Sequence[str] = ()) -> int:
        """Delete what lies under the prefix, then ``created``, deepest first, as far as nothing is left below them."""
        if not prefix.strip("/"):
            raise ValueError("an empty prefix would delete everything; give the prefix of kvbench's keys")
        parent, stem = split_prefix(prefix)

        def delete(client: Any) -> int:
            deletion = _Deletion(client, progress, _count(client, parent, stem))
            deletion.below(parent, stem)
            for path in sorted(created, key=len, reverse=True):
                try:
                    client.delete(path)
                except (NoNodeError, NotEmptyError):
                    continue
            return deletion.deleted

        return self._try(f"deleting the znodes under {prefix!r}", delete)

    def status(self) -> list[MemberStatus]:
        """Every member that answers srvr and serves, in the order of the addresses."""
        found = []
        failure: OSError | None = None
        for address in self._addresses:
            try:
                status = parse_srvr(address, ask(address, "srvr", self._timeout_s))
            except OSError as error:
                failure = error
                continue
            if status is not None:
                found.append(status)
        if not found:
            why = failure or "it does not serve requests, or does not answer srvr"
            raise AdminError(
                f"no ZooKeeper at {', '.join(self._addresses)} says its status: {why}",
                "see whether the servers are up and 4lw.commands.whitelist has srvr",
            )
        return found

    def leader_address(self) -> str:
        """host:port of the member that leads or stands alone."""
        for status in self.status():
            if status.is_leader:
                return status.address
        raise AdminError(
            f"none of {', '.join(self._addresses)} leads", "give the addresses of all members of the ensemble"
        )

    def revision(self) -> int:
        """The highest zxid that any member has."""
        return max(status.revision for status in self.status())

    def alarms(self) -> list[str]:
        """ZooKeeper has none."""
        return []

    def members(self) -> list[str]:
        """host:port of every member by the dynamic configuration; where that names no client ports, the addresses."""

        def read(client: Any) -> str:
            try:
                return str(client.get("/zookeeper/config")[0].decode(errors="replace"))
            except (NoNodeError, NoAuthError):
                return ""

        found = parse_members(self._try("asking for the members", read))
        return found or list(self._addresses)

    def close(self) -> None:
        """End the session."""
        client, self._client = self._client, None
        if client is not None:
            client.stop()
            client.close()


def parse_members(text: str) -> list[str]:
    """host:port from lines like "server.1=host:2888:3888:participant;2181"; without a client port: nothing."""
    found = []
    for line in text.splitlines():
        name, _, rest = line.partition("=")
        servers, _, client = rest.partition(";")
        if not name.startswith("server.") or not client:
            continue
        host, _, port = client.rpartition(":")
        if host in ("", "0.0.0.0", "[::]"):
            host = servers.split(":")[0]
        found.append(f"{host}:{port}")
    return found


def _count(client: Any, parent: str, stem: str) -> int:
    if not stem:
        return _count_below(client, parent)
    try:
        names = client.get_children(parent)
    except NoNodeError:
        return 0
    own = [f"{parent.rstrip('/')}/{name}" for name in names if name.startswith(stem)]
    return sum(1 + _count_below(client, path) for path in own)


def _count_below(client: Any, path: str) -> int:
    answer = client.handler.async_result()
    client._call(CountBelow(path), answer)
    try:
        return int(answer.get())
    except NoNodeError:
        return 0
    except UnimplementedError:
        stat = client.exists(path)
        return stat.numChildren if stat is not None else 0


class _Deletion:
    """Deletes trees in pipelined transactions; a transaction that meets a znode with children falls back to each."""

    def __init__(self, client: Any, progress: DeleteProgress | None, total: int) -> None:
        self._client = client
        self._progress = progress
        self._total = total
        self.deleted = 0

    def below(self, parent: str, stem: str = "") -> None:
        """Delete the children of ``parent`` whose names begin with ``stem``, and all below them."""
        try:
            names = self._client.get_children(parent)
        except NoNodeError:
            return
        under_way: list[tuple[list[str], Any]] = []
        batch: list[str] = []
        batch_bytes = 0
        for name in names:
            if not name.startswith(stem):
                continue
            batch.append(f"{parent.rstrip('/')}/{name}")
            batch_bytes += len(batch[-1]) + 32
            if batch_bytes >= DELETE_BATCH_BYTES:
                under_way.append((batch, self._send(batch)))
                batch, batch_bytes = [], 0
                if len(under_way) >= DELETE_BATCHES_IN_FLIGHT:
                    self._finish(*under_way.pop(0))
        if batch:
            under_way.append((batch, self._send(batch)))
        for sent in under_way:
            self._finish(*sent)

    def _send(self, paths: list[str]) -> Any:
        transaction = self._client.transaction()
        for path in paths:
            transaction.delete(path)
        return transaction.commit_async()

    def _finish(self, paths: list[str], answer: Any) -> None:
        results = answer.get()
        if any(isinstance(result, Exception) for result in results):
            for path in paths:
                self._each(path)
        else:
            self._count(len(paths))

    def _each(self, path: str) -> None:
        """Delete one znode and all below it; one that is gone is no matter."""
        try:
            self._client.delete(path)
        except NotEmptyError:
            self.below(path)
            self._client.delete(path)
        except NoNodeError:
            return
        self._count(1)

    def _count(self, deleted: int) -> None:
        self.deleted += deleted
        if self._progress is not None:
            self._progress(self.deleted, max(self._total, self.deleted))
