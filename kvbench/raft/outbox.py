"""Messages to be sent."""

from typing import Any

from kvbench.jit import kernel
from kvbench.raft.records import NONE, PRE_VOTE, PRE_VOTE_ANSWER


@kernel
def has_room(raft: Any) -> bool:
    """Whether another message can be kept."""
    return int(raft.state[0]["messages"]) < len(raft.outbox) - 1


@kernel
def emit(raft: Any, kind: int, to: int) -> int:
    """Begin a message from this member: returns its place in ``outbox``, all fields set that every kind has.

    Without room it is the spare place: the message counts as lost, which every receiver must bear anyway.
    """
    state = raft.state[0]
    place = int(state["messages"])
    if has_room(raft):
        state["messages"] = place + 1
    else:
        state["dropped"] += 1
    message = raft.outbox[place]
    message["kind"] = kind
    message["sender"] = state["member"]
    message["to"] = to
    message["term"] = state["term"]
    message["boot"] = state["boot"]
    message["hard_state"] = 0 if kind == PRE_VOTE or kind == PRE_VOTE_ANSWER else int(state["hard_state"])
    message["index"] = 0
    message["log_term"] = 0
    message["commit"] = 0
    message["reject"] = 0
    message["hint_index"] = 0
    message["hint_term"] = 0
    message["context"] = 0
    message["first"] = 0
    message["last"] = 0
    message["bytes"] = 0
    message["run_count"] = 0
    return place


@kernel
def acknowledge_to_leader(raft: Any, kind: int) -> None:
    """Tell the leader, if there is one, up to where this log is both the leader's and durable."""
    state = raft.state[0]
    if state["leader"] == NONE or state["leader"] == state["member"]:
        return
    index = min(int(state["verified_index"]), int(state["durable_index"]))
    raft.outbox[emit(raft, kind, int(state["leader"]))]["index"] = index
    state["answered_index"] = max(int(state["answered_index"]), index)
