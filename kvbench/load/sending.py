"""From a due request to the connection's write buffer: issue, send or wait in line, finish."""

from typing import Any

from kvbench.client import dispatch
from kvbench.jit import kernel
from kvbench.load import arrivals, lines, mix, recorder, requests
from kvbench.load.records import FREE, SENT, WAITING
from kvbench.net import table
from kvbench.ops.errors import ErrorCode
from kvbench.rt import clock

NOT_SENT = int(ErrorCode.NOT_SENT)
ISSUE_BATCH = 16
"""Open loop: requests issued between two readings of the clock."""


@kernel
def try_send(loop: Any, clients: Any, choices: Any, net: Any, slot: int, now: int) -> int:
    """Encode a slot's request into its connection: 1 done, 0 the connection cannot take it, negative: -ErrorCode."""
    connection = int(loop.requests[slot]["connection"])
    if net.connections[connection]["ready"] == 0:
        return 0
    count = requests.build(loop, choices, slot, now)
    protocol = int(loop.phase[0]["protocol"])
    result = dispatch.submit(
        protocol, clients.etcd, clients.zookeeper, net, connection, slot, loop.operations, count, loop.payload, now
    )
    if result > 0 and net.connections[connection]["more"] == 1:
        table.mark_dirty(net, connection)
    return result


@kernel
def mark_sent(loop: Any, record: Any, slot: int, now: int) -> None:
    """A request's step went into the write buffer; the first step's time is when the request was sent."""
    request = loop.requests[slot]
    request["state"] = SENT
    if request["sent_ns"] == 0:
        request["sent_ns"] = now
        if slot < loop.phase[0]["clients"]:
            recorder.sent(record, int(request["operation"]))
            lag = now - request["scheduled_ns"]
            if lag > loop.phase[0]["send_lag_ns_max"]:
                loop.phase[0]["send_lag_ns_max"] = lag


@kernel
def wait_in_line(loop: Any, slot: int, now: int) -> None:
    """Put a slot at the end of its connection's waiting line."""
    request = loop.requests[slot]
    request["state"] = WAITING
    request["queued_ns"] = now
    lines.push(loop.lines, loop.requests, int(request["connection"]), slot)


@kernel
def finish(loop: Any, slot: int, now: int) -> None:
    """A request has its outcome: its client thinks, or its slot is free."""
    phase = loop.phase[0]
    request = loop.requests[slot]
    request["state"] = FREE
    phase["in_flight"] -= 1
    phase["last_ns"] = now
    if phase["closed_loop"] == 1:
        request["scheduled_ns"] = now + phase["think_ns"]
        loop.ready[phase["ready_tail"] % len(loop.ready)] = slot
        phase["ready_tail"] += 1
    else:
        loop.free[phase["free"]] = slot
        phase["free"] += 1


@kernel
def fail(loop: Any, record: Any, slot: int, code: int, now: int) -> None:
    """Record a failure and finish the request."""
    request = loop.requests[slot]
    recorder.record_error(record, int(request["operation"]), code, int(request["scheduled_ns"]), now)
    finish(loop, slot, now)


@kernel
def send_or_wait(loop: Any, clients: Any, choices: Any, net: Any, record: Any, slot: int, now: int) -> None:
    """Send a slot's request, behind those that already wait for its connection."""
    if loop.lines[loop.requests[slot]["connection"]]["head"] >= 0:
        wait_in_line(loop, slot, now)
        return
    result = try_send(loop, clients, choices, net, slot, now)
    if result > 0:
        mark_sent(loop, record, slot, now)
    elif result == 0:
        wait_in_line(loop, slot, now)
    elif slot < loop.phase[0]["clients"]:
        fail(loop, record, slot, -result, now)
    else:
        loop.requests[slot]["state"] = FREE


@kernel
def drain_line(loop: Any, clients: Any, choices: Any, net: Any, record: Any, connection: int, now: int) -> None:
    """Send what waits for a connection, as far as it can take it."""
    while loop.lines[connection]["head"] >= 0:
        slot = int(loop.lines[connection]["head"])
        result = try_send(loop, clients, choices, net, slot, now)
        if result == 0:
            return
        lines.pop(loop.lines, loop.requests, connection)
        if result > 0:
            mark_sent(loop, record, slot, now)
        elif slot < loop.phase[0]["clients"]:
            fail(loop, record, slot, -result, now)
        else:
            loop.requests[slot]["state"] = FREE


