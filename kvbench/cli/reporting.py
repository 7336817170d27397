"""``kvbench report``."""

from pathlib import Path


def make_report(folder: Path, out: Path | None) -> None:
    """Write the page and its charts, and print where they are."""
    from kvbench.report import write

    for path in write(folder, out if out is not None else folder / "report"):
        print(path)
