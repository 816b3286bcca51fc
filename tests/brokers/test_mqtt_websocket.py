"""MQTT inside a WebSocket, with servers that do not end a connection as they should."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from websockets.frames import Frame, Opcode
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from farm.broker import Home
from farm.testing.rig import eventually
from tests.brokers.mqtt_ends import Door, broker_of, opened, spec_of

CONNACK = b"\x20\x03\x00\x00\x00"
GOING_AWAY = b"\x03\xe9"

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class OpenDoor(Door):
    """A server whose connections stay open until the other side ends them."""

    def __init__(self, talk: Talk) -> None:
        self.count = 0
        self.open = 0
        self._talk = talk

    async def enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.count += 1
        self.open += 1
        try:
            await self._talk(reader, writer)
            while await reader.read(1000):
                pass
        except ConnectionError:
            pass  # the other side has ended it
        finally:
            self.open -= 1
            writer.close()


async def say_nothing(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    """It has accepted, and that is all."""


async def let_in_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Speak MQTT, say that the WebSocket is over, and keep the connection beneath."""
    server = ServerProtocol(subprotocols=[Subprotocol("mqtt")])
    server.receive_data(await reader.readuntil(b"\r\n\r\n"))
    [request] = server.events_received()
    server.send_response(server.accept(request))  # pyright: ignore[reportArgumentType]
    writer.write(b"".join(server.data_to_send()))
    await reader.read(1000)
    server.send_binary(CONNACK)
    writer.write(b"".join(server.data_to_send()))
    await reader.read(1000)
    writer.write(Frame(Opcode.CLOSE, GOING_AWAY).serialize(mask=False))


async def test_a_server_that_never_answers_is_not_kept_waiting_for(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farm.brokers.mqtt_lane.CONNECT_S", 0.1)
    async with opened(OpenDoor(say_nothing)) as door:
        async with broker_of(spec_of(1, url=f"ws://127.0.0.1:{door.port}"), home, up=False) as ends:
            await eventually(lambda: door.count >= 3, "some tries")
            assert ends.broker.fault.endswith(": no answer")
            await eventually(lambda: door.open <= 1, "connections of earlier tries to be ended")
        await eventually(lambda: door.open == 0, "the last one to be ended too")


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n<html>", "no WebSocket: server rejected WebSocket connection: HTTP 502"),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\nno", "rejected WebSocket connection: HTTP 502"),
        (b"HTTP/1.1 502 Bad", "it closed the connection in place of a WebSocket"),
        (b"", "it closed the connection in place of a WebSocket"),
    ],
    ids=["no length", "length", "cut", "nothing"],
)
async def test_the_answer_of_a_proxy_that_lets_nobody_through_is_told(home: Home, answer: bytes, fault: str) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with (
        opened(OpenDoor(refuse)) as door,
        broker_of(spec_of(1, url=f"ws://127.0.0.1:{door.port}/edge?x=1"), home, up=False) as ends,
    ):
        assert ends.broker.fault.endswith(fault)


async def test_a_websocket_that_is_over_is_a_connection_that_is_over(home: Home) -> None:
    async with opened(OpenDoor(let_in_and_close)) as door:
        spec = spec_of(1, url=f"ws://127.0.0.1:{door.port}", keep_alive_s=600.0)
        async with broker_of(spec, home, up=False) as ends:
            ends.trigger(0, "a.b")
            await eventually(lambda: door.count >= 3, "it to be connected to again")
            assert any("it closed the connection" in fault for _, fault in ends.states)
