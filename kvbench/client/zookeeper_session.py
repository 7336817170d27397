"""Sessions on a connection to ZooKeeper: handshake, digest auth, pings; and the operations on leases.

A connection has one session. As a rule it is opened as soon as TCP is up, and taken up again by id and password when
the connection was lost. With ``lease_sessions`` it is what a lease is: opened by LEASE_GRANT with the lease's time to
live, refreshed only by LEASE_KEEP_ALIVE, closed by LEASE_REVOKE, given up when the connection is lost. Other operations
on such a connection (preparing the key space) use the lease's session, or open an ordinary one that has to be closed,
and the connection with it, before a lease is granted.
"""

from typing import Any

from kvbench.client.zookeeper_queue import error_code, next_xid, push, put_outcome, write_position, written
from kvbench.client.zookeeper_records import (
    ATTACHED,
    AUTH_REFUSED,
    AUTHENTICATING,
    CLOSE,
    CLOSING,
    DETACHED,
    HANDSHAKE,
    LEASE_CREATE,
    LEASE_SUFFIX_BYTES,
    PING,
    SESSION_EXPIRED,
)
from kvbench.jit import kernel
from kvbench.ops.errors import ErrorCode
from kvbench.ops.kinds import Kind
from kvbench.rt.buffer import copy, fill
from kvbench.wire import jute, jute_replies, jute_requests

LEASE_GRANT = int(Kind.LEASE_GRANT)
LEASE_KEEP_ALIVE = int(Kind.LEASE_KEEP_ALIVE)
LEASE_REVOKE = int(Kind.LEASE_REVOKE)
_LEASE_EXPIRED = int(ErrorCode.LEASE_EXPIRED)
_FAILED_PRECONDITION = int(ErrorCode.FAILED_PRECONDITION)
_REQUEST_TOO_LARGE = int(ErrorCode.REQUEST_TOO_LARGE)


@kernel
def forget_session(texts: Any, state: Any, connection: int) -> None:
    """The next handshake opens a new session."""
    state["session_id"] = 0
    state["last_zxid"] = 0
    fill(texts, connection * jute.PASSWORD_BYTES, jute.PASSWORD_BYTES, 0)


@kernel
def greet(client: Any, net: Any, connection: int, timeout_ms: int) -> int:
    """Send ConnectRequest for the session known, or for a new one. Returns 1, or 0 without room."""
    state = client.sessions[connection]
    at = write_position(net, state, client.ring_size, connection, jute_requests.CONNECT_BYTES, 0)
    if at < 0:
        return 0
    password_at = connection * jute.PASSWORD_BYTES
    end = jute_requests.put_connect(
        net.tx, at, state["last_zxid"], timeout_ms, state["session_id"], client.texts, password_at
    )
    written(net, connection, end)
    state["phase"] = HANDSHAKE
    return 1


@kernel
def receive_greeting(client: Any, net: Any, connection: int, at: int, end: int, outcomes: Any, count: int) -> int:
    """ConnectResponse. Returns the new number of outcomes, or a negative code."""
    state = client.sessions[connection]
    answer = client.reply[0]
    size = jute_replies.decode_connect_response(net.rx, at, end, answer)
    if size < 0:
        return size
    if answer["timeout_ms"] <= 0 or answer["session_id"] == 0:
        forget_session(client.texts, state, connection)
        return SESSION_EXPIRED
    state["session_id"] = answer["session_id"]
    state["timeout_ms"] = answer["timeout_ms"]
    size = max(int(answer["data_bytes"]), 0)
    copy(client.texts, connection * jute.PASSWORD_BYTES, net.rx, int(answer["data_at"]), size)
    secret = client.credentials_bytes
    if secret == 0:
        return attach(client, net, connection, 0, outcomes, count)
    at = write_position(net, state, client.ring_size, connection, jute_requests.AUTH_BYTES + secret, 0)
    if at < 0:
        return AUTH_REFUSED
    written(net, connection, jute_requests.put_digest_auth(net.tx, at, client.texts, client.credentials_at, secret))
    state["phase"] = AUTHENTICATING
    return count


@kernel
def attach(client: Any, net: Any, connection: int, error: int, outcomes: Any, count: int) -> int:
    """The session is usable, unless the credentials were refused. Returns the new number of outcomes or a code."""
    state = client.sessions[connection]
    if error != 0:
        return AUTH_REFUSED
    state["phase"] = ATTACHED
    net.connections[connection]["ready"] = 1
    if state["leased"] == 0:
        return count
    slot = int(state["lease_slot"])
    state["lease_slot"] = -1
    if slot < 0:
        # Nobody waits for this lease any more.
        leave(client, net, connection, -1)
        return count
    count = put_outcome(outcomes, count, slot, LEASE_GRANT, 0, 0, 1, 1)
    outcomes[count - 1]["lease_id"] = state["session_id"]
    return count


