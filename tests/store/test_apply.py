"""Puts, deletes and ranges one by one: revisions as etcd counts them, and responses to the byte."""

from typing import Any

import numpy as np
import pytest

from kvbench.ops import entries
from kvbench.ops.status import StoreError
from kvbench.store import apply, compaction, leases
from kvbench.store.layout import LONG_KEY, LONG_VALUE
from kvbench.store.records import NONE, StoreCode, new_store, set_identity
from kvbench.wire import etcd_methods
from kvbench.wire.proto import messages
from tests.store import strategies
from tests.store.driver import CLUSTER, MEMBER, TERM, Driver, Refused
from tests.store.invariants import check_invariants


def header(revision: int) -> messages.ResponseHeader:
    return messages.ResponseHeader(cluster_id=CLUSTER, member_id=MEMBER, revision=revision, raft_term=TERM)


def test_a_put_makes_revision_2() -> None:
    driver = Driver()
    assert driver.apply(messages.PutRequest(key=b"a", value=b"1")) == messages.PutResponse(header=header(2))
    assert driver.read(messages.RangeRequest(key=b"a")) == messages.RangeResponse(
        header=header(2),
        kvs=[messages.KeyValue(key=b"a", value=b"1", create_revision=2, mod_revision=2, version=1)],
        count=1,
    )


def test_a_second_put_counts_the_version() -> None:
    driver = Driver()
    driver.apply(messages.PutRequest(key=b"a", value=b"1"))
    response = driver.apply(messages.PutRequest(key=b"a", value=b"2", prev_kv=True))
    assert response.prev_kv == messages.KeyValue(key=b"a", value=b"1", create_revision=2, mod_revision=2, version=1)
    (found,) = driver.read(messages.RangeRequest(key=b"a")).kvs
    assert found == messages.KeyValue(key=b"a", value=b"2", create_revision=2, mod_revision=3, version=2)
    (old,) = driver.read(messages.RangeRequest(key=b"a", revision=2)).kvs
    assert old == response.prev_kv


def test_deleting_nothing_makes_no_revision() -> None:
    driver = Driver()
    response = driver.apply(messages.DeleteRangeRequest(key=b"a"))
    assert response == messages.DeleteRangeResponse(header=header(1))


def test_a_deleted_key_begins_anew() -> None:
    driver = Driver()
    driver.apply(messages.PutRequest(key=b"a", value=b"1"))
    response = driver.apply(messages.DeleteRangeRequest(key=b"a", prev_kv=True))
    assert (response.deleted, response.header.revision, len(response.prev_kvs)) == (1, 3, 1)
    assert driver.read(messages.RangeRequest(key=b"a")).count == 0
    driver.apply(messages.PutRequest(key=b"a", value=b"2"))
    (found,) = driver.read(messages.RangeRequest(key=b"a")).kvs
    assert found == messages.KeyValue(key=b"a", value=b"2", create_revision=4, mod_revision=4, version=1)


def test_a_future_revision_is_refused() -> None:
    with pytest.raises(Refused) as refused:
        Driver().read(messages.RangeRequest(key=b"a", revision=2))
    assert refused.value.code == StoreError.FUTURE_REVISION


# -- sizes ------------------------------------------------------------------------------------------------------------

EDGES = [1, 7, 8, 9, LONG_VALUE - 1, LONG_VALUE, LONG_VALUE + 1, LONG_KEY - 1, LONG_KEY, LONG_KEY + 1, 40000]


