"""HTTP/2 as a state machine without IO: bytes in, events out, control frames answered into a buffer (RFC 9113).

One machine serves both roles. The caller feeds the unread bytes of a connection to ``next_event`` until it says
NEED_MORE; each call consumes frames up to the first that the caller has to know of. Headers and bodies are written by
the caller with http2_frames, after ``open_stream`` (client), within the windows in the connection's and the stream's
``send_window``, which the caller counts down.
"""

from typing import Any

from kvbench.jit import kernel
from kvbench.rt.buffer import copy, equal, load_be16, load_be32, load_be64
from kvbench.wire import hpack
from kvbench.wire.hpack import LIST_TOO_LARGE
from kvbench.wire.http2_frames import (
    fill_place,
    find_place,
    free_stream,
    grow_ring,
    write_goaway,
    write_ping,
    write_rst_stream,
    write_settings_ack,
    write_window_update,
)
from kvbench.wire.http2_records import (
    BAD_FRAME_SIZE,
    BAD_PADDING,
    BAD_PREFACE,
    BAD_SETTING,
    BAD_STREAM_ID,
    BLOCK_BYTES_MAX,
    BLOCK_TOO_LARGE,
    CLIENT,
    COMPRESSION_ERROR,
    CONTINUATION,
    CONTINUATION_EXPECTED,
    CONTROL_ROOM_BYTES,
    DATA,
    ENHANCE_YOUR_CALM,
    EVENT_DATA,
    EVENT_GOAWAY,
    EVENT_HEADERS,
    EVENT_PING_ANSWERED,
    EVENT_RESET,
    EVENT_SETTINGS,
    EVENT_WINDOW,
    FLAG_ACK,
    FLAG_END_HEADERS,
    FLAG_END_STREAM,
    FLAG_PADDED,
    FLAG_PRIORITY,
    FLOW_CONTROL_ERROR,
    FRAME_BYTES_MAX,
    FRAME_HEADER_BYTES,
    FRAME_SIZE_ERROR,
    FRAME_TOO_LARGE,
    GOAWAY,
    HEADERS,
    HEADERS_SEEN,
    IDLE_STREAM,
    LOCAL_CLOSED,
    MEMO_BYTES,
    NEED_MORE,
    NO_ROOM,
    NOTHING,
    OWN_MEMOS,
    PING,
    PREFACE_BYTES,
    PRIORITY,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    PUSHED,
    REFUSED_STREAM,
    REMOTE_CLOSED,
    RST_STREAM,
    SET_FRAME_MAX,
    SET_INITIAL_WINDOW,
    SET_PUSH,
    SET_STREAMS_MAX,
    SET_TABLE_SIZE,
    SETTINGS,
    SETTINGS_EXPECTED,
    SHARED_MEMOS,
    STREAM_CLOSED,
    UNEXPECTED_CONTINUATION,
    WINDOW_EXCEEDED,
    WINDOW_MAX,
    WINDOW_OVERFLOW,
    WINDOW_UPDATE,
    ZERO_INCREMENT,
)


