"""The name that this farm's consumers have at the server: kept, so that what they left pending is theirs again.

consumer-0    in the broker's folder; locked while a process uses it. One that finds it locked (an earlier ingest that
              hangs, say) takes the next: two with one name would take each other's entries for their own.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final

from farm.broker import Home
from farm.errors import NotPermitted, Problem

LIMIT: Final = 64
NAME_LIMIT_BYTES: Final = 256


class Consumer:
    """A name, until `close`."""

    def __init__(self, home: Home, broker: str) -> None:
        """
        Args:
          broker: its name: two brokers of one farm may be one server.
        Raises: NotPermitted: it cannot be kept.
        """
        folder = home.folder()
        for number in range(LIMIT):
            path = folder / f"consumer-{number}"
            try:
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            except OSError as error:
                raise _unkept(path, error.strerror or "") from error
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.name = _kept(fd, f"{home.id}-{broker}-{number}")
            except BlockingIOError:
                os.close(fd)
                continue
            except OSError as error:
                os.close(fd)
                raise _unkept(path, error.strerror or "") from error
            self._fd = fd
            return
        raise _unkept(folder, f"{LIMIT} names are in use")

    def close(self) -> None:
        """Let others have it."""
        os.close(self._fd)


def _kept(fd: int, name: str) -> str:
    known = os.pread(fd, NAME_LIMIT_BYTES, 0).decode(errors="replace").strip()
    if known and known.isprintable():
        return known
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{name}\n".encode(), 0)
    os.fsync(fd)
    return name


def _unkept(path: Path, why: str) -> NotPermitted:
    return NotPermitted(Problem("cannot keep the name of a consumer", where=str(path), why=why))
