"""What Redis pub/sub alone has: patterns, real channels, gaps, and queues that are streams."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from farm.broker import Home, Published
from farm.brokers import backlog
from farm.errors import BrokerUnavailable, InputError
from farm.message import Message
from farm.testing.rig import Ends, eventually, home_of, numbered, payloads
from tests.brokers import redis_house
from tests.brokers.redis_servers import pubsub
from tests.servers import RedisServer

server, client, ends = redis_house.server, redis_house.client, redis_house.pubsub

QUEUE = "farm:{q.b}:queue:g-q-b"


async def test_the_real_channel_comes_and_not_the_pattern(ends: Ends, client: Any) -> None:
    came = ends.trigger(0, "news.[ab]?.*", granted=1000)
    await ends.ready("news.ab.x", came)
    del came[:]
    for channel in ("news.a1.x.y", "news.c1.x", "news.b2.", "news.a"):
        client.publish(channel, channel)
    client.publish("news.aa.last", "")
    await eventually(lambda: bool(came) and came[-1].message.subject == "news.aa.last", "the last one")
    assert [one.message.subject for one in came] == ["news.a1.x.y", "news.b2.", "news.aa.last"]
    assert came[0].message.payload == b"news.a1.x.y"


async def test_a_pattern_is_subscribed_to_once_and_left_when_nobody_wants_it(ends: Ends, client: Any) -> None:
    came = ends.trigger(0, "a.*", granted=1000)
    heard, end = ends.listener("a.*")
    others, end_others = ends.listener("a.b")
    await ends.ready("a.b", came, heard, others)
    assert client.pubsub_numpat() == 1
    assert client.pubsub_numsub("a.b") == [(b"a.b", 1)]
    end()
    end_others()
    await eventually(lambda: client.pubsub_numsub("a.b") == [(b"a.b", 0)], "the channel to be left")
    assert client.pubsub_numpat() == 1, "a trigger wants it"
    ends.broker.quiet()
    await eventually(lambda: client.pubsub_numpat() == 0, "the pattern to be left")


async def test_no_wildcard_hears_what_is_farms_own(ends: Ends, client: Any) -> None:
    came = ends.trigger(0, "*", granted=1000)
    await ends.ready("a.b", came)
    client.publish("farm:{a.b}:live", "x")
    client.publish("farm.dlq.a.b", "x")
    client.publish("other.b", "mark")
    await eventually(lambda: b"mark" in payloads(came), "the mark")
    assert not [one for one in came if one.message.subject.startswith("farm.")]


async def test_redis_tells_how_many_got_it(ends: Ends, client: Any) -> None:
    listener = client.pubsub()
    listener.subscribe("a.b")
    listener.get_message(timeout=5)
    [answer] = await ends.publish(Message("id", "a.b", b"x"))
    assert answer == Published(0, 0, receivers=1)
    assert listener.get_message(timeout=5)["data"] == b"x"
    listener.close()


async def test_a_channel_that_is_no_text_is_heard_all_the_same(ends: Ends, client: Any) -> None:
    came = ends.trigger(0, "a.*", granted=1000)
    await ends.ready("a.b", came)
    del came[:]
    client.publish(b"a.\xff", b"\xff\x00")
    await eventually(lambda: bool(came), "the message")
    assert came[0].message.payload == b"\xff\x00"


async def test_a_subscriber_that_was_cut_off_has_a_gap(ends: Ends, client: Any) -> None:
    came = ends.trigger(0, "a.b", granted=1000)
    await ends.ready("a.b", came)
    assert ends.broker.counters.gaps == 0
    client.client_kill_filter(_type="pubsub")
    await eventually(lambda: ends.broker.counters.gaps == 1, "the gap")
    del came[:]
    await eventually(lambda: ends.broker.state == "up", "the broker to be up again")
    await ends.ready("a.b", came)


async def test_what_nobody_has_granted_waits_within_bounds(ends: Ends, client: Any) -> None:
    came, quick = ends.trigger(0, "a.b"), ends.trigger(1, "a.b", granted=1 << 20)
    await ends.ready("a.b", quick)
    before = ends.broker.counters.dropped
    pipeline = client.pipeline(transaction=False)
    for n in range(backlog.COUNT_LIMIT + 500):
        pipeline.publish("a.b", str(n))
    await asyncio.to_thread(pipeline.execute)
    await eventually(lambda: len(payloads(quick)) == backlog.COUNT_LIMIT + 500, "all, where there is room")
    assert ends.broker.waiting_for(0) == backlog.COUNT_LIMIT
    assert ends.broker.counters.dropped > before
    assert ends.broker.counters.gaps == 1
    assert came == []


class TestQueues:
    async def test_a_queue_whose_key_is_no_stream_is_named_to_whoever_publishes(self, ends: Ends, client: Any) -> None:
        client.sadd("farm:{a.b}:queues", "another")
        client.set("farm:{a.b}:queue:another", "a string")
        [bad] = await ends.publish(Message("1", "a.b", b""))
        assert isinstance(bad, InputError)
        assert str(bad).endswith("holding the wrong kind of value: farm:{a.b}:queue:another")

    async def test_one_publish_reaches_subscribers_and_queues(self, ends: Ends, client: Any) -> None:
        topic, queue = ends.trigger(0, "q.*", granted=1000), ends.trigger(1, "q.b", granted=1000, group="g")
        await ends.ready("q.b", topic, queue)
        await ends.publish(*numbered(20, "q.b"))
        await eventually(lambda: len(payloads(topic)) == len(payloads(queue)) == 20, "all, at both")
        assert [one.message.id for one in queue[-20:]] == [f"id-{n}" for n in range(20)]
        ends.broker.settle([*topic, *queue])
        await eventually(lambda: client.xlen(QUEUE) == 0, "the queue to be empty")

    async def test_a_queue_keeps_what_nobody_handled(self, ends: Ends, server: RedisServer, home: Home) -> None:
        queue = ends.trigger(0, "q.b", granted=1, group="g")
        await ends.ready("q.b", queue)
        await ends.publish(*numbered(20, "q.b"))
        await ends.broker.close()
        server.kill()
        server.start()
        again = await Ends(pubsub(home, server.port)).start()
        rest = again.trigger(0, "q.b", granted=1000, group="g")
        await eventually(lambda: len(payloads(rest)) == 20, "all of them")
        assert again.broker.counters.gaps == 0, "a queue has none"
        await again.broker.close()

    async def test_what_a_queue_released_is_the_others(self, ends: Ends, server: RedisServer, home: Home) -> None:
        other = await Ends(pubsub(home_of(Path(home.folder()), 1), server.port)).start()
        first = ends.trigger(0, "q.b", granted=1000, group="g")
        await ends.ready("q.b", first)
        await ends.publish(*numbered(20, "q.b"))
        await eventually(lambda: len(payloads(first)) == 20, "all, at the first")
        ends.broker.quiet()
        ends.broker.release(first)
        second = other.trigger(0, "q.b", granted=1000, group="g")
        await eventually(lambda: len(payloads(second)) == 20, "all, at the second")
        await other.broker.close()

    async def test_a_stream_that_somebody_deleted_is_no_queue_until_it_is_made_again(
        self, ends: Ends, client: Any
    ) -> None:
        queue = ends.trigger(0, "q.b", granted=1000, group="g")
        await ends.ready("q.b", queue)
        client.delete(QUEUE)
        del queue[:]
        await ends.ready("q.b", queue)
        assert ends.broker.counters.gaps == 1


async def test_publishes_on_their_way_when_the_server_dies_are_answered(ends: Ends, server: RedisServer) -> None:
    server.pause()
    calls: list[Any] = []
    ends.broker.publish(numbered(10), calls.append)
    server.kill()
    await eventually(lambda: bool(calls), "the answers")
    assert all(isinstance(answer, BrokerUnavailable) for answer in calls[0])
    assert "\n" not in str(calls[0][0])
    server.start()
