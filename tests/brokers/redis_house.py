"""Fixtures of a Redis of the test's own. A file of tests names those that it wants: `server = redis_house.server`.

server    the Redis                    client        redis-py on it
streams   a broker of redis-streams    pubsub        one of redis, both started
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from farm.broker import Delivery, Home
from farm.message import Message
from farm.testing.rig import PROBE, Ends, eventually, numbered
from tests.brokers import redis_servers
from tests.servers import RedisServer

STREAM = "farm:{a.b}:stream:farm-0-0-a-b"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    made = RedisServer(tmp_path / "server")
    made.start()
    yield made
    made.stop()


@pytest.fixture
def client(server: RedisServer) -> Iterator[Any]:
    made = redis_servers.plain(server.port)
    yield made
    made.close()


@pytest.fixture
async def streams(server: RedisServer, home: Home) -> AsyncIterator[Ends]:
    made = await Ends(redis_servers.streams(home, server.port)).start()
    yield made
    await made.broker.close()


@pytest.fixture
async def pubsub(server: RedisServer, home: Home) -> AsyncIterator[Ends]:
    made = await Ends(redis_servers.pubsub(home, server.port)).start()
    yield made
    await made.broker.close()


async def subscribed(ends: Ends, granted: int = 1000, group: str = "") -> list[Delivery]:
    """A trigger on a.b whose stream is there, with nothing in it."""
    came = ends.trigger(0, "a.b", granted=1, group=group)
    await ends.ready("a.b", came)
    await ends.publish(Message("last", "a.b", PROBE))  # of all that found out whether it is there
    while came[-1].message.id != "last":
        count = len(came)
        ends.broker.grant(0, 1)
        await eventually(lambda: len(came) > count, "the next probe")  # noqa: B023  (awaited in its turn)
    ends.broker.grant(0, granted)
    ends.broker.settle(list(came))
    del came[:]
    return came


async def holding(ends: Ends, count: int) -> list[Delivery]:
    """What has come for a trigger on a.b: so many messages, none of them settled."""
    came = await subscribed(ends)
    await ends.publish(*numbered(count))
    await eventually(lambda: len(came) == count, "all of them")
    return came


def pending(client: Any, key: str = STREAM) -> int:
    found: Any = client.xpending(key, "farm")
    return found["pending"]
