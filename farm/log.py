"""Logs: to stderr, for people on a terminal, else one JSON object a line. Ids yes, payloads never.

A terminal that was closed must not end a process: a write that fails turns the log to /dev/null.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Final, Literal

import structlog

from farm.errors import printable

Level = Literal["debug", "info", "warning", "error"]
LEVELS: Final = ("debug", "info", "warning", "error")

Logger = structlog.typing.FilteringBoundLogger


class _Stderr:
    """A line at a time, written in one call; the reader may have gone."""

    def msg(self, message: str) -> None:
        try:
            os.write(2, f"{message}\n".encode(errors="backslashreplace"))
        except OSError:
            silence(2)

    log = debug = info = warning = warn = error = critical = fatal = exception = failure = msg


def silence(fd: int) -> None:
    """Point a standard descriptor whose reader has gone to /dev/null."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, fd)
    os.close(null)


def configure(level: Level, role: str) -> None:
    """Set up this process's log. Every line carries `role`; call it once, after the fork."""
    terminal = os.isatty(2)
    chain: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if terminal else "iso", utc=not terminal),
        _escape,
        structlog.processors.format_exc_info,
    ]
    chain.append(_for_people() if terminal else structlog.processors.JSONRenderer())
    structlog.configure(
        processors=chain,
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=lambda *_: _Stderr(),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(role=role)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, force=True)


def _for_people() -> structlog.typing.Processor:
    """Short lines, tracebacks without local variables; in colour unless NO_COLOR says no (https://no-color.org)."""
    return structlog.dev.ConsoleRenderer(
        colors=not os.environ.get("NO_COLOR"),
        pad_event_to=0,
        pad_level=False,
        exception_formatter=structlog.dev.plain_traceback,
    )


def get() -> Logger:
    """The log of this process."""
    return structlog.get_logger()


def _escape(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """A guest's text is a field; it never forges a line."""
    return {
        key: printable(value) if isinstance(value, str) and key != "exception" else value
        for key, value in event.items()
    }
