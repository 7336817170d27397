"""HTTP/1.1 pages and the rare calls' messages, without a loop."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench.node.records import STATISTICS
from kvbench.server import http1, http_pages
from kvbench.server.end_records import METHODS_COUNTED, STATUSES
from kvbench.server.identity import derive_id, make_identity
from kvbench.server.metrics import Sources, code_name, render
from kvbench.server.protobuf_writer import content, number, numbers, text, varint
from kvbench.server.records import FIGURES, WAY, Figure
from kvbench.targets.asking import parse_metrics
from kvbench.wire.etcd_methods import Method
from kvbench.wire.proto import messages

MEMBERS = [("127.0.0.1", 2379 + number) for number in range(3)]


def sources(**figures: int) -> Sources:
    """Of a healthy leader, but for what ``figures`` say."""
    values = np.zeros(FIGURES, np.int64)
    for name, value in ({"READY": 1, "LEADER": 1, "REVISION": 7, "TERM": 3} | figures).items():
        values[Figure[name]] = value
    handled = np.zeros(METHODS_COUNTED * STATUSES, np.int64)
    handled[Method.PUT * STATUSES] = 12
    handled[Method.RANGE * STATUSES + 11] = 5
    ways = np.zeros(5, WAY)
    ways["bytes_sent"] = [10, 0, 30, 0, 0]
    return Sources(
        make_identity("t", MEMBERS, 1), values, handled, np.zeros(1, STATISTICS), ways, 2 << 30,
        (0.001, 0.002), np.array([3, 2, 1]), np.array([5_000_000]),
    )  # fmt: skip


def get(path: str, given: Sources | None = None, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    lines, _, body = http_pages.respond(head, given or sources()).partition(b"\r\n\r\n")
    first, *rest = lines.decode().split("\r\n")
    return int(first.split()[1]), dict(line.split(": ") for line in rest), body


def test_health_is_etcds() -> None:
    assert get("/health")[::2] == (200, b'{"health":"true","reason":""}')
    for figures, reason in (
        ({"LEADER": -1}, "RAFT NO LEADER"),
        ({"ALARMS": 1}, "ALARM NOSPACE"),
        ({"ALARMS": 2}, "ALARM CORRUPT"),
        ({"FAILED": -5}, "MEMBER FAILED"),
        ({"READY": 0}, "NOT CAUGHT UP"),
    ):
        status, _, body = get("/health", sources(**figures))
        assert (status, json.loads(body)) == (503, {"health": "false", "reason": reason})
        assert get("/readyz", sources(**figures))[0] == 503
    assert get("/health?serializable=true", sources(LEADER=-1))[0] == 200
    assert get("/readyz")[::2] == get("/livez", sources(READY=0))[::2] == (200, b"ok\n")


def test_version_is_what_etcds_tools_read() -> None:
    status, headers, body = get("/version")
    said = json.loads(body)
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert said["etcdserver"].split(".")[:2] == said["etcdcluster"].split(".")[:2] == ["3", "7"]


def test_metrics_have_etcds_names() -> None:
    status, headers, body = get("/metrics")
    found = parse_metrics(body.decode())
    assert (status, headers["Content-Length"]) == (200, str(len(body)))
    labels = 'grpc_service="etcdserverpb.KV",grpc_type="unary"'
    assert found[f'grpc_server_handled_total{{grpc_code="OK",grpc_method="Put",{labels}}}'] == 12
    assert found[f'grpc_server_handled_total{{grpc_code="OutOfRange",grpc_method="Range",{labels}}}'] == 5
    assert found["etcd_server_is_leader"] == found["etcd_server_has_leader"] == 1
    assert found["etcd_debugging_mvcc_current_revision"] == 7
    assert found['etcd_disk_wal_fsync_duration_seconds_bucket{le="0.002"}'] == 5
    assert found['etcd_disk_wal_fsync_duration_seconds_bucket{le="+Inf"}'] == 6
    assert found["etcd_disk_wal_fsync_duration_seconds_sum"] == 0.005
    assert found["process_resident_memory_bytes"] > 1 << 20
    assert len([name for name in found if name.startswith("etcd_network_peer_sent_bytes_total")]) == 2


def test_every_line_of_metrics_belongs_to_a_described_family() -> None:
    kinds: dict[str, str] = {}
    for line in render(sources()).splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert name not in kinds
            kinds[name] = kind
        elif not line.startswith("#"):
            name = line.split("{")[0].split(" ")[0]
            assert any(name in (base, *(base + end for end in ("_bucket", "_sum", "_count"))) for base in kinds), name
    assert set(kinds.values()) == {"gauge", "counter", "histogram"}


@pytest.mark.parametrize(("code", "name"), [(0, "OK"), (1, "Canceled"), (3, "InvalidArgument"), (14, "Unavailable")])
def test_codes_are_named_as_in_go(code: int, name: str) -> None:
    assert code_name(code) == name


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [("/", "GET", 404), ("/metrics", "POST", 405), ("/v3/kv/put", "POST", 501), ("/health", "HEAD", 200)],
)
def test_other_requests(path: str, method: str, status: int) -> None:
    found, headers, body = get(path, method=method)
    assert found == status
    assert headers["Connection"] == "close"
    assert bool(body) == (method != "HEAD")


def test_what_is_no_request() -> None:
    for head in (b"", b"GET\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"\xff\xfe\r\n\r\n"):
        assert http_pages.respond(head, sources()).startswith(b"HTTP/1.1 400 ")


# -- heads in a buffer ------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.binary(max_size=60), st.binary(max_size=20))
def test_a_head_is_found_at_every_cut(before: bytes, after: bytes) -> None:
    data = b"GET " + before.replace(b"\r", b"") + b"\r\n\r\n"
    buf = np.frombuffer(b"xx" + data + after + b"....", np.uint8).copy()
    for stop in range(2, 2 + len(data)):
        assert http1.head_bytes(buf, 2, stop) == 0
    assert http1.head_bytes(buf, 2, 2 + len(data) + len(after)) == len(data)


def test_a_head_without_end() -> None:
    buf = np.full(http1.HEAD_BYTES_MAX + 10, 65, np.uint8)
    assert http1.head_bytes(buf, 0, http1.HEAD_BYTES_MAX - 1) == 0
    assert http1.head_bytes(buf, 0, http1.HEAD_BYTES_MAX) == http1.TOO_LARGE


def test_protocols_by_their_first_bytes() -> None:
    def of(data: bytes) -> tuple[bool, bool]:
        buf = np.frombuffer(data, np.uint8).copy()
        return bool(http1.is_http2(buf, 0)), bool(http1.is_http1(buf, 0))

    assert of(b"PRI * HTTP") == (True, False)
    for first in (b"GET /", b"HEAD /", b"POST /", b"PUT /", b"DELETE /", b"OPTIONS", b"PATCH /"):
        assert of(first) == (False, True)
    for other in (b"\x16\x03\x01\x02", b"\x38\0\0\0", b"get /", b"XXXX"):
        assert of(other) == (False, False)


# -- messages ---------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(0, 2**64 - 1), st.text(max_size=20), st.integers(-(2**63), 2**63 - 1))
def test_messages_are_those_of_the_api(big: int, name: str, revision: int) -> None:
    header = content(1, number(1, big) + number(3, revision))
    member = content(2, number(1, big) + text(2, name))
    found = messages.MemberListResponse.FromString(header + member)
    assert (found.header.cluster_id, found.header.revision) == (big, revision)
    assert [(one.ID, one.name) for one in found.members] == [(big, name)]
    request = messages.AlarmRequest(action="ACTIVATE", memberID=big, alarm="CORRUPT").SerializeToString()
    assert numbers(request, (1, 2, 3)) == {1: 1, 2: big, 3: 2}


DAMAGED = [b"\x08", b"\x08" + b"\xff" * 11, b"\x0b", b"\x00\x01", b"\x12\x05ab", b"\x0a\x01x"]


@pytest.mark.parametrize("damaged", DAMAGED)
def test_damaged_messages(damaged: bytes) -> None:
    with pytest.raises(ValueError):
        numbers(damaged, (1,))


def test_unknown_fields_are_skipped() -> None:
    data = content(9, b"text") + varint(10 << 3 | 1) + bytes(8) + varint(11 << 3 | 5) + bytes(4) + number(1, 7)
    assert numbers(data, (1,)) == {1: 7}


# -- identity ---------------------------------------------------------------------------------------------------------


def test_members_of_one_cluster_agree_and_others_differ() -> None:
    one, other = make_identity("t", MEMBERS, 0), make_identity("t", MEMBERS, 2)
    assert (one.cluster_id, one.members) == (other.cluster_id, other.members)
    assert len({member.id for member in one.members} | {one.cluster_id}) == 4
    assert one.own.url == "http://127.0.0.1:2379"
    assert make_identity("u", MEMBERS, 0).cluster_id != one.cluster_id
    assert make_identity("t", MEMBERS[::-1], 0).cluster_id != one.cluster_id


def test_a_member_alone_may_move() -> None:
    assert make_identity("t", MEMBERS[:1], 0).own.id == make_identity("t", MEMBERS[1:2], 0).own.id


def test_ids_are_positive() -> None:
    found: set[Any] = {derive_id("x", str(number)) for number in range(1000)}
    assert len(found) == 1000
    assert all(0 < one < 2**63 for one in found)
