"""Entry of a worker process: ``python -m kvbench.load.grpcio_process DESCRIPTOR PARENT``.

DESCRIPTOR is the socket to the parent, PARENT the parent's process id.
"""

import asyncio
import ctypes
import os
import signal
import sys
from multiprocessing.connection import Connection as Pipe

PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int) -> None:
    """Be killed when the thread that started this process ends, even if it is stopped then (prctl(2))."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


def main() -> None:
    """Work until the parent says so or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent(int(sys.argv[2]))

    from kvbench.load.grpcio_worker import work_for

    asyncio.run(work_for(Pipe(int(sys.argv[1]))))
    # gRPC's own threads would make an ordinary exit wait.
    os._exit(0)


if __name__ == "__main__":
    main()
