"""Test guests, written by hand in WebAssembly's text format.

NAME.wat            a guest; a line `@part` stands for frames/part.wat
wasm("echo")        its bytes               path = write("echo", folder)       a file of them
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Final

import wasmtime

FOLDER: Final = Path(__file__).parent
_PART: Final = re.compile(r"^[ \t]*@([a-z0-9-]+)", re.MULTILINE)


def names() -> list[str]:
    """All guests."""
    return sorted(path.stem for path in FOLDER.glob("*.wat"))


def text(name: str) -> str:
    """A guest's text, its parts filled in."""
    return _PART.sub(lambda part: _part(part[1]), (FOLDER / f"{name}.wat").read_text())


@functools.cache
def wasm(name: str) -> bytes:
    """A guest's bytes, made once in a process."""
    return bytes(wasmtime.wat2wasm(text(name)))


def write(name: str, folder: Path) -> Path:
    """The path of `name`.wasm in a folder; written when it is not there yet."""
    path = folder / f"{name}.wasm"
    if not path.exists():
        path.write_bytes(wasm(name))
    return path


def _part(name: str) -> str:
    return (FOLDER / "frames" / f"{name}.wat").read_text()


def from_text(text: str) -> bytes:
    """The bytes of a component in text."""
    return bytes(wasmtime.wat2wasm(text))
