"""ZooKeeper's operations: what each sends, and what becomes of each answer."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench.client.zookeeper_answers import GUESSES_MAX
from kvbench.net import table
from kvbench.ops.errors import ErrorCode
from kvbench.ops.kinds import Kind
from kvbench.server import null_zookeeper
from tests.client.zookeeper_script import Script, brief, created, data, frames, stat, stored
from tests.naive import jute

NO_NODE, BAD_VERSION, NODE_EXISTS = -101, -103, -110


def failed(xid: int, error: int, zxid: int = 7) -> bytes:
    return jute.reply(xid, zxid, error)


def create(xid: int, path: bytes = b"/a", value: bytes = b"v") -> bytes:
    return jute.request(xid, 1, path=path, data=value, acl=jute.OPEN_ACL, flags=0)


def set_data(xid: int, path: bytes = b"/a", value: bytes = b"v", version: int = -1) -> bytes:
    return jute.request(xid, 5, path=path, data=value, version=version)


def get_data(xid: int, path: bytes = b"/a") -> bytes:
    return jute.request(xid, 4, path=path, watch=False)


def children(xid: int, names: list[bytes]) -> bytes:
    return jute.reply(xid, 7, 0, ("children", "s"), ("stat", "t"), children=names, stat=stat(pzxid=6))


def sync(xid: int, path: bytes = b"/a") -> bytes:
    return jute.request(xid, 9, path=path)


def run(script: Script, kind: Kind, answer: bytes, **fields: Any) -> tuple[bytes, Any]:
    """Submit, answer: what was sent and the one outcome."""
    assert script.submit(kind, value=b"v", slot=2, **fields) == 1
    sent = script.sent()
    (outcome,) = script.give(answer)
    assert (outcome["slot"], outcome["kind"]) == (2, kind)
    return sent, outcome


def told(outcome: Any) -> tuple[int, int, int, int]:
    """(code, revision, count, next_step)"""
    return int(outcome["code"]), int(outcome["revision"]), int(outcome["count"]), int(outcome["next_step"])


# -- put --------------------------------------------------------------------------------------------------------------


def test_a_put_creates_then_sets() -> None:
    script = Script().ready()
    sent, outcome = run(script, Kind.PUT, created(1), key_index=3)
    assert (sent, told(outcome)) == (create(1), (0, 1, 1, 0))
    assert script.known.tolist() == [0, 0, 0, 1] + [0] * 12
    sent, outcome = run(script, Kind.PUT, stored(2, 8), key_index=3)
    assert (sent, told(outcome)) == (set_data(2), (0, 9, 1, 0))


def test_a_put_that_guessed_wrong_takes_another_step() -> None:
    script = Script().ready()
    _, outcome = run(script, Kind.PUT, failed(1, NODE_EXISTS))
    assert told(outcome) == (0, 0, 0, 1)
    assert script.known[0] == 1
    sent, outcome = run(script, Kind.PUT, failed(2, NO_NODE), step=1)
    assert (sent, told(outcome)) == (set_data(2), (0, 0, 0, 2))
    assert script.known[0] == 0
    sent, outcome = run(script, Kind.PUT, failed(3, NODE_EXISTS), step=2)
    assert (sent, told(outcome)) == (create(3), (0, 0, 0, 3))
    sent, outcome = run(script, Kind.PUT, stored(4, 0), step=3)
    assert (sent, told(outcome)) == (set_data(4), (0, 1, 1, 0))


def test_a_put_of_a_deleted_key_creates_it() -> None:
    script = Script().ready()
    script.known[0] = 1
    sent, outcome = run(script, Kind.PUT, failed(1, NO_NODE))
    assert (sent, told(outcome)) == (set_data(1), (0, 0, 0, 2))


@pytest.mark.parametrize(
    ("step", "error", "code"),
    [(GUESSES_MAX, NODE_EXISTS, ErrorCode.ZK_NODE_EXISTS), (GUESSES_MAX + 1, NO_NODE, ErrorCode.ZK_NO_NODE)],
)
def test_a_put_gives_up_when_it_never_guesses_right(step: int, error: int, code: int) -> None:
    _, outcome = run(Script().ready(), Kind.PUT, failed(1, error), step=step)
    assert told(outcome) == (code, 0, 0, 0)


def test_keys_beyond_those_counted_are_never_known() -> None:
    script = Script(keys=2).ready()
    for xid, key_index in ((1, 2), (2, -1), (3, 2)):
        sent, outcome = run(script, Kind.PUT, created(xid), key_index=key_index)
        assert (sent, told(outcome)) == (create(xid), (0, 1, 1, 0))
    assert script.known.tolist() == [0, 0]


def test_what_one_connection_learns_all_know() -> None:
    script = Script(connections=2).ready()
    script.submit(Kind.PUT, connection=1)
    script.give(created(1), connection=1)
    sent, _ = run(script, Kind.PUT, stored(1, 1))
    assert sent == set_data(1)


def test_insert() -> None:
    script = Script().ready()
    sent, outcome = run(script, Kind.INSERT, created(1))
    assert (sent, told(outcome)) == (create(1), (0, 1, 1, 0))
    sent, outcome = run(script, Kind.INSERT, failed(2, NODE_EXISTS))
    assert (sent, told(outcome)) == (create(2), (ErrorCode.ZK_NODE_EXISTS, 0, 0, 0))


def test_make_parent() -> None:
    script = Script().ready()
    for xid, answer in ((1, created(1)), (2, failed(2, NODE_EXISTS))):
        assert script.submit(Kind.MAKE_PARENT, b"dir/sub/", slot=2) == 1
        assert script.sent() == create(xid, b"/dir/sub", b"")
        assert brief(script.give(answer)) == [(2, 0, 1, 0)]
    assert script.known[0] == 0
    script.submit(Kind.MAKE_PARENT, b"dir/sub", slot=2)
    assert brief(script.give(failed(3, NO_NODE))) == [(2, ErrorCode.ZK_NO_NODE, 0, 0)]


# -- reads ------------------------------------------------------------------------------------------------------------


def test_get_serializable() -> None:
    script = Script().ready()
    sent, outcome = run(script, Kind.GET_SERIALIZABLE, data(1, b"value", version=4))
    assert (sent, told(outcome)) == (get_data(1), (0, 5, 1, 0))
    _, outcome = run(script, Kind.GET_SERIALIZABLE, failed(2, NO_NODE))
    assert told(outcome) == (0, 0, 0, 0)
    _, outcome = run(script, Kind.GET_SERIALIZABLE, failed(3, -102))
    assert told(outcome) == (ErrorCode.ZK_NO_AUTH, 0, 0, 0)


def test_get_is_sync_and_getdata_timed_as_one() -> None:
    script = Script().ready()
    script.submit(Kind.GET, slot=2)
    assert script.sent() == sync(1) + get_data(2)
    assert script.give(created(1)) == []
    assert brief(script.give(data(2, b"value", version=4))) == [(2, 0, 1, 0)]


def test_a_failed_sync_fails_the_get() -> None:
    script = Script().ready()
    script.submit(Kind.GET, slot=2)
    script.submit(Kind.GET_SERIALIZABLE, slot=3)
    script.sent()
    outcomes = script.give(failed(1, -4) + data(2, b"value") + data(3, b"value"))
    assert brief(outcomes) == [(2, ErrorCode.ZK_CONNECTION_LOSS, 0, 0), (3, 0, 1, 0)]


def test_a_get_is_lost_once() -> None:
    script = Script().ready()
    script.submit(Kind.GET, slot=2)
    assert brief(script.lost()) == [(2, ErrorCode.CONNECTION_LOST, 0, 0)]
    script.ready()
    script.submit(Kind.GET, slot=2)
    script.give(created(1))
    assert brief(script.lost()) == [(2, ErrorCode.CONNECTION_LOST, 0, 0)]


@pytest.mark.parametrize(("key", "path"), [(b"dir", b"/dir"), (b"dir/sub//", b"/dir/sub"), (b"", b"/"), (b"/", b"/")])
def test_range_lists_a_directory(key: bytes, path: bytes) -> None:
    script = Script().ready()
    script.submit(Kind.RANGE, key, slot=2, limit=1)
    assert script.sent() == jute.request(1, 12, path=path, watch=False)
    assert brief(script.give(children(1, [b"x", b"yy", b"zzz"]))) == [(2, 0, 3, 0)]
    script.submit(Kind.RANGE, key, slot=2)
    assert brief(script.give(failed(2, NO_NODE))) == [(2, 0, 0, 0)]


def test_delete() -> None:
    script = Script().ready()
    script.known[:] = 1
    sent, outcome = run(script, Kind.DELETE, failed(1, 0, zxid=99), key_index=4)
    assert sent == jute.request(1, 2, path=b"/a", version=-1)
    assert told(outcome) == (0, 99, 1, 0)
    assert script.known[4] == 0
    _, outcome = run(script, Kind.DELETE, failed(2, NO_NODE, zxid=99), key_index=5)
    assert told(outcome) == (0, 99, 0, 0)
    assert script.known[5] == 0
    _, outcome = run(script, Kind.DELETE, failed(3, -111), key_index=6)
    assert told(outcome)[0] == ErrorCode.ZK_NOT_EMPTY
    assert script.known[6] == 1


# -- operations of several steps --------------------------------------------------------------------------------------


def test_compare_and_swap() -> None:
    script = Script().ready()
    sent, outcome = run(script, Kind.CAS, data(1, b"old", version=0))
    assert (sent, told(outcome)) == (get_data(1), (0, 1, 1, 1))
    sent, outcome = run(script, Kind.CAS, stored(2, 1), step=1, expected=1)
    assert (sent, told(outcome)) == (set_data(2, version=0), (0, 2, 1, 0))


@pytest.mark.parametrize("error", [BAD_VERSION, NO_NODE])
def test_compare_and_swap_of_a_node_that_changed(error: int) -> None:
    _, outcome = run(Script().ready(), Kind.CAS, failed(1, error), step=1, expected=7)
    assert told(outcome) == (ErrorCode.COMPARE_FAILED, 0, 0, 0)


def test_compare_and_swap_of_a_missing_node_creates_it() -> None:
    script = Script().ready()
    _, outcome = run(script, Kind.CAS, failed(1, NO_NODE))
    assert told(outcome) == (0, 0, 0, 1)
    sent, outcome = run(script, Kind.CAS, created(2), step=1, expected=0)
    assert (sent, told(outcome)) == (create(2), (0, 1, 1, 0))
    sent, outcome = run(script, Kind.CAS, failed(3, NODE_EXISTS), step=1, expected=0)
    assert told(outcome) == (ErrorCode.COMPARE_FAILED, 0, 0, 0)


def test_read_modify_write() -> None:
    script = Script().ready()
    sent, outcome = run(script, Kind.READ_MODIFY_WRITE, data(1, b"old", version=3))
    assert (sent, told(outcome)) == (get_data(1), (0, 4, 1, 1))
    sent, outcome = run(script, Kind.READ_MODIFY_WRITE, stored(2, 4), step=1, expected=4)
    assert (sent, told(outcome)) == (set_data(2), (0, 5, 1, 0))


def test_read_modify_write_of_a_missing_node() -> None:
    script = Script().ready()
    _, outcome = run(script, Kind.READ_MODIFY_WRITE, failed(1, NO_NODE))
    assert told(outcome) == (0, 0, 0, 2)
    sent, outcome = run(script, Kind.READ_MODIFY_WRITE, created(2), step=2)
    assert (sent, told(outcome)) == (create(2), (0, 1, 1, 0))


MEMBERS = [(b"k0", b"v0", 0), (b"k1", b"v1", 1), (b"k2", b"v2", 2)]


def multi(xid: int, exist: list[bool]) -> bytes:
    """The multi that is expected for MEMBERS."""
    parts: list[tuple[int, dict[str, Any]]] = []
    for (key, value, _), there in zip(MEMBERS, exist, strict=True):
        fields: dict[str, Any] = {"path": b"/" + key, "data": value}
        fields |= {"version": -1} if there else {"acl": jute.OPEN_ACL, "flags": 0}
        parts.append((5 if there else 1, fields))
    return jute.multi_request(xid, parts)


def test_a_transaction_creates_what_is_not_known() -> None:
    script = Script().ready()
    script.known[1] = 1
    assert script.submit_txn(MEMBERS, slot=2) == 1
    assert script.sent() == multi(1, [False, True, False])
    results: list[tuple[int, dict[str, Any]]] = [(1, {"path": b"/k0"}), (5, {"stat": stat()}), (1, {"path": b"/k2"})]
    (outcome,) = script.give(jute.multi_reply(1, 44, results))
    assert (int(outcome["slot"]), *told(outcome)) == (2, 0, 44, 3, 0)
    script.submit_txn(MEMBERS)
    assert script.sent() == multi(2, [True, True, True])


@settings(deadline=None, max_examples=30)
@given(st.lists(st.booleans(), min_size=3, max_size=3), st.lists(st.booleans(), min_size=3, max_size=3))
def test_a_transaction_learns_until_all_guesses_are_right(exist: list[bool], believed: list[bool]) -> None:
    script = Script().ready()
    script.known[:3] = believed
    step, tries = 0, 0
    while True:
        tries += 1
        assert script.submit_txn(MEMBERS, step=step) == 1
        (sent,) = frames(script.sent())
        guesses = [[bool(n & 4), bool(n & 2), bool(n & 1)] for n in range(8)]
        (guessed,) = [guess for guess in guesses if multi(tries, guess) == sent]
        wrong = [i for i in range(3) if guessed[i] != exist[i]]
        if not wrong:
            break
        errors = [0] * 3
        errors[wrong[0]] = NODE_EXISTS if exist[wrong[0]] else NO_NODE
        errors[wrong[0] + 1 :] = [-2] * (2 - wrong[0])
        (outcome,) = script.give(jute.multi_reply(tries, 5, [(-1, {"error": error}) for error in errors]))
        assert outcome["code"] == 0
        step = int(outcome["next_step"])
        assert step > 0
    assert tries <= 4


def test_a_transaction_that_fails_for_another_reason() -> None:
    script = Script().ready()
    script.submit_txn(MEMBERS)
    (outcome,) = script.give(jute.multi_reply(1, 5, [(-1, {"error": e}) for e in (0, -102, -2)]))
    assert told(outcome) == (ErrorCode.ZK_NO_AUTH, 0, 0, 0)
    script.submit_txn(MEMBERS)
    (outcome,) = script.give(failed(2, -127))
    assert told(outcome) == (ErrorCode.ZK_THROTTLED, 0, 0, 0)


def test_a_transaction_gives_up_when_it_never_guesses_right() -> None:
    script = Script().ready()
    step = 0
    for xid in range(1, 100):
        script.submit_txn(MEMBERS[:1], step=step)
        error = NO_NODE if frames(script.sent())[0][12:16] == (5).to_bytes(4, "big") else NODE_EXISTS
        (outcome,) = script.give(jute.multi_reply(xid, 5, [(-1, {"error": error})]))
        step = int(outcome["next_step"])
        if step == 0:
            break
    assert outcome["code"] in (ErrorCode.ZK_NO_NODE, ErrorCode.ZK_NODE_EXISTS)
    assert xid < 30


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (-4, ErrorCode.ZK_CONNECTION_LOSS),
        (-5, ErrorCode.ZK_MARSHALLING),
        (-6, ErrorCode.ZK_UNIMPLEMENTED),
        (-7, ErrorCode.ZK_OPERATION_TIMEOUT),
        (-8, ErrorCode.ZK_BAD_ARGUMENTS),
        (-101, ErrorCode.ZK_NO_NODE),
        (-102, ErrorCode.ZK_NO_AUTH),
        (-103, ErrorCode.ZK_BAD_VERSION),
        (-108, ErrorCode.ZK_NO_CHILDREN_FOR_EPHEMERALS),
        (-111, ErrorCode.ZK_NOT_EMPTY),
        (-112, ErrorCode.ZK_SESSION_EXPIRED),
        (-114, ErrorCode.ZK_INVALID_ACL),
        (-115, ErrorCode.ZK_AUTH_FAILED),
        (-127, ErrorCode.ZK_THROTTLED),
        (-9999, ErrorCode.ZK_OTHER),
    ],
)
def test_errors_have_names(error: int, code: int) -> None:
    _, outcome = run(Script().ready(), Kind.INSERT, failed(1, error))
    assert told(outcome) == (code, 0, 0, 0)


# -- room, order, cancelling ------------------------------------------------------------------------------------------


def test_a_request_larger_than_the_buffer_is_refused() -> None:
    script = Script(tx=1024).ready()
    script.sent()
    assert script.submit(Kind.PUT, b"k", bytes(1000)) == -ErrorCode.REQUEST_TOO_LARGE
    assert script.submit_txn([(b"k", bytes(500), 0), (b"l", bytes(500), 1)]) == -ErrorCode.REQUEST_TOO_LARGE
    assert script.submit(Kind.GET, bytes(600)) == -ErrorCode.REQUEST_TOO_LARGE
    assert script.sent() == b""


def test_a_request_larger_than_the_server_takes_is_refused() -> None:
    script = Script(tx=1 << 16, request_bytes_max=2000).ready()
    assert script.submit(Kind.PUT, b"k", bytes(2000)) == -ErrorCode.REQUEST_TOO_LARGE
    assert script.submit(Kind.PUT, b"k", bytes(1900)) == 1


def test_a_full_buffer_blocks_until_it_is_sent() -> None:
    script = Script(tx=1024).ready()
    assert [script.submit(Kind.INSERT, b"k", bytes(400), slot=i) for i in range(3)] == [1, 1, 0]
    assert len(frames(script.sent())) == 2
    assert script.submit(Kind.INSERT, b"k", bytes(400), slot=2) == 1
    assert brief(script.give(created(1) + created(2) + created(3))) == [(i, 0, 1, 0) for i in range(3)]


def test_too_many_requests_in_flight_block_until_one_is_answered() -> None:
    script = Script(in_flight=4).ready()
    assert [script.submit(Kind.INSERT, slot=i) for i in range(5)] == [1, 1, 1, 1, 0]
    assert brief(script.give(created(1))) == [(0, 0, 1, 0)]
    assert script.submit(Kind.GET, slot=5) == 0
    assert script.submit(Kind.INSERT, slot=4) == 1
    assert brief(script.give(b"".join(created(xid) for xid in range(2, 6)))) == [(i, 0, 1, 0) for i in range(1, 5)]


def test_a_cancelled_request_keeps_its_place() -> None:
    script = Script().ready()
    for slot in range(3):
        script.submit(Kind.GET, slot=slot)
    script.cancel(1)
    answers = b"".join(created(xid) + data(xid + 1, b"v") for xid in (1, 3, 5))
    assert brief(script.give(answers)) == [(0, 0, 1, 0), (2, 0, 1, 0)]


def test_a_cancelled_request_is_not_lost_again() -> None:
    script = Script().ready()
    script.submit(Kind.PUT, slot=0)
    script.submit(Kind.PUT, slot=1)
    script.cancel(0)
    assert brief(script.lost()) == [(1, ErrorCode.CONNECTION_LOST, 0, 0)]


def test_a_cancelled_create_still_teaches() -> None:
    script = Script().ready()
    script.submit(Kind.PUT, key_index=3)
    script.cancel(0)
    script.give(created(1))
    assert script.known[3] == 1


def test_more_outcomes_than_fit_come_later() -> None:
    script = Script(outcomes=3).ready()
    for slot in range(7):
        script.submit(Kind.INSERT, slot=slot)
    found = script.give(b"".join(created(xid) for xid in range(1, 8)))
    assert [int(o["slot"]) for o in found] == list(range(7))
    for slot in range(7):
        script.submit(Kind.INSERT, slot=slot)
    assert [int(o["slot"]) for o in script.lost()] == list(range(7))


def test_xids_wrap_to_one() -> None:
    script = Script().ready()
    script.client.sessions["next_xid"] = script.client.sessions["answer_xid"] = 2**31 - 1
    script.submit(Kind.INSERT, slot=0)
    script.submit(Kind.INSERT, slot=1)
    sent = frames(script.sent())
    assert [int.from_bytes(frame[4:8], "big") for frame in sent] == [2**31 - 1, 1]
    assert brief(script.give(created(2**31 - 1) + created(1))) == [(0, 0, 1, 0), (1, 0, 1, 0)]


# -- answers in pieces, and larger than the buffer --------------------------------------------------------------------


def mixed_answers() -> tuple[list[tuple[Kind, int]], bytes, list[tuple[int, int, int, int]]]:
    """Requests (kind, slot), their answers, and the outcomes they lead to."""
    kinds = [Kind.INSERT, Kind.GET, Kind.DELETE, Kind.RANGE, Kind.CAS, Kind.GET_SERIALIZABLE]
    answers = [
        created(1),
        created(2) + data(3, b"some value"),
        failed(4, NO_NODE),
        children(5, [b"child", b"other"]),
        data(6, b"", version=2),
        data(7, bytes(100)),
    ]
    outcomes = [(0, 0, 1, 0), (1, 0, 1, 0), (2, 0, 0, 0), (3, 0, 2, 0), (4, 0, 1, 1), (5, 0, 1, 0)]
    return list(zip(kinds, range(6), strict=True)), b"".join(answers), outcomes


@pytest.mark.parametrize("piece", [1, 2, 3, 5, 7, 16, 17, 64, 100, 1000])
def test_answers_in_pieces(piece: int) -> None:
    requests, answers, outcomes = mixed_answers()
    script = Script(rx=256).ready()
    for kind, slot in requests:
        assert script.submit(kind, slot=slot) == 1
    assert brief(script.give(answers, piece=piece)) == outcomes
    assert script.code == 0


def test_answers_at_every_split() -> None:
    requests, answers, outcomes = mixed_answers()
    for cut in range(1, len(answers)):
        script = Script().ready()
        for kind, slot in requests:
            script.submit(kind, slot=slot)
        assert brief(script.give(answers[:cut]) + script.give(answers[cut:])) == outcomes


@pytest.mark.parametrize("piece", [1, 19, 20, 21, 100, 256])
@pytest.mark.parametrize("size", [237, 300, 5000])
def test_an_answer_larger_than_the_buffer_is_skipped(piece: int, size: int) -> None:
    script = Script(rx=256).ready()
    script.submit(Kind.GET_SERIALIZABLE, slot=0)
    script.submit(Kind.RANGE, slot=1)
    script.submit(Kind.INSERT, slot=2)
    answers = data(1, bytes(size)) + children(2, [b"child" * 10] * 20) + created(3)
    too_large = ErrorCode.RESPONSE_TOO_LARGE
    expected = [(0, too_large, 0, 0), (1, too_large, 0, 0), (2, 0, 1, 0)]
    assert brief(script.give(answers, piece=piece)) == expected
    assert script.code == 0


def test_an_answer_that_just_fits_is_read() -> None:
    script = Script(rx=256).ready()
    answer = data(1, bytes(256 - 4 - 16 - 4 - 68))
    assert len(answer) == 256
    script.submit(Kind.GET_SERIALIZABLE)
    assert brief(script.give(answer)) == [(0, 0, 1, 0)]


def test_a_connection_lost_within_a_large_answer_starts_clean() -> None:
    script = Script(rx=256).ready()
    script.submit(Kind.GET_SERIALIZABLE, slot=0)
    script.give(data(1, bytes(1000))[:300])
    script.lost()
    script.ready()
    script.submit(Kind.INSERT, slot=1)
    assert brief(script.give(created(1))) == [(1, 0, 1, 0)]


# -- both ends in memory ----------------------------------------------------------------------------------------------

ALL = [Kind.PUT, Kind.GET, Kind.GET_SERIALIZABLE, Kind.RANGE, Kind.DELETE, Kind.INSERT, Kind.MAKE_PARENT, Kind.CAS,
       Kind.READ_MODIFY_WRITE]  # fmt: skip


class Joined:
    """The client and the null server's kernels, joined in memory."""

    def __init__(self) -> None:
        self.script = Script(in_flight=64)
        self.null = null_zookeeper.new_null_zookeeper(1, 50)
        self.net = table.new_net(1, [], 1 << 16, 1 << 18)
        self.net.connections["state"] = 2

    def serve(self, sent: bytes) -> bytes:
        """What the server answers to bytes."""
        row = self.net.connections[0]
        unread = bytes(self.net.rx[int(row["rx_start"]) : int(row["rx_end"])]) + sent
        self.net.rx[: len(unread)] = list(unread)
        row["rx_start"], row["rx_end"] = 0, len(unread)
        assert null_zookeeper.serve_connection(self.null, self.net, 0) == 0
        answer = bytes(self.net.tx[int(row["tx_start"]) : int(row["tx_end"])])
        row["tx_start"] = row["tx_end"] = 0
        row["dirty"] = 0
        self.net.dirty[0] = 0
        return answer


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from(ALL), max_size=20), st.integers(1, 700), st.integers(1, 700))
def test_client_and_null_server_agree(kinds: list[Kind], up: int, down: int) -> None:
    joined = Joined()
    script = joined.script
    sent = script.opened()
    script.give(b"".join(joined.serve(sent[i : i + up]) for i in range(0, len(sent), up)), piece=down)
    for slot, kind in enumerate(kinds):
        assert script.submit(kind, b"key", b"value", slot=slot, key_index=slot % 16) == 1
    sent = script.sent()
    answers = b"".join(joined.serve(sent[i : i + up]) for i in range(0, len(sent), up))
    outcomes = script.give(answers, piece=down)
    assert [(int(o["slot"]), int(o["kind"]), int(o["code"])) for o in outcomes] == [
        (slot, kind, 0) for slot, kind in enumerate(kinds)
    ]
    assert script.code == 0
    assert script.lost() == []


def test_transactions_against_the_null_server() -> None:
    joined = Joined()
    script = joined.script
    script.give(joined.serve(script.opened()))
    for _ in range(2):
        script.submit_txn(MEMBERS)
        assert brief(script.give(joined.serve(script.sent()))) == [(0, 0, 3, 0)]


