"""Every field of every call, to etcd and to the built-in store: the answers are the same, errors and texts included."""

from typing import Any

import pytest

from kvbench.wire.proto import messages as m
from kvbench.wire.proto import methods
from kvbench.wire.proto.methods import Method
from tests.like_etcd.sides import Both

pytestmark = pytest.mark.slow

ALL: dict[str, Any] = {"key": b"\0", "range_end": b"\0"}
KEYS = [b"a", b"b", b"b1", b"c", b"d", b"\x00", b"\xff", b"\xff\xff"]


def put(key: bytes, value: bytes = b"", **options: Any) -> Any:
    return m.PutRequest(key=key, value=value, **options)


def txn(compare: Any = (), success: Any = (), failure: Any = ()) -> Any:
    return m.TxnRequest(compare=compare, success=success, failure=failure)


def op(request: Any) -> Any:
    field = {
        "RangeRequest": "request_range",
        "PutRequest": "request_put",
        "DeleteRangeRequest": "request_delete_range",
        "TxnRequest": "request_txn",
    }
    return m.RequestOp(**{field[request.DESCRIPTOR.name]: request})


def get(key: bytes, range_end: bytes = b"", **options: Any) -> Any:
    return m.RangeRequest(key=key, range_end=range_end, **options)


def delete(key: bytes, range_end: bytes = b"", **options: Any) -> Any:
    return m.DeleteRangeRequest(key=key, range_end=range_end, **options)


def without_time(said: dict[str, Any]) -> dict[str, Any]:
    """Of a LeaseTimeToLiveResponse: the keys have no order in etcd, and a second may end between two questions."""
    left = dict(said, keys=sorted(said.get("keys", [])))
    if left.get("TTL", 0) > 0:
        left["TTL"] = "some"
    return left


@pytest.fixture(autouse=True)
def no_differences(both: Both) -> Any:
    """Each test leaves an empty keyspace, and fails with all that it found."""
    yield
    both.ask(methods.DELETE_RANGE, delete(**ALL))
    both.conclude()


def fill(both: Both) -> int:
    """Keys with different numbers of versions. Returns the revision."""
    for number, key in enumerate(KEYS):
        for version in range(1 + number % 3):
            both.ask(methods.PUT, put(key, b"%d" % (9 - version - number)))
    answer = both.ask(methods.PUT, put(b"c", b"once more", prev_kv=True))
    return int(answer.said["header"]["revision"])


def test_range(both: Both) -> None:
    now = fill(both)
    ask = methods.RANGE
    extents = [
        {"key": b"b"}, {"key": b"none"}, {"key": b"b", "range_end": b"d"}, {"key": b"b", "range_end": b"\0"}, ALL,
        {"key": b"d", "range_end": b"b"}, {"key": b"b", "range_end": b"b"}, {"key": b"\xff", "range_end": b"\0"},
        {"key": b"\0", "range_end": b"b"}, {"key": b"", "range_end": b"\0"}, {"key": b""},
    ]  # fmt: skip
    variants: list[dict[str, Any]] = [
        {}, {"limit": 1}, {"limit": 3}, {"limit": 8}, {"limit": 9}, {"limit": -1}, {"limit": 1 << 62},
        {"limit": (1 << 63) - 1}, {"serializable": True}, {"keys_only": True}, {"count_only": True},
        {"count_only": True, "limit": 2}, {"keys_only": True, "count_only": True},
        {"keys_only": True, "limit": 2, "serializable": True},
    ]  # fmt: skip
    variants += [{"revision": revision} for revision in (-1, 1, 2, 5, now - 1, now, now + 1, 1 << 62)]
    variants += [{"revision": now - 3, "limit": 2, "count_only": only} for only in (False, True)]
    for name in ("min_mod_revision", "max_mod_revision", "min_create_revision", "max_create_revision"):
        variants += [{name: revision} for revision in (-1, 1, now - 6, now, now + 5)]
        variants += [{name: now - 6, "limit": 2}, {name: now - 6, "limit": 2, "keys_only": True}]
    for extent in extents:
        for variant in variants:
            both.ask(ask, m.RangeRequest(**extent, **variant))
            both.ask_stream(methods.RANGE_STREAM, m.RangeRequest(**extent, **variant))


