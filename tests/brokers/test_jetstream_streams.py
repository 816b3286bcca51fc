"""Streams found and made, and what is deleted under us."""

from __future__ import annotations

import asyncio
from pathlib import Path

from nats.aio.client import Client
from nats.js.api import RetentionPolicy, StreamConfig

from farm.broker import Published
from farm.brokers.jetstream_streams import DEAD_LETTERS_STREAM
from farm.errors import BrokerUnavailable
from farm.message import Message
from farm.testing.rig import eventually, numbered, payloads
from tests.brokers import jetstream_house
from tests.brokers.jetstream_house import (
    LETTERS,
    delete_consumer,
    down,
    holding,
    make_orders,
    running,
    stream_of,
    subscribed,
    up,
)
from tests.servers import NatsServer

server, client = jetstream_house.server, jetstream_house.client


async def test_a_stream_takes_in_what_the_triggers_listen_to(
    server: NatsServer, client: Client, tmp_path: Path
) -> None:
    async with running(server, tmp_path) as ends:
        came = [ends.trigger(n, topic, granted=100) for n, topic in enumerate(["x.a.*", "x.*.b", "q.>", "x.a.b"])]
        await ends.ready("x.a.b", came[0], came[1], came[3])
        stream = await stream_of(client, "under-test")
    assert sorted(stream.subjects or ()) == ["q.>", "x.*.*"]
    assert stream.retention == RetentionPolicy.INTEREST
    assert (stream.metadata or {})["farm"] == "under-test"


async def test_a_stream_that_farm_made_takes_in_what_a_later_trigger_wants(
    server: NatsServer, client: Client, tmp_path: Path
) -> None:
    async with running(server, tmp_path) as ends:
        await subscribed(ends)
    async with running(server, tmp_path) as ends:
        await ends.ready("c.d", ends.trigger(0, "c.*", granted=100))
    assert sorted((await stream_of(client, "under-test")).subjects or ()) == ["a.b", "c.*"]


async def test_two_farms_widen_one_stream(server: NatsServer, client: Client, tmp_path: Path) -> None:
    async with running(server, tmp_path, 0) as first, running(server, tmp_path, 1) as second:
        ones, others = first.trigger(0, "a.b", granted=100), second.trigger(0, "c.d", granted=100)
        await asyncio.gather(first.ready("a.b", ones), second.ready("c.d", others))
    assert sorted((await stream_of(client, "under-test")).subjects or ()) == ["a.b", "c.d"]


async def test_what_was_there_is_used_and_never_changed(server: NatsServer, client: Client, tmp_path: Path) -> None:
    await make_orders(client, max_msgs=100)
    before = await stream_of(client, "ORDERS")
    await client.jetstream().publish("orders.old", b"old")
    async with running(server, tmp_path) as ends:
        came = ends.trigger(0, "orders.*", granted=100)
        await eventually(lambda: payloads(came) == [b"old"], "what was in it")
        [answer] = await ends.publish(Message("id", "orders.new", b"new"))
        assert isinstance(answer, Published)
        assert answer.sequence == 2
        await eventually(lambda: payloads(came) == [b"old", b"new"], "the new one")
    assert await stream_of(client, "ORDERS") == before
    assert [one.config.name for one in await client.jetstream().streams_info()] == ["ORDERS", "letters"]


async def test_a_trigger_may_begin_with_what_is_new(server: NatsServer, client: Client, tmp_path: Path) -> None:
    await make_orders(client)
    await client.jetstream().publish("orders.old", b"old")
    async with running(server, tmp_path, deliver="new") as ends:
        came = ends.trigger(0, "orders.*", granted=100)
        await ends.ready("orders.x", came)
        assert payloads(came) == []


async def test_streams_of_others_need_one_for_dead_letters(server: NatsServer, client: Client, tmp_path: Path) -> None:
    await client.jetstream().add_stream(StreamConfig(name="ORDERS", subjects=["orders.>"]))
    async with running(server, tmp_path, stream="ORDERS") as ends:
        fault = await down(ends, "no stream takes in farm.dlq.>", "nats stream add")
        assert ends.broker.fault == fault
        await client.jetstream().add_stream(LETTERS)
        await up(ends)


async def test_a_stream_for_dead_letters_is_made_beside_ours(
    server: NatsServer, client: Client, tmp_path: Path
) -> None:
    async with running(server, tmp_path) as ends:
        await up(ends)
        assert (await stream_of(client, DEAD_LETTERS_STREAM)).subjects == ["farm.dlq.>"]
        answers: list[object] = []
        letters = [Message("id", "farm.dlq.a.b", b"x", (("farm-reason", reason),)) for reason in ("one", "two")]
        ends.broker.store(letters, answers.extend)
        await eventually(lambda: len(answers) == 2, "both answers")
        found = await client.jetstream().get_msg(DEAD_LETTERS_STREAM, 2)
        assert (found.data, (found.headers or {})["farm-reason"]) == (b"x", "two")


