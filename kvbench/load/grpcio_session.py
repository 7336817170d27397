"""The connections of one worker process: opened, kept up, logged in, watched over."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc

from kvbench.load.credentials import Credentials
from kvbench.load.grpcio_calls import EOF, Connection
from kvbench.load.grpcio_channels import explain, open_async_channel, tls_credentials
from kvbench.load.plan import Plan
from kvbench.load.protocol import EngineError
from kvbench.wire.proto import messages, methods

STAMP_BYTES = 8
REWATCH_S = 0.1


class Session:
    """Load connections and watch connections of a share, and one login for all of them."""

    def __init__(self, plan: Plan, credentials: Credentials, addresses: Sequence[str], first: int) -> None:
        """``first``: which address the first connection goes to; the others follow in turn."""
        self._plan = plan
        self._credentials = credentials
        self._addresses = list(addresses)
        self._first = first
        self._tls = tls_credentials(credentials)
        self._tasks: list[asyncio.Task[None]] = []
        self._login = asyncio.Lock()
        self.token = ""
        self.connections: list[Connection] = []
        self.watch_connections: list[Connection] = []
        self.standing = 0
        self.on_event: Callable[[int, int], None] | None = None
        """Called with (send time in the value, time of arrival) for every put that a watch reports."""

    def _open(self, number: int) -> Connection:
        address = self._addresses[(self._first + number) % len(self._addresses)]
        connection = Connection(open_async_channel(address, self._tls), address)
        self._tasks.append(asyncio.create_task(connection.watch_state()))
        return connection

    async def open(self, load: int, watching: int, watches: Sequence[bytes]) -> None:
        """Make connections for load and for watches, log in, set a watch on each of the keys.

        Raises EngineError after the plan's time-out.
        """
        self.connections = [self._open(number) for number in range(load)]
        self.watch_connections = [self._open(load + number) for number in range(watching)]
        deadline_ns = time.monotonic_ns() + round(self._plan.timeout_s * 1e9)
        await self._until(lambda: self.connected == load + watching, deadline_ns)
        if self.connected < load + watching:
            down = sorted({each.address for each in self.all_connections if not each.is_ready})
            raise EngineError(
                f"only {self.connected} of {load + watching} connections were ready after "
                f"{self._plan.timeout_s:g} s; not all to {', '.join(down)}"
            )
        await self.log_in(self.token)
        for number, connection in enumerate(self.watch_connections):
            keys = watches[number::watching]
            self._tasks.append(asyncio.create_task(self._watch(connection, keys)))
        await self._until(lambda: self.standing == len(watches), deadline_ns)
        if self.standing < len(watches):
            raise EngineError(f"only {self.standing} of {len(watches)} watches stood after {self._plan.timeout_s:g} s")

    @property
    def all_connections(self) -> list[Connection]:
        """Those of the load, then the watchers'."""
        return self.connections + self.watch_connections

    @property
    def connected(self) -> int:
        """Connections that are up now."""
        return sum(connection.is_ready for connection in self.all_connections)

    @property
    def reconnects(self) -> int:
        """Connections that came up again, so far."""
        return sum(max(0, connection.times_ready - 1) for connection in self.all_connections)

    async def _until(self, condition: Callable[[], bool], deadline_ns: int) -> None:
        while not condition() and time.monotonic_ns() < deadline_ns:
            await asyncio.sleep(0.005)

    async def log_in(self, stale: str) -> None:
        """Get a token unless another task has replaced ``stale`` already. Raises EngineError when refused."""
        if not self._credentials.user:
            return
        async with self._login:
            if self.token != stale:
                return
            request = messages.AuthenticateRequest(name=self._credentials.user, password=self._credentials.password)
            try:
                answer = await self.connections[0].call(request, self._plan.timeout_s)
            except grpc.RpcError as error:
                if "authentication is not enabled" in str(error.details()):
                    return
                what, remedy = explain(error, self._addresses, "logging in", self._credentials.uses_tls)
                raise EngineError(f"{what}; {remedy}") from error
            self.token = answer.token
            for connection in self.all_connections:
                connection.metadata = (("token", self.token),)

    async def _watch(self, connection: Connection, keys: Sequence[bytes]) -> None:
        """Watches on one connection: set again whenever their stream breaks."""
        while True:
            standing = 0
            stream = connection.open_stream(methods.WATCH)
            try:
                for key in keys:
                    await stream.write(messages.WatchRequest(create_request=messages.WatchCreateRequest(key=key)))
                while True:
                    answer = await stream.read()
                    if answer is EOF:
                        break
                    if answer.created and not answer.canceled:
                        standing += 1
                        self.standing += 1
                    if answer.canceled:
                        break
                    self._observe(answer)
            except (grpc.RpcError, asyncio.InvalidStateError):
                pass
            finally:
                self.standing -= standing
                stream.cancel()
            await asyncio.sleep(REWATCH_S)

    def _observe(self, answer: Any) -> None:
        now_ns = time.monotonic_ns()
        if self.on_event is None:
            return
        for event in answer.events:
            if event.type == messages.Event.PUT and len(event.kv.value) >= STAMP_BYTES:
                self.on_event(int.from_bytes(event.kv.value[:STAMP_BYTES], "little", signed=True), now_ns)

    async def close(self) -> None:
        """Close everything."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in self.all_connections:
            await connection.close()
