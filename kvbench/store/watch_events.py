"""What a watcher is sent: events from history, whole revisions at a time, as many as the caller has room for.

A watcher of one key normally reads the versions of that key, newest first, down to what it has had: whatever else has
happened costs it nothing. When there are more than CHAIN_EVENTS of them, or a revision has to be sent in parts, it
goes through history as watchers of ranges do.
"""

from typing import Any

from kvbench.jit import kernel
from kvbench.rt.buffer import compare, equal
from kvbench.store import history, ranges, table, watchers
from kvbench.store.key_values import key_value_bytes, write_header, write_key_value
from kvbench.store.layout import (
    ONE_KEY,
    create_of,
    is_tombstone,
    key_at,
    key_bytes,
    key_of,
    mod_of,
    newest_of,
    previous_of,
)
from kvbench.store.records import CHAIN_EVENTS, HEADER_BYTES_MAX, NO_ROOM, NONE, UNIT_BYTES
from kvbench.store.watch import ANY, CANCELED, COMPACT_REVISION, CONTROL_BYTES_MAX, WATCH_ID, write_progress
from kvbench.wire.etcd_responses import EVENT_DELETE, EVENT_PUT, EVENTS
from kvbench.wire.protobuf import (
    bytes_field_bytes,
    message_field_bytes,
    varint_field_bytes,
    write_bytes_field,
    write_length,
    write_varint_field,
)

FRAGMENT = 7
KEY_VALUE, PREVIOUS = 2, 3
"""Fields of Event."""
NEVER, WHERE_WANTED, ALWAYS = 0, 1, 2
LOOKS_MAX = 4096
"""Changes that one call looks at, if it may stop between two revisions."""
REVISIONS_MAX = 1000
"""Revisions in one response (etcd's watchBatchMaxRevs)."""


@kernel
def watch_next(store: Any, watcher: int, out: Any, to: int, limit: int, split: int) -> int:
    """The next response of a watcher that was taken. Returns its bytes, 0: nothing now, ``take_pending`` will name it.

    NO_ROOM: a revision's events, which are not to be split, need more than ``limit`` - ``to``; nothing has happened.
    ``split`` says when they are to be: NEVER, WHERE_WANTED (by a watcher that asked for fragments), ALWAYS. A watcher
    that compaction has passed is cancelled and freed.
    """
    state, record = store.state[0], store.watchers[watcher]
    if record["stream"] == NONE or record["state"] != watchers.TAKEN:
        return 0
    if limit - to < CONTROL_BYTES_MAX:
        return NO_ROOM
    if state["loading"] == 1:
        watchers.be_late(store, watcher)
        return 0
    batch = state["batch"]
    if record["next_revision"] < record["least_revision"]:
        # It was asked for from a revision that was not there yet: what came before, or was compacted, is not its own.
        record["next_revision"] = record["least_revision"]
        record["position"] = NONE
        record["skip"] = 0
    if record["doomed"] == 1 or not _begin(store, record, batch):
        return _write_cancel(store, watcher, out, to)
    may_split = split == ALWAYS or (split == WHERE_WANTED and record["fragment"] == 1)
    code = _measure(store, record, batch, limit - to - HEADER_BYTES_MAX, may_split and batch["in_history"] == 1)
    if code == NO_ROOM and may_split and batch["in_history"] == 0:
        # Versions of a key cannot say where within a revision to go on; history can.
        _begin_in_history(store, record, batch)
        code = _measure(store, record, batch, limit - to - HEADER_BYTES_MAX, True)
    if code < 0:
        return code
    if batch["events"] == 0:
        return _rest(store, watcher, out, to)
    return _write_batch(store, record, batch, out, to)


