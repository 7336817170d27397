"""Clients that watch: from a revision on, at one member after another, now and then too slow to read.

A client goes on from the revision after the last that it has had, wherever its next stream is, so all that it sees
is one story. ``check.watches`` judges whether that is the history's. Here is also what a server does between the
store's watchers and their streams.
"""

from typing import Any

from kvbench.jit import kernel
from kvbench.ops.history import ABSENT, EVERYTHING, ONE_KEY, OTHER_KEYS
from kvbench.rt.buffer import load_le64
from kvbench.sim.agenda import chance, draw, schedule, trace
from kvbench.sim.records import Failure, Happening, Met
from kvbench.store import watch, watch_events, watchers
from kvbench.store.records import NO_ROOM
from kvbench.wire import etcd_requests, etcd_responses
from kvbench.wire.protobuf import BYTES, COUNTS, ENDS, STARTS, next_field, read_message

WATCH = int(Happening.WATCH)
WATCH_WRONG, WORLD_FULL = int(Failure.WATCH_WRONG), int(Failure.WORLD_FULL)
EVENT, RESUMED, ACROSS_INSTALL = int(Met.WATCH_EVENT), int(Met.WATCH_RESUMED), int(Met.WATCH_ACROSS_INSTALL)
COMPACTED, PROGRESS = int(Met.WATCH_COMPACTED), int(Met.WATCH_PROGRESS)
MS = 1_000_000
KEY_AT, END_AT, REQUEST_AT = 0, 64, 8192
"""Where keys and requests are put together in ``world.scratch``."""
KEY_BYTES = 3
REGISTER = 107
"""The letter k, with which registers' names begin."""
EVENTS_TAG = etcd_responses.EVENTS << 3 | BYTES
TURNS_MAX = 64
"""Watchers that have their turn after one step of a member."""


@kernel
def begin(world: Any) -> None:
    """The watching clients of a seed, none of which watches yet."""
    state = world.state[0]
    for one in range(int(state["options"]["watchers"])):
        client = world.watching[one]
        client["member"] = -1
        client["taken"] = -1
        client["extent"] = draw(state, 3)
        client["key"] = draw(state, int(state["options"]["keys"]))
        client["notify"] = draw(state, 2)
        client["next"] = draw(state, 2)
        client["span"] = -1
        schedule(world, 300 * MS + draw(state, 2000 * MS), WATCH, 0, one, 0)


@kernel
def is_open(world: Any, one: int) -> bool:
    """Whether a client has a stream: its member may have started anew since."""
    client = world.watching[one]
    if client["member"] < 0:
        return False
    own = world.members[client["member"]]
    return bool(own["up"] == 1 and own["incarnation"] == client["incarnation"])


@kernel
def open_span(world: Any, client: Any, begin_at: int) -> int:
    """The client is to have everything from a revision on. Returns 0, or WORLD_FULL."""
    state = world.state[0]
    row = int(state["spans"])
    if row == len(world.spans):
        return WORLD_FULL
    span = world.spans[row]
    span["extent"] = client["extent"]
    span["key"] = client["key"]
    span["begin"] = begin_at
    span["end"] = begin_at - 1
    client["span"] = row
    client["next"] = begin_at
    state["spans"] = row + 1
    return 0


@kernel
def reached(world: Any, client: Any, revision: int) -> None:
    """The client has had everything up to a revision."""
    if revision >= client["next"]:
        client["next"] = revision + 1
        world.spans[client["span"]]["end"] = revision


@kernel
def write_create(world: Any, client: Any) -> int:
    """The request for a watch, in ``world.scratch`` from REQUEST_AT on. Returns where it ends."""
    buf = world.scratch
    number = int(client["key"])
    buf[KEY_AT], buf[KEY_AT + 1], buf[KEY_AT + 2] = REGISTER, 48 + number // 10, 48 + number % 10
    buf[END_AT] = 0 if client["extent"] == EVERYTHING else REGISTER + 1
    key_bytes, end_bytes = KEY_BYTES, 0
    if client["extent"] != ONE_KEY:
        key_bytes, end_bytes = 1, 1
    if client["extent"] == EVERYTHING:
        buf[KEY_AT] = 0
    start, notify = int(client["next"]), int(client["notify"])
    return int(
        etcd_requests.write_watch_create(buf, REQUEST_AT, buf, KEY_AT, key_bytes, END_AT, end_bytes, start, notify)
    )


