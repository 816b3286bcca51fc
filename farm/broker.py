"""The contract of every broker: what ingest asks of it, and what it must answer.

    ingest > broker   deliver(subscription)  grant(subscription, n)     what triggers run on: settled once each
                      listen(pattern)                                   live, never settled, at most once
                      publish(messages, done)                           done hears what became of each, in order
                      settle(deliveries)  release(deliveries)           finished with; not begun, free for others
    broker > ingest   on_deliveries(list)    never more than was granted, where the broker can hold back
                      on_messages(list)      every message on a subject that a listener's pattern matches
Everything is called on ingest's loop and returns at once: no future and no coroutine per message. An implementation
gathers what one turn of the loop asked for and does it in one go.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

from farm.errors import BrokerError, InputError, PayloadTooLarge
from farm.message import PAYLOAD_LIMIT_BYTES, Message
from farm.subject import Grammar, validate

KNOWN_LIMIT: Final = 4096  # subjects that are remembered as valid

BrokerState = Literal["connecting", "up", "down"]


@dataclass(frozen=True)
class Subscription:
    """What one trigger wants of a broker. trigger: its number in ingest's table, 0 and up, unique over all brokers."""

    trigger: int
    topic: str


class Delivery:
    """One message for one trigger. It is settled or released exactly once, by the broker that made it.

    token is the broker's own (a stream's entry, a queue's place): nobody else looks at it.
    """

    __slots__ = ("message", "token", "trigger")

    def __init__(self, trigger: int, message: Message, token: object = None) -> None:
        self.trigger = trigger
        self.message = message
        self.token = token


Refused = BrokerError | InputError
PublishDone = Callable[[Sequence["Published | Refused"]], None]
OnDeliveries = Callable[[list[Delivery]], None]
OnMessages = Callable[[list[Message]], None]


@dataclass(frozen=True, slots=True)
class Published:
    """The broker has it. triggers, listeners: how many of this farm's match the subject."""

    triggers: int
    listeners: int


@dataclass
class BrokerCounters:
    """Since the start of this ingest. Meanings are those of `farm status --json`. dropped: taken, and lost at the
    end.
    """

    received: int = 0
    published: int = 0
    refused: int = 0
    unmatched: int = 0
    gaps: int = 0
    dropped: int = 0


class Broker(ABC):
    """One named broker. Not started by its constructor.

    volatile: what it has not handed over yet exists nowhere else and ends with ingest. A drain goes on taking from it.
    """

    volatile: ClassVar[bool] = False
    grammar: Grammar = "nats"
    payload_limit_bytes: int = PAYLOAD_LIMIT_BYTES

    def __init__(self, name: str) -> None:
        self.name: Final = name
        self.counters: Final = BrokerCounters()
        self._known: set[str] = set()  # subjects that were found valid

    @property
    @abstractmethod
    def state(self) -> BrokerState:
        """Whether it can be used now."""

    def waiting_for(self, trigger: int) -> int:
        """How many messages wait in this process for a trigger's grant: a volatile broker's."""
        return 0

    @abstractmethod
    async def start(self) -> None:
        """Try once to reach the server, and go on trying afterwards. Raises nothing for a server that is away."""

    @abstractmethod
    async def close(self) -> None:
        """Leave; nothing is called back afterwards."""

    @abstractmethod
    def deliver(self, subscription: Subscription, on_deliveries: OnDeliveries) -> None:
        """Begin a trigger's subscription. Nothing comes before `grant`."""

    @abstractmethod
    def grant(self, trigger: int, count: int) -> None:
        """Allow `count` more deliveries for this trigger, added to what it may still get."""

    @abstractmethod
    def listen(self, pattern: str, on_messages: OnMessages) -> Callable[[], None]:
        """Begin a live subscription; the function that ends it."""

    @abstractmethod
    def settle(self, deliveries: Sequence[Delivery]) -> None:
        """Their outputs are confirmed (or their dead letter is): the broker may forget them."""

    @abstractmethod
    def release(self, deliveries: Sequence[Delivery]) -> None:
        """They were not begun and will not be here: somebody else, or a later farm, may have them."""

    def publish(self, messages: Sequence[Message], done: PublishDone) -> None:
        """Publish each; `done` is called once, now or later, with one answer per message, in order.

        An answer is a `BrokerError` (BrokerFull, BrokerUnavailable: may be tried again) or an `InputError` (never).
        """
        known, limit_bytes = self._known, self.payload_limit_bytes
        refused: dict[int, Refused] = {}
        for place, message in enumerate(messages):
            if message.subject not in known or len(message.payload) > limit_bytes:
                try:
                    self.check(message.subject, len(message.payload))
                except InputError as error:
                    refused[place] = error

        def answer(results: Sequence[Published | Refused]) -> None:
            if refused:
                following = iter(results)
                results = [refused.get(place) or next(following) for place in range(len(messages))]
            self._count(results)
            done(results)

        good = [message for place, message in enumerate(messages) if place not in refused] if refused else messages
        if good:
            self._publish(good, answer)
        else:
            answer([])

    def check(self, subject: str, payload_bytes: int) -> None:
        """Let pass what may be published here. Raises: InvalidSubject, PayloadTooLarge."""
        if subject not in self._known:
            validate(subject)
            if len(self._known) >= KNOWN_LIMIT:
                self._known.clear()
            self._known.add(subject)
        if payload_bytes > self.payload_limit_bytes:
            raise PayloadTooLarge(payload_bytes, self.payload_limit_bytes)

    @abstractmethod
    def _publish(self, messages: Sequence[Message], done: PublishDone) -> None:
        """Publish each of these, which are valid; `done` as in `publish`."""

    def _count(self, answers: Sequence[Published | Refused]) -> None:
        published = unmatched = 0
        for answer in answers:
            if isinstance(answer, Published):
                published += 1
                if not (answer.triggers or answer.listeners):
                    unmatched += 1
        self.counters.published += published
        self.counters.unmatched += unmatched
        self.counters.refused += len(answers) - published
