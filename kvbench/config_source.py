"""A TOML document that remembers where each key came from, and typed access to its tables with errors that say so.

``config`` gives the keys their meaning. Here is only: which line a key stands on (tomllib does not tell), what
``--set`` changes, and how a wrong name, type or value is reported.
"""

import difflib
import math
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

KeyPath = tuple[str | int, ...]
"""Where a value stands: table and key names, and positions in arrays of tables."""

_HEADER = re.compile(r"\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")
_NAME = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")
_STRING = re.compile(r'"(?:\\.|[^"\\])*"|\'[^\']*\'')
_LINE_IN_MESSAGE = re.compile(r"\(at line (\d+), column \d+\)")


class ConfigError(Exception):
    """A workload, option or target text that cannot be meant: the message says where, what, and what would do."""


def key_lines(text: str) -> dict[KeyPath, int]:
    """Line (from 1) of every table header and key of a valid TOML text; keys of inline tables share their table's."""
    lines: dict[KeyPath, int] = {}
    arrays: dict[KeyPath, int] = {}
    table: KeyPath = ()
    depth = 0
    closing = ""
    for number, line in enumerate(text.splitlines(), 1):
        if closing:
            if closing in line:
                closing = ""
            continue
        if depth == 0 and (header := _HEADER.match(line)):
            names = _names(header.group(2))
            if header.group(1) == "[[":
                outer = (*_with_positions(names[:-1], arrays), names[-1])
                arrays[outer] = arrays.get(outer, -1) + 1
                table = (*outer, arrays[outer])
            else:
                table = _with_positions(names, arrays)
            lines[table] = number
            continue
        if depth == 0 and (key := _KEY.match(line)):
            lines[(*table, *_names(key.group(1)))] = number
        for quotes in ('"""', "'''"):
            if line.count(quotes) % 2 == 1:
                closing = quotes
        bare = _STRING.sub("", line).split("#", 1)[0]
        depth += bare.count("[") + bare.count("{") - bare.count("]") - bare.count("}")
    return lines


def _names(dotted: str) -> tuple[str, ...]:
    return tuple(name.strip("\"'") for name in _NAME.findall(dotted))


def _with_positions(names: tuple[str, ...], arrays: Mapping[KeyPath, int]) -> KeyPath:
    """Header names as a path: below an array of tables, a header means its last element."""
    path: KeyPath = ()
    for name in names:
        path = (*path, name)
        if path in arrays:
            path = (*path, arrays[path])
    return path


def nearest(name: str, names: Iterable[str]) -> str:
    """ ", did you mean ...?" where a name is near enough, else the list of all names."""
    known = list(names)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.55)
    if close:
        return f'; did you mean "{close[0]}"?'
    return f"; known are: {', '.join(known)}" if known else ""


@dataclass
class Document:
    """Parsed values, and for each the place to name in an error."""

    shown: str
    """The file's name as errors show it."""
    values: dict[str, Any]
    first_line: str = ""
    lines: dict[KeyPath, int] = field(default_factory=dict)
    options: dict[KeyPath, str] = field(default_factory=dict)
    """Values that came from the command line: the option as typed."""

    @classmethod
    def read(cls, path: Path, shown: str) -> "Document":
        """Parse a file. Raises ConfigError when it cannot be read or is not TOML."""
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as problem:
            raise ConfigError(f"{shown}: cannot be read: {problem.strerror}") from None
        except UnicodeDecodeError:
            raise ConfigError(f"{shown}: is not UTF-8 text, which TOML has to be") from None
        try:
            values = tomllib.loads(text)
        except tomllib.TOMLDecodeError as problem:
            message = str(problem)
            found = _LINE_IN_MESSAGE.search(message)
            line = found.group(1) if found else str(text.count("\n") + 1)
            raise ConfigError(f"{shown}:{line}: not valid TOML: {_LINE_IN_MESSAGE.sub('', message).strip()}") from None
        first_line = text.split("\n", 1)[0]
        return cls(shown, values, first_line, key_lines(text))

    def where(self, path: KeyPath) -> str:
        """The option or file and line that gave a value; for a value that nobody gave, its table's line."""
        for end in range(len(path), 0, -1):
            part = path[:end]
            if part in self.options:
                return self.options[part]
            if part in self.lines:
                return f"{self.shown}:{self.lines[part]}"
        return self.shown

    def override(self, setting: str) -> None:
        """Apply one ``key=value`` of ``--set``: a dotted key, elements of arrays of tables by name or position.

        The value is TOML; what is not TOML is taken as text. Raises ConfigError when the key leads nowhere.
        """
        option = f"--set {setting}"
        dotted, equals, text = setting.partition("=")
        names = [name.strip() for name in dotted.split(".")]
        if not equals or not all(names):
            raise ConfigError(f"{option}: is not of the form key=value, such as load.clients=100")
        place: Any = self.values
        path: KeyPath = ()
        for name in names[:-1]:
            place, step = self._descend(place, path, name, option)
            path = (*path, step)
        if not isinstance(place, dict):
            raise ConfigError(f'{option}: "{".".join(names[:-1])}" is not a table, so it has no key "{names[-1]}"')
        place[names[-1]] = _toml_value(text.strip())
        self.options[(*path, names[-1])] = option

    def _descend(self, place: Any, path: KeyPath, name: str, option: str) -> tuple[Any, str | int]:
        if isinstance(place, dict):
            inner = place.setdefault(name, {})
            if isinstance(inner, int | float) and path and path[-1] == "operations":
                # `put = 50` is short for `put = {weight = 50}`.
                inner = place[name] = {"weight": inner}
            return inner, name
        if isinstance(place, list):
            names = [str(item.get("name", "")) if isinstance(item, dict) else "" for item in place]
            if name in names:
                return place[names.index(name)], names.index(name)
            if name.isdigit() and int(name) < len(place):
                return place[int(name)], int(name)
            raise ConfigError(f'{option}: there is no element "{name}"{nearest(name, names)}')
        raise ConfigError(f'{option}: "{".".join(map(str, path))}" is not a table')


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


