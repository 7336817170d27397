"""Responses to outcomes: events of HTTP/2 to messages and trailers, and what they say of the call they answer."""

from typing import Any

from kvbench.client.etcd_records import DROPPED
from kvbench.client.etcd_submit import (
    CAS,
    DELETE,
    KEEP_ALIVE,
    LEASE_GRANT,
    LEASE_REVOKE,
    RANGE,
    READ_MODIFY_WRITE,
    TXN,
    WATCH,
    drop_large,
)
from kvbench.client.outcomes import append
from kvbench.jit import kernel
from kvbench.ops.errors import ErrorCode
from kvbench.wire import etcd_responses, grpc, http2_frames
from kvbench.wire.http2_records import CANCEL
from kvbench.wire.protobuf import BYTES, COUNTS, ENDS, STARTS, next_field, read_message

OK, CANCELLED, OUT_OF_RANGE, UNAVAILABLE = 0, 1, 11, 14
COMPARE_FAILED, PROTOCOL_ERROR = int(ErrorCode.COMPARE_FAILED), int(ErrorCode.PROTOCOL_ERROR)
RESPONSE_TOO_LARGE, LEASE_EXPIRED = int(ErrorCode.RESPONSE_TOO_LARGE), int(ErrorCode.LEASE_EXPIRED)


@kernel
def abandon(link: Any, shared: Any, arena: Any, place: int) -> None:
    """A call is over: give back what it holds, and count it out."""
    call = link["calls"][place]
    grpc.release(call, shared["pool"], arena)
    if link["large_place"] == place:
        drop_large(link, shared, arena)
    if link["held_place"] == place:
        link["held_place"] = -1
    if call["kind"] != WATCH and call["kind"] != KEEP_ALIVE:
        link["unary"] -= 1


@kernel
def finish(link: Any, shared: Any, arena: Any, place: int, outcomes: Any, count: int, code: int) -> int:
    """A call is over with ``code``: report it. Returns the new count.

    The end of the stream of keep-alives is reported by ``fail_keep_alives``, as far as there is space.
    """
    call = link["calls"][place]
    abandon(link, shared, arena, place)
    kind = int(call["kind"])
    if kind == KEEP_ALIVE:
        link["keep_alive_place"] = -1
        link["keep_alive_code"] = UNAVAILABLE if code == OK else code
        link["waiting"] = 1
        return count
    if kind == WATCH and code == OK:
        code = CANCELLED
    count = append(outcomes, count, int(call["slot"]), kind, code, int(call["revision"]), int(call["count"]), 0)
    outcome = outcomes[count - 1]
    outcome["lease_id"] = call["lease_id"]
    if code == OK and call["step"] == 0 and (kind == CAS or kind == READ_MODIFY_WRITE):
        outcome["next_step"] = 1
    return count


@kernel
def fail_keep_alives(link: Any, outcomes: Any, count: int, code: int) -> int:
    """Report ``code`` for keep-alives in flight while there is space. Returns the new count."""
    mask = link["http2"]["ring"] - 1
    while link["keep_alives_answered"] < link["keep_alives_sent"] and count < len(outcomes):
        slot = int(link["keep_alives"][link["keep_alives_answered"] & mask])
        link["keep_alives_answered"] += 1
        if slot != DROPPED:
            count = append(outcomes, count, slot, KEEP_ALIVE, code, 0, 0, 0)
    if link["keep_alives_answered"] == link["keep_alives_sent"]:
        link["keep_alive_code"] = 0
    return count


@kernel
def sweep(link: Any, shared: Any, arena: Any, outcomes: Any, count: int) -> int:
    """Report the streams that GOAWAY refused as UNAVAILABLE, as far as there is space. Returns the new count."""
    return sweep_as(link, shared, arena, outcomes, count, UNAVAILABLE)


