"""Put and DeleteRange, on their own or within a transaction: what they refuse, what they change, what they answer."""

from typing import Any

from kvbench.jit import kernel
from kvbench.ops.status import StoreError
from kvbench.store import changes, queries
from kvbench.store.attachments import find_lease
from kvbench.store.key_values import (
    header_bytes,
    key_value_bytes,
    write_header,
    write_inner_header,
    write_key_value,
)
from kvbench.store.layout import is_deleted as key_is_deleted
from kvbench.store.layout import key_of, lease_of, newest_of, reference_at, value_at, value_bytes
from kvbench.store.records import NO_ROOM, NONE, OUT_OF_MEMORY
from kvbench.wire.etcd_requests import DELETE_BYTES, DELETE_NUMBERS, PUT_BYTES, PUT_NUMBERS
from kvbench.wire.protobuf import (
    ENDS,
    STARTS,
    message_field_bytes,
    read_message,
    varint_field_bytes,
    write_length,
    write_varint_field,
)

BAD_REQUEST = int(StoreError.BAD_REQUEST)
KEY_NOT_FOUND = int(StoreError.KEY_NOT_FOUND)
LEASE_NOT_FOUND = int(StoreError.LEASE_NOT_FOUND)

LEASE, PREV_KV, IGNORE_VALUE, IGNORE_LEASE = 3, 4, 5, 6
"""Fields of PutRequest; its key is 1, its value 2."""
DELETE_PREV_KV = 3
PREVIOUS_KV, DELETED, PREVIOUS_KVS = 2, 2, 3
"""Fields of PutResponse, and of DeleteRangeResponse."""
TOMBSTONE_BYTES = 24
"""More than a deletion takes, history included."""


@kernel
def live_version(store: Any, buf: Any, at: int, size: int) -> int:
    """The version that ``buf[at : at + size]`` has now, 0 when there is no such key."""
    key = changes.find_key(store, buf, at, size)
    return 0 if key == 0 or key_is_deleted(store.arena, key) else newest_of(store.arena, key)


@kernel
def read_put(store: Any, buf: Any, at: int, end: int) -> int:
    """Read the PutRequest ``buf[at:end]`` into ``fields``. Returns 0 or BAD_REQUEST."""
    code = read_message(buf, at, end, PUT_NUMBERS, PUT_BYTES, store.state[0]["fields"])
    return BAD_REQUEST if code < 0 else 0


@kernel
def check_put(store: Any, buf: Any, at: int, end: int) -> int:
    """Read a PutRequest into ``fields``. Returns 0, or why it cannot be done in this state."""
    fields = store.state[0]["fields"]
    if read_put(store, buf, at, end) < 0:
        return BAD_REQUEST
    if fields[LEASE] != 0 and find_lease(store, fields[LEASE]) == NONE:
        return LEASE_NOT_FOUND
    if fields[IGNORE_VALUE] != 0 or fields[IGNORE_LEASE] != 0:
        key_at = fields[STARTS + 1]
        if live_version(store, buf, key_at, fields[ENDS + 1] - key_at) == 0:
            return KEY_NOT_FOUND
    return 0


@kernel
def put(store: Any, buf: Any, out: Any, to: int, limit: int, inner: bool) -> int:
    """Do the PutRequest that stands in ``fields``. Returns its response's end, NO_ROOM or OUT_OF_MEMORY.

    NO_ROOM: it is done all the same.
    """
    state, arena = store.state[0], store.arena
    fields = state["fields"]
    key_at, value_from = fields[STARTS + 1], fields[STARTS + 2]
    key_size, value_size = fields[ENDS + 1] - key_at, fields[ENDS + 2] - value_from
    if not changes.has_room(store, key_size + value_size):
        return OUT_OF_MEMORY
    key = changes.find_or_make_key(store, buf, key_at, key_size)
    if key == 0:
        return OUT_OF_MEMORY
    newest = newest_of(arena, key)
    previous = 0 if newest == 0 or key_is_deleted(arena, key) else newest
    lease_id = lease_of(arena, previous) if fields[IGNORE_LEASE] != 0 else fields[LEASE]
    slot = NONE if lease_id == 0 else find_lease(store, lease_id)
    if fields[IGNORE_VALUE] != 0:
        if not changes.has_room(store, value_bytes(arena, previous)):
            return OUT_OF_MEMORY
        code = changes.put(store, key, arena, value_at(arena, previous), value_bytes(arena, previous), slot)
    else:
        code = changes.put(store, key, buf, value_from, value_size, slot)
    if code < 0:
        return code
    return write_put_response(store, previous if fields[PREV_KV] != 0 else 0, out, to, limit, inner)


@kernel
def write_put_response(store: Any, previous: int, out: Any, to: int, limit: int, inner: bool) -> int:
    """The PutResponse, with the version before if it is not 0. Returns its end, or NO_ROOM."""
    arena, now = store.arena, int(store.state[0]["now"])
    size = 0 if previous == 0 else key_value_bytes(arena, previous, 0)
    if header_bytes(store, now) + message_field_bytes(size) > limit - to:
        return NO_ROOM
    to = write_inner_header(out, to, now) if inner else write_header(store, out, to, now)
    if previous != 0:
        to = write_length(out, to, PREVIOUS_KV, size)
        to = write_key_value(arena, previous, 0, out, to)
    return to


@kernel
def read_delete(store: Any, buf: Any, at: int, end: int) -> int:
    """Read a DeleteRangeRequest: its range into QUERY, prev_kv into ``fields``. Returns 0 or BAD_REQUEST."""
    fields = store.state[0]["fields"]
    if read_message(buf, at, end, DELETE_NUMBERS, DELETE_BYTES, fields) < 0:
        return BAD_REQUEST
    starts, ends = STARTS, ENDS
    queries.set_extent(store.query[0], buf, fields[starts + 1], fields[ends + 1], fields[starts + 2], fields[ends + 2])
    return 0


@kernel
def delete_range(store: Any, buf: Any, out: Any, to: int, limit: int, inner: bool) -> int:
    """Do what ``read_delete`` read. Returns its response's end, NO_ROOM (it is done all the same) or OUT_OF_MEMORY."""
    state, arena, query = store.state[0], store.arena, store.query[0]
    queries.collect(store, buf, int(state["now"]), len(store.found) >> 1)
    if not changes.has_room(store, int(query["found"]) * TOMBSTONE_BYTES):
        return OUT_OF_MEMORY
    for position in range(query["found"]):
        code = changes.delete(store, key_of(arena, reference_at(store.found, position)))
        if code < 0:
            return code
    return write_delete_response(store, state["fields"][DELETE_PREV_KV] != 0, out, to, limit, inner)


@kernel
def write_delete_response(store: Any, with_previous: bool, out: Any, to: int, limit: int, inner: bool) -> int:
    """The DeleteRangeResponse for the versions in ``found``. Returns its end, or NO_ROOM."""
    arena, found, now = store.arena, store.found, int(store.state[0]["now"])
    count = int(store.query[0]["found"])
    size = header_bytes(store, now) + varint_field_bytes(count)
    if with_previous:
        for position in range(count):
            size += message_field_bytes(key_value_bytes(arena, reference_at(found, position), 0))
    if size > limit - to:
        return NO_ROOM
    to = write_inner_header(out, to, now) if inner else write_header(store, out, to, now)
    to = write_varint_field(out, to, DELETED, count)
    if with_previous:
        for position in range(count):
            version = reference_at(found, position)
            to = write_length(out, to, PREVIOUS_KVS, key_value_bytes(arena, version, 0))
            to = write_key_value(arena, version, 0, out, to)
    return to
