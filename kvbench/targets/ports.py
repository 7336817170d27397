"""Free ports on loopback for servers that kvbench starts."""

import random
import socket
from collections.abc import Collection

from kvbench.targets.running import TargetError

LOOPBACK = "127.0.0.1"
_LOWEST = 10_240
_TRIES = 2_000


def is_free(port: int) -> bool:
    """Whether a server could listen on ``port`` of loopback now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Servers set it as well: a port with closed connections in TIME_WAIT is free to them.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_ports(count: int, not_these: Collection[int] = ()) -> list[int]:
    """``count`` different ports that are free now, none of ``not_these``.

    They lie below the range from which the kernel gives ports to outgoing connections: the load's thousands of
    connections cannot take the port of a member that is down and about to come back. Another process may still be
    faster; whoever starts a server on such a port tries again with others.
    """
    first_outgoing = _first_outgoing_port()
    candidates = range(_LOWEST, first_outgoing) if first_outgoing > _LOWEST + 1_000 else range(_LOWEST, 65_536)
    chosen: list[int] = []
    for _ in range(_TRIES):
        port = random.choice(candidates)
        if port not in chosen and port not in not_these and is_free(port):
            chosen.append(port)
            if len(chosen) == count:
                return chosen
    raise TargetError(f"found no {count} free ports on {LOOPBACK}", "end some of the servers on this machine")


def require_free(port: int, what: str) -> None:
    """Raise TargetError if ``port``, which the user asked for, is in use."""
    if not is_free(port):
        raise TargetError(
            f"port {port} for {what} is in use on {LOOPBACK}",
            f"leave port= out to let kvbench choose, or see who has it: ss -ltnp 'sport = :{port}'",
        )


def _first_outgoing_port() -> int:
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
            return int(file.read().split()[0])
    except (OSError, ValueError, IndexError):
        return 32_768