@dataclass(frozen=True)
class Table:
    """Typed access to one table. Every reader returns a checked value or raises ConfigError."""

    document: Document
    path: KeyPath
    values: Mapping[str, Any]

    @property
    def title(self) -> str:
        """The table's name as a user would write it in ``--set``."""
        parts: list[str] = []
        place: Any = self.document.values
        for part in self.path:
            place = place[part]
            named = place.get("name") if isinstance(part, int) and isinstance(place, dict) else None
            parts.append(str(named if named is not None else part))
        return ".".join(parts)

    def key_title(self, key: str) -> str:
        return f"{self.title}.{key}" if self.path else key

    def fail(self, key: str, problem: str) -> NoReturn:
        """Raise ConfigError about one key of this table."""
        raise ConfigError(f"{self.document.where((*self.path, key))}: {self.key_title(key)} {problem}")

    def fail_unknown(self, key: str, names: Iterable[str]) -> NoReturn:
        """Raise ConfigError about a key or name that means nothing here."""
        where = self.document.where((*self.path, key))
        raise ConfigError(f'{where}: unknown key "{self.key_title(key)}"{nearest(key, names)}')

    def allow(self, names: Sequence[str]) -> None:
        """Refuse every key that is not among ``names``."""
        for key in self.values:
            if key not in names:
                self.fail_unknown(key, names)

    def table(self, key: str) -> "Table":
        """A table within this one; empty when it is not there."""
        value = self.values.get(key, {})
        if not isinstance(value, dict):
            self.fail(key, f"has to be a table, is {_shown(value)}")
        return Table(self.document, (*self.path, key), value)

    def tables(self, key: str) -> list["Table"]:
        """An array of tables; empty when it is not there."""
        value = self.values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            self.fail(key, f"has to be an array of tables ([[{key}]]), is {_shown(value)}")
        return [Table(self.document, (*self.path, key, position), item) for position, item in enumerate(value)]

    def text(self, key: str, default: str | None = None) -> str:
        """A string; required when there is no default."""
        if key not in self.values and default is None:
            raise ConfigError(f'{self.document.where(self.path)}: the key "{self.key_title(key)}" is missing')
        value = self.values.get(key, default)
        if not isinstance(value, str):
            self.fail(key, f"has to be text, is {_shown(value)}")
        return value

    def choice(self, key: str, names: Sequence[str], default: str) -> str:
        """One of some names."""
        value = self.text(key, default)
        if value not in names:
            self.fail(key, f'cannot be "{value}"{nearest(value, names)}')
        return value

    def flag(self, key: str, default: bool) -> bool:
        """true or false."""
        value = self.values.get(key, default)
        if not isinstance(value, bool):
            self.fail(key, f"has to be true or false, is {_shown(value)}")
        return value

    def integer(self, key: str, default: int, least: int, most: int | None = None) -> int:
        """A whole number within bounds; 1e6 counts as one."""
        return self.as_integer(key, self.values.get(key, default), least, most)

    def as_integer(self, key: str, value: Any, least: int, most: int | None = None) -> int:
        """``value`` as a whole number within bounds, reported under ``key`` when it is none."""
        number = self.as_number(key, value, least, most)
        if number != int(number):
            self.fail(key, f"has to be a whole number, is {_shown(value)}")
        return int(number)

    def number(self, key: str, default: float, least: float, most: float | None = None) -> float:
        """A number within bounds."""
        return self.as_number(key, self.values.get(key, default), least, most)

    def as_number(self, key: str, value: Any, least: float, most: float | None = None) -> float:
        """``value`` as a number within bounds, reported under ``key`` when it is none."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            self.fail(key, f"has to be a number, is {_shown(value)}")
        if value < least:
            self.fail(key, f"has to be at least {_bound(least)}, is {_shown(value)}")
        if most is not None and value > most:
            self.fail(key, f"can be at most {_bound(most)}, is {_shown(value)}")
        return float(value)

    def numbers(self, key: str, least: float) -> tuple[float, ...]:
        """An array of numbers (or a single one), none below ``least``; empty when it is not there."""
        value = self.values.get(key, [])
        items = value if isinstance(value, list) else [value]
        return tuple(self.as_number(key, item, least) for item in items)


def _bound(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:g}"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'"{value}"' if isinstance(value, str) else str(value)
