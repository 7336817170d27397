"""Watches on ZooKeeper: a notification says that a node changed, not to what, so each is followed by a read.

ZooKeeper's watch fires once, and the read that follows (getData with watch) sets it again in the same step. Changes
between the two are seen as one: the event's ``count`` says how many versions it stands for. A watch has at most one
request in flight; a notification that comes meanwhile makes it read once more. An event is handed out exactly when a
read shows another mzxid than the last one did, so nothing is lost for good and nothing is counted twice, also when
the connection was lost in between. Several watchers of one path on one connection share one watch at the server; each
gets every event. A deletion is no event: it has no value to tell when it was sent.
"""

from typing import Any

from kvbench.client.zookeeper_queue import error_code, next_xid, push, put_outcome, write_position, written
from kvbench.client.zookeeper_records import (
    CHECKING,
    DUE_CHECK,
    DUE_READ,
    IDLE,
    READING,
    WATCH_EXISTS,
    WATCH_READ,
)
from kvbench.jit import kernel
from kvbench.ops.errors import ErrorCode
from kvbench.ops.kinds import Kind
from kvbench.rt.buffer import copy, equal, load_be64, load_le64
from kvbench.wire import jute, jute_replies, jute_requests

WATCH = int(Kind.WATCH)
_REQUEST_TOO_LARGE = int(ErrorCode.REQUEST_TOO_LARGE)
_RESOURCE_EXHAUSTED = int(ErrorCode.RESOURCE_EXHAUSTED)


@kernel
def find_watch(client: Any, first: int, key: Any, key_at: int, key_bytes: int) -> int:
    """The watch of a key in the chain that begins with ``first``, or -1."""
    position = first
    while position >= 0:
        watch = client.watches[position]
        keys_at = client.keys_at + position * client.key_bytes_max
        if watch["key_bytes"] == key_bytes and equal(client.texts, keys_at, key, key_at, key_bytes):
            return position
        position = int(watch["next"])
    return -1


@kernel
def new_watch(client: Any, session: Any, key: Any, key_at: int, key_bytes: int) -> int:
    """Take a free watch for a key. Returns its position, or -1: there is none left."""
    for position in range(len(client.watches)):
        watch = client.watches[position]
        if watch["used"] == 0:
            copy(client.texts, client.keys_at + position * client.key_bytes_max, key, key_at, key_bytes)
            watch["used"] = 1
            watch["key_bytes"] = key_bytes
            watch["slot"] = -1
            watch["next"] = session["watch_first"]
            session["watch_first"] = position
            return position
    return -1


@kernel
def submit_watch(client: Any, net: Any, connection: int, slot: int, operation: Any, payload: Any) -> int:
    """One watcher of one key: 1 accepted, 0 blocked (another one of the same key is on its way), -ErrorCode."""
    key_at, key_bytes = int(operation["key_at"]), int(operation["key_bytes"])
    if key_bytes > client.key_bytes_max:
        return -_REQUEST_TOO_LARGE
    session = client.sessions[connection]
    if write_position(net, session, client.ring_size, connection, jute_requests.GET_BYTES + key_bytes, 1) < 0:
        return 0
    position = find_watch(client, int(session["watch_first"]), payload, key_at, key_bytes)
    if position < 0:
        position = new_watch(client, session, payload, key_at, key_bytes)
        if position < 0:
            return -_RESOURCE_EXHAUSTED
    watch = client.watches[position]
    if watch["state"] != IDLE:
        return 0
    watch["registering"] = 1
    watch["slot"] = slot
    ask(client, net, connection, position, READING)
    return 1


@kernel
def ask(client: Any, net: Any, connection: int, position: int, state: int) -> None:
    """Send getData (``state`` READING) or exists (CHECKING) with watch, or note that it is due."""
    watch = client.watches[position]
    key_bytes = int(watch["key_bytes"])
    session = client.sessions[connection]
    if watch["state"] == DUE_READ or watch["state"] == DUE_CHECK:
        session["watches_due"] -= 1
    at = write_position(net, session, client.ring_size, connection, jute_requests.GET_BYTES + key_bytes, 1)
    if at < 0:
        watch["state"] = DUE_READ if state == READING else DUE_CHECK
        session["watches_due"] += 1
        return
    kind, action = jute.GET_DATA, WATCH_READ
    if state == CHECKING:
        kind, action = jute.EXISTS, WATCH_EXISTS
    path_at = client.keys_at + position * client.key_bytes_max
    end = jute_requests.put_get(net.tx, at, next_xid(session), kind, client.texts, path_at, key_bytes, 1)
    base, mask = connection * client.ring_size, client.ring_size - 1
    push(client.ring, base, mask, session, action, -1, WATCH, 0, position)
    written(net, connection, end)
    watch["state"] = state


