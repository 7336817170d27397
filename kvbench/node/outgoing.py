"""Snapshots for members that need what this one's log no longer has: they ask for piece after piece."""

from typing import Any

from kvbench.jit import kernel
from kvbench.node.outbox import room, sent
from kvbench.node.reading import release
from kvbench.node.state import READ_AT
from kvbench.raft import core
from kvbench.wire import peer as frames

ELECTIONS_MAX = 5
"""Election time-outs without a request for the next piece after which a transfer is given up."""


@kernel
def end_sending(node: Any, peer: int, ok: int) -> None:
    """All was sent (ok 1), or no more will be."""
    link = node.links[peer]
    if link["snapshot_index"] == 0:
        return
    link["snapshot_index"] = 0
    core.report_snapshot(node.raft, peer, ok)
    if ok:
        node.statistics[0]["snapshots_sent"] += 1


@kernel
def give_up_sending(node: Any, peer: int) -> None:
    """The peer will get no more of the snapshot that it was getting."""
    end_sending(node, peer, 0)


@kernel
def is_sending(node: Any) -> bool:
    """Whether a member is getting a snapshot."""
    count = 0
    for peer in range(int(node.state[0]["members"])):
        count += 1 if node.links[peer]["snapshot_index"] != 0 else 0
    return count > 0


@kernel
def on_wanted(node: Any, sender: int, buf: Any, at: int) -> int:
    """SNAPSHOT_WANTED: the piece that the peer wants next; or it has all, or gives up."""
    link = node.links[sender]
    offset = frames.number(buf, at, frames.WANTED_OFFSET)
    if link["snapshot_index"] == 0 or link["snapshot_index"] != frames.number(buf, at, frames.WANTED_INDEX):
        return 0
    if offset < 0 or offset >= link["snapshot_bytes"]:
        end_sending(node, sender, 1 if offset == link["snapshot_bytes"] else 0)
        return 0
    link["snapshot_offset"] = offset
    link["snapshot_waits"] = 0
    return 0


@kernel
def send_chunk(node: Any) -> None:
    """A piece was read: send it, when there is room."""
    state = node.state[0]
    peer = int(state["reader_peer"])
    link = node.links[peer]
    size = int(state["reader_end"]) - READ_AT
    if link["snapshot_index"] != state["reader_number"] or link["connected"] == 0:
        release(node)
        return
    to = room(node, peer, size + frames.FRAME_BYTES_MIN)
    if to < 0:
        return
    end = frames.write_chunk(
        node.outbox,
        to,
        int(state["member"]),
        int(state["term"]),
        int(link["snapshot_index"]),
        int(link["snapshot_term"]),
        int(link["snapshot_bytes"]),
        int(state["reader_offset"]),
        node.reading,
        READ_AT,
        size,
    )
    sent(node, peer, end)
    if link["snapshot_offset"] == state["reader_offset"]:
        link["snapshot_offset"] = -1
    release(node)


@kernel
def chunk_failed(node: Any) -> None:
    """The snapshot cannot be read: it is not sent."""
    end_sending(node, int(node.state[0]["reader_peer"]), 0)


@kernel
def tick_sending(node: Any) -> None:
    """A tick: give up on members that do not ask any more."""
    state = node.state[0]
    for peer in range(int(state["members"])):
        link = node.links[peer]
        if link["snapshot_index"] == 0:
            continue
        link["snapshot_waits"] += 1
        if int(link["snapshot_waits"]) * int(state["tick_ns"]) > ELECTIONS_MAX * int(state["election_ns"]):
            end_sending(node, peer, 0)
