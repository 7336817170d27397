"""etcdctl, every version here, against etcd and the built-in store: the same output, exit codes and errors."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kvbench.targets import found, launch
from kvbench.targets.running import RunningTarget
from kvbench.targets.spec import parse_target
from kvbench.targets.versions import minor_version

pytestmark = pytest.mark.slow

TOOLS = {tool.version: tool.path for tool in reversed(found.find_all("etcdctl"))}
_NONE = pytest.param("", marks=pytest.mark.skip("no etcdctl: kvbench servers install etcdctl@3.7.3"))
VERSIONS: list[Any] = sorted(TOOLS) or [_NONE]
PATIENCE_S = 30.0
ENVIRONMENT = {"PATH": "/usr/bin:/bin"}
FREE = {"cluster_id", "member_id", "raft_term", "raftTerm", "raftIndex", "raftAppliedIndex", "dbSize", "dbSizeInUse",
        "leader", "hash", "Endpoint", "endpoint", "ID", "clientURLs", "peerURLs", "took"}  # fmt: skip
"""Keys of JSON output that two clusters need not agree on."""
SCRIPT: list[tuple[str, str]] = [
    ("put a 1", ""), ("put a 2 --prev-kv", ""), ("put b", "from standard input"), ("put a --ignore-value", ""),
    ("put a 3 --ignore-lease --prev-kv", ""), ("put none --ignore-value", ""), ("put c 3 --lease=12345", ""),
    ("put d", "9"), ("put ab 7", ""), ("put -- -x dash", ""),
    ("get a", ""), ("get none", ""), ("get a c", ""), ("get a --prefix", ""), ("get a --from-key", ""),
    ("get a --from-key --limit=2", ""), ("get a --rev=3", ""), ("get a --rev=1000", ""), ("get '' --prefix", ""),
    ("get a --prefix --order=DESCEND --sort-by=VALUE", ""), ("get a --from-key --sort-by=CREATE", ""),
    ("get a --from-key --sort-by=MODIFY --order=DESCEND", ""), ("get a --from-key --sort-by=VERSION", ""),
    ("get a --from-key --keys-only", ""), ("get a --from-key --count-only --write-out=fields", ""),
    ("get a --from-key --print-value-only", ""), ("get a --consistency=s", ""), ("get a d --hex", ""),
    ("txn", 'value("a") = "3"\n\nget a\nput t 1\n\nget b\n\n'),
    ("txn", 'mod("a") < "2"\n\nget a\n\ndel t\nput u 2\n\n'),
    ("txn", 'ver("none") = "0"\nc("b") > "1"\n\nget a --prefix\ndel a --prefix\n\n\n'),
    ("txn", '\nput z 1\nput z 2\n\n\n'), ("put a again", ""), ("get a --prefix --write-out=json", ""),
    ("del t", ""), ("del none", ""), ("del u --prev-kv", ""),
    ("put w1 1", ""), ("put w2 2", ""), ("del w --prefix", ""),
    ("put w1 1", ""), ("put w2 2", ""), ("del w --prefix --prev-kv", ""), ("put x1 1", ""),
    ("del x --from-key --prev-kv", ""),
    ("compaction 5", ""), ("compaction 5", ""), ("compaction 1000", ""), ("compaction 7 --physical", ""),
    ("get a --rev=5", ""), ("alarm list", ""), ("alarm disarm", ""), ("lease list", ""),
    ("lease timetolive 1f", ""), ("lease revoke 1f", ""), ("lease keep-alive --once 1f", ""),
    ("lock name echo inside", ""),
    ("get '' --from-key --write-out=json", ""),
]  # fmt: skip
"""Commands with what they read from standard input."""
SINCE_3_5 = [("get a --from-key --min-mod-rev=5", ""), ("get a --from-key --max-create-rev=5", "")]
SINCE_3_7 = [("get a --from-key --stream", ""), ("get a --from-key --stream --limit=1 --write-out=json", ""),
             ("get a --stream --rev=2000", ""), ("put w 1", ""), ("del w z --range --prev-kv", "")]  # fmt: skip


class Ran:
    """A command that has ended."""

    def __init__(self, done: "subprocess.CompletedProcess[str]") -> None:
        self.code = done.returncode
        self.out = _comparable(done.stdout)
        self.error = re.sub(r"127\.0\.0\.1:\d+", "ADDRESS", (done.stderr.strip().splitlines() or [""])[-1])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ran) and vars(self) == vars(other)

    def __repr__(self) -> str:
        return f"exit code {self.code}, {self.out!r}, {self.error!r}"


def _comparable(text: str) -> Any:
    """Output without what two clusters need not agree on; parsed if it is JSON."""
    try:
        return _stripped(json.loads(text))
    except ValueError:
        pass
    text = re.sub(r'"(ClusterID|MemberID|RaftTerm)" : \d+\n', "", text)
    text = re.sub(r"127\.0\.0\.1:\d+", "ADDRESS", text)
    # A lease's number is the server's choice.
    return re.sub(r"\b[0-9a-f]{16}\b", "LEASE", text)


def _stripped(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _stripped(one) for key, one in value.items() if key not in FREE}
    return [_stripped(one) for one in value] if isinstance(value, list) else value


class Tool:
    """One etcdctl on one server."""

    def __init__(self, path: Path, target: RunningTarget) -> None:
        self.start = [str(path), "--endpoints", ",".join(member.address for member in target.members)]

    def __call__(self, words: list[str], given: str = "") -> Ran:
        return Ran(self.run(words, given))

    def run(self, words: list[str], given: str = "") -> "subprocess.CompletedProcess[str]":
        """Run a command to its end."""
        return subprocess.run(
            [*self.start, *words], input=given, capture_output=True, text=True, timeout=PATIENCE_S,
            env=ENVIRONMENT,
        )  # fmt: skip

    def said(self, *words: str) -> str:
        """The output of a command that succeeds."""
        done = self.run(list(words))
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def store3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTarget]:
    """Three members of the built-in store."""
    target = launch.start(parse_target("raft?members=3,fsync=off"), tmp_path_factory.mktemp("three"))
    yield target
    target.stop()


@pytest.mark.parametrize("version", VERSIONS)
def test_the_same_commands(version: str, etcd: RunningTarget, store: RunningTarget) -> None:
    tools = [Tool(TOOLS[version], target) for target in (etcd, store)]
    script = list(SCRIPT)
    script += SINCE_3_5 if minor_version(version) >= (3, 5) else []
    script += SINCE_3_7 if minor_version(version) >= (3, 7) else []
    differences = []
    for command, given in script:
        words = ["" if word == "''" else word for word in command.split()]
        ran = [tool(words, given) for tool in tools]
        if ran[0] != ran[1]:
            differences.append(f"{command}\n  etcd:  {ran[0]}\n  store: {ran[1]}")
    for what in (leases, watches, about_members):
        ends = [what(tool) for tool in tools]
        if ends[0] != ends[1]:
            differences.append(f"{what.__name__}\n  etcd:  {ends[0]}\n  store: {ends[1]}")
    for tool in tools:
        tool.said("del", "", "--prefix")
    assert not differences, "\n".join(differences)


def leases(tool: Tool) -> list[Any]:
    """A lease's life."""
    said = tool.said("lease", "grant", "300")
    lease = said.split()[1]
    tool.said("put", "leased", "1", f"--lease={lease}")
    return [
        said.replace(lease, "L"),
        re.sub(r"remaining\(\d+s\)", "", tool.said("lease", "timetolive", lease, "--keys")).replace(lease, "L"),
        tool.said("lease", "keep-alive", "--once", lease).replace(lease, "L"),
        lease in tool.said("lease", "list"),
        tool.said("put", "leased", "2", "--ignore-lease"),
        tool.said("lease", "revoke", lease).replace(lease, "L"),
        tool.said("get", "leased"),
    ]


