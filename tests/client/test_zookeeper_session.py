"""ZooKeeper's sessions: greeting, credentials, coming back, pings, leases, and connections that go wrong."""

import pytest

from kvbench.client import zookeeper
from kvbench.client.zookeeper import ZooKeeperCode
from kvbench.ops.errors import ErrorCode
from kvbench.ops.kinds import Kind
from kvbench.rt.codes import CLIENT
from kvbench.wire.jute import JuteError
from tests.client.zookeeper_script import (
    PASSWORD,
    SESSION,
    Script,
    brief,
    connect_request,
    connected,
    created,
    data,
    frames,
)
from tests.naive import jute

SECOND = 1_000_000_000


def test_codes_stay_in_their_range() -> None:
    assert all(code in CLIENT for code in ZooKeeperCode)


def test_greeting() -> None:
    script = Script(session_timeout_ms=12_000)
    assert script.opened() == connect_request(0, 0, bytes(16), 12_000)
    assert script.net.connections["ready"][0] == 0
    assert script.submit(Kind.PUT) == 0
    assert script.give(connected()) == []
    assert script.net.connections["ready"][0] == 1
    assert script.submit(Kind.PUT) == 1


def test_greeting_at_every_split() -> None:
    answer = connected()
    for cut in range(1, len(answer)):
        script = Script()
        script.opened()
        script.give(answer[:cut])
        assert script.net.connections["ready"][0] == 0
        script.give(answer[cut:])
        assert script.net.connections["ready"][0] == 1


def test_a_session_is_taken_up_again() -> None:
    script = Script().ready()
    script.submit(Kind.PUT)
    script.give(created(1, zxid=77))
    assert script.lost() == []
    assert script.opened() == connect_request(SESSION, 77, PASSWORD)
    assert script.give(connected()) == []
    assert script.net.connections["ready"][0] == 1


def test_xids_begin_anew_with_each_connection() -> None:
    script = Script().ready()
    script.submit(Kind.PUT)
    first = script.sent()
    assert brief(script.lost()) == [(0, ErrorCode.CONNECTION_LOST, 0, 0)]
    script.ready()
    script.submit(Kind.PUT)
    assert script.sent() == first
    assert brief(script.give(created(1))) == [(0, 0, 1, 0)]


@pytest.mark.parametrize("answer", [connected(0, 0), connected(SESSION, 0), connected(0, 30_000)])
def test_an_expired_session_is_given_up(answer: bytes) -> None:
    script = Script().ready()
    script.lost()
    script.opened()
    script.give(answer)
    assert script.code == ZooKeeperCode.SESSION_EXPIRED
    script.lost()
    assert script.opened() == connect_request(0, 0, bytes(16))


def test_credentials_follow_the_greeting() -> None:
    script = Script(user="ann", password="secret")
    script.opened()
    script.give(connected())
    assert script.sent() == jute.request(-4, 100, auth_type=0, path=b"digest", data=b"ann:secret")
    assert script.net.connections["ready"][0] == 0
    assert script.submit(Kind.PUT) == 0
    script.give(jute.reply(-4, 0, 0))
    assert script.net.connections["ready"][0] == 1


def test_refused_credentials_break_the_connection() -> None:
    script = Script(user="ann", password="wrong")
    script.opened()
    script.give(connected() + jute.reply(-4, 0, -115))
    assert script.code == ZooKeeperCode.AUTH_REFUSED


def test_answers_to_nothing_break_the_connection() -> None:
    script = Script().ready()
    script.give(created(1))
    assert script.code == ZooKeeperCode.XID_MISMATCH


def test_an_answer_out_of_order_breaks_the_connection() -> None:
    script = Script().ready()
    script.submit(Kind.PUT, slot=0)
    script.submit(Kind.PUT, slot=1)
    script.give(created(2))
    assert script.code == ZooKeeperCode.XID_MISMATCH
    assert [o["slot"] for o in script.lost()] == [0, 1]


def test_bytes_before_the_greeting_break_the_connection() -> None:
    script = Script(lease_sessions=True)
    script.opened()
    script.give(connected())
    assert script.code == ZooKeeperCode.UNEXPECTED_FRAME


@pytest.mark.parametrize(
    ("received", "code"),
    [
        (b"\xff\xff\xff\xff", JuteError.NEGATIVE_FRAME),
        (b"HTTP/1.1 400", JuteError.FRAME_TOO_LARGE),
        (b"\0\0\0\x0f" + bytes(15), JuteError.TRUNCATED),
    ],
)
def test_what_is_no_frame_breaks_the_connection(received: bytes, code: int) -> None:
    script = Script().ready()
    script.submit(Kind.PUT)
    script.give(received)
    assert script.code == code


def test_a_damaged_answer_breaks_the_connection() -> None:
    script = Script().ready()
    script.submit(Kind.GET_SERIALIZABLE)
    script.give(jute.reply(1, 7, 0, ("data", "b"), data=b"value without stat"))
    assert script.code == JuteError.TRUNCATED
    assert brief(script.lost()) == [(0, ErrorCode.CONNECTION_LOST, 0, 0)]