@kernel
def open_stream(world: Any, store: Any, one: int, member: int) -> int:
    """A client opens a stream at a member, and watches from where it is. Returns 0, or a Failure."""
    state, client = world.state[0], world.watching[one]
    if client["span"] >= 0 and state["healed"] == 0 and chance(state, 100):
        # It has forgotten everything, and begins somewhere.
        client["span"] = -1
        client["next"] = draw(state, int(client["next"]) + 20)
    if client["opened"] > 0:
        state["met"][RESUMED] += 1
    stream = int(watch.open_stream(store, one))
    if stream < 0:
        return WATCH_WRONG
    client["member"] = member
    client["incarnation"] = world.members[member]["incarnation"]
    client["stream"] = stream
    client["taken"] = -1
    client["slow"] = 0
    client["opened"] += 1
    end = write_create(world, client)
    return request(world, store, one, end)


@kernel
def request(world: Any, store: Any, one: int, end: int) -> int:
    """A client's request, which ends there in ``world.scratch``, and its answer. Returns 0, or a Failure."""
    stream = int(world.watching[one]["stream"])
    size = int(
        watch.watch_request(store, stream, world.scratch, REQUEST_AT, end, world.response, 0, len(world.response))
    )
    if size < 0:
        return WATCH_WRONG
    return 0 if size == 0 else take_response(world, store, one, size)


@kernel
def close_stream(world: Any, store: Any, one: int) -> None:
    """A client closes its stream."""
    client = world.watching[one]
    watch.close_stream(store, int(client["stream"]))
    client["member"] = -1
    client["taken"] = -1


@kernel
def take_response(world: Any, store: Any, one: int, size: int) -> int:
    """A response of ``size`` bytes has come to a client. Returns 0, or a Failure."""
    state, client, fields, buf = world.state[0], world.watching[one], world.fields, world.response
    if read_message(buf, 0, size, etcd_responses.WATCH_NUMBERS, etcd_responses.WATCH_BYTES, fields) < 0:
        return WATCH_WRONG
    created, canceled, compacted = int(fields[3]), int(fields[4]), int(fields[5])
    events = int(fields[COUNTS + etcd_responses.EVENTS])
    revision = int(etcd_responses.header_revision(buf, fields))
    if revision < 0 or (created == 1 and canceled == 1):
        return WATCH_WRONG
    if created == 1:
        if client["span"] >= 0:
            return 0
        return open_span(world, client, revision + 1 if client["next"] == 0 else int(client["next"]))
    if canceled == 1:
        if compacted <= client["next"] or compacted > state["compacted"]:
            return WATCH_WRONG
        state["met"][COMPACTED] += 1
        close_stream(world, store, one)
        return open_span(world, client, compacted)
    if events == 0:
        state["met"][PROGRESS] += 1
        reached(world, client, revision)
        return 0
    return take_events(world, client, size)


@kernel
def take_events(world: Any, client: Any, size: int) -> int:
    """Note the events of a response. Returns 0, or a Failure."""
    at, buf = 0, world.response
    while at < size:
        tag, value, at = next_field(buf, at, size)
        if at < 0:
            return WATCH_WRONG
        if tag != EVENTS_TAG:
            continue
        code = take_event(world, client, value, at)
        if code != 0:
            return code
    return 0


