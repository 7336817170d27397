"""A gRPC server's end of its connections: bytes in, requests out, one at a time.

    found = sockets.begin_read(end, connection, now, True)
    while (what := next_request(end, connection)) > 0:
        if what == REQUEST:      a message of state["call"] lies at arena[request_at:request_end]
        elif what == HALF_CLOSED: the peer of a stream of many requests sends no more
        elif what == CANCELLED:   the peer gave a call with a ``tag`` up; free it
    negative: break the connection off (drop); 0: all is read, or nothing more can be done now
    sockets.end_read(end, connection)

Answers may be written at any time (grpc_answers), in the midst of this as well. A call without a tag (>= 0) that the
peer gives up is just gone; its handle then finds nothing.
"""

from typing import Any

import numpy as np

from kvbench.jit import kernel
from kvbench.server import grpc_answers, refusals, sockets
from kvbench.server.end_records import (
    CALM,
    CONTROL_AT,
    CONTROL_BYTES,
    ENDING,
    GONE,
    GRPC,
    OPEN,
    STATUSES,
    TX_BYTES_MAX,
    UNSENT,
)
from kvbench.wire import etcd_methods, grpc, http2, http2_frames
from kvbench.wire.http2_records import ENHANCE_YOUR_CALM as CALM_REASON
from kvbench.wire.http2_records import (
    EVENT_DATA,
    EVENT_HEADERS,
    EVENT_RESET,
    EVENT_SETTINGS,
    EVENT_WINDOW,
    FLAG_END_HEADERS,
    FLAG_END_STREAM,
    FRAME_HEADER_BYTES,
    HEADERS,
    NEED_MORE,
)

READ_ALL, REQUEST, HALF_CLOSED, CANCELLED = 0, 1, 2, 3
"""What ``next_request`` found."""
NOT_GRPC = -2
"""What a header block that is no gRPC request's is remembered as."""
NO_METHOD = etcd_methods.METHODS
"""The number that unknown methods are counted under."""
FLUSHES_MAX = 8
"""Sends of one connection before another one's turn."""

_UNSUPPORTED_MEDIA = np.frombuffer(b"\x0c\x03415", np.uint8)


@kernel
def is_streaming(method: int) -> bool:
    """Whether a method takes many requests on one stream."""
    return method == etcd_methods.WATCH or method == etcd_methods.LEASE_KEEP_ALIVE


@kernel
def greet(end: Any, position: int) -> int:
    """The connection speaks HTTP/2: say what comes first. Returns 0, or UNSENT."""
    link, h2, state = end.links[position], end.http2[position], end.state[0]
    settings = state["settings"]
    link["kind"] = GRPC
    h2["role"] = settings["role"]
    h2["ring_first"] = settings["ring_first"]
    h2["ring_max"] = settings["ring_max"]
    h2["stream_window"] = settings["stream_window"]
    h2["receive_window"] = settings["receive_window"]
    http2_frames.begin(h2)
    if not sockets.room(end, position, http2_frames.GREETING_BYTES):
        return UNSENT
    at = int(link["tx_at"]) + int(link["tx_end"])
    link["tx_end"] += http2_frames.greet(h2, state["http2"], end.arena, at) - at
    sockets.mark_dirty(end, position)
    return 0


@kernel
def next_request(end: Any, position: int) -> int:
    """Go through what was read of a connection up to something to do.

    Returns READ_ALL, REQUEST, HALF_CLOSED, CANCELLED, or a negative code: the connection is to be dropped. The peer
    has then been told why, where the protocol has a way to.
    """
    link, h2, state = end.links[position], end.http2[position], end.state[0]
    event = state["http2"]["event"]
    while True:
        if state["part_call"] >= 0:
            found = next_message(end, position)
            if found != READ_ALL:
                return found
        if link["broken"] != 0:
            return int(link["broken"])
        if link["tx_end"] - link["tx_start"] + CONTROL_BYTES > TX_BYTES_MAX:
            link["blocked"] = 1
            return READ_ALL
        at, limit = CONTROL_AT, CONTROL_AT + CONTROL_BYTES
        kind = http2.next_event(
            h2, state["http2"], end.arena, int(state["at"]), int(state["stop"]), end.arena, at, limit
        )
        state["at"] = event["rx_at"]
        if event["tx_at"] > at and not sockets.append(end, position, end.arena, at, int(event["tx_at"]) - at):
            return UNSENT
        if kind < 0:
            return kind
        if h2["idle_frames"] - link["idle_frames"] > state["idle_frames_max"]:
            return calm(end, position)
        if kind == NEED_MORE:
            return READ_ALL
        if kind == EVENT_HEADERS:
            on_headers(end, position)
        elif kind == EVENT_DATA:
            on_data(end, position)
        elif kind == EVENT_RESET:
            if on_reset(end, position):
                return CANCELLED
        elif (kind == EVENT_WINDOW or kind == EVENT_SETTINGS) and link["owed"] >= 0:
            sockets.mark_dirty(end, position)
        if link["resets"] > state["resets_max"]:
            return calm(end, position)


