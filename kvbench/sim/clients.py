"""Clients of the simulated cluster: what they ask for, and what they make of the answers.

Most operations are on a few registers and go into the history that ``check`` judges. A client also keeps a lease at
times, with a key of its own that is in no history: it has to be there as long as the lease is kept alive, and has to
go when it is not.
"""

from enum import IntEnum
from typing import Any

from kvbench.jit import kernel
from kvbench.ops.history import ABSENT, CAS, DELETE, FAILED, NEVER, OK, READ, UNKNOWN, WRITE
from kvbench.rt.buffer import fill, load_le64, store_le64
from kvbench.sim.agenda import chance, draw
from kvbench.sim.records import Failure, Met
from kvbench.wire import etcd_methods, etcd_requests, etcd_responses
from kvbench.wire.protobuf import COUNTS, ENDS, STARTS, read_message, write_length, write_varint_field

UNKNOWN_OUTCOME, CLOCK_STEP = int(Met.UNKNOWN_OUTCOME), int(Met.CLOCK_STEP)
BAD_ANSWER, LEASE_LOST = int(Failure.BAD_ANSWER), int(Failure.LEASE_LOST)


class Wish(IntEnum):
    """What a client's operation is for."""

    NOTHING = 0
    PUT = 1
    GET = 2
    DELETE = 3
    COMPARE = 4
    """Put, if the key holds what the client saw last."""
    COMPACT = 5
    GRANT = 6
    ATTACH = 7
    """Put the client's own key with its lease."""
    KEEP = 8
    LOOK = 9
    """Get the client's own key."""
    REVOKE = 10


PUT, GET, DELETE_KEY, COMPARE, COMPACT = 1, 2, 3, 4, 5
GRANT, ATTACH, KEEP, LOOK, REVOKE = 6, 7, 8, 9, 10
KEY_AT, VALUE_AT, OLD_AT, REQUEST_AT = 0, 64, 4096, 8192
"""Where keys, values and requests are put together in ``world.scratch``."""
KEY_BYTES = 3
VALUE_BYTES_MAX = 400
TTL_S = 3


@kernel
def write_key(world: Any, letter: int, number: int) -> None:
    """A key: the letter k for registers, l for keys with leases, and two digits."""
    world.scratch[KEY_AT] = letter
    world.scratch[KEY_AT + 1] = 48 + number // 10
    world.scratch[KEY_AT + 2] = 48 + number % 10


@kernel
def write_value(world: Any, value: int) -> int:
    """A value that holds a number, of random length. Returns its length."""
    size = 8 + draw(world.state[0], VALUE_BYTES_MAX - 8)
    fill(world.scratch, VALUE_AT, size, int(value) & 255)
    store_le64(world.scratch, VALUE_AT, value)
    return size


@kernel
def choose(world: Any, client: Any) -> int:
    """What a client does next: a Wish."""
    state = world.state[0]
    options = state["options"]
    if client["lease_stage"] != 0:
        return next_with_lease(world, client)
    if options["leases"] == 1 and state["healed"] == 0 and chance(state, 60):
        return GRANT
    if options["compactions"] == 1 and chance(state, 30):
        return COMPACT
    dice = draw(state, 100)
    if dice < 40:
        return GET
    if dice < 75:
        return PUT
    return DELETE_KEY if dice < 83 else COMPARE


@kernel
def next_with_lease(world: Any, client: Any) -> int:
    """The course of a lease: granted, attached, kept and looked at for a while, then revoked or left to expire."""
    stage = int(client["lease_stage"])
    if stage == 1:
        return ATTACH
    if stage < 8:
        client["lease_stage"] += 1
        return KEEP if stage % 2 == 0 else LOOK
    client["lease_stage"] = 0
    return REVOKE if chance(world.state[0], 400) else GET


@kernel
def method_of(wish: int) -> int:
    """The method that serves a Wish."""
    if wish == PUT or wish == ATTACH:
        return etcd_methods.PUT
    if wish == GET or wish == LOOK:
        return etcd_methods.RANGE
    if wish == DELETE_KEY:
        return etcd_methods.DELETE_RANGE
    if wish == COMPARE:
        return etcd_methods.TXN
    if wish == COMPACT:
        return etcd_methods.COMPACT
    if wish == GRANT:
        return etcd_methods.LEASE_GRANT
    return etcd_methods.LEASE_KEEP_ALIVE if wish == KEEP else etcd_methods.LEASE_REVOKE


@kernel
def new_row(world: Any, number: int, wish: int) -> int:
    """The history's record of a register's operation that begins now."""
    state, client = world.state[0], world.clients[number]
    row = int(state["operations"])
    entry = world.history[row]
    entry["invoked"], entry["returned"] = state["now_ns"], NEVER
    entry["key"], entry["client"], entry["member"] = client["key"], number, client["member"]
    entry["value"], entry["expected"], entry["revision"], entry["found_revision"] = ABSENT, 0, 0, 0
    entry["seen"] = UNKNOWN
    entry["act"] = READ
    if wish == DELETE_KEY:
        entry["act"] = DELETE
    elif wish == PUT or wish == COMPARE:
        entry["act"] = WRITE if wish == PUT else CAS
        state["values"] += 1
        entry["value"] = state["values"]
    state["operations"] = row + 1
    return row


