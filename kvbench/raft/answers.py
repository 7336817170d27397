"""A leader's part: what its peers answer."""

from typing import Any

from kvbench.jit import kernel
from kvbench.raft.progress import note_match, probe
from kvbench.raft.records import DONE, IGNORED, LEADER, NONE, PROBING, REPLICATING, SNAPSHOTTING
from kvbench.raft.terms import agreement


@kernel
def retreat(raft: Any, hint_index: int, hint_term: int) -> int:
    """The highest index at which this leader's log may agree with that of a peer which has ``hint_term`` there.

    Below the base it is one that has to be met by a snapshot.
    """
    state = raft.state[0]
    if hint_index > state["base_index"]:
        hint_index = agreement(raft, min(hint_index, int(state["last_index"])), hint_term)
    if hint_index == state["base_index"] and state["base_term"] > hint_term:
        return hint_index - 1
    return hint_index


@kernel
def on_rejected(raft: Any, message: Any) -> int:
    """An APPEND behind ``index`` found another log: go back to where the two may agree. Late rejections are ignored."""
    place = int(message["sender"])
    peer = raft.peers[place]
    rejected = int(message["index"])
    if rejected <= peer["match"]:
        return IGNORED
    if peer["progress"] == REPLICATING:
        probe(raft, place, int(peer["match"]) + 1)
        return DONE
    if peer["progress"] != PROBING or rejected != peer["next"] - 1:
        return IGNORED
    agreed = retreat(raft, int(message["hint_index"]), int(message["hint_term"]))
    probe(raft, place, min(rejected, agreed + 1))
    return DONE


@kernel
def on_append_answer(raft: Any, message: Any) -> int:
    """APPEND_ANSWER: the peer has durably all up to ``index``, or rejects what was sent to come behind it."""
    if raft.state[0]["role"] != LEADER:
        return IGNORED
    if message["reject"]:
        return on_rejected(raft, message)
    return note_match(raft, int(message["sender"]), int(message["index"]))


@kernel
def on_snapshot_answer(raft: Any, message: Any) -> int:
    """SNAPSHOT_ANSWER: a snapshot is installed, or did not arrive."""
    place = int(message["sender"])
    peer = raft.peers[place]
    if raft.state[0]["role"] != LEADER:
        return IGNORED
    if peer["progress"] == SNAPSHOTTING:
        probe(raft, place, int(peer["match"]) + 1)
    if message["reject"]:
        peer["paused"] = 1
        return DONE
    return note_match(raft, place, int(message["index"]))


@kernel
def confirm_round(raft: Any) -> None:
    """The latest round of heartbeats is confirmed once a majority, this leader included, has answered it."""
    state = raft.state[0]
    answered = 1
    for place in range(int(state["members"])):
        if place != state["member"] and raft.peers[place]["round"] >= state["round_sent"]:
            answered += 1
    if answered >= state["quorum"]:
        state["round_confirmed"] = state["round_sent"]


@kernel
def on_heartbeat_answer(raft: Any, message: Any) -> int:
    """HEARTBEAT_ANSWER: the peer lives and follows. If it lacks entries, those sent before may be lost: ask again."""
    state = raft.state[0]
    place = int(message["sender"])
    peer = raft.peers[place]
    if state["role"] != LEADER:
        return IGNORED
    peer["round"] = max(int(peer["round"]), int(message["context"]))
    confirm_round(raft)
    if state["transferee"] == place:
        state["timeout_now_sent"] = 0
    if peer["progress"] == SNAPSHOTTING:
        code = note_match(raft, place, int(message["index"]))
        if peer["progress"] == SNAPSHOTTING and peer["paused"] and message["hint_index"] == 0:
            probe(raft, place, int(peer["match"]) + 1)
        return code
    peer["paused"] = 0
    peer["ping"] = int(peer["match"] < state["last_index"])
    return DONE


@kernel
def note_boot(raft: Any, place: int, boot: int) -> int:
    """A message of a member's start number ``boot``. Returns IGNORED when it is from an earlier life, else DONE.

    A member that started anew may have lost what it had acknowledged, if its disk lied: a leader asks it again.
    """
    peer = raft.peers[place]
    if boot < peer["boot"]:
        return IGNORED
    if boot > peer["boot"]:
        is_known = peer["boot"] > 0
        peer["boot"] = boot
        if is_known and raft.state[0]["role"] == LEADER:
            peer["match"] = 0
            probe(raft, place, int(raft.state[0]["last_index"]) + 1)
    return DONE


@kernel
def report_snapshot(raft: Any, place: int, ok: int) -> None:
    """The snapshot announced to a peer is all sent (ok 1), or could not be (0): then it is tried again.

    Sent, the peer's answer is awaited: it says with each heartbeat's answer whether it is still busy with it.
    """
    peer = raft.peers[place]
    if raft.state[0]["role"] != LEADER or peer["progress"] != SNAPSHOTTING:
        return
    if not ok:
        probe(raft, place, int(peer["match"]) + 1)
    peer["paused"] = 1


@kernel
def unreachable(raft: Any, place: int) -> None:
    """Messages to a peer are lost: what is in flight is sent again when it answers a heartbeat."""
    peer = raft.peers[place]
    if raft.state[0]["role"] == LEADER and peer["progress"] == REPLICATING:
        probe(raft, place, int(peer["match"]) + 1)
        peer["paused"] = 1


@kernel
def cut(raft: Any, to: int, last: int) -> None:
    """The latest APPEND to a peer was sent with entries up to ``last`` only."""
    peer = raft.peers[to]
    if peer["progress"] != REPLICATING or peer["inflight_count"] != 1:
        return
    place = int(peer["inflight_first"])
    if peer["match"] < last and last < peer["inflight"][place] and peer["next"] == peer["inflight"][place] + 1:
        peer["inflight"][place] = last
        peer["next"] = last + 1


@kernel
def best_transferee(raft: Any) -> int:
    """The peer that is best prepared to lead: heard of lately, and with the longest log; NONE when there is none."""
    state = raft.state[0]
    best = NONE
    for place in range(int(state["members"])):
        peer = raft.peers[place]
        if place != state["member"] and peer["active"] and (best == NONE or peer["match"] > raft.peers[best]["match"]):
            best = place
    return best
