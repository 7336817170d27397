"""What each operation is on etcd's wire, over one gRPC channel: a step's bytes in, its outcome out."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import grpc
import grpc.aio

from kvbench.ops.errors import ErrorCode
from kvbench.ops.kinds import Kind
from kvbench.ops.records import OPERATION
from kvbench.wire.proto import messages, methods
from kvbench.wire.proto.methods import Method

_FIELDS = {name: position for position, name in enumerate(OPERATION.names or ())}
KIND, STEP, EXPECTED = _FIELDS["kind"], _FIELDS["step"], _FIELDS["expected"]
KEY_AT, KEY_BYTES = _FIELDS["key_at"], _FIELDS["key_bytes"]
END_AT, END_BYTES = _FIELDS["end_at"], _FIELDS["end_bytes"]
VALUE_AT, VALUE_BYTES = _FIELDS["value_at"], _FIELDS["value_bytes"]
LEASE_ID, LIMIT, TTL_S = _FIELDS["lease_id"], _FIELDS["limit"], _FIELDS["ttl_s"]

EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined]
READY = grpc.ChannelConnectivity.READY


class Outcome(NamedTuple):
    """How a step ended."""

    code: int
    """ops.errors.ErrorCode"""
    revision: int = 0
    """CAS and READ_MODIFY_WRITE: the key's mod revision, 0: there is no such key."""
    lease_id: int = 0
    keys: int = 1
    """Keys found, written or deleted."""
    next_step: int = 0
    """Not 0: the operation needs this step too."""
    text: str = ""
    """What the server, or the channel, said of a failure."""


class StaleTokenError(Exception):
    """The server wants another token than the one given."""


Request = tuple[Kind, Any]
"""What ``prepare`` made of a step: its kind and etcd's message."""


def prepare(rows: Any, count: int, payload: Any) -> Request:
    """etcd's request of the step in OPERATION[count]; keys and values are copied out of ``payload``."""
    row = rows[0].item()
    kind = Kind(row[KIND])
    if kind is Kind.TXN:
        writes = [_put_op(rows[member].item(), payload) for member in range(1, count)]
        return kind, messages.TxnRequest(success=writes)
    if kind is Kind.LEASE_GRANT:
        return kind, messages.LeaseGrantRequest(TTL=row[TTL_S])
    if kind is Kind.LEASE_KEEP_ALIVE:
        return kind, messages.LeaseKeepAliveRequest(ID=row[LEASE_ID])
    if kind is Kind.LEASE_REVOKE:
        return kind, messages.LeaseRevokeRequest(ID=row[LEASE_ID])
    key = payload[row[KEY_AT] : row[KEY_AT] + row[KEY_BYTES]].tobytes()
    if kind is Kind.RANGE:
        end = payload[row[END_AT] : row[END_AT] + row[END_BYTES]].tobytes()
        return kind, messages.RangeRequest(key=key, range_end=end, limit=row[LIMIT])
    if kind is Kind.DELETE:
        return kind, messages.DeleteRangeRequest(key=key)
    if kind in (Kind.GET, Kind.GET_SERIALIZABLE) or (kind in (Kind.CAS, Kind.READ_MODIFY_WRITE) and row[STEP] == 0):
        return kind, messages.RangeRequest(key=key, serializable=kind is Kind.GET_SERIALIZABLE)
    value = payload[row[VALUE_AT] : row[VALUE_AT] + row[VALUE_BYTES]].tobytes()
    put = messages.PutRequest(key=key, value=value)
    if kind is not Kind.CAS:
        return kind, put
    unchanged = messages.Compare(target=messages.Compare.MOD, key=key, mod_revision=row[EXPECTED])
    return kind, messages.TxnRequest(compare=[unchanged], success=[messages.RequestOp(request_put=put)])


def _put_op(row: Any, payload: Any) -> Any:
    key = payload[row[KEY_AT] : row[KEY_AT] + row[KEY_BYTES]].tobytes()
    value = payload[row[VALUE_AT] : row[VALUE_AT] + row[VALUE_BYTES]].tobytes()
    return messages.RequestOp(request_put=messages.PutRequest(key=key, value=value))


def outcome_of(kind: Kind, answer: Any) -> Outcome:
    """What an answer says of the operation."""
    if isinstance(answer, messages.RangeResponse):
        revision = answer.kvs[0].mod_revision if answer.kvs else 0
        next_step = 1 if kind in (Kind.CAS, Kind.READ_MODIFY_WRITE) else 0
        return Outcome(ErrorCode.OK, revision=revision, keys=len(answer.kvs), next_step=next_step)
    if isinstance(answer, messages.DeleteRangeResponse):
        return Outcome(ErrorCode.OK, keys=answer.deleted)
    if isinstance(answer, messages.TxnResponse) and not answer.succeeded:
        return Outcome(ErrorCode.COMPARE_FAILED)
    if isinstance(answer, messages.LeaseGrantResponse):
        return Outcome(ErrorCode.OK, lease_id=answer.ID)
    if isinstance(answer, messages.LeaseKeepAliveResponse) and answer.TTL <= 0:
        return Outcome(ErrorCode.LEASE_EXPIRED)
    return Outcome(ErrorCode.OK)


