"""The load loop: one call of ``run_phase`` is one load thread's phase."""

from typing import Any

from kvbench.client import dispatch
from kvbench.jit import kernel
from kvbench.load import outcomes, recorder, sending
from kvbench.load.records import (
    END_COUNT,
    END_DURATION,
    END_STOPPED,
    SENT,
    SHARED_COMPLETED,
    SHARED_ERRORS,
    SHARED_IN_FLIGHT,
    SHARED_OFFERED,
    SHARED_STOP,
    SHARED_WATCHING,
    STOP_NONE,
    STOP_NOW,
)
from kvbench.net import table
from kvbench.net.records import CLOSED, CONNECTING, OPEN, TIMER_TAG
from kvbench.rt import atomics, clock, libc

TICK_NS = 100_000_000
RETRY_IDLE_NS = 1_000_000_000
DEFER_NS = 1_000_000
"""Longest that an answer is left unread."""
HANGUP = libc.EPOLLERR | libc.EPOLLHUP


@kernel
def connect_due(loop: Any, net: Any, now: int) -> None:
    """Connect what is closed and due, and give up on connects that take too long."""
    phase = loop.phase[0]
    earliest = now + RETRY_IDLE_NS
    if phase["closing"] == 1:
        phase["retry_ns"] = earliest
        return
    for connection in range(len(net.connections)):
        row = net.connections[connection]
        if row["state"] == CONNECTING and now - row["opened_ns"] > table.CONNECT_TIMEOUT_NS:
            table.disconnect(net, connection)
            table.schedule_retry(net, connection, now)
        if row["state"] == CLOSED and row["retry_at_ns"] <= now:
            table.start_connect(net, connection, now)
        if row["state"] == CLOSED:
            earliest = min(earliest, int(row["retry_at_ns"]))
    phase["retry_ns"] = earliest


@kernel
def receive(loop: Any, clients: Any, net: Any, record: Any, connection: int, received: int, now: int) -> int:
    """Decode what was received at ``received``. Returns 0, or a negative code when the connection must be broken.

    ``more`` stays set when the protocol waits for room in tx: ``flush_dirty`` comes back once all of it is sent.
    """
    row = net.connections[connection]
    protocol = int(loop.phase[0]["protocol"])
    was_ready = row["ready"]
    while True:
        result = dispatch.receive(protocol, clients.etcd, clients.zookeeper, net, connection, now, loop.outcomes, 0)
        if result <= 0:
            break
        outcomes.handle_outcomes(loop, record, result, received, now)
        if row["more"] == 0:
            break
    if was_ready == 0 and row["ready"] == 1:
        outcomes.connection_ready(loop, net, connection, now)
    return min(result, 0)


@kernel
def flush_dirty(loop: Any, clients: Any, choices: Any, net: Any, record: Any, now: int) -> None:
    """Send every write buffer that got something since the last time, and refill it from the waiting line."""
    while net.dirty[0] > 0:
        connection = int(net.dirty[net.dirty[0]])
        net.dirty[0] -= 1
        row = net.connections[connection]
        row["dirty"] = 0
        if row["state"] != OPEN:
            continue
        result = table.flush(net, connection, now)
        if result >= 0 and row["more"] == 1 and row["wants_write"] == 0:
            result = receive(loop, clients, net, record, connection, now, now)
        if result < 0:
            outcomes.break_connection(loop, clients, net, record, connection, now)
        elif row["tx_end"] == 0 and loop.lines[connection]["head"] >= 0:
            sending.drain_line(loop, clients, choices, net, record, connection, now)


@kernel
def handle_readable(loop: Any, clients: Any, choices: Any, net: Any, record: Any, connection: int) -> None:
    """Read once, record the answers, and send what follows from them on the same connection.

    In a closed loop an answer is received when it is read, because then its client is free. In an open loop nothing
    follows from it, and it is received when the kernel says that it arrived.
    """
    now = clock.monotonic_ns(loop.scratch)
    in_schedule = loop.phase[0]["closed_loop"] == 0
    status = table.read_stamped(net, connection, now) if in_schedule else table.read(net, connection, now)
    result = 0
    if status == table.READ_SOME:
        now = clock.monotonic_ns(loop.scratch)
        recorder.roll(record, now)
        received = int(net.connections[connection]["arrived_ns"]) if in_schedule else now
        result = receive(loop, clients, net, record, connection, received, now)
    elif status == table.READ_FULL and net.connections[connection]["more"] == 1:
        table.pause(net, connection)
    elif status != table.READ_NONE:
        result = status
    if result < 0:
        outcomes.break_connection(loop, clients, net, record, connection, now)
    if loop.phase[0]["closed_loop"] == 1:
        sending.issue_ready(loop, clients, choices, net, record, clock.monotonic_ns(loop.scratch))


