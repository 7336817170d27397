"""The null server of etcd's protocol: reads every frame and every request, answers each stream, stores nothing.

Revisions count up with every write. What the load engine reaches against it is the engine's ceiling, no server's.
"""

from typing import Any

import numpy as np

from kvbench.jit import kernel
from kvbench.net import table
from kvbench.net.records import OPEN
from kvbench.rt.buffer import copy
from kvbench.rt.clock import monotonic_ns
from kvbench.server import null_net
from kvbench.server.null_etcd_answers import (
    INTERNAL,
    KEY_ECHO_BYTES_MAX,
    RESOURCE_EXHAUSTED,
    UNIMPLEMENTED,
    answer_range,
    write_answer,
)
from kvbench.server.null_etcd_records import LINK, SHARED, NullEtcd, new_null_etcd
from kvbench.wire import etcd_methods, grpc, grpc_pool, http2, http2_frames
from kvbench.wire.http2_records import (
    DATA,
    EVENT_DATA,
    EVENT_HEADERS,
    EVENT_RESET,
    FLAG_END_HEADERS,
    FLAG_END_STREAM,
    FRAME_BYTES_MAX,
    FRAME_HEADER_BYTES,
    HEADERS,
    NO_ROOM,
)

__all__ = ["LINK", "SHARED", "NullEtcd", "new_null_etcd", "serve_connection", "serve_etcd"]


ANSWER_ROOM_BYTES = FRAME_BYTES_MAX + 1024
"""Room in tx that one event may need."""
SMALL_VALUE_BYTES_MAX = 8192
"""An answer with a larger value may not fit one frame: it is put together in the pool, and sent from there."""
LARGE_ANSWER_BYTES = KEY_ECHO_BYTES_MAX + 256
"""What an answer with a large value may need beside the value."""
RX_BYTES = 1 << 17
TX_BYTES = 1 << 17

_NOT_GRPC = b"\x0c\x03415"
_TRAILERS_ONLY = b"\x88\x0f\x10\x10application/grpc\x00\x0bgrpc-status"
_MESSAGE = b"\x00\x0cgrpc-message\x0fnull server: no"
_ERRORS = np.frombuffer(_NOT_GRPC + _TRAILERS_ONLY + _MESSAGE, np.uint8)
_NOT_GRPC_BYTES, _TRAILERS_ONLY_BYTES, _MESSAGE_BYTES = len(_NOT_GRPC), len(_TRAILERS_ONLY), len(_MESSAGE)


@kernel
def begin(null: Any, net: Any, connection: int) -> None:
    """A connection was accepted: greet."""
    link = null.links[connection]
    http2_frames.begin(link["http2"])
    link["owed"] = 0
    record = net.connections[connection]
    base = connection * net.tx_bytes
    record["tx_end"] = http2_frames.greet(link["http2"], null.shared[0]["http2"], net.tx, base) - base
    table.mark_dirty(net, connection)


@kernel
def serve_connection(null: Any, net: Any, connection: int) -> int:
    """Answer every complete frame that is in rx, as far as there is room. Returns 0, or a negative code: hang up."""
    record = net.connections[connection]
    link, shared, arena = null.links[connection], null.shared[0], null.arena
    h2, rx, tx = link["http2"], net.rx, net.tx
    event = shared["http2"]["event"]
    table.room(net, connection)
    rx_base, tx_base = connection * net.rx_bytes, connection * net.tx_bytes
    start = tx_base + int(record["tx_end"])
    limit = tx_base + net.tx_bytes
    end = rx_base + int(record["rx_end"])
    event["rx_at"] = rx_base + int(record["rx_start"])
    event["tx_at"] = start
    kind = 0
    while True:
        if link["owed"] > 0:
            pay(link, shared, arena, tx, limit)
        if limit - event["tx_at"] < ANSWER_ROOM_BYTES:
            record["more"] = 1
            break
        kind = http2.next_event(h2, shared["http2"], rx, int(event["rx_at"]), end, tx, int(event["tx_at"]), limit)
        if kind == EVENT_HEADERS:
            on_headers(link, shared, rx, tx)
        elif kind == EVENT_DATA:
            on_data(link, shared, arena, rx, tx)
        elif kind <= 0 or kind == NO_ROOM:
            break
        elif kind == EVENT_RESET:
            forget(link, shared, arena, int(event["place"]))
    record["rx_start"] = event["rx_at"] - rx_base
    if event["tx_at"] != start:
        record["tx_end"] = event["tx_at"] - tx_base
    if event["tx_at"] != start or record["more"] == 1:
        table.mark_dirty(net, connection)
    return min(kind, 0)


