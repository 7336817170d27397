"""What the state machine takes per request, and per watcher of a key that changes. Times per request in ``extra_info``.

Aims: put of a key that exists about 0.5 us, of a new one about 2 us, get about 0.5 us, among 200,000 keys.
"""

from typing import Any, NamedTuple

import numpy as np
import pytest

from kvbench.jit import JIT_ENABLED, kernel
from kvbench.ops import entries
from kvbench.rt.buffer import copy, store_be64
from kvbench.rt.clock import read as read_clock
from kvbench.rt.rng import mix
from kvbench.store import apply, reads, watch, watch_events
from kvbench.store.records import Store, new_store, set_identity
from kvbench.wire import etcd_methods, etcd_requests
from kvbench.wire.proto import messages

pytestmark = pytest.mark.slow

KEYS = 200_000 if JIT_ENABLED else 200
WATCHERS = 10_000 if JIT_ENABLED else 50
VALUE_BYTES = 256
THREAD_CPU_CLOCK = 3
PUT, GET, TXN = 0, 1, 2


class Bench(NamedTuple):
    """A store and what is needed to ask it."""

    store: Store
    buf: Any
    source: Any
    out: Any
    scratch: Any
    template: Any
    """A TxnRequest whose keys are numbers of 8 bytes."""
    places: Any
    """int64[n]: where in ``template`` the keys are."""


@kernel
def ask(b: Any, what: int, number: int) -> int:
    """One request about key ``number``, in an order that has nothing to do with theirs."""
    store_be64(b.source, 0, mix(7, number))
    if what == GET:
        end = etcd_requests.write_range(b.buf, 0, b.source, 0, 8, 0, 0, 0, 0, 0)
        return reads.read(b.store, etcd_methods.RANGE, b.buf, 0, end, b.out, 0, len(b.out))
    kind = entries.PUT if what == PUT else entries.TXN
    at = entries.write_prefix(b.buf, 0, kind, 0, 0, number, 0, 0)
    if what == PUT:
        end = etcd_requests.write_put(b.buf, at, b.source, 0, 8, 8, VALUE_BYTES, 0)
    else:
        end = at + len(b.template)
        copy(b.buf, at, b.template, 0, len(b.template))
        for i in range(len(b.places)):
            copy(b.buf, at + b.places[i], b.source, 0, 8)
    return apply.apply(b.store, number + 1, b.buf, 0, end, b.out, 0, len(b.out))


@kernel
def ask_many(b: Any, what: int, first: int, count: int) -> float:
    """CPU time in ns per request of so many; negative when one failed."""
    start = read_clock(b.scratch, THREAD_CPU_CLOCK)
    for number in range(first, first + count):
        if ask(b, what, number) < 0:
            return -1.0
    return float(read_clock(b.scratch, THREAD_CPU_CLOCK) - start) / count


def bench(template: Any = None) -> Bench:
    store = new_store()
    set_identity(store, 1 << 63, 1 << 62)
    key, data = bytes(range(200, 208)), (template or messages.TxnRequest()).SerializeToString()
    places = [at for at in range(len(data)) if data[at : at + 8] == key]
    return Bench(
        store, np.zeros(4096, np.uint8), np.full(512, 65, np.uint8), np.zeros(1 << 16, np.uint8),
        np.zeros(32, np.uint8), np.frombuffer(data + bytes(1), np.uint8)[:-1].copy(), np.array(places, np.int64),
    )  # fmt: skip


def run(benchmark: Any, b: Bench, what: int, name: str, fresh: bool = False) -> None:
    """Time KEYS requests, of keys that are there or (``fresh``) of new ones each time."""
    found, first = [], [KEYS]

    def once() -> None:
        found.append(ask_many(b, what, first[0] if fresh else 0, KEYS))
        first[0] += KEYS

    benchmark.pedantic(once, rounds=5, warmup_rounds=1)
    assert min(found) >= 0
    benchmark.extra_info[name] = round(min(found), 1)


def test_put_of_a_new_key(benchmark: Any) -> None:
    b = bench()
    ask_many(b, PUT, 0, KEYS)
    run(benchmark, b, PUT, "put_ns", fresh=True)


def test_put_of_a_key_that_exists(benchmark: Any) -> None:
    b = bench()
    ask_many(b, PUT, 0, KEYS)
    run(benchmark, b, PUT, "put_ns")


def test_get(benchmark: Any) -> None:
    b = bench()
    ask_many(b, PUT, 0, KEYS)
    run(benchmark, b, GET, "get_ns")


def test_update_by_a_transaction(benchmark: Any) -> None:
    """As Kubernetes updates: a put if the key is at a revision, else a get. Half the time it is not."""
    key = bytes(range(200, 208))
    template = messages.TxnRequest(
        compare=[messages.Compare(target="VERSION", key=key, version=1)],
        success=[messages.RequestOp(request_put=messages.PutRequest(key=key, value=b"v" * VALUE_BYTES))],
        failure=[messages.RequestOp(request_range=messages.RangeRequest(key=key))],
    )
    b = bench(template)
    ask_many(b, PUT, 0, KEYS)
    run(benchmark, b, TXN, "txn_ns")


@kernel
def serve(b: Any, most: int) -> int:
    """Ask all watchers that have something. Returns the responses."""
    sent = 0
    for _ in range(most):
        watcher = watch.take_pending(b.store)
        if watcher < 0:
            return sent
        while watch_events.watch_next(b.store, watcher, b.out, 0, len(b.out), 0) > 0:
            sent += 1
    return sent


@kernel
def put_and_serve(b: Any, rounds: int, between: int) -> float:
    """CPU time in ns per response when one key, that all watch, changes among ``between`` that nobody watches."""
    start = read_clock(b.scratch, THREAD_CPU_CLOCK)
    sent = 0
    for number in range(rounds * between):
        if ask(b, PUT, number % between) < 0:
            return -1.0
        if number % between == 0:
            sent += serve(b, 1 << 20)
    return float(read_clock(b.scratch, THREAD_CPU_CLOCK) - start) / max(sent, 1)


def test_many_watchers_of_a_key(benchmark: Any) -> None:
    b = bench()
    ask_many(b, PUT, 0, 100)
    stream = watch.open_stream(b.store, 1)
    create = messages.WatchCreateRequest(key=int(mix(7, 0)).to_bytes(8, "big", signed=True))
    data = messages.WatchRequest(create_request=create).SerializeToString()
    request = np.frombuffer(data + bytes(8), np.uint8).copy()
    for _ in range(WATCHERS):
        assert watch.watch_request(b.store, stream, request, 0, len(data), b.out, 0, 1024) > 0
    found = []
    benchmark.pedantic(lambda: found.append(put_and_serve(b, 10, 100)), rounds=5, warmup_rounds=1)
    assert min(found) > 0
    benchmark.extra_info["response_ns"] = round(min(found), 1)
