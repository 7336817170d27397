"""The same requests to a store and to a real etcd: the same responses, but for who answers."""

import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from kvbench.ops.status import GRPC_STATUS, TEXT
from kvbench.store import compaction, watch
from kvbench.targets import found
from kvbench.targets.launch import start
from kvbench.targets.spec import TargetSpec
from kvbench.wire.proto import messages, methods
from tests.store import strategies
from tests.store.driver import Driver, Refused, check_request
from tests.store.test_histories import is_read
from tests.store.test_watch import Watching

pytestmark = pytest.mark.slow

NEWEST = "3.7"
METHODS = {
    method.request: method
    for method in vars(methods).values()
    if isinstance(method, methods.Method) and method is not methods.RANGE_STREAM
}


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[grpc.Channel]:
    versions = [one.version for one in found.find_all("etcd") if one.version.startswith(NEWEST)]
    if not versions:
        pytest.skip(f"there is no etcd {NEWEST} on this machine")
    target = start(TargetSpec(kind="etcd", version=versions[0]), tmp_path_factory.mktemp("etcd"))
    with grpc.insecure_channel(target.members[0].address) as one:
        yield one
    target.stop()


def anonymous(response: Any) -> Any:
    """A response without who answered and when that one became leader."""
    response.header.cluster_id = response.header.member_id = response.header.raft_term = 0
    return response


class Both:
    """A store and a real server, which get the same requests from their beginning on."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel
        self.driver = Driver()
        self.driver.state["lease_ttl_min_s"] = 2

    def real(self, request: Any) -> Any:
        """The server's response, or (status, text)."""
        method = METHODS[type(request)]
        call = self.channel.unary_unary(
            method.path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=method.response.FromString,
        )
        try:
            return anonymous(call(request, timeout=10))
        except grpc.RpcError as error:
            return error.code().value[0], error.details()

    def own(self, request: Any) -> Any:
        """The store's."""
        try:
            check_request(self.driver, request)
            return anonymous(self.driver.read(request) if is_read(request) else self.driver.apply(request))
        except Refused as refused:
            return GRPC_STATUS[refused.code], TEXT[refused.code]

    def step(self, request: Any) -> Any:
        expected = self.real(request)
        answer = self.own(request)
        assert answer == expected, request
        return answer


@pytest.fixture(scope="module")
def both(channel: grpc.Channel) -> Both:
    return Both(channel)


def place(request: Any, revision: int) -> Any:
    """A request whose revisions, small numbers, count back from a little above the current one; no lease runs out."""
    if isinstance(request, messages.LeaseGrantRequest):
        request.TTL += 1000
    for name in ("revision", "min_mod_revision", "max_mod_revision", "min_create_revision", "max_create_revision"):
        if name in request.DESCRIPTOR.fields_by_name and getattr(request, name) > 0:
            setattr(request, name, max(revision + 2 - getattr(request, name), 1))
    for name in ("success", "failure"):
        for op in getattr(request, name, ()):
            kind = op.WhichOneof("request")
            if kind is not None:
                place(getattr(op, kind), revision)
    return request


steps = st.one_of(
    strategies.puts, strategies.puts, strategies.keeping_puts, strategies.deletes, strategies.txns, strategies.txns,
    strategies.ranges(), strategies.reading_txns, strategies.grants, strategies.revokes, strategies.compactions,
)  # fmt: skip


def test_a_new_store_at_the_edges_of_its_revisions(both: Both) -> None:
    """Comes first: of a server that has seen nothing yet."""
    for revision in (-5, -1, 0, 0, 1, 2):
        both.step(messages.RangeRequest(key=b"a", revision=revision))
        both.step(messages.CompactionRequest(revision=revision))
        op = messages.RequestOp(request_range=messages.RangeRequest(key=b"a", revision=revision))
        both.step(messages.TxnRequest(success=[op]))


def alarm(action: Any, member: int, kind: Any) -> Any:
    return messages.AlarmRequest(action=action, memberID=member, alarm=kind)


def test_leases_and_alarms(both: Both) -> None:
    """The answers that random histories do not meet."""
    grants = [(5, -4), (6, 0), (6, 5), (7, 9_000_000_000), (8, 9_000_000_001), (7, 9_000_000_001), (-9, 1000)]
    for lease_id, ttl in grants:
        both.step(messages.LeaseGrantRequest(ID=lease_id, TTL=ttl))
    for lease_id in (5, 6, 99, 0, 7, -9):
        both.step(messages.LeaseRevokeRequest(ID=lease_id))
    alarms = [(0, 0, 0), (1, 77, 2), (1, 77, 2), (0, 0, 1), (2, 78, 2), (2, 77, 2), (1, 77, 0), (1, 77, 1), (0, 5, 0)]
    for action, member, kind in alarms:
        both.step(alarm(action, member, kind))
    put = messages.PutRequest(key=b"a")
    inner = messages.TxnRequest(failure=[strategies.operation(put)])
    nested = messages.TxnRequest(success=[strategies.operation(inner)])
    delete = strategies.operation(messages.DeleteRangeRequest(key=b"a"))
    for request in (put, nested, messages.LeaseGrantRequest(ID=5, TTL=100), messages.TxnRequest(success=[delete])):
        both.step(request)
    both.step(alarm(2, 77, 1))
    both.step(put)


@settings(deadline=None, derandomize=True, max_examples=40, phases=[Phase.generate],
          suppress_health_check=list(HealthCheck))  # fmt: skip
@given(st.lists(steps, min_size=20, max_size=60))
def test_random_histories(both: Both, history: list[Any]) -> None:
    for step in history:
        both.step(place(step, int(both.driver.state["revision"])))
        compaction.compact_some(both.driver.store, 2)
    both.step(messages.RangeRequest(key=b"\0", range_end=b"\0"))


