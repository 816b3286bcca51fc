"""Both brokers on a real Redis, and real programs beside them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
import redis.exceptions

from farm.broker import Broker, Home
from farm.brokers.options.redis import RedisSpec, RedisStreamsSpec
from farm.brokers.redis import RedisBroker
from farm.brokers.redis_streams import RedisStreamsBroker
from farm.message import Headers
from farm.spec import BrokerSpec, Secret
from farm.testing.outages import ServerSuite
from farm.testing.rig import Rig
from farm.testing.suite import BrokerSuite
from tests.servers import RedisServer, free_port

PASSWORD = "hunter2-of-redis"


class PlainClient:
    """redis-py, as any program uses it."""

    def __init__(self, port: int) -> None:
        self.client = redis.asyncio.Redis(port=port, password=PASSWORD)
        self._reading: list[asyncio.Task[None]] = []

    async def publish(self, subject: str, payload: bytes, headers: Headers = (), reply_to: str | None = None) -> None:
        await self.client.publish(subject, payload)

    async def read(self, subject: str) -> list[bytes]:
        found: list[bytes] = []
        listener = self.client.pubsub(ignore_subscribe_messages=True)
        await listener.subscribe(subject)
        await listener.get_message(timeout=5)

        async def follow() -> None:
            with contextlib.suppress(redis.exceptions.ConnectionError):
                while True:
                    said = await listener.get_message(timeout=5)
                    found.extend([said["data"]] if said else [])

        self._reading.append(asyncio.create_task(follow()))
        return found

    async def close(self) -> None:
        for each in self._reading:
            each.cancel()
        await asyncio.gather(*self._reading, return_exceptions=True)
        await self.client.aclose()


class PlainStreams(PlainClient):
    async def publish(self, subject: str, payload: bytes, headers: Headers = (), reply_to: str | None = None) -> None:
        fields: dict[Any, Any] = {"body": payload, **dict(headers)}
        if reply_to is not None:
            fields["reply-to"] = reply_to
        await self.client.xadd(subject, fields)

    async def read(self, subject: str) -> list[bytes]:
        found: list[bytes] = []
        await self.client.xgroup_create(subject, "readers", "$", mkstream=True)

        async def follow() -> None:
            with contextlib.suppress(redis.exceptions.ConnectionError):
                while True:
                    said: Any = await self.client.xreadgroup("readers", "me", {subject: ">"}, block=500)
                    for _, entries in said or []:
                        found.extend(fields[b"body"] for _, fields in entries)

        self._reading.append(asyncio.create_task(follow()))
        return found


class RedisRig(Rig):
    def __init__(self, server: RedisServer, folder: Path) -> None:
        self.server = server
        self.port = server.port
        self.secret = folder / "password"
        self.secret.write_text(PASSWORD)
        self.wrong = folder / "wrong"
        self.wrong.write_text("wrong-" + PASSWORD)

    def _keys(self, **others: Any) -> dict[str, Any]:
        url = f"redis://127.0.0.1:{self.port}"
        return {"name": "under-test", "url": url, "password": Secret(file=self.secret), **others}

    def spec(self) -> BrokerSpec:
        return RedisSpec(type="redis", **self._keys())

    def make(self, home: Home) -> Broker:
        return RedisBroker(self.spec(), home)

    @asynccontextmanager
    async def outside(self) -> AsyncIterator[PlainClient]:
        client = self._client()
        yield client
        await client.close()

    def _client(self) -> PlainClient:
        return PlainClient(self.port)

    def misled(self, home: Home) -> Mapping[str, Broker]:
        port = self.port
        settings: dict[str, dict[str, Any]] = {
            "a wrong password": {"password": Secret(file=self.wrong)},
            "no password": {"password": None},
            "an unknown host": {"url": f"redis://no-such-host.invalid:{port}"},
            "a closed port": {"url": f"redis://127.0.0.1:{free_port()}"},
            "TLS where there is none": {"url": f"rediss://127.0.0.1:{port}"},
            "a socket that is not there": {"url": "unix:///no/such/socket"},
            "no sentinel": {"sentinels": (f"127.0.0.1:{port}",), "sentinel_master": "m"},
            "no cluster": {"cluster": True},
        }
        return {what: self._misled(home, number, keys) for number, (what, keys) in enumerate(settings.items())}

    def _misled(self, home: Home, number: int, keys: dict[str, Any]) -> Broker:
        return RedisBroker(RedisSpec(type="redis", **self._keys(**keys)), home)

    @property
    def secrets(self) -> Sequence[str]:
        return (PASSWORD,)


class StreamsRig(RedisRig):
    keeps = True
    lease_s = 5.0
    wild = ""

    def spec(self) -> BrokerSpec:
        return RedisStreamsSpec(type="redis-streams", **self._keys(claim_after_s=self.lease_s))

    def make(self, home: Home) -> Broker:
        return RedisStreamsBroker(self.spec(), home)

    def _client(self) -> PlainClient:
        return PlainStreams(self.port)

    def _misled(self, home: Home, number: int, keys: dict[str, Any]) -> Broker:
        return RedisStreamsBroker(RedisStreamsSpec(type="redis-streams", **self._keys(**keys)), home)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "server", "--requirepass", PASSWORD)
    server.start()
    yield server
    server.stop()


class TestRedis(BrokerSuite, ServerSuite):
    @pytest.fixture
    def rig(self, server: RedisServer, tmp_path: Path) -> RedisRig:
        return RedisRig(server, tmp_path)


class TestRedisStreams(BrokerSuite, ServerSuite):
    @pytest.fixture
    def rig(self, server: RedisServer, tmp_path: Path) -> StreamsRig:
        return StreamsRig(server, tmp_path)
