"""etcd's client against a server of grpcio's that behaves oddly: another implementation of HTTP/2 and HPACK."""

import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import suppress
from typing import Any

import grpc
import pytest

from kvbench.client import etcd
from kvbench.ops.errors import ErrorCode
from kvbench.ops.kinds import Kind
from kvbench.wire.proto import messages, methods
from tests.client.driver import Broken, Driver, operation

UNUSUAL = "größer als erlaubt: 100 % \n zu viel"


class Odd:
    """What the server does, chosen by the key of a request."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.revision = 1
        self.metadata: list[Any] = []

    def put(self, request: Any, context: Any) -> Any:
        self.metadata = list(context.invocation_metadata())
        key = request.key.decode()
        if key.startswith("status-"):
            context.abort(grpc.StatusCode[key[7:]], "as you asked")
        if key == "long":
            context.abort(grpc.StatusCode.INTERNAL, "x" * 3000)
        if key == "unusual":
            context.abort(grpc.StatusCode.UNKNOWN, UNUSUAL)
        if key == "raise":
            raise ValueError("a bug of the server")
        if key == "headers":
            context.send_initial_metadata(tuple((f"name-{n}", f"value-{n}" * 5) for n in range(40)))
            context.set_trailing_metadata((("trailing", "t" * 300), ("binary-bin", bytes(range(200)))))
        if key == "wait":
            self.release.wait(20)
        self.revision += 1
        return messages.PutResponse(header=messages.ResponseHeader(revision=self.revision))

    def get(self, request: Any, context: Any) -> Any:
        response = messages.RangeResponse(header=messages.ResponseHeader(revision=self.revision), count=1)
        response.kvs.add(key=request.key, value=b"v" * int(request.key), mod_revision=7)
        return response

    def watch(self, requests: Any, context: Any) -> Iterator[Any]:
        key = next(iter(requests)).create_request.key
        yield messages.WatchResponse(created=True)
        for number in range(int(key)):
            response = messages.WatchResponse()
            response.events.add().kv.CopyFrom(
                messages.KeyValue(key=key, value=number.to_bytes(8, "little"), mod_revision=number + 2)
            )
            yield response
        context.abort(grpc.StatusCode.UNAVAILABLE, "enough")


def handler(kind: Callable[..., Any], method: Any, function: Any) -> tuple[str, Any]:
    return method.path, kind(function, method.request.FromString, lambda message: message.SerializeToString())


@pytest.fixture
def odd() -> Odd:
    return Odd()


@pytest.fixture
def server(odd: Odd) -> Iterator[tuple[Any, int]]:
    known = dict(
        (
            handler(grpc.unary_unary_rpc_method_handler, methods.PUT, odd.put),
            handler(grpc.unary_unary_rpc_method_handler, methods.RANGE, odd.get),
            handler(grpc.stream_stream_rpc_method_handler, methods.WATCH, odd.watch),
        )
    )

    class Router(grpc.GenericRpcHandler):  # type: ignore[type-arg]
        def service(self, details: Any) -> Any:
            return known.get(details.method)

    options = [("grpc.max_send_message_length", -1)]
    one = grpc.server(futures.ThreadPoolExecutor(8), handlers=[Router()], options=options)
    port = one.add_insecure_port("127.0.0.1:0")
    one.start()
    yield one, port
    odd.release.set()
    one.stop(0).wait()


@pytest.fixture
def driver(server: tuple[Any, int]) -> Iterator[Driver]:
    with Driver(etcd, etcd.new_client(1, 64, 1 << 20), [("127.0.0.1", server[1])], ticks=True) as one:
        yield one.connect()


def put(driver: Driver, key: bytes, value: bytes = b"v") -> int:
    return int(driver.call(*operation(Kind.PUT, key, value))["code"])


def test_requests_are_what_grpc_expects(driver: Driver, odd: Odd) -> None:
    assert [put(driver, b"k") for _ in range(5)] == [0] * 5
    assert odd.revision == 6
    assert dict(odd.metadata)["user-agent"] == "kvbench"


@pytest.mark.parametrize("status", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_every_status(driver: Driver, status: grpc.StatusCode) -> None:
    assert put(driver, b"status-" + status.name.encode()) == status.value[0] == ErrorCode[status.name]
    assert etcd.last_error(driver.state) == (status.value[0], "as you asked")
    assert put(driver, b"k") == 0


def test_long_and_unusual_messages(driver: Driver) -> None:
    assert put(driver, b"long") == ErrorCode.INTERNAL
    assert etcd.last_error(driver.state) == (13, "x" * 1024)
    assert put(driver, b"unusual") == ErrorCode.UNKNOWN
    assert etcd.last_error(driver.state) == (2, UNUSUAL)
    assert put(driver, b"raise") == ErrorCode.UNKNOWN
    assert "a bug of the server" in etcd.last_error(driver.state)[1]


def test_headers_of_no_meaning_to_us(driver: Driver) -> None:
    assert [put(driver, b"headers") for _ in range(3)] == [0, 0, 0]
    assert put(driver, b"k") == 0


def test_a_method_that_the_server_has_not(driver: Driver) -> None:
    assert driver.call(*operation(Kind.DELETE, b"k"))["code"] == ErrorCode.UNIMPLEMENTED
    assert etcd.last_error(driver.state)[0] == 12


@pytest.mark.parametrize("size", [0, 1, 16_384, 100_000, 3_000_000])
def test_large_answers(driver: Driver, size: int) -> None:
    for slot in range(3):
        driver.submit(*operation(Kind.GET, b"%d" % size), slot=slot)
    driver.pump_until(lambda: len(driver.outcomes) == 3)
    assert [(int(o["code"]), int(o["revision"]), int(o["count"])) for o in driver.outcomes] == [(0, 7, 1)] * 3


def test_large_requests(driver: Driver) -> None:
    assert [put(driver, b"k", bytes(size)) for size in (16_000, 17_000, 65_535, 1_000_000)] == [0] * 4


def test_a_watch_that_ends_with_an_error(driver: Driver) -> None:
    driver.submit(*operation(Kind.WATCH, b"200"), slot=4)
    driver.pump_until(lambda: len(driver.outcomes) == 202)
    first, *events, last = driver.outcomes
    assert (int(first["slot"]), int(first["code"])) == (4, 0)
    assert [(int(o["slot"]), int(o["sent_ns"]), int(o["revision"])) for o in events] == [
        (-1, number, number + 2) for number in range(200)
    ]
    assert (int(last["slot"]), int(last["code"])) == (4, ErrorCode.UNAVAILABLE)


def test_goaway_lets_what_was_accepted_finish(driver: Driver, server: tuple[Any, int], odd: Odd) -> None:
    driver.submit(*operation(Kind.PUT, b"wait", b"v"), slot=1)
    for _ in range(20):
        driver.step()
    server[0].stop(20)
    driver.pump_until(lambda: driver.state.links[0]["http2"]["draining"] == 1)
    assert driver.outcomes == []
    records, payload = operation(Kind.PUT, b"k", b"v")
    assert etcd.submit(driver.state, driver.net, 0, 2, records, 1, payload, 0) == 0
    odd.release.set()
    with suppress(Broken):
        driver.pump_until(lambda: len(driver.outcomes) == 1)
    assert [(int(o["slot"]), int(o["code"])) for o in driver.outcomes] == [(1, 0)]


def test_a_server_that_vanishes(driver: Driver, server: tuple[Any, int]) -> None:
    for slot in range(5):
        driver.submit(*operation(Kind.PUT, b"wait", b"v"), slot=slot)
    for _ in range(20):
        driver.step()
    server[0].stop(0)
    with suppress(Broken):
        driver.pump_until(lambda: len(driver.outcomes) == 5)
    assert {int(o["slot"]) for o in driver.outcomes} == set(range(5))
    assert {int(o["code"]) for o in driver.outcomes} <= {
        ErrorCode.CONNECTION_LOST, ErrorCode.CANCELLED, ErrorCode.UNAVAILABLE
    }  # fmt: skip
