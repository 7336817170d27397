"""Which request is next, and its bytes: from (seed, index) to OPERATION records and a payload."""

from typing import Any

from kvbench.client.dispatch import ETCD
from kvbench.jit import kernel
from kvbench.load import keys, mix, values
from kvbench.ops.kinds import Kind

PUT, RANGE, CAS, TXN, WATCH = int(Kind.PUT), int(Kind.RANGE), int(Kind.CAS), int(Kind.TXN), int(Kind.WATCH)
INSERT, READ_MODIFY_WRITE = int(Kind.INSERT), int(Kind.READ_MODIFY_WRITE)
LEASE_GRANT, LEASE_KEEP_ALIVE = int(Kind.LEASE_GRANT), int(Kind.LEASE_KEEP_ALIVE)
LEASE_REVOKE, MAKE_PARENT = int(Kind.LEASE_REVOKE), int(Kind.MAKE_PARENT)


@kernel
def position_of(kinds: Any, kind: int) -> int:
    """Where ``kind`` stands in the mix; 0 if it does not."""
    for position in range(len(kinds)):
        if kinds[position] == kind:
            return position
    return 0


@kernel
def lease_operation(kinds: Any, operation: int, lease_id: int) -> int:
    """The lease operation that a client can do now: it grants when it holds none, and never holds two."""
    kind = kinds[operation]
    if lease_id == 0 and kind != LEASE_GRANT:
        return position_of(kinds, LEASE_GRANT)
    if lease_id != 0 and kind == LEASE_GRANT:
        return position_of(kinds, LEASE_KEEP_ALIVE)
    return operation


@kernel
def choose(loop: Any, choices: Any, slot: int, scheduled_ns: int) -> None:
    """Fill ``requests[slot]`` with the next request of this share: operation, key, index."""
    phase = loop.phase[0]
    request = loop.requests[slot]
    index = int(phase["index"])
    phase["index"] += phase["shares"]
    operation = mix.choose(choices.mix, index)
    kind = choices.mix.kinds[operation]
    if LEASE_GRANT <= kind <= LEASE_REVOKE:
        operation = lease_operation(choices.mix.kinds, operation, int(request["lease_id"]))
        kind = choices.mix.kinds[operation]
    if kind == INSERT:
        key_index = phase["insert_base"] + phase["inserted"] * phase["shares"] + phase["share"]
        phase["inserted"] += 1
    elif kind == MAKE_PARENT:
        key_index = index
    else:
        exist = phase["insert_base"] + phase["inserted"] * phase["shares"]
        inserted = max(exist - int(choices.keyspace.fields[0]["count"]), 0)
        key_index = keys.choose(choices.keyspace, index, inserted)
    request["scheduled_ns"] = scheduled_ns
    request["sent_ns"] = 0
    request["index"] = index
    request["key_index"] = key_index
    request["expected"] = 0
    request["operation"] = operation
    request["kind"] = kind
    request["step"] = 0


@kernel
def writes_value(kind: int, step: int) -> bool:
    """Whether this step of an operation carries a value."""
    if kind == CAS or kind == READ_MODIFY_WRITE:
        return step > 0
    return kind == PUT or kind == INSERT or kind == TXN


@kernel
def touch(touched: Any, key_index: int) -> None:
    """Remember that a key was written."""
    if key_index < len(touched):
        touched[key_index] = 1


@kernel
def add_key(loop: Any, choices: Any, member: int, key_index: int, at: int) -> int:
    """Write the key of ``operations[member]`` at ``at``. Returns where the payload goes on."""
    operation = loop.operations[member]
    length = keys.write_key(choices.keyspace, key_index, loop.payload, at)
    operation["key_index"] = key_index
    operation["key_at"] = at
    operation["key_bytes"] = length
    operation["value_bytes"] = 0
    return at + length


