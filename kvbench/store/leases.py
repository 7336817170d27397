"""Leases: granting, revoking, and what there is to say of them. When one is due is not known here."""

from typing import Any

from kvbench.jit import kernel
from kvbench.ops import entries
from kvbench.ops.status import StoreError
from kvbench.store import changes, sorting
from kvbench.store.attachments import attached_key, find_lease, next_attachment
from kvbench.store.key_values import header_bytes, write_header
from kvbench.store.layout import key_at, key_bytes, reference_at
from kvbench.store.records import NO_ROOM, NONE, OUT_OF_MEMORY, lease_bucket
from kvbench.store.writes import TOMBSTONE_BYTES
from kvbench.wire import etcd_methods
from kvbench.wire.etcd_requests import LEASE_NUMBERS
from kvbench.wire.protobuf import (
    message_field_bytes,
    read_message,
    varint_field_bytes,
    write_bytes_field,
    write_length,
    write_varint_field,
)

BAD_REQUEST = int(StoreError.BAD_REQUEST)
LEASE_EXISTS = int(StoreError.LEASE_EXISTS)
LEASE_NOT_FOUND = int(StoreError.LEASE_NOT_FOUND)
LEASE_TTL_TOO_LARGE = int(StoreError.LEASE_TTL_TOO_LARGE)
TOO_MANY_REQUESTS = int(StoreError.TOO_MANY_REQUESTS)

TTL_MAX_S = 9_000_000_000
"""etcd's limit."""
RESPONSE_BYTES_MAX = 128
"""Of responses with a lease's numbers alone."""
ID, TTL, GRANTED_TTL, KEYS = 2, 3, 4, 5
"""Fields of responses."""
LEASES = 2


@kernel
def find(store: Any, lease_id: int) -> int:
    """The slot of a lease, NONE when there is no such lease."""
    return find_lease(store, lease_id)


@kernel
def lease_id_of(store: Any, method: int, buf: Any, at: int, end: int) -> int:
    """The lease that a request about one names, 0: none (or the request is no message)."""
    fields = store.state[0]["fields"]
    if read_message(buf, at, end, LEASE_NUMBERS, 0, fields) < 0:
        return 0
    return int(fields[2] if method == etcd_methods.LEASE_GRANT else fields[1])


@kernel
def grant(store: Any, buf: Any, at: int, start: int, end: int, out: Any, to: int, limit: int) -> int:
    """Do the LeaseGrantRequest ``buf[start:end]`` of the entry at ``at``. Returns its response's end or a code."""
    state, fields = store.state[0], store.state[0]["fields"]
    if read_message(buf, start, end, LEASE_NUMBERS, 0, fields) < 0:
        return BAD_REQUEST
    ttl_s = max(int(fields[1]), int(state["lease_ttl_min_s"]))
    lease_id = int(fields[2])
    if lease_id == 0:
        lease_id = entries.lease_of(buf, at)
    if lease_id == 0:
        return LEASE_NOT_FOUND
    if fields[1] > TTL_MAX_S:
        return LEASE_TTL_TOO_LARGE
    if find_lease(store, lease_id) != NONE:
        return LEASE_EXISTS
    slot = add_lease(store, lease_id, ttl_s)
    if slot == NONE:
        return TOO_MANY_REQUESTS
    state["lease_slot"] = slot
    if limit - to < RESPONSE_BYTES_MAX:
        return NO_ROOM
    to = write_header(store, out, to, int(state["now"]))
    to = write_varint_field(out, to, ID, lease_id)
    return write_varint_field(out, to, TTL, ttl_s)


@kernel
def add_lease(store: Any, lease_id: int, ttl_s: int) -> int:
    """Enter a lease that is not there. Returns its slot, NONE when the table is full."""
    state, leases = store.state[0], store.leases
    slot = int(state["lease_free"])
    if slot != NONE:
        state["lease_free"] = leases[slot]["next"]
    else:
        slot = int(state["lease_top"])
        if slot == len(leases):
            return NONE
        state["lease_top"] = slot + 1
    head = leases[lease_bucket(store, lease_id)]
    lease = leases[slot]
    lease["id"] = lease_id
    lease["ttl_s"] = ttl_s
    lease["keys"] = 0
    lease["first"] = 0
    lease["next"] = head["bucket"] - 1
    head["bucket"] = slot + 1
    state["leases"] += 1
    return slot


@kernel
def _remove_lease(store: Any, slot: int) -> None:
    """Take out a lease that no key is attached to."""
    state, leases = store.state[0], store.leases
    head = leases[lease_bucket(store, int(leases[slot]["id"]))]
    if head["bucket"] - 1 == slot:
        head["bucket"] = leases[slot]["next"] + 1
    else:
        before = int(head["bucket"]) - 1
        while leases[before]["next"] != slot:
            before = int(leases[before]["next"])
        leases[before]["next"] = leases[slot]["next"]
    leases[slot]["id"] = 0
    leases[slot]["next"] = state["lease_free"]
    state["lease_free"] = slot
    state["leases"] -= 1