@kernel
def forget(link: Any, shared: Any, arena: Any, place: int) -> None:
    """A call is over: give back what it holds."""
    call = link["calls"][place]
    grpc.release(call, shared["pool"], arena)
    if call["owed_at"] >= 0:
        grpc_pool.give(shared["pool"], arena, int(call["owed_at"]), int(call["owed_room"]))
        call["owed_at"] = -1
        link["owed"] -= 1


@kernel
def on_headers(link: Any, shared: Any, rx: Any, tx: Any) -> None:
    """A request begins: which method, or why not."""
    event = shared["http2"]["event"]
    if event["first"] == 0:
        return
    meaning = int(event["meaning"])
    if event["fields"] >= 0:
        listed = shared["http2"]["listed"]
        path, size = grpc.request_path(listed, int(event["fields"]))
        meaning = -2 if path < 0 else etcd_methods.method_of(listed["text"], path, size)
        if meaning > etcd_methods.LEASE_KEEP_ALIVE:
            meaning = -1
        http2_frames.remember(link["http2"], shared["http2"], rx, meaning)
    place = int(event["place"])
    call = link["calls"][place]
    grpc.begin(call)
    call["method"] = meaning
    call["greeted"] = 0
    call["watch_id"] = 0
    call["owed_at"] = -1
    if meaning < 0:
        refuse(link, shared, tx, place, UNIMPLEMENTED)
    elif event["ends_stream"] == 1:
        refuse(link, shared, tx, place, INTERNAL)


@kernel
def refuse(link: Any, shared: Any, tx: Any, place: int, status: int) -> None:
    """End a call with ``status`` and no response: HTTP 415 for what is not gRPC, else trailers only."""
    event = shared["http2"]["event"]
    call = link["calls"][place]
    stream = int(event["stream"])
    at = int(event["tx_at"])
    block = at + FRAME_HEADER_BYTES
    to = block
    if call["method"] == -2:
        copy(tx, to, _ERRORS, 0, _NOT_GRPC_BYTES)
        to += _NOT_GRPC_BYTES
    else:
        skip = 0 if call["greeted"] == 0 else _TRAILERS_ONLY_BYTES - 13
        copy(tx, to, _ERRORS, _NOT_GRPC_BYTES + skip, _TRAILERS_ONLY_BYTES - skip)
        to += _TRAILERS_ONLY_BYTES - skip
        tx[to] = 1 if status < 10 else 2
        if status >= 10:
            tx[to + 1] = 49
            to += 1
        tx[to + 1] = 48 + status % 10
        to += 2
        copy(tx, to, _ERRORS, _NOT_GRPC_BYTES + _TRAILERS_ONLY_BYTES, _MESSAGE_BYTES)
        to += _MESSAGE_BYTES
    http2_frames.write_frame_header(tx, at, to - block, HEADERS, FLAG_END_HEADERS | FLAG_END_STREAM, stream)
    event["tx_at"] = to
    call["method"] = -1
    http2_frames.end_local(link["http2"], place)


