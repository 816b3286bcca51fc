"""What a handler's file says of itself: which function takes messages, which run first, and how a message is refused.

A decorator only marks the function. Who binds the file finds the marks: there is no registry that import fills.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from types import FunctionType, ModuleType
from typing import TypeVar

from farm.sdk._message import Message, check_text

Answer = Message | Iterable[Message] | None
HandlerT = TypeVar("HandlerT", bound=Callable[[Message], Answer | Awaitable[Answer]])
StartT = TypeVar("StartT", bound=Callable[[], Awaitable[None] | None])

MARK = "__farm_sdk__"
AFTER_LIMIT_S = 4_294_967.0


class Retry(Exception):
    """Raise it to be given the message again later; uses an attempt.

    Args:
      reason: for the log and `farm status`.
      after: seconds to wait; None: what the trigger's `backoff` says.
    Raises:
      TypeError: a reason that is no str, or an `after` that is no number.
      ValueError: an `after` below 0 or over 49 days.
    """

    def __init__(self, reason: str, after: float | None = None) -> None:
        self.reason = check_text("reason", reason)
        self.after_ms = None if after is None else _milliseconds(after)
        super().__init__(reason)


class Reject(Exception):
    """Raise it to never be given this message again: it goes to the dead letters at once.

    Args:
      reason: for the log and the dead letter.
    Raises:
      TypeError: a reason that is no str.
    """

    def __init__(self, reason: str) -> None:
        self.reason = check_text("reason", reason)
        super().__init__(reason)


def message_component(function: HandlerT) -> HandlerT:
    """The one handler of this file: called with each message; may be `async def`.

    It answers None, one Message, or several (a list, or `yield` in a plain def). An exception fails the attempt.
    """
    return _marked(function, "message_component")


def on_start(function: StartT) -> StartT:
    """Run once in every instance, before its first message: what must not be frozen into the component at build time.

    Variables, random numbers and the clock are real here. If it raises, the message's attempt fails, and it runs again.
    """
    return _marked(function, "on_start")


def handlers_of(module: ModuleType) -> list[FunctionType]:
    """The functions of `module` that take messages: one, unless the file is wrong."""
    return _find(module, "message_component")


def starts_of(module: ModuleType) -> list[FunctionType]:
    """The functions of `module` to run before the first message, in the order of the file."""
    return _find(module, "on_start")


T = TypeVar("T")


def _marked(function: T, mark: str) -> T:
    if not isinstance(function, FunctionType):
        raise TypeError(f"@{mark} marks a function, not {type(function).__name__}")
    setattr(function, MARK, mark)
    return function


def _find(module: ModuleType, mark: str) -> list[FunctionType]:
    return [
        thing
        for thing in vars(module).values()
        if isinstance(thing, FunctionType) and thing.__dict__.get(MARK) == mark and thing.__module__ == module.__name__
    ]


def _milliseconds(after: object) -> int:
    if not isinstance(after, (int, float)):
        raise TypeError(f"after must be seconds, not {type(after).__name__}")
    if not 0 <= after <= AFTER_LIMIT_S:
        raise ValueError(f"after must be 0 to {AFTER_LIMIT_S:.0f} seconds, not {after}")
    return round(after * 1000)
