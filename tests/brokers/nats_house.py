"""NATS servers of a test's own, and the connection of nats and jetstream to them.

Fixtures: a file of tests names those it wants: `make_server = nats_house.make_server`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from farm.broker import BrokerState
from farm.brokers.nats_connection import NatsConnection
from farm.brokers.nats_pings import Flushed
from farm.brokers.nats_protocol import Raw
from farm.brokers.nats_requests import Requests
from farm.brokers.nats_target import target_of
from farm.brokers.options.nats import NatsSpec
from farm.testing.rig import eventually, home_of
from tests.servers import NatsServer

MakeServer = Callable[..., NatsServer]


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[MakeServer]:
    """Makes servers that end with the test."""
    made: list[NatsServer] = []

    def make(config: str = "", *, jetstream: bool = False) -> NatsServer:
        made.append(NatsServer(tmp_path / f"server{len(made)}", config, jetstream=jetstream))
        made[-1].start()
        return made[-1]

    yield make
    for server in made:
        server.stop()


def spec_of(*servers: NatsServer, **keys: Any) -> NatsSpec:
    addresses = tuple(f"127.0.0.1:{server.port}" for server in servers)
    return replace(NatsSpec(name="under-test", type="nats", servers=addresses), **keys)


class Line:
    """A connection, and what it has told."""

    def __init__(self, spec: NatsSpec, folder: Path) -> None:
        self.states: list[tuple[BrokerState, str]] = []
        self.denied: list[tuple[str, str]] = []
        self.allowed: list[str] = []
        self.connection = NatsConnection(
            target_of(spec, home_of(folder)),
            lambda *now: self.states.append(now),
            lambda *what: self.denied.append(what),
            self.allowed.append,
        )
        self.requests = Requests(self.connection)

    def subscribe(self, subject: str, queue: str = "") -> list[Raw]:
        came: list[Raw] = []
        self.connection.subscribe(subject, came.extend, queue)
        return came

    async def flush(self) -> Flushed:
        answers: list[Flushed] = []
        self.connection.flush(answers.append)
        await eventually(lambda: bool(answers), "the answer to a flush")
        return answers[0]

    async def up(self) -> None:
        await eventually(lambda: self.connection.up, f"the connection ({self.connection.fault})")


@asynccontextmanager
async def line_to(spec: NatsSpec, folder: Path) -> AsyncIterator[Line]:
    line = Line(spec, folder)
    await line.connection.start()
    yield line
    await line.connection.close()
