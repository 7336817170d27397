import asyncio
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench.load import grpcio_share, sending
from kvbench.load.grpcio_calls import outcome_of, prepare
from kvbench.load.grpcio_share import Share
from kvbench.load.grpcio_timer import Timer
from kvbench.load.plan import Keys, Operation, Phase, Plan, Values
from kvbench.load.shares import dealt, watch_connections
from kvbench.ops.errors import ErrorCode
from kvbench.ops.kinds import Kind
from kvbench.wire.proto import messages

MIX = (
    Operation(Kind.PUT, 3),
    Operation(Kind.GET, 2),
    Operation(Kind.TXN, 1, keys=3),
    Operation(Kind.RANGE, 1, limit=7),
)
PHASE = Phase("measure", count=60, duration_s=1.0, arrival="poisson", rates_ops_s=(500.0,))
PLAN = Plan(
    operations=MIX,
    phases=(PHASE,),
    keys=Keys(count=50, size_bytes=24, distribution="uniform"),
    values=Values(sizes_bytes=(9, 40), distribution="uniform"),
    clients=8,
    connections=4,
    seed=5,
)


def sent_by(number: int, shares: int) -> list[tuple[int, int, bytes]]:
    """(index, due time, etcd's request) of everything a share sends, all sent at time 99."""
    share = Share(PLAN, number, shares)
    share.begin(PHASE, 1000, 0)
    found = []
    due_ns = grpcio_share.advance_due(share.loop, share.choices)
    while int(share.loop.phase[0]["index"]) < PHASE.count:
        index = int(share.loop.phase[0]["index"])
        sending.issue(share.loop, share.choices, share.record, 0, due_ns)
        count = grpcio_share.encode(share.loop, share.choices, share.record, 0, 99)
        _, request = prepare(share.loop.operations, count, share.loop.payload)
        found.append((index, due_ns, type(request).__name__.encode() + request.SerializeToString(deterministic=True)))
        due_ns = grpcio_share.advance_due(share.loop, share.choices)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("shares", [2, 3])
def test_shares_together_send_what_one_would(shares: int) -> None:
    alone = sent_by(0, 1)
    assert [index for index, _, _ in alone] == list(range(60))
    assert len({kind for _, _, request in alone for kind in [request[:3]]}) == 3
    together = [sent for number in range(shares) for sent in sent_by(number, shares)]
    assert sorted(together) == alone


@given(st.integers(0, 10_000), st.integers(1, 64))
@settings(deadline=None)
def test_everything_is_dealt_evenly(total: int, shares: int) -> None:
    parts = [dealt(total, share, shares) for share in range(shares)]
    assert sum(parts) == total
    assert max(parts) - min(parts) <= 1


@given(st.integers(0, 300), st.integers(0, 100), st.integers(1, 100), st.integers(1, 8))
@settings(deadline=None)
def test_watchers_have_connections_of_their_own(watchers: int, own: int, load: int, shares: int) -> None:
    plan = Plan((), (), watchers=watchers, watch_connections=own, connections=load)
    parts = [watch_connections(plan, share, shares) for share in range(shares)]
    for share, part in enumerate(parts):
        assert part <= dealt(watchers, share, shares) and (part > 0 or dealt(watchers, share, shares) == 0)
    wanted = min(own or load, watchers)
    assert wanted <= sum(parts) <= max(wanted, shares)


def test_answers_mean_what_the_operation_asked() -> None:
    pair = messages.KeyValue(key=b"k", mod_revision=7)
    cases: tuple[tuple[Kind, Any, tuple[int, int, int, int]], ...] = (
        (Kind.GET, messages.RangeResponse(kvs=[pair], count=1), (ErrorCode.OK, 7, 1, 0)),
        (Kind.GET, messages.RangeResponse(), (ErrorCode.OK, 0, 0, 0)),
        (Kind.CAS, messages.RangeResponse(kvs=[pair]), (ErrorCode.OK, 7, 1, 1)),
        (Kind.CAS, messages.RangeResponse(), (ErrorCode.OK, 0, 0, 1)),
        (Kind.CAS, messages.TxnResponse(succeeded=True), (ErrorCode.OK, 0, 1, 0)),
        (Kind.CAS, messages.TxnResponse(succeeded=False), (ErrorCode.COMPARE_FAILED, 0, 1, 0)),
        (Kind.DELETE, messages.DeleteRangeResponse(deleted=0), (ErrorCode.OK, 0, 0, 0)),
        (Kind.LEASE_KEEP_ALIVE, messages.LeaseKeepAliveResponse(ID=3, TTL=0), (ErrorCode.LEASE_EXPIRED, 0, 1, 0)),
        (Kind.LEASE_KEEP_ALIVE, messages.LeaseKeepAliveResponse(ID=3, TTL=9), (ErrorCode.OK, 0, 1, 0)),
        (Kind.PUT, messages.PutResponse(), (ErrorCode.OK, 0, 1, 0)),
    )
    for kind, answer, expected in cases:
        outcome = outcome_of(kind, answer)
        assert (outcome.code, outcome.revision, outcome.keys, outcome.next_step) == expected, (kind, answer)
    assert outcome_of(Kind.LEASE_GRANT, messages.LeaseGrantResponse(ID=11)).lease_id == 11


def test_sleepers_wake_in_the_order_of_their_times() -> None:
    async def sleep() -> list[int]:
        timer = Timer()
        woken: list[int] = []
        start_ns = time.monotonic_ns() + 200_000_000  # by then all of them sleep

        async def sleeper(number: int) -> None:
            due_ns = start_ns + number * 1_000_000
            await timer.sleep_until(due_ns)
            assert time.monotonic_ns() >= due_ns
            woken.append(number)

        await asyncio.gather(*(sleeper(number) for number in (3, 1, 0, 2)))
        await timer.sleep_until(start_ns)
        timer.close()
        timer.close()
        return woken

    assert asyncio.run(sleep()) == [0, 1, 2, 3]


def test_all_sleepers_can_be_woken_at_once() -> None:
    async def sleep() -> bool:
        timer = Timer()
        far_ns = time.monotonic_ns() + 3_600_000_000_000
        sleepers = [asyncio.ensure_future(timer.sleep_until(far_ns + number)) for number in range(3)]
        await asyncio.sleep(0)
        timer.wake_all()
        await asyncio.gather(*sleepers)
        timer.close()
        return all(sleeper.done() for sleeper in sleepers)

    assert asyncio.run(sleep())