@kernel
def next_event(h2: Any, shared: Any, rx: Any, at: int, end: int, tx: Any, tx_at: int, tx_end: int) -> int:
    """Consume frames from ``rx[at:end]`` up to one that makes an event; answers go to ``tx[tx_at:tx_end]``.

    ``h2`` is the connection's HTTP2 record, ``shared`` the HTTP2_SHARED one. Returns an Event (its details, and how
    far rx was read and tx written, are in ``shared["event"]``), or a negative Http2Error or HpackError after writing
    GOAWAY: the connection cannot go on. rx must be able to hold FRAME_BYTES_MAX + FRAME_HEADER_BYTES bytes, because a
    frame is dealt with when all of it is there.
    """
    event = shared["event"]
    event["tx_at"] = tx_at
    event["rx_at"] = at
    if h2["preface_left"] > 0:
        at = _read_preface(h2, shared, rx, at, end)
        if at < 0:
            return at
        event["rx_at"] = at
    while end - at >= FRAME_HEADER_BYTES:
        word = load_be32(rx, at)
        size = word >> 8
        body = at + FRAME_HEADER_BYTES
        if size > FRAME_BYTES_MAX:
            return _fail(h2, tx, tx_end, event, FRAME_TOO_LARGE)
        if end - body < size:
            return NEED_MORE
        if tx_end - event["tx_at"] < CONTROL_ROOM_BYTES:
            return NO_ROOM
        kind = word & 255
        flags = int(rx[at + 4])
        stream = load_be32(rx, at + 5) & WINDOW_MAX
        at = body + size
        event["rx_at"] = at
        if h2["block_stream"] != 0 and (kind != CONTINUATION or stream != h2["block_stream"]):
            return _fail(h2, tx, tx_end, event, CONTINUATION_EXPECTED)
        if kind == DATA:
            found = _data(h2, rx, body, size, flags, stream, tx, event)
        elif kind == HEADERS or kind == CONTINUATION:
            found = _headers(h2, shared, rx, body, size, kind, flags, stream, tx, event)
        else:
            h2["idle_frames"] += 1
            found = _control(h2, rx, body, size, kind, flags, stream, tx, event)
        if found >= 0:
            return found
        if found != NOTHING:
            return _fail(h2, tx, tx_end, event, found)
        if kind == DATA or kind == HEADERS or kind == CONTINUATION:
            h2["idle_frames"] += 1
    return NEED_MORE


@kernel
def _read_preface(h2: Any, shared: Any, rx: Any, at: int, end: int) -> int:
    """Check what there is of the client's preface. Returns the position behind it, or BAD_PREFACE."""
    size = min(int(h2["preface_left"]), end - at)
    if not equal(rx, at, shared["preface"], PREFACE_BYTES - h2["preface_left"], size):
        return BAD_PREFACE
    h2["preface_left"] -= size
    return at + size


@kernel
def wire_reason(code: int) -> int:
    """The Reason that tells the peer of a negative Http2Error or HpackError."""
    if code <= -300 and code != LIST_TOO_LARGE:
        return COMPRESSION_ERROR
    if code == FRAME_TOO_LARGE or code == BAD_FRAME_SIZE:
        return FRAME_SIZE_ERROR
    if code == WINDOW_EXCEEDED or code == WINDOW_OVERFLOW:
        return FLOW_CONTROL_ERROR
    if code == BLOCK_TOO_LARGE or code == LIST_TOO_LARGE:
        return ENHANCE_YOUR_CALM
    return PROTOCOL_ERROR


@kernel
def _fail(h2: Any, tx: Any, tx_end: int, event: Any, code: int) -> int:
    """Tell the peer why the connection ends. Returns ``code``."""
    if tx_end - event["tx_at"] >= CONTROL_ROOM_BYTES:
        last = h2["last_peer_stream"]
        event["tx_at"] = write_goaway(tx, event["tx_at"], last, wire_reason(code))
    return code


@kernel
def _tell(h2: Any, place: int, stream: int, event: Any) -> None:
    """Name the stream in the event."""
    event["stream"] = stream
    event["place"] = place
    event["tag"] = h2["streams"][place]["tag"]
    event["ends_stream"] = 0
    event["closed"] = 0


@kernel
def _end_remote(h2: Any, place: int, event: Any) -> None:
    """The peer ended the stream."""
    event["ends_stream"] = 1
    entry = h2["streams"][place]
    entry["state"] |= REMOTE_CLOSED
    if entry["state"] & LOCAL_CLOSED:
        event["closed"] = 1
        free_stream(h2, place)


@kernel
def _stream_error(h2: Any, place: int, stream: int, reason: int, tx: Any, event: Any) -> int:
    """Reset a stream because of what the peer did on it. Returns EVENT_RESET, or NOTHING if it was not live."""
    event["tx_at"] = write_rst_stream(tx, event["tx_at"], stream, reason)
    if place < 0:
        return NOTHING
    _tell(h2, place, stream, event)
    event["ends_stream"] = 1
    event["closed"] = 1
    event["code"] = reason
    free_stream(h2, place)
    return EVENT_RESET


