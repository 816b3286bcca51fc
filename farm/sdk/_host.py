"""What is outside the handler: who takes what it publishes, and its variables.

build time        Building   every call is an error that says why
in a component    the host   set by `farm.sdk._component` before the first message
in a test         Outside    `farm.sdk.testing`
"""

from __future__ import annotations

import os
from contextvars import ContextVar
from typing import Protocol, overload

from farm.sdk._message import Message

VARIABLE_PREFIX = "FARM_VARIABLE_"


class Host(Protocol):
    """Who takes what a handler publishes in the middle of a call."""

    def publish(self, message: Message) -> None:
        """Take `message`."""
        ...


class Building:
    """The host of build time: there is none."""

    def publish(self, message: Message) -> None:
        """Say that nobody is there."""
        del message
        raise RuntimeError(_at_build("publish()"))


HOST: ContextVar[Host] = ContextVar("host")


def publish(message: Message) -> None:
    """Send `message` beside what the handler answers. Held until the call succeeds: a failed attempt sends nothing.

    Raises:
      TypeError: it is no Message.
      ValueError: the host refuses it, with its reason (a reserved subject, an unknown broker).
      RuntimeError: no call is running.
    """
    _check(message)
    host = HOST.get(None)
    if host is None:
        raise RuntimeError("publish() needs a host: in a test, `with farm.sdk.testing.Outside() as outside:`")
    host.publish(message)


@overload
def variable(name: str) -> str | None: ...
@overload
def variable(name: str, default: str) -> str: ...
def variable(name: str, default: str | None = None) -> str | None:
    """A variable of this component, from `variables` in farm.toml; `default` if it has none of that name.

    In a test: `monkeypatch.setenv("FARM_VARIABLE_<NAME>", ..)`, the name in upper case with `-` as `_`.

    Raises:
      RuntimeError: code of the module asks, which runs when the component is built.
    """
    if isinstance(HOST.get(None), Building):
        raise RuntimeError(_at_build("variable()"))
    return os.environ.get(VARIABLE_PREFIX + name.upper().replace("-", "_"), default)


def _check(thing: object) -> None:
    if not isinstance(thing, Message):
        raise TypeError(f"publish() takes a Message, not {type(thing).__name__}")


def _at_build(what: str) -> str:
    return f"{what} in a module's own code: it runs when the component is built. Call it in the handler or in @on_start"
