"""One connection to an MQTT server, from CONNECT to its end, on the running loop.

    transport > Frames > PUBLISH, PUBACK > here             arrivals and acks, once for all that came together
                       > all others      > paho             CONNACK, SUBACK, PINGRESP, DISCONNECT
    here, paho > out   > transport                          in one write for each turn of the loop
paho's client has no socket and no thread: what it reads and writes are bytes in memory, so nothing of it waits. It
lives as long as the connection; what is to survive one is kept by `farm.brokers.mqtt_lane`.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from typing import Final, Protocol, cast

import paho.mqtt.client as mqtt
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from farm.brokers.faults import CLOSED, NO_ANSWER, WANTED, words_of
from farm.brokers.mqtt_address import SECURE_OF, Address, reach, tcp_socket_of
from farm.brokers.mqtt_faults import LinkFault
from farm.brokers.mqtt_packets import (
    PUBACK,
    PUBLISH,
    Ack,
    Arrival,
    Frames,
    Malformed,
    Unasked,
    kind_of,
    read_large_publish,
    read_puback,
    read_publish,
)
from farm.brokers.mqtt_paho import (
    PACKET_LIMIT_BYTES,
    Greeting,
    Login,
    Wire,
    Wish,
    client_of,
    connect,
    greeting_of,
    said_of,
    subscribe,
)

PART_S: Final = 2.0
_CONNACK: Final = 0x20
_OLD_VERSION: Final = 1  # the reason of a server of MQTT 3.1.1 that is spoken to in another version
_STRANGER: Final = (0x86, 0x87)  # bad user name or password, not authorized; paho has both for 3.1.1 too
_PROTOCOL_ERROR: Final = 0x82  # paho's, of what it cannot read


class LinkEnds(Protocol):
    """Who hears of it."""

    def greeted(self, greeting: Greeting) -> None:
        """The server has let us in; nothing has arrived yet."""
        ...

    def arrived(self, arrivals: Sequence[Arrival]) -> None:
        """These came, together."""
        ...

    def acked(self, acks: Sequence[Ack]) -> None:
        """These of ours are confirmed, or refused."""
        ...

    def subscribed(self, number: int, reason: int, text: str) -> None:
        """The answer to a `subscribe`: below 128 the quality of service, else no."""
        ...

    def unsubscribed(self, number: int) -> None:
        """The answer to an `unsubscribe`."""
        ...


class NoEnds:
    """Nobody hears of it."""

    def greeted(self, greeting: Greeting) -> None:
        """It is not for this that the connection was made."""

    def arrived(self, arrivals: Sequence[Arrival]) -> None:
        """Not acknowledged, so not lost."""

    def acked(self, acks: Sequence[Ack]) -> None:
        """Nothing was published."""

    def subscribed(self, number: int, reason: int, text: str) -> None:
        """Nothing was subscribed to."""

    def unsubscribed(self, number: int) -> None:
        """Nor was its end asked for."""


class Link(asyncio.Protocol):
    """The connection; `open` makes it, `ended` says why it is over."""

    def __init__(self, login: Login, ends: LinkEnds) -> None:
        loop = asyncio.get_running_loop()
        self.ended: Final[asyncio.Future[str]] = loop.create_future()
        self._loop = loop
        self._ends = ends
        self._five = login.five
        self._greeted: asyncio.Future[None] = loop.create_future()
        self._frames = Frames(PACKET_LIMIT_BYTES)
        self._out: list[bytes] = []
        self._flushing = False
        self._transport: asyncio.Transport | None = None
        self._socket: socket.socket | None = None
        self._leaving = False
        self._why = ""  # it was left
        self._parting: asyncio.TimerHandle | None = None
        self._doubt = ""
        self._login = login
        self._wire = Wire(self._out)
        self._client = client_of(login, self._wire)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_unsubscribe = self._on_unsubscribe
        self._client.on_socket_register_write = self._on_register_write

    @property
    def unsent_bytes(self) -> int:
        """What was written and is still in this process."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    @property
    def silence(self) -> str:
        """What it is when there is no answer in time."""
        return NO_ANSWER if self._transport is None else f"{NO_ANSWER}: perhaps it is no MQTT server"

    async def open(self, address: Address) -> None:
        """Connect and say who we are. It takes as long as it takes: cancel it.

        Raises: LinkFault: nobody is there, or says no.
        """
        self._doubt = _doubt(address)
        try:
            await reach(address, lambda: self)
            if not self.ended.done():
                self._say_who()
            await self._greeted
        except BaseException:
            self.drop(CLOSED)
            raise

    def _say_who(self) -> None:
        connect(self._client, self._login)
        self._flush()

    def send(self, packet: bytes) -> None:
        """Send a PUBLISH or a PUBACK, in this turn of the loop."""
        self._out.append(packet)
        if not self._flushing:
            self._flush_soon()

    def subscribe(self, topic_filter: str, wish: Wish) -> int:
        """Subscribe; the number that the answer has."""
        return subscribe(self._client, topic_filter, wish)

    def unsubscribe(self, topic_filter: str) -> int:
        """Get no more of it; the number that the answer has."""
        return self._client.unsubscribe(topic_filter)[1] or 0

    def tick(self) -> None:
        """Let paho look at its clock: ask whether the server is there, and see that it did not answer."""
        if not self.ended.done():
            self._client.loop_misc()
            self._flush()

    async def leave(self) -> None:
        """Say goodbye, once all is sent, and wait until the server has heard it, or has not in time."""
        self.part(CLOSED)
        await self.ended

    def part(self, why: str) -> bool:
        """Say goodbye, once all is sent: the server publishes no will. `ended` says why once it has heard it, or has
        not in time. Returns: whether this is why; False: it was ending already.
        """
        if self.ended.done() or self._leaving:
            return False
        self._leaving, self._why = True, why
        self._client.disconnect()
        if not self._flushing:
            self._flush_soon()  # not now: paho may be in the middle of telling us something
        self._parting = self._loop.call_later(PART_S, self.drop, why)
        return True

    def drop(self, why: str) -> None:
        """End it at once."""
        if self._parting is not None:
            self._parting.cancel()
        if not self.ended.done():
            self.ended.set_result(why)
        if not self._greeted.done():
            self._greeted.set_exception(LinkFault(why))
            self._greeted.exception()  # noticed, whether or not anybody waits for it
        if self._transport is not None:
            self._transport.abort()
        self._wire.closed = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """There is a transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        self._socket = tcp_socket_of(transport)
        if self.ended.done():
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        if not self._greeted.done() and not isinstance(exc, ssl.SSLError):
            self.drop(f"{CLOSED} without an answer{self._doubt}")
        else:
            self.drop(self._why or (CLOSED if exc is None else words_of(exc)))

    def data_received(self, data: bytes) -> None:
        """Read all packets that are whole."""
        if self._socket is not None:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)  # see tcp_socket_of
        arrivals: list[Arrival] = []
        acks: list[Ack] = []
        try:
            for first, body, whole in self._frames.cut(data):
                kind = kind_of(first)
                if not whole:
                    arrivals.append(_large(first, body))
                elif kind == PUBLISH:
                    arrivals.append(read_publish(first, body, five=self._five))
                elif kind == PUBACK:
                    acks.append(read_puback(body))
                else:
                    self._feed(kind, body, whole)
        except Unasked as unasked:
            self.drop(str(unasked))
        except Malformed as malformed:
            self.drop("it does not speak MQTT" + (f": {malformed}" if self._greeted.done() else ""))
        if acks:  # also those in front of the word that ended the connection
            self._ends.acked(acks)
        if arrivals and not (self.ended.done() or self._leaving):  # the server would not hear that they are here
            self._ends.arrived(arrivals)

    def _feed(self, kind: int, body: bytes, whole: bytes) -> None:
        """Give paho a packet."""
        if kind == _CONNACK and self._five and len(body) == 2:
            old = body[1] == _OLD_VERSION
            self.drop('it speaks no MQTT 5: set version = "3.1.1"' if old else f"it says no in MQTT 3.1.1: {body[1]}")
        elif kind == _CONNACK and not self._five and body[1:2] == bytes((_OLD_VERSION,)):
            self.drop('it speaks no MQTT 3.1.1: set version = "5"')
        else:
            self._wire.filled = whole
            self._client.loop_read()

    def _flush_soon(self) -> None:
        self._flushing = True
        self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._client.want_write():
            self._client.loop_write()
        if self._out and self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(self._out))
        self._out.clear()

    def _on_connect(
        self, _: object, __: object, flags: mqtt.ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            stranger = reason.value in _STRANGER
            hint = ". Check username and password" if stranger else ""
            self.drop(f"it refuses: {said_of(reason, properties)}{hint}")
        elif not self._greeted.done():
            greeting = greeting_of(flags.session_present, properties)
            self._greeted.set_result(None)
            self._ends.greeted(greeting)

    def _on_disconnect(
        self, _: object, __: object, flags: mqtt.DisconnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if self._leaving:
            return  # the server closes the connection once it has heard that
        if flags.is_disconnect_packet_from_server:
            self.drop(f"{CLOSED}: {said_of(reason, properties)}")
        elif reason.value == _PROTOCOL_ERROR:
            self.drop("it does not speak MQTT")
        else:
            self.drop(f"{NO_ANSWER}: {said_of(reason, None)}")

    def _on_subscribe(
        self, _: object, __: object, number: int, reasons: list[ReasonCode], properties: Properties | None
    ) -> None:
        for reason in reasons:
            self._ends.subscribed(number, reason.value, said_of(reason, properties))

    def _on_unsubscribe(self, _: object, __: object, number: int, *___: object) -> None:
        self._ends.unsubscribed(number)

    def _on_register_write(self, *_: object) -> None:
        if not self._flushing:
            self._flush_soon()


def _doubt(address: Address) -> str:
    """What may be the reason where a server ends the connection in place of an answer."""
    if address.secure:
        return f": perhaps {WANTED}"
    return f": perhaps it wants TLS ({SECURE_OF[address.scheme]}://)" if address.scheme in SECURE_OF else ""


def _large(first: int, head: bytes) -> Arrival:
    """What is too large to be read. Raises: Malformed: it is no message."""
    if kind_of(first) != PUBLISH:
        raise Malformed("a packet that is too large")
    return read_large_publish(first, head)
