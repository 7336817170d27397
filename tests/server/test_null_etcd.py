"""etcd's null server: grpcio and kvbench's own client find it proper, and a scripted client cannot break it."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench.client import etcd
from kvbench.net import table
from kvbench.net.records import OPEN
from kvbench.ops.errors import ErrorCode
from kvbench.ops.kinds import Kind
from kvbench.server import null, null_etcd, null_net
from kvbench.wire.proto import messages, methods
from tests.client.driver import Driver, operation, operations
from tests.client.etcd_script import framed
from tests.naive import hpack, http2
from tests.naive.http2 import DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, frame

VALUE_BYTES = 100


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    listener, bound = null_net.listen("127.0.0.1", 0)
    stop = np.zeros(1, np.int64)
    codes: list[int] = []
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


def fields_block(path: bytes, method: bytes = b"POST", media: bytes = b"application/grpc") -> bytes:
    table_of_nothing = hpack.Table()
    fields = [(b":method", method), (b":scheme", b"http"), (b":path", path), (b"content-type", media)]
    return b"".join(hpack.encode_field(table_of_nothing, one, 2, True) for one in fields)


PUT_PATH = methods.PUT.path.encode()


class Raw:
    """The null server's connection without sockets."""

    def __init__(self, *settings: tuple[int, int], tx: int = null_etcd.TX_BYTES, value: int = VALUE_BYTES) -> None:
        self.net = table.new_net(1, [], null_etcd.RX_BYTES, tx)
        self.state = null_etcd.new_null_etcd(1, value)
        self.row = self.net.connections[0]
        self.row["state"] = OPEN
        self.code = 0
        null_etcd.begin(self.state, self.net, 0)
        self.give(PREFACE + http2.settings(*settings))

    @property
    def link(self) -> Any:
        return self.state.links[0]

    def give(self, received: bytes) -> list[tuple[int, int, int, bytes]]:
        """Bytes arrive; the frames that answer them."""
        sent = b""
        while True:
            take = min(len(received), self.net.rx_bytes - int(self.row["rx_end"]))
            end = int(self.row["rx_end"])
            self.net.rx[end : end + take] = np.frombuffer(received[:take], np.uint8)
            self.row["rx_end"] = end + take
            received = received[take:]
            self.row["more"] = 0
            self.code = int(null_etcd.serve_connection(self.state, self.net, 0))
            sent += bytes(self.net.tx[: int(self.row["tx_end"])])
            self.row["tx_end"] = 0
            left = int(self.row["rx_end"]) - int(self.row["rx_start"])
            self.net.rx[:left] = self.net.rx[int(self.row["rx_start"]) : int(self.row["rx_end"])].copy()
            self.row["rx_start"], self.row["rx_end"] = 0, left
            if self.code < 0 or (not received and self.row["more"] == 0):
                return http2.split(sent)

    def live(self) -> tuple[int, int, int]:
        """(streams, buffers of the pool, owed responses) in use."""
        shared = self.state.shared[0]
        return int(self.link["http2"]["live"]), int(shared["pool"]["live"]), int(self.link["owed"])


def put(stream: int, value: bytes = b"v", key: bytes = b"k") -> bytes:
    body = framed(messages.PutRequest(key=key, value=value))
    head = frame(HEADERS, END_HEADERS, stream, fields_block(PUT_PATH))
    pieces = [body[at : at + 16384] for at in range(0, len(body), 16384)]
    data = b"".join(frame(DATA, 0, stream, piece) for piece in pieces[:-1])
    return head + data + frame(DATA, END_STREAM, stream, pieces[-1])


def get(stream: int, key: bytes = b"k") -> bytes:
    head = frame(HEADERS, END_HEADERS, stream, fields_block(methods.RANGE.path.encode()))
    return head + frame(DATA, END_STREAM, stream, framed(messages.RangeRequest(key=key)))


def body_of(frames: list[tuple[int, int, int, bytes]], stream: int) -> bytes:
    """The DATA of one stream; every frame keeps to the largest size."""
    pieces = [payload for kind, _, number, payload in frames if kind == DATA and number == stream]
    assert max(map(len, pieces)) <= 16384
    return b"".join(pieces)


def kinds(frames: list[tuple[int, int, int, bytes]]) -> list[tuple[int, int, int]]:
    return [one[:3] for one in frames]


WHOLE = END_HEADERS | END_STREAM


def test_answers_at_every_cut() -> None:
    received = put(1) + put(3, b"x" * 20)
    expected = Raw().give(received)
    assert kinds(expected) == [(k, f, s) for s in (1, 3) for k, f in ((1, 4), (0, 0), (1, WHOLE))]
    for cut in range(1, len(received)):
        raw = Raw()
        assert raw.give(received[:cut]) + raw.give(received[cut:]) == expected
        assert raw.live() == (0, 0, 0)


def test_the_stream_ends_in_a_frame_of_its_own() -> None:
    raw = Raw()
    head = frame(HEADERS, END_HEADERS, 1, fields_block(PUT_PATH))
    body = framed(messages.PutRequest(key=b"k"))
    assert len(raw.give(head + frame(DATA, 0, 1, body[:3]) + frame(DATA, 0, 1, body[3:]))) == 3
    assert raw.give(frame(DATA, END_STREAM, 1)) == []
    assert raw.live() == (0, 0, 0)


def statuses(frames: list[tuple[int, int, int, bytes]]) -> dict[bytes, bytes]:
    """The fields of the last header block."""
    return dict(hpack.decode(hpack.Table(), frames[-1][3]))


