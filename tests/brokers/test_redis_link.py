"""One connection to a Redis server, by itself."""

from __future__ import annotations

import asyncio

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
