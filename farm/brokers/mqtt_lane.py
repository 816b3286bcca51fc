"""One session at an MQTT server, over as many connections as it takes.

    connecting > up > down > .. > up         for ever, with farm.backoff; what was subscribed to is subscribed to again
What comes and what is confirmed is passed on to `LaneEnds`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from farm.backoff import Backoff
from farm.broker import BrokerState
from farm.brokers import lives
from farm.brokers.faults import CLOSED, NO_ANSWER
from farm.brokers.mqtt_address import Address
from farm.brokers.mqtt_faults import LinkFault
from farm.brokers.mqtt_link import Link
from farm.brokers.mqtt_packets import Ack, Arrival
from farm.brokers.mqtt_paho import Greeting, Login, Wish
from farm.errors import FarmError, printable

CONNECT_S: Final = 4.0
TICK_S: Final = 0.5
AGAIN_S: Final = 10.0  # until a subscription that was refused is asked for again
SHORT_S: Final = 5.0  # a connection that ends sooner has not been of much use
REFUSED: Final = 128


class LaneEnds(Protocol):
    """Who hears of it."""

    def greeted(self, greeting: Greeting) -> None:
        """The server has let us in, and can do what we need; nothing has arrived yet."""
        ...

    def arrived(self, arrivals: Sequence[Arrival]) -> None:
        """These came, together."""
        ...

    def acked(self, acks: Sequence[Ack]) -> None:
        """These of ours are confirmed, or refused."""
        ...

    def changed(self) -> None:
        """Its state is another one; a connection may have ended."""
        ...


@dataclass(frozen=True)
class LanePlan:
    """What a lane is made of.

    login: who it is, asked at each connect; it may raise FarmError for a secret. kept: the filters that the server may
    have in a session that is kept, with their identifiers; `keep` is called when they have changed. qos: asked for.
    retained: whether what was retained before is wanted, once for each filter; retains: what is published over it is to
    be retained.
    """

    address: Address
    at: str
    login: Callable[[], Login]
    qos: int
    retained: bool
    retains: bool
    kept: dict[str, int]
    keep: Callable[[], None]


class Lane:
    """The session: `want` says what it is subscribed to."""

    def __init__(self, plan: LanePlan, ends: LaneEnds) -> None:
        self.state: BrokerState = "connecting"
        self.fault = ""
        self.link: Link | None = None  # once the server has let us in
        self.greeting = Greeting()
        self._plan: Final = plan
        self._ends: Final = ends
        self._opening: Link | None = None
        self._wanted: dict[str, int] = {}
        self._spared = set(plan.kept)  # of an earlier life: not ended before it is known that nobody wants them
        self._new: set[str] = set()  # never granted, to no earlier life either
        self._asked: dict[str, int] = {}  # on this connection -> identifier
        self._fresh: set[str] = set()  # on this connection, while they were new
        self._open: dict[int, str] = {}  # number of a SUBSCRIBE that is not answered -> filter
        self._ending: dict[int, str] = {}  # number of an UNSUBSCRIBE that is not answered -> filter
        self._refused: dict[str, str] = {}
        self._tried: Final = asyncio.Event()
        self._life: asyncio.Task[None] | None = None
        self._ticking: asyncio.TimerHandle | None = None
        self._hurried = False
        self._up_s = self._asked_s = 0.0
        self._refused_s = 0.0  # when the first of them was refused, or all were asked for again
        self._client_id = ""
        self._short_count = 0  # connections in a row that ended soon

    @property
    def is_shaky(self) -> bool:
        """Whether the last connections have ended soon: for something that is done on them."""
        return self._short_count > 1

    def begin(self) -> None:
        """Connect, and go on for ever."""
        self._life = lives.begin(self._live(), "an MQTT session")

    async def tried(self) -> None:
        """Wait until the server has answered, or has not in time."""
        await self._tried.wait()

    def want(self, filters: Mapping[str, int]) -> None:
        """Be subscribed to these, by these identifiers, and to nothing else but what is spared."""
        self._wanted = dict(filters)
        self._spared.difference_update(filters)
        self._new.intersection_update(filters)
        self._sync()

    def tidy(self) -> list[str]:
        """Nobody will want what an earlier life has subscribed to: end it. Returns: what that was."""
        ended = sorted(self._spared)
        self._spared.clear()
        self._sync()
        return ended

    @property
    def fresh(self) -> Collection[str]:
        """What was first subscribed to on this connection: of these, what was retained before is wanted."""
        return self._fresh

    def connect_again(self) -> None:
        """End the connection in order and make another at once: the server sends again what it has not heard about."""
        if self.link is not None and self.link.part("to be sent again what was left at the server"):
            self._hurried = True

    async def leave(self) -> None:
        """Leave: what was written is sent first. Call `end` afterwards, or to have no more patience."""
        if self.link is not None:
            await self.link.leave()

    async def end(self) -> None:
        """Nothing of it is left afterwards."""
        if self._life is not None:
            self._life.cancel()
            await asyncio.wait([self._life])
        self._drop("closed")

    def greeted(self, greeting: Greeting) -> None:
        """The server has let us in."""
        assert self._opening is not None
        self.link, self.greeting = self._opening, greeting
        self._up_s = asyncio.get_running_loop().time()
        if fault := self._shortcoming():
            self.link.part(fault)
            return
        self._ends.greeted(greeting)
        self._sync()
        self._look()

    def arrived(self, arrivals: Sequence[Arrival]) -> None:
        """These came."""
        self._ends.arrived(arrivals)

    def acked(self, acks: Sequence[Ack]) -> None:
        """These of ours are confirmed, or refused."""
        self._ends.acked(acks)

    def subscribed(self, number: int, reason: int, text: str) -> None:
        """The answer to a SUBSCRIBE."""
        topic_filter = self._open.pop(number, None)
        if topic_filter is not None and topic_filter in self._wanted:
            if reason < REFUSED:
                self._new.discard(topic_filter)
            elif topic_filter in self._new:
                self._strike_out(topic_filter)
            if self._plan.qos <= reason < REFUSED:
                self._refused.pop(topic_filter, None)
            else:
                self._refused_s = self._refused_s if self._refused else asyncio.get_running_loop().time()
                less = f"it grants QoS {reason} alone: set qos = {reason}"
                self._refused[topic_filter] = less if reason < REFUSED else text
        self._look()

    def unsubscribed(self, number: int) -> None:
        """The answer to an UNSUBSCRIBE: the server has it no longer."""
        topic_filter = self._ending.pop(number, None)
        if topic_filter is not None:
            self._strike_out(topic_filter)

    def _strike_out(self, topic_filter: str) -> None:
        """The server does not have it."""
        if self._plan.kept.pop(topic_filter, None) is not None:
            self._plan.keep()

    def _shortcoming(self) -> str:
        """What a server of MQTT 5 has said that it cannot do and that we cannot do without."""
        greeting = self.greeting
        if greeting.qos < self._plan.qos:
            return "it has no QoS 1: set qos = 0"
        if self._plan.retains and not greeting.retains:
            return "it retains nothing: remove `retain`"
        return "" if greeting.identifiers else 'it has no subscription identifiers: set version = "3.1.1"'

    def _sync(self) -> None:
        """Subscribe to what is wanted and not asked for; unsubscribe from what is there and not wanted."""
        link, kept = self.link, self._plan.kept
        if link is None:
            return
        changed = False
        for topic_filter, identifier in self._wanted.items():
            if self._asked.get(topic_filter) == identifier:
                continue
            if topic_filter not in kept:
                self._new.add(topic_filter)
            fresh = self._plan.retained and topic_filter in self._new
            if fresh:
                self._fresh.add(topic_filter)
            changed |= kept.get(topic_filter) != identifier
            kept[topic_filter] = self._asked[topic_filter] = identifier
            self._ending = {number: each for number, each in self._ending.items() if each != topic_filter}
            self._open[link.subscribe(topic_filter, Wish(self._plan.qos, identifier, fresh))] = topic_filter
            self._asked_s = asyncio.get_running_loop().time()
        for topic_filter in self._asked.keys() - self._wanted.keys():
            del self._asked[topic_filter]
            self._refused.pop(topic_filter, None)
        for topic_filter in kept.keys() - self._wanted.keys() - self._spared - set(self._ending.values()):
            self._ending[link.unsubscribe(topic_filter)] = topic_filter
        if changed:
            self._plan.keep()

    async def _live(self) -> None:
        backoff = Backoff()
        while True:
            fault = await self._connection()
            hurried, self._hurried = self._hurried, False
            if self.link is not None:
                short = not hurried and asyncio.get_running_loop().time() - self._up_s < SHORT_S
                self._short_count = self._short_count + 1 if short else 0
                if not short:
                    backoff.reset()
                elif self.is_shaky and fault == CLOSED:
                    fault += f", again and again: perhaps another client has our id, {self._client_id!r}"
            self._drop(fault)
            if hurried:
                self._became("connecting", "")
            else:
                self._became("down", f"{self._plan.at}: {fault}")
            self._tried.set()
            if not hurried:
                await asyncio.sleep(backoff.next_s())

    async def _connection(self) -> str:
        """One connection, to its end: why it is over."""
        try:
            login = self._plan.login()
        except FarmError as error:
            return printable(str(error))
        self._client_id = login.client_id
        self._opening = link = Link(login, self)
        try:
            async with asyncio.timeout(CONNECT_S):
                await link.open(self._plan.address)
        except TimeoutError:
            return link.silence
        except LinkFault as fault:
            return str(fault)
        self._tick()
        return await link.ended

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        if self.link is None:
            return
        self.link.tick()
        now_s = loop.time()
        if self._open and now_s - self._asked_s > CONNECT_S:
            self.link.drop(f"{NO_ANSWER} to a SUBSCRIBE")
        if self._refused and now_s - self._refused_s > AGAIN_S:
            self._refused_s = now_s
            for topic_filter in self._refused:
                self._asked.pop(topic_filter, None)
            self._sync()
        self._ticking = loop.call_later(TICK_S, self._tick)

    def _look(self) -> None:
        """Be up once all that was asked for is there; a subscription that is refused is no small matter."""
        if self.link is None or self.link.ended.done():
            return
        if self._refused:
            topic_filter, why = next(iter(self._refused.items()))
            self._became("down", f"{self._plan.at}: it refuses the subscription {topic_filter!r}: {why}")
            self._tried.set()
        elif not self._open:
            self._became("up", "")
            self._tried.set()

    def _drop(self, why: str) -> None:
        """Nothing of the last connection is left."""
        if self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None
        if self._opening is not None:
            self._opening.drop(why)
        self._opening = self.link = None
        self._asked.clear()
        self._fresh.clear()
        self._open.clear()
        self._ending.clear()
        self._refused.clear()

    def _became(self, state: BrokerState, fault: str) -> None:
        self.state, self.fault = state, fault
        self._ends.changed()
