"""Python source that is written by the codec for one type and compiled once: straight lines where a tree of calls was.

Each node of a type adds its lines; what they use beside their own names stands in `constants`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import CodeType
from typing import Any

INDENT = "    "


class Source:
    """A function on its way to being one."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._depth = 0
        self._count = 0
        self.constants: dict[str, Any] = {}

    def line(self, text: str) -> None:
        """One more line, in the block that is open."""
        self._lines.append(INDENT * self._depth + text)

    @contextmanager
    def block(self, head: str) -> Generator[None]:
        """What is added meanwhile stands under `head`."""
        self.line(head)
        self._depth += 1
        before = len(self._lines)
        yield
        if len(self._lines) == before:
            self.line("pass")
        self._depth -= 1

    def name(self, stem: str) -> str:
        """A name that nothing else has."""
        self._count += 1
        return f"{stem}{self._count}"

    def constant(self, stem: str, value: object) -> str:
        """The name under which the function finds `value`."""
        name = self.name(stem)
        self.constants[name] = value
        return name

    def made(self, name: str) -> Callable[..., Any]:
        """The function `name` that the lines define."""
        namespace = dict(self.constants)
        exec(_compiled("\n".join(self._lines)), namespace)  # noqa: S102  names and numbers, all of them ours
        return namespace[name]


@functools.cache
def _compiled(text: str) -> CodeType:
    return compile(text, "<codec>", "exec")
