"""Clusters that were there before kvbench and stay when it goes."""

import socket
from pathlib import Path

import pytest

from kvbench.targets import launch
from kvbench.targets.existing import ExistingCluster, tls_context
from kvbench.targets.found import FoundServer
from kvbench.targets.ports import free_ports
from kvbench.targets.process import ServerProcess
from kvbench.targets.running import TargetError
from kvbench.targets.spec import parse_target
from tests.targets.starting import Start
from tests.targets.waiting import eventually, is_gone

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("kind", "counter"), [("etcd", "etcd_server_has_leader"), ("zookeeper", "zk_znode_count")])
def test_an_existing_cluster_is_asked_and_left_alone(start: Start, tmp_path: Path, kind: str, counter: str) -> None:
    local = start(f"{kind}?members=3")
    addresses = ",".join(member.address for member in local.members)
    there = launch.start(parse_target(f"{kind}://{addresses}?endpoints=leader"), tmp_path)
    assert there.version == local.version
    assert [member.pid for member in there.members] == [None, None, None]
    (leader,) = there.addresses_for_load()
    assert leader in addresses
    assert counter in there.counters(there.members[0])
    assert there.dead_members() == [] and there.log_tail() == ""
    assert there.describe()["local"] is False
    there.stop()
    assert local.dead_members() == []
    assert not any(is_gone(member.pid) for member in local.members if member.pid is not None)


@pytest.mark.parametrize("kind", ["etcd", "zookeeper"])
def test_nobody_there(kind: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(TargetError, match=f"{kind} at {address} does not answer: connection refused") as caught:
        launch.start(parse_target(f"{kind}://{address}"), tmp_path)
    assert "is it up" in caught.value.remedy


def test_tls(newest_etcd: FoundServer, tmp_path: Path) -> None:
    port, peer_port = free_ports(2)
    command = [
        str(newest_etcd.path),
        f"--data-dir={tmp_path / 'data'}",
        "--auto-tls",
        f"--listen-client-urls=https://127.0.0.1:{port}",
        f"--advertise-client-urls=https://127.0.0.1:{port}",
        f"--listen-peer-urls=http://127.0.0.1:{peer_port}",
        f"--initial-advertise-peer-urls=http://127.0.0.1:{peer_port}",
        f"--initial-cluster=default=http://127.0.0.1:{peer_port}",
    ]
    process = ServerProcess(command, tmp_path / "log", (), tmp_path)
    try:
        certificate = tmp_path / "data/fixtures/client/cert.pem"
        spec = parse_target(f"etcd://127.0.0.1:{port}?ca={certificate}")

        def answers() -> bool:
            try:
                return ExistingCluster(spec).version == newest_etcd.version
            except TargetError:
                return False

        assert eventually(answers)
        assert ExistingCluster(spec).describe()["tls"] is True
        with pytest.raises(TargetError) as caught:
            ExistingCluster(parse_target(f"etcd://127.0.0.1:{port}"))
        assert "ca=file.pem" in caught.value.remedy
        with pytest.raises(TargetError, match=r"does not answer: its certificate is not accepted: "):
            ExistingCluster(
                parse_target(f"etcd://127.0.0.1:{port}?cert={certificate},key={certificate.parent}/key.pem")
            )
    finally:
        process.kill()


def test_certificates_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"cannot read .*missing.pem \(ca=\)"):
        tls_context(parse_target(f"etcd://h:1?ca={tmp_path / 'missing.pem'}"))
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    with pytest.raises(TargetError, match="cannot use"):
        tls_context(parse_target(f"etcd://h:1?ca={broken}"))
