"""The broker of docs/brokers.md, as a third party would write it: it passes the suite."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from farm.broker import Broker, Home
from farm.message import Headers
from farm.spec import BrokerSpec
from farm.testing.outages import ServerSuite
from farm.testing.rig import Rig
from farm.testing.suite import BrokerSuite
from tests.servers import ServerProcess, free_port
from tests.sources import ROOT

FOLDER = Path(__file__).parent / "lines"


class LineServer(ServerProcess):
    name = "python"

    def command(self) -> Sequence[str]:
        return [sys.executable, str(FOLDER / "line_server.py"), str(self.port)]


class LineOutside:
    """A program that speaks with the server and knows nothing of farm."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._read: dict[str, list[bytes]] = {}
        self._reading = asyncio.create_task(self._note(reader))

    async def publish(self, subject: str, payload: bytes, headers: Headers = (), reply_to: str | None = None) -> None:
        self._writer.write(f"{subject} {payload.hex()}\n".encode())
        await self._writer.drain()

    async def read(self, subject: str) -> list[bytes]:
        return self._read.setdefault(subject, [])

    async def close(self) -> None:
        self._writer.close()
        await self._reading

    async def _note(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            subject, _, payload = line.decode().strip().partition(" ")
            if subject in self._read:
                self._read[subject].append(bytes.fromhex(payload))


class LineRig(Rig):
    def __init__(self, server: LineServer, modules: Any) -> None:
        self.server = self._lines = server
        self.modules = modules

    def spec(self) -> BrokerSpec:
        return self._spec(self._lines.port)

    def make(self, home: Home) -> Broker:
        return self.modules.LinesBroker(self.spec(), home)

    @asynccontextmanager
    async def outside(self) -> AsyncIterator[LineOutside]:
        client = LineOutside(*await asyncio.open_connection("127.0.0.1", self._lines.port, limit=8 << 20))
        yield client
        await client.close()

    def misled(self, home: Home) -> Mapping[str, Broker]:
        return {
            "a closed port": self.modules.LinesBroker(self._spec(free_port()), home),
            "an unknown host": self.modules.LinesBroker(self._spec(4000, "no-such-host.invalid"), home),
        }

    def _spec(self, port: int, host: str = "127.0.0.1") -> BrokerSpec:
        return self.modules.LinesSpec(name="under-test", type="lines", host=host, port=port)


class TestLines(BrokerSuite, ServerSuite):
    @pytest.fixture
    def rig(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
        monkeypatch.syspath_prepend(str(FOLDER))
        server = LineServer(tmp_path / "server")
        server.start()
        yield LineRig(server, __import__("farm_lines"))
        server.stop()


def test_the_documentation_shows_what_is_tried_here() -> None:
    page = (ROOT / "docs" / "brokers.md").read_text()
    for name in ("farm_lines_options.py", "farm_lines.py"):
        assert f"```python\n{(FOLDER / name).read_text()}```\n" in page, name
