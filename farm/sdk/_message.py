"""The message: what a handler is given, and what it answers.

`arrived` and `departing` are the way between it and the host, kept out of the class that a user sees.
"""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, cast

Pair = tuple[str, str]
SHOWN_CHARACTERS = 60


class Message:
    """What travels. Cannot be changed; the same class for what comes in and what goes out.

    What comes in has every field. What goes out needs a payload alone: the subject and broker it does not name are the
    `publish` of the trigger in farm.toml. What came in and is sent on as it is goes there too, without its reply_to.

    Args:
      payload: the body, as bytes or as text (UTF-8).
      subject: where to, if not where the trigger says; not empty.
      broker: through which broker of farm.toml, if not the trigger's.
      headers: names and values, as a mapping or as pairs (a name may come twice). Brokers without headers drop them.
      reply_to: subject on which the receiver shall answer.
    Raises:
      TypeError: a field of another type.
      ValueError: an empty subject, or text with half a surrogate pair, which UTF-8 cannot express.
    """

    __slots__ = ("_attempt", "_body", "_broker", "_headers", "_id", "_reply_to", "_subject")

    def __init__(
        self,
        payload: bytes | bytearray | memoryview | str = b"",
        subject: str | None = None,
        *,
        broker: str | None = None,
        headers: Mapping[str, str] | Iterable[Pair] = (),
        reply_to: str | None = None,
    ) -> None:
        self._body: bytes | str = _body(payload)
        self._subject: str | None = None if subject is None else _named("subject", subject)
        self._broker: str | None = None if broker is None else _named("broker", broker)
        self._headers: tuple[Pair, ...] = _pairs(headers) if headers else ()
        self._reply_to: str | None = None if reply_to is None else _named("reply_to", reply_to)
        self._id: str = ""
        self._attempt: int = 1

    @classmethod
    def of_json(
        cls,
        value: object,
        subject: str | None = None,
        *,
        broker: str | None = None,
        headers: Mapping[str, str] | Iterable[Pair] = (),
        reply_to: str | None = None,
    ) -> Message:
        """A message whose payload is `value` as JSON (UTF-8, without spaces); the rest as in `Message`.

        Raises:
          TypeError: a value that JSON has no form for.
          ValueError: NaN, an infinity, or a structure that contains itself.
        """
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return cls(text, subject, broker=broker, headers=headers, reply_to=reply_to)

    @property
    def payload(self) -> bytes:
        """The body, byte for byte."""
        body = self._body
        return body.encode() if isinstance(body, str) else body

    @property
    def text(self) -> str:
        """The body as text.

        Raises:
          UnicodeDecodeError: it is not UTF-8.
        """
        body = self._body
        return body if isinstance(body, str) else body.decode()

    def json(self) -> Any:
        """The body, read as JSON.

        Raises:
          json.JSONDecodeError: it is not JSON.
          UnicodeDecodeError: it is not UTF-8.
        """
        return json.loads(self.text)

    @property
    def id(self) -> str:
        """The same for every attempt at this message: what an idempotent handler remembers. Empty if not yet sent."""
        return self._id

    @property
    def attempt(self) -> int:
        """1 for the first attempt at this message."""
        return self._attempt

    @property
    def subject(self) -> str:
        """Where it came on; empty in an answer that leaves it to the trigger."""
        return self._subject or ""

    @property
    def broker(self) -> str:
        """Name of its broker in farm.toml; empty in an answer that leaves it to the trigger."""
        return self._broker or ""

    @property
    def headers(self) -> tuple[Pair, ...]:
        """Names and values in the order they came; `dict(message.headers)` where no name comes twice."""
        return self._headers

    @property
    def reply_to(self) -> str | None:
        """Subject on which the sender waits for an answer, if any."""
        return self._reply_to

    def __eq__(self, other: object) -> bool:
        """Equal in all that is sent: payload, subject, broker, headers, reply_to; not in id and attempt."""
        if not isinstance(other, Message):
            return NotImplemented
        return self._sent() == other._sent()

    def __hash__(self) -> int:
        return hash(self._sent())

    def __repr__(self) -> str:
        body = self._body[:SHOWN_CHARACTERS]
        more = "..." if len(self._body) > SHOWN_CHARACTERS else ""
        subject = f", {self._subject!r}" if self._subject else ""
        return f"Message({body!r}{more}{subject})"

    def _sent(self) -> tuple[object, ...]:
        return self.payload, self.subject, self.broker, self._headers, self._reply_to


class Arrival(Protocol):
    """The facts of a message as the host hands them over; its payload comes beside it."""

    id: str
    subject: str
    broker: str
    headers: list[Pair]
    reply_to: str | None
    attempt: int


# body, subject, broker, headers, reply_to of an answer; each was checked when the message was made.
Departure = tuple[bytes | str, str | None, str | None, tuple[Pair, ...], str | None]


def arrived(facts: Arrival, body: bytes | str) -> Message:
    """The message of a host's call, without the checks of the constructor: the host has made them."""
    message = Message.__new__(Message)
    message._body = body
    message._subject = facts.subject
    message._broker = facts.broker
    message._headers = tuple(facts.headers)
    message._reply_to = facts.reply_to
    message._id = facts.id
    message._attempt = facts.attempt
    return message


def departing(message: Message) -> Departure:
    """The fields of `message`, to be handed to the host.

    One that came in says where it came from, not where to: sent on as it is it would come back for ever. So it goes
    where the trigger says.
    """
    if message._id:
        return message._body, None, None, message._headers, None
    return message._body, message._subject, message._broker, message._headers, message._reply_to


def check_text(what: str, text: object) -> str:
    """`text`, if it is one that a host can be given; an error there would end the whole instance.

    Raises:
      TypeError: it is no str.
      ValueError: it holds half a surrogate pair.
    """
    if not isinstance(text, str):
        raise TypeError(f"{what} must be str, not {type(text).__name__}")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{what} has half a surrogate pair at {error.start}: UTF-8 cannot express it") from None
    return text


def _named(what: str, text: object) -> str:
    if not check_text(what, text):
        raise ValueError(f"{what} is empty: leave it out, or name one")
    return str(text)


def _body(payload: object) -> bytes | str:
    if isinstance(payload, str):
        return check_text("payload", payload)
    if isinstance(payload, (bytes, bytearray)):
        return bytes(payload)
    if isinstance(payload, memoryview):
        return cast("memoryview[int]", payload).tobytes()
    raise TypeError(f"payload must be bytes or str, not {type(payload).__name__} (for JSON: Message.of_json)")


def _pairs(headers: Mapping[str, str] | Iterable[Pair]) -> tuple[Pair, ...]:
    pairs: list[Pair] = []
    listed = cast("Iterable[tuple[object, object]]", headers.items() if isinstance(headers, Mapping) else headers)
    for pair in listed:
        try:
            name, value = pair
        except (TypeError, ValueError):
            raise TypeError("headers must be a mapping, or pairs of name and value") from None
        pairs.append((check_text("header name", name), check_text(f"header {name}", value)))
    return tuple(pairs)
