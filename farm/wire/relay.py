"""The relay: gateway and CLI <-> ingest. Questions about messages; those about processes go to admin.

    client > ingest   Publishes(batch, items)              at most 256 items or 256 KiB (one larger item alone)
    ingest > client   Published(batch, accepted, refused)  which item by number; every item is in one of the two
    client > ingest   Listen(listener, broker, pattern, credit)    Grant(listener, count)    Unlisten(listener)
    ingest > client   Listening(listener, broker) | ListenRefused(listener, ..)
                      Heard(listener, first, messages)     numbered: what was left out for want of credit shows as a gap
    client > ingest   AskStatus(question)
    ingest > client   StatusAnswer(question, status)       JSON
    ingest > client   Ping: is anybody there (a peer that has gone shows at the send)
A client has at most WINDOW batches unanswered. Ingest answers a batch once it is settled what became of every item.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec

from farm.message import Headers
from farm.wire import frames

BATCH_COUNT_LIMIT: Final = 256
BATCH_LIMIT_BYTES: Final = 256 << 10
WINDOW: Final = 4  # batches unanswered at a time
LISTENERS_LIMIT: Final = 4096  # of one client
AHEAD_LIMIT_BYTES: Final = 16 << 20  # of payload that a listener was sent and has not granted again


class Ahead:
    """What a listener was sent and has not granted again, by its payload. Kept at both ends, which agree: a client that
    is done with half of AHEAD_LIMIT_BYTES grants what it is done with.
    """

    __slots__ = ("_words", "size_bytes")

    def __init__(self) -> None:
        self._words: deque[tuple[int, int]] = deque()  # messages of one word, and what is left of its bytes
        self.size_bytes = 0

    def put(self, count: int, size_bytes: int) -> None:
        """So much was sent in one word."""
        self._words.append((count, size_bytes))
        self.size_bytes += size_bytes

    def take(self, count: int) -> int:
        """The first `count` messages are done with; what they weighed, messages of one word all alike."""
        before_bytes = self.size_bytes
        while count and self._words:
            first, size_bytes = self._words.popleft()
            done = min(first, count)
            part = size_bytes * done // first
            self.size_bytes -= part
            count -= done
            if done < first:
                self._words.appendleft((first - done, size_bytes - part))
        return before_bytes - self.size_bytes


class Publish(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One message a client wants published. broker None: the first of the manifest. key: its Idempotency-Key."""

    subject: str
    payload: bytes
    broker: str | None = None
    headers: Headers = ()
    reply_to: str | None = None
    key: str | None = None


class Publishes(msgspec.Struct, frozen=True, array_like=True, tag="publishes", gc=False):
    """A batch of publishes."""

    batch: int
    items: list[Publish]


class Accepted(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Item `item` of the batch was taken: its id, and how many triggers and listeners match its subject.

    nearest: with neither, the pattern that was perhaps meant, if there was time to look for it; sequence: its number in
    the server's stream; receivers: how many subscribers the server itself counted.
    """

    item: int
    id: str
    triggers: int
    listeners: int
    nearest: str | None = None
    sequence: int | None = None
    receivers: int | None = None


class Refusal(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Item `item` of the batch was not taken. code as in `farm.errors`; retry: it may be taken later."""

    item: int
    code: str
    text: str
    retry: bool


class Published(msgspec.Struct, frozen=True, array_like=True, tag="published", gc=False):
    """The answer to a batch. broker: the name of the broker of an item that named none."""

    batch: int
    accepted: list[Accepted]
    refused: list[Refusal]
    broker: str


class Listen(msgspec.Struct, frozen=True, array_like=True, tag="listen", gc=False):
    """From now on, hear what is published on subjects that match. credit: how many messages may come unasked."""

    listener: int
    pattern: str
    credit: int
    broker: str | None = None


class Grant(msgspec.Struct, frozen=True, array_like=True, tag="grant", gc=False):
    """`count` more messages may come."""

    listener: int
    count: int


class Unlisten(msgspec.Struct, frozen=True, array_like=True, tag="unlisten", gc=False):
    """No more."""

    listener: int


class Listening(msgspec.Struct, frozen=True, array_like=True, tag="listening", gc=False):
    """The listener is live, on this broker."""

    listener: int
    broker: str


class ListenRefused(msgspec.Struct, frozen=True, array_like=True, tag="listen-refused", gc=False):
    """The listener is not: code as in `farm.errors`."""

    listener: int
    code: str
    text: str


class HeardMessage(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A message as a listener hears it."""

    id: str
    subject: str
    payload: bytes
    headers: Headers = ()
    reply_to: str | None = None


class Heard(msgspec.Struct, frozen=True, array_like=True, tag="heard", gc=False):
    """Consecutive messages; `first` is the number of the first, counted from 1 per listener, left-out ones too."""

    listener: int
    first: int
    messages: list[HeardMessage]


class AskStatus(msgspec.Struct, frozen=True, array_like=True, tag="ask-status", gc=False):
    """How are brokers and components?"""

    question: int


class StatusAnswer(msgspec.Struct, frozen=True, array_like=True, tag="status", gc=False):
    """`{"brokers": {..}, "components": {..}}` as JSON, in the shape `farm status --json` promises."""

    question: int
    status: bytes


class Ping(msgspec.Struct, frozen=True, array_like=True, tag="ping", gc=False):
    """Nothing to say. Never answered."""


FromClient = Publishes | Listen | Grant | Unlisten | AskStatus
FromIngest = Published | Listening | ListenRefused | Heard | StatusAnswer | Ping

_FROM_CLIENT: Final = msgspec.msgpack.Decoder(FromClient)
_FROM_INGEST: Final = msgspec.msgpack.Decoder(FromIngest)


def pack(word: FromClient | FromIngest) -> list[bytes]:
    """The frames of one word."""
    return [frames.ENCODER.encode(word)]


def from_client(message: list[bytes]) -> FromClient:
    """What a client said.

    Raises: WireError: no such word.
    """
    return frames.decode(_FROM_CLIENT, message[0] if len(message) == 1 else b"")


def from_ingest(message: list[bytes]) -> FromIngest:
    """What ingest said.

    Raises: WireError: no such word.
    """
    return frames.decode(_FROM_INGEST, message[0] if len(message) == 1 else b"")
