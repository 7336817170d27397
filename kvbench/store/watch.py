"""Watch calls: streams of watchers, and the requests that come on them: create, cancel, progress."""

from typing import Any

from kvbench.jit import kernel
from kvbench.ops import status
from kvbench.ops.status import StoreError
from kvbench.rt.buffer import compare
from kvbench.store import subjects, watchers
from kvbench.store.key_values import write_header
from kvbench.store.records import NO_ROOM, NONE, TABLE_FULL
from kvbench.wire.protobuf import BYTES, VARINT, next_field, read_varint, write_length, write_varint_field

BAD_REQUEST = int(StoreError.BAD_REQUEST)
COMPACTED = int(StoreError.COMPACTED)
DUPLICATE_WATCH_ID = int(StoreError.DUPLICATE_WATCH_ID)
TOO_MANY_REQUESTS = int(StoreError.TOO_MANY_REQUESTS)
WATCHER_RANGE_EMPTY = int(StoreError.WATCHER_RANGE_EMPTY)

CONTROL_BYTES_MAX = 256
"""Longest response without events."""
CREATE, CANCEL, PROGRESS = 1, 2, 3
"""Fields of WatchRequest."""
WATCH_ID, CREATED, CANCELED, COMPACT_REVISION, CANCEL_REASON = 2, 3, 4, 5, 6
"""Fields of WatchResponse."""
ANY = -1
"""Watch id of answers that concern no watcher, or all of a stream."""


@kernel
def open_stream(store: Any, handle: int) -> int:
    """A new Watch call, by the server's name for it. Returns the stream's number or TABLE_FULL."""
    state, streams = store.state[0], store.streams
    stream = int(state["stream_free"])
    if stream != NONE:
        state["stream_free"] = streams[stream]["next_free"]
    else:
        stream = int(state["stream_top"])
        if stream == len(streams):
            return TABLE_FULL
        state["stream_top"] = stream + 1
    record = streams[stream]
    record["used"] = 1
    record["handle"] = handle
    record["first"] = NONE
    record["next_id"] = 0
    record["waiting"] = 0
    state["streams"] += 1
    return stream


@kernel
def close_stream(store: Any, stream: int) -> None:
    """A Watch call is over, and its watchers with it."""
    state, record = store.state[0], store.streams[stream]
    if record["used"] == 0:
        return
    record["waiting"] = 0
    while record["first"] != NONE:
        watcher = int(record["first"])
        store.watchers[watcher]["owes_progress"] = 0
        watchers.free(store, watcher)
    record["used"] = 0
    record["next_free"] = state["stream_free"]
    state["stream_free"] = stream
    state["streams"] -= 1


@kernel
def watch_request(store: Any, stream: int, buf: Any, at: int, end: int, out: Any, to: int, limit: int) -> int:
    """Do the WatchRequest ``buf[at:end]`` of a stream. Returns the bytes of the response to send now, 0: none.

    Negative: BAD_REQUEST, or NO_ROOM for less than CONTROL_BYTES_MAX, with nothing done.
    """
    if limit - to < CONTROL_BYTES_MAX:
        return NO_ROOM
    kind, start, stop = 0, at, at
    while at < end:
        tag, value, at = next_field(buf, at, end)
        if tag < 0:
            return BAD_REQUEST
        if tag & 7 == BYTES and CREATE <= tag >> 3 <= PROGRESS:
            kind, start, stop = tag >> 3, value, at
    code = to
    if kind == CREATE:
        code = _create(store, stream, buf, start, stop, out, to)
    elif kind == CANCEL:
        code = _cancel(store, stream, buf, start, stop, out, to)
    elif kind == PROGRESS:
        code = _ask_progress(store, stream, out, to)
    return code if code < 0 else code - to