@kernel
def calm(end: Any, position: int) -> int:
    """A flood: tell the peer why it is hung up on. Returns CALM."""
    say_goaway(end, position, CALM_REASON)
    return CALM


@kernel
def say_goaway(end: Any, position: int, reason: int) -> None:
    """Write GOAWAY: no streams beyond those begun."""
    link, h2 = end.links[position], end.http2[position]
    if sockets.room(end, position, FRAME_HEADER_BYTES + 8):
        at = int(link["tx_at"]) + int(link["tx_end"])
        link["tx_end"] += http2_frames.write_goaway(end.arena, at, int(h2["last_peer_stream"]), reason) - at
        sockets.mark_dirty(end, position)
    h2["draining"] = 1


@kernel
def on_headers(end: Any, position: int) -> None:
    """A request begins: which method, or why not."""
    h2, state = end.http2[position], end.state[0]
    event = state["http2"]["event"]
    place = int(event["place"])
    stream = int(event["stream"])
    if event["first"] == 0:
        if event["ends_stream"] == 1 and event["tag"] >= 0:
            begin_part(end, int(event["tag"]), 0, 0, 1)
        return
    meaning = int(event["meaning"])
    if event["fields"] >= 0:
        meaning = read_method(end, position)
    number = -1
    if meaning >= 0:
        number = grpc_answers.new_call(end, position, stream, meaning)
    if number >= 0:
        h2["streams"][place]["tag"] = number
        if event["ends_stream"] == 1:
            begin_part(end, number, 0, 0, 1)
        return
    state["refused_streams"] += 1
    if meaning == NOT_GRPC:
        refuse_media(end, position, stream)
    else:
        refusal = refusals.UNKNOWN_METHOD
        if meaning >= 0:
            refusal = refusals.TOO_MANY_CALLS
        elif meaning == -3:
            refusal = refusals.LIST_TOO_LARGE
        size = refusals.write_refusal(state["text"], refusal)
        grpc_answers.refuse_stream(end, position, stream, 0, refusals.status_of(refusal), size)
        end.handled[NO_METHOD * STATUSES + refusals.status_of(refusal)] += 1
    grpc_answers.leave_stream(end, position, stream)


@kernel
def read_method(end: Any, position: int) -> int:
    """The method of the header block just decoded; -1: not known, NOT_GRPC, -3: too many headers."""
    h2, state = end.http2[position], end.state[0]
    shared = state["http2"]
    if h2["decoder"]["truncated"] != 0:
        return -3
    path, size = grpc.request_path(shared["listed"], int(shared["event"]["fields"]))
    meaning = NOT_GRPC
    if path >= 0:
        meaning = etcd_methods.method_of(shared["listed"]["text"], path, size)
    http2_frames.remember(h2, shared, end.arena, meaning)
    return meaning


@kernel
def refuse_media(end: Any, position: int, stream: int) -> None:
    """Answer what is not gRPC with HTTP status 415 (PROTOCOL-HTTP2, "Requests")."""
    link = end.links[position]
    size = len(_UNSUPPORTED_MEDIA)
    if not sockets.room(end, position, FRAME_HEADER_BYTES + size):
        link["broken"] = UNSENT
        return
    at = int(link["tx_at"]) + int(link["tx_end"])
    flags = FLAG_END_HEADERS | FLAG_END_STREAM
    body = http2_frames.write_frame_header(end.arena, at, size, HEADERS, flags, stream)
    for i in range(size):
        end.arena[body + i] = _UNSUPPORTED_MEDIA[i]
    link["tx_end"] += FRAME_HEADER_BYTES + size
    sockets.mark_dirty(end, position)


@kernel
def on_data(end: Any, position: int) -> None:
    """A piece of a request's body."""
    event = end.state[0]["http2"]["event"]
    if event["size"] == 0 and event["ends_stream"] == 0:
        end.http2[position]["idle_frames"] += 1
    if event["tag"] >= 0:
        at = int(event["at"])
        begin_part(end, int(event["tag"]), at, at + int(event["size"]), int(event["ends_stream"]))


@kernel
def begin_part(end: Any, number: int, at: int, stop: int, ends: int) -> None:
    """Have ``next_message`` cut ``arena[at:stop]`` into messages of a call."""
    state = end.state[0]
    state["part_call"] = number
    state["part_at"] = at
    state["part_end"] = stop
    state["part_ends"] = ends


