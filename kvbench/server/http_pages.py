"""What is served over HTTP/1.1: /metrics, /health, /livez, /readyz, /version."""

import json
from typing import Any

from kvbench.server.identity import API_VERSION, CLUSTER_VERSION
from kvbench.server.metrics import NOSPACE, Sources, render
from kvbench.server.records import Figure

_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 501: "Not Implemented",
            503: "Service Unavailable"}  # fmt: skip
JSON, TEXT = "application/json", "text/plain; charset=utf-8"
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def respond(head: bytes, sources: Sources) -> bytes:
    """The whole response to a request with this head."""
    method, target = parse(head)
    if not method:
        return write(400, TEXT, b"this is no HTTP/1.1 request\n", "")
    path, _, query = target.partition("?")
    if path.startswith("/v3"):
        return write(501, TEXT, b"the JSON gateway of etcd is not served here; use gRPC\n", method)
    if path not in PAGES:
        return write(404, TEXT, b"404 page not found\n", method)
    if method not in ("GET", "HEAD"):
        return write(405, TEXT, b"Method Not Allowed\n", method)
    status, kind, body = PAGES[path](sources, query)
    return write(status, kind, body, method)


def parse(head: bytes) -> tuple[str, str]:
    """(method, target) of a request's first line; ("", "") when it is none."""
    parts = head.split(b"\r\n", 1)[0].split(b" ")
    if len(parts) != 3 or not parts[2].startswith(b"HTTP/1."):
        return "", ""
    return parts[0].decode("latin-1"), parts[1].decode("latin-1")


def write(status: int, kind: str, body: bytes, method: str) -> bytes:
    """A response; the connection ends with it."""
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + (b"" if method == "HEAD" else body)


def why_unhealthy(sources: Sources, serializable: bool) -> str:
    """etcd's reason why a member is not healthy, "" when it is."""
    figure = sources.figures
    if int(figure[Figure.ALARMS]) & NOSPACE:
        return "ALARM NOSPACE"
    if int(figure[Figure.ALARMS]) & 2:
        return "ALARM CORRUPT"
    if int(figure[Figure.FAILED]) != 0:
        return "MEMBER FAILED"
    if not serializable and int(figure[Figure.LEADER]) < 0:
        return "RAFT NO LEADER"
    if int(figure[Figure.READY]) == 0:
        return "NOT CAUGHT UP"
    return ""


def health(sources: Sources, query: str) -> tuple[int, str, bytes]:
    """etcd's JSON."""
    reason = why_unhealthy(sources, "serializable=true" in query)
    said = {"health": "false" if reason else "true", "reason": reason}
    return 503 if reason else 200, JSON, json.dumps(said, separators=(",", ":")).encode()


def ready(sources: Sources, query: str) -> tuple[int, str, bytes]:
    """Whether this member can serve."""
    reason = why_unhealthy(sources, False)
    return (503, TEXT, f"{reason}\n".encode()) if reason else (200, TEXT, b"ok\n")


def live(sources: Sources, query: str) -> tuple[int, str, bytes]:
    """Whether this member lives: who asks gets an answer."""
    return 200, TEXT, b"ok\n"


def version(sources: Sources, query: str) -> tuple[int, str, bytes]:
    """As etcd's, with kvbench's own beside it."""
    from kvbench import __version__

    said = {
        "etcdserver": API_VERSION, "etcdcluster": CLUSTER_VERSION, "storage": CLUSTER_VERSION, "kvbench": __version__,
    }  # fmt: skip
    return 200, JSON, json.dumps(said, separators=(",", ":")).encode()


def metrics(sources: Sources, query: str) -> tuple[int, str, bytes]:
    """Prometheus' text format."""
    return 200, METRICS_TYPE, render(sources).encode()


PAGES: dict[str, Any] = {
    "/metrics": metrics,
    "/health": health,
    "/readyz": ready,
    "/livez": live,
    "/version": version,
}
