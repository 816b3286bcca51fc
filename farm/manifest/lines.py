"""Where in a TOML document each key stands: tomllib gives the values and no lines.

    [brokers.test]                ("brokers",) 1:2   ("brokers", "test") 1:10
    gateway = { port = 1 }        (.., "gateway") 2:1   (.., "gateway", "port") 2:13
    [[components.hello.triggers]] (.., "triggers") 3:15   (.., "triggers", 0) 3:1
The document is one that tomllib has taken, so nothing here reports errors: the scanner has to see what tomllib saw.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from dataclasses import dataclass
from typing import Final

KeyPath = tuple[str | int, ...]

_SPACE: Final = re.compile(r"[ \t]*")
_SPACE_AND_COMMENTS: Final = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_KEY: Final = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'""")
_STRING: Final = re.compile(
    r'''"""(?:[^\\]|\\.)*?"""(?:"{1,2}(?!"))?'''
    r"""|'{3}.*?'{3}(?:'{1,2}(?!'))?"""
    r'''|"(?:[^"\\\n]|\\.)*"'''
    r"""|'[^'\n]*'""",
    re.DOTALL,
)
_SCALAR: Final = re.compile(r"[^,\]}#\n]*")


@dataclass(frozen=True)
class Position:
    """Line and column, both from 1; the column counts characters."""

    line: int
    column: int


def scan(text: str) -> dict[KeyPath, Position]:
    """The position of every table, key and array element.

    Args:
      text: a document that `tomllib.loads` takes.
    Returns: for each path that leads somewhere in tomllib's value (the empty one excepted) where it was given: a key
      where it is written, a table at its own header, an element of an array where its value begins.
    """
    return _Scanner(text.replace("\r\n", "\n")).document()


class _Scanner:
    """One pass over one document."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.starts = [0, *(i + 1 for i, c in enumerate(text) if c == "\n")]
        self.found: dict[KeyPath, Position] = {}
        self.lengths: dict[KeyPath, int] = {}  # arrays of tables: elements so far

    def document(self) -> dict[KeyPath, Position]:
        table: KeyPath = ()
        while self._skip(_SPACE_AND_COMMENTS) < len(self.text):
            if self.text[self.at] == "[":
                table = self._header()
            else:
                self._pair(table)
        return self.found

    def _header(self) -> KeyPath:
        start = self.at
        many = self.text.startswith("[[", start)
        self.at += 2 if many else 1
        *parents, (name, at) = self._dotted_key()
        self.at = self.text.index("]", self.at) + (2 if many else 1)
        path: KeyPath = ()
        for parent, parent_at in parents:
            path = self._inside((*path, parent), parent_at)
        path = (*path, name)
        if not many:
            self.found[path] = self._position(at)
            return path
        self.found.setdefault(path, self._position(at))
        self.lengths[path] = self.lengths.get(path, 0) + 1
        return self._inside(path, start)

    def _inside(self, path: KeyPath, at: int) -> KeyPath:
        """Note a table that a header leads through; of an array of tables its last one is meant."""
        self.found.setdefault(path, self._position(at))
        if path in self.lengths:
            path = (*path, self.lengths[path] - 1)
            self.found.setdefault(path, self._position(at))
        return path

    def _pair(self, table: KeyPath) -> None:
        path = table
        for name, at in self._dotted_key():
            path = (*path, name)
            self.found.setdefault(path, self._position(at))
        self._skip(_SPACE)
        self.at += 1  # the equals sign
        self._skip(_SPACE)
        self._value(path)

    def _dotted_key(self) -> list[tuple[str, int]]:
        parts: list[tuple[str, int]] = []
        while True:
            at = self._skip(_SPACE)
            self._skip(_KEY)
            raw = self.text[at : self.at]
            parts.append((raw if raw[0] not in "\"'" else str(tomllib.loads(f"key = {raw}")["key"]), at))
            if self.text[self._skip(_SPACE)] != ".":
                return parts
            self.at += 1

    def _value(self, path: KeyPath) -> None:
        first = self.text[self.at]
        if first == "[":
            self._array(path)
        elif first == "{":
            self._inline_table(path)
        else:
            self._skip(_STRING if first in "\"'" else _SCALAR)

    def _array(self, path: KeyPath) -> None:
        self.at += 1
        index = 0
        while self.text[self._skip(_SPACE_AND_COMMENTS)] != "]":
            element = (*path, index)
            self.found[element] = self._position(self.at)
            self._value(element)
            self._skip_comma()
            index += 1
        self.at += 1

    def _inline_table(self, path: KeyPath) -> None:
        self.at += 1
        while self.text[self._skip(_SPACE_AND_COMMENTS)] != "}":
            self._pair(path)
            self._skip_comma()
        self.at += 1

    def _skip_comma(self) -> None:
        if self.text[self._skip(_SPACE_AND_COMMENTS)] == ",":
            self.at += 1

    def _skip(self, pattern: re.Pattern[str]) -> int:
        match = pattern.match(self.text, self.at)
        if match is not None:
            self.at = match.end()
        return self.at

    def _position(self, at: int) -> Position:
        line = bisect_right(self.starts, at)
        return Position(line, at - self.starts[line - 1] + 1)
