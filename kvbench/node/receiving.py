"""Frames from other members."""

from typing import Any

from kvbench.jit import kernel
from kvbench.log import append as log_append
from kvbench.node.asking import on_lease_answer, on_lease_ask
from kvbench.node.codes import DIVERGED, TWO_LEADERS
from kvbench.node.disk import fail
from kvbench.node.incoming import on_chunk, want_snapshot
from kvbench.node.outgoing import on_wanted
from kvbench.node.pending import FREE, give_up, give_up_replaced, waiting
from kvbench.node.proposing import on_forward
from kvbench.ops.entries import PREFIX_BYTES
from kvbench.ops.status import is_store_error
from kvbench.raft import core
from kvbench.raft import records as raft_records
from kvbench.raft.records import APPEND, ENTRIES, SNAPSHOT_WANTED
from kvbench.rt.buffer import load_le32
from kvbench.wire import peer


@kernel
def entries_bytes(buf: Any, at: int, end: int) -> int:
    """Bytes of the payloads of a message's entries, or ENTRIES when one is too short to be one."""
    total = 0
    while at < end:
        size = load_le32(buf, at)
        if size < PREFIX_BYTES:
            return peer.ENTRIES
        total += size
        at += peer.ENTRY_HEADER_BYTES + size
    return total


@kernel
def store_entries(node: Any, buf: Any, at: int, message: Any) -> None:
    """Append what ``raft`` accepted of an APPEND to the log."""
    raft = node.raft.state[0]
    first, last = int(raft["accept_from"]), int(raft["accept_to"])
    if raft["truncated"] != 0:
        log_append.truncate(node.log, first)
        give_up_replaced(node, first)
        node.statistics[0]["truncations"] += 1
    run, runs = 0, int(message["run_count"])
    for index in range(int(message["first"]), last + 1):
        while run + 1 < runs and message["runs"][run + 1]["index"] <= index:
            run += 1
        size = load_le32(buf, at)
        at += peer.ENTRY_HEADER_BYTES
        if index >= first:
            log_append.append(node.log, index, int(message["runs"][run]["term"]), buf, at, size)
            core.entry_bytes(node.raft, index, size)
            node.statistics[0]["appended"] += 1
        at += size


@kernel
def on_message(node: Any, now: int, buf: Any, at: int, end: int) -> int:
    """MESSAGE: let ``raft`` take it in, and store its entries. One whose entries find no room counts as lost."""
    message = node.incoming[0]
    start = peer.read_message(buf, at, end, message)
    if start < 0:
        return start
    if start < end:
        total = entries_bytes(buf, start, end)
        if total < 0 or message["kind"] != APPEND:
            return peer.ENTRIES
        count = int(message["last"]) - int(message["first"]) + 1
        if not log_append.has_room_for(node.log, count, total):
            node.statistics[0]["messages_dropped"] += 1
            return 0
    stepped = core.step(node.raft, message)
    if stepped == ENTRIES:
        store_entries(node, buf, start, message)
    elif stepped == SNAPSHOT_WANTED:
        want_snapshot(node, int(message["sender"]), int(message["index"]), int(message["log_term"]))
    elif stepped == raft_records.DIVERGED:
        fail(node, DIVERGED, 0, 0, int(message["index"]), 0)
    elif stepped == raft_records.TWO_LEADERS:
        fail(node, TWO_LEADERS, 0, int(message["sender"]), int(message["term"]), 0)
    return 0


@kernel
def on_refused(node: Any, buf: Any, at: int) -> int:
    """FORWARD_REFUSED: the client's request was not proposed."""
    code = peer.number(buf, at, peer.REFUSED_CODE)
    if not is_store_error(code):
        return peer.BODY_SIZE
    slot = waiting(node, peer.number(buf, at, peer.REFUSED_BOOT), peer.number(buf, at, peer.REFUSED_REQUEST))
    if slot != FREE:
        give_up(node, slot, code)
    return 0


@kernel
def receive(node: Any, now: int, sender: int, buf: Any, at: int, end: int) -> int:
    """A whole frame from a member. Returns 0, or a PeerError."""
    kind = peer.open_frame(buf, at, end)
    if kind < 0:
        return kind
    if peer.sender_of(buf, at) != sender:
        return peer.NOT_A_MEMBER
    node.statistics[0]["messages_received"] += 1
    node.statistics[0]["peer_bytes_received"] += end - at
    if kind == peer.MESSAGE:
        return on_message(node, now, buf, at, end)
    if kind == peer.FORWARD:
        return on_forward(node, now, sender, buf, at, end)
    if kind == peer.FORWARD_REFUSED:
        return on_refused(node, buf, at)
    if kind == peer.LEASE_ASK:
        return on_lease_ask(node, now, sender, buf, at)
    if kind == peer.LEASE_ANSWER:
        return on_lease_answer(node, now, buf, at)
    if kind == peer.SNAPSHOT_CHUNK:
        return on_chunk(node, sender, buf, at, end)
    if kind == peer.SNAPSHOT_WANTED:
        return on_wanted(node, sender, buf, at)
    return peer.UNKNOWN_KIND
