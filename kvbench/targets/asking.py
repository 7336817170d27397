"""Asking a server over the network how it is: HTTP for etcd, four-letter words for ZooKeeper.

Every question has a time-out: a stopped process accepts connections and never answers.
"""

import http.client
import json
import re
import socket
import ssl
import time
from typing import Any

TIMEOUT_S = 1.0

# Counters of all methods and codes and the histograms' buckets are thousands of lines; what is kept of the buckets
# are the two disk histograms that explain slow writes.
_KEPT_BUCKETS = ("etcd_disk_wal_fsync_duration_seconds_bucket", "etcd_disk_backend_commit_duration_seconds_bucket")
_SAMPLE = re.compile(r"^([A-Za-z_:][\w:]*(?:\{.*\})?)\s+(\S+)(?:\s+-?\d+)?$")


def split_address(address: str) -> tuple[str, int]:
    """ "host:port" or "[::1]:port" as (host, port)."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def http_get(address: str, path: str, tls: ssl.SSLContext | None = None, body: bytes | None = None) -> str | None:
    """The text of ``http(s)://address/path``, POSTed when there is a body; None unless it is answered with 200.

    Proxies of the environment are not used.
    """
    host, port = split_address(address)
    connection: http.client.HTTPConnection
    if tls is None:
        connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    else:
        connection = http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=tls)
    try:
        connection.request("GET" if body is None else "POST", path, body=body)
        answer = connection.getresponse()
        text = answer.read().decode("utf-8", "replace")
        return text if answer.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def http_get_json(address: str, path: str, tls: ssl.SSLContext | None = None, body: bytes | None = None) -> Any:
    """As http_get, parsed as JSON; None when it is not."""
    text = http_get(address, path, tls, body)
    try:
        return None if text is None else json.loads(text)
    except ValueError:
        return None


def why_no_answer(address: str, tls: ssl.SSLContext | None = None) -> str:
    """What is wrong with ``address``, in words: whether it can be connected to, and whether TLS can be agreed on."""
    host, port = split_address(address)
    try:
        with socket.create_connection((host, port), timeout=TIMEOUT_S) as connection:
            if tls is not None:
                with tls.wrap_socket(connection, server_hostname=host):
                    pass
    except ssl.SSLCertVerificationError as error:
        return f"its certificate is not accepted: {error.verify_message.rstrip('.')}"
    except ssl.SSLError as error:
        return f"TLS cannot be agreed on: {(error.reason or 'no reason given').lower().replace('_', ' ')}"
    except TimeoutError:
        return f"nothing within {TIMEOUT_S:g} s"
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return "it takes the connection, but says nothing that can be understood"


def four_letter_word(address: str, word: str) -> str | None:
    """ZooKeeper's answer to ``srvr``, ``mntr`` and the like; None when it does not answer or allow the word."""
    deadline = time.monotonic() + TIMEOUT_S
    chunks: list[bytes] = []
    try:
        with socket.create_connection(split_address(address), timeout=TIMEOUT_S) as connection:
            connection.sendall(word.encode())
            while True:
                connection.settimeout(max(deadline - time.monotonic(), 0.001))
                chunk = connection.recv(65_536)
                if not chunk:
                    break
                chunks.append(chunk)
    except OSError:
        return None
    text = b"".join(chunks).decode("utf-8", "replace")
    return None if not text or "is not in the whitelist" in text else text


def parse_metrics(text: str) -> dict[str, float]:
    """Prometheus' text format as {"name{labels}": value}.

    Left out: histogram buckets but those of etcd's two disk histograms, counters of gRPC calls that never
    happened (etcd lists every method with every code), and values that are no numbers.
    """
    found: dict[str, float] = {}
    for line in text.splitlines():
        sample = None if line.startswith("#") else _SAMPLE.match(line)
        if sample is None:
            continue
        name, number = sample.groups()
        if "_bucket{" in name and not name.startswith(_KEPT_BUCKETS):
            continue
        try:
            value = float(number)
        except ValueError:
            continue
        if value != value or (value == 0.0 and name.startswith("grpc_server_")):
            continue
        found[name] = value
    return found


def parse_mntr(text: str) -> dict[str, float]:
    """ZooKeeper's ``mntr`` as {"zk_name": value}; what is no number (version, state) is left out."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        name, _, number = line.partition("\t")
        try:
            found[name.strip()] = float(number)
        except ValueError:
            continue
    return {name: value for name, value in found.items() if value == value}
