"""The table of operations is complete, is what the README prints, and is what the client does."""

import pytest

from kvbench.client import table
from kvbench.client.dispatch import PROTOCOLS
from kvbench.ops.errors import ErrorCode
from kvbench.ops.kinds import KIND_NAMES, Kind
from tests.client.zookeeper_script import Script, connected

REQUEST_NAMES = {1: "create", 2: "delete", 3: "exists", 4: "getData", 5: "setData", 9: "sync", 11: "ping",
                 12: "getChildren2", 14: "multi", -11: "closeSession"}  # fmt: skip


def test_every_kind_and_protocol_has_an_entry() -> None:
    assert set(table.OPERATIONS) == set(Kind)
    for by_protocol in table.OPERATIONS.values():
        assert set(by_protocol) == set(table.COLUMNS)
        assert all(entry.guarantee.endswith(".") and not entry.wire.endswith(".") for entry in by_protocol.values())


def test_every_target_that_can_be_driven_is_there() -> None:
    assert set(table.PROTOCOLS) == set(PROTOCOLS)


def test_supported() -> None:
    assert table.supported("zookeeper", Kind.MAKE_PARENT)
    assert not table.supported("etcd", Kind.MAKE_PARENT)
    assert not table.supported("raft", Kind.MAKE_PARENT)
    assert all(table.supported("zookeeper", kind) for kind in Kind)
    with pytest.raises(KeyError):
        table.supported("consul", Kind.PUT)


def test_the_readmes_table_has_a_line_per_operation() -> None:
    header, rule, *lines = table.readme_table().splitlines()
    assert header == "| operation | etcd, raft | ZooKeeper |"
    assert rule == "|---|---|---|"
    assert [line.split("|")[1].strip() for line in lines] == [f"`{KIND_NAMES[kind]}`" for kind in table.OPERATIONS]
    assert all(line.count("|") == 4 for line in lines)


def requests_sent(kind: Kind) -> set[str]:
    """Names of the ZooKeeper requests that a kind's first step sends, with the node unknown and known."""
    leases = kind in (Kind.LEASE_GRANT, Kind.LEASE_KEEP_ALIVE, Kind.LEASE_REVOKE)
    names: set[str] = set()
    for known in (0, 1):
        script = Script(lease_sessions=leases, watches=1)
        script.known[:] = known
        script.opened()
        if leases:
            assert script.submit(Kind.LEASE_GRANT, b"lease") == 1
            script.sent()
        script.give(connected())
        if kind == Kind.TXN:
            assert script.submit_txn([(b"a", b"b", 0)]) == 1
        else:
            assert script.submit(kind, b"lease", step=1 if kind == Kind.LEASE_GRANT else 0) == 1
        sent = script.sent()
        while sent:
            names.add(REQUEST_NAMES[int.from_bytes(sent[8:12], "big", signed=True)])
            sent = sent[4 + int.from_bytes(sent[:4], "big") :]
    return names


@pytest.mark.parametrize("kind", list(Kind))
def test_zookeepers_client_sends_what_the_table_says(kind: Kind) -> None:
    wire = table.entry("zookeeper", kind).wire
    for name in requests_sent(kind):
        assert f"`{name}`" in wire


def test_a_refusal_is_named_in_the_table_by_its_code() -> None:
    said = " ".join(e.guarantee for by_protocol in table.OPERATIONS.values() for e in by_protocol.values())
    for code in (ErrorCode.ZK_NODE_EXISTS, ErrorCode.COMPARE_FAILED, ErrorCode.RESPONSE_TOO_LARGE):
        assert f"`{code.name}`" in said