@kernel
def add_value(loop: Any, choices: Any, member: int, stream: int, index: int, at: int, now: int) -> int:
    """Write a fresh value for ``operations[member]``, stamped with the send time. Returns where the payload goes on."""
    operation = loop.operations[member]
    length = values.write_value(choices.values, stream, index, loop.payload, at)
    if length >= values.STAMP_BYTES:
        values.stamp(loop.payload, at, now)
    operation["value_at"] = at
    operation["value_bytes"] = length
    touch(loop.touched, int(operation["key_index"]))
    return at + length


@kernel
def build_range(loop: Any, choices: Any, key_index: int) -> None:
    """The keys of a range: the directory of ``key_index``, or all keys from it on when there are no directories.

    ZooKeeper, which lists a directory's children, gets the directory's path without its "/".
    """
    operation = loop.operations[0]
    keyspace = choices.keyspace
    directory = keys.directory_of(keyspace, key_index)
    slash = 1 if loop.phase[0]["protocol"] == ETCD else 0
    if slash == 1 and keyspace.fields[0]["fanout"] == 0:
        length = keys.write_key(keyspace, key_index, loop.payload, 0)
    else:
        length = keys.write_directory(keyspace, directory, loop.payload, 0, slash)
    operation["key_index"] = key_index
    operation["key_at"] = 0
    operation["key_bytes"] = length
    operation["end_at"] = length
    operation["end_bytes"] = keys.write_range_end(keyspace, directory, loop.payload, length)
    operation["value_bytes"] = 0


@kernel
def build_directory(loop: Any, choices: Any, directory: int) -> None:
    """The key of a directory, for MAKE_PARENT."""
    operation = loop.operations[0]
    operation["key_index"] = directory
    operation["key_at"] = 0
    operation["key_bytes"] = keys.write_directory(choices.keyspace, directory, loop.payload, 0, 0)
    operation["value_bytes"] = 0


@kernel
def build_transaction(loop: Any, choices: Any, request: Any, members: int, now: int) -> int:
    """TXN: ``members`` puts of neighbouring keys behind the TXN record. Returns the number of records."""
    index = int(request["index"])
    at = add_key(loop, choices, 0, int(request["key_index"]), 0)
    for member in range(1, members + 1):
        operation = loop.operations[member]
        operation["kind"] = PUT
        operation["step"] = 0
        operation["parent"] = 0
        operation["lease_id"] = 0
        key_index = (int(request["key_index"]) + member - 1) % int(choices.keyspace.fields[0]["count"])
        stream = values.seed_key(choices.values, member - 1)
        at = add_key(loop, choices, member, key_index, at)
        at = add_value(loop, choices, member, stream, index, at, now)
    return members + 1


@kernel
def build(loop: Any, choices: Any, slot: int, now: int) -> int:
    """Write ``operations`` and ``payload`` for the current step of a slot's request. Returns the number of records."""
    request = loop.requests[slot]
    operation = loop.operations[0]
    kind = int(request["kind"])
    step = int(request["step"])
    key_index = int(request["key_index"])
    operation["scheduled_ns"] = request["scheduled_ns"]
    operation["index"] = request["index"]
    operation["expected"] = request["expected"]
    operation["lease_id"] = request["lease_id"]
    operation["kind"] = kind
    operation["step"] = step
    operation["parent"] = -1
    if kind != WATCH:
        position = int(request["operation"])
        operation["limit"] = choices.mix.limits[position]
        operation["ttl_s"] = choices.mix.ttls_s[position]
        if kind == TXN:
            return build_transaction(loop, choices, request, choices.mix.keys[position], now)
    if kind == RANGE:
        build_range(loop, choices, key_index)
    elif kind == MAKE_PARENT:
        build_directory(loop, choices, key_index)
    else:
        at = add_key(loop, choices, 0, key_index, 0)
        if writes_value(kind, step):
            add_value(loop, choices, 0, values.seed_key(choices.values, 0), int(request["index"]), at, now)
    return 1
