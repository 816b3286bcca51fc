"""JetStream: streams of a NATS server, or of one that farm brings along. Nothing that was confirmed is lost.

server > pull > Consumer > on_deliveries          a durable consumer for each trigger; members of a queue share one
server > core subscription > on_messages          listeners: live, from now on
publish > Publishes > PubAck > done               a 2xx: a stream has stored it; outputs are stored once in its window
up      > Streams.arrange, Streams.place          after each connect, and when something is gone: found or made again
Callbacks of the connection note, and one turn of the loop hands on what all of them brought.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

import msgspec

from farm import log
from farm.backoff import Backoff
from farm.broker import (
    Broker,
    BrokerState,
    Delivery,
    Home,
    Matches,
    OnDeliveries,
    OnMessages,
    PublishDone,
    Refused,
    Subscription,
)
from farm.brokers import lives
from farm.brokers.headers import ID
from farm.brokers.jetstream_api import NEXT, ApiFault, JetStreamApi, Stream
from farm.brokers.jetstream_consumer import Consumer, message_of
from farm.brokers.jetstream_embedded import Embedded
from farm.brokers.jetstream_publishes import Publishes
from farm.brokers.jetstream_streams import Streams
from farm.brokers.nats_connection import NatsConnection
from farm.brokers.nats_protocol import ACK_PREFIX, Raw, open_to_wildcards
from farm.brokers.nats_requests import Requests
from farm.brokers.nats_target import target_of
from farm.brokers.options.nats import JetStreamSpec
from farm.errors import BrokerFull, BrokerUnavailable, FarmError, Problem
from farm.message import Message, new_id
from farm.spec import BrokerSpec

START_S: Final = 5.0
CLOSE_S: Final = 1.5
TICK_S: Final = 0.25
LEASE_PARTS: Final = 3
# nats-server 2.15 removes the files of what was deleted a moment later by their names: those of one made anew at once
# go with them, and it takes nothing in any more.
GONE_S: Final = 1.0
FARM_ID: Final = ID.encode()
ACKNOWLEDGE: Final = ACK_PREFIX.decode()
ACKNOWLEDGING: Final = f"publishes to {ACKNOWLEDGE}"
FETCH: Final = f"{NEXT}."
FETCHING: Final = f"publishes to {FETCH}"


class JetStreamBroker(Broker):
    """One `[brokers.NAME]` of type jetstream."""

    counts = True

    def __init__(self, spec: BrokerSpec, home: Home) -> None:
        super().__init__(spec.name)
        assert isinstance(spec, JetStreamSpec)
        self.grammar = spec.grammar
        self.confirms = spec.abilities.confirms
        self._embedded: Final = Embedded(spec.name, home.folder()) if spec.embedded else None
        target = target_of(spec, home)
        if self._embedded is not None:
            target = replace(target, servers=self._embedded.servers, identity=self._embedded.identity)
        connection = NatsConnection(target, self._heard_state, self._heard_denied, self._heard_allowed)
        self._connection: Final = connection
        self._requests: Final = Requests(connection)
        self._streams: Final = Streams(JetStreamApi(self._requests), spec, home.app)
        self._matches: Final = Matches(self.grammar)
        self._publishes: Final = Publishes(spec.name, connection, self._matches, self._want_turn, self._doubt)
        self._consumers: Final[dict[int, Consumer]] = {}
        self._listeners = 0
        self._doubts: Final[set[str]] = set()
        self._turn_wanted = self._arranged = self._gone = self._closed = False
        self._forbidden: Final[dict[str, str]] = {}  # what the server would have to permit -> what it is for
        self._starting = True
        self._answers: Final = f"{spec.inbox_prefix}."
        self._lease_s: Final = spec.ack_wait_s / LEASE_PARTS
        self._tick_s: Final = min(TICK_S, self._lease_s / 2)
        self._keep_at_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()  # there is something to arrange
        self._settled = asyncio.Event()  # it has been tried once
        self._clear = asyncio.Event()  # nothing waits for a confirmation
        self._work: Final[set[asyncio.Task[None]]] = set()

    async def start(self) -> None:
        """Try once to reach the server and to find the streams; go on trying."""
        self._tick()
        self._begin(self._arrange())
        with suppress(TimeoutError):  # why it is not up yet stands in `fault`
            async with asyncio.timeout(START_S):
                await self._connection.start()
                if self._connection.up or self._embedded is not None:
                    await self._settled.wait()
        self._starting = False
        if not self._connection.up:
            self._became("down", self._connection.fault)

    async def close(self) -> None:
        """Have publishes and acknowledgements confirmed, give back what is held, and leave."""
        self.quiet()
        with suppress(TimeoutError):  # what is not confirmed by now comes again
            async with asyncio.timeout(CLOSE_S):
                if self._connection.up:
                    self._want_turn()
                    await self._clear.wait()
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for each in self._work:
            each.cancel()
        if self._work:
            await asyncio.wait(self._work)
        for consumer in self._consumers.values():
            consumer.give_back()
        self._publishes.forget()
        await self._connection.close()
        self._consumers.clear()
        self._became("down")

    def deliver(self, subscription: Subscription, on_deliveries: OnDeliveries) -> None:
        """Begin a trigger's subscription: at once, or when the server is there."""
        self._matches.add(subscription)
        self._consumers[subscription.trigger] = Consumer(
            self._connection, subscription, on_deliveries, self._want_turn, self._lost
        )
        self._want_arranged()

    def grant(self, trigger: int, count: int) -> None:
        """Allow `count` more: they are fetched."""
        self._consumers[trigger].grant(count)

    def listen(self, pattern: str, on_messages: OnMessages) -> Callable[[], None]:
        """Begin a live subscription; the function that ends it."""
        forget = self._matches.listen(pattern)
        wild = pattern[0] in "*>"

        def heard(raws: list[Raw]) -> None:
            if wild:
                raws = open_to_wildcards(raws)
            if raws:
                on_messages([_heard_message(raw) for raw in raws])

        sid = self._connection.subscribe(pattern, heard)
        self._listeners += 1

        def end() -> None:
            nonlocal sid
            if sid:
                forget()
                self._connection.unsubscribe(sid)
                self._listeners -= 1
                sid = 0

        return end

    def settle(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge them, again and again until the server says so."""
        now_s, parts = time.monotonic(), dict[int, list[Delivery]]()
        for delivery in deliveries:
            parts.setdefault(delivery.trigger, []).append(delivery)
        for trigger, part in parts.items():
            self._consumers[trigger].settle(part, now_s)
        self._clear.clear()
        self._want_turn()

    def release(self, deliveries: Sequence[Delivery]) -> None:
        """Have the server give them to somebody else, or to us again."""
        for delivery in deliveries:
            self._consumers[delivery.trigger].release(delivery)
        self._want_turn()

    def quiet(self) -> None:
        """Fetch nothing more."""
        for consumer in self._consumers.values():
            consumer.quiet()

    def store(self, messages: Sequence[Message], done: PublishDone) -> None:
        """Keep dead letters: each, for one message may have several."""
        self._send(messages, done, once=False)

    def _publish(self, messages: Sequence[Message], done: PublishDone) -> None:
        self._send(messages, done, once=True)

    def _send(self, messages: Sequence[Message], done: PublishDone, *, once: bool) -> None:
        refused = self._refusal()
        if refused is not None:
            done([refused] * len(messages))
        else:
            self._publishes.send(messages, done, once=once)
            self._clear.clear()

    def _refusal(self) -> Refused | None:
        """Why nothing can be published now."""
        connection, name = self._connection, self.name
        if not connection.up:
            return BrokerUnavailable(Problem(f"broker {name!r} is down", why=connection.fault))
        if connection.full or self._publishes.full:
            return BrokerFull(Problem(f"broker {name!r} is full", why="its server does not keep up"))
        if self._embedded is not None and self._embedded.fault:
            return BrokerFull(
                Problem(f"broker {name!r} is full", why=self._embedded.fault, todo="Free some disk space")
            )
        return None

    # One turn for all that came in one turn of the loop

    def _want_turn(self) -> None:
        if not self._turn_wanted:
            self._turn_wanted = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._turn_wanted = False
        if self._closed:
            return
        self._publishes.finish()
        for consumer in self._consumers.values():
            self._note(consumer)
            consumer.turn()
        if not self._publishes and not any(consumer.open for consumer in self._consumers.values()):
            self._clear.set()
        else:
            self._clear.clear()

    def _note(self, consumer: Consumer) -> None:
        if consumer.received:
            self.counters.received += consumer.received
            consumer.received = 0
            self._forbidden.pop(FETCHING, None)
        if consumer.confirmed:
            consumer.confirmed = 0
            self._forbidden.pop(ACKNOWLEDGING, None)

    def _tick(self) -> None:
        now_s, embedded = time.monotonic(), self._embedded
        self._timer = asyncio.get_running_loop().call_later(self._tick_s, self._tick)
        self._publishes.tick(now_s)
        for consumer in self._consumers.values():
            consumer.tick(now_s)
        if now_s >= self._keep_at_s:
            self._keep_at_s = now_s + self._lease_s - self._tick_s
            for consumer in self._consumers.values():
                consumer.keep()
        if embedded is not None:
            embedded.look(now_s, up=self._connection.up and not self._publishes.silent)
        if self._arranged:
            self._say()

    # The server, its streams and consumers

    def _heard_state(self, state: BrokerState, fault: str) -> None:
        if state == "up":
            self.payload_limit_bytes = self._connection.payload_limit_bytes
            self._want_arranged()
            return
        self._forbidden.clear()
        self.counters.gaps += bool(self._listeners and self._arranged)  # nobody knows what they missed
        self._arranged = False
        if self._starting and self._embedded is not None:
            return  # the two are started at once, so it is not there yet
        self._publishes.lose(fault)
        for consumer in self._consumers.values():
            consumer.lose()
        self._became("down", fault)

    def _heard_denied(self, what: str, subject: str) -> None:
        """Whoever published, or asked the API, hears it; of what is fetched and acknowledged nobody else would say."""
        if what != "publish" and subject.startswith(self._answers):
            self._forbidden[f"subscriptions to {self._answers}"] = "hear answers"
        elif what != "publish":
            log.get().warning("a NATS server does not let us listen", broker=self.name, subject=subject)
        elif subject.startswith(ACKNOWLEDGE):
            self._forbidden[ACKNOWLEDGING] = "acknowledge"
        elif subject.startswith(FETCH):
            self._forbidden[FETCHING] = "fetch"
        else:
            self._publishes.deny(subject)

    def _heard_allowed(self, subject: str) -> None:
        if subject.startswith(self._answers):
            self._forbidden.pop(f"subscriptions to {self._answers}", None)

    def _want_arranged(self) -> None:
        self._arranged = False
        self._changed.set()

    def _lost(self) -> None:
        """A consumer or a stream is gone."""
        self._gone = True
        self._want_arranged()

    async def _arrange(self) -> None:
        """Have all streams and consumers in place, whenever they may not be."""
        backoff = Backoff()
        while True:
            await self._changed.wait()
            self._changed.clear()
            if not self._connection.up:
                continue
            if self._gone:
                self._gone = False
                await asyncio.sleep(GONE_S)
            try:
                await self._place()
            except (ApiFault, FarmError) as error:
                if self._connection.up:
                    self._became("down", self._hindrance() or f"{self._streams.at}: {error}")
                self._settled.set()
                self._changed.set()
                await asyncio.sleep(backoff.next_s())
            else:
                backoff.reset()
                if not self._changed.is_set() and self._connection.up:
                    self._arranged = True
                    self._say()
                    self._settled.set()

    async def _place(self) -> None:
        consumers = list(self._consumers.values())
        topics = list(dict.fromkeys(each.subscription.topic for each in consumers))
        placed = await self._streams.arrange(topics)
        for consumer in consumers:
            stream = placed[consumer.subscription.topic]
            was_on, same = consumer.was_on, consumer.is_on(stream)
            if not (consumer.placed and same):
                start = consumer.start if same else 0
                made = await self._streams.place(consumer.subscription, stream, start)
                consumer.place(stream, start if made else 0)
                if was_on is not None and (not same or (made and not stream.keeps)):
                    self._miss(consumer, was_on, "consumer" if same else "stream")

    def _miss(self, consumer: Consumer, stream: Stream, what: str) -> None:
        """A consumer or a stream was deleted under us: nobody knows what was in it."""
        self.counters.gaps += 1
        event, name = f"a {what} was gone from the server, with what waited in it", consumer.subscription.durable
        log.get().warning(event, broker=self.name, stream=stream.name, consumer=name)

    def _say(self) -> None:
        """What state this is in, once all is in place."""
        fault = self._embedded.fault if self._embedded is not None else ""
        fault = fault or self._hindrance()
        if not fault and (why := self._publishes.fault):
            fault = f"{self._streams.at}: {why}"
        self._became("down" if fault else "up", fault)

    def _hindrance(self) -> str:
        """What the server does not permit and nothing works without."""
        for needed, what in self._forbidden.items():
            return f"{self._streams.at}: the server does not let us {what}: permit {needed}>"
        return ""

    def _doubt(self, subject: str) -> None:
        """Find out whether a stream takes in a subject on which nobody answered."""
        if subject not in self._doubts:
            self._doubts.add(subject)
            self._begin(self._inquire(subject))

    async def _inquire(self, subject: str) -> None:
        try:
            streams = await self._streams.takers(subject)
            taken = bool(streams)
        except (ApiFault, FarmError):
            streams, taken = [], True  # nobody knows: it may be tried again
        self._doubts.discard(subject)
        if not taken and self._streams.should_take(subject):
            self._lost()
        self._publishes.settle_doubt(subject, taken=taken if self._arranged else None, streams=streams)

    def _begin(self, coroutine: Coroutine[object, object, None]) -> None:
        work = lives.begin(coroutine, "what a JetStream broker looks after")
        self._work.add(work)
        work.add_done_callback(self._work.discard)


def _heard_message(raw: Raw) -> Message:
    """Never raises. What farm has published names the place for our confirmation as its reply: nobody else's affair."""
    subject, reply, head, payload = raw
    message = message_of(subject.decode(errors="replace"), head, payload, "" if head else new_id())
    if not reply or reply.startswith(b"$") or FARM_ID in head:
        return message
    return msgspec.structs.replace(message, reply_to=reply.decode(errors="replace"))
