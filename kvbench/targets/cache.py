"""kvbench's cache folder of servers: where it is, and how a version gets into it whole or not at all."""

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kvbench.targets.guard import guard
from kvbench.targets.running import TargetError

Progress = Callable[[str], None]
"""Takes one line of progress, without its end of line."""


def silent(line: str) -> None:
    """The progress callback of a caller that gave none."""


def cache_folder() -> Path:
    """``$KVBENCH_CACHE``, else ``$XDG_CACHE_HOME/kvbench``, else ``~/.cache/kvbench``; it need not exist."""
    own = os.environ.get("KVBENCH_CACHE")
    if own:
        return Path(own).expanduser().absolute()
    xdg = os.environ.get("XDG_CACHE_HOME")
    return (Path(xdg).expanduser() if xdg else Path.home() / ".cache").absolute() / "kvbench"


def servers_folder() -> Path:
    """The folder that holds ``<kind>/<version>`` folders."""
    return cache_folder() / "servers"


def installed_folder(kind: str, version: str) -> Path:
    """Where an installed version lies, or would lie."""
    return servers_folder() / kind / version


def version_folders(kind: str) -> Iterator[Path]:
    """The folders of every version of ``kind`` in the cache; half-installed ones are not among them."""
    folder = servers_folder() / kind
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return
    yield from (entry for entry in entries if entry.is_dir() and not entry.name.startswith("."))


@contextmanager
def install_lock(kind: str, version: str, progress: Progress) -> Iterator[None]:
    """Hold the lock of one version of one kind, so that two kvbench do not install the same thing at once.

    The kernel frees it when the process ends, however it ends. Waiting can be interrupted.
    """
    folder = servers_folder() / kind
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / f".lock-{version}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise TargetError(
            f"cannot write to the cache folder {folder}: {error.strerror}",
            "set KVBENCH_CACHE to a folder that you may write to",
        ) from error
    try:
        said = False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not said:
                    progress(f"waiting for another kvbench that is installing {kind} {version}")
                    said = True
                time.sleep(0.2)
        yield
    finally:
        os.close(lock)


@contextmanager
def staging(kind: str, version: str) -> Iterator[tuple[Path, Path]]:
    """Two fresh folders: (what becomes the version's folder when the block ends well, scratch space).

    Both lie in the cache, so that the final step is one rename. Call it with the version's lock held: whatever an
    earlier install that was killed left behind is removed first. When the block raises, nothing is left.
    """
    parent = servers_folder() / kind
    prefix = f".installing-{version}-"
    for left_behind in parent.glob(f"{prefix}*"):
        remove_tree(left_behind)
    root = parent / f"{prefix}{os.getpid()}"
    product, scratch = root / "product", root / "scratch"
    guard().watch_folder(root)
    try:
        product.mkdir(parents=True)
        scratch.mkdir()
        yield product, scratch
        final = installed_folder(kind, version)
        if final.exists():
            os.rename(final, root / "replaced")
        os.rename(product, final)
    finally:
        remove_tree(root)
        guard().forget_folder(root)


def remove_tree(folder: Path) -> None:
    """Remove ``folder`` if it is there, read-only folders inside it (Go's module cache has them) included."""

    def make_writable(function: Callable[[str], None], path: str, _error: object) -> None:
        try:
            os.chmod(Path(path).parent, 0o700)
            os.chmod(path, 0o700)
            function(path)
        except OSError:
            pass

    shutil.rmtree(folder, onerror=make_writable)
