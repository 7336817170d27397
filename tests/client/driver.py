"""Pumps a protocol's client over real sockets: connect, submit, receive. Knows no protocol.

``client`` is a protocol's module with the six kernels of ARCHITECTURE.md, ``state`` its state. The loop is plain
Python and slow; it exists to see a client talk to real servers.
"""

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kvbench.net import table
from kvbench.net.records import CONNECTING, OPEN
from kvbench.ops.kinds import Kind
from kvbench.ops.records import OPERATION, OUTCOME
from kvbench.rt import libc

PATIENCE_S = 120.0
"""Longer than compiling the client takes beside other tests; reached only when something hangs."""


class Broken(Exception):
    """The client gave a connection up, with its negative code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the client broke the connection with code {code}")
        self.code = code


@dataclass
class Driver:
    """One client with its connections."""

    client: Any
    state: Any
    addresses: list[tuple[str, int]]
    connections: int = 1
    outcomes_max: int = 64
    rx_bytes: int = 65536
    tx_bytes: int = 65536
    ticks: bool = False
    """Whether every step calls the client's tick."""
    net: Any = field(init=False)
    outcomes: list[Any] = field(default_factory=list)
    """Every outcome so far, as copies of the OUTCOME record."""

    def __post_init__(self) -> None:
        self.net = table.new_net(self.connections, self.addresses, self.rx_bytes, self.tx_bytes)
        self._batch = np.zeros(self.outcomes_max, OUTCOME)
        if table.open_epoll(self.net) < 0:
            raise OSError("epoll_create1 failed")

    def close(self) -> None:
        """Close all descriptors."""
        table.close_all(self.net)

    def __enter__(self) -> "Driver":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def connect(self, timeout_s: float = PATIENCE_S) -> "Driver":
        """Connect every connection and wait until the protocol's greeting is answered."""
        for connection in range(self.connections):
            if self.net.connections["state"][connection] == 0:
                table.start_connect(self.net, connection, time.monotonic_ns())
        self.pump_until(lambda: bool((self.net.connections["ready"] == 1).all()), timeout_s)
        return self

    def submit(
        self, operations: Any, payload: Any, slot: int = 0, connection: int = 0, timeout_s: float = PATIENCE_S
    ) -> int:
        """Submit until it is not blocked any more. Returns what the client says: 1 or -ErrorCode."""
        deadline = time.monotonic() + timeout_s
        while True:
            now = time.monotonic_ns()
            code = self.client.submit(self.state, self.net, connection, slot, operations, len(operations), payload, now)
            if code != 0:
                return int(code)
            if time.monotonic() > deadline:
                raise TimeoutError("submit stays blocked")
            self.step()

    def call(self, operations: Any, payload: Any, slot: int = 0, connection: int = 0) -> Any:
        """Submit one operation, wait for its outcome, follow its steps. Returns the last outcome."""
        while True:
            before = len(self.outcomes)
            code = self.submit(operations, payload, slot, connection)
            if code < 0:
                raise ValueError(f"refused with error code {-code}")
            self.pump_until(lambda: any(o["slot"] == slot for o in self.outcomes[before:]))  # noqa: B023
            outcome = next(o for o in self.outcomes[before:] if o["slot"] == slot)
            if outcome["next_step"] == 0:
                return outcome
            operations["step"][0] = outcome["next_step"]
            operations["expected"][0] = outcome["revision"]

    def pump_until(self, done: Any, timeout_s: float = PATIENCE_S) -> None:
        """Move bytes until ``done()``; raises TimeoutError."""
        deadline = time.monotonic() + timeout_s
        while not done():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not done within {timeout_s} s; outcomes so far: {self.outcomes[-5:]}")
            self.step()

    def step(self, timeout_ns: int = 2_000_000) -> None:
        """Flush, wait for events once, read, let the client decode."""
        self.flush()
        happened = table.wait(self.net, timeout_ns)
        now = time.monotonic_ns()
        touched = {c for c in range(self.connections) if self.net.connections["more"][c] == 1}
        for event in range(max(happened, 0)):
            connection = int(table.event_tag(self.net, event))
            state = self.net.connections["state"][connection]
            if state == CONNECTING:
                if table.finish_connect(self.net, connection, now) == OPEN:
                    code = self.client.opened(self.state, self.net, connection, now)
                    if code < 0:
                        raise Broken(code)
                continue
            if state != OPEN:
                continue
            if table.event_mask(self.net, event) & libc.EPOLLOUT:
                table.flush(self.net, connection, now)
            result = table.read(self.net, connection, now)
            touched.add(connection)
            if result == table.READ_CLOSED:
                self.receive(connection, now)
                self.lose(connection)
                touched.discard(connection)
        for connection in touched:
            if self.net.connections["state"][connection] == OPEN:
                self.receive(connection, now)
        if self.ticks:
            self.tick(now)
        self.flush()

    def tick(self, now: int) -> None:
        """Have every connection do what it does from time to time."""
        for connection in range(self.connections):
            if self.net.connections["state"][connection] == OPEN:
                code = self.client.tick(self.state, self.net, connection, now)
                if code < 0:
                    self.lose(connection)
                    raise Broken(int(code))

    def receive(self, connection: int, now: int) -> None:
        """One call of the client's receive."""
        count = self.client.receive(self.state, self.net, connection, now, self._batch, 0)
        if count < 0:
            self.lose(connection)
            raise Broken(int(count))
        self.outcomes += [self._batch[i].copy() for i in range(count)]

    def lose(self, connection: int) -> None:
        """Disconnect and collect what the client says of the requests that were on it."""
        while True:
            count = self.client.lost(self.state, self.net, connection, self._batch, 0)
            self.outcomes += [self._batch[i].copy() for i in range(count)]
            if self.net.connections["more"][connection] == 0:
                break
        table.disconnect(self.net, connection)

    def flush(self) -> None:
        """Send what was written."""
        now = time.monotonic_ns()
        for i in range(1, int(self.net.dirty[0]) + 1):
            connection = int(self.net.dirty[i])
            self.net.connections["dirty"][connection] = 0
            if self.net.connections["state"][connection] == OPEN:
                table.flush(self.net, connection, now)
        self.net.dirty[0] = 0


def operation(kind: Kind, key: bytes = b"", value: bytes = b"", end: bytes = b"", **more: int) -> tuple[Any, Any]:
    """(OPERATION[1], payload) of one operation; ``more`` sets further fields."""
    return operations((kind, key, value, end), **more)


def operations(*parts: tuple[Kind, bytes, bytes, bytes], **more: int) -> tuple[Any, Any]:
    """(OPERATION[n], payload): the first, with ``more`` set, and its members."""
    records = np.zeros(len(parts), OPERATION)
    text = b""
    for i, (kind, key, value, end) in enumerate(parts):
        record = records[i]
        record["kind"] = kind
        record["parent"] = -1 if i == 0 else 0
        for name, content in (("key", key), ("value", value), ("end", end)):
            record[f"{name}_at"] = len(text)
            record[f"{name}_bytes"] = len(content)
            text += content
    for name, number in more.items():
        records[name][0] = number
    return records, np.frombuffer(text or b"\0", np.uint8).copy()