@kernel
def _is_idle(h2: Any, stream: int) -> bool:
    """Whether a stream was never opened."""
    if stream & 1 == 0:
        return True
    if h2["role"] == CLIENT:
        return stream >= int(h2["next_stream"])
    return stream > int(h2["last_peer_stream"])


@kernel
def _data(h2: Any, rx: Any, body: int, size: int, flags: int, stream: int, tx: Any, event: Any) -> int:
    """A DATA frame: windows, padding, the stream's state."""
    if stream == 0:
        return BAD_STREAM_ID
    if h2["settings_seen"] == 0:
        return SETTINGS_EXPECTED
    h2["receive_left"] -= size
    left = h2["receive_left"]
    if left < h2["receive_window"] >> 1:
        if left < 0:
            return WINDOW_EXCEEDED
        event["tx_at"] = write_window_update(tx, event["tx_at"], 0, h2["receive_window"] - left)
        h2["receive_left"] = h2["receive_window"]
    at, length = body, size
    if flags & FLAG_PADDED:
        if size == 0 or int(rx[body]) >= size:
            return BAD_PADDING
        at = body + 1
        length = size - 1 - int(rx[body])
    place = find_place(h2, stream, stream)
    if place < 0:
        return IDLE_STREAM if _is_idle(h2, stream) else NOTHING
    entry = h2["streams"][place]
    if entry["state"] & REMOTE_CLOSED:
        return _stream_error(h2, place, stream, STREAM_CLOSED, tx, event)
    entry["receive_left"] -= size
    if entry["receive_left"] < 0:
        return _stream_error(h2, place, stream, FLOW_CONTROL_ERROR, tx, event)
    _tell(h2, place, stream, event)
    event["at"] = at
    event["size"] = length
    if flags & FLAG_END_STREAM:
        _end_remote(h2, place, event)
    elif entry["receive_left"] < h2["stream_window"] >> 1:
        missing = h2["stream_window"] - entry["receive_left"]
        event["tx_at"] = write_window_update(tx, event["tx_at"], stream, missing)
        entry["receive_left"] = h2["stream_window"]
    return EVENT_DATA


@kernel
def _headers(
    h2: Any, shared: Any, rx: Any, body: int, size: int, kind: int, flags: int, stream: int, tx: Any, event: Any
) -> int:
    """A HEADERS or CONTINUATION frame; a block in several frames is put together in ``blocks``."""
    if stream == 0:
        return BAD_STREAM_ID
    if h2["settings_seen"] == 0:
        return SETTINGS_EXPECTED
    at, length = body, size
    if kind == HEADERS:
        padding = 0
        if flags & FLAG_PADDED:
            if size == 0:
                return BAD_PADDING
            padding = int(rx[body])
            at += 1
        if flags & FLAG_PRIORITY:
            at += 5
        length = body + size - padding - at
        if length < 0:
            return BAD_PADDING
        ends_stream = flags & FLAG_END_STREAM
        if flags & FLAG_END_HEADERS:
            event["block_at"] = at
            return _block(h2, shared, rx, at, length, stream, ends_stream, tx, event)
        h2["block_stream"] = stream
        h2["block_bytes"] = 0
        h2["block_ends_stream"] = ends_stream
    elif h2["block_stream"] == 0:
        return UNEXPECTED_CONTINUATION
    if h2["block_bytes"] + length > BLOCK_BYTES_MAX:
        return BLOCK_TOO_LARGE
    copy(h2["block"], h2["block_bytes"], rx, at, length)
    h2["block_bytes"] += length
    if flags & FLAG_END_HEADERS == 0:
        return NOTHING
    h2["block_stream"] = 0
    event["block_at"] = -1
    ends_stream = h2["block_ends_stream"]
    return _block(h2, shared, h2["block"][:], 0, h2["block_bytes"], stream, ends_stream, tx, event)


