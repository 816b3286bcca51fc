"""The in-memory broker: lives in ingest, serves every process, keeps nothing over ingest's end.

    publish -> the triggers whose topic matches, each once:  handed over while it has grants, else it waits in its queue
               (a group has one queue, of which any member with grants is handed over)
            -> the listeners whose pattern matches, at once
What waits is bounded per broker, counted once for each trigger that it waits for; beyond the bound a client's publish
is refused whole: a message reaches all of its triggers or none. An output of a component (it has a cause) may use as
much again: were clients to fill the queue that components in a circle publish to, none of these could ever finish.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Final

from farm import log
from farm.broker import (
    Broker,
    Delivery,
    Home,
    OnDeliveries,
    OnMessages,
    PublishDone,
    Published,
    Refused,
    Subscription,
    grants_of,
)
from farm.brokers.grants import Member, share, take
from farm.errors import BrokerFull, Problem
from farm.message import Message
from farm.spec import BrokerSpec
from farm.subject import Matcher, compile_filter

QUEUE_LIMIT: Final = 10_000
QUEUE_LIMIT_BYTES: Final = 64 << 20
OUTPUT_FACTOR: Final = 2  # how far beyond these bounds outputs of components may fill the queue
ROUTES_LIMIT: Final = 4096  # subjects whose matches are remembered


class _Queue:
    """A trigger's: what waits for it, and how much it may still be handed: less than nothing after a heavy message."""

    __slots__ = ("granted", "matches", "on_deliveries", "trigger", "waiting")

    def __init__(self, trigger: int, matches: Matcher, on_deliveries: OnDeliveries) -> None:
        self.trigger = trigger
        self.matches = matches
        self.on_deliveries = on_deliveries
        self.granted = 0
        self.waiting: deque[Delivery] = deque()


class _Group(_Queue):
    """The queue of several triggers with the same topic and group: any of them that has grants will do.

    trigger: of the first member; granted: of all members together; line: the members, whose turn it is first.
    """

    __slots__ = ("line", "members")

    def __init__(self, trigger: int, matches: Matcher) -> None:
        super().__init__(trigger, matches, self._share)
        self.members: dict[int, Member] = {}
        self.line: list[Member] = []

    def _share(self, deliveries: list[Delivery]) -> None:
        share(self.line, deliveries)


class _Listener:
    __slots__ = ("matches", "on_messages")

    def __init__(self, matches: Matcher, on_messages: OnMessages) -> None:
        self.matches = matches
        self.on_messages = on_messages


class _Route:
    """Where messages of one subject go. The answer to a publish is the same for each of them."""

    __slots__ = ("listeners", "published", "queues")

    def __init__(self, queues: tuple[_Queue, ...], listeners: tuple[_Listener, ...]) -> None:
        self.queues = queues
        self.listeners = listeners
        self.published = Published(len(queues), len(listeners))


