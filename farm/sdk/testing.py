"""Test a handler with plain pytest, without a component.

from farm.sdk import Message
from farm.sdk.testing import Outside
from hello import handle

def test_it_greets() -> None:
    with Outside() as outside:
        assert handle(Message("Ada", "hello.world")) == Message("Hello, Ada")
    assert outside.published == []
"""

from __future__ import annotations

from contextvars import Token
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from farm.sdk._host import HOST, Host
from farm.sdk._message import Message, Pair, arrived, departing


class Outside:
    """What is outside the handler while the `with` block runs; several may be nested.

    published: what the handler sent by `publish()`, in order. Unlike a farm it keeps that of a failed call too.
    """

    def __init__(self) -> None:
        self.published: list[Message] = []
        self._tokens: list[Token[Host]] = []

    def publish(self, message: Message) -> None:
        """Keep `message`."""
        self.published.append(message)

    def __enter__(self) -> Self:
        self._tokens.append(HOST.set(self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        HOST.reset(self._tokens.pop())


def delivered(message: Message, message_id: str = "1", attempt: int = 1) -> Message:
    """`message` as a handler would be given it: with an id, and as which attempt."""
    facts = _Facts(
        id=message_id,
        subject=message.subject,
        broker=message.broker,
        headers=list(message.headers),
        reply_to=message.reply_to,
        attempt=attempt,
    )
    body, *_ = departing(message)
    return arrived(facts, body)


@dataclass
class _Facts:
    id: str
    subject: str
    broker: str
    headers: list[Pair]
    reply_to: str | None
    attempt: int
