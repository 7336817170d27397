"""The command line: parse, call, print. Each command imports what it needs inside itself.

``main`` turns whatever went wrong into one message and an exit code; no traceback reaches a user.
"""

import sys
from collections.abc import Sequence

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (sys.argv by default). Returns the exit code."""
    if not sys.platform.startswith("linux"):
        print(f"kvbench runs on Linux only (this is {sys.platform}): it stands on epoll and /proc", file=sys.stderr)
        return 2
    from kvbench.cli.commands import kvbench

    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        # What was typed goes along for the manifest.
        code = kvbench.main(args=given, obj=tuple(given), standalone_mode=False)
        return int(code or 0)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except SystemExit:
        # Click's way to end when whoever reads standard output has gone away (head, less); it has seen to the rest.
        return 0
    except Exception as error:
        from kvbench.cli.failures import explain

        return explain(error, ["kvbench", *given])
