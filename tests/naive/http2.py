"""HTTP/2 frames the obvious way, and a state machine that follows RFC 9113 word by word, one whole frame at a time."""

import struct
from dataclasses import dataclass, field
from typing import Any

from tests.naive import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 1
END_HEADERS, PADDED, HAS_PRIORITY = 4, 8, 32
WINDOW_MAX = (1 << 31) - 1


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def settings(*pairs: tuple[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in pairs))


def window_update(stream: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))


def rst_stream(stream: int, reason: int) -> bytes:
    return frame(RST_STREAM, 0, stream, struct.pack(">I", reason))


def goaway(last: int, reason: int, text: bytes = b"") -> bytes:
    return frame(GOAWAY, 0, 0, struct.pack(">II", last, reason) + text)


def padded(payload: bytes, padding: int) -> bytes:
    return bytes([padding]) + payload + bytes(padding)


def split(data: bytes) -> list[tuple[int, int, int, bytes]]:
    """(type, flags, stream, payload) of each frame; asserts that the bytes are whole frames."""
    found = []
    while data:
        size = int.from_bytes(data[:3], "big")
        assert len(data) >= 9 + size, "a frame is cut short"
        found.append((data[3], data[4], int.from_bytes(data[5:9], "big"), data[9 : 9 + size]))
        data = data[9 + size :]
    return found


class Broken(Exception):
    """A connection error; the argument is its name."""


@dataclass
class Stream:
    """A live stream."""

    window: int
    left: int
    closed: set[str] = field(default_factory=set)
    headers: int = 0


