"""From decoded answers to records, and what becomes of requests whose connection or time is up."""

from typing import Any

from kvbench.client import dispatch
from kvbench.jit import kernel
from kvbench.load import lines, recorder, sending
from kvbench.load.records import FREE, SENT, SHARED_CONNECTED, WAITING, WATCHING
from kvbench.load.requests import INSERT, LEASE_GRANT, LEASE_REVOKE, PUT, TXN, WATCH
from kvbench.net import table
from kvbench.ops.errors import ErrorCode
from kvbench.rt import atomics

TIMEOUT, NOT_CONNECTED = int(ErrorCode.TIMEOUT), int(ErrorCode.NOT_CONNECTED)
CANCELLED, CONNECTION_LOST = int(ErrorCode.CANCELLED), int(ErrorCode.CONNECTION_LOST)
NOT_SENT = int(ErrorCode.NOT_SENT)
LEASE_EXPIRED = int(ErrorCode.LEASE_EXPIRED)


@kernel
def handle_event(loop: Any, record: Any, outcome: Any, received: int) -> None:
    """A watch event: from the put's send, which the value carried, on. Puts before this phase are not its own."""
    operation = int(loop.phase[0]["watch_operation"])
    sent = int(outcome["sent_ns"])
    if sent < loop.phase[0]["start_ns"] or sent > received:
        return
    recorder.offered(record, operation, sent)
    recorder.sent(record, operation)
    recorder.record(record, operation, sent, sent, received)
    loop.phase[0]["last_ns"] = received


@kernel
def handle_watch(loop: Any, slot: int, code: int, now: int) -> None:
    """The answer to a watch: it stands, or its watcher asks again."""
    request = loop.requests[slot]
    if request["state"] == WATCHING:
        loop.phase[0]["standing"] -= 1
    request["sent_ns"] = 0
    if code == 0:
        request["state"] = WATCHING
        loop.phase[0]["standing"] += 1
    elif code == CONNECTION_LOST:
        request["state"] = FREE
    else:
        sending.wait_in_line(loop, slot, now)


@kernel
def note_lease(request: Any, outcome: Any, kind: int, code: int) -> None:
    """Remember the lease that a client holds, or that it holds none."""
    if kind == LEASE_GRANT and code == 0:
        request["lease_id"] = outcome["lease_id"]
    elif kind == LEASE_REVOKE or code == LEASE_EXPIRED:
        request["lease_id"] = 0


@kernel
def next_step(loop: Any, outcome: Any, slot: int, now: int) -> None:
    """The operation needs one more request: put it at the end of its connection's line, to be sent at once."""
    request = loop.requests[slot]
    request["step"] = outcome["next_step"]
    request["expected"] = outcome["revision"]
    kind = request["kind"]
    if kind == PUT or kind == TXN or kind == INSERT:
        loop.phase[0]["second_tries"] += 1
    sending.wait_in_line(loop, slot, now)


@kernel
def handle_outcomes(loop: Any, record: Any, count: int, received: int, now: int) -> None:
    """Record ``outcomes[0:count]`` as received at ``received``, not after ``now``."""
    for position in range(count):
        outcome = loop.outcomes[position]
        slot = int(outcome["slot"])
        code = int(outcome["code"])
        if slot < 0:
            handle_event(loop, record, outcome, received)
            continue
        request = loop.requests[slot]
        kind = int(request["kind"])
        if kind == WATCH:
            handle_watch(loop, slot, code, now)
            continue
        if request["state"] != SENT:
            continue
        if LEASE_GRANT <= kind <= LEASE_REVOKE:
            note_lease(request, outcome, kind, code)
        if code != 0:
            sending.fail(loop, record, slot, code, now)
        elif outcome["next_step"] != 0:
            next_step(loop, outcome, slot, now)
        else:
            operation = int(request["operation"])
            scheduled, sent = int(request["scheduled_ns"]), int(request["sent_ns"])
            recorder.record(record, operation, scheduled, sent, max(received, sent))
            loop.phase[0]["completed"] += 1
            if outcome["count"] == 0:
                loop.phase[0]["missing"] += 1
            sending.finish(loop, slot, now)


