"""What each operation is on the wire of each protocol, and what the answer promises. The README's table is made here.

Plain data and two functions; no kernel reads it. ``tests/client/test_table.py`` holds it to what the clients send.
"""

from dataclasses import dataclass

from kvbench.ops.kinds import KIND_NAMES, Kind

PROTOCOLS: dict[str, str] = {"etcd": "etcd", "raft": "etcd", "zookeeper": "zookeeper"}
"""Which protocol each kind of target speaks."""
COLUMNS: dict[str, str] = {"etcd": "etcd, raft", "zookeeper": "ZooKeeper"}
"""The table's columns: protocol and heading."""


@dataclass(frozen=True)
class Entry:
    """One operation of one protocol."""

    wire: str
    """What is sent; empty: the protocol has no equivalent."""
    guarantee: str
    """What the answer means; without an equivalent: why there is none."""

    @property
    def supported(self) -> bool:
        """Whether a workload may ask for it."""
        return bool(self.wire)


_ORDERED = "Linearizable: answered once a quorum has it in its log."

OPERATIONS: dict[Kind, dict[str, Entry]] = {
    Kind.PUT: {
        "etcd": Entry("`KV.Put`", _ORDERED),
        "zookeeper": Entry(
            "`create` if no answer so far said that the node exists, else `setData` of any version",
            f"{_ORDERED} A wrong guess (node exists, no node) is tried again the other way, timed as one operation and "
            "counted under second tries.",
        ),
    },
    Kind.INSERT: {
        "etcd": Entry("`KV.Put` of a key not used yet", _ORDERED),
        "zookeeper": Entry("`create`", f"{_ORDERED} A node that exists is an error (`ZK_NODE_EXISTS`)."),
    },
    Kind.GET: {
        "etcd": Entry("`KV.Range` of one key", "Linearizable: the member asked confirms with a quorum first."),
        "zookeeper": Entry(
            "`sync` and `getData` of the same path, sent together, timed to the second answer",
            "The nearest there is, not linearizable: `sync` waits for what the leader had committed, but no quorum "
            "confirms that it still leads.",
        ),
    },
    Kind.GET_SERIALIZABLE: {
        "etcd": Entry("`KV.Range` of one key, `serializable`", "May be stale: read from the member asked."),
        "zookeeper": Entry(
            "`getData`", "May be stale: read from the member asked; never older than what its session has seen."
        ),
    },
    Kind.RANGE: {
        "etcd": Entry("`KV.Range` of [key, end) with `limit`", "Linearizable; keys and values of one revision."),
        "zookeeper": Entry(
            "`getChildren2` of the directory",
            "May be stale; names without values, and all of them: the protocol has no limit. A listing beyond the read "
            "buffer is an error (`RESPONSE_TOO_LARGE`), so use `keys.fanout`.",
        ),
    },
    Kind.DELETE: {
        "etcd": Entry("`KV.DeleteRange` of one key", f"{_ORDERED} A missing key counts as deleted, and as missing."),
        "zookeeper": Entry("`delete` of any version", f"{_ORDERED} A missing node counts as deleted, and as missing."),
    },
    Kind.CAS: {
        "etcd": Entry(
            "`KV.Range`, then `KV.Txn` that puts if the key's mod revision is the one read",
            "Linearizable. A revision that changed is an error (`COMPARE_FAILED`). Both requests are timed as one.",
        ),
        "zookeeper": Entry(
            "`getData`, then `setData` of the version read; `create` if there was no node",
            "The write is linearizable. A version that changed, or a node that came or went, is an error "
            "(`COMPARE_FAILED`). Both requests are timed as one.",
        ),
    },
    Kind.READ_MODIFY_WRITE: {
        "etcd": Entry("`KV.Range`, then `KV.Put`", "Two operations timed as one; others may write in between."),
        "zookeeper": Entry(
            "`getData`, then `setData` of any version; `create` if there was no node",
            "Two operations timed as one; others may write in between. The read may be stale.",
        ),
    },
    Kind.TXN: {
        "etcd": Entry("One `KV.Txn` of puts", f"{_ORDERED} All or nothing, in one revision."),
        "zookeeper": Entry(
            "One `multi` of `create` and `setData`, chosen as for put",
            f"{_ORDERED} All or nothing. One wrong guess fails the whole, which is tried again, timed as one operation "
            "and counted under second tries.",
        ),
    },
    Kind.WATCH: {
        "etcd": Entry(
            "One `Watch` stream per connection, a watcher each",
            "Every change, in order, with its value. Timed from the put's send to the event's arrival.",
        ),
        "zookeeper": Entry(
            "`getData` with a watch, again after each notification; `exists` while there is no node",
            "A notification holds no value, so the time includes the read that fetches it and sets the watch again. "
            "Changes in between are seen as one event, which counts their versions; deletions are no events. After a "
            "lost connection the node is read again, and only what changed is told.",
        ),
    },
    Kind.LEASE_GRANT: {
        "etcd": Entry("`Lease.LeaseGrant`", _ORDERED),
        "zookeeper": Entry(
            "A new session (`ConnectRequest`) and an ephemeral node in it (`create`)",
            "Both linearizable, timed as one. A session is a connection: as many connections as clients. The server "
            "bounds the time to live (2 to 20 ticks).",
        ),
    },
    Kind.LEASE_KEEP_ALIVE: {
        "etcd": Entry("One message on the `Lease.LeaseKeepAlive` stream", "Refreshed by the leader, in no log."),
        "zookeeper": Entry("`ping`", "Refreshed at the member asked, in no log; the leader learns of it later."),
    },
    Kind.LEASE_REVOKE: {
        "etcd": Entry("`Lease.LeaseRevoke`", f"{_ORDERED} Its keys go with it."),
        "zookeeper": Entry(
            "`closeSession`", f"{_ORDERED} Its ephemeral nodes go with it, and the server closes the connection."
        ),
    },
    Kind.MAKE_PARENT: {
        "etcd": Entry("", "No directories: a key needs no parent."),
        "zookeeper": Entry(
            "`create` of an empty node", "Preparation only: a node needs its parent. One that exists is fine."
        ),
    },
}
"""Every kind, for every protocol."""


def entry(target: str, kind: Kind) -> Entry:
    """What ``kind`` is for a kind of target ("etcd", "raft", "zookeeper"). Raises KeyError for another target."""
    return OPERATIONS[kind][PROTOCOLS[target]]


def supported(target: str, kind: Kind) -> bool:
    """Whether a kind of target ("etcd", "raft", "zookeeper") has an equivalent of ``kind``. Raises KeyError."""
    return entry(target, kind).supported


def rows() -> list[dict[str, str]]:
    """The table's lines: "operation", then what it is under each of COLUMNS' headings."""
    return [
        {"operation": KIND_NAMES[kind]} | {title: _cell(by[protocol]) for protocol, title in COLUMNS.items()}
        for kind, by in OPERATIONS.items()
    ]


def readme_table() -> str:
    """The table as Markdown: a line per operation, a column per protocol, no newline at the end."""
    lines = [
        "| operation | " + " | ".join(COLUMNS.values()) + " |",
        "|---" * (1 + len(COLUMNS)) + "|",
    ]
    for row in rows():
        cells = " | ".join(row[title] for title in COLUMNS.values())
        lines.append(f"| `{row['operation']}` | {cells} |")
    return "\n".join(lines)


def _cell(what: Entry) -> str:
    if not what.supported:
        return f"No equivalent. {what.guarantee}"
    return f"{what.wire}. {what.guarantee}"