@kernel
def write_request(world: Any, client: Any, number: int, wish: int, row: int) -> int:
    """The request of an operation, in ``world.scratch`` from REQUEST_AT on. Returns where it ends."""
    buf, to, lease = world.scratch, REQUEST_AT, int(client["lease_id"])
    write_key(world, 108 if wish >= GRANT else 107, number if wish >= GRANT else int(client["key"]))
    if wish == PUT:
        size = write_value(world, int(world.history[row]["value"]))
        return int(etcd_requests.write_put(buf, to, buf, KEY_AT, KEY_BYTES, VALUE_AT, size, 0))
    if wish == ATTACH:
        return int(etcd_requests.write_put(buf, to, buf, KEY_AT, KEY_BYTES, VALUE_AT, write_value(world, 1), lease))
    if wish == GET or wish == LOOK:
        return int(etcd_requests.write_range(buf, to, buf, KEY_AT, KEY_BYTES, 0, 0, 0, 0, 0))
    if wish == DELETE_KEY:
        return int(etcd_requests.write_delete(buf, to, buf, KEY_AT, KEY_BYTES, 0, 0))
    if wish == COMPACT:
        return int(write_varint_field(buf, to, 1, int(client["revision"])))
    if wish == GRANT:
        return int(etcd_requests.write_lease_grant(buf, to, TTL_S, 0))
    if wish == KEEP or wish == REVOKE:
        return int(etcd_requests.write_lease(buf, to, lease))
    return write_compare(world, client, row)


@kernel
def write_compare(world: Any, client: Any, row: int) -> int:
    """A transaction: if the key's value is the one seen last, put, else get. Returns where it ends."""
    buf, to = world.scratch, REQUEST_AT
    entry = world.history[row]
    entry["expected"] = client["seen_value"]
    old_bytes = int(client["seen_bytes"])
    fill(buf, OLD_AT, old_bytes, int(client["seen_value"]) & 255)
    store_le64(buf, OLD_AT, int(client["seen_value"]))
    size = etcd_requests.compare_bytes(etcd_requests.VALUE, etcd_requests.EQUAL, KEY_BYTES, old_bytes)
    to = write_length(buf, to, 1, size)
    to = etcd_requests.write_compare(
        buf, to, etcd_requests.VALUE, etcd_requests.EQUAL, buf, KEY_AT, KEY_BYTES, old_bytes, OLD_AT
    )
    value_bytes = write_value(world, int(entry["value"]))
    size = etcd_requests.put_bytes(KEY_BYTES, value_bytes, 0)
    to = etcd_requests.write_operation(buf, to, etcd_requests.SUCCESS, etcd_requests.OP_PUT, size)
    to = etcd_requests.write_put(buf, to, buf, KEY_AT, KEY_BYTES, VALUE_AT, value_bytes, 0)
    size = etcd_requests.range_bytes(KEY_BYTES, 0, 0, 0, 0)
    to = etcd_requests.write_operation(buf, to, etcd_requests.FAILURE, etcd_requests.OP_RANGE, size)
    return int(etcd_requests.write_range(buf, to, buf, KEY_AT, KEY_BYTES, 0, 0, 0, 0, 0))


@kernel
def begin_operation(world: Any, number: int, member: int) -> int:
    """A client's next operation, asked of ``member``. Returns where its request ends; ``client`` says the method."""
    state, client = world.state[0], world.clients[number]
    wish = choose(world, client)
    client["key"] = draw(state, int(state["options"]["keys"]))
    if wish == COMPARE and (client["seen_key"] != client["key"] or client["seen_value"] == ABSENT):
        wish = GET
    if wish == COMPACT and client["revision"] == 0:
        wish = GET
    client["wish"], client["method"], client["member"] = wish, method_of(wish), member
    client["began_ns"] = state["now_ns"]
    if wish == COMPACT:
        state["compacted"] = max(int(state["compacted"]), int(client["revision"]))
    client["row"] = new_row(world, number, wish) if wish <= COMPARE else -1
    return write_request(world, client, number, wish, int(client["row"]))


@kernel
def take_back(world: Any, number: int) -> None:
    """The member was too busy to take the operation: it never was."""
    client = world.clients[number]
    if client["row"] >= 0:
        world.history[client["row"]]["seen"] = FAILED
    client["wish"] = 0


@kernel
def end_unknown(world: Any, number: int) -> None:
    """No answer, or one that does not say: the operation may have had its effect."""
    state, client = world.state[0], world.clients[number]
    state["met"][UNKNOWN_OUTCOME] += 1
    if client["wish"] == GRANT or client["wish"] == ATTACH:
        client["lease_stage"] = 0
    client["wish"] = 0


@kernel
def end_refused(world: Any, number: int) -> None:
    """A definite no: the operation had no effect."""
    client = world.clients[number]
    if client["row"] >= 0:
        world.history[client["row"]]["seen"] = FAILED
    if client["wish"] >= GRANT:
        client["lease_stage"] = 0
    client["wish"] = 0


