"""An MQTT server that restarts, forgets, is silent or has too much for us."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog

from farm.broker import Delivery, Home, Published
from farm.brokers.options.mqtt import WillSpec
from farm.errors import BrokerUnavailable
from farm.message import Message
from farm.testing.rig import Ends, eventually, numbered, payloads
from tests.brokers import mqtt_ends
from tests.brokers.mqtt_ends import VERSIONS, broker_of, client_of, held_by, spec_of
from tests.servers import Mosquitto

server = mqtt_ends.server

WAIT_S = 15.0


@pytest.mark.parametrize("version", VERSIONS)
async def test_subscriptions_are_back_and_nothing_is_lost_when_the_server_restarts_under_load(
    server: Mosquitto, home: Home, version: Any, record_property: Callable[[str, object], None]
) -> None:
    async with broker_of(spec_of(server.port, version=version), home) as ends:
        came = ends.trigger(0, "load.*", granted=1_000_000)
        await ends.ready("load.x", came)
        confirmed: set[bytes] = set()
        over = asyncio.Event()
        load = asyncio.create_task(publish_on(ends, came, confirmed, over))
        waits_s: list[float] = []
        for _ in range(5):
            before = len(confirmed)
            await eventually(lambda: len(confirmed) > before + 200, "some load")  # noqa: B023  (awaited in its turn)
            server.stop()
            server.start()
            up_s, seen = time.monotonic(), len(came)
            await eventually(lambda: len(came) > seen, "a message over the subscription")  # noqa: B023
            waits_s.append(time.monotonic() - up_s)
        over.set()
        await load
        await eventually(lambda: confirmed <= set(payloads(came)), "all that was confirmed")
        record_property("back_after_s_median", round(statistics.median(waits_s), 3))
        print(
            f"MQTT {version}: back after {statistics.median(waits_s):.2f} s (median of 5; {len(confirmed)} confirmed)"
        )
        assert ends.broker.counters.gaps == 0


async def publish_on(ends: Ends, came: list[Delivery], confirmed: set[bytes], over: asyncio.Event) -> None:
    """Publish without a pause, note what is confirmed, and settle what has come."""
    number = settled = 0
    while not over.is_set():
        ends.broker.settle(came[settled:])
        settled = len(came)
        messages = numbered(20, "load.x", first=number)
        number += 20
        for message, answer in zip(messages, await ends.publish(*messages), strict=True):
            if isinstance(answer, Published):
                confirmed.add(message.payload)
            else:
                assert isinstance(answer, BrokerUnavailable)
        await asyncio.sleep(0.002)


async def test_a_gap_is_counted_at_each_reconnect_where_nothing_is_kept(server: Mosquitto, home: Home) -> None:
    async with broker_of(spec_of(server.port, qos=0), home) as ends:
        assert ends.broker.volatile
        came = ends.trigger(0, "a.b", granted=1000)
        await ends.ready("a.b", came)
        for number in range(1, 3):
            server.stop()
            await eventually(lambda: ends.broker.state != "up", "the broker to see it")
            server.start()
            await eventually(lambda: ends.broker.state == "up", "the broker to be up")
            assert ends.broker.counters.gaps == number


async def test_what_listeners_may_have_missed_is_one_gap(server: Mosquitto, home: Home) -> None:
    async with broker_of(spec_of(server.port), home) as ends:
        heard, end = ends.listener("a.b")
        await ends.ready("a.b", heard)
        for gaps in (1, 1):
            server.stop()
            await eventually(lambda: ends.broker.state != "up", "the broker to see it")
            server.start()
            await eventually(lambda: ends.broker.state == "up", "the broker to be up again")
            assert ends.broker.counters.gaps == gaps
            end()  # the second time nobody listens


async def test_a_session_that_the_server_has_not_kept_is_a_gap_and_said(home: Home, tmp_path: Path) -> None:
    server = Mosquitto(tmp_path / "server", "allow_anonymous true\npersistence false")
    server.start()
    with structlog.testing.capture_logs() as logs:
        async with broker_of(spec_of(server.port), home) as ends:
            came = ends.trigger(0, "a.b", granted=1000)
            await ends.ready("a.b", came)
            server.kill()
            await eventually(lambda: ends.broker.state != "up", "the broker to see it")
            (server.folder / "mosquitto.db").unlink(missing_ok=True)
            server.start()
            await eventually(lambda: ends.broker.state == "up", "the broker to be up")
            assert ends.broker.counters.gaps == 1
            ends.broker.settle(came)
    assert any("has not kept our session" in each["event"] for each in logs)
    server.stop()


async def test_what_was_not_acknowledged_is_not_handed_over_twice_when_the_connection_is_another(
    server: Mosquitto, home: Home
) -> None:
    async with broker_of(spec_of(server.port), home) as ends, client_of(server.port) as client:
        came = ends.trigger(0, "a.b", granted=1000)
        await ends.ready("a.b", came)
        ends.broker.settle(came)
        for n in range(10):
            await client.send("a/b", b"%d" % n)
        await eventually(lambda: len(payloads(came)) == 10, "all of them")
        server.stop()
        await eventually(lambda: ends.broker.state != "up", "the broker to see it")
        held = [each for each in came if each.message.payload in payloads(came)]
        ends.broker.settle(held[:5])
        server.start()
        await eventually(lambda: ends.broker.state == "up", "the broker to be up")
        await ends.publish(Message("mark", "a.b", b"mark"))
        await eventually(lambda: b"mark" in payloads(came), "the mark")
        assert payloads(came) == [*(b"%d" % n for n in range(10)), b"mark"]
        ends.broker.settle([*held[5:], came[-1]])
        await eventually(lambda: not held_by(ends), "everything acknowledged")
    async with broker_of(spec_of(server.port), home) as ends:
        again = ends.trigger(0, "a.b", granted=1000)
        await ends.ready("a.b", again)
        assert payloads(again) == []


async def test_a_server_that_says_nothing_is_left(server: Mosquitto, home: Home) -> None:
    async with broker_of(spec_of(server.port, keep_alive_s=1.0), home) as ends:
        server.pause()
        await eventually(lambda: ends.broker.state != "up", "the broker to see it")
        assert "does not answer" in ends.broker.fault or "no answer" in ends.broker.fault
        server.go_on()
        await eventually(lambda: ends.broker.state == "up", "the broker to be up")


async def test_what_is_left_at_the_server_for_want_of_room_comes_once_there_is_some(
    server: Mosquitto, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farm.brokers.mqtt_desk.Desk.__init__.__defaults__", (20, 64 << 20))
    spec = spec_of(server.port, will=WillSpec("farm1.status", "gone"))
    async with broker_of(spec, home) as ends, client_of(server.port) as client:
        last_words = client.hear("farm1/status")
        await client.subscribed()
        came = ends.trigger(0, "a.b")
        other = ends.trigger(1, "a.c", granted=1000)
        await ends.ready("a.c", other)
        for n in range(100):
            await client.send("a/b", b"%d" % n)
        await client.send("a/c", b"beside")
        await eventually(lambda: b"beside" in payloads(other), "what another trigger gets")
        assert ends.broker.waiting_for(0) == 20
        ends.broker.grant(0, 1000)
        ends.broker.settle(list(other))
        settled = 0
        end_s = time.monotonic() + WAIT_S
        while len(set(payloads(came))) < 100 and time.monotonic() < end_s:
            ends.broker.settle(came[settled:])
            settled = len(came)
            await asyncio.sleep(0.01)
        assert sorted(map(int, set(payloads(came)))) == list(range(100))
        assert (ends.broker.counters.dropped, ends.broker.counters.gaps) == (0, 0)
        ends.broker.settle(came[settled:])
        await client.send("farm1/status", b"mark")  # comes after whatever the reconnect has said
        await eventually(lambda: bool(last_words), "the mark")
        assert [each.payload for each in last_words] == [b"mark"]
