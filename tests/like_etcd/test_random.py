"""Long random sessions with etcd and with the built-in store, alone and through a follower of three members."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kvbench.targets import launch
from kvbench.targets.spec import parse_target
from kvbench.wire.proto import messages as m
from kvbench.wire.proto import methods
from tests.like_etcd.sides import Both, BothStreams, Side

pytestmark = pytest.mark.slow

CALLS = 1500
CALLS_PER_WATCH = 150
KEYS = [b"k%d" % number for number in range(8)]
ENDS = [b"", b"", b"k3", b"k6", b"l", b"\0"]
VALUES = [b"", b"x", b"y", b"zz" * 40]
LEASES = [10, 11, 12, 13]
MARK = b"mark"


class Session:
    """Random requests; what is asked hangs on the seed and on etcd's answers, which both sides share."""

    def __init__(self, both: Both, seed: int) -> None:
        self.both = both
        self.random = random.Random(seed)
        self.now = 1
        self.compacted = 0

    def run(self, calls: int) -> None:
        """So many calls."""
        kinds: list[tuple[int, Callable[[], None]]] = [
            (30, self.put), (25, self.range), (10, self.delete), (20, self.txn), (3, self.grant), (2, self.revoke),
            (3, self.keep_alive), (2, self.time_to_live), (1, self.leases), (1, self.compact), (1, self.hash_kv),
            (2, self.range_stream),
        ]  # fmt: skip
        weights = [weight for weight, _ in kinds]
        for _ in range(calls):
            self.random.choices(kinds, weights)[0][1]()

    def ask(self, method: Any, request: Any, say: Callable[[Any], Any] = lambda said: said) -> None:
        """A call to both; notes the revision."""
        answer = self.both.ask(method, request, say)
        if answer.said:
            self.now = max(self.now, answer.said["header"]["revision"])

    def pick(self, **chances: tuple[float, Any]) -> dict[str, Any]:
        """Of some fields, each with its chance, a value."""
        return {name: value() if callable(value) else value for name, (chance, value) in chances.items()
                if self.random.random() < chance}  # fmt: skip

    def key(self) -> bytes:
        """One of few."""
        return self.random.choice(KEYS)

    def revision(self) -> int:
        """Mostly one that is there."""
        return self.random.randint(max(self.compacted - 2, 0), self.now + 1)

    def put_request(self) -> Any:
        return m.PutRequest(
            key=self.key(), value=self.random.choice(VALUES),
            **self.pick(lease=(0.3, lambda: self.random.choice(LEASES)), prev_kv=(0.5, True), ignore_value=(0.1, True),
                        ignore_lease=(0.1, True)),
        )  # fmt: skip

    def range_request(self) -> Any:
        some = self.revision
        return m.RangeRequest(
            key=self.key(), range_end=self.random.choice(ENDS),
            **self.pick(limit=(0.3, lambda: self.random.randint(-1, 9)), revision=(0.3, some), serializable=(0.3, True),
                        sort_order=(0.3, lambda: self.random.choice(["ASCEND", "DESCEND"])), keys_only=(0.2, True),
                        sort_target=(0.3, lambda: self.random.randint(0, 4)), count_only=(0.1, True),
                        min_mod_revision=(0.1, some), max_mod_revision=(0.1, some), min_create_revision=(0.1, some),
                        max_create_revision=(0.1, some)),
        )  # fmt: skip

    def delete_request(self) -> Any:
        options = self.pick(prev_kv=(0.5, True))
        return m.DeleteRangeRequest(key=self.key(), range_end=self.random.choice(ENDS), **options)

    def compare(self) -> Any:
        unions = [
            {"version": self.random.randint(0, 3), "target": "VERSION"},
            {"create_revision": self.revision(), "target": "CREATE"},
            {"mod_revision": self.revision(), "target": "MOD"},
            {"value": self.random.choice(VALUES), "target": "VALUE"},
            {"lease": self.random.choice([0, *LEASES]), "target": "LEASE"},
        ]
        more = self.pick(range_end=(0.2, lambda: self.random.choice(ENDS)))
        return m.Compare(key=self.key(), result=self.random.randint(0, 3), **self.random.choice(unions), **more)  # type: ignore[arg-type]

    def txn_request(self, depth: int = 0) -> Any:
        def operations() -> list[Any]:
            made = []
            for _ in range(self.random.randint(0, 3)):
                kind = self.random.randint(0, 9)
                if kind < 4:
                    made.append(m.RequestOp(request_put=self.put_request()))
                elif kind < 7:
                    made.append(m.RequestOp(request_range=self.range_request()))
                elif kind < 9 or depth == 2:
                    made.append(m.RequestOp(request_delete_range=self.delete_request()))
                else:
                    made.append(m.RequestOp(request_txn=self.txn_request(depth + 1)))
            return made

        compares = [self.compare() for _ in range(self.random.randint(0, 2))]
        return m.TxnRequest(compare=compares, success=operations(), failure=operations())

    def put(self) -> None:
        self.ask(methods.PUT, self.put_request())

    def range(self) -> None:
        self.ask(methods.RANGE, self.range_request())

    def range_stream(self) -> None:
        self.both.ask_stream(methods.RANGE_STREAM, self.range_request())

    def delete(self) -> None:
        self.ask(methods.DELETE_RANGE, self.delete_request())

    def txn(self) -> None:
        self.ask(methods.TXN, self.txn_request())

    def grant(self) -> None:
        lease_id, ttl_s = self.random.choice(LEASES), self.random.randint(200, 900)
        self.ask(methods.LEASE_GRANT, m.LeaseGrantRequest(ID=lease_id, TTL=ttl_s))

    def revoke(self) -> None:
        self.ask(methods.LEASE_REVOKE, m.LeaseRevokeRequest(ID=self.random.choice(LEASES)))

    def keep_alive(self) -> None:
        kept = [m.LeaseKeepAliveRequest(ID=self.random.choice(LEASES)) for _ in range(2)]
        self.both.ask_many(methods.LEASE_KEEP_ALIVE, kept)

    def time_to_live(self) -> None:
        request = m.LeaseTimeToLiveRequest(ID=self.random.choice(LEASES), keys=self.random.random() < 0.7)
        self.ask(methods.LEASE_TIME_TO_LIVE, request, lambda said: said | {
            "keys": sorted(said.get("keys", [])), "TTL": min(said["TTL"], 0),
        })  # fmt: skip

    def leases(self) -> None:
        self.ask(methods.LEASE_LEASES, m.LeaseLeasesRequest(), lambda said: said | {
            "leases": sorted(one["ID"] for one in said.get("leases", [])),
        })  # fmt: skip

    def compact(self) -> None:
        # What etcd gives as prev_kv hangs on when it looks: leave it a few revisions.
        revision = self.now - self.random.randint(5, 20)
        answer = self.both.ask(methods.COMPACT, m.CompactionRequest(revision=revision, physical=True))
        if answer.code == "OK":
            self.compacted = revision

    def hash_kv(self) -> None:
        revision = self.random.choice([0, self.revision()])
        self.ask(methods.HASH_KV, m.HashKVRequest(revision=revision))

    def watch(self, stream: BothStreams, number: int) -> None:
        """A watcher of what is to come."""
        filters = self.random.choice([[], [], ["NOPUT"], ["NODELETE"]])
        end = self.random.choice(ENDS)
        stream.create(key=self.key(), range_end=end, watch_id=number, filters=filters, prev_kv=True)
        for one in stream:
            one.wait_for(lambda got: any(each.created and each.watch_id in (number, -1) for each in got))


