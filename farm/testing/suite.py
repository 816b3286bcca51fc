"""What every broker keeps, whatever stands behind it: the conformance suite.

    class TestMine(BrokerSuite, ServerSuite):     # ServerSuite where there is a server that can be stopped
        @pytest.fixture
        def rig(self, tmp_path): ...

Run by pytest with pytest-asyncio (asyncio_mode = "auto"), on the loop that ingest has: a conftest.py gives it,

    def pytest_asyncio_loop_factories():
        return {"uvloop": uvloop.new_event_loop}

A test whose promise the broker does not make, by the abilities of its spec, is skipped and says so.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from farm.broker import Broker, Published
from farm.errors import InvalidSubject, PayloadTooLarge
from farm.message import Message
from farm.testing.rig import Ends, Rig, eventually, home_of, numbered, payloads


class Suite:
    """What both suites need of a test class: `rig`, a fixture."""

    @pytest.fixture
    def rig(self) -> Rig:
        """The rig; each test class makes its own."""
        pytest.fail(f"{type(self).__name__} has no fixture `rig`")

    @pytest.fixture
    async def broker(self, rig: Rig, tmp_path: Path) -> AsyncIterator[Broker]:
        """A broker, not started; closed at the end."""
        broker = rig.make(home_of(tmp_path / "home"))
        yield broker
        await broker.close()

    @pytest.fixture
    async def ends(self, broker: Broker) -> Ends:
        """Its ends, once it is up."""
        return await Ends(broker).start()


def open_descriptors() -> int:
    """How many this process has."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def needs(promise: bool, text: str) -> None:
    """Skip a test whose promise this broker does not make."""
    if not promise:
        pytest.skip(f"its kind of broker {text}")


async def _live(rig: Rig, tmp_path: Path) -> None:
    """A whole life of a broker, with a trigger and a listener."""
    ends = await Ends(rig.make(home_of(tmp_path / "home"))).start()
    came = ends.trigger(0, "a.b", granted=10)
    heard, _ = ends.listener("a.b")
    await ends.ready("a.b", came, heard)
    await ends.broker.close()
    assert ends.broker.state == "down"


