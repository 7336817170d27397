"""The loop of a member's server: sockets, disk, clock and Python's rare calls around ``node``'s step.

One turn: what epoll reports is read and offered or delivered, the clock's tick is passed on, the member advances, and
what it has for clients, watchers, other members and the disk goes out. The loop sleeps in epoll until something comes
or the next tick is due.
"""

from typing import Any

from kvbench.jit import kernel
from kvbench.net import table
from kvbench.node import calls
from kvbench.rt import atomics, libc
from kvbench.rt.clock import monotonic_ns
from kvbench.server import (
    disk_steps,
    figures,
    grpc_answers,
    grpc_end,
    http1,
    peers,
    rare_ring,
    requests,
    sockets,
    sweep,
    watches,
)
from kvbench.server.end_records import ENDING, FREE, GONE, GRPC, HTTP1, NOT_HTTP, PEER, UNKNOWN
from kvbench.server.records import DISK_TAG, OUT_TAG, RARE_TAG
from kvbench.wire.http2_records import NO_ERROR

ACCEPTS_MAX = 64
"""Connections accepted in one turn."""
WATCHERS_MAX = 512
"""Watchers that have their turn before sockets are looked at again."""
ADVANCES_MAX = 8
"""Steps of the member before sockets are looked at again."""
SWEEPS_PER_ROUND = 100
"""Ticks in which every connection is looked at once."""
HTTP = int(rare_ring.Question.HTTP)
TRIM_NS = 1_000_000_000


@kernel
def begin(server: Any, end: Any, ring: Any) -> int:
    """Watch the listener, the disk's and Python's descriptors. Returns 0, or -errno."""
    state = server.state[0]
    code = sockets.listen(end, int(state["listener"]))
    if code < 0:
        return code
    if table.control(end, libc.EPOLL_CTL_ADD, int(state["disk_fd"]), libc.EPOLLIN, DISK_TAG) < 0:
        return -libc.errno()
    if table.control(end, libc.EPOLL_CTL_ADD, int(ring.wakes[rare_ring.TO_LOOP]), libc.EPOLLIN, RARE_TAG) < 0:
        return -libc.errno()
    return 0


@kernel
def classify(server: Any, end: Any, node: Any, position: int) -> int:
    """See what a new connection speaks. Returns 1: known now; 0: more bytes must come; or a code."""
    state, link = end.state[0], end.links[position]
    at, stop = int(state["at"]), int(state["stop"])
    if stop - at < 4:
        return 0
    if http1.is_http2(end.arena, at):
        code = grpc_end.greet(end, position)
        return code if code < 0 else 1
    if http1.is_http1(end.arena, at):
        link["kind"] = HTTP1
        link["tag"] = -1
        return 1
    if peers.is_hello(end.arena, at):
        return peers.welcome(server, end, node, position)
    return NOT_HTTP


@kernel
def read_http(end: Any, ring: Any, position: int) -> int:
    """Pass a request's head on to Python once it is there; what follows it is ignored. Returns 0 or a code."""
    state, link = end.state[0], end.links[position]
    at, stop = int(state["at"]), int(state["stop"])
    if link["tag"] >= 0:
        state["at"] = stop
        return 0
    size = http1.head_bytes(end.arena, at, stop)
    if size < 0:
        return NOT_HTTP
    if size == 0:
        return 0
    link["tag"] = state["accepted"]
    state["at"] = stop
    asked = rare_ring.ask(ring, int(link["tag"]), HTTP, position, end.arena, at, size, 0, 0, 0, 0)
    return 0 if asked else NOT_HTTP


@kernel
def read_grpc(server: Any, end: Any, node: Any, ring: Any, position: int, now: int) -> int:
    """Deal with all requests that were read of a connection. Returns 0 or a code."""
    state = end.state[0]
    while True:
        what = grpc_end.next_request(end, position)
        if what <= 0:
            return what
        number = int(state["call"])
        if what == grpc_end.REQUEST:
            at, stop = int(state["request_at"]), int(state["request_end"])
            requests.on_request(server, end, node, ring, number, at, stop, now)
        elif what == grpc_end.HALF_CLOSED:
            requests.half_closed(end, number)
        else:
            watches.forget(server, end, node.store, number)
            grpc_answers.free_call(end, number)