@kernel
def _read_create(state: Any, buf: Any, at: int, end: int) -> int:
    """Read a WatchCreateRequest into ``fields``: numbers by field, filters as bits; at 10 to 13 where key and end are.

    Returns 0 or BAD_REQUEST.
    """
    fields = state["fields"]
    for i in range(14):
        fields[i] = 0
    while at < end:
        tag, value, at = next_field(buf, at, end)
        if tag < 0:
            return BAD_REQUEST
        number, form = tag >> 3, tag & 7
        if (number == 1 or number == 2) and form == BYTES:
            fields[8 + 2 * number] = value
            fields[9 + 2 * number] = at
        elif number == 5 and form == VARINT:
            fields[5] |= 1 << value if 0 <= value <= 1 else 0
        elif number == 5 and form == BYTES:
            while value < at:
                kind, value = read_varint(buf, value, at)
                if value < 0:
                    return BAD_REQUEST
                fields[5] |= 1 << kind if 0 <= kind <= 1 else 0
        elif 3 <= number <= 8 and form == VARINT:
            fields[number] = value
    return 0


@kernel
def _create(store: Any, stream: int, buf: Any, at: int, end: int, out: Any, to: int) -> int:
    """Make a watcher. Returns the end of the response that says so, or that it is cancelled at once; or BAD_REQUEST."""
    state, owner = store.state[0], store.streams[stream]
    fields = state["fields"]
    if _read_create(state, buf, at, end) < 0:
        return BAD_REQUEST
    start_revision, watch_id = fields[3], fields[7]
    if start_revision < 0:
        return _refuse(store, COMPACTED, out, to)
    key_bytes, end_at, end_bytes = fields[11] - fields[10], fields[12], fields[13] - fields[12]
    from_key = end_bytes == 1 and buf[end_at] == 0
    if end_bytes > 0 and not from_key and compare(buf, fields[10], key_bytes, buf, end_at, end_bytes) >= 0:
        return _refuse(store, WATCHER_RANGE_EMPTY, out, to)
    if watch_id != 0 and watchers.find(store, stream, watch_id) != NONE:
        return _refuse(store, DUPLICATE_WATCH_ID, out, to)
    if watch_id == 0:
        watch_id = int(owner["next_id"])
        while watchers.find(store, stream, watch_id) != NONE:
            watch_id += 1
        owner["next_id"] = watch_id + 1
    watcher = watchers.enter(store, stream, watch_id)
    if watcher == NONE:
        return _refuse(store, TOO_MANY_REQUESTS, out, to)
    record = store.watchers[watcher]
    record["subject"] = _name_keys(store, buf)
    if record["subject"] == NONE:
        watchers.remove(store, watcher)
        return _refuse(store, TOO_MANY_REQUESTS, out, to)
    record["progress"] = 1 if fields[4] != 0 else 0
    record["quiet"] = 1
    record["filters"] = fields[5]
    record["prev_kv"] = 1 if fields[6] != 0 else 0
    record["fragment"] = 1 if fields[8] != 0 else 0
    record["position"] = NONE
    record["skip"] = 0
    record["least_revision"] = start_revision
    record["doomed"] = 0
    record["synced"] = 0
    if state["loading"] == 0 and (start_revision == 0 or start_revision > state["revision"]):
        watchers.sleep(store, watcher)
    else:
        # While a dump is being loaded nobody knows what there is: once it is, the watcher looks from its revision on.
        record["next_revision"] = start_revision if start_revision > 0 else state["revision"] + 1
        record["doomed"] = 1 if 0 < start_revision < state["compacted"] else 0
        watchers.be_late(store, watcher)
        if owner["waiting"] > 0:
            # A progress answer that is still to come speaks for this watcher too.
            record["owes_progress"] = 1
            owner["waiting"] += 1
    to = write_header(store, out, to, int(state["revision"]))
    to = write_varint_field(out, to, WATCH_ID, watch_id)
    return write_varint_field(out, to, CREATED, 1)


