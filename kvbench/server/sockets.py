"""Connections of a server: accept, read, write and close, with buffers that come from a pool when they are needed.

Every connection is read into the same buffer at the arena's beginning: ``begin_read``, then the protocol deals with
``arena[at:stop]`` of the state and moves ``at``, then ``end_read`` keeps what is left. What is to be sent is written
behind ``room`` and sent by ``send_some``. Nothing here knows a protocol.
"""

from typing import Any

from kvbench.jit import kernel
from kvbench.net import table
from kvbench.rt import libc
from kvbench.rt.buffer import copy
from kvbench.server.end_records import (
    ENDING,
    FREE,
    GONE,
    NO_MEMORY,
    OPEN,
    RECV_BYTES,
    TX_BYTES_MAX,
    UNKNOWN,
    UNREAD_BYTES_MAX,
)
from kvbench.wire import grpc_pool

NOTHING, SOME = 0, 1
"""What ``begin_read`` found."""
TX_FIRST_BYTES = 4096
LISTENER_TAG = 1 << 32
"""epoll tag of the listening socket, beyond all connection numbers."""
TURNED_AWAY, NO_DESCRIPTOR = -2, -3
"""``accept``: there was one more connection than places; the process may open no more descriptors."""


@kernel
def listen(end: Any, listener: int) -> int:
    """Create the epoll descriptor and watch the listening socket. Returns 0, or -errno."""
    code = table.open_epoll(end)
    if code < 0:
        return code
    if table.control(end, libc.EPOLL_CTL_ADD, listener, libc.EPOLLIN, LISTENER_TAG) < 0:
        return -libc.errno()
    return 0


@kernel
def accept(end: Any, listener: int, now: int) -> int:
    """Accept one connection. Returns its position, -1 when none waits, TURNED_AWAY or NO_DESCRIPTOR."""
    fd = libc.accept4(listener, 0, 0, libc.SOCK_NONBLOCK | libc.SOCK_CLOEXEC)
    if fd < 0:
        error = libc.errno()
        return NO_DESCRIPTOR if error == libc.EMFILE or error == libc.ENFILE else -1
    state = end.state[0]
    position = int(state["link_free"])
    if position >= 0:
        state["link_free"] = end.links[position]["next"]
    elif state["link_used"] < len(end.links):
        position = int(state["link_used"])
        state["link_used"] += 1
    else:
        libc.close(fd)
        state["turned_away"] += 1
        return TURNED_AWAY
    table.set_option(end, fd, libc.IPPROTO_TCP, libc.TCP_NODELAY, 1)
    table.set_option(end, fd, libc.SOL_SOCKET, libc.SO_KEEPALIVE, 1)
    open_link(end, position, fd, now)
    table.control(end, libc.EPOLL_CTL_ADD, fd, libc.EPOLLIN | libc.EPOLLRDHUP, position)
    return position


@kernel
def open_link(end: Any, position: int, fd: int, now: int) -> None:
    """A connection begins its life at a free place."""
    link = end.links[position]
    link["fd"] = fd
    link["state"] = OPEN
    link["kind"] = UNKNOWN
    link["mask"] = libc.EPOLLIN | libc.EPOLLRDHUP
    link["blocked"] = 0
    link["owed"] = -1
    link["owed_last"] = -1
    link["calls"] = 0
    link["tag"] = -1
    link["unread_at"] = -1
    link["unread_bytes"] = 0
    link["tx_at"] = -1
    link["tx_start"] = 0
    link["tx_end"] = 0
    link["tx_room"] = 0
    link["held_bytes"] = 0
    link["opened_ns"] = now
    link["received_ns"] = now
    link["sent_ns"] = now
    link["resets"] = 0
    link["idle_frames"] = 0
    link["broken"] = 0
    link["bytes_received"] = 0
    link["bytes_sent"] = 0
    state = end.state[0]
    state["links_open"] += 1
    state["accepted"] += 1


