"""One share of a phase for the grpcio engine: its choices, its records, all by the fast engine's own kernels.

A request is the same record here as there (``sending.issue``, ``requests.build``), so the same plan, seed and share
give the same sequence of operations, keys and values on both engines, and the same recorder counts them.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from kvbench import jit
from kvbench.client.dispatch import ETCD
from kvbench.jit import kernel
from kvbench.load import arrivals, keys, mix, recorder, requests, sending, sizing, values
from kvbench.load.plan import Operation, Phase, Plan
from kvbench.load.records import LINE, NEVER_NS, PHASE, REQUEST, SHARED_SLOTS, Choices, Loop
from kvbench.load.shares import dealt, operation_names
from kvbench.ops.kinds import Kind
from kvbench.ops.records import OPERATION, OUTCOME


@kernel
def encode(loop: Any, choices: Any, record: Any, slot: int, now: int) -> int:
    """Build a slot's current step, which is sent at ``now``. Returns the number of OPERATION records."""
    recorder.roll(record, now)
    sending.mark_sent(loop, record, slot, now)
    return requests.build(loop, choices, slot, now)


@kernel
def complete(loop: Any, record: Any, slot: int, now: int) -> None:
    """A slot's request succeeded, answered at ``now``."""
    recorder.roll(record, now)
    request = loop.requests[slot]
    sent_ns = int(request["sent_ns"])
    recorder.record(record, int(request["operation"]), int(request["scheduled_ns"]), sent_ns, now)
    phase = loop.phase[0]
    phase["in_flight"] -= 1
    phase["completed"] += 1
    phase["last_ns"] = now


@kernel
def fail(loop: Any, record: Any, slot: int, code: int, now: int) -> None:
    """A slot's request failed with an ErrorCode at ``now``."""
    recorder.roll(record, now)
    request = loop.requests[slot]
    recorder.record_error(record, int(request["operation"]), code, int(request["scheduled_ns"]), now)
    phase = loop.phase[0]
    phase["in_flight"] -= 1
    phase["last_ns"] = now


@kernel
def observe_event(loop: Any, record: Any, sent_ns: int, now: int) -> None:
    """A watch event: from the put's send, which its value carried, to ``now``."""
    if sent_ns <= 0 or sent_ns > now:
        return
    recorder.roll(record, now)
    operation = int(loop.phase[0]["watch_operation"])
    recorder.offered(record, operation, sent_ns)
    recorder.sent(record, operation)
    recorder.record(record, operation, sent_ns, sent_ns, now)
    loop.phase[0]["last_ns"] = now


@kernel
def give_up(loop: Any, choices: Any, record: Any, now: int) -> int:
    """The next request was due but never had a slot: offered, and failed. Returns the due time of the one after it."""
    recorder.roll(record, now)
    sending.give_up(loop, choices, record, now)
    return int(loop.phase[0]["due_ns"])


@kernel
def advance_due(loop: Any, choices: Any) -> int:
    """Open loop: compute and return the due time of request ``phase.index``."""
    sending.advance_due(loop.phase[0], choices.arrival)
    return int(loop.phase[0]["due_ns"])


