"""Operations on a ready session of ZooKeeper, encoded.

A put does not know whether its node exists: it goes by ``client.known`` and tries the other request when the answer
says that the guess was wrong. Steps of a put: 0 by guess, odd setData, even create. A compare-and-swap's and a
read-modify-write's step 0 is a read; ``expected`` in later steps is the version read plus 1, 0: the node was missing.
"""

from typing import Any

from kvbench.client.zookeeper_queue import next_xid, push, write_position, written
from kvbench.client.zookeeper_records import CHILDREN, CREATE, DELETE, MULTI, READ, SET, SYNC
from kvbench.jit import kernel
from kvbench.ops.errors import ErrorCode
from kvbench.ops.kinds import Kind
from kvbench.wire import jute, jute_requests

PUT, GET, GET_SERIALIZABLE, RANGE = int(Kind.PUT), int(Kind.GET), int(Kind.GET_SERIALIZABLE), int(Kind.RANGE)
REMOVE, CAS, TXN, INSERT = int(Kind.DELETE), int(Kind.CAS), int(Kind.TXN), int(Kind.INSERT)
READ_MODIFY_WRITE, MAKE_PARENT = int(Kind.READ_MODIFY_WRITE), int(Kind.MAKE_PARENT)
_REQUEST_TOO_LARGE = int(ErrorCode.REQUEST_TOO_LARGE)
_UNIMPLEMENTED = int(ErrorCode.UNIMPLEMENTED)

UNKNOWN, KNOWN, ASSUMED = 0, 1, 2
"""What ``client.known`` says of a node. ASSUMED: a transaction creates it, whose answer was not in yet."""

TXN_MEMBER_BITS = 20
"""A TXN's step: attempt << 21 | member << 1 | 1 if that member's node exists, and 1 more; 0: the first attempt."""


@kernel
def is_known(known: Any, key_index: int) -> bool:
    """Whether the node of a key is believed to exist."""
    return 0 <= key_index < len(known) and known[key_index] != UNKNOWN


@kernel
def set_known(known: Any, key_index: int, exists: int) -> None:
    """Note whether the node of a key exists."""
    if 0 <= key_index < len(known):
        known[key_index] = exists


@kernel
def action_of(known: Any, operation: Any) -> int:
    """What an operation's step sends, -1: nothing that this client knows."""
    kind, step = int(operation["kind"]), int(operation["step"])
    if kind == PUT or kind == READ_MODIFY_WRITE:
        if step > 0:
            return SET if step & 1 else CREATE
        if kind == READ_MODIFY_WRITE:
            return READ
        return SET if is_known(known, operation["key_index"]) else CREATE
    if kind == INSERT or kind == MAKE_PARENT:
        return CREATE
    if kind == GET or kind == GET_SERIALIZABLE:
        return READ
    if kind == CAS:
        if step == 0:
            return READ
        return CREATE if operation["expected"] == 0 else SET
    if kind == REMOVE:
        return DELETE
    return CHILDREN if kind == RANGE else -1


@kernel
def directory_bytes(payload: Any, key_at: int, key_bytes: int) -> int:
    """Length of a directory's key without the slashes at its end, which ZooKeeper's paths must not have."""
    while key_bytes > 0 and payload[key_at + key_bytes - 1] == 47:
        key_bytes -= 1
    return key_bytes


