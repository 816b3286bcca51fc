"""Publishes of clients: from the relay's batches to the brokers, and the answers back.

What a client may not set is dropped or refused here: `Farm-*` and broker headers, reserved subjects, a broker that is
not there. Its id is made of its Idempotency-Key and its uid, else new.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from farm.broker import Broker, Published, Refused
from farm.errors import BrokerUnavailable, FarmError, InputError, Problem, UnknownBroker
from farm.ingest.listeners import Listeners
from farm.ingest.outputs import suggestion
from farm.ingest.table import Trigger
from farm.message import Headers, Ids, Message, header_fault, keyed_id, passed
from farm.subject import nearest, validate
from farm.wire.relay import Accepted, Publish, Publishes, Refusal
from farm.wire.relay import Published as Answer

NEAREST_LIMIT: Final = 1024  # unmatched subjects whose nearest pattern is remembered
# To find one takes 10 us for each pattern: a hint for a person, which who publishes to ever new subjects does without.
NEAREST_SHARE: Final = 0.05  # of the time that may be spent on it
NEAREST_SPARE_S: Final = 0.02  # of that share, what may be left for later


class _Batch:
    """A client's batch on its way: how many of its items are unanswered."""

    __slots__ = ("answer", "left")

    def __init__(self, number: int, broker: str, left: int) -> None:
        self.answer = Answer(number, [], [], broker)
        self.left = left


class _Part:
    """What of a batch goes to one broker; places: where in the batch."""

    __slots__ = ("broker", "messages", "places")

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.places: list[int] = []
        self.messages: list[Message] = []


class Publishing:
    """Takes batches of publishes."""

    def __init__(
        self,
        brokers: Mapping[str, Broker],
        triggers: Sequence[Trigger],
        listeners: Listeners,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._brokers = brokers
        self._first = next(iter(brokers), "")
        self._listeners = listeners
        self._topics = {name: [t.spec.topic for t in triggers if t.spec.broker == name] for name in brokers}
        self._nearest: dict[tuple[str, str], str | None] = {}
        self._generation = 0
        self._clock = clock
        self._spare_s = NEAREST_SPARE_S
        self._spared_s = clock()  # when that was reckoned
        self._ids = Ids()
        self.draining = False

    def publish(self, caller: str, word: Publishes, done: Callable[[Answer], None]) -> None:
        """Publish a batch; `done` gets the answer once it is known of every item.

        Args:
          caller: who asks: what makes an Idempotency-Key its own.
        """
        batch = _Batch(word.batch, self._first, len(word.items))
        refused = batch.answer.refused
        parts: dict[str, _Part] = {}
        for place, item in enumerate(word.items):
            name = item.broker or self._first
            part = parts.get(name)
            try:
                if part is None:
                    part = parts[name] = _Part(self._broker(name))
                message = self._message(caller, item)
            except FarmError as error:
                if part is not None:
                    part.broker.counters.refused += 1
                refused.append(_refusal(place, error))
                continue
            part.places.append(place)
            part.messages.append(message)
        batch.left -= len(refused)
        if not batch.left:
            done(batch.answer)
        for part in parts.values():
            if part.messages:
                part.broker.publish(part.messages, self._answer_to(batch, part, done))

    def _broker(self, name: str) -> Broker:
        broker = self._brokers.get(name)
        if broker is None:
            raise UnknownBroker(suggestion(name, self._brokers))
        return broker

    def _message(self, caller: str, item: Publish) -> Message:
        if self.draining:
            raise BrokerUnavailable(Problem("the farm is stopping"))
        message_id = self._ids.new() if item.key is None else keyed_id(caller, item.key)
        dedup = "" if item.key is None else message_id
        if item.reply_to is None and not item.headers:
            return Message(message_id, item.subject, item.payload, dedup=dedup)
        if item.reply_to is not None:
            validate(item.reply_to)
        headers: Headers = passed(item.headers)
        if why := header_fault(headers):
            raise InputError(Problem("headers that may not travel", why=why))
        return Message(message_id, item.subject, item.payload, headers, item.reply_to, dedup=dedup)

    def _answer_to(
        self, batch: _Batch, part: _Part, done: Callable[[Answer], None]
    ) -> Callable[[Sequence[Published | Refused]], None]:
        broker = part.broker

        def answered(answers: Sequence[Published | Refused]) -> None:
            accepted, refused = batch.answer.accepted, batch.answer.refused
            for place, message, answer in zip(part.places, part.messages, answers, strict=True):
                if not isinstance(answer, Published):
                    refused.append(_refusal(place, answer))
                elif answer.triggers and not answer.listeners:
                    accepted.append(
                        Accepted(place, message.id, answer.triggers, 0, None, answer.sequence, answer.receivers)
                    )
                else:
                    accepted.append(self._accepted(place, broker, message, answer))
            batch.left -= len(answers)
            if not batch.left:
                done(batch.answer)

        return answered

    def _accepted(self, place: int, broker: Broker, message: Message, answer: Published) -> Accepted:
        if answer.triggers or answer.listeners:
            listeners = self._listeners.matching(broker.name, message.subject) if answer.listeners else 0
            nearest = None
        else:
            listeners, nearest = 0, self._find_nearest(broker, message.subject)
        return Accepted(place, message.id, answer.triggers, listeners, nearest, answer.sequence, answer.receivers)

    def _find_nearest(self, broker: Broker, subject: str) -> str | None:
        key = (broker.name, subject)
        if len(self._nearest) >= NEAREST_LIMIT or self._generation != self._listeners.generation:
            self._nearest.clear()
            self._generation = self._listeners.generation
        if key not in self._nearest:
            began_s = self._clock()
            spare_s = self._spare_s + NEAREST_SHARE * (began_s - self._spared_s)
            self._spare_s, self._spared_s = min(NEAREST_SPARE_S, spare_s), began_s
            if self._spare_s <= 0:
                return None
            self._nearest[key] = nearest(subject, self._topics[broker.name] + self._listeners.patterns(broker.name))
            self._spare_s -= self._clock() - began_s
        return self._nearest[key]


def _refusal(place: int, error: FarmError) -> Refusal:
    return Refusal(place, error.code, str(error), error.retry)