class Share:
    """The arrays of share ``number`` of ``shares``. Slots of a closed loop are clients."""

    def __init__(self, plan: Plan, number: int, shares: int) -> None:
        """Raises ValueError when the plan's keys or values are impossible."""
        self.plan = plan
        self.number = number
        self.shares = shares
        self.connections = dealt(plan.connections, number, shares)
        self.watchers = dealt(plan.watchers, number, shares)
        self.clients = dealt(plan.clients, number, shares)
        self.slots = self.clients
        """The most requests of the current phase in flight at once."""
        self.keyspace = keys.new_keyspace(plan.keys, plan.seed)
        self.values = values.new_values(plan.values, plan.seed)
        self.loop = self._new_loop()
        self.choices: Choices
        self.record: recorder.Recorder
        self.drain: recorder.Drain

    def _new_loop(self) -> Loop:
        plan = self.plan
        return Loop(
            phase=np.zeros(1, PHASE),
            shared=np.zeros(SHARED_SLOTS, np.int64),
            requests=np.zeros(max(sizing.slots(plan, self.number, self.shares), 1), REQUEST),
            lines=np.zeros(1, LINE),
            free=np.zeros(1, np.int32),
            ready=np.zeros(1, np.int32),
            operations=np.zeros(sizing.members(plan) + 1, OPERATION),
            payload=np.zeros(sizing.request_bytes(plan), np.uint8),
            outcomes=np.zeros(1, OUTCOME),
            touched=np.zeros(sizing.keys_reserved(plan), np.uint8),
            scratch=np.zeros(16, np.uint8),
        )

    def begin(self, phase: Phase, start_ns: int, inserted: int) -> None:
        """Make the arrays ready for a phase that starts at ``start_ns``. ``inserted``: keys that exist already."""
        operations = phase.operations or self.plan.operations
        names = operation_names(operations, self.plan.watchers > 0)
        longest_s = phase.duration_s + 2 * self.plan.timeout_s if phase.duration_s else 0.0
        most = sizing.slots_of_phase(self.plan, phase, self.number, self.shares)
        self.slots = min(most, len(self.loop.requests))
        self.choices = Choices(
            keyspace=self.keyspace,
            values=self.values,
            mix=mix.new_mix(operations, self.plan.seed),
            arrival=arrivals.new_arrival(phase, self.plan.seed),
        )
        self.record = recorder.new_recorder(len(names), start_ns, longest_s)
        self.drain = recorder.Drain(self.record, phase.name, names)
        leases = self.loop.requests["lease_id"].copy()
        self.loop.requests[:] = 0
        self.loop.requests["lease_id"] = leases
        row = self.loop.phase[0]
        self.loop.phase[:] = 0
        fields = {
            "start_ns": start_ns,
            "end_ns": start_ns + round(phase.duration_s * 1e9) if phase.duration_s else NEVER_NS,
            "count": phase.count or NEVER_NS,
            "index": self.number,
            "due_index": -1,
            "due_ns": start_ns,
            "shares": self.shares,
            "share": self.number,
            "insert_base": inserted,
            "last_ns": start_ns,
            "cap_hit_ns": -1,
            "closed_loop": int(phase.arrival == "closed"),
            "protocol": ETCD,
            "clients": len(self.loop.requests),
            "watch_operation": len(operations),
        }
        for name, value in fields.items():
            row[name] = value

    def compile(self) -> None:
        """Compile the kernels or load them, by going through a phase of two requests that nobody sends.

        Whatever is first called while a phase runs would stop all requests until it is compiled.
        """
        operation = Operation(Kind.TXN, 1.0)
        with jit.compile_lock("grpcio"):
            phase = Phase("rehearsal", count=2, arrival="constant", rates_ops_s=(1.0,), operations=(operation,))
            self.begin(phase, 0, 0)
            for _ in range(2):
                sending.issue(self.loop, self.choices, self.record, 0, 0)
                encode(self.loop, self.choices, self.record, 0, 0)
            complete(self.loop, self.record, 0, 0)
            fail(self.loop, self.record, 0, 1, 0)
            observe_event(self.loop, self.record, 1, 1)
            give_up(self.loop, self.choices, self.record, 0)
            advance_due(self.loop, self.choices)
            recorder.finish(self.record, recorder.SECOND_NS)
            self.drain.take()
            self.key_of(0)
        self.loop.touched[:] = 0

    def key_of(self, key_index: int) -> bytes:
        """The bytes of a key."""
        length = keys.write_key(self.keyspace, key_index, self.loop.payload, 0)
        return self.loop.payload[:length].tobytes()

    def touched_bits(self) -> npt.NDArray[np.uint8]:
        """Which keys this share wrote, one bit each."""
        return np.packbits(self.loop.touched)
