"""Standard output and logging of a component: a write costs 0.1 ms, so one a line, and none is left in a buffer."""

from __future__ import annotations

import io
import logging
import sys
from contextlib import suppress
from typing import cast

# The levels of sd-daemon(3), as syslog numbers them.
PREFIXES = ((logging.ERROR, "<3>"), (logging.WARNING, "<4>"), (logging.INFO, "<6>"))


class Lines(io.TextIOWrapper):
    """Text to a stream of the component: print() is one write a line, and any text can be printed."""

    written = False  # to one of them, since the last flush

    def __init__(self, stream: io.TextIOWrapper) -> None:
        super().__init__(stream.detach(), encoding="utf-8", errors="backslashreplace", line_buffering=True)

    def write(self, text: str, /) -> int:
        """Write `text`, and remember that there may be a half line."""
        Lines.written = True
        return super().write(text)


def tuned_streams() -> tuple[Lines, Lines]:
    """Standard output and error, made anew in the place of Python's own."""
    out, err = (Lines(cast("io.TextIOWrapper", stream)) for stream in (sys.stdout, sys.stderr))
    sys.stdout = sys.__stdout__ = out
    sys.stderr = sys.__stderr__ = err
    return out, err


def flush_streams() -> None:
    """Let no half line slip into the next message's output: two flushes are 1 us, even of nothing."""
    try:
        Lines.written = False
        sys.stdout.flush()
        sys.stderr.flush()
    except Exception:  # noqa: BLE001 - a handler may put anything in the place of its streams
        _flush_each()


def send_logging_to_stderr() -> None:
    """Give `logging` a handler that says the level, from INFO up, unless the user's file has set one up."""
    root = logging.getLogger()
    if root.handlers:
        return
    root.addHandler(_LevelHandler())
    if root.level == logging.WARNING:
        root.setLevel(logging.INFO)


def _flush_each() -> None:
    for stream in (sys.stdout, sys.stderr):
        # One that was closed or replaced ends its own output; it must end neither the other's nor the answer.
        with suppress(Exception):
            stream.flush()


class _LevelHandler(logging.Handler):
    """`<3>name: text`, each line of its own, in one write."""

    def emit(self, record: logging.LogRecord) -> None:
        prefix = next((text for level, text in PREFIXES if record.levelno >= level), "<7>")
        lines = f"{record.name}: {self.format(record)}".splitlines()
        sys.stderr.write("".join(f"{prefix}{line}\n" for line in lines))
