"""The etcd client: the six kernels that ARCHITECTURE.md names, over HTTP/2 and gRPC.

What is sent: PUT and INSERT are Put; GET, GET_SERIALIZABLE and RANGE are Range; DELETE is DeleteRange; CAS reads
first (step 0) and then does Txn with the mod revision compared (step 1; 0: the key must not exist); READ_MODIFY_WRITE
reads and then puts; TXN is Txn of puts without a condition. Each watch is a stream of its own, all keep-alives of a
connection share one. MAKE_PARENT is answered at once: keys have no parents.

What comes back: ErrorCode is the gRPC status of the trailers. ``revision`` is the key's mod revision after a read of
one key (0 and count 0: no such key), else the header's. A stream that the server refuses by GOAWAY or REFUSED_STREAM
ends as UNAVAILABLE. A watch that ends later ends with its slot and a code that is not OK.
"""

from typing import Any

from kvbench.client.etcd_receive import (
    abandon,
    fail_keep_alives,
    finish,
    on_data,
    on_headers,
    read_watch,
    sweep,
    sweep_as,
)
from kvbench.client.etcd_records import (
    BUFFERS_TOO_SMALL,
    DROPPED,
    PING_AFTER_NS,
    PING_TIMEOUT_NS,
    PROMPT_MAX,
    RESERVE_BYTES,
    EtcdClient,
    last_error,
    new_client,
)
from kvbench.client.etcd_submit import (
    FRAMES_BYTES,
    KEEP_ALIVE,
    REQUEST_TOO_LARGE,
    UNIMPLEMENTED,
    WATCH,
    keep_alive_fits,
    message_bytes,
    method_of,
    pump_large,
    start_call,
    start_data,
    start_large,
    window_of_large,
    write_keep_alive,
    write_message,
)
from kvbench.client.outcomes import append
from kvbench.jit import kernel
from kvbench.net import table
from kvbench.ops.errors import ErrorCode
from kvbench.ops.kinds import Kind
from kvbench.wire import etcd_methods, grpc, grpc_pool, http2, http2_frames
from kvbench.wire.http2_records import (
    CANCEL,
    DRAINED,
    EVENT_DATA,
    EVENT_GOAWAY,
    EVENT_HEADERS,
    EVENT_PING_ANSWERED,
    EVENT_RESET,
    EVENT_SETTINGS,
    FLAG_END_STREAM,
    FRAME_BYTES_MAX,
    FRAME_HEADER_BYTES,
    NO_ROOM,
    PING_UNANSWERED,
)

__all__ = ["EtcdClient", "last_error", "new_client"]


MAKE_PARENT = int(Kind.MAKE_PARENT)
CONNECTION_LOST = int(ErrorCode.CONNECTION_LOST)


@kernel
def opened(client: Any, net: Any, connection: int, now: int) -> int:
    """TCP is up: write preface and settings. ``receive`` sets ``ready`` when the server's settings came."""
    if net.rx_bytes < FRAME_BYTES_MAX + FRAME_HEADER_BYTES or net.tx_bytes < FRAMES_BYTES + 2 * RESERVE_BYTES:
        return BUFFERS_TOO_SMALL
    record = net.connections[connection]
    link = client.links[connection]
    http2_frames.begin(link["http2"])
    etcd_methods.reset(link["table"])
    base = connection * net.tx_bytes
    end = http2_frames.greet(link["http2"], client.shared[0]["http2"], net.tx, base + int(record["tx_end"]))
    record["tx_end"] = end - base
    table.mark_dirty(net, connection)
    return 0