@pytest.mark.parametrize("size", EDGES)
def test_keys_and_values_of_every_form(size: int) -> None:
    driver = Driver()
    key, value = bytes(i % 251 for i in range(size)), bytes(i % 253 for i in range(size // 2))
    for number in range(3):
        driver.apply(messages.PutRequest(key=key, value=value + b"%d" % number))
    (found,) = driver.read(messages.RangeRequest(key=key)).kvs
    assert (found.key, found.value, found.version) == (key, value + b"2", 3)
    assert driver.read(messages.RangeRequest(key=key[:-1] or b"?")).count == 0
    driver.apply(messages.DeleteRangeRequest(key=key))
    (old,) = driver.read(messages.RangeRequest(key=key, revision=3)).kvs
    assert (old.value, old.version) == (value + b"1", 2)
    check_invariants(driver.store)


def test_a_read_without_room_says_how_much_it_wants() -> None:
    driver = Driver()
    for number in range(20):
        driver.apply(messages.PutRequest(key=b"%d" % number, value=b"v" * 100))
    everything = messages.RangeRequest(key=b"\0", range_end=b"\0")
    full = driver.read(everything)
    with pytest.raises(Refused) as refused:
        driver.read(everything, room=500)
    assert refused.value.code == StoreCode.NO_ROOM
    wanted = int(driver.state["wanted_bytes"])
    assert wanted >= full.ByteSize()
    assert driver.read(everything, room=wanted) == full
    reading = messages.TxnRequest(success=[strategies.operation(everything)] * 2)
    with pytest.raises(Refused) as refused:
        driver.read(reading, room=500)
    assert refused.value.code == StoreCode.NO_ROOM and driver.state["wanted_bytes"] == 0
    assert len(driver.read(reading).responses) == 2


WRITES = [
    messages.PutRequest(key=b"a", value=b"2", prev_kv=True),
    messages.DeleteRangeRequest(key=b"a", prev_kv=True),
    messages.TxnRequest(success=[strategies.operation(messages.DeleteRangeRequest(key=b"a", prev_kv=True))]),
    messages.TxnRequest(success=[
        strategies.operation(messages.RangeRequest(key=b"a")),
        strategies.operation(messages.TxnRequest(success=[strategies.operation(messages.PutRequest(key=b"b"))])),
        strategies.operation(messages.DeleteRangeRequest(key=b"a")),
    ]),
]  # fmt: skip


@pytest.mark.parametrize("request_", WRITES)
def test_a_write_whose_response_has_no_room_is_done(request_: Any) -> None:
    driver = Driver()
    driver.apply(messages.PutRequest(key=b"a", value=b"v" * 1000))
    with pytest.raises(Refused) as refused:
        driver.apply(request_, room=70)
    assert refused.value.code == StoreError.RESPONSE_TOO_LARGE
    other = Driver()
    other.apply(messages.PutRequest(key=b"a", value=b"v" * 1000))
    other.apply(request_)
    everything = messages.RangeRequest(key=b"\0", range_end=b"\0")
    assert driver.read(everything) == other.read(everything)


@pytest.mark.parametrize("request_", [*WRITES, messages.LeaseGrantRequest(ID=3, TTL=9), messages.AlarmRequest()])
def test_an_entry_of_another_member_needs_no_room(request_: Any) -> None:
    driver = Driver()
    driver.apply(messages.PutRequest(key=b"a"))
    buf = driver.entry(request_)
    assert apply.apply(driver.store, 2, buf, 0, len(buf) - 8, driver.out, 0, 0) == 0
    assert driver.state["applied_index"] == 2
    check_invariants(driver.store)


def test_an_entry_of_nothing_and_one_of_a_kind_unknown() -> None:
    driver = Driver()
    buf = np.zeros(64, np.uint8)
    end = entries.write_prefix(buf, 0, entries.NOOP, entries.NO_ORIGIN, 0, 0, 0, 0)
    assert apply.apply(driver.store, 7, buf, 0, end, driver.out, 0, 100) == 0
    assert (driver.state["applied_index"], driver.state["revision"]) == (7, 1)
    entries.write_prefix(buf, 0, 99, 0, 0, 0, 0, 0)
    assert apply.apply(driver.store, 8, buf, 0, end, driver.out, 0, 100) == StoreError.UNIMPLEMENTED


def test_a_full_arena_is_said_before_anything_is_damaged() -> None:
    store = new_store(arena_bytes=1 << 18, keys_max=1 << 12, leases_max=4, watchers_max=4, streams_max=4)
    set_identity(store, CLUSTER, MEMBER)
    driver = Driver(store)
    written = 0
    with pytest.raises(Refused) as refused:
        for number in range(1000):
            driver.apply(messages.PutRequest(key=b"%d" % number, value=b"v" * 1000))
            written += 1
    assert refused.value.code == StoreCode.OUT_OF_MEMORY
    assert written > 150
    check_invariants(store)
    assert driver.read(messages.RangeRequest(key=b"0")).count == 1


def test_what_compaction_frees_is_used_again() -> None:
    driver = Driver()
    touched = 0
    for number in range(600):
        driver.apply(messages.PutRequest(key=b"key %d" % (number % 10), value=b"v" * 200))
        if number % 50 == 49:
            driver.apply(messages.CompactionRequest(revision=int(driver.state["revision"])))
            while compaction.compact_some(driver.store, 16):
                pass
        if number == 100:
            touched = int(driver.state["extent_bytes"])
    assert int(driver.state["extent_bytes"]) <= touched + 8192
    assert int(driver.state["used_bytes"]) < 8000


# -- leases -----------------------------------------------------------------------------------------------------------


def ask(driver: Driver, kernel: Any, response: Any, *arguments: Any) -> Any:
    """The response that a kernel writes."""
    driver.out[:] = 0xEE
    size = int(kernel(driver.store, *arguments))
    if size < 0:
        raise Refused(size)
    return driver.parse(response, size, size)


def time_to_live(driver: Driver, lease_id: int, keys: bool, room: int = 1 << 16) -> Any:
    data = messages.LeaseTimeToLiveRequest(ID=lease_id, keys=keys).SerializeToString()
    buf = np.frombuffer(data + b"\xff" * 8, np.uint8).copy()
    answer = messages.LeaseTimeToLiveResponse
    return ask(driver, leases.time_to_live, answer, buf, 0, len(data), 17, driver.out, 0, room)


def test_what_there_is_to_say_of_leases() -> None:
    driver = Driver()
    for lease_id in (7, -8, 9):
        driver.apply(messages.LeaseGrantRequest(ID=lease_id, TTL=60))
        assert driver.state["lease_slot"] == leases.find(driver.store, lease_id) != NONE
    for key in (b"b", b"c", b"a"):
        driver.apply(messages.PutRequest(key=key, lease=-8))
    driver.apply(messages.PutRequest(key=b"c", lease=7))
    now = header(5)
    assert time_to_live(driver, -8, True) == messages.LeaseTimeToLiveResponse(
        header=now, ID=-8, TTL=17, grantedTTL=60, keys=[b"a", b"b"]
    )
    assert time_to_live(driver, 9, False) == messages.LeaseTimeToLiveResponse(header=now, ID=9, TTL=17, grantedTTL=60)
    assert time_to_live(driver, 1, True) == messages.LeaseTimeToLiveResponse(header=now, ID=1, TTL=-1)
    with pytest.raises(Refused) as refused:
        time_to_live(driver, -8, True, 100)
    assert refused.value.code == StoreCode.NO_ROOM
    count = leases.list_slots(driver.store)
    listed = ask(driver, leases.lease_list, messages.LeaseLeasesResponse, count, driver.out, 0, 1000)
    assert listed.header == now and sorted(one.ID for one in listed.leases) == [-8, 7, 9]
    kept = ask(driver, leases.write_keep_alive, messages.LeaseKeepAliveResponse, -8, 60, driver.out, 0)
    assert kept == messages.LeaseKeepAliveResponse(header=now, ID=-8, TTL=60)
    assert driver.apply(messages.LeaseRevokeRequest(ID=-8)).header.revision == 6
    assert driver.read(messages.RangeRequest(key=b"a", range_end=b"c")).count == 0
    assert leases.find(driver.store, -8) == NONE


def test_a_grant_without_id_gets_the_one_that_the_leader_chose_and_no_less_than_the_least_time() -> None:
    driver = Driver()
    driver.state["lease_ttl_min_s"] = 5
    response = driver.apply(messages.LeaseGrantRequest(TTL=1), lease_id=12345)
    assert (response.ID, response.TTL) == (12345, 5)
    with pytest.raises(Refused) as refused:
        driver.apply(messages.LeaseGrantRequest(TTL=1))
    assert refused.value.code == StoreError.LEASE_NOT_FOUND


def test_more_leases_than_there_is_room_for_are_refused() -> None:
    driver = Driver()
    room = len(driver.store.leases)
    for number in range(room):
        driver.apply(messages.LeaseGrantRequest(ID=number + 1, TTL=9))
    with pytest.raises(Refused) as refused:
        driver.apply(messages.LeaseGrantRequest(ID=room + 1, TTL=9))
    assert refused.value.code == StoreError.TOO_MANY_REQUESTS
    for number in range(0, room, 2):
        driver.apply(messages.LeaseRevokeRequest(ID=number + 1))
    for number in range(0, room, 2):
        driver.apply(messages.LeaseGrantRequest(ID=room + number + 1, TTL=9))
    assert all(leases.find(driver.store, room + number + 1) != NONE for number in range(0, room, 2))
    assert int(driver.state["leases"]) == room


@pytest.mark.parametrize(
    ("method", "request_", "expected"),
    [
        (etcd_methods.LEASE_GRANT, messages.LeaseGrantRequest(TTL=5, ID=7), 7),
        (etcd_methods.LEASE_GRANT, messages.LeaseGrantRequest(TTL=5), 0),
        (etcd_methods.LEASE_REVOKE, messages.LeaseRevokeRequest(ID=-3), -3),
        (etcd_methods.LEASE_TIME_TO_LIVE, messages.LeaseTimeToLiveRequest(ID=8, keys=True), 8),
    ],
)
def test_the_lease_that_a_request_names(method: int, request_: Any, expected: int) -> None:
    data = request_.SerializeToString()
    buf = np.frombuffer(data + b"\xff" * 8, np.uint8).copy()
    assert leases.lease_id_of(Driver().store, method, buf, 0, len(data)) == expected