@pytest.mark.parametrize(
    ("block", "body", "expected"),
    [
        (fields_block(PUT_PATH, b"GET"), b"", {b":status": b"415"}),
        (fields_block(PUT_PATH, media=b"text/html"), b"", {b":status": b"415"}),
        (fields_block(b"/no/such"), framed(b""), {b"grpc-status": b"12"}),
        (fields_block(PUT_PATH), framed(b"\x0a\x05k"), {b"grpc-status": b"13"}),
        (fields_block(PUT_PATH), framed(b""), {b"grpc-status": b"3"}),
        (fields_block(PUT_PATH), b"\1\0\0\0\0", {b"grpc-status": b"12"}),
        (fields_block(methods.TXN.path.encode()), framed(b"\x12\x02\x2a\x00"), {b"grpc-status": b"12"}),
        (fields_block(methods.TXN.path.encode()), framed(b"\x12\x05\x0a"), {b"grpc-status": b"13"}),
        (fields_block(methods.WATCH.path.encode()), framed(b"\x0a\x05k"), {b"grpc-status": b"13"}),
        (fields_block(methods.LEASE_GRANT.path.encode()), framed(b"\x0a\x00"), {b"grpc-status": b"13"}),
    ],
)
def test_what_is_wrong_is_refused(block: bytes, body: bytes, expected: dict[bytes, bytes]) -> None:
    raw = Raw()
    for stream in (1, 3):
        received = frame(HEADERS, END_HEADERS, stream, block) + frame(DATA, END_STREAM, stream, body)
        answer = raw.give(received)
        assert (answer[-1][0], answer[-1][1], answer[-1][2]) == (HEADERS, WHOLE, stream)
        assert expected.items() <= statuses(answer).items()
        assert raw.live() == (0, 0, 0)


def test_a_request_without_a_message() -> None:
    raw = Raw()
    answer = raw.give(frame(HEADERS, WHOLE, 1, fields_block(PUT_PATH)))
    assert statuses(answer)[b"grpc-status"] == b"13"
    assert raw.live() == (0, 0, 0)


@pytest.mark.parametrize("initial", [0, 1, 7])
def test_answers_wait_for_small_windows(initial: int) -> None:
    raw = Raw((4, initial))
    answer = raw.give(put(1) + put(3))
    assert raw.live()[2] == 2
    for _ in range(60):
        for stream in (1, 3):
            if raw.live()[0]:
                answer += raw.give(http2.window_update(stream, 1))
    assert raw.live() == (0, 0, 0)
    for stream in (1, 3):
        body = b"".join(payload for kind, _, s, payload in answer if kind == DATA and s == stream)
        assert messages.PutResponse.FromString(body[5:]).header.revision in (2, 3)
        assert [one[1] for one in answer if one[2] == stream][-1] == WHOLE


def test_a_call_that_is_owed_an_answer_and_reset() -> None:
    raw = Raw((4, 0))
    raw.give(put(1))
    assert raw.live() == (1, 1, 1)
    raw.give(http2.rst_stream(1, 8))
    assert raw.live() == (0, 0, 0)


def test_more_answers_than_tx_holds() -> None:
    raw = Raw(tx=20_000)
    received = b"".join(put(1 + 2 * n, b"v" * 10) for n in range(400))
    answer = raw.give(received)
    assert len(answer) == 3 * 400
    assert raw.live() == (0, 0, 0)


@pytest.mark.parametrize("value", [8192, 8193, 70_000])
@pytest.mark.parametrize("tx", [20_000, null_etcd.TX_BYTES])
def test_large_values_come_in_pieces(value: int, tx: int) -> None:
    raw = Raw((4, 1 << 20), tx=tx, value=value)
    answer = raw.give(http2.window_update(0, 1 << 20) + get(1) + get(3) + get(5, b"k" * 5000) + put(7))
    for stream in (1, 3):
        (found,) = messages.RangeResponse.FromString(body_of(answer, stream)[5:]).kvs
        assert (found.key, len(found.value)) == (b"k", value)
    assert messages.RangeResponse.FromString(body_of(answer, 5)[5:]).count == 0
    assert [one[1] for one in answer if one[2] == 7][-1] == WHOLE
    assert raw.live() == (0, 0, 0)


def test_large_values_wait_for_the_windows() -> None:
    raw = Raw((4, 30_000), value=50_000)
    answer = raw.give(get(1) + get(3))
    assert raw.live()[2] == 2
    assert len(body_of(answer, 1)) == len(body_of(answer, 3)) == 30_000
    answer += raw.give(http2.window_update(0, 100_000) + http2.window_update(3, 30_000))
    assert len(body_of(answer, 3)) > 50_000
    raw.give(http2.rst_stream(1, 8))
    assert raw.live() == (0, 0, 0)


def test_a_large_answer_that_the_pool_cannot_hold_is_refused() -> None:
    raw = Raw(value=50_000)
    raw.state = raw.state._replace(arena=raw.state.arena[:32_768])
    answer = raw.give(get(1))
    assert statuses(answer)[b"grpc-status"] == b"8"
    assert raw.live() == (0, 0, 0)


def test_damage_ends_the_connection() -> None:
    raw = Raw()
    assert raw.give(put(1) + frame(http2.PING, 0, 0, b"short"))[-1][0] == http2.GOAWAY
    assert raw.code < 0


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=300), st.integers(0, 200))
def test_random_bytes_do_no_harm(data: bytes, keep: int) -> None:
    raw = Raw()
    raw.give(put(1, b"v" * 50)[:keep] + data)
    null_etcd.give_back(raw.state, 0)
    assert raw.live()[1:] == (0, 0)


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
