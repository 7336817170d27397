"""``kvbench serve`` on folders and addresses that it cannot use: each refused with its own exit code and a line."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvbench.server.member import Exit
from kvbench.targets.ports import free_ports
from kvbench.wire.proto import messages, methods
from tests.server.serving import Client, Serve, serving, three_ports, until

pytestmark = pytest.mark.slow

NO_SPACE = ("RESOURCE_EXHAUSTED", "etcdserver: mvcc: database space exceeded")
VALUE = b"v" * (1 << 20)


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that a member wrote 20 keys to."""
    root = tmp_path_factory.mktemp("used")
    with serving(root, "--fsync=off") as (server, client):
        for number in range(20):
            client.put(b"key", b"value %d" % number * 100)
        assert server.end() == Exit.OK
    yield root / "data"


@pytest.fixture
def copied(used: Path, tmp_path: Path) -> Path:
    """A copy of it; holes stay holes."""
    subprocess.run(["cp", "-r", "--sparse=always", str(used), str(tmp_path / "data")], check=True)
    return tmp_path / "data"


def refused(log: Path, folder: Path, *options: str) -> tuple[int, str]:
    """(exit code, what it says) of a server that does not start."""
    listen = [] if any(one.startswith("--listen") for one in options) else [f"--listen=127.0.0.1:{free_ports(1)[0]}"]
    server = Serve(f"--data-dir={folder}", *listen, *options, log=log)
    try:
        return server.code(), server.said()
    finally:
        server.close()


def test_an_address_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = refused(tmp_path / "log", tmp_path / "data", f"--listen=127.0.0.1:{port}")
    assert (code, said) == (
        Exit.NO_ADDRESS, f"kvbench: cannot listen on 127.0.0.1:{port}: Address already in use\n"
    )  # fmt: skip
    assert not (tmp_path / "data").exists()


def test_a_whole_cluster_with_an_address_in_use_leaves_no_process(tmp_path: Path) -> None:
    """Nobody waits for a majority that cannot come."""
    first = three_ports()
    with socket.create_server(("127.0.0.1", first + 1)), socket.create_server(("127.0.0.1", first + 2)):
        code, said = refused(tmp_path / "log", tmp_path / "data", "--members=3", f"--listen=127.0.0.1:{first}")
    assert code == Exit.NO_ADDRESS
    assert any(f"cannot listen on 127.0.0.1:{first + n}: Address already in use" in said for n in (1, 2))
    with socket.create_server(("127.0.0.1", first)):
        pass


def test_two_processes_on_one_folder(tmp_path: Path) -> None:
    """The second is told who has it; the first does not notice."""
    with serving(tmp_path, "--fsync=off") as (server, client):
        client.put(b"key", b"mine")
        code, said = refused(tmp_path / "second", tmp_path / "data")
        assert code == Exit.FOLDER_IN_USE
        assert f"{tmp_path / 'data'} is in use by another process (pid {server.process.pid})" in said
        client.put(b"key", client.get(b"key") + b"!")
        assert client.get(b"key") == b"mine!"


def test_another_clusters_folder(copied: Path) -> None:
    code, said = refused(copied.parent / "log", copied, "--cluster-token=another")
    assert code == Exit.FOLDER_FOREIGN
    assert "belongs to member" in said and "of cluster" in said and ", this is member" in said


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "thesis.tex").write_text("mine")
    code, said = refused(tmp_path / "log", tmp_path / "data")
    assert code == Exit.FOLDER_FOREIGN
    assert "is no member's folder and not empty: it holds thesis.tex" in said
    assert (tmp_path / "data" / "thesis.tex").read_text() == "mine"


def test_what_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    code, said = refused(tmp_path / "log", tmp_path / "data")
    assert (code, said) == (Exit.FOLDER_UNUSABLE, f"kvbench: cannot use {tmp_path / 'data'}: File exists\n")


def test_a_later_format(copied: Path) -> None:
    _flip(copied / "identity", 8, 0x02)
    code, said = refused(copied.parent / "log", copied)
    assert code == Exit.FOLDER_NEWER
    assert f"{copied / 'identity'}, offset 8: it was written by a later version of kvbench" in said