async def test_a_topic_that_no_stream_can_take_in_is_one_line(server: NatsServer, tmp_path: Path) -> None:
    async with running(server, tmp_path) as ends:
        ends.trigger(0, ">", granted=1)
        await down(ends, "no stream under-test for >", "Write `subjects`")


async def test_a_topic_outside_a_stream_of_somebody_else_is_one_line(
    server: NatsServer, client: Client, tmp_path: Path
) -> None:
    await make_orders(client)
    async with running(server, tmp_path, stream="ORDERS") as ends:
        ends.trigger(0, "bills.*", granted=1)
        await down(ends, "ORDERS", "bills.*", "farm did not make it")


async def test_a_topic_over_two_streams_is_one_line(server: NatsServer, client: Client, tmp_path: Path) -> None:
    for name in ("eu", "us"):
        await client.jetstream().add_stream(StreamConfig(name=name, subjects=[f"orders.{name}"]))
    async with running(server, tmp_path) as ends:
        ends.trigger(0, "orders.*", granted=1)
        await down(ends, "no one stream for orders.*", "eu and us")


async def test_a_work_queue_takes_one_consumer_and_says_so(server: NatsServer, client: Client, tmp_path: Path) -> None:
    queue = StreamConfig(name="W", subjects=["w.>"], retention=RetentionPolicy.WORK_QUEUE)
    await client.jetstream().add_stream(queue)
    await client.jetstream().add_stream(LETTERS)
    async with running(server, tmp_path, stream="W") as ends:
        await ends.ready("w.a", ends.trigger(0, "w.*", granted=100))
        ends.trigger(1, "w.a", granted=100)
        await down(ends, "consumer not unique on workqueue stream")


async def test_a_server_without_jetstream_is_one_line(tmp_path: Path) -> None:
    server = NatsServer(tmp_path / "plain")
    server.start()
    async with running(server, tmp_path) as ends:
        await down(ends, "JetStream is not enabled")
    server.stop()


async def test_more_replicas_than_there_are_servers_are_one_line(server: NatsServer, tmp_path: Path) -> None:
    async with running(server, tmp_path, replicas=3) as ends:
        ends.trigger(0, "a.b", granted=1)
        fault = await down(ends, "no stream under-test for a.b")
        assert fault.endswith(". Lower `replicas`")


async def test_a_deleted_stream_of_ours_is_made_again(server: NatsServer, client: Client, tmp_path: Path) -> None:
    async with running(server, tmp_path) as ends:
        came = await subscribed(ends)
        held = list(came)
        await client.jetstream().delete_stream("under-test")
        del came[:]
        await ends.ready("a.b", came)
        ends.broker.settle(held)  # of the old stream: nobody's any more
        await ends.publish(*numbered(3))
        await eventually(lambda: payloads(came) == [b"0", b"1", b"2"], "what came later")
        assert len({one.source_id for one in [*held, *came]}) == len(held) + len(came)
        await up(ends)
        assert ends.broker.counters.gaps == 1  # what was in it is gone


async def test_a_deleted_stream_of_somebody_else_is_one_line(
    server: NatsServer, client: Client, tmp_path: Path
) -> None:
    await make_orders(client)
    async with running(server, tmp_path, stream="ORDERS") as ends:
        came = ends.trigger(0, "orders.*", granted=1000)
        await ends.ready("orders.x", came)
        await client.jetstream().delete_stream("ORDERS")
        await down(ends, "stream ORDERS is gone")
        [answer] = await ends.publish(Message("id", "orders.x", b""))
        assert isinstance(answer, BrokerUnavailable)
        await client.jetstream().add_stream(StreamConfig(name="ORDERS", subjects=["orders.>"]))
        await up(ends)
        del came[:]
        await ends.ready("orders.x", came)


async def test_a_deleted_consumer_is_made_again_and_nothing_comes_twice(
    server: NatsServer, client: Client, tmp_path: Path
) -> None:
    async with running(server, tmp_path, retention="limits") as ends:
        came = await holding(ends, 10)
        ends.broker.settle(came[:-3])
        await delete_consumer(client)
        await ends.publish(*numbered(10, first=10))
        await eventually(lambda: len(payloads(came)) >= 20, "the later ones")
        ends.broker.settle(came[-13:])
        await eventually(lambda: ends.broker.state == "up", "all to be well")
        await ends.publish(Message("mark", "a.b", b"mark"))
        await eventually(lambda: b"mark" in payloads(came), "the mark")
        assert payloads(came) == [*(f"{n}".encode() for n in range(20)), b"mark"]
        assert ends.broker.counters.gaps == 0  # the stream has kept all of it


async def test_what_a_deleted_consumer_was_to_get_of_a_stream_of_interest_is_a_gap(
    server: NatsServer, client: Client, tmp_path: Path
) -> None:
    async with running(server, tmp_path) as ends:
        came = await subscribed(ends)
        assert ends.broker.counters.gaps == 0
        await delete_consumer(client)
        await eventually(lambda: ends.broker.counters.gaps == 1, "a gap")
        del came[:]
        await ends.ready("a.b", came)
        await up(ends)
