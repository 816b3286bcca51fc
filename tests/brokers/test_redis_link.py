"""One connection to a Redis server, by itself."""

from __future__ import annotations

import asyncio
import time

import pytest

from farm.brokers.redis_link import Address, LinkFault, open_link
from farm.testing.rig import eventually


async def test_what_is_asked_of_a_link_that_is_over_is_told_why_it_is() -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"INFO {}\r\n")
        await writer.drain()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    ended: list[str] = []
    link = await open_link(Address("127.0.0.1", server.sockets[0].getsockname()[1]), None, ended.append)
    await eventually(lambda: bool(ended), "the end")
    with pytest.raises(LinkFault, match="it does not speak the protocol of Redis"):
        await link.ask("PING")
    server.close()


@pytest.mark.parametrize("told", [False, True], ids=["commands", "told unasked"])
async def test_a_server_that_is_silent_is_asked_after_ten_seconds_and_left_four_later(told: bool) -> None:
    asked: list[bytes] = []

    async def stay_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(100))
        await reader.read()
        writer.close()

    server = await asyncio.start_server(stay_silent, "127.0.0.1", 0)
    ended: list[str] = []
    link = await open_link(Address("127.0.0.1", server.sockets[0].getsockname()[1]), None, ended.append)
    link.told = (lambda _: None) if told else None
    began_s = time.monotonic()
    link.check(began_s + 9.0)
    link.check(began_s + 10.1)
    await eventually(lambda: asked == [b"*1\r\n$4\r\nPING\r\n"], "one question")
    assert ended == []
    link.check(began_s + 10.1 + 5.0)
    assert ended == ["no answer: it is silent"]
    await link.close()
    server.close()
