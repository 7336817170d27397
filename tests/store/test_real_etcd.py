"""The same requests to a store and to a real etcd: the same responses, but for who answers."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from kvbench.ops.status import GRPC_STATUS, TEXT
from kvbench.store import compaction
from kvbench.targets import found
from kvbench.targets.launch import start
from kvbench.targets.spec import TargetSpec
from kvbench.wire.proto import messages, methods
from tests.store import strategies
from tests.store.driver import Driver, Refused, check_request
from tests.store.test_histories import is_read

pytestmark = pytest.mark.slow

NEWEST = "3.7"
METHODS = {method.request: method for method in vars(methods).values() if isinstance(method, methods.Method)}


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
    """A request whose revisions, small numbers, count back from a little above the current one."""
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


@settings(deadline=None, derandomize=True, max_examples=40, phases=[Phase.generate],
          suppress_health_check=list(HealthCheck))  # fmt: skip
@given(st.lists(steps, min_size=20, max_size=60))
def test_random_histories(both: Both, history: list[Any]) -> None:
    for step in history:
        both.step(place(step, int(both.driver.state["revision"])))
        compaction.compact_some(both.driver.store, 2)
    both.step(messages.RangeRequest(key=b"\0", range_end=b"\0"))