@kernel
def read_link(server: Any, end: Any, node: Any, ring: Any, position: int, receive: bool, now: int) -> int:
    """Read a connection and deal with what came. Returns 0, or a code: drop it."""
    link = end.links[position]
    if link["kind"] == PEER:
        return read_peer(server, end, node, position, now)
    found = sockets.begin_read(end, position, now, receive)
    if found <= 0:
        return found
    code = 1
    if link["kind"] == UNKNOWN:
        code = classify(server, end, node, position)
    if code > 0:
        code = 0
        if link["kind"] == GRPC:
            code = read_grpc(server, end, node, ring, position, now)
        elif link["kind"] == HTTP1:
            code = read_http(end, ring, position)
        else:
            code = peers.deliver_all(server, node, int(link["tag"]), now)
    if code < 0:
        return code
    return sockets.end_read(end, position)


@kernel
def read_peer(server: Any, end: Any, node: Any, position: int, now: int) -> int:
    """Read from another member. Returns 0, or a code: drop the connection."""
    got = peers.receive(server, end, position, now)
    if got <= 0:
        return got
    return peers.deliver_all(server, node, int(end.links[position]["tag"]), now)


@kernel
def drop(server: Any, end: Any, node: Any, position: int, code: int, now: int) -> None:
    """Break a connection off, after one try to send what is written."""
    link = end.links[position]
    if link["state"] == FREE:
        return
    if code != GONE:
        end.state[0]["dropped"] += 1
    sockets.send_some(end, position, now)
    if link["kind"] == PEER:
        peers.leave(server, end, position)
    while True:
        number = grpc_end.next_lost(end, position)
        if number < 0:
            break
        watches.forget(server, end, node.store, number)
        end.calls[number]["tag"] = -1
    link["tag"] = -1
    sockets.close_link(end, position)


@kernel
def accept_some(server: Any, end: Any, now: int) -> None:
    """Accept the connections that wait, a bounded number of them."""
    listener = int(server.state[0]["listener"])
    for _ in range(ACCEPTS_MAX):
        position = sockets.accept(end, listener, now)
        if position == sockets.NO_DESCRIPTOR:
            server.state[0]["accepting"] = 0
            table.control(end, libc.EPOLL_CTL_MOD, listener, 0, sockets.LISTENER_TAG)
            return
        if position == -1:
            return


@kernel
def on_link_event(server: Any, end: Any, node: Any, ring: Any, position: int, mask: int, now: int) -> None:
    """epoll reported a connection."""
    link = end.links[position]
    if link["state"] == FREE:
        return
    code = 0
    if mask & libc.EPOLLOUT:
        sockets.mark_dirty(end, position)
    if mask & (libc.EPOLLIN | libc.EPOLLHUP | libc.EPOLLERR | libc.EPOLLRDHUP):
        if link["state"] == ENDING or link["blocked"] == 1:
            code = GONE if mask & (libc.EPOLLHUP | libc.EPOLLERR) else 0
        else:
            code = read_link(server, end, node, ring, position, True, now)
    if code < 0:
        drop(server, end, node, position, code, now)


@kernel
def on_events(server: Any, end: Any, node: Any, disk: Any, ring: Any, happened: int, now: int) -> None:
    """Deal with what epoll reported."""
    for event in range(happened):
        tag, mask = table.event_tag(end, event), table.event_mask(end, event)
        if tag < sockets.LISTENER_TAG:
            on_link_event(server, end, node, ring, tag, mask, now)
        elif tag == sockets.LISTENER_TAG:
            accept_some(server, end, now)
        elif tag == DISK_TAG:
            disk_steps.take_results(disk, node, int(server.state[0]["disk_fd"]), end.scratch, now)
        elif tag == RARE_TAG:
            rare_ring.hear(ring, rare_ring.TO_LOOP)
            take_commands(node, ring, now)
            server.state[0]["answers_wait"] = 1
        else:
            peers.on_event(server, end, node, tag - OUT_TAG, mask, now)


@kernel
def take_commands(node: Any, ring: Any, now: int) -> None:
    """Pass Python's commands on to the member."""
    while True:
        first = rare_ring.take_command(ring)
        if first < 0:
            return
        kind, a, handle = int(ring.commands[first]), int(ring.commands[first + 1]), int(ring.commands[first + 2])
        code = calls.command(node, now, kind, a, handle)
        if code != 0:
            code = min(code, requests.TOO_MANY_REQUESTS)
            rare_ring.ask(ring, handle, requests.COMMAND_DONE, -kind, node.reply_bytes, 0, 0, code, 0, 0, 0)
        rare_ring.command_taken(ring)


@kernel
def go_on(server: Any, end: Any, node: Any, ring: Any, now: int) -> None:
    """Go on with connections that were blocked and no longer are."""
    total = int(end.again[0])
    end.again[0] = 0
    for i in range(1, total + 1):
        position = int(end.again[i])
        link = end.links[position]
        link["again"] = 0
        if link["state"] == FREE or link["blocked"] == 1 or link["unread_bytes"] == 0:
            continue
        code = read_link(server, end, node, ring, position, False, now)
        if code < 0:
            drop(server, end, node, position, code, now)


