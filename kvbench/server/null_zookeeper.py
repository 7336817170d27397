"""The null server of ZooKeeper's protocol: parses every frame and every request record, answers each, stores nothing.

Sessions are granted as asked for, zxids count up with every write, create returns the path, getData a value of a
fixed size. What the load engine reaches against it is the engine's ceiling, not any server's.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kvbench.jit import kernel
from kvbench.net import table
from kvbench.net.records import OPEN
from kvbench.rt.buffer import store_be64
from kvbench.rt.clock import monotonic_ns
from kvbench.server import null_net
from kvbench.wire import jute, jute_replies, jute_requests

RX_BYTES = 1 << 17
"""The largest request it takes, unless reads find values as large."""
ANSWER_GROWTH = 4
"""An answer has at most so many times its request's bytes: a multi of setData of the root has a Stat for each.
Beside that, at most the value and ANSWER_BYTES."""
ANSWER_BYTES = 256
TIMEOUT_MS_MIN, TIMEOUT_MS_MAX = 1000, 120_000

NULL_SESSION = np.dtype([("session_id", np.int64), ("leaving", np.int64)], align=True)
"""A connection's session, 0: not greeted yet. ``leaving``: closeSession was answered, hang up once it is sent."""

_COUNTERS = np.dtype([("zxid", np.int64), ("sessions", np.int64)], align=True)


class NullZooKeeper(NamedTuple):
    """The state of the null server."""

    sessions: npt.NDArray[np.void]
    """NULL_SESSION[connections]"""
    counters: npt.NDArray[np.void]
    """One record: zxid and session id given out last"""
    request: npt.NDArray[np.void]
    """REQUEST[2]: the request being answered, and a member of its multi"""
    connect: npt.NDArray[np.void]
    """CONNECT_REQUEST[1]"""
    stat: npt.NDArray[np.void]
    """STAT[1]: every node's"""
    value: npt.NDArray[np.uint8]
    """uint8[]: every node's value, and 16 bytes more: the password of every session"""
    places: npt.NDArray[np.int64]
    """int64[0]: every node's children"""


def new_null_zookeeper(connections: int, value_bytes: int = 256) -> NullZooKeeper:
    """State for a number of connections, none greeted yet."""
    stat = np.zeros(1, jute_replies.STAT)
    stat["czxid"] = stat["mzxid"] = stat["pzxid"] = 1
    stat["data_bytes"] = value_bytes
    return NullZooKeeper(
        sessions=np.zeros(connections, NULL_SESSION),
        counters=np.zeros(1, _COUNTERS),
        request=np.zeros(2, jute_requests.REQUEST),
        connect=np.zeros(1, jute_requests.CONNECT_REQUEST),
        stat=stat,
        value=np.zeros(value_bytes + jute.PASSWORD_BYTES, np.uint8),
        places=np.zeros(0, np.int64),
    )


@kernel
def greet(null: Any, rx: Any, at: int, end: int, tx: Any, to: int, session: Any) -> int:
    """Answer a ConnectRequest: the session asked for, or a new one. Returns where the answer ends, or a JuteError."""
    connect = null.connect[0]
    size = jute_requests.decode_connect(rx, at, end, connect)
    if size < 0:
        return size
    session_id = connect["session_id"]
    if session_id == 0:
        null.counters[0]["sessions"] += 1
        session_id = null.counters[0]["sessions"]
    session["session_id"] = session_id
    timeout_ms = min(max(int(connect["timeout_ms"]), TIMEOUT_MS_MIN), TIMEOUT_MS_MAX)
    password_at = len(null.value) - jute.PASSWORD_BYTES
    store_be64(null.value, password_at, session_id)
    return jute_replies.put_connect_response(tx, to, timeout_ms, session_id, null.value, password_at)


@kernel
def answer_multi(null: Any, rx: Any, end: int, tx: Any, start: int, zxid: int) -> int:
    """Every member of a multi succeeds. Returns where the answer ends, or a JuteError."""
    request, member = null.request[0], null.request[1]
    position = int(request["data_at"])
    to = jute_replies.put_reply_header(tx, start, int(request["xid"]), zxid, 0)
    while True:
        size = jute_requests.decode_multi_member(rx, position, end, member)
        if size < 0:
            return size
        position += size
        if member["done"] == 1:
            break
        kind = int(member["type"])
        if kind == jute.CREATE:
            to = jute_replies.put_create_result(tx, to, rx, int(member["path_at"]), int(member["path_bytes"]))
        elif kind == jute.SET_DATA:
            to = jute_replies.put_set_data_result(tx, to, null.stat[0])
        elif kind == jute.CREATE_2:
            to = jute_replies.put_error_result(tx, to, jute.ZERR_UNIMPLEMENTED)
        else:
            to = jute_replies.put_empty_result(tx, to, kind)
    if position != end:
        return jute.TRAILING_BYTES
    return jute.finish_frame(tx, start, jute_requests.put_multi_end(tx, to))


