"""Writing HTTP/2 frames and keeping the stream table. Writers return the position behind what they wrote."""

from typing import Any

from kvbench.jit import kernel
from kvbench.rt.buffer import copy, store_be16, store_be32, store_be64
from kvbench.wire import hpack
from kvbench.wire.http2_records import (
    CLIENT,
    FLAG_ACK,
    FRAME_BYTES_MAX,
    FRAME_HEADER_BYTES,
    GOAWAY,
    LOCAL_CLOSED,
    MEMO_BYTES,
    OWN_MEMOS,
    PING,
    PREFACE_BYTES,
    PROBES,
    REMOTE_CLOSED,
    RING_MAX,
    RST_STREAM,
    SERVER,
    SET_INITIAL_WINDOW,
    SET_LIST_MAX,
    SET_PUSH,
    SET_STREAMS_MAX,
    SET_TABLE_SIZE,
    SETTINGS,
    SHARED_MEMOS,
    STREAM_ID_MAX,
    WINDOW_DEFAULT,
    WINDOW_UPDATE,
)

GREETING_BYTES = 128
"""Room that ``greet`` needs."""


@kernel
def write_frame_header(tx: Any, at: int, size: int, kind: int, flags: int, stream: int) -> int:
    """The 9 bytes before a frame's payload of ``size`` bytes."""
    store_be32(tx, at, size << 8 | kind)
    tx[at + 4] = flags
    store_be32(tx, at + 5, stream)
    return at + FRAME_HEADER_BYTES


@kernel
def write_setting(tx: Any, at: int, name: int, value: int) -> int:
    """One setting of a SETTINGS frame."""
    store_be16(tx, at, name)
    store_be32(tx, at + 2, value)
    return at + 6


@kernel
def write_window_update(tx: Any, at: int, stream: int, increment: int) -> int:
    """A WINDOW_UPDATE; stream 0: the connection's."""
    at = write_frame_header(tx, at, 4, WINDOW_UPDATE, 0, stream)
    store_be32(tx, at, increment)
    return at + 4


@kernel
def write_rst_stream(tx: Any, at: int, stream: int, reason: int) -> int:
    """An RST_STREAM."""
    at = write_frame_header(tx, at, 4, RST_STREAM, 0, stream)
    store_be32(tx, at, reason)
    return at + 4


@kernel
def write_goaway(tx: Any, at: int, last_stream: int, reason: int) -> int:
    """A GOAWAY without debug data."""
    at = write_frame_header(tx, at, 8, GOAWAY, 0, 0)
    store_be32(tx, at, last_stream)
    store_be32(tx, at + 4, reason)
    return at + 8


@kernel
def write_ping(tx: Any, at: int, flags: int, payload: int) -> int:
    """A PING (or with FLAG_ACK the answer to one) of 8 opaque bytes."""
    at = write_frame_header(tx, at, 8, PING, flags, 0)
    store_be64(tx, at, payload)
    return at + 8


@kernel
def write_settings_ack(tx: Any, at: int) -> int:
    """SETTINGS with ACK."""
    return write_frame_header(tx, at, 0, SETTINGS, FLAG_ACK, 0)


@kernel
def begin(h2: Any) -> None:
    """A new TCP connection: forget the old one's streams, windows and tables."""
    h2["preface_left"] = PREFACE_BYTES if h2["role"] == SERVER else 0
    h2["settings_seen"] = 0
    h2["settings_acked"] = 0
    h2["next_stream"] = 1
    h2["last_peer_stream"] = 0
    h2["draining"] = 0
    h2["goaway_last"] = STREAM_ID_MAX
    h2["goaway_reason"] = 0
    h2["send_window"] = WINDOW_DEFAULT
    h2["receive_left"] = h2["receive_window"]
    h2["peer_initial_window"] = WINDOW_DEFAULT
    h2["peer_frame_max"] = FRAME_BYTES_MAX
    h2["peer_streams_max"] = STREAM_ID_MAX
    h2["peer_table_size"] = hpack.TABLE_BYTES
    h2["block_stream"] = 0
    h2["idle_frames"] = 0
    h2["memos_written"] = 0
    if h2["live"] > 0:
        for place in range(h2["ring"]):
            h2["streams"][place]["id"] = 0
        h2["live"] = 0
    h2["ring"] = h2["ring_first"]
    for memo in range(OWN_MEMOS):
        h2["memos"][memo]["size"] = 0
    hpack.reset(h2["decoder"])