@kernel
def sweep_as(link: Any, shared: Any, arena: Any, outcomes: Any, count: int, code: int) -> int:
    """End all streams above ``goaway_last`` with ``code``, as far as there is space; ``sweep`` is 0 when done."""
    h2 = link["http2"]
    if h2["live"] > 0:
        for place in range(h2["ring"]):
            if h2["streams"][place]["id"] > h2["goaway_last"]:
                if count >= len(outcomes):
                    return count
                http2_frames.free_stream(h2, place)
                count = finish(link, shared, arena, place, outcomes, count, code)
    link["sweep"] = 0
    return count


@kernel
def read_answer(shared: Any, buf: Any, at: int, end: int, call: Any) -> None:
    """Decode the message of a unary call into its CALL."""
    kind = int(call["kind"])
    fields = shared["fields"]
    numbers, contents = etcd_responses.ANY_NUMBERS, etcd_responses.ANY_BYTES
    if kind == LEASE_GRANT or kind == LEASE_REVOKE:
        numbers, contents = etcd_responses.LEASE_NUMBERS, etcd_responses.LEASE_BYTES
    elif kind == DELETE or kind == TXN or (kind == CAS and call["step"] != 0):
        numbers, contents = etcd_responses.COUNTED_NUMBERS, etcd_responses.COUNTED_BYTES
    result = read_message(buf, at, end, numbers, contents, fields)
    call["answered"] = 1
    call["count"] = 1
    if result == 0:
        result = etcd_responses.header_revision(buf, fields)
        call["revision"] = result
    if result >= 0:
        result = read_details(fields, buf, call, kind)
    if result < 0:
        call["code"] = PROTOCOL_ERROR


@kernel
def read_details(fields: Any, buf: Any, call: Any, kind: int) -> int:
    """What an answer says beside its header. Returns a negative code when it is damaged."""
    if kind == DELETE:
        call["count"] = fields[2]
    elif kind == TXN or (kind == CAS and call["step"] != 0):
        call["count"] = fields[COUNTS + 3]
        if fields[2] == 0:
            call["code"] = COMPARE_FAILED
    elif kind == LEASE_GRANT:
        call["lease_id"] = fields[2]
        if fields[ENDS + 4] > fields[STARTS + 4]:
            call["code"] = PROTOCOL_ERROR
    elif kind == RANGE:
        call["count"] = fields[COUNTS + 2]
    elif fields[COUNTS + 2] > 0:
        call["revision"] = etcd_responses.mod_revision(buf, fields[STARTS + 2], fields[ENDS + 2])
        return int(call["revision"])
    elif is_single_read(kind, int(call["step"])):
        call["count"] = 0
        call["revision"] = 0
    return 0


@kernel
def is_single_read(kind: int, step: int) -> bool:
    """Whether the request just answered read one key."""
    return kind == 2 or kind == 3 or (step == 0 and (kind == CAS or kind == READ_MODIFY_WRITE))


@kernel
def read_keep_alive(link: Any, shared: Any, buf: Any, at: int, end: int, outcomes: Any, count: int) -> int:
    """The answer to the oldest keep-alive; a TTL of 0 says that the lease is gone. Returns the new count."""
    mask = link["http2"]["ring"] - 1
    if link["keep_alives_answered"] == link["keep_alives_sent"]:
        return count
    slot = int(link["keep_alives"][link["keep_alives_answered"] & mask])
    link["keep_alives_answered"] += 1
    fields = shared["fields"]
    code = OK
    if read_message(buf, at, end, etcd_responses.LEASE_NUMBERS, etcd_responses.LEASE_BYTES, fields) < 0:
        code = PROTOCOL_ERROR
    elif fields[3] == 0:
        code = LEASE_EXPIRED
    if slot == DROPPED:
        return count
    count = append(outcomes, count, slot, KEEP_ALIVE, code, 0, 1, 0)
    outcomes[count - 1]["lease_id"] = fields[2]
    return count


