"""ZooKeeper's client without sockets: a test reads what it sends and says what it receives, in any pieces."""

from typing import Any

import numpy as np

from kvbench.client import zookeeper
from kvbench.net import table
from kvbench.net.records import OPEN
from kvbench.ops.kinds import Kind
from kvbench.ops.records import OUTCOME
from tests.client.driver import operation, operations
from tests.naive import jute

NOW = 1_000_000_000_000
PASSWORD = bytes(range(16))
SESSION = 0x0123456789ABCDEF
NO_STAT = dict.fromkeys((name for name, _ in jute.STAT), 0)


def connected(session_id: int = SESSION, timeout_ms: int = 30_000) -> bytes:
    """A ConnectResponse."""
    fields = {"protocol_version": 0, "timeout_ms": timeout_ms, "session_id": session_id, "password": PASSWORD,
              "read_only": False}  # fmt: skip
    return jute.frame(jute.encode(jute.CONNECTED, fields))


def connect_request(session_id: int, zxid: int, password: bytes, timeout_ms: int = 30_000) -> bytes:
    """The ConnectRequest that is expected."""
    fields = {"protocol_version": 0, "last_zxid": zxid, "timeout_ms": timeout_ms, "session_id": session_id,
              "password": password, "read_only": False}  # fmt: skip
    return jute.frame(jute.encode(jute.CONNECT, fields))


def stat(**values: int) -> dict[str, int]:
    return {**NO_STAT, **values}


def created(xid: int, path: bytes = b"/a", zxid: int = 7) -> bytes:
    return jute.reply(xid, zxid, 0, ("path", "b"), path=path)


def stored(xid: int, version: int, zxid: int = 7) -> bytes:
    return jute.reply(xid, zxid, 0, ("stat", "t"), stat=stat(version=version))


def data(xid: int, value: bytes, zxid: int = 7, **fields: int) -> bytes:
    return jute.reply(xid, zxid, 0, ("data", "b"), ("stat", "t"), data=value, stat=stat(**fields))


def notification(path: bytes, kind: int = 3) -> bytes:
    return jute.reply(-1, -1, 0, *jute.EVENT, event_type=kind, event_state=3, path=path)


def frames(sent: bytes) -> list[bytes]:
    """The frames in a stream of whole ones."""
    found = []
    while sent:
        size = 4 + int.from_bytes(sent[:4], "big")
        found.append(sent[:size])
        sent = sent[size:]
    return found


class Script:
    """A client with connections that are up, and a server that is the test."""

    def __init__(
        self, connections: int = 1, outcomes: int = 64, rx: int = 4096, tx: int = 4096, **options: Any
    ) -> None:
        self.known = np.zeros(options.pop("keys", 16), np.uint8)
        self.client = zookeeper.new_client(connections, options.pop("in_flight", 16), self.known, **options)
        self.net = table.new_net(connections, [], rx, tx)
        self.net.connections["state"] = OPEN
        self.batch = np.zeros(outcomes, OUTCOME)
        self.now = NOW
        self.code = 0
        """The last negative code of receive."""

    def opened(self, connection: int = 0) -> bytes:
        """TCP is up: what the client sends."""
        row = self.net.connections[connection]
        for name in ("ready", "rx_start", "rx_end", "tx_start", "tx_end", "more"):
            row[name] = 0
        for name in ("opened_ns", "last_sent_ns", "last_received_ns"):
            row[name] = self.now
        assert zookeeper.opened(self.client, self.net, connection, self.now) == 0
        return self.sent(connection)

    def ready(self) -> "Script":
        """Greet every connection."""
        for connection in range(len(self.net.connections)):
            self.opened(connection)
            assert self.give(connected(), connection) == []
            assert self.net.connections["ready"][connection] == 1
        return self

    def sent(self, connection: int = 0) -> bytes:
        """Take what the client has written since the last time."""
        row = self.net.connections[connection]
        base = connection * self.net.tx_bytes
        written = bytes(self.net.tx[base + int(row["tx_start"]) : base + int(row["tx_end"])])
        if written:
            assert row["dirty"] == 1
            assert connection in self.net.dirty[1 : 1 + int(self.net.dirty[0])]
            row["last_sent_ns"] = self.now
        row["dirty"] = 0
        self.net.dirty[0] = 0
        row["tx_start"] = row["tx_end"] = 0
        return written

    def submit(self, kind: Kind, key: bytes = b"a", value: bytes = b"", slot: int = 0, connection: int = 0,
               **fields: int) -> int:  # fmt: skip
        """Submit one operation."""
        return self.submit_all(*operation(kind, key, value, b"", **fields), slot, connection)

    def submit_txn(self, members: list[tuple[bytes, bytes, int]], slot: int = 0, **fields: int) -> int:
        """Submit a TXN of (key, value, key_index)."""
        records, payload = operations(
            (Kind.TXN, members[0][0], b"", b""), *((Kind.PUT, key, value, b"") for key, value, _ in members), **fields
        )
        records["key_index"][1:] = [index for _, _, index in members]
        return self.submit_all(records, payload, slot, 0)

    def submit_all(self, records: Any, payload: Any, slot: int, connection: int) -> int:
        return int(
            zookeeper.submit(self.client, self.net, connection, slot, records, len(records), payload, self.now)
        )

    def give(self, received: bytes, connection: int = 0, piece: int = 1 << 20) -> list[Any]:
        """Have the client receive bytes in pieces; its outcomes. A negative code is kept in ``code``."""
        found: list[Any] = []
        row = self.net.connections[connection]
        base = connection * self.net.rx_bytes
        while True:
            start, end = int(row["rx_start"]), int(row["rx_end"])
            unread = bytes(self.net.rx[base + start : base + end])
            self.net.rx[base : base + len(unread)] = list(unread)
            count = min(piece, len(received), self.net.rx_bytes - len(unread))
            assert count > 0 or not received, "the client leaves its read buffer full"
            self.net.rx[base + len(unread) : base + len(unread) + count] = list(received[:count])
            received = received[count:]
            row["rx_start"], row["rx_end"] = 0, len(unread) + count
            row["last_received_ns"] = self.now
            if not self.receive(connection, found) or not received:
                return found

    def receive(self, connection: int, found: list[Any]) -> bool:
        """Call receive until it wants no more; False when it says that the connection is broken."""
        while True:
            count = zookeeper.receive(self.client, self.net, connection, self.now, self.batch, 0)
            if count < 0:
                self.code = int(count)
                return False
            found += [record.copy() for record in self.batch[:count]]
            if self.net.connections["more"][connection] == 0:
                return True

    def lost(self, connection: int = 0) -> list[Any]:
        """The connection is gone."""
        found: list[Any] = []
        while True:
            count = zookeeper.lost(self.client, self.net, connection, self.batch, 0)
            found += [record.copy() for record in self.batch[:count]]
            if self.net.connections["more"][connection] == 0:
                table.disconnect(self.net, connection)
                self.net.connections["state"][connection] = OPEN
                return found

    def cancel(self, slot: int, connection: int = 0) -> None:
        assert zookeeper.cancel(self.client, self.net, connection, slot, self.now) == 0

    def tick(self, after_ns: int = 0, connection: int = 0) -> int:
        """Let time pass, then tick."""
        self.now += after_ns
        return int(zookeeper.tick(self.client, self.net, connection, self.now))


def brief(outcomes: list[Any]) -> list[tuple[int, int, int, int]]:
    """(slot, code, count, next_step) of each outcome."""
    return [(int(o["slot"]), int(o["code"]), int(o["count"]), int(o["next_step"])) for o in outcomes]
