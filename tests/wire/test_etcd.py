"""etcd's messages against protobuf's own reading and writing of them, and the request headers' encoder."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench.wire import etcd_methods, etcd_requests, etcd_responses, hpack, protobuf
from kvbench.wire.etcd_methods import COMMON, TABLE, Method
from kvbench.wire.proto import messages, methods
from kvbench.wire.protobuf import COUNTS, ENDS, STARTS
from tests.naive import hpack as naive_hpack

KEYS = st.binary(min_size=1, max_size=300)
CONTENTS = st.binary(max_size=300)
NUMBERS = st.integers(0, (1 << 63) - 1)
SOURCE_FRONT = b"before"


class Writing:
    """A source that holds contents one behind another, and a target."""

    def __init__(self, *contents: bytes) -> None:
        self.source = np.frombuffer(SOURCE_FRONT + b"".join(contents) + b"\0", np.uint8).copy()
        self.places: list[int] = []
        at = len(SOURCE_FRONT)
        for content in contents:
            self.places += [at, len(content)]
            at += len(content)
        self.target = np.full(4096, 0xEE, np.uint8)

    def both(self) -> tuple[int, int, int, int]:
        """Place and length of the first and second content."""
        return self.places[0], self.places[1], self.places[2], self.places[3]

    def written(self, end: int) -> bytes:
        assert (self.target[end:] == 0xEE).all()
        return bytes(self.target[:end])


@settings(deadline=None)
@given(KEYS, CONTENTS, NUMBERS)
def test_put(key: bytes, value: bytes, lease: int) -> None:
    w = Writing(key, value)
    end = etcd_requests.write_put(w.target, 0, w.source, *w.both(), lease)
    assert messages.PutRequest.FromString(w.written(end)) == messages.PutRequest(key=key, value=value, lease=lease)
    assert end == etcd_requests.put_bytes(len(key), len(value), lease)


@settings(deadline=None)
@given(KEYS, CONTENTS, NUMBERS, NUMBERS, st.booleans())
def test_range(key: bytes, end_key: bytes, limit: int, revision: int, serializable: bool) -> None:
    w = Writing(key, end_key)
    end = etcd_requests.write_range(w.target, 0, w.source, *w.both(), limit, revision, int(serializable))
    assert messages.RangeRequest.FromString(w.written(end)) == messages.RangeRequest(
        key=key, range_end=end_key, limit=limit, revision=revision, serializable=serializable
    )
    assert end == etcd_requests.range_bytes(len(key), len(end_key), limit, revision, int(serializable))


@settings(deadline=None)
@given(KEYS, CONTENTS)
def test_delete(key: bytes, end_key: bytes) -> None:
    w = Writing(key, end_key)
    end = etcd_requests.write_delete(w.target, 0, w.source, *w.both())
    expected = messages.DeleteRangeRequest(key=key, range_end=end_key)
    assert messages.DeleteRangeRequest.FromString(w.written(end)) == expected
    assert end == etcd_requests.delete_bytes(len(key), len(end_key))


TARGETS = {
    etcd_requests.VERSION: "version",
    etcd_requests.CREATE: "create_revision",
    etcd_requests.MOD: "mod_revision",
    etcd_requests.LEASE: "lease",
}


@settings(deadline=None)
@given(KEYS, CONTENTS, st.integers(0, 3), st.sampled_from([0, 1, 2, 3, 4]), NUMBERS)
def test_compare(key: bytes, value: bytes, result: int, target: int, number: int) -> None:
    w = Writing(key, value)
    operand = len(value) if target == etcd_requests.VALUE else number
    places = w.places
    end = etcd_requests.write_compare(
        w.target, 0, target, result, w.source, places[0], places[1], operand, places[2]
    )
    expected: Any = messages.Compare(key=key)
    expected.result, expected.target = result, target
    if target == etcd_requests.VALUE:
        expected.value = value
    else:
        setattr(expected, TARGETS[target], number)
    found = messages.Compare.FromString(w.written(end))
    assert found == expected
    assert found.WhichOneof("target_union") == expected.WhichOneof("target_union")
    assert end == etcd_requests.compare_bytes(target, result, len(key), operand)


@settings(deadline=None)
@given(KEYS, CONTENTS)
def test_branches_of_a_transaction(key: bytes, value: bytes) -> None:
    w = Writing(key, value)
    put_size = etcd_requests.put_bytes(len(key), len(value), 0)
    at = etcd_requests.write_operation(w.target, 0, etcd_requests.SUCCESS, etcd_requests.OP_PUT, put_size)
    at = etcd_requests.write_put(w.target, at, w.source, *w.both(), 0)
    assert at == etcd_requests.operation_bytes(put_size)
    get_size = etcd_requests.range_bytes(len(key), 0, 0, 0, 0)
    at = etcd_requests.write_operation(w.target, at, etcd_requests.FAILURE, etcd_requests.OP_RANGE, get_size)
    at = etcd_requests.write_range(w.target, at, w.source, w.places[0], w.places[1], 0, 0, 0, 0, 0)
    delete_size = etcd_requests.delete_bytes(len(key), 0)
    at = etcd_requests.write_operation(w.target, at, etcd_requests.FAILURE, etcd_requests.OP_DELETE_RANGE, delete_size)
    at = etcd_requests.write_delete(w.target, at, w.source, w.places[0], w.places[1], 0, 0)
    expected = messages.TxnRequest()
    expected.success.add().request_put.CopyFrom(messages.PutRequest(key=key, value=value))
    expected.failure.add().request_range.key = key
    expected.failure.add().request_delete_range.key = key
    assert messages.TxnRequest.FromString(w.written(at)) == expected


@settings(deadline=None)
@given(KEYS, CONTENTS, NUMBERS, st.booleans())
def test_watch(key: bytes, end_key: bytes, start: int, progress: bool) -> None:
    w = Writing(key, end_key)
    end = etcd_requests.write_watch_create(w.target, 0, w.source, *w.both(), start, int(progress))
    found = messages.WatchRequest.FromString(w.written(end)).create_request
    assert found == messages.WatchCreateRequest(
        key=key, range_end=end_key, start_revision=start, progress_notify=progress
    )
    assert end == etcd_requests.watch_create_bytes(len(key), len(end_key), start, int(progress))


@pytest.mark.parametrize(("watch_id", "expected"), [(0, b"\x12\x00"), (7, b"\x12\x02\x08\x07")])
def test_watch_cancel_and_progress(watch_id: int, expected: bytes) -> None:
    w = Writing()
    assert w.written(etcd_requests.write_watch_cancel(w.target, 0, watch_id)) == expected
    w = Writing()
    assert w.written(etcd_requests.write_watch_progress(w.target, 0)) == b"\x1a\x00"


@settings(deadline=None)
@given(st.integers(0, 1 << 40), st.integers(-(1 << 63), (1 << 63) - 1))
def test_leases(ttl: int, lease: int) -> None:
    w = Writing()
    end = etcd_requests.write_lease_grant(w.target, 0, ttl, lease)
    assert messages.LeaseGrantRequest.FromString(w.written(end)) == messages.LeaseGrantRequest(TTL=ttl, ID=lease)
    assert end == etcd_requests.lease_grant_bytes(ttl, lease)
    w = Writing()
    end = etcd_requests.write_lease(w.target, 0, lease)
    assert messages.LeaseKeepAliveRequest.FromString(w.written(end)) == messages.LeaseKeepAliveRequest(ID=lease)
    assert end == etcd_requests.lease_bytes(lease)


# -- reading ----------------------------------------------------------------------------------------------------------


def read(message: Any, numbers: int, contents: int) -> tuple[Any, Any]:
    """(fields, bytes) of a message as protobuf writes it."""
    data = message.SerializeToString()
    buf, fields = np.frombuffer(data + b"\xff", np.uint8).copy(), protobuf.new_fields()
    assert protobuf.read_message(buf, 0, len(data), numbers, contents, fields) == 0
    return fields, buf


def header(revision: int) -> Any:
    return messages.ResponseHeader(cluster_id=(1 << 64) - 1, member_id=1 << 63, revision=revision, raft_term=5)


@settings(deadline=None)
@given(NUMBERS, NUMBERS, st.lists(st.tuples(KEYS, CONTENTS, NUMBERS), max_size=4), st.booleans())
def test_range_responses(revision: int, count: int, kvs: list[tuple[bytes, bytes, int]], more: bool) -> None:
    message = messages.RangeResponse(header=header(revision), count=count, more=more)
    for key, value, mod in kvs:
        message.kvs.add(key=key, value=value, create_revision=1, mod_revision=mod, version=9)
    fields, buf = read(message, etcd_responses.ANY_NUMBERS, etcd_responses.ANY_BYTES)
    assert etcd_responses.header_revision(buf, fields) == revision
    assert (fields[3], fields[4], fields[COUNTS + 2]) == (more, count, len(kvs))
    if kvs:
        start, end = fields[STARTS + 2], fields[ENDS + 2]
        assert etcd_responses.mod_revision(buf, start, end) == kvs[-1][2]
        stamp = kvs[-1][1]
        expected = int.from_bytes(stamp[:8], "little", signed=True) if len(stamp) >= 8 else 0
        assert etcd_responses.sent_stamp(buf, start, end) == expected


def test_a_response_without_header_is_of_revision_0() -> None:
    fields, buf = read(messages.PutResponse(), etcd_responses.ANY_NUMBERS, etcd_responses.ANY_BYTES)
    assert etcd_responses.header_revision(buf, fields) == 0


@settings(deadline=None)
@given(NUMBERS, KEYS, CONTENTS)
def test_what_a_server_writes(revision: int, key: bytes, value: bytes) -> None:
    w = Writing(key, value)
    at = etcd_responses.write_header(w.target, 0, revision)
    size = etcd_responses.key_value_bytes(len(key), len(value), revision)
    at = protobuf.write_length(w.target, at, 2, size)
    end = etcd_responses.write_key_value(w.target, at, w.source, *w.both(), revision)
    assert end - at == size
    found = messages.RangeResponse.FromString(w.written(end))
    assert found.header == messages.ResponseHeader(cluster_id=1, member_id=1, revision=revision, raft_term=1)
    assert found.kvs[0] == messages.KeyValue(
        key=key, value=value, create_revision=revision, mod_revision=revision, version=1
    )


@pytest.mark.parametrize("kind", [etcd_responses.EVENT_PUT, etcd_responses.EVENT_DELETE])
def test_events(kind: int) -> None:
    w = Writing(b"key", b"value")
    size = etcd_responses.key_value_bytes(3, 5, 7)
    at = etcd_responses.write_event(w.target, 0, kind, size)
    end = etcd_responses.write_key_value(w.target, at, w.source, *w.both(), 7)
    (event,) = messages.WatchResponse.FromString(w.written(end)).events
    assert (event.type, event.kv.key, event.kv.mod_revision) == (kind, b"key", 7)


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_random_bytes_as_a_key_value(data: bytes) -> None:
    buf = np.frombuffer(data + bytes(8), np.uint8).copy()
    etcd_responses.sent_stamp(buf, 0, len(data))
    try:
        expected = messages.KeyValue.FromString(data)
    except Exception:
        return
    if expected.mod_revision >= 0:
        found = etcd_responses.mod_revision(buf, 0, len(data))
        assert found == expected.mod_revision or found < 0


# -- request headers --------------------------------------------------------------------------------------------------


class Encoder:
    """The request headers' encoder of a connection, read by a plain HPACK decoder."""

    def __init__(self, authority: str = "10.0.0.1:2379") -> None:
        self.common = np.zeros(1, COMMON)
        etcd_methods.set_up(self.common, authority)
        self.table = np.zeros(1, TABLE)[0]
        etcd_methods.reset(self.table)
        self.peer = naive_hpack.Table()

    def write(self, method: int, peer_table_size: int = 4096) -> tuple[dict[bytes, bytes], bytes]:
        buf = np.full(1024, 0xEE, np.uint8)
        end = etcd_methods.write_request_headers(self.table, self.common[0], method, peer_table_size, buf, 0)
        assert end <= etcd_methods.HEADERS_BYTES_MAX
        assert (buf[end:] == 0xEE).all()
        block = bytes(buf[:end])
        return dict(naive_hpack.decode(self.peer, block)), block