@kernel
def submit(
    client: Any, net: Any, connection: int, slot: int, operations: Any, count: int, payload: Any, now: int
) -> int:
    """Encode ``operations[0:count]`` as the request of ``slot``: 1 accepted, 0 blocked, negative: -ErrorCode."""
    operation = operations[0]
    kind, step = int(operation["kind"]), int(operation["step"])
    link, shared, tx = client.links[connection], client.shared[0], net.tx
    record = net.connections[connection]
    if link["large_place"] >= 0:
        _pump(client, net, connection)
        if link["large_place"] >= 0:
            return 0
    method = method_of(kind, step)
    if method < 0:
        return _answer_at_once(link, record, slot) if kind == MAKE_PARENT else -UNIMPLEMENTED
    size = message_bytes(operations, count, method)
    body = size + grpc.PREFIX_BYTES
    h2 = link["http2"]
    needed = FRAMES_BYTES + size + RESERVE_BYTES
    if body > FRAME_BYTES_MAX or body > h2["peer_initial_window"] or needed > net.tx_bytes:
        return _submit_large(client, net, connection, slot, operations, count, payload, method, size)
    if h2["send_window"] < body or table.room(net, connection) < needed:
        return 0
    base = connection * net.tx_bytes
    begin = base + int(record["tx_end"])
    if kind == KEEP_ALIVE:
        if not keep_alive_fits(link, body):
            return 0
        end = write_keep_alive(link, shared, tx, begin, slot, int(operation["lease_id"]))
        if end == begin:
            return 0
    else:
        place, at = start_call(link, shared, tx, begin, slot, kind, step, method)
        if place < 0:
            return 0
        at = start_data(h2, place, tx, at, size, 0 if kind == WATCH else FLAG_END_STREAM)
        end = write_message(operations, count, method, payload, tx, at)
        if kind != WATCH:
            link["unary"] += 1
            http2_frames.end_local(h2, place)
    record["tx_end"] = end - base
    table.mark_dirty(net, connection)
    return 1


@kernel
def _answer_at_once(link: Any, record: Any, slot: int) -> int:
    """Nothing to send; ``receive`` reports success, and ``more`` has it called. Returns 1, or 0: too many wait."""
    if link["prompt"] == PROMPT_MAX:
        return 0
    link["prompts"][link["prompt"]] = slot
    link["prompt"] += 1
    link["waiting"] = 1
    record["more"] = 1
    return 1


@kernel
def _submit_large(
    client: Any, net: Any, connection: int, slot: int, operations: Any, count: int, payload: Any, method: int, size: int
) -> int:
    """A request whose message does not fit one frame or window: keep it in the pool, send it piece by piece.

    Returns 1, 0 (blocked) or -REQUEST_TOO_LARGE.
    """
    link, shared, arena = client.links[connection], client.shared[0], client.arena
    record = net.connections[connection]
    if table.room(net, connection) < FRAMES_BYTES + RESERVE_BYTES:
        return 0
    buffer = grpc_pool.take(shared["pool"], arena, size + grpc.PREFIX_BYTES)
    if buffer < 0:
        return 0 if shared["pool"]["live"] > 0 else -REQUEST_TOO_LARGE
    kind, step = int(operations[0]["kind"]), int(operations[0]["step"])
    base = connection * net.tx_bytes
    begin = base + int(record["tx_end"])
    place, at = start_call(link, shared, net.tx, begin, slot, kind, step, method)
    if place < 0:
        grpc_pool.give(shared["pool"], arena, buffer, size + grpc.PREFIX_BYTES)
        return 0
    record["tx_end"] = at - base
    write_message(operations, count, method, payload, arena, grpc.write_prefix(arena, buffer, size))
    start_large(link, place, buffer, size)
    _pump(client, net, connection)
    return 1


@kernel
def _pump(client: Any, net: Any, connection: int) -> None:
    """Go on with the large message under way, if there is one.

    When the windows stop it, the frame that opens them goes on; when tx does, ``more`` has ``receive`` called, which
    goes on, as soon as tx has left.
    """
    link = client.links[connection]
    if link["large_place"] < 0:
        return
    record = net.connections[connection]
    table.room(net, connection)
    base = connection * net.tx_bytes
    at = base + int(record["tx_end"])
    end = pump_large(link, client.shared[0], client.arena, net.tx, at, base + net.tx_bytes)
    if end != at:
        record["tx_end"] = end - base
        table.mark_dirty(net, connection)
    if link["large_place"] >= 0 and window_of_large(link) > 0:
        record["more"] = 1


