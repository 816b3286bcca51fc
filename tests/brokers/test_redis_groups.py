"""Consumers of a stream: whose an entry is, and what becomes of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from farm.broker import Commit, Delivery, Home
from farm.brokers import redis_groups
from farm.brokers.redis_consumer import Consumer
from farm.brokers.redis_scripts import TAKE
from farm.message import Message
from farm.testing.rig import Ends, eventually, home_of, numbered, payloads
from tests.brokers import redis_house
from tests.brokers.redis_house import STREAM, holding, pending, subscribed
from tests.brokers.redis_servers import plain, streams
from tests.servers import RedisServer

server, client, ends = redis_house.server, redis_house.client, redis_house.streams


class TestConsumers:
    async def test_own_pending_entries_come_first(self, ends: Ends, server: RedisServer, home: Home) -> None:
        await holding(ends, 300)
        await ends.broker.close()  # without a word about what it had
        other = await Ends(streams(home_of(Path(home.folder()), 9), server.port)).start()
        await other.publish(*numbered(5, first=300))
        again = await Ends(streams(home, server.port)).start()
        rest = again.trigger(0, "a.b", granted=10)
        await eventually(lambda: len(rest) == 10, "what was granted")
        again.broker.grant(0, 1000)
        await eventually(lambda: len(rest) == 305, "all of them, at once")
        assert payloads(rest) == [b"%d" % n for n in range(305)]
        assert {one.deliveries for one in rest[:300]} == {2}
        assert {one.deliveries for one in rest[300:]} == {1}
        await again.broker.close()
        await other.broker.close()

    @pytest.mark.parametrize("granted", [0, 1000], ids=["new", "pending"])
    async def test_of_heavy_entries_as_many_come_as_grants_of_64_kib_allow(
        self, ends: Ends, server: RedisServer, home: Home, granted: int
    ) -> None:
        came = await subscribed(ends, granted=granted)
        await ends.publish(*(Message(f"{n}", "a.b", bytes(200_000)) for n in range(60)))  # four grants each
        await eventually(lambda: len(came) == (60 if granted else 0), "what was granted")
        await ends.broker.close()
        again = await Ends(streams(home, server.port)).start()
        rest = again.trigger(0, "a.b", granted=100)
        for there in (25, 50):
            await eventually(lambda: len(payloads(rest)) >= there, "what was granted")  # noqa: B023  (in its turn)
            await asyncio.sleep(0.05)  # for what must not come
            assert len(payloads(rest)) == there
            again.broker.grant(0, 100)
        await eventually(lambda: len(payloads(rest)) == 60, "the rest")
        await again.broker.close()

    def test_a_name_is_the_same_at_every_start_and_one_process_has_it(self, home: Home) -> None:
        first = Consumer(home, "shop")
        beside = Consumer(home, "shop")
        assert (first.name, beside.name) == ("000000000000-shop-0", "000000000000-shop-1")
        first.close()
        again = Consumer(home, "shop")
        assert again.name == "000000000000-shop-0"
        again.close()
        beside.close()

    def test_a_name_that_was_given_once_is_kept(self, home: Home) -> None:
        (home.folder() / "consumer-0").write_text("an-older-name\n")
        consumer = Consumer(home, "shop")
        assert consumer.name == "an-older-name"
        consumer.close()

    async def test_a_name_that_cannot_be_kept_is_why_the_broker_is_down(self, server: RedisServer, home: Home) -> None:
        (home.folder() / "consumer-0").mkdir()
        broker = streams(home, server.port)
        await broker.start()
        assert broker.state == "down"
        assert "cannot keep the name of a consumer" in broker.fault
        (home.folder() / "consumer-0").rmdir()
        await eventually(lambda: broker.state == "up", "another try")
        await broker.close()

    async def test_claims_of_others_entries_come_in_small_parts(
        self, ends: Ends, client: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        parts: list[int] = []
        came = await subscribed(ends, granted=0)
        await ends.publish(*numbered(100))
        client.xreadgroup("farm", "dead", {STREAM: ">"}, count=100)
        ids = [entry for entry, _ in client.xrange(STREAM)]
        client.xclaim(STREAM, "farm", "dead", 0, ids, idle=3_600_000)
        reading = cast("Any", ends.broker)._groups.readings[0]
        hand_over = reading.on_deliveries

        def note(deliveries: list[Delivery]) -> None:
            parts.append(len(deliveries))
            hand_over(deliveries)

        monkeypatch.setattr(reading, "on_deliveries", note)
        ends.broker.grant(0, 1000)
        await eventually(lambda: len(came) == 100, "all of them")
        assert max(parts) <= redis_groups.CLAIMS_LIMIT
        assert {one.deliveries for one in came} == {3}

    async def test_what_is_given_back_is_free_at_once(self, server: RedisServer, home: Home) -> None:
        ends = await Ends(streams(home, server.port, claim_after_s=3600.0)).start()
        came = await holding(ends, 1)
        ends.broker.release(list(came))
        await eventually(lambda: len(came) == 2, "it to come again, an hour before a lease would end")
        assert came[1].deliveries == 2
        await ends.broker.close()

    async def test_an_entry_that_is_worked_on_is_not_claimed(self, ends: Ends, client: Any) -> None:
        came = await subscribed(ends)
        await ends.publish(*numbered(1))
        client.xgroup_createconsumer(STREAM, "farm", "other")
        await eventually(lambda: len(came) == 1, "the message")
        script = client.register_script(TAKE)
        [got, gone] = script(keys=[STREAM], args=["other", 5000, came[0].token, "000000000000-under-test-0"])
        assert (got, gone) == ([], 0), "its lease has not run out"
        [got, gone] = script(keys=[STREAM], args=["other", 0, came[0].token, "somebody"])
        assert (got, gone) == ([], 0), "it is not whose it was"


async def test_a_lease_that_is_extended_counts_no_delivery(ends: Ends, client: Any) -> None:
    await holding(ends, 1)

    def idle_ms() -> int:
        return client.xpending_range(STREAM, "farm", "-", "+", 1)[0]["time_since_delivered"]

    await eventually(lambda: idle_ms() > 1000, "a second to pass")
    await eventually(lambda: idle_ms() < 1000, "another third of the lease")
    assert client.xpending_range(STREAM, "farm", "-", "+", 1)[0]["times_delivered"] == 1


class TestLostLeases:
    async def test_outputs_are_left_to_whoever_has_claimed_their_source(self, ends: Ends, client: Any) -> None:
        came = await subscribed(ends)
        client.xgroup_create("out", "readers", "$", mkstream=True)
        await ends.publish(*numbered(2))
        await eventually(lambda: len(came) == 2, "the sources")
        client.xclaim(STREAM, "farm", "thief", 0, [came[0].token])
        groups = cast("Any", ends.broker)._groups
        await eventually(lambda: len(groups.readings[0].held) == 1, "the loss to be seen")
        answers: list[object] = []
        commits = [Commit(one, (Message(f"of-{n}", "out", b"%d" % n),)) for n, one in enumerate(came)]
        with capture_logs() as logs:
            ends.broker.commit(commits, answers.extend)
            await eventually(lambda: answers == [None, None], "the answers")
        assert [fields[b"body"] for _, fields in client.xrange("out")] == [b"1"]
        assert [line["entries"] for line in logs] == [1]
        assert pending(client) == 1

    async def test_an_entry_that_nobody_has_any_more_is_committed(self, ends: Ends, client: Any) -> None:
        came = await subscribed(ends)
        client.xgroup_create("out", "readers", "$", mkstream=True)
        await ends.publish(*numbered(1))
        await eventually(lambda: len(came) == 1, "the source")
        client.xack(STREAM, "farm", came[0].token)
        answers: list[object] = []
        ends.broker.commit([Commit(came[0], (Message("x", "out", b"x"),))], answers.extend)
        await eventually(lambda: answers == [None], "the answer")
        assert client.xlen("out") == 1, "twice rather than never"


async def test_an_outage_changes_nothing_for_what_is_in_hand(ends: Ends, server: RedisServer, client: Any) -> None:
    came = await holding(ends, 10)
    server.kill()
    await eventually(lambda: ends.broker.state == "down", "the broker to see it")
    ends.broker.settle(came[:5])
    server.start()
    await eventually(lambda: ends.broker.state == "up", "the broker to be up again")
    await ends.publish(Message("mark", "a.b", b"mark"))
    await eventually(lambda: b"mark" in payloads(came), "the mark")
    assert len(came) == 11, "what we had in hand did not come again"
    ends.broker.settle(came[5:])
    await eventually(lambda: plain(server.port).xlen(STREAM) == 0, "everything to be settled")


async def test_what_was_settled_and_not_confirmed_is_told_to_the_next_life_of_the_server(
    ends: Ends, server: RedisServer
) -> None:
    came = await holding(ends, 10)
    reading = cast("Any", ends.broker)._groups.readings[0]
    server.pause()
    ends.broker.settle(list(came))
    await eventually(lambda: not reading.unsent, "it to be sent")
    server.kill()
    await eventually(lambda: ends.broker.state == "down", "the broker to see it")
    server.start()
    await eventually(lambda: ends.broker.state == "up", "the broker to be up again")
    await eventually(lambda: plain(server.port).xlen(STREAM) == 0, "everything to be settled")
