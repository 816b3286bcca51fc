"""NATS: subjects and queue groups. What nobody hears is gone, and what was sent while we were away too.

server > chunk > topic > backlog > on_deliveries       a subscription at the server for each topic, and for each
                       > on_messages                   member of a queue; its triggers and listeners share it
publish > written once per turn > PONG > done          a 2xx: the server has dealt with it
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from farm import log
from farm.broker import (
    Broker,
    BrokerState,
    Delivery,
    Home,
    Matches,
    OnDeliveries,
    OnMessages,
    PublishDone,
    Published,
    Refused,
    Subscription,
)
from farm.brokers.backlog import Backlog
from farm.brokers.headers import from_headers
from farm.brokers.nats_connection import NatsConnection
from farm.brokers.nats_envelope import block_of
from farm.brokers.nats_pings import Flushed
from farm.brokers.nats_protocol import Raw, decode_headers, encode_publish, open_to_wildcards
from farm.brokers.nats_target import target_of
from farm.brokers.options.nats import NatsSpec
from farm.errors import BrokerFull, BrokerUnavailable, InvalidSubject, NotPermitted, PayloadTooLarge, Problem
from farm.message import Ids, Message
from farm.spec import BrokerSpec


class _Topic:
    """A subscription at the server. wild: it begins with a wildcard, which matches nothing that is reserved."""

    __slots__ = ("listeners", "sid", "triggers", "wild")

    def __init__(self, subject: str) -> None:
        self.wild = subject[0] in "*>"
        self.sid = 0
        self.triggers: list[int] = []
        self.listeners: dict[int, OnMessages] = {}


class NatsBroker(Broker):
    """One `[brokers.NAME]` of type nats."""

    volatile = True
    dedups = False
    weighs = True

    def __init__(self, spec: BrokerSpec, home: Home) -> None:
        super().__init__(spec.name)
        assert isinstance(spec, NatsSpec)
        self.grammar = spec.grammar
        self._at: Final = spec.at
        self.confirms = spec.abilities.confirms
        target = target_of(spec, home, no_responders=False)  # its words would be one more message for who listens there
        self._connection: Final = NatsConnection(target, self._heard_state, self._heard_denied, self._heard_allowed)
        self._matches: Final = Matches(self.grammar)
        self._backlog: Final = Backlog(self.counters)
        self._topics: Final[dict[tuple[str, int], _Topic]] = {}  # of a queue: with the trigger, else -1
        self._ids: Final = Ids()
        self._denied: Final[set[str]] = set()  # topics of triggers that this connection may not have
        self._was_up = False
        self._listener_number = 0

    def waiting_for(self, trigger: int) -> int:
        """Messages that wait for a trigger's grant."""
        return self._backlog.waiting_for(trigger)

    async def start(self) -> None:
        """Try every server once; go on trying."""
        await self._connection.start()

    async def close(self) -> None:
        """Have the server confirm what we have written, and leave."""
        await self._connection.close()
        self._topics.clear()
        if lost := self._backlog.drop():
            log.get().warning("messages dropped: NATS keeps nothing", broker=self.name, messages=lost)
        self._became("down")

    def deliver(self, subscription: Subscription, on_deliveries: OnDeliveries) -> None:
        """Begin a trigger's subscription."""
        trigger, topic, group = subscription.trigger, subscription.topic, subscription.group
        self._matches.add(subscription)
        self._backlog.open(trigger, on_deliveries)
        self._topic(topic, trigger if group else -1, group).triggers.append(trigger)

    def grant(self, trigger: int, count: int) -> None:
        """Allow `count` more; what waits is handed over at once."""
        self._backlog.grant(trigger, count)

    def listen(self, pattern: str, on_messages: OnMessages) -> Callable[[], None]:
        """Begin a live subscription; the function that ends it."""
        forget = self._matches.listen(pattern)
        self._listener_number += 1
        number = self._listener_number
        topic = self._topic(pattern, -1)
        topic.listeners[number] = on_messages

        def end() -> None:
            forget()
            if topic.listeners.pop(number, None) and not topic.listeners and not topic.triggers:
                self._connection.unsubscribe(topic.sid)
                self._topics.pop((pattern, -1), None)

        return end

    def settle(self, deliveries: Sequence[Delivery]) -> None:
        """The server keeps nothing: there is nobody to tell."""

    def release(self, deliveries: Sequence[Delivery]) -> None:
        """They wait here again."""
        self._backlog.release(deliveries)

    def quiet(self) -> None:
        """No trigger gets more than what is on its way."""
        for key, topic in list(self._topics.items()):
            if topic.listeners:
                topic.triggers.clear()
            else:
                self._connection.drain(topic.sid)
                del self._topics[key]

    def _topic(self, subject: str, member: int, group: str = "") -> _Topic:
        topic = self._topics.get((subject, member))
        if topic is None:
            topic = self._topics[subject, member] = _Topic(subject)
            topic.sid = self._connection.subscribe(subject, partial(self._heard, topic), group)
        return topic

    def _heard(self, topic: _Topic, raws: list[Raw]) -> None:
        if topic.wild:
            raws = open_to_wildcards(raws)
        new = self._ids.new
        messages = [_message_of(raw, new) for raw in raws]
        for trigger in topic.triggers:
            self._backlog.put(trigger, messages)
        for on_messages in list(topic.listeners.values()):
            on_messages(messages)

    def _publish(self, messages: Sequence[Message], done: PublishDone) -> None:
        connection = self._connection
        if not connection.up:
            away = BrokerUnavailable(Problem(f"broker {self.name!r} is down", why=connection.fault))
            done([away] * len(messages))
            return
        if connection.full:
            full = BrokerFull(Problem(f"broker {self.name!r} is full", why="its server does not keep up"))
            done([full] * len(messages))
            return
        refused: dict[int, Refused] = {}
        limit_bytes = connection.max_payload_bytes
        parts, size_bytes = list[bytes](), 0
        for place, message in enumerate(messages):
            headers, reply = block_of(message), message.reply_to or ""
            if len(headers) + len(message.payload) > limit_bytes:
                refused[place] = PayloadTooLarge(len(headers) + len(message.payload), limit_bytes)
            elif " " in reply or not reply.isprintable():
                refused[place] = InvalidSubject(Problem("invalid subject for the answer", why="a space in it"))
            else:
                parts += encode_publish(message.subject, message.payload, reply, headers)
                size_bytes += len(headers) + len(message.payload)
        connection.publish_all(parts, size_bytes)
        connection.flush(lambda flushed: done(self._answers(messages, refused, flushed)))

    def _answers(
        self, messages: Sequence[Message], refused: dict[int, Refused], flushed: Flushed
    ) -> list[Published | Refused]:
        of, denied = self._matches.of, flushed.denied
        if flushed.fault:
            unknown = BrokerUnavailable(Problem(f"broker {self.name!r} confirmed nothing", why=flushed.fault))
            return [refused.get(place, unknown) for place in range(len(messages))]
        if not refused and not denied:
            return [of(message.subject) for message in messages]
        answers: list[Published | Refused] = []
        for place, message in enumerate(messages):
            if place in refused:
                answers.append(refused[place])
            elif message.subject in denied or message.reply_to in denied:
                why = "the server does not permit it"
                answers.append(NotPermitted(Problem(f"cannot publish to {message.subject!r}", self.name, why)))
            else:
                answers.append(of(message.subject))
        return answers

    def _heard_state(self, state: BrokerState, fault: str) -> None:
        if state != "up":
            self._denied.clear()
            self._became(state, fault)
            return
        self.payload_limit_bytes = self._connection.payload_limit_bytes
        self.counters.gaps += self._was_up  # nobody knows what was sent meanwhile
        self._was_up = True
        self._tell_denied()

    def _heard_denied(self, what: str, subject: str) -> None:
        if what == "publish":
            return  # whoever published hears it
        if any(topic == subject and found.triggers for (topic, _), found in self._topics.items()):
            self._denied.add(subject)
            if self._connection.up:
                self._tell_denied()
        else:
            log.get().warning("a NATS server does not let us listen", broker=self.name, subject=subject)

    def _heard_allowed(self, subject: str) -> None:
        if subject in self._denied:
            self._denied.discard(subject)
            self.counters.gaps += 1  # nobody knows what was sent meanwhile
            self._tell_denied()

    def _tell_denied(self) -> None:
        """A broker whose triggers hear nothing is not up, whatever else it can do."""
        if self._denied:
            topics = ", ".join(sorted(self._denied))
            self._became("down", f"{self._at}: it refuses the subscription to {topics}")
        else:
            self._became("up")


def _message_of(raw: Raw, new: Callable[[], str]) -> Message:
    """Never raises: whatever it is, it was delivered."""
    subject, reply, headers, payload = raw
    to = subject.decode(errors="replace")
    reply_to = reply.decode(errors="replace") if reply and not reply.startswith(b"$") else None
    if not headers:
        return Message(new(), to, payload, (), reply_to)
    envelope = from_headers(decode_headers(headers), new=new)
    return Message(envelope.id, to, payload, envelope.headers, reply_to, envelope.cause, envelope.hops)
