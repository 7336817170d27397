"""A store driven by protobuf messages, as entries of a log and as reads."""

from typing import Any

import numpy as np

from kvbench.ops import entries
from kvbench.ops.status import StoreError
from kvbench.store import apply, reads, requests
from kvbench.store.records import Store, StoreCode, new_store, set_identity
from kvbench.wire import etcd_methods
from kvbench.wire.proto import messages

OUT_BYTES = 1 << 16
CLUSTER, MEMBER, TERM = (1 << 63) + 7, 5, 3

KINDS: dict[type, tuple[int, Any]] = {
    messages.PutRequest: (entries.PUT, messages.PutResponse),
    messages.DeleteRangeRequest: (entries.DELETE_RANGE, messages.DeleteRangeResponse),
    messages.TxnRequest: (entries.TXN, messages.TxnResponse),
    messages.CompactionRequest: (entries.COMPACT, messages.CompactionResponse),
    messages.LeaseGrantRequest: (entries.LEASE_GRANT, messages.LeaseGrantResponse),
    messages.LeaseRevokeRequest: (entries.LEASE_REVOKE, messages.LeaseRevokeResponse),
    messages.AlarmRequest: (entries.ALARM, messages.AlarmResponse),
}
"""The entry that each request becomes, and what answers it."""


def code_of(number: int) -> StoreError | StoreCode:
    """A negative code as what it is."""
    return StoreError(number) if number in {int(error) for error in StoreError} else StoreCode(number)


class Refused(Exception):
    """A request was answered with ``code``."""

    def __init__(self, code: int) -> None:
        super().__init__(code_of(code).name)
        self.code = code_of(code)


def small_store() -> Store:
    """A store of test size."""
    store = new_store(arena_bytes=1 << 22, keys_max=1 << 12, leases_max=256, watchers_max=256, streams_max=64,
                      operations_max=1 << 12, seed=11)  # fmt: skip
    set_identity(store, CLUSTER, MEMBER)
    store.state["raft_term"] = TERM
    return store


class Driver:
    """One member's store."""

    def __init__(self, store: Store | None = None) -> None:
        self.store = store or small_store()
        self.out = np.zeros(OUT_BYTES + 64, np.uint8)
        self.index = 0

    @property
    def state(self) -> Any:
        return self.store.state[0]

    def entry(self, message: Any, lease_id: int = 0) -> np.ndarray:
        """The bytes of the entry that proposes ``message``, with something behind it that is not its."""
        data = message.SerializeToString()
        buf = np.full(entries.PREFIX_BYTES + len(data) + 8, 0xFF, np.uint8)
        at = entries.write_prefix(buf, 0, KINDS[type(message)][0], 0, 1, 2, 3, lease_id)
        buf[at : at + len(data)] = np.frombuffer(data, np.uint8)
        return buf

    def apply(self, message: Any, lease_id: int = 0, room: int = OUT_BYTES) -> Any:
        """Apply a request; its response. Raises Refused."""
        buf = self.entry(message, lease_id)
        self.index += 1
        self.out[:] = 0xEE
        size = apply.apply(self.store, self.index, buf, 0, len(buf) - 8, self.out, 0, room)
        if size < 0:
            raise Refused(int(size))
        return self.parse(KINDS[type(message)][1], int(size), room)

    def parse(self, kind: Any, size: int, room: int) -> Any:
        """The response that was written: byte for byte as protobuf writes it, and nothing beyond its room."""
        assert size <= room and (self.out[room:] == 0xEE).all()
        data = bytes(self.out[:size])
        response = kind.FromString(data)
        assert response.SerializeToString() == data
        return response

    def read(self, message: Any, room: int = OUT_BYTES) -> Any:
        """Answer a RangeRequest or a TxnRequest that only reads. Raises Refused."""
        is_range = isinstance(message, messages.RangeRequest)
        data = message.SerializeToString()
        buf = np.frombuffer(data + b"\xff" * 8, np.uint8).copy()
        self.out[:] = 0xEE
        method = etcd_methods.RANGE if is_range else etcd_methods.TXN
        size = reads.read(self.store, method, buf, 0, len(data), self.out, 0, room)
        if size < 0:
            raise Refused(int(size))
        return self.parse(messages.RangeResponse if is_range else messages.TxnResponse, int(size), room)


METHODS: dict[type, int] = {
    messages.RangeRequest: etcd_methods.RANGE,
    messages.PutRequest: etcd_methods.PUT,
    messages.DeleteRangeRequest: etcd_methods.DELETE_RANGE,
    messages.TxnRequest: etcd_methods.TXN,
    messages.CompactionRequest: etcd_methods.COMPACT,
    messages.LeaseGrantRequest: etcd_methods.LEASE_GRANT,
    messages.LeaseRevokeRequest: etcd_methods.LEASE_REVOKE,
    messages.AlarmRequest: etcd_methods.ALARM,
}


def check_request(driver: Driver, message: Any) -> None:
    """Raises Refused when a request is refused by its bytes alone."""
    data = message.SerializeToString()
    buf = np.frombuffer(data + b"\xff" * 8, np.uint8).copy()
    code = requests.check(driver.store, METHODS[type(message)], buf, 0, len(data))
    if code < 0:
        raise Refused(int(code))
