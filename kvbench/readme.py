"""The README's tables, printed from the code that they describe: ``make readme`` writes them between their markers."""

import sys
from collections.abc import Callable
from pathlib import Path

from kvbench.client import table as operations
from kvbench.config import load_workload, packaged_workloads
from kvbench.targets import servers

README = Path(__file__).resolve().parent.parent / "README.md"


def settings_table() -> str:
    """What ``snapshots=`` and ``fsync=`` become, as Markdown."""
    header, *rows = servers.readme_table()
    lines = [_line(header), "|---" * len(header) + "|"]
    for target, option, becomes, cost in rows:
        flags = f"`{becomes}`" if becomes.startswith("-") else becomes
        lines.append(_line((target, f"`{option}`", flags, cost)))
    return "\n".join(lines)


def workloads_table() -> str:
    """The workloads that come along and their questions, as Markdown."""
    rows = [(f"`{name}`", load_workload(name).question) for name in packaged_workloads()]
    return "\n".join([_line(("workload", "question")), "|---|---|", *map(_line, rows)])


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


TABLES: dict[str, Callable[[], str]] = {
    "operations": operations.readme_table,
    "settings": settings_table,
    "workloads": workloads_table,
}
"""Marker's name -> what stands behind it."""


def markers(name: str) -> tuple[str, str]:
    """The lines before and after a table."""
    return f"<!-- {name}: written by `make readme`, from the code -->", f"<!-- end of {name} -->"


def with_tables(text: str) -> str:
    """``text`` with every table as the code has it now. Raises ValueError for a marker that is not there once."""
    for name, table in TABLES.items():
        before, after = markers(name)
        if text.count(before) != 1 or text.count(after) != 1 or text.index(before) > text.index(after):
            raise ValueError(f"the README has to have the lines {before} and {after}, once and in this order")
        head, rest = text.split(before)
        tail = rest.split(after)[1]
        text = f"{head}{before}\n{table()}\n{after}{tail}"
    return text


def main() -> int:
    """Rewrite README.md of this checkout. Returns the exit code."""
    README.write_text(with_tables(README.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