@kernel
def _begin(store: Any, record: Any, batch: Any) -> bool:
    """Say in ``batch`` where events may be that the watcher has not had. False: some of them are compacted."""
    state = store.state[0]
    subject = store.subjects[record["subject"]]
    if subject["extent"] != ONE_KEY or record["position"] != NONE:
        lost = record["next_revision"] <= state["dropped_revision"]
        if record["position"] != NONE:
            lost = record["position"] < state["first"]
        if lost:
            return False
        _begin_in_history(store, record, batch)
        return True
    batch["in_history"] = 0
    batch["begin"] = 0
    batch["stop"] = 0
    if subject["last_revision"] < record["next_revision"]:
        return True
    if record["next_revision"] <= state["dropped_revision"]:
        return False
    at, size = int(subject["key"]) * UNIT_BYTES, int(subject["key_bytes"])
    key = table.find(store, int(subject["hash"]), store.names, at, size)
    version = newest_of(store.arena, key) if key != 0 else 0
    count = 0
    while version != 0 and mod_of(store.arena, version) >= record["next_revision"]:
        if count == CHAIN_EVENTS:
            _begin_in_history(store, record, batch)
            return True
        state["chain"][count] = version
        count += 1
        version = previous_of(store.arena, version)
    batch["stop"] = count
    return True


@kernel
def _begin_in_history(store: Any, record: Any, batch: Any) -> None:
    """The watcher is to go through history."""
    if record["position"] == NONE:
        record["position"] = history.find_revision(store, int(record["next_revision"])) + record["skip"]
        record["skip"] = 0
    batch["in_history"] = 1
    batch["begin"] = record["position"]
    batch["stop"] = store.state[0]["end"]


@kernel
def _candidate(store: Any, batch: Any, number: int) -> int:
    """The version that may be an event, by its number."""
    if batch["in_history"] == 1:
        return history.change_at(store, number)
    return int(store.state[0]["chain"][batch["stop"] - 1 - number])


@kernel
def _is_wanted(store: Any, record: Any, batch: Any, version: int) -> bool:
    """Whether the watcher is to be sent a version."""
    arena, names = store.arena, store.names
    if mod_of(arena, version) < record["least_revision"]:
        return False
    if record["filters"] >> (1 if is_tombstone(arena, version) else 0) & 1:
        return False
    if batch["in_history"] == 0:
        return True
    key = key_of(arena, version)
    at, size = key_at(arena, key), key_bytes(arena, key)
    subject = store.subjects[record["subject"]]
    first, first_bytes = int(subject["key"]) * UNIT_BYTES, int(subject["key_bytes"])
    if subject["extent"] == ONE_KEY:
        return first_bytes == size and equal(names, first, arena, at, size)
    if compare(arena, at, size, names, first, first_bytes) < 0:
        return False
    return ranges.ends_behind(store, int(record["subject"]), arena, at, size)


@kernel
def _measure(store: Any, record: Any, batch: Any, room: int, may_split: bool) -> int:
    """Find the events of the next response: whole revisions that fit into ``room``. Returns 0 or NO_ROOM."""
    arena = store.arena
    begin, stop = int(batch["begin"]), int(batch["stop"])
    events = size = last = current = revisions = 0
    _keep(batch, 0, 0, 0, begin, 0)
    for number in range(begin, stop):
        version = _candidate(store, batch, number)
        mod = mod_of(arena, version)
        if mod != current:
            _keep(batch, events, size, last, number, 0)
            if number - begin >= LOOKS_MAX or revisions == REVISIONS_MAX:
                return 0
            current = mod
        if not _is_wanted(store, record, batch, version):
            continue
        more = message_field_bytes(_event_bytes(store, record, version))
        if size + more > room:
            if batch["events"] == 0 and may_split and events > 0:
                _keep(batch, events, size, last, number, 1)
            return 0 if batch["events"] > 0 else NO_ROOM
        if last != mod:
            revisions += 1
        events += 1
        size += more
        last = mod
    _keep(batch, events, size, last, stop, 0)
    return 0


@kernel
def _keep(batch: Any, events: int, size: int, revision: int, end: int, partial: int) -> None:
    """What was found up to candidate ``end`` can be sent."""
    batch["events"] = events
    batch["bytes"] = size
    batch["revision"] = revision
    batch["end"] = end
    batch["partial"] = partial


@kernel
def _rest(store: Any, watcher: int, out: Any, to: int) -> int:
    """Nothing was found: go to sleep at the end, else let others have their turn. Returns 0, or a progress answer."""
    state, record = store.state[0], store.watchers[watcher]
    batch = state["batch"]
    if batch["end"] < batch["stop"]:
        record["position"] = batch["end"]
        record["next_revision"] = mod_of(store.arena, _candidate(store, batch, int(batch["end"])))
        watchers.be_late(store, watcher)
        return 0
    if record["owes_progress"] == 1:
        owner = store.streams[record["stream"]]
        record["owes_progress"] = 0
        owner["waiting"] -= 1
        if owner["waiting"] == 0:
            return write_progress(store, ANY, int(owner["progress_revision"]), out, to) - to
    watchers.sleep(store, watcher)
    return 0


