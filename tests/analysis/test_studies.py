"""What holds for every study: a page with question, answer and caveat, and scripts that read results only."""

import ast
from pathlib import Path

import pytest

STUDIES = sorted({script.parent for script in (Path(__file__).resolve().parents[2] / "analysis").glob("*/*.py")})
MAY_READ = ("kvbench.artifact", "kvbench.report", "kvbench.stats")


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_its_page_has_question_answer_and_caveat(study: Path) -> None:
    title, *lines = (study / "README.md").read_text(encoding="utf-8").splitlines()
    assert title.startswith("# ") and title.endswith("?")
    headings = [line for line in lines if line.startswith("## ")]
    assert headings[:2] == ["## Answer", "## Caveat"]


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_its_scripts_read_results_and_nothing_else_of_kvbench(study: Path) -> None:
    for script in study.glob("*.py"):
        for node in ast.walk(ast.parse(script.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                assert not name.startswith(("kvbench", "tests")) or name.startswith(MAY_READ), (script.name, name)
