"""Snapshots and compaction: a bounded part of whatever is under way, each time that the member advances."""

from typing import Any

from kvbench.jit import kernel
from kvbench.node.incoming import install, tick_receiving, verify_some
from kvbench.node.loading import load_some
from kvbench.node.outgoing import send_chunk, tick_sending
from kvbench.node.own import drop_log, write_own
from kvbench.node.reading import CHUNK
from kvbench.store.compaction import compact_some

COMPACT_RECORDS = 256
"""Old versions looked at in one go."""


@kernel
def keep_snapshots(node: Any, now: int) -> int:
    """Write, send, check, load; forget what is not needed any more. Returns 1 when there is more to do at once."""
    state = node.state[0]
    more = load_some(node, now)
    more |= verify_some(node)
    more |= install(node)
    if state["reader"] == CHUNK and state["reader_ready"] != 0:
        send_chunk(node)
    if state["loading"] == 0:
        more |= write_own(node, now)
        more |= compact_some(node.store, COMPACT_RECORDS)
    drop_log(node)
    return more


@kernel
def tick_snapshots(node: Any, now: int) -> None:
    """A tick: time-outs of transfers."""
    tick_receiving(node)
    tick_sending(node)