@kernel
def watch_for(end: Any, position: int, mask: int) -> None:
    """Have epoll watch a connection for what ``mask`` says."""
    link = end.links[position]
    if link["mask"] != mask:
        link["mask"] = mask
        table.control(end, libc.EPOLL_CTL_MOD, int(link["fd"]), mask, position)


@kernel
def wanted(link: Any) -> int:
    """What epoll is to watch a connection for."""
    mask = 0
    if link["state"] == OPEN and link["blocked"] == 0:
        mask = libc.EPOLLIN | libc.EPOLLRDHUP
    if link["tx_end"] > link["tx_start"]:
        mask |= libc.EPOLLOUT
    return mask


@kernel
def may_hold(end: Any, position: int, more: int) -> bool:
    """Whether a connection's calls may hold ``more`` bytes of the pool.

    While more than half of the pool is held, each may hold half of what is free: however many take what they can get,
    there is something left for a connection that holds little.
    """
    pool, state = end.state[0]["pool"], end.state[0]
    size = len(end.arena) - int(pool["base"])
    held = int(end.links[position]["held_bytes"]) + more
    if held > state["held_bytes_max"]:
        return False
    return bool(2 * pool["held"] <= size or 2 * held <= size - pool["held"])


@kernel
def begin_read(end: Any, position: int, now: int, receive: bool) -> int:
    """Bring what is unread of a connection, and with ``receive`` what its socket has, to ``arena[at:stop]``.

    Returns SOME, NOTHING (and ``end_read`` is not needed), or GONE. What is more than a frame and not dealt with yet is
    dealt with first: the buffer has room for no more.
    """
    link, state = end.links[position], end.state[0]
    got = 0
    if receive and link["unread_bytes"] <= UNREAD_BYTES_MAX - RECV_BYTES:
        got = libc.recv(int(link["fd"]), libc.address(end.arena, int(link["unread_bytes"])), RECV_BYTES, 0)
        if got == 0:
            return GONE
        if got < 0:
            error = libc.errno()
            return NOTHING if error == libc.EAGAIN or error == libc.EINTR else GONE
        link["received_ns"] = now
        link["bytes_received"] += got
        state["bytes_received"] += got
    begin_with(end, position, got)
    return SOME


@kernel
def begin_with(end: Any, position: int, got: int) -> None:
    """``got`` more bytes of a connection are in the arena already, where those that are unread end: begin with both."""
    link, state = end.links[position], end.state[0]
    size = int(link["unread_bytes"])
    if size > 0:
        copy(end.arena, 0, end.arena, int(link["unread_at"]), size)
        grpc_pool.give(state["pool"], end.arena, int(link["unread_at"]), size)
        link["unread_at"] = -1
        link["unread_bytes"] = 0
    state["link"] = position
    state["at"] = 0
    state["stop"] = size + got
    state["part_call"] = -1


@kernel
def end_read(end: Any, position: int) -> int:
    """Keep what was read of a connection and not dealt with. Returns 0, or NO_MEMORY."""
    link, state = end.links[position], end.state[0]
    at = int(state["at"])
    size = int(state["stop"]) - at
    if size == 0:
        return 0
    buffer = grpc_pool.take(state["pool"], end.arena, size)
    if buffer < 0:
        return NO_MEMORY
    copy(end.arena, buffer, end.arena, at, size)
    link["unread_at"] = buffer
    link["unread_bytes"] = size
    return 0


@kernel
def room(end: Any, position: int, size: int) -> bool:
    """Make sure that ``size`` bytes can be written at ``arena[tx_at + tx_end:]``. Returns whether they can."""
    link, pool = end.links[position], end.state[0]["pool"]
    unsent = int(link["tx_end"]) - int(link["tx_start"])
    if link["tx_at"] >= 0 and link["tx_end"] + size <= link["tx_room"]:
        return True
    if unsent + size > TX_BYTES_MAX:
        return False
    if link["tx_at"] >= 0 and unsent + size <= link["tx_room"]:
        copy(end.arena, int(link["tx_at"]), end.arena, int(link["tx_at"]) + int(link["tx_start"]), unsent)
    else:
        wider = max(TX_FIRST_BYTES, 1 << grpc_pool.class_of(unsent + size))
        buffer = grpc_pool.take(pool, end.arena, wider)
        if buffer < 0:
            return False
        if link["tx_at"] >= 0:
            copy(end.arena, buffer, end.arena, int(link["tx_at"]) + int(link["tx_start"]), unsent)
            grpc_pool.give(pool, end.arena, int(link["tx_at"]), int(link["tx_room"]))
        link["tx_at"] = buffer
        link["tx_room"] = wider
    link["tx_start"] = 0
    link["tx_end"] = unsent
    return True


