"""What follows when term, leader or the own role have changed."""

from typing import Any

from kvbench.jit import kernel
from kvbench.node.leases import renew_all
from kvbench.node.pending import give_up_forwarded
from kvbench.node.proposing import begin_term
from kvbench.node.reads import ask_again
from kvbench.node.records import NO_MEMBER
from kvbench.raft.records import LEADER


@kernel
def observe(node: Any, now: int) -> None:
    """Look at ``raft`` after it has taken something in."""
    state = node.state[0]
    raft = node.raft.state[0]
    if raft["wants_noop"] != 0:
        begin_term(node, now)
    leads = 1 if raft["role"] == LEADER else 0
    if raft["term"] == state["term"] and raft["leader"] == state["leader"] and leads == state["leads"]:
        return
    give_up_forwarded(node, NO_MEMBER)
    ask_again(node)
    if raft["leader"] != state["leader"] and raft["leader"] != NO_MEMBER:
        node.statistics[0]["leader_changes"] += 1
    if leads != 0 and state["leads"] == 0:
        node.statistics[0]["elections_won"] += 1
        renew_all(node, now)
    state["term"] = raft["term"]
    state["leader"] = raft["leader"]
    state["leads"] = leads
    node.store.state[0]["raft_term"] = raft["term"]
