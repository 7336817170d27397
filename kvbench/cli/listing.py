"""``kvbench list``: workloads and operations."""

import json

from rich import box
from rich.table import Table

from kvbench.cli import consoles
from kvbench.config import load_workload, packaged_workloads


def list_workloads(as_json: bool) -> None:
    """Names and questions."""
    found = [load_workload(name) for name in packaged_workloads()]
    if as_json:
        rows = [{"name": each.name, "question": each.question, "description": each.description} for each in found]
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("workload", no_wrap=True)
    table.add_column("question")
    for each in found:
        table.add_row(each.name, each.question)
    consoles.stdout().print(table)


def list_operations(as_json: bool) -> None:
    """What each operation is on the wire and what it guarantees, per target."""
    from kvbench.client import table as operations

    rows = operations.rows()
    if as_json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    table = Table(box=box.SIMPLE_HEAD)
    for column in rows[0]:
        table.add_column(column)
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    consoles.stdout().print(table)
