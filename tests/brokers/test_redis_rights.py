"""A user of the ACL who may not do all that farm does: what is said, and what goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from farm.broker import Broker, Commit, Home, Published
from farm.brokers.redis_scripts import FAULT_OF
from farm.errors import BrokerUnavailable, NotPermitted
from farm.message import Message
from farm.spec import Secret
from farm.testing.rig import Ends, eventually, payloads
from tests.brokers import redis_house
from tests.brokers.redis_servers import Puppet, pubsub, streams
from tests.servers import RedisServer

server, client = redis_house.server, redis_house.client

Make = Callable[..., Broker]
Enter = Callable[..., Ends]
STREAM = "farm:{a.b}:stream:farm-0-0-a-b"


@pytest.fixture
def enter(client: Any, server: RedisServer, home: Home, tmp_path: Path) -> Enter:
    """A broker of a user with all rights but these."""
    (tmp_path / "password").write_text("secret")

    def made(make: Make, *but: str) -> Ends:
        everything = ("reset", "on", ">secret", "~*", "&*", "+@all")
        client.execute_command("ACL", "SETUSER", "shop", *everything, *but)
        return Ends(make(home, server.port, username="shop", password=Secret(file=tmp_path / "password")))

    return made


@pytest.mark.parametrize("make", [streams, pubsub])
async def test_a_listener_who_may_not_listen_is_said_and_harms_nobody(enter: Enter, make: Make, client: Any) -> None:
    allowed = ("resetchannels", "&a.b", "&farm:{a.b}*")
    ends = await enter(make, *allowed).start()
    came = ends.trigger(0, "a.b", granted=1000)
    heard, _ = ends.listener("a.b")
    await ends.ready("a.b", came, heard)
    with capture_logs() as logs:
        theirs, _ = ends.listener("c.d")
        await eventually(lambda: bool(logs), "a word about it")
        del came[:], heard[:]
        await ends.publish(Message("1", "a.b", b"x"))
        await eventually(lambda: payloads(came) == [b"x"] == payloads(heard), "others to hear on")
        client.execute_command("ACL", "SETUSER", "shop", "allchannels")
        await ends.ready("c.d", theirs)
    assert [line["event"] for line in logs] == ["listeners hear nothing"]
    assert logs[0]["error"].startswith("this user may not do what farm needs: ")
    assert (ends.broker.state, ends.broker.counters.gaps) == ("up", 0)
    await ends.broker.close()


async def test_a_trigger_whose_channel_is_not_allowed_is_why_the_broker_is_down(enter: Enter, client: Any) -> None:
    ends = enter(pubsub, "resetchannels", "&c.d")
    came = [ends.trigger(n, topic, granted=1000) for n, topic in enumerate(("a.b", "a.*", "c.d"))]
    await ends.broker.start()
    await eventually(lambda: ends.broker.fault.endswith(" (and 1 more)"), "both to be said")
    assert ": cannot hear a.b: this user may not do what farm needs: " in ends.broker.fault
    await ends.ready("c.d", came[2])
    client.execute_command("ACL", "SETUSER", "shop", "allchannels")
    await ends.ready("a.b", *came[:2])
    assert (ends.broker.state, ends.broker.counters.gaps) == ("up", 0)
    await ends.broker.close()


async def test_a_subscription_that_never_was_misses_nothing_anew_at_each_try(home: Home) -> None:
    modern = b"*3\r\n*1\r\n$1\r\nx\r\n*-1\r\n*-1\r\n"
    async with Puppet({"COMMAND": modern, "SUBSCRIBE": b"-ERR unwilling\r\n"}).running() as puppet:
        ends = Ends(pubsub(home, puppet.port))
        ends.trigger(0, "a.b", granted=1000)
        await ends.broker.start()
        await eventually(lambda: sum(words[0] == b"SUBSCRIBE" for words in puppet.said) > 2, "some tries")
        assert ends.broker.fault.endswith(": unwilling")
        assert ends.broker.counters.gaps == 0
        await ends.broker.close()


@pytest.mark.parametrize("make", [streams, pubsub])
async def test_no_message_is_to_blame_for_a_script_that_farm_may_not_run(enter: Enter, make: Make, client: Any) -> None:
    ends = await enter(make).start()
    client.execute_command("ACL", "SETUSER", "shop", "-evalsha")
    [answer] = await ends.publish(Message("1", "c.d", b""))
    assert isinstance(answer, BrokerUnavailable)
    assert "the 'evalsha' command" in str(answer)
    client.execute_command("ACL", "SETUSER", "shop", "+evalsha")
    assert isinstance((await ends.publish(Message("1", "c.d", b"")))[0], Published)
    await ends.broker.close()


async def test_a_user_who_may_not_wait_for_what_others_add_looks_for_it_now_and_then(enter: Enter, client: Any) -> None:
    ends = await enter(streams, "-xread").start()
    came = ends.trigger(0, "a.b", granted=1000)
    await ends.ready("a.b", came)
    client.config_resetstat()
    client.xadd("a.b", {"body": "x"})
    await eventually(lambda: b"x" in payloads(came), "the entry")
    await asyncio.sleep(1)  # for what must not be asked
    assert client.info("commandstats")["cmdstat_xread"]["rejected_calls"] < 10
    await ends.broker.close()


async def test_what_is_not_allowed_is_named(enter: Enter) -> None:
    ends = await enter(streams, "resetkeys", "~farm:*", "~a.b").start()
    [answer] = await ends.publish(Message("1", "c.d", b""))
    assert isinstance(answer, NotPermitted)
    assert str(answer).endswith(" (TYPE c.d)")
    await ends.broker.close()
    ends = await enter(pubsub, "resetchannels", "&a.b").start()
    [answer] = await ends.publish(Message("1", "c.d", b""))
    assert isinstance(answer, NotPermitted)
    assert str(answer).endswith(" (PUBLISH c.d)")
    await ends.broker.close()


@pytest.mark.parametrize("text", ["NOPERM no", "@user_script: 1: The user executing", "ERR ACL failure in script: no"])
def test_what_was_to_be_done_is_named_whatever_the_server_calls_a_refusal(client: Any, text: str) -> None:
    script = FAULT_OF + "return fault_of({err = ARGV[1]}, 'XADD', 'k')"
    assert client.eval(script, 0, text).decode() == f"{text} (XADD k)"
    assert client.eval(script, 0, "OOM no memory").decode() == "OOM no memory"


async def test_readers_that_may_not_be_looked_for_are_no_fault_of_other_subjects(enter: Enter, client: Any) -> None:
    client.xgroup_create("theirs", "readers", "$", mkstream=True)
    ends = await enter(streams, "-xinfo").start()
    answers = await ends.publish(Message("1", "free", b""), Message("2", "theirs", b""), Message("3", "free", b""))
    assert [type(answer) for answer in answers] == [Published, NotPermitted, Published]
    assert str(answers[1]).endswith(" (XINFO theirs)")
    assert client.xlen("theirs") == 0
    await ends.broker.close()


async def test_listeners_that_may_not_be_counted_are_told(enter: Enter, client: Any) -> None:
    ends = await enter(streams, "-pubsub").start()
    heard, _ = ends.listener("a.b")
    await eventually(lambda: client.pubsub_numsub("farm:{a.b}:live")[0][1] == 1, "the listener to be there")
    client.xgroup_create("a.b", "readers", "$", mkstream=True)
    assert [type(answer) for answer in await ends.publish(Message("1", "a.b", b"x"))] == [Published]
    await eventually(lambda: payloads(heard) == [b"x"], "the message")
    await ends.broker.close()


async def test_listeners_that_may_not_be_told_keep_nothing_from_triggers(enter: Enter, client: Any) -> None:
    ends = await enter(streams, "-publish").start()
    came = ends.trigger(0, "a.b", granted=1000)
    listener = client.pubsub()
    listener.subscribe("farm:{a.b}:live")
    await eventually(lambda: client.exists(STREAM), "the trigger to be there")
    await eventually(lambda: client.pubsub_numsub("farm:{a.b}:live")[0][1] == 1, "the listener to be there")
    with capture_logs() as logs:
        answers = await ends.publish(Message("1", "a.b", b"1"), Message("2", "a.b", b"2"))
        assert all(isinstance(answer, Published) for answer in answers)
        await eventually(lambda: payloads(came) == [b"1", b"2"], "both, once")
        client.xadd("a.b", {"body": "3"})
        await eventually(lambda: payloads(came) == [b"1", b"2", b"3"], "what others put there")
    assert [line["error"] for line in logs] == ["this user may not publish to them"]
    listener.close()
    await ends.broker.close()


@pytest.mark.parametrize(("make", "kind"), [(streams, "stream"), (pubsub, "queue")])
async def test_nothing_is_taken_for_a_reader_that_could_not_be_made(
    server: RedisServer, home: Home, client: Any, make: Make, kind: str
) -> None:
    client.config_set("min-replicas-to-write", "1")
    ends = Ends(make(home, server.port))
    came = ends.trigger(0, "a.b", granted=1000, group="g")
    await ends.broker.start()
    assert ends.broker.state == "down"
    free = Message("2", "free", b"")
    answers = await ends.publish(free, Message("1", "a.b", b"x"), free)
    assert [type(answer) for answer in answers] == [Published, BrokerUnavailable, Published]
    assert str(answers[1]) == (
        "broker 'under-test' has no place for this subject yet: NOREPLICAS Not enough good replicas to write"
    )
    assert [type(answer) for answer in await ends.publish(Message("1", "a.b", b"x"))] == [BrokerUnavailable]
    client.config_set("min-replicas-to-write", "0")
    await ends.ready("a.b", came)
    assert ends.broker.state == "up"
    assert client.keys(f"farm:{{a.b}}:{kind}:*")
    await ends.broker.close()


async def test_an_output_waits_for_a_reader_that_could_not_be_made(
    server: RedisServer, home: Home, client: Any
) -> None:
    ends = await Ends(streams(home, server.port)).start()
    came = ends.trigger(0, "a.b", granted=1000)
    await ends.ready("a.b", came)
    client.set("farm:{out}:stream:farm-0-1-out", "a string")
    ends.trigger(1, "out", granted=1000)
    await eventually(lambda: ends.broker.state == "down", "the broker to say it")
    await ends.publish(Message("1", "a.b", b"1"), Message("2", "a.b", b"2"))
    await eventually(lambda: payloads(came) == [b"1", b"2"], "the sources")
    commits = [Commit(one, (Message("x", to, b""),)) for one, to in zip(came[-2:], ("out", "free"), strict=True)]
    answers: list[object] = []
    ends.broker.commit(commits, answers.extend)
    await eventually(lambda: len(answers) == 2, "the answers")
    assert isinstance(answers[0], BrokerUnavailable)
    assert answers[1] is None
    await ends.broker.close()


@pytest.mark.parametrize("command", ["xack", "xdel"])
async def test_what_could_not_be_settled_is_not_begun(enter: Enter, client: Any, command: str) -> None:
    ends = await enter(streams, f"-{command}").start()
    came = ends.trigger(0, "a.b", granted=1000)
    await eventually(lambda: ends.broker.state == "down", "the broker to say it")
    assert f": cannot read {STREAM}: " in ends.broker.fault
    assert ends.broker.fault.endswith(f"({command.upper()} {STREAM})")
    client.execute_command("ACL", "SETUSER", "shop", f"+{command}")
    await ends.ready("a.b", came)
    assert ends.broker.state == "up"
    await ends.broker.close()
