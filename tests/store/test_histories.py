"""Whole random histories against the twin: every response, and at the end every key at every revision."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench.jit import JIT_ENABLED
from kvbench.store import compaction
from kvbench.wire.proto import messages
from tests.naive import store as naive
from tests.store import strategies
from tests.store.driver import CLUSTER, MEMBER, TERM, Driver, Refused, check_request
from tests.store.invariants import check_invariants

steps = st.one_of(
    strategies.puts,
    strategies.puts,
    strategies.keeping_puts,
    strategies.deletes,
    strategies.txns,
    strategies.ranges(),
    strategies.reading_txns,
    strategies.grants,
    strategies.revokes,
    strategies.compactions,
    strategies.alarms,
    st.integers(1, 5),
)
"""Requests, and numbers of changes that compaction is to look at."""


def is_read(request: Any) -> bool:
    """Whether a request is a range, or a transaction of nothing but ranges."""
    if isinstance(request, messages.TxnRequest):
        return all(op.WhichOneof("request") == "request_range" for op in [*request.success, *request.failure])
    return isinstance(request, messages.RangeRequest)


class Pair:
    """A store and its twin, which get the same requests."""

    def __init__(self) -> None:
        self.driver = Driver()
        self.twin = naive.NaiveStore(CLUSTER, MEMBER, TERM)

    def both(self, request: Any, read: bool) -> tuple[Any, Any]:
        """Responses or codes of both."""
        answers: list[Any] = []
        for one in (self.driver, self.twin):
            try:
                check_request(self.driver, request) if one is self.driver else naive.check(request)
                answers.append(one.read(request) if read else one.apply(request))
            except (Refused, naive.Refused) as refused:
                answers.append(refused.code)
        return answers[0], answers[1]

    def step(self, step: Any) -> None:
        if isinstance(step, int):
            compaction.compact_some(self.driver.store, step)
            return
        found, expected = self.both(step, is_read(step))
        assert found == expected, step

    def compare_all(self) -> None:
        for revision in range(max(self.twin.compacted, 1), self.twin.revision + 1):
            self.step(messages.RangeRequest(key=b"\0", range_end=b"\0", revision=revision))
        assert self.driver.state["keys"] == self.driver.read(messages.RangeRequest(key=b"\0", range_end=b"\0")).count


@settings(deadline=None, derandomize=True, max_examples=150 if JIT_ENABLED else 15)
@given(st.lists(steps, min_size=10, max_size=40))
def test_histories(history: list[Any]) -> None:
    pair = Pair()
    for step in history:
        pair.step(step)
    pair.compare_all()
    check_invariants(pair.driver.store)
    while compaction.compact_some(pair.driver.store, 3):
        pass
    pair.compare_all()
    check_invariants(pair.driver.store)