@kernel
def connection_ready(loop: Any, net: Any, connection: int, now: int) -> None:
    """A connection finished its greeting: count it, and set its watches."""
    phase = loop.phase[0]
    phase["connected"] += 1
    net.connections[connection]["failures"] = 0
    atomics.store(loop.shared, SHARED_CONNECTED, int(phase["connected"]))
    if connection < phase["load_connections"]:
        return
    for slot in range(phase["clients"], len(loop.requests)):
        request = loop.requests[slot]
        if request["connection"] == connection and request["state"] == FREE:
            request["sent_ns"] = 0
            sending.wait_in_line(loop, slot, now)


@kernel
def forget_leases(loop: Any, connection: int) -> None:
    """The connection was the session: its clients' leases are gone from their view."""
    for slot in range(loop.phase[0]["clients"]):
        if loop.requests[slot]["connection"] == connection:
            loop.requests[slot]["lease_id"] = 0


@kernel
def break_connection(loop: Any, clients: Any, net: Any, record: Any, connection: int, now: int) -> None:
    """A connection is gone: fail what was on it, close it, and connect again later, to the next address."""
    phase = loop.phase[0]
    row = net.connections[connection]
    was_ready = row["ready"] == 1
    protocol = int(phase["protocol"])
    count = dispatch.lost(protocol, clients.etcd, clients.zookeeper, net, connection, loop.outcomes, 0)
    handle_outcomes(loop, record, count, now, now)
    if phase["lease_per_connection"] == 1:
        forget_leases(loop, connection)
    table.disconnect(net, connection)
    if was_ready:
        phase["connected"] -= 1
        atomics.store(loop.shared, SHARED_CONNECTED, int(phase["connected"]))
        phase["reconnects"] += 1
    if was_ready and phase["lease_per_connection"] == 1:
        row["retry_at_ns"] = now
    else:
        table.schedule_retry(net, connection, now)
        row["endpoint"] = (row["endpoint"] + 1) % len(net.address_bytes)
    phase["retry_ns"] = min(int(phase["retry_ns"]), int(row["retry_at_ns"]))


@kernel
def expire(loop: Any, clients: Any, net: Any, record: Any, slot: int, now: int) -> None:
    """Fail a request that was sent, or waited for its connection, longer than the time-out."""
    phase = loop.phase[0]
    request = loop.requests[slot]
    connection = int(request["connection"])
    timeout = int(phase["timeout_ns"])
    if request["state"] == SENT:
        if now - request["sent_ns"] > timeout:
            protocol = int(phase["protocol"])
            dispatch.cancel(protocol, clients.etcd, clients.zookeeper, net, connection, slot, now)
            sending.fail(loop, record, slot, TIMEOUT, now)
    elif request["state"] == WAITING and now - request["queued_ns"] > timeout:
        lines.remove(loop.lines, loop.requests, connection, slot)
        sending.fail(loop, record, slot, TIMEOUT if request["sent_ns"] > 0 else NOT_CONNECTED, now)


@kernel
def sweep(loop: Any, clients: Any, net: Any, record: Any, now: int) -> None:
    """Look at every slot in use for a time-out."""
    for slot in range(loop.phase[0]["used"]):
        if loop.requests[slot]["state"] != FREE:
            expire(loop, clients, net, record, slot, now)


@kernel
def abort(loop: Any, clients: Any, net: Any, record: Any, now: int) -> None:
    """The user will not wait: a request in flight ends as CANCELLED, one that was never sent as NOT_SENT."""
    phase = loop.phase[0]
    for slot in range(phase["used"]):
        request = loop.requests[slot]
        connection = int(request["connection"])
        if request["state"] == WAITING:
            lines.remove(loop.lines, loop.requests, connection, slot)
            sending.fail(loop, record, slot, CANCELLED if request["sent_ns"] > 0 else NOT_SENT, now)
        elif request["state"] == SENT:
            protocol = int(phase["protocol"])
            dispatch.cancel(protocol, clients.etcd, clients.zookeeper, net, connection, slot, now)
            sending.fail(loop, record, slot, CANCELLED, now)
