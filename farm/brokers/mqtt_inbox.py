"""What a session of an MQTT server brings for triggers, and when the server hears that it is done with.

    arrival > places > desk             one delivery for each place; one token for all of them
    settled, settled, .. > PUBACK       with the last of them, on the connection that brought it
    connection gone                     the server sends again what it has not heard about, by the same number: what is
                                        still held here is known by it, and is not handed over a second time
A server gives a number to another message only once it has the PUBACK for the first, so a number that is held, with the
same topic and payload and marked as sent again, is the same message. One that was killed may know an older number only:
what it gives that of a held message to comes for the first time. There is no way to give one back: released, it waits
here again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from farm import log
from farm.broker import BrokerCounters, Delivery
from farm.brokers.mqtt_desk import Desk, Place
from farm.brokers.mqtt_link import Link
from farm.brokers.mqtt_packets import Arrival, puback
from farm.brokers.mqtt_paho import PACKET_LIMIT_BYTES
from farm.brokers.mqtt_routes import Routes
from farm.message import Message

EARLY_LIMIT: Final = 10_000
EARLY_LIMIT_BYTES: Final = 64 << 20


class Token:
    """One message that the server waits to hear about. mid: its number; left: deliveries of it that are here and not
    settled; link: the connection that brought it last, None where the server has forgotten it; behind: not all of them
    are here, so that the server must send it again.
    """

    __slots__ = ("behind", "inbox", "left", "link", "mid", "payload", "topic")

    def __init__(self, inbox: Inbox, arrival: Arrival, left: int, link: Link) -> None:
        self.inbox = inbox
        self.mid = arrival.mid
        self.topic = arrival.topic
        self.payload = arrival.payload
        self.left = left
        self.link: Link | None = link
        self.behind = False


class Inbox:
    """Of one session that is kept, or of one that is not (then nothing has a number, and nothing a token)."""

    def __init__(self, routes: Routes[Place], desk: Desk, counters: BrokerCounters) -> None:
        self.routes: Final = routes
        self.owed = False  # something was left at the server, which sends it again on another connection
        self._desk: Final = desk
        self._counters: Final = counters
        self._held: dict[int, Token] = {}
        self._early: list[Arrival] | None = []  # for nobody that is known yet; None: everybody is
        self._early_bytes = 0
        self._told_of_strangers = False
        self._link: Link | None = None
        self._overflows = False
        self._quiet = False

    def connected(self, link: Link, *, resumed: bool) -> None:
        """There is a connection; what was brought by the one before is settled there no longer."""
        self._link = link
        if self._early is not None:
            self._early.clear()  # sent again
            self._early_bytes = 0
        self.owed = False
        if not resumed:
            for token in self._held.values():
                token.link = None
            self._held.clear()

    def disconnected(self) -> None:
        """There is none."""
        self._link = None

    def take(
        self, arrivals: Sequence[Arrival], read: Callable[[Arrival], Message], wants: Callable[[Arrival], bool]
    ) -> None:
        """These came. Nothing is handed over before the desk is told to.

        Args:
          read: makes a message of one.
          wants: whether one that was retained is wanted.
        """
        if self._quiet:
            return
        for arrival in arrivals:
            if arrival.is_large:
                self._refuse(arrival)
                continue
            if arrival.mid and self._is_held(arrival):
                continue
            if arrival.retain and not arrival.dup and not wants(arrival):
                self._ack(arrival.mid)
                continue
            places = self.routes.of(arrival)
            if places:
                self._overflows = self._overflows and not self._desk.is_roomy
                self._put(arrival, places, read(arrival))
            elif self._early is None:
                self._pass_over(arrival)
            elif len(self._early) < EARLY_LIMIT and self._early_bytes + arrival.size_bytes <= EARLY_LIMIT_BYTES:
                self._early.append(arrival)
                self._early_bytes += arrival.size_bytes
            else:
                self.owed = True

    def take_early(
        self, read: Callable[[Arrival], Message], wants: Callable[[Arrival], bool], *, all_known: bool = False
    ) -> None:
        """There are new routes: look again at what was for nobody. all_known: what is for nobody still is done with."""
        early = (self._link and self._early) or []
        self._early = None if all_known else []
        self._early_bytes = 0
        self.take(early, read, wants)

    def settle(self, token: Token) -> None:
        """A delivery of it is done with."""
        token.left -= 1
        if token.left:
            return
        if token.behind:
            self._forget(token)
        elif token.link is not None and token.link is self._link:
            self._acknowledge(token)

    def quiet(self) -> None:
        """Take nothing more: the server keeps it."""
        self._quiet = True

    def _is_held(self, arrival: Arrival) -> bool:
        token = self._held.get(arrival.mid)
        if token is None:
            return False
        same = arrival.dup and token.topic == arrival.topic and token.payload == arrival.payload
        if same and not token.behind:
            token.link = self._link
            if not token.left:
                self._acknowledge(token)
            return True
        token.link = None
        del self._held[arrival.mid]
        return False

    def _put(self, arrival: Arrival, places: Sequence[Place], message: Message) -> None:
        self._counters.received += len(places)
        token = None
        if arrival.mid and self._link is not None:
            token = Token(self, arrival, len(places), self._link)
        for place in places:
            if self._desk.put(place, message, token):
                continue
            if token is not None:
                token.left -= 1
                token.behind = self.owed = True
            else:
                self._lose()
        if token is not None and token.left:
            self._held[arrival.mid] = token

    def _pass_over(self, arrival: Arrival) -> None:
        """It is for nobody, and everybody is known."""
        self._ack(arrival.mid)
        if self.routes.doubts_numbers and not self._told_of_strangers:
            self._told_of_strangers = True
            event = "the server's session has subscriptions that farm knows nothing of: what they bring is dropped"
            log.get().warning(event, topic=arrival.topic)

    def _refuse(self, arrival: Arrival) -> None:
        """It is larger than anything that is read here: it would come again for ever."""
        self._counters.dropped += 1
        self._ack(arrival.mid)
        log.get().warning("a message that is too large is dropped", topic=arrival.topic, limit_bytes=PACKET_LIMIT_BYTES)

    def _lose(self) -> None:
        """There was no room for one that the server does not keep; many in a row are one gap."""
        self._counters.dropped += 1
        if not self._overflows:
            self._counters.gaps += 1
        self._overflows = True

    def _acknowledge(self, token: Token) -> None:
        self._forget(token)
        self._ack(token.mid)

    def _forget(self, token: Token) -> None:
        if self._held.get(token.mid) is token:
            del self._held[token.mid]

    def _ack(self, mid: int) -> None:
        if mid and self._link is not None:
            self._link.send(puback(mid))


def settle(deliveries: Sequence[Delivery]) -> None:
    """These are done with, whichever session brought them."""
    for delivery in deliveries:
        token = delivery.token
        if isinstance(token, Token):
            token.inbox.settle(token)