def test_sorting(both: Both) -> None:
    now = fill(both)
    for target in (-1, 0, 1, 2, 3, 4, 5):
        for order in (-1, 0, 1, 2, 3):
            for extra in ({}, {"limit": 3}, {"revision": now - 4}, {"keys_only": True}, {"min_mod_revision": now - 7}):
                request = m.RangeRequest(**ALL, **extra)
                # The constructor refuses numbers that have no name.
                request.MergeFromString(bytes(_number(5, order) + _number(6, target)))
                both.ask(methods.RANGE, request)
                if not extra:
                    both.ask_stream(methods.RANGE_STREAM, request)


def _number(field: int, value: int) -> list[int]:
    value &= (1 << 64) - 1
    out = [field << 3]
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return [*out, value]


def test_put(both: Both) -> None:
    ask = methods.PUT
    both.ask(methods.LEASE_GRANT, m.LeaseGrantRequest(ID=700, TTL=300))
    for request in (
        put(b""), put(b"", b"v"), put(b"k"), put(b"k", b"1", prev_kv=True), put(b"k", b"2", lease=700, prev_kv=True),
        put(b"k", b"3", lease=701), put(b"k", b"", ignore_value=True), put(b"k", b"x", ignore_value=True),
        put(b"k", b"", ignore_value=True, prev_kv=True, lease=700), put(b"k", b"4", ignore_lease=True, prev_kv=True),
        put(b"k", b"5", ignore_lease=True, lease=700), put(b"k", b"", ignore_value=True, ignore_lease=True),
        put(b"none", b"", ignore_value=True), put(b"none", b"5", ignore_lease=True), put(b"none", b"6", lease=-1),
        put(b"none", b"", ignore_value=True, lease=701), put(b"none", b"x", ignore_value=True, lease=701),
        put(b"none", b"5", ignore_lease=True, lease=701), put(b"k", b"\0\xff" * 100, prev_kv=True),
        put(b"k" * 1000, b"long key", prev_kv=True), put(b"k" * 1000, prev_kv=True), put(b"k", b"6", prev_kv=True),
        put(b"big", b"v" * 100_000), put(b"big", b"v" * 2_000_000), put(b"big", b"v" * 3_000_000),
    ):  # fmt: skip
        both.ask(ask, request)
        both.ask(methods.RANGE, get(b"k"))
    both.ask(methods.RANGE, get(**ALL))
    both.ask(methods.LEASE_REVOKE, m.LeaseRevokeRequest(ID=700))
    both.ask(methods.RANGE, get(**ALL, keys_only=True))


def test_delete(both: Both) -> None:
    fill(both)
    for request in (
        delete(b""), delete(b"", b"z"), delete(b"none"), delete(b"d", b"b"), delete(b"none", prev_kv=True),
        delete(b"b", b"c", prev_kv=True), delete(b"a"), delete(b"a", prev_kv=True), delete(b"c", prev_kv=True),
        delete(b"\xff", b"\0", prev_kv=True), delete(**ALL), delete(**ALL, prev_kv=True),
    ):  # fmt: skip
        both.ask(methods.DELETE_RANGE, request)
        both.ask(methods.RANGE, get(**ALL))


def test_compares(both: Both) -> None:
    both.ask(methods.LEASE_GRANT, m.LeaseGrantRequest(ID=710, TTL=300))
    first = both.ask(methods.PUT, put(b"a", b"m", lease=710)).said["header"]["revision"]
    both.ask(methods.PUT, put(b"a", b"n", lease=710))
    both.ask(methods.PUT, put(b"b", b"n"))
    unions: list[dict[str, Any]] = [
        {"version": 0}, {"version": 1}, {"version": 2}, {"create_revision": 0}, {"create_revision": first},
        {"mod_revision": first + 1}, {"mod_revision": first + 2}, {"mod_revision": -1}, {"value": b""}, {"value": b"m"},
        {"value": b"n"}, {"value": b"n\0"}, {"lease": 0}, {"lease": 710}, {},
    ]  # fmt: skip
    extents = [{"key": b"a"}, {"key": b"none"}, {"key": b"a", "range_end": b"c"}, {"key": b"a", "range_end": b"\0"},
               {"key": b"c", "range_end": b"a"}, {"key": b""}]  # fmt: skip
    for result in range(4):
        for target in range(5):
            for extent in extents:
                for union in unions:
                    compare = m.Compare(result=result, target=target, **extent, **union)  # type: ignore[arg-type]
                    both.ask(methods.TXN, txn([compare]))
    for numbers in ([1, 9], [2, 9], [1, -1], [2, -1]):
        compare = m.Compare(key=b"a", version=2)
        compare.MergeFromString(bytes(_number(*numbers)))
        both.ask(methods.TXN, txn([compare]))
    both.ask(methods.LEASE_REVOKE, m.LeaseRevokeRequest(ID=710))


