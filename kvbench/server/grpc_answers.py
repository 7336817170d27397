"""Answering calls: responses into the connection's buffer, or into the pool until the peer's windows let them through.

A response is written in two steps, so that nothing is copied twice: ``open_response`` says where in the arena the
message goes, ``close_response`` puts headers, prefix and trailers around it. Nothing else may be written in between.
"""

from typing import Any

import numpy as np

from kvbench.jit import kernel
from kvbench.ops import status as statuses
from kvbench.rt.buffer import copy
from kvbench.server import sockets
from kvbench.server.end_records import CALL_BITS, POOL_AT, STATUSES, TX_RESPONSES_MAX, UNSENT
from kvbench.wire import grpc, grpc_pool, hpack, http2_frames
from kvbench.wire.http2_records import (
    DATA,
    FLAG_END_HEADERS,
    FLAG_END_STREAM,
    FRAME_BYTES_MAX,
    FRAME_HEADER_BYTES,
    HEADERS,
    NO_ERROR,
)

QUEUED_BYTES_MAX = 1 << 20
"""Most bytes of small responses that may wait on a stream of many."""
DIRECT, POOLED, QUEUED = 1, 0, 2
"""Where a response is written: into the connection's buffer, into one of the pool, behind others in one of the pool."""
AROUND_BYTES = 160
"""Headers, trailers and frame headers of a response."""

_STATUS_OK = b"\x88"
_CONTENT_TYPE = hpack.literal(b"content-type", b"application/grpc", False, 31)
_GRPC_STATUS = b"\x00" + bytes([len(b"grpc-status")]) + b"grpc-status"
_GRPC_MESSAGE = b"\x00" + bytes([len(b"grpc-message")]) + b"grpc-message"
_PIECES = np.frombuffer(_STATUS_OK + _CONTENT_TYPE + _GRPC_STATUS + _GRPC_MESSAGE, np.uint8)
_HEAD_BYTES = len(_STATUS_OK + _CONTENT_TYPE)
_STATUS_BYTES, _MESSAGE_BYTES = len(_GRPC_STATUS), len(_GRPC_MESSAGE)


@kernel
def handle_of(end: Any, number: int) -> int:
    """What to call a live call by: its number may mean another one later, its handle never does."""
    return int(end.calls[number]["generation"]) << CALL_BITS | number


@kernel
def call_of(end: Any, handle: int) -> int:
    """The number of a call, or -1 when it is over."""
    number = handle & (1 << CALL_BITS) - 1
    if number >= end.state[0]["call_used"]:
        return -1
    call = end.calls[number]
    return number if call["generation"] == handle >> CALL_BITS and call["link"] >= 0 else -1


@kernel
def new_call(end: Any, position: int, stream: int, method: int) -> int:
    """A call begins. Returns its number, or -1 when there are too many."""
    state = end.state[0]
    number = int(state["call_free"])
    if number >= 0:
        state["call_free"] = end.calls[number]["next"]
    elif state["call_used"] < len(end.calls):
        number = int(state["call_used"])
        state["call_used"] += 1
    else:
        return -1
    call = end.calls[number]
    grpc.begin(call)
    call["link"] = position
    call["stream"] = stream
    call["method"] = method
    call["next"] = -1
    call["asked"] = 0
    call["greeted"] = 0
    call["half_closed"] = 0
    call["owed_at"] = -1
    call["tag"] = -1
    call["waits"] = 0
    call["count"] = 0
    end.links[position]["calls"] += 1
    state["calls_open"] += 1
    return number


@kernel
def free_call(end: Any, number: int) -> None:
    """A call is over: give back what it holds. Its stream is the caller's to end."""
    call, state = end.calls[number], end.state[0]
    link = end.links[int(call["link"])]
    drop_body(end, number)
    if call["owed_at"] >= 0:
        forget_owed(end, number)
    if state["part_call"] == number:
        state["part_call"] = -1
    call["generation"] += 1
    call["link"] = -1
    call["next"] = state["call_free"]
    state["call_free"] = number
    link["calls"] -= 1
    state["calls_open"] -= 1


