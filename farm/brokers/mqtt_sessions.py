"""The two kinds of sessions: what triggers run on, and what listeners hear."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from farm import log
from farm.broker import BrokerCounters, OnMessages
from farm.brokers.mqtt_desk import Desk, Place
from farm.brokers.mqtt_inbox import Inbox
from farm.brokers.mqtt_lane import Lane, LanePlan
from farm.brokers.mqtt_messages import Read
from farm.brokers.mqtt_packets import Ack, Arrival
from farm.brokers.mqtt_paho import Greeting
from farm.brokers.mqtt_routes import Routes
from farm.brokers.mqtt_topics import matcher_of
from farm.message import Message


@dataclass(frozen=True)
class House:
    """What the sessions of one broker have in common. changed: hears that a session's state may be another one."""

    broker: str
    five: bool
    kept: bool
    desk: Desk
    read: Read
    counters: BrokerCounters
    changed: Callable[[], None]


class TriggerSession:
    """A lane and its inbox."""

    def __init__(self, plan: LanePlan, house: House) -> None:
        self.routes: Final = Routes[Place](five=house.five, known=plan.kept)
        self.inbox: Final = Inbox(self.routes, house.desk, house.counters)
        self.lane: Final = Lane(plan, self)
        self.on_greeted: Callable[[Greeting], None] | None = None
        self.on_acked: Callable[[Sequence[Ack]], None] | None = None
        self._house: Final = house
        self._expected = bool(plan.kept)  # that the server knows us
        self._quiet = False

    def sync(self) -> None:
        """Subscribe to what the routes want, and look again at what was for nobody."""
        if self._quiet:
            return
        self.lane.want(self.routes.wanted())
        self.inbox.take_early(self._house.read, self._wants_retained)
        self._house.desk.hand_over()

    def tidy(self) -> None:
        """All triggers are there: end what only an earlier life has subscribed to."""
        if ended := self.lane.tidy():
            log.get().info("subscriptions of an earlier life ended", broker=self._house.broker, topics=ended)
        self.inbox.take_early(self._house.read, self._wants_retained, all_known=True)
        self._house.desk.hand_over()

    def quiet(self) -> None:
        """Take nothing more: a server that keeps it is not told that it has come, another is to send no more."""
        self._quiet = True
        if self._house.kept:
            self.inbox.quiet()
        else:
            self.lane.want({})

    def look(self) -> None:
        """Have the server send what was left there, once there is room for it."""
        if self.inbox.owed and self._house.desk.is_roomy:
            self.lane.connect_again()
            self.inbox.disconnected()  # after our goodbye the server hears of nothing any more

    def greeted(self, greeting: Greeting) -> None:
        """The server has let us in."""
        assert self.lane.link is not None
        self.inbox.connected(self.lane.link, resumed=greeting.resumed)
        if self._expected and not greeting.resumed:
            self._house.counters.gaps += 1
            if self._house.kept:
                text = "the server has not kept our session: what it had for us is lost"
                log.get().warning(text, broker=self._house.broker)
        if greeting.resumed and not self._expected:
            self.routes.doubts_numbers = True
        self._expected = True
        if self.on_greeted is not None:
            self.on_greeted(greeting)

    def arrived(self, arrivals: Sequence[Arrival]) -> None:
        """These came."""
        self.inbox.take(arrivals, self._house.read, self._wants_retained)
        self._house.desk.hand_over()

    def acked(self, acks: Sequence[Ack]) -> None:
        """These of ours are confirmed, or refused."""
        if self.on_acked is not None:
            self.on_acked(acks)

    def changed(self) -> None:
        """Its state is another one."""
        if self.lane.link is None:
            self.inbox.disconnected()
        self._house.changed()

    def _wants_retained(self, arrival: Arrival) -> bool:
        """A server of MQTT 3.1.1 sends what was retained at each SUBSCRIBE, also one that only repeats another."""
        return self._house.five or any(matcher_of(each)(arrival.topic) for each in self.lane.fresh)


class _Listener:
    __slots__ = ("on_messages",)

    def __init__(self, on_messages: OnMessages) -> None:
        self.on_messages = on_messages


class LiveSession:
    """What listeners hear, from now on and while there is a connection: nothing is kept."""

    def __init__(self, plan: LanePlan, house: House) -> None:
        self.lane: Final = Lane(plan, self)
        self._routes: Final = Routes[_Listener](five=house.five, known={})
        self._house: Final = house
        self._was_there = False

    def listen(self, topic_filter: str, on_messages: OnMessages) -> Callable[[], None]:
        """Begin one; the function that ends it, which may be called twice. `sync` makes either known to the server."""
        listener = _Listener(on_messages)
        self._routes.add(topic_filter, listener)

        def end() -> None:
            if listener in self._routes.get(topic_filter):
                self._routes.remove(topic_filter, listener)

        return end

    def sync(self) -> None:
        """Subscribe to what the routes want, and to nothing else."""
        self.lane.want(self._routes.wanted())

    def greeted(self, greeting: Greeting) -> None:
        """The server has let us in. What listeners have missed meanwhile nobody knows; where nothing is kept, what
        triggers have missed is counted, and that is the same gap.
        """
        self._house.counters.gaps += bool(self._was_there and self._house.kept and self._routes.wanted())
        self._was_there = True

    def arrived(self, arrivals: Sequence[Arrival]) -> None:
        """These came."""
        heard: dict[_Listener, list[Message]] = {}
        for arrival in arrivals:
            if not (arrival.retain or arrival.is_large) and (listeners := self._routes.of(arrival)):
                message = self._house.read(arrival)
                for listener in listeners:
                    heard.setdefault(listener, []).append(message)
        for listener, messages in heard.items():
            listener.on_messages(messages)

    def acked(self, acks: Sequence[Ack]) -> None:
        """Nothing is published here."""

    def changed(self) -> None:
        """Its state is another one."""
        self._house.changed()
