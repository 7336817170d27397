"""etcd and the built-in store, asked the same: answers and watch events without what may differ between any two."""

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import grpc

from kvbench.load.grpcio_channels import open_channel
from kvbench.wire.proto import messages, methods
from kvbench.wire.proto.methods import Method

PATIENCE_S = 10.0
QUIET_S = 0.25
"""etcd looks after watchers that are behind every 100 ms."""
FREE_FIELDS = {
    "ResponseHeader": {"cluster_id", "member_id", "raft_term"},
    "HashResponse": {"hash"},
    "HashKVResponse": {"hash"},
    "StatusResponse": {"dbSize", "dbSizeInUse", "leader", "raftIndex", "raftTerm", "raftAppliedIndex"},
    "Member": {"ID", "peerURLs", "clientURLs"},
    "AlarmMember": {"memberID"},
}
"""By message, what two clusters need not agree on: who they are, their terms and indexes, sizes, hashes."""


class Answer(NamedTuple):
    """How a call ended."""

    code: str
    """OK, or the name of a gRPC status."""
    text: str
    said: Any
    """The response's fields, or a stream's list of those."""


def plain(message: Any) -> dict[str, Any]:
    """A message's fields that are set, without those that are free to differ."""
    free = FREE_FIELDS.get(message.DESCRIPTOR.name, ())
    return {field.name: _value(value) for field, value in message.ListFields() if field.name not in free}


def _value(value: Any) -> Any:
    if hasattr(value, "ListFields"):
        return plain(value)
    if isinstance(value, (bytes, str, int, bool)):
        return value
    return [_value(one) for one in value]


class Side:
    """One of the two servers."""

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address
        self.channel = open_channel(address, None)
        self._streams: list[WatchStream] = []

    def raw(self, method: Method, request: Any) -> Any:
        """The response itself, once there is a connection. Raises grpc.RpcError."""
        return _of(self.channel.unary_unary, method)(request, timeout=PATIENCE_S, wait_for_ready=True)

    def ask(self, method: Method, request: Any) -> Answer:
        """A call of one request and one response."""
        return _answer(lambda: plain(self.raw(method, request)))

    def ask_stream(self, method: Method, request: Any) -> Answer:
        """A call of one request and many responses."""
        return _answer(lambda: [plain(one) for one in _of(self.channel.unary_stream, method)(request, timeout=10)])

    def ask_many(self, method: Method, requests: list[Any]) -> Answer:
        """A call of many requests, sent at once, and many responses."""
        call = _of(self.channel.stream_stream, method)
        return _answer(lambda: [plain(one) for one in call(iter(requests), timeout=PATIENCE_S)])

    def watch(self) -> "WatchStream":
        """A Watch call."""
        self._streams.append(WatchStream(self.channel))
        return self._streams[-1]

    def close(self) -> None:
        """End what is open."""
        for stream in self._streams:
            stream.close()
        self.channel.close()


def _of(kind: Any, method: Method) -> Any:
    return kind(
        method.path,
        request_serializer=method.request.SerializeToString,
        response_deserializer=method.response.FromString,
    )


def _answer(ask: Callable[[], Any]) -> Answer:
    try:
        return Answer("OK", "", ask())
    except grpc.RpcError as error:
        return Answer(error.code().name, str(error.details()), None)


class WatchStream:
    """A Watch call under way; responses are gathered as they come."""

    def __init__(self, channel: Any) -> None:
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._came = threading.Condition()
        self._responses: list[Any] = []
        self._call = _of(channel.stream_stream, methods.WATCH)(iter(self._requests.get, None))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            for response in self._call:
                with self._came:
                    self._responses.append(response)
                    self._came.notify_all()
        except grpc.RpcError:
            pass

    def send(self, **request: Any) -> None:
        """Send a WatchRequest."""
        self._requests.put(messages.WatchRequest(**request))

    def create(self, key: bytes, **options: Any) -> None:
        """Send a WatchCreateRequest."""
        self.send(create_request=messages.WatchCreateRequest(key=key, **options))

    def cancel(self, watch_id: int) -> None:
        """Send a WatchCancelRequest."""
        self.send(cancel_request=messages.WatchCancelRequest(watch_id=watch_id))

    def ask_progress(self) -> None:
        """Send a WatchProgressRequest."""
        self.send(progress_request=messages.WatchProgressRequest())

    def wait_for(self, condition: Callable[[list[Any]], bool]) -> list[Any]:
        """The responses so far, once ``condition`` holds for them, or when patience ends."""
        with self._came:
            self._came.wait_for(lambda: condition(self._responses), PATIENCE_S)
            return list(self._responses)

    def take(self, count: int) -> list[dict[str, Any]]:
        """The first ``count`` responses not taken yet, or as many as come while patience lasts."""
        responses = self.wait_for(lambda responses: len(responses) >= count)[:count]
        with self._came:
            del self._responses[: len(responses)]
        return [plain(response) for response in responses]

    def half_close(self) -> None:
        """Send no more."""
        self._requests.put(None)

    def close(self) -> None:
        """End the call."""
        self.half_close()
        self._call.cancel()
        self._reader.join()


