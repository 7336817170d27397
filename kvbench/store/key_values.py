"""What versions say to clients: the headers and KeyValue messages of responses, byte for byte as etcd writes them."""

from typing import Any

from kvbench.jit import kernel
from kvbench.rt.buffer import copy
from kvbench.store.layout import (
    COUNTED,
    LEASED,
    create_of,
    flags_of,
    is_deleted,
    is_tombstone,
    key_at,
    key_bytes,
    key_of,
    lease_of,
    mod_of,
    newest_of,
    number_of,
    previous_of,
    value_at,
    value_bytes,
)
from kvbench.wire.protobuf import (
    bytes_field_bytes,
    message_field_bytes,
    varint_field_bytes,
    write_bytes_field,
    write_length,
    write_varint_field,
)

HEADER = 1
"""Field number of the header in every response."""
KEYS_ONLY, KEYS_AND_LEASES = 1, 2
"""What to leave out of a KeyValue: value and lease, or the value."""


@kernel
def header_bytes(store: Any, revision: int) -> int:
    """Length of a response's header with its tag."""
    state = store.state[0]
    size = int(state["header_bytes"]) + varint_field_bytes(revision) + varint_field_bytes(int(state["raft_term"]))
    return message_field_bytes(size)


@kernel
def write_header(store: Any, out: Any, to: int, revision: int) -> int:
    """A response's header: this member, its cluster and term, and a revision."""
    state = store.state[0]
    fixed, term = int(state["header_bytes"]), int(state["raft_term"])
    to = write_length(out, to, HEADER, fixed + varint_field_bytes(revision) + varint_field_bytes(term))
    copy(out, to, state["header"], 0, fixed)
    to = write_varint_field(out, to + fixed, 3, revision)
    return write_varint_field(out, to, 4, term)


@kernel
def write_inner_header(out: Any, to: int, revision: int) -> int:
    """The header of a response within a transaction's: a revision alone."""
    to = write_length(out, to, HEADER, varint_field_bytes(revision))
    return write_varint_field(out, to, 3, revision)


@kernel
def visible(store: Any, key: int, revision: int) -> int:
    """The version of a key that a read at a revision sees, 0 when it sees none. ``revision`` is not compacted."""
    arena = store.arena
    version = newest_of(arena, key)
    if revision >= store.state[0]["now"]:
        return 0 if is_deleted(arena, key) else version
    while version != 0 and mod_of(arena, version) > revision:
        version = previous_of(arena, version)
    return 0 if version == 0 or is_tombstone(arena, version) else version


@kernel
def key_value_bytes(arena: Any, version: int, keys_only: int) -> int:
    """Length of the KeyValue of a version that is no deletion, whole or as KEYS_ONLY or KEYS_AND_LEASES say."""
    flags = flags_of(arena, version)
    mod = varint_field_bytes(mod_of(arena, version))
    size = bytes_field_bytes(key_bytes(arena, key_of(arena, version))) + mod
    if flags & COUNTED:
        size += varint_field_bytes(create_of(arena, version)) + varint_field_bytes(number_of(arena, version))
    else:
        size += mod + 2
    if keys_only == 0:
        size += bytes_field_bytes(value_bytes(arena, version))
    if keys_only != KEYS_ONLY and flags & LEASED:
        size += varint_field_bytes(lease_of(arena, version))
    return size


@kernel
def write_key_value(arena: Any, version: int, keys_only: int, out: Any, to: int) -> int:
    """The KeyValue of a version that is no deletion, as ``key_value_bytes`` has measured it."""
    key = key_of(arena, version)
    to = write_bytes_field(out, to, 1, arena, key_at(arena, key), key_bytes(arena, key))
    to = write_varint_field(out, to, 2, create_of(arena, version))
    to = write_varint_field(out, to, 3, mod_of(arena, version))
    to = write_varint_field(out, to, 4, number_of(arena, version))
    if keys_only == 0:
        to = write_bytes_field(out, to, 5, arena, value_at(arena, version), value_bytes(arena, version))
    return to if keys_only == KEYS_ONLY else write_varint_field(out, to, 6, lease_of(arena, version))
