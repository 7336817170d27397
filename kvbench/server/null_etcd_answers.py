"""What the null server answers: a request's message read field by field, and its response written."""

from typing import Any

from kvbench.jit import kernel
from kvbench.wire import etcd_methods, etcd_requests, etcd_responses, protobuf
from kvbench.wire.protobuf import BYTES, COUNTS, ENDS, STARTS, read_message

KEY_ECHO_BYTES_MAX = 4096
"""Longest key that a Range gives back; longer ones find nothing."""
OPERATION_ANSWER_BYTES = 32
"""Most bytes of one answer in a transaction's response."""
ANSWER_BYTES_MAX = 16000
"""Longest response."""
LEASE_TTL_S = 60

INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL = 3, 8, 12, 13
"""gRPC statuses that the null server gives; an answer's negative length is one of them negated."""


@kernel
def write_answer(shared: Any, method: int, call: Any, buf: Any, at: int, end: int, tx: Any, to: int) -> int:
    """The response to the request ``buf[at:end]`` at ``tx[to:]``. Returns its end, or minus a gRPC status."""
    if method == etcd_methods.PUT:
        return answer_put(shared, buf, at, end, tx, to)
    if method == etcd_methods.RANGE:
        return answer_range(shared, buf, at, end, tx, to)
    if method == etcd_methods.TXN:
        return answer_txn(shared, buf, at, end, tx, to)
    if method == etcd_methods.DELETE_RANGE:
        return answer_delete(shared, buf, at, end, tx, to)
    if method == etcd_methods.WATCH:
        return answer_watch(shared, call, buf, at, end, tx, to)
    return answer_lease(shared, method, buf, at, end, tx, to)


@kernel
def answer_put(shared: Any, buf: Any, at: int, end: int, tx: Any, to: int) -> int:
    """PutResponse: a header with the next revision."""
    fields = shared["fields"]
    if read_message(buf, at, end, etcd_requests.PUT_NUMBERS, etcd_requests.PUT_BYTES, fields) < 0:
        return -INTERNAL
    if fields[ENDS + 1] == fields[STARTS + 1]:
        return -INVALID_ARGUMENT
    shared["revision"] += 1
    return etcd_responses.write_header(tx, to, int(shared["revision"]))


@kernel
def answer_range(shared: Any, buf: Any, at: int, end: int, tx: Any, to: int) -> int:
    """RangeResponse: the key asked for, with a value of the set size; a range holds its first key only."""
    fields = shared["fields"]
    if read_message(buf, at, end, etcd_requests.RANGE_NUMBERS, etcd_requests.RANGE_BYTES, fields) < 0:
        return -INTERNAL
    key_at, key_bytes = fields[STARTS + 1], fields[ENDS + 1] - fields[STARTS + 1]
    if key_bytes == 0:
        return -INVALID_ARGUMENT
    revision = int(shared["revision"])
    to = etcd_responses.write_header(tx, to, revision)
    if key_bytes > KEY_ECHO_BYTES_MAX:
        return to
    if fields[9] == 0:
        value_bytes = int(shared["value_bytes"]) if fields[8] == 0 else 0
        size = etcd_responses.key_value_bytes(key_bytes, value_bytes, revision)
        to = protobuf.write_length(tx, to, 2, size)
        to = protobuf.write_bytes_field(tx, to, 1, buf, key_at, key_bytes)
        to = etcd_responses.write_key_value(tx, to, shared["value"], 0, 0, 0, value_bytes, revision)
    return protobuf.write_varint_field(tx, to, 4, 1)


@kernel
def answer_delete(shared: Any, buf: Any, at: int, end: int, tx: Any, to: int) -> int:
    """DeleteRangeResponse: one key deleted."""
    fields = shared["fields"]
    if read_message(buf, at, end, etcd_requests.DELETE_NUMBERS, etcd_requests.DELETE_BYTES, fields) < 0:
        return -INTERNAL
    if fields[ENDS + 1] == fields[STARTS + 1]:
        return -INVALID_ARGUMENT
    shared["revision"] += 1
    to = etcd_responses.write_header(tx, to, int(shared["revision"]))
    return protobuf.write_varint_field(tx, to, 2, 1)


