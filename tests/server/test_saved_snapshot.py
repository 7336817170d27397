"""Saved snapshots: checked to the last byte, read, and made the beginning of a new cluster; no server is running."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kvbench.cli import snapshots
from kvbench.cli.failures import explain
from kvbench.config_source import ConfigError
from kvbench.jit import JIT_ENABLED
from kvbench.log.identity import Identity
from kvbench.log.snapshot import HEADER_BYTES
from kvbench.node.recovery import recover
from kvbench.node.state import NodeConfig, new_node
from kvbench.rt.crc32c import crc32c
from kvbench.server import saved_snapshot
from kvbench.server.folder import Folder
from kvbench.server.rare_calls import with_checksum
from kvbench.server.saved_snapshot import SavedSnapshot, read_saved
from kvbench.server.snapshot_errors import SnapshotDamaged, SnapshotError, SnapshotUnsuitable
from kvbench.wire.proto import messages
from tests.store.driver import Driver, small_store

CLUSTER = 77


def filled() -> Driver:
    """Keys with several versions and a lease, one deleted, something compacted, an alarm."""
    driver = Driver()
    driver.apply(messages.LeaseGrantRequest(ID=9, TTL=60))
    for number in range(12):
        value = bytes([number]) * 50 * number
        driver.apply(messages.PutRequest(key=b"key %d" % (number % 7), value=value, lease=9 * (number & 1)))
    driver.apply(messages.DeleteRangeRequest(key=b"key 3"))
    driver.apply(messages.CompactionRequest(revision=5))
    driver.apply(messages.AlarmRequest(action="ACTIVATE", memberID=3, alarm="NOSPACE"))
    return driver


def saved(folder: Path, driver: Driver | None = None) -> Path:
    """A file as Maintenance/Snapshot streams it."""
    raw, file = folder / "raw", folder / "backup.db"
    store = (driver or filled()).store
    store.state["applied_index"] = saved_snapshot.FIRST_INDEX
    with open(raw, "wb") as out:
        saved_snapshot.write_snapshot(store, CLUSTER, out.fileno())
    with open(raw, "rb") as source:
        file.write_bytes(b"".join(with_checksum(source, raw.stat().st_size)))
    return file


def test_what_was_saved_is_read(tmp_path: Path) -> None:
    driver, store = filled(), small_store()
    file = saved(tmp_path, driver)
    content = file.read_bytes()
    seen: list[tuple[int, int]] = []
    digest = hashlib.sha256(content[:-32]).hexdigest()
    found = read_saved(file, store, lambda done, total: seen.append((done, total)))
    assert found == SavedSnapshot(int(driver.state["revision"]), 1, len(content), digest)
    assert seen[-1] == (len(content), len(content))
    assert saved_snapshot.hash_of(store) == saved_snapshot.hash_of(driver.store)
    everything = messages.RangeRequest(key=b"\0", range_end=b"\0")
    assert Driver(store).read(everything).kvs == driver.read(everything).kvs


def test_a_members_own_file_is_read(tmp_path: Path) -> None:
    content = saved(tmp_path).read_bytes()
    raw = tmp_path / "raw"
    assert content.startswith(raw.read_bytes())
    assert read_saved(raw).file_bytes == raw.stat().st_size < len(content)


def test_every_damage_is_seen(tmp_path: Path) -> None:
    file = saved(tmp_path)
    content = file.read_bytes()
    for at in range(8, len(content), 1 if JIT_ENABLED else 97):
        damaged = bytearray(content)
        damaged[at] ^= 1 << at % 8
        file.write_bytes(damaged)
        with pytest.raises((SnapshotDamaged, SnapshotUnsuitable)):
            read_saved(file)
    raw_bytes = (tmp_path / "raw").stat().st_size
    for size in range(0, len(content), 1 if JIT_ENABLED else 97):
        if size != raw_bytes:
            file.write_bytes(content[:size])
            with pytest.raises(SnapshotError):
                read_saved(file)
    file.write_bytes(content + b"\0")
    with pytest.raises(SnapshotDamaged):
        read_saved(file)


def test_a_damage_says_where(tmp_path: Path) -> None:
    file = saved(tmp_path)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(SnapshotDamaged, match=rf"backup.db, offset {len(content) - 32}: the SHA-256 at its end"):
        read_saved(file)
    file.write_bytes(content[:100])
    with pytest.raises(SnapshotDamaged, match="offset 56: the file ends too early") as raised:
        read_saved(file)
    assert explain(raised.value, []) == 3


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"kvsnap2\n" + bytes(600), "written by a later version"),
        (bytes(16) + b"\xed\xda\x0c\xed"[::-1] + bytes(600), "no snapshot of the built-in store"),
        (bytes(16) + (0xED0CDAED).to_bytes(4, "little") + bytes(600), "snapshot of etcd's"),
        (b"", "no snapshot of the built-in store"),
        (b"PK\3\4" * 200, "no snapshot of the built-in store"),
    ],
)
def test_what_is_no_snapshot_of_this_version(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "backup.db"
    file.write_bytes(content)
    with pytest.raises(SnapshotUnsuitable, match=said) as raised:
        read_saved(file)
    assert explain(raised.value, []) == 2


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    file = saved(tmp_path)
    content = bytearray(file.read_bytes())
    content[12] += 1
    checksum = crc32c(np.frombuffer(bytes(content), np.uint8).copy(), 12, HEADER_BYTES - 12, 0)
    content[8:12] = int(checksum).to_bytes(4, "little")
    file.write_bytes(content)
    with pytest.raises(SnapshotUnsuitable, match="later version"):
        read_saved(file)


def recovered(root: Path, identity: Identity) -> Any:
    """A member's node after a start from a folder, its snapshot not yet loaded."""
    node = new_node(NodeConfig(identity.position, len(identity.members), identity.cluster, identity.members, seed=1))
    folder = Folder(root, identity)
    try:
        folder.recover(node.log, lambda segments, mark, found: recover(node, segments, mark, found))
        folder.check_snapshot(saved_snapshot.FIRST_INDEX)
    finally:
        folder.close()
    return node