@kernel
def handle_connected(loop: Any, clients: Any, net: Any, record: Any, connection: int, now: int) -> None:
    """connect() came to an end: greet, or try the next address later."""
    if table.finish_connect(net, connection, now) != OPEN:
        row = net.connections[connection]
        row["endpoint"] = (row["endpoint"] + 1) % len(net.address_bytes)
        loop.phase[0]["retry_ns"] = min(int(loop.phase[0]["retry_ns"]), int(row["retry_at_ns"]))
        return
    protocol = int(loop.phase[0]["protocol"])
    if dispatch.opened(protocol, clients.etcd, clients.zookeeper, net, connection, now) < 0:
        outcomes.break_connection(loop, clients, net, record, connection, now)
    elif net.connections[connection]["ready"] == 1:
        outcomes.connection_ready(loop, net, connection, now)


@kernel
def handle_events(loop: Any, clients: Any, choices: Any, net: Any, record: Any, count: int) -> None:
    """What epoll reported, connection by connection, each flushed before the next is looked at."""
    for event in range(count):
        connection = table.event_tag(net, event)
        if connection == TIMER_TAG:
            continue
        mask = table.event_mask(net, event)
        row = net.connections[connection]
        if row["state"] == CONNECTING:
            now = clock.monotonic_ns(loop.scratch)
            handle_connected(loop, clients, net, record, connection, now)
        elif row["state"] == OPEN:
            if mask & libc.EPOLLOUT:
                table.mark_dirty(net, connection)
            if mask & (libc.EPOLLIN | HANGUP):
                handle_readable(loop, clients, choices, net, record, connection)
        now = clock.monotonic_ns(loop.scratch)
        if row["state"] == OPEN and row["ready"] == 1 and loop.lines[connection]["head"] >= 0:
            sending.drain_line(loop, clients, choices, net, record, connection, now)
        flush_dirty(loop, clients, choices, net, record, now)


@kernel
def publish(loop: Any, record: Any) -> None:
    """Counters for Python to read."""
    atomics.store(loop.shared, SHARED_OFFERED, int(loop.phase[0]["offered"]))
    atomics.store(loop.shared, SHARED_COMPLETED, int(loop.phase[0]["completed"]))
    atomics.store(loop.shared, SHARED_ERRORS, record.state[recorder.FAILED])
    atomics.store(loop.shared, SHARED_IN_FLIGHT, int(loop.phase[0]["in_flight"]))
    atomics.store(loop.shared, SHARED_WATCHING, int(loop.phase[0]["standing"]))