@kernel
def on_data(link: Any, shared: Any, arena: Any, rx: Any, tx: Any) -> None:
    """A piece of a request's body: answer each complete message."""
    event = shared["http2"]["event"]
    message = shared["message"]
    place = int(event["place"])
    call = link["calls"][place]
    at = int(event["at"])
    end = at + int(event["size"])
    while at < end and call["method"] >= 0:
        found = grpc.next_message(call, shared["pool"], arena, rx, at, end, message)
        if found < 0:
            refuse(link, shared, tx, place, UNIMPLEMENTED)
        if found <= 0:
            break
        start, stop = int(message["at"]), int(message["end"])
        if message["in_pool"] == 0:
            answer(link, shared, arena, tx, place, rx, start, stop)
        else:
            answer(link, shared, arena, tx, place, arena, start, stop)
            grpc.release(call, shared["pool"], arena)
        at = int(message["next"])
    streaming = call["method"] == etcd_methods.WATCH or call["method"] == etcd_methods.LEASE_KEEP_ALIVE
    if event["ends_stream"] == 1 and streaming and call["owed_at"] < 0:
        write_trailers(link, shared, tx, place)
    if event["closed"] == 1:
        grpc.release(call, shared["pool"], arena)


@kernel
def answer(link: Any, shared: Any, arena: Any, tx: Any, place: int, buf: Any, at: int, end: int) -> None:
    """Answer the message ``buf[at:end]``: headers if they are due, the response, for a unary call the trailers."""
    event = shared["http2"]["event"]
    call = link["calls"][place]
    h2 = link["http2"]
    entry = h2["streams"][place]
    stream = int(event["stream"])
    method = int(call["method"])
    frame = int(event["tx_at"])
    if call["greeted"] == 0:
        size = int(shared["headers_bytes"])
        body = http2_frames.write_frame_header(tx, frame, size, HEADERS, FLAG_END_HEADERS, stream)
        copy(tx, body, shared["headers"], 0, size)
        frame = body + size
    if method == etcd_methods.RANGE and shared["value_bytes"] > SMALL_VALUE_BYTES_MAX:
        status = owe_large(link, shared, arena, place, buf, at, end)
        if status == 0:
            event["tx_at"] = frame
        else:
            refuse(link, shared, tx, place, status)
        return
    body = frame + FRAME_HEADER_BYTES
    to = write_answer(shared, method, call, buf, at, end, tx, body + grpc.PREFIX_BYTES)
    if to < 0:
        refuse(link, shared, tx, place, -to)
        return
    call["greeted"] = 1
    grpc.write_prefix(tx, body, to - body - grpc.PREFIX_BYTES)
    ends = method != etcd_methods.WATCH and method != etcd_methods.LEASE_KEEP_ALIVE
    size = to - body
    if call["owed_at"] >= 0 or h2["send_window"] < size or entry["send_window"] < size:
        event["tx_at"] = frame
        owe(link, shared, arena, place, tx, body, size, ends)
        return
    http2_frames.write_frame_header(tx, frame, size, DATA, 0, stream)
    h2["send_window"] -= size
    entry["send_window"] -= size
    event["tx_at"] = to
    if ends:
        write_trailers(link, shared, tx, place)


@kernel
def write_trailers(link: Any, shared: Any, tx: Any, place: int) -> None:
    """Success: this end's last frame on the stream."""
    event = shared["http2"]["event"]
    size = int(shared["trailers_bytes"])
    flags = FLAG_END_HEADERS | FLAG_END_STREAM
    stream = int(event["stream"])
    at = http2_frames.write_frame_header(tx, int(event["tx_at"]), size, HEADERS, flags, stream)
    copy(tx, at, shared["trailers"], 0, size)
    event["tx_at"] = at + size
    link["calls"][place]["method"] = -1
    http2_frames.end_local(link["http2"], place)


@kernel
def owe(link: Any, shared: Any, arena: Any, place: int, tx: Any, at: int, size: int, ends: bool) -> None:
    """Keep a response until the windows let it through; a stream that is owed one already loses the second."""
    call = link["calls"][place]
    if call["owed_at"] >= 0:
        return
    buffer = grpc_pool.take(shared["pool"], arena, size)
    if buffer < 0:
        return
    copy(arena, buffer, tx, at, size)
    note_owed(link, call, buffer, size, size, ends)


