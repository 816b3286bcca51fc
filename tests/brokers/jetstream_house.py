"""Brokers of type jetstream on a server of the test's own, and what to wait for.

Fixtures: a file of tests names those it wants: `server = jetstream_house.server`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.client import Client
from nats.js.api import StreamConfig

from farm.broker import Delivery
from farm.brokers.jetstream import JetStreamBroker
from farm.brokers.options.nats import JetStreamSpec
from farm.spec import Secret
from farm.testing.rig import Ends, eventually, home_of, numbered, payloads
from tests.servers import NatsServer

LETTERS = StreamConfig(name="letters", subjects=["farm.dlq.>"])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    made = NatsServer(tmp_path / "server", jetstream=True)
    made.start()
    yield made
    made.stop()


@pytest.fixture
async def client(server: NatsServer) -> AsyncIterator[Client]:
    made = await nats.connect(f"nats://127.0.0.1:{server.port}")
    yield made
    await made.close()


def spec_of(server: NatsServer, **keys: Any) -> JetStreamSpec:
    spec = JetStreamSpec(name="js", type="jetstream", servers=(f"127.0.0.1:{server.port}",), ack_wait_s=5.0)
    return replace(spec, **keys)


@asynccontextmanager
async def running(server: NatsServer, folder: Path, number: int = 0, **keys: Any) -> AsyncIterator[Ends]:
    """A broker with these keys, started; of the app `under-test`."""
    broker = JetStreamBroker(spec_of(server, **keys), home_of(folder / "home", number))
    await broker.start()
    yield Ends(broker, number)
    await broker.close()


async def up(ends: Ends) -> None:
    await eventually(lambda: ends.broker.state == "up", "the broker to be up")


async def down(ends: Ends, *words: str) -> str:
    """Wait until it is down and says why, in one line."""
    await eventually(lambda: all(word in ends.broker.fault for word in words), f"a fault with {words}")
    assert ends.broker.state == "down"
    assert ends.broker.fault.isprintable()
    return ends.broker.fault


async def stream_of(client: Client, name: str) -> StreamConfig:
    return (await client.jetstream().stream_info(name)).config


async def make_orders(client: Client, **settings: Any) -> None:
    """Streams of somebody else: ORDERS, with these settings, and one for dead letters."""
    await client.jetstream().add_stream(StreamConfig(name="ORDERS", subjects=["orders.>"], **settings))
    await client.jetstream().add_stream(LETTERS)


async def delete_consumer(client: Client) -> None:
    """Of the one trigger that there is."""
    [found] = await client.jetstream().consumers_info("under-test")
    await client.jetstream().delete_consumer("under-test", found.name)


async def subscribed(ends: Ends, topic: str = "a.b", group: str = "") -> list[Delivery]:
    """A trigger that hears this topic, with room for all that a test sends."""
    came = ends.trigger(0, topic, granted=1000, group=group)
    await ends.ready(topic, came)
    return came


async def holding(ends: Ends, count: int, topic: str = "a.b", group: str = "") -> list[Delivery]:
    """What has come for a trigger: so many messages, none of them settled."""
    came = await subscribed(ends, topic, group)
    await ends.publish(*numbered(count, topic))
    await eventually(lambda: len(payloads(came)) == count, "all of them")
    return came


def limited(folder: Path, denied: str) -> tuple[NatsServer, dict[str, Any]]:
    """A server that lets nobody publish to these subjects, and the keys for it."""
    user = f'user: u, password: p, permissions: {{ publish: {{ deny: "{denied}" }} }}'
    server = NatsServer(folder / "limited", f"authorization {{ users: [ {{ {user} }} ] }}", jetstream=True)
    server.start()
    password = folder / "password"
    password.write_text("p")
    password.chmod(0o600)
    return server, {"user": "u", "password": Secret(file=password)}
