"""Free ports."""

import socket

import pytest

from kvbench.targets import ports
from kvbench.targets.running import TargetError


def test_ports_are_different_free_and_out_of_the_way_of_outgoing_connections() -> None:
    chosen = ports.free_ports(15)
    assert len(set(chosen)) == 15
    assert all(ports.is_free(port) for port in chosen)
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        first_outgoing = int(file.read().split()[0])
    assert max(chosen) < first_outgoing or first_outgoing < 12_000


def test_a_port_in_use_is_refused_with_the_way_to_see_who_has_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not ports.is_free(port)
        with pytest.raises(TargetError, match=f"port {port}") as caught:
            ports.require_free(port, "etcd 3.7.3")
    assert f"sport = :{port}" in caught.value.remedy