@kernel
def ask_due(client: Any, net: Any, connection: int) -> None:
    """Send what is due, as far as there is room."""
    session = client.sessions[connection]
    position = int(session["watch_first"])
    left = int(session["watches_due"])
    while position >= 0 and left > 0:
        watch = client.watches[position]
        if watch["state"] == DUE_READ or watch["state"] == DUE_CHECK:
            left -= 1
            ask(client, net, connection, position, READING if watch["state"] == DUE_READ else CHECKING)
            if watch["state"] == DUE_READ or watch["state"] == DUE_CHECK:
                return
        position = int(watch["next"])


@kernel
def notified(client: Any, net: Any, connection: int, at: int, end: int) -> int:
    """A notification's record at ``at``. Returns 0, or a JuteError."""
    event = client.reply[0]
    size = jute_replies.decode_event(net.rx, at, end, event)
    if size < 0:
        return size
    path_bytes = int(event["data_bytes"])
    if event["event_type"] <= 0 or path_bytes < 1:
        return 0
    first = int(client.sessions[connection]["watch_first"])
    position = find_watch(client, first, net.rx, int(event["data_at"]) + 1, path_bytes - 1)
    if position < 0:
        return 0
    if client.watches[position]["state"] == IDLE:
        ask(client, net, connection, position, READING)
    else:
        client.watches[position]["again"] = 1
    return 0


@kernel
def settle(client: Any, net: Any, connection: int, position: int, outcomes: Any, count: int, code: int) -> int:
    """A watch's request is over: give the first outcome if it is owed, and read again if a notification came."""
    watch = client.watches[position]
    if watch["registering"] == 1:
        watch["registering"] = 0
        found = 1 if watch["mzxid"] != 0 else 0
        revision = watch["version"] + 1 if found == 1 else 0
        if code == 0 and watch["slot"] >= 0:
            watch["watchers"] += 1
        count = put_outcome(outcomes, count, int(watch["slot"]), WATCH, code, revision, found, 0)
        watch["slot"] = -1
    elif code != 0:
        count = put_outcome(outcomes, count, 0, WATCH, code, 0, 0, 0)
        outcomes[count - 1]["slot"] = -1
    watch["state"] = IDLE
    if watch["again"] == 1:
        watch["again"] = 0
        ask(client, net, connection, position, READING)
    return count


@kernel
def note_read(session: Any, watch: Any, rx: Any, reply: Any) -> None:
    """A watch's value was read: when it is another one than last time, an event for all who watched it."""
    stat_at = int(reply["stat_at"])
    mzxid = load_be64(rx, stat_at + jute_replies.STAT_MZXID_AT)
    version = jute.load_i32(rx, stat_at + jute_replies.STAT_VERSION_AT)
    if mzxid != watch["mzxid"] and watch["watchers"] > 0:
        changes = version - watch["version"]
        session["event_changes"] = changes if changes > 0 and watch["mzxid"] != 0 else 1
        session["event_revision"] = version + 1
        session["event_sent_ns"] = load_le64(rx, int(reply["data_at"])) if reply["data_bytes"] >= 8 else 0
        session["events_left"] = watch["watchers"]
    watch["mzxid"] = mzxid
    watch["version"] = version


@kernel
def watch_answered(
    client: Any, net: Any, connection: int, entry: Any, at: int, end: int, outcomes: Any, count: int
) -> int:
    """The answer to a watch's getData or exists, its record at ``at``. Returns the new number of outcomes or a code.

    Of a missing node only exists can set a watch; a node that came to be meanwhile is read again.
    """
    reply = client.reply[0]
    error = int(reply["error"])
    position = int(entry["key_index"])
    if entry["action"] == WATCH_READ:
        if error == jute.ZERR_NO_NODE:
            client.watches[position]["mzxid"] = 0
            ask(client, net, connection, position, CHECKING)
            return count
        if error == 0:
            size = jute_replies.decode_data(net.rx, at, end, reply)
            if size < 0:
                return size
            note_read(client.sessions[connection], client.watches[position], net.rx, reply)
    elif error == 0:
        ask(client, net, connection, position, READING)
        return count
    elif error == jute.ZERR_NO_NODE:
        error = 0
    return settle(client, net, connection, position, outcomes, count, error_code(error))


@kernel
def hand_out(session: Any, outcomes: Any, count: int) -> int:
    """Give the event at hand to the watchers that have not had it, as far as there is room."""
    while session["events_left"] > 0 and count < len(outcomes):
        count = put_outcome(outcomes, count, 0, WATCH, 0, session["event_revision"], session["event_changes"], 0)
        outcomes[count - 1]["slot"] = -1
        outcomes[count - 1]["sent_ns"] = session["event_sent_ns"]
        session["events_left"] -= 1
    return count


@kernel
def watches_lost(watches: Any, session: Any) -> None:
    """The connection is gone: watches that stood are due to be read again; others are forgotten."""
    session["watches_due"] = 0
    position = int(session["watch_first"])
    while position >= 0:
        watch = watches[position]
        watch["again"] = 0
        watch["registering"] = 0
        watch["slot"] = -1
        watch["state"] = IDLE
        if watch["watchers"] > 0:
            watch["state"] = DUE_READ
            session["watches_due"] += 1
        position = int(watch["next"])