class MemoryBroker(Broker):
    """One `[brokers.NAME]` of type memory."""

    volatile = True
    dedups = False
    weighs = True

    def __init__(self, spec: BrokerSpec, home: Home | None = None) -> None:
        super().__init__(spec.name)
        self.grammar = spec.grammar
        self._queues: dict[int, _Queue] = {}  # by trigger; members of a group have one in common
        self._groups: dict[tuple[str, str], _Group] = {}
        self._listeners: dict[int, _Listener] = {}
        self._routes: OrderedDict[str, _Route] = OrderedDict()
        self._listener_number = 0
        self._waiting_bytes = 0
        self._waiting_count = 0
        self._handed = 0

    def waiting_for(self, trigger: int) -> int:
        """Messages in a trigger's queue; what waits for a group is told of its first member."""
        queue = self._queues[trigger]
        return len(queue.waiting) if queue.trigger == trigger else 0

    async def start(self) -> None:
        """There is nothing to reach."""
        self._became("up")

    async def close(self) -> None:
        """Forget everything; what was not settled is lost, and said."""
        self._became("down")
        lost = self._waiting_count + self._handed
        self.counters.dropped += lost
        if lost:
            log.get().warning("messages dropped: a memory broker keeps nothing", broker=self.name, messages=lost)
        self._queues.clear()
        self._groups.clear()
        self._listeners.clear()
        self._routes.clear()

    def deliver(self, subscription: Subscription, on_deliveries: OnDeliveries) -> None:
        """Begin a trigger's subscription."""
        trigger, key = subscription.trigger, (subscription.topic, subscription.group)
        matches = compile_filter(subscription.topic, self.grammar)
        if subscription.group:
            group = self._groups.setdefault(key, _Group(trigger, matches))
            member = group.members[trigger] = Member(trigger, on_deliveries)
            group.line.append(member)
            self._queues[trigger] = group
        else:
            self._queues[trigger] = _Queue(trigger, matches, on_deliveries)
        self._routes.clear()

    def grant(self, trigger: int, count: int) -> None:
        """Allow `count` more; what waits is handed over at once."""
        queue = self._queues[trigger]
        if isinstance(queue, _Group):
            queue.members[trigger].granted += count
        deliveries, queue.granted = take(queue.waiting, queue.granted + count)
        if not deliveries:
            return
        self._waiting_count -= len(deliveries)
        self._waiting_bytes -= sum(delivery.message.size_bytes for delivery in deliveries)
        self._hand_over(queue, deliveries)

    def listen(self, pattern: str, on_messages: OnMessages) -> Callable[[], None]:
        """Begin a live subscription; the function that ends it."""
        self._listener_number += 1
        number = self._listener_number
        self._listeners[number] = _Listener(compile_filter(pattern, self.grammar), on_messages)
        self._routes.clear()

        def end() -> None:
            if self._listeners.pop(number, None):
                self._routes.clear()

        return end

    def settle(self, deliveries: Sequence[Delivery]) -> None:
        """They are done with."""
        self._handed -= len(deliveries)

    def release(self, deliveries: Sequence[Delivery]) -> None:
        """They wait again, before all others."""
        for delivery in reversed(deliveries):
            self._queues[delivery.trigger].waiting.appendleft(delivery)
            self._waiting_bytes += delivery.message.size_bytes
        self._waiting_count += len(deliveries)
        self._handed -= len(deliveries)

    def _publish(self, messages: Sequence[Message], done: PublishDone) -> None:
        ready: dict[_Queue, list[Delivery]] = {}
        heard: dict[_Listener, list[Message]] = {}
        answers: list[Published | Refused] = []
        full: BrokerFull | None = None  # one for all that this publish finds no room for
        for message in messages:
            route = self._routes.get(message.subject) or self._find_route(message.subject)
            if route.queues and not self._take(message, route, ready):
                full = full or self._full()
                answers.append(full)
                continue
            for listener in route.listeners:
                heard.setdefault(listener, []).append(message)
            answers.append(route.published)
        for queue, deliveries in ready.items():
            self._hand_over(queue, deliveries)
        for listener, some in heard.items():
            listener.on_messages(some)
        done(answers)

    def _take(self, message: Message, route: _Route, ready: dict[_Queue, list[Delivery]]) -> bool:
        """Let every trigger of a route have the message, if there is room for those that must wait."""
        queued = 0
        for queue in route.queues:
            queued += queue.granted <= 0
        size = message.size_bytes if queued else 0
        if queued and not self._has_room(queued, size * queued, OUTPUT_FACTOR if message.cause else 1):
            return False
        self.counters.received += len(route.queues)
        used = grants_of(message)
        for queue in route.queues:
            delivery = Delivery(queue.trigger, message)
            if queue.granted > 0:
                queue.granted -= used
                batch = ready.get(queue)
                if batch is None:
                    ready[queue] = batch = []
                batch.append(delivery)
            else:
                queue.waiting.append(delivery)
                self._waiting_count += 1
                self._waiting_bytes += size
        return True

    def _has_room(self, count: int, size_bytes: int, factor: int) -> bool:
        return (
            self._waiting_count + count <= QUEUE_LIMIT * factor
            and self._waiting_bytes + size_bytes <= QUEUE_LIMIT_BYTES * factor
        )

    def _hand_over(self, queue: _Queue, deliveries: list[Delivery]) -> None:
        self._handed += len(deliveries)
        queue.on_deliveries(deliveries)

    def _full(self) -> BrokerFull:
        return BrokerFull(
            Problem(
                "the broker's queue is full",
                where=self.name,
                why=f"{self._waiting_count} messages, {self._waiting_bytes} bytes wait",
                todo="Try again later",
            )
        )

    def _find_route(self, subject: str) -> _Route:
        """The route of a subject, remembered; the subjects published to longest ago are forgotten first."""
        route = _Route(
            tuple(queue for queue in dict.fromkeys(self._queues.values()) if queue.matches(subject)),
            tuple(listener for listener in self._listeners.values() if listener.matches(subject)),
        )
        if len(self._routes) >= ROUTES_LIMIT:
            self._routes.popitem(last=False)
        self._routes[subject] = route
        return route