@kernel
def drop_body(end: Any, number: int) -> None:
    """Give back the buffer of a call's message under way, if there is one."""
    call = end.calls[number]
    if call["at"] >= 0:
        end.links[int(call["link"])]["held_bytes"] -= call["room"]
    grpc.release(call, end.state[0]["pool"], end.arena)


@kernel
def forget_owed(end: Any, number: int) -> None:
    """Take a call out of its connection's list of those that are owed something, and give the buffer back."""
    call = end.calls[number]
    link = end.links[int(call["link"])]
    before = -1
    other = int(link["owed"])
    while other != number:
        before = other
        other = int(end.calls[other]["next"])
    if before < 0:
        link["owed"] = call["next"]
    else:
        end.calls[before]["next"] = call["next"]
    if link["owed_last"] == number:
        link["owed_last"] = before
    link["held_bytes"] -= call["owed_room"]
    grpc_pool.give(end.state[0]["pool"], end.arena, int(call["owed_at"]), int(call["owed_room"]))
    call["owed_at"] = -1
    call["next"] = -1


@kernel
def end_stream(end: Any, number: int, status: int) -> None:
    """This end wrote END_STREAM: the call is over."""
    call = end.calls[number]
    leave_stream(end, int(call["link"]), int(call["stream"]))
    end.handled[int(call["method"]) * STATUSES + status] += 1
    free_call(end, number)


@kernel
def leave_stream(end: Any, position: int, stream: int) -> None:
    """This end wrote END_STREAM: a peer that has not ended its side is told that it need not."""
    h2 = end.http2[position]
    place = http2_frames.find_place(h2, stream, stream)
    h2["streams"][place]["tag"] = -1
    if not http2_frames.end_local(h2, place):
        reset_stream(end, position, place, NO_ERROR)


@kernel
def reset_stream(end: Any, position: int, place: int, reason: int) -> None:
    """Give a live stream up and tell the peer."""
    link = end.links[position]
    if sockets.room(end, position, FRAME_HEADER_BYTES + 4):
        at = int(link["tx_at"]) + int(link["tx_end"])
        to = http2_frames.reset_stream(end.http2[position], place, reason, end.arena, at)
        link["tx_end"] += to - at
        sockets.mark_dirty(end, position)
    else:
        link["broken"] = UNSENT


@kernel
def cancel(end: Any, number: int, reason: int) -> None:
    """End a call by RST_STREAM."""
    call = end.calls[number]
    position, stream = int(call["link"]), int(call["stream"])
    reset_stream(end, position, http2_frames.find_place(end.http2[position], stream, stream), reason)
    end.handled[int(call["method"]) * STATUSES + grpc.CANCELLED] += 1
    free_call(end, number)


@kernel
def open_response(end: Any, number: int, bytes_max: int) -> int:
    """Where in the arena a message of at most ``bytes_max`` bytes is to be written, or -1: no room for it.

    On a call that is owed a response already it goes behind that one, up to QUEUED_BYTES_MAX in all.
    """
    call, state = end.calls[number], end.state[0]
    position, stream = int(call["link"]), int(call["stream"])
    link, h2 = end.links[position], end.http2[position]
    if call["owed_at"] >= 0:
        return open_queued(end, number, bytes_max + grpc.PREFIX_BYTES)
    size = bytes_max + grpc.PREFIX_BYTES
    unsent = int(link["tx_end"]) - int(link["tx_start"])
    if size <= FRAME_BYTES_MAX and size <= h2["send_window"] and unsent + size + AROUND_BYTES <= TX_RESPONSES_MAX:
        place = http2_frames.find_place(h2, stream, stream)
        if size <= h2["streams"][place]["send_window"] and sockets.room(end, position, size + AROUND_BYTES):
            at = int(link["tx_at"]) + int(link["tx_end"])
            if call["greeted"] == 0:
                at += FRAME_HEADER_BYTES + int(state["headers_bytes"])
            state["open_at"] = at + FRAME_HEADER_BYTES
            state["open_way"] = DIRECT
            return at + FRAME_HEADER_BYTES + grpc.PREFIX_BYTES
    if not sockets.may_hold(end, position, size):
        return -1
    buffer = grpc_pool.take(state["pool"], end.arena, size)
    if buffer < 0:
        return -1
    state["open_at"] = buffer
    state["open_room"] = size
    state["open_way"] = POOLED
    return buffer + grpc.PREFIX_BYTES


