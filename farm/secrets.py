"""Secrets: found out which a manifest names, kept out of every process that needs none, read by the one that does.

    farm up   a = {env = "A"}   A is in the environment > into a sealed memory file > farm executes itself without it
    farm up   again             the memory file's number is in FARM_SECRETS_FD; nobody reads it
    ingest                      is forked with it, and reads; every other child has it closed
What the supervisor had once read would be in the memory of each child, and what was in its environment stays legible
beneath /proc whatever Python deletes. Files need none of this: ingest opens them.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import BinaryIO, Final, cast

from farm.errors import ManifestError, NotPermitted, Problem, SourceMissing
from farm.spec import FarmSpec, Secret

FD_VARIABLE: Final = "FARM_SECRETS_FD"
LIMIT_BYTES: Final = 64 << 10
_OTHERS: Final = stat.S_IROTH | stat.S_IWOTH
_SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def secrets_of(spec: FarmSpec) -> list[tuple[str, Secret]]:
    """Every secret of the manifest's brokers, with its key."""
    return [found for name, broker in spec.brokers.items() for found in _under(f"brokers.{name}", broker)]


def variables_of(spec: FarmSpec, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that hold secrets, with their values; those that are not there are left out."""
    named = [secret.env for _, secret in secrets_of(spec) if secret.env]
    return {name: environ[name] for name in named if name in environ}


def seal(values: Mapping[str, str]) -> int:
    """A memory file of these, which nobody can change; its descriptor outlives an exec."""
    fd = os.memfd_create("farm-secrets", os.MFD_ALLOW_SEALING)
    os.write(fd, json.dumps(dict(values)).encode())
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    os.set_inheritable(fd, True)
    return fd


def take_descriptor() -> int | None:
    """The memory file that an earlier self has left, no longer named in the environment; None: there is none."""
    text = os.environ.pop(FD_VARIABLE, "")
    if not text.isdigit():
        return None
    fd = int(text)
    try:
        sealed = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    except OSError:
        return None  # no such file here, or none in memory: the variable is somebody else's
    os.set_inheritable(fd, False)
    return fd if sealed == _SEALS else None


class Secrets:
    """Reads secrets, in the process that needs them."""

    def __init__(self, fd: int | None) -> None:
        """
        Args:
          fd: the memory file of those that were variables.
        """
        text = os.pread(fd, os.fstat(fd).st_size, 0) if fd is not None else b"{}"
        self._variables: Final[Mapping[str, str]] = json.loads(text)

    def read(self, secret: Secret) -> str:
        """The text of a secret; of one in a file, what the file holds now.

        Raises:
          SourceMissing: the file or the variable is not there.
          NotPermitted: others may read the file, or we may not.
          ManifestError: what is in the file is no secret.
        """
        if secret.file is not None:
            return _from_file(secret.file)
        value = self._variables.get(secret.env or "")
        if not value:
            raise SourceMissing(Problem(f"no variable {secret.env}", why="it is to hold a secret"))
        return value


def open_file(path: Path) -> BinaryIO:
    """Open something that may be no file: a pipe that nobody writes to is not waited for. Raises: OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return os.fdopen(fd, "rb")
    except OSError:  # a folder
        os.close(fd)
        raise


def _from_file(path: Path) -> str:
    try:
        with open_file(path) as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise ManifestError(_unusable(path, "it is no file"))
            if about.st_mode & _OTHERS:
                raise NotPermitted(_unusable(path, "others may read it", f"Say `chmod o-rwx {path}`"))
            raw = file.read(LIMIT_BYTES + 1)
    except IsADirectoryError as error:
        raise ManifestError(_unusable(path, "it is a folder")) from error
    except FileNotFoundError as error:
        raise SourceMissing(_unusable(path, "no such file", "Create it, or correct the name")) from error
    except OSError as error:
        raise NotPermitted(_unusable(path, error.strerror or "", "Let farm's user read it")) from error
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise ManifestError(_unusable(path, "it is not UTF-8")) from error
    text = text.removesuffix("\n").removesuffix("\r")
    if not text or len(raw) > LIMIT_BYTES:
        raise ManifestError(_unusable(path, f"it is larger than {LIMIT_BYTES} bytes" if text else "it is empty"))
    return text


def _unusable(path: Path, why: str, todo: str = "") -> Problem:
    return Problem("cannot use a secret", str(path), why, todo)


def _under(key: str, table: object) -> Iterator[tuple[str, Secret]]:
    if isinstance(table, Secret):
        yield key, table
    elif is_dataclass(table):
        for each in fields(table):
            yield from _under(f"{key}.{each.name}", getattr(table, each.name))
    elif isinstance(table, tuple):
        for index, element in enumerate(cast("tuple[object, ...]", table)):
            yield from _under(f"{key}[{index}]", element)
