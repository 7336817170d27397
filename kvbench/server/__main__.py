"""A member as a process: ``python -m kvbench.server JSON`` (server.settings). ``kvbench serve`` starts it."""

import sys

UNUSED = ("coverage", "scipy")
"""What numba imports where it is installed, for what no kernel does: 12 MB of memory."""

if __name__ == "__main__":
    for name in UNUSED:
        sys.modules[name] = None  # type: ignore[assignment]
    from kvbench.server.member import main

    sys.exit(main())
