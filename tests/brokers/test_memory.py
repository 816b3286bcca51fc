from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest

from farm.broker import Delivery, Published, Refused, Subscription
from farm.brokers import memory
from farm.brokers.memory import MemoryBroker
from farm.errors import BrokerFull
from farm.message import Message
from farm.spec import MemorySpec
from farm.subject import Grammar


def broker_of(grammar: Literal["reference", "nats"] = "reference") -> MemoryBroker:
    return MemoryBroker(MemorySpec("test", wildcards=grammar))


def trigger(broker: MemoryBroker, number: int, topic: str = "t", granted: int = 0) -> list[Delivery]:
    came: list[Delivery] = []
    broker.deliver(Subscription(number, topic), came.extend)
    if granted:
        broker.grant(number, granted)
    return came


def publish(broker: MemoryBroker, count: int, *, payload: bytes = b"", cause: str = "") -> list[Published | Refused]:
    answers: list[Published | Refused] = []
    broker.publish([Message(f"{n}", "t", payload, cause=cause) for n in range(count)], answers.extend)
    return answers


def taken(answers: list[Published | Refused]) -> int:
    return sum(isinstance(answer, Published) for answer in answers)


def test_ten_thousand_messages_wait_and_the_next_one_is_refused() -> None:
    broker = broker_of()
    trigger(broker, 0)
    answers = publish(broker, 10_001)
    assert taken(answers) == 10_000
    assert isinstance(answers[-1], BrokerFull)
    assert "10000 messages" in str(answers[-1])
    assert (broker.counters.published, broker.counters.refused, broker.waiting_for(0)) == (10_000, 1, 10_000)


def test_64_mib_wait_and_the_next_message_is_refused() -> None:
    broker = broker_of()
    trigger(broker, 0)
    assert taken(publish(broker, 70, payload=bytes(1 << 20))) == 63  # a subject counts too
    broker.grant(0, 1)
    assert taken(publish(broker, 2, payload=bytes(1 << 20))) == 1


def test_a_heavy_message_takes_a_grant_for_each_64_kib_it_weighs() -> None:
    broker = broker_of()
    came = trigger(broker, 0, granted=100)
    publish(broker, 10, payload=bytes(1 << 20))  # and a subject: 17 grants
    assert len(came) == 6
    assert broker.waiting_for(0) == 4
    broker.grant(0, 2)
    assert len(came) == 6, "the last one took two more than were left"
    broker.grant(0, 1)
    assert len(came) == 7
    publish(broker, 1)
    broker.grant(0, 16 + 3 * 17)
    assert (len(came), broker.waiting_for(0)) == (10, 1)
    broker.grant(0, 1)
    assert (len(came), broker.waiting_for(0)) == (11, 0)


def test_members_of_a_group_pay_for_what_each_was_handed() -> None:
    broker = broker_of()
    came: dict[int, list[Delivery]] = {0: [], 1: []}
    for number, some in came.items():
        broker.deliver(Subscription(number, "t", group="g"), some.extend)
        broker.grant(number, 20)
    publish(broker, 5, payload=bytes(1 << 20))
    assert {number: len(some) for number, some in came.items()} == {0: 2, 1: 1}
    broker.grant(1, 20)
    assert {number: len(some) for number, some in came.items()} == {0: 2, 1: 2}


def test_room_is_made_by_what_is_handed_over() -> None:
    broker = broker_of()
    came = trigger(broker, 0)
    publish(broker, 10_000)
    broker.grant(0, 10)
    assert len(came) == 10
    assert taken(publish(broker, 20)) == 10


def test_what_nobody_waits_for_takes_no_room() -> None:
    broker = broker_of()
    assert taken(publish(broker, 20_000)) == 20_000
    assert (broker.counters.unmatched, broker.counters.received) == (20_000, 0)


def test_a_message_waits_for_all_of_its_triggers_or_reaches_none() -> None:
    broker = broker_of()
    ready = trigger(broker, 0, granted=20_000)
    trigger(broker, 1)
    answers = publish(broker, 10_001)
    assert taken(answers) == len(ready) == 10_000


def test_outputs_have_room_that_clients_have_not() -> None:
    broker = broker_of()
    trigger(broker, 0)
    publish(broker, 10_000)
    assert taken(publish(broker, 1)) == 0
    assert taken(publish(broker, 10_001, cause="parent")) == 10_000


def test_listeners_do_not_hear_what_was_refused() -> None:
    broker = broker_of()
    heard: list[Message] = []
    broker.listen("t", heard.extend)
    trigger(broker, 0)
    publish(broker, 10_005)
    assert len(heard) == 10_000


@pytest.mark.parametrize(
    ("grammar", "topic", "matches"),
    [
        ("reference", "hello.*", True),
        ("nats", "hello.*", False),
        ("nats", "hello.>", True),
        ("reference", "hell?.a.b", True),
    ],
)
def test_wildcards_are_those_of_the_manifest(grammar: Literal["reference", "nats"], topic: str, matches: bool) -> None:
    broker = broker_of(grammar)
    came = trigger(broker, 0, topic, granted=1)
    broker.publish([Message("1", "hello.a.b", b"")], lambda _: None)
    assert bool(came) is matches


def test_matches_are_found_once_and_again_when_somebody_comes_or_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    compiled = memory.compile_filter

    def counting(pattern: str, grammar: Grammar) -> Callable[[str], bool]:
        matches = compiled(pattern, grammar)
        return lambda subject: asked.append(subject) is None and matches(subject)

    monkeypatch.setattr(memory, "compile_filter", counting)
    broker = broker_of()
    trigger(broker, 0, "*", granted=1000)
    publish(broker, 100)
    assert len(asked) == 1
    end = broker.listen("*", lambda _: None)
    publish(broker, 100)
    end()
    assert publish(broker, 1) == [Published(1, 0)]
    assert len(asked) == 1 + 2 + 1


def test_remembered_subjects_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "ROUTES_LIMIT", 3)
    broker = broker_of()
    came = trigger(broker, 0, "*", granted=100)
    for n in range(10):
        broker.publish([Message("1", f"s.{n}", b"")], lambda _: None)
    assert len(came) == 10


async def test_what_was_not_settled_is_counted_as_dropped_at_the_end(capfd: pytest.CaptureFixture[str]) -> None:
    broker = broker_of()
    came = trigger(broker, 0, granted=3)
    publish(broker, 5)
    broker.settle(came[:1])
    broker.release(came[1:2])
    await broker.close()
    assert broker.counters.dropped == 4
    assert "messages dropped" in capfd.readouterr().out + capfd.readouterr().err


async def test_nothing_is_said_of_a_broker_that_ends_empty(capfd: pytest.CaptureFixture[str]) -> None:
    broker = broker_of()
    broker.settle(trigger(broker, 0, granted=3))
    await broker.close()
    assert broker.counters.dropped == 0
    assert "dropped" not in "".join(capfd.readouterr())
