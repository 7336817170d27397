"""The core's behaviour, command by command, as plain text in ``scripts``.

``pytest tests/raft --rewrite-scripts`` writes what it does now; the difference is then to be read.
"""

from pathlib import Path

import pytest

from tests.raft import script

SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.txt"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_script(path: Path, request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--rewrite-scripts", default=False):
        script.rewrite(path)
    assert script.perform(path.read_text()) == path.read_text()


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) >= 20
