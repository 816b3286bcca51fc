"""What a handler's exception looks like from outside: kind, text, the place in the user's own file, a short trace.

Nothing here may raise or hand back text that is no UTF-8: both would end the whole instance. The traceback module
is not used: it reads source files, of which there are none at run time, and is slow.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import CodeType, TracebackType
from typing import NamedTuple, cast

TEXT_LIMIT = 4000
FRAMES_LIMIT = 30
CAUSES_LIMIT = 5


class Report(NamedTuple):
    """An exception in words. place: `hello.py:28`, the innermost frame of the user's own files."""

    kind: str
    text: str
    place: str
    trace: str


def report(error: BaseException, folder: str, defined: CodeType) -> Report:
    """Describe `error`; `folder` (with a slash at its end) holds the user's files, `defined` is the handler's code."""
    inner = innermost(error)
    kind = type(inner).__name__
    place = _place(inner, folder) or f"{_short(defined.co_filename, folder)}:{defined.co_firstlineno}"
    return Report(clean(kind), said(inner), clean(place), clean("\n".join(_trace(inner, folder))))


def innermost(error: BaseException) -> BaseException:
    """The exception itself, out of groups that hold it alone (asyncio.TaskGroup makes them)."""
    inner = error
    while isinstance(inner, BaseExceptionGroup):
        inside: list[BaseException] = list(cast("BaseExceptionGroup[BaseException]", inner).exceptions)
        if len(inside) > 1:
            return cast("BaseException", inner)
        inner = inside[0]
    return inner


def said(error: BaseException) -> str:
    """`str(error)`, whatever its `__str__` does."""
    try:
        return clean(str(error))[:TEXT_LIMIT]
    except BaseException as second:  # noqa: BLE001 - a __str__ may raise anything, SystemExit too
        return f"(its __str__ raised {clean(type(second).__name__)})"


def clean(text: str) -> str:
    """`text` with halves of surrogate pairs written out, as `\\ud800`."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _place(error: BaseException, folder: str) -> str | None:
    if isinstance(error, SyntaxError) and error.filename and error.filename.startswith(folder):
        return f"{_short(error.filename, folder)}:{error.lineno}"
    place = None
    for filename, line, _ in _frames(error.__traceback__):
        if filename.startswith(folder):
            place = f"{_short(filename, folder)}:{line}"
    return place


def _trace(error: BaseException, folder: str) -> Iterator[str]:
    seen: BaseException | None = error
    for number in range(CAUSES_LIMIT):
        if seen is None:
            return
        yield f"{'because of ' if number else ''}{type(seen).__name__}: {said(seen)}"
        frames = list(_frames(seen.__traceback__))
        if len(frames) > FRAMES_LIMIT:
            yield f"  ({len(frames) - FRAMES_LIMIT} outer frames left out)"
        for filename, line, function in frames[-FRAMES_LIMIT:]:
            yield f"  {_short(filename, folder)}:{line} in {function}"
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)


def _frames(trace: TracebackType | None) -> Iterator[tuple[str, int, str]]:
    while trace is not None:
        code = trace.tb_frame.f_code
        yield code.co_filename, trace.tb_lineno, code.co_name
        trace = trace.tb_next


def _short(filename: str, folder: str) -> str:
    return filename.removeprefix(folder)