@kernel
def _list_keys(store: Any, slot: int) -> int:
    """Put the keys of a lease into ``found``, in order. Returns their number."""
    attachment = int(store.leases[slot]["first"])
    count = 0
    while attachment != 0:
        store.found[count] = attached_key(store, attachment)
        count += 1
        attachment = next_attachment(store, attachment)
    sorting.sort(store, count, sorting.KEYS, False)
    return count


@kernel
def revoke(store: Any, buf: Any, start: int, end: int, out: Any, to: int, limit: int) -> int:
    """Do the LeaseRevokeRequest ``buf[start:end]``: all its keys go at once. Returns its response's end or a code."""
    state = store.state[0]
    if read_message(buf, start, end, LEASE_NUMBERS, 0, state["fields"]) < 0:
        return BAD_REQUEST
    slot = find_lease(store, state["fields"][1])
    if slot == NONE:
        return LEASE_NOT_FOUND
    count = _list_keys(store, slot)
    if not changes.has_room(store, count * TOMBSTONE_BYTES):
        return OUT_OF_MEMORY
    for position in range(count):
        code = changes.delete(store, reference_at(store.found, position))
        if code < 0:
            return code
    _remove_lease(store, slot)
    state["lease_slot"] = slot
    now = int(state["now"])
    return write_header(store, out, to, now) if header_bytes(store, now) <= limit - to else NO_ROOM


@kernel
def time_to_live(store: Any, buf: Any, at: int, end: int, remaining_s: int, out: Any, to: int, limit: int) -> int:
    """Answer the LeaseTimeToLiveRequest ``buf[at:end]``; a lease that is there has ``remaining_s`` to live.

    Returns the bytes of the response, BAD_REQUEST or NO_ROOM.
    """
    state, arena = store.state[0], store.arena
    if read_message(buf, at, end, LEASE_NUMBERS, 0, state["fields"]) < 0:
        return BAD_REQUEST
    lease_id, with_keys = int(state["fields"][1]), state["fields"][2] != 0
    slot = find_lease(store, lease_id)
    count = _list_keys(store, slot) if slot != NONE and with_keys else 0
    size = RESPONSE_BYTES_MAX
    for position in range(count):
        size += message_field_bytes(key_bytes(arena, reference_at(store.found, position)))
    if size > limit - to:
        state["wanted_bytes"] = size
        return NO_ROOM
    start = to
    to = write_header(store, out, to, int(state["revision"]))
    to = write_varint_field(out, to, ID, lease_id)
    if slot == NONE:
        return write_varint_field(out, to, TTL, -1) - start
    to = write_varint_field(out, to, TTL, remaining_s)
    to = write_varint_field(out, to, GRANTED_TTL, int(store.leases[slot]["ttl_s"]))
    for position in range(count):
        key = reference_at(store.found, position)
        to = write_bytes_field(out, to, KEYS, arena, key_at(arena, key), key_bytes(arena, key))
    return to - start


@kernel
def list_slots(store: Any) -> int:
    """Put the slots of all leases into ``found``. Returns their number."""
    count = 0
    for slot in range(store.state[0]["lease_top"]):
        if store.leases[slot]["id"] != 0:
            store.found[count] = slot
            count += 1
    return count


@kernel
def lease_list(store: Any, count: int, out: Any, to: int, limit: int) -> int:
    """Write a LeaseLeasesResponse of the ``count`` slots in ``found``. Returns its bytes or NO_ROOM."""
    state, leases = store.state[0], store.leases
    size = RESPONSE_BYTES_MAX
    for position in range(count):
        size += message_field_bytes(varint_field_bytes(int(leases[reference_at(store.found, position)]["id"])))
    if size > limit - to:
        state["wanted_bytes"] = size
        return NO_ROOM
    start = to
    to = write_header(store, out, to, int(state["revision"]))
    for position in range(count):
        lease_id = int(leases[reference_at(store.found, position)]["id"])
        to = write_length(out, to, LEASES, varint_field_bytes(lease_id))
        to = write_varint_field(out, to, 1, lease_id)
    return to - start


@kernel
def write_keep_alive(store: Any, lease_id: int, ttl_s: int, out: Any, to: int) -> int:
    """A LeaseKeepAliveResponse (at most RESPONSE_BYTES_MAX); ttl 0: there is no such lease. Returns its bytes."""
    start = to
    to = write_header(store, out, to, int(store.state[0]["revision"]))
    to = write_varint_field(out, to, ID, lease_id)
    return write_varint_field(out, to, TTL, ttl_s) - start
