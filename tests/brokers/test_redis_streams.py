"""What Redis Streams alone have: entries, other programs at the same keys, and what is wrong with keys."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from farm.broker import Commit, Home, Published
from farm.errors import BrokerError, BrokerFull, BrokerUnavailable, InputError, NotPermitted
from farm.message import Message
from farm.spec import Secret
from farm.testing.rig import PROBE, Ends, eventually, home_of, numbered, payloads
from tests.brokers import redis_house
from tests.brokers.redis_house import STREAM, holding, pending, subscribed
from tests.brokers.redis_servers import streams
from tests.servers import RedisServer

server, client, ends = redis_house.server, redis_house.client, redis_house.streams


class TestEntries:
    @pytest.mark.parametrize(("field", "who"), [("data", "Dapr"), ("__data__", "FastStream")])
    async def test_the_payload_may_be_in_another_field(
        self, server: RedisServer, client: Any, home: Home, field: str, who: str
    ) -> None:
        ends = await Ends(streams(home, server.port, body_field=field)).start()
        came = await subscribed(ends)
        client.xadd("a.b", {field: b"\x00payload", "traceparent": "00-1-2-01"})
        await eventually(lambda: bool(came), f"an entry as {who} writes it")
        assert came[0].message.payload == b"\x00payload"
        assert came[0].message.headers == (("traceparent", "00-1-2-01"),)
        await ends.broker.close()

    async def test_an_entry_without_a_payload_has_an_empty_one_and_its_fields(self, ends: Ends, client: Any) -> None:
        came = await subscribed(ends)
        client.xadd("a.b", {"temperature": "20", "reply-to": "answers"})
        await eventually(lambda: bool(came), "the entry")
        message = came[0].message
        assert (message.payload, message.headers, message.reply_to) == (b"", (("temperature", "20"),), "answers")

    async def test_an_entry_that_nothing_can_be_made_of_is_a_message_all_the_same(
        self, ends: Ends, client: Any
    ) -> None:
        came = await subscribed(ends)
        fields: dict[Any, Any] = {b"\xff\xfe": b"\xff", b"farm-hops": b"\xff", b"reply-to": b"\x00", b"body": b"x"}
        client.xadd("a.b", fields)
        client.xadd("a.b", {f"field-{n}": "v" for n in range(2000)})
        await eventually(lambda: len(came) == 2, "both entries")
        assert came[0].message.payload == b"x"
        assert came[0].message.reply_to is None

    async def test_an_entry_has_one_id_in_all_streams_it_comes_to(self, ends: Ends, client: Any) -> None:
        first = await subscribed(ends)
        second = ends.trigger(1, "a.b", granted=1000, group="g")
        await ends.ready("a.b", second)
        client.xadd("a.b", {"body": "mine"})
        await eventually(lambda: b"mine" in payloads(first) and b"mine" in payloads(second), "both copies")
        [one] = [each for each in first if each.message.payload == b"mine"]
        [other] = [each for each in second if each.message.payload == b"mine"]
        assert one.message.id == other.message.id
        assert one.source_id != other.source_id


class TestOtherPrograms:
    async def test_what_was_there_before_farm_comes_to_it(self, ends: Ends, client: Any) -> None:
        for n in range(200):
            client.xadd("a.b", {"body": str(n)})
        came = ends.trigger(0, "a.b", granted=1000)
        await eventually(lambda: len(payloads(came)) == 200, "all that was there")
        assert payloads(came) == [b"%d" % n for n in range(200)]
        await eventually(lambda: client.xlen("a.b") == 0, "nothing to be left behind")

    async def test_others_with_a_group_on_the_same_key_lose_nothing(self, ends: Ends, client: Any) -> None:
        client.xgroup_create("a.b", "others", "0", mkstream=True)
        came = await subscribed(ends)
        client.xadd("a.b", {"body": "theirs"})
        await ends.publish(Message("id", "a.b", b"ours"))
        await eventually(lambda: sorted(payloads(came)) == [b"ours", b"theirs"], "both, once each")
        said: Any = client.xreadgroup("others", "me", {"a.b": ">"})
        read = [fields[b"body"] for _, fields in said[0][1]]
        assert [body for body in read if body != PROBE] == [b"theirs", b"ours"]
        await ends.publish(Message("mark", "a.b", b"mark"))
        await eventually(lambda: b"mark" in payloads(came), "the mark")
        assert len(payloads(came)) == 3

    async def test_what_nobody_reads_is_published_to_nobody(self, ends: Ends, client: Any) -> None:
        [answer] = await ends.publish(Message("id", "nobody.here", b"x"))
        assert answer == Published(0, 0)
        assert not client.exists("nobody.here")

    async def test_a_stream_that_somebody_made_gets_what_is_published_to_its_key(self, ends: Ends, client: Any) -> None:
        client.xgroup_create("out", "readers", "$", mkstream=True)
        await ends.publish(Message("id", "out", b"x", (("x-k", "v"),), "answers", "cause", 2))
        [(_, fields)] = client.xrange("out")
        assert fields == {
            b"body": b"x",
            b"farm-id": b"id",
            b"farm-cause": b"cause",
            b"farm-hops": b"2",
            b"x-k": b"v",
            b"reply-to": b"answers",
        }

    async def test_junk_on_the_channel_of_listeners_is_not_heard(self, ends: Ends, client: Any) -> None:
        heard, _ = ends.listener("a.b")
        await ends.ready("a.b", heard)
        for junk in (b"", b"junk", b"*1\r\n$100\r\nx", b":5\r\n", b"*1\r\n:5\r\n", b"*-1\r\n", b"!x\r\n"):
            client.publish("farm:{a.b}:live", junk)
        await ends.publish(Message("id", "a.b", b"mark"))
        await eventually(lambda: payloads(heard) == [b"mark"], "the mark alone")


class TestWrongKeys:
    async def test_a_key_of_another_type_is_one_line_and_no_end(self, ends: Ends, client: Any) -> None:
        came = await subscribed(ends)
        other = ends.trigger(1, "a.c", granted=1000)
        await ends.ready("a.c", other)
        with capture_logs() as logs:
            client.set("a.b", "a string")
            await eventually(lambda: bool(logs), "a word about it")
            await ends.publish(Message("id", "a.b", b"by farm"))
            client.xadd("a.c", {"body": "elsewhere"})
            await eventually(lambda: payloads(came) == [b"by farm"], "farm's own messages to come all the same")
            await eventually(lambda: payloads(other) == [b"elsewhere"], "other topics to go on")
            await asyncio.sleep(2.5)  # what is measured: it is said once
        [line] = [line for line in logs if line.get("topic") == "a.b"]
        assert line["error"] == "WRONGTYPE a string has this key"
        client.delete("a.b")
        client.xadd("a.b", {"body": "again"})
        await eventually(lambda: b"again" in payloads(came), "all to be well again")

    async def test_a_trigger_whose_stream_is_none_waits_for_it(self, ends: Ends, client: Any) -> None:
        client.set(STREAM, "a string")
        client.set("farm:{a.c}:stream:farm-0-1-a-c", "a string")
        with capture_logs() as logs:
            came = ends.trigger(0, "a.b", granted=1000)
            await eventually(lambda: ends.broker.state == "down", "the broker to say that it hears nothing")
            said = f"cannot read {STREAM}: WRONGTYPE Operation against a key holding the wrong kind of value"
            assert ends.broker.fault.endswith(f": {said}")
            ends.trigger(1, "a.c", granted=1000)
            await eventually(lambda: ends.broker.fault.endswith(f"{said} (and 1 more)"), "the other to be counted")
        assert not logs, "it is said once, by the broker's state"
        client.delete("farm:{a.c}:stream:farm-0-1-a-c")
        assert isinstance((await ends.publish(Message("1", "free", b"")))[0], Published)
        client.delete(STREAM)
        await ends.ready("a.b", came)
        await eventually(lambda: ends.broker.state == "up", "the broker to be up")

    async def test_publishing_to_a_key_of_another_type_is_refused_for_good(self, ends: Ends, client: Any) -> None:
        client.set("taken", "a string")
        [bad, good] = await ends.publish(Message("1", "taken", b""), Message("2", "free", b""))
        assert isinstance(bad, InputError)
        assert str(bad) == ("a key of the subject is no stream (broker 'under-test'): WRONGTYPE a string has this key")
        assert isinstance(good, Published)

    async def test_a_reader_whose_stream_is_none_is_named_to_whoever_publishes_and_others_have_the_message(
        self, ends: Ends, client: Any
    ) -> None:
        names = [f"another{n}" for n in range(4)]  # some of them come before ours, wherever that is in the set
        client.sadd("farm:{a.b}:streams", *names)
        for name in names:
            client.set(f"farm:{{a.b}}:stream:{name}", "a string")
        came = ends.trigger(0, "a.b", granted=1000)
        heard, _ = ends.listener("a.b")
        await eventually(lambda: client.pubsub_numsub("farm:{a.b}:live")[0][1] == 1, "the listener to be there")
        await eventually(lambda: client.exists(STREAM), "the trigger to be there")
        client.xgroup_create("a.b", "others", "$", mkstream=True)
        [bad] = await ends.publish(Message("1", "a.b", b"x"))
        assert isinstance(bad, InputError)
        assert "holding the wrong kind of value: farm:{a.b}:stream:another" in str(bad)
        await eventually(lambda: payloads(came) == [b"x"] == payloads(heard), "those who can to have it")
        assert client.xlen("a.b") == 1

    async def test_listeners_do_not_hear_what_no_reader_could_have(self, ends: Ends, client: Any) -> None:
        heard, _ = ends.listener("a.b")
        await ends.ready("a.b", heard)
        del heard[:]
        client.sadd("farm:{a.b}:streams", "another")
        client.set("farm:{a.b}:stream:another", "a string")
        [bad] = await ends.publish(Message("1", "a.b", b"x"))
        assert isinstance(bad, InputError)
        client.delete("farm:{a.b}:stream:another")
        await ends.publish(Message("2", "a.b", b"mark"))
        await eventually(lambda: bool(heard), "the mark")
        assert payloads(heard) == [b"mark"]

    async def test_a_failed_output_leaves_its_source_pending(self, ends: Ends, client: Any) -> None:
        came = await subscribed(ends)
        client.set("taken", "a string")
        await ends.publish(*numbered(2))
        await eventually(lambda: len(payloads(came)) == 2, "the sources")
        outputs = Message("bad", "taken", b"x"), Message("good", "nobody", b"x")
        answers: list[object] = []
        ends.broker.commit([Commit(one, (out,)) for one, out in zip(came, outputs, strict=True)], answers.extend)
        await eventually(lambda: len(answers) == 2, "the answers")
        assert isinstance(answers[0], InputError)
        assert answers[1] is None
        assert pending(client) == 1


async def test_what_is_committed_leaves_its_stream(ends: Ends, client: Any) -> None:
    came = await holding(ends, 2)
    client.xgroup_create("out", "readers", "$", mkstream=True)
    answers: list[object] = []
    ends.broker.commit([Commit(one, (Message("x", "out", b"x"),)) for one in came], answers.extend)
    await eventually(lambda: answers == [None, None], "the answers")
    assert (client.xlen("out"), pending(client), client.xlen(STREAM)) == (2, 0, 0)


class TestGone:
    @pytest.mark.parametrize("how", ["the stream", "the group", "everything"])
    async def test_what_was_deleted_under_us_is_made_again_and_said_once(
        self, ends: Ends, client: Any, how: str
    ) -> None:
        came = await holding(ends, 3)
        ends.broker.settle(list(came))
        await eventually(lambda: pending(client) == 0, "all settled")
        del came[:]
        with capture_logs() as logs:
            if how == "the stream":
                client.delete(STREAM)
            elif how == "the group":
                client.xgroup_destroy(STREAM, "farm")
            else:
                client.flushall()
            await eventually(lambda: bool(logs), "a word about it")
            await ends.ready("a.b", came)
        assert [line["event"] for line in logs] == [
            "a stream or its group was gone from the server, perhaps with what was in it, and is made again"
        ]
        assert payloads(came) == [], "what was handled does not come again"
        assert ends.broker.counters.gaps == 1
        assert ends.broker.state == "up"

    async def test_publishers_that_lost_their_note_of_a_stream_are_told_again(self, ends: Ends, client: Any) -> None:
        came = await subscribed(ends)
        client.delete("farm:{a.b}:streams")
        client.xadd("a.b", {"body": "waits"})
        await eventually(lambda: payloads(came) == [b"waits"], "what could not be spread")

    async def test_entries_that_were_trimmed_before_they_were_handled_are_a_gap(
        self, ends: Ends, client: Any, server: RedisServer, home: Home
    ) -> None:
        came = await holding(ends, 3)
        await ends.broker.close()
        client.xdel(STREAM, came[1].token)
        again = Ends(streams(home, server.port))
        with capture_logs() as logs:
            await again.start()
            rest = again.trigger(0, "a.b", granted=1000)
            await eventually(lambda: len(rest) == 2, "what is left")
            await eventually(lambda: again.broker.counters.gaps == 1, "the gap")
        assert [line["entries"] for line in logs if "entries" in line] == [1]
        await again.broker.close()


class TestRefusals:
    async def test_a_server_without_memory_is_full(self, ends: Ends, client: Any) -> None:
        client.xgroup_create("out", "readers", "$", mkstream=True)
        client.config_set("maxmemory", "100kb")
        client.config_set("maxmemory-policy", "noeviction")
        [answer] = await ends.publish(Message("id", "out", b"x"))
        assert isinstance(answer, BrokerFull)
        assert "\n" not in str(answer)
        assert ends.broker.state == "up"
        client.config_set("maxmemory", "0")
        [answer] = await ends.publish(Message("id", "out", b"x"))
        assert isinstance(answer, Published)

    async def test_a_subject_that_our_user_may_not_write_is_refused_for_good(
        self, client: Any, server: RedisServer, tmp_path: Path
    ) -> None:
        client.xgroup_create("theirs", "readers", "$", mkstream=True)
        rights: Any = {"keys": ["farm:*", "a.*"], "channels": ["*"], "commands": ["+@all"]}
        client.acl_setuser("shop", enabled=True, passwords=["+secret"], **rights)
        (tmp_path / "password").write_text("secret")
        who = {"username": "shop", "password": Secret(file=tmp_path / "password")}
        ends = await Ends(streams(home_of(tmp_path / "home"), server.port, **who)).start()
        [answer, other] = await ends.publish(Message("id", "theirs", b"x"), Message("id", "a.free", b"x"))
        assert isinstance(answer, NotPermitted), answer
        assert isinstance(other, Published), "its neighbour is not to blame"
        await ends.broker.close()

    async def test_a_replica_takes_nothing_and_says_so(self, ends: Ends, client: Any, server: RedisServer) -> None:
        client.xgroup_create("out", "readers", "$", mkstream=True)
        client.replicaof("127.0.0.1", "1")
        [answer] = await ends.publish(Message("id", "out", b"x"))
        assert isinstance(answer, BrokerError)
        await eventually(lambda: "it is a replica" in ends.broker.fault, "the reason")
        client.replicaof("NO", "ONE")
        await eventually(lambda: ends.broker.state == "up", "the server to be one again")


async def test_outputs_that_nobody_wants_are_counted_when_they_are_committed(ends: Ends) -> None:
    came = await subscribed(ends)
    heard, _ = ends.listener("heard")
    await ends.ready("heard", heard)
    await ends.publish(*numbered(3))
    await eventually(lambda: len(payloads(came)) == 3, "the sources")
    before = ends.broker.counters.unmatched
    answers: list[object] = []
    outputs = [Message("1", "nobody", b""), Message("2", "nobody", b"")], [Message("3", "heard", b"")], []
    ends.broker.commit([Commit(one, tuple(out)) for one, out in zip(came, outputs, strict=True)], answers.extend)
    await eventually(lambda: answers == [None, None, None], "the answers")
    assert ends.broker.counters.unmatched == before + 2


async def test_dead_letters_are_in_a_stream_of_their_own(ends: Ends, client: Any) -> None:
    answers: list[object] = []
    headers = (("farm-error", "why"), ("x-k", "v"))
    ends.broker.store([Message("id", "farm.dlq.a.b", b"x", headers, cause="c", hops=3)], answers.extend)
    await eventually(lambda: answers == [Published(0, 0)], "the answer")
    [(_, fields)] = client.xrange("farm:dlq")
    assert fields[b"farm-subject"] == b"farm.dlq.a.b"
    assert (fields[b"body"], fields[b"farm-error"], fields[b"x-k"]) == (b"x", b"why", b"v")


async def test_publishes_that_a_busy_server_has_not_heard_of_leave_together(
    ends: Ends, client: Any, server: RedisServer
) -> None:
    client.xgroup_create("out", "readers", "$", mkstream=True)
    calls: list[int] = []
    client.config_resetstat()
    server.pause()
    for n in range(300):
        ends.broker.publish([Message(f"{n}", "out", b"%d" % n)], lambda answers, n=n: calls.append(n))
        await asyncio.sleep(0)
    server.go_on()
    await eventually(lambda: len(calls) == 300, "all answers")
    assert calls == list(range(300))
    assert [fields[b"body"] for _, fields in client.xrange("out")] == [b"%d" % n for n in range(300)]
    assert client.info("commandstats")["cmdstat_evalsha"]["calls"] <= 6


async def test_what_was_not_sent_when_the_server_died_is_answered_at_once(ends: Ends, server: RedisServer) -> None:
    answers: list[Any] = []
    server.pause()
    for n in range(300):
        ends.broker.publish([Message(f"{n}", "out", b"")], answers.extend)
        await asyncio.sleep(0)
    server.kill()
    await eventually(lambda: len(answers) == 300, "all answers")
    assert all(isinstance(answer, BrokerUnavailable) for answer in answers)
    server.start()


async def test_large_entries_are_read_in_small_parts(ends: Ends) -> None:
    came = await subscribed(ends, granted=0)
    large = bytes(ends.broker.payload_limit_bytes)
    await ends.publish(*(Message(f"{n}", "a.b", large) for n in range(20)))
    ends.broker.grant(0, 1000)
    await eventually(lambda: len(came) == 20, "all of them")
