"""What every broker keeps, whatever stands behind it. A new broker joins by a rig in tests/contract/brokers.py."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from farm.broker import Broker, Published
from farm.errors import InvalidSubject, PayloadTooLarge
from farm.message import Message
from tests.contract.brokers import RIGS, Ends, Rig, eventually, numbered, payloads


@pytest.fixture(params=list(RIGS))
def rig(request: pytest.FixtureRequest) -> Rig:
    return RIGS[request.param]


@pytest.fixture
async def broker(rig: Rig) -> AsyncIterator[Broker]:
    async with rig.started() as broker:
        yield broker


@pytest.fixture
def ends(broker: Broker) -> Ends:
    return Ends(broker)


async def test_it_is_up_once_started(broker: Broker) -> None:
    await eventually(lambda: broker.state == "up", "the broker to be up")


async def test_it_is_down_once_closed(rig: Rig) -> None:
    async with rig.started() as broker:
        pass
    assert broker.state == "down"


async def test_nothing_comes_before_it_is_granted(ends: Ends) -> None:
    came = ends.trigger(0, "a.b")
    await ends.publish(*numbered(3))
    assert came == []
    ends.broker.grant(0, 3)
    await eventually(lambda: len(came) == 3, "what waited")


async def test_never_more_comes_than_was_granted(ends: Ends) -> None:
    came = ends.trigger(0, "a.b")
    ends.broker.grant(0, 2)
    await ends.publish(*numbered(5))
    await eventually(lambda: len(came) == 2, "what was granted")
    ends.broker.grant(0, 2)
    await eventually(lambda: len(came) == 4, "what was granted next")
    ends.broker.grant(0, 9)
    await eventually(lambda: len(came) == 5, "the rest")
    assert sorted(payloads(came)) == [b"0", b"1", b"2", b"3", b"4"]


async def test_grants_that_were_not_used_remain(ends: Ends) -> None:
    came = ends.trigger(0, "a.b")
    ends.broker.grant(0, 1)
    ends.broker.grant(0, 1)
    await ends.publish(*numbered(3))
    await eventually(lambda: len(came) == 2, "both")


async def test_a_message_arrives_as_it_was_published(rig: Rig, ends: Ends) -> None:
    came = ends.trigger(0, "a.*")
    ends.broker.grant(0, 1)
    sent = Message("an-id", "a.b", bytes(range(256)), (("content-type", "x/y"), ("x-k", "v")), "re.ply", "parent", 3)
    await ends.publish(sent)
    await eventually(lambda: len(came) == 1, "the message")
    message = came[0].message
    assert (message.subject, message.payload, came[0].trigger) == ("a.b", bytes(range(256)), 0)
    if rig.whole:
        assert message == sent


async def test_every_trigger_that_matches_gets_every_message_once(ends: Ends) -> None:
    exact, wild, rest, other = (ends.trigger(n, topic) for n, topic in enumerate(["a.b", "a.*", "a.>", "a.c"]))
    for number in range(4):
        ends.broker.grant(number, 100)
    answers = await ends.publish(*numbered(20))
    await eventually(lambda: len(exact) == len(wild) == len(rest) == 20, "all copies")
    assert other == []
    assert all(len(set(payloads(came))) == 20 for came in (exact, wild, rest))
    assert answers == [Published(3, 0)] * 20


async def test_two_triggers_with_one_topic_get_a_delivery_each(ends: Ends) -> None:
    first, second = ends.trigger(0, "a.b"), ends.trigger(1, "a.b")
    ends.broker.grant(0, 1)
    ends.broker.grant(1, 1)
    await ends.publish(*numbered(1))
    await eventually(lambda: len(first) == len(second) == 1, "both deliveries")
    assert first[0] is not second[0]
    ends.broker.settle(first)
    ends.broker.settle(second)


async def test_one_that_does_not_keep_up_keeps_nobody_else_waiting(ends: Ends) -> None:
    slow, quick = ends.trigger(0, "a.b"), ends.trigger(1, "a.b")
    ends.broker.grant(1, 10)
    await ends.publish(*numbered(10))
    await eventually(lambda: len(quick) == 10, "the one that was granted")
    assert slow == []


async def test_a_wrong_message_is_refused_and_its_neighbours_are_not(ends: Ends) -> None:
    came = ends.trigger(0, "a.b")
    ends.broker.grant(0, 10)
    first, bad, large, last = numbered(4)
    bad = Message(bad.id, "a..b", b"")
    large = Message(large.id, "a.b", bytes(ends.broker.payload_limit_bytes + 1))
    answers = await ends.publish(first, bad, large, last)
    assert isinstance(answers[0], Published)
    assert isinstance(answers[1], InvalidSubject)
    assert isinstance(answers[2], PayloadTooLarge)
    assert isinstance(answers[3], Published)
    await eventually(lambda: payloads(came) == [b"0", b"3"], "the good ones")
    assert (ends.broker.counters.published, ends.broker.counters.refused) == (2, 2)


@pytest.mark.parametrize(
    "subject", ["", "a.*", "a.>", "farm.dlq.x", "_INBOX.x", "$JS.API.STREAM.DELETE.x", "a b", "a\n"]
)
async def test_a_subject_that_no_broker_may_see_is_refused(ends: Ends, subject: str) -> None:
    [answer] = await ends.publish(Message("id", subject, b""))
    assert isinstance(answer, InvalidSubject)


async def test_the_largest_payload_passes(ends: Ends) -> None:
    came = ends.trigger(0, "a.b")
    ends.broker.grant(0, 1)
    payload = bytes(ends.broker.payload_limit_bytes)
    await ends.publish(Message("id", "a.b", payload))
    await eventually(lambda: payloads(came) == [payload], "the message")


async def test_a_listener_hears_what_matches_from_now_on(ends: Ends) -> None:
    await ends.publish(Message("before", "a.b", b"before"))
    heard, _ = ends.listener("a.*")
    answers = await ends.publish(Message("1", "a.b", b"x"), Message("2", "b.b", b"y"), Message("3", "a.c", b"z"))
    await eventually(lambda: len(heard) == 2, "both messages")
    assert [(m.subject, m.payload) for m in heard] == [("a.b", b"x"), ("a.c", b"z")]
    assert answers == [Published(0, 1), Published(0, 0), Published(0, 1)]
    assert ends.broker.counters.unmatched == 2


async def test_a_listener_that_has_ended_hears_nothing(ends: Ends) -> None:
    heard, end = ends.listener("a.b")
    other, _ = ends.listener("a.b")
    end()
    end()
    await ends.publish(*numbered(1))
    await eventually(lambda: len(other) == 1, "the other listener")
    assert heard == []


async def test_a_trigger_that_comes_later_gets_what_comes_then(ends: Ends) -> None:
    await ends.publish(*numbered(1))
    came = ends.trigger(0, "a.b")
    ends.broker.grant(0, 5)
    await ends.publish(Message("later", "a.b", b"later"))
    await eventually(lambda: payloads(came) == [b"later"], "the later one")


async def test_what_was_released_comes_again(rig: Rig, ends: Ends) -> None:
    if not rig.redelivers:
        pytest.skip("its kind of broker keeps nothing")
    came = ends.trigger(0, "a.b")
    ends.broker.grant(0, 2)
    await ends.publish(*numbered(2))
    await eventually(lambda: len(came) == 2, "both")
    ends.broker.settle(came[:1])
    ends.broker.release(came[1:])
    ends.broker.grant(0, 1)
    await eventually(lambda: payloads(came) == [b"0", b"1", b"1"], "the released one")


async def test_what_is_settled_does_not_come_again(ends: Ends) -> None:
    came = ends.trigger(0, "a.b")
    ends.broker.grant(0, 10)
    await ends.publish(*numbered(3))
    await eventually(lambda: len(came) == 3, "all")
    ends.broker.settle(list(came))
    ends.broker.grant(0, 10)
    await ends.publish(Message("mark", "a.b", b"mark"))
    await eventually(lambda: payloads(came)[3:] == [b"mark"], "the mark and nothing else")


async def test_an_empty_publish_is_answered(ends: Ends) -> None:
    assert await ends.publish() == []
