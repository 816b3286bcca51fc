"""The contract of every broker: what ingest asks of it, and what it must answer.

    ingest > broker   deliver(subscription)  grant(subscription, n)     what triggers run on: settled once each
                      listen(pattern)                                   live, never settled, at most once
                      publish(messages, done)                           done hears what became of each, in order
                      store(messages, done)                             dead letters, where the broker confirms
                      settle(deliveries)  release(deliveries)           finished with; not begun, free for others
                      commit(commits, done)                             outputs and settling in one step, where it can
                      quiet()                                           take nothing more for triggers
    broker > ingest   on_deliveries(list)    never more than was granted
                      on_messages(list)      every message on a subject that a listener's pattern matches
                      on_change(broker)      its state is another one
Everything is called on ingest's loop and returns at once: no future and no coroutine per message. An implementation
gathers what one turn of the loop asked for and does it in one go.

Leases are the broker's own affair: of everything it has handed over and that is neither settled nor released it extends
the lease, at a third of it. So is a settling that the server did not confirm: it is repeated until it is, or until the
server says that the delivery is no longer ours.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, Literal

import msgspec

from farm.errors import BrokerError, InputError, Internal, PayloadTooLarge
from farm.message import HEADERS_LIMIT_BYTES, PAYLOAD_LIMIT_BYTES, Message
from farm.spec import Secret
from farm.subject import Grammar, Matcher, compile_filter, validate, validate_reply

GRANT_BYTES: Final = 64 << 10  # what one grant is reckoned at
LIGHT_BYTES: Final = GRANT_BYTES - 2 * HEADERS_LIMIT_BYTES  # a payload with which no message takes more than one grant
KNOWN_LIMIT: Final = 4096  # subjects that are remembered, as valid or with what matches them

BrokerState = Literal["connecting", "up", "down"]


@dataclass(frozen=True)
class Home:
    """What a farm is to its brokers.

    app: its name, for people; id: what tells this farm from all others at the server, the same at every start (12
    letters and digits); folder: this broker's own directory for what must outlive a start, made when it is first asked
    for; secret: the text of a secret, read anew at every call (so that a file may be replaced while farm runs).
    """

    app: str
    id: str
    folder: Callable[[], Path]
    secret: Callable[[Secret], str]


@dataclass(frozen=True)
class Subscription:
    """What one trigger wants of a broker.

    trigger: its number in ingest's table, 0 and up, unique over all brokers. topic: a filter in the broker's grammar.
    group: of a queue; empty: a topic of this farm's own. durable: what the server may call what it keeps for this
    subscription (letters, digits, - and _): with a group the same in every farm, else this trigger's alone.
    """

    trigger: int
    topic: str
    group: str = ""
    durable: str = ""


class Delivery(msgspec.Struct, eq=False):
    """One message for one trigger. It is settled or released exactly once, by the broker that made it.

    token is the broker's own (a stream's entry, a queue's place): nobody else looks at it. deliveries: how often the
    server has handed it to anybody, by its own count, this time included. source_id: what the server itself calls the
    message, the same at every delivery and never used again for another; empty where the server has no such name.
    """

    trigger: int
    message: Message
    token: object = None
    deliveries: int = 1
    source_id: str = ""


def grants_of(message: Message) -> int:
    """How many grants a delivery of this message takes where the broker `weighs`: one for each GRANT_BYTES begun, and
    one alone for a payload of LIGHT_BYTES, whatever its headers and its subject.
    """
    return 1 if len(message.payload) <= LIGHT_BYTES else -(-message.size_bytes // GRANT_BYTES)


class Commit(msgspec.Struct, frozen=True, eq=False):
    """A delivery, and the messages that must be there before it is settled. They are checked."""

    delivery: Delivery
    outputs: Sequence[Message]


Refused = BrokerError | InputError
PublishDone = Callable[[Sequence["Published | Refused"]], None]
CommitDone = Callable[[Sequence["Refused | None"]], None]
OnDeliveries = Callable[[list[Delivery]], None]
OnMessages = Callable[[list[Message]], None]
OnChange = Callable[["Broker"], None]


class Published(msgspec.Struct, frozen=True, gc=False):
    """The broker has it. triggers, listeners: how many of this farm's match the subject; a queue's group is one.

    sequence: its number in the server's stream; receivers: how many subscribers the server itself counted.
    """

    triggers: int
    listeners: int
    sequence: int | None = None
    receivers: int | None = None


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
    """One named broker: made with its spec and the farm's `Home`, not started by its constructor.

    volatile: what it has not handed over yet exists nowhere else and ends with ingest. A drain goes on taking from it.
    weighs: what it hands over uses up `grants_of` it; while one is left the next message goes, however heavy, and so
    does all of one reply where a server is asked by count alone. commits: `commit` is offered. confirms: what it has
    published is stored, so that dead letters may be kept there. counts: its deliveries have the server's own count.
    dedups: its server is told what it may know an output by (`Message.dedup`); where it is not, outputs have none.
    fault: why it is not up, one line without secrets or userinfo; empty while it is.
    """

    volatile: bool = False
    weighs: ClassVar[bool] = False
    commits: ClassVar[bool] = False
    counts: ClassVar[bool] = False
    confirms: bool = False
    dedups: bool = True
    grammar: Grammar = "nats"
    payload_limit_bytes: int = PAYLOAD_LIMIT_BYTES

    def __init__(self, name: str) -> None:
        self.name: Final = name
        self.counters: Final = BrokerCounters()
        self.fault = ""
        self.on_change: OnChange | None = None
        self._state: BrokerState = "connecting"
        self._known: set[str] = set()  # subjects that were found valid

    @property
    def state(self) -> BrokerState:
        """Whether it can be used now."""
        return self._state

    def waiting_for(self, trigger: int) -> int:
        """How many messages wait in this process for a trigger's grant: a volatile broker's."""
        return 0

    @abstractmethod
    async def start(self) -> None:
        """Try once to reach the server, for 5 s at most, and go on trying afterwards, for ever. Raises nothing for a
        server that is away or says no: that is `state` and `fault`.
        """

    @abstractmethod
    async def close(self) -> None:
        """Leave, once what was asked to be published and settled is confirmed, or 2 s have passed. Nothing is called
        back afterwards, and nothing of it is left: no connection, no thread, no coroutine.
        """

    @abstractmethod
    def deliver(self, subscription: Subscription, on_deliveries: OnDeliveries) -> None:
        """Begin a trigger's subscription. Nothing comes before `grant`: what a server that cannot be held back sends
        waits here, within bounds (`farm.brokers.backlog`). While the server is away the subscription is remembered,
        and begun when it is there.
        """

    @abstractmethod
    def grant(self, trigger: int, count: int) -> None:
        """Allow `count` more deliveries for this trigger, added to what it may still get."""

    @abstractmethod
    def listen(self, pattern: str, on_messages: OnMessages) -> Callable[[], None]:
        """Begin a live subscription; the function that ends it, which may be called twice."""

    @abstractmethod
    def settle(self, deliveries: Sequence[Delivery]) -> None:
        """Their outputs are confirmed (or their dead letter is): the broker may forget them."""

    @abstractmethod
    def release(self, deliveries: Sequence[Delivery]) -> None:
        """They were not begun and will not be here: somebody else, or a later farm, may have them."""

    def quiet(self) -> None:  # noqa: B027  (most have nothing to do)
        """The farm is about to end: take nothing more from the server for triggers. What is here already is handed
        over as it is granted (a volatile broker's), or given back.
        """

    def publish(self, messages: Sequence[Message], done: PublishDone, *, checked: bool = False) -> None:
        """Publish each; `done` is called once, now or later, with one answer per message, in order.

        An answer is a `BrokerError` (BrokerFull, BrokerUnavailable: may be tried again) or an `InputError` (never).

        Args:
          checked: each of them has passed `check` already.
        """
        refused = {} if checked else self._faults(messages)

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

    def store(self, messages: Sequence[Message], done: PublishDone) -> None:
        """Keep dead letters, whose subjects are `farm.dlq.<subject>`; `done` as in `publish`. Where `confirms`."""
        self._publish(messages, done)

    def commit(self, commits: Sequence[Commit], done: CommitDone) -> None:
        """Publish the outputs of each and settle it, in one step or not at all; `done` is called once, with an answer
        for each, in order: None, or why not (a `BrokerError`: may be tried again). Where `commits`.
        """

        def answer(results: Sequence[Refused | None]) -> None:
            for commit, result in zip(commits, results, strict=True):
                if result is None:
                    self.counters.published += len(commit.outputs)
                else:
                    self.counters.refused += len(commit.outputs)
            done(results)

        self._commit(commits, answer)

    def check(self, subject: str, payload_bytes: int, *, reply: bool = False) -> None:
        """Let pass what may be published here.

        Args:
          reply: the subject came with a message of this broker, as the place for the answer. Such a one may be in
            `_INBOX.`, where nobody may publish unasked.
        Raises: InvalidSubject, PayloadTooLarge.
        """
        if subject not in self._known:
            if reply:
                validate_reply(subject)
            else:
                validate(subject)
                if len(self._known) >= KNOWN_LIMIT:
                    self._known.clear()
                self._known.add(subject)
        if payload_bytes > self.payload_limit_bytes:
            raise PayloadTooLarge(payload_bytes, self.payload_limit_bytes)

    @abstractmethod
    def _publish(self, messages: Sequence[Message], done: PublishDone) -> None:
        """Publish each of these, which are valid; `done` as in `publish`."""

    def _commit(self, commits: Sequence[Commit], done: CommitDone) -> None:
        """As `commit`."""
        raise Internal(f"broker {self.name!r} offers no commit")

    def _became(self, state: BrokerState, fault: str = "") -> None:
        """Be in this state, because of this; whoever wants to know is told, once for each change."""
        if (state, fault) == (self._state, self.fault):
            return
        self._state, self.fault = state, fault
        if self.on_change is not None:
            self.on_change(self)

    def _faults(self, messages: Sequence[Message]) -> dict[int, Refused]:
        known, limit_bytes = self._known, self.payload_limit_bytes
        refused: dict[int, Refused] = {}
        for place, message in enumerate(messages):
            if message.subject not in known or len(message.payload) > limit_bytes:
                try:
                    self.check(message.subject, len(message.payload))
                except InputError as error:
                    refused[place] = error
        return refused

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


class Matches:
    """How many of this farm's triggers and listeners a subject has: what a networked broker puts into `Published`.

    Told of each subscription and listener; the answers are remembered by subject.
    """

    def __init__(self, grammar: Grammar) -> None:
        self._grammar: Final[Grammar] = grammar
        self._triggers: dict[tuple[str, str | int], Matcher] = {}
        self._listeners: dict[int, Matcher] = {}
        self._number = 0
        self._found: dict[str, Published] = {}

    def add(self, subscription: Subscription) -> None:
        """A trigger has subscribed."""
        which = subscription.group or subscription.trigger
        self._triggers[subscription.topic, which] = compile_filter(subscription.topic, self._grammar)
        self._found.clear()

    def listen(self, pattern: str) -> Callable[[], None]:
        """A listener is there; the function that ends it, which may be called twice."""
        self._number += 1
        number = self._number
        self._listeners[number] = compile_filter(pattern, self._grammar)
        self._found.clear()

        def end() -> None:
            if self._listeners.pop(number, None):
                self._found.clear()

        return end

    def of(self, subject: str) -> Published:
        """The answer to a publish to this subject."""
        found = self._found.get(subject)
        if found is None:
            if len(self._found) >= KNOWN_LIMIT:
                self._found.clear()
            triggers = sum(matches(subject) for matches in self._triggers.values())
            listeners = sum(matches(subject) for matches in self._listeners.values())
            found = self._found[subject] = Published(triggers, listeners)
        return found
