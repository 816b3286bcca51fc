"""What was published and is not confirmed yet: answers come on one inbox, and are matched by a number.

publish > number > server > PubAck with that number > its place in its batch > the batch is full: done
                          > nobody answers, or not within DOUBT_S: does a stream take it in? no: final. yes: again
                          > no answer within CONFIRM_S, connection lost: unknown, may be tried again
No future and no coroutine per message.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from farm.broker import Matches, PublishDone, Published, Refused
from farm.brokers.jetstream_api import Refusal
from farm.brokers.nats_connection import NatsConnection
from farm.brokers.nats_envelope import block_of
from farm.brokers.nats_protocol import Raw, encode_publish, status_of
from farm.errors import (
    BrokerFull,
    BrokerUnavailable,
    InputError,
    NotPermitted,
    PayloadTooLarge,
    Problem,
    printable,
)
from farm.message import Message
from farm.subject import INBOX

CONFIRM_S: Final = 4.0
DOUBT_S: Final = 1.0
SILENCE_S: Final = 20.0  # so long after the last message that was given up nobody knows any more whether it is silent
ABSENCE_S: Final = 5.0  # likewise, after the last one on whose subject nobody was there: that is heard at once
OPEN_LIMIT: Final = 65_536
REPLY_TO: Final = "farm-reply-to"  # a stream keeps no reply subject
# Source: nats-server, errors.json: no room in memory, in the store, in the stream; the stream has its most.
FULL: Final = (10023, 10028, 10047, 10077)
SERVER_FAULT: Final = 500  # codes from here on are no fault of the message
# Nor are these: the same `Nats-Msg-Id` is being stored at this moment; more is being published than it takes.
PASSING: Final = (409, 429)


class _PubAck(msgspec.Struct, frozen=True):
    stream: str = ""
    seq: int = 0
    error: Refusal | None = None


_DECODER: Final = msgspec.json.Decoder(_PubAck)


class _Batch:
    """What one call published: messages `first`, `first` + 1, ... doubted: was asked about already."""

    __slots__ = ("answers", "done", "doubted", "first", "left", "messages", "sent_s")

    def __init__(self, messages: Sequence[Message], done: PublishDone, first: int, sent_s: float) -> None:
        self.messages = messages
        self.done = done
        self.first = first
        self.left = len(messages)
        self.answers: list[Published | Refused | None] = [None] * len(messages)
        self.sent_s = sent_s
        self.doubted = False


class Publishes:
    """Of one connection.

    Args:
      name: the broker's.
      wanted: asks for a turn, in which `finish` is called.
      doubt: is given a subject of which nobody says whether a stream takes it in; `settle_doubt` is to follow.
    """

    def __init__(
        self,
        name: str,
        connection: NatsConnection,
        matches: Matches,
        wanted: Callable[[], None],
        doubt: Callable[[str], None],
    ) -> None:
        self._name: Final = name
        self._connection: Final = connection
        self._of: Final = matches.of
        self._wanted: Final = wanted
        self._doubt: Final = doubt
        self._inbox: Final = connection.new_inbox()
        self._cut: Final = len(self._inbox) + 1
        self._open: Final[dict[int, _Batch]] = {}  # by message
        self._batches: Final[dict[int, _Batch]] = {}  # by first message, in the order of time
        self._unheard: Final[set[int]] = set()  # messages of which the server says that nobody takes them
        self._finished: list[_Batch] = []
        self._next = 0
        self.silent = False  # nothing was confirmed since something was given up, not long ago
        self._silent_until_s = 0.0
        self._absent: Final[dict[str, float]] = {}  # streams for which nobody answered > how long that is believed
        connection.subscribe(f"{self._inbox}.*", self._heard)

    @property
    def full(self) -> bool:
        """Whether so much is unconfirmed that nothing should be added."""
        return len(self._open) > OPEN_LIMIT

    @property
    def fault(self) -> str:
        """Why what is published is not confirmed; empty: it is, or nobody knows."""
        if self.silent:
            return "JetStream confirms nothing of what is published"
        return f"nobody answers for stream {printable(min(self._absent))}" if self._absent else ""

    def __len__(self) -> int:
        return len(self._batches) + len(self._finished)

    def send(self, messages: Sequence[Message], done: PublishDone, *, once: bool) -> None:
        """Publish each; `done` is called in a later turn, within 5 s.

        Args:
          once: outputs of components are to be stored once, whoever publishes them again.
        """
        first = self._next
        self._next += len(messages)
        batch = self._batches[first] = _Batch(messages, done, first, time.monotonic())
        connection, inbox, opened = self._connection, self._inbox, self._open
        limit_bytes = connection.max_payload_bytes
        parts, size_bytes = list[bytes](), 0
        for number, message in enumerate(messages, first):
            if message.subject.startswith(INBOX):  # whoever waits there has it; no stream stores it
                connection.publish(message.subject, message.payload, "", block_of(message))
                self._answer(batch, number, self._of(message.subject))
                continue
            headers = _headers_of(message, once=once)
            if len(headers) + len(message.payload) > limit_bytes:
                self._answer(batch, number, PayloadTooLarge(len(headers) + len(message.payload), limit_bytes))
                continue
            opened[number] = batch
            parts += encode_publish(message.subject, message.payload, f"{inbox}.{number}", headers)
            size_bytes += len(headers) + len(message.payload)
        connection.publish_all(parts, size_bytes)

    def finish(self) -> None:
        """Call back for the batches that are full."""
        finished, self._finished = self._finished, []
        for batch in finished:
            batch.done([answer for answer in batch.answers if answer is not None])

    def lose(self, fault: str) -> None:
        """The connection is gone: nobody knows what the server has."""
        self.silent = False
        self._absent.clear()
        unknown = BrokerUnavailable(Problem("the broker confirmed nothing", why=fault))
        for number, batch in list(self._open.items()):
            self._answer(batch, number, unknown)

    def forget(self) -> None:
        """Nobody is to be called back any more."""
        self._open.clear()
        self._batches.clear()
        self._finished.clear()

    def tick(self, now_s: float) -> None:
        """Doubt what has no answer for long, and give up what has none at all."""
        late = BrokerUnavailable(Problem("the broker confirmed nothing", why=f"no answer in {CONFIRM_S:g} s"))
        for batch in list(self._batches.values()):
            age_s = now_s - batch.sent_s
            if age_s < DOUBT_S:
                break
            for number in range(batch.first, batch.first + len(batch.messages)):
                if number not in self._open:
                    continue
                if age_s >= CONFIRM_S:
                    self._fall_silent(now_s + SILENCE_S)
                    self._answer(batch, number, late)
                elif not batch.doubted:
                    self._doubt(batch.messages[number - batch.first].subject)
            batch.doubted = True
        if self.silent and now_s > self._silent_until_s:
            self.silent = False
        for stream in [each for each, until_s in self._absent.items() if now_s > until_s]:
            del self._absent[stream]

    def settle_doubt(self, subject: str, *, taken: bool | None, streams: Sequence[str] = ()) -> None:
        """Whether a stream takes in this subject was found out; None: it will be once all streams are in place.

        Args:
          streams: which; empty: none, or nobody knows.
        """
        answer: Refused
        if taken is not False:
            answer = BrokerUnavailable(Problem("the broker confirmed nothing", why=f"no stream answers on {subject!r}"))
        else:
            todo = "Add it to `subjects` of the broker"
            answer = InputError(Problem(f"no stream takes in {subject!r}", self._name, todo=todo))
        for number, batch in list(self._open.items()):
            if batch.messages[number - batch.first].subject == subject and (taken is False or number in self._unheard):
                if taken:
                    self._miss(streams, time.monotonic() + ABSENCE_S)
                self._answer(batch, number, answer)

    def deny(self, subject: str) -> None:
        """The server does not let us publish to this subject."""
        denied = NotPermitted(Problem(f"cannot publish to {subject!r}", self._name, "the server does not permit it"))
        for number, batch in list(self._open.items()):
            if batch.messages[number - batch.first].subject == subject:
                self._answer(batch, number, denied)

    def _heard(self, raws: list[Raw]) -> None:
        opened, cut, of, decode = self._open, self._cut, self._of, _DECODER.decode
        for subject, _, head, payload in raws:
            try:
                number = int(subject[cut:])
                batch = opened[number]
                found = decode(payload) if payload else None
            except (KeyError, ValueError, msgspec.DecodeError, msgspec.ValidationError):
                continue  # given up already, or another's
            place = number - batch.first
            message = batch.messages[place]
            if found is not None and found.error is None and found.stream:
                known = of(message.subject)
                self.silent = False
                if self._absent:
                    self._absent.pop(found.stream, None)
                del opened[number]
                if self._unheard:
                    self._unheard.discard(number)
                batch.answers[place] = Published(known.triggers, known.listeners, found.seq)
                batch.left -= 1
                if not batch.left:
                    self._full(batch)
            elif found is not None and found.error is not None:
                self._answer(batch, number, refusal_of(found.error))
            elif status_of(head)[0]:
                self._unheard.add(number)
                self._doubt(message.subject)

    def _fall_silent(self, until_s: float) -> None:
        self.silent, self._silent_until_s = True, max(until_s, self._silent_until_s)

    def _miss(self, streams: Sequence[str], until_s: float) -> None:
        """Nobody is there for these. Others may be: what they confirm says nothing of them."""
        if streams:
            self._absent.update((stream, until_s) for stream in streams)
        else:
            self._fall_silent(until_s)

    def _answer(self, batch: _Batch, number: int, answer: Published | Refused) -> None:
        self._open.pop(number, None)
        self._unheard.discard(number)
        batch.answers[number - batch.first] = answer
        batch.left -= 1
        if not batch.left:
            self._full(batch)

    def _full(self, batch: _Batch) -> None:
        del self._batches[batch.first]
        self._finished.append(batch)
        self._wanted()


def _headers_of(message: Message, *, once: bool) -> bytes:
    known_by = (message.dedup or (message.id if message.cause else "")) if once else ""
    return block_of(message, known_by, ((REPLY_TO, message.reply_to),) if message.reply_to else ())


def refusal_of(error: Refusal) -> Refused:
    """What a stream's no to a message means: whether it may be published again."""
    problem = Problem("the broker refuses a message", why=printable(error.description))
    if error.err_code in FULL:
        return BrokerFull(problem)
    passes = error.code >= SERVER_FAULT or error.code in PASSING
    return BrokerUnavailable(problem) if passes else InputError(problem)
