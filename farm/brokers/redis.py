"""Redis pub/sub as a broker, and a stream for each queue.

publish > CAST > PUBLISH subject                                 subscribers, at most once
                 XADD farm:{subject}:queue:NAME                  each queue that any farm has on this subject
PSUBSCRIBE, SUBSCRIBE > one connection > by pattern > backlog > triggers;  listeners
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from farm import log
from farm.broker import (
    Broker,
    Delivery,
    Home,
    Matches,
    OnDeliveries,
    OnMessages,
    PublishDone,
    Subscription,
)
from farm.brokers.backlog import Backlog
from farm.brokers.options.redis import RedisSpec
from farm.brokers.redis_connection import Connection
from farm.brokers.redis_entries import count_of, words_of
from farm.brokers.redis_groups import Groups
from farm.brokers.redis_life import Life
from farm.brokers.redis_publisher import Answer, Publisher, set_apart
from farm.brokers.redis_reading import GroupOptions
from farm.brokers.redis_scripts import CAST_DIGEST
from farm.brokers.redis_subscriber import Heard, Subscriber
from farm.message import Ids, Message
from farm.spec import BrokerSpec
from farm.subject import Matcher, compile_filter, has_wildcards

CLAIM_AFTER_S: Final = 60.0
BODY: Final = b"body"


class _Route:
    """Who wants what one pattern matches. matches: None for a pattern without wildcards: it matches what comes."""

    __slots__ = ("listeners", "matches", "triggers")

    def __init__(self, matches: Matcher | None) -> None:
        self.matches = matches
        self.triggers: list[int] = []
        self.listeners: dict[object, OnMessages] = {}


class RedisBroker(Broker):
    """One `[brokers.NAME]` of type redis."""

    volatile = True
    dedups = False
    weighs = True

    def __init__(self, spec: BrokerSpec, home: Home) -> None:
        super().__init__(spec.name)
        assert isinstance(spec, RedisSpec)
        self.grammar = spec.grammar
        self.confirms = spec.abilities.confirms
        self._home: Final = home
        self._matches: Final = Matches(self.grammar)
        self._connection: Final = Connection(spec, home, self, self._became)
        self._publisher: Final = Publisher(spec.name, self._connection, CAST_DIGEST)
        self._backlog: Final = Backlog(self.counters)
        options = GroupOptions("queue", BODY, CLAIM_AFTER_S)
        self._groups: Final = Groups(
            spec.name, self.counters, options, lambda why: self._connection.hinder("streams", why)
        )
        self._subscriber: Final = Subscriber(self._refused)
        self._hears = False
        self._routes: Final[dict[str, _Route]] = {}
        self._ids: Final = Ids()

    async def start(self) -> None:
        """Try once to reach the server, and go on behind."""
        await self._connection.start()

    async def close(self) -> None:
        """Flush for 2 s at most, then leave nothing; what was not handed over is lost, and counted."""
        await self._connection.finish(lambda: self._groups.idle and self._publisher.idle)
        self._backlog.drop()
        self._groups.close()

    def waiting_for(self, trigger: int) -> int:
        """Messages of pub/sub that wait here; a queue's wait at the server."""
        return 0 if trigger in self._groups.readings else self._backlog.waiting_for(trigger)

    def prepare(self) -> None:
        """Have a name for our consumers. Raises: NotPermitted: it cannot be kept."""
        self._groups.prepare(self._home)

    async def begin(self, life: Life) -> None:
        """The servers are there."""
        self._groups.begin(life)
        self._subscriber.begin(life)
        await self._groups.whole(life)
        await self._subscriber.whole()
        self._hears = True

    def lost(self) -> None:
        """The connection is over: nobody knows what is said until the next one that lasts."""
        self._publisher.lost()
        self._groups.lost()
        if self._hears and len(self._subscriber):
            self.counters.gaps += 1
        self._hears = False
        self._subscriber.lost()

    def deliver(self, subscription: Subscription, on_deliveries: OnDeliveries) -> None:
        """Begin a trigger's subscription."""
        self._matches.add(subscription)
        if subscription.group:
            self._groups.deliver(subscription, on_deliveries)
        else:
            self._backlog.open(subscription.trigger, on_deliveries)
            self._route(subscription.topic).triggers.append(subscription.trigger)

    def grant(self, trigger: int, count: int) -> None:
        """Allow `count` more."""
        if trigger in self._groups.readings:
            self._groups.grant(trigger, count)
        else:
            self._backlog.grant(trigger, count)

    def listen(self, pattern: str, on_messages: OnMessages) -> Callable[[], None]:
        """Begin a live subscription; the function that ends it."""
        forget, key = self._matches.listen(pattern), object()
        self._route(pattern).listeners[key] = on_messages

        def end() -> None:
            forget()
            route = self._routes.get(pattern)
            if route is not None and route.listeners.pop(key, None) is not None:
                self._drop_unwanted(pattern)

        return end

    def settle(self, deliveries: Sequence[Delivery]) -> None:
        """A queue's are acknowledged and deleted."""
        self._groups.settle([each for each in deliveries if each.token is not None])

    def release(self, deliveries: Sequence[Delivery]) -> None:
        """A queue's go back to the server; others wait here again."""
        self._groups.release([each for each in deliveries if each.token is not None])
        self._backlog.release([each for each in deliveries if each.token is None])

    def quiet(self) -> None:
        """Take nothing more for triggers."""
        self._groups.quiet()
        for pattern in list(self._routes):
            self._routes[pattern].triggers.clear()
            self._drop_unwanted(pattern)

    def _publish(self, messages: Sequence[Message], done: PublishDone) -> None:
        life = self._connection.life
        if life is None:
            done([self._publisher.away()] * len(messages))
            return
        if unmade := self._groups.unmade:
            messages, done = set_apart(messages, lambda each: unmade.get(each.subject), done)
            if not messages:
                done([])
                return

        def answered(answers: list[Answer]) -> None:
            of = self._matches.of
            done(
                [
                    msgspec.structs.replace(of(message.subject), receivers=answer)
                    if isinstance(answer, int)
                    else answer
                    for message, answer in zip(messages, answers, strict=True)
                ]
            )

        ask = self._publisher.begin(len(messages), answered)
        for message in messages:
            words = words_of(message, BODY)
            part = self._publisher.part(life, ask, message.subject, 2 * message.size_bytes)
            needed = message.subject in self._groups.topics
            part.words += (message.subject, message.payload, count_of(words, needed=needed))
            part.words += words

    def _route(self, pattern: str) -> _Route:
        route = self._routes.get(pattern)
        if route is None:
            wild = has_wildcards(pattern, self.grammar)
            route = self._routes[pattern] = _Route(compile_filter(pattern, self.grammar) if wild else None)
            self._subscriber.add(pattern, lambda heard: self._heard(route, heard), pattern=wild)
        return route

    def _drop_unwanted(self, pattern: str) -> None:
        route = self._routes[pattern]
        if not (route.triggers or route.listeners):
            del self._routes[pattern]
            self._subscriber.remove(pattern, pattern=route.matches is not None)

    def _refused(self, name: str, refused: Mapping[str, str]) -> None:
        deaf = [each for each in refused if (route := self._routes.get(each)) is not None and route.triggers]
        if name in refused and name not in deaf:
            log.get().warning("listeners hear nothing", broker=self.name, channel=name, error=refused[name])
        more = f" (and {len(deaf) - 1} more)" if len(deaf) > 1 else ""
        self._connection.hinder("channels", f"cannot hear {deaf[0]}: {refused[deaf[0]]}{more}" if deaf else "")

    def _heard(self, route: _Route, heard: list[Heard]) -> None:
        messages: list[Message] = []
        for channel, payload in heard:
            subject = channel.decode(errors="replace")
            if route.matches is None or route.matches(subject):
                messages.append(Message(self._ids.new(), subject, payload))
        if not messages:
            return
        for trigger in route.triggers:
            self._backlog.put(trigger, messages)
        for on_messages in list(route.listeners.values()):
            on_messages(messages)
