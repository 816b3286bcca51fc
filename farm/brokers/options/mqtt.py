"""`[brokers.NAME]` with `type = "mqtt"`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal
from urllib.parse import urlsplit

from farm.errors import InvalidSubject
from farm.spec import Abilities, Fault, Key, Secret, ServerSpec, Table, TlsSpec
from farm.subject import Grammar, validate
from farm.units import Duration, Url, Whole, address_of


@dataclass(frozen=True)
class WillSpec(Table):
    """`will = {..}` of an MQTT broker: what the server publishes when farm is gone without a word."""

    subject: Annotated[str, Key("Where to.", '"farm1.status"')]
    payload: Annotated[str, Key("What.", '"gone"')] = ""
    qos: Annotated[int, Whole(0, 1), Key("Quality of service.", "0")] = 1
    retain: Annotated[bool, Key("Whether the server keeps it for those who come later.", "true")] = False


@dataclass(frozen=True, kw_only=True)
class MqttSpec(ServerSpec):
    """`[brokers.NAME]` with `type = "mqtt"`: MQTT 3.1.1 or 5."""

    libraries: ClassVar = ("asyncio", "ssl", "paho.mqtt.client", "websockets.client")

    type: Annotated[Literal["mqtt"], Key("What kind of broker this is.", '"mqtt"')]
    url: Annotated[
        str,
        Url(("mqtt", "mqtts", "ws", "wss", "unix")),
        Key("The server: mqtt://, mqtts:// (TLS), ws://, wss:// or unix://; no password.", '"mqtt://localhost:1883"'),
    ]
    version: Annotated[Literal["3.1.1", "5"], Key("Version of MQTT.", '"3.1.1"')] = "5"
    qos: Annotated[int, Whole(0, 1), Key("Quality of service, both ways.", "0")] = 1
    client_id: Annotated[
        str | None,
        Key("What the server knows farm by.", '"farm-1"', absent="one is made and kept in the state directory"),
    ] = None
    username: Annotated[str | None, Key("User name.", '"farm"', absent="there is none")] = None
    password: Annotated[
        Secret | None, Key("Where the password is.", '{ env = "MQTT_PASSWORD" }', absent="there is none")
    ] = None
    tls: Annotated[
        TlsSpec | None, Key("Certificates, for mqtts:// and wss://.", '{ ca = "ca.pem" }', absent="those of the system")
    ] = None
    keep_alive_s: Annotated[
        float, Duration("1s", "1h"), Key("How often the server hears of farm at least.", '"30s"')
    ] = 15.0
    session_expiry_s: Annotated[
        float,
        Duration("1m", "8760h"),
        Key("How long the server keeps what it has for farm while farm is away (MQTT 5, QoS 1).", '"24h"'),
    ] = 3600.0
    envelope: Annotated[
        Literal["raw", "reference"],
        Key('"raw": a payload is what it is; "reference": in the envelope of spin-message-trigger.', '"reference"'),
    ] = "raw"
    retain: Annotated[bool, Key("Whether the server keeps the last message of each subject published to.", "true")] = (
        False
    )
    will: Annotated[
        WillSpec | None,
        Key(
            "What the server publishes when farm is gone without a word.",
            '{ subject = "farm1.gone" }',
            absent="nothing",
        ),
    ] = None

    @property
    def abilities(self) -> Abilities:
        """Headers and the subject for an answer came with version 5, or are in the reference's envelope."""
        five = self.version == "5"
        kept = self.qos == 1
        return Abilities(
            headers=five and self.envelope == "raw",
            replies=five or self.envelope == "reference",
            settles=kept,
            confirms=kept,
        )

    @property
    def grammar(self) -> Grammar:
        """Topic filters, with dots for slashes."""
        return "mqtt"

    @property
    def at(self) -> str:
        """The URL without userinfo."""
        return address_of(self.url)

    def faults(self) -> Iterator[Fault]:
        """What is wrong between the keys."""
        if self.password is not None and self.username is None:
            yield Fault("password", "a password needs a user", "Write username")
        if self.tls is not None and not self.url.startswith(("mqtts://", "wss://")):
            yield Fault("tls", "the URL asks for no TLS", 'Write url = "mqtts://.."')
        if "@" in urlsplit(self.url).netloc:
            yield Fault("url", "there is a user in it", "Write username")
        if self.will is not None:
            try:
                validate(self.will.subject)
            except InvalidSubject as error:
                yield Fault("will.subject", str(error))
