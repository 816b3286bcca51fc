from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from farm.broker import Broker, Home
from farm.brokers.jetstream import JetStreamBroker
from farm.brokers.options.nats import JetStreamSpec
from farm.message import Headers
from farm.spec import Secret
from farm.testing.outages import ServerSuite
from farm.testing.rig import Rig
from farm.testing.suite import BrokerSuite
from tests.nats_client import flushed
from tests.servers import NatsServer, free_port

PASSWORD = "s3cret-of-the-test"


class NatsOutside:
    """nats-py, as any program would use it."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def publish(self, subject: str, payload: bytes, headers: Headers = (), reply_to: str | None = None) -> None:
        await self._client.publish(subject, payload, reply_to or "", headers=dict(headers) or None)
        await flushed(self._client)

    async def read(self, subject: str) -> list[bytes]:
        read: list[bytes] = []

        async def note(message: Msg) -> None:
            read.append(message.data)

        await self._client.subscribe(subject, cb=note)
        await flushed(self._client)
        return read


class JetStreamRig(Rig):
    keeps = True
    lease_s = 1.0

    def __init__(self, folder: Path, server: NatsServer) -> None:
        self.server = server
        self._port = server.port
        self._password = folder / "password"
        self._password.write_text(PASSWORD)

    def spec(self) -> JetStreamSpec:
        return self._spec(f"nats://127.0.0.1:{self._port}", self._password)

    def make(self, home: Home) -> Broker:
        return JetStreamBroker(self.spec(), home)

    @asynccontextmanager
    async def outside(self) -> AsyncIterator[NatsOutside]:
        client = await nats.connect(f"nats://127.0.0.1:{self._port}", user="farm", password=PASSWORD)
        yield NatsOutside(client)
        await client.close()

    def misled(self, home: Home) -> Mapping[str, Broker]:
        wrong = self._password.with_name("wrong")
        wrong.write_text("another")
        at = f"nats://127.0.0.1:{self._port}"
        specs = {
            "a closed port": self._spec(f"nats://127.0.0.1:{free_port()}", self._password),
            "an unknown host": self._spec("nats://no-such-host.invalid:4222", self._password),
            "a wrong password": self._spec(at, wrong),
            "no user": replace(self._spec(at, wrong), user=None, password=None),
            "TLS that is not there": replace(self.spec(), servers=(f"tls://127.0.0.1:{self._port}",)),
        }
        return {what: JetStreamBroker(spec, home) for what, spec in specs.items()}

    @property
    def secrets(self) -> list[str]:
        return [PASSWORD]

    def _spec(self, url: str, password: Path) -> JetStreamSpec:
        return JetStreamSpec(
            name="under-test",
            type="jetstream",
            servers=(url,),
            user="farm",
            password=Secret(file=password),
            subjects=("a.>", "other.>", "q.>"),
            ack_wait_s=self.lease_s,
        )


class TestJetStream(BrokerSuite, ServerSuite):
    @pytest.fixture
    def rig(self, tmp_path: Path) -> Iterator[Rig]:
        config = f"authorization {{ user: farm, password: {PASSWORD} }}"
        server = NatsServer(tmp_path / "nats", config, jetstream=True)
        server.start()
        yield JetStreamRig(tmp_path, server)
        server.stop()
