"""Groups of kernels compiled ahead of use: what is left in the cache, and what is said."""

import os
from pathlib import Path

import pytest

from kvbench import compiling

pytestmark = pytest.mark.slow

SMALLEST = "check"


@pytest.fixture
def smallest(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if there were one group."""
    monkeypatch.setattr(compiling, "GROUPS", {SMALLEST: compiling.GROUPS[SMALLEST]})


def compiled(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*.nbc"))


def test_what_was_compiled_once_is_kept(smallest: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    environment = {**os.environ, "KVBENCH_CACHE": str(tmp_path)}
    (first,) = compiling.compile_all(environment)
    kept = compiled(tmp_path)
    assert any(name.startswith("linearizable.check_register") for name in kept)
    (second,) = compiling.compile_all(environment)
    assert compiled(tmp_path) == kept
    assert capsys.readouterr().out.splitlines() == [compiling.line(first), compiling.line(second)]


def test_from_nothing_the_budget_counts(
    smallest: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert compiling.main(["--fresh"]) == 0
    monkeypatch.setattr(compiling, "BUDGET_S", 0.0)
    assert compiling.main(["--fresh"]) == 1
    assert capsys.readouterr().out.splitlines()[-1].endswith("at most 0")
    assert list(tmp_path.iterdir()) == []


def test_a_group_that_fails_is_named() -> None:
    with pytest.raises(RuntimeError, match="compiling nothing failed"):
        compiling.in_process("nothing", dict(os.environ))
