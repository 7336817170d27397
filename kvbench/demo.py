"""``make demo``: a one-minute comparison of whatever servers this machine has or can get, with a table and a report."""

import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from kvbench.cli import main as kvbench
from kvbench.targets.found import FoundServer

SETTINGS = (
    "load.clients=200",
    "load.connections=50",
    "keys.count=100_000",
    "phases.warm-up.duration_s=3",
    "phases.measure.duration_s=15",
)
"""Short, and small enough for a laptop: each target takes about 25 s."""


def targets(found: Sequence[FoundServer]) -> tuple[str, ...]:
    """What to compare: the built-in store and each kind found; without any, the store with and without fsync."""
    kinds = tuple(dict.fromkeys(server.kind for server in found if server.kind in ("etcd", "zookeeper")))
    return ("raft", *kinds) if kinds else ("raft", "raft?fsync=off")


def main() -> int:
    """Install, run, report. Returns the exit code of the first step that fails, else 0."""
    code, found = _servers()
    if code:
        return code
    compared = targets(found)
    print(f"== comparing {', '.join(compared)}: workload put, 200 clients, 15 s each", file=sys.stderr)
    out = Path("results") / "demo" / f"{datetime.now():%Y-%m-%d-%H%M%S}"
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    named = [part for target in compared for part in ("--target", target)]
    code = kvbench(["run", "put", *named, "--out", str(out), *settings])
    return code or kvbench(["report", str(out)])


def _servers() -> tuple[int, list[FoundServer]]:
    from kvbench.cli.failures import explain
    from kvbench.provision import install_available

    try:
        return 0, install_available(lambda line: print(line, file=sys.stderr, flush=True))
    except KeyboardInterrupt:
        return 130, []
    except Exception as error:
        explain(error, ["make demo"])
        return 0, []  # the built-in store needs nothing


if __name__ == "__main__":
    sys.exit(main())
