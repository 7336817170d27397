"""One end of an HTTP/2 connection with bytes in and events out, for tests."""

from typing import Any

import numpy as np

from kvbench.wire import http2, http2_frames, http2_records
from kvbench.wire.hpack import HpackError
from kvbench.wire.http2_records import HTTP2, HTTP2_SHARED, Event, Http2Error

TX_BYTES = 1 << 17


class End:
    """A client or server end. ``feed`` returns events as tuples, ``sent`` what was written since the last call."""

    def __init__(self, role: int, ring: int = 256, greeted: bool = True, ring_first: int = 0) -> None:
        self.connections, shared = np.zeros(1, HTTP2), np.zeros(1, HTTP2_SHARED)
        http2_records.set_up(self.connections, shared, role, ring, ring_first)
        self.h2, self.shared = self.connections[0], shared[0]
        self.event = self.shared["event"]
        self.tx = np.zeros(TX_BYTES, np.uint8)
        self.tx_at = 0
        self.rx = b""
        self.error = ""
        self.remembered = 0
        http2_frames.begin(self.h2)
        if greeted:
            self.tx_at = http2_frames.greet(self.h2, self.shared, self.tx, 0)

    def sent(self) -> bytes:
        """What this end wrote, taken away."""
        out = bytes(self.tx[: self.tx_at])
        self.tx_at = 0
        return out

    def feed(self, data: bytes, room: int = TX_BYTES) -> list[tuple[Any, ...]]:
        """Give bytes; the events they complete. A connection error ends up in ``error`` and as the last event."""
        self.rx += data
        buf = np.frombuffer(self.rx + b"\xaa" * 16, np.uint8).copy()
        at, found = 0, []
        while not self.error:
            kind = http2.next_event(self.h2, self.shared, buf, at, len(self.rx), self.tx, self.tx_at, room)
            at, self.tx_at = int(self.event["rx_at"]), int(self.event["tx_at"])
            if kind == Event.NEED_MORE:
                break
            if kind < 0:
                self.error = (HpackError if kind in list(HpackError) else Http2Error)(kind).name
                found.append(("broken", self.error))
            else:
                found.append(self._tell(Event(kind), buf))
                if kind == Event.NO_ROOM:
                    break
        self.rx = self.rx[at:]
        return found

    def _tell(self, kind: Event, buf: Any) -> tuple[Any, ...]:
        event = self.event
        stream, ends = int(event["stream"]), bool(event["ends_stream"])
        if kind == Event.HEADERS:
            return ("headers", stream, self._fields(buf), ends)
        if kind == Event.DATA:
            at = int(event["at"])
            return ("data", stream, bytes(buf[at : at + int(event["size"])]), ends)
        if kind in (Event.RESET, Event.GOAWAY):
            return (kind.name.lower(), stream, int(event["code"]))
        return (kind.name.lower().replace("_", " "),)

    def _fields(self, buf: Any) -> list[tuple[bytes, bytes]] | int:
        """The fields of a block, or the meaning of one remembered."""
        count = int(self.event["fields"])
        if count < 0:
            return int(self.event["meaning"])
        if self.remembered:
            http2_frames.remember(self.h2, self.shared, buf, self.remembered)
        text, found = bytes(self.shared["listed"]["text"]), []
        for field in self.shared["listed"]["fields"][:count]:
            at, name, value = int(field["at"]), int(field["name_bytes"]), int(field["value_bytes"])
            found.append((text[at : at + name], text[at + name : at + name + value]))
        return found

    def open(self, tag: int = 0) -> int:
        """Client: open a stream. Returns its id, 0 when it may not."""
        place = http2_frames.open_stream(self.h2, tag)
        return int(self.h2["streams"][place]["id"]) if place >= 0 else 0

    def window(self, stream: int) -> int:
        """The send window of a live stream."""
        return int(self.h2["streams"][self.place(stream)]["send_window"])

    def place(self, stream: int) -> int:
        """Where a live stream lies, or -1."""
        return int(http2_frames.find_place(self.h2, stream, stream))