SENT = list(Method)[: etcd_methods.METHODS_SENT]


def expected(method: int, authority: bytes = b"10.0.0.1:2379") -> dict[bytes, bytes]:
    return {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": etcd_methods.PATHS[method],
        b":authority": authority,
        b"content-type": b"application/grpc",
        b"te": b"trailers",
        b"user-agent": b"kvbench",
    }


def test_paths_are_etcds() -> None:
    for method in Method:
        assert etcd_methods.PATHS[method].decode() == getattr(methods, method.name).path


@settings(deadline=None)
@given(st.lists(st.sampled_from(SENT), max_size=30))
def test_headers_shrink_to_seven_bytes(order: list[Method]) -> None:
    encoder = Encoder()
    seen: set[Method] = set()
    for method in order:
        fields, block = encoder.write(int(method))
        assert fields == expected(method)
        assert (len(block) == 7) == (method in seen)
        seen.add(method)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(SENT), st.sampled_from([0, 100, 1023, 1024, 2000, 4096, 65536]))))
def test_headers_under_any_table_size(steps: list[tuple[Method, int]]) -> None:
    encoder = Encoder()
    for method, size in steps:
        if size < encoder.peer.limit:
            encoder.peer.limit = size
        fields, _ = encoder.write(int(method), size)
        assert fields == expected(method)
        assert encoder.peer.used() <= size


