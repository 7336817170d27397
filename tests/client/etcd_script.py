"""etcd's client without sockets: a test reads the frames it sends and says what it receives, in any pieces."""

from typing import Any

import numpy as np

from kvbench.client import etcd
from kvbench.net import table
from kvbench.net.records import OPEN
from kvbench.ops.kinds import Kind
from kvbench.ops.records import OUTCOME
from kvbench.wire.proto import messages
from tests.client.driver import operation
from tests.naive import hpack, http2
from tests.naive.http2 import DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, frame

NOW = 1_000_000_000_000
WHOLE = END_HEADERS | END_STREAM
HEADERS_OK = b"\x88" + hpack.encode_field(hpack.Table(), (b"content-type", b"application/grpc"), 2, False)


def field(name: bytes, value: bytes) -> bytes:
    return hpack.encode_field(hpack.Table(), (name, value), 2, False)


def trailers(stream: int, status: int = 0, message: bytes = b"") -> bytes:
    return frame(HEADERS, WHOLE, stream, field(b"grpc-status", b"%d" % status) + field(b"grpc-message", message))


def headers(stream: int) -> bytes:
    return frame(HEADERS, END_HEADERS, stream, HEADERS_OK)


def framed(message: Any) -> bytes:
    """A gRPC message with its prefix."""
    data = message if isinstance(message, bytes) else message.SerializeToString()
    return b"\0" + len(data).to_bytes(4, "big") + data


def data(stream: int, *contents: Any) -> bytes:
    return frame(DATA, 0, stream, b"".join(framed(one) for one in contents))


def answer(stream: int, message: Any) -> bytes:
    """A whole successful response."""
    return headers(stream) + data(stream, message) + trailers(stream)


def header(revision: int) -> Any:
    return messages.ResponseHeader(cluster_id=(1 << 64) - 1, member_id=77, revision=revision, raft_term=2)


def put_response(revision: int) -> Any:
    return messages.PutResponse(header=header(revision))


def range_response(revision: int, *mod_revisions: int, value: bytes = b"v") -> Any:
    response = messages.RangeResponse(header=header(revision), count=len(mod_revisions))
    for number, mod in enumerate(mod_revisions):
        response.kvs.add(key=b"k%d" % number, value=value, mod_revision=mod, create_revision=1, version=1)
    return response


def watch_response(*events: tuple[int, bytes], created: bool = False, **more: Any) -> Any:
    response = messages.WatchResponse(header=header(9), created=created, **more)
    for mod, value in events:
        response.events.add().kv.CopyFrom(messages.KeyValue(key=b"k", value=value, mod_revision=mod))
    return response


