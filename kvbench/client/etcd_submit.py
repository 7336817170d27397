"""Operations to requests: which method, how long, the bytes, and bodies too large for one frame."""

from typing import Any

from kvbench.client.etcd_records import RESERVE_BYTES
from kvbench.jit import kernel
from kvbench.ops.errors import ErrorCode
from kvbench.ops.kinds import Kind
from kvbench.rt.buffer import copy
from kvbench.wire import etcd_methods, etcd_requests, grpc, grpc_pool, http2_frames
from kvbench.wire.http2_records import (
    DATA,
    FLAG_END_HEADERS,
    FLAG_END_STREAM,
    FRAME_BYTES_MAX,
    FRAME_HEADER_BYTES,
    HEADERS,
)
from kvbench.wire.protobuf import message_field_bytes, write_length

PUT, GET, GET_SERIALIZABLE, RANGE, DELETE = (
    int(Kind.PUT),
    int(Kind.GET),
    int(Kind.GET_SERIALIZABLE),
    int(Kind.RANGE),
    int(Kind.DELETE),
)
CAS, TXN, WATCH = int(Kind.CAS), int(Kind.TXN), int(Kind.WATCH)
LEASE_GRANT, KEEP_ALIVE, LEASE_REVOKE = int(Kind.LEASE_GRANT), int(Kind.LEASE_KEEP_ALIVE), int(Kind.LEASE_REVOKE)
INSERT, READ_MODIFY_WRITE = int(Kind.INSERT), int(Kind.READ_MODIFY_WRITE)
REQUEST_TOO_LARGE, UNIMPLEMENTED = int(ErrorCode.REQUEST_TOO_LARGE), int(ErrorCode.UNIMPLEMENTED)

FRAMES_BYTES = 2 * FRAME_HEADER_BYTES + grpc.PREFIX_BYTES + etcd_methods.HEADERS_BYTES_MAX
"""What a request may need in tx beside its message."""


@kernel
def method_of(kind: int, step: int) -> int:
    """The method that carries a step of an operation, or -1: there is none."""
    if kind == PUT or kind == INSERT:
        return etcd_methods.PUT
    if kind == GET or kind == GET_SERIALIZABLE or kind == RANGE:
        return etcd_methods.RANGE
    if kind == CAS:
        return etcd_methods.RANGE if step == 0 else etcd_methods.TXN
    if kind == READ_MODIFY_WRITE:
        return etcd_methods.RANGE if step == 0 else etcd_methods.PUT
    if kind == DELETE:
        return etcd_methods.DELETE_RANGE
    if kind == TXN:
        return etcd_methods.TXN
    if kind == WATCH:
        return etcd_methods.WATCH
    if kind == LEASE_GRANT:
        return etcd_methods.LEASE_GRANT
    if kind == LEASE_REVOKE:
        return etcd_methods.LEASE_REVOKE
    if kind == KEEP_ALIVE:
        return etcd_methods.LEASE_KEEP_ALIVE
    return -1


@kernel
def message_bytes(operations: Any, count: int, method: int) -> int:
    """Length of the request's message."""
    operation = operations[0]
    key, value, end = int(operation["key_bytes"]), int(operation["value_bytes"]), int(operation["end_bytes"])
    lease = int(operation["lease_id"])
    if method == etcd_methods.PUT:
        return etcd_requests.put_bytes(key, value, lease)
    if method == etcd_methods.RANGE:
        serializable = 1 if operation["kind"] == GET_SERIALIZABLE else 0
        if operation["kind"] != RANGE:
            return etcd_requests.range_bytes(key, 0, 0, 0, serializable)
        return etcd_requests.range_bytes(key, end, int(operation["limit"]), 0, 0)
    if method == etcd_methods.DELETE_RANGE:
        return etcd_requests.delete_bytes(key, 0)
    if method == etcd_methods.TXN:
        if operation["kind"] == CAS:
            put = etcd_requests.put_bytes(key, value, 0)
            compare = etcd_requests.compare_bytes(etcd_requests.MOD, 0, key, int(operation["expected"]))
            return message_field_bytes(compare) + etcd_requests.operation_bytes(put)
        size = 0
        for i in range(1, count):
            put = etcd_requests.put_bytes(int(operations[i]["key_bytes"]), int(operations[i]["value_bytes"]), 0)
            size += etcd_requests.operation_bytes(put)
        return size
    if method == etcd_methods.WATCH:
        return etcd_requests.watch_create_bytes(key, end, 0, 0)
    if method == etcd_methods.LEASE_GRANT:
        return etcd_requests.lease_grant_bytes(int(operation["ttl_s"]), 0)
    return etcd_requests.lease_bytes(lease)