@kernel
def open_queued(end: Any, number: int, size: int) -> int:
    """``open_response`` behind what a call is owed already; ``size`` holds the prefix."""
    call, state = end.calls[number], end.state[0]
    link = end.links[int(call["link"])]
    have, room = int(call["owed_size"]), int(call["owed_room"])
    if have + size > QUEUED_BYTES_MAX:
        return -1
    if have + size > room:
        wider = max(2 * room, have + size)
        if not sockets.may_hold(end, int(call["link"]), wider - room):
            return -1
        buffer = grpc_pool.take(state["pool"], end.arena, wider)
        if buffer < 0:
            return -1
        copy(end.arena, buffer, end.arena, int(call["owed_at"]), have)
        grpc_pool.give(state["pool"], end.arena, int(call["owed_at"]), room)
        link["held_bytes"] += wider - room
        call["owed_at"] = buffer
        call["owed_room"] = wider
    state["open_at"] = call["owed_at"] + have
    state["open_way"] = QUEUED
    return int(state["open_at"]) + grpc.PREFIX_BYTES


@kernel
def is_scarce(end: Any) -> bool:
    """Whether the response being opened would wait in a pool of which half is in use: so that others find room yet."""
    state = end.state[0]
    return state["open_way"] != DIRECT and bool(2 * state["pool"]["held"] > len(end.arena) - POOL_AT)


@kernel
def abandon_response(end: Any) -> None:
    """Nothing was written where ``open_response`` said."""
    state = end.state[0]
    if state["open_way"] == POOLED:
        grpc_pool.give(state["pool"], end.arena, int(state["open_at"]), int(state["open_room"]))


@kernel
def close_response(end: Any, number: int, size: int, last: bool) -> None:
    """A message of ``size`` bytes lies where ``open_response`` said. ``last``: success follows, and the call ends."""
    call, state = end.calls[number], end.state[0]
    position, stream = int(call["link"]), int(call["stream"])
    link, h2 = end.links[position], end.http2[position]
    at = int(state["open_at"])
    grpc.write_prefix(end.arena, at, size)
    sockets.mark_dirty(end, position)
    if state["open_way"] == POOLED:
        fit(end, size + grpc.PREFIX_BYTES)
        owe(end, number, int(state["open_at"]), int(state["open_room"]), size + grpc.PREFIX_BYTES, last)
        return
    if state["open_way"] == QUEUED:
        call["owed_size"] += size + grpc.PREFIX_BYTES
        call["owed_ends"] = 1 if last else 0
        return
    write_headers(end, number)
    whole = size + grpc.PREFIX_BYTES
    http2_frames.write_frame_header(end.arena, at - FRAME_HEADER_BYTES, whole, DATA, 0, stream)
    link["tx_end"] += FRAME_HEADER_BYTES + whole
    h2["send_window"] -= whole
    h2["streams"][http2_frames.find_place(h2, stream, stream)]["send_window"] -= whole
    if last:
        write_trailers(end, number)


