"""A null server as a process: ``python -m kvbench.server.null --protocol etcd|zookeeper|bare [--port 0] [--cpu N]``.

Compiles what it needs, then prints ``listening 127.0.0.1:PORT`` and takes connections. Ends on SIGTERM, SIGINT, or
when its parent is gone.
"""

import argparse
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from kvbench.rt import libc
from kvbench.rt.atomics import store
from kvbench.server import null_net

HOST = "127.0.0.1"
CONNECTIONS_MAX = 4096
PR_SET_PDEATHSIG = 1
PARENT_CHECK_S = 1.0


Serve = Callable[[int, int, Any], int]
"""Serves a protocol: (listener, most connections, stop flag) -> 0 or -errno."""


def server_of(options: argparse.Namespace) -> Serve:
    """The function that serves the protocol asked for."""
    if options.protocol == "etcd":
        from kvbench.server.null_etcd import serve_etcd

        return lambda listener, connections, stop: serve_etcd(listener, connections, stop, options.value_bytes)
    if options.protocol == "bare":
        from kvbench.server.null_bare import serve_bare

        sizes = options.request_bytes, options.response_bytes
        return lambda listener, connections, stop: serve_bare(listener, connections, stop, *sizes)
    from kvbench.server.null_zookeeper import serve_zookeeper

    return lambda listener, connections, stop: serve_zookeeper(listener, connections, stop, options.value_bytes)


def number_within(least: int, most: int) -> Callable[[str], int]:
    """A reader of numbers for argparse, which names the argument when one is out of range."""

    def read(text: str) -> int:
        number = int(text)
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(f"{number} is not within {least} to {most}")
        return number

    read.__name__ = "number"
    return read


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m kvbench.server.null", description=(__doc__ or "").splitlines()[0])
    size = number_within(0, null_net.VALUE_BYTES_MAX)
    parser.add_argument("--protocol", choices=("etcd", "zookeeper", "bare"), required=True)
    parser.add_argument("--port", type=number_within(0, 65535), default=0, help="0: any free port")
    parser.add_argument("--cpu", type=number_within(0, 4095), default=None, help="the one core to run on")
    parser.add_argument(
        "--connections", type=number_within(1, 65536), default=CONNECTIONS_MAX, help="most connections at once"
    )
    parser.add_argument(
        "--value-bytes", type=size, default=256, help="size of the values that reads find, and that writes may have"
    )
    parser.add_argument("--request-bytes", type=int, default=512, help="bare: bytes that make a request")
    parser.add_argument("--response-bytes", type=int, default=64, help="bare: bytes of each answer")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Serve until told to end. Returns the exit code."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    parent = os.getppid()
    told = listen_to_signals(signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGUSR1, 0, 0, 0)
    try:
        if options.cpu is not None:
            os.sched_setaffinity(0, {options.cpu})
        listener, port = null_net.listen(HOST, options.port)
    except OSError as error:
        print(f"null server: {error} (port {options.port}, core {options.cpu})", file=sys.stderr)
        return 2
    serve = server_of(options)
    stop = np.zeros(1, np.int64)
    codes: list[int] = []

    def work() -> None:
        serve(listener, 1, np.ones(1, np.int64))  # told to stop before it starts: compiles, and returns
        print(f"listening {HOST}:{port}", flush=True)
        codes.append(serve(listener, options.connections, stop))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while thread.is_alive() and not told_to_end(told, parent):
        pass
    store(stop, 0, 1)
    thread.join(PARENT_CHECK_S)
    if thread.is_alive():
        os._exit(0)  # in the middle of compiling, which nothing else interrupts
    return 0 if codes == [0] else 1


def listen_to_signals(*endings: signal.Signals) -> int:
    """The read end of a pipe that gets a byte, its number, for each of these signals.

    Whichever thread one is delivered to: numpy's libraries have threads of their own that block none.
    """
    told, number = os.pipe()
    os.set_blocking(number, False)
    signal.set_wakeup_fd(number)
    for ending in endings:
        signal.signal(ending, lambda _number, _frame: None)
    return told


def told_to_end(told: int, parent: int) -> bool:
    """Wait a little for a signal. The parent's death is SIGUSR1; a parent whose thread ended still lives."""
    ready, _, _ = select.select([told], [], [], PARENT_CHECK_S)
    if ready and any(number != signal.SIGUSR1 for number in os.read(told, 64)):
        return True
    return os.getppid() != parent


if __name__ == "__main__":
    sys.exit(main())