def test_pings_when_nothing_was_sent_for_a_third_of_the_timeout() -> None:
    script = Script().ready()
    script.sent()
    assert script.tick(9_999_000_000) == 0
    assert script.sent() == b""
    assert script.tick(1_000_000) == 0
    assert script.sent() == jute.request(-2, 11)
    assert script.tick(9 * SECOND) == 0
    assert script.sent() == b""
    assert script.give(jute.reply(-2, 0, 0)) == []
    assert script.code == 0


def test_pings_follow_the_timeout_that_the_server_grants() -> None:
    script = Script()
    script.opened()
    script.give(connected(timeout_ms=3_000))
    script.tick(SECOND)
    assert script.sent() == jute.request(-2, 11)


def test_pings_and_requests_are_told_apart_in_any_order() -> None:
    script = Script().ready()
    script.sent()
    script.tick(10 * SECOND)
    script.submit(Kind.PUT, slot=3)
    assert len(frames(script.sent())) == 2
    assert brief(script.give(created(1))) == [(3, 0, 1, 0)]
    assert script.give(jute.reply(-2, 0, 0)) == []
    script.submit(Kind.INSERT, slot=4)
    assert brief(script.give(created(2))) == [(4, 0, 1, 0)]
    assert script.lost() == []


def test_a_server_silent_for_a_whole_timeout_has_expired_the_session() -> None:
    script = Script().ready()
    script.submit(Kind.PUT)
    script.sent()
    assert script.tick(30 * SECOND) == 0
    assert script.tick(1) == ZooKeeperCode.SERVER_SILENT


def test_a_greeting_without_answer_ends() -> None:
    script = Script()
    script.opened()
    assert script.tick(30 * SECOND) == 0
    assert script.tick(1) == ZooKeeperCode.HANDSHAKE_TIMEOUT


def test_close_session() -> None:
    script = Script().ready()
    assert zookeeper.close_session(script.client, script.net, 0, script.now) == 1
    assert script.sent() == jute.request(1, -11)
    assert script.give(jute.reply(1, 8, 0)) == []
    assert script.submit(Kind.PUT) == 0
    assert zookeeper.close_session(script.client, script.net, 0, script.now) == 0
    assert script.lost() == []
    assert script.opened() == connect_request(0, 0, bytes(16))


# -- leases -----------------------------------------------------------------------------------------------------------

NODE = b"/lease-0123456789abcdef"


def holder() -> Script:
    """A client whose slot 5 holds a lease."""
    script = Script(lease_sessions=True)
    assert script.opened() == b""
    assert script.net.connections["ready"][0] == 1
    assert script.submit(Kind.LEASE_GRANT, b"lease", slot=5, ttl_s=7) == 1
    assert script.sent() == connect_request(0, 0, bytes(16), 7_000)
    (granted,) = script.give(connected(timeout_ms=7_000))
    assert (granted["slot"], granted["next_step"], granted["lease_id"]) == (5, 1, SESSION)
    assert script.submit(Kind.LEASE_GRANT, b"lease", slot=5, step=1) == 1
    assert script.sent() == jute.request(1, 1, path=NODE, data=b"", acl=jute.OPEN_ACL, flags=1)
    (done,) = script.give(created(1, NODE))
    assert (done["slot"], done["code"], done["next_step"], done["lease_id"]) == (5, 0, 0, SESSION)
    return script


def test_a_lease_is_granted_kept_alive_and_revoked() -> None:
    script = holder()
    assert script.submit(Kind.LEASE_KEEP_ALIVE, slot=5, lease_id=SESSION) == 1
    assert script.sent() == jute.request(-2, 11)
    (kept,) = script.give(jute.reply(-2, 0, 0))
    assert (kept["slot"], kept["kind"], kept["code"], kept["count"]) == (5, Kind.LEASE_KEEP_ALIVE, 0, 1)
    assert script.submit(Kind.LEASE_REVOKE, slot=5, lease_id=SESSION) == 1
    assert script.sent() == jute.request(2, -11)
    (revoked,) = script.give(jute.reply(2, 9, 0))
    assert (revoked["slot"], revoked["kind"], revoked["code"]) == (5, Kind.LEASE_REVOKE, 0)
    assert script.submit(Kind.LEASE_GRANT, b"lease", slot=5) == 0
    assert script.lost() == []
    script.opened()
    assert script.submit(Kind.LEASE_GRANT, b"lease", slot=5) == 1
    assert script.sent() == connect_request(0, 0, bytes(16))


def test_nothing_but_keep_alive_refreshes_a_lease() -> None:
    script = holder()
    assert script.tick(6 * SECOND) == 0
    assert script.sent() == b""


def test_one_lease_per_connection() -> None:
    script = holder()
    assert script.submit(Kind.LEASE_GRANT, b"other", slot=6) == -ErrorCode.FAILED_PRECONDITION


def test_a_lease_that_is_not_held_has_expired() -> None:
    script = holder()
    assert script.submit(Kind.LEASE_KEEP_ALIVE, lease_id=SESSION + 1) == -ErrorCode.LEASE_EXPIRED
    script.lost()
    script.opened()
    assert script.submit(Kind.LEASE_KEEP_ALIVE, lease_id=SESSION) == -ErrorCode.LEASE_EXPIRED
    assert script.submit(Kind.LEASE_REVOKE, lease_id=SESSION) == -ErrorCode.LEASE_EXPIRED


