"""The suite of farm, on the broker of type "lines" and a server of its own."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from farm_lines import LinesBroker
from farm_lines_options import LinesSpec

from farm.broker import Home
from farm.message import Headers
from farm.testing.outages import ServerSuite
from farm.testing.rig import Rig
from farm.testing.suite import BrokerSuite

PROGRAM = Path(__file__).with_name("line_server.py")


class LineServer:
    """The program behind the broker."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen([sys.executable, PROGRAM, str(self.port)])
        end_s = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                assert time.monotonic() < end_s, "the server does not start"
                time.sleep(0.01)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    kill = stop


class LineClient:
    """A program that knows nothing of farm."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self._read: dict[str, list[bytes]] = {}
        self.reading = asyncio.create_task(self._note(reader))

    async def publish(self, subject: str, payload: bytes, headers: Headers = (), reply_to: str | None = None) -> None:
        self.writer.write(f"{subject} {payload.hex()}\n".encode())
        await self.writer.drain()

    async def read(self, subject: str) -> list[bytes]:
        return self._read.setdefault(subject, [])

    async def _note(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            subject, _, payload = line.decode().strip().partition(" ")
            if subject in self._read:
                self._read[subject].append(bytes.fromhex(payload))


class LinesRig(Rig):
    def __init__(self, server: LineServer) -> None:
        self.server = server
        self.port = server.port

    def spec(self) -> LinesSpec:
        return LinesSpec(name="under-test", type="lines", host="127.0.0.1", port=self.port)

    def make(self, home: Home) -> LinesBroker:
        return LinesBroker(self.spec(), home)

    @asynccontextmanager
    async def outside(self) -> AsyncIterator[LineClient]:
        client = LineClient(*await asyncio.open_connection("127.0.0.1", self.port, limit=8 << 20))
        yield client
        client.writer.close()
        await client.reading


class TestLines(BrokerSuite, ServerSuite):
    @pytest.fixture
    def rig(self) -> Iterator[LinesRig]:
        server = LineServer()
        server.start()
        yield LinesRig(server)
        server.stop()