def test_transactions(both: Both) -> None:
    now = fill(both)
    is_there = m.Compare(key=b"a", result="GREATER", target="VERSION", version=0)
    is_not = m.Compare(key=b"a", target="VERSION", version=0)
    both.ask(methods.LEASE_GRANT, m.LeaseGrantRequest(ID=720, TTL=300))
    nested = txn([is_there], [op(put(b"n", b"1")), op(get(b"n"))], [op(put(b"n", b"2"))])
    deep = op(put(b"deep", b"x"))
    for _ in range(6):
        deep = op(txn([is_there], [deep, op(get(b"deep"))]))
    requests = [
        txn(), txn([is_there]), txn([is_not]), txn(success=[m.RequestOp()]), txn([is_not], [m.RequestOp()]),
        txn([is_there], [op(put(b"t", b"1")), op(get(b"t")), op(delete(b"t", prev_kv=True)), op(get(b"t"))]),
        txn([is_there, is_not], [op(put(b"t", b"2"))], [op(get(b"a")), op(get(**ALL, limit=2, keys_only=True))]),
        txn([is_there], [op(nested), op(get(b"n", revision=now))]),
        txn([is_there], [op(nested), op(nested)]), txn([is_there], [op(nested), op(put(b"n", b"3"))]),
        txn([is_there], [op(txn([is_not], [op(put(b"n", b"1"))], [op(put(b"n", b"2"))])), op(put(b"o"))]),
        txn([is_there], [deep]), txn([is_there], [op(get(b"a", serializable=True))]),
        txn([], [op(txn([is_not], [op(get(b"a"))], [op(get(b"b"))]))]),
        txn([], [op(put(b"x", b"1")), op(put(b"x", b"2"))]), txn([], [op(put(b"x", b"1")), op(delete(b"x"))]),
        txn([], [op(delete(b"x")), op(put(b"x", b"1"))]), txn([], [op(put(b"x", b"1")), op(delete(b"w", b"z"))]),
        txn([], [op(put(b"x", b"1")), op(delete(b"w", b"\0"))]), txn([], [op(put(b"x", b"1")), op(delete(**ALL))]),
        txn([], [op(delete(b"a", b"c")), op(delete(b"b", b"d", prev_kv=True))]), txn([], [op(delete(b"x", b"a"))]),
        txn([], [op(txn([], [op(delete(b"x"))])), op(put(b"x", b"4"))]),
        txn([], [op(txn([], [op(put(b"x"))])), op(delete(b"x"))]),
        txn([], [op(txn([], [op(put(b"x", b"5"))])), op(txn([], [op(delete(b"x"))]))]),
        txn([], [op(txn([], [op(delete(b"x"))])), op(txn([], [op(put(b"x", b"6"))]))]),
        txn([], [op(put(b"x", b"1"))], [op(put(b"x", b"2"))]), txn([is_not], [op(put(b"x", b"1"))]),
        txn([], [op(put(b"x", b"7", lease=720, prev_kv=True))]), txn([], [op(put(b"x", b"8", lease=721))]),
        txn([is_not], [op(put(b"x", b"8", lease=721))]), txn([], [op(put(b"x", b"", ignore_value=True, prev_kv=True))]),
        txn([], [op(put(b"none", b"", ignore_value=True))]), txn([], [op(put(b"none", ignore_lease=True))]),
        txn([], [op(put(b"x", b"v", ignore_value=True))]), txn([], [op(put(b"x", b"v", ignore_lease=True, lease=720))]),
        txn([], [op(put(b"new", b"1")), op(put(b"none", ignore_lease=True))]), txn([], [op(put(b""))]),
        txn([], [op(delete(b""))]), txn([], [op(get(b""))]), txn([is_not], [op(get(b""))]), txn([m.Compare()]),
        txn([], [op(get(b"a", revision=now + 1000))]), txn([], [op(put(b"x", b"9")), op(get(b"a", revision=1 << 40))]),
        txn([], [op(get(b"a", revision=-1))]), txn([], [op(put(b"x", b"9")), op(get(b"a", revision=-1))]),
        txn([], [op(get(b"a"))] * 128), txn([], [op(get(b"a"))] * 129), txn([is_there] * 128), txn([is_there] * 129),
        txn([is_not], [op(get(b"a"))] * 129), txn([], [op(put(b"p%d" % i)) for i in range(128)]),
        txn([is_there] * 100, [op(txn([is_there] * 28))]), txn([is_there] * 100, [op(txn([is_there] * 29))]),
        txn([], [op(get(**ALL, sort_order="DESCEND", sort_target="MOD", limit=3)), op(get(**ALL, count_only=True))]),
        txn([], [op(txn([], [op(txn())]))]), txn([], [op(get(b"p1", b"p3", keys_only=True)), op(delete(b"p", b"q"))]),
    ]  # fmt: skip
    for request in requests:
        both.ask(methods.TXN, request)
        both.ask(methods.RANGE, get(**ALL))
    both.ask(methods.LEASE_REVOKE, m.LeaseRevokeRequest(ID=720))