@dataclass
class Server:
    """The server's side. ``take`` gives the events that a frame makes, ``answers`` collects what is sent back.

    Differs from the RFC where the kernel does on purpose: frames on closed streams are ignored, not answered.
    """

    initial: int = 65535
    send_window: int = 65535
    left: int = WINDOW_MAX
    stream_window: int = 1 << 30
    seen_settings: bool = False
    last: int = 0
    streams: dict[int, Stream] = field(default_factory=dict)
    table: hpack.Table = field(default_factory=hpack.Table)
    block: tuple[int, int, bytes] | None = None
    answers: list[tuple[int, int, int, bytes]] = field(default_factory=list)

    def take(self, kind: int, flags: int, stream: int, payload: bytes) -> list[tuple[Any, ...]]:
        if self.block and (kind != CONTINUATION or stream != self.block[0]):
            raise Broken("CONTINUATION_EXPECTED")
        if kind == SETTINGS:
            return self._settings(flags, stream, payload)
        if kind in (DATA, HEADERS, CONTINUATION) and stream == 0:
            raise Broken("BAD_STREAM_ID")
        if not self.seen_settings:
            raise Broken("SETTINGS_EXPECTED")
        if kind == DATA:
            return self._data(flags, stream, payload)
        if kind == HEADERS:
            return self._headers(flags, stream, payload)
        if kind == CONTINUATION:
            if not self.block:
                raise Broken("UNEXPECTED_CONTINUATION")
            self.block = (self.block[0], self.block[1], self.block[2] + payload)
            return self._end_block() if flags & END_HEADERS else []
        return self._rest(kind, flags, stream, payload)

    def _settings(self, flags: int, stream: int, payload: bytes) -> list[tuple[Any, ...]]:
        if stream:
            raise Broken("BAD_STREAM_ID")
        if flags & ACK:
            if payload:
                raise Broken("BAD_FRAME_SIZE")
            return []
        if len(payload) % 6:
            raise Broken("BAD_FRAME_SIZE")
        for name, value in struct.iter_unpack(">HI", payload):
            if (name == 2 and value > 1) or (name == 5 and not 16384 <= value < 1 << 24):
                raise Broken("BAD_SETTING")
            if name == 4:
                if value > WINDOW_MAX:
                    raise Broken("WINDOW_OVERFLOW")
                for live in self.streams.values():
                    live.window += value - self.initial
                    if live.window > WINDOW_MAX:
                        raise Broken("WINDOW_OVERFLOW")
                self.initial = value
        self.seen_settings = True
        self.answers.append((SETTINGS, ACK, 0, b""))
        return [("settings",)]

    def _strip(self, flags: int, payload: bytes) -> bytes:
        if flags & PADDED:
            if not payload or payload[0] >= len(payload):
                raise Broken("BAD_PADDING")
            payload = payload[1 : len(payload) - payload[0]]
        return payload

    def _idle(self, stream: int) -> bool:
        return stream % 2 == 0 or stream > self.last

    def _find(self, stream: int) -> Stream | None:
        live = self.streams.get(stream)
        if not live and self._idle(stream):
            raise Broken("IDLE_STREAM")
        return live

    def _reset(self, stream: int, reason: int) -> list[tuple[Any, ...]]:
        self.answers.append((RST_STREAM, 0, stream, struct.pack(">I", reason)))
        return [("reset", stream, reason)] if self.streams.pop(stream, None) else []

    def _end(self, stream: int) -> None:
        live = self.streams[stream]
        live.closed.add("remote")
        if "local" in live.closed:
            del self.streams[stream]

    def _data(self, flags: int, stream: int, payload: bytes) -> list[tuple[Any, ...]]:
        self.left -= len(payload)
        if self.left < 0:
            raise Broken("WINDOW_EXCEEDED")
        if self.left < WINDOW_MAX // 2:
            self.answers.append((WINDOW_UPDATE, 0, 0, struct.pack(">I", WINDOW_MAX - self.left)))
            self.left = WINDOW_MAX
        content = self._strip(flags, payload)
        live = self._find(stream)
        if not live:
            return []
        if "remote" in live.closed:
            return self._reset(stream, 5)
        live.left -= len(payload)
        if live.left < 0:
            return self._reset(stream, 3)
        if flags & END_STREAM:
            self._end(stream)
        elif live.left < self.stream_window // 2:
            missing = struct.pack(">I", self.stream_window - live.left)
            self.answers.append((WINDOW_UPDATE, 0, stream, missing))
            live.left = self.stream_window
        return [("data", stream, content, bool(flags & END_STREAM))]

    def _headers(self, flags: int, stream: int, payload: bytes) -> list[tuple[Any, ...]]:
        pad = 0
        if flags & PADDED:
            if not payload:
                raise Broken("BAD_PADDING")
            pad, payload = payload[0], payload[1:]
        if flags & HAS_PRIORITY:
            if len(payload) < 5:
                raise Broken("BAD_PADDING")
            payload = payload[5:]
        if pad > len(payload):
            raise Broken("BAD_PADDING")
        self.block = (stream, flags & END_STREAM, payload[: len(payload) - pad])
        return self._end_block() if flags & END_HEADERS else []

    def _end_block(self) -> list[tuple[Any, ...]]:
        assert self.block
        (stream, ends, block), self.block = self.block, None
        try:
            fields = hpack.decode(self.table, block)
        except hpack.Malformed as error:
            raise Broken(str(error)) from None
        live = self.streams.get(stream)
        if not live:
            if not self._idle(stream):
                return []
            if stream % 2 == 0:
                raise Broken("BAD_STREAM_ID")
            self.last = stream
            live = self.streams[stream] = Stream(self.initial, self.stream_window)
        if "remote" in live.closed:
            return self._reset(stream, 5)
        live.headers += 1
        if ends:
            self._end(stream)
        return [("headers", stream, fields, bool(ends))]

    def _rest(self, kind: int, flags: int, stream: int, payload: bytes) -> list[tuple[Any, ...]]:
        if kind == WINDOW_UPDATE:
            return self._window_update(stream, payload)
        if kind == PING:
            if stream:
                raise Broken("BAD_STREAM_ID")
            if len(payload) != 8:
                raise Broken("BAD_FRAME_SIZE")
            if flags & ACK:
                return [("ping answered",)]
            self.answers.append((PING, ACK, 0, payload))
        elif kind == RST_STREAM:
            if not stream:
                raise Broken("BAD_STREAM_ID")
            if len(payload) != 4:
                raise Broken("BAD_FRAME_SIZE")
            if self._find(stream):
                del self.streams[stream]
                return [("reset", stream, int.from_bytes(payload, "big"))]
        elif kind == GOAWAY:
            if stream:
                raise Broken("BAD_STREAM_ID")
            if len(payload) < 8:
                raise Broken("BAD_FRAME_SIZE")
            last, reason = struct.unpack(">II", payload[:8])
            return [("goaway", last & WINDOW_MAX, reason)]
        elif kind == PRIORITY:
            if not stream:
                raise Broken("BAD_STREAM_ID")
            if len(payload) != 5:
                return self._reset(stream, 6)
        elif kind == PUSH_PROMISE:
            raise Broken("PUSHED")
        return []

    def _window_update(self, stream: int, payload: bytes) -> list[tuple[Any, ...]]:
        if len(payload) != 4:
            raise Broken("BAD_FRAME_SIZE")
        increment = int.from_bytes(payload, "big") & WINDOW_MAX
        if stream == 0:
            if not increment:
                raise Broken("ZERO_INCREMENT")
            self.send_window += increment
            if self.send_window > WINDOW_MAX:
                raise Broken("WINDOW_OVERFLOW")
            return [("window",)]
        live = self._find(stream)
        if not live:
            return []
        if not increment:
            return self._reset(stream, 1)
        live.window += increment
        return self._reset(stream, 3) if live.window > WINDOW_MAX else [("window",)]
