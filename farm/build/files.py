"""Where things lie: the manifest's folder, the folder of built components, the interfaces, the SDK."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

from farm.errors import Internal, NoRoom, NotPermitted, Problem

MANIFEST: Final = "farm.toml"
# What tools say of a full disk or quota: the system's words, and Rust's.
FULL: Final = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT), "StorageFull", "QuotaExceeded")


def root_of(source: Path) -> Path:
    """The folder that a handler belongs to: of the nearest farm.toml upwards, else the handler's own."""
    folder = source.absolute().parent
    return next((each for each in (folder, *folder.parents) if (each / MANIFEST).is_file()), folder)


def build_folder(root: Path) -> Path:
    """Where built components lie, each under the key of its sources."""
    return root / ".farm" / "build"


def packages_folder(root: Path) -> Path:
    """Where installed packages lie, each set under the key of its requirements."""
    return root / ".farm" / "packages"


def new_prefix(pid: int) -> str:
    """How the folders are called in which a builder makes new things; its parent removes them if it is killed."""
    return f".new-{pid}-"


def shown(path: Path, root: Path) -> str:
    """A path as a person is told it: from the manifest's folder, if it is in there."""
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def read(path: Path, root: Path) -> bytes:
    """The bytes of a file that a component is made of.

    Raises:
      NotPermitted: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise NotPermitted(Problem("cannot read", shown(path, root), error.strerror or str(error))) from error


def refuse_if_full(said: str, root: Path) -> None:
    """Raise NoRoom if a tool gave up for want of room; `said`: its last words."""
    if any(words in said for words in FULL):
        raise NoRoom(Problem("no room to build", str(build_folder(root)), FULL[0], "Free some disk space"))


def wit_folder() -> Path:
    """The WIT packages, a folder each: in the installed package, or beside it in a working copy.

    Raises:
      Internal: there is neither: farm was not installed whole.
    """
    package = sdk_folder().parent
    for folder in (package / "wit", package.parent / "wit"):
        if folder.is_dir():
            return folder
    raise Internal(Problem("no WIT packages", str(package), "farm was not installed whole", "Install it again"))


def sdk_folder() -> Path:
    """What is bundled into every Python guest."""
    return Path(__file__).absolute().parent.parent / "sdk"