@kernel
def receive(client: Any, net: Any, connection: int, now: int, outcomes: Any, count: int) -> int:
    """Decode what is in rx, append to ``outcomes`` from position ``count``. Returns the new count or a negative code.

    ``more`` is set when it stopped for lack of space in ``outcomes`` or of room in tx (for control frames, or for more
    of a large request), or before a negative code, which the next call returns. Without outcomes it is room that lacks.
    """
    record = net.connections[connection]
    link, shared, arena = client.links[connection], client.shared[0], client.arena
    h2, rx, tx = link["http2"], net.rx, net.tx
    event = shared["http2"]["event"]
    record["more"] = 0
    table.room(net, connection)
    rx_base, tx_base = connection * net.rx_bytes, connection * net.tx_bytes
    tx_start = tx_base + int(record["tx_end"])
    event["tx_at"] = tx_start
    event["rx_at"] = rx_base + int(record["rx_start"])
    end = rx_base + int(record["rx_end"])
    first = count
    kind = int(link["broken"])
    while len(outcomes) - count >= 2:
        if link["waiting"] != 0:
            count = _report_waiting(link, shared, arena, rx, tx, outcomes, count)
        if link["waiting"] != 0 or kind < 0:
            break
        kind = http2.next_event(
            h2, shared["http2"], rx, int(event["rx_at"]), end, tx, int(event["tx_at"]), tx_base + net.tx_bytes
        )
        if kind == EVENT_DATA:
            at = int(event["at"])
            count = on_data(link, shared, arena, rx, tx, at, at + int(event["size"]), outcomes, count)
        elif kind == EVENT_HEADERS:
            count = on_headers(link, shared, arena, rx, tx, outcomes, count)
        elif kind <= 0 or kind == NO_ROOM:
            break
        elif kind == EVENT_SETTINGS:
            record["ready"] = 1
        else:
            count = _on_rare_event(link, shared, arena, kind, outcomes, count)
    record["rx_start"] = event["rx_at"] - rx_base
    if event["tx_at"] != tx_start:
        record["tx_end"] = event["tx_at"] - tx_base
        table.mark_dirty(net, connection)
    if kind >= 0:
        _pump(client, net, connection)
        if _is_drained(link):
            kind = int(DRAINED)
    if kind < 0 and count == first:
        return kind
    if kind < 0 or kind == NO_ROOM or link["waiting"] != 0 or len(outcomes) - count < 2:
        record["more"] = 1
        link["broken"] = min(kind, 0)
    return count


@kernel
def _is_drained(link: Any) -> bool:
    """Whether the server accepts no more and all that it accepted is finished, watches aside."""
    if link["http2"]["draining"] == 0 or link["unary"] != 0 or link["waiting"] != 0:
        return False
    return int(link["keep_alives_sent"]) == int(link["keep_alives_answered"])


@kernel
def _report_waiting(link: Any, shared: Any, arena: Any, rx: Any, tx: Any, outcomes: Any, count: int) -> int:
    """Outcomes that need no bytes: prompt answers, refused streams, lost keep-alives, a watch's events held back.

    Returns the new count; ``waiting`` stays set when there is not space for all.
    """
    while link["prompt"] > 0 and count < len(outcomes):
        link["prompt"] -= 1
        count = append(outcomes, count, int(link["prompts"][link["prompt"]]), MAKE_PARENT, 0, 0, 1, 0)
    if link["sweep"] != 0:
        count = sweep(link, shared, arena, outcomes, count)
    if link["keep_alive_code"] != 0:
        count = fail_keep_alives(link, outcomes, count, int(link["keep_alive_code"]))
    if link["held_place"] >= 0:
        count = _resume(link, shared, arena, rx, tx, outcomes, count)
    if link["prompt"] == 0 and link["sweep"] == 0 and link["keep_alive_code"] == 0 and link["held_place"] < 0:
        link["waiting"] = 0
    return count


@kernel
def _resume(link: Any, shared: Any, arena: Any, rx: Any, tx: Any, outcomes: Any, count: int) -> int:
    """Go on with a watch's message that was held back, and with the rest of its frame. Returns the new count."""
    event = shared["http2"]["event"]
    place = int(link["held_place"])
    base = int(event["rx_at"])
    at, end = int(link["held_at"]), int(link["held_end"])
    if link["held_in_pool"] != 0:
        count = read_watch(link, shared, place, arena, at, end, outcomes, count)
    else:
        count = read_watch(link, shared, place, rx, base + at, base + end, outcomes, count)
    if link["held_place"] >= 0:
        return count
    if link["held_in_pool"] != 0:
        grpc.release(link["calls"][place], shared["pool"], arena)
    event["place"] = place
    event["closed"] = 0
    event["ends_stream"] = 0
    event["rx_at"] = base + link["held_frame_end"]
    rest = base + int(link["held_next"])
    return on_data(link, shared, arena, rx, tx, rest, int(event["rx_at"]), outcomes, count)


