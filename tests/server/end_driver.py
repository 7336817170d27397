"""A gRPC server's end on real sockets, driven step by step: the tests are both the peer and the server behind it."""

import socket
import time
from typing import Any

import numpy as np

from kvbench.net import table
from kvbench.rt import libc
from kvbench.server import grpc_answers, grpc_end, sockets
from kvbench.server.end_records import EndError, GrpcEnd, new_end
from kvbench.wire.http2_records import Http2Error
from kvbench.wire.proto import methods
from tests.naive import hpack, http2
from tests.naive.http2 import DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, frame

WHOLE = END_HEADERS | END_STREAM


def fields_block(path: str, method: bytes = b"POST", media: bytes = b"application/grpc") -> bytes:
    """A request's header block without dynamic table."""
    nothing = hpack.Table()
    fields = [(b":method", method), (b":scheme", b"http"), (b":path", path.encode()), (b"content-type", media)]
    return b"".join(hpack.encode_field(nothing, one, 2, True) for one in fields)


def framed(message: bytes) -> bytes:
    """A message with its gRPC prefix."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def request(stream: int, message: bytes, path: str = methods.PUT.path, ends: bool = True) -> bytes:
    """A request with one message in frames of at most 16384 bytes."""
    body = framed(message)
    pieces = [body[at : at + 16384] for at in range(0, len(body), 16384)]
    frames = [frame(HEADERS, END_HEADERS, stream, fields_block(path))]
    frames += [frame(DATA, 0, stream, piece) for piece in pieces[:-1]]
    return b"".join([*frames, frame(DATA, END_STREAM if ends else 0, stream, pieces[-1])])


class Server:
    """The server's side. ``turn`` reads what the peers sent and returns what was found."""

    def __init__(self, **limits: Any) -> None:
        limits = {"connections": 4, "calls": 600, "arena_bytes": 8 << 20} | limits
        self.end: GrpcEnd = new_end(**limits)
        assert table.open_epoll(self.end) == 0
        self.state = self.end.state[0]
        self.peers: dict[int, Peer] = {}
        self.requests: list[tuple[int, bytes]] = []
        self.now = 1_000_000_000

    def connect(self, *settings: tuple[int, int], greeted: bool = True) -> "Peer":
        """A peer on a connection of its own."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.settimeout(10)
        position = int(self.state["link_free"])
        if position < 0:
            position = int(self.state["link_used"])
            self.state["link_used"] += 1
        else:
            self.state["link_free"] = self.end.links[position]["next"]
        fd = ours.detach()
        sockets.open_link(self.end, position, fd, self.now)
        table.control(self.end, libc.EPOLL_CTL_ADD, fd, libc.EPOLLIN | libc.EPOLLRDHUP, position)
        peer = self.peers[position] = Peer(self, position, theirs)
        assert grpc_end.greet(self.end, position) == 0
        if greeted:
            peer.send(PREFACE + http2.settings(*settings))
            self.turn()
            peer.take()
        return peer

    def turn(self) -> list[Any]:
        """Deal with all that the peers sent, then flush. Requests are kept in ``requests`` with their handles."""
        found: list[Any] = []
        self.end.again[0] = 0
        for position, peer in list(self.peers.items()):
            while self.end.links[position]["state"] != 0:
                link = self.end.links[position]
                link["again"] = 0
                code = sockets.begin_read(self.end, position, self.now, int(link["blocked"]) == 0)
                if code == sockets.NOTHING:
                    break
                if code > 0:
                    code = self._requests(position, found)
                if code == 0:
                    code = sockets.end_read(self.end, position)
                if code < 0:
                    self.drop(position, code)
                    found.append(peer.why)
                if int(link["blocked"]):
                    break
        self.flush()
        return found

    def _requests(self, position: int, found: list[Any]) -> int:
        while True:
            what = int(grpc_end.next_request(self.end, position))
            if what <= 0:
                return what
            number = int(self.state["call"])
            if what == grpc_end.REQUEST:
                at, end = int(self.state["request_at"]), int(self.state["request_end"])
                one = (int(grpc_answers.handle_of(self.end, number)), bytes(self.end.arena[at:end]))
                self.requests.append(one)
                found.append(one[1])
            else:
                found.append({grpc_end.HALF_CLOSED: "half-closed", grpc_end.CANCELLED: "cancelled"}[what])
                if what == grpc_end.CANCELLED:
                    grpc_answers.free_call(self.end, number)

    def flush(self) -> None:
        """As the loop does at the end of each turn."""
        total = int(self.end.dirty[0])
        self.end.dirty[0] = 0
        for position in [int(one) for one in self.end.dirty[1 : total + 1]]:
            self.end.links[position]["dirty"] = 0
            code = int(grpc_end.flush(self.end, position, self.now))
            if code < 0:
                self.drop(position, code)

    def drop(self, position: int, code: int) -> None:
        """Break a connection off."""
        self.peers[position].why = next(
            (kind(code).name for kind in (EndError, Http2Error) if code in list(kind)), str(code)
        )
        sockets.send_some(self.end, position, self.now)
        while (number := int(grpc_end.next_lost(self.end, position))) >= 0:
            self.end.calls[number]["tag"] = -1
        sockets.close_link(self.end, position)
        del self.peers[position]

    def answer(self, handle: int, message: bytes, last: bool = True) -> bool:
        """Answer a call. Returns whether there was room."""
        number = int(grpc_answers.call_of(self.end, handle))
        assert number >= 0
        at = int(grpc_answers.open_response(self.end, number, len(message)))
        if at < 0:
            return False
        self.end.arena[at : at + len(message)] = np.frombuffer(message, np.uint8)
        grpc_answers.close_response(self.end, number, len(message), last)
        return True

    def answer_all(self, message: bytes = b"answer") -> None:
        """Answer every request that came, and flush."""
        for handle, _ in self.requests:
            assert self.answer(handle, message)
        self.requests.clear()
        self.flush()

    def held(self) -> tuple[int, int, int]:
        """(calls, buffers of the pool, their bytes) in use."""
        pool = self.state["pool"]
        return int(self.state["calls_open"]), int(pool["live"]), int(pool["held"])

    def close(self) -> None:
        """Everything."""
        for position in list(self.peers):
            peer = self.peers[position]
            self.drop(position, EndError.GONE)
            peer.socket.close()
        sockets.close_all(self.end)
        assert self.held() == (0, 0, 0)


class Peer:
    """The other side: a socket."""

    def __init__(self, server: Server, position: int, ours: socket.socket) -> None:
        self.server, self.position, self.socket = server, position, ours
        self.why = ""
        self._rest = b""

    @property
    def link(self) -> Any:
        return self.server.end.links[self.position]

    def send(self, data: bytes) -> None:
        """All of it, however slowly the server reads."""
        self.socket.setblocking(False)
        give_up = time.monotonic() + 20
        while data:
            try:
                data = data[self.socket.send(data) :]
            except BlockingIOError:
                assert time.monotonic() < give_up
                self.server.turn()

    def take(self, most: int = 1 << 30) -> list[tuple[int, int, int, bytes]]:
        """The whole frames that have come."""
        self.socket.setblocking(False)
        data = self._rest
        while len(data) < most:
            try:
                got = self.socket.recv(min(1 << 16, most - len(data)))
            except BlockingIOError:
                self.server.turn()
                self.server.end.links[self.position]["dirty"] = 0
                if grpc_end.flush(self.server.end, self.position, self.server.now) < 0:
                    break
                try:
                    got = self.socket.recv(1 << 16)
                except (BlockingIOError, ConnectionResetError):
                    break
            except ConnectionResetError:
                break
            if not got:
                break
            data += got
        whole = 0
        while len(data) - whole >= 9 and len(data) - whole >= 9 + int.from_bytes(data[whole : whole + 3], "big"):
            whole += 9 + int.from_bytes(data[whole : whole + 3], "big")
        self._rest = data[whole:]
        return http2.split(data[:whole])

    def is_closed(self) -> bool:
        """Whether the server hung up."""
        self.socket.settimeout(10)
        try:
            while self.socket.recv(1 << 16):
                pass
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False
        return True


def kinds(frames: list[tuple[int, int, int, bytes]]) -> list[tuple[int, int, int]]:
    """Type, flags and stream of each frame."""
    return [one[:3] for one in frames]


def trailers(frames: list[tuple[int, int, int, bytes]]) -> dict[bytes, bytes]:
    """The fields of the last header block."""
    return dict(hpack.decode(hpack.Table(), [one for one in frames if one[0] == HEADERS][-1][3]))


def body(frames: list[tuple[int, int, int, bytes]], stream: int) -> bytes:
    """What the DATA frames of a stream hold."""
    return b"".join(payload for kind, _, one, payload in frames if kind == DATA and one == stream)
