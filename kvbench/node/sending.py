"""What ``raft`` says to other members, made into frames.

A message leaves only when the term and vote that it stands on are durable. APPENDs to a peer wait in a queue of their
own when there is no room, or when their entries must be read back from the disk; everything else is sent at once, or
dropped, which ``raft`` can bear. An APPEND may go out in pieces, each of which is one itself.
"""

from typing import Any

from kvbench.jit import kernel
from kvbench.log import append as log_append
from kvbench.log.records import NOT_IN_MEMORY
from kvbench.node.outbox import room, sent
from kvbench.raft import core
from kvbench.raft.records import APPEND, LEADER, RUNS_IN_MESSAGE, SNAPSHOT
from kvbench.wire import peer as frames

MESSAGE_BYTES_MAX = frames.HEADER_BYTES + 8 * (frames.MESSAGE_NUMBERS + 2 * RUNS_IN_MESSAGE)
PIECE = 1
"""Place in ``incoming`` of the APPEND that is being written."""


@kernel
def lose(node: Any, message: Any) -> None:
    """A message cannot be sent: ``raft`` must know of those that it counts on."""
    to = int(message["to"])
    if message["kind"] == APPEND:
        core.unreachable(node.raft, to)
    elif message["kind"] == SNAPSHOT:
        core.report_snapshot(node.raft, to, 0)
    node.statistics[0]["messages_dropped"] += 1


@kernel
def write(node: Any, message: Any) -> int:
    """Write the frame of a message without entries. Returns 1, or 0 when there is no room."""
    to = int(message["to"])
    at = room(node, to, MESSAGE_BYTES_MAX)
    if at < 0:
        return 0
    end = frames.put_message(node.outbox, at, message)
    sent(node, to, frames.seal(node.outbox, at, end, frames.MESSAGE, int(node.state[0]["member"])))
    return 1


@kernel
def announce_snapshot(node: Any, message: Any) -> None:
    """SNAPSHOT: tell the peer which snapshot it can ask for: the newest."""
    state = node.state[0]
    link = node.links[int(message["to"])]
    wanted = int(message["index"])
    message["index"] = state["snapshot_index"]
    message["log_term"] = state["snapshot_term"]
    if state["snapshot_index"] < wanted or write(node, message) == 0:
        message["index"] = wanted
        lose(node, message)
        return
    link["snapshot_announced"] = wanted
    link["snapshot_index"] = state["snapshot_index"]
    link["snapshot_bytes"] = state["snapshot_bytes"]
    link["snapshot_term"] = state["snapshot_term"]
    link["snapshot_offset"] = -1
    link["snapshot_waits"] = 0


@kernel
def send_message(node: Any, place: int) -> None:
    """Send ``raft.outbox[place]``, or queue it, or lose it."""
    message = node.raft.outbox[place]
    to = int(message["to"])
    link = node.links[to]
    if link["connected"] == 0:
        lose(node, message)
    elif message["kind"] == APPEND:
        queued_max = int(node.state[0]["queued_max"])
        count = int(link["count"])
        if count == queued_max:
            lose(node, message)
            return
        node.queued[to * queued_max + (int(link["head"]) + count) % queued_max] = message
        link["count"] = count + 1
    elif message["kind"] == SNAPSHOT:
        announce_snapshot(node, message)
    elif write(node, message) == 0:
        lose(node, message)


@kernel
def take_messages(node: Any) -> None:
    """Take what may leave of ``raft``'s messages; the others stay until the mark is durable."""
    raft = node.raft.state[0]
    durable = int(node.state[0]["mark_hard_state"])
    count = int(raft["messages"])
    place = 0
    while place < count and durable > 0 and node.raft.outbox[place]["hard_state"] <= durable:
        send_message(node, place)
        place += 1
    if place > 0:
        for rest in range(place, count):
            node.raft.outbox[rest - place] = node.raft.outbox[rest]
        raft["messages"] = count - place


