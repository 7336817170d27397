"""How large a load thread's tables and buffers are for a plan. No state, no IO."""

from kvbench.client.dispatch import ETCD
from kvbench.load.plan import Phase, Plan
from kvbench.load.shares import dealt

OPEN_LOOP_SLOTS = 65_536
"""Requests in flight at most in an open loop whose plan sets no limit of its own."""
KEYS_RESERVED_MAX = 50_000_000
BUFFER_BYTES = 65_536
"""A connection's read and write buffer, where requests and answers are small."""
PIECES_BYTES = 1 << 18
"""etcd: write buffer where requests are large: they go out in pieces, and more pieces are fewer system calls."""
PACKET_BYTES_MAX = 1 << 21
"""ZooKeeper: a request or an answer has to be whole in its buffer; none is larger than half of this."""
LARGE_BYTES = 16_384
"""A request beyond this takes more than one frame of HTTP/2."""


def members(plan: Plan) -> int:
    """Most writes in one request of the plan."""
    mixes = (plan.operations, *(phase.operations for phase in plan.phases))
    return max((operation.keys for operations in mixes for operation in operations), default=1)


def request_bytes(plan: Plan) -> int:
    """Keys and values of the largest request, with room for what is around them."""
    return (members(plan) + 2) * (plan.keys.size_bytes + plan.values.bytes_max + 64)


def buffer_bytes(plan: Plan, protocol: int) -> tuple[int, int]:
    """(read buffer, write buffer) of each connection."""
    if protocol == ETCD:
        return BUFFER_BYTES, PIECES_BYTES if request_bytes(plan) > LARGE_BYTES else BUFFER_BYTES
    packet = max(BUFFER_BYTES, 1 << (request_bytes(plan) + 4096).bit_length())
    return (min(packet, PACKET_BYTES_MAX),) * 2


def keys_reserved(plan: Plan) -> int:
    """Keys whose state is noted: those that there are, and those that phases may insert."""
    phases = sum(phase.count for phase in plan.phases)
    return plan.keys.count + plan.preload + min(phases, KEYS_RESERVED_MAX) + 1_000_000


def slots_of_phase(plan: Plan, phase: Phase, share: int, shares: int) -> int:
    """Most requests of a share in flight in a phase: its clients, or in an open loop its part of the cap."""
    if phase.arrival == "closed":
        return dealt(plan.clients, share, shares)
    return dealt(plan.in_flight_max or OPEN_LOOP_SLOTS, share, shares)


def slots(plan: Plan, share: int, shares: int) -> int:
    """Rows of a share's request table: enough for every phase, and for the preparation, which is a closed loop."""
    phases = (Phase("preparation"), *plan.phases)
    return max(slots_of_phase(plan, phase, share, shares) for phase in phases)