def watches(tool: Tool) -> list[Any]:
    """What a watcher prints of the past and of what comes."""
    revision = json.loads(tool.said("put", "seen", "1", "--write-out=json"))["header"]["revision"]
    tool.said("put", "seen", "2")
    watch = subprocess.Popen(
        [*tool.start, "watch", "seen", "--prefix", "--prev-kv", f"--rev={revision}"],
        stdout=subprocess.PIPE, text=True, env=ENVIRONMENT,
    )  # fmt: skip
    try:
        assert watch.stdout is not None
        # Two puts are eight lines: of the second the key's version before is printed too.
        lines = [watch.stdout.readline() for _ in range(3 + 5)]
        tool.said("put", "seen", "3")
        tool.said("del", "seen")
        return lines + [watch.stdout.readline() for _ in range(5 + 5)]
    finally:
        watch.terminate()
        watch.wait()


def about_members(tool: Tool) -> list[Any]:
    """Members, their status and health."""
    status = json.loads(tool.said("endpoint", "status", "--write-out=json"))
    members = json.loads(tool.said("member", "list", "--write-out=json"))
    hashes = json.loads(tool.said("endpoint", "hashkv", "--write-out=json"))
    health = json.loads(tool.said("endpoint", "health", "--write-out=json"))
    defragmented = _comparable(tool.said("defrag")).split("took")[0]
    return [_stripped(status), _stripped(members), _stripped(hashes), _stripped(health), defragmented]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_cluster(version: str, store3: RunningTarget, tmp_path: Path) -> None:
    tool = Tool(TOOLS[version], store3)
    for number in range(20):
        tool.said("put", f"k{number}", "v" * 1000)
    hashes = json.loads(tool.said("endpoint", "hashkv", "--cluster", "--write-out=json"))
    assert len(hashes) == 3 and len({json.dumps(_only_hash(one)) for one in hashes}) == 1
    health = tool.run(["endpoint", "health", "--cluster"])
    # etcdctl 3.4 writes it to standard error.
    assert health.returncode == 0 and (health.stdout + health.stderr).count("is healthy") == 3
    status = json.loads(tool.said("endpoint", "status", "--cluster", "--write-out=json"))
    ids = [one["Status"]["header"]["member_id"] for one in status]
    (leader,) = {one["Status"]["leader"] for one in status}
    other = next(one for one in ids if one != leader)
    said = tool.said("move-leader", f"{other:x}")
    assert f"Leadership transferred from {leader:x} to {other:x}" in said
    status = json.loads(tool.said("endpoint", "status", "--write-out=json"))
    assert {one["Status"]["leader"] for one in status} == {other}
    save = tmp_path / "save"
    alone = [tool.start[0], "--endpoints", store3.members[0].address]
    subprocess.run([*alone, "snapshot", "save", str(save)], check=True, capture_output=True, timeout=PATIENCE_S)
    assert save.stat().st_size % 512 == 32
    refused = tool.run(["user", "list"])
    assert refused.returncode != 0 and "Unimplemented" in refused.stderr
    tool.said("del", "", "--prefix")


def _only_hash(one: dict[str, Any]) -> Any:
    return one["HashKV"]["hash"], one["HashKV"].get("compact_revision"), one["HashKV"]["header"]["revision"]


@pytest.mark.long
@pytest.mark.parametrize("members", [1, 3])
def test_check_perf(members: int, tmp_path: Path) -> None:
    """etcd's own check of a cluster's speed, a minute of 150 writes a second: a store on any disk passes it."""
    target = launch.start(parse_target(f"raft?members={members}"), tmp_path / "target")
    try:
        tool = Tool(TOOLS[VERSIONS[-1]], target)
        done = subprocess.run([*tool.start, "check", "perf"], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0 and "PASS: Throughput" in done.stdout, done.stdout + done.stderr
    finally:
        target.stop()
