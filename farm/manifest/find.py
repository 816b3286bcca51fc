"""Which farm.toml a command means: --app, else FARM_APP, else the nearest one upwards from here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from farm.errors import Problem, SourceMissing

FILE_NAME: Final = "farm.toml"


def find(app: str | None, environ: Mapping[str, str], cwd: Path) -> Path:
    """The real path of the manifest; it is a file.

    Args:
      app: what --app says: the manifest, or the folder it lies in; relative to `cwd`.
    Raises:
      SourceMissing: there is none.
    """
    named, by = (app, "--app") if app is not None else (environ.get("FARM_APP") or None, "FARM_APP")
    if named is not None:
        return _named(cwd / Path(named).expanduser(), by)
    passed_over: list[Path] = []
    for folder in (cwd, *cwd.parents):
        path = folder / FILE_NAME
        if path.is_file():
            return path.resolve()
        if path.is_dir():
            passed_over.append(path)
    but = f"; {passed_over[0]} is a folder" if passed_over else ""
    raise SourceMissing(
        Problem(
            f"no {FILE_NAME} here",
            where=str(cwd),
            why=f"neither this folder nor one above it has one{but}",
            todo="Change to the folder of your app, or name it with --app",
        )
    )


def _named(path: Path, by: str) -> Path:
    file = path / FILE_NAME if path.is_dir() else path
    if file.is_file():
        return file.resolve()
    if file.is_dir():
        why = f"its {FILE_NAME} is a folder"
    elif path.is_dir():
        why = "it is a folder" if path.name == FILE_NAME else f"this folder has no {FILE_NAME}"
    else:
        why = "no such file or folder" if not path.exists() else "it is no file"
    raise SourceMissing(
        Problem("no manifest", where=str(path), why=why, todo=f"{by} names a {FILE_NAME} or its folder")
    )
