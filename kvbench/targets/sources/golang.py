"""etcd, its tools and its load generator from Go modules, with ``go build``.

``go install module@version`` refuses modules whose go.mod holds replace lines, and etcd's does; so an empty module
requires the one wanted. Binaries are built as etcd's own releases are: without cgo, with trimmed paths.
"""

import os
from pathlib import Path

from kvbench.targets.cache import Progress
from kvbench.targets.commands import require_tool, run_command

REMEDY_NO_GO = "install Go from its own site (Debian 12's golang-go is too old for etcd 3.6 and later)"
_NOISE = "  go: added "
"""What `go get` says of each of a hundred modules that the one wanted needs."""
_REMEDY = "see the lines above; is `go` too old, without network access, or short of disk (it takes about 2 GB)?"


def install_go_programs(
    module: str, version: str, programs: dict[str, str], product: Path, scratch: Path, progress: Progress
) -> None:
    """Build ``programs`` ({file name: package path}) of ``module`` at ``version`` into ``product``.

    ``scratch`` takes the throw-away module and Go's temporary files. Raises TargetError when a step fails.
    """
    go = require_tool("go", f"building {module} {version}", REMEDY_NO_GO)
    environment = dict(os.environ, CGO_ENABLED="0", GOTMPDIR=str(scratch), GOWORK="off", GO111MODULE="on")
    folder = scratch / "module"
    folder.mkdir()
    run_command([go, "mod", "init", "kvbench.invalid/build"], "go mod init", _REMEDY, folder, environment=environment)
    progress(f"fetching {module}@v{version}")
    what = f"fetching {module} {version}"
    run_command([go, "get", f"{module}@v{version}"], what, _REMEDY, folder, _without_noise(progress), environment)
    for name, package in programs.items():
        progress(f"building {name} {version} (half a minute to a few minutes)")
        command = [go, "build", "-trimpath", "-o", str(product / name), package]
        run_command(command, f"building {package} {version}", _REMEDY, folder, progress, environment)


def _without_noise(progress: Progress) -> Progress:
    def say(line: str) -> None:
        if not line.startswith(_NOISE):
            progress(line)

    return say
