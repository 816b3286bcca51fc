"""What is JetStream's alone: streams found and made, what the server refuses, and what is deleted under us."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.client import Client
from nats.js.api import ConsumerConfig, DiscardPolicy, RetentionPolicy, StreamConfig
from nats.js.errors import NotFoundError

from farm.broker import Delivery, Published, Subscription
from farm.brokers.jetstream import JetStreamBroker
from farm.brokers.jetstream_streams import DEAD_LETTERS_STREAM
from farm.brokers.options.nats import JetStreamSpec
from farm.errors import BrokerFull, BrokerUnavailable, InputError, PayloadTooLarge
from farm.message import Message
from farm.testing.rig import Ends, eventually, home_of, numbered, payloads
from tests.servers import NatsServer

LETTERS = StreamConfig(name="letters", subjects=["farm.dlq.>"])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path / "nats", jetstream=True)
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def client(server: NatsServer) -> AsyncIterator[Client]:
    client = await nats.connect(f"nats://127.0.0.1:{server.port}")
    yield client
    await client.close()


def spec_of(server: NatsServer, **keys: Any) -> JetStreamSpec:
    spec = JetStreamSpec(name="js", type="jetstream", servers=(f"127.0.0.1:{server.port}",), ack_wait_s=5.0)
    return replace(spec, **keys)


@asynccontextmanager
async def running(server: NatsServer, folder: Path, number: int = 0, **keys: Any) -> AsyncIterator[Ends]:
    """A broker with these keys, started; of the app `under-test`."""
    broker = JetStreamBroker(spec_of(server, **keys), home_of(folder / "home", number))
    await broker.start()
    yield Ends(broker, number)
    await broker.close()


async def up(ends: Ends) -> None:
    await eventually(lambda: ends.broker.state == "up", "the broker to be up")


async def down(ends: Ends, *words: str) -> str:
    """Wait until it is down and says why, in one line."""
    await eventually(lambda: all(word in ends.broker.fault for word in words), f"a fault with {words}")
    assert ends.broker.state == "down"
    assert ends.broker.fault.isprintable()
    return ends.broker.fault


async def stream_of(client: Client, name: str) -> StreamConfig:
    return (await client.jetstream().stream_info(name)).config


# Streams


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
        await ends.ready("a.b", ends.trigger(0, "a.b", granted=100))
    async with running(server, tmp_path) as ends:
        await ends.ready("c.d", ends.trigger(0, "c.*", granted=100))
    assert sorted((await stream_of(client, "under-test")).subjects or ()) == ["a.b", "c.*"]


async def test_two_farms_widen_one_stream(server: NatsServer, client: Client, tmp_path: Path) -> None:
    async with running(server, tmp_path, 0) as first, running(server, tmp_path, 1) as second:
        ones, others = first.trigger(0, "a.b", granted=100), second.trigger(0, "c.d", granted=100)
        await asyncio.gather(first.ready("a.b", ones), second.ready("c.d", others))
    assert sorted((await stream_of(client, "under-test")).subjects or ()) == ["a.b", "c.d"]


async def test_what_was_there_is_used_and_never_changed(server: NatsServer, client: Client, tmp_path: Path) -> None:
    await client.jetstream().add_stream(StreamConfig(name="ORDERS", subjects=["orders.>"], max_msgs=100))
    await client.jetstream().add_stream(LETTERS)
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
    await client.jetstream().add_stream(StreamConfig(name="ORDERS", subjects=["orders.>"]))
    await client.jetstream().add_stream(LETTERS)
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
    await client.jetstream().add_stream(StreamConfig(name="ORDERS", subjects=["orders.>"]))
    await client.jetstream().add_stream(LETTERS)
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


# Deleted under us


async def test_a_deleted_stream_of_ours_is_made_again(server: NatsServer, client: Client, tmp_path: Path) -> None:
    async with running(server, tmp_path) as ends:
        came = ends.trigger(0, "a.b", granted=1000)
        await ends.ready("a.b", came)
        held = list(came)
        await client.jetstream().delete_stream("under-test")
        del came[:]
        await ends.ready("a.b", came)
        ends.broker.settle(held)  # of the old stream: nobody's any more
        await ends.publish(*numbered(3))
        await eventually(lambda: payloads(came) == [b"0", b"1", b"2"], "what came later")
        assert len({one.source_id for one in [*held, *came]}) == len(held) + len(came)
        await up(ends)


async def test_a_deleted_stream_of_somebody_else_is_one_line(
    server: NatsServer, client: Client, tmp_path: Path
) -> None:
    await client.jetstream().add_stream(StreamConfig(name="ORDERS", subjects=["orders.>"]))
    await client.jetstream().add_stream(LETTERS)
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
        came = ends.trigger(0, "a.b", granted=1000)
        await ends.ready("a.b", came)
        await ends.publish(*numbered(10))
        await eventually(lambda: len(payloads(came)) == 10, "all of them")
        ends.broker.settle(came[:-3])
        name = (await client.jetstream().consumers_info("under-test"))[0].name
        await client.jetstream().delete_consumer("under-test", name)
        await ends.publish(*numbered(10, first=10))
        await eventually(lambda: len(payloads(came)) >= 20, "the later ones")
        ends.broker.settle(came[-13:])
        await eventually(lambda: ends.broker.state == "up", "all to be well")
        await ends.publish(Message("mark", "a.b", b"mark"))
        await eventually(lambda: b"mark" in payloads(came), "the mark")
        assert payloads(came) == [*(f"{n}".encode() for n in range(20)), b"mark"]


# Publishing


async def test_a_subject_that_no_stream_takes_in_is_refused_for_good(server: NatsServer, tmp_path: Path) -> None:
    async with running(server, tmp_path) as ends:
        await ends.ready("a.b", ends.trigger(0, "a.b", granted=100))
        heard, _ = ends.listener("nowhere.>")  # somebody hears it, and yet nobody keeps it
        answers = await ends.publish(Message("1", "nowhere.a", b"x"), Message("2", "a.b", b"y"))
        assert isinstance(answers[0], InputError)
        assert "no stream takes in 'nowhere.a'" in str(answers[0])
        assert isinstance(answers[1], Published)
        assert payloads(heard) == [b"x"]


async def test_an_answer_to_an_inbox_needs_no_stream(server: NatsServer, client: Client, tmp_path: Path) -> None:
    async with running(server, tmp_path) as ends:
        await up(ends)
        inbox = client.new_inbox()
        waiting = await client.subscribe(inbox)
        await client.flush()
        answers: list[object] = []
        ends.broker.publish([Message("id", inbox, b"answer")], answers.extend, checked=True)
        assert (await waiting.next_msg(10)).data == b"answer"
        await eventually(lambda: len(answers) == 1, "the answer")
        assert isinstance(answers[0], Published)


async def test_an_output_is_stored_once_however_often_it_is_published(server: NatsServer, tmp_path: Path) -> None:
    async with running(server, tmp_path) as ends:
        came = ends.trigger(0, "a.b", granted=100)
        await ends.ready("a.b", came)
        output = Message("parent:c:0", "a.b", b"output", (), None, "parent", 1)
        known = Message("1", "a.b", b"known", dedup="1:2:3")
        answers = [one for _ in range(3) for one in await ends.publish(output, known)]
        assert len({one.sequence for one in answers if isinstance(one, Published)}) == 2
        client_message = Message("same", "a.b", b"twice")
        await ends.publish(client_message, client_message)
        await eventually(lambda: payloads(came) == [b"output", b"known", b"twice", b"twice"], "each of them")


async def test_a_payload_that_is_too_large_with_its_headers_is_refused_and_nothing_else(
    server: NatsServer, tmp_path: Path
) -> None:
    server.stop()
    server.config = "max_payload: 65536"
    server.start()
    async with running(server, tmp_path) as ends:
        came = ends.trigger(0, "a.b", granted=100)
        await ends.ready("a.b", came)
        assert ends.broker.payload_limit_bytes == 48 << 10
        headers = tuple((f"x-{n}", "v" * 1000) for n in range(20))
        answers = await ends.publish(
            Message("1", "a.b", bytes((48 << 10) + 1)), Message("2", "a.b", bytes(48 << 10), headers), *numbered(1)
        )
        assert [type(one) for one in answers] == [PayloadTooLarge, PayloadTooLarge, Published]
        await eventually(lambda: payloads(came) == [b"0"], "the small one")
        assert ends.broker.state == "up"


async def test_what_a_stream_refuses_is_told_apart(server: NatsServer, client: Client, tmp_path: Path) -> None:
    full = StreamConfig(name="FULL", subjects=["full"], max_msgs=1, discard=DiscardPolicy.NEW)
    await client.jetstream().add_stream(full)
    await client.jetstream().add_stream(StreamConfig(name="SMALL", subjects=["small"], max_msg_size=10))
    async with running(server, tmp_path) as ends:
        await up(ends)
        answers = await ends.publish(*(Message("id", subject, b"x" * 100) for subject in ("full", "full", "small")))
        assert [type(one) for one in answers] == [Published, BrokerFull, InputError]
        assert "message size exceeds maximum allowed" in str(answers[2])


# Deliveries


async def test_deliveries_are_counted_by_the_server_and_named_once_and_for_all(
    server: NatsServer, client: Client, tmp_path: Path
) -> None:
    async with running(server, tmp_path) as ends:
        came = ends.trigger(0, "a.b", granted=1000)
        await ends.ready("a.b", came)
        await client.publish("a.b", b"of somebody else")
        for count in range(1, 5):
            await eventually(lambda: len(payloads(came)) == count, "a delivery")  # noqa: B023
            delivery = came[-1]
            assert delivery.deliveries == count
            assert delivery.message.id == delivery.source_id
            assert delivery.source_id == came[-count].source_id
            ends.broker.release([delivery])
        made, name, sequence = came[-1].source_id.split(":")
        assert made
        assert (name, int(sequence)) == ("under-test", (await stream_state(client)).last_seq)


async def stream_state(client: Client) -> Any:
    return (await client.jetstream().stream_info("under-test")).state


async def test_what_is_not_done_at_the_end_is_free_at_once(server: NatsServer, tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    async with running(server, tmp_path, 0, ack_wait_s=3600.0) as ends:
        came = ends.trigger(0, "q.b", granted=1000, group="g")
        await ends.ready("q.b", came)
        await ends.publish(*numbered(10, "q.b"))
        await eventually(lambda: len(payloads(came)) == 10, "all of them")
    began_s = loop.time()
    async with running(server, tmp_path, 1, ack_wait_s=3600.0) as ends:
        again = ends.trigger(0, "q.b", granted=1000, group="g")
        await eventually(lambda: len(payloads(again)) == 10, "all of them again")
    assert loop.time() - began_s < 3600


async def test_a_farm_that_ends_takes_nothing_more(server: NatsServer, tmp_path: Path) -> None:
    async with running(server, tmp_path, 0) as first, running(server, tmp_path, 1) as second:
        ones = first.trigger(0, "q.b", granted=1000, group="g")
        await first.ready("q.b", ones)
        first.broker.quiet()
        others = second.trigger(0, "q.b", granted=1000, group="g")
        await second.ready("q.b", others)
        await second.publish(*numbered(100, "q.b"))
        await eventually(lambda: len(payloads(others)) == 100, "all of them, at the other farm")
        assert payloads(ones) == []
        first.broker.settle(ones)


async def test_a_settling_that_was_not_confirmed_is_repeated(
    server: NatsServer, client: Client, tmp_path: Path
) -> None:
    async with running(server, tmp_path) as ends:
        came = ends.trigger(0, "a.b", granted=1000)
        await ends.ready("a.b", came)
        await ends.publish(*numbered(10))
        await eventually(lambda: len(payloads(came)) == 10, "all of them")
        server.kill()
        await eventually(lambda: ends.broker.state == "down", "the broker to see it")
        ends.broker.settle(list(came))
        server.start()
        await up(ends)
        name = "farm-0-0-a-b"
        pending = -1
        while pending:
            pending = (await client.jetstream().consumer_info("under-test", name)).num_ack_pending or 0
        await ends.publish(Message("mark", "a.b", b"mark"))
        await eventually(lambda: payloads(came)[10:] == [b"mark"], "the mark alone")


async def test_a_consumer_that_is_there_is_made_to_fit(server: NatsServer, client: Client, tmp_path: Path) -> None:
    async with running(server, tmp_path) as ends:
        await ends.ready("a.b", ends.trigger(0, "a.b", granted=100))
    before = await client.jetstream().consumer_info("under-test", "farm-0-0-a-b")
    async with running(server, tmp_path, ack_wait_s=77.0) as ends:
        await ends.ready("a.b", ends.trigger(0, "a.b", granted=100))
    after = await client.jetstream().consumer_info("under-test", "farm-0-0-a-b")
    assert (before.config.ack_wait, after.config.ack_wait) == (5.0, 77.0)
    assert (after.config.max_deliver, after.created) == (-1, before.created)


async def test_a_consumer_that_farm_cannot_use_is_one_line(server: NatsServer, client: Client, tmp_path: Path) -> None:
    await client.jetstream().add_stream(StreamConfig(name="ORDERS", subjects=["orders.>"]))
    await client.jetstream().add_stream(LETTERS)
    pushed = ConsumerConfig(durable_name="billing", deliver_subject="there", filter_subject="orders.*")
    await client.jetstream().add_consumer("ORDERS", pushed)
    async with running(server, tmp_path, stream="ORDERS") as ends:
        came: list[Delivery] = []
        ends.broker.deliver(Subscription(0, "orders.*", "billing", "billing"), came.extend)
        await down(ends, "no consumer billing", "stream ORDERS")


async def test_a_client_finds_no_stream_where_no_trigger_is(server: NatsServer, client: Client, tmp_path: Path) -> None:
    async with running(server, tmp_path) as ends:
        await up(ends)
        with pytest.raises(NotFoundError):
            await stream_of(client, "under-test")