@kernel
def issue(loop: Any, choices: Any, record: Any, slot: int, scheduled_ns: int) -> None:
    """Choose the next request for a slot, and count it as offered and in flight."""
    phase = loop.phase[0]
    requests.choose(loop, choices, slot, scheduled_ns)
    recorder.offered(record, int(loop.requests[slot]["operation"]), scheduled_ns)
    phase["offered"] += 1
    phase["in_flight"] += 1
    if phase["in_flight"] > phase["in_flight_max"]:
        phase["in_flight_max"] = phase["in_flight"]
    phase["last_slot"] = slot
    if slot >= phase["used"]:
        phase["used"] = slot + 1


@kernel
def start_request(
    loop: Any, clients: Any, choices: Any, net: Any, record: Any, slot: int, scheduled_ns: int, now: int
) -> None:
    """The next request of a slot: choose it, and send it."""
    issue(loop, choices, record, slot, scheduled_ns)
    send_or_wait(loop, clients, choices, net, record, slot, now)


@kernel
def issue_ready(loop: Any, clients: Any, choices: Any, net: Any, record: Any, now: int) -> None:
    """Closed loop: a new request for each client whose think time is over. Beyond the phase's end, clients rest."""
    phase = loop.phase[0]
    tail = int(phase["ready_tail"])
    while phase["ready_head"] < tail:
        slot = int(loop.ready[phase["ready_head"] % len(loop.ready)])
        due = int(loop.requests[slot]["scheduled_ns"])
        over = phase["stopping"] == 1 or phase["index"] >= phase["count"] or now >= phase["end_ns"]
        if not over and due > now:
            return
        phase["ready_head"] += 1
        if not over and due < phase["end_ns"]:
            start_request(loop, clients, choices, net, record, slot, due, now)


@kernel
def advance_due(phase: Any, arrival: Any) -> None:
    """Open loop: compute the due time of request ``phase.index``."""
    index, last = int(phase["index"]), int(phase["due_index"])
    start = int(phase["start_ns"])
    phase["due_ns"] = arrivals.share_due_ns(arrival, last, index, int(phase["due_ns"]), start)
    phase["due_index"] = index


@kernel
def schedule_over(phase: Any) -> bool:
    """Open loop: whether no further request is scheduled."""
    return bool(phase["index"] >= phase["count"] or phase["due_ns"] >= phase["end_ns"])


@kernel
def pick_connection(loop: Any, net: Any, slot: int) -> int:
    """Open loop: the next ready connection in turn, or the next in turn when none is. Lease holders stay on theirs."""
    phase = loop.phase[0]
    total = int(phase["load_connections"])
    if phase["lease_per_connection"] == 1:
        return slot % total
    first = int(phase["round_robin"])
    phase["round_robin"] = (first + 1) % total
    for step in range(total):
        candidate = (first + step) % total
        if net.connections[candidate]["ready"] == 1:
            return candidate
    return first


@kernel
def issue_due(loop: Any, clients: Any, choices: Any, net: Any, record: Any, now: int) -> int:
    """Open loop: send every request that is due, as far as slots are free. Returns the time it is now."""
    phase = loop.phase[0]
    issued = 0
    while phase["stopping"] == 0 and not schedule_over(phase) and phase["due_ns"] <= now:
        if phase["free"] == 0:
            phase["cap_hit_ns"] = now
            return now
        phase["free"] -= 1
        slot = int(loop.free[phase["free"]])
        due = int(phase["due_ns"])
        if due <= phase["cap_hit_ns"]:
            phase["cap_reached"] += 1
        loop.requests[slot]["connection"] = pick_connection(loop, net, slot)
        start_request(loop, clients, choices, net, record, slot, due, now)
        advance_due(phase, choices.arrival)
        issued += 1
        if issued % ISSUE_BATCH == 0:
            now = clock.monotonic_ns(loop.scratch)
    return now


@kernel
def give_up(loop: Any, choices: Any, record: Any, now: int) -> None:
    """Open loop: the next request was due but never had a slot: offered, and failed (NOT_SENT)."""
    phase = loop.phase[0]
    due = int(phase["due_ns"])
    operation = mix.choose(choices.mix, int(phase["index"]))
    recorder.offered(record, operation, due)
    recorder.record_error(record, operation, NOT_SENT, due, now)
    phase["offered"] += 1
    phase["index"] += phase["shares"]
    advance_due(phase, choices.arrival)


@kernel
def abandon_backlog(loop: Any, choices: Any, record: Any, until: int, now: int) -> None:
    """Open loop: give up what was due before ``until``."""
    phase = loop.phase[0]
    while not schedule_over(phase) and phase["due_ns"] <= until:
        give_up(loop, choices, record, now)