@kernel
def read_watch(link: Any, shared: Any, place: int, buf: Any, at: int, end: int, outcomes: Any, count: int) -> int:
    """A watch's message: it stands, events, or its end. Returns the new count.

    Reports events from number ``held_done`` on; when the space for outcomes ends first, ``held_place`` says so.
    """
    call = link["calls"][place]
    fields = shared["fields"]
    result = read_message(buf, at, end, etcd_responses.WATCH_NUMBERS, etcd_responses.WATCH_BYTES, fields)
    if result < 0:
        call["code"] = PROTOCOL_ERROR
        return count
    if fields[4] != 0:
        call["code"] = OUT_OF_RANGE if fields[5] != 0 else CANCELLED
        return count
    if fields[3] != 0 and call["answered"] == 0:
        call["answered"] = 1
        revision = etcd_responses.header_revision(buf, fields)
        return append(outcomes, count, int(call["slot"]), WATCH, OK, max(revision, 0), 1, 0)
    if fields[COUNTS + etcd_responses.EVENTS] == 0:
        return count
    skip = int(link["held_done"]) if link["held_place"] == place else 0
    link["held_place"] = -1
    done = 0
    while at < end:
        tag, value, at = next_field(buf, at, end)
        if tag != (etcd_responses.EVENTS << 3 | BYTES):
            continue
        if done >= skip:
            if count + 1 >= len(outcomes):
                link["held_place"] = place
                link["held_done"] = done
                link["waiting"] = 1
                return count
            count = read_event(shared, buf, value, at, outcomes, count)
        done += 1
    return count


@kernel
def read_event(shared: Any, buf: Any, at: int, end: int, outcomes: Any, count: int) -> int:
    """One event of a watch. Returns the new count."""
    fields = shared["fields"]
    code = OK
    revision, sent = 0, 0
    if read_message(buf, at, end, etcd_responses.EVENT_NUMBERS, etcd_responses.EVENT_BYTES, fields) < 0:
        code = PROTOCOL_ERROR
    else:
        start, stop = fields[STARTS + 2], fields[ENDS + 2]
        revision = etcd_responses.mod_revision(buf, start, stop)
        sent = etcd_responses.sent_stamp(buf, start, stop)
        if revision < 0:
            code = PROTOCOL_ERROR
    count = append(outcomes, count, -1, WATCH, code, max(revision, 0), 1, 0)
    outcomes[count - 1]["sent_ns"] = max(sent, 0)
    return count


@kernel
def on_message(link: Any, shared: Any, place: int, buf: Any, at: int, end: int, outcomes: Any, count: int) -> int:
    """A complete message of a call. Returns the new count."""
    call = link["calls"][place]
    kind = int(call["kind"])
    if kind == WATCH:
        return read_watch(link, shared, place, buf, at, end, outcomes, count)
    if kind == KEEP_ALIVE:
        return read_keep_alive(link, shared, buf, at, end, outcomes, count)
    read_answer(shared, buf, at, end, call)
    return count


@kernel
def give_up(link: Any, shared: Any, arena: Any, tx: Any, place: int, outcomes: Any, count: int, code: int) -> int:
    """End a live call from this side: RST_STREAM, and its outcome. Returns the new count."""
    event = shared["http2"]["event"]
    event["tx_at"] = http2_frames.reset_stream(link["http2"], place, CANCEL, tx, int(event["tx_at"]))
    return finish(link, shared, arena, place, outcomes, count, code)


@kernel
def on_headers(link: Any, shared: Any, arena: Any, rx: Any, tx: Any, outcomes: Any, count: int) -> int:
    """A response's headers or trailers. Returns the new count."""
    event = shared["http2"]["event"]
    place = int(event["place"])
    meaning = int(event["meaning"])
    if event["fields"] >= 0:
        listed = shared["http2"]["listed"]
        meaning = grpc.response_meaning(listed, int(event["fields"]))
        if meaning & grpc.HAS_MESSAGE and grpc.grpc_status_of(meaning) > 0:
            shared["error_status"] = grpc.grpc_status_of(meaning)
            shared["error_bytes"] = grpc.copy_message(listed, int(event["fields"]), shared["error_text"])
        else:
            http2_frames.remember(link["http2"], shared["http2"], rx, meaning)
    status = grpc.grpc_status_of(meaning)
    http_status = grpc.http_status_of(meaning)
    if event["ends_stream"] == 0:
        if http_status >= 200 and (http_status != 200 or meaning & grpc.HAS_MEDIA_TYPE == 0):
            code = grpc.status_of_http(http_status)
            return give_up(link, shared, arena, tx, place, outcomes, count, code)
        return count
    if status < 0:
        status = grpc.status_of_http(http_status)
    return on_end(link, shared, arena, tx, outcomes, count, status)


