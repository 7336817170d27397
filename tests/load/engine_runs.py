"""Driving the fast engine in tests: small plans, run to their end."""

import time
from dataclasses import replace

from kvbench.load.engine import FastEngine
from kvbench.load.plan import Keys, Operation, Phase, Plan, Values
from kvbench.ops.kinds import Kind
from kvbench.ops.results import PhaseResult


def plan(kind: Kind = Kind.PUT, **changes: object) -> Plan:
    """One operation, 8 clients on 4 connections, 1,000 keys of 32 bytes; ``changes`` replace fields."""
    base = Plan(
        operations=(Operation(kind, 1.0),),
        phases=(),
        keys=Keys(count=1000, size_bytes=32),
        values=Values(sizes_bytes=(64,)),
        clients=8,
        connections=4,
        timeout_s=5.0,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def run(engine: FastEngine, phase: Phase) -> PhaseResult:
    """One phase from start to end on an open engine."""
    engine.start_phase(phase)
    while engine.running():
        time.sleep(0.01)
        engine.poll()
    return engine.finish_phase()


def run_plan(what: Plan, kind: str, addresses: list[str], *phases: Phase) -> list[PhaseResult]:
    """Open an engine, run the phases, close it."""
    engine = FastEngine(replace(what, phases=phases), kind, addresses)
    try:
        engine.open()
        return [run(engine, phase) for phase in phases]
    finally:
        engine.close()


def errors_by_code(result: PhaseResult) -> dict[int, int]:
    """Failures of all operations and seconds by ErrorCode."""
    counts = result.errors.sum(axis=(0, 1))
    return {code: int(count) for code, count in enumerate(counts) if count}