@kernel
def write_message(operations: Any, count: int, method: int, payload: Any, buf: Any, at: int) -> int:
    """Write the request's message. Returns its end."""
    operation = operations[0]
    key_at, key = int(operation["key_at"]), int(operation["key_bytes"])
    value_at, value = int(operation["value_at"]), int(operation["value_bytes"])
    end_at, end = int(operation["end_at"]), int(operation["end_bytes"])
    lease = int(operation["lease_id"])
    if method == etcd_methods.PUT:
        return etcd_requests.write_put(buf, at, payload, key_at, key, value_at, value, lease)
    if method == etcd_methods.RANGE:
        serializable = 1 if operation["kind"] == GET_SERIALIZABLE else 0
        if operation["kind"] != RANGE:
            return etcd_requests.write_range(buf, at, payload, key_at, key, 0, 0, 0, 0, serializable)
        limit = int(operation["limit"])
        return etcd_requests.write_range(buf, at, payload, key_at, key, end_at, end, limit, 0, 0)
    if method == etcd_methods.DELETE_RANGE:
        return etcd_requests.write_delete(buf, at, payload, key_at, key, 0, 0)
    if method == etcd_methods.TXN:
        if operation["kind"] == CAS:
            return write_compare_and_put(operation, payload, buf, at)
        for i in range(1, count):
            at = write_branch_put(operations[i], payload, buf, at)
        return at
    if method == etcd_methods.WATCH:
        return etcd_requests.write_watch_create(buf, at, payload, key_at, key, end_at, end, 0, 0)
    if method == etcd_methods.LEASE_GRANT:
        return etcd_requests.write_lease_grant(buf, at, int(operation["ttl_s"]), 0)
    return etcd_requests.write_lease(buf, at, lease)


@kernel
def write_branch_put(operation: Any, payload: Any, buf: Any, at: int) -> int:
    """A put in the success branch of a transaction."""
    key, value = int(operation["key_bytes"]), int(operation["value_bytes"])
    size = etcd_requests.put_bytes(key, value, 0)
    at = etcd_requests.write_operation(buf, at, etcd_requests.SUCCESS, etcd_requests.OP_PUT, size)
    key_at, value_at = int(operation["key_at"]), int(operation["value_at"])
    return etcd_requests.write_put(buf, at, payload, key_at, key, value_at, value, 0)


@kernel
def write_compare_and_put(operation: Any, payload: Any, buf: Any, at: int) -> int:
    """The transaction of a compare-and-swap: put if the key's mod revision is as expected (0: there is no key)."""
    mod, key, expected = etcd_requests.MOD, int(operation["key_bytes"]), int(operation["expected"])
    at = write_length(buf, at, 1, etcd_requests.compare_bytes(mod, 0, key, expected))
    at = etcd_requests.write_compare(buf, at, mod, 0, payload, int(operation["key_at"]), key, expected, 0)
    return write_branch_put(operation, payload, buf, at)


@kernel
def start_call(
    link: Any, shared: Any, tx: Any, at: int, slot: int, kind: int, step: int, method: int
) -> tuple[int, int]:
    """Open a stream and write its HEADERS at ``tx[at:]``: (its place, position behind them); (-1, at): no stream."""
    h2 = link["http2"]
    place = http2_frames.open_stream(h2, slot)
    if place < 0:
        return -1, at
    call = link["calls"][place]
    grpc.begin(call)
    call["slot"] = slot
    call["kind"] = kind
    call["step"] = step
    call["answered"] = 0
    call["code"] = 0
    call["revision"] = 0
    call["lease_id"] = 0
    call["count"] = 0
    block = at + FRAME_HEADER_BYTES
    table_size = int(h2["peer_table_size"])
    end = etcd_methods.write_request_headers(link["table"], shared["common"], method, table_size, tx, block)
    http2_frames.write_frame_header(tx, at, end - block, HEADERS, FLAG_END_HEADERS, int(h2["streams"][place]["id"]))
    return place, end