@kernel
def drop_queued(node: Any, peer: int) -> None:
    """Forget the oldest APPEND that waits."""
    link = node.links[peer]
    link["head"] = (int(link["head"]) + 1) % int(node.state[0]["queued_max"])
    link["count"] -= 1


@kernel
def queued_at(node: Any, peer: int) -> int:
    """The place of the oldest APPEND that waits for a peer."""
    queued_max = int(node.state[0]["queued_max"])
    return peer * queued_max + int(node.links[peer]["head"])


@kernel
def run_last(message: Any) -> int:
    """The last of an APPEND's entries that has the term of the first: a piece holds one term's entries."""
    return int(message["runs"][1]["index"]) - 1 if message["run_count"] > 1 else int(message["last"])


@kernel
def begin_piece(node: Any, place: int, at: int, last: int) -> int:
    """Write the numbers of the APPEND of ``queued[place]`` with entries up to ``last``. Returns where those begin."""
    node.incoming[PIECE] = node.queued[place]
    piece = node.incoming[PIECE]
    piece["last"] = last
    piece["run_count"] = 1 if last >= piece["first"] else 0
    return frames.put_message(node.outbox, at, piece)


@kernel
def end_piece(node: Any, peer: int, place: int, at: int, end: int, last: int) -> None:
    """The piece is written: send it. What remains of the APPEND stays in the queue."""
    sent(node, peer, frames.seal(node.outbox, at, end, frames.MESSAGE, int(node.state[0]["member"])))
    message = node.queued[place]
    if last >= message["last"]:
        drop_queued(node, peer)
        return
    message["index"] = last
    message["log_term"] = message["runs"][0]["term"]
    message["first"] = last + 1
    if last == run_last(message):
        runs = int(message["run_count"]) - 1
        message["run_count"] = runs
        for run in range(runs):
            message["runs"][run]["index"] = message["runs"][run + 1]["index"]
            message["runs"][run]["term"] = message["runs"][run + 1]["term"]
    else:
        message["runs"][0]["index"] = last + 1


@kernel
def send_from_memory(node: Any, peer: int, place: int) -> int:
    """Send the next piece of an APPEND whose entries are in memory. Returns 1, or 0 when there is no room."""
    message = node.queued[place]
    first, end = int(message["first"]), run_last(message)
    limit = int(node.state[0]["frame_bytes_max"]) - MESSAGE_BYTES_MAX
    total, last = 0, first - 1
    while last < end:
        log_append.payload_of(node.log, last + 1)
        size = frames.ENTRY_HEADER_BYTES + int(node.log.state[0]["found_bytes"])
        if total > 0 and total + size > limit:
            break
        total += size
        last += 1
    at = room(node, peer, MESSAGE_BYTES_MAX + total)
    if at < 0:
        return 0
    to = begin_piece(node, place, at, last)
    for index in range(first, last + 1):
        log_append.payload_of(node.log, index)
        log = node.log.state[0]
        to = frames.put_entry(node.outbox, to, node.log.ring, int(log["found_at"]), int(log["found_bytes"]))
    end_piece(node, peer, place, at, to, last)
    return 1


@kernel
def send_queued(node: Any, peer: int) -> None:
    """Send the APPENDs that wait for a peer, as far as there is room and their entries are in memory."""
    raft = node.raft.state[0]
    link = node.links[peer]
    while link["count"] > 0:
        place = queued_at(node, peer)
        message = node.queued[place]
        if message["term"] != raft["term"] or raft["role"] != LEADER:
            drop_queued(node, peer)
            continue
        if message["last"] >= message["first"]:
            found = log_append.payload_of(node.log, int(message["first"]))
            if found == NOT_IN_MEMORY:
                return
            if found != 0:
                lose(node, message)
                drop_queued(node, peer)
                continue
        if send_from_memory(node, peer, place) == 0:
            return


@kernel
def send_all(node: Any) -> None:
    """Take ``raft``'s messages, and send what waits."""
    take_messages(node)
    for peer in range(int(node.state[0]["members"])):
        if node.links[peer]["count"] > 0:
            send_queued(node, peer)
