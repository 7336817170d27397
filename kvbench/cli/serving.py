"""``kvbench serve``: checks what was asked, then becomes the serving process, or starts one for each member."""

import ipaddress
import os
import select
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from kvbench.config_source import ConfigError
from kvbench.server.settings import SNAPSHOTS_BY_SIZE, SNAPSHOTS_OFF, MemberSettings
from kvbench.targets.spec import parse_bytes

STOP_PATIENCE_S = 10.0
MEMBER_COMMAND = (sys.executable, "-m", "kvbench.server")


def parse_address(text: str) -> tuple[str, int]:
    """ "127.0.0.1:2379" or "[::1]:2379" as (host, port). Raises ConfigError."""
    host, separator, port = text.rpartition(":")
    if not separator or not port.isdigit() or int(port) > 65535 or not host:
        raise ConfigError(f"{text!r} is no host:port; write 127.0.0.1:2379")
    return host.strip("[]"), int(port)


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        found = {str(info[4][0]) for info in _resolve(host)}
        return all(ipaddress.ip_address(one).is_loopback for one in found)


def _resolve(host: str) -> list[tuple[object, object, object, str, tuple[object, ...]]]:
    try:
        return list(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))
    except OSError as error:
        raise ConfigError(f"{host!r} is no address: {error.strerror}") from None


def parse_snapshots(text: str) -> int:
    """on, off, or after how many entries. Raises ConfigError."""
    if text == "on":
        return SNAPSHOTS_BY_SIZE
    if text == "off":
        return SNAPSHOTS_OFF
    if text.isascii() and text.isdigit() and int(text) >= 2:
        return int(text)
    raise ConfigError(f"--snapshots {text}: write on, off, or a count of writes such as 100000")


def parse_size(option: str, text: str, least: int, most: int) -> int:
    """Bytes. Raises ConfigError."""
    try:
        size = parse_bytes(text)
    except ValueError:
        raise ConfigError(f"{option} {text} is no size; write 8GiB or 1536KiB") from None
    if not least <= size <= most:
        raise ConfigError(f"{option} {text}: it has to be from {format_bytes(least)} to {format_bytes(most)}")
    return size


def format_bytes(size: int) -> str:
    """A power of two, or some of them: 1KiB, 6MiB, 12GiB."""
    return next(f"{size >> bits}{unit}" for bits, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")) if size >> bits)


def serve_command(
    *, data_dir: Path, listen: str, members: int, member: int, peers: str, snapshots: str, fsync: str, quota: str,
    token: str, insecure: bool, connections: int, request_bytes: str, message_bytes: str,
) -> int:  # fmt: skip
    """Serve until told to end. Returns the exit code; of a single member never, since its process takes over."""
    host, port = parse_address(listen)
    quota_bytes = parse_size("--quota", quota, 1 << 20, 12 << 30)
    request_bytes_max = parse_size("--request-bytes", request_bytes, 1 << 10, 6 << 20)
    message_bytes_max = parse_size("--message-bytes", message_bytes, 1 << 10, 6 << 20)
    addresses = plan_addresses(host, port, members, member, peers)
    for name, _ in addresses:
        if not insecure and not is_loopback(name):
            raise ConfigError(
                f"{name} can be reached from other machines, and this store has neither TLS nor users: give --insecure"
                " if that is meant, or listen on 127.0.0.1"
            )
    settings = MemberSettings(
        str(data_dir.absolute()),
        tuple(addresses),
        position=max(member - 1, 0),
        token=token,
        snapshots=parse_snapshots(snapshots),
        fsync=fsync == "on",
        quota_bytes=quota_bytes,
        connections=connections,
        request_bytes_max=request_bytes_max,
        message_bytes_max=message_bytes_max,
    )
    if members > 1 and not peers:
        return serve_cluster(settings, members)
    become(settings)
    return 0


def plan_addresses(host: str, port: int, members: int, member: int, peers: str) -> list[tuple[str, int]]:
    """Of all members, in their order. Raises ConfigError."""
    if not peers:
        if member:
            raise ConfigError("--member says which of the --peers this member is: give those too")
        return [(host, port + number) for number in range(members)]
    addresses = [parse_address(one.strip()) for one in peers.split(",")]
    if len(addresses) not in (1, 3, 5):
        raise ConfigError(f"--peers names {len(addresses)} members; a cluster has 1, 3 or 5")
    if not 1 <= member <= len(addresses):
        raise ConfigError(f"--member has to be 1 to {len(addresses)}: the place of this member among the --peers")
    if addresses[member - 1] != (host, port):
        raise ConfigError(f"--listen {host}:{port} is not what --peers says of member {member}")
    if len(set(addresses)) != len(addresses):
        raise ConfigError("--peers names an address twice")
    return addresses


def become(settings: MemberSettings) -> None:
    """This process becomes the member: nothing of the command line stays in its memory."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(MEMBER_COMMAND[0], [*MEMBER_COMMAND, settings.to_json()])


def serve_cluster(settings: MemberSettings, members: int) -> int:
    """One process for each member of a whole local cluster, below the data folder. Ends when one of them does."""
    life, alive = os.pipe()
    children: list[subprocess.Popen[str]] = []
    told: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda got, frame: told.append(got))
    try:
        for position in range(members):
            folder = str(settings.folder / f"m{position + 1}")
            own = replace(settings, data_folder=folder, position=position, life_fd=life)
            children.append(
                subprocess.Popen(
                    [*MEMBER_COMMAND, own.to_json()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    text=True,
                    pass_fds=(life,),
                    start_new_session=True,
                )
            )
        ready = wait_until_ready(children, told)
        if ready:
            print("ready " + ",".join(ready), flush=True)
            while not told and all(child.poll() is None for child in children):
                time.sleep(0.1)
        return end_cluster(children, told)
    finally:
        os.close(alive)
        os.close(life)


def wait_until_ready(children: "list[subprocess.Popen[str]]", told: list[int]) -> list[str]:
    """The address of each member once all serve; nothing when one ends before, or this process is told to end."""
    addresses: dict[int, str] = {}
    streams = {child.stdout: number for number, child in enumerate(children) if child.stdout}
    while len(addresses) < len(children):
        if told or any(child.poll() is not None for child in children):
            return []
        silent = [stream for stream, number in streams.items() if number not in addresses]
        for stream in select.select(silent, [], [], 0.1)[0]:
            words = stream.readline().split()
            if len(words) == 2:
                addresses[streams[stream]] = words[1]
    return [addresses[number] for number in range(len(children))]


def end_cluster(children: "list[subprocess.Popen[str]]", told: list[int]) -> int:
    """Have every member end. Returns the exit code: of the member that ended by itself, if one did."""
    own = next((code for child in children if (code := child.poll()) is not None), None)
    for child in children:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + STOP_PATIENCE_S
    for child in children:
        try:
            child.wait(max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        if child.stdout:
            child.stdout.close()
    if own is not None and not told:
        return own or 3
    return 130 if told and told[0] == signal.SIGINT else 0