@kernel
def on_end(link: Any, shared: Any, arena: Any, tx: Any, outcomes: Any, count: int, status: int) -> int:
    """The server ended a stream with ``status``. Returns the new count."""
    event = shared["http2"]["event"]
    place = int(event["place"])
    call = link["calls"][place]
    if status == OK:
        status = int(call["code"])
        if call["answered"] == 0 and call["kind"] != KEEP_ALIVE and call["kind"] != WATCH:
            status = PROTOCOL_ERROR
    if event["closed"] == 0:
        return give_up(link, shared, arena, tx, place, outcomes, count, status)
    return finish(link, shared, arena, place, outcomes, count, status)


@kernel
def on_data(link: Any, shared: Any, arena: Any, rx: Any, tx: Any, at: int, end: int, outcomes: Any, count: int) -> int:
    """The bytes ``rx[at:end]`` of the body of the stream in the event. Returns the new count.

    Stops at a watch's message that has no space for its events; the link's ``held_`` fields and the event's ``rx_at``
    then say where.
    """
    event = shared["http2"]["event"]
    place = int(event["place"])
    call = link["calls"][place]
    message = shared["message"]
    while at < end:
        found = grpc.next_message(call, shared["pool"], arena, rx, at, end, message)
        if found < 0:
            code = RESPONSE_TOO_LARGE if found == grpc.TOO_LARGE else PROTOCOL_ERROR
            if event["closed"] == 1:
                return finish(link, shared, arena, place, outcomes, count, code)
            return give_up(link, shared, arena, tx, place, outcomes, count, code)
        if found == 0:
            break
        count = use_message(link, shared, arena, rx, place, outcomes, count)
        at = int(message["next"])
        if link["held_place"] >= 0:
            hold(link, shared, end)
            return count
    if call["kind"] == WATCH and call["code"] != OK:
        return give_up(link, shared, arena, tx, place, outcomes, count, int(call["code"]))
    if event["ends_stream"] == 1:
        return on_end(link, shared, arena, tx, outcomes, count, grpc.UNKNOWN)
    return count


@kernel
def use_message(link: Any, shared: Any, arena: Any, rx: Any, place: int, outcomes: Any, count: int) -> int:
    """Read the complete message, and give its buffer back once it is read to its end. Returns the new count."""
    message = shared["message"]
    at, end = int(message["at"]), int(message["end"])
    if message["in_pool"] == 0:
        return on_message(link, shared, place, rx, at, end, outcomes, count)
    count = on_message(link, shared, place, arena, at, end, outcomes, count)
    if link["held_place"] < 0:
        grpc.release(link["calls"][place], shared["pool"], arena)
    return count


@kernel
def hold(link: Any, shared: Any, frame_end: int) -> None:
    """Keep the message just stopped at for the next call of ``receive``, which leaves rx unread from it on."""
    message = shared["message"]
    in_pool = int(message["in_pool"])
    front = int(message["next"]) if in_pool != 0 else int(message["at"])
    shift = 0 if in_pool != 0 else front
    link["held_in_pool"] = in_pool
    link["held_at"] = message["at"] - shift
    link["held_end"] = message["end"] - shift
    link["held_next"] = message["next"] - front
    link["held_frame_end"] = frame_end - front
    shared["http2"]["event"]["rx_at"] = front