class Both:
    """The same to both servers."""

    def __init__(self, etcd: Side, store: Side) -> None:
        self.etcd, self.store = etcd, store
        self.differences: list[str] = []

    def ask(self, method: Method, request: Any, say: Callable[[Any], Any] = lambda said: said) -> Answer:
        """A call to both; ``say`` picks what is compared of a response. Returns etcd's answer."""
        return self._compare(method, request, [side.ask(method, request) for side in (self.etcd, self.store)], say)

    def ask_stream(self, method: Method, request: Any, say: Callable[[Any], Any] = lambda said: said) -> Answer:
        """As ``ask``, for many responses."""
        answers = [side.ask_stream(method, request) for side in (self.etcd, self.store)]
        return self._compare(method, request, answers, say)

    def ask_many(self, method: Method, requests: list[Any]) -> Answer:
        """As ``ask``, for many requests and responses."""
        answers = [side.ask_many(method, requests) for side in (self.etcd, self.store)]
        return self._compare(method, requests, answers, lambda said: said)

    def _compare(self, method: Method, request: Any, answers: list[Answer], say: Callable[[Any], Any]) -> Answer:
        etcd, store = (one if one.said is None else one._replace(said=say(one.said)) for one in answers)
        if etcd != store:
            self.differ(f"{method.path} {request}", etcd, store)
        return answers[0]

    def differ(self, what: str, etcd: Any, store: Any) -> None:
        """Note a difference."""
        self.differences.append(f"{what}\n    etcd:  {etcd}\n    store: {store}\n")

    def watch(self) -> "BothStreams":
        """A Watch call to each."""
        return BothStreams(self, self.etcd.watch(), self.store.watch())

    def conclude(self) -> None:
        """Fail with all differences."""
        differences, self.differences = self.differences, []
        assert not differences, f"{len(differences)} differences:\n" + "\n".join(differences[:20])


class BothStreams:
    """A Watch call to each of two servers."""

    def __init__(self, both: Both, etcd: WatchStream, store: WatchStream) -> None:
        self._both = both
        self.etcd, self.store = etcd, store

    def __iter__(self) -> Iterator[WatchStream]:
        return iter((self.etcd, self.store))

    def create(self, key: bytes, **options: Any) -> None:
        """A watcher on each."""
        for stream in self:
            stream.create(key, **options)

    def cancel(self, watch_id: int) -> None:
        """Cancel a watcher on each."""
        for stream in self:
            stream.cancel(watch_id)

    def ask_progress(self) -> None:
        """Ask each how far it is."""
        for stream in self:
            stream.ask_progress()

    def expect(self, count: int, what: str) -> list[dict[str, Any]]:
        """Compare the next ``count`` responses; between watchers of one stream there is no order. Returns etcd's."""
        etcd, store = (_by_watcher(stream.take(count)) for stream in self)
        if etcd != store:
            self._both.differ(what, etcd, store)
        if len(etcd) != count:
            self._both.differ(f"{what}: {count} responses were expected", etcd, store)
        return etcd

    def expect_all(self, what: str) -> None:
        """Compare all that has come."""
        counts = [len(stream.wait_for(lambda got: True)) for stream in self]
        if counts[0] != counts[1]:
            self._both.differ(f"{what}: responses", *counts)
        self.expect(min(counts), what)

    def close(self) -> None:
        """End both."""
        for stream in self:
            stream.close()


def _by_watcher(responses: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(responses, key=lambda response: int(response.get("watch_id", 0)))
