"""What every broker keeps whose server is a program of its own: others speak with it, and it comes and goes."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import pytest

from farm.broker import Broker, Commit, Delivery, Published
from farm.errors import BrokerUnavailable
from farm.message import Message
from farm.subject import Grammar
from farm.testing.rig import WITHIN_S, Ends, Outside, Rig, Server, eventually, home_of, numbered, payloads
from farm.testing.suite import Suite, needs

RESTARTS: Final = 3
QUIET_S: Final = 0.2
EVERYTHING: Final[Mapping[Grammar, str]] = MappingProxyType({"nats": ">", "reference": "*", "redis": "*", "mqtt": "#"})


def server_of(rig: Rig) -> Server:
    """The server, which a rig for this suite has."""
    assert rig.server is not None
    return rig.server


class ServerSuite(Suite):
    """Programs that know nothing of farm, outages, two farms, and what a lost process had."""

    @pytest.fixture
    async def outside(self, rig: Rig) -> AsyncIterator[Outside]:
        """A plain client."""
        client = rig.outside()
        assert client is not None
        async with client as outside:
            yield outside

    async def test_what_any_program_publishes_reaches_triggers_as_it_is(self, ends: Ends, outside: Outside) -> None:
        came = ends.trigger(0, "a.b", granted=1000)
        await ends.ready("a.b", came)
        for payload in (bytes(range(256)), b"", b"text"):
            await outside.publish("a.b", payload)
        await eventually(lambda: len(payloads(came)) == 3, "what was published")
        assert payloads(came) == [bytes(range(256)), b"", b"text"]
        assert len({delivery.message.id for delivery in came}) == len(came)

    async def test_headers_of_any_program_reach_triggers(self, rig: Rig, ends: Ends, outside: Outside) -> None:
        needs(rig.spec().abilities.headers, "has no headers")
        came = ends.trigger(0, "a.b", granted=1000)
        await ends.ready("a.b", came)
        await outside.publish("a.b", b"x", (("traceparent", "00-1-2-01"), ("farm-hops", "7"), ("other", "kept")))
        await eventually(lambda: payloads(came) == [b"x"], "the message")
        message = came[-1].message
        assert {("traceparent", "00-1-2-01"), ("other", "kept")} <= set(message.headers)
        assert message.hops == 7

    async def test_what_farm_publishes_any_program_reads_as_it_is(self, ends: Ends, outside: Outside) -> None:
        keeper = ends.trigger(0, "a.b", granted=1000)
        await ends.ready("a.b", keeper)
        read = await outside.read("a.b")
        await ends.publish(Message("id", "a.b", bytes(range(256)), (("content-type", "x/y"),)))
        await eventually(lambda: read == [bytes(range(256))], "the payload")

    async def test_no_wildcard_reaches_into_a_reserved_namespace(self, rig: Rig, ends: Ends, outside: Outside) -> None:
        everything = EVERYTHING.get(ends.broker.grammar, "") if rig.everything is None else rig.everything
        needs(bool(rig.wild and everything), "has no topic for everything")
        came = ends.trigger(0, everything, granted=1000)
        heard, _ = ends.listener(everything)
        await ends.ready("a.b", came, heard)
        for subject in ("farm.x", "farm.dlq.a.b"):
            await outside.publish(subject, b"reserved")
        await outside.publish("a.b", b"mark")
        await eventually(lambda: b"mark" in payloads(came) and b"mark" in payloads(heard), "the mark, at both")
        assert payloads(came) == payloads(heard) == [b"mark"]

    async def test_a_server_that_is_away_at_start_is_waited_for(self, rig: Rig, broker: Broker) -> None:
        server_of(rig).stop()
        ends = Ends(broker)
        async with asyncio.timeout(WITHIN_S):
            await broker.start()
        assert broker.state != "up"
        assert_one_line(broker, rig)
        came = ends.trigger(0, "a.b", granted=1000)
        heard, _ = ends.listener("a.b")
        [answer] = await ends.publish(*numbered(1))
        assert isinstance(answer, BrokerUnavailable)
        server_of(rig).start()
        await eventually(lambda: broker.state == "up", "the broker to be up")
        await ends.ready("a.b", came, heard)
        assert broker.fault == ""

    async def test_a_server_that_comes_back_finds_all_subscriptions(self, rig: Rig, ends: Ends) -> None:
        came = ends.trigger(0, "a.b", granted=100_000)
        heard, _ = ends.listener("a.b")
        await ends.ready("a.b", came, heard)
        server_of(rig).kill()
        await eventually(lambda: ends.broker.state != "up", "the broker to see it")
        assert_one_line(ends.broker, rig)
        later = ends.trigger(1, "a.c", granted=1000)
        ended, end = ends.listener("a.c")
        end()
        server_of(rig).start()
        await eventually(lambda: ends.broker.state == "up", "the broker to be up again")
        del came[:], heard[:]
        await ends.ready("a.b", came, heard)
        await ends.ready("a.c", later)
        assert ended == []
        if not rig.spec().abilities.settles:
            assert ends.broker.counters.gaps >= 1

    async def test_what_was_confirmed_arrives_whatever_the_server_does(self, rig: Rig, ends: Ends) -> None:
        needs(rig.keeps, "keeps nothing over its server's death")
        came = ends.trigger(0, "a.b", granted=100_000)
        await ends.ready("a.b", came)
        confirmed: set[bytes] = set()
        for life in range(RESTARTS):
            for start in range(life * 1000, life * 1000 + 500, 50):
                messages = numbered(50, first=start)
                if start % 1000 == 250:
                    server_of(rig).kill()
                    server_of(rig).start()
                answers = await ends.publish(*messages)
                pairs = zip(messages, answers, strict=True)
                confirmed |= {message.payload for message, answer in pairs if isinstance(answer, Published)}
            await eventually(lambda: ends.broker.state == "up", "the broker to be up again")
        await eventually(lambda: confirmed <= set(payloads(came)), "all that was confirmed")
        assert len(confirmed) >= 50 * RESTARTS
        ends.broker.settle(list(came))

    async def test_a_silent_server_is_not_waited_for(self, rig: Rig, ends: Ends) -> None:
        pause = getattr(rig.server, "pause", None)
        needs(pause is not None and rig.spec().abilities.confirms, "confirms nothing, or its server has no pause()")
        assert pause is not None
        pause()
        try:
            [answer] = await ends.publish(*numbered(1))
        finally:
            server_of(rig).kill()  # also wakes it
        assert isinstance(answer, BrokerUnavailable)
        server_of(rig).start()

    async def test_what_was_settled_does_not_come_to_a_later_life(self, rig: Rig, tmp_path: Path) -> None:
        needs(rig.spec().abilities.settles, "keeps nothing")
        home = home_of(tmp_path / "home")
        first = await Ends(rig.make(home)).start()
        came = first.trigger(0, "a.b", granted=1000)
        await first.ready("a.b", came)
        await first.publish(*numbered(10))
        await eventually(lambda: len(payloads(came)) == 10, "all of them")
        settled, released = came[:-3], came[-3:]
        first.broker.settle(settled)
        first.broker.release(released)
        await first.broker.close()
        second = await Ends(rig.make(home)).start()
        again = second.trigger(0, "a.b", granted=1000)
        await eventually(lambda: len(again) >= 3, "what was not settled")
        await second.publish(Message("mark", "a.b", b"mark"))
        await eventually(lambda: b"mark" in payloads(again), "the mark")
        assert sorted(payloads(again)) == [b"7", b"8", b"9", b"mark"]
        await second.broker.close()

    async def test_once_it_is_quiet_nothing_more_is_taken(self, rig: Rig, tmp_path: Path) -> None:
        home = home_of(tmp_path / "home")
        first = await Ends(rig.make(home)).start()
        came = first.trigger(0, "a.b", granted=1000)
        await first.ready("a.b", came)
        first.broker.settle(list(came))
        first.broker.quiet()
        await asyncio.sleep(QUIET_S)  # for the server to hear of it
        taken = len(came)
        await first.publish(*numbered(1))
        await asyncio.sleep(QUIET_S)  # for what must not come
        assert len(came) == taken
        await first.broker.close()
        second = await Ends(rig.make(home)).start()
        later = second.trigger(0, "a.b", granted=1000)
        await second.ready("a.b", later)
        if rig.spec().abilities.settles:
            await eventually(lambda: payloads(later) == [b"0"], "what the first has left")
        await second.broker.close()

    async def test_every_farm_gets_what_is_on_a_topic_and_one_of_them_what_is_in_a_queue(
        self, rig: Rig, tmp_path: Path
    ) -> None:
        queues = rig.spec().abilities.queues
        farms = [await Ends(rig.make(home_of(tmp_path / "home", n)), n).start() for n in range(2)]
        topics = [farm.trigger(0, "a.b", granted=1000) for farm in farms]
        members = [farm.trigger(1, "q.b", granted=1000, group="g") if queues else [] for farm in farms]
        await farms[0].ready("a.b", *topics)
        if queues:
            for farm, came in zip(farms, members, strict=True):
                await farm.ready("q.b", came)
            await farms[0].publish(*numbered(100, "q.b"))
            await eventually(lambda: sum(len(payloads(came)) for came in members) >= 100, "the queue's")
            assert len(set(payloads(members[0]) + payloads(members[1]))) == 100
        await farms[0].publish(*numbered(10))
        await eventually(lambda: all(len(payloads(came)) >= 10 for came in topics), "the topic's, in both farms")
        assert [len(payloads(came)) for came in topics] == [10, 10]
        assert sum(len(payloads(came)) for came in members) == (100 if queues else 0)
        for farm in farms:
            await farm.broker.close()

    async def test_what_is_held_for_long_stays_ours(self, rig: Rig, tmp_path: Path) -> None:
        needs(rig.lease_s > 0, "has no leases")
        farms = [await Ends(rig.make(home_of(tmp_path / "home", n)), n).start() for n in range(2)]
        members = [farm.trigger(0, "q.b", granted=1000, group="g") for farm in farms]
        for farm, came in zip(farms, members, strict=True):
            await farm.ready("q.b", came)
        await farms[0].publish(*numbered(10, "q.b"))
        await eventually(lambda: sum(len(payloads(came)) for came in members) == 10, "all of them")
        await asyncio.sleep(3 * rig.lease_s)  # what is measured: nothing may happen in this time
        assert sum(len(payloads(came)) for came in members) == 10
        for farm, came in zip(farms, members, strict=True):
            farm.broker.settle(came)
            await farm.broker.close()

    def test_what_a_killed_process_had_comes_to_another(self, rig: Rig, tmp_path: Path) -> None:
        needs(rig.spec().abilities.settles and rig.spec().abilities.queues, "keeps nothing")
        taken, told = os.pipe()
        pid = os.fork()
        if pid == 0:
            _hold(rig, tmp_path, told)
        os.close(told)
        assert os.read(taken, 1) == b"!", "the other process took nothing"
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(taken)
        asyncio.run(_take_over(rig, tmp_path))

    async def test_dead_letters_are_stored(self, rig: Rig, ends: Ends) -> None:
        needs(ends.broker.confirms, "confirms nothing")
        answers: list[object] = []
        ends.broker.store([Message("id", "farm.dlq.a.b", b"x", (("farm-error", "why"),))], answers.extend)
        await eventually(lambda: bool(answers), "an answer")
        assert isinstance(answers[0], Published)

    async def test_outputs_and_their_source_are_committed_in_one_step(self, rig: Rig, ends: Ends) -> None:
        needs(ends.broker.commits, "offers no commit")
        came, outputs = ends.trigger(0, "a.b", granted=1000), ends.trigger(1, "a.c", granted=1000)
        await ends.ready("a.b", came)
        await ends.ready("a.c", outputs)
        await ends.publish(*numbered(10))
        await eventually(lambda: len(payloads(came)) == 10, "the sources")
        answers: list[object] = []
        commits = [Commit(one, (Message(f"{one.message.id}:0", "a.c", one.message.payload),)) for one in came[-10:]]
        ends.broker.commit(commits, answers.extend)
        await eventually(lambda: answers == [None] * 10, "the answers")
        await eventually(lambda: sorted(payloads(outputs)) == sorted(payloads(came)), "the outputs")

    async def test_settings_that_lead_nowhere_are_one_line(self, rig: Rig, tmp_path: Path) -> None:
        for what, broker in rig.misled(home_of(tmp_path / "home")).items():
            async with asyncio.timeout(WITHIN_S):
                await broker.start()
            assert broker.state != "up", what
            assert_one_line(broker, rig)
            async with asyncio.timeout(WITHIN_S):
                await broker.close()


def assert_one_line(broker: Broker, rig: Rig) -> None:
    """Why a broker is down is told in one line that shows no secret."""
    fault = broker.fault
    assert fault
    assert "\n" not in fault
    assert fault.isprintable()
    assert "Traceback" not in fault
    assert not [secret for secret in rig.secrets if secret in fault]
    assert not fault.startswith("<")
    assert len(fault) < 500


def _hold(rig: Rig, folder: Path, told: int) -> None:
    """In a process of its own: take ten messages of a queue, say so, and hold them until killed."""

    async def hold() -> None:
        ends = await Ends(rig.make(home_of(folder / "home"))).start()
        came: list[Delivery] = ends.trigger(0, "q.b", granted=1000, group="g")
        await ends.ready("q.b", came)
        await ends.publish(*numbered(10, "q.b"))
        await eventually(lambda: len(payloads(came)) == 10, "all of them")
        os.write(told, b"!")
        await asyncio.sleep(600)

    try:
        asyncio.run(hold())
    finally:
        os._exit(1)


async def _take_over(rig: Rig, folder: Path) -> None:
    ends = await Ends(rig.make(home_of(folder / "home", 1)), 1).start()
    came = ends.trigger(0, "q.b", granted=1000, group="g")
    await eventually(lambda: len(set(payloads(came))) == 10, "what the other had", within_s=4 * WITHIN_S)
    if ends.broker.counts:
        assert {delivery.deliveries for delivery in came if delivery.message.payload == b"0"} == {2}
    await ends.broker.close()
