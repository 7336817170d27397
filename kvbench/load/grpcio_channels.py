"""gRPC channels to etcd: TLS, options, and what a failure means in words. Shared by the engine and the rare calls."""

import os
import ssl
from collections.abc import Sequence
from typing import Any

import grpc

from kvbench.load.credentials import Credentials

# gRPC's core writes what goes wrong to standard error; it comes out of here as an error with a remedy.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

OPTIONS: tuple[tuple[str, int], ...] = (
    # Else channels to one address share one connection.
    ("grpc.use_local_subchannel_pool", 1),
    # A retry that the result does not show would be a lie.
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 10),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


class CredentialsError(Exception):
    """A certificate, key or user that cannot be used: names the file and why."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what, remedy)
        self.what = what
        self.remedy = remedy

    def __str__(self) -> str:
        return self.what


def _read(path: str, role: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise CredentialsError(
            f"cannot read the {role} {path}: {error.strerror}", f"name a PEM file that this user can read ({role})"
        ) from error


def _check_authority(path: str) -> None:
    try:
        ssl.create_default_context(cafile=path)
    except (ssl.SSLError, OSError) as error:
        raise CredentialsError(
            f"{path} holds no certificate of an authority: {_reason(error)}",
            "name the PEM file of the authority that signed the servers' certificates",
        ) from error


def _check_pair(cert: str, key: str) -> None:
    try:
        # An empty password, so that OpenSSL never asks for one on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(cert, key, password="")
    except (ssl.SSLError, OSError, ValueError) as error:
        raise CredentialsError(
            f"the client certificate {cert} and the key {key} cannot be used together: {_reason(error)}",
            "name the PEM files of a certificate and of its own private key, without a passphrase",
        ) from error


def _reason(error: Exception) -> str:
    """An error of OpenSSL in words."""
    reason = getattr(error, "reason", None)
    if not reason:
        return str(error).partition(" (_ssl")[0] or type(error).__name__
    return str(reason).lower().replace("_", " ")


def tls_credentials(credentials: Credentials) -> grpc.ChannelCredentials | None:
    """What a secure channel needs, None for plain text. Raises CredentialsError naming the file and why."""
    if not credentials.uses_tls:
        return None
    if bool(credentials.cert) != bool(credentials.key):
        given, missing = ("certificate", "key") if credentials.cert else ("key", "certificate")
        raise CredentialsError(
            f"a client {given} is given without its {missing}", "give both files, or neither of them"
        )
    authority = certificate = key = None
    if credentials.ca:
        authority = _read(credentials.ca, "authority's certificate")
        _check_authority(credentials.ca)
    if credentials.cert:
        certificate = _read(credentials.cert, "client certificate")
        key = _read(credentials.key, "client key")
        _check_pair(credentials.cert, credentials.key)
    return grpc.ssl_channel_credentials(authority, key, certificate)


def open_channel(address: str, tls: grpc.ChannelCredentials | None) -> grpc.Channel:
    """A blocking channel with a connection of its own; connects when first used."""
    if tls is None:
        return grpc.insecure_channel(address, options=OPTIONS)
    return grpc.secure_channel(address, tls, options=OPTIONS)


def open_async_channel(address: str, tls: grpc.ChannelCredentials | None) -> Any:
    """A grpc.aio channel with a connection of its own; connects when first used."""
    import grpc.aio

    if tls is None:
        return grpc.aio.insecure_channel(address, options=OPTIONS)
    return grpc.aio.secure_channel(address, tls, options=OPTIONS)


_NO_TLS = "leave the TLS files out, or start the server with TLS"
_WITH_TLS = "give the file of the authority that signed the server's certificate (tls_ca)"
_MEANINGS: tuple[tuple[str, str, str], ...] = (
    (
        "certificate_verify_failed",
        "its certificate is not signed by the authority given, or is not for this host name",
        "give the authority that signed it (tls_ca) and an address that the certificate names",
    ),
    (
        "tsi_data_corrupted",
        "it refuses this client: it asks for another client certificate, or for one at all",
        "give a client certificate that the server's authority signed, and its key (tls_cert, tls_key)",
    ),
    ("wrong_version_number", "it does not speak TLS", _NO_TLS),
    ("connection refused", "nothing listens there", "start the server, or mend the address"),
    (
        "certificate_required",
        "it asks for a client certificate",
        "give a client certificate and its key (tls_cert, tls_key)",
    ),
    (
        "tlsv1_alert",
        "it refuses the client's certificate",
        "give a client certificate that the server's authority signed (tls_cert, tls_key)",
    ),
    ("authentication failed", "the user or the password is wrong", "mend user and password"),
    ("user name is empty", "it asks for a user and a password", "give user and password"),
    ("permission denied", "the user may not do this", "grant the user a role for kvbench's prefix"),
    ("invalid auth token", "it does not accept the session's token", "run it again"),
    ("domain name not found", "the host name is not known", "mend the address"),
    ("dns resolution failed", "the host name is not known", "mend the address"),
    ("no route to host", "there is no way to that host", "mend the address or the network"),
)
_CLOSED = ("socket closed", "connection reset", "broken pipe", "endpoint closing")


def explain(error: Any, addresses: Sequence[str], doing: str, uses_tls: bool) -> tuple[str, str]:
    """What a grpc.RpcError means and how to mend it, in one sentence each."""
    where = ", ".join(addresses)
    details = str(error.details() or "")
    lowered = details.lower()
    for sign, meaning, remedy in _MEANINGS:
        if sign in lowered:
            return f"{doing} at {where}: {meaning}", remedy
    if any(sign in lowered for sign in _CLOSED):
        if uses_tls:
            return f"{doing} at {where}: it closes the connection, as servers do that do not speak TLS", _NO_TLS
        return f"{doing} at {where}: it closes the connection, as servers do that want TLS", _WITH_TLS
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"{doing} at {where}: no answer in time", "see whether the server is up and has a leader"
    name = error.code().name
    return f"{doing} at {where}: {name}: {details}", "see the server's log"
