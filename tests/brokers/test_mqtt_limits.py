"""Servers that take less than farm asks for, and sessions that hold more than farm knows of."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from farm.broker import Home, Published
from farm.brokers.options.mqtt import WillSpec
from farm.errors import PayloadTooLarge
from farm.message import Message
from farm.testing.rig import eventually, home_of, numbered, payloads
from tests.brokers.mqtt_ends import VERSIONS, broker_of, client_of, held_by, spec_of
from tests.contract.mqtt_rig import KEPT
from tests.servers import Mosquitto, program

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
    spec = spec_of(server.port, retain=True, qos=0, will=WillSpec("farm1.status", "gone", qos=0))
    async with client_of(server.port) as client, broker_of(spec, home, up=False) as ends:
        last_words = client.hear("farm1/status")
        await client.subscribed()
        assert ends.broker.fault.endswith("it retains nothing: remove `retain`")
        await eventually(lambda: server.log.count(" as farm") >= 3, "some tries")
        assert ends.broker.counters.gaps == 0  # nothing was subscribed to, so nothing was missed
        await client.send("farm1/status", b"mark")
        await eventually(lambda: bool(last_words), "the mark")
        assert [each.payload for each in last_words] == [b"mark"]
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


async def test_what_another_life_subscribed_to_with_our_numbers_reaches_no_trigger_of_ours(
    make_server: MakeServer, tmp_path: Path
) -> None:
    """A farm with a client id of the manifest's and a new state directory: the server still has its session."""
    server = make_server("")
    spec = spec_of(server.port, client_id="one")
    async with broker_of(spec, home_of(tmp_path / "home", 0)) as ends:
        came = [ends.trigger(0, "a.*", granted=100), ends.trigger(1, "b.*", granted=100)]
        await ends.ready("a.x", came[0])
        await ends.ready("b.x", came[1])
        ends.broker.settle(came[0] + came[1])
    async with broker_of(spec, home_of(tmp_path / "home", 1)) as ends, client_of(server.port) as client:
        only = ends.trigger(0, "b.*", granted=100)
        await ends.ready("b.x", only)
        await client.send("a/x", b"of nobody's")
        await client.send("b/x", b"mark")
        await eventually(lambda: b"mark" in payloads(only), "the mark")
        assert {each.message.subject for each in only} == {"b.x"}
        ends.broker.settle(only)


async def test_a_session_that_another_program_has_left_with_qos_2_is_told(make_server: MakeServer, home: Home) -> None:
    server = make_server("")
    at = ["-p", str(server.port), "-V", "mqttv5", "-q", "2", "-t"]
    subscribe = [str(program("mosquitto_sub")), "-i", "one", "-c", "-x", "600", "-E", *at, "theirs/#"]
    publish = [str(program("mosquitto_pub")), *at, "theirs/x", "-m", "2"]
    for command in (subscribe, publish):
        await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
    async with broker_of(spec_of(server.port, client_id="one"), home, up=False) as ends:
        fault = "it sends QoS 2, which farm never asked for: end the session that another program has left with its id"
        await eventually(lambda: ends.broker.fault.endswith(fault), "to be told")


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_quiet_broker_whose_server_keeps_nothing_subscribes_to_nothing_again(
    make_server: MakeServer, home: Home, version: Any
) -> None:
    server = make_server("")
    async with broker_of(spec_of(server.port, version=version, qos=0), home) as ends, client_of(server.port) as client:
        came, queued = ends.trigger(0, "a.b", granted=100), ends.trigger(1, "q.b", granted=100, group="g")
        heard, end = ends.listener("a.b")
        await ends.ready("a.b", came, heard)
        await ends.ready("q.b", queued)
        ends.broker.quiet()
        end()
        heard, _ = ends.listener("*.b")
        await ends.ready("z.b", heard)
        del came[:], queued[:]
        await client.send("a/b", b"late")
        await client.send("q/b", b"late")
        await eventually(lambda: payloads(heard).count(b"late") == 2, "both, at the listener")
        await asyncio.sleep(0.05)  # for what must not come
        assert came == queued == []


async def test_what_waits_and_is_nowhere_else_is_counted_when_the_farm_ends(
    make_server: MakeServer, home: Home
) -> None:
    """What others publish with QoS 0 comes with QoS 0, whatever we asked for."""
    server = make_server("")
    async with (
        broker_of(spec_of(server.port), home) as ends,
        broker_of(spec_of(server.port, qos=0), home_of(home.folder() / "other", 1)) as other,
    ):
        came, first = ends.trigger(0, "a.b"), ends.trigger(1, "a.c", granted=100)
        await ends.ready("a.c", first)
        ends.broker.settle(first)
        await other.publish(*numbered(3))
        await eventually(lambda: ends.broker.counters.received >= len(first) + 3, "all of them")
        ends.broker.quiet()
        assert came == []
        assert (ends.broker.counters.dropped, held_by(ends)) == (3, 0)
