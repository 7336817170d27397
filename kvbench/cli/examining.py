"""``kvbench doctor``."""

import json
from dataclasses import asdict
from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from kvbench.cli import consoles
from kvbench.doctor import BAD, OK, WARN, examine

COLOURS = {OK: "green", WARN: "yellow", BAD: "red"}


def doctor_command(as_json: bool, results: Path) -> None:
    """Print every finding."""
    found = examine(results)
    if as_json:
        print(json.dumps([asdict(finding) for finding in found], indent=2, ensure_ascii=False))
        return
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("", "what", "seen", "remedy"):
        table.add_column(column)
    for finding in found:
        table.add_row(
            Text(finding.state, COLOURS[finding.state]), Text(finding.name), Text(finding.seen), Text(finding.remedy)
        )
    consoles.stdout().print(table)