@kernel
def owe_large(link: Any, shared: Any, arena: Any, place: int, buf: Any, at: int, end: int) -> int:
    """Put the answer to a Range together in the pool, from where ``pay`` sends it. Returns 0 or a gRPC status."""
    call = link["calls"][place]
    room = int(shared["value_bytes"]) + LARGE_ANSWER_BYTES
    buffer = grpc_pool.take(shared["pool"], arena, room)
    if buffer < 0:
        return RESOURCE_EXHAUSTED
    body = buffer + grpc.PREFIX_BYTES
    to = answer_range(shared, buf, at, end, arena, body)
    if to < 0:
        grpc_pool.give(shared["pool"], arena, buffer, room)
        return -to
    grpc.write_prefix(arena, buffer, to - body)
    call["greeted"] = 1
    note_owed(link, call, buffer, room, to - buffer, True)
    return 0


@kernel
def note_owed(link: Any, call: Any, buffer: int, room: int, size: int, ends: bool) -> None:
    """A response of ``size`` bytes waits in the pool, in a buffer that was taken as one of ``room`` bytes."""
    call["owed_at"] = buffer
    call["owed_room"] = room
    call["owed_size"] = size
    call["owed_sent"] = 0
    call["owed_ends"] = 1 if ends else 0
    link["owed"] += 1


@kernel
def pay(link: Any, shared: Any, arena: Any, tx: Any, limit: int) -> None:
    """Send what is owed as far as windows and tx allow."""
    h2 = link["http2"]
    for place in range(h2["ring"]):
        if h2["streams"][place]["id"] != 0 and link["calls"][place]["owed_at"] >= 0:
            pay_one(link, shared, arena, tx, limit, place)


@kernel
def pay_one(link: Any, shared: Any, arena: Any, tx: Any, limit: int, place: int) -> None:
    """Send what one call is owed, as far as windows and tx allow."""
    event = shared["http2"]["event"]
    h2 = link["http2"]
    call, entry = link["calls"][place], h2["streams"][place]
    while call["owed_at"] >= 0 and limit - event["tx_at"] >= ANSWER_ROOM_BYTES:
        left = int(call["owed_size"]) - int(call["owed_sent"])
        window = min(int(h2["send_window"]), int(entry["send_window"]))
        piece = min(min(left, window), FRAME_BYTES_MAX)
        if piece <= 0:
            return
        event["stream"] = entry["id"]
        at = http2_frames.write_frame_header(tx, int(event["tx_at"]), piece, DATA, 0, int(entry["id"]))
        copy(tx, at, arena, call["owed_at"] + call["owed_sent"], piece)
        event["tx_at"] = at + piece
        h2["send_window"] -= piece
        entry["send_window"] -= piece
        call["owed_sent"] += piece
        if piece == left:
            grpc_pool.give(shared["pool"], arena, int(call["owed_at"]), int(call["owed_room"]))
            call["owed_at"] = -1
            link["owed"] -= 1
            if call["owed_ends"] == 1:
                write_trailers(link, shared, tx, place)


@kernel
def handle(null: Any, net: Any, connection: int, what: int) -> None:
    """What ``null_net.poll`` or ``flush_dirty`` said of a connection."""
    if what == null_net.OPENED:
        begin(null, net, connection)
    elif what == null_net.RECEIVED and net.connections[connection]["state"] == OPEN:
        if serve_connection(null, net, connection) < 0:
            give_back(null, connection)
            null_net.drop(net, connection, monotonic_ns(net.scratch))
    elif what == null_net.GONE:
        give_back(null, connection)


@kernel
def give_back(null: Any, connection: int) -> None:
    """A connection is gone: its calls' buffers are free again."""
    link, shared, arena = null.links[connection], null.shared[0], null.arena
    h2 = link["http2"]
    if h2["live"] > 0:
        for place in range(h2["ring"]):
            if h2["streams"][place]["id"] != 0:
                forget(link, shared, arena, place)


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


def serve_etcd(listener: int, connections: int, stop: Any, value_bytes: int = 256) -> int:
    """Serve on a listening descriptor until ``stop`` (int64[1]) is not 0. Returns 0, or -errno."""
    net = table.new_net(connections, [], RX_BYTES, TX_BYTES)
    null = new_null_etcd(connections, value_bytes)
    return int(serve(null, net, listener, null_net.new_ready(net), stop))
