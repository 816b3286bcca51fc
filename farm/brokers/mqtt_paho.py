"""paho's client without a socket: who it says it is, what a server says of itself, and a subscription, in its terms.

It lives on a `Wire`, which is two pieces of memory. All that is untyped in paho stays here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from farm.brokers.faults import shown

PACKET_LIMIT_BYTES: Final = 16 << 20
RECEIVE_MAXIMUM: Final = 8192  # messages that the server may have sent and not have heard about
NUMBERS_LIMIT: Final = 0xFFFF
PACKET_MOST_BYTES: Final = 1 + 4 + 0x0FFF_FFFF  # of MQTT: the first byte, the length, and as much as that can say


@dataclass(frozen=True)
class Will:
    """What the server publishes when the connection ends without a word."""

    topic: str
    payload: bytes
    qos: int
    retain: bool


@dataclass(frozen=True)
class Login:
    """Who we are. clean: begin anew and keep nothing; expiry_s: how long a session is kept, with MQTT 5."""

    client_id: str
    five: bool
    clean: bool
    keep_alive_s: int
    expiry_s: int
    username: str | None
    password: str | None
    will: Will | None


@dataclass(frozen=True)
class Greeting:
    """What the server says of itself. resumed: it has kept the session; window: how many messages it takes unconfirmed;
    packet_limit_bytes: of one packet that it takes; with MQTT 3.1.1 it says nothing but the first.
    """

    resumed: bool = False
    window: int = NUMBERS_LIMIT
    packet_limit_bytes: int = PACKET_MOST_BYTES
    qos: int = 1
    retains: bool = True
    identifiers: bool = True


@dataclass(frozen=True)
class Wish:
    """What is asked of a subscription. identifier: what the server is to put on whatever matches; retained: whether it
    sends what was retained before; both with MQTT 5 alone.
    """

    qos: int
    identifier: int
    retained: bool


class Wire:
    """What paho takes for a socket: it reads what it was given and writes into a list."""

    def __init__(self, out: list[bytes]) -> None:
        self.filled = b""
        self.closed = False
        self._out = out

    def recv(self, buffer_size: int) -> bytes:
        """Some of what there is."""
        if not self.filled:
            raise BlockingIOError
        part, self.filled = self.filled[:buffer_size], self.filled[buffer_size:]
        return part

    def send(self, buffer: bytes | bytearray) -> int:
        """Take all of it."""
        if not self.closed:
            self._out.append(bytes(buffer))
        return len(buffer)

    def close(self) -> None:
        """paho is through with it: what it has written is still sent."""
        self.filled = b""

    def fileno(self) -> int:
        """There is no descriptor."""
        return -1

    def setblocking(self, flag: bool) -> None:
        """It never blocks."""


class Client(mqtt.Client):
    """paho's client, on such a wire."""

    wire: Wire

    def _create_socket(self) -> Wire:
        return self.wire


def client_of(login: Login, wire: Wire) -> Client:
    """A client that has not said anything yet."""
    version = MQTTProtocolVersion.MQTTv5 if login.five else MQTTProtocolVersion.MQTTv311
    client = Client(
        CallbackAPIVersion.VERSION2,
        login.client_id,
        clean_session=None if login.five else login.clean,
        protocol=version,
        reconnect_on_failure=False,
        manual_ack=True,
    )
    client.wire = wire
    client.username_pw_set(login.username, login.password)
    if login.will is not None:
        client.will_set(login.will.topic, login.will.payload, login.will.qos, login.will.retain)
    return client


def connect(client: Client, login: Login) -> None:
    """Have it say who it is."""
    if not login.five:
        client.connect("mqtt", 1, login.keep_alive_s)
        return
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = 0 if login.clean else login.expiry_s
    properties.ReceiveMaximum = RECEIVE_MAXIMUM
    properties.MaximumPacketSize = PACKET_LIMIT_BYTES
    client.connect("mqtt", 1, login.keep_alive_s, clean_start=login.clean, properties=properties)


def subscribe(client: Client, topic_filter: str, wish: Wish) -> int:
    """Have it subscribe; the number that the answer has."""
    if client.protocol != MQTTProtocolVersion.MQTTv5:
        return client.subscribe(topic_filter, wish.qos)[1] or 0
    properties = Properties(PacketTypes.SUBSCRIBE)
    properties.SubscriptionIdentifier = wish.identifier
    handling = SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE if wish.retained else SubscribeOptions.RETAIN_DO_NOT_SEND
    options = SubscribeOptions(qos=wish.qos, retainHandling=handling)
    return client.subscribe(topic_filter, options=options, properties=properties)[1] or 0


def greeting_of(resumed: bool, properties: Properties | None) -> Greeting:
    """What a CONNACK says."""
    said: dict[str, object] = vars(properties) if properties is not None else {}

    def number(name: str, otherwise: int) -> int:
        value = said.get(name, otherwise)
        return value if isinstance(value, int) else otherwise

    return Greeting(
        resumed,
        window=number("ReceiveMaximum", NUMBERS_LIMIT),
        packet_limit_bytes=number("MaximumPacketSize", PACKET_MOST_BYTES),
        qos=number("MaximumQoS", 1),
        retains=bool(number("RetainAvailable", 1)),
        identifiers=bool(number("SubscriptionIdentifierAvailable", 1)),
    )


def said_of(reason: ReasonCode, properties: Properties | None) -> str:
    """A reason of the server's, with its own words where it has any."""
    words: object = vars(properties).get("ReasonString") if properties is not None else None
    text = str(reason).lower()
    return shown(f"{text} ({words})" if isinstance(words, str) and words else text)
