"""What has to stand before the workload's own phases: directories of the key space, and preloaded keys."""

from kvbench.load.plan import Operation, Phase, Plan
from kvbench.ops.kinds import Kind

INSERTS_PER_PHASE = 100_000
"""Keys beyond the plan's count that directories are made for, for each phase that inserts until its time is over."""


def directories_needed(plan: Plan) -> int:
    """Directories of all keys that the plan has or may insert; 0 without ``keys.fanout``.

    A phase that ends by time may insert more than there is room for; ZooKeeper then answers ZK_NO_NODE, which is
    counted like every error.
    """
    if not plan.keys.fanout:
        return 0
    keys = plan.keys.count
    for phase in plan.phases:
        mix = phase.operations or plan.operations
        if any(operation.kind == Kind.INSERT for operation in mix):
            keys += min(phase.count or INSERTS_PER_PHASE, INSERTS_PER_PHASE)
    return -(-keys // plan.keys.fanout)


def all_phases(plan: Plan, kind: str) -> tuple[Phase, ...]:
    """The plan's phases behind those that prepare for them on a target of ``kind``."""
    phases: list[Phase] = []
    directories = directories_needed(plan)
    if kind == "zookeeper" and directories:
        # Only ZooKeeper has directories: a znode cannot be created before its parent.
        making = (Operation(Kind.MAKE_PARENT, 1.0),)
        phases.append(Phase("parents", count=directories, measured=False, operations=making))
    if plan.preload:
        inserting = (Operation(Kind.INSERT, 1.0),)
        phases.append(Phase("preload", count=plan.preload, measured=False, operations=inserting))
    return (*phases, *plan.phases)
