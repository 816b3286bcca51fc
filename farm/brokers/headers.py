"""What a message is beside subject and payload, as headers of a broker that has them, and back.

    farm-id       the message's id                            traceparent, content-type, x-.., ce-..   as they are
    farm-cause    the id of the message it was made from
    farm-hops     how many components it has passed
Names are in lower case on the wire; on the way in they are taken in any. What others have put there reaches a guest,
but for names that are the server's own (nats-..) or ours; a guest cannot send all of it on, for `farm.message.passed`
lets only some names out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from farm.message import HEADER_COUNT_LIMIT, HEADERS_LIMIT_BYTES, HOPS_LIMIT, Headers, Message, new_id

ID: Final = "farm-id"
CAUSE: Final = "farm-cause"
HOPS: Final = "farm-hops"
OWN_PREFIXES: Final = ("farm-", "nats-")
ID_LIMIT: Final = 256  # characters of an id that somebody else may have made


class Envelope(NamedTuple):
    """What headers say of a message; the fields are those of `Message`."""

    id: str
    cause: str
    hops: int
    headers: Headers


def to_headers(message: Message) -> list[tuple[str, str]]:
    """All headers of a message, its own last."""
    found = [(ID, message.id)]
    if message.cause:
        found.append((CAUSE, message.cause))
    if message.hops:
        found.append((HOPS, str(message.hops)))
    if message.headers:
        found += message.headers
    return found


def from_headers(headers: Iterable[tuple[str, str]], source_id: str = "", new: Callable[[], str] = new_id) -> Envelope:
    """What was said, whoever said it; never raises.

    Args:
      source_id: what the server calls the message: the id of one that brings none, the same at every delivery.
      new: makes the id of one that has neither (`Ids().new` where there are many).
    """
    message_id = cause = ""
    hops = size_bytes = 0
    kept: list[tuple[str, str]] = []
    for given, value in headers:
        name = given.lower()
        if not name.startswith(OWN_PREFIXES):
            size_bytes += len(name) + len(value)
            if len(kept) < HEADER_COUNT_LIMIT and size_bytes <= HEADERS_LIMIT_BYTES:
                kept.append((name, value))
        elif name == ID:
            message_id = id_of(value)
        elif name == CAUSE:
            cause = id_of(value)
        elif name == HOPS:
            hops = int(value) if value.isascii() and value.isdigit() and len(value) <= 4 else HOPS_LIMIT
    return Envelope(message_id or source_id or new(), cause, hops, tuple(kept))


def id_of(value: str) -> str:
    """An id that somebody has made, if it can be one; else nothing."""
    return value if len(value) <= ID_LIMIT and value.isprintable() else ""