@kernel
def answer_txn(shared: Any, buf: Any, at: int, end: int, tx: Any, to: int) -> int:
    """TxnResponse: every comparison holds, and every request of the success branch has its response."""
    shared["revision"] += 1
    revision = int(shared["revision"])
    limit = to + ANSWER_BYTES_MAX
    to = etcd_responses.write_header(tx, to, revision)
    to = protobuf.write_varint_field(tx, to, 2, 1)
    while at < end:
        tag, value, at = protobuf.next_field(buf, at, end)
        if at < 0:
            return -INTERNAL
        if tag == (1 << 3 | BYTES):
            numbers, contents = etcd_requests.COMPARE_NUMBERS, etcd_requests.COMPARE_BYTES
            if read_message(buf, value, at, numbers, contents, shared["inner"]) < 0:
                return -INTERNAL
        elif tag == (etcd_requests.SUCCESS << 3 | BYTES) or tag == (etcd_requests.FAILURE << 3 | BYTES):
            kind = read_operation(shared, buf, value, at)
            if kind < 0:
                return kind
            if tag == (etcd_requests.SUCCESS << 3 | BYTES):
                if to + OPERATION_ANSWER_BYTES > limit:
                    return -RESOURCE_EXHAUSTED
                to = write_operation_answer(tx, to, kind, revision)
    return to


@kernel
def read_operation(shared: Any, buf: Any, at: int, end: int) -> int:
    """Read a RequestOp with the request in it. Returns which it is (OP_PUT, ...), or minus a gRPC status."""
    inner = shared["inner"]
    if read_message(buf, at, end, 0, etcd_requests.OPERATION_BYTES, inner) < 0:
        return -INTERNAL
    for kind in range(etcd_requests.OP_RANGE, etcd_requests.OP_DELETE_RANGE + 1):
        if inner[COUNTS + kind] > 0:
            numbers, contents = etcd_requests.RANGE_NUMBERS, etcd_requests.RANGE_BYTES
            if kind == etcd_requests.OP_PUT:
                numbers, contents = etcd_requests.PUT_NUMBERS, etcd_requests.PUT_BYTES
            elif kind == etcd_requests.OP_DELETE_RANGE:
                numbers, contents = etcd_requests.DELETE_NUMBERS, etcd_requests.DELETE_BYTES
            start, stop = inner[STARTS + kind], inner[ENDS + kind]
            return -INTERNAL if read_message(buf, start, stop, numbers, contents, inner) < 0 else kind
    return -UNIMPLEMENTED


@kernel
def write_operation_answer(tx: Any, to: int, kind: int, revision: int) -> int:
    """A ResponseOp whose response has a header and nothing else."""
    size = protobuf.message_field_bytes(protobuf.varint_field_bytes(revision))
    to = etcd_requests.write_operation(tx, to, 3, kind, size)
    to = protobuf.write_length(tx, to, etcd_responses.HEADER, protobuf.varint_field_bytes(revision))
    return protobuf.write_varint_field(tx, to, 3, revision)


@kernel
def answer_watch(shared: Any, call: Any, buf: Any, at: int, end: int, tx: Any, to: int) -> int:
    """WatchResponse: created, canceled, or where the store is. No event ever comes: nothing is stored."""
    fields = shared["fields"]
    if read_message(buf, at, end, 0, etcd_requests.WATCH_BYTES, fields) < 0:
        return -INTERNAL
    to = etcd_responses.write_header(tx, to, int(shared["revision"]))
    if fields[COUNTS + 1] > 0:
        numbers, contents = etcd_requests.WATCH_CREATE_NUMBERS, etcd_requests.WATCH_CREATE_BYTES
        if read_message(buf, fields[STARTS + 1], fields[ENDS + 1], numbers, contents, shared["inner"]) < 0:
            return -INTERNAL
        to = protobuf.write_varint_field(tx, to, 2, int(call["count"]))
        call["count"] += 1
        return protobuf.write_varint_field(tx, to, 3, 1)
    if fields[COUNTS + 2] > 0:
        numbers = etcd_requests.WATCH_CANCEL_NUMBERS
        if read_message(buf, fields[STARTS + 2], fields[ENDS + 2], numbers, 0, shared["inner"]) < 0:
            return -INTERNAL
        to = protobuf.write_varint_field(tx, to, 2, shared["inner"][1])
        return protobuf.write_varint_field(tx, to, 4, 1)
    return protobuf.write_varint_field(tx, to, 2, -1)


@kernel
def answer_lease(shared: Any, method: int, buf: Any, at: int, end: int, tx: Any, to: int) -> int:
    """LeaseGrantResponse, LeaseRevokeResponse or LeaseKeepAliveResponse: every lease exists."""
    fields = shared["fields"]
    if read_message(buf, at, end, etcd_requests.LEASE_NUMBERS, 0, fields) < 0:
        return -INTERNAL
    to = etcd_responses.write_header(tx, to, int(shared["revision"]))
    if method == etcd_methods.LEASE_REVOKE:
        return to
    lease_id, ttl_s = fields[1], int(LEASE_TTL_S)
    if method == etcd_methods.LEASE_GRANT:
        lease_id, ttl_s = fields[2], fields[1]
        if lease_id == 0:
            shared["leases"] += 1
            lease_id = int(shared["leases"])
    to = protobuf.write_varint_field(tx, to, 2, lease_id)
    return protobuf.write_varint_field(tx, to, 3, ttl_s)
