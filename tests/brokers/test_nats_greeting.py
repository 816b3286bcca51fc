"""What answers where a NATS server should be, and servers that say no at once."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from farm.brokers.options.nats import NatsSpec
from farm.testing.rig import eventually
from tests.brokers import nats_house
from tests.brokers.nats_house import MakeServer, line_to, spec_of
from tests.servers import free_port

make_server = nats_house.make_server


@pytest.mark.parametrize(
    ("says", "why"),
    [
        (b"220 smtp.example ESMTP\r\n", "it does not speak NATS"),
        (b"INFO {]\r\n", "it does not speak NATS"),
        (b'INFO {"max_payload":1000}\r\n', "the server has no headers: it is older than NATS 2.2"),
        (b'INFO {"headers":true}\r\nHELLO\r\n', "what it says is not of this protocol"),
        (b"INFO {\"headers\":true}\r\n-ERR 'maximum connections exceeded'\r\n", "maximum connections exceeded"),
        (b'INFO {"headers":true}\r\nINFO no\r\n', "its INFO is no JSON object"),
        (b'INFO {"headers":true}\r\nINFO []\r\n', "its INFO is no JSON object"),
        (b"INFO []\r\n", "it does not speak NATS"),
    ],
    ids=["another", "rubbish", "old", "unknown", "full", "info", "list", "list-at-once"],
)
async def test_what_is_no_server_for_us_is_told_in_one_line(says: bytes, why: str, tmp_path: Path) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, line, rest = says.partition(b"\r\n")
        writer.write(first + line)
        if rest:
            await reader.readuntil(b"PING\r\n")
            writer.write(rest)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    spec = NatsSpec(name="x", type="nats", servers=(f"127.0.0.1:{port}",))
    async with line_to(spec, tmp_path) as line:
        assert line.connection.fault.startswith(f"nats://127.0.0.1:{port}: ")
        assert line.connection.fault.endswith(why)
    server.close()


async def test_what_a_server_says_before_it_was_spoken_to_is_heard(tmp_path: Path, make_server: MakeServer) -> None:
    """It takes no more connections, says so behind its INFO, and is gone."""
    server = make_server("max_connections: 1")
    async with line_to(spec_of(server), tmp_path) as first, line_to(spec_of(server), tmp_path) as line:
        await first.up()
        assert line.connection.fault.endswith("maximum connections exceeded")


@pytest.mark.parametrize("host", ["a..b", ".example", "x" * 64 + ".example", "ex\u00adample"])
async def test_a_name_that_no_server_can_have_is_one_line_and_tried_again(host: str, tmp_path: Path) -> None:
    spec = NatsSpec(name="x", type="nats", servers=(f"tls://{host}:4222",))
    async with line_to(spec, tmp_path) as line:
        await eventually(lambda: line.states.count(line.states[0]) > 1, "another try")
        assert line.connection.fault.startswith("tls://")
        assert line.connection.fault.isprintable()


async def test_a_server_that_is_named_and_told_of_is_tried_once(tmp_path: Path) -> None:
    away = free_port()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"headers":true,"connect_urls":["127.0.0.1:%d"]}\r\n' % away)
        await reader.readuntil(b"PING\r\n")
        writer.write(b"PONG\r\n")
        await told.wait()
        writer.close()

    told = asyncio.Event()
    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    spec = NatsSpec(name="x", type="nats", servers=(f"localhost:{port}", f"127.0.0.1:{away}"))
    async with line_to(spec, tmp_path) as line:
        await line.up()
        server.close()
        told.set()
        await eventually(lambda: "; " in line.connection.fault, "both faults")
        assert line.connection.fault.count(f"nats://127.0.0.1:{away}: ") == 1


async def test_of_several_servers_that_are_away_the_same_is_said_at_each_try(tmp_path: Path) -> None:
    servers = tuple(f"nats://127.0.0.1:{free_port()}" for _ in range(3))
    spec = NatsSpec(name="x", type="nats", servers=servers)
    async with line_to(spec, tmp_path) as line:
        await eventually(lambda: len(line.states) > 6, "several tries")
        assert {fault for _, fault in line.states} == {"; ".join(f"{each}: connection refused" for each in servers)}


async def test_a_server_that_never_says_a_word_is_not_waited_for(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        spec = NatsSpec(name="x", type="nats", servers=(f"127.0.0.1:{port}",))
        async with line_to(spec, tmp_path) as line:
            hint = "perhaps it is no NATS server, or wants tls_first"
            assert line.connection.fault == f"nats://127.0.0.1:{port}: no answer: {hint}"