@kernel
def _write_cancel(store: Any, watcher: int, out: Any, to: int) -> int:
    """Compaction has taken what the watcher should have had: say so and free it. Returns the response's bytes."""
    start = to
    to = write_header(store, out, to, 0)
    to = write_varint_field(out, to, WATCH_ID, int(store.watchers[watcher]["watch_id"]))
    to = write_varint_field(out, to, CANCELED, 1)
    to = write_varint_field(out, to, COMPACT_REVISION, int(store.state[0]["compacted"]))
    watchers.free(store, watcher)
    return to - start


@kernel
def _write_batch(store: Any, record: Any, batch: Any, out: Any, to: int) -> int:
    """Write the response that was measured, and note that it was sent. Returns its bytes."""
    start = to
    revision = int(batch["revision"])
    # As in etcd: new events come with their own revision, those of the past with the current one.
    to = write_header(store, out, to, revision if record["synced"] == 1 else int(store.state[0]["revision"]))
    to = write_varint_field(out, to, WATCH_ID, int(record["watch_id"]))
    to = write_varint_field(out, to, FRAGMENT, int(batch["partial"]))
    for number in range(batch["begin"], batch["end"]):
        version = _candidate(store, batch, number)
        if _is_wanted(store, record, batch, version):
            to = _write_event(store, record, version, out, to)
    record["next_revision"] = revision + 1
    if batch["in_history"] == 1:
        record["position"] = batch["end"]
        if batch["end"] < batch["stop"]:
            record["next_revision"] = mod_of(store.arena, _candidate(store, batch, int(batch["end"])))
    record["quiet"] = 0
    return to - start


@kernel
def _previous(store: Any, record: Any, version: int) -> int:
    """The version that an event's prev_kv shows, 0: none."""
    arena = store.arena
    mod = mod_of(arena, version)
    if record["prev_kv"] == 0 or mod - 1 < store.state[0]["compacted"]:
        return 0
    if not is_tombstone(arena, version) and create_of(arena, version) == mod:
        return 0
    previous = previous_of(arena, version)
    while previous != 0 and mod_of(arena, previous) == mod:
        previous = previous_of(arena, previous)
    return 0 if previous == 0 or is_tombstone(arena, previous) else previous


@kernel
def _deletion_bytes(arena: Any, version: int) -> int:
    """Length of the KeyValue of a deletion: its key and revision."""
    return bytes_field_bytes(key_bytes(arena, key_of(arena, version))) + varint_field_bytes(mod_of(arena, version))


@kernel
def _event_bytes(store: Any, record: Any, version: int) -> int:
    """Length of an Event."""
    arena = store.arena
    previous = _previous(store, record, version)
    size = 0 if previous == 0 else message_field_bytes(key_value_bytes(arena, previous, 0))
    if is_tombstone(arena, version):
        return size + varint_field_bytes(EVENT_DELETE) + message_field_bytes(_deletion_bytes(arena, version))
    return size + message_field_bytes(key_value_bytes(arena, version, 0))


@kernel
def _write_event(store: Any, record: Any, version: int, out: Any, to: int) -> int:
    """An Event in a WatchResponse."""
    arena = store.arena
    to = write_length(out, to, EVENTS, _event_bytes(store, record, version))
    if is_tombstone(arena, version):
        key = key_of(arena, version)
        to = write_varint_field(out, to, 1, EVENT_DELETE)
        to = write_length(out, to, KEY_VALUE, _deletion_bytes(arena, version))
        to = write_bytes_field(out, to, 1, arena, key_at(arena, key), key_bytes(arena, key))
        to = write_varint_field(out, to, 3, mod_of(arena, version))
    else:
        to = write_varint_field(out, to, 1, EVENT_PUT)
        to = write_length(out, to, KEY_VALUE, key_value_bytes(arena, version, 0))
        to = write_key_value(arena, version, 0, out, to)
    previous = _previous(store, record, version)
    if previous != 0:
        to = write_length(out, to, PREVIOUS, key_value_bytes(arena, previous, 0))
        to = write_key_value(arena, previous, 0, out, to)
    return to