def test_compaction(both: Both) -> None:
    now = fill(both)
    compact = methods.COMPACT
    for revision in (now + 1, 1 << 62, now - 6, now - 6, now - 7, 0, -1, 1):
        both.ask(compact, m.CompactionRequest(revision=revision))
    for revision in (1, now - 7, now - 6, now - 5, now):
        both.ask(methods.RANGE, get(**ALL, revision=revision))
        both.ask(methods.RANGE, get(b"c", revision=revision))
        both.ask(methods.RANGE, get(b"z", b"a", revision=revision))
        both.ask(methods.TXN, txn([], [op(get(b"c", revision=revision))]))
        both.ask(methods.TXN, txn([], [op(put(b"c", b"x")), op(get(b"c", revision=revision))]))
        both.ask_stream(methods.RANGE_STREAM, get(**ALL, revision=revision))
        if revision != now - 6:
            # Of revisions that were compacted, etcd remembers the hashes from before, until it is started anew.
            both.ask(methods.HASH_KV, m.HashKVRequest(revision=revision))
    both.ask(methods.HASH_KV, m.HashKVRequest(revision=1 << 50))
    both.ask(methods.HASH_KV, m.HashKVRequest(revision=-1))
    now = both.ask(methods.RANGE, get(b"c")).said["header"]["revision"]
    both.ask(compact, m.CompactionRequest(revision=now, physical=True))
    both.ask(compact, m.CompactionRequest(revision=now, physical=True))
    both.ask(methods.RANGE, get(**ALL))
    both.ask(methods.RANGE, get(**ALL, revision=now))
    both.ask(methods.HASH_KV, m.HashKVRequest())
    both.ask(methods.HASH, m.HashRequest())


def test_leases(both: Both) -> None:
    grant, revoke = methods.LEASE_GRANT, methods.LEASE_REVOKE
    for lease_id, ttl_s in (
        (1000, 100), (1000, 100), (1001, 1), (1002, 0), (1003, -5), (1004, 9_000_000_000), (1005, 9_000_000_001),
        (1006, 1 << 62), (-7, 60), ((1 << 63) - 1, 60), (1000, 9_000_000_001), (1007, 5000),
    ):  # fmt: skip
        both.ask(grant, m.LeaseGrantRequest(ID=lease_id, TTL=ttl_s))
    own = [side.raw(grant, m.LeaseGrantRequest(TTL=77)) for side in (both.etcd, both.store)]
    assert own[0].ID > 0 and own[1].ID > 0 and own[0].TTL == own[1].TTL == 77
    for side, one in zip((both.etcd, both.store), own, strict=True):
        side.raw(revoke, m.LeaseRevokeRequest(ID=one.ID))
    for key in (b"l2", b"l1", b"l3"):
        both.ask(methods.PUT, put(key, b"v", lease=1000))
    both.ask(methods.PUT, put(b"l3", b"v", lease=1007))
    both.ask(methods.DELETE_RANGE, delete(b"l1"))
    both.ask(methods.PUT, put(b"l9", b"v", lease=-7))
    for lease_id in (1000, 1001, 1002, 1004, 1005, 1007, -7, (1 << 63) - 1, 0, 5):
        for keys in (False, True):
            request = m.LeaseTimeToLiveRequest(ID=lease_id, keys=keys)
            both.ask(methods.LEASE_TIME_TO_LIVE, request, without_time)
    both.ask(methods.LEASE_LEASES, m.LeaseLeasesRequest())
    kept = [1000, 1001, 5, 0, -7, 1000]
    both.ask_many(methods.LEASE_KEEP_ALIVE, [m.LeaseKeepAliveRequest(ID=lease_id) for lease_id in kept])
    both.ask(methods.LEASE_LEASES, m.LeaseLeasesRequest())
    both.ask_many(methods.LEASE_KEEP_ALIVE, [])
    for lease_id in (1000, 1000, 1001, 1002, 1003, 1004, 1007, -7, (1 << 63) - 1, 0, 5):
        both.ask(revoke, m.LeaseRevokeRequest(ID=lease_id))
        both.ask(methods.RANGE, get(**ALL))
    both.ask(methods.LEASE_LEASES, m.LeaseLeasesRequest())


