"""What the core knows of its log: the terms of indexes, as runs of equal terms, and the sizes of entries."""

from typing import Any

from kvbench.jit import kernel
from kvbench.raft.records import COMPACTED, TOO_MANY_TERMS, UNAVAILABLE


@kernel
def run_of(raft: Any, index: int) -> int:
    """The place in ``runs`` of the run that holds ``index``; -1 when it lies before all runs. Looks from the end."""
    place = int(raft.state[0]["run_count"]) - 1
    while place >= 0 and raft.runs[place]["index"] > index:
        place -= 1
    return place


@kernel
def term_of(raft: Any, index: int) -> int:
    """The term of the entry at ``index``; COMPACTED before the base, UNAVAILABLE behind the last entry."""
    state = raft.state[0]
    if index > state["last_index"]:
        return UNAVAILABLE
    if index == state["base_index"]:
        return int(state["base_term"])
    if index < state["base_index"]:
        return COMPACTED
    return int(raft.runs[run_of(raft, index)]["term"])


@kernel
def last_term(raft: Any) -> int:
    """The term of the last entry."""
    state = raft.state[0]
    if state["run_count"] == 0:
        return int(state["base_term"])
    return int(raft.runs[int(state["run_count"]) - 1]["term"])


@kernel
def run_end(raft: Any, place: int) -> int:
    """The last index of a run."""
    state = raft.state[0]
    if place + 1 < state["run_count"]:
        return int(raft.runs[place + 1]["index"]) - 1
    return int(state["last_index"])


@kernel
def append_run(raft: Any, last: int, term: int) -> int:
    """Let the log end at ``last``, with entries of ``term`` behind the present end. Returns 0, or TOO_MANY_TERMS.

    When there is no place for another run, the log's oldest run is let go if it is applied: peers that need it get a
    snapshot. A cluster would have to change its leader once a second for as many seconds as there are places.
    """
    state = raft.state[0]
    if state["run_count"] == 0 or raft.runs[int(state["run_count"]) - 1]["term"] != term:
        if state["run_count"] == len(raft.runs):
            end = run_end(raft, 0)
            if end > state["applied"]:
                return TOO_MANY_TERMS
            let_go(raft, end)
        place = int(state["run_count"])
        raft.runs[place]["index"] = state["last_index"] + 1
        raft.runs[place]["term"] = term
        state["run_count"] = place + 1
    state["last_index"] = last
    return 0


@kernel
def truncate(raft: Any, index: int) -> None:
    """Let the log end before ``index`` (> base_index)."""
    state = raft.state[0]
    count = int(state["run_count"])
    while count > 0 and raft.runs[count - 1]["index"] >= index:
        count -= 1
    state["run_count"] = count
    state["last_index"] = index - 1
    state["durable_index"] = min(int(state["durable_index"]), index - 1)
    state["sized_to"] = min(int(state["sized_to"]), index - 1)
    state["sized_from"] = min(int(state["sized_from"]), index - 1)


@kernel
def let_go(raft: Any, index: int) -> None:
    """Move the base to ``index`` (base_index < index <= last_index): terms before it are forgotten."""
    state = raft.state[0]
    count = int(state["run_count"])
    first = run_of(raft, index)
    state["base_term"] = raft.runs[first]["term"]
    state["base_index"] = index
    if run_end(raft, first) == index:
        first += 1
    for place in range(first, count):
        raft.runs[place - first]["index"] = raft.runs[place]["index"]
        raft.runs[place - first]["term"] = raft.runs[place]["term"]
    state["run_count"] = count - first
    if state["run_count"] > 0 and raft.runs[0]["index"] <= index:
        raft.runs[0]["index"] = index + 1


@kernel
def begin_at(raft: Any, index: int, term: int) -> None:
    """Make the log empty, to begin behind ``index``, which has ``term``."""
    state = raft.state[0]
    state["base_index"] = index
    state["base_term"] = term
    state["last_index"] = index
    state["durable_index"] = index
    state["run_count"] = 0
    state["sized_from"] = index
    state["sized_to"] = index


@kernel
def set_size(raft: Any, index: int, size: int) -> None:
    """Note the bytes of one entry. Entries come in order; a gap makes all sizes before it unknown."""
    state = raft.state[0]
    mask = len(raft.sizes) - 1
    if index != state["sized_to"] + 1:
        state["sized_from"] = index - 1
        raft.sizes[(index - 1) & mask] = 0
    raft.sizes[index & mask] = raft.sizes[(index - 1) & mask] + size
    state["sized_to"] = index
    state["sized_from"] = max(int(state["sized_from"]), index - mask)


@kernel
def size_between(raft: Any, after: int, last: int) -> int:
    """Bytes of entries after + 1 .. last, as far as their sizes are known."""
    state = raft.state[0]
    mask = len(raft.sizes) - 1
    after = max(after, int(state["sized_from"]))
    last = min(last, int(state["sized_to"]))
    if last <= after:
        return 0
    return int(raft.sizes[last & mask] - raft.sizes[after & mask])


@kernel
def fit(raft: Any, after: int, last: int, limit: int) -> int:
    """The highest index up to ``last`` so that entries after + 1 .. it have at most ``limit`` bytes; at least one."""
    low = after + 1
    high = last
    while low < high:
        middle = (low + high + 1) >> 1
        if size_between(raft, after, middle) <= limit:
            low = middle
        else:
            high = middle - 1
    return low


@kernel
def agreement(raft: Any, index: int, term: int) -> int:
    """The highest index up to ``index`` whose entry's term is at most ``term``; the base's at the lowest.

    Entries of higher terms cannot be in a log that has ``term`` at ``index``, because terms never fall along a log.
    """
    state = raft.state[0]
    place = run_of(raft, index)
    while place >= 0 and raft.runs[place]["term"] > term:
        index = int(raft.runs[place]["index"]) - 1
        place -= 1
    return max(index, int(state["base_index"]))
