"""Watch calls of a real server for tests: one that reads as fast as it can, and one that reads when it is told to."""

import queue
import socket
import threading
from collections.abc import Iterator
from typing import Any

import grpc

from kvbench.wire.proto import messages, methods
from tests.naive.http2 import ACK, DATA, END_HEADERS, HEADERS, PREFACE, SETTINGS, frame, settings, window_update
from tests.server.end_driver import fields_block, framed

PATIENCE_S = 20.0
INITIAL_WINDOW = 4
"""HTTP/2's setting."""
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]


def create(**fields: Any) -> messages.WatchRequest:
    """A request for a watcher."""
    return messages.WatchRequest(create_request=messages.WatchCreateRequest(**fields))


class Watch:
    """A Watch call of grpcio's, whose responses are read in a thread."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address, options=UNLIMITED)
        self._asked: queue.SimpleQueue[messages.WatchRequest | None] = queue.SimpleQueue()
        self._got: queue.SimpleQueue[Any] = queue.SimpleQueue()
        path = methods.WATCH.path
        call = self._channel.stream_stream(
            path, messages.WatchRequest.SerializeToString, messages.WatchResponse.FromString
        )
        self._call = call(iter(self._asked.get, None), wait_for_ready=True)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *what: object) -> None:
        self._asked.put(None)
        self._channel.close()
        self._thread.join()

    def _read(self) -> None:
        try:
            for response in self._call:
                self._got.put(response)
        except grpc.RpcError as error:
            self._got.put(error)

    def ask(self, request: messages.WatchRequest) -> None:
        """Send a request."""
        self._asked.put(request)

    def half_close(self) -> None:
        """Say that no request follows."""
        self._asked.put(None)

    def next(self) -> Any:
        """The next response. Raises grpc.RpcError when the call has ended, queue.Empty when none comes."""
        response = self._got.get(timeout=PATIENCE_S)
        if isinstance(response, grpc.RpcError):
            raise response
        return response

    def create(self, **fields: Any) -> Any:
        """The response that says that the watcher stands."""
        self.ask(create(**fields))
        response = self.next()
        assert response.created and not response.canceled
        return response

    def events(self, count: int) -> list[Any]:
        """The next ``count`` events; no other kind of response comes between them."""
        found: list[Any] = []
        while len(found) < count:
            response = self.next()
            assert response.events and not response.canceled
            found += response.events
        assert len(found) == count
        return found


def put_many(address: str, key: bytes, count: int, size: int) -> list[int]:
    """Puts of one key, many in flight: their revisions in order."""
    method = methods.PUT
    with grpc.insecure_channel(address, options=UNLIMITED) as channel:
        call = channel.unary_unary(method.path, method.request.SerializeToString, method.response.FromString)
        requests = [messages.PutRequest(key=key, value=b"%06d" % number + bytes(size)) for number in range(count)]
        futures = [call.future(request, timeout=PATIENCE_S, wait_for_ready=True) for request in requests]
        return sorted(int(future.result().header.revision) for future in futures)


class SlowWatch:
    """A Watch call on a raw connection: nothing is read, and no window is granted, before that is asked for."""

    def __init__(self, connection: socket.socket, window: int) -> None:
        self.connection = connection
        self._left = b""
        self._body = b""
        connection.settimeout(PATIENCE_S)
        head = frame(HEADERS, END_HEADERS, 1, fields_block(methods.WATCH.path))
        connection.sendall(PREFACE + settings((INITIAL_WINDOW, window)) + window_update(0, (1 << 31) - 65536) + head)

    def __enter__(self) -> "SlowWatch":
        return self

    def __exit__(self, *what: object) -> None:
        self.connection.close()

    def ask(self, request: messages.WatchRequest) -> None:
        """Send a request."""
        self.connection.sendall(frame(DATA, 0, 1, framed(request.SerializeToString())))

    def open_window(self, size: int = 1 << 30) -> None:
        """Let the server send so many bytes more."""
        self.connection.sendall(window_update(1, size))

    def responses(self) -> Iterator[Any]:
        """Responses as they come. Raises TimeoutError when none does."""
        while True:
            while len(self._body) >= 5 and len(self._body) >= 5 + int.from_bytes(self._body[1:5], "big"):
                size = int.from_bytes(self._body[1:5], "big")
                message, self._body = self._body[5 : 5 + size], self._body[5 + size :]
                yield messages.WatchResponse.FromString(message)
            self._read_frame()

    def _read_frame(self) -> None:
        while len(self._left) < 9 or len(self._left) < 9 + int.from_bytes(self._left[:3], "big"):
            data = self.connection.recv(1 << 16)
            assert data, "the server hung up"
            self._left += data
        size = int.from_bytes(self._left[:3], "big")
        kind, flags = self._left[3], self._left[4]
        payload, self._left = self._left[9 : 9 + size], self._left[9 + size :]
        assert kind != HEADERS or flags & 1 == 0, "the call has ended"
        if kind == DATA:
            self._body += payload
        elif kind == SETTINGS and flags & ACK == 0:
            self.connection.sendall(frame(SETTINGS, ACK))