def restore(file: Path, root: Path, **options: Any) -> int:
    """What the command says, as an exit code; 0: done."""
    given: dict[str, Any] = {
        "listen": "127.0.0.1:1",
        "members": 1,
        "member": 0,
        "peers": "",
        "token": "",
        "bump_revision": 0,
    }
    try:
        snapshots.restore_command(file, root, **(given | {"mark_compacted": False} | options))
    except (ConfigError, SnapshotError) as error:
        return explain(error, [])
    return 0


def command_of(said: str) -> Sequence[str]:
    """The options of the command that starts what was restored."""
    return said.split("\n")[1].split()


@pytest.mark.parametrize("members", [1, 3])
def test_restored_folders_are_members(tmp_path: Path, capsys: pytest.CaptureFixture[str], members: int) -> None:
    file, root = saved(tmp_path), tmp_path / "new" / "data"
    assert restore(file, root, members=members) == 0
    command = command_of(capsys.readouterr().out)
    token = command[command.index("--cluster-token") + 1]
    assert token == f"restored-{read_saved(file).digest[:12]}"
    addresses = [("127.0.0.1", 1 + number) for number in range(members)]
    for place in range(members):
        identity = snapshots.log_identity(token, addresses, place)
        node = recovered(root / f"m{place + 1}" if members > 1 else root, identity)
        assert int(node.log.state[0]["last_index"]) == saved_snapshot.FIRST_INDEX
        assert int(node.raft.state[0]["base_term"]) == saved_snapshot.FIRST_TERM
    assert sorted(path.name for path in root.parent.iterdir()) == ["data"]


def test_one_member_of_many_machines(tmp_path: Path) -> None:
    peers = "127.0.0.1:5,127.0.0.1:6,127.0.0.1:7"
    assert restore(saved(tmp_path), tmp_path / "d", peers=peers, member=2, listen="127.0.0.1:6", token="t") == 0
    identity = snapshots.log_identity("t", [("127.0.0.1", port) for port in (5, 6, 7)], 1)
    recovered(tmp_path / "d", identity)


def test_revisions_go_on_later(tmp_path: Path) -> None:
    driver = filled()
    revision = int(driver.state["revision"])
    file, root = saved(tmp_path, driver), tmp_path / "data"
    assert restore(file, root, bump_revision=1000, mark_compacted=True) == 0
    store = small_store()
    found = read_saved(next(root.glob("snapshot/*.snap")), store)
    assert found.revision == revision + 1000 == saved_snapshot.compacted_revision(store)
    assert int(store.state[0]["alarms"]) == 0 and int(store.state[0]["leases"]) == 1
    again = Driver(store)
    everything = messages.RangeRequest(key=b"\0", range_end=b"\0")
    assert again.read(everything).kvs == driver.read(everything).kvs
    assert again.apply(messages.PutRequest(key=b"a")).header.revision == revision + 1001


def test_what_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = saved(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert restore(file, tmp_path) == 2 and "exists already" in capsys.readouterr().err
    assert restore(tmp_path / "none", tmp_path / "d") == 2 and "cannot read" in capsys.readouterr().err
    assert restore(file, tmp_path / "d", mark_compacted=True) == 2
    assert restore(file, tmp_path / "d", peers="127.0.0.1:5") == 2
    damaged = bytearray(file.read_bytes())
    damaged[300] ^= 4
    file.write_bytes(damaged)
    assert restore(file, tmp_path / "d") == 3 and "offset 56" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    driver = filled()
    file = saved(tmp_path, driver)
    snapshots.status_command(file, True)
    found = json.loads(capsys.readouterr().out)
    assert found == {
        "hash": saved_snapshot.hash_of(driver.store), "revision": int(driver.state["revision"]), "totalKey": 6,
        "totalSize": file.stat().st_size, "version": "1", "compactRevision": 5, "leases": 1,
        "sha256": read_saved(file).digest,
    }  # fmt: skip
    snapshots.status_command(file, False)
    assert f"{found['hash']:08x}" in capsys.readouterr().out