@kernel
def _on_rare_event(link: Any, shared: Any, arena: Any, kind: int, outcomes: Any, count: int) -> int:
    """Events other than HEADERS, DATA and SETTINGS. Returns the new count."""
    event = shared["http2"]["event"]
    if kind == EVENT_RESET:
        code = grpc.status_of_reset(int(event["code"]))
        count = finish(link, shared, arena, int(event["place"]), outcomes, count, code)
    elif kind == EVENT_GOAWAY:
        link["sweep"] = 1
        link["waiting"] = 1
    elif kind == EVENT_PING_ANSWERED:
        link["ping_ns"] = 0
    return count


@kernel
def cancel(client: Any, net: Any, connection: int, slot: int, now: int) -> int:
    """The request of ``slot`` timed out: reset its stream, or have a keep-alive's answer dropped. Returns 0."""
    link, shared, arena = client.links[connection], client.shared[0], client.arena
    h2 = link["http2"]
    mask = h2["ring"] - 1
    for number in range(int(link["keep_alives_answered"]), int(link["keep_alives_sent"])):
        if link["keep_alives"][number & mask] == slot:
            link["keep_alives"][number & mask] = DROPPED
            return 0
    for place in range(h2["ring"]):
        call = link["calls"][place]
        if h2["streams"][place]["id"] == 0 or call["slot"] != slot:
            continue
        if link["held_place"] == place:
            link["held_place"] = -1
            net.connections[connection]["rx_start"] += link["held_frame_end"]
        abandon(link, shared, arena, place)
        _reset(net, connection, h2, place)
        return 0
    return 0


@kernel
def _reset(net: Any, connection: int, h2: Any, place: int) -> None:
    """RST_STREAM(CANCEL) into tx; without room for it the stream is only forgotten, and its answer then ignored."""
    if table.room(net, connection) < RESERVE_BYTES // 2:
        http2_frames.free_stream(h2, place)
        return
    record = net.connections[connection]
    base = connection * net.tx_bytes
    at = base + int(record["tx_end"])
    record["tx_end"] = http2_frames.reset_stream(h2, place, CANCEL, net.tx, at) - base
    table.mark_dirty(net, connection)


@kernel
def tick(client: Any, net: Any, connection: int, now: int) -> int:
    """Go on with a large message; PING when requests are in flight and nothing came for PING_AFTER_NS.

    Only then, because servers take pings of idle connections for an attack. Returns 0, or PING_UNANSWERED.
    """
    record = net.connections[connection]
    link = client.links[connection]
    if record["ready"] == 0:
        return 0
    _pump(client, net, connection)
    if link["ping_ns"] != 0:
        if record["last_received_ns"] > link["ping_ns"]:
            link["ping_ns"] = 0
        elif now - link["ping_ns"] >= PING_TIMEOUT_NS:
            return PING_UNANSWERED
        return 0
    if link["http2"]["live"] == 0 or now - record["last_received_ns"] < PING_AFTER_NS:
        return 0
    if table.room(net, connection) >= RESERVE_BYTES // 2:
        base = connection * net.tx_bytes
        record["tx_end"] = http2_frames.write_ping(net.tx, base + int(record["tx_end"]), 0, now) - base
        link["ping_ns"] = now
        table.mark_dirty(net, connection)
    return 0


@kernel
def lost(client: Any, net: Any, connection: int, outcomes: Any, count: int) -> int:
    """The connection is gone: CONNECTION_LOST for each request and watch on it. Returns the new count.

    With too little space in ``outcomes`` the rest is reported by the next call (``more`` is set).
    """
    link, shared, arena = client.links[connection], client.shared[0], client.arena
    record = net.connections[connection]
    h2 = link["http2"]
    record["more"] = 0
    count = fail_keep_alives(link, outcomes, count, CONNECTION_LOST)
    h2["goaway_last"] = 0
    count = sweep_as(link, shared, arena, outcomes, count, CONNECTION_LOST)
    while link["prompt"] > 0 and count < len(outcomes):
        link["prompt"] -= 1
        count = append(outcomes, count, int(link["prompts"][link["prompt"]]), MAKE_PARENT, 0, 0, 1, 0)
    if link["prompt"] > 0 or link["keep_alives_answered"] != link["keep_alives_sent"] or h2["live"] > 0:
        record["more"] = 1
        return count
    link["unary"] = 0
    link["sweep"] = 0
    link["waiting"] = 0
    link["keep_alive_code"] = 0
    link["broken"] = 0
    link["ping_ns"] = 0
    link["held_place"] = -1
    return count