@kernel
def leave(client: Any, net: Any, connection: int, slot: int) -> int:
    """Send closeSession, after which the server closes the connection. Returns 1, or 0 without room."""
    state = client.sessions[connection]
    at = write_position(net, state, client.ring_size, connection, jute_requests.PING_BYTES, 1)
    if at < 0:
        return 0
    end = jute_requests.put_close_session(net.tx, at, next_xid(state))
    push(client.ring, connection * client.ring_size, client.ring_size - 1, state, CLOSE, slot, LEASE_REVOKE, 0, 0)
    written(net, connection, end)
    return 1


@kernel
def ping(client: Any, net: Any, connection: int, slot: int) -> int:
    """Send a ping. Returns 1, or 0 without room."""
    state = client.sessions[connection]
    at = write_position(net, state, client.ring_size, connection, jute_requests.PING_BYTES, 1)
    if at < 0:
        return 0
    base, mask = connection * client.ring_size, client.ring_size - 1
    push(client.ring, base, mask, state, PING, slot, LEASE_KEEP_ALIVE, 0, 0)
    written(net, connection, jute_requests.put_ping(net.tx, at))
    return 1


@kernel
def submit_lease(client: Any, net: Any, connection: int, slot: int, operation: Any, payload: Any) -> int:
    """A lease operation on a client with ``lease_sessions``: 1 accepted, 0 blocked, negative: -ErrorCode."""
    state = client.sessions[connection]
    kind = int(operation["kind"])
    phase = int(state["phase"])
    if phase != DETACHED and phase != ATTACHED:
        return 0
    if kind == LEASE_GRANT:
        if phase == ATTACHED and state["leased"] == 0:
            if leave(client, net, connection, -1) == 1:
                state["phase"] = CLOSING
            return 0
        if phase == ATTACHED:
            if operation["step"] == 0:
                return -_FAILED_PRECONDITION
            return create_ephemeral(client, net, connection, slot, operation, payload)
        forget_session(client.texts, state, connection)
        state["leased"] = 1
        ttl_ms = int(operation["ttl_s"]) * 1000
        accepted = greet(client, net, connection, ttl_ms if ttl_ms > 0 else client.session_timeout_ms)
        state["lease_slot"] = slot if accepted == 1 else -1
        return accepted
    leased = phase == ATTACHED and state["leased"] == 1
    if not leased or (operation["lease_id"] != 0 and operation["lease_id"] != state["session_id"]):
        return -_LEASE_EXPIRED
    if kind == LEASE_KEEP_ALIVE:
        return ping(client, net, connection, slot)
    return leave(client, net, connection, slot)


@kernel
def open_ordinary(client: Any, net: Any, connection: int) -> None:
    """With ``lease_sessions``: an operation that is not about leases needs a session, unless one is open."""
    state = client.sessions[connection]
    if state["phase"] == DETACHED:
        forget_session(client.texts, state, connection)
        state["leased"] = 0
        greet(client, net, connection, client.session_timeout_ms)


@kernel
def create_ephemeral(client: Any, net: Any, connection: int, slot: int, operation: Any, payload: Any) -> int:
    """A lease's znode: the key, a dash and the session id in hexadecimal. Returns as ``submit_lease`` does."""
    key_bytes = int(operation["key_bytes"])
    value_at, value_bytes = int(operation["value_at"]), int(operation["value_bytes"])
    need = jute_requests.CREATE_BYTES + key_bytes + LEASE_SUFFIX_BYTES + value_bytes
    if need >= min(net.tx_bytes, client.request_bytes_max) or key_bytes > client.key_bytes_max:
        return -_REQUEST_TOO_LARGE
    state = client.sessions[connection]
    at = write_position(net, state, client.ring_size, connection, need, 1)
    if at < 0:
        return 0
    path_at = client.scratch_at
    copy(client.texts, path_at, payload, int(operation["key_at"]), key_bytes)
    digits_at = path_at + key_bytes + 1
    client.texts[digits_at - 1] = 45
    for digit in range(16):
        nibble = (state["session_id"] >> (60 - 4 * digit)) & 15
        client.texts[digits_at + digit] = nibble + 48 if nibble < 10 else nibble + 87
    key_bytes += LEASE_SUFFIX_BYTES
    end = jute_requests.put_create(
        net.tx, at, next_xid(state), client.texts, path_at, key_bytes, payload, value_at, value_bytes, jute.EPHEMERAL
    )
    base, mask = connection * client.ring_size, client.ring_size - 1
    push(client.ring, base, mask, state, LEASE_CREATE, slot, LEASE_GRANT, 1, 0)
    written(net, connection, end)
    return 1


@kernel
def lease_created(client: Any, net: Any, connection: int, slot: int, outcomes: Any, count: int) -> int:
    """The answer to a lease's create. A lease that failed, or that nobody waits for, gives its session back."""
    state = client.sessions[connection]
    reply = client.reply[0]
    error = int(reply["error"])
    if error != 0 or slot < 0:
        leave(client, net, connection, -1)
    if slot < 0:
        return count
    found = 1 if error == 0 else 0
    count = put_outcome(outcomes, count, slot, LEASE_GRANT, error_code(error), reply["zxid"], found, 0)
    outcomes[count - 1]["lease_id"] = state["session_id"]
    return count
