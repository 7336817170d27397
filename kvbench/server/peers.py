"""The other members: one connection to each, for what this member has to say, and those that they made to it."""

from typing import Any

from kvbench.jit import kernel
from kvbench.net import table
from kvbench.net.records import ADDRESS_BYTES
from kvbench.node.calls import connected, deliver, disconnected
from kvbench.rt import libc
from kvbench.rt.buffer import copy, load_le32, store_le32
from kvbench.server.end_records import GONE, NOT_HTTP, PEER, RECV_BYTES
from kvbench.server.records import AREAS, CONNECTED, CONNECTING, IDLE, OUT_TAG
from kvbench.wire import peer as frames

BACKOFF_FIRST_NS = 20_000_000
BACKOFFS_MAX = 6
CONNECT_TIMEOUT_NS = 2_000_000_000
LASTING_NS = 1_000_000_000
"""A connection that lasted so long was no failure."""
HELLO_BYTES = 56


@kernel
def begin(server: Any, end: Any, node: Any, now: int) -> None:
    """Connect to every other member that there is no way to and whose time has come."""
    state = node.state[0]
    for peer in range(state["members"]):
        way = server.ways[peer]
        if peer == state["member"]:
            continue
        if way["state"] == IDLE and now >= way["retry_at_ns"]:
            connect(server, end, peer, now)
        elif way["state"] == CONNECTING and now - way["begun_ns"] > CONNECT_TIMEOUT_NS:
            lose(server, node, peer, now)


@kernel
def connect(server: Any, end: Any, peer: int, now: int) -> None:
    """Begin to connect to a member."""
    way = server.ways[peer]
    at = peer * ADDRESS_BYTES
    fd = libc.socket(int(server.addresses[at]), libc.SOCK_STREAM | libc.SOCK_NONBLOCK | libc.SOCK_CLOEXEC, 0)
    if fd < 0:
        back_off(way, now)
        return
    table.set_option(end, fd, libc.IPPROTO_TCP, libc.TCP_NODELAY, 1)
    result = libc.connect(fd, libc.address(server.addresses, at), way["address_bytes"])
    if result < 0 and libc.errno() != libc.EINPROGRESS:
        libc.close(fd)
        back_off(way, now)
        return
    way["fd"] = fd
    way["state"] = CONNECTING
    way["begun_ns"] = now
    way["mask"] = libc.EPOLLOUT
    table.control(end, libc.EPOLL_CTL_ADD, fd, libc.EPOLLOUT, OUT_TAG + peer)


@kernel
def back_off(way: Any, now: int) -> None:
    """Try again in 20 ms, twice as late with each failure, at most 1.3 s."""
    way["retry_at_ns"] = now + (BACKOFF_FIRST_NS << min(int(way["failures"]), BACKOFFS_MAX))
    way["failures"] += 1


@kernel
def lose(server: Any, node: Any, peer: int, now: int) -> None:
    """The way to a member broke."""
    way = server.ways[peer]
    if way["state"] == CONNECTED:
        disconnected(node, now, peer)
        if now - way["begun_ns"] > LASTING_NS:
            way["failures"] = 0
    if way["fd"] >= 0:
        libc.close(int(way["fd"]))
    way["fd"] = -1
    way["state"] = IDLE
    back_off(way, now)


@kernel
def on_event(server: Any, end: Any, node: Any, peer: int, mask: int, now: int) -> None:
    """epoll reported something of the way to a member."""
    way = server.ways[peer]
    if way["state"] == IDLE:
        return
    if way["state"] == CONNECTING:
        if not greet(server, end, node, peer, now):
            lose(server, node, peer, now)
        return
    if mask & (libc.EPOLLHUP | libc.EPOLLERR | libc.EPOLLRDHUP):
        lose(server, node, peer, now)
    elif mask & libc.EPOLLOUT:
        send(server, end, node, peer, now)


@kernel
def greet(server: Any, end: Any, node: Any, peer: int, now: int) -> bool:
    """connect() is over: say who speaks. Returns whether it succeeded."""
    way, state = server.ways[peer], node.state[0]
    fd = int(way["fd"])
    store_le32(end.scratch, 16, 0)
    store_le32(end.scratch, 24, 4)
    base = libc.address(end.scratch, 0)
    failed = libc.getsockopt(fd, libc.SOL_SOCKET, libc.SO_ERROR, base + 16, base + 24)
    if failed < 0 or load_le32(end.scratch, 16) != 0:
        return False
    hello = node.scratch
    size = frames.write_hello(
        hello, 0, int(state["member"]), peer, int(state["cluster_id"]), int(state["members"]), int(state["boot"])
    )
    if libc.send(fd, libc.address(hello, 0), size, libc.MSG_NOSIGNAL) != size:
        return False
    way["state"] = CONNECTED
    way["connects"] += 1
    watch(end, way, peer, libc.EPOLLRDHUP)
    connected(node, now, peer)
    return True


