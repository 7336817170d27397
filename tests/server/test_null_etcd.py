"""etcd's null server: grpcio and kvbench's own client find it proper, and a scripted client cannot break it."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import grpc
import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench.client import etcd
from kvbench.net import table
from kvbench.ops.errors import ErrorCode
from kvbench.ops.kinds import Kind
from kvbench.rt import libc
from kvbench.server import grpc_end, null, null_etcd, null_net, sockets
from kvbench.wire.proto import messages, methods
from tests.client.driver import Driver, operation, operations
from tests.naive import http2
from tests.naive.http2 import DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, frame
from tests.server.end_driver import WHOLE, body, fields_block, framed, kinds, request, trailers

VALUE_BYTES = 100


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    listener, bound = null_net.listen("127.0.0.1", 0)
    stop = np.zeros(1, np.int64)
    codes: list[int] = []
    null_etcd.serve_etcd(listener, 1, np.ones(1, np.int64))  # told to stop before it starts: compiles, and returns
    thread = threading.Thread(target=lambda: codes.append(null_etcd.serve_etcd(listener, 16, stop, VALUE_BYTES)))
    thread.start()
    yield bound
    stop[0] = 1
    thread.join()
    assert codes == [0]


# -- grpcio -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def channel(port: int) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as one:
        yield one


def call(channel: grpc.Channel, method: Any, **fields: Any) -> Any:
    unary = channel.unary_unary(
        method.path,
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=method.response.FromString,
    )
    return unary(method.request(**fields), timeout=30, wait_for_ready=True)


def test_grpcio_finds_every_answer_proper(channel: grpc.Channel) -> None:
    first = call(channel, methods.PUT, key=b"k", value=b"v" * 300)
    assert call(channel, methods.PUT, key=b"k", value=b"v").header.revision == first.header.revision + 1
    found = call(channel, methods.RANGE, key=b"k")
    assert (found.count, found.kvs[0].key, len(found.kvs[0].value)) == (1, b"k", VALUE_BYTES)
    assert found.kvs[0].mod_revision == found.header.revision
    assert call(channel, methods.RANGE, key=b"k", keys_only=True).kvs[0].value == b""
    assert len(call(channel, methods.RANGE, key=b"k", count_only=True).kvs) == 0
    assert call(channel, methods.DELETE_RANGE, key=b"k").deleted == 1
    granted = call(channel, methods.LEASE_GRANT, TTL=50)
    assert (granted.TTL, granted.ID > 0) == (50, True)
    assert call(channel, methods.LEASE_GRANT, TTL=50, ID=77).ID == 77
    assert call(channel, methods.LEASE_REVOKE, ID=77).header.revision > 0


def test_transactions(channel: grpc.Channel) -> None:
    txn = messages.TxnRequest()
    txn.compare.add(key=b"a", target=messages.Compare.MOD, mod_revision=4)
    txn.success.add().request_put.key = b"a"
    txn.success.add().request_range.key = b"b"
    txn.success.add().request_delete_range.key = b"c"
    txn.failure.add().request_range.key = b"d"
    found = call(channel, methods.TXN, compare=txn.compare, success=txn.success, failure=txn.failure)
    assert found.succeeded
    assert [one.WhichOneof("response") for one in found.responses] == [
        "response_put",
        "response_range",
        "response_delete_range",
    ]
    assert {one.response_put.header.revision for one in found.responses[:1]} == {found.header.revision}


def test_streams(channel: grpc.Channel) -> None:
    def stream(method: Any) -> Any:
        return channel.stream_stream(
            method.path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=method.response.FromString,
        )

    kept = stream(methods.LEASE_KEEP_ALIVE)(iter([messages.LeaseKeepAliveRequest(ID=i) for i in range(1, 50)]))
    assert [(one.ID, one.TTL) for one in kept] == [(i, 60) for i in range(1, 50)]
    create = messages.WatchRequest(create_request=messages.WatchCreateRequest(key=b"k"))
    assert [(one.watch_id, one.created) for one in stream(methods.WATCH)(iter([create, create]))] == [
        (0, True),
        (1, True),
    ]


@pytest.mark.parametrize(
    ("method", "fields", "code"),
    [
        (methods.PUT, {"value": b"v"}, grpc.StatusCode.INVALID_ARGUMENT),
        (methods.RANGE, {}, grpc.StatusCode.INVALID_ARGUMENT),
        (methods.DELETE_RANGE, {}, grpc.StatusCode.INVALID_ARGUMENT),
        (methods.STATUS, {}, grpc.StatusCode.UNIMPLEMENTED),
    ],
)
def test_refusals(channel: grpc.Channel, method: Any, fields: Any, code: grpc.StatusCode) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        call(channel, method, **fields)
    assert refused.value.code() == code
    assert call(channel, methods.PUT, key=b"k").header.revision > 0


def test_large_and_many_requests(channel: grpc.Channel) -> None:
    assert call(channel, methods.PUT, key=b"k" * 5000, value=bytes(3_000_000)).header.revision > 0
    assert call(channel, methods.RANGE, key=b"k" * 5000).count == 0
    unary = channel.unary_unary(
        methods.PUT.path, request_serializer=lambda message: message.SerializeToString(), response_deserializer=bytes
    )
    waiting = [unary.future(messages.PutRequest(key=b"k", value=b"v" * 500), timeout=30) for _ in range(500)]
    assert len({one.result() for one in waiting}) == 500


# -- kvbench's own client ---------------------------------------------------------------------------------------------


def test_our_client(port: int) -> None:
    with Driver(etcd, etcd.new_client(2, 400, 1 << 20), [("127.0.0.1", port)], connections=2, ticks=True) as driver:
        driver.connect()
        for what in (
            operation(Kind.PUT, b"k", b"v" * 256),
            operation(Kind.GET, b"k"),
            operation(Kind.GET_SERIALIZABLE, b"k"),
            operation(Kind.RANGE, b"k", end=b"l", limit=3),
            operation(Kind.DELETE, b"k"),
            operation(Kind.CAS, b"k", b"v"),
            operation(Kind.READ_MODIFY_WRITE, b"k", b"v"),
            operations((Kind.TXN, b"", b"", b""), (Kind.PUT, b"a", b"1", b""), (Kind.PUT, b"b", b"2", b"")),
            operation(Kind.WATCH, b"k"),
            operation(Kind.LEASE_GRANT, ttl_s=9),
            operation(Kind.LEASE_KEEP_ALIVE, lease_id=9),
            operation(Kind.LEASE_REVOKE, lease_id=9),
            operation(Kind.PUT, b"k", b"v" * 500_000),
        ):
            assert int(driver.call(*what)["code"]) == 0, Kind(int(what[0]["kind"][0])).name
        before = len(driver.outcomes)
        for slot in range(300):
            driver.submit(*operation(Kind.PUT, b"k", b"v" * 256), slot=1000 + slot, connection=slot % 2)
        driver.pump_until(lambda: len(driver.outcomes) == before + 300)
        assert {int(o["code"]) for o in driver.outcomes} == {0}
        assert driver.call(*operation(Kind.PUT, b"", b"v"))["code"] == ErrorCode.INVALID_ARGUMENT


# -- a client that is the test ----------------------------------------------------------------------------------------


class Raw:
    """A connection of a null server whose loop is this test."""

    def __init__(self, *settings: tuple[int, int], value: int = VALUE_BYTES) -> None:
        self.null = null_etcd.new_null_etcd(1, value)
        self.end = self.null.end
        assert table.open_epoll(self.end) == 0
        ours, self.socket = socket.socketpair()
        for one in (ours, self.socket):
            one.setblocking(False)
        fd = ours.detach()
        self.end.state[0]["link_used"] = 1
        sockets.open_link(self.end, 0, fd, 0)
        table.control(self.end, libc.EPOLL_CTL_ADD, fd, libc.EPOLLIN, 0)
        self.rest = b""
        self.give(PREFACE + http2.settings(*settings))

    def give(self, received: bytes) -> list[tuple[int, int, int, bytes]]:
        """Bytes arrive; the frames that answer them."""
        give_up = time.monotonic() + 120  # the first turn may have to compile
        while received or self.turn():
            assert time.monotonic() < give_up
            with suppress(BlockingIOError, BrokenPipeError):
                received = received[self.socket.send(received) :]
            if self.end.links[0]["state"] == 0:
                break
        self.turn()
        return self.whole()

    def turn(self) -> bool:
        """One turn of the loop. Returns whether anything came of it."""
        before = len(self.rest)
        link = self.end.links[0]
        if link["state"] != 0 and null_etcd.serve_connection(self.null, 0, int(link["blocked"]) == 0, 0) < 0:
            null_etcd.drop(self.end, 0, 0)
        if link["state"] != 0:
            null_etcd.go_on(self.null, 0)
            if grpc_end.flush(self.end, 0, 0) < 0:
                null_etcd.drop(self.end, 0, 0)
        with suppress(BlockingIOError, ConnectionResetError):
            while got := self.socket.recv(1 << 16):
                self.rest += got
        return len(self.rest) > before

    def whole(self) -> list[tuple[int, int, int, bytes]]:
        """The whole frames that came."""
        at = 0
        while len(self.rest) - at >= 9 and len(self.rest) - at >= 9 + int.from_bytes(self.rest[at : at + 3], "big"):
            at += 9 + int.from_bytes(self.rest[at : at + 3], "big")
        frames, self.rest = http2.split(self.rest[:at]), self.rest[at:]
        return frames

    def live(self) -> tuple[int, int]:
        """(calls, buffers of the pool) in use."""
        state = self.end.state[0]
        return int(state["calls_open"]), int(state["pool"]["live"])

    def close(self) -> None:
        """Hang up."""
        self.socket.close()
        if self.end.links[0]["state"] != 0:
            null_etcd.drop(self.end, 0, 0)
        sockets.close_all(self.end)
        assert self.live() == (0, 0)


@pytest.fixture
def raw() -> Iterator[Raw]:
    one = Raw()
    yield one
    one.close()


def ask(stream: int, path: str, message: Any) -> bytes:
    return request(stream, message.SerializeToString(), path)


def get(stream: int, key: bytes = b"k") -> bytes:
    return ask(stream, methods.RANGE.path, messages.RangeRequest(key=key))


def put(stream: int, value: bytes = b"v") -> bytes:
    return ask(stream, methods.PUT.path, messages.PutRequest(key=b"k", value=value))


def test_an_answer(raw: Raw) -> None:
    answer = raw.give(put(1) + put(3, b"x" * 20_000))
    assert kinds(answer)[-6:] == [(k, f, s) for s in (1, 3) for k, f in ((HEADERS, 4), (DATA, 0), (HEADERS, WHOLE))]
    assert messages.PutResponse.FromString(body(answer, 3)[5:]).header.revision == 3


@pytest.mark.parametrize(
    ("path", "content", "status"),
    [
        (methods.STATUS.path, framed(b""), b"12"),
        (methods.PUT.path, framed(b"\x0a\x05k"), b"13"),
        (methods.PUT.path, framed(b""), b"3"),
        (methods.TXN.path, framed(b"\x12\x02\x2a\x00"), b"12"),
        (methods.TXN.path, framed(b"\x12\x05\x0a"), b"13"),
        (methods.WATCH.path, framed(b"\x0a\x05k"), b"13"),
        (methods.LEASE_GRANT.path, framed(b"\x0a\x00"), b"13"),
    ],
)
def test_what_is_wrong_is_refused(raw: Raw, path: str, content: bytes, status: bytes) -> None:
    for stream in (1, 3):
        head = frame(HEADERS, END_HEADERS, stream, fields_block(path))
        answer = raw.give(head + frame(DATA, END_STREAM, stream, content))
        assert (HEADERS, WHOLE, stream) in kinds(answer)
        assert trailers(answer)[b"grpc-status"] == status
        assert raw.live() == (0, 0)


@pytest.mark.parametrize("value", [9000, 100_000, 1 << 20])
def test_large_values_come_in_pieces(value: int) -> None:
    raw = Raw((4, 1 << 30), value=value)
    keys = http2.window_update(0, 1 << 30) + get(1) + get(3) + get(5, b"k" * 5000) + put(7)
    answer = raw.give(keys)
    for stream in (1, 3):
        (found,) = messages.RangeResponse.FromString(body(answer, stream)[5:]).kvs
        assert (found.key, len(found.value)) == (b"k", value)
    assert messages.RangeResponse.FromString(body(answer, 5)[5:]).count == 0
    assert raw.live() == (0, 0)
    raw.close()


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=300), st.integers(0, 200))
def test_random_bytes_do_no_harm(data: bytes, keep: int) -> None:
    raw = Raw()
    raw.give(put(1, b"v" * 50)[:keep] + data)
    raw.close()


def test_values_too_large_are_refused() -> None:
    with pytest.raises(ValueError, match="0 to 1048576 bytes"):
        null_etcd.new_null_etcd(1, (1 << 20) + 1)


# -- as a process -----------------------------------------------------------------------------------------------------


def launch(*arguments: str) -> tuple["subprocess.Popen[str]", str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "kvbench.server.null", *arguments], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    return process, process.stdout.readline()


@pytest.mark.parametrize("protocol", ["etcd", "zookeeper"])
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_a_process_that_ends_when_told(protocol: str, ending: signal.Signals) -> None:
    process, line = launch("--protocol", protocol, "--cpu", "0", "--connections", "4")
    with process:
        assert line.startswith("listening 127.0.0.1:")
        process.send_signal(ending)
        assert process.wait(20) == 0


def test_a_process_that_ends_with_its_parent() -> None:
    script = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-m', 'kvbench.server.null', '--protocol', 'etcd'],"
        " stdout=subprocess.PIPE)\n"
        "print(child.pid, child.stdout.readline().decode(), flush=True)\n"
        "sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with parent:
        assert parent.stdout
        pid = int(parent.stdout.readline().split()[0])
        parent.kill()
    _, alive = psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=20)
    assert [one for one in alive if one.status() != psutil.STATUS_ZOMBIE] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--protocol", "etcd", "--port", "70000"], "70000 is not within 0 to 65535"),
        (["--protocol", "etcd", "--cpu", "-1"], "-1 is not within"),
        (["--protocol", "etcd", "--value-bytes", "2000000"], "2000000 is not within 0 to 1048576"),
        (["--protocol", "etcd", "--connections", "0"], "0 is not within"),
        (["--protocol", "redis"], "invalid choice"),
    ],
)
def test_bad_arguments(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        null.main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_a_port_in_use() -> None:
    listener, port = null_net.listen("127.0.0.1", 0)
    with subprocess.Popen(
        [sys.executable, "-m", "kvbench.server.null", "--protocol", "etcd", "--port", str(port)],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert f"port {port}" in said
    assert "Traceback" not in said
    os.close(listener)
