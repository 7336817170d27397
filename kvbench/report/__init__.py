"""Reports from artifacts: charts as PNG and one HTML page that holds all it shows."""

from pathlib import Path


def write(folder_of_runs: Path, out: Path) -> list[Path]:
    """Write report.html and its charts as PNG into ``out`` and return their paths, the page first.

    ``folder_of_runs``: what one ``kvbench run`` left, or a single artifact, finished or cut off. Raises ArtifactError
    when there are no results in it, or ``out`` cannot be written.
    """
    # The charts' library takes longer to load than everything else here; only those who draw wait for it.
    from kvbench.report import writing

    return writing.write(folder_of_runs, out)
