"""What a client's request becomes: offered to the member, given to the watches, or asked of Python; and its answer."""

from typing import Any

from kvbench.jit import kernel
from kvbench.node import calls, step
from kvbench.ops.status import StoreError
from kvbench.rt.buffer import copy
from kvbench.server import figures, grpc_answers, rare_ring, refusals, sockets, watches
from kvbench.server.rare_ring import ANSWER_BYTES, ANSWER_NUMBERS, ANSWER_SLOTS, FILLED, FREE, LOST, Question
from kvbench.server.records import BUSY_NUMBERS, Figure
from kvbench.store import requests
from kvbench.wire import etcd_methods, grpc_pool
from kvbench.wire.protobuf import message_field_bytes, write_length

TIMEOUT, TOO_MANY_REQUESTS = int(StoreError.TIMEOUT), int(StoreError.TOO_MANY_REQUESTS)
RESPONSE_TOO_LARGE = int(StoreError.RESPONSE_TOO_LARGE)
COMMAND_DONE = int(Question.COMMAND_DONE)
READY = int(Figure.READY)
BUSY_SHARE = 4
"""What part of the arena such requests may hold; a single one may be larger."""
BUSY_NS = 7_000_000_000
"""How long a request waits for the member to have room for it, or a leader: etcd's time for a request."""


@kernel
def on_request(server: Any, end: Any, node: Any, ring: Any, number: int, at: int, stop: int, now: int) -> None:
    """A call's request lies at ``arena[at:stop]``."""
    call = end.calls[number]
    method = int(call["method"])
    if method == etcd_methods.WATCH:
        if call["count"] > 0 or may_not_watch(server, node):
            put_off(server, end, node, number, at, stop, now)
        else:
            watches.request(server, end, node.store, number, at, stop)
        return
    handle = grpc_answers.handle_of(end, number)
    is_range_stream = method == etcd_methods.RANGE_STREAM
    if method >= etcd_methods.FIRST_RARE and method != etcd_methods.ALARM and not is_range_stream:
        figures.publish_member(server.figures, node)
        if not rare_ring.ask(ring, handle, method, -1, end.arena, at, stop - at, 0, 0, 0, 0):
            grpc_answers.fail_store(end, number, TOO_MANY_REQUESTS)
        return
    if method == etcd_methods.LEASE_KEEP_ALIVE:
        call["count"] += 1
    if is_range_stream:
        refusal = unstreamable(node.store, end.arena, at, stop)
        if refusal >= 0:
            watches.refuse(end, number, refusal)
            return
    state = server.state[0]
    if state["busy_head"] != state["busy_tail"]:
        put_off(server, end, node, number, at, stop, now)
        return
    code = calls.offer(node, now, handle, offered_as(method), end.arena, at, stop)
    if code > 0:
        put_off(server, end, node, number, at, stop, now)
    elif code < 0:
        grpc_answers.fail_store(end, number, code)


@kernel
def offered_as(method: int) -> int:
    """The method as the member knows it: what RangeStream streams is the response of a Range, in one piece."""
    return etcd_methods.RANGE if method == etcd_methods.RANGE_STREAM else method


@kernel
def unstreamable(store: Any, buf: Any, at: int, stop: int) -> int:
    """The Refusal of a RangeRequest that etcd does not stream; -1: it does, or refuses it as a Range too."""
    if requests.check(store, etcd_methods.RANGE, buf, at, stop) < 0:
        return -1
    fields = store.state[0]["fields"]
    order, target = fields[5], fields[6]
    if order != 0 and (order != 1 or target != 0):
        return refusals.CUSTOM_ORDER
    is_filtered = fields[10] != 0 or fields[11] != 0 or fields[12] != 0 or fields[13] != 0
    return refusals.REVISION_FILTERS if is_filtered else -1


@kernel
def may_not_watch(server: Any, node: Any) -> bool:
    """Whether the member cannot say yet what is new: it starts, or is given another state."""
    return bool(node.state[0]["loading"] != 0 or server.figures[READY] == 0)


@kernel
def put_off(server: Any, end: Any, node: Any, number: int, at: int, stop: int, now: int) -> None:
    """The member has no room for a request now: keep it."""
    state, pool = server.state[0], end.state[0]["pool"]
    slots = len(server.busy) // BUSY_NUMBERS
    buffer = -1
    held = int(state["busy_bytes"])
    has_room = held == 0 or held + stop - at <= len(end.arena) // BUSY_SHARE
    if state["busy_tail"] - state["busy_head"] < slots and has_room:
        buffer = grpc_pool.take(pool, end.arena, stop - at)
    if buffer < 0:
        watches.forget(server, end, node.store, number)
        grpc_answers.fail_store(end, number, TOO_MANY_REQUESTS)
        return
    copy(end.arena, buffer, end.arena, at, stop - at)
    first = int(state["busy_tail"]) % slots * BUSY_NUMBERS
    server.busy[first] = grpc_answers.handle_of(end, number)
    server.busy[first + 1] = buffer
    server.busy[first + 2] = stop - at
    server.busy[first + 3] = now
    state["busy_bytes"] += stop - at
    state["busy_tail"] += 1
    if end.calls[number]["method"] == etcd_methods.WATCH:
        end.calls[number]["count"] += 1