@pytest.fixture(scope="module")
def follower(etcd_for_follower: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """Another etcd, and a follower of three members."""
    folder = tmp_path_factory.mktemp("three")
    target = launch.start(parse_target("raft?members=3,fsync=off,endpoints=followers"), folder / "target")
    try:
        sides = Side("etcd", etcd_for_follower.members[0].address), Side("follower", target.addresses_for_load()[0])
        yield Both(*sides)
        for side in sides:
            side.close()
    finally:
        target.stop()


@pytest.fixture(scope="module")
def etcd_for_follower(etcd_version: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """An etcd with nothing in it."""
    folder: Path = tmp_path_factory.mktemp("etcd2")
    target = launch.start(parse_target(f"etcd?version={etcd_version},fsync=off"), folder / "target")
    yield target
    target.stop()


@pytest.mark.parametrize(("which", "calls"), [("both", CALLS), ("follower", CALLS // 3)])
def test_a_random_session(which: str, calls: int, request: pytest.FixtureRequest) -> None:
    both: Both = request.getfixturevalue(which)
    session = Session(both, 20_250_101)
    streams = [both.watch() for _ in range(2)]
    for stream in streams:
        stream.create(MARK, watch_id=1000)
    for number in range(calls // CALLS_PER_WATCH):
        session.watch(streams[number % 2], number + 1)
        session.run(CALLS_PER_WATCH)
    session.ask(methods.PUT, m.PutRequest(key=MARK))
    for stream in streams:
        compare_events(both, stream)
    session.ask(methods.RANGE, m.RangeRequest(key=b"\0", range_end=b"\0"))
    both.conclude()


def compare_events(both: Both, stream: BothStreams) -> None:
    """All events up to the mark, watcher by watcher, with the revisions of their responses."""
    seen: list[dict[int, list[Any]]] = []
    for one in stream:
        got = one.wait_for(lambda responses: any(r.watch_id == 1000 and r.events for r in responses))
        by_watcher: dict[int, list[Any]] = {}
        for response in got:
            said = by_watcher.setdefault(response.watch_id, [])
            said += [(response.header.revision, event.SerializeToString()) for event in response.events]
        seen.append(by_watcher)
    assert seen[0][1000], "no mark came"
    for watch_id in sorted(seen[0].keys() | seen[1].keys()):
        etcd, store = (by_watcher.get(watch_id, []) for by_watcher in seen)
        if etcd != store:
            place = next((i for i, pair in enumerate(zip(etcd, store, strict=False)) if pair[0] != pair[1]), -1)
            both.differ(f"watcher {watch_id}, {len(etcd)} and {len(store)} events", etcd[place:][:2], store[place:][:2])
