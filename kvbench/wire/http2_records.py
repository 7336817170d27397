"""HTTP/2's numbers, errors and state (RFC 9113)."""

from enum import IntEnum

import numpy as np

from kvbench.wire.hpack import DECODER, HEADER_LIST

CLIENT, SERVER = 0, 1
"""A connection's role."""

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PREFACE_BYTES = len(PREFACE)
FRAME_HEADER_BYTES = 9
FRAME_BYTES_MAX = 16384
"""Largest payload that this end accepts: the protocol's default, never raised."""
BLOCK_BYTES_MAX = 65536
"""Largest header block that is assembled from CONTINUATION frames."""
WINDOW_DEFAULT = 65535
WINDOW_MAX = (1 << 31) - 1
STREAM_ID_MAX = (1 << 31) - 1
STREAM_WINDOW = 1 << 30
"""What this end grants each stream; a connection gets WINDOW_MAX."""
CONTROL_ROOM_BYTES = 64
"""Room in tx that processing one frame may need for what it answers."""

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = 0, 1, 2, 3, 4
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 5, 6, 7, 8, 9
"""Frame types."""
FLAG_ACK = FLAG_END_STREAM = 1
FLAG_END_HEADERS, FLAG_PADDED, FLAG_PRIORITY = 4, 8, 32
SET_TABLE_SIZE, SET_PUSH, SET_STREAMS_MAX, SET_INITIAL_WINDOW, SET_FRAME_MAX, SET_LIST_MAX = 1, 2, 3, 4, 5, 6
"""Setting identifiers."""


class Reason(IntEnum):
    """HTTP/2's own error codes, as RST_STREAM and GOAWAY carry them (section 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


NO_ERROR, PROTOCOL_ERROR, FLOW_CONTROL_ERROR = 0, 1, 3
STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 5, 6, 7, 8, 9, 11


class Http2Error(IntEnum):
    """Why a connection cannot go on. A header block that cannot be decoded is an HpackError instead."""

    BAD_PREFACE = -200
    """A client did not begin with the connection preface."""
    FRAME_TOO_LARGE = -201
    """A frame larger than this end accepts."""
    BAD_FRAME_SIZE = -202
    """A frame whose length its type does not allow."""
    BAD_STREAM_ID = -203
    """A frame on stream 0 that needs a stream, or the other way round, or a stream id that the peer may not use."""
    BAD_PADDING = -204
    """Padding longer than the frame."""
    BAD_SETTING = -205
    """A setting with a value that it may not have."""
    WINDOW_EXCEEDED = -206
    """The peer sent more than the connection's window allows."""
    WINDOW_OVERFLOW = -207
    """A window grew beyond 2**31 - 1."""
    ZERO_INCREMENT = -208
    """A WINDOW_UPDATE of 0 for the connection."""
    CONTINUATION_EXPECTED = -209
    """Another frame inside a header block."""
    UNEXPECTED_CONTINUATION = -210
    """CONTINUATION without a header block under way."""
    BLOCK_TOO_LARGE = -211
    """A header block larger than BLOCK_BYTES_MAX."""
    IDLE_STREAM = -212
    """A frame on a stream that nobody opened."""
    PUSHED = -213
    """PUSH_PROMISE, which this end has switched off."""
    SETTINGS_EXPECTED = -214
    """The peer's first frame is not SETTINGS."""
    PING_UNANSWERED = -215
    """The peer did not answer a PING in time."""
    DRAINED = -216
    """The peer said GOAWAY (or stream ids ran out) and all that was accepted is finished: connect again."""


(
    BAD_PREFACE,
    FRAME_TOO_LARGE,
    BAD_FRAME_SIZE,
    BAD_STREAM_ID,
    BAD_PADDING,
    BAD_SETTING,
    WINDOW_EXCEEDED,
    WINDOW_OVERFLOW,
    ZERO_INCREMENT,
    CONTINUATION_EXPECTED,
    UNEXPECTED_CONTINUATION,
    BLOCK_TOO_LARGE,
    IDLE_STREAM,
    PUSHED,
    SETTINGS_EXPECTED,
    PING_UNANSWERED,
    DRAINED,
) = (int(code) for code in Http2Error)


class Event(IntEnum):
    """What ``next_event`` found."""

    NEED_MORE = 0
    """No complete frame left."""
    HEADERS = 1
    """A header block of a live stream is complete."""
    DATA = 2
    """A piece of a live stream's body (may be empty when it ends the stream)."""
    RESET = 3
    """A live stream is gone: the peer reset it, or this end did because of an error on it (``code``)."""
    GOAWAY = 4
    """The peer accepts no further streams; those above ``stream`` were not processed."""
    SETTINGS = 5
    """The peer's settings came and are in force."""
    WINDOW = 6
    """A window for sending grew."""
    PING_ANSWERED = 7
    NO_ROOM = 8
    """Stopped: tx has no room for what the next frame may need."""


NEED_MORE, EVENT_HEADERS, EVENT_DATA, EVENT_RESET, EVENT_GOAWAY = 0, 1, 2, 3, 4
EVENT_SETTINGS, EVENT_WINDOW, EVENT_PING_ANSWERED, NO_ROOM = 5, 6, 7, 8
NOTHING = -1
"""Inside the state machine: the frame is dealt with and there is nothing to tell."""

REMOTE_CLOSED, LOCAL_CLOSED, HEADERS_SEEN = 1, 2, 4
"""Bits of a stream's state."""

