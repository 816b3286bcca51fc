"""The project's own files, for the tests that read them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent

MADE: Final = frozenset({"build", "dist"})  # in the root alone: farm/build is source


def project_files() -> list[Path]:
    """Every file that belongs to the project, in order; what commands made (environments, caches, builds) does not."""
    return sorted(_walk(ROOT))


def python_files() -> list[Path]:
    """Every Python file of the project, in order."""
    return [path for path in project_files() if path.suffix == ".py"]


def shown(path: Path) -> str:
    """The path as a person reads it: from the project's root."""
    return path.relative_to(ROOT).as_posix()


def _walk(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_symlink():
            continue
        if path.is_file():
            yield path
        elif not _is_made(path):
            yield from _walk(path)


def _is_made(folder: Path) -> bool:
    if folder.parent == ROOT and folder.name in MADE:
        return True
    return folder.name == "__pycache__" or (folder.name.startswith(".") and folder.name != ".ci")