@kernel
def fit(end: Any, size: int) -> None:
    """Move a response of ``size`` bytes into the smallest buffer that holds it: it may wait there for long."""
    state, pool = end.state[0], end.state[0]["pool"]
    at, room = int(state["open_at"]), int(state["open_room"])
    if grpc_pool.class_of(size) == grpc_pool.class_of(room):
        return
    buffer = grpc_pool.take(pool, end.arena, size)
    if buffer < 0:
        return
    copy(end.arena, buffer, end.arena, at, size)
    grpc_pool.give(pool, end.arena, at, room)
    state["open_at"] = buffer
    state["open_room"] = size


@kernel
def owe(end: Any, number: int, buffer: int, room: int, size: int, last: bool) -> None:
    """A response waits in the pool for the windows; ``room``: what its buffer was taken for."""
    call = end.calls[number]
    link = end.links[int(call["link"])]
    call["owed_at"] = buffer
    call["owed_room"] = room
    call["owed_size"] = size
    call["owed_sent"] = 0
    call["owed_ends"] = 1 if last else 0
    call["next"] = -1
    if link["owed"] < 0:
        link["owed"] = number
    else:
        end.calls[int(link["owed_last"])]["next"] = number
    link["owed_last"] = number
    link["held_bytes"] += room


@kernel
def write_headers(end: Any, number: int) -> None:
    """The response's headers, unless they are sent; there is room in tx."""
    call, state = end.calls[number], end.state[0]
    if call["greeted"] != 0:
        return
    call["greeted"] = 1
    link = end.links[int(call["link"])]
    size = int(state["headers_bytes"])
    at = int(link["tx_at"]) + int(link["tx_end"])
    body = http2_frames.write_frame_header(end.arena, at, size, HEADERS, FLAG_END_HEADERS, int(call["stream"]))
    copy(end.arena, body, state["headers"], 0, size)
    link["tx_end"] += FRAME_HEADER_BYTES + size


@kernel
def write_trailers(end: Any, number: int) -> None:
    """Success: the call's last frame; there is room in tx."""
    call, state = end.calls[number], end.state[0]
    link = end.links[int(call["link"])]
    size = int(state["trailers_bytes"])
    flags = FLAG_END_HEADERS | FLAG_END_STREAM
    at = int(link["tx_at"]) + int(link["tx_end"])
    body = http2_frames.write_frame_header(end.arena, at, size, HEADERS, flags, int(call["stream"]))
    copy(end.arena, body, state["trailers"], 0, size)
    link["tx_end"] += FRAME_HEADER_BYTES + size
    end_stream(end, number, grpc.OK)


@kernel
def finish(end: Any, number: int) -> None:
    """End a call of many responses with success, once what it is owed is sent."""
    call = end.calls[number]
    position = int(call["link"])
    if call["owed_at"] >= 0:
        call["owed_ends"] = 1
        return
    if sockets.room(end, position, 2 * AROUND_BYTES):
        write_headers(end, number)
        write_trailers(end, number)
        sockets.mark_dirty(end, position)
    else:
        end.links[position]["broken"] = UNSENT


@kernel
def fail(end: Any, number: int, status: int, size: int) -> None:
    """End a call with a status other than success and the first ``size`` bytes of the state's ``text``.

    They need no escapes (printable ASCII without ``%``). What the call is still owed is not sent.
    """
    call = end.calls[number]
    refuse_stream(end, int(call["link"]), int(call["stream"]), int(call["greeted"]), status, size)
    end_stream(end, number, status)


@kernel
def fail_store(end: Any, number: int, code: int) -> None:
    """End a call with a StoreError."""
    size = statuses.write_text(end.state[0]["text"], 0, code)
    fail(end, number, statuses.grpc_status(code), size)


