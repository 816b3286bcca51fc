"""Servers that take less than farm asks for, and sessions that hold more than farm knows of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from farm.broker import Home, Published
from farm.errors import PayloadTooLarge
from farm.message import Message
from farm.testing.rig import eventually, numbered, payloads
from tests.brokers.mqtt_ends import broker_of, spec_of
from tests.contract.mqtt_rig import KEPT
from tests.servers import Mosquitto

MakeServer = Callable[[str], Mosquitto]


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[MakeServer]:
    """Makes a server that ends with the test."""
    made: list[Mosquitto] = []

    def make(config: str) -> Mosquitto:
        made.append(Mosquitto(tmp_path / "server", f"{KEPT}\n{config}"))
        made[0].start()
        return made[0]

    yield make
    for server in made:
        server.stop()


async def test_a_server_that_grants_less_than_qos_1_without_a_word_is_told(make_server: MakeServer, home: Home) -> None:
    """One of MQTT 3.1.1 says so nowhere but in its answer to the subscription."""
    server = make_server("max_qos 0")
    async with broker_of(spec_of(server.port, version="3.1.1"), home) as ends:
        ends.trigger(0, "a.b", granted=10)
        await eventually(lambda: ends.broker.state == "down", "the broker to see it")
        assert ends.broker.fault.endswith("it refuses the subscription 'a/b': it grants QoS 0 alone: set qos = 0")


async def test_a_server_that_retains_nothing_is_told_where_that_is_asked_for(
    make_server: MakeServer, home: Home
) -> None:
    server = make_server("retain_available false")
    async with broker_of(spec_of(server.port, retain=True), home, up=False) as ends:
        assert ends.broker.fault.endswith("it retains nothing: remove `retain`")
    async with broker_of(spec_of(server.port), home) as ends:
        assert isinstance((await ends.publish(*numbered(1)))[0], Published)


@pytest.mark.parametrize("qos", [0, 1])
async def test_a_server_of_small_packets_takes_what_fits_and_is_sent_nothing_else(
    make_server: MakeServer, home: Home, qos: int
) -> None:
    server = make_server("max_packet_size 4000")
    async with broker_of(spec_of(server.port, qos=qos), home) as ends:
        came = ends.trigger(0, "a.b", granted=1000)
        await ends.ready("a.b", came)
        states = len(ends.states)
        assert ends.broker.payload_limit_bytes == 2000
        headers = (("x-large", "v" * 3000),)
        answers = await ends.publish(
            Message("1", "a.b", bytes(2001)),
            Message("2", "a.b", bytes(2000), headers),
            Message("3", "a.b", bytes(2000)),
        )
        assert [type(answer) for answer in answers] == [PayloadTooLarge, PayloadTooLarge, Published]
        await eventually(lambda: payloads(came) == [bytes(2000)], "the one that fits")
        assert len(ends.states) == states
        ends.broker.settle(came)
