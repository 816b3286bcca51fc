"""One connection to a Redis server, by itself."""

from __future__ import annotations

import asyncio
import time

import pytest

from farm.brokers.redis_link import Address, LinkFault, ServerFault, open_link
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


@pytest.mark.parametrize(
    ("said", "code", "text"),
    [
        ("WRONGTYPE no stream script: " + 40 * "a" + ", on @user_script:7.", "WRONGTYPE", "WRONGTYPE no stream"),
        ("@user_script: 20: -OOM no memory.\r\n", "OOM", "OOM no memory"),
        ("ERR Error running script (call to f_0a): @user_script:7: NOGROUP no group", "NOGROUP", "NOGROUP no group"),
        (
            "ERR Error running script (call to f_0a): @user_script:7: @user_script: 7: -READONLY a replica",
            "READONLY",
            "READONLY a replica",
        ),
        (
            "@user_script: 1: The user executing the script can't run this command or subcommand (XADD k)",
            "NOPERM",
            "The user executing the script can't run this command or subcommand (XADD k)",
        ),
        (
            "ERR The user executing the script can't run this command or subcommand",
            "NOPERM",
            "The user executing the script can't run this command or subcommand",
        ),
        (
            "ERR ACL failure in script: No permissions to access a key (XADD k)",
            "NOPERM",
            "ACL failure in script: No permissions to access a key (XADD k)",
        ),
        ("ERR syntax error", "ERR", "syntax error"),
    ],
)
def test_what_servers_of_all_versions_say_of_a_script_is_understood(said: str, code: str, text: str) -> None:
    fault = ServerFault(said)
    assert (fault.code, fault.text) == (code, text)