@kernel
def offer_again(server: Any, end: Any, node: Any, now: int) -> None:
    """Offer what was put off, as far as the member has room now."""
    state, pool = server.state[0], end.state[0]["pool"]
    slots = len(server.busy) // BUSY_NUMBERS
    while state["busy_head"] != state["busy_tail"]:
        first = int(state["busy_head"]) % slots * BUSY_NUMBERS
        handle, at, size = int(server.busy[first]), int(server.busy[first + 1]), int(server.busy[first + 2])
        number = grpc_answers.call_of(end, handle)
        code = 0
        if number >= 0:
            code = TIMEOUT
            if now - server.busy[first + 3] < BUSY_NS:
                code = offer_one(server, end, node, number, at, at + size, now)
            if code > 0:
                return
        grpc_pool.give(pool, end.arena, at, size)
        state["busy_head"] += 1
        state["busy_bytes"] -= size
        if code < 0:
            watches.forget(server, end, node.store, number)
            grpc_answers.fail_store(end, number, code)


@kernel
def offer_one(server: Any, end: Any, node: Any, number: int, at: int, stop: int, now: int) -> int:
    """Offer a request that was put off. Returns 1: it must wait further, 0, or a StoreError."""
    call = end.calls[number]
    if call["method"] != etcd_methods.WATCH:
        method = offered_as(int(call["method"]))
        return calls.offer(node, now, grpc_answers.handle_of(end, number), method, end.arena, at, stop)
    if may_not_watch(server, node):
        return 1
    call["count"] -= 1
    watches.request(server, end, node.store, number, at, stop)
    return 0


@kernel
def half_closed(end: Any, number: int) -> None:
    """The peer of a stream of many requests sends no more: end it once all are answered.

    As in etcd, its watchers are sent events all the same.
    """
    call = end.calls[number]
    if call["method"] != etcd_methods.WATCH and call["count"] == 0:
        grpc_answers.finish(end, number)


@kernel
def take_replies(server: Any, end: Any, node: Any, ring: Any) -> None:
    """Answer the calls that the member has replies for."""
    for place in range(node.state[0]["replies"]):
        reply = node.replies[place]
        if reply["method"] < 0:
            values = reply["values"]
            figures.publish_member(server.figures, node)
            rare_ring.ask(
                ring, int(reply["handle"]), COMMAND_DONE, int(reply["method"]), node.reply_bytes, 0, 0,
                int(reply["code"]), int(values[0]), int(values[1]), int(values[2]),
            )  # fmt: skip
            continue
        number = grpc_answers.call_of(end, int(reply["handle"]))
        if number >= 0:
            answer(end, number, int(reply["code"]), node.reply_bytes, int(reply["at"]), int(reply["bytes"]))
    step.replies_taken(node)


@kernel
def answer(end: Any, number: int, code: int, source: Any, at: int, size: int) -> None:
    """Answer a call with ``source[at : at + size]``, or a StoreError."""
    if code < 0:
        grpc_answers.fail_store(end, number, code)
        return
    call = end.calls[number]
    is_stream = call["method"] == etcd_methods.LEASE_KEEP_ALIVE
    is_nested = call["method"] == etcd_methods.RANGE_STREAM
    whole = message_field_bytes(size) if is_nested else size
    to = grpc_answers.open_response(end, number, whole)
    if to < 0:
        if is_stream:
            watches.refuse(end, number, refusals.UNREAD)
        else:
            grpc_answers.fail_store(end, number, RESPONSE_TOO_LARGE)
        return
    if is_nested:
        to = write_length(end.arena, to, 1, size)
    copy(end.arena, to, source, at, size)
    grpc_answers.close_response(end, number, whole, not is_stream)
    if is_stream:
        call["count"] -= 1
        if call["count"] == 0 and call["half_closed"] == 1:
            grpc_answers.finish(end, number)


@kernel
def take_answers(server: Any, end: Any, ring: Any) -> None:
    """Pass on what Python answered; what finds no room waits for the next time."""
    server.state[0]["answers_wait"] = 0
    for slot in range(ANSWER_SLOTS):
        if rare_ring.answer_state(ring, slot) != FILLED:
            continue
        first = slot * ANSWER_NUMBERS
        connection = int(ring.answers[first + 5])
        done = pass_http(end, ring, slot, connection) if connection >= 0 else pass_grpc(end, ring, slot)
        if done == 0:
            server.state[0]["answers_wait"] = 1
        else:
            rare_ring.set_answer_state(ring, slot, FREE if done > 0 else LOST)


@kernel
def pass_grpc(end: Any, ring: Any, slot: int) -> int:
    """An answer to a gRPC call. Returns 1: it is on its way, 0: it must wait, -1: nobody waits for it any more."""
    first = slot * ANSWER_NUMBERS
    number = grpc_answers.call_of(end, int(ring.answers[first + 1]))
    if number < 0:
        return -1
    status, size, last = int(ring.answers[first + 2]), int(ring.answers[first + 3]), int(ring.answers[first + 4])
    at = slot * ANSWER_BYTES
    if status != 0:
        size = min(size, len(end.state[0]["text"]))
        copy(end.state[0]["text"], 0, ring.answer_bytes, at, size)
        grpc_answers.fail(end, number, status, size)
        return 1
    if end.calls[number]["owed_at"] >= 0:
        end.calls[number]["waits"] = 1
        return 0
    to = grpc_answers.open_response(end, number, size)
    if to < 0:
        watches.refuse(end, number, refusals.NO_MEMORY)
        return -1
    copy(end.arena, to, ring.answer_bytes, at, size)
    grpc_answers.close_response(end, number, size, last == 1)
    return 1


@kernel
def pass_http(end: Any, ring: Any, slot: int, connection: int) -> int:
    """An answer to an HTTP/1.1 request. Returns as ``pass_grpc``."""
    first = slot * ANSWER_NUMBERS
    link = end.links[connection]
    if link["tag"] != ring.answers[first + 1]:
        return -1
    if not sockets.append(end, connection, ring.answer_bytes, slot * ANSWER_BYTES, int(ring.answers[first + 3])):
        return 0
    if ring.answers[first + 4] == 1:
        sockets.end_link(end, connection)
    return 1