@kernel
def mark_dirty(end: Any, position: int) -> None:
    """Have the connection flushed when this turn of the loop ends."""
    link = end.links[position]
    if link["dirty"] == 0:
        link["dirty"] = 1
        end.dirty[0] += 1
        end.dirty[end.dirty[0]] = position


@kernel
def go_on(end: Any, position: int) -> None:
    """A connection has unread bytes and is no longer blocked: have it dealt with in the next turn."""
    link = end.links[position]
    link["blocked"] = 0
    if link["again"] == 0:
        link["again"] = 1
        end.again[0] += 1
        end.again[end.again[0]] = position


@kernel
def append(end: Any, position: int, source: Any, at: int, size: int) -> bool:
    """Write bytes to a connection. Returns False, having written nothing, when there is no room for them."""
    if not room(end, position, size):
        return False
    link = end.links[position]
    copy(end.arena, int(link["tx_at"]) + int(link["tx_end"]), source, at, size)
    link["tx_end"] += size
    mark_dirty(end, position)
    return True


@kernel
def send_some(end: Any, position: int, now: int) -> int:
    """One send of what is unsent. Returns how many bytes still are, or GONE."""
    link, state = end.links[position], end.state[0]
    left = int(link["tx_end"]) - int(link["tx_start"])
    if left > 0:
        at = libc.address(end.arena, int(link["tx_at"]) + int(link["tx_start"]))
        sent = libc.send(int(link["fd"]), at, left, libc.MSG_NOSIGNAL)
        if sent < 0:
            error = libc.errno()
            if error != libc.EAGAIN and error != libc.EINTR:
                return GONE
            sent = 0
        if sent > 0:
            link["sent_ns"] = now
            link["bytes_sent"] += sent
            state["bytes_sent"] += sent
            link["tx_start"] += sent
            left -= sent
    if left == 0 and link["tx_at"] >= 0:
        grpc_pool.give(state["pool"], end.arena, int(link["tx_at"]), int(link["tx_room"]))
        link["tx_at"] = -1
        link["tx_room"] = 0
        link["tx_start"] = 0
        link["tx_end"] = 0
    return left


@kernel
def end_link(end: Any, position: int) -> None:
    """Read no more of a connection, and close it once all is sent."""
    end.links[position]["state"] = ENDING
    mark_dirty(end, position)


@kernel
def close_link(end: Any, position: int) -> None:
    """Close a connection and give back its buffers. Its calls are gone already."""
    link, state = end.links[position], end.state[0]
    if link["state"] == FREE:
        return
    libc.close(int(link["fd"]))
    if link["unread_at"] >= 0:
        grpc_pool.give(state["pool"], end.arena, int(link["unread_at"]), int(link["unread_bytes"]))
    if link["tx_at"] >= 0:
        grpc_pool.give(state["pool"], end.arena, int(link["tx_at"]), int(link["tx_room"]))
    link["fd"] = -1
    link["state"] = FREE
    link["tx_at"] = -1
    link["unread_at"] = -1
    link["unread_bytes"] = 0
    link["next"] = state["link_free"]
    state["link_free"] = position
    state["links_open"] -= 1


@kernel
def close_all(end: Any) -> None:
    """Close every connection, and epoll's descriptor."""
    for position in range(end.state[0]["link_used"]):
        close_link(end, position)
    if end.epoll[0] >= 0:
        libc.close(int(end.epoll[0]))
        end.epoll[0] = -1
