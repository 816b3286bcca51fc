"""What farm says to a person who may have gone: that a terminal or a pipe was closed must not end a farm."""

from __future__ import annotations

import os

from farm import log


def say(text: str) -> None:
    """One line on stdout."""
    _write(1, text)


def warn(text: str) -> None:
    """One line on stderr."""
    _write(2, text)


def error(text: str) -> None:
    """One line that says why a command failed."""
    _write(2, f"error: {text}")


def _write(fd: int, text: str) -> None:
    try:
        os.write(fd, f"{text}\n".encode(errors="backslashreplace"))
    except OSError:  # EPIPE: `| head` has read enough; EIO: the terminal was closed
        log.silence(fd)
