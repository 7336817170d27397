"""Watch streams: the store's watchers are asked for what they have when their stream's window has room, never before.

A watcher that is taken from the store and finds its stream owed something waits in the stream's list; when nothing is
owed any more, the list has its turn. So a slow reader costs nothing but its place.
"""

from typing import Any

from kvbench.jit import kernel
from kvbench.ops import status
from kvbench.server import grpc_answers, refusals
from kvbench.store import watch, watch_events, watchers
from kvbench.store.records import StoreCode

CONTROL_BYTES = 1024
"""Room for an answer to a request on a stream."""
SMALL_BYTES = 8192
LARGE_BYTES = 2 << 20
LARGEST_BYTES = 64 << 20
"""Rooms that events are tried with: a small one, a large one, and twice as much each time up to the largest.

A response that waits for the peer's windows keeps its room, so it should not be much more than it needs. Beyond the
largest, one revision's events are split over responses; those of a watcher that asked for fragments
beyond the second.
"""
RESPONSES_MAX = 64
"""Of one watcher before another one's turn."""
NO_ROOM, TABLE_FULL = int(StoreCode.NO_ROOM), int(StoreCode.TABLE_FULL)


@kernel
def request(server: Any, end: Any, store: Any, number: int, at: int, stop: int) -> None:
    """A request on a Watch stream: create, cancel, progress."""
    call = end.calls[number]
    if call["tag"] < 0:
        stream = watch.open_stream(store, grpc_answers.handle_of(end, number))
        if stream < 0:
            refuse(end, number, refusals.TOO_MANY_CALLS)
            return
        call["tag"] = stream
    to = grpc_answers.open_response(end, number, CONTROL_BYTES)
    if to < 0:
        forget(server, end, store, number)
        refuse(end, number, refusals.UNREAD)
        return
    size = watch.watch_request(store, int(call["tag"]), end.arena, at, stop, end.arena, to, to + CONTROL_BYTES)
    if size > 0:
        grpc_answers.close_response(end, number, size, False)
        return
    grpc_answers.abandon_response(end)
    if size < 0:
        forget(server, end, store, number)
        if status.is_store_error(size):
            grpc_answers.fail_store(end, number, size)
        else:
            refuse(end, number, refusals.TOO_MANY_CALLS)


@kernel
def refuse(end: Any, number: int, refusal: int) -> None:
    """End a stream with a Refusal."""
    size = refusals.write_refusal(end.state[0]["text"], refusal)
    grpc_answers.fail(end, number, refusals.status_of(refusal), size)


@kernel
def forget(server: Any, end: Any, store: Any, number: int) -> None:
    """A stream is over: its watchers go."""
    call = end.calls[number]
    stream = int(call["tag"])
    if stream < 0:
        return
    while server.waiting_first[stream] != 0:
        unlink(server, server.waiting_first[stream] - 1)
    watch.close_stream(store, stream)
    call["tag"] = -1


@kernel
def wait_for_window(server: Any, watcher: int, stream: int) -> None:
    """Put a watcher at the end of its stream's list."""
    count = len(server.waiting) // 3
    last = int(server.waiting_last[stream]) if server.waiting_first[stream] != 0 else -1
    server.waiting[watcher] = -1
    server.waiting[count + watcher] = last
    server.waiting[2 * count + watcher] = stream + 1
    if last >= 0:
        server.waiting[last] = watcher
    else:
        server.waiting_first[stream] = watcher + 1
    server.waiting_last[stream] = watcher


@kernel
def unlink(server: Any, watcher: int) -> None:
    """Take a watcher out of the list that it is in, if it is in one."""
    count = len(server.waiting) // 3
    stream = int(server.waiting[2 * count + watcher]) - 1
    if stream < 0:
        return
    following, before = int(server.waiting[watcher]), int(server.waiting[count + watcher])
    if before < 0:
        server.waiting_first[stream] = following + 1
    else:
        server.waiting[before] = following
    if following >= 0:
        server.waiting[count + following] = before
    else:
        server.waiting_last[stream] = before
    server.waiting[2 * count + watcher] = 0


