"""A TOML file as it was read: its table, where each key stands in it, and what is wrong with it said in our format."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

from farm.errors import ManifestError, NotPermitted, Problem, SourceMissing
from farm.manifest.keys import Table, as_table
from farm.manifest.lines import KeyPath, Position, scan

SIZE_LIMIT_BYTES: Final = 1 << 20
_TUPLE: Final = re.compile(r"\(('[^']*'(, )?)+,?\)")  # a table's name, as tomllib writes it: ('brokers', 'test')
_PLACE: Final = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


@dataclass(frozen=True)
class Finding:
    """Something wrong with the key at `path`. missing: a file that it names is not there."""

    path: KeyPath
    what: str
    why: str = ""
    todo: str = ""
    missing: bool = False


@dataclass(frozen=True)
class Document:
    """One manifest's table, before anything was checked.

    origins: the paths that a variable set, with its name.
    """

    name: str
    table: Table
    positions: Mapping[KeyPath, Position]
    origins: Mapping[KeyPath, str] = field(default_factory=dict[KeyPath, str])

    def source(self, path: KeyPath) -> str:
        """Where a value came from: "farm.toml:12", a FARM_* variable, or "default"."""
        if not self._given(path):
            return "default"
        for end in range(len(path), 0, -1):
            if path[:end] in self.origins:
                return self.origins[path[:end]]
        return f"{Path(self.name).name}:{self.positions[path].line}" if path in self.positions else "default"

    def _given(self, path: KeyPath) -> bool:
        spot: object = self.table
        for part in path:
            if isinstance(part, int) and isinstance(spot, list):
                spot = cast("list[object]", spot)[part]
            elif part in as_table(spot):
                spot = as_table(spot)[str(part)]
            else:
                return False
        return True

    def where(self, path: KeyPath) -> str:
        """The nearest place to a path that a person can go to."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.origins:
                return self.origins[path[:end]]
            if path[:end] in self.positions:
                return f"{self.name}:{self.positions[path[:end]].line}"
        return self.name

    def problems(self, findings: list[Finding]) -> list[Problem]:
        """The findings in the order of the file; last those about variables."""
        ordered = sorted(findings, key=lambda finding: self._order(finding.path))
        return [Problem(f.what, self.where(f.path), f.why, f.todo) for f in ordered]

    def _order(self, path: KeyPath) -> tuple[int, int, int]:
        for end in range(len(path), 0, -1):
            if path[:end] in self.origins:
                return (2, 0, 0)
            if path[:end] in self.positions:
                position = self.positions[path[:end]]
                return (1, position.line, position.column)
        return (0, 0, 0)


def load(path: Path) -> Document:
    """Read one file.

    Raises:
      SourceMissing: it is not there.
      NotPermitted: it may not be read.
      ManifestError: it is no TOML, or over 1 MiB.
    """
    name = _name(path)
    text = _text(path, name)
    try:
        table = tomllib.loads(text)
        return Document(name, table, scan(text))
    except RecursionError as error:
        raise ManifestError(Problem("bad TOML", where=name, why="arrays or tables are nested too deep")) from error
    except ValueError as error:  # also of a number with thousands of digits, which is no TOMLDecodeError
        raise ManifestError(_syntax_problem(str(error), name, text)) from error


def _name(path: Path) -> str:
    """The path as a person here would write it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, FileNotFoundError):
        return str(path)


def _text(path: Path, name: str) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(SIZE_LIMIT_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        todo = "Make one, or name the app's folder with --app"
        raise SourceMissing(Problem("no manifest", where=name, why="no such file", todo=todo)) from error
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise NotPermitted(Problem("cannot read the manifest", where=name, why=why)) from error
    if len(raw) > SIZE_LIMIT_BYTES:
        why = f"it is larger than {SIZE_LIMIT_BYTES} bytes"
        raise ManifestError(Problem("manifest too large", where=name, why=why))
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        todo = "Save it as UTF-8"
        raise ManifestError(Problem("bad TOML", where=f"{name}:{line}", why="it is not UTF-8", todo=todo)) from error


def _dotted(match: re.Match[str]) -> str:
    return ".".join(re.findall(r"'([^']*)'", match[0]))


def _syntax_problem(message: str, name: str, text: str) -> Problem:
    place = _PLACE.search(message)
    why = _TUPLE.sub(_dotted, message[: place.start()] if place else message)
    where = name
    if place and place[1]:
        where = f"{name}:{place[1]}:{place[2]}"
    elif place:
        where = f"{name}:{max(1, len(text.splitlines()))}"
    todo = ""
    if text.startswith("\ufeff"):
        todo = "Save it without a byte order mark"
    elif why == "Invalid value":
        todo = 'Strings stand in quotes: name = "example"'
    elif why.startswith("Cannot declare"):
        todo = "Each table is written once; put its keys together"
    elif why.startswith("Cannot overwrite"):
        todo = "Each key is written once"
    return Problem("bad TOML", where=where, why=why[:1].lower() + why[1:], todo=todo)
