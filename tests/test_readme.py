"""The README agrees with the code: its tables, its first line, the commands and files that it names."""

import re
import shlex
from pathlib import Path

import click
import pytest

from kvbench import readme
from kvbench.cli.commands import kvbench
from kvbench.config import load_workload
from kvbench.ops.kinds import KINDS_BY_NAME
from kvbench.run.checks import parse_targets

TEXT = readme.README.read_text(encoding="utf-8")


def test_its_tables_are_those_of_the_code() -> None:
    assert readme.with_tables(TEXT) == TEXT, "run `make readme`"


def test_a_table_that_is_out_of_date_is_replaced_and_nothing_else() -> None:
    before, after = readme.markers("operations")
    stale = TEXT.replace(readme.TABLES["operations"](), "| an | old | table |")
    assert stale != TEXT and stale.index(before) < stale.index("| an | old | table |") < stale.index(after)
    assert readme.with_tables(stale) == TEXT


@pytest.mark.parametrize("name", readme.TABLES)
def test_a_marker_that_is_missing_or_twice_there_is_named(name: str) -> None:
    before, after = readme.markers(name)
    for marker in (before, after):
        for broken in (TEXT.replace(marker, ""), TEXT + marker):
            with pytest.raises(ValueError, match=re.escape(marker)):
                readme.with_tables(broken)


def test_the_tables_are_whole() -> None:
    operations, settings, workloads = (readme.TABLES[name]() for name in ("operations", "settings", "workloads"))
    assert all(f"| `{name}` |" in operations for name in KINDS_BY_NAME)
    assert "| etcd 3.4 | `fsync=off` | refused |" in settings and "`-Dzookeeper.forceSync=no`" in settings
    assert "| `put-2m-256b-keys` | How much memory" in workloads
    for table in (operations, settings, workloads):
        widths = {line.count("|") for line in table.splitlines()}
        assert len(widths) == 1, table


def test_its_first_line_says_what_a_fresh_machine_needs() -> None:
    first = TEXT.splitlines()[0]
    for word in ("Python 3.11", "make", "apt-get install", "python3-venv", "Debian 12"):
        assert word in first


def commands() -> list[list[str]]:
    """The arguments of every `kvbench` command line in the README's code blocks, without comments."""
    found = []
    for block in re.findall(r"^```\w*\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            typed = line.removeprefix("$ ")
            if typed.startswith("kvbench "):
                found.append(shlex.split(typed, comments=True)[1:])
    return found


def test_it_shows_a_run_of_both_targets() -> None:
    assert any(each[:1] == ["run"] and each.count("--target") == 2 for each in commands())


@pytest.mark.parametrize("arguments", commands(), ids=" ".join)
def test_every_command_it_shows_would_be_accepted(arguments: list[str]) -> None:
    command: click.Command = kvbench
    with click.Context(command) as context:
        while isinstance(command, click.Group) and arguments and arguments[0] in command.commands:
            command, arguments = command.commands[arguments[0]], arguments[1:]
        if isinstance(command, click.Group):
            assert arguments in (["--help"], ["--version"])
            return
        if command.name == "report":
            # Its folder is an example, which need not exist.
            assert len(arguments) == 1
            return
        parsed = command.make_context(str(command.name), list(arguments), parent=context)
    if command.name == "run":
        assert parse_targets(parsed.params["targets"])
        assert load_workload(parsed.params["workload"], parsed.params["settings"])


def test_the_files_it_names_are_there() -> None:
    named = set(re.findall(r"\b((?:[\w.-]+/)*[\w-]+\.(?:md|toml|py))\b", TEXT))
    root = Path(readme.README).parent
    examples = {"my.toml"}
    assert [name for name in named - examples if not (root / name).exists()] == []
