"""The socket that a server listens on."""

import socket

BACKLOG = 4096


def listen(host: str, port: int) -> tuple[int, int]:
    """A listening non-blocking descriptor and its port (``port`` 0: any free one). Raises OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
        bound = int(listener.getsockname()[1])
    except OSError:
        listener.close()
        raise
    return listener.detach(), bound