class Script:
    """A client with one connection that is up, and a server that is the test."""

    def __init__(
        self, outcomes: int = 64, tx: int = 65536, streams: int = 64, payload: int = 0, greet: bool = True
    ) -> None:
        self.net = table.new_net(1, [], 65536, tx)
        self.state = etcd.new_client(1, streams, payload, "store:2379", streams)
        self.outcomes = np.zeros(outcomes, OUTCOME)
        self.row = self.net.connections[0]
        self.peer = hpack.Table()
        self.heads: dict[int, dict[bytes, bytes]] = {}
        self.code = 0
        if greet:
            self.open()

    @property
    def link(self) -> Any:
        return self.state.links[0]

    def open(self, *settings: tuple[int, int]) -> "Script":
        """TCP comes up and the server greets with ``settings``."""
        self.row["state"] = OPEN
        self.peer = hpack.Table()
        assert etcd.opened(self.state, self.net, 0, NOW) == 0
        sent = self.raw()
        assert sent.startswith(PREFACE)
        assert self.row["ready"] == 0
        assert self.give(http2.settings(*settings)) == []
        assert self.row["ready"] == 1
        assert self.frames() == [(http2.SETTINGS, http2.ACK, 0, b"")]
        return self

    def raw(self, most: int = 1 << 30) -> bytes:
        """What the client wrote, taken away as the kernel would take it."""
        start, end = int(self.row["tx_start"]), int(self.row["tx_end"])
        taken = min(most, end - start)
        out = bytes(self.net.tx[start : start + taken])
        self.row["tx_start"] = start + taken
        if start + taken == end:
            self.row["tx_start"] = self.row["tx_end"] = 0
        self.row["dirty"] = 0
        self.net.dirty[0] = 0
        return out

    def frames(self) -> list[tuple[int, int, int, bytes]]:
        """Whole frames the client wrote. The headers among them are decoded into ``heads``, by stream."""
        found = http2.split(self.raw())
        for kind, _, stream, payload in found:
            if kind == HEADERS:
                self.heads[stream] = dict(hpack.decode(self.peer, payload))
        return found

    def request(self) -> tuple[dict[bytes, bytes], bytes, int]:
        """The one request that the client wrote: its headers, its message, its stream."""
        head, body = self.frames()
        assert (head[0], head[1], body[0], body[2]) == (HEADERS, END_HEADERS, DATA, head[2])
        assert body[3][:5] == b"\0" + (len(body[3]) - 5).to_bytes(4, "big")
        return self.heads[head[2]], body[3][5:], head[2]

    def submit(self, what: tuple[Any, Any], slot: int = 0) -> int:
        records, payload = what
        return int(etcd.submit(self.state, self.net, 0, slot, records, len(records), payload, NOW))

    def put(self, slot: int = 0, value: bytes = b"v") -> int:
        """Submit a put, take its frames away. Returns the stream."""
        assert self.submit(operation(Kind.PUT, b"key", value), slot) == 1
        return self.request()[2]

    def give(self, received: bytes, now: int = NOW) -> list[Any]:
        """Bytes arrive; the outcomes. A negative code ends up in ``code``."""
        end = int(self.row["rx_end"])
        self.net.rx[end : end + len(received)] = np.frombuffer(received, np.uint8)
        self.row["rx_end"] = end + len(received)
        self.row["last_received_ns"] = now
        return self.decode(now)

    def decode(self, now: int = NOW) -> list[Any]:
        """Call receive until it has nothing more to say, or waits for room to write."""
        found: list[Any] = []
        while True:
            self.row["more"] = 0
            count = etcd.receive(self.state, self.net, 0, now, self.outcomes, 0)
            if count < 0:
                self.code = int(count)
                return found
            found += [self.outcomes[i].copy() for i in range(count)]
            if self.row["more"] == 0 or count == 0:
                break
        if self.row["rx_start"] == self.row["rx_end"]:
            self.row["rx_start"] = self.row["rx_end"] = 0
        return found

    def lose(self) -> list[Any]:
        """The connection breaks: what the client says of the requests on it."""
        found: list[Any] = []
        while True:
            count = etcd.lost(self.state, self.net, 0, self.outcomes, 0)
            found += [self.outcomes[i].copy() for i in range(count)]
            if self.row["more"] == 0:
                break
        table.disconnect(self.net, 0)
        return found


def keep_alive(lease_id: int) -> Any:
    return operation(Kind.LEASE_KEEP_ALIVE, lease_id=lease_id)


def watching(script: Script, slot: int = 5) -> int:
    """A watch that stands; its stream."""
    assert script.submit(operation(Kind.WATCH, b"k"), slot) == 1
    fields, message, stream = script.request()
    assert fields[b":path"] == b"/etcdserverpb.Watch/Watch"
    assert messages.WatchRequest.FromString(message).create_request.key == b"k"
    found = script.give(headers(stream) + data(stream, watch_response(created=True)))
    assert brief(found) == [(slot, 0, 9)]
    return stream


def brief(outcomes: list[Any]) -> list[tuple[int, int, int]]:
    """(slot, code, revision) of each."""
    return [(int(o["slot"]), int(o["code"]), int(o["revision"])) for o in outcomes]
