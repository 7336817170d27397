"""/metrics: Prometheus' text format, with etcd's names where they mean the same, ``kvbench_`` before the others."""

import os
import resource
from collections.abc import Iterator
from typing import Any, NamedTuple

from kvbench.ops.errors import ErrorCode
from kvbench.server.end_records import METHODS_COUNTED, STATUSES
from kvbench.server.grpc_end import NO_METHOD, is_streaming
from kvbench.server.identity import API_VERSION, Identity
from kvbench.server.records import Figure
from kvbench.wire.etcd_methods import PATHS, Method

NOSPACE = 1
SERVER_STREAMS = (Method.SNAPSHOT, Method.RANGE_STREAM)
PAGE_BYTES = os.sysconf("SC_PAGESIZE")


class Sources(NamedTuple):
    """Where the figures come from; all are written by the loop and the disk threads, and only read here."""

    identity: Identity
    figures: Any
    """int64[FIGURES]"""
    handled: Any
    """int64[METHODS_COUNTED * STATUSES]"""
    statistics: Any
    """STATISTICS[1]"""
    ways: Any
    """WAY[MEMBERS_MAX]"""
    quota_bytes: int
    sync_bounds_s: tuple[float, ...]
    sync_counts: Any
    """int64[bounds + 1]: syncs of the log that took at most so long, the last longer than all"""
    sync_sum_ns: Any
    """int64[1]"""


def render(sources: Sources) -> str:
    """The page."""
    lines: list[str] = []
    for name, kind, about, samples in families(sources):
        lines.append(f"# HELP {name} {about}")
        lines.append(f"# TYPE {name} {kind}")
        lines += [f"{name}{labels} {value:g}" if isinstance(value, float) else f"{name}{labels} {value}"
                  for labels, value in samples]  # fmt: skip
    return "\n".join(lines) + "\n"


Family = tuple[str, str, str, list[tuple[str, float | int]]]


def families(sources: Sources) -> Iterator[Family]:
    """All metrics."""
    yield from of_server(sources)
    yield from of_store(sources)
    yield from of_calls(sources)
    yield from of_disk(sources)
    yield from of_network(sources)
    yield from of_process()


def gauge(name: str, about: str, value: float | int, labels: str = "") -> Family:
    return (name, "gauge", about, [(labels, value)])


def counter(name: str, about: str, value: float | int, labels: str = "") -> Family:
    return (name, "counter", about, [(labels, value)])


def of_server(sources: Sources) -> Iterator[Family]:
    """Consensus."""
    figure, own = sources.figures, sources.identity
    counts = sources.statistics[0]
    leader = int(figure[Figure.LEADER])
    yield gauge("etcd_server_has_leader", "Whether or not a leader exists. 1 is existence, 0 is not.", int(leader >= 0))
    yield gauge(
        "etcd_server_is_leader", "Whether or not this member is a leader. 1 if is, 0 otherwise.",
        int(leader == own.position),
    )  # fmt: skip
    yield counter(
        "etcd_server_leader_changes_seen_total", "The number of leader changes seen.", int(counts["leader_changes"])
    )
    yield gauge(
        "etcd_server_proposals_committed_total", "The total number of consensus proposals committed.",
        int(figure[Figure.COMMIT]),
    )  # fmt: skip
    yield gauge(
        "etcd_server_proposals_applied_total", "The total number of consensus proposals applied.",
        int(figure[Figure.APPLIED]),
    )  # fmt: skip
    yield gauge(
        "etcd_server_proposals_pending", "The current number of pending proposals to commit.",
        max(int(figure[Figure.LAST_INDEX]) - int(figure[Figure.COMMIT]), 0),
    )  # fmt: skip
    yield counter(
        "etcd_server_proposals_failed_total", "The total number of failed proposals seen.",
        int(counts["proposals_failed"]),
    )  # fmt: skip
    yield gauge("etcd_server_quota_backend_bytes", "Current backend storage quota size in bytes.", sources.quota_bytes)
    yield gauge("etcd_server_id", "Server or member ID in hexadecimal format. 1 for 'server_id' label with current ID.",
                1, f'{{server_id="{own.own.id:x}"}}')  # fmt: skip
    yield gauge("etcd_server_version", "Which version is running. 1 for 'server_version' label with current version.",
                1, f'{{server_version="{API_VERSION}"}}')  # fmt: skip
    yield gauge("kvbench_raft_term", "The current term.", int(figure[Figure.TERM]))
    yield gauge("kvbench_snapshot_index", "Index of the newest snapshot.", int(figure[Figure.SNAPSHOT_INDEX]))
    yield counter("kvbench_snapshots_total", "Snapshots written.", int(counts["snapshots"]))
    yield counter("kvbench_snapshots_received_total", "Snapshots of other members that replaced this one's state.",
                  int(counts["snapshots_received"]))  # fmt: skip
    yield gauge("kvbench_alarm_nospace", "1 while the alarm NOSPACE is raised.",
                int(figure[Figure.ALARMS]) & NOSPACE)  # fmt: skip