@kernel
def greet(h2: Any, shared: Any, tx: Any, at: int) -> int:
    """Write what this end says first (needs GREETING_BYTES): preface, SETTINGS, the connection's window.

    A client allows no dynamic table: servers then send the same bytes for the same headers every time. A server
    limits streams to half of its largest ring, so that a stream finds a place near its own.
    """
    settings = 3
    if h2["role"] == CLIENT:
        copy(tx, at, shared["preface"], 0, PREFACE_BYTES)
        at += PREFACE_BYTES
        settings = 4
    at = write_frame_header(tx, at, 6 * settings, SETTINGS, 0, 0)
    if h2["role"] == CLIENT:
        at = write_setting(tx, at, SET_TABLE_SIZE, 0)
        at = write_setting(tx, at, SET_PUSH, 0)
    else:
        at = write_setting(tx, at, SET_STREAMS_MAX, h2["ring_max"] // 2)
    at = write_setting(tx, at, SET_INITIAL_WINDOW, h2["stream_window"])
    at = write_setting(tx, at, SET_LIST_MAX, hpack.LIST_BYTES)
    return write_window_update(tx, at, 0, h2["receive_window"] - WINDOW_DEFAULT)


@kernel
def find_place(h2: Any, stream: int, wanted: int) -> int:
    """The place near that of ``stream`` which holds the id ``wanted`` (``stream`` itself, or 0: a free one), or -1."""
    mask = h2["ring"] - 1
    home = stream >> 1
    for probe in range(PROBES):
        place = int(home + probe & mask)
        if h2["streams"][place]["id"] == wanted:
            return place
    return -1


@kernel
def grow_ring(h2: Any) -> bool:
    """Double the places in use, each live stream moving to where it is looked for. Returns whether it was possible.

    A stream found at its home plus ``probe`` places of the small ring lies at its home plus ``probe`` of the large one.
    """
    ring = int(h2["ring"])
    if ring >= h2["ring_max"]:
        return False
    for place in range(ring, 2 * ring):
        h2["streams"][place]["id"] = 0
    for place in range(ring):
        entry = h2["streams"][place]
        home = int(entry["id"]) >> 1 & 2 * ring - 1
        moved = home + (place - home & ring - 1) & 2 * ring - 1
        if entry["id"] != 0 and moved != place:
            target = h2["streams"][moved]
            target["id"] = entry["id"]
            target["state"] = entry["state"]
            target["tag"] = entry["tag"]
            target["send_window"] = entry["send_window"]
            target["receive_left"] = entry["receive_left"]
            entry["id"] = 0
    h2["ring"] = 2 * ring
    return True


@kernel
def fill_place(h2: Any, place: int, stream: int, tag: int) -> None:
    """A stream begins its life at a free place."""
    entry = h2["streams"][place]
    entry["id"] = stream
    entry["state"] = 0
    entry["tag"] = tag
    entry["send_window"] = h2["peer_initial_window"]
    entry["receive_left"] = h2["stream_window"]
    h2["live"] += 1


@kernel
def open_stream(h2: Any, tag: int) -> int:
    """Client: begin a stream. Returns its place, or -1: too many streams, or the connection is draining.

    Ids whose places are all taken are skipped, which HTTP/2 allows (section 5.1.1).
    """
    if h2["live"] >= h2["peer_streams_max"] or h2["live"] >= h2["ring"] or h2["draining"] != 0:
        return -1
    stream = int(h2["next_stream"])
    place = find_place(h2, stream, 0)
    while place < 0:
        stream += 2
        place = find_place(h2, stream, 0)
    if stream >= STREAM_ID_MAX - 4 * RING_MAX:
        h2["draining"] = 1
    h2["next_stream"] = stream + 2
    fill_place(h2, place, stream, tag)
    return place


@kernel
def free_stream(h2: Any, place: int) -> None:
    """A stream's life is over."""
    entry = h2["streams"][place]
    if entry["id"] != 0:
        entry["id"] = 0
        h2["live"] -= 1


@kernel
def end_local(h2: Any, place: int) -> bool:
    """This end wrote END_STREAM. Returns whether the stream is closed in both directions, and then freed."""
    entry = h2["streams"][place]
    entry["state"] |= LOCAL_CLOSED
    if entry["state"] & REMOTE_CLOSED:
        free_stream(h2, place)
        return True
    return False


@kernel
def reset_stream(h2: Any, place: int, reason: int, tx: Any, at: int) -> int:
    """Give a live stream up and tell the peer. Returns the position behind the RST_STREAM."""
    at = write_rst_stream(tx, at, int(h2["streams"][place]["id"]), reason)
    free_stream(h2, place)
    return at


@kernel
def remember(h2: Any, shared: Any, buf: Any, meaning: int) -> None:
    """Have the block of the HEADERS event known by its bytes from now on, with what the caller made of it.

    Only blocks that leave the dynamic table as it is; one that reads the table is known on this connection only.
    """
    event = shared["event"]
    decoder = h2["decoder"]
    size = int(event["block_size"])
    if event["block_at"] < 0 or size == 0 or size > MEMO_BYTES or decoder["truncated"] != 0:
        return
    if decoder["touched"] == hpack.TABLE_CHANGED:
        return
    if decoder["touched"] == hpack.STATIC_ONLY:
        for memo in range(SHARED_MEMOS):
            entry = shared["memos"][memo]
            if entry["size"] == 0:
                entry["size"] = size
                entry["meaning"] = meaning
                copy(shared["memo_text"], memo * MEMO_BYTES, buf, int(event["block_at"]), size)
                return
    memo = h2["memos_written"] % OWN_MEMOS
    h2["memos_written"] += 1
    entry = h2["memos"][memo]
    entry["size"] = size
    entry["version"] = decoder["version"]
    entry["meaning"] = meaning
    copy(h2["memo_text"], memo * MEMO_BYTES, buf, int(event["block_at"]), size)