def test_members_and_maintenance(both: Both) -> None:
    both.ask(methods.PUT, put(b"a", b"1"))
    for request in (m.MemberListRequest(), m.MemberListRequest(linearizable=True)):
        both.ask(methods.MEMBER_LIST, request)
    both.ask(methods.STATUS, m.StatusRequest())
    both.ask(methods.HASH, m.HashRequest())
    both.ask(methods.HASH_KV, m.HashKVRequest())
    both.ask(methods.DEFRAGMENT, m.DefragmentRequest())
    both.ask(methods.MOVE_LEADER, m.MoveLeaderRequest(targetID=12345))
    both.ask(methods.MOVE_LEADER, m.MoveLeaderRequest())
    for side in (both.etcd, both.store):
        leader = side.raw(methods.STATUS, m.StatusRequest()).leader
        assert side.ask(methods.MOVE_LEADER, m.MoveLeaderRequest(targetID=leader)).said == {}
    both.ask(methods.HEALTH_CHECK, m.HealthCheckRequest())
    both.ask(methods.HEALTH_CHECK, m.HealthCheckRequest(service="etcdserverpb.KV"))
    for side in (both.etcd, both.store):
        answer = side.ask_stream(methods.SNAPSHOT, m.SnapshotRequest())
        assert answer.code == "OK"
        assert {key for part in answer.said for key in part} <= {"remaining_bytes", "blob", "version"}
        assert {part["version"] for part in answer.said} == {"3.7.0"}
        assert "remaining_bytes" not in answer.said[-1]


def test_alarms(both: Both) -> None:
    ask = methods.ALARM
    both.ask(ask, m.AlarmRequest())
    members = [side.raw(methods.STATUS, m.StatusRequest()).header.member_id for side in (both.etcd, both.store)]
    for action in ("ACTIVATE", "GET", "ACTIVATE", "DEACTIVATE", "DEACTIVATE", "GET"):
        for alarm in ("NOSPACE", "NONE"):
            answers = [
                side.ask(ask, m.AlarmRequest(action=action, memberID=member, alarm=alarm))
                for side, member in zip((both.etcd, both.store), members, strict=True)
            ]
            if answers[0] != answers[1]:
                both.differ(f"{action} {alarm}", *answers)
            both.ask(methods.PUT, put(b"a", b"1"))
            both.ask(methods.LEASE_GRANT, m.LeaseGrantRequest(ID=900, TTL=60))
            both.ask(methods.TXN, txn([m.Compare(key=b"a", version=0)], [op(put(b"a"))], [op(get(b"a"))]))
            both.ask(methods.TXN, txn([], [op(get(b"a"))]))
            both.ask(methods.DELETE_RANGE, delete(b"a"))
            both.ask(methods.LEASE_REVOKE, m.LeaseRevokeRequest(ID=900))
    both.ask(ask, m.AlarmRequest(action="GET", alarm="CORRUPT"))


@pytest.mark.parametrize(
    "path",
    [
        "etcdserverpb.Auth/AuthEnable", "etcdserverpb.Auth/UserAdd", "etcdserverpb.Auth/Authenticate",
        "etcdserverpb.Cluster/MemberAdd", "etcdserverpb.Cluster/MemberRemove", "etcdserverpb.Cluster/MemberUpdate",
        "etcdserverpb.Cluster/MemberPromote", "etcdserverpb.Maintenance/Downgrade", "v3lockpb.Lock/Lock",
        "v3electionpb.Election/Campaign", "etcdserverpb.KV/NoSuchMethod", "no.such.Service/Method",
    ],
)  # fmt: skip
def test_what_is_not_there(both: Both, path: str) -> None:
    method = Method(f"/{path}", m.MemberListRequest, m.MemberListResponse)
    assert both.store.ask(method, m.MemberListRequest()).code == "UNIMPLEMENTED"
