"""The two engines do the same for the same plan: same requests at the same due times, same bytes in the store."""

from dataclasses import replace

import grpc
import pytest

from kvbench.load.credentials import Credentials
from kvbench.load.engine import FastEngine
from kvbench.load.grpcio_engine import GrpcioEngine
from kvbench.load.plan import Keys, Operation, Phase, Plan, Values
from kvbench.load.protocol import LoadEngine
from kvbench.ops.kinds import Kind
from kvbench.ops.results import PhaseResult
from kvbench.targets.running import RunningTarget
from kvbench.wire.proto import messages, methods

pytestmark = pytest.mark.slow


def carry_out(engine: LoadEngine, plan: Plan) -> list[PhaseResult]:
    engine.open()
    try:
        results = []
        for phase in plan.phases:
            engine.start_phase(phase)
            results.append(engine.finish_phase())
        return results
    finally:
        engine.close()


def contents(address: str, prefix: str) -> dict[bytes, bytes]:
    """Keys without their prefix, and values without the send time that they begin with."""
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(
            methods.RANGE.path,
            request_serializer=methods.RANGE.request.SerializeToString,
            response_deserializer=methods.RANGE.response.FromString,
        )
        start = prefix.encode()
        found = call(messages.RangeRequest(key=start, range_end=start[:-1] + bytes([start[-1] + 1])), timeout=10)
    return {pair.key[len(start) :]: pair.value[8:] for pair in found.kvs}


def both(plan: Plan, address: str, grpcio_processes: int = 1) -> tuple[list[PhaseResult], list[PhaseResult]]:
    """Results of the fast engine under "fast/" and of the grpcio engine under "slow/"."""
    fast = replace(plan, keys=replace(plan.keys, prefix="fast/"))
    slow = replace(plan, keys=replace(plan.keys, prefix="slow/"))
    return (
        carry_out(FastEngine(fast, "etcd", [address]), fast),
        carry_out(GrpcioEngine(slow, Credentials(), [address], grpcio_processes), slow),
    )


@pytest.mark.parametrize("processes", [1, 2])
def test_both_engines_offer_and_complete_the_same_at_200_a_second(etcd: RunningTarget, processes: int) -> None:
    mix = (Operation(Kind.PUT, 5), Operation(Kind.GET, 3), Operation(Kind.RANGE, 1, limit=5), Operation(Kind.DELETE, 1))
    plan = Plan(
        operations=mix,
        phases=(
            Phase("preload", count=300, operations=(Operation(Kind.INSERT, 1.0),), measured=False),
            Phase("measure", duration_s=3.0, arrival="constant", rates_ops_s=(200.0,)),
        ),
        keys=Keys(count=300, size_bytes=40, distribution="zipfian"),
        values=Values(sizes_bytes=(16, 300), distribution="uniform", compressibility=0.3),
        clients=10,
        connections=5,
        seed=11,
    )
    (fast_load, fast), (slow_load, slow) = both(plan, etcd.members[0].address, processes)
    assert fast_load.operations == slow_load.operations == ("insert",)
    assert fast_load.completed.sum() == slow_load.completed.sum() == 300
    assert fast.operations == slow.operations == ("put", "get", "range", "delete")
    assert fast.offered[:3].tolist() == slow.offered[:3].tolist()
    assert fast.offered.sum() == slow.offered.sum() == 600
    assert fast.completed.sum(axis=0).tolist() == slow.completed.sum(axis=0).tolist()
    assert fast.errors.sum() == slow.errors.sum() == 0
    assert fast.keys_touched == slow.keys_touched
    assert fast.end_reason == slow.end_reason == "duration"


@pytest.mark.parametrize("fanout", [0, 8])
def test_both_engines_leave_the_same_bytes(etcd: RunningTarget, fanout: int) -> None:
    plan = Plan(
        operations=(Operation(Kind.PUT, 1.0),),
        phases=(Phase("measure", count=200),),
        keys=Keys(count=200, size_bytes=64, distribution="sequential", fanout=fanout),
        values=Values(sizes_bytes=(16, 600), distribution="weighted", weights=(1.0, 2.0), compressibility=0.5),
        clients=10,
        connections=5,
        seed=7,
    )
    (fast,), (slow,) = both(plan, etcd.members[0].address, 2)
    address = etcd.members[0].address
    assert fast.completed.sum() == slow.completed.sum() == 200
    assert len(contents(address, "fast/")) >= 200
    assert contents(address, "fast/") == contents(address, "slow/")
