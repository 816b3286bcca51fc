"""What is JetStream's alone: what the server refuses, counts, and settles."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client
from nats.js.api import ConsumerConfig, DiscardPolicy, StreamConfig
from nats.js.errors import NotFoundError

from farm.broker import Delivery, Published, Subscription
from farm.brokers import jetstream_consumer, jetstream_pulls
from farm.brokers.options.nats import JetStreamSpec
from farm.errors import BrokerFull, InputError, NotPermitted, PayloadTooLarge
from farm.message import Message
from farm.testing.rig import eventually, numbered, payloads
from tests.brokers import jetstream_house
from tests.brokers.jetstream_house import down, holding, limited, make_orders, running, stream_of, subscribed, up
from tests.nats_client import flushed
from tests.servers import NatsServer

server, client = jetstream_house.server, jetstream_house.client


# Publishing


async def test_a_subject_that_no_stream_takes_in_is_refused_for_good(server: NatsServer, tmp_path: Path) -> None:
    async with running(server, tmp_path) as ends:
        await subscribed(ends)
        heard, _ = ends.listener("nowhere.>")  # somebody hears it, and yet nobody keeps it
        answers = await ends.publish(Message("1", "nowhere.a", b"x"), Message("2", "a.b", b"y"))
        assert isinstance(answers[0], InputError)
        assert str(answers[0]) == "no stream takes in 'nowhere.a' (js). Add it to `subjects` of the broker"
        assert isinstance(answers[1], Published)
        assert payloads(heard) == [b"x"]


async def test_what_the_server_does_not_permit_is_refused_for_good_and_its_neighbours_are_not(tmp_path: Path) -> None:
    server, keys = limited(tmp_path, "secret.>")
    async with running(server, tmp_path, subjects=("a.b", "secret.>"), **keys) as ends:
        await up(ends)
        answers = await ends.publish(Message("1", "a.b", b""), Message("2", "secret.x", b""), Message("3", "a.b", b""))
        assert [type(answer) for answer in answers] == [Published, NotPermitted, Published]
        assert str(answers[1]) == "cannot publish to 'secret.x' (js): the server does not permit it"
        assert ends.broker.state == "up"
    server.stop()


async def test_where_nothing_can_be_acknowledged_the_broker_is_down(tmp_path: Path) -> None:
    server, keys = limited(tmp_path, "$JS.ACK.>")
    async with running(server, tmp_path, **keys) as ends:
        came = await subscribed(ends)
        ends.broker.settle(came)
        await down(ends, "the server does not let us acknowledge: permit publishes to $JS.ACK.>")
    server.stop()


async def test_an_answer_to_an_inbox_needs_no_stream(server: NatsServer, client: Client, tmp_path: Path) -> None:
    async with running(server, tmp_path) as ends:
        await up(ends)
        inbox = client.new_inbox()
        waiting = await client.subscribe(inbox)
        await flushed(client)
        answers: list[object] = []
        ends.broker.publish([Message("id", inbox, b"answer")], answers.extend, checked=True)
        assert (await waiting.next_msg(10)).data == b"answer"
        await eventually(lambda: len(answers) == 1, "the answer")
        assert isinstance(answers[0], Published)


async def test_an_output_is_stored_once_however_often_it_is_published(server: NatsServer, tmp_path: Path) -> None:
    async with running(server, tmp_path) as ends:
        came = await subscribed(ends)
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
        came = await subscribed(ends)
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
        came = await subscribed(ends)
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
    async with running(server, tmp_path, 0, ack_wait_s=3600.0) as ends:
        await holding(ends, 10, "q.b", group="g")
    async with running(server, tmp_path, 1, ack_wait_s=3600.0) as ends:
        again = ends.trigger(0, "q.b", granted=1000, group="g")
        await eventually(lambda: len(payloads(again)) == 10, "all of them again")


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
    async with running(server, tmp_path, ack_wait_s=3600.0) as ends:
        came = await holding(ends, 10)
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


async def test_what_is_settled_last_is_confirmed_before_a_farm_has_ended(
    server: NatsServer, client: Client, tmp_path: Path
) -> None:
    async with running(server, tmp_path) as ends:
        came = await holding(ends, 500)
        ends.broker.settle(list(came))
    assert (await client.jetstream().consumer_info("under-test", "farm-0-0-a-b")).num_ack_pending == 0


async def test_a_consumer_that_is_there_is_made_to_fit(server: NatsServer, client: Client, tmp_path: Path) -> None:
    async with running(server, tmp_path) as ends:
        await subscribed(ends)
    before = await client.jetstream().consumer_info("under-test", "farm-0-0-a-b")
    async with running(server, tmp_path, ack_wait_s=77.0) as ends:
        await subscribed(ends)
    after = await client.jetstream().consumer_info("under-test", "farm-0-0-a-b")
    assert (before.config.ack_wait, after.config.ack_wait) == (5.0, 77.0)
    assert (after.config.max_deliver, after.created) == (-1, before.created)


async def test_a_consumer_that_farm_cannot_use_is_one_line(server: NatsServer, client: Client, tmp_path: Path) -> None:
    await make_orders(client)
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


async def test_what_is_held_is_bounded_in_bytes(
    server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jetstream_consumer, "HELD_LIMIT_BYTES", 1 << 20)
    monkeypatch.setattr(jetstream_pulls, "BATCH_LIMIT_BYTES", 256 << 10)
    async with running(server, tmp_path) as ends:
        came = await subscribed(ends)
        await ends.publish(*(Message(f"{n}", "a.b", bytes(100_000)) for n in range(60)))
        most = (1 << 20) + jetstream_pulls.PULLS_LIMIT * (256 << 10)
        seen = 0
        while seen < 60:
            await eventually(lambda: len(payloads(came)) > 0, "more of them")
            await asyncio.sleep(0.1)  # for what must not come
            assert sum(map(len, payloads(came))) <= most
            seen += len(payloads(came))
            ends.broker.settle(list(came))
            del came[:]


async def test_a_message_that_no_pull_has_room_for_comes_all_the_same(
    server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jetstream_pulls, "BATCH_LIMIT_BYTES", 64 << 10)
    async with running(server, tmp_path) as ends:
        came = await subscribed(ends)
        await ends.publish(Message("1", "a.b", bytes(100_000)), *numbered(1))
        await eventually(lambda: list(map(len, payloads(came))) == [100_000, 1], "both")


def test_subjects_that_are_no_filters_are_told_with_the_manifest() -> None:
    spec = JetStreamSpec(name="js", type="jetstream", server="embedded", subjects=("a.*", "a..b"), replicas=3)
    assert [(fault.key, fault.why.split(":")[0]) for fault in spec.faults()] == [
        ("subjects", "'a..b' is no filter of NATS"),
        ("replicas", "the embedded server is one"),
    ]
