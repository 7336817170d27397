"""What is refused by its bytes alone, what counts as a read, what needs space: as the twin, whatever is nested."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench.jit import JIT_ENABLED
from kvbench.ops.status import StoreError
from kvbench.store import requests
from kvbench.wire import etcd_methods
from kvbench.wire.proto import messages
from tests.naive import protobuf
from tests.naive import store as naive
from tests.store import strategies
from tests.store.driver import METHODS, Driver, Refused, check_request
from tests.store.test_histories import is_read

EXAMPLES = 200 if JIT_ENABLED else 25
maybe_keys = st.one_of(strategies.keys, strategies.keys, strategies.keys, st.just(b""))
faulty_ranges = st.builds(
    messages.RangeRequest, key=maybe_keys, sort_order=st.sampled_from([0, 1, 2, 3]), sort_target=st.integers(0, 5)
)
faulty_puts = st.builds(
    messages.PutRequest, key=maybe_keys, value=strategies.values, lease=strategies.lease_ids,
    ignore_value=st.booleans(), ignore_lease=st.booleans(),
)  # fmt: skip
faulty_deletes = st.builds(messages.DeleteRangeRequest, key=maybe_keys, range_end=strategies.ends)
few_keys = st.sampled_from([b"a", b"b", b"c", b"d"])
writes = st.one_of(
    st.builds(messages.PutRequest, key=few_keys), st.builds(messages.PutRequest, key=few_keys),
    st.builds(messages.DeleteRangeRequest, key=few_keys, range_end=st.sampled_from([b"", b"", b"c", b"\0"])),
)  # fmt: skip
nested = strategies.transactions(st.recursive(writes, strategies.transactions, max_leaves=20))


@pytest.fixture(scope="module")
def driver() -> Driver:
    return Driver()


def outcome(check: Any, *arguments: Any) -> Any:
    try:
        return check(*arguments)
    except (Refused, naive.Refused) as refused:
        return refused.code


@settings(max_examples=EXAMPLES)
@given(st.one_of(
    faulty_ranges, faulty_puts, faulty_deletes, strategies.txns,
    strategies.transactions(st.one_of(faulty_ranges, faulty_puts, faulty_deletes, st.none())),
))  # fmt: skip
def test_requests_are_refused_as_by_the_twin(driver: Driver, request_: Any) -> None:
    assert outcome(check_request, driver, request_) == outcome(naive.check, request_)


@settings(max_examples=2 * EXAMPLES)
@given(nested)
def test_keys_that_get_into_each_others_way(driver: Driver, request_: Any) -> None:
    assert outcome(check_request, driver, request_) == outcome(naive.check, request_)


def txn(success: list[Any] = [], failure: list[Any] = [], compare: list[Any] = []) -> Any:  # noqa: B006
    return messages.TxnRequest(
        compare=compare, success=[strategies.operation(one) for one in success],
        failure=[strategies.operation(one) for one in failure],
    )  # fmt: skip


def puts(count: int, prefix: bytes = b"k") -> list[Any]:
    return [messages.PutRequest(key=prefix + b"%d" % number) for number in range(count)]


COMPARES = [messages.Compare(key=b"a")] * 129
LIMITS = [
    txn(puts(128)), txn(puts(129)), txn([], puts(128)), txn([], puts(129)), txn(puts(128), puts(128)),
    txn([], [], COMPARES[:128]), txn([], [], COMPARES), txn([txn(puts(127))]), txn([txn(puts(128))]),
    txn([*puts(64), txn(puts(63, b"n"))]), txn([*puts(64), txn(puts(64, b"n"))]),
    txn([txn(puts(100, b"n"), puts(100, b"n"))], puts(28)), txn([txn(puts(100))], puts(29)),
]  # fmt: skip


@pytest.mark.parametrize("request_", LIMITS)
def test_the_limit_of_operations(driver: Driver, request_: Any) -> None:
    assert outcome(check_request, driver, request_) == outcome(naive.check, request_)


@pytest.mark.parametrize("levels", [1, 5, 127, 128, 129, 130, 140, 500])
def test_transactions_within_each_other(driver: Driver, levels: int) -> None:
    """More levels than protobuf's own reader takes; each level takes one operation of the limit."""
    request = txn(puts(1)).SerializeToString()
    for _ in range(levels - 1):
        request = protobuf.field(2, protobuf.field(4, request))
    buf = np.frombuffer(request + b"\xff" * 8, np.uint8).copy()
    code = int(requests.check(driver.store, etcd_methods.TXN, buf, 0, len(request)))
    assert code == (0 if levels <= requests.OPERATIONS_MAX else StoreError.TOO_MANY_OPERATIONS)