@kernel
def _name_keys(store: Any, buf: Any) -> int:
    """The subject of the key or range just read; no key at all means the smallest one. NONE: no room."""
    fields, names = store.state[0]["fields"], store.names
    end_at, end_bytes = fields[12], fields[13] - fields[12]
    if fields[11] == fields[10]:
        # Nothing is ever put at the beginning of ``names``: it is zeros.
        return subjects.join(store, names, 0, 1, buf, end_at, end_bytes)
    return subjects.join(store, buf, fields[10], fields[11] - fields[10], buf, end_at, end_bytes)


@kernel
def _refuse(store: Any, error: int, out: Any, to: int) -> int:
    """A watch that is created and cancelled in one, with a StoreError's text as the reason."""
    to = write_header(store, out, to, int(store.state[0]["revision"]))
    to = write_varint_field(out, to, WATCH_ID, ANY)
    to = write_varint_field(out, to, CREATED, 1)
    to = write_varint_field(out, to, CANCELED, 1)
    to = write_length(out, to, CANCEL_REASON, status.text_bytes(error))
    return status.write_text(out, to, error)


@kernel
def _cancel(store: Any, stream: int, buf: Any, at: int, end: int, out: Any, to: int) -> int:
    """Cancel a watcher of the stream; nothing is said of one that is not there."""
    watch_id = 0
    while at < end:
        tag, value, at = next_field(buf, at, end)
        if tag < 0:
            return BAD_REQUEST
        if tag == 1 << 3 | VARINT:
            watch_id = value
    watcher = watchers.find(store, stream, watch_id)
    if watcher == NONE:
        return to
    watchers.free(store, watcher)
    to = write_header(store, out, to, int(store.state[0]["revision"]))
    to = write_varint_field(out, to, WATCH_ID, watch_id)
    return write_varint_field(out, to, CANCELED, 1)


@kernel
def _ask_progress(store: Any, stream: int, out: Any, to: int) -> int:
    """Answer at once if no watcher of the stream misses anything, else let the last one of those that do answer.

    As in etcd there is no answer while one of them is to begin in the future.
    """
    state, owner = store.state[0], store.streams[stream]
    watcher = int(owner["first"])
    while watcher != NONE:
        if store.watchers[watcher]["least_revision"] > state["revision"]:
            return to
        watcher = int(store.watchers[watcher]["stream_next"])
    owner["progress_revision"] = state["revision"]
    owner["waiting"] = 0
    watcher = int(owner["first"])
    if watcher == NONE:
        return to
    while watcher != NONE:
        record = store.watchers[watcher]
        record["owes_progress"] = 0 if watchers.has_all(store, watcher) else 1
        owner["waiting"] += record["owes_progress"]
        watcher = int(record["stream_next"])
    return to if owner["waiting"] > 0 else write_progress(store, ANY, int(state["revision"]), out, to)


@kernel
def write_progress(store: Any, watch_id: int, revision: int, out: Any, to: int) -> int:
    """A progress notification: all up to ``revision`` was sent. Returns its end."""
    return write_varint_field(out, write_header(store, out, to, revision), WATCH_ID, watch_id)


@kernel
def watch_progress(store: Any, watcher: int, out: Any, to: int) -> int:
    """The notification that is due to a watcher which asked for them (at most CONTROL_BYTES_MAX). Returns its bytes.

    0: none is to be sent, because events were since the last one, or are still to come, or it is to begin later.
    """
    record = store.watchers[watcher]
    quiet = record["quiet"] == 1 and record["least_revision"] <= store.state[0]["revision"]
    record["quiet"] = 1
    if not quiet or not watchers.has_all(store, watcher):
        return 0
    return write_progress(store, int(record["watch_id"]), int(store.state[0]["revision"]), out, to) - to


@kernel
def take_pending(store: Any) -> int:
    """A watcher that has, or may have, something to send; NONE when there is none now.

    It is the caller's until ``watch_events.watch_next`` returns 0 for it, or it is freed.
    """
    return watchers.take_pending(store)
