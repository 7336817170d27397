"""Target texts: what parses to what, and what is refused with which remedy."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench.targets.spec import TargetSpec, TargetSpecError, parse_bytes, parse_cpus, parse_target


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("etcd", TargetSpec("etcd")),
        (" zookeeper ", TargetSpec("zookeeper")),
        ("raft?members=3", TargetSpec("raft", members=3)),
        ("etcd?members=3,snapshots=off,fsync=off", TargetSpec("etcd", members=3, snapshots="off", fsync=False)),
        ("etcd?members=5&snapshots=10000", TargetSpec("etcd", members=5, snapshots="10000")),
        ("etcd?version=v3.6.16,quota=2GiB", TargetSpec("etcd", version="3.6.16", quota_bytes=2 << 30)),
        ("zookeeper?heap=2g,cpus=0-1+3", TargetSpec("zookeeper", heap_bytes=2 << 30, cpus=(0, 1, 3))),
        ("etcd?port=2379", TargetSpec("etcd", options=(("port", "2379"),))),
        ("etcd://a:1,b,[::1]:3", TargetSpec("etcd", ("a:1", "b:2379", "[::1]:3"))),
        ("zookeeper://zk.example/?endpoints=leader", TargetSpec("zookeeper", ("zk.example:2181",), endpoints="leader")),
        (
            "etcd://a:1?ca=x/ca.pem,cert=c.pem&key=k.pem",
            TargetSpec("etcd", ("a:1",), tls_ca="x/ca.pem", tls_cert="c.pem", tls_key="k.pem"),
        ),
        ("etcd://a:1?user=u,password=x%2Cy%26z", TargetSpec("etcd", ("a:1",), user="u", password="x,y&z")),
    ],
)
def test_texts_that_make_sense(text: str, spec: TargetSpec) -> None:
    assert parse_target(text, {}) == spec


@pytest.mark.parametrize(
    ("text", "what", "remedy"),
    [
        ("etc", "unknown target 'etc'", "did you mean 'etcd'?"),
        ("zookeper://h", "unknown target 'zookeper'", "did you mean 'zookeeper'?"),
        ("", "unknown target ''", "targets are etcd, zookeeper, raft"),
        ("etcd?member=3", "etcd has no option 'member'", "did you mean 'members'?"),
        ("zookeeper://h?sasl=digest-md5", "does not speak SASL to ZooKeeper", "plain connections"),
        ("zookeeper?tls=on", "does not speak TLS to ZooKeeper", "plain connections"),
        ("etcd?snapshot=off", "etcd has no option 'snapshot'", "did you mean 'snapshots'?"),
        ("etcd?members", "option 'members' has no value", "members=value"),
        ("etcd?members=2", "members=2 is not possible", "use 1, 3 or 5"),
        ("etcd?members=3,members=5", "given twice", "keep one"),
        ("etcd?snapshots=yes", "snapshots=yes is not possible", "snapshots=10000"),
        ("etcd?snapshots=1", "snapshots=1 is not possible", "from 2"),
        ("etcd?fsync=no", "fsync=no is not possible", "fsync=off"),
        ("etcd?version=3.7", "version=3.7 is not a full version", "version=3.7.3"),
        ("etcd?heap=2g", "heap= makes no sense for etcd", "quota=8GiB"),
        ("zookeeper?quota=8g", "quota= makes no sense for zookeeper", "heap=4g"),
        ("zookeeper://h?ca=x", "ca= makes no sense for zookeeper", "plain connections"),
        ("etcd://h?members=3", "members= is for servers that kvbench starts", "etcd?members="),
        ("etcd?ca=x", "ca= is for an existing cluster", "etcd://host:2379?ca="),
        ("etcd?user=u,password=p", "user= is for an existing cluster", "leave out"),
        ("etcd?cpus=0;1", "cpus=0;1 is no list of cores", "cpus=0+2"),
        ("etcd?cpus=3-1", "is no list of cores", "cpus=0-1"),
        ("etcd?quota=lots", "quota=lots is no size", "quota=8GiB"),
        ("zookeeper?heap=1m", "too small", "heap=2g"),
        ("etcd?port=80", "port=80 is not possible", "1024"),
        ("etcd?endpoints=leaders", "endpoints=leaders is not possible", "did you mean 'leader'?"),
        ("etcd?endpoints=followers", "a single member has no followers", "members=3"),
        ("etcd://", "names no host", "etcd://host:2379"),
        ("etcd://u:p@h:1", "is no host:port", "user and password are options"),
        ("etcd://h:70000", "not between 1 and 65535", "port"),
        ("etcd://h:1,h:1", "given twice", "once"),
        ("etcd://h?user=u", "user=u has no password", "KVBENCH_PASSWORD"),
        ("etcd://h?password=p", "without user=", "user="),
        ("etcd://h?cert=c", "cert= is given without key=", "key=file.pem"),
        ("raft://h:1", "the built-in store speaks etcd's protocol", "etcd://h:1"),
    ],
)
def test_texts_that_make_none(text: str, what: str, remedy: str) -> None:
    with pytest.raises(TargetSpecError) as caught:
        parse_target(text, {})
    assert what in str(caught.value)
    assert remedy in caught.value.remedy


def test_the_password_comes_from_the_environment_and_is_never_shown() -> None:
    spec = parse_target("etcd://h?user=u", {"KVBENCH_PASSWORD": "sesame"})
    assert spec.password == "sesame"
    assert "sesame" not in repr(spec)
    assert parse_target("etcd://h", {"KVBENCH_PASSWORD": "sesame"}).password == ""


@given(st.sets(st.integers(0, 4095), min_size=1, max_size=20))
@settings(deadline=None)
def test_cores_are_read_back_sorted_and_once(cores: set[int]) -> None:
    listed = list(cores)
    assert parse_cpus("+".join(map(str, listed + listed))) == tuple(sorted(cores))


@given(st.integers(0, 2**50))
@settings(deadline=None)
def test_bytes_without_a_unit_are_bytes(number: int) -> None:
    assert parse_bytes(str(number)) == number


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("1k", 1024),
        ("1KiB", 1024),
        ("1KB", 1000),
        ("1.5g", 3 << 29),
        ("8 GiB", 8 << 30),
        ("7B", 7),
        ("2TB", 2 * 10**12),
    ],
)
def test_units(text: str, size_bytes: int) -> None:
    assert parse_bytes(text) == size_bytes


@given(st.text(alphabet="etcdzookpr?=,&:/%[]0123456789.-+ ", max_size=40))
@settings(deadline=None, max_examples=300)
def test_any_text_parses_or_is_refused_with_a_remedy(text: str) -> None:
    try:
        spec = parse_target(text, {})
    except TargetSpecError as error:
        assert error.what and error.remedy
    else:
        assert spec.kind in ("etcd", "zookeeper", "raft")