STREAM = np.dtype(
    [
        ("id", np.int64),  # 0: this place is free
        ("state", np.int64),
        ("tag", np.int64),  # the user's
        ("send_window", np.int64),
        ("receive_left", np.int64),
    ],
    align=True,
)

EVENT = np.dtype(
    [
        ("rx_at", np.int64),  # how far rx was consumed
        ("tx_at", np.int64),  # how far tx was written
        ("stream", np.int64),
        ("place", np.int64),  # the stream's place in ``streams``; free already when ``closed``
        ("tag", np.int64),
        ("at", np.int64),  # DATA: where the bytes are in rx
        ("size", np.int64),
        ("ends_stream", np.int64),  # 1: the peer sends nothing more on it
        ("closed", np.int64),  # 1: both directions are closed, the place is free
        ("first", np.int64),  # HEADERS: 1 for the stream's first block
        ("fields", np.int64),  # HEADERS: how many fields ``listed`` holds; -1: known block, see ``meaning``
        ("meaning", np.int64),  # HEADERS: what ``remember`` was told of the same bytes before
        ("code", np.int64),  # RESET, GOAWAY: Reason
        ("block_at", np.int64),  # HEADERS: the block's bytes in rx, -1: not in rx
        ("block_size", np.int64),
    ],
    align=True,
)

MEMO_BYTES = 192
"""Longest header block that is remembered."""
SHARED_MEMOS = 8
OWN_MEMOS = 4
MEMO = np.dtype(
    [
        ("size", np.int64),  # 0: empty
        ("version", np.int64),  # own memos: the dynamic table that the block was read with
        ("meaning", np.int64),
        ("reserved", np.int64),
    ],
    align=True,
)
"""A header block seen before: its bytes lie in ``memo_text`` at the same position times MEMO_BYTES."""

PROBES = 8
"""How many neighbouring places of the ring a stream may lie in."""
RING_MAX = 1024
"""Places for streams in a connection's record; how many are used is a setting."""

HTTP2 = np.dtype(
    [
        ("role", np.int64),
        ("ring", np.int64),  # places for streams in use, a power of two
        ("ring_first", np.int64),  # how many of them a new connection uses; a server's ring grows when they are full
        ("ring_max", np.int64),
        ("preface_left", np.int64),  # server: bytes of the client's preface still to come
        ("settings_seen", np.int64),
        ("settings_acked", np.int64),
        ("next_stream", np.int64),  # client: id of the next stream
        ("last_peer_stream", np.int64),  # server: highest id that the peer opened
        ("live", np.int64),  # streams in the table
        ("draining", np.int64),  # 1: no new streams
        ("goaway_last", np.int64),
        ("goaway_reason", np.int64),
        ("send_window", np.int64),
        ("receive_left", np.int64),  # what the peer may still send on this connection
        ("receive_window", np.int64),  # its full size
        ("stream_window", np.int64),  # full size of each stream's receive window
        ("peer_initial_window", np.int64),
        ("peer_frame_max", np.int64),
        ("peer_streams_max", np.int64),
        ("peer_table_size", np.int64),
        ("block_stream", np.int64),  # a header block is being assembled for this stream; 0: none
        ("block_bytes", np.int64),
        ("block_ends_stream", np.int64),
        ("idle_frames", np.int64),  # frames so far that brought a stream nothing: a flood of them is an attack
        ("memos_written", np.int64),  # how many of its own memos were ever written
        ("memos", MEMO, (OWN_MEMOS,)),  # blocks seen before that use the dynamic table as it is
        ("memo_text", np.uint8, (OWN_MEMOS * MEMO_BYTES,)),
        ("streams", STREAM, (RING_MAX,)),  # stream s lies at (s // 2 + i) % ring for some i < PROBES
        ("decoder", DECODER),
        ("block", np.uint8, (BLOCK_BYTES_MAX,)),  # a header block that comes in pieces
    ],
    align=True,
)
"""A connection. Large, but memory is touched only as far as it is used."""

HTTP2_SHARED = np.dtype(
    [
        ("event", EVENT),
        ("memos", MEMO, (SHARED_MEMOS,)),  # blocks seen before that use no dynamic table
        ("memo_text", np.uint8, (SHARED_MEMOS * MEMO_BYTES,)),
        ("listed", HEADER_LIST),
        ("preface", np.uint8, (PREFACE_BYTES,)),
    ],
    align=True,
)
"""What a thread's connections share."""


def set_up(connections: np.ndarray, shared: np.ndarray, role: int, ring: int, ring_first: int = 0) -> None:
    """Settings of fresh HTTP2[n] records and one HTTP2_SHARED record; ``http2_frames.begin`` each before use.

    ``ring``: most streams a connection, a power of two in PROBES .. RING_MAX; ValueError if it is not. With
    ``ring_first``, another one, a server's connection begins with so few places, touches little memory, and gets more
    when they are full: a stream's place then changes during its life. Both receive windows are as large as the
    protocol allows or nearly so, so that answers keep flowing.
    """
    for places in (ring, ring_first or ring):
        if places < PROBES or places > RING_MAX or places & (places - 1):
            raise ValueError(f"streams a connection must be a power of two from {PROBES} to {RING_MAX}, not {places}")
    connections["role"] = role
    connections["ring"] = connections["ring_max"] = ring
    connections["ring_first"] = ring_first or ring
    connections["stream_window"] = STREAM_WINDOW
    connections["receive_window"] = WINDOW_MAX
    shared["preface"] = np.frombuffer(PREFACE, np.uint8)
