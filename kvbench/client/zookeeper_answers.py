"""Answers of ZooKeeper to operations, decoded into outcomes.

An outcome's ``revision`` is the node's version plus 1 where the answer tells it (0: no such node), else the zxid.
"""

from typing import Any

from kvbench.client.zookeeper_queue import answered, error_code, finish, put_outcome
from kvbench.client.zookeeper_records import (
    CHILDREN,
    CLOSE,
    CLOSING,
    CREATE,
    DELETE,
    LEASE_CREATE,
    MULTI,
    READ,
    SET,
    SYNC,
    WATCH_EXISTS,
    WATCH_READ,
)
from kvbench.client.zookeeper_requests import (
    CAS,
    INSERT,
    MAKE_PARENT,
    READ_MODIFY_WRITE,
    TXN,
    TXN_MEMBER_BITS,
    set_known,
)
from kvbench.client.zookeeper_session import attach, forget_session, lease_created
from kvbench.client.zookeeper_watch import notified, watch_answered
from kvbench.jit import kernel
from kvbench.ops.errors import ErrorCode
from kvbench.wire import jute, jute_replies

_COMPARE_FAILED = int(ErrorCode.COMPARE_FAILED)
_RESPONSE_TOO_LARGE = int(ErrorCode.RESPONSE_TOO_LARGE)
GUESSES_MAX = 16
"""A put gives up after so many requests that found the node gone, or there, against the last answer."""


@kernel
def create_answered(known: Any, reply: Any, entry: Any, outcomes: Any, count: int) -> int:
    """create: of a put, an insert, a compare-and-swap on a missing node, or a directory."""
    error = int(reply["error"])
    slot, kind, step = int(entry["slot"]), int(entry["kind"]), int(entry["step"])
    if kind == MAKE_PARENT:
        code = 0 if error == jute.ZERR_NODE_EXISTS else error_code(error)
        return put_outcome(outcomes, count, slot, kind, code, 0, 1 if code == 0 else 0, 0)
    if error == 0:
        set_known(known, entry["key_index"], 1)
        return put_outcome(outcomes, count, slot, kind, 0, 1, 1, 0)
    if error == jute.ZERR_NODE_EXISTS:
        set_known(known, entry["key_index"], 1)
        if kind == CAS:
            return put_outcome(outcomes, count, slot, kind, _COMPARE_FAILED, 0, 0, 0)
        if kind != INSERT and step < GUESSES_MAX:
            return put_outcome(outcomes, count, slot, kind, 0, 0, 0, step + 1 + (step & 1))
    return put_outcome(outcomes, count, slot, kind, error_code(error), 0, 0, 0)


@kernel
def set_answered(known: Any, rx: Any, reply: Any, entry: Any, at: int, end: int, outcomes: Any, count: int) -> int:
    """setData: of a put or a compare-and-swap."""
    error = int(reply["error"])
    slot, kind, step = int(entry["slot"]), int(entry["kind"]), int(entry["step"])
    if error == 0:
        size = jute_replies.decode_stat_place(rx, at, end, reply)
        if size < 0:
            return size
        version = jute.load_i32(rx, at + jute_replies.STAT_VERSION_AT)
        return put_outcome(outcomes, count, slot, kind, 0, version + 1, 1, 0)
    if error == jute.ZERR_NO_NODE:
        set_known(known, entry["key_index"], 0)
        if kind != CAS and step < GUESSES_MAX:
            return put_outcome(outcomes, count, slot, kind, 0, 0, 0, step + 2 - (step & 1))
    if kind == CAS and (error == jute.ZERR_NO_NODE or error == jute.ZERR_BAD_VERSION):
        return put_outcome(outcomes, count, slot, kind, _COMPARE_FAILED, 0, 0, 0)
    return put_outcome(outcomes, count, slot, kind, error_code(error), 0, 0, 0)


@kernel
def get_answered(known: Any, rx: Any, reply: Any, entry: Any, at: int, end: int, outcomes: Any, count: int) -> int:
    """getData: of a get, or the first step of a compare-and-swap or read-modify-write."""
    error = int(reply["error"])
    slot, kind = int(entry["slot"]), int(entry["kind"])
    if entry["error"] != 0:
        return put_outcome(outcomes, count, slot, kind, error_code(int(entry["error"])), 0, 0, 0)
    revision, found = 0, 0
    if error == 0:
        size = jute_replies.decode_data(rx, at, end, reply)
        if size < 0:
            return size
        revision = jute.load_i32(rx, int(reply["stat_at"]) + jute_replies.STAT_VERSION_AT) + 1
        found = 1
    elif error == jute.ZERR_NO_NODE:
        set_known(known, entry["key_index"], 0)
    else:
        return put_outcome(outcomes, count, slot, kind, error_code(error), 0, 0, 0)
    next_step = 0
    if kind == CAS:
        next_step = 1
    elif kind == READ_MODIFY_WRITE:
        next_step = 2 - found
    return put_outcome(outcomes, count, slot, kind, 0, revision, found, next_step)