class BrokerSuite(Suite):
    """Triggers, grants, listeners, publishes, queues."""

    async def test_it_is_up_once_started(self, ends: Ends) -> None:
        assert (ends.broker.state, ends.broker.fault) == ("up", "")
        assert ends.states[-1] == ("up", "")

    async def test_it_is_down_once_closed_and_nothing_of_it_is_left(self, rig: Rig, tmp_path: Path) -> None:
        await _live(rig, tmp_path)  # a loop's first connection opens descriptors of the loop's own
        coroutines, threads = asyncio.all_tasks(), set(threading.enumerate())
        descriptors = open_descriptors()
        await _live(rig, tmp_path)
        await eventually(lambda: asyncio.all_tasks() <= coroutines, "no coroutine of it")
        await eventually(lambda: set(threading.enumerate()) <= threads, "no thread of it")
        await eventually(lambda: open_descriptors() <= descriptors, "no descriptor of it")

    async def test_what_was_subscribed_before_the_start_is_live_once_it_is_up(self, broker: Broker) -> None:
        ends = Ends(broker)
        came = ends.trigger(0, "a.b", granted=10)
        await ends.start()
        await ends.publish(Message("first", "a.b", b"first"))
        await eventually(lambda: payloads(came) == [b"first"], "the first message")

    async def test_nothing_comes_before_it_is_granted(self, ends: Ends) -> None:
        other = ends.trigger(1, "a.b", granted=1000)
        came = ends.trigger(0, "a.b")
        await ends.ready("a.b", other)
        await ends.publish(*numbered(3))
        await eventually(lambda: len(payloads(other)) == 3, "the other trigger's")
        assert came == []
        ends.broker.grant(0, 1000)
        await eventually(lambda: payloads(came)[-3:] == [b"0", b"1", b"2"], "what waited")

    async def test_never_more_comes_than_was_granted(self, ends: Ends) -> None:
        other = ends.trigger(1, "a.b", granted=1000)
        came = ends.trigger(0, "a.b", granted=1)
        await ends.ready("a.b", other, came)
        already = len(came)
        assert already == 1
        await ends.publish(*numbered(50))
        await eventually(lambda: len(payloads(other)) == 50, "the other trigger's")
        for count in (2, 3, 5):
            ends.broker.grant(0, count)
            already += count
            await eventually(lambda: len(came) >= already, "what was granted")  # noqa: B023  (awaited in its turn)
            await asyncio.sleep(0.05)  # for what must not come
            assert len(came) == already
        ends.broker.grant(0, 1000)
        await eventually(lambda: len(payloads(came)) == 50, "the rest")
        assert len(set(payloads(came))) == 50

    async def test_a_heavy_message_takes_a_grant_for_each_64_kib_it_weighs(self, ends: Ends) -> None:
        needs(ends.broker.weighs, "does not weigh messages")
        other = ends.trigger(1, "a.b", granted=1000)
        came = ends.trigger(0, "a.b", granted=1)
        await ends.ready("a.b", other, came)
        await ends.publish(*(Message(f"{n}", "a.b", bytes(200_000)) for n in range(3)))  # four grants each
        await eventually(lambda: len(payloads(other)) == 3, "the other trigger's")
        while not payloads(came):  # what made it ready may wait before them
            already = len(came)
            ends.broker.grant(0, 1)
            await eventually(lambda: len(came) > already, "the next one")  # noqa: B023  (awaited in its turn)
        for count, there in ((3, 1), (1, 2), (3, 2), (1, 3)):
            ends.broker.grant(0, count)
            await eventually(lambda: len(payloads(came)) >= there, "what was granted")  # noqa: B023
            await asyncio.sleep(0.05)  # for what must not come
            assert len(payloads(came)) == there

    async def test_grants_that_were_not_used_remain(self, ends: Ends) -> None:
        came = ends.trigger(0, "a.b", granted=1000)
        ends.broker.grant(0, 1)
        await ends.ready("a.b", came)
        await ends.publish(*numbered(3))
        await eventually(lambda: len(payloads(came)) == 3, "all of them")

    async def test_every_trigger_that_matches_gets_every_message_once(self, rig: Rig, ends: Ends) -> None:
        needs(bool(rig.wild), "has no wildcards in topics")
        first, second = rig.subjects
        exact, wild, other = (ends.trigger(n, topic, granted=1000) for n, topic in enumerate([first, rig.wild, second]))
        await ends.ready(first, exact, wild)
        await ends.ready(second, other)
        answers = await ends.publish(*numbered(20, first))
        await eventually(lambda: len(payloads(exact)) == len(payloads(wild)) == 20, "all copies")
        await ends.publish(Message("mark", second, b"mark"))
        await eventually(lambda: payloads(other) == [b"mark"], "the mark alone")
        assert all(sorted(payloads(came)[:20]) == sorted(payloads(exact)) for came in (exact, wild))
        assert {(answer.triggers, answer.listeners) for answer in answers if isinstance(answer, Published)} == {(2, 0)}
        assert {delivery.message.subject for delivery in wild} == {first, second}

    async def test_two_triggers_with_one_topic_get_a_delivery_each(self, ends: Ends) -> None:
        first, second = ends.trigger(0, "a.b", granted=100), ends.trigger(1, "a.b", granted=100)
        await ends.ready("a.b", first, second)
        await ends.publish(*numbered(1))
        await eventually(lambda: payloads(first) == payloads(second) == [b"0"], "both deliveries")
        assert (first[-1].trigger, second[-1].trigger) == (0, 1)
        assert first[-1] is not second[-1]
        ends.broker.settle(first)
        ends.broker.settle(second)

    async def test_one_that_does_not_keep_up_keeps_nobody_else_waiting(self, ends: Ends) -> None:
        slow, quick = ends.trigger(0, "a.b"), ends.trigger(1, "a.b", granted=1000)
        await ends.ready("a.b", quick)
        await ends.publish(*numbered(10))
        await eventually(lambda: len(payloads(quick)) == 10, "the one that was granted")
        assert slow == []

    async def test_a_message_arrives_as_it_was_published(self, rig: Rig, ends: Ends) -> None:
        abilities = rig.spec().abilities
        came = ends.trigger(0, "a.b", granted=1000)
        await ends.ready("a.b", came)
        headers = (("content-type", "x/y"), ("x-k", "v ü"))
        sent = Message("an-id", "a.b", bytes(range(256)), headers, "re.ply", "parent", 3)
        await ends.publish(sent, Message("empty", "a.b", b""))
        await eventually(lambda: payloads(came) == [sent.payload, b""], "both messages")
        message = came[-2].message
        assert (message.subject, message.payload) == ("a.b", bytes(range(256)))
        if abilities.headers:
            assert (message.id, message.headers, message.cause, message.hops) == ("an-id", headers, "parent", 3)
        if abilities.replies:
            assert (message.reply_to, came[-1].message.reply_to) == ("re.ply", None)

    async def test_many_messages_arrive_in_their_order(self, ends: Ends) -> None:
        came = ends.trigger(0, "a.b", granted=100_000)
        await ends.ready("a.b", came)
        await ends.publish(*numbered(1000))
        await ends.publish(*numbered(1000, first=1000))
        await eventually(lambda: len(payloads(came)) == 2000, "all of them")
        assert payloads(came) == [f"{n}".encode() for n in range(2000)]

    async def test_the_largest_payload_passes_and_a_larger_one_is_refused(self, ends: Ends) -> None:
        came = ends.trigger(0, "a.b", granted=1000)
        await ends.ready("a.b", came)
        largest = bytes(ends.broker.payload_limit_bytes)
        answers = await ends.publish(
            Message("id", "a.b", largest), Message("id2", "a.b", largest + b"x"), Message("id3", "a.b", b"last")
        )
        assert isinstance(answers[0], Published)
        assert isinstance(answers[1], PayloadTooLarge)
        await eventually(lambda: payloads(came) == [largest, b"last"], "both of them")

    async def test_a_wrong_message_is_refused_and_its_neighbours_are_not(self, ends: Ends) -> None:
        came = ends.trigger(0, "a.b", granted=1000)
        await ends.ready("a.b", came)
        refused = ends.broker.counters.refused  # until a stream was there perhaps some
        first, bad, last = numbered(3)
        answers = await ends.publish(first, Message(bad.id, "a..b", b""), last)
        assert isinstance(answers[1], InvalidSubject)
        assert isinstance(answers[0], Published)
        assert isinstance(answers[2], Published)
        await eventually(lambda: payloads(came) == [b"0", b"2"], "the good ones")
        assert ends.broker.counters.refused == refused + 1

    @pytest.mark.parametrize("subject", ["", "a.*", "a.>", "farm.dlq.x", "_INBOX.x", "$JS.API.STREAM.DELETE.x", "a b"])
    async def test_a_subject_that_no_broker_may_see_is_refused(self, ends: Ends, subject: str) -> None:
        [answer] = await ends.publish(Message("id", subject, b""))
        assert isinstance(answer, InvalidSubject)

    async def test_an_empty_publish_is_answered(self, ends: Ends) -> None:
        assert await ends.publish() == []

    async def test_a_listener_hears_what_matches_from_now_on(self, rig: Rig, ends: Ends) -> None:
        first, second = rig.subjects
        keeper = ends.trigger(0, first, granted=1000)  # so that a stream that needs a reader has one
        await ends.ready(first, keeper)
        await ends.publish(Message("before", first, b"before"))
        await eventually(lambda: payloads(keeper) == [b"before"], "what came before")
        heard, _ = ends.listener(rig.wild or first)
        await ends.ready(first, heard)
        answers = await ends.publish(Message("1", first, b"x"), Message("2", "other.b", b"y"))
        await ends.publish(Message("3", second if rig.wild else first, b"z"))
        await eventually(lambda: payloads(heard) == [b"x", b"z"], "both messages")
        assert isinstance(answers[0], Published)
        assert answers[0].listeners == 1

    async def test_a_listener_that_has_ended_hears_nothing(self, ends: Ends) -> None:
        heard, end = ends.listener("a.b")
        other, _ = ends.listener("a.b")
        await ends.ready("a.b", heard, other)
        end()
        end()
        await ends.publish(*numbered(1))
        await eventually(lambda: payloads(other) == [b"0"], "the other listener's")
        assert payloads(heard) == []

    async def test_one_of_a_queue_gets_each_message(self, rig: Rig, ends: Ends) -> None:
        needs(rig.spec().abilities.queues, "has no queues")
        members = [ends.trigger(n, "q.b", granted=1000, group="workers") for n in range(2)]
        others = ends.trigger(2, "q.b", granted=1000, group="others")
        topic = ends.trigger(3, "q.b", granted=1000)
        await ends.ready("q.b", others, topic)
        await eventually(lambda: any(members), "a probe at one of the queue")
        answers = await ends.publish(*numbered(200, "q.b"))
        everybody = sorted(f"{n}".encode() for n in range(200))
        await eventually(lambda: sum(len(payloads(came)) for came in members) >= 200, "all, at one of the queue")
        await eventually(lambda: len(payloads(others)) == len(payloads(topic)) == 200, "all, at the others")
        assert sorted(payloads(members[0]) + payloads(members[1])) == everybody
        assert isinstance(answers[0], Published)
        assert answers[0].triggers == 3

    async def test_what_was_released_comes_again(self, rig: Rig, ends: Ends) -> None:
        came = ends.trigger(0, "a.b", granted=1000)
        await ends.ready("a.b", came)
        needs(ends.broker.volatile or rig.spec().abilities.settles, "keeps nothing")
        await ends.publish(*numbered(2))
        await eventually(lambda: payloads(came) == [b"0", b"1"], "both")
        ends.broker.settle(came[:-1])
        ends.broker.release(came[-1:])
        ends.broker.grant(0, 1000)
        await eventually(lambda: payloads(came) == [b"0", b"1", b"1"], "the released one")
        if ends.broker.counts:
            assert came[-1].deliveries == came[-2].deliveries + 1
            assert came[-1].source_id == came[-2].source_id != ""

    async def test_what_is_settled_does_not_come_again(self, ends: Ends) -> None:
        came = ends.trigger(0, "a.b", granted=1000)
        await ends.ready("a.b", came)
        await ends.publish(*numbered(3))
        await eventually(lambda: len(payloads(came)) == 3, "all")
        ends.broker.settle(list(came))
        ends.broker.grant(0, 10)
        await ends.publish(Message("mark", "a.b", b"mark"))
        await eventually(lambda: payloads(came)[3:] == [b"mark"], "the mark and nothing else")
