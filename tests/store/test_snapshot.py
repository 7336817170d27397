"""Dumps: of the state as it was when they began, whole whatever happened meanwhile; loaded from pieces of any size."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench.jit import JIT_ENABLED
from kvbench.ops.status import StoreError
from kvbench.store import compaction, hashing, loading, snapshot
from kvbench.store.records import StoreCode
from kvbench.wire.proto import messages
from tests.store import strategies
from tests.store.driver import Driver, Refused, check_request
from tests.store.invariants import check_invariants
from tests.store.test_histories import is_read

EXAMPLES = 60 if JIT_ENABLED else 10
writes = st.one_of(
    strategies.puts, strategies.puts, strategies.deletes, strategies.txns, strategies.grants, strategies.revokes,
    strategies.compactions, strategies.alarms, st.integers(1, 5),
)  # fmt: skip
big_puts = st.builds(
    lambda key, size: messages.PutRequest(key=key * 30, value=bytes(range(256)) * size), strategies.keys,
    st.integers(0, 12),
)  # fmt: skip


def step(driver: Driver, request: Any) -> Any:
    """The response to a request, or the code it is refused with; a number is a step of compaction."""
    if isinstance(request, int):
        return compaction.compact_some(driver.store, request)
    try:
        check_request(driver, request)
        return driver.read(request) if is_read(request) else driver.apply(request)
    except Refused as refused:
        return refused.code


def everything(driver: Driver) -> list[Any]:
    """All that clients can find out."""
    floor, revision = int(driver.state["compacted"]), int(driver.state["revision"])
    found: list[Any] = [floor, revision, int(driver.state["applied_index"])]
    for at in range(max(floor, 1), revision + 1):
        found.append(driver.read(messages.RangeRequest(key=b"\0", range_end=b"\0", revision=at)))
    leases: Any = driver.store.leases[: int(driver.state["lease_top"])]
    found.append(sorted((int(one["id"]), int(one["ttl_s"]), int(one["keys"])) for one in leases if one["id"]))
    found.append(sorted((int(one["member"]), int(one["kind"])) for one in driver.store.alarms if one["kind"]))
    found.append(hash_of(driver))
    return found


def hash_of(driver: Driver, revision: int = 0, records: int = 7) -> int:
    assert hashing.hash_begin(driver.store, revision) == 0
    while hashing.hash_some(driver.store, records):
        pass
    return int(driver.state["hash"])


def dump(driver: Driver, size: int, meanwhile: list[Any]) -> bytes:
    """The dump in pieces of ``size`` bytes, a request applied after each of them."""
    snapshot.snapshot_begin(driver.store)
    out, pieces = np.zeros(size + 8, np.uint8), []
    requests = iter(meanwhile)
    while True:
        out[:] = 0xEE
        got = int(snapshot.snapshot_some(driver.store, out, 0, size))
        assert 0 <= got <= size and (out[got:] == 0xEE).all()
        if got == 0:
            break
        pieces.append(bytes(out[:got]))
        step(driver, next(requests, 1))
    snapshot.snapshot_end(driver.store)
    for request in requests:
        step(driver, request)
    return b"".join(pieces)


def load(data: bytes, size: int, driver: Driver | None = None) -> Driver:
    """A store from a dump that comes in pieces of at most ``size`` bytes, what was not taken before each."""
    driver = driver or Driver()
    loading.load_begin(driver.store)
    left = b""
    for at in range(0, len(data), size):
        left += data[at : at + size]
        buf = np.frombuffer(b"##" + left + b"##", np.uint8).copy()
        taken = int(loading.load_some(driver.store, buf, 2, 2 + len(left)))
        if taken < 0:
            raise Refused(taken)
        left = left[taken:]
        assert len(left) < snapshot.RECORD_HEAD_BYTES_MAX
    assert left == b"" and driver.state["loaded"] == 1
    driver.index = int(driver.state["applied_index"])
    return driver


@settings(deadline=None, derandomize=True, max_examples=EXAMPLES)
@given(
    st.lists(st.one_of(writes, big_puts), min_size=5, max_size=40), st.lists(writes, max_size=30),
    st.integers(64, 400), st.integers(1, 300),
)  # fmt: skip
def test_a_dump_is_of_the_moment_it_began(before: list[Any], meanwhile: list[Any], dumped: int, loaded: int) -> None:
    driver = Driver()
    for request in before:
        step(driver, request)
    expected = everything(driver)
    data = dump(driver, dumped, meanwhile)
    copy = load(data, loaded)
    check_invariants(copy.store)
    assert everything(copy) == expected


@settings(deadline=None, derandomize=True, max_examples=EXAMPLES)
@given(st.lists(st.one_of(writes, big_puts), min_size=5, max_size=40), st.lists(writes, min_size=5, max_size=30))
def test_a_loaded_state_goes_on_as_the_one_dumped(before: list[Any], behind: list[Any]) -> None:
    driver = Driver()
    for request in before:
        step(driver, request)
    copy = load(dump(driver, 100, []), 100)
    for request in behind:
        answers = step(copy, request), step(driver, request)
        assert isinstance(request, int) or answers[0] == answers[1]
    assert everything(copy) == everything(driver)
    for one in (copy, driver):
        while compaction.compact_some(one.store, 3):
            pass
        check_invariants(one.store)
    assert everything(copy) == everything(driver)
    assert int(copy.state["used_bytes"]) <= int(driver.state["used_bytes"])


def filled(count: int = 40) -> Driver:
    driver = Driver()
    for number in range(count):
        driver.apply(messages.PutRequest(key=b"key %d" % (number % 13), value=b"value %d" % number))
    driver.apply(messages.DeleteRangeRequest(key=b"key 3"))
    driver.apply(messages.CompactionRequest(revision=count // 2))
    return driver


def test_loading_forgets_what_was_there_before() -> None:
    data = dump(filled(), 100, [])
    other = Driver()
    other.apply(messages.LeaseGrantRequest(ID=5, TTL=5))
    other.apply(messages.AlarmRequest(action="ACTIVATE", memberID=3, alarm="CORRUPT"))
    for number in range(300):
        other.apply(messages.PutRequest(key=b"other %d" % number, lease=5))
    assert everything(load(data, 100, other)) == everything(filled())
    check_invariants(other.store)


@pytest.mark.parametrize("compact", [0, 1])
def test_a_bumped_revision(compact: int) -> None:
    """What ``etcdutl snapshot restore --bump-revision`` does, with --mark-compacted or without."""
    driver = load(dump(filled(), 100, []), 100)
    before = driver.read(messages.RangeRequest(key=b"\0", range_end=b"\0"))
    revision = int(driver.state["revision"])
    assert loading.bump_revision(driver.store, 1000, compact) == revision + 1000
    copy = load(dump(driver, 100, []), 100)
    after = copy.read(messages.RangeRequest(key=b"\0", range_end=b"\0"))
    assert (after.kvs, after.header.revision) == (before.kvs, revision + 1000)
    old = step(copy, messages.RangeRequest(key=b"key 1", revision=revision))
    assert (old == StoreError.COMPACTED) == (compact == 1)
    assert copy.apply(messages.PutRequest(key=b"a")).header.revision == revision + 1001
    while compaction.compact_some(copy.store, 10):
        pass
    check_invariants(copy.store)


def test_damage_is_refused_or_incomplete() -> None:
    data = dump(filled(), 100, [])
    for at in range(0, len(data), 1 if JIT_ENABLED else 9):
        for flipped in (data[at] ^ 1, data[at] ^ 0x80):
            changed = data[:at] + bytes([flipped]) + data[at + 1 :]
            try:
                load(changed, len(changed))
            except Refused as refused:
                assert refused.code in (StoreCode.DAMAGED, StoreCode.OUT_OF_MEMORY)
            except AssertionError:
                pass


@pytest.mark.parametrize("size", [0, 1, 63])
def test_a_piece_too_small_is_refused(size: int) -> None:
    driver = filled()
    snapshot.snapshot_begin(driver.store)
    assert snapshot.snapshot_some(driver.store, driver.out, 0, size) == StoreCode.NO_ROOM
    snapshot.snapshot_end(driver.store)
    assert driver.state["pins"] == 0


def test_compaction_waits_for_a_snapshot_and_a_hash() -> None:
    driver = filled()
    snapshot.snapshot_begin(driver.store)
    assert compaction.compact_some(driver.store, 100) == 0
    assert hashing.hash_begin(driver.store, 0) == 0
    snapshot.snapshot_end(driver.store)
    snapshot.snapshot_end(driver.store)
    assert compaction.compact_some(driver.store, 100) == 0
    while hashing.hash_some(driver.store, 5):
        pass
    before = int(driver.state["used_bytes"])
    while compaction.compact_some(driver.store, 3):
        pass
    assert int(driver.state["used_bytes"]) < before
    check_invariants(driver.store)


def test_the_hash_of_a_revision_stays_the_same_while_later_ones_come() -> None:
    driver = filled()
    revision = int(driver.state["revision"])
    expected = hash_of(driver)
    driver.apply(messages.PutRequest(key=b"new"))
    assert hash_of(driver) != expected
    assert hash_of(driver, revision) == expected
    assert hashing.hash_begin(driver.store, revision + 2) < 0
    assert hashing.hash_begin(driver.store, 1) < 0


@pytest.mark.parametrize("change", [{"key": b"key 1", "value": b"x"}, {"key": b"key 1", "value": b""}, {"key": b"x"}])
def test_hashes_differ_when_data_does(change: dict[str, Any]) -> None:
    one, other = filled(), filled()
    assert hash_of(one, records=1) == hash_of(other, records=1000)
    one.apply(messages.PutRequest(key=b"key 1", value=b"y"))
    other.apply(messages.PutRequest(**change))
    assert hash_of(one) != hash_of(other)
