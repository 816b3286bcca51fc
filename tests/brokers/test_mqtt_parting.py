"""What comes and is settled between our goodbye and the end of a connection, with a server that is slow to hear it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from farm.broker import Home
from farm.brokers.mqtt import MqttBroker
from farm.brokers.mqtt_packets import publish
from farm.testing.rig import Ends, eventually, payloads
from tests.brokers.mqtt_ends import Door, broker_of, opened, spec_of

SUBSCRIBE, PUBACK, DISCONNECT = 0x82, 0x40, 0xE0
DUP = 0x08
FIRST = b"\x0b\x01"  # the property that is a subscription's identifier
NO_RETAIN = b"\x25\x00"


def connack(properties: bytes = b"", *, resumed: bool) -> bytes:
    return bytes((0x20, 3 + len(properties), resumed, 0, len(properties))) + properties


def sent(mid: int, *, again: bool = False) -> bytes:
    packet = publish(b"a/b", b"%d" % mid, mid, FIRST)
    return bytes((packet[0] | DUP * again,)) + packet[1:]


class KeepingDoor(Door):
    """A server that keeps one session. greetings: what it says first on each connection; heard: it may hear goodbyes;
    acked: numbers of PUBACKs, by connection.
    """

    def __init__(self, greetings: Sequence[bytes]) -> None:
        self.heard = asyncio.Event()
        self.parting = asyncio.Event()
        self.acked: list[list[int]] = []
        self.late = b""  # what it sends to one that has said goodbye
        self._greetings = greetings

    async def enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        await reader.read(1000)
        acked = list[int]()
        self.acked.append(acked)
        writer.write(self._greetings[min(len(self.acked), len(self._greetings)) - 1])
        while first := await reader.read(1):
            rest = await reader.readexactly((await reader.readexactly(1))[0])
            if first[0] == DISCONNECT:
                writer.write(self.late)
                self.parting.set()
                await self.heard.wait()
                break
            if first[0] == SUBSCRIBE:
                writer.write(b"\x90\x04" + rest[:2] + b"\x00\x01")
            elif first[0] == PUBACK:
                acked.append(int.from_bytes(rest[:2], "big"))
        writer.close()


@asynccontextmanager
async def door_of(*greetings: bytes) -> AsyncIterator[KeepingDoor]:
    async with opened(KeepingDoor(greetings)) as door:
        yield door
        door.heard.set()


def connect_again(ends: Ends) -> None:
    """As for what was left at the server for want of room."""
    session: Any = vars(ends.broker)["_sessions"]["main"]
    session.inbox.owed = True
    session.look()


async def test_what_is_settled_after_our_goodbye_is_not_handed_over_again(home: Home) -> None:
    """The server does not hear of it on that connection, and sends it again on the next."""
    first, second = connack(resumed=False) + sent(1), connack(resumed=True) + sent(1, again=True)
    async with (
        door_of(first, second) as door,
        broker_of(spec_of(door.port, keep_alive_s=600.0), home, up=False) as ends,
    ):
        came = ends.trigger(0, "a.b", granted=10)
        await eventually(lambda: len(came) == 1, "the message")
        connect_again(ends)
        await door.parting.wait()
        ends.broker.settle(came)
        door.heard.set()
        await eventually(lambda: door.acked[1:] == [[1]], "the server to hear of it")
        assert payloads(came) == [b"1"]


async def test_what_comes_after_our_goodbye_is_taken_from_the_next_connection(home: Home) -> None:
    second = connack(resumed=True) + sent(1, again=True)
    async with (
        door_of(connack(resumed=False), second) as door,
        broker_of(spec_of(door.port, keep_alive_s=600.0), home, up=False) as ends,
    ):
        came = ends.trigger(0, "a.b", granted=10)
        await eventually(lambda: ends.broker.state == "up", "the broker to be up")
        door.late = sent(1)
        connect_again(ends)
        await door.parting.wait()
        door.heard.set()
        await eventually(lambda: len(came) >= 1 and len(door.acked) == 2, "the message")
        ends.broker.settle(came)
        await eventually(lambda: door.acked[1:] == [[1]], "the server to hear of it")
        assert payloads(came) == [b"1"]


async def test_a_server_that_cannot_do_what_is_needed_hands_over_nothing(home: Home) -> None:
    """It would hear of nothing, and send the same at each try."""
    async with (
        door_of(connack(NO_RETAIN, resumed=True) + sent(1)) as door,
        broker_of(spec_of(door.port, retain=True, keep_alive_s=600.0), home, up=False) as ends,
    ):
        door.heard.set()
        came = ends.trigger(0, "a.b", granted=10)
        await eventually(lambda: len(door.acked) >= 3, "some tries")
        assert payloads(came) == []


async def test_a_server_that_does_not_hear_our_goodbye_is_left(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farm.brokers.mqtt_link.PART_S", 0.1)
    async with (
        door_of(connack(resumed=False)) as door,
        broker_of(spec_of(door.port, keep_alive_s=600.0), home, up=False) as ends,
    ):
        await eventually(lambda: ends.broker.state == "up", "the broker to be up")
        connect_again(ends)
        await eventually(lambda: len(door.acked) == 2, "another connection")
        assert not door.heard.is_set()


async def test_a_server_that_cannot_do_what_is_needed_is_not_hurried_back_to(home: Home) -> None:
    """Though something of an earlier connection is still owed by it."""
    async with door_of(connack(NO_RETAIN, resumed=False)) as door:
        ends = Ends(MqttBroker(spec_of(door.port, retain=True, keep_alive_s=600.0), home))
        starting = asyncio.create_task(ends.broker.start())
        await door.parting.wait()
        connect_again(ends)
        door.heard.set()
        await starting
        assert (ends.broker.state, ends.broker.fault.endswith("it retains nothing: remove `retain`")) == ("down", True)
        await ends.broker.close()