@kernel
def watch(end: Any, way: Any, peer: int, mask: int) -> None:
    """Have epoll watch the way to a member for ``mask``."""
    if way["mask"] != mask:
        way["mask"] = mask
        table.control(end, libc.EPOLL_CTL_MOD, int(way["fd"]), mask, OUT_TAG + peer)


@kernel
def send(server: Any, end: Any, node: Any, peer: int, now: int) -> None:
    """Send what the member has for a peer, as far as the socket takes it."""
    way, link = server.ways[peer], node.links[peer]
    left = int(link["end"]) - int(link["start"])
    if way["state"] != CONNECTED or left == 0:
        return
    at = libc.address(node.outbox, peer * int(node.state[0]["outbox_bytes"]) + int(link["start"]))
    sent = libc.send(int(way["fd"]), at, left, libc.MSG_NOSIGNAL)
    if sent < 0:
        error = libc.errno()
        if error != libc.EAGAIN and error != libc.EINTR:
            lose(server, node, peer, now)
            return
        sent = 0
    link["start"] += sent
    way["bytes_sent"] += sent
    watch(end, way, peer, libc.EPOLLRDHUP | (libc.EPOLLOUT if sent < left else 0))


@kernel
def send_all(server: Any, end: Any, node: Any, now: int) -> None:
    """Send to every member that has not been told yet that its socket is full."""
    for peer in range(node.state[0]["members"]):
        way = server.ways[peer]
        if way["state"] == CONNECTED and way["mask"] & libc.EPOLLOUT == 0:
            send(server, end, node, peer, now)


@kernel
def is_hello(buf: Any, at: int) -> bool:
    """Whether a connection's first four bytes are those of a member's greeting."""
    return load_le32(buf, at) == HELLO_BYTES


@kernel
def welcome(server: Any, end: Any, node: Any, position: int) -> int:
    """Read the greeting of what says it is another member. Returns 1: it is one; 0: more must come; or a code."""
    state, link, own = end.state[0], end.links[position], node.state[0]
    at, stop = int(state["at"]), int(state["stop"])
    if stop - at < HELLO_BYTES:
        return 0
    sender = frames.read_hello(
        end.arena, at, at + HELLO_BYTES, int(own["member"]), int(own["cluster_id"]), int(own["members"])
    )
    if sender < 0:
        server.state[0]["strangers"] += 1
        server.state[0]["stranger_code"] = sender
        return sender
    for area in range(AREAS):
        if server.state[0]["areas_used"][area] == 0:
            server.state[0]["areas_used"][area] = 1
            server.state[0]["area_sender"][area] = sender
            size = stop - at - HELLO_BYTES
            copy(server.areas, area * int(server.state[0]["area_bytes"]), end.arena, at + HELLO_BYTES, size)
            server.state[0]["area_start"][area] = 0
            server.state[0]["area_end"][area] = size
            state["at"] = stop
            link["kind"] = PEER
            link["tag"] = area
            return 1
    return NOT_HTTP


@kernel
def leave(server: Any, end: Any, position: int) -> None:
    """A connection of another member is about to be closed."""
    server.state[0]["areas_used"][end.links[position]["tag"]] = 0


@kernel
def receive(server: Any, end: Any, position: int, now: int) -> int:
    """Read from another member. Returns how many bytes came, or GONE."""
    link, state = end.links[position], server.state[0]
    area = int(link["tag"])
    base = area * int(state["area_bytes"])
    start, stop = int(state["area_start"][area]), int(state["area_end"][area])
    if start == stop:
        start, stop = 0, 0
    elif start > 0 and int(state["area_bytes"]) - stop < RECV_BYTES:
        copy(server.areas, base, server.areas, base + start, stop - start)
        start, stop = 0, stop - start
    most = min(4 * RECV_BYTES, int(state["area_bytes"]) - stop)
    got = libc.recv(int(link["fd"]), libc.address(server.areas, base + stop), most, 0)
    if got == 0:
        return GONE
    if got < 0:
        error = libc.errno()
        if error != libc.EAGAIN and error != libc.EINTR:
            return GONE
        got = 0
    if got > 0:
        link["received_ns"] = now
    link["bytes_received"] += got
    state["area_start"][area] = start
    state["area_end"][area] = stop + got
    return got


@kernel
def deliver_all(server: Any, node: Any, area: int, now: int) -> int:
    """Hand the member every whole frame of an area. Returns 0, or a code: break the connection off."""
    state = server.state[0]
    base = area * int(state["area_bytes"])
    limit = int(node.state[0]["frame_bytes_max"])
    at, stop = base + int(state["area_start"][area]), base + int(state["area_end"][area])
    code = 0
    while code >= 0:
        size = frames.frame_size(server.areas, at, stop, limit)
        if size <= 0:
            code = min(size, 0)
            break
        code = deliver(node, now, int(state["area_sender"][area]), server.areas, at, at + size)
        at += size
    state["area_start"][area] = at - base
    return min(code, 0)


@kernel
def close_all(server: Any, node: Any, now: int) -> None:
    """Close the ways to all members."""
    for peer in range(node.state[0]["members"]):
        if server.ways[peer]["state"] != IDLE:
            lose(server, node, peer, now)
