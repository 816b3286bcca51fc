"""An entry of a stream is a message: the payload is a field, and so is each header.

body          payload (or the field that `body_field` names)        reply-to   where an answer is wanted
farm-id ..    what `farm.brokers.headers` says                      others     headers
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

import hiredis

from farm.brokers.headers import CAUSE, HOPS, ID, from_headers, id_of, to_headers
from farm.brokers.redis_link import Word
from farm.message import Message

REPLY_TO: Final = "reply-to"
SUBJECT: Final = "farm-subject"  # of a dead letter: what its subject would be
REPLY_LIMIT: Final = 256  # characters
_ID: Final = ID.encode()


def words_of(message: Message, body: bytes) -> list[Word]:
    """Fields and values of a message."""
    if message.cause and not message.headers and message.reply_to is None:  # an output, as most are
        return [body, message.payload, ID, message.id, CAUSE, message.cause, HOPS, message.hops]
    words: list[Word] = [body, message.payload]
    for pair in to_headers(message):
        words += pair
    if message.reply_to is not None:
        words += (REPLY_TO, message.reply_to)
    return words


def count_of(words: Sequence[Word], *, needed: bool) -> int:
    """How many words there are, as the scripts read it: below 0 where some stream must keep them."""
    return -len(words) if needed else len(words)


def message_of(subject: str, words: Sequence[bytes], body: bytes, source_id: str) -> Message:
    """The message of an entry, whoever made it; never raises.

    Args:
      source_id: what the entry is called: the id of a message that brings none.
    """
    if len(words) == 4 and words[0] == body and words[2] == _ID:  # most of them
        return Message(id_of(words[3].decode(errors="replace")) or source_id, subject, words[1])
    payload, reply_to = b"", None
    pairs: list[tuple[str, str]] = []
    for at in range(0, len(words) - 1, 2):
        field, value = words[at], words[at + 1]
        if field == body:
            payload = value
            continue
        name, text = field.decode(errors="replace"), value.decode(errors="replace")
        if name == REPLY_TO:
            reply_to = text if text and len(text) <= REPLY_LIMIT and text.isprintable() else None
        else:
            pairs.append((name, text))
    envelope = from_headers(pairs, source_id)
    return Message(envelope.id, subject, payload, envelope.headers, reply_to, envelope.cause, envelope.hops)


def unpacked(packed: bytes) -> list[bytes] | None:
    """The words that a script has packed for a channel, as RESP; None: somebody else has put something there."""
    reader = hiredis.Reader()
    try:
        reader.feed(packed)
        words: object = reader.gets()
    except hiredis.HiredisError:
        return None
    if not isinstance(words, list) or not all(isinstance(word, bytes) for word in cast("list[object]", words)):
        return None
    return cast("list[bytes]", words)