def test_many_puts_and_deletes_that_do_not_meet(driver: Driver) -> None:
    inner = [messages.PutRequest(key=b"k%d" % number) for number in range(60)]
    deletes = [messages.DeleteRangeRequest(key=b"x%d" % number) for number in range(60)]
    request = txn([txn(inner, deletes), *(txn(deletes) for _ in range(40))])
    assert outcome(check_request, driver, request) is None
    deletes[7].key = b"k5"
    assert outcome(check_request, driver, txn([txn(inner), txn(deletes)])) is None
    assert outcome(check_request, driver, txn([txn(deletes), txn(inner)])) == StoreError.DUPLICATE_KEY


def kind(driver: Driver, request: Any) -> int:
    data = request.SerializeToString()
    buf = np.frombuffer(data + b"\xff" * 8, np.uint8).copy()
    return int(requests.kind(driver.store, METHODS[type(request)], buf, 0, len(data)))


def needs_space(driver: Driver, request: Any) -> bool:
    data = request.SerializeToString()
    buf = np.frombuffer(data + b"\xff" * 8, np.uint8).copy()
    return bool(requests.needs_space(driver.store, METHODS[type(request)], buf, 0, len(data)))


@settings(max_examples=EXAMPLES)
@given(st.one_of(strategies.txns, strategies.reading_txns, strategies.puts, strategies.deletes, strategies.grants))
def test_what_reads_and_what_needs_space(driver: Driver, request_: Any) -> None:
    found = kind(driver, request_)
    assert (found != requests.WRITE) == is_read(request_)
    assert needs_space(driver, request_) == naive.needs_space(request_)


def test_only_what_is_serializable_in_all_its_parts_is_read_as_things_are(driver: Driver) -> None:
    here, now = messages.RangeRequest(key=b"a", serializable=True), messages.RangeRequest(key=b"a")
    assert (kind(driver, here), kind(driver, now)) == (requests.SERIALIZABLE, requests.READ)
    assert kind(driver, txn([here], [here])) == kind(driver, txn()) == requests.SERIALIZABLE
    assert kind(driver, txn([here], [now])) == requests.READ
    assert kind(driver, txn([here, txn([here])])) == kind(driver, txn([here], puts(1))) == requests.WRITE


@pytest.mark.parametrize("method", [
    etcd_methods.PUT, etcd_methods.RANGE, etcd_methods.DELETE_RANGE, etcd_methods.TXN, etcd_methods.COMPACT,
    etcd_methods.LEASE_GRANT, etcd_methods.LEASE_REVOKE, etcd_methods.LEASE_TIME_TO_LIVE,
])  # fmt: skip
def test_bytes_that_are_no_message(driver: Driver, method: int) -> None:
    nested_data = (b"\x12\x03\x12\x05a", b"\x0a\x02\x1a\x09", b"\x12\x04\x0a\x02\x0a\x05")
    for data in (b"\x0a", b"\xff", b"\x0a\x05ab", b"\x0b", *(nested_data if method == etcd_methods.TXN else ())):
        buf = np.frombuffer(data + b"\0" * 8, np.uint8).copy()
        assert requests.check(driver.store, method, buf, 0, len(data)) == StoreError.BAD_REQUEST


@settings(max_examples=EXAMPLES)
@given(st.sampled_from([etcd_methods.PUT, etcd_methods.RANGE, etcd_methods.DELETE_RANGE, etcd_methods.TXN]),
       st.binary(max_size=60))  # fmt: skip
def test_random_bytes_break_nothing(driver: Driver, method: int, data: bytes) -> None:
    buf = np.frombuffer(data + b"\xff" * 8, np.uint8).copy()
    code = int(requests.check(driver.store, method, buf, 0, len(data)))
    assert code == 0 or StoreError(code)
    requests.kind(driver.store, method, buf, 0, len(data))