@kernel
def children_answered(rx: Any, reply: Any, entry: Any, at: int, end: int, outcomes: Any, count: int) -> int:
    """getChildren2: every child of a directory, whatever the limit asked for. A missing directory has none."""
    error = int(reply["error"])
    slot, kind = int(entry["slot"]), int(entry["kind"])
    found = 0
    if error == 0:
        size = jute_replies.decode_children(rx, at, end, 1, reply)
        if size < 0:
            return size
        found = int(reply["count"])
    elif error == jute.ZERR_NO_NODE:
        error = 0
    return put_outcome(outcomes, count, slot, kind, error_code(error), reply["zxid"], found, 0)


@kernel
def delete_answered(known: Any, reply: Any, entry: Any, outcomes: Any, count: int) -> int:
    """delete: a node that was not there is deleted with count 0."""
    error = int(reply["error"])
    found = 1 if error == 0 else 0
    if error == jute.ZERR_NO_NODE:
        error = 0
    if error == 0:
        set_known(known, entry["key_index"], 0)
    return put_outcome(
        outcomes,
        count,
        int(entry["slot"]),
        int(entry["kind"]),
        error_code(error),
        reply["zxid"],
        found,
        0,
    )


@kernel
def multi_answered(rx: Any, reply: Any, entry: Any, at: int, end: int, outcomes: Any, count: int) -> int:
    """multi: all or nothing. A wrong guess about one member makes the whole transaction be tried again."""
    error = int(reply["error"])
    slot, members, step = int(entry["slot"]), entry["key_index"], int(entry["step"])
    if error != 0:
        return put_outcome(outcomes, count, slot, TXN, error_code(error), 0, 0, 0)
    size = jute_replies.decode_multi(rx, at, end, reply)
    if size < 0:
        return size
    failed, error = int(reply["failed"]), int(reply["failed_error"])
    if failed < 0:
        return put_outcome(outcomes, count, slot, TXN, 0, reply["zxid"], members, 0)
    attempt = ((step - 1) >> (TXN_MEMBER_BITS + 1)) + 1 if step > 0 else 0
    if (error == jute.ZERR_NODE_EXISTS or error == jute.ZERR_NO_NODE) and attempt <= 2 * members + GUESSES_MAX:
        exists = 1 if error == jute.ZERR_NODE_EXISTS else 0
        again = ((attempt << (TXN_MEMBER_BITS + 1)) | (failed << 1) | exists) + 1
        return put_outcome(outcomes, count, slot, TXN, 0, 0, 0, again)
    return put_outcome(outcomes, count, slot, TXN, error_code(error), 0, 0, 0)


@kernel
def answer_rare(
    client: Any, net: Any, connection: int, position: int, at: int, end: int, outcomes: Any, count: int
) -> int:
    """Answers that are no read or write of data: watches, leases, pings, and the sync before a read."""
    entry = client.ring[position]
    action = entry["action"]
    error = int(client.reply[0]["error"])
    slot = int(entry["slot"])
    if action == WATCH_READ or action == WATCH_EXISTS:
        return watch_answered(client, net, connection, entry, at, end, outcomes, count)
    if action == LEASE_CREATE:
        return lease_created(client, net, connection, slot, outcomes, count)
    if action == SYNC:
        if error != 0:
            # The read that belongs to this sync is the very next request.
            base, mask = connection * client.ring_size, client.ring_size - 1
            client.ring[base + ((position - base + 1) & mask)]["error"] = error
        return count
    if action == CLOSE:
        state = client.sessions[connection]
        forget_session(client.texts, state, connection)
        state["phase"] = CLOSING
    found = 1 if error == 0 else 0
    return put_outcome(outcomes, count, slot, int(entry["kind"]), error_code(error), 0, found, 0)


@kernel
def answer(client: Any, net: Any, connection: int, at: int, end: int, outcomes: Any, count: int) -> int:
    """One whole frame at ``at`` of an attached session. Returns the new number of outcomes, or a negative code."""
    reply = client.reply[0]
    state = client.sessions[connection]
    size = jute_replies.decode_reply_header(net.rx, at, end, reply)
    if size < 0:
        return size
    at += size
    xid = int(reply["xid"])
    if xid == jute.XID_NOTIFICATION:
        size = notified(client, net, connection, at, end)
        return size if size < 0 else count
    if xid == jute.XID_AUTH:
        return attach(client, net, connection, int(reply["error"]), outcomes, count)
    if reply["zxid"] > state["last_zxid"]:
        state["last_zxid"] = reply["zxid"]
    ring, base, mask = client.ring, connection * client.ring_size, client.ring_size - 1
    position = answered(ring, base, mask, state, xid)
    if position < 0:
        return position
    entry = ring[position]
    action = int(entry["action"])
    if action == CREATE:
        count = create_answered(client.known, reply, entry, outcomes, count)
    elif action == SET:
        count = set_answered(client.known, net.rx, reply, entry, at, end, outcomes, count)
    elif action == READ:
        count = get_answered(client.known, net.rx, reply, entry, at, end, outcomes, count)
    elif action == CHILDREN:
        count = children_answered(net.rx, reply, entry, at, end, outcomes, count)
    elif action == DELETE:
        count = delete_answered(client.known, reply, entry, outcomes, count)
    elif action == MULTI:
        count = multi_answered(net.rx, reply, entry, at, end, outcomes, count)
    else:
        count = answer_rare(client, net, connection, position, at, end, outcomes, count)
    if count >= 0:
        finish(ring, base, mask, state, position)
    return count
