"""Requests that change nothing, answered from the state as it is."""

from typing import Any

from kvbench.jit import kernel
from kvbench.store import queries


@kernel
def read(store: Any, method: int, buf: Any, at: int, end: int, out: Any, to: int, limit: int) -> int:
    """Answer the RangeRequest ``buf[at:end]``. Returns the bytes of its response, a StoreError or NO_ROOM."""
    code = queries.read_query(store, buf, at, end)
    if code == 0:
        code = queries.run(store, buf)
    if code < 0:
        return code
    code = queries.write_response(store, out, to, limit, False)
    return code if code < 0 else code - to