@kernel
def _recall(h2: Any, shared: Any, buf: Any, at: int, size: int, event: Any) -> bool:
    """Whether a header block was seen before; its meaning goes into the event."""
    if size == 0:
        return False
    for memo in range(SHARED_MEMOS):
        entry = shared["memos"][memo]
        if entry["size"] == size and equal(shared["memo_text"], memo * MEMO_BYTES, buf, at, size):
            event["meaning"] = entry["meaning"]
            return True
    version = h2["decoder"]["version"]
    for memo in range(OWN_MEMOS):
        entry = h2["memos"][memo]
        if entry["size"] != size or entry["version"] != version:
            continue
        if equal(h2["memo_text"], memo * MEMO_BYTES, buf, at, size):
            event["meaning"] = entry["meaning"]
            return True
    return False


@kernel
def _block(
    h2: Any, shared: Any, buf: Any, at: int, size: int, stream: int, ends_stream: int, tx: Any, event: Any
) -> int:
    """A complete header block ``buf[at : at + size]``: decode or recognise it, then see which stream it is for.

    Blocks for streams that are gone are decoded too, for the dynamic table's sake.
    """
    event["block_size"] = size
    event["fields"] = -1
    if not _recall(h2, shared, buf, at, size, event):
        fields = hpack.decode(h2["decoder"], shared["listed"], buf, at, at + size)
        if fields < 0:
            return fields
        event["fields"] = fields
    place = find_place(h2, stream, stream)
    if place < 0:
        if not _is_idle(h2, stream):
            return NOTHING
        place = _accept_stream(h2, stream, tx, event)
        if place < 0:
            return place
    entry = h2["streams"][place]
    if entry["state"] & REMOTE_CLOSED:
        return _stream_error(h2, place, stream, STREAM_CLOSED, tx, event)
    _tell(h2, place, stream, event)
    event["first"] = 0 if entry["state"] & HEADERS_SEEN else 1
    entry["state"] |= HEADERS_SEEN
    if ends_stream:
        _end_remote(h2, place, event)
    return EVENT_HEADERS


@kernel
def _accept_stream(h2: Any, stream: int, tx: Any, event: Any) -> int:
    """HEADERS on an idle stream. Returns its place, NOTHING if it was refused, or an error."""
    if h2["role"] == CLIENT:
        return IDLE_STREAM
    if stream & 1 == 0:
        return BAD_STREAM_ID
    h2["last_peer_stream"] = stream
    place = find_place(h2, stream, 0)
    while place < 0 and grow_ring(h2):
        place = find_place(h2, stream, 0)
    if place < 0 or h2["draining"] != 0:
        event["tx_at"] = write_rst_stream(tx, event["tx_at"], stream, REFUSED_STREAM)
        return NOTHING
    fill_place(h2, place, stream, -1)
    return place


@kernel
def _control(h2: Any, rx: Any, body: int, size: int, kind: int, flags: int, stream: int, tx: Any, event: Any) -> int:
    """Every frame but DATA, HEADERS and CONTINUATION. Unknown types are ignored (section 4.1)."""
    if kind == SETTINGS:
        return _settings(h2, rx, body, size, flags, stream, tx, event)
    if h2["settings_seen"] == 0:
        return SETTINGS_EXPECTED
    if kind == WINDOW_UPDATE:
        return _window_update(h2, rx, body, size, stream, tx, event)
    if kind == PING:
        if stream != 0:
            return BAD_STREAM_ID
        if size != 8:
            return BAD_FRAME_SIZE
        if flags & FLAG_ACK:
            return EVENT_PING_ANSWERED
        event["tx_at"] = write_ping(tx, event["tx_at"], FLAG_ACK, load_be64(rx, body))
        return NOTHING
    if kind == RST_STREAM:
        return _rst_stream(h2, rx, body, size, stream, event)
    if kind == GOAWAY:
        if stream != 0:
            return BAD_STREAM_ID
        if size < 8:
            return BAD_FRAME_SIZE
        h2["draining"] = 1
        h2["goaway_last"] = load_be32(rx, body) & WINDOW_MAX
        h2["goaway_reason"] = load_be32(rx, body + 4)
        event["stream"] = h2["goaway_last"]
        event["code"] = h2["goaway_reason"]
        return EVENT_GOAWAY
    if kind == PRIORITY:
        if stream == 0:
            return BAD_STREAM_ID
        if size != 5:
            place = find_place(h2, stream, stream)
            return _stream_error(h2, place, stream, FRAME_SIZE_ERROR, tx, event)
        return NOTHING
    if kind == PUSH_PROMISE:
        return PUSHED
    return NOTHING