# -- watches ----------------------------------------------------------------------------------------------------------

PATIENCE_S = 20


class RealStream:
    """A Watch call to the server."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.requests: queue.Queue[Any] = queue.Queue()
        self.responses: list[Any] = []
        call = channel.stream_stream(
            methods.WATCH.path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=messages.WatchResponse.FromString,
        )
        self.call = call(iter(self.requests.get, None))
        self.thread = threading.Thread(target=self.read)
        self.thread.start()

    def read(self) -> None:
        try:
            for response in self.call:
                self.responses.append(response)
        except grpc.RpcError:
            pass

    def send(self, **fields: Any) -> Any:
        """The next response, to a request that is answered at once."""
        count = len(self.responses)
        self.requests.put(messages.WatchRequest(**fields))
        self.wait(count + 1, 0)
        return anonymous(self.responses[count])

    def wait(self, responses: int, events: int) -> None:
        """Until there are so many."""
        until = time.monotonic() + PATIENCE_S
        while (len(self.responses) < responses or len(self.events()) < events) and time.monotonic() < until:
            time.sleep(0.005)

    def events(self) -> list[Any]:
        return [event for response in list(self.responses) for event in response.events]

    def close(self) -> None:
        self.requests.put(None)
        self.call.cancel()  # type: ignore[no-untyped-call]
        self.thread.join()


class BothWatch(Both):
    """Also watches of both, each in a stream of its own."""

    def __init__(self, both: Both) -> None:
        self.channel = both.channel
        self.driver = both.driver
        self.own_watch = Watching()
        self.own_watch.driver = both.driver
        self.pairs: list[tuple[int, RealStream, list[Any]]] = []

    def watch(self, **fields: Any) -> Any:
        stream, real = int(watch.open_stream(self.driver.store, 0)), RealStream(self.channel)
        request = messages.WatchCreateRequest(**fields)
        answer = anonymous(self.own_watch.request(stream, create_request=request))
        expected = real.send(create_request=request)
        assert answer == expected
        self.pairs.append((stream, real, []))
        return answer

    def finish(self) -> list[Any]:
        """Compare what all watches got; the responses that cancelled one, of both."""
        own: dict[int, list[Any]] = {stream: [] for stream, _, _ in self.pairs}
        while (watcher := int(watch.take_pending(self.driver.store))) >= 0:
            stream = int(self.driver.store.watchers[watcher]["stream"])
            while (response := self.own_watch.answer(watcher)) is not None:
                own[stream].append(response)
        cancels = []
        for stream, real, _ in self.pairs:
            events = [event for response in own[stream] for event in response.events]
            real.wait(2 if own[stream] else 1, len(events))
            assert events == real.events()
            ends = [anonymous(one) for one in own[stream] if one.canceled]
            assert ends == [anonymous(one) for one in real.responses[1:] if one.canceled]
            cancels += ends
            real.close()
            watch.close_stream(self.driver.store, stream)
        return cancels


def test_watches_of_one_key_and_of_ranges(both: Both) -> None:
    pair = BothWatch(both)
    first = int(both.driver.state["revision"])
    for number in range(4):
        both.step(messages.PutRequest(key=b"w%d" % number, value=b"%d" % number))
    for fields in (
        {"key": b"w1"}, {"key": b"w1", "start_revision": first + 1, "prev_kv": True},
        {"key": b"w", "range_end": b"x", "start_revision": first + 2, "prev_kv": True},
        {"key": b"w2", "range_end": b"\0", "filters": [0]}, {"key": b"w", "range_end": b"x", "filters": ["NODELETE"]},
        {"key": b"w1", "start_revision": first + 12}, {"key": b"w1", "start_revision": -1},
        {"key": b"w2", "range_end": b"w1"}, {"watch_id": 9, "key": b"w1"},
    ):  # fmt: skip
        pair.watch(**fields)
    puts = [messages.PutRequest(key=b"w%d" % number, value=b"again") for number in (1, 3)]
    deletes = messages.DeleteRangeRequest(key=b"w2", range_end=b"w3")
    nested = [messages.TxnRequest(success=[strategies.operation(one)]) for one in (
        messages.PutRequest(key=b"w9"), messages.DeleteRangeRequest(key=b"w9"))]  # fmt: skip
    both.step(messages.TxnRequest(success=[strategies.operation(one) for one in [*puts, deletes, *nested]]))
    both.step(messages.LeaseGrantRequest(ID=42, TTL=1000))
    both.step(messages.PutRequest(key=b"w1", lease=42, value=b"leased"))
    both.step(messages.PutRequest(key=b"w0", lease=42))
    both.step(messages.LeaseRevokeRequest(ID=42))
    for number in range(8):
        both.step(messages.PutRequest(key=b"w1", value=b"%d" % number))
    assert pair.finish() == []


def test_watches_around_the_compacted_revision(both: Both) -> None:
    pair = BothWatch(both)
    for number in range(4):
        both.step(messages.PutRequest(key=b"c", value=b"%d" % number))
    both.step(messages.DeleteRangeRequest(key=b"c"))
    revision = int(both.driver.state["revision"])
    both.step(messages.CompactionRequest(revision=revision))
    for begin in (revision - 1, revision, revision + 1):
        for end in (b"", b"d"):
            pair.watch(key=b"c", range_end=end, start_revision=begin, prev_kv=True)
    both.step(messages.PutRequest(key=b"c"))
    (one, other) = pair.finish()
    assert one == other and (one.canceled, one.compact_revision) == (True, revision)