@kernel
def read_found(world: Any, buf: Any, client: Any) -> int:
    """What the RangeResponse in ``world.fields`` found: its key's value, seen by the client. Returns 0 or an error."""
    fields = world.fields
    client["found_value"], client["found_revision"], client["found_bytes"] = ABSENT, 0, 0
    if fields[COUNTS + 2] == 0:
        return 0
    start, end = int(fields[STARTS + 2]), int(fields[ENDS + 2])
    numbers, contents = etcd_responses.KEY_VALUE_NUMBERS, etcd_responses.KEY_VALUE_BYTES
    result = read_message(buf, start, end, numbers, contents, fields)
    if result < 0 or fields[ENDS + 5] - fields[STARTS + 5] < 8:
        return -1
    client["found_value"] = load_le64(buf, int(fields[STARTS + 5]))
    client["found_bytes"] = fields[ENDS + 5] - fields[STARTS + 5]
    client["found_revision"] = fields[3]
    return 0


@kernel
def open_compare(world: Any, buf: Any) -> int:
    """A TxnResponse was read: go on to the RangeResponse of its failure branch. Returns 0 or an error."""
    fields = world.fields
    start, end = int(fields[STARTS + 3]), int(fields[ENDS + 3])
    if read_message(buf, start, end, 0, 0b10, fields) < 0 or fields[COUNTS + 1] == 0:
        return -1
    start, end = int(fields[STARTS + 1]), int(fields[ENDS + 1])
    return int(read_message(buf, start, end, etcd_responses.ANY_NUMBERS, etcd_responses.ANY_BYTES, fields))


@kernel
def record_answer(world: Any, client: Any, buf: Any, entry: Any) -> int:
    """Complete the history's record of an operation on a register from its response. Returns 0 or an error."""
    fields, wish = world.fields, int(client["wish"])
    entry["seen"], entry["returned"], entry["revision"] = OK, world.state[0]["now_ns"], client["revision"]
    if wish == DELETE_KEY and fields[2] == 0:
        entry["act"] = READ  # it found nothing, which is what a read would have seen
    if wish == COMPARE and fields[2] == 0:
        entry["act"], entry["value"] = READ, ABSENT
        if open_compare(world, buf) < 0:
            return -1
    if wish == GET or (wish == COMPARE and entry["act"] == READ):
        if read_found(world, buf, client) < 0:
            return -1
        entry["value"], entry["found_revision"] = client["found_value"], client["found_revision"]
        client["seen_key"], client["seen_value"] = client["key"], client["found_value"]
        client["seen_bytes"] = client["found_bytes"]
        if wish == COMPARE and entry["value"] == entry["expected"]:
            return -1  # refused although it holds what was expected
    return 0


@kernel
def record_lease(world: Any, client: Any, buf: Any) -> int:
    """What an answer means for the client's lease. Returns 0, BAD_ANSWER or LEASE_LOST."""
    fields, wish, now = world.fields, int(client["wish"]), int(world.state[0]["now_ns"])
    if wish == GRANT:
        client["lease_id"], client["lease_stage"], client["lease_ns"] = fields[2], 1, client["began_ns"]
        return 0 if fields[2] != 0 else BAD_ANSWER
    if wish == ATTACH:
        client["lease_stage"] = 2
        return 0
    alive = now < client["lease_ns"] + TTL_S * 1_000_000_000 and world.state[0]["met"][CLOCK_STEP] == 0
    if wish == KEEP:
        if fields[3] > 0:
            client["lease_ns"] = client["began_ns"]
            return 0
        client["lease_stage"] = 0
        return LEASE_LOST if alive else 0
    if wish == LOOK:
        if read_found(world, buf, client) < 0:
            return BAD_ANSWER
        return LEASE_LOST if alive and client["found_value"] == ABSENT else 0
    return 0


@kernel
def end_answered(world: Any, number: int, buf: Any, at: int, end: int) -> int:
    """A response ``buf[at:end]`` came. Returns 0, or a Failure: it cannot be right."""
    client, fields = world.clients[number], world.fields
    wish = int(client["wish"])
    numbers, contents = etcd_responses.ANY_NUMBERS, etcd_responses.ANY_BYTES
    if wish == GRANT or wish == KEEP or wish == REVOKE:
        numbers, contents = etcd_responses.LEASE_NUMBERS, etcd_responses.LEASE_BYTES
    elif wish == DELETE_KEY or wish == COMPARE:
        numbers, contents = etcd_responses.COUNTED_NUMBERS, etcd_responses.COUNTED_BYTES
    result = read_message(buf, at, end, numbers, contents, fields)
    if result >= 0:
        result = int(etcd_responses.header_revision(buf, fields))
    if result <= 0:
        return BAD_ANSWER
    client["revision"] = result
    failure = 0
    if client["row"] >= 0:
        failure = BAD_ANSWER if record_answer(world, client, buf, world.history[client["row"]]) < 0 else 0
    elif wish >= GRANT:
        failure = record_lease(world, client, buf)
    client["wish"] = 0
    client["done"] += 1
    return failure