@pytest.mark.parametrize("name", ["identity", "log/0000000001.log"])
def test_a_flipped_bit(copied: Path, name: str) -> None:
    path = copied / name
    offset = 40 if name == "identity" else path.read_bytes().index(b"value 7") + 10
    _flip(path, offset, 0x10)
    code, said = refused(copied.parent / "log", copied)
    assert code == Exit.FOLDER_DAMAGED
    assert said.startswith(f"kvbench: {path}, offset ") and "the member does not start with it" in said
    if name != "identity":
        found = int(said.split("offset ")[1].split(":")[0])
        assert offset - 1024 < found <= offset
    _flip(path, offset, 0x10)
    with serving(copied.parent) as (server, client):
        assert client.get(b"key") == b"value 19" * 100
        assert server.end() == Exit.OK


def _flip(path: Path, offset: int, bits: int) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ bits]))


# -- no space -------------------------------------------------------------------------------------------------------


def fill(client: Client) -> int:
    """Write keys of a megabyte until they are refused. Returns how many were taken."""
    for number in range(1000):
        try:
            client.put(b"fill %03d" % number, VALUE)
        except Exception as error:
            assert (error.code().name, error.details()) == NO_SPACE  # type: ignore[attr-defined]
            return number
    raise AssertionError("it was never full")


def alarms(client: Client) -> list[int]:
    """The kinds of alarms that are raised."""
    return [one.alarm for one in client.call(methods.ALARM, messages.AlarmRequest()).alarms]


def test_a_quota_that_is_reached(tmp_path: Path) -> None:
    """As etcd: NOSPACE, reads and deletes go on, and after a compaction and the alarm's end so do writes."""
    with serving(tmp_path, "--quota=16MiB", "--fsync=off") as (server, client):
        taken = fill(client)
        assert 12 <= taken <= 16
        until(lambda: alarms(client) == [messages.NOSPACE])
        assert client.refusal(methods.PUT, messages.PutRequest(key=b"small", value=b"v")) == NO_SPACE
        assert client.get(b"fill 003") == VALUE
        gone = client.call(methods.DELETE_RANGE, messages.DeleteRangeRequest(key=b"fill 003", range_end=b"fill 9"))
        assert gone.deleted == taken - 3
        client.call(methods.COMPACT, messages.CompactionRequest(revision=gone.header.revision, physical=True))
        assert client.refusal(methods.PUT, messages.PutRequest(key=b"small", value=b"v")) == NO_SPACE
        raised = client.call(methods.ALARM, messages.AlarmRequest()).alarms[0]
        disarm = messages.AlarmRequest(
            action=messages.AlarmRequest.DEACTIVATE, memberID=raised.memberID, alarm=messages.NOSPACE
        )
        assert [one.alarm for one in client.call(methods.ALARM, disarm).alarms] == [messages.NOSPACE]
        assert alarms(client) == []
        assert client.put(b"small", b"v") > 0
        assert fill(client) >= 8
        assert server.end() == Exit.OK


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 220 MB in memory."""
    root = tmp_path / "small"
    root.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=220m", "none", str(root)], capture_output=True)
    if made.returncode != 0:
        pytest.skip("no file system may be mounted here")
    try:
        yield root
    finally:
        subprocess.run(["umount", str(root)], check=True)


def test_a_full_disk(small_disk: Path) -> None:
    """Writes are refused as etcd refuses them, all that was acknowledged is there, and with space it goes on."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(60 << 20))
    with serving(small_disk, "--snapshots=off") as (server, client):
        taken = fill(client)
        assert taken >= 8
        until(lambda: alarms(client) == [messages.NOSPACE])
        assert client.get(b"fill %03d" % (taken - 1)) == VALUE
        ballast.unlink()
        until(lambda: alarms(client) == [])
        assert client.put(b"after", b"v") > 0
        assert server.end() == Exit.OK
    with serving(small_disk, "--snapshots=off") as (_, client):
        assert client.get(b"fill %03d" % (taken - 1)) == VALUE
        assert client.get(b"after") == b"v"
    shutil.rmtree(small_disk / "data")
