"""Parsing what servers say, and servers that say nothing."""

import socket
import ssl
from collections.abc import Iterator

import pytest

from kvbench.targets import asking

METRICS = """# HELP etcd_server_has_leader Whether or not a leader exists.
# TYPE etcd_server_has_leader gauge
etcd_server_has_leader 1
grpc_server_handled_total{grpc_code="OK",grpc_method="Put"} 12
grpc_server_handled_total{grpc_code="Aborted",grpc_method="Put"} 0
etcd_disk_wal_fsync_duration_seconds_bucket{le="0.001"} 7
etcd_disk_wal_fsync_duration_seconds_sum 0.25
etcd_network_latency_bucket{le="0.1"} 4
process_resident_memory_bytes 2.5e+07 1700000000000
something_nan NaN
broken line here
"""


@pytest.fixture
def silent_server() -> Iterator[str]:
    """The address of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_metrics_keep_what_is_needed() -> None:
    assert asking.parse_metrics(METRICS) == {
        "etcd_server_has_leader": 1.0,
        'grpc_server_handled_total{grpc_code="OK",grpc_method="Put"}': 12.0,
        'etcd_disk_wal_fsync_duration_seconds_bucket{le="0.001"}': 7.0,
        "etcd_disk_wal_fsync_duration_seconds_sum": 0.25,
        "process_resident_memory_bytes": 2.5e7,
    }


def test_mntr_keeps_numbers() -> None:
    text = "zk_version\t3.9.5-abc, built on x\nzk_znode_count\t5\nzk_avg_latency\t0.5\nzk_x\tNaN\n\n"
    assert asking.parse_mntr(text) == {"zk_znode_count": 5.0, "zk_avg_latency": 0.5}


def test_addresses_split() -> None:
    assert asking.split_address("h:1") == ("h", 1)
    assert asking.split_address("[::1]:2379") == ("::1", 2379)


def test_a_server_that_never_answers_is_not_waited_for(silent_server: str) -> None:
    assert asking.http_get(silent_server, "/health") is None
    assert asking.four_letter_word(silent_server, "srvr") is None


def test_why_a_server_does_not_answer(silent_server: str) -> None:
    assert "says nothing that can be understood" in asking.why_no_answer(silent_server)
    assert asking.why_no_answer(silent_server, ssl.create_default_context()) == "nothing within 1 s"
    assert asking.why_no_answer("nobody.invalid:1") != ""


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    assert asking.why_no_answer(address) == "connection refused"
    assert asking.http_get_json(address, "/version") is None
    assert asking.four_letter_word(address, "srvr") is None