@kernel
def housekeeping(loop: Any, clients: Any, net: Any, record: Any, now: int) -> None:
    """What is done now and then: seconds, counters, connects, time-outs, pings."""
    phase = loop.phase[0]
    recorder.roll(record, now)
    if phase["retry_ns"] <= now:
        connect_due(loop, net, now)
    if phase["sweep_ns"] <= now:
        phase["sweep_ns"] = now + min(max(int(phase["timeout_ns"]) // 100, 1_000_000), TICK_NS)
        outcomes.sweep(loop, clients, net, record, now)
    if phase["tick_ns"] <= now:
        phase["tick_ns"] = now + TICK_NS
        publish(loop, record)
        protocol = int(phase["protocol"])
        for connection in range(len(net.connections)):
            if net.connections[connection]["state"] != OPEN:
                continue
            if dispatch.tick(protocol, clients.etcd, clients.zookeeper, net, connection, now) < 0:
                outcomes.break_connection(loop, clients, net, record, connection, now)
            elif net.connections[connection]["more"] == 1 or loop.lines[connection]["head"] >= 0:
                # What blocked a waiting request may be shared with other connections, whose events do not show here.
                table.mark_dirty(net, connection)


@kernel
def next_wake_ns(loop: Any, record: Any, now: int) -> int:
    """When the loop has to wake without an event; not after ``now``: at once."""
    phase = loop.phase[0]
    wake = min(int(phase["tick_ns"]), int(phase["sweep_ns"]))
    wake = min(wake, int(phase["retry_ns"]))
    wake = min(wake, record.state[recorder.NEXT_NS])
    if phase["stopping"] == 0:
        if phase["closed_loop"] == 1:
            if phase["ready_head"] < phase["ready_tail"]:
                slot = int(loop.ready[phase["ready_head"] % len(loop.ready)])
                wake = min(wake, int(loop.requests[slot]["scheduled_ns"]))
        elif phase["free"] > 0 and not sending.schedule_over(phase):
            wake = min(wake, int(phase["due_ns"]))
        if phase["end_ns"] > now:
            wake = min(wake, int(phase["end_ns"]))
    return int(wake)


@kernel
def may_defer(loop: Any, net: Any, now: int) -> bool:
    """Open loop: whether the answer under way may be read when the next request is due, so that one wake does for both.

    Waking a thread costs as much as a send. So nothing is waited for when the next request is due soon and nothing
    but one answer can come meanwhile, of which the kernel notes when it arrived: a small one, with which its operation
    is done (PHASE.defers), to a request that has left.
    """
    phase = loop.phase[0]
    gap = phase["due_ns"] - now
    if phase["defers"] == 0 or phase["in_flight"] != 1 or gap <= 0 or gap > DEFER_NS:
        return False
    if phase["stopping"] == 1 or phase["free"] == 0 or sending.schedule_over(phase):
        return False
    request = loop.requests[phase["last_slot"]]
    row = net.connections[request["connection"]]
    return bool(request["state"] == SENT and row["stamped"] == 2 and row["wants_write"] == 0)


@kernel
def is_over(loop: Any, net: Any, now: int) -> bool:
    """Whether the phase is done: nothing more is scheduled, and nothing is in flight."""
    phase = loop.phase[0]
    if phase["opening"] == 1:
        watchers = len(loop.requests) - phase["clients"]
        ready = phase["connected"] == phase["all_connections"] and phase["standing"] == watchers
        return bool(ready or phase["stopping"] == 1 or now >= phase["end_ns"])
    if phase["closing"] == 1:
        for connection in range(len(net.connections)):
            if net.connections[connection]["state"] == OPEN and now < phase["end_ns"]:
                return False
        return True
    if phase["in_flight"] > 0:
        return False
    if phase["stopping"] == 1:
        return True
    if phase["closed_loop"] == 1:
        return bool(phase["index"] >= phase["count"] or now >= phase["end_ns"])
    if phase["index"] >= phase["count"]:
        return True
    return bool(phase["due_ns"] >= phase["end_ns"] and now >= phase["end_ns"])


@kernel
def observe_stop(loop: Any, clients: Any, choices: Any, net: Any, record: Any, now: int) -> None:
    """Take notice of Python's stop flag, and of a backlog that outlives the schedule by the time-out."""
    phase = loop.phase[0]
    stop = atomics.load(loop.shared, SHARED_STOP)
    if stop != STOP_NONE and phase["stopping"] == 0:
        phase["stopping"] = 1
        phase["end_reason"] = END_STOPPED
        if phase["closed_loop"] == 0 and phase["opening"] == 0:
            sending.abandon_backlog(loop, choices, record, now, now)
    if stop == STOP_NOW and phase["in_flight"] > 0:
        outcomes.abort(loop, clients, net, record, now)
    late_ns = now - phase["end_ns"]
    done = sending.schedule_over(phase) or late_ns > phase["timeout_ns"]
    if phase["closed_loop"] == 0 and phase["stopping"] == 0 and late_ns >= 0 and done:
        phase["stopping"] = 1
        sending.abandon_backlog(loop, choices, record, int(phase["end_ns"]), now)


@kernel
def begin(loop: Any, choices: Any, net: Any) -> int:
    """Set the clockwork of a phase going. Returns the time it is now."""
    libc.prctl(libc.PR_SET_TIMERSLACK, 1, 0, 0, 0)
    if net.epoll[0] < 0:
        table.open_epoll(net)
        table.open_timer(net)
    phase = loop.phase[0]
    now = clock.monotonic_ns(loop.scratch)
    phase["sweep_ns"] = now
    phase["tick_ns"] = now
    phase["retry_ns"] = now
    phase["last_ns"] = now
    if phase["closed_loop"] == 0:
        phase["due_ns"] = phase["start_ns"]
        phase["due_index"] = -1
        sending.advance_due(phase, choices.arrival)
    return now


@kernel
def leave_all(loop: Any, clients: Any, net: Any, now: int) -> None:
    """The run is over: end every session. A connection without one is closed at once."""
    protocol = int(loop.phase[0]["protocol"])
    for connection in range(len(net.connections)):
        left = 0
        if net.connections[connection]["state"] == OPEN:
            left = dispatch.close_session(protocol, clients.etcd, clients.zookeeper, net, connection, now)
        if left == 0:
            table.disconnect(net, connection)


@kernel
def run_phase(loop: Any, clients: Any, choices: Any, net: Any, record: Any) -> int:
    """Run one phase to its end. Returns the time it ended, CLOCK_MONOTONIC in ns.

    ``loop``: Loop, ``clients``: Clients, ``choices``: Choices, ``net``: Net, ``record``: the thread's recorder. The
    PHASE record says what to do, and when it returns, what was done.
    """
    phase = loop.phase[0]
    now = begin(loop, choices, net)
    deferred = False
    if phase["closing"] == 1:
        leave_all(loop, clients, net, now)
    while True:
        observe_stop(loop, clients, choices, net, record, now)
        if phase["opening"] == 0 and now >= phase["start_ns"]:
            if phase["closed_loop"] == 1:
                sending.issue_ready(loop, clients, choices, net, record, now)
            else:
                now = sending.issue_due(loop, clients, choices, net, record, now)
        flush_dirty(loop, clients, choices, net, record, now)
        if is_over(loop, net, now):
            break
        if not deferred and may_defer(loop, net, now):
            table.sleep_until(net, int(phase["due_ns"]))
            now = clock.monotonic_ns(loop.scratch)
            recorder.roll(record, now)
            phase["deferred"] += 1
            deferred = True
            continue
        count = table.wait_until(net, now if deferred else next_wake_ns(loop, record, now), now)
        deferred = False
        handle_events(loop, clients, choices, net, record, count)
        now = clock.monotonic_ns(loop.scratch)
        housekeeping(loop, clients, net, record, now)
    if phase["end_reason"] == END_COUNT and phase["index"] < phase["count"]:
        phase["end_reason"] = END_DURATION
    publish(loop, record)
    recorder.finish(record, now)
    return now