def of_store(sources: Sources) -> Iterator[Family]:
    """Keys, revisions, leases, watches."""
    figure = sources.figures
    for name, about, which in (
        ("etcd_mvcc_db_total_size_in_bytes", "Total size of the underlying database physically allocated in bytes.",
         Figure.EXTENT_BYTES),
        ("etcd_mvcc_db_total_size_in_use_in_bytes", "Total size of the underlying database logically in use in bytes.",
         Figure.USED_BYTES),
        ("etcd_debugging_mvcc_keys_total", "Total number of keys.", Figure.KEYS),
        ("etcd_debugging_mvcc_current_revision", "The current revision of store.", Figure.REVISION),
        ("etcd_debugging_mvcc_compact_revision", "The revision of the last compaction in store.", Figure.COMPACTED),
        ("etcd_debugging_mvcc_watcher_total", "Total number of watchers.", Figure.WATCHERS),
        ("etcd_debugging_mvcc_watch_stream_total", "Total number of watch streams.", Figure.STREAMS),
        ("kvbench_leases", "Leases that live.", Figure.LEASES),
    ):  # fmt: skip
        yield gauge(name, about, int(figure[which]))
    yield counter("kvbench_watch_responses_total", "Responses sent to watchers.", int(figure[Figure.WATCH_EVENTS]))


def of_calls(sources: Sources) -> Iterator[Family]:
    """gRPC calls by method and code."""
    samples: list[tuple[str, float | int]] = []
    for method in range(METHODS_COUNTED):
        path = "/unknown/unknown" if method == NO_METHOD else PATHS[method].decode()
        _, service, name = path.split("/")
        kind = "bidi_stream" if is_streaming(method) else "server_stream" if method in SERVER_STREAMS else "unary"
        for code in range(STATUSES):
            count = int(sources.handled[method * STATUSES + code])
            if count or code == 0:
                labels = (
                    f'{{grpc_code="{code_name(code)}",grpc_method="{name}",grpc_service="{service}",grpc_type="{kind}"}}'
                )
                samples.append((labels, count))
    about = "Total number of RPCs completed on the server, regardless of success or failure."
    yield ("grpc_server_handled_total", "counter", about, samples)


def code_name(code: int) -> str:
    """A gRPC status as Go writes it: InvalidArgument."""
    if code == 0:
        return "OK"
    name = ErrorCode(code).name
    return "Canceled" if name == "CANCELLED" else name.title().replace("_", "")


def of_disk(sources: Sources) -> Iterator[Family]:
    """How long syncs of the log took."""
    name = "etcd_disk_wal_fsync_duration_seconds"
    samples: list[tuple[str, float | int]] = []
    total = 0
    for bound, count in zip((*sources.sync_bounds_s, float("inf")), sources.sync_counts, strict=True):
        total += int(count)
        edge = "+Inf" if bound == float("inf") else f"{bound:g}"
        samples.append((f'_bucket{{le="{edge}"}}', total))
    samples += [("_sum", int(sources.sync_sum_ns[0]) / 1e9), ("_count", total)]
    yield (name, "histogram", "The latency distributions of fsync called by WAL.", samples)


def of_network(sources: Sources) -> Iterator[Family]:
    """Bytes and connections."""
    figure = sources.figures
    yield counter("etcd_network_client_grpc_received_bytes_total", "The total number of bytes received from clients.",
                  int(figure[Figure.BYTES_RECEIVED]))  # fmt: skip
    yield counter("etcd_network_client_grpc_sent_bytes_total", "The total number of bytes sent to grpc clients.",
                  int(figure[Figure.BYTES_SENT]))  # fmt: skip
    members = sources.identity.members
    others = [number for number in range(len(members)) if number != sources.identity.position]
    sent: list[tuple[str, float | int]] = [
        (f'{{To="{members[number].id:x}"}}', int(sources.ways["bytes_sent"][number])) for number in others
    ]
    if sent:
        yield ("etcd_network_peer_sent_bytes_total", "counter", "The total number of bytes sent to peers.", sent)
        yield counter(
            "kvbench_peer_received_bytes_total", "Bytes received from other members.",
            int(sources.statistics[0]["peer_bytes_received"]),
        )  # fmt: skip
    yield gauge("kvbench_connections", "Connections open.", int(figure[Figure.LINKS]))
    yield gauge("kvbench_calls", "Calls under way.", int(figure[Figure.CALLS]))
    yield counter("kvbench_connections_accepted_total", "Connections accepted.", int(figure[Figure.ACCEPTED]))
    yield counter("kvbench_connections_turned_away_total", "Connections closed at once for lack of a place.",
                  int(figure[Figure.TURNED_AWAY]))  # fmt: skip
    yield counter("kvbench_connections_dropped_total", "Connections broken off for what the peer did.",
                  int(figure[Figure.DROPPED]))  # fmt: skip
    yield gauge("kvbench_buffer_bytes", "Memory that requests and responses hold now.", int(figure[Figure.POOL_BYTES]))
    yield counter("kvbench_loop_turns_total", "Turns of the event loop.", int(figure[Figure.TURNS]))


def of_process() -> Iterator[Family]:
    """This process."""
    with open("/proc/self/statm") as file:
        virtual, resident = (int(part) * PAGE_BYTES for part in file.read().split()[:2])
    use = resource.getrusage(resource.RUSAGE_SELF)
    yield gauge("process_resident_memory_bytes", "Resident memory size in bytes.", resident)
    yield gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", virtual)
    yield counter("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.",
                  use.ru_utime + use.ru_stime)  # fmt: skip
    yield gauge("process_open_fds", "Number of open file descriptors.", len(os.listdir("/proc/self/fd")))
    yield gauge("process_max_fds", "Maximum number of open file descriptors.",
                resource.getrlimit(resource.RLIMIT_NOFILE)[0])  # fmt: skip
