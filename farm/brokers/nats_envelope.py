"""What a message is beside subject and payload, as the block of headers that NATS carries before the payload."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from farm.brokers.headers import CAUSE, HOPS, ID, to_headers
from farm.brokers.nats_protocol import VERSION, encode_headers
from farm.message import Message

MESSAGE_ID: Final = "Nats-Msg-Id"  # what a stream knows a message by


def block_of(message: Message, known_by: str = "", more: Sequence[tuple[str, str]] = ()) -> bytes:
    """The block of a message's headers. Most have none but ours, which need no looking at one by one.

    Args:
      known_by: what a stream is to know it by; empty: nothing.
    """
    own, cause = message.id, message.cause
    if cause and not message.headers and not more:
        said = f"{own}{cause}{known_by}"
        if "\n" not in said and "\r" not in said:
            known = f"{MESSAGE_ID}: {known_by}\r\n" if known_by else ""
            block = f"{VERSION}\r\n{ID}: {own}\r\n{CAUSE}: {cause}\r\n{HOPS}: {message.hops}\r\n{known}\r\n"
            return block.encode(errors="replace")
    pairs = [*to_headers(message), *more]
    if known_by:
        pairs.append((MESSAGE_ID, known_by))
    return encode_headers(pairs)
