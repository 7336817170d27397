"""The null server of etcd's protocol: reads every frame and every request, answers each stream, stores nothing.

Revisions count up with every write. What the load engine reaches against it is the engine's ceiling, no server's. Its
connections are those of the built-in store's server.
"""

from typing import Any

from kvbench.jit import kernel
from kvbench.net import table
from kvbench.rt import libc
from kvbench.rt.atomics import load
from kvbench.rt.clock import monotonic_ns
from kvbench.server import grpc_answers, grpc_end, refusals, sockets, sweep
from kvbench.server.end_records import FREE, UNKNOWN
from kvbench.server.null_etcd_answers import ANSWER_BYTES_MAX, INVALID_ARGUMENT, UNIMPLEMENTED, write_answer
from kvbench.server.null_etcd_records import NullEtcd, new_null_etcd
from kvbench.wire import etcd_methods

__all__ = ["NullEtcd", "new_null_etcd", "serve_connection", "serve_etcd"]

ACCEPTS_MAX = 64
TURN_NS = 100_000_000


@kernel
def answer(null: Any, number: int) -> None:
    """Answer the request that the state names."""
    end, shared = null.end, null.shared[0]
    state, call = end.state[0], end.calls[number]
    method = int(call["method"])
    if method > etcd_methods.LEASE_KEEP_ALIVE:
        refuse(end, number, UNIMPLEMENTED)
        return
    room = ANSWER_BYTES_MAX
    if method == etcd_methods.RANGE:
        room += int(shared["value_bytes"])
    to = grpc_answers.open_response(end, number, room)
    if to < 0:
        refuse(end, number, 0)
        return
    stop = write_answer(
        shared, method, call, end.arena, int(state["request_at"]), int(state["request_end"]), end.arena, to
    )
    if stop < 0:
        grpc_answers.abandon_response(end)
        refuse(end, number, -stop)
        return
    grpc_answers.close_response(end, number, stop - to, not grpc_end.is_streaming(method))


@kernel
def refuse(end: Any, number: int, status: int) -> None:
    """End a call without a response: with a gRPC status, or 0 for lack of memory."""
    refusal = refusals.BAD_MESSAGE
    if status == 0:
        refusal = refusals.NO_MEMORY
    elif status == UNIMPLEMENTED or status == INVALID_ARGUMENT:
        refusal = refusals.UNKNOWN_METHOD
    size = refusals.write_refusal(end.state[0]["text"], refusal)
    grpc_answers.fail(end, number, status if status != 0 else refusals.status_of(refusal), size)


@kernel
def serve_connection(null: Any, position: int, receive: bool, now: int) -> int:
    """Answer every request that has come on a connection. Returns 0, or a negative code: hang up."""
    found = sockets.begin_read(null.end, position, now, receive)
    return serve_read(null, position) if found > 0 else found


@kernel
def serve_read(null: Any, position: int) -> int:
    """``serve_connection`` for what was read."""
    end = null.end
    if end.links[position]["kind"] == UNKNOWN:
        code = grpc_end.greet(end, position)
        if code < 0:
            return code
    while True:
        what = grpc_end.next_request(end, position)
        if what <= 0:
            break
        number = int(end.state[0]["call"])
        if what == grpc_end.REQUEST:
            answer(null, number)
        elif what == grpc_end.HALF_CLOSED:
            grpc_answers.finish(end, number)
    if what < 0:
        return what
    return sockets.end_read(end, position)


@kernel
def drop(end: Any, position: int, now: int) -> None:
    """Break a connection off, after one try to send what is written."""
    sockets.send_some(end, position, now)
    grpc_end.next_lost(end, position)
    sockets.close_link(end, position)


@kernel
def on_events(null: Any, listener: int, happened: int, now: int) -> None:
    """Deal with what epoll reported."""
    end = null.end
    for event in range(happened):
        position, mask = table.event_tag(end, event), table.event_mask(end, event)
        if position == sockets.LISTENER_TAG:
            for _ in range(ACCEPTS_MAX):
                if sockets.accept(end, listener, now) == -1:
                    break
            continue
        link = end.links[position]
        if link["state"] == FREE:
            continue
        if mask & libc.EPOLLOUT:
            sockets.mark_dirty(end, position)
        readable = mask & ~libc.EPOLLOUT and (link["blocked"] == 0 or mask & (libc.EPOLLHUP | libc.EPOLLERR))
        if readable and serve_connection(null, position, True, now) < 0:
            drop(end, position, now)


@kernel
def go_on(null: Any, now: int) -> None:
    """Go on with connections that were blocked, and send what was written."""
    end = null.end
    total = int(end.again[0])
    end.again[0] = 0
    for i in range(1, total + 1):
        position = int(end.again[i])
        link = end.links[position]
        link["again"] = 0
        if link["state"] == FREE or link["unread_bytes"] == 0 or link["blocked"] == 1:
            continue
        if serve_connection(null, position, False, now) < 0:
            drop(end, position, now)
    total = int(end.dirty[0])
    end.dirty[0] = 0
    for i in range(1, total + 1):
        position = int(end.dirty[i])
        end.links[position]["dirty"] = 0
        if grpc_end.flush(end, position, now) < 0:
            drop(end, position, now)


@kernel
def serve(null: Any, listener: int, stop: Any) -> int:
    """Answer until ``stop`` (int64[1]) is set. Returns 0, or -errno when epoll cannot be had."""
    end = null.end
    code = sockets.listen(end, listener)
    if code < 0:
        return code
    swept = monotonic_ns(end.scratch)
    while load(stop, 0) == 0:
        idle = end.again[0] == 0 and end.dirty[0] == 0
        happened = table.wait(end, TURN_NS if idle else 0)
        now = monotonic_ns(end.scratch)
        on_events(null, listener, happened, now)
        go_on(null, now)
        if now - swept > TURN_NS:
            swept = now
            position = sweep.sweep(end, now, len(end.links))
            if position >= 0:
                drop(end, position, now)
    sockets.close_all(end)
    return 0


def serve_etcd(listener: int, connections: int, stop: Any, value_bytes: int = 256) -> int:
    """Serve on a listening descriptor until ``stop`` (int64[1]) is not 0. Returns 0, or -errno."""
    return int(serve(new_null_etcd(connections, value_bytes), listener, stop))