def code_of(error: Any, was_ready: bool, is_ready: bool) -> int:
    """The ErrorCode of a failed call. ``was_ready``, ``is_ready``: the channel's connection at send and now.

    Raises StaleTokenError when another token may mend it.
    """
    status, details = error.code(), str(error.details() or "")
    if status is grpc.StatusCode.UNAUTHENTICATED or "revision of auth store is old" in details:
        raise StaleTokenError(details)
    if status is grpc.StatusCode.DEADLINE_EXCEEDED:
        # A call waits for the connection and fails as soon as one that carries it breaks; so a call whose channel
        # was down at both ends of its time was never sent.
        return ErrorCode.TIMEOUT if was_ready or is_ready else ErrorCode.NOT_CONNECTED
    if status is grpc.StatusCode.UNAVAILABLE and "etcdserver" not in details:
        return ErrorCode.CONNECTION_LOST
    return int(status.value[0])


LOST_REASON = "Internal error from Core"
"""What grpc.aio says when it wrote to a stream that the server had just ended: the server's own reason is lost."""
LOST_PAUSE_S = 0.005


class KeepAlives:
    """LeaseKeepAlive over one stream of a channel: answers come in the order of the requests."""

    def __init__(self, open_stream: Callable[[], Any]) -> None:
        self._open_stream = open_stream
        self._stream: Any = None
        self._reader: asyncio.Task[None] | None = None
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._turn = asyncio.Lock()

    async def ask(self, request: Any, timeout_s: float) -> Any:
        """The answer to one keep-alive. Raises TimeoutError, or what the stream raised."""
        async with asyncio.timeout(timeout_s):
            while True:
                try:
                    return await self._ask_once(request)
                except grpc.RpcError as error:
                    if error.details() != LOST_REASON:
                        raise
                # A new stream is told the reason again, unless that is lost too; a keep-alive may be sent twice.
                await asyncio.sleep(LOST_PAUSE_S)

    async def _ask_once(self, request: Any) -> Any:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        async with self._turn:
            if self._stream is None:
                self._stream = self._open_stream()
                self._reader = asyncio.create_task(self._read(self._stream))
            self._waiting.append(answer)
            # When the stream is over, its reader tells this request too, with the reason.
            with contextlib.suppress(asyncio.InvalidStateError, grpc.RpcError):
                await self._stream.write(request)
        return await answer

    async def _read(self, stream: Any) -> None:
        failure: BaseException
        try:
            while True:
                answer = await stream.read()
                if answer is EOF:
                    # Reading the status raises when the stream ended with an error.
                    failure = ConnectionResetError(str(await stream.details()))
                    break
                future = self._waiting.popleft()
                if not future.done():
                    future.set_result(answer)
        except (grpc.RpcError, asyncio.CancelledError) as error:
            failure = error
        self._stream = None
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_exception(failure if isinstance(failure, Exception) else ConnectionResetError("closed"))

    def close(self) -> None:
        """End the stream."""
        if self._reader is not None:
            self._reader.cancel()
        if self._stream is not None:
            self._stream.cancel()


_UNARY: dict[str, Method] = {
    "RangeRequest": methods.RANGE,
    "PutRequest": methods.PUT,
    "DeleteRangeRequest": methods.DELETE_RANGE,
    "TxnRequest": methods.TXN,
    "LeaseGrantRequest": methods.LEASE_GRANT,
    "LeaseRevokeRequest": methods.LEASE_REVOKE,
    "AuthenticateRequest": methods.AUTHENTICATE,
}


class Connection:
    """One channel, which has one connection, and its callables."""

    def __init__(self, channel: Any, address: str) -> None:
        self.channel = channel
        self.address = address
        self.times_ready = 0
        self.is_ready = False
        self.metadata: tuple[tuple[str, str], ...] | None = None
        self._unary = {
            name: channel.unary_unary(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )
            for name, method in _UNARY.items()
        }
        self._keep_alives = KeepAlives(lambda: self.open_stream(methods.LEASE_KEEP_ALIVE))

    def open_stream(self, method: Method) -> Any:
        """A new call of a method that streams both ways."""
        call = self.channel.stream_stream(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        return call(metadata=self.metadata, wait_for_ready=True)

    def call(self, request: Any, timeout_s: float) -> Awaitable[Any]:
        """One unary call; waits for the connection within ``timeout_s``."""
        stub = self._unary[type(request).__name__]
        answer: Awaitable[Any] = stub(request, timeout=timeout_s, metadata=self.metadata, wait_for_ready=True)
        return answer

    async def step(self, request: Request, timeout_s: float) -> Outcome:
        """Carry out one step. Raises StaleTokenError when another token may mend it."""
        kind, message = request
        was_ready = self.is_ready
        try:
            if kind is Kind.LEASE_KEEP_ALIVE:
                answer = await self._keep_alives.ask(message, timeout_s)
            else:
                answer = await self.call(message, timeout_s)
        except grpc.RpcError as error:
            return Outcome(code_of(error, was_ready, self._ready_now()), text=str(error.details() or ""))
        except TimeoutError:
            return Outcome(ErrorCode.TIMEOUT if was_ready or self._ready_now() else ErrorCode.NOT_CONNECTED)
        except ConnectionError:
            return Outcome(ErrorCode.CONNECTION_LOST)
        return outcome_of(kind, answer)

    def _ready_now(self) -> bool:
        return bool(self.channel.get_state() is READY)

    async def watch_state(self) -> None:
        """Keep the channel connected and ``is_ready`` true to it, until cancelled."""
        while True:
            state = self.channel.get_state(try_to_connect=True)
            if state is READY and not self.is_ready:
                self.times_ready += 1
            self.is_ready = state is READY
            await self.channel.wait_for_state_change(state)

    async def close(self) -> None:
        """Close the channel."""
        self._keep_alives.close()
        await self.channel.close()