@kernel
def answer(null: Any, rx: Any, at: int, end: int, tx: Any, to: int, session: Any) -> int:
    """Answer the request in the frame at ``at``. Returns where the answer ends, or a JuteError."""
    request = null.request[0]
    size = jute_requests.decode_request(rx, at, end, request)
    if size < 0:
        return size
    xid, kind = int(request["xid"]), int(request["type"])
    path_at, path_bytes = int(request["path_at"]), int(request["path_bytes"])
    counters = null.counters[0]
    stat = null.stat[0]
    if kind == jute.CREATE or kind == jute.SET_DATA or kind == jute.DELETE or kind == jute.MULTI:
        counters["zxid"] += 1
    zxid = counters["zxid"]
    if kind == jute.CREATE or kind == jute.SYNC:
        return jute_replies.put_path_reply(tx, to, xid, zxid, rx, path_at, path_bytes)
    if kind == jute.SET_DATA or kind == jute.EXISTS:
        return jute_replies.put_stat_reply(tx, to, xid, zxid, stat)
    if kind == jute.GET_DATA:
        return jute_replies.put_data_reply(
            tx, to, xid, zxid, null.value, 0, len(null.value) - jute.PASSWORD_BYTES, stat
        )
    if kind == jute.MULTI:
        return answer_multi(null, rx, end, tx, to, zxid)
    if kind == jute.GET_CHILDREN or kind == jute.GET_CHILDREN_2:
        with_stat = 1 if kind == jute.GET_CHILDREN_2 else 0
        return jute_replies.put_children_reply(tx, to, xid, zxid, null.value, null.places, 0, stat, with_stat)
    if kind == jute.CREATE_2:
        counters["zxid"] += 1
        return jute_replies.put_data_reply(tx, to, xid, counters["zxid"], rx, path_at, path_bytes, stat)
    if kind == jute.CLOSE_SESSION:
        session["leaving"] = 1
    error = jute.ZERR_UNIMPLEMENTED if kind == jute.CHECK else 0
    return jute_replies.put_reply(tx, to, xid, zxid, error)


@kernel
def serve_connection(null: Any, net: Any, connection: int) -> int:
    """Answer every whole request that is in rx, as far as there is room. Returns 0, or a JuteError: hang up."""
    row = net.connections[connection]
    session = null.sessions[connection]
    base, tx_base = connection * net.rx_bytes, connection * net.tx_bytes
    start, end = base + int(row["rx_start"]), base + int(row["rx_end"])
    free = table.room(net, connection)
    to = tx_base + int(row["tx_end"])
    limit = to + free
    code = 0
    while True:
        size = jute.frame_size(net.rx, start, end, net.rx_bytes)
        if size <= 0 or size > end - start:
            code = min(size, 0)
            break
        if limit - to < ANSWER_GROWTH * size + len(null.value) + ANSWER_BYTES:
            row["more"] = 1
            break
        if session["session_id"] == 0:
            written = greet(null, net.rx, start, start + size, net.tx, to, session)
        else:
            written = answer(null, net.rx, start, start + size, net.tx, to, session)
        if written < 0:
            code = written
            break
        to = written
        start += size
    row["rx_start"] = start - base
    if to > tx_base + row["tx_end"]:
        row["tx_end"] = to - tx_base
        table.mark_dirty(net, connection)
    return code


@kernel
def handle(null: Any, net: Any, connection: int, what: int) -> None:
    """What ``null_net.poll`` or ``flush_dirty`` said of a connection."""
    session = null.sessions[connection]
    if what == null_net.OPENED:
        session["session_id"] = 0
        session["leaving"] = 0
    elif what == null_net.RECEIVED and net.connections[connection]["state"] == OPEN:
        code = serve_connection(null, net, connection)
        if code < 0 or session["leaving"] == 1:
            null_net.drop(net, connection, monotonic_ns(net.scratch))


@kernel
def serve(null: Any, net: Any, listener: int, ready: Any, stop: Any) -> int:
    """Answer until ``stop`` (int64[1]) is set. Returns 0, or -errno when epoll cannot be had."""
    code = null_net.begin(net, listener)
    if code < 0:
        return code
    while not null_net.stopped(stop):
        count = null_net.poll(net, listener, ready, 100_000_000)
        while count > 0:
            for position in range(count):
                handle(null, net, int(ready[2 * position]), int(ready[2 * position + 1]))
            count = null_net.flush_dirty(net, ready)
    table.close_all(net)
    return 0


def serve_zookeeper(listener: int, connections: int, stop: Any, value_bytes: int = 256) -> int:
    """Serve on a listening descriptor until ``stop`` (int64[1]) is not 0. Returns 0, or -errno."""
    rx_bytes = max(RX_BYTES, value_bytes + RX_BYTES // 2)
    tx_bytes = ANSWER_GROWTH * rx_bytes + value_bytes + 2 * ANSWER_BYTES
    net = table.new_net(connections, [], rx_bytes, tx_bytes)
    null = new_null_zookeeper(connections, value_bytes)
    return int(serve(null, net, listener, null_net.new_ready(net), stop))
