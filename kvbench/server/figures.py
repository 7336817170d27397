"""What the loop tells Python of its member: once a tick, and before it asks something."""

from typing import Any

from kvbench.jit import kernel
from kvbench.rt.atomics import store
from kvbench.server.records import Figure

_TERM, _LEADER, _ROLE, _COMMIT, _APPLIED = (int(Figure[n]) for n in ("TERM", "LEADER", "ROLE", "COMMIT", "APPLIED"))
_LAST, _BASE, _DURABLE = (int(Figure[n]) for n in ("LAST_INDEX", "BASE_INDEX", "DURABLE_INDEX"))
_REVISION, _COMPACTED, _USED = (int(Figure[n]) for n in ("REVISION", "COMPACTED", "USED_BYTES"))
_EXTENT, _KEYS, _LEASES = (int(Figure[n]) for n in ("EXTENT_BYTES", "KEYS", "LEASES"))
_WATCHERS, _STREAMS, _ALARMS = (int(Figure[n]) for n in ("WATCHERS", "STREAMS", "ALARMS"))
_FAILED, _LOADING = int(Figure.FAILED), int(Figure.LOADING)
_SNAPSHOT_INDEX, _SNAPSHOT_BYTES = int(Figure.SNAPSHOT_INDEX), int(Figure.SNAPSHOT_BYTES)
_LINKS, _CALLS, _ACCEPTED, _TURNED_AWAY = (int(Figure[n]) for n in ("LINKS", "CALLS", "ACCEPTED", "TURNED_AWAY"))
_DROPPED, _RECEIVED, _SENT, _POOL = (int(Figure[n]) for n in ("DROPPED", "BYTES_RECEIVED", "BYTES_SENT", "POOL_BYTES"))
_TURNS, _EVENTS, _READY = (int(Figure[n]) for n in ("TURNS", "WATCH_EVENTS", "READY"))
_STRANGERS, _STRANGER_CODE = int(Figure.STRANGERS), int(Figure.STRANGER_CODE)
_FILE, _NUMBER, _OFFSET, _ERRNO = (int(Figure[f"FAILED_{n}"]) for n in ("FILE", "NUMBER", "OFFSET", "ERRNO"))


@kernel
def publish(server: Any, end: Any, node: Any) -> None:
    """Write all figures."""
    publish_member(server.figures, node)
    to, own, state = server.figures, server.state[0], end.state[0]
    store(to, _LINKS, int(state["links_open"]))
    store(to, _CALLS, int(state["calls_open"]))
    store(to, _ACCEPTED, int(state["accepted"]))
    store(to, _TURNED_AWAY, int(state["turned_away"]))
    store(to, _DROPPED, int(state["dropped"]))
    store(to, _RECEIVED, int(state["bytes_received"]))
    store(to, _SENT, int(state["bytes_sent"]))
    store(to, _POOL, int(state["pool"]["held"]))
    store(to, _TURNS, int(own["turns"]))
    store(to, _EVENTS, int(own["watch_events"]))
    store(to, _STRANGERS, int(own["strangers"]))
    store(to, _STRANGER_CODE, int(own["stranger_code"]))


@kernel
def publish_member(to: Any, node: Any) -> None:
    """Those of raft, log and store."""
    state, raft, keys = node.state[0], node.raft.state[0], node.store.state[0]
    store(to, _TERM, int(raft["term"]))
    store(to, _LEADER, int(raft["leader"]))
    store(to, _ROLE, int(raft["role"]))
    store(to, _COMMIT, int(raft["commit"]))
    store(to, _APPLIED, int(state["applied"]))
    store(to, _LAST, int(raft["last_index"]))
    store(to, _BASE, int(raft["base_index"]))
    store(to, _DURABLE, int(raft["durable_index"]))
    store(to, _REVISION, int(keys["revision"]))
    store(to, _COMPACTED, int(keys["compacted"]))
    store(to, _USED, int(keys["used_bytes"]))
    store(to, _EXTENT, int(keys["extent_bytes"]))
    store(to, _KEYS, int(keys["keys"]))
    store(to, _LEASES, int(keys["leases"]))
    store(to, _WATCHERS, int(keys["watchers"]))
    store(to, _STREAMS, int(keys["streams"]))
    store(to, _ALARMS, int(keys["alarms"]))
    store(to, _SNAPSHOT_INDEX, int(state["snapshot_index"]))
    store(to, _SNAPSHOT_BYTES, int(state["snapshot_bytes"]))
    store(to, _LOADING, int(state["loading"]))
    store(to, _FILE, int(state["failed_file"]))
    store(to, _NUMBER, int(state["failed_number"]))
    store(to, _OFFSET, int(state["failed_offset"]))
    store(to, _ERRNO, int(state["failed_errno"]))
    store(to, _FAILED, int(state["failed"]))
    if raft["leader"] >= 0 and state["loading"] == 0 and raft["commit"] > 0 and state["applied"] >= raft["commit"]:
        store(to, _READY, 1)
