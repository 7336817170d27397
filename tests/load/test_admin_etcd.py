import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench.load import admin
from kvbench.load.admin import AdminError
from kvbench.load.admin_etcd import EtcdAdmin, prefix_end
from kvbench.load.credentials import Credentials
from kvbench.wire.proto import messages, methods
from tests.load.grpcio_servers import (
    NOBODY,
    Certificates,
    add_user,
    enable_auth,
    make_certificates,
    running_etcd,
    tls_flags,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_etcd(tmp_path_factory.mktemp("etcd") / "m1") as (where, _):
        yield where


@pytest.fixture
def etcd(address: str) -> Iterator[EtcdAdmin]:
    asked = admin.connect("etcd", [address])
    assert isinstance(asked, EtcdAdmin)
    yield asked
    asked.close()
    asked.close()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def tls_address(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("tls") / "m1"
    with running_etcd(folder, *tls_flags(certificates), credentials=of_client(certificates)) as (where, _):
        yield where


def of_client(certificates: Certificates) -> Credentials:
    return Credentials(ca=certificates.ca, cert=certificates.client_cert, key=certificates.client_key)


def unary(address: str, method: methods.Method, request: Any, token: str = "") -> Any:
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        return call(request, timeout=10, metadata=(("token", token),) if token else None)


def put(address: str, key: bytes, token: str = "") -> None:
    unary(address, methods.PUT, messages.PutRequest(key=key, value=b"x"), token)


def test_keys_are_counted_and_deleted_under_the_prefix_only(address: str, etcd: EtcdAdmin) -> None:
    keys = [f"kvbench/{number:05}".encode() for number in range(40)]
    for key in [*keys, b"kvbench", b"kvbench0", b"kvbench/", b"other"]:
        put(address, key)
    assert etcd.count_keys("kvbench/") == 41
    assert etcd.count_keys("kvbench") == 43
    assert etcd.count_keys("nothing/") == 0
    assert etcd.count_keys("") == 44
    assert etcd.prepare_prefix("kvbench/") == ()
    seen: list[tuple[int, int]] = []
    assert etcd.delete_prefix("kvbench/", lambda deleted, total: seen.append((deleted, total))) == 41
    assert seen == [(41, 41)]
    assert etcd.count_keys("kvbench/") == 0
    assert etcd.count_keys("") == 3
    assert etcd.delete_prefix("kvbench/") == 0


def test_deleting_goes_in_batches(address: str, etcd: EtcdAdmin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kvbench.load.admin_etcd.DELETE_BATCH", 4)
    for number in range(10):
        put(address, b"batch/%d" % number)
    seen: list[tuple[int, int]] = []
    assert etcd.delete_prefix("batch/", lambda deleted, total: seen.append((deleted, total))) == 10
    assert seen == [(4, 10), (8, 10), (10, 10)]


def test_an_empty_prefix_is_never_deleted(etcd: EtcdAdmin) -> None:
    with pytest.raises(ValueError, match="everything"):
        etcd.delete_prefix("")


def test_status_leader_members_and_revision(address: str, etcd: EtcdAdmin) -> None:
    before = etcd.revision()
    put(address, b"one more")
    assert etcd.revision() == before + 1
    (status,) = etcd.status()
    assert status.address == address
    assert status.name == "m1"
    assert status.is_leader
    assert status.revision == before + 1
    assert status.data_bytes > 0
    assert status.version.count(".") == 2
    assert etcd.leader_address() == address
    assert etcd.members() == [address]


def test_a_dead_address_is_passed_over(address: str) -> None:
    asked = admin.connect("etcd", [f"127.0.0.1:{unused_port()}", address])
    assert asked.count_keys("nothing/") == 0
    assert asked.leader_address() == address
    assert [status.address for status in asked.status()] == [address]
    asked.close()


def test_nospace_is_named(tmp_path: Path) -> None:
    with running_etcd(tmp_path / "m1") as (address, _):
        asked = admin.connect("raft", [address])
        assert asked.alarms() == []
        raised = messages.AlarmRequest(action=messages.AlarmRequest.ACTIVATE, alarm=messages.NOSPACE)
        raised.memberID = unary(address, methods.STATUS, messages.StatusRequest()).header.member_id
        unary(address, methods.ALARM, raised)
        assert asked.alarms() == ["NOSPACE at m1"]
        asked.close()


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def refusal(kind: str, address: str, credentials: Credentials = NOBODY, timeout_s: float = 5.0) -> AdminError:
    with pytest.raises(AdminError) as caught:
        asked = admin.connect(kind, [address], credentials, timeout_s)
        try:
            asked.count_keys("kvbench/")
        finally:
            asked.close()
    assert caught.value.remedy
    assert "\n" not in str(caught.value)
    return caught.value


def test_nothing_but_the_error_is_said(certificates: Certificates, tls_address: str) -> None:
    code = (
        "from kvbench.load import admin\n"
        "from kvbench.load.credentials import Credentials\n"
        f"asked = admin.connect('etcd', [{tls_address!r}], Credentials(ca={certificates.ca!r}))\n"
        "try:\n    asked.count_keys('kvbench/')\nexcept admin.AdminError:\n    print('refused')\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (ran.stdout, ran.stderr) == ("refused\n", "")


def test_a_dead_server() -> None:
    port = unused_port()
    error = refusal("etcd", f"127.0.0.1:{port}")
    assert f"127.0.0.1:{port}: nothing listens there" in str(error)


def test_a_server_that_never_answers() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        error = refusal("etcd", f"127.0.0.1:{silent.getsockname()[1]}", timeout_s=0.3)
    assert "no answer in time" in str(error)


def test_unknown_kind() -> None:
    with pytest.raises(ValueError, match="known: etcd, raft, zookeeper"):
        admin.connect("consul", ["127.0.0.1:1"])


def test_tls(tls_address: str, certificates: Certificates) -> None:
    asked = admin.connect("etcd", [tls_address], of_client(certificates))
    assert asked.count_keys("nothing/") == 0
    assert asked.members() == [tls_address]
    asked.close()


def test_tls_by_host_name(tls_address: str, certificates: Certificates) -> None:
    asked = admin.connect("etcd", [tls_address.replace("127.0.0.1", "localhost")], of_client(certificates))
    assert asked.count_keys("nothing/") == 0
    asked.close()


def test_the_wrong_authority(tls_address: str, certificates: Certificates, tmp_path: Path) -> None:
    other = make_certificates(tmp_path / "other")
    error = refusal("etcd", tls_address, replace(of_client(certificates), ca=other.ca))
    assert "not signed by the authority given" in str(error)
    assert "tls_ca" in error.remedy


def test_no_client_certificate_where_one_is_asked_for(tls_address: str, certificates: Certificates) -> None:
    error = refusal("etcd", tls_address, Credentials(ca=certificates.ca))
    assert "asks for" in str(error) and "client certificate" in str(error)
    assert "tls_cert" in error.remedy


def test_plain_text_to_a_tls_server(tls_address: str) -> None:
    error = refusal("etcd", tls_address)
    assert "tls_ca" in error.remedy


def test_tls_to_a_plain_server(address: str, certificates: Certificates) -> None:
    error = refusal("etcd", address, of_client(certificates))
    assert "do not speak TLS" in str(error) or "does not speak TLS" in str(error)
    assert "leave the TLS files out" in error.remedy


def test_unusable_files_are_named(certificates: Certificates, tmp_path: Path) -> None:
    good = of_client(certificates)
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("no certificate at all\n")
    missing = str(tmp_path / "missing.pem")
    cases = (
        (replace(good, ca=missing), missing, "No such file"),
        (replace(good, ca=str(tmp_path)), str(tmp_path), "Is a directory"),
        (replace(good, ca=str(garbage)), str(garbage), "no certificate"),
        (replace(good, cert=missing), missing, "No such file"),
        (replace(good, key=missing), missing, "No such file"),
        (replace(good, cert=str(garbage)), str(garbage), "cannot be used"),
        (replace(good, key=certificates.server_key), certificates.server_key, "key values mismatch"),
        (replace(good, key=""), "certificate is given without its key", ""),
        (replace(good, cert=""), "key is given without its certificate", ""),
    )
    for credentials, named, why in cases:
        with pytest.raises(AdminError) as caught:
            EtcdAdmin(["127.0.0.1:1"], credentials, 1.0)
        assert named in str(caught.value)
        assert why in str(caught.value)
        assert caught.value.remedy


def test_users(tmp_path: Path) -> None:
    with running_etcd(tmp_path / "m1", "--auth-token-ttl", "1") as (address, _):
        enable_auth(address, NOBODY)
        root = Credentials(user="root", password="secret")
        add_user(address, "guest", root)
        asked = admin.connect("etcd", [address], root)
        assert asked.count_keys("kvbench/") == 0
        assert asked.members() == [address]
        assert asked.alarms() == []
        put(address, b"kvbench/a", token=token_of(address, root))
        assert asked.delete_prefix("kvbench/") == 1
        assert "user or the password is wrong" in str(refusal("etcd", address, replace(root, password="wrong")))
        assert "user or the password is wrong" in str(refusal("etcd", address, replace(root, user="nobody")))
        assert "asks for a user" in str(refusal("etcd", address))
        assert "may not do this" in str(refusal("etcd", address, Credentials(user="guest", password="secret")))
        asked.close()


def test_a_token_that_expired_is_got_anew(tmp_path: Path) -> None:
    with running_etcd(tmp_path / "m1") as (address, _):
        enable_auth(address, NOBODY)
        asked = EtcdAdmin([address], Credentials(user="root", password="secret"), 5.0)
        assert asked.count_keys("kvbench/") == 0
        asked._token = "AAAAAAAAAAAAAAAA.1"
        assert asked.count_keys("kvbench/") == 0
        asked.close()


def test_a_user_where_none_is_asked_for(address: str) -> None:
    asked = admin.connect("etcd", [address], Credentials(user="root", password="secret"))
    assert asked.count_keys("nothing/") == 0
    asked.close()


def token_of(address: str, who: Credentials) -> str:
    request = messages.AuthenticateRequest(name=who.user, password=who.password)
    return str(unary(address, methods.AUTHENTICATE, request).token)


@given(st.binary(min_size=0, max_size=6), st.binary(max_size=6), st.binary(max_size=8))
@settings(deadline=None)
def test_prefix_end_parts_what_begins_with_the_prefix(prefix: bytes, tail: bytes, other: bytes) -> None:
    end = prefix_end(prefix)

    def inside(key: bytes) -> bool:
        return key >= prefix and (end == b"\x00" or key < end)

    assert inside(prefix + tail)
    assert inside(other) == other.startswith(prefix)
