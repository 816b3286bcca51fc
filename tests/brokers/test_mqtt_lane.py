"""What a session is subscribed to, with a server that only notes it and answers as a test wants."""

from __future__ import annotations

import asyncio

import pytest

from farm.broker import Home
from farm.brokers.mqtt_link import Link
from farm.brokers.options.mqtt import MqttSpec
from farm.testing.rig import eventually
from tests.brokers.mqtt_ends import Door, broker_of, opened, spec_of

CONNACK = b"\x20\x03\x00\x00\x00"
SUBSCRIBE, DISCONNECT = 0x82, 0xE0
GRANTED, REFUSED, SILENT = 0x01, 0x87, 0x100  # SILENT: it ends the connection in place of an answer
RETAINED_WANTED = 0  # of a SUBSCRIBE's options: what was retained before is sent now


class GrantingDoor(Door):
    """A server. said: its answers to the first SUBSCRIBEs, then it grants all; asked: the SUBSCRIBEs."""

    def __init__(self, *said: int) -> None:
        self.asked: list[bytes] = []
        self._said = list(said)

    @property
    def spec(self) -> MqttSpec:
        """Of a broker that never asks whether it is still there."""
        return spec_of(self.port, keep_alive_s=600.0)

    async def enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        await reader.read(1000)
        writer.write(CONNACK)
        while packet := await reader.read(1000):
            if packet[0] == DISCONNECT:
                break
            if packet[0] == SUBSCRIBE:
                self.asked.append(packet)
                said = self._said.pop(0) if self._said else GRANTED
                if said == SILENT:
                    break
                writer.write(b"\x90\x04" + packet[2:4] + bytes((0, said)))
        writer.close()


@pytest.mark.parametrize("said", [SILENT, REFUSED])
async def test_what_was_retained_is_asked_for_until_the_subscription_is_granted(
    home: Home, monkeypatch: pytest.MonkeyPatch, said: int
) -> None:
    monkeypatch.setattr("farm.brokers.mqtt_lane.AGAIN_S", 0.1)
    async with opened(GrantingDoor(said)) as door:
        async with broker_of(door.spec, home, up=False) as ends:
            ends.trigger(0, "a.b")
            await eventually(lambda: len(door.asked) == 2 and ends.broker.state == "up", "it to be granted")
        async with broker_of(door.spec, home, up=False) as ends:
            ends.trigger(0, "a.b")
            await eventually(lambda: len(door.asked) == 3, "it to be asked for by the next life")
    assert [asked[-1] >> 4 == RETAINED_WANTED for asked in door.asked] == [True, True, False]


async def test_what_was_refused_is_new_to_the_next_life_too(home: Home) -> None:
    async with opened(GrantingDoor(REFUSED)) as door:
        async with broker_of(door.spec, home, up=False) as ends:
            ends.trigger(0, "a.b")
            await eventually(lambda: ends.broker.state == "down", "the refusal")
        async with broker_of(door.spec, home, up=False) as ends:
            ends.trigger(0, "a.b")
            await eventually(lambda: len(door.asked) == 2, "it to be asked for again")
    assert [asked[-1] >> 4 == RETAINED_WANTED for asked in door.asked] == [True, True]


async def test_a_listener_that_takes_the_place_of_another_in_one_turn_is_known_to_the_server(home: Home) -> None:
    """The server puts on each message which subscription it is for: the one that has ended is nobody's."""
    async with opened(GrantingDoor()) as door, broker_of(door.spec, home, up=False) as ends:
        _, end = ends.listener("a.b")
        await eventually(lambda: len(door.asked) == 1 and ends.broker.state == "up", "the first")
        end()
        ends.listener("a.b")
        await eventually(lambda: len(door.asked) == 2, "the second")
    first, second = (asked[4:-6] for asked in door.asked)  # properties, before the filter and its options
    assert first != second


async def test_a_refused_subscription_that_nobody_wants_any_longer_is_no_fault(home: Home) -> None:
    async with opened(GrantingDoor(REFUSED)) as door, broker_of(door.spec, home, up=False) as ends:
        _, end = ends.listener("a.b")
        await eventually(lambda: ends.broker.state == "down", "the refusal")
        end()
        ends.listener("a.c")
        await eventually(lambda: ends.broker.state == "up", "the broker to be up")


async def test_connections_that_farm_itself_ends_soon_are_no_reason_to_be_careful(home: Home) -> None:
    """After several that were cut, publishes go one at a time for a while."""
    async with opened(GrantingDoor()) as door, broker_of(door.spec, home) as ends:
        lane = vars(ends.broker)["_sessions"]["main"].lane
        for _ in range(3):
            link = lane.link
            lane.connect_again()
            await eventually(lambda: lane.link not in (None, link), "another connection")  # noqa: B023
        assert not lane.is_shaky


async def test_a_subscription_that_is_refused_is_not_asked_for_again_at_once(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = 0

    def look(_: Link) -> None:
        nonlocal looked
        looked += 1

    monkeypatch.setattr("farm.brokers.mqtt_lane.TICK_S", 0.01)
    monkeypatch.setattr(Link, "tick", look)
    async with opened(GrantingDoor(REFUSED)) as door, broker_of(door.spec, home, up=False) as ends:
        ends.trigger(0, "a.b")
        await eventually(lambda: ends.broker.state == "down", "the refusal")
        enough = looked + 5
        await eventually(lambda: looked >= enough, "some looks")
        assert len(door.asked) == 1