@kernel
def send_one(end: Any, store: Any, number: int, watcher: int) -> int:
    """One response of a watcher. Returns its bytes, 0: it has none, or -1: no memory for it now."""
    size = NO_ROOM
    room, split = SMALL_BYTES, watch_events.NEVER
    while size == NO_ROOM and room <= LARGEST_BYTES:
        to = grpc_answers.open_response(end, number, room)
        if to < 0:
            return -1
        if grpc_answers.is_scarce(end):
            grpc_answers.abandon_response(end)
            return -1
        size = watch_events.watch_next(store, watcher, end.arena, to, to + room, split)
        if size > 0:
            grpc_answers.close_response(end, number, size, False)
            return size
        grpc_answers.abandon_response(end)
        room = LARGE_BYTES if room == SMALL_BYTES else 2 * room
        split = watch_events.ALWAYS if room >= LARGEST_BYTES else watch_events.WHERE_WANTED
    return 0 if size == 0 else -1


@kernel
def serve(server: Any, end: Any, store: Any, watcher: int) -> int:
    """Send what a watcher has, as long as its stream takes it. Returns how many responses, -1: no memory for one now.

    Then the watcher is the store's again, and will be named once more.
    """
    stream = int(store.watchers[watcher]["stream"])
    number = grpc_answers.call_of(end, int(store.streams[stream]["handle"])) if stream >= 0 else -1
    if number < 0:
        return 0
    sent = 0
    while not watchers.settle(store, watcher):
        if end.calls[number]["owed_at"] >= 0 or sent == RESPONSES_MAX:
            wait_for_window(server, watcher, stream)
            if end.calls[number]["owed_at"] >= 0:
                end.calls[number]["waits"] = 1
            else:
                grpc_answers.list_writable(end, number)
            break
        size = send_one(end, store, number, watcher)
        if size < 0:
            if store.watchers[watcher]["state"] == watchers.TAKEN:
                watchers.be_late(store, watcher)
            return -1
        if size == 0:
            break
        sent += 1
        server.state[0]["watch_events"] += 1
        if store.watchers[watcher]["stream"] != stream:
            break
    return sent


@kernel
def serve_pending(server: Any, end: Any, store: Any, most: int) -> int:
    """Give up to ``most`` watchers that have something their turn. Returns 1 when there may be more, else 0.

    Those that there was no memory for have another turn later: not at once, when nothing can have changed.
    """
    more = 1
    for _ in range(most):
        watcher = watch.take_pending(store)
        if watcher < 0:
            return 0
        unlink(server, watcher)
        if serve(server, end, store, watcher) < 0:
            more = 0
    return more


@kernel
def serve_writable(server: Any, end: Any, store: Any, number: int) -> None:
    """Nothing is owed a stream any more: the watchers that waited for that have their turn."""
    call = end.calls[number]
    stream = int(call["tag"])
    if call["link"] < 0 or stream < 0:
        return
    for _ in range(RESPONSES_MAX):
        if server.waiting_first[stream] == 0 or call["owed_at"] >= 0:
            break
        watcher = int(server.waiting_first[stream]) - 1
        unlink(server, watcher)
        if store.watchers[watcher]["stream"] == stream and store.watchers[watcher]["state"] == watchers.TAKEN:
            serve(server, end, store, watcher)
    if server.waiting_first[stream] != 0:
        if call["owed_at"] >= 0:
            call["waits"] = 1
        else:
            grpc_answers.list_writable(end, number)


@kernel
def notify_progress(server: Any, end: Any, store: Any) -> None:
    """Tell every idle watcher that asked for it how far the store is."""
    for watcher in range(len(store.watchers)):
        if watcher >= store.state[0]["watcher_top"]:
            break
        if store.watchers[watcher]["progress"] == 0 or store.watchers[watcher]["stream"] < 0:
            continue
        stream = int(store.watchers[watcher]["stream"])
        number = grpc_answers.call_of(end, int(store.streams[stream]["handle"]))
        if number < 0 or end.calls[number]["owed_at"] >= 0:
            continue
        to = grpc_answers.open_response(end, number, CONTROL_BYTES)
        if to < 0:
            continue
        size = watch.watch_progress(store, watcher, end.arena, to)
        if size > 0:
            grpc_answers.close_response(end, number, size, False)
        else:
            grpc_answers.abandon_response(end)
