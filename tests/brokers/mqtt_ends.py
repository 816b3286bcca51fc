"""Brokers and plain clients for tests of MQTT, and the fixture of their server: `server = mqtt_ends.server`."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from farm.broker import Home, Published, Refused
from farm.brokers.mqtt import MqttBroker
from farm.brokers.options.mqtt import MqttSpec
from farm.errors import BrokerUnavailable
from farm.message import Message
from farm.testing.rig import Ends, eventually
from tests.contract.mqtt_rig import KEPT, PlainClient
from tests.servers import Mosquitto

VERSIONS = ("5", "3.1.1")


class Door(ABC):
    """A server of a test's own, which answers as that wants."""

    port = 0

    @abstractmethod
    async def enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""


AnyDoor = TypeVar("AnyDoor", bound=Door)


@asynccontextmanager
async def opened(door: AnyDoor) -> AsyncIterator[AnyDoor]:
    """It, on a port of its own."""
    server = await asyncio.start_server(door.enter, "127.0.0.1", 0)
    door.port = server.sockets[0].getsockname()[1]
    yield door
    server.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Mosquitto]:
    made = Mosquitto(tmp_path / "server", KEPT)
    made.start()
    yield made
    made.stop()


def spec_of(port: int, **keys: Any) -> MqttSpec:
    return MqttSpec(**({"name": "mqtt", "type": "mqtt", "url": f"mqtt://127.0.0.1:{port}", "keep_alive_s": 1.0} | keys))


@asynccontextmanager
async def broker_of(spec: MqttSpec, home: Home, *, up: bool = True) -> AsyncIterator[Ends]:
    ends = Ends(MqttBroker(spec, home))
    if up:
        await ends.start()
    else:
        await ends.broker.start()
    yield ends
    await ends.broker.close()


@asynccontextmanager
async def client_of(port: int, *, five: bool = True) -> AsyncIterator[PlainClient]:
    client = PlainClient(port, five=five)
    await client.open()
    yield client
    await client.close()


def held_by(ends: Ends) -> int:
    """How many messages the server waits to hear about."""
    sessions: dict[str, Any] = vars(ends.broker)["_sessions"]
    return sum(len(vars(session.inbox)["_held"]) for session in sessions.values())


async def last_word_on(message: Message, ends: Ends) -> Published | Refused:
    """Publish until the answer is not "unknown": mosquitto 2.0.11 closes the connection a while after each no."""
    while True:
        await eventually(lambda: ends.broker.state == "up", "the broker to be up")
        [answer] = await ends.publish(message)
        if not isinstance(answer, BrokerUnavailable):
            return answer