@kernel
def refuse_stream(end: Any, position: int, stream: int, greeted: int, status: int, size: int) -> None:
    """Write the HEADERS frame that ends a stream with a status and the first ``size`` bytes of the state's ``text``.

    These are trailers, behind headers unless those were sent.
    """
    link = end.links[position]
    if not sockets.room(end, position, AROUND_BYTES + size):
        link["broken"] = UNSENT
        return
    frame = int(link["tx_at"]) + int(link["tx_end"])
    to = frame + FRAME_HEADER_BYTES
    if greeted == 0:
        copy(end.arena, to, _PIECES, 0, _HEAD_BYTES)
        to += _HEAD_BYTES
    copy(end.arena, to, _PIECES, _HEAD_BYTES, _STATUS_BYTES)
    to += _STATUS_BYTES
    if status >= 10:
        end.arena[to] = 2
        end.arena[to + 1] = 48 + status // 10
        to += 1
    else:
        end.arena[to] = 1
    end.arena[to + 1] = 48 + status % 10
    to += 2
    copy(end.arena, to, _PIECES, _HEAD_BYTES + _STATUS_BYTES, _MESSAGE_BYTES)
    to = hpack.write_string(end.arena, to + _MESSAGE_BYTES, end.state[0]["text"], 0, size)
    flags = FLAG_END_HEADERS | FLAG_END_STREAM
    http2_frames.write_frame_header(end.arena, frame, to - frame - FRAME_HEADER_BYTES, HEADERS, flags, stream)
    link["tx_end"] += to - frame
    sockets.mark_dirty(end, position)


@kernel
def list_writable(end: Any, number: int) -> None:
    """Have ``take_writable`` name a call."""
    call = end.calls[number]
    if call["listed"] == 0:
        call["listed"] = 1
        end.writable[0] += 1
        end.writable[end.writable[0]] = number


@kernel
def take_writable(end: Any) -> int:
    """A call, of those with ``waits``, that is owed nothing any more, or -1. It may be over, or another one by now."""
    count = int(end.writable[0])
    if count == 0:
        return -1
    number = int(end.writable[count])
    end.writable[0] = count - 1
    end.calls[number]["listed"] = 0
    return number


@kernel
def pay(end: Any, position: int) -> bool:
    """Write what the calls of a connection are owed, as far as windows and tx allow. Returns whether anything was.

    One frame of each call in turn, so that a large response does not hold up a small one.
    """
    link, h2 = end.links[position], end.http2[position]
    paid = False
    again = True
    while again:
        again = False
        number = int(link["owed"])
        while number >= 0:
            following = int(end.calls[number]["next"])
            unsent = int(link["tx_end"]) - int(link["tx_start"])
            if unsent + AROUND_BYTES >= TX_RESPONSES_MAX or h2["send_window"] <= 0:
                return paid
            if pay_frame(end, position, number, TX_RESPONSES_MAX - unsent - AROUND_BYTES):
                paid = True
                again = True
            number = following
    return paid


@kernel
def pay_frame(end: Any, position: int, number: int, tx_left: int) -> bool:
    """Write one frame of what a call is owed, and what follows it when that was all. Returns whether that was done."""
    link, h2, call = end.links[position], end.http2[position], end.calls[number]
    stream = int(call["stream"])
    place = http2_frames.find_place(h2, stream, stream)
    left = int(call["owed_size"]) - int(call["owed_sent"])
    window = min(int(h2["send_window"]), int(h2["streams"][place]["send_window"]))
    piece = min(min(left, window), min(FRAME_BYTES_MAX, tx_left))
    if piece <= 0 or not sockets.room(end, position, piece + AROUND_BYTES):
        return False
    write_headers(end, number)
    at = int(link["tx_at"]) + int(link["tx_end"])
    body = http2_frames.write_frame_header(end.arena, at, piece, DATA, 0, stream)
    copy(end.arena, body, end.arena, call["owed_at"] + call["owed_sent"], piece)
    link["tx_end"] += FRAME_HEADER_BYTES + piece
    h2["send_window"] -= piece
    h2["streams"][place]["send_window"] -= piece
    call["owed_sent"] += piece
    if piece == left:
        forget_owed(end, number)
        if call["owed_ends"] == 1:
            write_trailers(end, number)
        elif call["waits"] == 1:
            call["waits"] = 0
            list_writable(end, number)
    return True
