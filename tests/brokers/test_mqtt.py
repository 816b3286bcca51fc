"""MQTT against a real server: what a message carries, and which subscription it is for."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from farm.broker import Delivery, Home
from farm.brokers.mqtt import MqttBroker
from farm.brokers.options.mqtt import WillSpec
from farm.message import Message
from farm.testing.rig import Ends, eventually, home_of, payloads
from tests.brokers import mqtt_ends
from tests.brokers.mqtt_ends import VERSIONS, broker_of, client_of, held_by, spec_of
from tests.contract.mqtt_rig import PlainClient
from tests.servers import Mosquitto

server = mqtt_ends.server


# What a message carries


async def test_properties_of_mqtt_5_are_headers_and_an_answer_goes_back_with_its_data(
    server: Mosquitto, home: Home
) -> None:
    async with broker_of(spec_of(server.port), home) as ends, client_of(server.port) as client:
        came = ends.trigger(0, "ask.*", granted=1000)
        await ends.ready("ask.me", came)
        answers = client.hear("answers/v1.2/mine")
        await client.subscribed()
        properties = Properties(PacketTypes.PUBLISH)
        properties.UserProperty = ("x-k", "v")
        properties.UserProperty = ("TraceParent", "00-1-2-01")
        properties.ContentType = "text/plain"
        properties.ResponseTopic = "answers/v1.2/mine"
        properties.CorrelationData = b"\x00data"
        await client.send("ask/me", b"?", properties)
        await eventually(lambda: payloads(came) == [b"?"], "the question")
        message = came[-1].message
        assert message.headers == (("content-type", "text/plain"), ("x-k", "v"), ("traceparent", "00-1-2-01"))
        assert message.reply_to == "answers.v1.2.mine"
        answer = Message(f"{message.id}:0", message.reply_to, b"!", (("content-type", "x/y"),), cause=message.id)
        await ends.publish(answer, Message("other", "answers.v1.2.mine", b"in another topic"))
        await eventually(lambda: len(answers) == 1, "the answer")
        found = vars(answers[0].properties)
        assert (answers[0].payload, found["CorrelationData"], found["ContentType"]) == (b"!", b"\x00data", "x/y")
        assert ("farm-cause", message.id) in found["UserProperty"]


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_envelope_of_the_reference_both_ways(server: Mosquitto, home: Home, version: Any) -> None:
    spec = spec_of(server.port, version=version, envelope="reference")
    async with broker_of(spec, home) as ends, client_of(server.port) as client:
        came = ends.trigger(0, "a.b", granted=1000)
        await ends.ready("a.b", came)
        read = client.hear("a/b")
        await client.subscribed()
        await ends.publish(Message("id", "a.b", b"\x00\xff", (), "re.ply"))
        await eventually(lambda: len(read) == 1 and len(payloads(came)) == 1, "the message")
        assert msgspec.msgpack.decode(read[0].payload) == [[0, 255], "a.b", "mqtt", "re.ply"]
        assert (came[-1].message.payload, came[-1].message.reply_to) == (b"\x00\xff", "re.ply")
        for payload in (
            msgspec.msgpack.encode((b"as bytes", "a.b", "mqtt", None)),
            b"in none",
            msgspec.msgpack.encode(([1, 999], "a.b", "mqtt", None)),
            msgspec.msgpack.encode(([1], "a.b", "mqtt")),
        ):
            await client.send("a/b", payload)
        await eventually(lambda: len(payloads(came)) == 5, "all of them")
        assert payloads(came)[1:3] == [b"as bytes", b"in none"]
        assert all(payload.startswith((b"\x94", b"\x93")) for payload in payloads(came)[3:])


@pytest.mark.parametrize("version", VERSIONS)
async def test_topics_that_no_subject_names_arrive_all_the_same(server: Mosquitto, home: Home, version: Any) -> None:
    async with broker_of(spec_of(server.port, version=version), home) as ends, client_of(server.port) as client:
        came = ends.trigger(0, "a.>", granted=1000)
        one_level = ends.trigger(1, "a.*", granted=1000)
        await ends.ready("a.b", came, one_level)
        topics = ["a", "a/v1.2", "a//b", "a/b/", "a/ü *"]
        for topic in topics:
            await client.send(topic, topic.encode())
        await eventually(lambda: len(payloads(came)) == len(topics), "all of them")
        assert {d.message.payload.decode(): d.message.subject for d in came[-len(topics) :]} == {
            topic: topic.replace("/", ".") for topic in topics
        }
        assert [payload.decode() for payload in payloads(one_level)] == ["a/v1.2", "a/ü *"]


async def test_a_will_is_published_when_farm_is_gone_without_a_word(server: Mosquitto, home: Home) -> None:
    spec = spec_of(server.port, will=WillSpec("farm1.status", "gone", retain=True), client_id="one")
    async with client_of(server.port) as client:
        read = client.hear("farm1/status")
        await client.subscribed()
        async with broker_of(spec, home):
            pass
        other = Ends(MqttBroker(spec, home))
        await other.start()
        await client.send("farm1/status", b"mark")  # comes after whatever the end of the one before has said
        await eventually(lambda: bool(read), "the mark")
        assert [each.payload for each in read] == [b"mark"], "one that ends in order has no last will"
        taker = PlainClient(server.port, five=True, client_id="one")  # ends the connection of the other
        await taker.open()
        await eventually(lambda: [each.payload for each in read] == [b"mark", b"gone"], "the will")
        await taker.close()
        await other.broker.close()


@pytest.mark.parametrize("version", VERSIONS)
async def test_what_was_retained_comes_once_for_each_subscription_and_never_to_listeners(
    server: Mosquitto, home: Home, version: Any
) -> None:
    spec = spec_of(server.port, version=version, retain=True)
    async with broker_of(spec, home) as ends:
        await ends.publish(Message("id", "kept.one", b"last"))
    async with broker_of(spec, home) as ends:
        came = ends.trigger(0, "kept.*", granted=1000)
        heard, _ = ends.listener("kept.*")
        await eventually(lambda: payloads(came) == [b"last"], "what was retained")
        ends.broker.settle(came)
        await ends.publish(Message("id", "elsewhere", b""))  # once this is confirmed the server has heard of that
        server.stop()
        await eventually(lambda: ends.broker.state != "up", "the broker to see it")
        server.start()
        await ends.ready("kept.two", came, heard)
        await eventually(lambda: ends.broker.state == "up", "the broker to be up")
        await ends.publish(Message("mark", "kept.two", b"mark"))
        await eventually(lambda: b"mark" in payloads(came) and b"mark" in payloads(heard), "the mark")
        assert payloads(came).count(b"last") == 1
        assert b"last" not in payloads(heard)
        ends.broker.settle(came[1:])
    async with broker_of(spec, home) as ends:
        again = ends.trigger(0, "kept.*", granted=1000)
        await ends.publish(Message("mark", "kept.three", b"another life"))
        await eventually(lambda: payloads(again) == [b"another life"], "nothing that was retained before")


# Which subscription a message is for


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_message_comes_once_to_each_trigger_however_topics_overlap(
    server: Mosquitto, home: Home, version: Any
) -> None:
    async with broker_of(spec_of(server.port, version=version), home) as ends, client_of(server.port) as client:
        topics = ["a.b", "a.b", "a.*", "*.b", ">", "a.b.>"]
        came = [ends.trigger(number, topic, granted=1000) for number, topic in enumerate(topics)]
        members = [ends.trigger(10 + n, "a.b", granted=1000, group="g") for n in range(2)]
        other = ends.trigger(20, "a.*", granted=1000, group="h")
        heard = [ends.listener(pattern)[0] for pattern in ("a.b", "a.*", ">")]
        await ends.ready("a.b", *came, other, *heard)
        for n in range(50):
            await client.send("a/b", b"%d" % n)
        await client.send("a/c", b"c")
        lists = [*came, other, *heard]
        await eventually(lambda: all(len(payloads(each)) >= 50 for each in lists), "all of them, everywhere")
        await eventually(lambda: sum(len(payloads(each)) for each in members) >= 50, "all of them, at the group")
        await asyncio.sleep(0.1)  # for what must not come
        numbers = [b"%d" % n for n in range(50)]
        want = [numbers, numbers, [*numbers, b"c"], numbers, [*numbers, b"c"], numbers]
        assert [payloads(each) for each in came] == want
        assert sorted(payloads(members[0]) + payloads(members[1])) == sorted(numbers)
        assert payloads(other) == [*numbers, b"c"]
        assert [payloads(each) for each in heard] == [numbers, [*numbers, b"c"], [*numbers, b"c"]]
        for each in [*came, *members, other]:
            ends.broker.settle(each)
        await eventually(lambda: not held_by(ends), "everything acknowledged")


@pytest.mark.parametrize("version", VERSIONS)
async def test_what_an_earlier_life_subscribed_to_is_ended_and_keeps_nobody_waiting(
    server: Mosquitto, home: Home, version: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farm.brokers.mqtt.TIDY_S", 0.3)
    spec = spec_of(server.port, version=version)
    async with broker_of(spec, home) as ends:
        old = ends.trigger(0, "old.*", granted=1000)
        queue = ends.trigger(1, "old.q", granted=1000, group="g")
        await ends.ready("old.q", old, queue)
        ends.broker.settle([*old, *queue])
    async with client_of(server.port) as client:
        for topic in ("old/a", "old/q"):
            await client.send(topic, b"left over")
        async with broker_of(spec, home) as ends:
            kept = ends.trigger(0, "new.*", granted=1000)
            await ends.ready("new.a", kept)
            await eventually(lambda: "old" not in record_of(home), "the file without them")
            await eventually(lambda: "$share" not in record_of(home), "the file without the queue")
            before = ends.broker.counters.received
            for topic in ("old/a", "old/q", "new/a"):
                await client.send(topic, b"later")
            await eventually(lambda: b"later" in payloads(kept), "what is still subscribed to")
            assert ends.broker.counters.received == before + 1
        # Another farm of that group gets what the queue is sent: the session that was of it has gone.
        async with broker_of(spec, home_of(Path(home.folder()).parent, 1)) as other:
            came = other.trigger(0, "old.q", granted=1000, group="g")
            await other.ready("old.q", came)
            for n in range(20):
                await client.send("old/q", b"%d" % n)
            await eventually(lambda: len(payloads(came)) == 20, "all of them")


async def test_what_a_server_was_not_there_to_end_is_ended_later(
    server: Mosquitto, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farm.brokers.mqtt.TIDY_S", 0.5)
    async with broker_of(spec_of(server.port), home) as ends:
        ends.broker.settle(await heard_by(ends, "old.*", "old.a"))
    async with broker_of(spec_of(server.port), home) as ends:
        ends.broker.settle(await heard_by(ends, "new.*", "new.a"))
        server.pause()
        await eventually(lambda: vars(ends.broker)["_tidying"] is None, "the end of what is old to be asked for")
        assert "old" in record_of(home)
        server.kill()
        server.start()
        await eventually(lambda: "old" not in record_of(home), "the file without it")


async def heard_by(ends: Ends, topic: str, subject: str) -> list[Delivery]:
    came = ends.trigger(0, topic, granted=1000)
    await ends.ready(subject, came)
    return came


def record_of(home: Home) -> str:
    return (home.folder() / "session.json").read_text()
