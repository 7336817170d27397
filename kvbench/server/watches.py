"""Watch streams, which this version refuses."""

from typing import Any

from kvbench.jit import kernel
from kvbench.ops.status import StoreError
from kvbench.server import grpc_answers, refusals

UNIMPLEMENTED = int(StoreError.UNIMPLEMENTED)


@kernel
def request(server: Any, end: Any, store: Any, number: int, at: int, stop: int) -> None:
    """A request on a Watch stream."""
    grpc_answers.fail_store(end, number, UNIMPLEMENTED)


@kernel
def refuse(end: Any, number: int, refusal: int) -> None:
    """End a stream with a Refusal."""
    size = refusals.write_refusal(end.state[0]["text"], refusal)
    grpc_answers.fail(end, number, refusals.status_of(refusal), size)


@kernel
def forget(server: Any, end: Any, store: Any, number: int) -> None:
    """A stream is over."""
    end.calls[number]["tag"] = -1


@kernel
def serve_pending(server: Any, end: Any, store: Any, most: int) -> int:
    """Give watchers that have something their turn. Returns 1 when there may be more, else 0."""
    return 0


@kernel
def serve_writable(server: Any, end: Any, store: Any, number: int) -> None:
    """Nothing is owed a stream any more."""


@kernel
def notify_progress(server: Any, end: Any, store: Any) -> None:
    """Tell idle watchers how far the store is."""
