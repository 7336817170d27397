"""Requests that change nothing, answered from the state as it is."""

from typing import Any

from kvbench.jit import kernel
from kvbench.store import queries
from kvbench.store.execution import execute
from kvbench.wire import etcd_methods


@kernel
def read(store: Any, method: int, buf: Any, at: int, end: int, out: Any, to: int, limit: int) -> int:
    """Answer a RangeRequest, or a TxnRequest of nothing but ranges. Returns its response's bytes or a code.

    With NO_ROOM ``wanted_bytes`` says how much would do, 0 when that is not known.
    """
    store.state[0]["wanted_bytes"] = 0
    if method == etcd_methods.TXN:
        code = execute(store, buf, at, end, out, to, limit, True)
        store.state[0]["wanted_bytes"] = 0
        return code if code < 0 else code - to
    code = queries.read_query(store, buf, at, end)
    if code == 0:
        code = queries.run(store, buf)
    if code == 0:
        code = queries.write_response(store, out, to, limit, False)
    return code if code < 0 else code - to
