"""Real servers of ``kvbench serve`` for tests: started, asked as a well-behaved client would, and ended."""

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc

from kvbench import jit
from kvbench.targets.asking import http_get, parse_metrics
from kvbench.targets.ports import free_ports
from kvbench.wire.proto import messages, methods

START_S = 300.0
PATIENCE_S = 20.0


class Serve:
    """A process of ``kvbench serve`` with these options."""

    def __init__(self, *options: str, log: Path, **how: Any) -> None:
        self.log = log
        with open(log, "wb") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "kvbench", "serve", *options],
                cwd=jit.PACKAGE_ROOT.parent, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said, **how,
            )  # fmt: skip

    def ready(self) -> list[str]:
        """Wait for the line that says that it serves: the addresses in it. Raises AssertionError with its log."""
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], START_S)
        words = self.process.stdout.readline().decode().split() if readable else []
        assert words[:1] == ["ready"], self.said()
        return str(words[1]).split(",")

    def said(self) -> str:
        """What it wrote to standard error."""
        return self.log.read_text()

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send it a signal; its exit code."""
        self.process.send_signal(number)
        return self.code()

    def code(self) -> int:
        """Wait until it ends."""
        assert self.process.stdout is not None
        try:
            return self.process.wait(START_S)
        finally:
            self.process.stdout.close()

    def resident_bytes(self) -> int:
        """Its memory now."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def close(self) -> None:
        """Kill it, if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.code()


@contextlib.contextmanager
def serving(folder: Path, *options: str, **how: Any) -> Iterator[tuple[Serve, "Client"]]:
    """A ready server of one member on a free port, its data in ``folder / "data"``, and a client."""
    address = f"127.0.0.1:{free_ports(1)[0]}"
    folder.mkdir(parents=True, exist_ok=True)
    server = Serve(f"--data-dir={folder / 'data'}", f"--listen={address}", *options, log=folder / "log", **how)
    try:
        server.ready()
        with Client(address) as client:
            yield server, client
    finally:
        server.close()


class Client:
    """A well-behaved client: a channel of grpcio's."""

    def __init__(self, address: str) -> None:
        self.address = address
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 100)]
        self._channel = grpc.insecure_channel(address, options=options)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *what: object) -> None:
        self._channel.close()

    def call(self, method: methods.Method, request: Any, timeout_s: float = PATIENCE_S) -> Any:
        """A unary call. Raises grpc.RpcError."""
        call = self._channel.unary_unary(method.path, method.request.SerializeToString, method.response.FromString)
        return call(request, timeout=timeout_s, wait_for_ready=True)

    def put(self, key: bytes, value: bytes) -> int:
        """The revision."""
        return int(self.call(methods.PUT, messages.PutRequest(key=key, value=value)).header.revision)

    def get(self, key: bytes) -> bytes:
        """The value; b"" when there is none."""
        found = self.call(methods.RANGE, messages.RangeRequest(key=key)).kvs
        return bytes(found[0].value) if found else b""

    def refusal(self, method: methods.Method, request: Any) -> tuple[str, str]:
        """(code, text) of a call that has to be refused."""
        try:
            self.call(method, request)
        except grpc.RpcError as error:
            return str(error.code().name), str(error.details())
        raise AssertionError("it was not refused")

    def metrics(self) -> dict[str, float]:
        """What /metrics says."""
        return parse_metrics(until(lambda: http_get(self.address, "/metrics")))

    def connect(self) -> socket.socket:
        """A raw connection to the same server."""
        host, _, port = self.address.rpartition(":")
        connection = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


def three_ports() -> int:
    """The first of three free ports in a row."""
    while True:
        first = free_ports(1)[0]
        try:
            for port in range(first, first + 3):
                socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return first


def until(condition: Any, patience_s: float = PATIENCE_S) -> Any:
    """What ``condition`` gives, once that is true."""
    deadline = time.monotonic() + patience_s
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert found
    return found