def test_without_a_table_every_block_is_the_same() -> None:
    encoder = Encoder()
    _, first = encoder.write(Method.PUT, 0)
    _, second = encoder.write(Method.PUT, 0)
    assert first == b"\x20" + second
    assert encoder.write(Method.PUT, 0)[1] == second


def test_a_new_connection_starts_over() -> None:
    encoder = Encoder()
    _, first = encoder.write(Method.PUT)
    etcd_methods.reset(encoder.table)
    encoder.peer = naive_hpack.Table()
    assert encoder.write(Method.PUT)[1] == first


def test_an_authority_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than 128 bytes"):
        Encoder("h" * 129)
    longest = Encoder("h" * 128)
    assert longest.write(Method.TXN)[0] == expected(Method.TXN, b"h" * 128)


def test_methods_by_path() -> None:
    for method in Method:
        text = np.frombuffer(b"xx" + etcd_methods.PATHS[method] + b"y", np.uint8).copy()
        size = len(etcd_methods.PATHS[method])
        assert etcd_methods.method_of(text, 2, size) == method
        assert etcd_methods.method_of(text, 2, size + 1) == -1
        assert etcd_methods.method_of(text, 2, size - 1) == -1


def test_constants_fit() -> None:
    assert all(len(path) <= etcd_methods.PATH_BYTES_MAX for path in etcd_methods.PATHS)
    assert etcd_methods.TABLE_BYTES_NEEDED <= hpack.TABLE_BYTES
