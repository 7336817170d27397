"""Real members: saved and restored, left behind and caught up, stopped and killed under load."""

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from kvbench.cli import snapshots
from kvbench.targets import found
from kvbench.targets.ports import free_ports
from kvbench.wire.proto import messages, methods
from tests.like_etcd.sides import Side
from tests.server.members import Members, closing

pytestmark = pytest.mark.slow

PREFIX, PREFIX_END = b"w/", b"w0"
LARGE_BYTES = 1_400_000
LARGE_COUNT = 100
"""More than two segments of the log and what is kept of it: who missed them needs a snapshot."""


def start_command(said: str) -> list[str]:
    """The command that starts what was restored."""
    return shlex.split(said.split("\n", 1)[1])


def everything(side: Side) -> Any:
    return side.raw(methods.RANGE, messages.RangeRequest(key=b"\0", range_end=b"\0")).kvs


def test_saved_and_restored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "backup.db"
    with closing(Members(tmp_path / "old", 1)) as members:
        side = members.sides[0]
        for number in range(20):
            revision = members.put(0, b"%d" % (number % 7), bytes(3000))
        side.raw(methods.COMPACT, messages.CompactionRequest(revision=revision - 9))
        before = everything(side)
        hashed = side.raw(methods.HASH_KV, messages.HashKVRequest()).hash
        snapshots.save_command(file, side.address)
        by_etcdctl = tmp_path / "etcdctl.db"
        tools = found.find_all("etcdctl")
        if tools:
            command = [str(tools[0].path), f"--endpoints={side.address}", "snapshot", "save", str(by_etcdctl)]
            subprocess.run(command, check=True, capture_output=True, timeout=30)
            assert by_etcdctl.read_bytes() == file.read_bytes()
    assert not list(tmp_path.glob("*.part"))
    assert f"saved revision {revision}" in capsys.readouterr().out
    snapshots.status_command(file, False)
    assert f"{hashed:08x}" in capsys.readouterr().out
    port = free_ports(1)[0]
    root = tmp_path / "new"
    snapshots.restore_command(file, root, f"127.0.0.1:{port}", 1, 0, "", "", 500, True)
    command = start_command(capsys.readouterr().out)
    token = command[command.index("--cluster-token") + 1]
    with closing(Members(tmp_path, 1, [root], [port], token=token)) as members:
        side = members.sides[0]
        assert everything(side) == before
        watch = side.watch()
        watch.create(b"5", start_revision=revision)
        watch.create(b"5", start_revision=revision + 501)
        assert members.put(0, b"5", b"again") == revision + 501
        responses = watch.wait_for(lambda came: len([one for one in came if one.canceled or one.events]) == 2)
        cancelled = [one for one in responses if one.canceled]
        assert [one.compact_revision for one in cancelled] == [revision + 500]
        assert [event.kv.mod_revision for one in responses for event in one.events] == [revision + 501]
        assert members.stop(0) == 0
        members.start(0)
        assert [one.value for one in everything(side) if one.key == b"5"] == [b"again"]
