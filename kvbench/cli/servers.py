"""``kvbench servers``: what this machine has, and getting more."""

import json
import sys

import click
from rich import box
from rich.table import Table

from kvbench.cli import consoles
from kvbench.targets.servers import install, install_remedy, list_servers


def list_found(as_json: bool) -> None:
    """Every server and tool found, with the way to get what is missing."""
    found = list_servers()
    if as_json:
        rows = [
            {
                "kind": each.kind,
                "version": each.version,
                "source": each.source,
                "path": str(each.path),
                "warning": each.warning,
            }
            for each in found
        ]
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    if found:
        table = Table(box=box.SIMPLE_HEAD)
        for column in ("kind", "version", "from", "path"):
            table.add_column(column)
        for each in found:
            table.add_row(each.kind, each.version, each.source, str(each.path))
        consoles.stdout().print(table)
    for each in found:
        if each.warning:
            print(f"{each.kind} {each.version}: {each.warning}")
    for kind in ("etcd", "zookeeper"):
        if not any(each.kind == kind for each in found):
            print(f"{kind}: none found; get one: {install_remedy(kind)}")


def install_named(what: tuple[str, ...], available: bool) -> None:
    """Install what was named, or whatever this machine can get."""
    if available:
        from kvbench.provision import install_available

        install_available(_progress)
    elif not what:
        raise click.UsageError("name what to install, such as etcd@3.7.3, or say --available")
    for each in what:
        install(each, _progress)


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
