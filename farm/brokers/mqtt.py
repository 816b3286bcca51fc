"""MQTT 3.1.1 and 5: one session for what triggers run on, another for listeners.

    session "main"        kept (QoS 1): topics of triggers, with MQTT 5 their queues too; everything published
    session "live"        not kept: what listeners hear
    session of a queue    kept, with MQTT 3.1.1 alone: there a server does not say which subscription a message is for,
                          and mosquitto sends a client only one copy for a topic and all of its queues
Each has a connection (`mqtt_lane`) and a client id of its own. With QoS 0 nothing is kept and nothing confirmed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from hashlib import sha256
from math import ceil
from typing import Final

from farm import log
from farm.broker import Broker, Delivery, Home, Matches, OnDeliveries, OnMessages, PublishDone, Subscription
from farm.brokers import lives
from farm.brokers.mqtt_address import address_of
from farm.brokers.mqtt_desk import Desk, Place
from farm.brokers.mqtt_faults import LinkFault
from farm.brokers.mqtt_inbox import settle
from farm.brokers.mqtt_lane import LanePlan
from farm.brokers.mqtt_link import Link, NoEnds
from farm.brokers.mqtt_messages import Enveloped, Pack, Raw
from farm.brokers.mqtt_outbox import Outbox
from farm.brokers.mqtt_paho import Greeting, Login, Will
from farm.brokers.mqtt_record import Record
from farm.brokers.mqtt_sessions import House, LiveSession, TriggerSession
from farm.brokers.mqtt_topics import filter_of, shared_filter, topic_of
from farm.brokers.options.mqtt import MqttSpec
from farm.errors import FarmError
from farm.message import PAYLOAD_LIMIT_BYTES, Message
from farm.spec import BrokerSpec

START_S: Final = 4.5
CLOSE_S: Final = 2.0
LOOK_S: Final = 0.5
TIDY_S: Final = 10.0  # after the last trigger: by then all are there that will be
MAIN: Final = "main"
LIVE: Final = "live"
OVERHEAD_BYTES: Final = 16 << 10  # of a packet's limit, half of it at most: headers and subject


class MqttBroker(Broker):
    """One `[brokers.NAME]` of type mqtt.

    It does not `confirm` in the sense of the contract: a server has what it has confirmed, and forgets it where nobody
    has subscribed. So dead letters are in farm's own file.
    """

    weighs = True

    def __init__(self, spec: BrokerSpec, home: Home) -> None:
        super().__init__(spec.name)
        assert isinstance(spec, MqttSpec)
        five = spec.version == "5"
        self.volatile = spec.qos == 0  # then what has come is nowhere else
        self.grammar = spec.grammar
        self._spec: Final = spec
        self._home: Final = home
        self._address: Final = address_of(spec.url, spec.tls)
        self._form: Final = Raw(five=five) if spec.envelope == "raw" else Enveloped(spec.name, five=five)
        self._matches: Final = Matches(self.grammar)
        self._outbox: Final = Outbox(spec.name, time.monotonic, self._matches.of)
        self._desk: Final = Desk()
        self._record: Final = Record(spec.name, home.id, home.folder)
        read, counters = self._form.read, self.counters
        self._house: Final = House(spec.name, five, bool(spec.qos), self._desk, read, counters, self._changed)
        self._sessions: dict[str, TriggerSession] = {}
        self._live: LiveSession | None = None
        self._groups: dict[tuple[str, str], Place] = {}
        self._started = self._closed = self._syncing = False
        self._looking: asyncio.TimerHandle | None = None
        self._tidying: asyncio.TimerHandle | None = None
        self._purges: set[asyncio.Task[None]] = set()

    def waiting_for(self, trigger: int) -> int:
        """How many messages wait for a trigger's grant."""
        return self._desk.waiting_for(trigger)

    async def start(self) -> None:
        """Try to connect, and go on trying."""
        main = self._session(MAIN)
        main.on_greeted = self._greeted
        main.on_acked = self._outbox.acked
        self._started = True
        for session in self._sessions.values():
            session.lane.begin()
        if self._live is not None:
            self._live.lane.begin()
        self._sync_soon()
        self._look()
        self._tidy_later()
        with suppress(TimeoutError):  # it goes on trying
            async with asyncio.timeout(START_S):
                await main.lane.tried()

    async def close(self) -> None:
        """Say goodbye once everything is confirmed and acknowledged, or 2 s have passed."""
        self._closed = True
        for timer in (self._looking, self._tidying):
            if timer is not None:
                timer.cancel()
        lanes = [session.lane for session in (*self._sessions.values(), *([self._live] if self._live else []))]
        with suppress(TimeoutError):  # what is not confirmed by then is unknown
            async with asyncio.timeout(CLOSE_S):
                await self._outbox.emptied()
                await asyncio.gather(*(lane.leave() for lane in lanes))
        for purge in self._purges:
            purge.cancel()
        await asyncio.gather(*(lane.end() for lane in lanes), *self._purges, return_exceptions=True)
        self._outbox.disconnected("it is closed")
        if lost := self._desk.clear():
            self.counters.dropped += lost
            log.get().warning("messages dropped: the server keeps none with QoS 0", broker=self.name, messages=lost)
        self._became("down")

    def deliver(self, subscription: Subscription, on_deliveries: OnDeliveries) -> None:
        """Begin a trigger's subscription."""
        self._matches.add(subscription)
        topic_filter, group = filter_of(subscription.topic), subscription.group
        place = self._groups.setdefault((topic_filter, group), Place()) if group else Place()
        is_new = not place.members
        self._desk.join(place, subscription.trigger, on_deliveries)
        if is_new:
            session = MAIN
            if group:
                session = MAIN if self._house.five else _queue_name(topic_filter, group)
                topic_filter = shared_filter(topic_filter, group)
            self._session(session).routes.add(topic_filter, place)
        self._sync_soon()
        self._tidy_later()

    def grant(self, trigger: int, count: int) -> None:
        """Allow `count` more; what waits is handed over at once."""
        self._desk.grant(trigger, count)

    def listen(self, pattern: str, on_messages: OnMessages) -> Callable[[], None]:
        """Begin a live subscription; the function that ends it."""
        if self._live is None:
            self._live = LiveSession(self._plan(LIVE, kept=False), self._house)
            if self._started:
                self._live.lane.begin()
        forget = self._matches.listen(pattern)
        stop = self._live.listen(filter_of(pattern), on_messages)
        self._sync_soon()

        def end() -> None:
            forget()
            stop()
            self._sync_soon()

        return end

    def settle(self, deliveries: Sequence[Delivery]) -> None:
        """They are done with: the server hears of each message with its last delivery."""
        settle(deliveries)

    def release(self, deliveries: Sequence[Delivery]) -> None:
        """They wait here again: MQTT has no way to give one back, but to end the connection."""
        self._desk.put_back(deliveries)

    def quiet(self) -> None:
        """What has not come yet, and what waits, stays at the server; with QoS 0 it sends no more."""
        for session in self._sessions.values():
            session.quiet()
        if self._spec.qos:
            self.counters.dropped += self._desk.clear()

    def _publish(self, messages: Sequence[Message], done: PublishDone) -> None:
        self._send(messages, done, self._retaining if self._spec.retain else self._form.pack)

    def _send(self, messages: Sequence[Message], done: PublishDone, pack: Pack) -> None:
        if self._spec.qos:
            self._outbox.publish(messages, done, pack)
        else:
            self._outbox.write(messages, done, pack)

    def _retaining(self, message: Message, number: int) -> bytes:
        return self._form.pack(message, number, retain=True)

    def _session(self, name: str) -> TriggerSession:
        """The session of this name, made when it is first asked for."""
        session = self._sessions.get(name)
        if session is None:
            plan = self._plan(name, kept=bool(self._spec.qos))
            session = self._sessions[name] = TriggerSession(plan, self._house)
            if self._started:
                session.lane.begin()
        return session

    def _plan(self, name: str, *, kept: bool) -> LanePlan:
        def keep() -> None:
            if kept:
                self._record.write()

        return LanePlan(
            self._address,
            self._spec.at,
            partial(self._login, name, clean=not kept),
            qos=self._spec.qos if name != LIVE else 0,
            retained=name != LIVE,
            retains=self._spec.retain and name == MAIN,
            kept=self._record.filters(name) if kept else {},
            keep=keep,
        )

    def _login(self, name: str, *, clean: bool) -> Login:
        """Raises: FarmError: a secret that cannot be read."""
        spec = self._spec
        client_id = self._record.client_id(name)
        if spec.client_id is not None:
            client_id = spec.client_id if name == MAIN else f"{spec.client_id}-{name}"
        will = None
        if spec.will is not None and name == MAIN:
            will = Will(topic_of(spec.will.subject), spec.will.payload.encode(), spec.will.qos, spec.will.retain)
        return Login(
            client_id,
            self._house.five,
            clean,
            keep_alive_s=ceil(spec.keep_alive_s),
            expiry_s=ceil(spec.session_expiry_s),
            username=spec.username,
            password=self._home.secret(spec.password) if spec.password is not None else None,
            will=will,
        )

    def _greeted(self, greeting: Greeting) -> None:
        """The server has let us in: publish to it."""
        lane = self._session(MAIN).lane
        assert lane.link is not None
        limit_bytes = greeting.packet_limit_bytes
        self._outbox.connected(lane.link, greeting.window, limit_bytes, careful=lane.is_shaky)
        room_bytes = max(limit_bytes - OVERHEAD_BYTES, limit_bytes // 2) // self._form.growth
        self.payload_limit_bytes = min(PAYLOAD_LIMIT_BYTES, room_bytes)

    def _changed(self) -> None:
        """The state of a session may be another one."""
        if self._closed:
            return
        main = self._session(MAIN).lane
        if main.link is None:
            self._outbox.disconnected(main.fault or "it is being reached")
        lanes = [session.lane for session in self._sessions.values()]
        if self._live is not None and self._live.lane.fault:
            lanes.append(self._live.lane)
        worst = next((lane for lane in lanes if lane.state == "down"), None)
        worst = worst or next((lane for lane in lanes if lane.state == "connecting"), main)
        self._became(worst.state, worst.fault)

    def _sync_soon(self) -> None:
        """Tell the server, in this turn of the loop, what all of them want."""
        if self._started and not self._syncing and not self._closed:
            self._syncing = True
            asyncio.get_running_loop().call_soon(self._sync)

    def _sync(self) -> None:
        self._syncing = False
        if self._closed:
            return
        for session in self._sessions.values():
            session.sync()
        if self._live is not None:
            self._live.sync()

    def _look(self) -> None:
        self._outbox.look()
        for session in self._sessions.values():
            session.look()
        self._looking = asyncio.get_running_loop().call_later(LOOK_S, self._look)

    def _tidy_later(self) -> None:
        if self._started and not self._closed:
            if self._tidying is not None:
                self._tidying.cancel()
            self._tidying = asyncio.get_running_loop().call_later(TIDY_S, self._tidy)

    def _tidy(self) -> None:
        """All triggers are there: end what only an earlier life has left at the server."""
        self._tidying = None
        for session in self._sessions.values():
            session.tidy()
        for name in self._record.sessions():
            if name not in self._sessions:
                purge = lives.begin(self._purge(name), "the end of an MQTT session")
                self._purges.add(purge)
                purge.add_done_callback(self._purges.discard)

    async def _purge(self, name: str) -> None:
        """End a session of an earlier life; one that cannot be ended is looked at again by the next."""
        try:
            async with asyncio.timeout(START_S):
                link = Link(self._login(name, clean=True), NoEnds())
                try:
                    await link.open(self._address)
                    await link.leave()
                finally:
                    link.drop("closed")
        except (LinkFault, FarmError, TimeoutError) as error:
            log.get().info("a session of an earlier life is still there", broker=self.name, why=str(error))
        else:
            self._record.forget(name)


def _queue_name(topic_filter: str, group: str) -> str:
    return f"q{sha256(f'{group}/{topic_filter}'.encode()).hexdigest()[:8]}"