@kernel
def _rst_stream(h2: Any, rx: Any, body: int, size: int, stream: int, event: Any) -> int:
    """RST_STREAM: a live stream ends at once."""
    if stream == 0:
        return BAD_STREAM_ID
    if size != 4:
        return BAD_FRAME_SIZE
    place = find_place(h2, stream, stream)
    if place < 0:
        return IDLE_STREAM if _is_idle(h2, stream) else NOTHING
    _tell(h2, place, stream, event)
    event["ends_stream"] = 1
    event["closed"] = 1
    event["code"] = load_be32(rx, body)
    free_stream(h2, place)
    return EVENT_RESET


@kernel
def _window_update(h2: Any, rx: Any, body: int, size: int, stream: int, tx: Any, event: Any) -> int:
    """WINDOW_UPDATE for the connection or a stream."""
    if size != 4:
        return BAD_FRAME_SIZE
    increment = load_be32(rx, body) & WINDOW_MAX
    if stream == 0:
        if increment == 0:
            return ZERO_INCREMENT
        h2["send_window"] += increment
        return EVENT_WINDOW if h2["send_window"] <= WINDOW_MAX else WINDOW_OVERFLOW
    place = find_place(h2, stream, stream)
    if place < 0:
        return IDLE_STREAM if _is_idle(h2, stream) else NOTHING
    if increment == 0:
        return _stream_error(h2, place, stream, PROTOCOL_ERROR, tx, event)
    entry = h2["streams"][place]
    entry["send_window"] += increment
    if entry["send_window"] > WINDOW_MAX:
        return _stream_error(h2, place, stream, FLOW_CONTROL_ERROR, tx, event)
    return EVENT_WINDOW


@kernel
def _settings(h2: Any, rx: Any, body: int, size: int, flags: int, stream: int, tx: Any, event: Any) -> int:
    """SETTINGS: apply each in order and acknowledge, or take note that ours are in force."""
    if stream != 0:
        return BAD_STREAM_ID
    if flags & FLAG_ACK:
        if size != 0:
            return BAD_FRAME_SIZE
        if h2["settings_acked"] == 0 and h2["role"] == CLIENT:
            hpack.set_table_limit(h2["decoder"], 0)
        h2["settings_acked"] = 1
        return NOTHING
    if size % 6 != 0:
        return BAD_FRAME_SIZE
    for at in range(body, body + size, 6):
        code = _apply_setting(h2, load_be16(rx, at), load_be32(rx, at + 2))
        if code < 0:
            return code
    h2["settings_seen"] = 1
    event["tx_at"] = write_settings_ack(tx, event["tx_at"])
    return EVENT_SETTINGS


@kernel
def _apply_setting(h2: Any, name: int, value: int) -> int:
    """One setting of the peer. Returns 0 or an error. Unknown ones are ignored."""
    if name == SET_TABLE_SIZE:
        h2["peer_table_size"] = value
    elif name == SET_PUSH:
        if value > 1 or (value == 1 and h2["role"] == CLIENT):
            return BAD_SETTING
    elif name == SET_STREAMS_MAX:
        h2["peer_streams_max"] = value
    elif name == SET_FRAME_MAX:
        if value < FRAME_BYTES_MAX or value > (1 << 24) - 1:
            return BAD_SETTING
        h2["peer_frame_max"] = value
    elif name == SET_INITIAL_WINDOW:
        if value > WINDOW_MAX:
            return WINDOW_OVERFLOW
        change = value - h2["peer_initial_window"]
        h2["peer_initial_window"] = value
        for place in range(h2["ring"]):
            entry = h2["streams"][place]
            if entry["id"] != 0:
                entry["send_window"] += change
                if entry["send_window"] > WINDOW_MAX:
                    return WINDOW_OVERFLOW
    return 0
