from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from farm.broker import Broker, Home
from farm.brokers.nats import NatsBroker
from farm.brokers.options.nats import NatsSpec
from farm.message import Headers
from farm.spec import Secret, TlsSpec
from farm.testing.outages import ServerSuite
from farm.testing.rig import Rig
from farm.testing.suite import BrokerSuite
from tests.nats_client import flushed
from tests.servers import NatsServer, free_port

PASSWORD = "hunter2-not-shown"
WRONG = "swordfish-not-shown"


class NatsOutside:
    """nats-py, which knows nothing of farm."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def publish(self, subject: str, payload: bytes, headers: Headers = (), reply_to: str | None = None) -> None:
        await self._client.publish(subject, payload, reply=reply_to or "", headers=dict(headers) or None)
        await flushed(self._client)

    async def read(self, subject: str) -> list[bytes]:
        found: list[bytes] = []
        await self._client.subscribe(subject, cb=_noting(found))
        await flushed(self._client)
        return found


def _noting(found: list[bytes]) -> Callable[[Msg], Awaitable[None]]:
    async def note(message: Msg) -> None:
        found.append(message.data)

    return note


class NatsRig(Rig):
    """A server that asks for a user and a password."""

    def __init__(self, folder: Path) -> None:
        users = f'{{ user: "farm", password: "{PASSWORD}" }}'
        self.server = self.nats = NatsServer(folder, f"authorization {{ users: [ {users} ] }}")
        self.password = folder / "password"
        self.password.write_text(PASSWORD)
        self.wrong = folder / "wrong"
        self.wrong.write_text(WRONG)

    def spec(self) -> NatsSpec:
        return self._spec()

    def make(self, home: Home) -> Broker:
        return NatsBroker(self.spec(), home)

    @asynccontextmanager
    async def outside(self) -> AsyncIterator[NatsOutside]:
        client = await nats.connect(f"nats://127.0.0.1:{self.nats.port}", user="farm", password=PASSWORD)
        yield NatsOutside(client)
        await client.close()

    def misled(self, home: Home) -> Mapping[str, Broker]:
        specs = {
            "a closed port": self._spec(f"127.0.0.1:{free_port()}"),
            "an unknown host": self._spec("no-such-host.invalid"),
            "a wrong password": self._spec(password=self.wrong),
            "a password that is not there": self._spec(password=Path("/nonexistent/password")),
            "TLS with a server that has none": self._spec(tls=TlsSpec()),
            "an authority that is not there": self._spec(tls=TlsSpec(ca=Path("/nonexistent/ca.pem"))),
        }
        return {what: NatsBroker(spec, home) for what, spec in specs.items()}

    @property
    def secrets(self) -> Sequence[str]:
        return PASSWORD, WRONG

    def _spec(self, server: str = "", password: Path | None = None, tls: TlsSpec | None = None) -> NatsSpec:
        return NatsSpec(
            name="under-test",
            type="nats",
            servers=(server or f"nats://127.0.0.1:{self.nats.port}",),
            user="farm",
            password=Secret(file=password or self.password),
            tls=tls,
        )


class TestNats(BrokerSuite, ServerSuite):
    @pytest.fixture
    def rig(self, tmp_path: Path) -> Iterator[Rig]:
        rig = NatsRig(tmp_path / "server")
        rig.nats.start()
        yield rig
        rig.nats.stop()
