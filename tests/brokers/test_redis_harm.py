"""What others do to keys, groups and the server while farm runs: nothing that was accepted is lost."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from farm.broker import Commit, Home, Published
from farm.brokers import redis_groups, redis_inlets
from farm.brokers.redis_life import LATE_S
from farm.errors import BrokerUnavailable, InputError
from farm.message import Message
from farm.testing.rig import Ends, eventually, home_of, payloads
from tests.brokers import redis_house
from tests.brokers.redis_house import STREAM, holding, pending, subscribed
from tests.brokers.redis_servers import plain, streams
from tests.servers import RedisServer

server, client = redis_house.server, redis_house.client
ends, pubsub = redis_house.streams, redis_house.pubsub

QUEUE = "farm:{a.b}:queue:g-a-b"


def ours(client: Any) -> set[str]:
    """Which connections farm has."""
    return {each["id"] for each in client.client_list() if each["name"].startswith("farm-")}


class TestStreamsThatAreNoneAnyMore:
    async def test_outputs_are_there_once_and_their_source_is_settled_when_it_can_be(
        self, ends: Ends, client: Any
    ) -> None:
        came = await holding(ends, 1)
        other = ends.trigger(1, "a.c", granted=1000)
        await ends.ready("a.c", other)
        await ends.publish(Message("other", "a.c", b"other"))
        await eventually(lambda: payloads(other) == [b"other"], "the other source")
        client.xgroup_create("out", "readers", "$", mkstream=True)
        client.set(STREAM, "a string")
        answers: list[object] = []
        commits = [Commit(one, (Message(one.message.id, "out", b"x"),)) for one in (came[0], other[-1])]
        ends.broker.commit(commits, answers.extend)
        await eventually(lambda: len(answers) == 2, "the answers")
        assert answers == [None, None]
        assert client.xlen("out") == 2
        groups = cast("Any", ends.broker)._groups
        assert not groups.idle
        client.delete(STREAM)
        await eventually(lambda: groups.idle, "the source to be settled")

    async def test_what_others_add_waits_and_comes_once(self, ends: Ends, client: Any) -> None:
        came = await subscribed(ends)
        names = [f"another{n}" for n in range(4)]  # some of them come after ours, wherever that is in the set
        client.sadd("farm:{a.b}:streams", *names)
        for name in names:
            client.set(f"farm:{{a.b}}:stream:{name}", "a string")
        with capture_logs() as logs:
            client.xadd("a.b", {"body": "x"})
            await eventually(lambda: bool(logs), "a word about it")
            await asyncio.sleep(2.2)  # for what must not come: two more tries
        assert "WRONGTYPE" in logs[0]["error"]
        assert ": farm:{a.b}:stream:another" in logs[0]["error"]
        assert (payloads(came), len(logs)) == ([], 1)
        for name in names:
            client.delete(f"farm:{{a.b}}:stream:{name}")
        await eventually(lambda: payloads(came) == [b"x"], "the entry")
        assert [client.xlen(f"farm:{{a.b}}:stream:{name}") for name in names] == [1] * 4

    async def test_one_that_publishers_are_to_be_told_of_ends_no_connection(self, ends: Ends, client: Any) -> None:
        await subscribed(ends)
        other = ends.trigger(1, "a.c", granted=1000)
        await ends.ready("a.c", other)
        client.set(STREAM, "a string")
        await eventually(lambda: ends.broker.state == "down", "the broker to say so")
        before = ours(client)
        client.delete("farm:{a.b}:streams")
        client.xadd("a.b", {"body": "x"})
        await asyncio.sleep(1.5)  # for what must not happen
        assert ours(client) == before

    async def test_a_set_of_queues_that_is_none_is_held_against_its_subject_alone(
        self, pubsub: Ends, client: Any
    ) -> None:
        client.set("farm:{bad}:queues", "a string")
        bad, good = await pubsub.publish(Message("1", "bad", b""), Message("2", "good", b""))
        assert isinstance(bad, InputError)
        assert str(bad).endswith(": farm:{bad}:queues")
        assert isinstance(good, Published)


class TestGroups:
    async def test_entries_of_the_far_future_keep_nothing_from_a_stream_that_is_made_again(
        self, ends: Ends, client: Any
    ) -> None:
        came = await subscribed(ends)
        client.xadd(STREAM, {"body": "far"}, id="99999999999999-0")
        await eventually(lambda: payloads(came) == [b"far"], "that entry")
        client.delete(STREAM)
        await eventually(lambda: client.exists(STREAM), "the stream to be there again")
        await ends.publish(Message("near", "a.b", b"near"))
        await eventually(lambda: payloads(came) == [b"far", b"near"], "the next")

    async def test_what_is_given_back_while_there_is_no_group_comes_again_and_the_rest_does_not(
        self, ends: Ends, client: Any
    ) -> None:
        came = await holding(ends, 2)
        client.xgroup_destroy(STREAM, "farm")
        ends.broker.release(came[:1])
        await eventually(lambda: len(came) == 3, "it to come again")
        await ends.publish(Message("mark", "a.b", b"mark"))
        await eventually(lambda: b"mark" in payloads(came), "the mark")
        assert payloads(came) == [b"0", b"1", b"0", b"mark"]
        assert pending(client) == 3

    async def test_what_a_deleted_consumer_had_in_hand_is_its_own_again(
        self, ends: Ends, client: Any, server: RedisServer, home: Home
    ) -> None:
        await holding(ends, 3)
        with capture_logs() as logs:
            client.xgroup_delconsumer(STREAM, "farm", "000000000000-under-test-0")
            await eventually(lambda: pending(client) == 3, "it to be pending again")
        assert not logs
        await ends.broker.close()
        again = await Ends(streams(home, server.port)).start()
        rest = again.trigger(0, "a.b", granted=1000)
        await eventually(lambda: payloads(rest) == [b"0", b"1", b"2"], "all of it, though that farm ended")
        await again.broker.close()


async def test_a_topics_own_key_that_others_read_and_make_anew_is_read_from_its_beginning(
    ends: Ends, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_inlets, "DOUBT_S", 0.5)
    client.xgroup_create("a.b", "others", "$", mkstream=True)
    came = await subscribed(ends)
    client.xadd("a.b", {"body": "far"}, id="99999999999999-0")
    await eventually(lambda: payloads(came) == [b"far"], "an entry of the far future")
    client.delete("a.b")
    client.xgroup_create("a.b", "others", "$", mkstream=True)
    client.xadd("a.b", {"body": "near"})
    await eventually(lambda: payloads(came) == [b"far", b"near"], "the next")
    assert client.xlen("a.b") == 1


class TestStandingStill:
    async def test_a_farm_that_stood_still_reads_what_has_come_before_it_calls_a_server_silent(
        self, ends: Ends, client: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(redis_groups, "BLOCK_MS", 100)
        monkeypatch.setattr(redis_groups, "ANSWER_S", 0.5)
        came = await subscribed(ends)
        before = ours(client)
        time.sleep(LATE_S + 0.5)  # noqa: ASYNC251  (that is what is tested)
        await ends.publish(Message("1", "a.b", b"x"))
        await eventually(lambda: payloads(came) == [b"x"], "the message")
        assert ours(client) == before

    async def test_a_fault_of_our_own_is_told_and_begun_anew(
        self, ends: Ends, client: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        came = await subscribed(ends)
        told: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        groups = cast("Any", ends.broker)._groups
        monkeypatch.setattr(groups, "_claim", lambda *_: 1 // 0)
        await eventually(lambda: bool(told), "the fault")
        monkeypatch.undo()
        assert isinstance(told[0]["exception"], ZeroDivisionError)
        port = client.get_connection_kwargs()["port"]
        down = ("down", f"redis://127.0.0.1:{port}: a fault of farm's own")
        await eventually(lambda: down in ends.states, "the end of this life")
        await eventually(lambda: ends.states[-1][0] == "up", "another life")
        await ends.publish(Message("1", "a.b", b"x"))
        await eventually(lambda: payloads(came) == [b"x"], "the message")


class TestServersWithoutMemory:
    async def test_what_is_there_is_read_by_a_farm_that_starts_then(
        self, ends: Ends, client: Any, server: RedisServer, home: Home
    ) -> None:
        await holding(ends, 3)
        client.config_set("maxmemory", "100kb")
        await ends.broker.close()
        again = await Ends(streams(home, server.port)).start()
        rest = again.trigger(0, "a.b", granted=1000)
        await eventually(lambda: payloads(rest) == [b"0", b"1", b"2"], "all of it")
        again.broker.settle(list(rest))
        await eventually(lambda: plain(server.port).xlen(STREAM) == 0, "it to be settled")
        await again.broker.close()


class TestKeptNowhere:
    async def test_nothing_is_accepted_for_a_trigger_whose_note_is_gone(
        self, ends: Ends, client: Any, server: RedisServer, tmp_path: Path
    ) -> None:
        came = await subscribed(ends)
        client.delete("farm:{a.b}:streams")
        [answer] = await ends.publish(Message("1", "a.b", b"x"))
        assert isinstance(answer, BrokerUnavailable), answer
        answers: list[object] = []
        other = ends.trigger(1, "a.c", granted=1000)
        await ends.ready("a.c", other)
        await ends.publish(Message("2", "a.c", b"y"))
        await eventually(lambda: payloads(other) == [b"y"], "a source")
        ends.broker.commit([Commit(other[-1], (Message("3", "a.b", b"z"),))], answers.extend)
        await eventually(lambda: bool(answers), "the answer")
        if answers != [None]:
            assert isinstance(answers[0], BrokerUnavailable)
        await eventually(lambda: client.exists("farm:{a.b}:streams"), "the note to be there again")
        await ends.publish(Message("4", "a.b", b"mark"))
        await eventually(lambda: b"mark" in payloads(came), "the mark")

    async def test_a_message_comes_to_all_triggers_of_its_topic_or_to_none(self, ends: Ends, client: Any) -> None:
        came = [ends.trigger(n, "a.b", granted=1 << 30, group=f"g{n}") for n in range(20)]
        for some in came:
            await ends.ready("a.b", some)
        client.delete("farm:{a.b}:streams")
        taken, number = list[bytes](), 0
        while len(taken) < 50:  # refused until the streams are noted again
            payload = b"%d" % (number := number + 1)
            if isinstance((await ends.publish(Message("id", "a.b", payload)))[0], Published):
                taken.append(payload)
        await eventually(lambda: all(payloads(some)[-1] == taken[-1] for some in came), "the last")
        assert number > len(taken)
        assert all([each for each in payloads(some) if each in taken] == taken for some in came)

    async def test_nothing_is_accepted_for_a_queue_whose_note_is_gone(self, pubsub: Ends, client: Any) -> None:
        came = await subscribed(pubsub, group="g")
        client.delete("farm:{a.b}:queues")
        [answer] = await pubsub.publish(Message("1", "a.b", b"x"))
        assert isinstance(answer, BrokerUnavailable), answer
        client.sadd("farm:{a.b}:queues", "g-a-b")
        await pubsub.publish(Message("2", "a.b", b"mark"))
        await eventually(lambda: payloads(came) == [b"mark"], "the mark")

    async def test_a_queue_whose_stream_was_deleted_loses_nothing(self, pubsub: Ends, client: Any) -> None:
        came = await subscribed(pubsub, group="g")
        for n in range(20):
            client.delete(QUEUE)
            await pubsub.publish(Message(f"{n}", "a.b", b"%d" % n))
            await eventually(lambda: len(payloads(came)) == n + 1, "the message")  # noqa: B023  (in its turn)
        assert payloads(came) == [b"%d" % n for n in range(20)]


async def test_a_topic_of_which_much_is_there_does_not_hold_up_another(
    server: RedisServer, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_inlets, "PART", 2)
    for n in range(200):
        client.xadd("a.b", {"body": str(n)})
    client.xadd("a.c", {"body": "alone"})
    ends = Ends(streams(home_of(tmp_path / "home"), server.port))
    many, alone = ends.trigger(0, "a.b", granted=1000), ends.trigger(1, "a.c", granted=1000)
    await ends.start()
    await eventually(lambda: bool(payloads(alone)), "the one")
    assert len(payloads(many)) < 200
    await eventually(lambda: len(payloads(many)) == 200, "the others")
    await ends.broker.close()
