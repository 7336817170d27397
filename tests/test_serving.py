"""What ``kvbench serve`` makes of its options, before anything is started."""

from pathlib import Path
from typing import Any

import pytest

from kvbench.cli import serving
from kvbench.config_source import ConfigError
from kvbench.server.settings import MemberSettings, from_json

PEERS = "127.0.0.1:1001,127.0.0.1:1002,127.0.0.1:1003"


def serve(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **options: Any) -> MemberSettings:
    """The settings that the serving process would get."""
    became: list[MemberSettings] = []

    def serve_cluster(settings: MemberSettings, members: int) -> int:
        became.append(settings)
        return 0

    monkeypatch.setattr(serving, "become", became.append)
    monkeypatch.setattr(serving, "serve_cluster", serve_cluster)
    given: dict[str, Any] = {
        "data_dir": tmp_path, "listen": "127.0.0.1:2379", "members": 1, "member": 0, "peers": "", "snapshots": "on",
        "fsync": "on", "quota": "2GiB", "token": "kvbench", "insecure": False, "connections": 100,
        "request_bytes": "1536KiB", "message_bytes": "1MiB",
    }  # fmt: skip
    assert serving.serve_command(**(given | options)) == 0
    assert from_json(became[0].to_json()) == became[0]
    return became[0]


def test_one_member(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = serve(monkeypatch, tmp_path)
    assert (settings.folder, settings.address, settings.position) == (tmp_path, ("127.0.0.1", 2379), 0)
    assert (settings.snapshots, settings.fsync, settings.quota_bytes) == (-1, True, 2 << 30)
    assert settings.request_bytes_max == 3 << 19


def test_options(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = serve(monkeypatch, tmp_path, snapshots="500", fsync="off", quota="1g", listen="[::1]:7")
    assert (settings.snapshots, settings.fsync, settings.quota_bytes) == (500, False, 1 << 30)
    assert settings.address == ("::1", 7)
    assert serve(monkeypatch, tmp_path, snapshots="off").snapshots == 0


def test_a_member_of_a_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = serve(monkeypatch, tmp_path, peers=PEERS, member=2, listen="127.0.0.1:1002")
    assert (settings.position, settings.address, len(settings.addresses)) == (1, ("127.0.0.1", 1002), 3)


def test_a_whole_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = serve(monkeypatch, tmp_path, members=3, listen="127.0.0.1:1000")
    assert settings.addresses == tuple(("127.0.0.1", port) for port in (1000, 1001, 1002))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"listen": "0.0.0.0:2379"}, "--insecure"),
        ({"listen": "2379"}, "is no host:port"),
        ({"listen": "127.0.0.1:99999"}, "is no host:port"),
        ({"listen": "no.such.host.invalid:1"}, "is no address"),
        ({"snapshots": "1"}, "--snapshots 1"),
        ({"snapshots": "often"}, "--snapshots often"),
        ({"quota": "much"}, "--quota much is no size"),
        ({"quota": "1KiB"}, "--quota 1KiB: it has to be from 1MiB to 12GiB"),
        ({"quota": "13GiB"}, "--quota 13GiB: it has to be from 1MiB to 12GiB"),
        ({"request_bytes": "0"}, "--request-bytes 0: it has to be from 1KiB to 6MiB"),
        ({"message_bytes": "1GiB"}, "--message-bytes 1GiB: it has to be from 1KiB to 6MiB"),
        ({"member": 1}, "--peers"),
        ({"peers": "127.0.0.1:1,127.0.0.1:2", "member": 1}, "1, 3 or 5"),
        ({"peers": PEERS, "member": 4}, "has to be 1 to 3"),
        ({"peers": PEERS, "member": 1, "listen": "127.0.0.1:1002"}, "is not what --peers says"),
        ({"peers": "127.0.0.1:1,127.0.0.1:1,127.0.0.1:2", "member": 1, "listen": "127.0.0.1:1"}, "twice"),
        ({"peers": PEERS.replace("127.0.0.1:1003", "8.8.8.8:1"), "member": 1, "listen": "127.0.0.1:1001"}, "8.8.8.8"),
    ],
)
def test_what_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        serve(monkeypatch, tmp_path, **options)


def test_another_address_when_that_is_meant(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert serve(monkeypatch, tmp_path, listen="0.0.0.0:2379", insecure=True).address == ("0.0.0.0", 2379)
