"""Finding connections that hold something and do not move: a bounded look at some of them each time."""

from typing import Any

from kvbench.jit import kernel
from kvbench.rt import libc
from kvbench.rt.buffer import load_le64
from kvbench.server.end_records import ENDING, FREE, GRPC, STALLED, UNKNOWN, UNSENT
from kvbench.wire import grpc_pool

PATIENCE_NS = 10_000_000_000
"""Without taking a byte of what it is owed, while memory is short, or while it ends."""
PAGE_BYTES = 4096
TRIM_BYTES = 1 << 23
TRIM_BITS = 20
"""Free buffers from this class on give their pages back."""


@kernel
def sweep(end: Any, now: int, most: int) -> int:
    """Look at up to ``most`` more connections. Returns the first to be dropped (``broken`` says why), or -1."""
    state = end.state[0]
    used = int(state["link_used"])
    for _ in range(min(most, used)):
        position = int(state["swept"])
        if position >= used:
            position = 0
        state["swept"] = position + 1
        if end.links[position]["state"] != FREE:
            code = judge(end, position, now)
            if code < 0:
                end.links[position]["broken"] = code
                return position
    return -1


@kernel
def judge(end: Any, position: int, now: int) -> int:
    """Begin a connection's counts of floods anew, and see whether it has stood still for too long. Returns 0 or why."""
    link, h2, state = end.links[position], end.http2[position], end.state[0]
    is_grpc = link["kind"] == GRPC
    link["resets"] = 0
    link["idle_frames"] = h2["idle_frames"]
    owes = link["owed"] >= 0 or link["tx_end"] > link["tx_start"]
    if not owes:
        link["sent_ns"] = now
    if link["state"] == ENDING:
        return UNSENT if now - link["sent_ns"] > PATIENCE_NS else 0
    if link["kind"] == UNKNOWN or (is_grpc and h2["settings_seen"] == 0):
        return STALLED if now - link["opened_ns"] > state["greeting_ns"] else 0
    if link["blocked"] == 1:
        return UNSENT if now - link["sent_ns"] > state["stall_ns"] else 0
    unfinished = link["unread_bytes"] > 0 or (is_grpc and h2["block_stream"] != 0)
    if link["owed"] < 0 and link["held_bytes"] > 0:
        unfinished = True
    if unfinished and now - link["received_ns"] > state["stall_ns"]:
        return STALLED
    is_short = 2 * state["pool"]["held"] > len(end.arena) - state["pool"]["base"]
    if owes and is_short and now - link["sent_ns"] > PATIENCE_NS:
        return UNSENT
    return 0


@kernel
def trim(end: Any) -> None:
    """Give the pool's memory back where nothing is in it and much of it was used."""
    pool = end.state[0]["pool"]
    free = int(pool["front"]) - int(pool["base"]) - int(pool["held"])
    if free > TRIM_BYTES and pool["given"] > TRIM_BYTES:
        grpc_pool.join(pool, end.arena)
        for bits in range(TRIM_BITS, grpc_pool.LARGEST_BITS):
            at = int(pool["lists"][bits])
            while at >= 0:
                libc.madvise(libc.address(end.arena, at + PAGE_BYTES), (1 << bits) - PAGE_BYTES, libc.MADV_DONTNEED)
                at = load_le64(end.arena, at)
    front = (int(pool["front"]) + PAGE_BYTES - 1) // PAGE_BYTES * PAGE_BYTES
    if int(pool["highest"]) - front > TRIM_BYTES:
        libc.madvise(libc.address(end.arena, front), int(pool["highest"]) - front, libc.MADV_DONTNEED)
        pool["highest"] = front
