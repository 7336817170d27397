"""Random requests over few keys, so that they meet."""

from typing import Any

from hypothesis import strategies as st

from kvbench.wire.proto import messages

KEYS = [b"a", b"a\0", b"ab", b"b", b"b1", b"b2", b"\xff", b"\xff\xff", b"\0"]
keys = st.sampled_from(KEYS)
ends = st.sampled_from([b"", b"", b"", b"\0", b"b", b"b2", b"c", b"\xff", b"a"])
values = st.sampled_from([b"", b"1", b"2", b"value", b"v" * 20])
lease_ids = st.sampled_from([0, 0, 1, 2, 3])
small = st.integers(0, 12)
LEASES = (1, 2, 3)


def ranges(**fields: Any) -> st.SearchStrategy[Any]:
    return st.builds(
        messages.RangeRequest, key=keys, range_end=ends, limit=st.sampled_from([0, 0, 1, 2, 3]),
        revision=st.sampled_from([0, 0, 0, 1, 2, 3, 5, 8, 13]), sort_order=st.integers(0, 2),
        sort_target=st.integers(0, 4), keys_only=st.booleans(), count_only=st.sampled_from([False, False, True]),
        min_mod_revision=st.sampled_from([0, 0, 3]), max_mod_revision=st.sampled_from([0, 0, 9]),
        min_create_revision=st.sampled_from([0, 0, 3]), max_create_revision=st.sampled_from([0, 0, 9]), **fields,
    )  # fmt: skip


plain_ranges = st.builds(messages.RangeRequest, key=keys, range_end=ends)
puts = st.builds(
    messages.PutRequest, key=keys, value=values, lease=lease_ids, prev_kv=st.booleans(),
)  # fmt: skip
keeping_puts = st.one_of(
    st.builds(messages.PutRequest, key=keys, value=values, ignore_lease=st.just(True), prev_kv=st.booleans()),
    st.builds(messages.PutRequest, key=keys, lease=lease_ids, ignore_value=st.just(True), prev_kv=st.booleans()),
)
deletes = st.builds(messages.DeleteRangeRequest, key=keys, range_end=ends, prev_kv=st.booleans())


def with_operand(compare: Any, name: str, number: int, value: bytes) -> Any:
    """A comparison with its operand in the field ``name``."""
    setattr(compare, name, value if name == "value" else number)
    return compare


compares = st.builds(
    with_operand,
    st.builds(messages.Compare, result=st.integers(0, 3), target=st.integers(0, 4), key=keys, range_end=ends),
    st.sampled_from(["version", "create_revision", "mod_revision", "value", "lease"]),
    small,
    values,
)
fitting_compares = st.builds(
    lambda target, result, key, end, number, value: with_operand(
        messages.Compare(result=result, target=target, key=key, range_end=end),
        ["version", "create_revision", "mod_revision", "value", "lease"][target],
        number,
        value,
    ),
    st.integers(0, 4), st.integers(0, 3), keys, ends, small, values,
)  # fmt: skip


def operation(request: Any) -> Any:
    """A request as an operation of a transaction."""
    op = messages.RequestOp()
    if isinstance(request, messages.RangeRequest):
        op.request_range.CopyFrom(request)
    elif isinstance(request, messages.PutRequest):
        op.request_put.CopyFrom(request)
    elif isinstance(request, messages.DeleteRangeRequest):
        op.request_delete_range.CopyFrom(request)
    elif request is not None:
        op.request_txn.CopyFrom(request)
    return op


def transactions(operations: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Transactions of operations made of these requests."""
    ops = st.lists(operations.map(operation), max_size=4)
    return st.builds(
        messages.TxnRequest, compare=st.lists(st.one_of(compares, fitting_compares), max_size=2), success=ops,
        failure=ops,
    )  # fmt: skip


parts = st.one_of(puts, keeping_puts, deletes, ranges(), plain_ranges)
txns = transactions(st.recursive(parts, transactions, max_leaves=12))
reading_txns = transactions(st.one_of(ranges(), plain_ranges))
grants = st.builds(messages.LeaseGrantRequest, ID=st.sampled_from(LEASES), TTL=st.integers(-1, 100))
revokes = st.builds(messages.LeaseRevokeRequest, ID=st.sampled_from(LEASES))
alarms = st.builds(
    messages.AlarmRequest, action=st.sampled_from([0, 1, 2, 2]), memberID=st.integers(1, 2), alarm=st.integers(0, 2)
)
compactions = st.builds(messages.CompactionRequest, revision=st.integers(-1, 20))
