"""A member's state from what its disk holds, without IO: the runner brings the bytes.

``recover`` replays the log's segments into ``raft`` and ``log``; the snapshot and the entries behind it are read again
by the member's own reads once it advances, so a start and the installation of a snapshot are one and the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from kvbench.jit import kernel
from kvbench.log.damage import Damage
from kvbench.log.mark import newest_mark
from kvbench.log.records import LogDamage
from kvbench.log.recovery import recover_record
from kvbench.log.replay import Replayed, Segment, replay
from kvbench.node.loading import begin_load
from kvbench.node.state import Node
from kvbench.raft import core, setup, terms
from kvbench.raft.records import TOO_MANY_TERMS
from kvbench.rt import rng


@dataclass(frozen=True)
class SnapshotFile:
    """The newest snapshot; zeros: there is none."""

    index: int = 0
    term: int = 0
    file_bytes: int = 0


class Snapshot(Protocol):
    """The newest snapshot that has its name: what its header and its file's size say."""

    @property
    def index(self) -> int: ...

    @property
    def term(self) -> int: ...

    @property
    def file_bytes(self) -> int: ...


NO_SNAPSHOT = SnapshotFile()


@kernel
def scan(node: Any, buf: Any, at: int, end: int) -> int:
    """Take up the records of a segment in log and ``raft``. Returns what it stopped at, or a code of ``raft``."""
    raft = node.raft.state[0]
    base = int(raft["base_index"])
    last = max(int(node.log.state[0]["last_index"]), base)
    if last < raft["last_index"]:
        terms.truncate(node.raft, last + 1)
    while True:
        size = recover_record(node.log, buf, at, end)
        if size < 0:
            return size
        at += size
        log = node.log.state[0]
        index = int(log["record_index"])
        if index > base:
            code = setup.recovered(node.raft, index, int(log["record_term"]), int(log["record_bytes"]))
            if code < 0:
                return code
        elif base < raft["last_index"]:
            terms.truncate(node.raft, base + 1)


def scan_all(node: Node, buf: Any, at: int, end: int) -> int:
    """``scan``. Raises ValueError when the log has more terms behind the snapshot than there are places for."""
    code = int(scan(node, buf, at, end))
    if code == TOO_MANY_TERMS:
        raise ValueError(f"the log changes its term more than {len(node.raft.runs)} times behind the last snapshot")
    return code


def recover(node: Node, segments: Sequence[Segment], mark: Any, snapshot: Snapshot = NO_SNAPSHOT) -> Replayed:
    """Bring a new member to where its disk says it was. ``mark``: its file's bytes, None: it was never started.

    The caller then makes the cuts that the result names, makes all segments durable, and advances the member; before
    that nothing it says may leave. Raises Damage (``log.damage``) when the disk holds what must not be guessed at.
    """
    state, raft = node.state[0], node.raft
    if mark is not None:
        node.mark_record[0] = newest_mark(node.log, mark)[0]
    noted = node.mark_record[0]
    noted["boot"] += 1
    state["boot"] = noted["boot"]
    state["lease_seed"] = rng.derive(int(state["lease_seed"]), int(noted["boot"]))
    state["mark_acknowledged"] = noted["acknowledged"]
    state["disk_alarm"] = state["mark_alarm"] = noted["disk_alarm"]
    term, vote, boot = int(noted["term"]), int(noted["vote"]), int(noted["boot"])
    begin = (term, vote, snapshot.index, snapshot.term, boot, int(noted["behind_until"]), 0)
    setup.restore(raft, *begin)
    replayed = replay(
        node.log,
        segments,
        snapshot_index=snapshot.index,
        snapshot_term=snapshot.term,
        acknowledged=int(noted["acknowledged"]),
        marked=int(noted["position"]),
        scan=lambda buf, at, end: scan_all(node, buf, at, end),
    )
    log = node.log.state[0]
    last = int(log["last_index"])
    if state["members"] == 1 and replayed.behind_until > 0:
        offset = int(log["position"]) - int(
            node.log.segments[int(log["segment_number"]) % len(node.log.segments)]["begin"]
        )
        raise Damage("segment", int(log["segment_number"]), offset, LogDamage.LOST_END)
    if last < raft.state[0]["last_index"]:
        terms.truncate(raft, last + 1)
    noted["behind_until"] = max(int(noted["behind_until"]), replayed.behind_until)
    raft.state[0]["behind_until"] = noted["behind_until"]
    setup.restore_commit(raft, int(noted["acknowledged"]))
    state["snapshot_index"], state["snapshot_term"] = snapshot.index, snapshot.term
    state["snapshot_bytes"] = snapshot.file_bytes
    state["snapshot_log_at"] = log_at(node, snapshot.index)
    if snapshot.index > 0:
        begin_load(node, snapshot.index, snapshot.file_bytes)
    if state["members"] == 1:
        core.campaign(raft)
    return replayed


def log_at(node: Node, index: int) -> int:
    """The log's position about where entry ``index`` is: the end of the segments that have no later one."""
    state = node.log.state[0]
    for number in range(int(state["segment_number"]), int(state["segment_first"]), -1):
        segment = node.log.segments[number % len(node.log.segments)]
        if segment["first_index"] <= index + 1:
            return int(segment["begin"])
    return int(node.log.segments[int(state["segment_first"]) % len(node.log.segments)]["begin"])
