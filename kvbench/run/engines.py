"""The engine that was asked for, made for one target."""

from dataclasses import replace

from kvbench.load.credentials import Credentials
from kvbench.load.plan import Operation, Phase, Plan
from kvbench.load.protocol import LoadEngine
from kvbench.ops.kinds import Kind
from kvbench.run.request import Display
from kvbench.targets.spec import TargetSpec

SAY_EVERY_S = 10


def compile_ahead(name: str, display: Display) -> None:
    """Have the fast engine's code ready, so that no server waits for the compiler. Says so when it takes a while.

    The compiled code is the same for every plan and target, so the smallest plan will do. The grpcio engine's
    processes see to theirs.
    """
    if name != "fast":
        return
    from kvbench.load.engine import FastEngine

    said = -SAY_EVERY_S

    def report(seconds: float) -> None:
        nonlocal said
        if seconds - said >= SAY_EVERY_S:
            said = int(seconds)
            display.say(f"compiling the load engine, once for this version of kvbench: {seconds:.0f} s so far")

    smallest = Plan((Operation(Kind.PUT, 1.0),), (Phase("prepare", count=1),), clients=1, connections=1)
    seconds = FastEngine(smallest, "etcd", ["127.0.0.1:1"]).prepare(report)
    if said >= 0:
        display.say(f"compiled the load engine in {seconds:.0f} s; the next run begins at once")


def make_engine(name: str, processes: int, plan: Plan, spec: TargetSpec, addresses: list[str]) -> LoadEngine:
    """An engine that is not open yet. ``name``: "fast" or "grpcio". Raises EngineError."""
    if name == "grpcio":
        from kvbench.load.grpcio_engine import GrpcioEngine

        return GrpcioEngine(plan, credentials_of(spec), addresses, processes)
    from kvbench.load.engine import FastEngine

    return FastEngine(replace(plan, user=spec.user, password=spec.password), spec.kind, addresses)


def credentials_of(spec: TargetSpec) -> Credentials:
    """How the grpcio engine and the rare calls log in to a target."""
    return Credentials(spec.tls_ca, spec.tls_cert, spec.tls_key, spec.user, spec.password)