@kernel
def on_tick(server: Any, end: Any, node: Any, now: int) -> None:
    """Tell the member that time has passed, connect to others, and look for what stands still."""
    state = server.state[0]
    ticks = 0
    while now >= state["tick_at_ns"] and ticks < 10:
        calls.tick(node, now)
        state["tick_at_ns"] += state["tick_ns"]
        ticks += 1
    if now >= state["tick_at_ns"]:
        state["tick_at_ns"] = now + state["tick_ns"]
    peers.begin(server, end, node, now)
    while True:
        position = sweep.sweep(end, now, int(end.state[0]["link_used"]) // SWEEPS_PER_ROUND + 1)
        if position < 0:
            break
        drop(server, end, node, position, int(end.links[position]["broken"]), now)
    if state["accepting"] == 0:
        state["accepting"] = 1
        table.control(end, libc.EPOLL_CTL_MOD, int(state["listener"]), libc.EPOLLIN, sockets.LISTENER_TAG)
    if now >= state["progress_at_ns"]:
        state["progress_at_ns"] = now + state["progress_ns"]
        watches.notify_progress(server, end, node.store)
    if now - state["trimmed_ns"] > TRIM_NS:
        state["trimmed_ns"] = now
        sweep.trim(end)


@kernel
def advance(server: Any, end: Any, node: Any, disk: Any, ring: Any, now: int) -> None:
    """Have the member do what it can, and pass on what comes of it."""
    state = server.state[0]
    more = 1
    rounds = 0
    while more != 0 and rounds < ADVANCES_MAX:
        requests.offer_again(server, end, node, now)
        more = calls.advance(node, now)
        requests.take_replies(server, end, node, ring)
        disk_steps.give_commands(disk, node)
        peers.send_all(server, end, node, now)
        rounds += 1
    state["more"] = more
    state["watching"] = watches.serve_pending(server, end, node.store, WATCHERS_MAX)
    count = int(end.writable[0])
    for _ in range(count):
        number = grpc_answers.take_writable(end)
        if number < 0:
            break
        watches.serve_writable(server, end, node.store, number)
        state["answers_wait"] = 1
    if state["answers_wait"] != 0:
        requests.take_answers(server, end, ring)


@kernel
def flush_dirty(server: Any, end: Any, node: Any, now: int) -> None:
    """Send what was written in this turn."""
    total = int(end.dirty[0])
    end.dirty[0] = 0
    for i in range(1, total + 1):
        position = int(end.dirty[i])
        end.links[position]["dirty"] = 0
        code = grpc_end.flush(end, position, now)
        if code < 0:
            drop(server, end, node, position, code, now)


@kernel
def run(server: Any, end: Any, node: Any, disk: Any, ring: Any) -> int:
    """Serve until the stop flag is set, or the member cannot go on. Returns 0, -errno, or the member's code."""
    state = server.state[0]
    code = begin(server, end, ring)
    now = monotonic_ns(end.scratch)
    state["tick_at_ns"] = now + state["tick_ns"]
    state["progress_at_ns"] = now + state["progress_ns"]
    while code == 0 and atomics.load(server.stop, 0) == 0:
        idle = state["more"] == 0 and state["watching"] == 0 and end.dirty[0] == 0 and end.again[0] == 0
        wait_ns = 0
        if idle and end.writable[0] == 0:
            wait_ns = max(int(state["tick_at_ns"]) - now, 0)
        happened = table.wait(end, wait_ns)
        now = monotonic_ns(end.scratch)
        state["now_ns"] = now
        state["turns"] += 1
        on_events(server, end, node, disk, ring, happened, now)
        go_on(server, end, node, ring, now)
        if now >= state["tick_at_ns"]:
            on_tick(server, end, node, now)
            figures.publish(server, end, node)
        advance(server, end, node, disk, ring, now)
        flush_dirty(server, end, node, now)
        code = int(node.state[0]["failed"])
    figures.publish(server, end, node)
    peers.close_all(server, node, now)
    if code == 0:
        say_goodbye(end, now)
    sockets.close_all(end)
    return code


@kernel
def say_goodbye(end: Any, now: int) -> None:
    """Tell every client that no more is accepted, as far as that can be sent at once."""
    for position in range(end.state[0]["link_used"]):
        link = end.links[position]
        if link["state"] != FREE and link["kind"] == GRPC:
            grpc_end.say_goaway(end, position, NO_ERROR)
            sockets.send_some(end, position, now)