@kernel
def start_data(h2: Any, place: int, tx: Any, at: int, size: int, flags: int) -> int:
    """Write the head of a DATA frame for a message of ``size`` bytes and count the windows down.

    Returns where in tx the message goes.
    """
    entry = h2["streams"][place]
    body = size + grpc.PREFIX_BYTES
    h2["send_window"] -= body
    entry["send_window"] -= body
    at = http2_frames.write_frame_header(tx, at, body, DATA, flags, int(entry["id"]))
    return grpc.write_prefix(tx, at, size)


@kernel
def start_large(link: Any, place: int, buffer: int, size: int) -> None:
    """The message of ``size`` bytes that lies in the pool at ``buffer`` behind its prefix is to be sent."""
    link["unary"] += 1
    link["large_place"] = place
    link["large_at"] = buffer
    link["large_size"] = size + grpc.PREFIX_BYTES
    link["large_sent"] = 0


@kernel
def window_of_large(link: Any) -> int:
    """How much of the large message under way the peer would take now."""
    h2 = link["http2"]
    return min(int(h2["send_window"]), int(h2["streams"][int(link["large_place"])]["send_window"]))


@kernel
def pump_large(link: Any, shared: Any, arena: Any, tx: Any, at: int, end: int) -> int:
    """Write of the large message under way what windows and ``tx[at:end]`` allow. Returns the position behind it."""
    place = int(link["large_place"])
    if place < 0:
        return at
    h2 = link["http2"]
    entry = h2["streams"][place]
    while True:
        left = int(link["large_size"]) - int(link["large_sent"])
        window = window_of_large(link)
        space = end - at - RESERVE_BYTES - FRAME_HEADER_BYTES
        piece = min(min(left, FRAME_BYTES_MAX), min(window, space))
        if piece <= 0:
            return at
        flags = FLAG_END_STREAM if piece == left else 0
        at = http2_frames.write_frame_header(tx, at, piece, DATA, flags, int(entry["id"]))
        copy(tx, at, arena, link["large_at"] + link["large_sent"], piece)
        at += piece
        link["large_sent"] += piece
        h2["send_window"] -= piece
        entry["send_window"] -= piece
        if piece == left:
            drop_large(link, shared, arena)
            http2_frames.end_local(h2, place)
            return at


@kernel
def drop_large(link: Any, shared: Any, arena: Any) -> None:
    """The large message under way is sent, or no longer wanted."""
    if link["large_place"] >= 0:
        grpc_pool.give(shared["pool"], arena, int(link["large_at"]), int(link["large_size"]))
        link["large_place"] = -1


@kernel
def keep_alive_fits(link: Any, body: int) -> bool:
    """Whether a keep-alive may be sent now: room in the ring of their slots, and in the windows."""
    h2 = link["http2"]
    if link["keep_alives_sent"] - link["keep_alives_answered"] >= h2["ring"] or link["keep_alive_code"] != 0:
        return False
    if h2["draining"] != 0 or h2["send_window"] < body:
        return False
    place = link["keep_alive_place"]
    window = h2["peer_initial_window"] if place < 0 else h2["streams"][place]["send_window"]
    return int(window) >= body


@kernel
def write_keep_alive(link: Any, shared: Any, tx: Any, at: int, slot: int, lease_id: int) -> int:
    """A keep-alive onto the connection's one stream of them; answers come in the same order.

    Returns the position behind it, or ``at`` when no stream can be opened.
    """
    place = int(link["keep_alive_place"])
    if place < 0:
        place, at = start_call(link, shared, tx, at, -1, KEEP_ALIVE, 0, etcd_methods.LEASE_KEEP_ALIVE)
        if place < 0:
            return at
        link["keep_alive_place"] = place
    h2 = link["http2"]
    at = start_data(h2, place, tx, at, etcd_requests.lease_bytes(lease_id), 0)
    link["keep_alives"][link["keep_alives_sent"] & (h2["ring"] - 1)] = slot
    link["keep_alives_sent"] += 1
    return etcd_requests.write_lease(tx, at, lease_id)
