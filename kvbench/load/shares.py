"""How a plan is divided: into load threads, processes or machines."""

from kvbench.load.plan import Operation, Phase, Plan
from kvbench.ops.kinds import KIND_NAMES, Kind


def dealt(total: int, share: int, shares: int) -> int:
    """How many of ``total`` things share ``share`` of ``shares`` gets when they are dealt in turn."""
    return total // shares + (1 if share < total % shares else 0)


def watch_connections(plan: Plan, share: int, shares: int) -> int:
    """How many connections of their own the watchers of a share have: each at least one watcher."""
    own = dealt(plan.watch_connections or plan.connections, share, shares)
    return min(dealt(plan.watchers, share, shares), max(own, 1))


def operation_names(operations: tuple[Operation, ...], watched: bool) -> tuple[str, ...]:
    """The recorder's operations: the mix's kinds in order, then "watch" when there are watchers."""
    names = tuple(KIND_NAMES[operation.kind] for operation in operations)
    return (*names, KIND_NAMES[Kind.WATCH]) if watched else names


def unused_shares(in_flight_max: int, phases: tuple[Phase, ...], shares: int) -> bool:
    """Whether an open loop's cap (0: none) leaves some of the shares without a single request."""
    return 0 < in_flight_max < shares and any(phase.arrival != "closed" for phase in phases)
