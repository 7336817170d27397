"""Puts, deletes and ranges one by one: revisions as etcd counts them, and responses to the byte."""

import pytest

from kvbench.ops.status import StoreError
from kvbench.wire.proto import messages
from tests.store.driver import CLUSTER, MEMBER, TERM, Driver, Refused


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