def test_a_lease_whose_node_cannot_be_created_is_given_back() -> None:
    script = Script(lease_sessions=True)
    script.opened()
    script.submit(Kind.LEASE_GRANT, b"lease", slot=5)
    script.give(connected())
    script.submit(Kind.LEASE_GRANT, b"lease", slot=5, step=1)
    script.sent()
    assert brief(script.give(jute.reply(1, 7, -101))) == [(5, ErrorCode.ZK_NO_NODE, 0, 0)]
    assert script.sent() == jute.request(2, -11)
    assert script.give(jute.reply(2, 8, 0)) == []


@pytest.mark.parametrize("step", [0, 1])
def test_a_lease_that_nobody_waits_for_is_given_back(step: int) -> None:
    script = Script(lease_sessions=True)
    script.opened()
    script.submit(Kind.LEASE_GRANT, b"lease", slot=5)
    script.sent()
    if step == 1:
        script.give(connected())
        script.submit(Kind.LEASE_GRANT, b"lease", slot=5, step=1)
        script.sent()
    script.cancel(5)
    assert script.give(created(1, NODE) if step == 1 else connected()) == []
    assert script.sent() == jute.request(1 + step, -11)


def test_a_grant_under_way_is_lost_with_its_connection() -> None:
    script = Script(lease_sessions=True)
    script.opened()
    script.submit(Kind.LEASE_GRANT, b"lease", slot=5)
    assert script.submit(Kind.LEASE_KEEP_ALIVE, slot=5) == 0
    assert brief(script.lost()) == [(5, ErrorCode.CONNECTION_LOST, 0, 0)]
    assert script.lost() == []


def test_without_lease_sessions_there_are_no_leases() -> None:
    assert Script().ready().submit(Kind.LEASE_GRANT) == -ErrorCode.UNIMPLEMENTED


def test_other_operations_open_a_session_that_makes_way_for_a_lease() -> None:
    script = Script(lease_sessions=True, session_timeout_ms=9_000)
    script.opened()
    assert script.submit(Kind.MAKE_PARENT, b"dir") == 0
    assert script.sent() == connect_request(0, 0, bytes(16), 9_000)
    assert script.submit(Kind.MAKE_PARENT, b"dir") == 0
    assert script.submit(Kind.LEASE_GRANT, b"lease") == 0
    assert script.sent() == b""
    assert script.give(connected()) == []
    assert script.submit(Kind.MAKE_PARENT, b"dir", slot=1) == 1
    script.sent()
    assert script.submit(Kind.LEASE_KEEP_ALIVE) == -ErrorCode.LEASE_EXPIRED
    assert script.submit(Kind.LEASE_GRANT, b"lease") == 0
    assert script.sent() == jute.request(2, -11)
    assert script.submit(Kind.LEASE_GRANT, b"lease") == 0
    assert script.submit(Kind.MAKE_PARENT, b"dir") == 0
    assert script.sent() == b""
    assert brief(script.give(created(1) + jute.reply(2, 9, 0))) == [(1, 0, 1, 0)]
    assert script.lost() == []
    script.opened()
    assert script.submit(Kind.LEASE_GRANT, b"lease", ttl_s=7) == 1
    assert script.sent() == connect_request(0, 0, bytes(16), 7_000)


def test_other_operations_use_a_leases_session() -> None:
    script = holder()
    assert script.submit(Kind.INSERT, slot=6) == 1
    assert brief(script.give(created(2))) == [(6, 0, 1, 0)]


def test_an_ordinary_session_is_kept_alive_until_then() -> None:
    script = Script(lease_sessions=True)
    script.opened()
    script.submit(Kind.MAKE_PARENT, b"dir")
    script.give(connected())
    script.sent()
    script.tick(10 * SECOND)
    assert script.sent() == jute.request(-2, 11)


def test_a_lease_with_credentials() -> None:
    script = Script(lease_sessions=True, user="ann", password="secret")
    script.opened()
    script.submit(Kind.LEASE_GRANT, b"lease", slot=5)
    script.sent()
    assert script.give(connected()) == []
    assert len(frames(script.sent())) == 1
    assert brief(script.give(jute.reply(-4, 0, 0))) == [(5, 0, 1, 1)]


def test_a_read_keeps_the_zxid_for_the_next_greeting() -> None:
    script = Script().ready()
    script.submit(Kind.GET_SERIALIZABLE)
    script.give(data(1, b"", zxid=500))
    script.submit(Kind.GET_SERIALIZABLE)
    script.give(data(2, b"", zxid=499))
    script.lost()
    assert script.opened() == connect_request(SESSION, 500, PASSWORD)


def test_no_ping_is_queued_behind_bytes_that_cannot_be_sent() -> None:
    script = Script().ready()
    script.submit(Kind.PUT)
    assert script.tick(11 * SECOND) == 0
    assert len(frames(script.sent())) == 1