@kernel
def submit_operation(client: Any, net: Any, connection: int, slot: int, operation: Any, payload: Any) -> int:
    """Encode one operation that is no transaction: 1 accepted, 0 blocked, negative: -ErrorCode."""
    kind = int(operation["kind"])
    action = action_of(client.known, operation)
    if action < 0:
        return -_UNIMPLEMENTED
    key_at, key_bytes = int(operation["key_at"]), int(operation["key_bytes"])
    value_at, value_bytes = int(operation["value_at"]), int(operation["value_bytes"])
    if kind == RANGE or kind == MAKE_PARENT:
        key_bytes = directory_bytes(payload, key_at, key_bytes)
        value_bytes = 0
    need = jute_requests.CREATE_BYTES + key_bytes + value_bytes
    requests = 1
    if kind == GET:
        need += jute_requests.SYNC_BYTES + key_bytes
        requests = 2
    if need >= min(net.tx_bytes, client.request_bytes_max):
        return -_REQUEST_TOO_LARGE
    state = client.sessions[connection]
    at = write_position(net, state, client.ring_size, connection, need, requests)
    if at < 0:
        return 0
    base, mask = connection * client.ring_size, client.ring_size - 1
    step = int(operation["step"])
    key_index = operation["key_index"]
    if action == CREATE:
        at = jute_requests.put_create(
            net.tx, at, next_xid(state), payload, key_at, key_bytes, payload, value_at, value_bytes, 0
        )
    elif action == SET:
        version = operation["expected"] - 1 if kind == CAS else -1
        at = jute_requests.put_set_data(
            net.tx, at, next_xid(state), payload, key_at, key_bytes, payload, value_at, value_bytes, version
        )
    elif action == DELETE:
        at = jute_requests.put_versioned(net.tx, at, next_xid(state), jute.DELETE, payload, key_at, key_bytes, -1)
    else:
        if kind == GET:
            at = jute_requests.put_sync(net.tx, at, next_xid(state), payload, key_at, key_bytes)
            push(client.ring, base, mask, state, SYNC, slot, kind, step, key_index)
        read = jute.GET_CHILDREN_2 if action == CHILDREN else jute.GET_DATA
        at = jute_requests.put_get(net.tx, at, next_xid(state), read, payload, key_at, key_bytes, 0)
    push(client.ring, base, mask, state, action, slot, kind, step, key_index)
    written(net, connection, at)
    return 1


@kernel
def learn(known: Any, operations: Any, count: int, step: int) -> None:
    """The last attempt of a transaction failed: it created nothing, and taught whether one member's node exists."""
    for i in range(1, count):
        key_index = operations[i]["key_index"]
        if is_known(known, key_index) and known[key_index] == ASSUMED:
            known[key_index] = UNKNOWN
    member = ((step - 1) >> 1) & ((1 << TXN_MEMBER_BITS) - 1)
    if member + 1 < count:
        set_known(known, operations[member + 1]["key_index"], KNOWN if (step - 1) & 1 else UNKNOWN)


@kernel
def submit_multi(client: Any, net: Any, connection: int, slot: int, operations: Any, count: int, payload: Any) -> int:
    """A TXN and its members as one multi: 1 accepted, 0 blocked, negative: -ErrorCode.

    The nodes that it creates are taken to exist from now on, until it is tried again.
    """
    need = jute_requests.MULTI_FRAME_BYTES
    for i in range(1, count):
        need += jute_requests.MULTI_MEMBER_BYTES + int(operations[i]["key_bytes"] + operations[i]["value_bytes"])
    if need >= min(net.tx_bytes, client.request_bytes_max):
        return -_REQUEST_TOO_LARGE
    state = client.sessions[connection]
    start = write_position(net, state, client.ring_size, connection, need, 1)
    if start < 0:
        return 0
    step = int(operations[0]["step"])
    if step > 0:
        learn(client.known, operations, count, step)
    at = jute_requests.put_header(net.tx, start, next_xid(state), jute.MULTI)
    for i in range(1, count):
        member = operations[i]
        key_at, key_bytes = int(member["key_at"]), int(member["key_bytes"])
        value_at, value_bytes = int(member["value_at"]), int(member["value_bytes"])
        exists = is_known(client.known, member["key_index"])
        at = jute_requests.put_multi_header(net.tx, at, jute.SET_DATA if exists else jute.CREATE, 0, -1)
        if exists:
            at = jute_requests.put_set_data_record(
                net.tx, at, payload, key_at, key_bytes, payload, value_at, value_bytes, -1
            )
        else:
            at = jute_requests.put_create_record(
                net.tx, at, payload, key_at, key_bytes, payload, value_at, value_bytes, 0
            )
            set_known(client.known, member["key_index"], ASSUMED)
    at = jute.finish_frame(net.tx, start, jute_requests.put_multi_end(net.tx, at))
    base, mask = connection * client.ring_size, client.ring_size - 1
    push(client.ring, base, mask, state, MULTI, slot, TXN, step, count - 1)
    written(net, connection, at)
    return 1