@kernel
def next_message(end: Any, position: int) -> int:
    """The next message of the frame being dealt with, or what its end means. Returns as ``next_request``."""
    link, state = end.links[position], end.state[0]
    number = int(state["part_call"])
    call, message = end.calls[number], state["message"]
    if call["at"] >= 0 and call["have"] == call["size"]:
        grpc_answers.drop_body(end, number)
    while state["part_at"] < state["part_end"]:
        if call["asked"] > 0 and not is_streaming(int(call["method"])):
            state["part_at"] = state["part_end"]
            break
        before = int(call["room"]) if call["at"] >= 0 else 0
        found = grpc.next_message(
            call, state["pool"], end.arena, end.arena, int(state["part_at"]), int(state["part_end"]), message
        )
        link["held_bytes"] += (int(call["room"]) if call["at"] >= 0 else 0) - before
        if found < 0:
            state["part_call"] = -1
            return refuse(end, number, found)
        if found == 0:
            state["part_at"] = state["part_end"]
            if call["at"] >= 0 and not sockets.may_hold(end, position, 0):
                state["part_call"] = -1
                return refuse(end, number, -1)
            break
        state["part_at"] = message["next"]
        state["call"] = number
        state["request_at"] = message["at"]
        state["request_end"] = message["end"]
        call["asked"] += 1
        return REQUEST
    state["part_call"] = -1
    if state["part_ends"] == 0:
        return READ_ALL
    call["half_closed"] = 1
    if is_streaming(int(call["method"])):
        state["call"] = number
        return HALF_CLOSED
    if call["asked"] == 0:
        return refuse(end, number, 0)
    return READ_ALL


@kernel
def refuse(end: Any, number: int, code: int) -> int:
    """End a call whose body is wrong: a GrpcError, 0: it holds no message, -1: no memory for it. Returns READ_ALL.

    A call with a tag is its user's to free, who is told that it is CANCELLED: then that is returned.
    """
    state = end.state[0]
    call = end.calls[number]
    refusal = refusals.NO_MEMORY
    if code == 0:
        refusal = refusals.NO_MESSAGE
    elif code == grpc.COMPRESSED:
        refusal = refusals.COMPRESSED
    elif code == grpc.BAD_FLAG:
        refusal = refusals.BAD_FLAG
    limit = int(state["pool"]["message_bytes_max"])
    size = refusals.write_refusal(state["text"], refusal)
    status = refusals.status_of(refusal)
    if code == grpc.TOO_LARGE and call["size"] > limit:
        size = refusals.write_too_large(state["text"], int(call["size"]), limit)
    if call["tag"] < 0:
        grpc_answers.fail(end, number, status, size)
        return READ_ALL
    position, stream = int(call["link"]), int(call["stream"])
    grpc_answers.refuse_stream(end, position, stream, int(call["greeted"]), status, size)
    grpc_answers.leave_stream(end, position, stream)
    state["call"] = number
    return CANCELLED


@kernel
def on_reset(end: Any, position: int) -> bool:
    """The peer gave a stream up, or did something on it that ended it. Returns whether the call's user must know."""
    state = end.state[0]
    event = state["http2"]["event"]
    end.links[position]["resets"] += 1
    number = int(event["tag"])
    if number < 0:
        return False
    if end.calls[number]["tag"] >= 0:
        state["call"] = number
        return True
    end.handled[int(end.calls[number]["method"]) * STATUSES + grpc.CANCELLED] += 1
    grpc_answers.free_call(end, number)
    return False


@kernel
def next_lost(end: Any, position: int) -> int:
    """A connection is about to be closed: frees its calls without a tag, and returns the first one with, or -1.

    Its user lets go of that one by setting the tag to -1, and asks again.
    """
    link, h2 = end.links[position], end.http2[position]
    if link["calls"] == 0 or link["kind"] != GRPC:
        return -1
    for place in range(h2["ring"]):
        entry = h2["streams"][place]
        number = int(entry["tag"])
        if entry["id"] == 0 or number < 0:
            continue
        if end.calls[number]["tag"] >= 0:
            return number
        grpc_answers.free_call(end, number)
        entry["tag"] = -1
    return -1


@kernel
def flush(end: Any, position: int, now: int) -> int:
    """Send what is written and what is owed, as far as socket and windows allow. Returns 0, or a code: drop it."""
    link = end.links[position]
    if link["state"] != OPEN and link["state"] != ENDING:
        return 0
    rounds = 0
    while True:
        left = sockets.send_some(end, position, now)
        if left < 0:
            return left
        if left > 0 or link["owed"] < 0 or link["kind"] != GRPC or not grpc_answers.pay(end, position):
            break
        rounds += 1
        if rounds == FLUSHES_MAX:
            sockets.mark_dirty(end, position)
            break
    if link["broken"] != 0:
        return int(link["broken"])
    if link["state"] == ENDING and link["tx_end"] == link["tx_start"] and link["owed"] < 0:
        return GONE
    if link["blocked"] == 1 and link["tx_end"] - link["tx_start"] <= TX_BYTES_MAX // 4:
        sockets.go_on(end, position)
    sockets.watch_for(end, position, sockets.wanted(link))
    return 0