@kernel
def take_event(world: Any, client: Any, at: int, end: int) -> int:
    """Note the Event ``world.response[at:end]``. Returns 0, or a Failure."""
    state, fields, buf = world.state[0], world.fields, world.response
    row = int(state["watched"])
    if row == len(world.watched):
        return WORLD_FULL
    if read_message(buf, at, end, etcd_responses.EVENT_NUMBERS, etcd_responses.EVENT_BYTES, fields) < 0:
        return WATCH_WRONG
    deleted, start, stop = int(fields[1]), int(fields[STARTS + 2]), int(fields[ENDS + 2])
    if read_message(buf, start, stop, etcd_responses.KEY_VALUE_NUMBERS, 0b100010, fields) < 0:
        return WATCH_WRONG
    key_at, value_at = int(fields[STARTS + 1]), int(fields[STARTS + 5])
    if fields[ENDS + 1] - key_at != KEY_BYTES or (deleted == 0 and fields[ENDS + 5] - value_at < 8):
        return WATCH_WRONG
    key = (int(buf[key_at + 1]) - 48) * 10 + int(buf[key_at + 2]) - 48
    event = world.watched[row]
    event["span"] = client["span"]
    event["revision"] = fields[3]
    event["key"] = key if int(buf[key_at]) == REGISTER else key + OTHER_KEYS
    event["value"] = ABSENT if deleted == 1 else load_le64(buf, value_at)
    state["watched"] = row + 1
    state["met"][EVENT] += 1
    trace(state, int(client["span"]), int(event["revision"]))
    reached(world, client, int(event["revision"]))
    return 0


@kernel
def read_on(world: Any, store: Any, one: int) -> int:
    """A client reads what its watcher, which was taken, has for it, unless it gets slow. Returns 0, or a Failure."""
    state, client = world.state[0], world.watching[one]
    while client["taken"] >= 0:
        if state["healed"] == 0 and chance(state, 30):
            client["slow"] = 1
            return 0
        room = watch.CONTROL_BYTES_MAX + 200 + draw(state, 8000)
        watcher = int(client["taken"])
        size = int(watch_events.watch_next(store, watcher, world.response, 0, room, 0))
        if size == NO_ROOM:
            room = len(world.response)
            size = int(watch_events.watch_next(store, watcher, world.response, 0, room, 1))
        if size < 0:
            return WATCH_WRONG
        if size == 0:
            client["taken"] = -1
            return 0
        code = take_response(world, store, one, size)
        if code != 0:
            return code
    return 0


@kernel
def serve(world: Any, store: Any) -> int:
    """Give the watchers of a member that have something their turn. Returns 0, or a Failure."""
    for _ in range(TURNS_MAX):
        watcher = int(watch.take_pending(store))
        if watcher < 0:
            return 0
        one = int(store.streams[store.watchers[watcher]["stream"]]["handle"])
        client = world.watching[one]
        client["taken"] = watcher
        if client["slow"] == 0:
            code = read_on(world, store, one)
            if code != 0:
                return code
    return 0


@kernel
def note_install(world: Any, member: int) -> None:
    """A member has replaced its state by a snapshot: streams that were open go on."""
    for one in range(int(world.state[0]["options"]["watchers"])):
        if world.watching[one]["member"] == member and is_open(world, one):
            world.state[0]["met"][ACROSS_INSTALL] += 1


@kernel
def tell_progress(world: Any, store: Any, one: int) -> int:
    """What a server does now and then: tell a client that wants it how far its watch is. Returns 0, or a Failure."""
    client = world.watching[one]
    watcher = int(watchers.find(store, int(client["stream"]), 0))
    if watcher < 0 or client["taken"] >= 0 or store.state[0]["loading"] == 1:
        return 0
    size = int(watch.watch_progress(store, watcher, world.response, 0))
    return 0 if size == 0 else take_response(world, store, one, size)


@kernel
def act(world: Any, store: Any, one: int, member: int) -> int:
    """A client does something: open a stream, read on, ask how far it is, or leave. Returns 0, or a Failure."""
    state, client = world.state[0], world.watching[one]
    gap = 20 * MS + draw(state, 400 * MS)
    if schedule(world, int(state["now_ns"]) + gap, WATCH, 0, one, 0) < 0:
        return WORLD_FULL
    if client["member"] < 0:
        return open_stream(world, store, one, member)
    client["slow"] = 0
    if client["taken"] >= 0:
        code = read_on(world, store, one)
        if code != 0 or client["member"] < 0:
            return code
    dice = draw(state, 100)
    if dice < 15 and state["healed"] == 0:
        close_stream(world, store, one)
    elif dice < 35:
        return request(world, store, one, int(etcd_requests.write_watch_progress(world.scratch, REQUEST_AT)))
    elif dice < 60 and client["notify"] == 1:
        return tell_progress(world, store, one)
    return 0
